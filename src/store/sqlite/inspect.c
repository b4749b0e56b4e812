/* What `check` finds beyond the events themselves: the file's own integrity, indexes, rows; and which of them has stopped a read. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

typedef struct inspection {
  sqlite_store *s;
  sqlite_conn *conn;
  store_finding *finding;
  void *context;
  uint64_t *findings;
} inspection;

#define REPORT(i, ...) store_report((i)->finding, (i)->context, (i)->findings, __VA_ARGS__)

static int inspect_file(inspection *i, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(i->conn, "PRAGMA integrity_check", &stmt, error);
  if (result) return result;
  while ((result = sqlite_step(i->conn, stmt, error)) == SQLITE_ROW) {
    const char *line = (const char *)sqlite3_column_text(stmt, 0);
    if (line && strcmp(line, "ok") != 0) REPORT(i, "SQLite: %s", line);
  }
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int inspect_indexes(inspection *i, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(i->conn, i->s->sql[SQL_CHECK_INDEXES], &stmt, error);
  if (result) return result;
  while ((result = sqlite_step(i->conn, stmt, error)) == SQLITE_ROW)
    if (!sqlite3_column_int(stmt, 1)) REPORT(i, "the index of %s is missing", (const char *)sqlite3_column_text(stmt, 0));
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int inspect_rows(inspection *i, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(i->conn, i->s->sql[SQL_CHECK_ROWS], &stmt, error);
  if (result) return result;
  base_buf scratch;
  buf_init(&scratch, i->s->base.env);
  while ((result = sqlite_step(i->conn, stmt, error)) == SQLITE_ROW) {
    store_row row;
    char shown[96], event[96];
    if (!sqlite_get_row(stmt, &row) || scratch.failed) {
      sqlite_done(stmt);
      result = error_memory(error);
      break;
    }
    if (!sqlite3_column_int(stmt, 9))
      REPORT(i, "row %s \"%s\": the event \"%s\" is not at position %lld", row.type, text_show(row.id, shown),
             text_show(row.latest_event_id, event), (long long)row.position);
    store_check_row(&row, &scratch, i->finding, i->context, i->findings);
  }
  if (result == SQLITE_DONE) result = scratch.failed ? error_memory(error) : ANNAL_OK;
  buf_free(&scratch);
  return result;
}

int sqlite_check(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error) {
  inspection i = {.s = (sqlite_store *)s, .finding = finding, .context = context};
  i.findings = findings; /* counted through the struct */
  int result = sqlite_take_reader(i.s, &i.conn, error);
  if (result) return result;
  i.conn->deadline = 0; /* it reads every page there is */
  result = inspect_file(&i, error);
  if (!result) result = inspect_indexes(&i, error);
  if (!result) result = inspect_rows(&i, error);
  sqlite_give_back(i.conn);
  return result;
}

/* ---- What has stopped a read ------------------------------------------------------------------------------------------------ */

/* The first row of the table (quoted) whose data is no JSON: two columns that name it. False where there is none, or none is found
 * before the time is up. */
static bool find_damaged(sqlite_conn *conn, const char *columns, const char *table, char first[96], char second[96]) {
  sqlite3_stmt *stmt = NULL;
  base_buf sql;
  buf_init(&sql, conn->store->base.env);
  buf_printf(&sql, "SELECT %s FROM %s WHERE NOT json_valid(data) ORDER BY %s LIMIT 1", columns, table, columns);
  bool found =
      !sql.failed && sqlite3_prepare_v2(conn->db, sql.bytes, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW;
  if (found) {
    const char *texts[] = {(const char *)sqlite3_column_text(stmt, 0), (const char *)sqlite3_column_text(stmt, 1)};
    text_show(texts[0] ? texts[0] : "", first);
    text_show(texts[1] ? texts[1] : "", second);
  }
  sqlite3_finalize(stmt);
  buf_free(&sql);
  return found;
}

int sqlite_fail_damaged(sqlite_conn *conn, annal_error *error) {
  char why[200], first[96], second[96];
  const sqlite_store *s = conn->store;
  snprintf(why, sizeof why, "%.190s", sqlite3_errmsg(conn->db));
  if (find_damaged(conn, "position, id", s->events, first, second))
    return error_set(error, ANNAL_CORRUPT, NULL, "%s: data of event \"%s\" at position %s is no JSON; annal check finds all such",
                     s->path, second, first);
  base_buf projections;
  buf_init(&projections, s->base.env);
  sqlite_quote(&projections, s->base.options->projections, '"');
  bool found = !projections.failed && find_damaged(conn, "type, id", projections.bytes, first, second);
  buf_free(&projections);
  if (found)
    return error_set(error, ANNAL_CORRUPT, NULL, "%s: data of the row %s \"%s\" is no JSON; annal check finds all such", s->path,
                     first, second);
  return error_set(error, ANNAL_CORRUPT, NULL, "%s cannot be read: %s", s->path, why);
}
