/* Lua states of the command itself: for the config file, for printing, for the REPL. Role: one allocator and one way to the
 * embedded files. None of them ever runs a script of an app; those run in states of script/. */
#include "cli.h"
#include <lauxlib.h>

static void *allocate(void *context, void *pointer, size_t old_size, size_t size) {
  (void)old_size;
  const base_env *env = context;
  if (size == 0) {
    base_free(env, pointer);
    return NULL;
  }
  return base_realloc(env, pointer, size);
}

lua_State *cli_lua_new(const base_env *env) { return lua_newstate(allocate, (void *)(uintptr_t)env); }

void cli_lua_require(lua_State *L, const char *path) {
  size_t size = 0;
  const char *text = cli_lua_file(path, &size);
  if (!text) luaL_error(L, "no embedded file %s", path);
  lua_pushfstring(L, "=%s", path);
  if (luaL_loadbufferx(L, text, size, lua_tostring(L, -1), "t")) lua_error(L);
  lua_remove(L, -2);
  lua_call(L, 0, 1);
}
