/* Rows of projections: written so that they only move forward, and queried. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "store/query_rows.h"
#include <string.h>

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

static void bind_key(sqlite3_stmt *stmt, const store_row *row) {
  sqlite_bind(stmt, 1, row->type);
  sqlite_bind(stmt, 2, row->fingerprint);
  sqlite_bind(stmt, 3, row->id);
}

/* *position is -1 where there is no row. */
static int find_position(sqlite_store *s, sqlite_conn *conn, const store_row *row, int64_t *position, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_ROW_POSITION], &stmt, error);
  if (result) return result;
  *position = -1;
  bind_key(stmt, row);
  result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  *position = sqlite3_column_int64(stmt, 0);
  sqlite_done(stmt);
  return ANNAL_OK;
}

static int write_row(sqlite_store *s, sqlite_conn *conn, const store_row *row, int sql, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[sql], &stmt, error);
  if (result) return result;
  bind_key(stmt, row);
  sqlite3_bind_text64(stmt, 4, row->state, row->state_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_text64(stmt, 5, row->data, row->data_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_int64(stmt, 6, row->position);
  sqlite_bind(stmt, 7, row->latest_event_id);
  sqlite3_bind_int64(stmt, 8, base_now(s->base.env));
  result = sqlite_step(conn, stmt, error);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

/* A row gives way to a higher position; one saved by hand to an equal one too. */
static int put_row(sqlite_store *s, sqlite_conn *conn, const store_row *row, store_status *status, annal_error *error) {
  int64_t position;
  int result = find_position(s, conn, row, &position, error);
  if (result) return result;
  bool by_hand = row->fingerprint[0] == 0;
  *status = position < 0                                                         ? STORE_CREATED
            : row->position > position || (by_hand && row->position == position) ? STORE_UPDATED
                                                                                 : STORE_SKIPPED;
  if (*status == STORE_SKIPPED) return ANNAL_OK;
  return write_row(s, conn, row, *status == STORE_CREATED ? SQL_INSERT_ROW : SQL_UPDATE_ROW, error);
}

int sqlite_put_newest_row(sqlite_store *s, sqlite_conn *conn, const store_row *row, annal_error *error) {
  int64_t position;
  int result = find_position(s, conn, row, &position, error);
  return result ? result : write_row(s, conn, row, position < 0 ? SQL_INSERT_ROW : SQL_UPDATE_ROW, error);
}

/* In an open transaction. */
static int put_each(sqlite_store *s, sqlite_conn *conn, const store_row *rows, size_t count, store_status *statuses, bool *wrote,
                    annal_error *error) {
  int result = ANNAL_OK;
  for (size_t i = 0; i < count && !result; i++) {
    store_status status;
    result = put_row(s, conn, &rows[i], &status, error);
    if (!result && status != STORE_SKIPPED) *wrote = true;
    if (!result && statuses) statuses[i] = status;
  }
  return result;
}

int sqlite_put_rows_within(sqlite_store *s, sqlite_conn *conn, const store_row *rows, size_t count, store_status *statuses,
                           annal_error *error) {
  bool wrote = false;
  return put_each(s, conn, rows, count, statuses, &wrote, error);
}

static int put_all(sqlite_store *s, sqlite_conn *conn, const store_row *rows, size_t count, store_status *statuses,
                   annal_error *error) {
  int result = sqlite_begin(conn, error);
  if (result) return result;
  bool wrote = false;
  result = put_each(s, conn, rows, count, statuses, &wrote, error);
  if (!result && wrote) return sqlite_commit(conn, error);
  sqlite_rollback(conn);
  return result;
}

int sqlite_put_rows(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  int result = sqlite_take_writer(self, &conn, error);
  if (result) return result;
  result = put_all(self, conn, rows, count, statuses, error);
  if (!result) sqlite_checkpoint_when_long(self, conn);
  sqlite_give_back(conn);
  return result;
}

/* ---- Querying ---------------------------------------------------------------------------------------------------------- */

bool sqlite_get_row(sqlite3_stmt *stmt, store_row *row) {
  *row = (store_row){.type = (const char *)sqlite3_column_text(stmt, 0),
                     .fingerprint = (const char *)sqlite3_column_text(stmt, 1),
                     .id = (const char *)sqlite3_column_text(stmt, 2),
                     .state = (const char *)sqlite3_column_text(stmt, 3),
                     .state_size = (size_t)sqlite3_column_bytes(stmt, 3),
                     .data = (const char *)sqlite3_column_text(stmt, 4),
                     .data_size = (size_t)sqlite3_column_bytes(stmt, 4),
                     .position = sqlite3_column_int64(stmt, 5),
                     .latest_event_id = (const char *)sqlite3_column_text(stmt, 6),
                     .created_at = sqlite3_column_int64(stmt, 7),
                     .updated_at = sqlite3_column_int64(stmt, 8)};
  if (!row->state && sqlite3_column_type(stmt, 3) != SQLITE_NULL) return false;
  return row->type && row->fingerprint && row->id && row->data && row->latest_event_id;
}

/* Rows of an answer, which are handed out with no connection taken, so that whoever receives them may use the store. They are
 * packed one behind the other: a copy of the struct, then its texts. */
typedef struct row_pack {
  base_buf bytes;
  size_t count;
} row_pack;

static bool pack_row(row_pack *pack, sqlite3_stmt *stmt) {
  store_row row = {.data_size = 0};
  const char *texts[] = {(const char *)sqlite3_column_text(stmt, 0), (const char *)sqlite3_column_text(stmt, 1),
                         (const char *)sqlite3_column_text(stmt, 4)};
  const char *data = (const char *)sqlite3_column_text(stmt, 2);
  if (!texts[0] || !texts[1] || !texts[2] || !data) return false;
  row.data_size = (size_t)sqlite3_column_bytes(stmt, 2);
  row.position = sqlite3_column_int64(stmt, 3);
  row.created_at = sqlite3_column_int64(stmt, 5);
  row.updated_at = sqlite3_column_int64(stmt, 6);
  row.stale = sqlite3_column_int(stmt, 7) != 0;
  buf_add(&pack->bytes, &row, sizeof row);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) buf_add(&pack->bytes, texts[i], strlen(texts[i]) + 1);
  buf_add(&pack->bytes, data, row.data_size + 1);
  pack->count++;
  return !pack->bytes.failed;
}

static const char *next_text(const char **at) {
  const char *text = *at;
  *at += strlen(text) + 1;
  return text;
}

/* The row that begins at *at, which moves behind it. */
static store_row unpack_row(const char **at) {
  store_row row;
  memcpy(&row, *at, sizeof row);
  *at += sizeof row;
  row.fingerprint = next_text(at);
  row.id = next_text(at);
  row.latest_event_id = next_text(at);
  row.data = *at;
  *at += row.data_size + 1;
  return row;
}

/* One of the two parts of a query, which differ in the sets that they look at: its text, with what the user chose. */
static void add_part(query *q, const char *sql, const store_sought *sought, const query_order *order) {
  static const char mark[] = "@order@";
  const char *cut = strstr(sql, mark);
  buf_add(&q->sql, sql, (size_t)(cut - sql));
  query_add_order_columns(q, order);
  query_text(q, cut + sizeof mark - 1);
  if (sought->query->id) {
    query_text(q, " AND p.id = ");
    query_add_text(q, sought->query->id);
  }
  query_add_fields(q, "p.data", sought->query->data, sought->query->data_count);
  query_add_ranges(q, sought->ranges, sought->query->range_count);
  query_add_after(q, order, sought);
}

static void build_query(sqlite_store *s, query *q, const store_sought *sought) {
  query_order order = query_order_of(&sqlite_dialect, sought);
  query_bind_text(q, sought->query->type);
  query_bind_text(q, sought->query->fingerprint);
  add_part(q, s->sql[SQL_QUERY_ROWS], sought, &order);
  if (sought->query->fingerprint[0] && !sought->query->one_set) {
    query_text(q, "\nUNION ALL\n");
    add_part(q, s->sql[SQL_QUERY_STALE_ROWS], sought, &order);
  }
  query_add_order(q, &order, true);
  query_add_limit(q, sought);
}

static int read_rows(sqlite_store *s, const query *q, row_pack *pack, annal_error *error) {
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = sqlite_prepare_query(conn, q, &stmt, error);
  while (!result && (result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    result = pack_row(pack, stmt) ? ANNAL_OK : error_memory(error);
    if (result) sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

int sqlite_query_rows(store *s, const store_sought *sought, store_each_row *each, void *context, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  query q;
  row_pack pack = {0};
  query_init(&q, s->env, &sqlite_dialect);
  buf_init(&pack.bytes, s->env);
  build_query(self, &q, sought);
  int result = read_rows(self, &q, &pack, error);
  const char *at = pack.bytes.bytes;
  for (size_t i = 0; i < pack.count && !result; i++) {
    store_row row = unpack_row(&at);
    row.type = sought->query->type;
    if (each(context, &row)) break;
  }
  buf_free(&pack.bytes);
  query_free(&q);
  return result;
}
