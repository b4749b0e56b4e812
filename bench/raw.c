/* The raw limit by libpq and sqlite3; see raw.h. */
#include "raw.h"

#include "bench.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct raw_connection {
  PGconn *pg;
  sqlite3 *sqlite;
  sqlite3_stmt *insert, *select, *row, *views, *views_of_user;
  char fingerprint[64]; /* of the views, once they are asked for */
  char copy[256];
};

static void pg_run(raw_connection *raw, const char *sql) {
  PGresult *result = PQexec(raw->pg, sql);
  ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
    bench_die("raw: %s: %s", sql, PQerrorMessage(raw->pg));
  PQclear(result);
}

static void pg_run_copy(raw_connection *raw, const char *sql) {
  PGresult *result = PQexec(raw->pg, sql);
  if (PQresultStatus(result) != PGRES_COPY_OUT) bench_die("raw: %s: %s", sql, PQerrorMessage(raw->pg));
  PQclear(result);
}

static void pg_prepare(raw_connection *raw, const char *name, const char *sql) {
  PGresult *result = PQprepare(raw->pg, name, sql, 0, NULL);
  if (PQresultStatus(result) != PGRES_COMMAND_OK) bench_die("raw: %s: %s", sql, PQerrorMessage(raw->pg));
  PQclear(result);
}

static void sqlite_run(raw_connection *raw, const char *sql) {
  char *message = NULL;
  if (sqlite3_exec(raw->sqlite, sql, NULL, NULL, &message) != SQLITE_OK) bench_die("raw: %s: %s", sql, message);
}

static raw_connection *open_postgres(raw_connection *raw, const char *location, const char *schema) {
  raw->pg = PQconnectdb(location);
  if (PQstatus(raw->pg) != CONNECTION_OK) bench_die("raw: %s", PQerrorMessage(raw->pg));
  char sql[512];
  snprintf(sql, sizeof sql, "set search_path to \"%s\"", schema);
  pg_run(raw, sql);
  pg_run(raw, "set client_min_messages to warning");
  pg_prepare(raw, "insert",
             "insert into events (position, id, type, version, data, created_at) values ($1, $2, $3, 1, $4, now())");
  pg_prepare(raw, "head", "select coalesce(max(position), 0) from events");
  pg_prepare(raw, "cart",
             "select position, id, type, version, data, metadata, created_at from events where (data->>'cartId') collate \"C\" = "
             "$1 and position > $2 "
             "order by position");
  pg_prepare(raw, "views",
             "select id, data, latest_event_id, position, updated_at from projections where type = $1 and fingerprint = $2 "
             "order by id");
  pg_prepare(raw, "views of user",
             "select id, data, latest_event_id, position, updated_at from projections where type = $1 and fingerprint = $2 and "
             "(data->>'userId') collate \"C\" = $3 order by id");
  pg_prepare(
      raw, "row and newer",
      "select p.state, p.data, p.position, p.latest_event_id, e.* from projections p left join lateral (select position, id, "
      "type, version, data, metadata, created_at from events where (data->>'cartId') collate \"C\" = $2 and position > "
      "p.position order by position) e on true where p.type = $1 and p.id = $2");
  return raw;
}

static sqlite3_stmt *sqlite_statement(raw_connection *raw, const char *sql) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(raw->sqlite, sql, -1, &statement, NULL)) bench_die("raw: %s: %s", sql, sqlite3_errmsg(raw->sqlite));
  return statement;
}

static raw_connection *open_sqlite(raw_connection *raw, const char *location) {
  if (sqlite3_open(location, &raw->sqlite) != SQLITE_OK) bench_die("raw: %s", sqlite3_errmsg(raw->sqlite));
  sqlite3_busy_timeout(raw->sqlite, 10000);
  sqlite_run(raw, "pragma journal_mode = wal");
  sqlite_run(raw, "pragma synchronous = full");
  raw->insert = sqlite_statement(raw, "insert into events (position, id, type, version, data, created_at) "
                                      "values (?1, ?2, ?3, 1, ?4, 1767225600000000 + ?1)");
  raw->select = sqlite_statement(
      raw,
      "select position, id, type, version, data, metadata, created_at from events where case json_type(data,'$.cartId') when "
      "'text' then data->>'$.cartId' when 'null' then null else data->'$.cartId' end = ?1 and position > ?2 order by position");
  raw->row = sqlite_statement(raw, "select state, data, position, latest_event_id from projections where type = ?1 and id = ?2");
  return raw;
}

raw_connection *raw_open(const char *location, const char *schema) {
  raw_connection *raw = calloc(1, sizeof *raw);
  if (!raw) bench_die("out of memory");
  return strchr(location, '=') || strstr(location, "://") ? open_postgres(raw, location, schema) : open_sqlite(raw, location);
}

void raw_close(raw_connection *raw) {
  if (raw->pg) PQfinish(raw->pg);
  sqlite3_finalize(raw->insert);
  sqlite3_finalize(raw->select);
  sqlite3_finalize(raw->row);
  sqlite3_finalize(raw->views);
  sqlite3_finalize(raw->views_of_user);
  if (raw->sqlite) sqlite3_close(raw->sqlite);
  free(raw);
}

static void move_to(pid_t process, size_t core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  if (sched_setaffinity(process, sizeof cores, &cores))
    printf("process %d stays on all cores (%s): round trips differ by where the scheduler wakes it\n", (int)process,
           strerror(errno));
}

void raw_share_core(raw_connection *raw) {
  cpu_set_t cores;
  size_t core = 0;
  if (!raw->pg || sched_getaffinity(0, sizeof cores, &cores)) return;
  while (!CPU_ISSET(core, &cores)) core++;
  PGresult *result =
      PQexec(raw->pg, "select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'");
  if (PQresultStatus(result) != PGRES_TUPLES_OK) bench_die("raw: %s", PQerrorMessage(raw->pg));
  for (int i = 0; i < PQntuples(result); i++) move_to((pid_t)atoi(PQgetvalue(result, i, 0)), core);
  PQclear(result);
  move_to(0, core);
}

int64_t raw_head(raw_connection *raw) {
  int64_t head = 0;
  if (raw->pg) {
    PGresult *result = PQexecPrepared(raw->pg, "head", 0, NULL, NULL, NULL, 0);
    head = atoll(PQgetvalue(result, 0, 0));
    PQclear(result);
  } else {
    sqlite3_stmt *statement;
    sqlite3_prepare_v2(raw->sqlite, "select coalesce(max(position), 0) from events", -1, &statement, NULL);
    if (sqlite3_step(statement) == SQLITE_ROW) head = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
  }
  return head;
}

static void insert_one_pg(raw_connection *raw, const raw_event *e) {
  char position[24];
  snprintf(position, sizeof position, "%lld", (long long)e->position);
  const char *values[4] = {position, e->id, e->event.type, e->event.data};
  PGresult *result = PQexecPrepared(raw->pg, "insert", 4, values, NULL, NULL, 0);
  if (PQresultStatus(result) != PGRES_COMMAND_OK) bench_die("raw insert: %s", PQerrorMessage(raw->pg));
  PQclear(result);
}

static void insert_one_sqlite(raw_connection *raw, const raw_event *e) {
  sqlite3_bind_int64(raw->insert, 1, e->position);
  sqlite3_bind_text(raw->insert, 2, e->id, -1, SQLITE_STATIC);
  sqlite3_bind_text(raw->insert, 3, e->event.type, -1, SQLITE_STATIC);
  sqlite3_bind_text(raw->insert, 4, e->event.data, -1, SQLITE_STATIC);
  if (sqlite3_step(raw->insert) != SQLITE_DONE) bench_die("raw insert: %s", sqlite3_errmsg(raw->sqlite));
  sqlite3_reset(raw->insert);
}

void raw_insert(raw_connection *raw, const raw_event *events, size_t count) {
  if (raw->pg) {
    if (count > 1) pg_run(raw, "begin");
    for (size_t i = 0; i < count; i++) insert_one_pg(raw, &events[i]);
    if (count > 1) pg_run(raw, "commit");
  } else {
    sqlite_run(raw, "begin immediate");
    for (size_t i = 0; i < count; i++) insert_one_sqlite(raw, &events[i]);
    sqlite_run(raw, "commit");
  }
}

void raw_bulk(raw_connection *raw, const raw_event *events, size_t count) {
  if (!raw->pg) {
    raw_insert(raw, events, count);
    return;
  }
  pg_run(raw, "copy events (position, id, type, version, data, created_at) from stdin");
  char line[512];
  for (size_t i = 0; i < count; i++) {
    const raw_event *e = &events[i];
    int size = snprintf(line, sizeof line, "%lld\t%s\t%s\t1\t%s\t2026-01-01T00:00:00Z\n", (long long)e->position, e->id,
                        e->event.type, e->event.data);
    if (PQputCopyData(raw->pg, line, size) != 1) bench_die("raw copy: %s", PQerrorMessage(raw->pg));
  }
  PQputCopyEnd(raw->pg, NULL);
  for (PGresult *result; (result = PQgetResult(raw->pg)) != NULL;) {
    if (PQresultStatus(result) != PGRES_COMMAND_OK) bench_die("raw copy: %s", PQerrorMessage(raw->pg));
    PQclear(result);
  }
}

size_t raw_read_cart(raw_connection *raw, const char *cart, int64_t after) {
  size_t count = 0;
  if (raw->pg) {
    char position[24];
    snprintf(position, sizeof position, "%lld", (long long)after);
    const char *values[2] = {cart, position};
    PGresult *result = PQexecPrepared(raw->pg, "cart", 2, values, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) bench_die("raw select: %s", PQerrorMessage(raw->pg));
    count = (size_t)PQntuples(result);
    PQclear(result);
  } else {
    sqlite3_bind_text(raw->select, 1, cart, -1, SQLITE_STATIC);
    sqlite3_bind_int64(raw->select, 2, after);
    while (sqlite3_step(raw->select) == SQLITE_ROW) {
      if (!sqlite3_column_text(raw->select, 4)) bench_die("raw select: no data");
      count++;
    }
    sqlite3_reset(raw->select);
  }
  return count;
}

size_t raw_read_row(raw_connection *raw, const char *type, const char *id, int64_t position) {
  size_t count = 0;
  if (raw->pg) {
    const char *values[2] = {type, id};
    PGresult *result = PQexecPrepared(raw->pg, "row and newer", 2, values, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) bench_die("raw select: %s", PQerrorMessage(raw->pg));
    count = (size_t)PQntuples(result);
    PQclear(result);
    return count;
  }
  int result;
  sqlite3_bind_text(raw->row, 1, type, -1, SQLITE_STATIC);
  sqlite3_bind_text(raw->row, 2, id, -1, SQLITE_STATIC);
  while ((result = sqlite3_step(raw->row)) == SQLITE_ROW) {
    if (!sqlite3_column_text(raw->row, 0)) bench_die("raw select: no state");
    count++;
  }
  if (result != SQLITE_DONE) bench_die("raw select: %s", sqlite3_errmsg(raw->sqlite));
  sqlite3_reset(raw->row);
  return count ? count + raw_read_cart(raw, id, position) : 0;
}

static size_t copy_all(raw_connection *raw) {
  size_t count = 0;
  pg_run_copy(
      raw,
      "copy (select position, id, type, version, data, metadata, created_at from events order by position) to stdout (format "
      "binary)");
  for (;;) {
    char *row = NULL;
    int size = PQgetCopyData(raw->pg, &row, 0);
    if (size < 0) break;
    count++;
    PQfreemem(row);
  }
  for (PGresult *result; (result = PQgetResult(raw->pg)) != NULL;) {
    if (PQresultStatus(result) != PGRES_COMMAND_OK) bench_die("raw copy: %s", PQerrorMessage(raw->pg));
    PQclear(result);
  }
  return count - 1; /* the trailer is a message of its own */
}

size_t raw_read_all(raw_connection *raw) {
  size_t count = 0, bytes = 0;
  sqlite3_stmt *statement;
  if (raw->pg) return copy_all(raw);
  sqlite3_prepare_v2(raw->sqlite, "select position, id, type, version, data, metadata, created_at from events order by position",
                     -1, &statement, NULL);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    for (int i = 0; i < 7; i++) bytes += sqlite3_column_text(statement, i) ? (size_t)sqlite3_column_bytes(statement, i) : 0;
    count++;
  }
  sqlite3_finalize(statement);
  return bytes ? count : 0;
}

void raw_forget_rows(raw_connection *raw) {
  static const char *const statements[] = {"delete from projections", "delete from annal_checkpoints",
                                           "delete from annal_parked"};
  for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
    if (raw->pg) pg_run(raw, statements[i]);
    else sqlite_run(raw, statements[i]);
  }
  if (raw->pg) pg_run(raw, "vacuum projections");
}

/* ---- Views ------------------------------------------------------------------------------------------------------------- */

/* The rows as the JSON array that they are to be: no text is looked at, and times stay numbers. */
typedef struct raw_text {
  char *bytes;
  size_t size, capacity;
} raw_text;

static void add(raw_text *text, const char *bytes, size_t size) {
  if (text->size + size > text->capacity) {
    text->capacity = (text->size + size) * 2;
    text->bytes = realloc(text->bytes, text->capacity);
    if (!text->bytes) bench_die("out of memory");
  }
  memcpy(text->bytes + text->size, bytes, size);
  text->size += size;
}

static void add_view(raw_text *text, const char *id, const char *data, size_t size, const char *event, int64_t position,
                     int64_t time) {
  char rest[512];
  add(text, text->size ? ",{\"data\":" : "[{\"data\":", 9);
  add(text, data, size);
  int length = snprintf(rest, sizeof rest, ",\"id\":\"%s\",\"latest_event_id\":\"%s\",\"position\":%lld,\"updated_at\":%lld}", id,
                        event, (long long)position, (long long)time);
  add(text, rest, (size_t)length);
}

static int64_t big_endian(const char *bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | (unsigned char)bytes[i];
  return (int64_t)value;
}

static size_t pg_query_views(raw_connection *raw, const char *type, const char *user) {
  if (!raw->fingerprint[0]) {
    pg_run(raw, "analyze projections"); /* or the planner knows nothing of them yet */
    PGresult *result = PQexec(raw->pg, "select fingerprint from projections limit 1");
    if (PQntuples(result) == 1) snprintf(raw->fingerprint, sizeof raw->fingerprint, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
  }
  const char *values[3] = {type, raw->fingerprint, user};
  PGresult *result = PQexecPrepared(raw->pg, user ? "views of user" : "views", user ? 3 : 2, values, NULL, NULL, 1);
  if (PQresultStatus(result) != PGRES_TUPLES_OK) bench_die("raw views: %s", PQerrorMessage(raw->pg));
  size_t count = (size_t)PQntuples(result);
  raw_text text = {0};
  for (int i = 0; i < (int)count; i++)
    add_view(&text, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1), (size_t)PQgetlength(result, i, 1),
             PQgetvalue(result, i, 2), big_endian(PQgetvalue(result, i, 3)), big_endian(PQgetvalue(result, i, 4)));
  PQclear(result);
  free(text.bytes);
  return count;
}

static void sqlite_prepare_views(raw_connection *raw) {
  sqlite3_stmt *first = sqlite_statement(raw, "select fingerprint from projections limit 1");
  if (sqlite3_step(first) == SQLITE_ROW) snprintf(raw->fingerprint, sizeof raw->fingerprint, "%s", sqlite3_column_text(first, 0));
  sqlite3_finalize(first);
  raw->views =
      sqlite_statement(raw, "select id, data, latest_event_id, position, updated_at from projections where type = ?1 and "
                            "fingerprint = ?2 order by id");
  raw->views_of_user = sqlite_statement(
      raw,
      "select id, data, latest_event_id, position, updated_at from projections where type = ?1 and fingerprint = ?2 and "
      "case json_type(data,'$.userId') when 'text' then data->>'$.userId' when 'null' then null else data->'$.userId' end = ?3 "
      "order by id");
}

static size_t sqlite_query_views(raw_connection *raw, const char *type, const char *user) {
  size_t count = 0;
  raw_text text = {0};
  if (!raw->views) sqlite_prepare_views(raw);
  sqlite3_stmt *statement = user ? raw->views_of_user : raw->views;
  sqlite3_bind_text(statement, 1, type, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 2, raw->fingerprint, -1, SQLITE_STATIC);
  if (user) sqlite3_bind_text(statement, 3, user, -1, SQLITE_STATIC);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    add_view(&text, (const char *)sqlite3_column_text(statement, 0), (const char *)sqlite3_column_text(statement, 1),
             (size_t)sqlite3_column_bytes(statement, 1), (const char *)sqlite3_column_text(statement, 2),
             sqlite3_column_int64(statement, 3), sqlite3_column_int64(statement, 4));
    count++;
  }
  sqlite3_reset(statement);
  free(text.bytes);
  return count;
}

size_t raw_query_views(raw_connection *raw, const char *type, const char *user_or_null) {
  return raw->pg ? pg_query_views(raw, type, user_or_null) : sqlite_query_views(raw, type, user_or_null);
}
