/* luaopen_annal and annal_push: the two ways in to the Lua face. */
#include "api/lua_face.h"

#include "json/json_lua.h"
#include <lauxlib.h>
#include <string.h>

/* Fields that are not there stay nil, as in any module, but for those that a later version will have. */
static int module_index(lua_State *L) {
  static const char *const testing[] = {"testing", NULL};
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  for (const char *const *later = testing; *later; later++)
    if (strcmp(*later, name) == 0) return face_unknown(L, "", "field of annal", name, testing);
  return 0;
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
