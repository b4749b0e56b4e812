/* Rows of projections in Lua: saved by hand, looked up, queried. */
#include "api/lua_face.h"

#include "base/error.h"
#include "json/json_lua.h"
#include <lauxlib.h>
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

int face_query_projections(lua_State *L) {
  static const char *const keys[] = {"type", "data", NULL};
  face_scratch scratch = face_scratch_open(L);
  face_check_keys(L, 2, "", "option of store:query_projections", keys);
  annal_query query = {.size = sizeof query, .type = needed_text(&scratch, 2, "store:query_projections", "type")};
  if (face_field(L, 2, "data") != LUA_TNIL) query.data = face_fields(&scratch, -1, "data", &query.data_count);
  lua_pop(L, 1);
  push_rows(&scratch, &query, NULL);
  lua_pushnil(L); /* a plain list, like those of events, and not JSON's */
  lua_setmetatable(L, -2);
  return 1;
}
