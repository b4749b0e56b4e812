/* Reading: the head, ids, and cursors, which take a connection for one page at a time. Role: all reads of events. The log only
 * grows at its end, so pages read one after the other up to a head that was taken first are one snapshot. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/limits.h"
#include <string.h>

#define COLUMNS "e.position, e.created_at, e.version, e.id, e.type, e.data, e.metadata"

typedef struct sqlite_cursor {
  store_cursor base; /* first */
  sqlite_store *s;
  const annal_stream *streams; /* the caller's, until the first page shows that there is another one … */
  annal_stream *own_streams;   /* … then one block of our own */
  size_t stream_count;
  char *correlation; /* ours; NULL: none was asked for */
  int64_t after;     /* both bounds move as pages are read */
  int64_t up_to;
  uint64_t left; /* of the limit */
  bool reverse;
  bool over;
  bool has_page; /* the first one was read at the open; next hands it out */
  unsigned interrupts;
  annal_event *events; /* of the page */
  size_t count;
  size_t capacity;
  base_buf texts;     /* of the page */
  base_buf row_texts; /* of the row */
} sqlite_cursor;

/* ---- Small questions --------------------------------------------------------------------------------------------------- */

static int read_head(sqlite_store *s, sqlite_conn *conn, store_head_info *head, annal_error *error) {
  *head = (store_head_info){0};
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_HEAD], &stmt, error);
  if (result) return result;
  result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  head->position = sqlite3_column_int64(stmt, 0);
  const char *id = (const char *)sqlite3_column_text(stmt, 1);
  result = id ? ANNAL_OK : error_memory(error);
  if (id) memccpy(head->id, id, 0, sizeof head->id - 1);
  sqlite_done(stmt);
  return result;
}

int sqlite_head(store *s, store_head_info *head, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  result = read_head(self, conn, head, error);
  sqlite_give_back(conn);
  return result;
}

int sqlite_position_of(store *s, const char *id, int64_t *position, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  sqlite3_stmt *stmt;
  result = sqlite_prepare(conn, self->sql[SQL_POSITION_OF], &stmt, error);
  if (!result) {
    sqlite_bind(stmt, 1, id);
    result = sqlite_step(conn, stmt, error);
  }
  if (result == SQLITE_ROW) {
    *position = sqlite3_column_int64(stmt, 0);
    sqlite_done(stmt);
    result = ANNAL_OK;
  } else if (result == SQLITE_DONE) {
    result = store_fail_no_event(error, id);
  }
  sqlite_give_back(conn);
  return result;
}

int sqlite_position_at_time(store *s, int64_t time, int64_t *position, bool *whole, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  result = sqlite_prepare(conn, self->sql[SQL_POSITION_AT_TIME], &stmt, error);
  if (!result) {
    sqlite3_bind_int64(stmt, 1, time);
    result = sqlite_step(conn, stmt, error);
  }
  if (result == SQLITE_ROW) {
    *position = sqlite3_column_int64(stmt, 0);
    *whole = sqlite3_column_int(stmt, 1) != 0;
    sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result < 0 ? result : ANNAL_OK;
}

int sqlite_find(store *s, const char *id, store_head_info *head, int64_t *position, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  *head = (store_head_info){0};
  *position = 0;
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  result = sqlite_prepare(conn, self->sql[SQL_FIND], &stmt, error);
  if (!result) {
    sqlite_bind(stmt, 1, id);
    result = sqlite_step(conn, stmt, error);
  }
  if (result == SQLITE_ROW) {
    head->position = sqlite3_column_int64(stmt, 0);
    const char *newest = (const char *)sqlite3_column_text(stmt, 1);
    if (newest) memccpy(head->id, newest, 0, sizeof head->id - 1);
    *position = sqlite3_column_int64(stmt, 2); /* 0 for NULL */
    result = newest ? ANNAL_OK : error_memory(error);
    sqlite_done(stmt);
  } else if (result == SQLITE_DONE) {
    result = ANNAL_OK;
  }
  sqlite_give_back(conn);
  return result;
}

int sqlite_probe(store *s, const store_head_info *place, store_head_info *head, store_sight *sight, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  *head = (store_head_info){0};
  *sight = place->position == 0 ? STORE_SAME : STORE_REPLACED; /* one file does not lag: what is not there is gone */
  int result = sqlite_take_reader(self, &conn, error);
  if (result) return result;
  sqlite3_stmt *stmt;
  result = sqlite_prepare(conn, self->sql[SQL_PROBE], &stmt, error);
  if (!result) {
    sqlite3_bind_int64(stmt, 1, place->position);
    result = sqlite_step(conn, stmt, error);
  }
  if (result == SQLITE_ROW) {
    head->position = sqlite3_column_int64(stmt, 0);
    const char *newest = (const char *)sqlite3_column_text(stmt, 1), *there = (const char *)sqlite3_column_text(stmt, 2);
    if (newest) memccpy(head->id, newest, 0, sizeof head->id - 1);
    if (there && strcmp(there, place->id) == 0) *sight = STORE_SAME;
    result = newest ? ANNAL_OK : error_memory(error);
    sqlite_done(stmt);
  } else if (result == SQLITE_DONE) {
    result = ANNAL_OK;
  }
  sqlite_give_back(conn);
  return result;
}

/* ---- Pages ------------------------------------------------------------------------------------------------------------- */

/* Until a page is whole its texts may move, so an event holds their offsets, and pointers only in the end. */
static const char *as_offset(size_t offset) { return (const char *)(uintptr_t)offset; }
static size_t offset_of(const char *text) { return (size_t)(uintptr_t)text; }

/* Copies a column with a NUL; *size is without it. False: no memory. */
static bool copy_column(base_buf *texts, sqlite3_stmt *stmt, int column, const char **offset, size_t *size) {
  const void *bytes = sqlite3_column_text(stmt, column);
  *size = (size_t)sqlite3_column_bytes(stmt, column);
  if (!bytes || !buf_reserve(texts, *size + 1)) return false;
  *offset = as_offset(texts->size);
  buf_add(texts, bytes, *size);
  buf_char(texts, 0);
  return true;
}

static bool add_event(sqlite_cursor *c, sqlite3_stmt *stmt) {
  if (c->count == c->capacity) {
    size_t capacity = c->capacity ? c->capacity * 4 : 16;
    annal_event *events = base_realloc(c->s->base.env, c->events, capacity * sizeof *events);
    if (!events) return false;
    c->events = events;
    c->capacity = capacity;
  }
  annal_event *event = &c->events[c->count];
  *event = (annal_event){.position = sqlite3_column_int64(stmt, 0),
                         .created_at = sqlite3_column_int64(stmt, 1),
                         .version = sqlite3_column_int(stmt, 2)};
  size_t size;
  if (!copy_column(&c->texts, stmt, 3, &event->id, &size) || !copy_column(&c->texts, stmt, 4, &event->type, &size)) return false;
  if (!copy_column(&c->texts, stmt, 5, &event->data, &event->data_size)) return false;
  if (sqlite3_column_type(stmt, 6) != SQLITE_NULL) {
    if (!copy_column(&c->texts, stmt, 6, &event->metadata, &event->metadata_size)) return false;
  }
  c->count++;
  return true;
}

static void set_pointers(sqlite_cursor *c) {
  const char *texts = c->texts.bytes;
  for (size_t i = 0; i < c->count; i++) {
    annal_event *event = &c->events[i];
    event->id = texts + offset_of(event->id);
    event->type = texts + offset_of(event->type);
    event->data = texts + offset_of(event->data);
    /* The texts begin with an id, so that no metadata lies at offset 0. */
    if (event->metadata) event->metadata = texts + offset_of(event->metadata);
  }
}

/* After a page: where the next one begins. */
static void move_on(sqlite_cursor *c, uint64_t wanted, bool full_of_bytes) {
  if (c->count == 0 || (c->count < wanted && !full_of_bytes)) c->over = true;
  c->left -= c->count;
  if (c->left == 0) c->over = true;
  if (c->count == 0) return;
  int64_t last = c->events[c->count - 1].position;
  if (c->reverse) c->up_to = last - 1;
  else c->after = last;
  if (c->after >= c->up_to) c->over = true;
}

/* A page that begins with an event which was read before, if that is still stored. */
typedef struct sqlite_question {
  const store_head_info *place;
  store_sight *sight;
} sqlite_question;

static int take_answer(sqlite_conn *conn, sqlite3_stmt *stmt, const sqlite_question *asked, annal_error *error) {
  int result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  const char *id = (const char *)sqlite3_column_text(stmt, 3);
  if (id && sqlite3_column_int64(stmt, 0) == asked->place->position && strcmp(id, asked->place->id) == 0)
    *asked->sight = STORE_SAME;
  else sqlite_done(stmt);
  return ANNAL_OK;
}

static int run_page(sqlite_cursor *c, sqlite_conn *conn, const query *q, uint64_t wanted, const sqlite_question *or_null,
                    annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare_query(conn, q, &stmt, error);
  if (!result && or_null) result = take_answer(conn, stmt, or_null, error);
  if (result || (or_null && *or_null->sight != STORE_SAME)) return result;
  bool full = false;
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    bool added = add_event(c, stmt);
    full = c->texts.size >= LIMIT_PAGE_BYTES;
    if (added && !full) continue;
    sqlite_done(stmt);
    if (!added) return error_memory(error);
    break;
  }
  if (result < 0) return result;
  set_pointers(c);
  move_on(c, wanted, full);
  return ANNAL_OK;
}

static int read_page(sqlite_cursor *c, sqlite_conn *conn, const sqlite_question *or_null, annal_error *error) {
  c->count = 0;
  buf_clear(&c->texts);
  if (c->over) return ANNAL_OK;
  uint64_t wanted = c->left < LIMIT_PAGE_EVENTS ? c->left : LIMIT_PAGE_EVENTS;
  query q;
  query_init(&q, c->s->base.env, &sqlite_dialect);
  q.declared = (const char *const *)c->s->base.event_fields.names;
  q.declared_count = c->s->base.event_fields.count;
  q.correlation = c->correlation;
  query_select_events(&q, COLUMNS, c->s->events, c->streams, c->stream_count, c->after - (or_null ? 1 : 0), c->up_to,
                      wanted + (or_null ? 1 : 0), c->reverse);
  int result = run_page(c, conn, &q, wanted, or_null, error);
  query_free(&q);
  if (result) c->count = 0;
  return result;
}

/* ---- Cursors ----------------------------------------------------------------------------------------------------------- */

static int cursor_next(store_cursor *cursor, store_page *page, annal_error *error) {
  sqlite_cursor *c = (sqlite_cursor *)cursor;
  if (c->interrupts != atomic_load(&c->s->interrupts)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  if (!c->has_page) {
    c->count = 0;
    if (!c->over) {
      sqlite_conn *conn;
      int result = sqlite_take_reader(c->s, &conn, error);
      if (result) return result;
      result = read_page(c, conn, NULL, error);
      sqlite_give_back(conn);
      if (result) return result;
    }
  }
  c->has_page = false;
  *page = (store_page){.events = c->events, .count = c->count};
  return ANNAL_OK;
}

static void cursor_close(store_cursor *cursor) {
  sqlite_cursor *c = (sqlite_cursor *)cursor;
  const base_env *env = c->s->base.env;
  buf_free(&c->texts);
  buf_free(&c->row_texts);
  base_free(env, c->events);
  base_free(env, c->own_streams);
  base_free(env, c->correlation);
  base_free(env, c);
}

static const store_cursor_backend cursor_backend = {.next = cursor_next, .close = cursor_close};

/* NULL: no memory. */
static sqlite_cursor *new_cursor(sqlite_store *s, const annal_stream *streams, size_t count) {
  sqlite_cursor *c = base_calloc(s->base.env, 1, sizeof *c);
  if (!c) return NULL;
  *c = (sqlite_cursor){
      .base = {.backend = &cursor_backend}, .s = s, .streams = streams, .stream_count = count, .left = UINT64_MAX};
  buf_init(&c->texts, s->base.env);
  buf_init(&c->row_texts, s->base.env);
  c->interrupts = atomic_load(&s->interrupts);
  return c;
}

/* After the first page: a cursor that is not over outlives the call, and with it what it was asked for. */
static int keep_streams(sqlite_cursor *c, annal_error *error) {
  if (c->over || c->stream_count == 0) return ANNAL_OK;
  c->own_streams = store_copy_streams(c->s->base.env, c->streams, c->stream_count);
  c->streams = c->own_streams;
  return c->own_streams ? ANNAL_OK : error_memory(error);
}

/* Sets the bounds by the head and reads the first page, all with one connection. */
static int begin_read(sqlite_cursor *c, sqlite_conn *conn, int64_t before, annal_error *error) {
  store_head_info head;
  int result = read_head(c->s, conn, &head, error);
  if (result) return result;
  c->up_to = before && before - 1 < head.position ? before - 1 : head.position;
  if (c->after >= c->up_to) c->over = true;
  result = read_page(c, conn, NULL, error);
  c->has_page = !result;
  return result;
}

static int open_read(sqlite_store *self, const annal_selection *selection, const char *correlation, store_cursor **cursor,
                     annal_error *error) {
  sqlite_cursor *c = new_cursor(self, selection->streams, selection->stream_count);
  if (!c) return error_memory(error);
  c->after = selection->after;
  c->reverse = selection->reverse;
  if (selection->limit) c->left = selection->limit;
  if (correlation) c->correlation = base_strdup(self->base.env, correlation);
  sqlite_conn *conn = NULL;
  int result = correlation && !c->correlation ? error_memory(error) : sqlite_take_reader(self, &conn, error);
  if (!result) {
    result = begin_read(c, conn, selection->before, error);
    sqlite_give_back(conn);
  }
  if (!result) result = keep_streams(c, error);
  if (result) cursor_close(&c->base);
  else *cursor = &c->base;
  return result;
}

/* One file does not lag: `reach` says nothing new. */
int sqlite_read(store *s, const annal_selection *selection, const store_reach *reach, store_cursor **cursor, annal_error *error) {
  (void)reach;
  return open_read((sqlite_store *)s, selection, NULL, cursor, error);
}

int sqlite_read_correlated(store *s, const annal_selection *selection, const char *correlation_id, const store_reach *reach,
                           store_cursor **cursor, annal_error *error) {
  (void)reach;
  return open_read((sqlite_store *)s, selection, correlation_id, cursor, error);
}

/* One statement, one snapshot. The head is needed only where there is a second page. */
static int read_on(sqlite_cursor *c, sqlite_conn *conn, const sqlite_question *asked, int64_t bound_or_0, annal_error *error) {
  store_head_info head;
  c->after = asked->place->position;
  c->up_to = bound_or_0 ? bound_or_0 : INT64_MAX;
  int result = read_page(c, conn, asked, error);
  c->has_page = !result;
  if (result || c->over || *asked->sight != STORE_SAME) return result;
  result = read_head(c->s, conn, &head, error);
  if (!result && head.position < c->up_to) c->up_to = head.position;
  return result;
}

int sqlite_read_on(store *s, const annal_stream *streams, size_t count, const store_head_info *place, const store_reach *reach,
                   store_sight *sight, store_cursor **cursor, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_cursor *c = new_cursor(self, streams, count);
  if (!c) return error_memory(error);
  *sight = STORE_REPLACED; /* one file does not lag: what is not there is gone */
  sqlite_conn *conn;
  int result = sqlite_take_reader(self, &conn, error);
  if (!result) {
    const sqlite_question question = {.place = place, .sight = sight};
    result = read_on(c, conn, &question, reach->up_to.position, error);
    sqlite_give_back(conn);
  }
  if (!result && *sight == STORE_SAME) result = keep_streams(c, error);
  if (result || *sight != STORE_SAME) cursor_close(&c->base);
  else *cursor = &c->base;
  return result;
}

/* ---- A row and the events beyond it ------------------------------------------------------------------------------------ */

static bool copy_row(sqlite_cursor *c, const store_row *from, store_row *row) {
  const char *texts[] = {from->type, from->fingerprint, from->id, from->latest_event_id};
  size_t at[4];
  for (size_t i = 0; i < 4; i++) {
    at[i] = c->row_texts.size;
    buf_add(&c->row_texts, texts[i], strlen(texts[i]) + 1);
  }
  size_t data = c->row_texts.size;
  buf_add(&c->row_texts, from->data, from->data_size + 1);
  size_t state = c->row_texts.size;
  if (from->state) buf_add(&c->row_texts, from->state, from->state_size + 1);
  if (c->row_texts.failed) return false;
  *row = *from;
  const char *bytes = c->row_texts.bytes;
  row->type = bytes + at[0];
  row->fingerprint = bytes + at[1];
  row->id = bytes + at[2];
  row->latest_event_id = bytes + at[3];
  row->data = bytes + data;
  if (from->state) row->state = bytes + state;
  return true;
}

static int find_row(sqlite_cursor *c, sqlite_conn *conn, const char *type, const char *fingerprint, const char *id,
                    store_row *row, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, c->s->sql[SQL_ROW], &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, type);
  sqlite_bind(stmt, 2, fingerprint);
  sqlite_bind(stmt, 3, id);
  result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  store_row found;
  bool copied = sqlite_get_row(stmt, &found) && copy_row(c, &found, row);
  sqlite_done(stmt);
  return copied ? ANNAL_OK : error_memory(error);
}

/* A read transaction makes one snapshot of the row, the head and the first page; the pages after it lie below that head. */
static int read_row_and_page(sqlite_cursor *c, sqlite_conn *conn, const char *type, const char *fingerprint, const char *id,
                             store_row *row, annal_error *error) {
  bool within = !sqlite3_get_autocommit(conn->db); /* a transaction of the caller's, on a store in memory */
  int result = within ? ANNAL_OK : sqlite_run(conn, "BEGIN", error);
  if (result) return result;
  result = find_row(c, conn, type, fingerprint, id, row, error);
  if (!result) {
    c->after = row->position > 0 ? row->position - 1 : 0;
    result = begin_read(c, conn, 0, error);
  }
  if (!within) sqlite_rollback(conn); /* nothing was written; and this ends it also after an interruption */
  return result;
}

int sqlite_read_row(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                    size_t stream_count, const store_reach *reach, store_row *row, store_cursor **cursor, annal_error *error) {
  (void)reach;
  sqlite_store *self = (sqlite_store *)s;
  sqlite_cursor *c = new_cursor(self, streams, stream_count);
  if (!c) return error_memory(error);
  sqlite_conn *conn;
  int result = sqlite_take_reader(self, &conn, error);
  if (!result) {
    result = read_row_and_page(c, conn, type, fingerprint, id, row, error);
    sqlite_give_back(conn);
  }
  if (!result) result = keep_streams(c, error);
  if (result) {
    *row = (store_row){0};
    cursor_close(&c->base);
  } else {
    *cursor = &c->base;
  }
  return result;
}
