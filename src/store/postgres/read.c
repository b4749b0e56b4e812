/* Reading events: pages of a prepared statement, the next asked for before the one in hand is folded. Role: read, read_row, head
 * and position_of of the backend.
 *
 * The head is taken by the first statement for events alone, in its snapshot, and later pages end there. A page that was lost with its connection
 * is asked for again from the last position: what was handed out stays true, for the log only grows. Each page may come from another
 * server than the one before: it says by itself, out of its own snapshot, whether that has what was seen before (reach.sql). Otherwise
 * a server that lags would end the read early, or skip what it does not have yet. */
#include "store/postgres/cursor.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

enum { EVENT_COLUMNS = 7, LARGE_FIRST_PAGE = 16 };

/* ---- One value ------------------------------------------------------------------------------------------------------------- */

static int render_sql(pg_store *s, const char *file, base_buf *sql, annal_error *error) {
  buf_init(sql, s->base.env);
  pg_render(sql, &s->names, NULL, file);
  if (!sql->failed) return ANNAL_OK;
  buf_free(sql);
  return error_memory(error);
}

static void take_head(const PGresult *result, store_head_info *head) {
  head->position = pg_int(result, 0, 0);
  const char *id = PQgetvalue(result, 0, 1);
  memcpy(head->id, id, strnlen(id, sizeof head->id - 1));
}

int pg_head(store *base, store_head_info *head, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  base_buf sql;
  PGresult *result;
  *head = (store_head_info){0};
  int code = render_sql(s, "head.sql", &sql, error);
  if (code) return code;
  code = pg_run(s, sql.bytes, NULL, &call, &result, error);
  buf_free(&sql);
  if (code) return code;
  if (PQntuples(result) == 1) take_head(result, head);
  PQclear(result);
  return ANNAL_OK;
}

int pg_find(store *base, const char *id, store_head_info *head, int64_t *position, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  base_buf sql;
  PGresult *result;
  *head = (store_head_info){0};
  *position = 0;
  int code = render_sql(s, "find.sql", &sql, error);
  if (code) return code;
  pg_params params;
  pg_params_init(&params, s->base.env);
  pg_params_text(&params, id);
  code = pg_run(s, sql.bytes, &params, &call, &result, error);
  pg_params_free(&params);
  buf_free(&sql);
  if (code) return code;
  if (PQntuples(result) == 1) {
    take_head(result, head);
    *position = pg_int(result, 0, 2); /* 0 for null */
  }
  PQclear(result);
  return ANNAL_OK;
}

int pg_position_at_time(store *base, int64_t time, int64_t *position, bool *whole, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  base_buf sql;
  PGresult *result;
  char bytes[8];
  int code = render_sql(s, "position_at_time.sql", &sql, error);
  if (code) return code;
  pg_params params;
  pg_params_init(&params, s->base.env);
  pg_put64(bytes, time - PG_EPOCH);
  pg_params_binary(&params, PG_TIMESTAMPTZ, bytes, sizeof bytes);
  code = pg_run(s, sql.bytes, &params, &call, &result, error);
  pg_params_free(&params);
  buf_free(&sql);
  if (code) return code;
  *position = pg_int(result, 0, 0);
  *whole = pg_int(result, 0, 1) != 0;
  PQclear(result);
  return ANNAL_OK;
}

int pg_position_of(store *base, const char *id, int64_t *position, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  char shown[96];
  base_buf sql;
  PGresult *result;
  int code = render_sql(s, "position_of.sql", &sql, error);
  if (code) return code;
  pg_params params;
  pg_params_init(&params, s->base.env);
  pg_params_text(&params, id);
  code = pg_run(s, sql.bytes, &params, &call, &result, error);
  pg_params_free(&params);
  buf_free(&sql);
  if (code) return code;
  if (PQntuples(result) == 1) *position = pg_int(result, 0, 0);
  else code = error_set(error, ANNAL_NOT_FOUND, NULL, "no event with the id \"%s\" is stored", text_show(id, shown));
  PQclear(result);
  return code;
}

/* ---- Asking for a page ----------------------------------------------------------------------------------------------------- */

/* Rows of the next page: fewer where events are large, so that a page stays within LIMIT_PAGE_BYTES or so. */
static int rows_of_page(const pg_cursor *c) {
  size_t largest = atomic_load(&c->s->largest_event);
  if (largest < c->row_bytes) largest = c->row_bytes;
  size_t rows = largest * LIMIT_PAGE_EVENTS <= LIMIT_PAGE_BYTES ? LIMIT_PAGE_EVENTS : LIMIT_PAGE_BYTES / largest + 1;
  if (!c->page && atomic_load(&c->s->has_large) && rows > LARGE_FIRST_PAGE) rows = LARGE_FIRST_PAGE;
  return c->left < rows ? (int)c->left : (int)rows;
}

/* Does this statement have to say what the head is? Not where it can only be the last of the read. */
static bool wants_head(const pg_cursor *c, int rows) { return !c->bounded && !c->reverse && (uint64_t)rows < c->left; }

static void query_begin(pg_cursor *c, query *q) {
  query_init(q, c->s->base.env, &pg_dialect);
  q->declared = (const char *const *)c->s->base.event_fields.names;
  q->declared_count = c->s->base.event_fields.count;
  q->correlation = c->correlation;
}

static void add_head(base_buf *columns, const pg_cursor *c) {
  buf_text(columns, ", (select h.position from ");
  pg_render_text(columns, &c->s->names, "@events@");
  buf_text(columns, " h order by h.position desc limit 1)");
}

/* `more`: columns beyond those of an event. */
static void add_reach(base_buf *sql, query *q, const pg_cursor *c, const char *more) {
  char places[2][24];
  query_bind_int(q, c->reach.seen.position);
  snprintf(places[0], sizeof places[0], "$%zu", q->count);
  query_bind_int(q, c->reach.up_to.position);
  snprintf(places[1], sizeof places[1], "$%zu", q->count);
  const pg_word own[] = {{"seen", places[0]}, {"up_to", places[1]}, {"more", more}, {NULL, NULL}};
  pg_render(sql, &c->s->names, own, "reach.sql");
}

static bool has_reach(const pg_cursor *c) { return c->reach.seen.position > 0 || c->reach.up_to.position > 0; }

static int send_row_query(pg_cursor *c, pg_conn *conn, annal_error *error) {
  pg_params params;
  pg_params_init(&params, c->s->base.env);
  pg_params_query(&params, c->row_query);
  params.plans = PG_PLANS_ONCE;
  int code = pg_send(c->s, conn, c->row_query->sql.bytes, &params, &c->call, error);
  pg_params_free(&params);
  return code;
}

/* The statement for the page that comes next. */
static int send_page(pg_cursor *c, pg_conn *conn, annal_error *error) {
  if (c->row_query) return send_row_query(c, conn, error);
  int rows = rows_of_page(c);
  bool head = wants_head(c, rows);
  base_buf columns, table;
  query q;
  buf_init(&columns, c->s->base.env);
  buf_init(&table, c->s->base.env);
  query_begin(c, &q);
  buf_text(&columns, PG_EVENT_COLUMNS);
  if (head) add_head(&columns, c);
  pg_render_text(&table, &c->s->names, "@events@");
  pg_params params;
  pg_params_init(&params, c->s->base.env);
  params.plans = PG_PLANS_ONCE;
  q.failed |= columns.failed || table.failed;
  c->proves = has_reach(c);
  if (!q.failed) {
    if (c->proves) add_reach(&q.sql, &q, c, head ? ", null::int8" : "");
    if (c->proves) query_text(&q, "(");
    query_select_events(&q, columns.bytes, table.bytes, c->streams, c->stream_count, c->after, c->up_to, (uint64_t)rows,
                        c->reverse);
    if (c->proves) query_text(&q, ")");
    pg_params_query(&params, &q);
  }
  c->page_rows = rows;
  int code = q.failed ? error_memory(error) : pg_send(c->s, conn, q.sql.bytes, &params, &c->call, error);
  pg_params_free(&params);
  query_free(&q);
  buf_free(&columns);
  buf_free(&table);
  return code;
}

/* ---- Receiving it ---------------------------------------------------------------------------------------------------------- */

void pg_cursor_fetch(pg_cursor *c, pg_conn *conn) {
  c->call.deadline = base_monotonic() + c->s->timeout; /* the caller's time between pages does not count */
  c->ready_code = pg_receive(c->s, conn, &c->call, &c->ready, &c->ready_error);
  c->fetched = true;
}

/* The page that was asked for ahead: fetched by the pool meanwhile, or still to be received. */
static int receive_ahead(pg_cursor *c, PGresult **result, annal_error *error) {
  pg_store *s = c->s;
  pthread_mutex_lock(&s->pool_lock);
  while (c->fetching) pthread_cond_wait(&s->pool_free, &s->pool_lock);
  bool ours = !c->fetched;
  if (ours) {
    c->conn->ahead = NULL;
    c->conn->lent = true;
  }
  pthread_mutex_unlock(&s->pool_lock);
  if (ours) pg_cursor_fetch(c, c->conn);
  else c->conn = NULL;
  c->asked = c->fetched = false;
  *result = c->ready;
  c->ready = NULL;
  if (c->ready_code) *error = c->ready_error;
  return c->ready_code;
}

static void give_back(pg_cursor *c) {
  if (c->conn) pg_release(c->s, c->conn);
  c->conn = NULL;
}

/* Asks again for a page whose connection was lost, or whose statement somebody ended, not us: a server ends one that cannot
 * send because its reader is slow. */
static bool may_ask_again(const pg_cursor *c, const annal_error *error) {
  if (pg_interrupted(c->s, &c->call)) return false;
  return !c->conn || pg_lost(c->conn) || strcmp(error->sqlstate, "57014") == 0;
}

static bool is_other(const char *id, const store_head_info *event) {
  return event->position > 0 && event->id[0] && (!id || strcmp(id, event->id) != 0);
}

/* Does the page contain what was seen before? *lags: its server does not have it yet. */
static int check_reach(pg_cursor *c, const PGresult *page, bool *lags, annal_error *error) {
  char shown[96];
  *lags = false;
  if (!c->proves) return ANNAL_OK;
  const store_reach *reach = &c->reach;
  int64_t needed = reach->seen.position > reach->up_to.position ? reach->seen.position : reach->up_to.position;
  int64_t head = PQntuples(page) > 0 ? pg_int(page, 0, 0) : 0;
  *lags = head < needed;
  if (*lags)
    return error_set(error, ANNAL_UNAVAILABLE, NULL,
                     "%s: the server that was reached has events up to position %lld, and another has shown position %lld: a "
                     "replica that lags, or a history that was lost (after a failover or a restore)",
                     c->s->place, (long long)head, (long long)needed);
  const store_head_info *gone = is_other(pg_text(page, 0, 1), &reach->seen)    ? &reach->seen
                                : is_other(pg_text(page, 0, 2), &reach->up_to) ? &reach->up_to
                                                                               : NULL;
  if (!gone) return ANNAL_OK;
  return error_set(
      error, ANNAL_UNAVAILABLE, NULL,
      "%s: the event \"%s\" at position %lld was seen when the read began, and is not stored any more (after a failover "
      "or a restore): read again",
      c->s->place, text_show(gone->id, shown), (long long)gone->position);
}

/* The page that was asked for ahead, or by a statement now. *lags as above; *again: the same may be asked once more at once. */
static int try_page(pg_cursor *c, PGresult **result, bool *lags, bool *again, annal_error *error) {
  int code;
  *lags = *again = false;
  *result = NULL;
  if (c->asked) {
    code = receive_ahead(c, result, error);
  } else {
    c->call.deadline = base_monotonic() + c->s->timeout;
    code = pg_acquire(c->s, &c->call, &c->conn, error);
    if (code) return code;
    code = send_page(c, c->conn, error);
    if (!code) code = pg_receive(c->s, c->conn, &c->call, result, error);
  }
  *again = code && may_ask_again(c, error);
  if (!code) code = check_reach(c, *result, lags, error);
  if (!code) return ANNAL_OK;
  PQclear(*result);
  *result = NULL;
  if (*lags && c->conn) pg_disconnect(c->s, c->conn); /* another connection may reach a server that does not */
  give_back(c);
  return code;
}

#define ATTEMPTS 2 /* at a page whose connection is lost, besides the one that asks ahead */

static int next_page(pg_cursor *c, PGresult **result, annal_error *error) {
  int pause_ms = PG_RETRY_FIRST_MS, attempts = c->asked ? -1 : 0;
  pg_call patience = {.deadline = base_monotonic() + c->s->timeout, .interrupts = c->call.interrupts};
  for (;;) {
    bool lags, again;
    int code = try_page(c, result, &lags, &again, error);
    if (!code) return ANNAL_OK;
    if (lags) again = c->reach.patient && pg_wait_before_retry(c->s, &patience, &pause_ms);
    else again = again && ++attempts < ATTEMPTS;
    if (again) continue;
    return pg_interrupted(c->s, &patience) ? error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted") : code;
  }
}

/* ---- Making events of it --------------------------------------------------------------------------------------------------- */

static int make_room(pg_cursor *c, size_t count, annal_error *error) {
  if (count <= c->capacity) return ANNAL_OK;
  annal_event *events = base_realloc(c->s->base.env, c->events, count * sizeof *events);
  if (!events) return error_memory(error);
  c->events = events;
  c->capacity = count;
  return ANNAL_OK;
}

static size_t fill_event(const PGresult *page, int row, annal_event *event) {
  *event = (annal_event){.position = pg_get64(PQgetvalue(page, row, 0)),
                         .id = PQgetvalue(page, row, 1),
                         .type = PQgetvalue(page, row, 2),
                         .version = pg_get32(PQgetvalue(page, row, 3)),
                         .data = PQgetvalue(page, row, 4),
                         .data_size = (size_t)PQgetlength(page, row, 4),
                         .created_at = pg_get64(PQgetvalue(page, row, 6)) + PG_EPOCH};
  if (!PQgetisnull(page, row, 5)) {
    event->metadata = PQgetvalue(page, row, 5);
    event->metadata_size = (size_t)PQgetlength(page, row, 5);
  }
  return event->data_size + event->metadata_size;
}

void pg_note_size(pg_store *s, size_t bytes) {
  if (bytes <= LIMIT_PAGE_BYTES / LIMIT_PAGE_EVENTS) return;
  size_t known = atomic_load(&s->largest_event);
  while (known < bytes && !atomic_compare_exchange_weak(&s->largest_event, &known, bytes)) continue;
}

/* Where the page after begins, and what it must contain; or that there is none. */
static void move_on(pg_cursor *c, size_t count, int64_t head) {
  c->left -= count;
  c->over = c->left == 0 || (int)count < c->page_rows;
  if (count == 0) return;
  int64_t last = c->events[count - 1].position;
  c->reach.seen = (store_head_info){.position = last};
  memccpy(c->reach.seen.id, c->events[count - 1].id, 0, sizeof c->reach.seen.id - 1);
  if (c->reverse) {
    c->up_to = last - 1;
    c->over |= c->up_to <= c->after;
  } else {
    c->after = last;
    if (head > 0) {
      if (!c->up_to || c->up_to > head) c->up_to = head;
      c->bounded = true;
    }
    if (c->bounded && c->reach.up_to.position < c->up_to) c->reach.up_to = (store_head_info){.position = c->up_to};
    c->over |= c->bounded && c->after >= c->up_to;
  }
}

/* Asks for the next page, if there is one, and lends the connection back until the caller wants it. Where that fails, the page
 * is asked for when it is wanted. */
static void ask_ahead(pg_cursor *c) {
  annal_error ignored;
  c->call.deadline = base_monotonic() + c->s->timeout;
  if (!c->conn || c->over || send_page(c, c->conn, &ignored)) {
    give_back(c);
    return;
  }
  pthread_mutex_lock(&c->s->pool_lock);
  c->asked = true;
  c->conn->ahead = c;
  c->conn->lent = false;
  pthread_cond_signal(&c->s->pool_free);
  pthread_mutex_unlock(&c->s->pool_lock);
}

static int take_page(pg_cursor *c, PGresult *page, int row, int head_column) {
  annal_error error;
  size_t count = (size_t)(PQntuples(page) - row), largest = 0;
  int64_t head = head_column < PQnfields(page) && PQntuples(page) > 0 ? pg_int(page, PQntuples(page) - 1, head_column) : 0;
  if (make_room(c, count, &error)) return ANNAL_UNAVAILABLE;
  for (size_t i = 0; i < count; i++) {
    size_t size = fill_event(page, row + (int)i, &c->events[i]);
    if (size > largest) largest = size;
  }
  c->page = page;
  c->taken = count;
  if (largest > c->row_bytes) c->row_bytes = largest;
  pg_note_size(c->s, largest);
  move_on(c, count, head);
  ask_ahead(c);
  return ANNAL_OK;
}

/* Gets the next page into the cursor; c->taken events of it are to be handed out. */
static int advance(pg_cursor *c, annal_error *error) {
  PGresult *page;
  int code = next_page(c, &page, error);
  if (code) return code;
  if (take_page(c, page, c->proves ? 1 : 0, EVENT_COLUMNS) == ANNAL_OK) return ANNAL_OK;
  PQclear(page);
  give_back(c);
  return error_memory(error);
}

static int cursor_next(store_cursor *base, store_page *page, annal_error *error) {
  pg_cursor *c = (pg_cursor *)base;
  if (pg_interrupted(c->s, &c->call)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  if (!c->begun) { /* the first page came when the cursor was made */
    c->begun = true;
  } else {
    PGresult *done = c->page;
    c->page = NULL;
    c->taken = 0;
    PQclear(done);
    if (c->over) return ANNAL_OK;
    int code = advance(c, error);
    if (code) return code;
  }
  *page = (store_page){.events = c->events, .count = c->taken};
  return ANNAL_OK;
}

/* ---- Cursors --------------------------------------------------------------------------------------------------------------- */

static void cursor_free(pg_cursor *c) {
  pg_store *s = c->s;
  pthread_mutex_lock(&s->pool_lock);
  while (c->fetching) pthread_cond_wait(&s->pool_free, &s->pool_lock);
  /* A page nobody wants any more stays under way; whoever takes the connection next throws it away. */
  if (c->asked && !c->fetched && c->conn) c->conn->ahead = NULL;
  pthread_mutex_unlock(&s->pool_lock);
  PQclear(c->ready);
  PQclear(c->page);
  PQclear(c->first);
  base_free(s->base.env, c->events);
  base_free(s->base.env, c->streams);
  base_free(s->base.env, c->correlation);
  base_free(s->base.env, c);
}

static void cursor_close(store_cursor *base) { cursor_free((pg_cursor *)base); }

/* NULL: no memory. */
static pg_cursor *cursor_new(pg_store *s, const annal_stream *streams, size_t count) {
  static const store_cursor_backend backend = {.next = cursor_next, .close = cursor_close};
  pg_cursor *c = base_calloc(s->base.env, 1, sizeof *c);
  if (!c) return NULL;
  c->base.backend = &backend;
  c->s = s;
  c->call = pg_call_begin(s);
  c->reach.patient = true;
  c->left = UINT64_MAX;
  c->stream_count = count;
  if (count) c->streams = store_copy_streams(s->base.env, streams, count);
  if (!count || c->streams) return c;
  base_free(s->base.env, c);
  return NULL;
}

static int open_read(pg_store *s, const annal_selection *selection, const char *correlation, const store_reach *reach,
                     store_cursor **cursor, annal_error *error) {
  pg_cursor *c = cursor_new(s, selection->streams, selection->stream_count);
  int code = ANNAL_OK;
  if (!c) return error_memory(error);
  c->reverse = selection->reverse;
  c->after = selection->after;
  c->up_to = selection->before ? selection->before - 1 : 0;
  if (selection->limit) c->left = selection->limit;
  if (reach) c->reach = *reach;
  c->bounded = c->up_to > 0 && c->up_to <= c->reach.up_to.position; /* a head was taken already */
  c->over = selection->before > 0 && c->up_to <= c->after;          /* nothing lies between, and 0 would mean no bound */
  if (correlation) c->correlation = base_strdup(s->base.env, correlation);
  if (correlation && !c->correlation) code = error_memory(error);
  if (!code && !c->over) code = advance(c, error);
  if (code) cursor_free(c);
  else *cursor = &c->base;
  return code;
}

int pg_read(store *base, const annal_selection *selection, const store_reach *reach, store_cursor **cursor, annal_error *error) {
  return open_read((pg_store *)base, selection, NULL, reach, cursor, error);
}

int pg_read_correlated(store *base, const annal_selection *selection, const char *correlation_id, const store_reach *reach,
                       store_cursor **cursor, annal_error *error) {
  return open_read((pg_store *)base, selection, correlation_id, reach, cursor, error);
}

/* ---- A row and what came after it ------------------------------------------------------------------------------------------ */

/* One statement: the row, if there is one, padded to the columns of an event; then the events from its position on. They mostly fit into
 * one page, and to take the head costs 2 to 3 of its 30 to 45 us: where they do not, the second page's statement takes it. */
static int build_read_row(pg_cursor *c, query *q, const char *type, const char *fingerprint, const char *id) {
  base_buf columns, table, reach;
  buf_init(&columns, c->s->base.env);
  buf_init(&reach, c->s->base.env);
  buf_init(&table, c->s->base.env);
  query_begin(c, q);
  buf_text(&columns, PG_EVENT_COLUMNS ", null::timestamptz");
  c->page_rows = rows_of_page(c);
  pg_render_text(&table, &c->s->names, "@events@");
  query_bind_text(q, type);
  query_bind_text(q, fingerprint);
  query_bind_text(q, id);
  c->proves = has_reach(c);
  if (c->proves) add_reach(&reach, q, c, ", null::timestamptz");
  q->failed |= reach.failed;
  const pg_word own[] = {{"reach", reach.bytes ? reach.bytes : ""}, {NULL, NULL}};
  pg_render(&q->sql, &c->s->names, own, "read_row.sql");
  q->failed |= columns.failed || table.failed || q->sql.failed;
  if (!q->failed) {
    q->after_sql = "coalesce((select r.position from r), 1) - 1";
    query_text(q, "(");
    query_select_events(q, columns.bytes, table.bytes, c->streams, c->stream_count, 0, 0, (uint64_t)c->page_rows, false);
    query_text(q, ")");
  }
  buf_free(&columns);
  buf_free(&table);
  buf_free(&reach);
  return q->failed;
}

/* The row among the results stands out by its lack of a type. */
static bool take_row(const PGresult *result, int at, const char *type, const char *fingerprint, const char *id, store_row *row) {
  if (PQntuples(result) <= at || !PQgetisnull(result, at, 2)) return false;
  *row = (store_row){.type = type,
                     .fingerprint = fingerprint,
                     .id = id,
                     .position = pg_int(result, at, 0),
                     .latest_event_id = PQgetvalue(result, at, 1),
                     .data = PQgetvalue(result, at, 4),
                     .data_size = (size_t)PQgetlength(result, at, 4),
                     .state = pg_text(result, at, 5),
                     .state_size = (size_t)PQgetlength(result, at, 5),
                     .created_at = pg_time(result, at, 6),
                     .updated_at = pg_time(result, at, 7)};
  return true;
}

int pg_read_row(store *base, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                size_t stream_count, const store_reach *reach, store_row *row, store_cursor **cursor, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_cursor *c = cursor_new(s, streams, stream_count);
  if (!c) return error_memory(error);
  query q;
  PGresult *result = NULL;
  if (reach) c->reach = *reach;
  int code = build_read_row(c, &q, type, fingerprint, id) ? error_memory(error) : ANNAL_OK;
  c->row_query = &q;
  if (!code) code = next_page(c, &result, error);
  c->row_query = NULL;
  query_free(&q);
  if (!code) {
    int first = c->proves ? 1 : 0;
    if (take_row(result, first, type, fingerprint, id, row)) {
      c->after = row->position > 0 ? row->position - 1 : 0;
      first++;
    }
    code = take_page(c, result, first, EVENT_COLUMNS + 1);
    if (code) {
      PQclear(result);
      give_back(c);
      error_memory(error);
    } else {
      c->first = c->page; /* the row lies in it */
      c->page = NULL;
    }
  }
  if (code) {
    *row = (store_row){0};
    cursor_free(c);
  } else {
    *cursor = &c->base;
  }
  return code;
}

/* ---- On from an event that was read before ------------------------------------------------------------------------------------ */

/* The page begins with that event itself, for it is in the streams that it was read by; without its payload, which nobody wants. */
static bool build_read_on(pg_cursor *c, query *q, int64_t position) {
  base_buf columns, table;
  buf_init(&columns, c->s->base.env);
  buf_init(&table, c->s->base.env);
  query_begin(c, q);
  query_bind_int(q, position);
  buf_text(&columns, "e.position, e.id, e.type, e.version, case when e.position = $1::int8 then null else e.data end,"
                     " case when e.position = $1::int8 then null else e.metadata end, e.created_at");
  pg_render_text(&table, &c->s->names, "@events@");
  q->failed |= columns.failed || table.failed;
  c->page_rows = rows_of_page(c);
  c->proves = has_reach(c);
  if (!q->failed) {
    if (c->proves) add_reach(&q->sql, q, c, "");
    if (c->proves) query_text(q, "(");
    query_select_events(q, columns.bytes, table.bytes, c->streams, c->stream_count, position - 1, c->up_to,
                        (uint64_t)c->page_rows + 1, false);
    if (c->proves) query_text(q, ")");
  }
  buf_free(&columns);
  buf_free(&table);
  return !q->failed;
}

static store_sight sight_of(const PGresult *page, int row, const store_head_info *place) {
  bool there = PQntuples(page) > row && pg_int(page, row, 0) == place->position;
  return there && strcmp(PQgetvalue(page, row, 1), place->id) == 0 ? STORE_SAME : STORE_REPLACED;
}

int pg_read_on(store *base, const annal_stream *streams, size_t count, const store_head_info *place, const store_reach *reach,
               store_sight *sight, store_cursor **cursor, annal_error *error) {
  pg_cursor *c = cursor_new((pg_store *)base, streams, count);
  if (!c) return error_memory(error);
  query q;
  PGresult *result = NULL;
  c->reach = *reach;
  c->up_to = reach->up_to.position;
  c->bounded = c->up_to > 0;
  c->after = place->position;
  int code = build_read_on(c, &q, place->position) ? ANNAL_OK : error_memory(error);
  c->row_query = &q;
  if (!code) code = next_page(c, &result, error);
  c->row_query = NULL;
  query_free(&q);
  int first = c->proves ? 1 : 0;
  if (!code) *sight = sight_of(result, first, place);
  if (!code && *sight == STORE_SAME && take_page(c, result, first + 1, EVENT_COLUMNS)) code = error_memory(error);
  if (code || *sight != STORE_SAME) {
    if (c->page != result) PQclear(result);
    give_back(c);
    cursor_free(c);
  } else {
    *cursor = &c->base;
  }
  return code;
}
