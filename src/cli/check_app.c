/* annal check, the scripts. Role: reads an app's files, hands them to lua/annal/check, which looks through them without running any,
 * and loads them to see what only that shows. Stands on script/script.h: no program has a use for what is asked here. */
#include "check.h"
#include "script/near.h"
#include "script/script.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

typedef struct app_check {
  cli *c;
  const char *directory;
  check_finding *finding;
  void *context;
  lua_State *L;
  script_app *files;
  script_app *nothing; /* and a state of it: what names mean */
  script_state *words;
  annal_error error; /* why it could not be done */
  bool is_fault;     /* what was raised is that */
  int code;          /* what a finding answered */
} app_check;

/* ---- What the Lua half asks ---------------------------------------------------------------------------------------------- */

static app_check *check_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

/* [-0, +1, e] host.near(name, other) */
static int host_near(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *other = luaL_checkstring(L, 2);
  lua_pushboolean(L, strcmp(name, other) != 0 && near_name(name, other));
  return 1;
}

/* [-0, +0, e] Ends the whole with an error that is nobody's finding. */
static int give_up(lua_State *L, app_check *k) {
  k->is_fault = true;
  return luaL_error(L, "%s", k->error.message);
}

/* [-0, +1, e] host.fault(name, member, is_write) → what the sandbox would say, or nil */
static int host_fault(lua_State *L) {
  app_check *k = check_of(L);
  const char *name = luaL_checkstring(L, 1), *member = luaL_optstring(L, 2, NULL);
  int code = script_name_fault(k->words, name, member, lua_toboolean(L, 3), &k->error);
  if (code && code != ANNAL_SCRIPT) return give_up(L, k);
  lua_pushstring(L, code ? k->error.message : NULL);
  return 1;
}

/* [-0, +2, e] host.load() → place, message of what keeps it from being loaded, or nil */
static int host_load(lua_State *L) {
  app_check *k = check_of(L);
  const script_options options = {.budget = k->c->options.budget, .memory = k->c->options.memory};
  script_app *app = NULL;
  int code = script_load(&k->c->env, &options, k->directory, &app, &k->error);
  if (!code) script_release(app);
  if (code && code != ANNAL_SCRIPT && code != ANNAL_BUDGET && code != ANNAL_INVALID) return give_up(L, k);
  lua_pushstring(L, code ? k->error.where : NULL);
  lua_pushstring(L, code ? k->error.message : NULL);
  return 2;
}

/* ---- The run ------------------------------------------------------------------------------------------------------------- */

static void set_function(lua_State *L, app_check *k, const char *name, lua_CFunction function) {
  lua_pushlightuserdata(L, k);
  lua_pushcclosure(L, function, 1);
  lua_setfield(L, -2, name);
}

/* [-0, +1, e] The list of { path, name, source }. */
static void push_sources(lua_State *L, const app_check *k) {
  script_source source;
  lua_newtable(L);
  for (size_t i = 0; script_source_at(k->files, i, &source); i++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, source.path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, source.name);
    lua_setfield(L, -2, "name");
    lua_pushlstring(L, source.text, source.size);
    lua_setfield(L, -2, "source");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

/* [-0, +1, e] A function of the embedded file `path`, which is one of what stands above it: `arguments` values, which it takes. */
static void call_file(lua_State *L, const char *path, int arguments) {
  cli_lua_require(L, path);
  lua_insert(L, -arguments - 1);
  lua_call(L, arguments, 1);
}

/* [-0, +1, e] The function of check.lua that takes the sources. */
static void push_check(lua_State *L, app_check *k) {
  cli_lua_require(L, "annal/check/check.lua");
  lua_createtable(L, 0, 3);
  set_function(L, k, "near", host_near);
  set_function(L, k, "fault", host_fault);
  set_function(L, k, "load", host_load);
  cli_lua_require(L, "annal/check/tree.lua");
  int tree = lua_gettop(L);
  cli_lua_require(L, "annal/check/lexer.lua");
  call_file(L, "annal/check/parser.lua", 1);
  lua_pushvalue(L, tree);
  call_file(L, "annal/check/declarations.lua", 1);
  lua_pushvalue(L, tree);
  call_file(L, "annal/check/names.lua", 1);
  lua_call(L, 5, 1);
}

/* Bytes of the directory's name, as it stands before a path in it. */
static size_t directory_length(const char *directory) {
  size_t length = strlen(directory);
  for (;;) {
    if (length > 1 && directory[length - 1] == '/') length--;
    else if (length > 2 && directory[length - 1] == '.' && directory[length - 2] == '/') length -= 2;
    else return length;
  }
}

/* [-0, +0, e] Hands over each of the findings in the list at the top. */
static void hand_over(lua_State *L, app_check *k) {
  char where[sizeof k->error.where + 512];
  size_t length = directory_length(k->directory);
  for (lua_Integer i = 1; !k->code && lua_rawgeti(L, -1, i) == LUA_TTABLE; i++) {
    lua_getfield(L, -1, "where");
    lua_getfield(L, -2, "message");
    snprintf(where, sizeof where, "%.*s/%s", (int)length, k->directory, luaL_checkstring(L, -2));
    k->code = k->finding(k->context, where, luaL_checkstring(L, -1));
    lua_pop(L, 3);
  }
}

static int run_check(lua_State *L) {
  app_check *k = lua_touserdata(L, 1);
  luaL_openlibs(L);
  push_check(L, k);
  push_sources(L, k);
  lua_call(L, 1, 1);
  hand_over(L, k);
  return 0;
}

static int run_in_lua(app_check *k) {
  k->L = cli_lua_new(&k->c->env);
  if (!k->L) return error_memory(&k->error);
  lua_pushcfunction(k->L, run_check);
  lua_pushlightuserdata(k->L, k);
  int failed = lua_pcall(k->L, 1, 0, 0);
  if (failed && !k->is_fault)
    error_set(&k->error, ANNAL_UNAVAILABLE, NULL, "the scripts could not be looked at: %s", lua_tostring(k->L, -1));
  lua_close(k->L);
  return failed ? k->error.code : 0;
}

int check_app(cli *c, const char *directory, check_finding *finding, void *context) {
  app_check k = {.c = c, .directory = directory, .finding = finding, .context = context};
  int failed = script_read(&c->env, directory, &k.files, &k.error);
  if (!failed) failed = script_load_nothing(&c->env, &k.nothing, &k.error);
  if (!failed) failed = script_acquire(k.nothing, &k.words, &k.error);
  if (!failed) failed = run_in_lua(&k);
  script_give_back(k.words);
  script_release(k.nothing);
  script_release(k.files);
  return failed ? cli_fail(c, &k.error) : k.code;
}
