/* Events in Lua: as tables in and out, saving them, reading them as lists and one by one. */
#include "api/lua_face.h"

#include "api/reader.h"
#include "base/error.h"
#include "base/text.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- Out --------------------------------------------------------------------------------------------------------------- */

/* [-0, +1, e] A stored JSON text; that it cannot be read is the store's fault. */
static void push_json(lua_State *L, const annal_event *event, const char *part, const char *text, size_t size) {
  annal_error error;
  if (json_decode(L, text, size, 0, &error) == ANNAL_OK) return;
  annal_error corrupt;
  error_set(&corrupt, ANNAL_CORRUPT, error.where, "%s of event %s at position %lld: %.800s", part, event->id ? event->id : "",
            (long long)event->position, error.message);
  face_raise(L, &corrupt);
}

void face_push_event(lua_State *L, const annal_event *event) {
  luaL_checkstack(L, 4, "annal event");
  lua_createtable(L, 0, 7);
  lua_pushstring(L, event->id);
  lua_setfield(L, -2, "id");
  if (event->position) {
    lua_pushinteger(L, event->position);
    lua_setfield(L, -2, "position");
  }
  lua_pushstring(L, event->type);
  lua_setfield(L, -2, "type");
  lua_pushinteger(L, event->version);
  lua_setfield(L, -2, "version");
  push_json(L, event, "data", event->data, event->data_size);
  lua_setfield(L, -2, "data");
  if (event->metadata) {
    push_json(L, event, "metadata", event->metadata, event->metadata_size);
    lua_setfield(L, -2, "metadata");
  }
  if (!event->position) return;
  char time[28];
  annal_time_text(event->created_at, time);
  lua_pushstring(L, time);
  lua_setfield(L, -2, "created_at");
}

/* ---- In ---------------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] Appends the field as JSON text and a NUL; answers the text's size, 0 where the field is absent. */
static size_t add_json(lua_State *L, int index, const char *where, const char *key, base_buf *buf) {
  if (face_field(L, index, key) == LUA_TNIL) {
    lua_pop(L, 1);
    return 0;
  }
  annal_error error;
  size_t start = buf->size;
  if (json_encode(L, -1, 0, buf, &error)) {
    char path[FACE_WHERE_BYTES];
    face_path(path, where, key);
    error_where_prefix(&error, path);
    face_raise(L, &error);
  }
  lua_pop(L, 1);
  size_t size = buf->size - start;
  buf_char(buf, 0);
  if (buf->failed) {
    error_memory(&error);
    face_raise(L, &error);
  }
  return size;
}

/* [-0, +0, e] Text of a field, where empty is for the limits to judge. */
static const char *event_text(face_scratch *scratch, int index, const char *where, const char *key) {
  char path[FACE_WHERE_BYTES];
  if (face_field(scratch->L, index, key) == LUA_TNIL) {
    lua_pop(scratch->L, 1);
    return NULL;
  }
  face_path(path, where, key);
  const char *text = face_text(scratch->L, -1, path);
  face_keep(scratch);
  return text;
}

/* [-0, +0, e] What the store gives: refused in what is to be saved. */
static void read_given(lua_State *L, int index, const char *where, bool stored, annal_event *event) {
  char path[FACE_WHERE_BYTES], shown[FACE_SHOW_BYTES];
  if (face_field(L, index, "position") != LUA_TNIL) {
    face_path(path, where, "position");
    if (!stored) face_misuse(L, path, "the position is given by the store, not by who saves");
    event->position = face_integer(L, -1, path, 1);
  }
  if (face_field(L, index, "created_at") != LUA_TNIL) {
    face_path(path, where, "created_at");
    if (!stored) face_misuse(L, path, "the time is given by the store, not by who saves");
    if (!text_to_time(face_text(L, -1, path), &event->created_at))
      face_wrong(L, path, "must be a time like 2026-01-31T23:59:59.000001Z, not %s", face_show(L, -1, shown));
  }
  lua_pop(L, 2);
}

static void read_event(face_scratch *scratch, int index, const char *where, bool stored, base_buf *buf, annal_event *event) {
  static const char *const keys[] = {"id", "type", "version", "data", "metadata", "position", "created_at", NULL};
  static const char *const save_keys[] = {"id", "type", "version", "data", "metadata", NULL};
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES];
  read_given(L, index, where, stored, event);
  face_check_keys(L, index, where, "field of an event", stored ? keys : save_keys);
  event->id = event_text(scratch, index, where, "id");
  event->type = event_text(scratch, index, where, "type");
  if (!event->type) face_misuse(L, where, "an event needs a type");
  if (face_field(L, index, "version") != LUA_TNIL) {
    face_path(path, where, "version");
    lua_Integer version = face_integer(L, -1, path, 1);
    if (version > INT_MAX) face_wrong(L, path, "must be at most %d, not %lld", INT_MAX, (long long)version);
    event->version = (int)version;
  }
  lua_pop(L, 1);
  event->data_size = add_json(L, index, where, "data", buf);
  if (event->data_size == 0) face_misuse(L, where, "an event needs data");
  event->metadata_size = add_json(L, index, where, "metadata", buf);
}

annal_event *face_events(face_scratch *scratch, int index, const char *where, bool stored, size_t *count, bool *is_list) {
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  index = lua_absindex(L, index);
  if (lua_type(L, index) != LUA_TTABLE)
    face_wrong(L, where, "must be an event or a list of events, not %s", face_show(L, index, shown));
  lua_pushnil(L);
  bool has_key = lua_next(L, index);
  *is_list = !has_key || lua_type(L, -2) != LUA_TSTRING; /* empty: a list without events */
  if (has_key) lua_pop(L, 2);
  *count = *is_list ? (size_t)face_list(L, index, where, "events") : 1;
  annal_event *events = face_room(scratch, *count, sizeof *events);
  base_buf *buf = face_buffer(scratch);
  if (!*is_list) read_event(scratch, index, "", stored, buf, events);
  for (size_t i = 0; *is_list && i < *count; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, where, (lua_Integer)i + 1);
    if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TTABLE)
      face_wrong(L, path, "must be an event, not %s", face_show(L, -1, shown));
    read_event(scratch, lua_gettop(L), path, stored, buf, &events[i]);
    lua_pop(L, 1);
  }
  /* Only now does the buffer stay where it is. */
  const char *at = buf->bytes;
  for (size_t i = 0; i < *count; i++) {
    events[i].data = at;
    at += events[i].data_size + 1;
    if (events[i].metadata_size == 0) continue;
    events[i].metadata = at;
    at += events[i].metadata_size + 1;
  }
  return events;
}

/* ---- Saving ------------------------------------------------------------------------------------------------------------ */

void face_batch_end(face_child *child) { handle_free_batch(&((face_batch *)child)->batch); }

static int batch_close(lua_State *L) { return face_close_child(L, &face_batch_class); }

static int batch_text(lua_State *L) {
  lua_pushstring(L, "annal batch");
  return 1;
}

static const face_method no_methods[] = {{NULL, NULL, 0}};

const face_class face_batch_class = {
    .name = "batch", .methods = no_methods, .close = batch_close, .text = batch_text, .is_child = true};

void face_raise_save(lua_State *L, const face_batch *batch, const annal_error *error) {
  face_push_error(L, error);
  if (error->in_doubt) {
    lua_createtable(L, (int)batch->batch.count, 0);
    for (size_t i = 0; i < batch->batch.count; i++) {
      lua_pushstring(L, batch->batch.events[i].id);
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "ids");
  }
  lua_error(L);
  __builtin_unreachable(); /* lua.h does not tell the compiler that lua_error never returns */
}

face_batch *face_prepare(lua_State *L, int owner, int index) {
  owner = lua_absindex(L, owner);
  annal_store *handle = ((face_store *)lua_touserdata(L, owner))->handle;
  face_scratch scratch = face_scratch_open(L);
  size_t count;
  bool is_list;
  annal_event *events = face_events(&scratch, index, "events", false, &count, &is_list);
  face_batch *batch = face_new_child(L, owner, sizeof *batch, &face_batch_class, face_batch_end);
  batch->is_list = is_list;
  annal_error error;
  if (handle_prepare(handle, events, count, &batch->batch, &error)) {
    if (is_list && count == 1 && error.where[0]) error_where_prefix(&error, "events[1]"); /* a list is spoken of as one */
    face_raise(L, &error);
  }
  lua_replace(L, scratch.anchor);
  lua_settop(L, scratch.anchor);
  return batch;
}

void face_push_batch(lua_State *L, const face_batch *batch) {
  size_t count = batch->batch.count;
  if (batch->is_list) lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    face_push_event(L, &batch->batch.events[i]);
    if (batch->is_list) lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

void face_save(lua_State *L, int owner, int index, const annal_condition *or_null) {
  if (face_to(L, owner, &face_transaction_class)) {
    face_stage(L, owner, index, or_null);
    return;
  }
  annal_store *handle = ((face_store *)lua_touserdata(L, owner))->handle;
  annal_error error;
  face_batch *batch = face_prepare(L, owner, index);
  if (handle_store(handle, &batch->batch, or_null, &error)) face_raise_save(L, batch, &error);
  face_push_batch(L, batch);
  face_end_child(&batch->head);
}

/* [-0, +0, e] The argument is one event, or a list of them, as the method's name says. */
static void check_shape(lua_State *L, bool list) {
  bool has_first = lua_type(L, 2) == LUA_TTABLE && lua_rawlen(L, 2) > 0;
  if (lua_type(L, 2) != LUA_TTABLE || has_first == list) return;
  if (has_first) face_misuse(L, "", "store:save_event takes one event; store:save_events takes a list");
  lua_pushnil(L);
  if (lua_next(L, 2)) face_misuse(L, "", "store:save_events takes a list of events; store:save_event takes one");
}

int face_save_event(lua_State *L) {
  char shown[FACE_SHOW_BYTES];
  if (lua_type(L, 2) != LUA_TTABLE)
    return face_wrong(L, "event", "must be a table { type, data }, not %s", face_show(L, 2, shown));
  check_shape(L, false);
  lua_pushnil(L);
  if (!lua_next(L, 2)) return face_wrong(L, "event", "is empty: an event needs type and data");
  lua_settop(L, 2);
  face_save(L, 1, 2, NULL);
  return 1;
}

int face_save_events(lua_State *L) {
  check_shape(L, true);
  face_save(L, 1, 2, NULL);
  return 1;
}

int face_save_validated(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_condition condition = {.size = sizeof condition};
  char shown[FACE_SHOW_BYTES];
  if (lua_type(L, 3) != LUA_TSTRING && !lua_isnil(L, 3))
    return face_wrong(L, "latest_event_id", "must be the id of the newest event seen, or nil where none was, not %s",
                      face_show(L, 3, shown));
  if (!lua_isnil(L, 3)) condition.latest_event_id = face_name(L, 3, "latest_event_id");
  condition.streams = face_streams(&scratch, 4, "streams", true, &condition.stream_count);
  face_save(L, 1, 2, &condition);
  return 1;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

typedef struct lua_cursor {
  face_child head;
  handle_reader *reader;
  bool done;
} lua_cursor;

static void cursor_end(face_child *child) { handle_reader_close(((lua_cursor *)child)->reader); }

/* [-0, +1, e] Begins a read on the store at 1. */
static lua_cursor *open_cursor(const face_scratch *scratch, const annal_selection *selection) {
  lua_State *L = scratch->L;
  lua_cursor *self = face_new_child(L, 1, sizeof *self, &face_cursor_class, cursor_end);
  annal_error error;
  if (handle_read(self->head.store->handle, selection, &self->reader, &error)) {
    if (scratch->plain) handle_plain_where(&error);
    face_raise(L, &error);
  }
  return self;
}

/* [-0, +0, e] The next event, borrowed until the one after; NULL at the end. A read that failed is over: to go on as if it had
 * ended, or to try again in the middle, would hide events. */
static const annal_event *next_event(lua_State *L, lua_cursor *self) {
  if (self->done) return NULL;
  annal_error error;
  const annal_event *event;
  if (handle_reader_next(self->reader, 0, &event, &error)) {
    face_end_child(&self->head);
    face_raise(L, &error);
  }
  self->done = !event;
  return event;
}

static int cursor_next(lua_State *L) {
  lua_cursor *self = lua_touserdata(L, 1);
  const annal_event *event = next_event(L, self);
  if (event) face_push_event(L, event);
  else lua_pushnil(L);
  return 1;
}

static int cursor_close(lua_State *L) { return face_close_child(L, &face_cursor_class); }

static int cursor_text(lua_State *L) {
  lua_pushstring(L, "annal events");
  return 1;
}

const face_class face_cursor_class = {
    .name = "cursor", .methods = no_methods, .call = cursor_next, .close = cursor_close, .text = cursor_text, .is_child = true};

/* Answers what the generic for takes: the cursor is called for each event and closed when the loop is left. */
int face_events_iterator(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_selection selection;
  face_selection(&scratch, 2, &selection);
  open_cursor(&scratch, &selection);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, -3);
  return 4;
}

/* [-0, +1, e] All events of a selection as a list. */
static void push_all(const face_scratch *scratch, const annal_selection *selection) {
  lua_State *L = scratch->L;
  lua_cursor *self = open_cursor(scratch, selection);
  lua_newtable(L);
  const annal_event *event;
  for (lua_Integer i = 1; (event = next_event(L, self)); i++) {
    face_push_event(L, event);
    lua_rawseti(L, -2, i);
  }
  face_end_child(&self->head);
}

int face_get_latest_event(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_selection selection;
  face_stream_selection(&scratch, 2, 3, true, &selection);
  push_all(&scratch, &selection);
  lua_rawgeti(L, -1, 1);
  return 1;
}

int face_get_event_stream(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_selection selection;
  face_stream_selection(&scratch, 2, 3, false, &selection);
  push_all(&scratch, &selection);
  return 1;
}

int face_get_event_streams(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_selection selection = {.size = sizeof selection};
  selection.streams = face_streams(&scratch, 2, "streams", false, &selection.stream_count);
  push_all(&scratch, &selection);
  return 1;
}
