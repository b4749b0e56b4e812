/* luaopen_annal and annal_push: the two ways in to the Lua face. */
#include "api/lua_face.h"

#include "json/json_lua.h"
#include <lauxlib.h>
#include <string.h>

const char *face_lua_file(const char *path, size_t *size); /* the embedded files of lua/annal */

/* Fields that are not there stay nil, as in any module. annal.testing is loaded when it is first looked at. */
static int module_index(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "testing") != 0) return 0;
  luaL_requiref(L, "annal.testing", luaopen_annal_testing, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, 1, "testing");
  return 1;
}

/* misuse(where, message) → raises it */
static int raise_misuse(lua_State *L) { return face_misuse(L, luaL_checkstring(L, 1), "%s", luaL_checkstring(L, 2)); }

/* Found by `require "annal.testing"` in the module itself. */
int luaopen_annal_testing(lua_State *L) {
  size_t size = 0;
  const char *text = face_lua_file("testing.lua", &size);
  if (!text || luaL_loadbufferx(L, text, size, "=annal/testing.lua", "t")) return lua_error(L);
  luaL_requiref(L, "annal", luaopen_annal, 0);
  lua_createtable(L, 0, 3);
  static const char *const wanted[] = {"open", "json"};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    lua_getfield(L, -2, wanted[i]);
    lua_setfield(L, -2, wanted[i]);
  }
  lua_pushcfunction(L, raise_misuse);
  lua_setfield(L, -2, "misuse");
  lua_remove(L, -2);
  lua_call(L, 1, 1);
  return 1;
}

int luaopen_annal(lua_State *L) {
  base_env env;
  base_env_init(&env, NULL);
  face_open(L, &env);
  lua_createtable(L, 0, 6);
  json_push_library(L, face_raise);
  lua_getfield(L, -1, "null");
  lua_setfield(L, -3, "null");
  lua_getfield(L, -1, "array");
  lua_setfield(L, -3, "array");
  lua_setfield(L, -2, "json");
  lua_pushstring(L, ANNAL_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushcfunction(L, face_open_store);
  lua_setfield(L, -2, "open");
  lua_pushcfunction(L, face_caused_by);
  lua_setfield(L, -2, "caused_by");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, module_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  return 1;
}

static int push_store(lua_State *L) {
  annal_store *handle = lua_touserdata(L, 1);
  face_open(L, &handle->env);
  face_new_store(L, handle, false);
  return 1;
}

/* [-0, +1 on success, +0 otherwise, -] */
int annal_push(annal_store *handle, struct lua_State *L) {
  if (!handle || !L || lua_version(L) != LUA_VERSION_NUM) return ANNAL_MISUSE;
  if (!lua_checkstack(L, 3)) return ANNAL_UNAVAILABLE;
  lua_pushcfunction(L, push_store);
  lua_pushlightuserdata(L, handle);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return ANNAL_OK;
  lua_pop(L, 1);
  return ANNAL_UNAVAILABLE;
}
