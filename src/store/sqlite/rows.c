/* Rows of projections: written so that they only move forward, and queried in pages. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/limits.h"
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

/* A page of rows, handed out with no connection taken, so that whoever receives them may use the store. Rows are packed one
 * behind the other: a copy of the struct, then its texts. */
typedef struct row_page {
  base_buf bytes;
  size_t count;
  char *last_id;
  bool full;
} row_page;

/* A page is bounded by its bytes alone: a filter without an index, and stale rows, are sought anew for each page. */
static bool page_add(row_page *page, const store_row *row) {
  const char *texts[] = {row->type, row->fingerprint, row->id, row->latest_event_id};
  base_buf *b = &page->bytes;
  buf_add(b, row, sizeof *row);
  for (size_t i = 0; i < 4; i++) buf_add(b, texts[i], strlen(texts[i]) + 1);
  buf_add(b, row->data, row->data_size + 1);
  if (row->state) buf_add(b, row->state, row->state_size + 1);
  page->count++;
  page->full = b->size >= LIMIT_PAGE_BYTES;
  return !b->failed;
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
  row.type = next_text(at);
  row.fingerprint = next_text(at);
  row.id = next_text(at);
  row.latest_event_id = next_text(at);
  row.data = *at;
  *at += row.data_size + 1;
  if (row.state) {
    row.state = *at;
    *at += row.state_size + 1;
  }
  return row;
}

/* The parts of the query that the user chose, behind either of its halves. */
static void add_choice(query *q, const store_query *asked, const char *after) {
  if (asked->id) {
    query_text(q, " AND p.id = ");
    query_add_text(q, asked->id);
  }
  if (after) {
    query_text(q, " AND p.id > ");
    query_add_text(q, after);
  }
  query_add_fields(q, "p.data", asked->data, asked->data_count);
}

static void build_query(sqlite_store *s, query *q, const store_query *asked, const char *after) {
  query_bind_text(q, asked->type);
  query_bind_text(q, asked->fingerprint);
  query_text(q, s->sql[SQL_QUERY_ROWS]);
  add_choice(q, asked, after);
  if (asked->fingerprint[0]) {
    query_text(q, "\nUNION ALL\n");
    query_text(q, s->sql[SQL_QUERY_STALE_ROWS]);
    add_choice(q, asked, after);
  }
  query_text(q, "\nORDER BY 3");
}

static int fill_page(sqlite_conn *conn, const query *q, row_page *page, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare_query(conn, q, &stmt, error);
  if (result) return result;
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    store_row row;
    bool added = sqlite_get_row(stmt, &row);
    row.stale = sqlite3_column_int(stmt, 9) != 0;
    added = added && page_add(page, &row);
    if (added && !page->full) continue;
    sqlite_done(stmt);
    return added ? ANNAL_OK : error_memory(error);
  }
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int read_rows(sqlite_store *s, const store_query *asked, row_page *page, annal_error *error) {
  query q;
  query_init(&q, s->base.env, &sqlite_dialect);
  build_query(s, &q, asked, page->last_id);
  buf_clear(&page->bytes);
  page->count = 0;
  page->full = false;
  sqlite_conn *conn;
  int result = sqlite_take_reader(s, &conn, error);
  if (!result) {
    result = fill_page(conn, &q, page, error);
    sqlite_give_back(conn);
  }
  query_free(&q);
  return result;
}

/* True when a callback has ended the query. */
static bool hand_out(row_page *page, store_each_row *each, void *context, const char **last_id) {
  const char *at = page->bytes.bytes;
  for (size_t i = 0; i < page->count; i++) {
    store_row row = unpack_row(&at);
    *last_id = row.id;
    if (each(context, &row)) return true;
  }
  return false;
}

int sqlite_query_rows(store *s, const store_query *asked, store_each_row *each, void *context, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  const base_env *env = self->base.env;
  unsigned interrupts = atomic_load(&self->interrupts);
  row_page page = {0};
  buf_init(&page.bytes, env);
  int result;
  do {
    const char *last_id = NULL;
    result = read_rows(self, asked, &page, error);
    if (result || hand_out(&page, each, context, &last_id) || !page.full) break;
    char *copy = base_strdup(env, last_id);
    base_free(env, page.last_id);
    page.last_id = copy;
    if (!copy) result = error_memory(error);
    else if (atomic_load(&self->interrupts) != interrupts) result = error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  } while (!result);
  base_free(env, page.last_id);
  buf_free(&page.bytes);
  return result;
}
