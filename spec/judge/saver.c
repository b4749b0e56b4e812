/* Wrong ways to save; see saver.h. */
#include "saver.h"

#include "judge.h"
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct saver {
  const char *name;
  PGconn *pg;
  sqlite3 *sqlite;
  char newer[8192]; /* a condition of SQL: something newer matches */
  char insert[1024];
};

#define POSTGRES_FIELD "(data->>'%s') collate \"C\""
#define SQLITE_FIELD "case json_type(data,'$.%1$s') when 'text' then data->>'$.%1$s' else data->'$.%1$s' end"

/* ---- SQL ----------------------------------------------------------------------------------------------------------------- */

/* All texts here are the judge's own: letters, digits and '-'. */
static void add_list(char *sql, size_t room, const char *const *values, size_t count) {
  size_t at = strlen(sql);
  for (size_t i = 0; i < count; i++)
    at += (size_t)snprintf(sql + at, room - at, "%s'%s'%s", i ? "," : " in (", values[i], i + 1 == count ? ")" : "");
}

static void make_newer(saver *s, const annal_condition *condition) {
  strcpy(s->newer, "exists (select 1 from events where false)");
  for (size_t i = 0; i < condition->stream_count; i++) {
    const annal_stream *stream = &condition->streams[i];
    const char *id = stream->after_id ? stream->after_id : condition->latest_event_id;
    size_t at = strlen(s->newer);
    snprintf(s->newer + at, sizeof s->newer - at,
             " or exists (select 1 from events where position > coalesce((select position from events where id = '%s'), 0)",
             id ? id : "");
    if (stream->type_count) strcat(s->newer, " and type");
    if (stream->type_count) add_list(s->newer, sizeof s->newer, stream->types, stream->type_count);
    for (size_t f = 0; f < stream->data_count; f++) {
      strcat(s->newer, " and ");
      at = strlen(s->newer);
      snprintf(s->newer + at, sizeof s->newer - at, s->pg ? POSTGRES_FIELD : SQLITE_FIELD, stream->data[f].name);
      add_list(s->newer, sizeof s->newer, stream->data[f].values, stream->data[f].value_count);
    }
    strcat(s->newer, ")");
  }
}

/* ---- PostgreSQL ---------------------------------------------------------------------------------------------------------- */

/* The number of rows that the statement gave or changed; -1 when it failed. */
static int pg_run(saver *s, const char *sql) {
  PGresult *result = PQexec(s->pg, sql);
  ExecStatusType status = PQresultStatus(result);
  int rows = status == PGRES_TUPLES_OK ? PQntuples(result) : status == PGRES_COMMAND_OK ? atoi(PQcmdTuples(result)) : -1;
  if (rows < 0 && PQstatus(s->pg) != CONNECTION_OK) judge_die("saver: %s", PQerrorMessage(s->pg));
  PQclear(result);
  return rows;
}

static int pg_transaction(saver *s, const char *begin, const char *first, const char *second, const char *before_commit) {
  char sql[10000];
  bool fresh = false;
  pg_run(s, begin);
  if (strcmp(first, "check") == 0) {
    snprintf(sql, sizeof sql, "select 1 where not (%s)", s->newer);
    fresh = pg_run(s, sql) == 1;
    pg_run(s, second);
  } else {
    pg_run(s, first);
    snprintf(sql, sizeof sql, "select 1 where not (%s)", s->newer);
    fresh = pg_run(s, sql) == 1;
  }
  bool inserted = fresh && pg_run(s, s->insert) == 1;
  if (before_commit) pg_run(s, before_commit);
  pg_run(s, inserted ? "commit" : "rollback");
  return inserted ? ANNAL_OK : ANNAL_CONFLICT;
}

static int pg_save(saver *s, const annal_event *event) {
  char sql[10000];
  const char *lock = "select pg_advisory_xact_lock(4711)";
  const char *values = "nextval('judge_positions'), '%s', '%s', 1, '%s', clock_timestamp()";
  char row[512];
  snprintf(row, sizeof row, values, event->id, event->type, event->data);
  const char *into = "insert into events (position, id, type, version, data, created_at)";
  snprintf(s->insert, sizeof s->insert, "%s values (%s)", into, row);
  if (strcmp(s->name, "cte") == 0) {
    snprintf(sql, sizeof sql, "with ins as (%s returning 1) select 1 from ins where not (%s)", s->insert, s->newer);
    return pg_run(s, sql) == 1 ? ANNAL_OK : ANNAL_CONFLICT;
  }
  if (strcmp(s->name, "not_exists") == 0) {
    snprintf(sql, sizeof sql, "%s select %s where not (%s)", into, row, s->newer);
    return pg_run(s, sql) == 1 ? ANNAL_OK : ANNAL_CONFLICT;
  }
  if (strcmp(s->name, "one_statement") == 0) {
    snprintf(sql, sizeof sql, "with l as materialized (%s) %s select %s from l where not (%s)", lock, into, row, s->newer);
    return pg_run(s, sql) == 1 ? ANNAL_OK : ANNAL_CONFLICT;
  }
  if (strcmp(s->name, "late_lock") == 0) return pg_transaction(s, "begin", "check", lock, NULL);
  if (strcmp(s->name, "repeatable") == 0) return pg_transaction(s, "begin isolation level repeatable read", lock, NULL, NULL);
  if (strcmp(s->name, "unlock_early") == 0)
    return pg_transaction(s, "begin", "select pg_advisory_lock(4711)", NULL, "select pg_advisory_unlock(4711), pg_sleep(0.001)");
  judge_die("there is no saver %s for PostgreSQL", s->name);
}

/* ---- SQLite -------------------------------------------------------------------------------------------------------------- */

static int sqlite_run(saver *s, const char *sql) { return sqlite3_exec(s->sqlite, sql, NULL, NULL, NULL); }

static bool sqlite_fresh(saver *s) {
  char sql[10000];
  sqlite3_stmt *statement;
  snprintf(sql, sizeof sql, "select not (%s)", s->newer);
  if (sqlite3_prepare_v2(s->sqlite, sql, -1, &statement, NULL)) judge_die("saver: %s", sqlite3_errmsg(s->sqlite));
  bool fresh = sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0);
  sqlite3_finalize(statement);
  return fresh;
}

static int sqlite_save(saver *s, const annal_event *event) {
  snprintf(s->insert, sizeof s->insert,
           "begin immediate; insert into events (position, id, type, version, data, created_at) "
           "select coalesce(max(position), 0) + 1, '%s', '%s', 1, '%s', coalesce(max(created_at), 0) from events; commit",
           event->id, event->type, event->data);
  if (strcmp(s->name, "check_outside") == 0) {
    if (!sqlite_fresh(s)) return ANNAL_CONFLICT;
    if (sqlite_run(s, s->insert) == SQLITE_OK) return ANNAL_OK;
    sqlite_run(s, "rollback");
    return ANNAL_CONFLICT;
  }
  if (strcmp(s->name, "insert_first") == 0) {
    bool fresh = sqlite_fresh(s);
    if (sqlite_run(s, s->insert) != SQLITE_OK) sqlite_run(s, "rollback");
    return fresh ? ANNAL_OK : ANNAL_CONFLICT;
  }
  judge_die("there is no saver %s for SQLite", s->name);
}

/* ---- Both ---------------------------------------------------------------------------------------------------------------- */

saver *saver_open(const char *name, const char *location, const char *schema) {
  saver *s = calloc(1, sizeof *s);
  if (!s) judge_die("out of memory");
  s->name = name;
  if (strchr(location, '=') || strstr(location, "://")) {
    char sql[256];
    s->pg = PQconnectdb(location);
    if (PQstatus(s->pg) != CONNECTION_OK) judge_die("saver: %s", PQerrorMessage(s->pg));
    snprintf(sql, sizeof sql, "set client_min_messages to error; set search_path to \"%s\"", schema);
    pg_run(s, sql);
    pg_run(s, "create sequence if not exists judge_positions");
  } else {
    if (sqlite3_open(location, &s->sqlite) != SQLITE_OK) judge_die("saver: %s", sqlite3_errmsg(s->sqlite));
    sqlite3_busy_timeout(s->sqlite, 10000);
    sqlite_run(s, "pragma wal_autocheckpoint = 0");
  }
  return s;
}

void saver_close(saver *s) {
  if (!s) return;
  if (s->pg) PQfinish(s->pg);
  if (s->sqlite) sqlite3_close(s->sqlite);
  free(s);
}

int saver_save(saver *s, const annal_event *event, const annal_condition *condition) {
  make_newer(s, condition);
  return s->pg ? pg_save(s, event) : sqlite_save(s, event);
}
