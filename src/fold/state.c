/* States as bytes; see state.h. */
#include "fold/state.h"

#include "base/error.h"
#include "base/limits.h"
#include "json/json_lua.h"
#include <lauxlib.h>

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

static bool has_metatable(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return false;
  lua_pop(L, 1);
  return true;
}

/* [-0, +1, m] The member of the table at `index` that the note key on top stands for. */
static void push_noted(lua_State *L, int index) {
  if (json_is_array(L, index)) {
    lua_pushinteger(L, lua_tointegerx(L, -1, NULL)); /* notes on items bear their numbers as text */
  } else {
    lua_pushvalue(L, -1);
  }
  lua_rawget(L, index);
}

/* [-0, +0, m] Takes the array metatable from the tables below `value` that the notes at `notes` call plain. Bytes that somebody
 * changed can only miss: what does not fit is passed over. The depth of both was bounded when they were decoded. */
static void apply_notes(lua_State *L, int value, int notes) {
  if (!lua_istable(L, value) || !lua_istable(L, notes)) return;
  luaL_checkstack(L, 6, "state");
  bool plain = false;
  lua_pushnil(L);
  while (lua_next(L, notes)) {
    size_t size = 0;
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pop(L, 1);
      continue;
    }
    lua_tolstring(L, -2, &size);
    if (size == 0 && json_is_array(L, value)) {
      plain = true;
      lua_pop(L, 1);
      continue;
    }
    lua_pushvalue(L, -2);
    push_noted(L, value);
    apply_notes(L, lua_gettop(L), lua_gettop(L) - 2);
    lua_pop(L, 3);
  }
  if (plain) {
    lua_pushnil(L);
    lua_setmetatable(L, value);
  }
}

int fold_state_decode(lua_State *L, const char *bytes, size_t size, annal_error *error) {
  int code = json_decode(L, bytes, size, 0, error);
  if (code) return code;
  if (size < 4 || bytes[0] != '{' || bytes[1] != '"' || bytes[2] != '"') return ANNAL_OK; /* "" sorts first */
  lua_pushliteral(L, "");
  lua_rawget(L, -2);
  lua_pushliteral(L, "state");
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 3);
    return error_set(error, ANNAL_CORRUPT, NULL, "a saved state has notes and no state");
  }
  apply_notes(L, lua_gettop(L), lua_gettop(L) - 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return ANNAL_OK;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

/* [-1, +0, m] Files the note on top under the key at `key` in the table of notes at `notes`, which is made when it is first
 * needed. */
static void file_note(lua_State *L, int notes, int key) {
  if (lua_isnil(L, notes)) {
    lua_newtable(L);
    lua_replace(L, notes);
  }
  if (lua_type(L, key) == LUA_TSTRING) lua_pushvalue(L, key);
  else lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, key));
  lua_insert(L, -2);
  lua_rawset(L, notes);
}

/* [-0, +1, m] Pushes the notes on the table at `index`, or nil when there are none. It was encoded, so it is a tree of bounded
 * depth. *deepest becomes the deepest level met. */
static void push_notes(lua_State *L, int index, int level, int *deepest) {
  luaL_checkstack(L, 8, "state");
  if (level > *deepest) *deepest = level;
  lua_pushnil(L);
  int notes = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_istable(L, -1)) {
      push_notes(L, lua_gettop(L), level + 1, deepest);
      if (lua_isnil(L, -1)) lua_pop(L, 1);
      else file_note(L, notes, notes + 1);
    }
    lua_pop(L, 1);
  }
  if (lua_rawlen(L, index) > 0 && !has_metatable(L, index)) {
    lua_pushliteral(L, "");
    lua_pushboolean(L, true);
    file_note(L, notes, lua_gettop(L) - 1);
    lua_pop(L, 1);
  }
}

/* [-0, +1, m] */
static bool has_empty_key(lua_State *L, int index) {
  lua_pushliteral(L, "");
  bool has = lua_rawget(L, index) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

/* [-1, +0, m] Encodes the state at `index` together with the notes on top (nil: none are needed, but the state looks like it). */
static int encode_wrapped(lua_State *L, int index, base_buf *out, annal_error *error) {
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_pushliteral(L, "");
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pushliteral(L, "state");
  lua_pushvalue(L, index);
  lua_rawset(L, -3);
  int code = json_encode(L, lua_gettop(L), JSON_NO_NUL, out, error);
  lua_pop(L, 1);
  return code;
}

int fold_state_encode(lua_State *L, int index, base_buf *out, annal_error *error) {
  index = lua_absindex(L, index);
  size_t start = out->size;
  int code = json_encode(L, index, JSON_TREE | JSON_NO_NUL, out, error);
  if (code || !lua_istable(L, index)) return code;
  int deepest = 0;
  push_notes(L, index, 1, &deepest);
  if (deepest >= LIMIT_DEPTH) {
    lua_pop(L, 1);
    out->size = start;
    return error_set(error, ANNAL_INVALID, NULL, "nested %d levels deep, at most %d are allowed", deepest, LIMIT_DEPTH - 1);
  }
  if (lua_isnil(L, -1) && !has_empty_key(L, index)) {
    lua_pop(L, 1);
    return ANNAL_OK;
  }
  out->size = start;
  return encode_wrapped(L, index, out, error);
}
