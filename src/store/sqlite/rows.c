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

/* Which rows a statement is to find. KEPT_SET: with what stands still of it. */
typedef enum query_sets { ONE_SET, KEPT_SET, OWN_SET_IF_ALONE, ALL_SETS } query_sets;

static void build_query(sqlite_store *s, query *q, const store_sought *sought, query_sets sets) {
  static const int parts[] = {
      [ONE_SET] = SQL_QUERY_ROWS, [KEPT_SET] = SQL_QUERY_KEPT, [OWN_SET_IF_ALONE] = SQL_QUERY_OWN, [ALL_SETS] = SQL_QUERY_ROWS};
  query_order order = query_order_of(&sqlite_dialect, sought);
  query_bind_text(q, sought->query->type);
  query_bind_text(q, sought->query->fingerprint);
  add_part(q, s->sql[parts[sets]], sought, &order);
  if (sets == ALL_SETS) {
    query_text(q, "\nUNION ALL\n");
    add_part(q, s->sql[SQL_QUERY_STALE_ROWS], sought, &order);
  }
  query_add_order(q, &order, true);
  query_add_limit(q, sought);
}

/* Where the rows go, and what became of it. */
typedef struct receiver {
  const char *type;
  store_each_row *each;
  void *context;
  bool any;    /* there was a row */
  bool others; /* there are other sets: nothing was handed out */
} receiver;

/* The sixth column says whether the row is stale, or whether there are other sets. */
static bool get_row(sqlite3_stmt *stmt, query_sets sets, const char *type, store_row *row) {
  *row = (store_row){.type = type,
                     .id = (const char *)sqlite3_column_text(stmt, 0),
                     .data = (const char *)sqlite3_column_text(stmt, 1),
                     .data_size = (size_t)sqlite3_column_bytes(stmt, 1),
                     .position = sqlite3_column_int64(stmt, 2),
                     .latest_event_id = (const char *)sqlite3_column_text(stmt, 3),
                     .updated_at = sqlite3_column_int64(stmt, 4),
                     .stale = sqlite3_column_int(stmt, 5) != 0};
  bool whole = row->id && row->data && row->latest_event_id;
  if (sets != KEPT_SET || sqlite3_column_type(stmt, 6) == SQLITE_NULL) return whole;
  row->parked_event_id = (const char *)sqlite3_column_text(stmt, 6);
  row->parked = (const char *)sqlite3_column_text(stmt, 7);
  row->stale = true;
  return whole && row->parked_event_id && row->parked;
}

static int step_query(sqlite_conn *conn, const query *q, query_sets sets, receiver *to, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare_query(conn, q, &stmt, error);
  if (result) return result;
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    store_row row;
    bool there = get_row(stmt, sets, to->type, &row);
    to->any = true;
    to->others = sets == OWN_SET_IF_ALONE && row.stale;
    if (there && !to->others && to->each(to->context, &row) == 0) continue;
    sqlite_done(stmt);
    return there ? ANNAL_OK : error_memory(error);
  }
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int run_query(sqlite_store *s, sqlite_conn *conn, const store_sought *sought, query_sets sets, receiver *to,
                     annal_error *error) {
  query q;
  query_init(&q, s->base.env, &sqlite_dialect);
  build_query(s, &q, sought, sets);
  int result = step_query(conn, &q, sets, to, error);
  query_free(&q);
  return result;
}

/* Whether there are other sets, where no row has said so. */
static int look_for_others(sqlite_store *s, sqlite_conn *conn, const store_query *asked, bool *others, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_OTHER_SETS], &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, asked->type);
  sqlite_bind(stmt, 2, asked->fingerprint);
  result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  *others = sqlite3_column_int(stmt, 0) != 0;
  sqlite_done(stmt);
  return ANNAL_OK;
}

/* Most types have one set: what others cost is paid only where there are some. All that is handed out is of one statement. */
static int read_rows(sqlite_store *s, sqlite_conn *conn, const store_sought *sought, receiver *to, annal_error *error) {
  if (sought->query->fingerprint[0] == 0) return run_query(s, conn, sought, ONE_SET, to, error);
  if (sought->query->kept_set) return run_query(s, conn, sought, KEPT_SET, to, error);
  int result = run_query(s, conn, sought, OWN_SET_IF_ALONE, to, error);
  if (!result && !to->any) result = look_for_others(s, conn, sought->query, &to->others, error);
  return !result && to->others ? run_query(s, conn, sought, ALL_SETS, to, error) : result;
}

int sqlite_query_rows(store *s, const store_sought *sought, store_each_row *each, void *context, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  receiver to = {.type = sought->query->type, .each = each, .context = context};
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  result = read_rows(self, conn, sought, &to, error);
  sqlite_give_back(conn);
  return result;
}
