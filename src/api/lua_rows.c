/* Rows of projections in Lua: saved by hand, looked up, queried. */
#include "api/lua_face.h"

#include "base/error.h"
#include "base/text.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <math.h>
#include <string.h>

/* ---- Saving by hand ---------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] A field that must be there. */
static const char *needed_text(face_scratch *scratch, int index, const char *what, const char *key) {
  if (face_field(scratch->L, index, key) == LUA_TNIL) face_misuse(scratch->L, key, "%s needs %s", what, key);
  const char *text = face_text(scratch->L, -1, key);
  face_keep(scratch);
  return text;
}

/* [-0, +1, e] `t` NULL: the row is stored at once. */
static void save_row(lua_State *L, int index, annal_store *handle, store_transaction *t) {
  static const char *const keys[] = {"type", "id", "data", "latest_event_id", NULL};
  face_scratch scratch = face_scratch_open(L);
  face_check_keys(L, index, "", "field of store:save_projection", keys);
  const char *type = needed_text(&scratch, index, "a row", "type"), *id = needed_text(&scratch, index, "a row", "id");
  const char *latest_event_id = needed_text(&scratch, index, "a row", "latest_event_id");
  base_buf *data = face_buffer(&scratch);
  annal_error error;
  if (face_field(L, index, "data") == LUA_TNIL) face_misuse(L, "data", "a row needs data");
  if (json_encode(L, -1, 0, data, &error)) {
    error_where_prefix(&error, "data");
    face_raise(L, &error);
  }
  store_status status;
  int code = t ? handle_stage_row(handle, t, type, id, data->bytes, data->size, latest_event_id, &error)
               : handle_save_row(handle, type, id, data->bytes, data->size, latest_event_id, &status, &error);
  if (code) face_raise(L, &error);
  face_push_saved_row(L, type, id, data, latest_event_id, t ? NULL : &status);
}

int face_save_projection(lua_State *L) {
  save_row(L, 2, face_self(L)->handle, NULL);
  return 1;
}

void face_stage_row(lua_State *L, int index, annal_store *handle, store_transaction *t) { save_row(L, index, handle, t); }

void face_push_saved_row(lua_State *L, const char *type, const char *id, const base_buf *data, const char *latest_event_id,
                         const store_status *status_or_null) {
  annal_error error;
  lua_createtable(L, 0, 5);
  lua_pushstring(L, type);
  lua_setfield(L, -2, "type");
  lua_pushstring(L, id);
  lua_setfield(L, -2, "id");
  if (json_decode(L, data->bytes, data->size, 0, &error)) face_raise(L, &error);
  lua_setfield(L, -2, "data");
  lua_pushstring(L, latest_event_id);
  lua_setfield(L, -2, "latest_event_id");
  if (!status_or_null) return;
  lua_pushstring(L, store_status_name(*status_or_null));
  lua_setfield(L, -2, "status");
}

/* ---- Looking up -------------------------------------------------------------------------------------------------------- */

/* Rows are gathered as JSON text, since no Lua may run while the store answers, and decoded at once. */
static int add_row(void *context, const store_row *row) {
  base_buf *out = context;
  if (out->size > 1) buf_char(out, ',');
  handle_add_row(out, row);
  return out->failed;
}

/* [-0, +1, e] The rows as a list. */
static void push_rows(face_scratch *scratch, const annal_query *query, const char *id) {
  lua_State *L = scratch->L;
  annal_error error;
  base_buf *out = face_buffer(scratch);
  buf_char(out, '[');
  if (handle_query(face_self(L)->handle, query, id, add_row, out, &error)) face_raise(L, &error);
  buf_char(out, ']');
  if (out->failed) {
    error_memory(&error);
    face_raise(L, &error);
  }
  if (json_decode(L, out->bytes, out->size, 0, &error)) {
    annal_error corrupt;
    error_set(&corrupt, ANNAL_CORRUPT, error.where, "rows of projection %s: %.800s", query->type, error.message);
    face_raise(L, &corrupt);
  }
}

int face_get_projection(lua_State *L) {
  static const char *const keys[] = {"type", "id", NULL};
  face_scratch scratch = face_scratch_open(L);
  face_check_keys(L, 2, "", "option of store:get_projection", keys);
  annal_query query = {.size = sizeof query, .type = needed_text(&scratch, 2, "store:get_projection", "type")};
  push_rows(&scratch, &query, needed_text(&scratch, 2, "store:get_projection", "id"));
  lua_rawgeti(L, -1, 1);
  return 1;
}

/* ---- Querying ---------------------------------------------------------------------------------------------------------- */

/* [-0, +0, -] Whether the value of a filter at `index` is a range { min =, max = }. */
static bool is_range(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  index = lua_absindex(L, index);
  bool has_end = face_field(L, index, "min") != LUA_TNIL;
  has_end |= face_field(L, index, "max") != LUA_TNIL;
  lua_pop(L, 2);
  return has_end;
}

/* [-0, +0, e] An end of the range on top as JSON, kept; NULL where it is absent. */
static const char *read_end(face_scratch *scratch, const char *where, const char *key) {
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES], shown[FACE_SHOW_BYTES];
  annal_error error;
  face_path(path, where, key);
  int type = face_field(L, -1, key);
  if (type == LUA_TNIL) {
    lua_pop(L, 1);
    return NULL;
  }
  if (type == LUA_TSTRING) face_text(L, -1, path);
  else if (type != LUA_TNUMBER || !isfinite((double)lua_tonumber(L, -1)))
    face_wrong(L, path, "must be a number or a string, not %s", face_show(L, -1, shown));
  base_buf *text = face_buffer(scratch);
  if (json_encode(L, -1, 0, text, &error)) face_raise(L, &error);
  lua_pop(L, 1);
  return text->bytes;
}

/* [-0, +0, e] The range on top, of the field whose name is below it. */
static void read_range(face_scratch *scratch, annal_range *range) {
  static const char *const keys[] = {"min", "max", NULL};
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES], shown[FACE_SHOW_BYTES];
  if (lua_type(L, -2) != LUA_TSTRING)
    face_wrong(L, "data", "must be a table { field = value }, but has the key %s", face_show(L, -2, shown));
  face_path(path, "data", lua_tostring(L, -2));
  range->name = face_text(L, -2, path);
  if (!text_is_name(range->name))
    face_misuse(L, path, "%s is no name of a field: letters, digits and _, at most 63", face_show(L, -2, shown));
  face_check_keys(L, -1, path, "end of a range", keys);
  range->min = read_end(scratch, path, "min");
  range->max = read_end(scratch, path, "max");
  lua_pushvalue(L, -2);
  face_keep(scratch);
}

/* By name, as fields are: the text of a statement does not depend on how Lua's tables happen to be walked. */
static void sort_ranges(annal_range *ranges, size_t count) {
  for (size_t i = 1; i < count; i++) {
    annal_range moving = ranges[i];
    size_t at = i;
    for (; at > 0 && strcmp(ranges[at - 1].name, moving.name) > 0; at--) ranges[at] = ranges[at - 1];
    ranges[at] = moving;
  }
}

/* [-0, +0, e] `data` at `index`: ranges apart from the values that face_fields knows. */
static void read_data(face_scratch *scratch, int index, annal_query *query) {
  lua_State *L = scratch->L;
  size_t room = 0;
  for (lua_pushnil(L); lua_istable(L, index) && lua_next(L, index); lua_pop(L, 1)) room += is_range(L, -1);
  if (!lua_istable(L, index)) lua_pop(L, 1);
  if (room == 0) {
    query->data = face_fields(scratch, index, "data", &query->data_count);
    return;
  }
  face_plain_table(L, index, "data");
  annal_range *ranges = face_room(scratch, room, sizeof *ranges);
  bool has_values = false;
  lua_newtable(L);
  int values = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (is_range(L, -1)) {
      read_range(scratch, &ranges[query->range_count++]);
      continue;
    }
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, values);
    has_values = true;
  }
  sort_ranges(ranges, query->range_count);
  query->ranges = ranges;
  if (has_values) query->data = face_fields(scratch, values, "data", &query->data_count);
  face_keep(scratch);
}

/* [-1, +0, e] `order` on top: a field, or { field, descending = true }. */
static void read_order(face_scratch *scratch, annal_query *query) {
  static const char *const keys[] = {"descending", NULL};
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  if (lua_istable(L, -1)) {
    face_plain_table(L, -1, "order");
    if (face_field(L, -1, "descending") != LUA_TNIL) query->descending = face_boolean(L, -1, "order.descending");
    lua_pop(L, 1);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) continue;
      if (lua_type(L, -2) != LUA_TSTRING) face_misuse(L, "order", "%s is no part of an order", face_show(L, -2, shown));
      if (strcmp(lua_tostring(L, -2), "descending") != 0) face_unknown(L, "order", "part of an order", lua_tostring(L, -2), keys);
    }
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
  }
  if (lua_type(L, -1) != LUA_TSTRING)
    face_wrong(L, "order", "must be a field, or { field, descending = true }; the field is %s", face_show(L, -1, shown));
  query->order = face_text(L, -1, "order");
  face_keep(scratch);
}

/* [-0, +0, e] at_least and timeout, which is nothing without it. */
static void read_wait(lua_State *L, int index, annal_query *query) {
  char shown[FACE_SHOW_BYTES];
  if (face_field(L, index, "at_least") != LUA_TNIL) query->at_least = face_integer(L, -1, "at_least", 0);
  lua_pop(L, 1);
  if (face_field(L, index, "timeout") != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      face_wrong(L, "timeout", "must be a number of seconds, not %s", face_show(L, -1, shown));
    query->timeout = lua_tonumber(L, -1) > 0 ? lua_tonumber(L, -1) : 1e-9;
  }
  lua_pop(L, 1);
}

int face_query_projections(lua_State *L) {
  static const char *const keys[] = {"type", "data", "order", "limit", "after", "at_least", "timeout", NULL};
  face_scratch scratch = face_scratch_open(L);
  face_check_keys(L, 2, "", "option of store:query_projections", keys);
  annal_query query = {.size = sizeof query, .type = needed_text(&scratch, 2, "store:query_projections", "type")};
  if (face_field(L, 2, "data") != LUA_TNIL) read_data(&scratch, lua_gettop(L), &query);
  lua_pop(L, 1);
  if (face_field(L, 2, "order") == LUA_TNIL) lua_pop(L, 1);
  else read_order(&scratch, &query);
  if (face_field(L, 2, "limit") != LUA_TNIL) query.limit = (uint64_t)face_integer(L, -1, "limit", 1);
  lua_pop(L, 1);
  if (face_field(L, 2, "after") != LUA_TNIL) {
    if (lua_isinteger(L, -1)) lua_tolstring(L, -1, NULL); /* an id that is a number, as its text */
    query.after = face_text(L, -1, "after");
    face_keep(&scratch);
  } else {
    lua_pop(L, 1);
  }
  read_wait(L, 2, &query);
  push_rows(&scratch, &query, NULL);
  lua_pushnil(L); /* a plain list, like those of events, and not JSON's */
  lua_setmetatable(L, -2);
  return 1;
}
