/* Commands in Lua: store:call, and annal.caused_by for the metadata of what follows from an event. */
#include "api/lua_face.h"

#include "base/error.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <string.h>

/* [-0, +0, e] The value at `index` as JSON text. */
static const base_buf *read_json(face_scratch *scratch, int index, const char *where) {
  lua_State *L = scratch->L;
  base_buf *text = face_buffer(scratch);
  annal_error error;
  if (json_encode(L, index, 0, text, &error)) {
    error_where_prefix(&error, where);
    face_raise(L, &error);
  }
  if (text->failed) {
    error_memory(&error);
    face_raise(L, &error);
  }
  return text;
}

/* [-0, +0, e] The options at `index`, which may be nil. */
static void read_options(face_scratch *scratch, int index, handle_request *request) {
  static const char *const keys[] = {"id", "metadata", NULL};
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  if (lua_isnil(L, index)) return;
  face_check_keys(L, index, "", "option of store:call", keys);
  request->id = face_text_field(scratch, index, "", "id");
  int type = face_field(L, index, "metadata");
  if (type != LUA_TNIL && type != LUA_TTABLE) face_wrong(L, "metadata", "must be a table, not %s", face_show(L, -1, shown));
  if (type == LUA_TTABLE) {
    const base_buf *metadata = read_json(scratch, lua_gettop(L), "metadata");
    request->metadata = metadata->bytes;
    request->metadata_size = metadata->size;
  }
  lua_settop(L, scratch->anchor);
}

/* store:call(name, args, options) → the list of events that were stored */
int face_call(lua_State *L) {
  annal_store *handle = face_self(L)->handle;
  char shown[FACE_SHOW_BYTES];
  annal_error error;
  handle_request request = {.command = face_name(L, 2, "command"), .args = "{}", .args_size = 2};
  if (lua_type(L, 3) != LUA_TTABLE && !lua_isnil(L, 3))
    return face_wrong(L, "args", "must be a table of arguments, not %s", face_show(L, 3, shown));
  face_scratch scratch = face_scratch_open(L);
  if (!lua_isnil(L, 3)) {
    const base_buf *args = read_json(&scratch, 3, "args");
    request.args = args->bytes;
    request.args_size = args->size;
  }
  read_options(&scratch, 4, &request);
  face_batch *stored = face_new_child(L, 1, sizeof *stored, &face_batch_class, face_batch_end);
  stored->is_list = true;
  if (handle_call(handle, &request, &stored->batch, &error)) face_raise_save(L, stored, &error);
  face_push_batch(L, stored);
  face_end_child(&stored->head);
  return 1;
}

/* ---- annal.caused_by ------------------------------------------------------------------------------------------------------- */

/* [-0, +1, e] The correlation that the event at 1 belongs to, or nil where it begins one. */
static void push_correlation(lua_State *L) {
  char shown[FACE_SHOW_BYTES];
  int type = face_field(L, 1, "metadata");
  if (type == LUA_TNIL || json_is_null(L, -1)) {
    lua_pushnil(L);
    return;
  }
  if (type != LUA_TTABLE) face_wrong(L, "metadata", "must be a table, not %s", face_show(L, -1, shown));
  type = face_field(L, -1, "correlation_id");
  if (json_is_null(L, -1)) lua_pushnil(L);
  else if (type != LUA_TNIL && type != LUA_TSTRING)
    face_wrong(L, "metadata.correlation_id", "must be a string, not %s", face_show(L, -1, shown));
}

/* annal.caused_by(event) → { correlation_id, causation_id }, to be the metadata of a save or a call */
int face_caused_by(lua_State *L) {
  char shown[FACE_SHOW_BYTES];
  lua_settop(L, 1);
  luaL_checkstack(L, 10, "annal");
  if (lua_type(L, 1) != LUA_TTABLE)
    return face_wrong(L, "", "of annal.caused_by must be an event, not %s", face_show(L, 1, shown));
  face_plain_table(L, 1, "event");
  if (face_field(L, 1, "id") == LUA_TNIL)
    return face_misuse(L, "id", "an event that causes others has to be stored: this one has no id");
  face_name(L, 2, "id");
  push_correlation(L);
  int correlation = lua_gettop(L);
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, lua_isnil(L, correlation) ? 2 : correlation);
  lua_setfield(L, -2, "correlation_id");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "causation_id");
  return 1;
}
