/* Appending: one transaction for a batch, and in it for each save its ids, its condition, its events. Role: the one place where
 * events are written. BEGIN IMMEDIATE takes the write lock before anything is looked at, so that position order is commit order. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include <string.h>

/* What is known under the lock. */
typedef struct appender {
  sqlite_store *s;
  sqlite_conn *conn;
  int64_t position; /* of the newest event, those of this transaction too */
  int64_t created_at;
  bool wrote;
  bool ended; /* a save's own fault has ended the transaction of all */
  bool alone; /* one save in the transaction: what fails in it is undone by rolling all of it back */
} appender;

/* An answer that is for this save alone is its result; `fatal` says that the whole batch has failed. */
typedef struct outcome {
  int result;
  bool fatal;
} outcome;

static outcome own(int result) { return (outcome){.result = result}; }
static outcome fatal(int result) { return (outcome){.result = result, .fatal = result != ANNAL_OK}; }

static int find_head(appender *a, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(a->conn, a->s->sql[SQL_HEAD], &stmt, error);
  if (result) return result;
  result = sqlite_step(a->conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  a->position = sqlite3_column_int64(stmt, 0);
  a->created_at = sqlite3_column_int64(stmt, 2);
  sqlite_done(stmt);
  return ANNAL_OK;
}

/* ---- Ids --------------------------------------------------------------------------------------------------------------- */

static bool same_text(sqlite3_stmt *stmt, int column, const char *text, size_t size) {
  const void *stored = sqlite3_column_blob(stmt, column);
  size_t stored_size = (size_t)sqlite3_column_bytes(stmt, column);
  if (!text) return sqlite3_column_type(stmt, column) == SQLITE_NULL;
  return stored_size == size && (size == 0 || memcmp(stored, text, size) == 0);
}

static bool same_content(sqlite3_stmt *stmt, const annal_event *event) {
  return sqlite3_column_int64(stmt, 3) == event->version && same_text(stmt, 2, event->type, strlen(event->type)) &&
         same_text(stmt, 4, event->data, event->data_size) && same_text(stmt, 5, event->metadata, event->metadata_size);
}

typedef struct stored_place {
  int64_t position; /* 0: not stored */
  int64_t created_at;
  bool same;
} stored_place;

static int find_stored(appender *a, const annal_event *event, stored_place *place, annal_error *error) {
  *place = (stored_place){0};
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(a->conn, a->s->sql[SQL_EVENT_BY_ID], &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, event->id);
  result = sqlite_step(a->conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  *place = (stored_place){
      .position = sqlite3_column_int64(stmt, 0), .created_at = sqlite3_column_int64(stmt, 1), .same = same_content(stmt, event)};
  sqlite_done(stmt);
  return ANNAL_OK;
}

/* Fills in what is stored; all ids were found before, under the same lock. */
static outcome answer_stored(appender *a, store_save *save, annal_error *error) {
  for (size_t i = 0; i < save->count; i++) {
    stored_place place;
    int result = find_stored(a, &save->events[i], &place, error);
    if (result) return fatal(result);
    save->events[i].position = place.position;
    save->events[i].created_at = place.created_at;
  }
  save->was_stored = true;
  return own(ANNAL_OK);
}

static outcome fail_partly(const store_save *save, size_t stored, int64_t position, size_t missing, annal_error *error) {
  annal_event event = save->events[stored];
  event.position = position;
  return own(store_fail_partly_stored(error, &event, stored, &save->events[missing]));
}

/* All ids stored with equal content, or none; anything between is `duplicate`. */
static outcome check_ids(appender *a, store_save *save, annal_error *error) {
  size_t stored = 0, last_stored = 0, missing = 0;
  int64_t position = 0;
  for (size_t i = 0; i < save->count; i++) {
    stored_place place;
    int result = find_stored(a, &save->events[i], &place, error);
    if (result) return fatal(result);
    if (!place.position) {
      missing = i;
      continue;
    }
    if (!place.same) return own(store_fail_duplicate(error, &save->events[i], i, save->count, place.position));
    stored++;
    last_stored = i;
    position = place.position;
  }
  if (stored == 0) return own(ANNAL_OK);
  if (stored < save->count) return fail_partly(save, last_stored, position, missing, error);
  return answer_stored(a, save, error);
}

/* ---- Condition --------------------------------------------------------------------------------------------------------- */

static int position_of(appender *a, const char *id, int64_t *position, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(a->conn, a->s->sql[SQL_POSITION_OF], &stmt, error);
  if (result) return result;
  *position = 0;
  sqlite_bind(stmt, 1, id);
  result = sqlite_step(a->conn, stmt, error);
  if (result != SQLITE_ROW) return result == SQLITE_DONE ? ANNAL_OK : result;
  *position = sqlite3_column_int64(stmt, 0);
  sqlite_done(stmt);
  return ANNAL_OK;
}

/* Looks for one match of the stream above `after`. */
static outcome check_unmoved(appender *a, const annal_condition *condition, size_t number, int64_t after, annal_error *error) {
  query q;
  query_init(&q, a->s->base.env, &sqlite_dialect);
  q.declared = (const char *const *)a->s->base.event_fields.names;
  q.declared_count = a->s->base.event_fields.count;
  query_select_events(&q, "e.id, e.position", a->s->events, &condition->streams[number], 1, after, 0, 1, false);
  sqlite3_stmt *stmt;
  int result = sqlite_prepare_query(a->conn, &q, &stmt, error);
  outcome answer = fatal(result ? result : sqlite_step(a->conn, stmt, error));
  if (answer.result == SQLITE_ROW) {
    const char *id = (const char *)sqlite3_column_text(stmt, 0);
    answer =
        id ? own(store_fail_conflict(error, condition, number, id, sqlite3_column_int64(stmt, 1))) : fatal(error_memory(error));
    sqlite_done(stmt);
  } else if (answer.result == SQLITE_DONE) {
    answer = own(ANNAL_OK);
  }
  query_free(&q);
  return answer;
}

static outcome check_condition(appender *a, store_save *save, annal_error *error) {
  const annal_condition *condition = save->condition;
  for (size_t i = 0; i < condition->stream_count; i++) {
    save->refused_stream = i;
    const char *id = store_condition_id(condition, i);
    int64_t after = 0;
    int result = id ? position_of(a, id, &after, error) : ANNAL_OK;
    if (result) return fatal(result);
    if (id && !after) return own(store_fail_conflict_missing(error, condition, i));
    outcome answer = check_unmoved(a, condition, i, after, error);
    if (answer.result) return answer;
  }
  return own(ANNAL_OK);
}

/* ---- Insert ------------------------------------------------------------------------------------------------------------ */

static int check_times(const appender *a, const store_save *save, annal_error *error) {
  if (!save->keep_created_at) return ANNAL_OK;
  int64_t previous = a->position ? a->created_at : INT64_MIN, now = base_now(a->s->base.env);
  for (size_t i = 0; i < save->count; i++) {
    int result = store_check_time(error, &save->events[i], i, save->count, previous, now);
    if (result) return result;
    previous = save->events[i].created_at;
  }
  return ANNAL_OK;
}

/* Answers SQLite's code, for only the caller knows whether it is the save's own. */
static int insert_event(appender *a, sqlite3_stmt *stmt, const annal_event *event, int64_t position, int64_t created_at) {
  sqlite3_bind_int64(stmt, 1, position);
  sqlite_bind(stmt, 2, event->id);
  sqlite_bind(stmt, 3, event->type);
  sqlite3_bind_int(stmt, 4, event->version);
  sqlite3_bind_text64(stmt, 5, event->data, event->data_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_text64(stmt, 6, event->metadata, event->metadata_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_int64(stmt, 7, created_at);
  int code = sqlite_interrupted(a->conn) ? SQLITE_INTERRUPT : sqlite3_step(stmt);
  return code == SQLITE_DONE ? sqlite3_reset(stmt) : code;
}

/* What became of an event that was not inserted. Where SQLite has ended the transaction by itself, as a trigger can tell it to, the
 * saves before this one are gone too. */
static outcome refuse(appender *a, const annal_event *event, int code, annal_error *error) {
  if (code == SQLITE_OK) return own(store_fail_dropped(error, a->s->path, event)); /* a trigger's RAISE(IGNORE) */
  int result = sqlite_fail(a->conn, code, error);
  if (!sqlite_is_content(code)) return fatal(result);
  a->ended = sqlite3_get_autocommit(a->conn->db);
  return a->ended ? fatal(result) : own(result);
}

/* The rows that belong to events which were inserted behind a->position. */
static outcome write_rows(appender *a, const store_save *save, annal_error *error) {
  for (size_t i = 0; i < save->row_count; i++) {
    store_row row = save->rows[i].row;
    row.position = a->position + 1 + (int64_t)save->rows[i].last;
    row.latest_event_id = save->events[save->rows[i].last].id;
    int result = sqlite_put_newest_row(a->s, a->conn, &row, error);
    if (!result) continue;
    if (!sqlite_is_content(sqlite3_extended_errcode(a->conn->db))) return fatal(result);
    a->ended = sqlite3_get_autocommit(a->conn->db);
    return a->ended ? fatal(result) : own(result);
  }
  return own(ANNAL_OK);
}

static outcome insert_events(appender *a, store_save *save, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(a->conn, a->s->sql[SQL_INSERT_EVENT], &stmt, error);
  if (result) return fatal(result);
  int64_t now = base_now(a->s->base.env), position = a->position, created_at = a->created_at;
  if (position == 0 || created_at < now) created_at = now;
  outcome answer = own(ANNAL_OK);
  for (size_t i = 0; i < save->count; i++) {
    if (save->keep_created_at) created_at = save->events[i].created_at;
    int code = insert_event(a, stmt, &save->events[i], ++position, created_at);
    if (code == SQLITE_OK && sqlite3_changes64(a->conn->db) == 1) continue;
    answer = refuse(a, &save->events[i], code, error);
    break;
  }
  sqlite_done(stmt);
  if (!answer.result) answer = write_rows(a, save, error);
  if (answer.result) return answer;
  for (size_t i = 0; i < save->count; i++) {
    save->events[i].position = a->position + 1 + (int64_t)i;
    if (!save->keep_created_at) save->events[i].created_at = created_at;
  }
  a->position = position;
  a->created_at = created_at;
  a->wrote = true;
  return answer;
}

/* Undoes what a failed save has inserted, and nothing of the others. */
static outcome insert_apart(appender *a, store_save *save, annal_error *error) {
  int result = sqlite_run(a->conn, "SAVEPOINT save", error);
  if (result) return fatal(result);
  outcome answer = insert_events(a, save, error);
  if (answer.fatal) return answer;
  annal_error undo;
  if (answer.result && sqlite_run(a->conn, "ROLLBACK TO save", &undo)) {
    *error = undo;
    return fatal(undo.code);
  }
  if (sqlite_run(a->conn, "RELEASE save", &undo)) {
    *error = undo;
    return fatal(undo.code);
  }
  return answer;
}

/* ---- A batch ----------------------------------------------------------------------------------------------------------- */

static outcome append_one(appender *a, store_save *save, annal_error *error) {
  outcome answer = check_ids(a, save, error);
  if (answer.result || save->was_stored) return answer;
  if (save->condition) {
    answer = check_condition(a, save, error);
    if (answer.result) return answer;
  }
  int result = check_times(a, save, error);
  if (result) return own(result);
  return a->alone ? insert_events(a, save, error) : insert_apart(a, save, error);
}

/* What the caller gave, for a save that was numbered and then not stored. */
static void forget_places(store_save *save) {
  save->was_stored = false;
  for (size_t i = 0; i < save->count; i++) {
    save->events[i].position = 0;
    if (!save->keep_created_at) save->events[i].created_at = 0;
  }
}

/* An error that is everybody's. */
static void fail_all(store_entry *entries, size_t count, const annal_error *error) {
  for (size_t i = 0; i < count; i++) {
    forget_places(entries[i].save);
    entries[i].result = error->code;
    entries[i].error = *error;
  }
}

/* In an open transaction; what is answered is for all of them. */
static int append_each(appender *a, store_entry *entries, size_t count, annal_error *error) {
  int result = find_head(a, error);
  for (size_t i = 0; i < count && !result; i++) {
    outcome answer = append_one(a, entries[i].save, &entries[i].error);
    entries[i].result = answer.result;
    if (!answer.fatal) continue;
    result = answer.result;
    *error = entries[i].error;
  }
  return result;
}

static int append_all(appender *a, store_entry *entries, size_t count, annal_error *error) {
  int result = sqlite_begin(a->conn, error);
  if (result) return result;
  result = append_each(a, entries, count, error);
  if (!result && a->wrote) return sqlite_commit(a->conn, error);
  sqlite_rollback(a->conn);
  return result;
}

static void append_batch(sqlite_store *s, sqlite_conn *conn, store_entry *entries, size_t count) {
  appender a = {.s = s, .conn = conn, .alone = count == 1};
  annal_error error;
  int result = append_all(&a, entries, count, &error);
  if (!result && a.wrote) sqlite_checkpoint_when_long(s, conn);
  if (!result) return;
  fail_all(entries, count, &error);
  /* Nothing was stored, and one of them is the culprit. */
  for (size_t i = 0; i < count && a.ended && count > 1; i++) append_batch(s, conn, entries + i, 1);
}

void sqlite_append(store *s, store_entry *entries, size_t count) {
  sqlite_store *self = (sqlite_store *)s;
  sqlite_conn *conn;
  annal_error error;
  if (sqlite_take_writer(self, &conn, &error)) {
    fail_all(entries, count, &error);
    return;
  }
  append_batch(self, conn, entries, count);
  sqlite_give_back(conn);
}

/* `alone`: whatever fails here undoes all of it. */
int sqlite_append_within(sqlite_store *s, sqlite_conn *conn, store_entry *entries, size_t count, annal_error *error) {
  appender a = {.s = s, .conn = conn, .alone = true};
  return append_each(&a, entries, count, error);
}
