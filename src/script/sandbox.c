/* What scripts can see: an allow-list, and nothing else. Role: makes the globals and the files' environments.
 *
 * Left out on purpose: the clock, chance and the world outside (os, io, math.random), because a reducer that asks for them folds
 * differently tomorrow; load and string.dump, because the bytecode they deal in is not checked; xpcall and coroutines, because
 * they run where the budget does not reach; debug, because it opens every door. Weak tables and finalizers show when the
 * collector ran. Reading such a name is an error that says so.
 *
 * Scripts never hold a table that another script's functions are looked up in: libraries and environments are sealed, that is
 * empty tables whose metatable reads through to the real one and refuses to be written. */
#include "script/internal.h"

#include "script/near.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <math.h>
#include <stdio.h>

static const char sealed_key = 0;  /* in a metatable: tables that carry it cannot be written to */
static const char globals_key = 0; /* in the registry */
static const char environment_key = 0;

static const struct {
  const char *name, *why;
} left_out[] = {
    {"os", "a reducer that asks for the time would fold differently tomorrow; an event carries created_at"},
    {"io", "what a script reads has to come from events, so that a fold gives the same on every machine; to print use log"},
    {"print", "use log"},
    {"warn", "use log"},
    {"random", "a fold that throws dice gives another state each time; let an event carry the number"},
    {"randomseed", "a fold that throws dice gives another state each time; let an event carry the number"},
    {"require", "use include \"name\", which fingerprints follow"},
    {"dofile", "use include \"name\", which fingerprints follow"},
    {"loadfile", "use include \"name\", which fingerprints follow"},
    {"package", "use include \"name\", which fingerprints follow"},
    {"load", "code that is made while it runs is not covered by the fingerprint"},
    {"loadstring", "code that is made while it runs is not covered by the fingerprint"},
    {"dump", "bytecode is not loaded either"},
    {"xpcall", "its handler runs where the budget does not reach; use pcall"},
    {"coroutine", "the budget counts the instructions of one thread"},
    {"debug", "it leads out of the sandbox"},
    {"collectgarbage", "when memory is collected must not show in a state"},
    {"_G", "each file has an environment of its own; share by include"},
    {"unpack", "use table.unpack"},
    {"setfenv", "it was part of Lua 5.1; use local _ENV"},
    {"getfenv", "it was part of Lua 5.1; use local _ENV"},
    {"getn", "use #"},
};

/* ---- Sealed tables ----------------------------------------------------------------------------------------------------- */

bool sandbox_is_sealed(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return false;
  bool sealed = lua_rawgetp(L, -1, &sealed_key) != LUA_TNIL;
  lua_pop(L, 2);
  return sealed;
}

/* upvalue 1: the table's name, "" for an environment */
static int refuse_write(lua_State *L) {
  const char *name = lua_tostring(L, lua_upvalueindex(1));
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (!name[0])
    return luaL_error(L, "'%s' is not declared: write local %s (a file's environment cannot be assigned to)", key, key);
  return luaL_error(L, "%s.%s cannot be set: what is shared by all scripts cannot be written to", name, key);
}

void sandbox_push_near(lua_State *L, int index, const char *name) {
  int table = lua_absindex(L, index);
  luaL_checkstack(L, 4, NULL);
  lua_pushnil(L); /* the best so far */
  int best = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !near_name(name, lua_tostring(L, -2))) continue;
    if (!lua_isnil(L, best) && strcmp(lua_tostring(L, best), lua_tostring(L, -2)) <= 0) continue;
    lua_pushvalue(L, -2);
    lua_replace(L, best);
  }
}

/* upvalue 1: the name of the library, "" for the globals. The table itself is the first argument. */
static int missing_name(lua_State *L) {
  const char *library = lua_tostring(L, lua_upvalueindex(1));
  const char *dot = library[0] ? "." : "";
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "%s has no field of that kind", library);
  const char *name = lua_tostring(L, 2);
  for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
    if (strcmp(left_out[i].name, name) == 0) return luaL_error(L, "%s%s%s is not there: %s", library, dot, name, left_out[i].why);
  sandbox_push_near(L, 1, name);
  if (lua_isstring(L, -1))
    return luaL_error(L, "%s%s%s is not there (did you mean %s%s%s?)", library, dot, name, library, dot, lua_tostring(L, -1));
  return luaL_error(L, "%s%s%s is not there%s", library, dot, name, library[0] ? "" : ": a variable must be declared with local");
}

/* [-0, +0, m] Gives the table at the top, which stays, a metatable that raises when an absent key is read. */
static void set_missing(lua_State *L, const char *name, lua_CFunction missing) {
  lua_createtable(L, 0, 2);
  lua_pushstring(L, name);
  lua_pushcclosure(L, missing ? missing : missing_name, 1);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

void sandbox_guard(lua_State *L, const char *name) { set_missing(L, name, NULL); }

void sandbox_seal(lua_State *L, const char *name, lua_CFunction missing) {
  set_missing(L, name, missing);
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 5);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_pushcclosure(L, refuse_write, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &sealed_key);
  lua_setmetatable(L, -2);
  lua_remove(L, -2);
}

/* ---- Replacements for basic functions ---------------------------------------------------------------------------------- */

static size_t number_text(lua_State *L, int index, char text[64]) {
  if (lua_isinteger(L, index)) return (size_t)snprintf(text, 64, "%lld", (long long)lua_tointeger(L, index));
  double value = lua_tonumber(L, index);
  if (isfinite(value)) return json_double_text(value, text);
  return (size_t)snprintf(text, 64, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

/* Pushes the text. Tables and functions show what they are and not where they are: an address is another in each process. */
const char *sandbox_tostring(lua_State *L, int index, size_t *size) {
  index = lua_absindex(L, index);
  char text[64];
  luaL_checkstack(L, 4, NULL);
  if (luaL_callmeta(L, index, "__tostring")) {
    if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
    return lua_tolstring(L, -1, size);
  }
  switch (lua_type(L, index)) {
  case LUA_TNUMBER: lua_pushlstring(L, text, number_text(L, index, text)); break;
  case LUA_TSTRING: lua_pushvalue(L, index); break;
  case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); break;
  case LUA_TNIL: lua_pushliteral(L, "nil"); break;
  default:
    if (json_is_null(L, index)) lua_pushliteral(L, "null");
    else lua_pushstring(L, event_is(L, index) ? "event" : luaL_typename(L, index));
  }
  return lua_tolstring(L, -1, size);
}

static int base_tostring(lua_State *L) {
  luaL_checkany(L, 1);
  sandbox_tostring(L, 1, NULL);
  return 1;
}

/* Reading a very long text takes time and no instruction. */
static int base_tonumber(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) state_charge(L, lua_rawlen(L, 1) / 16);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static bool is_forbidden_field(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TSTRING) return false;
  const char *name = lua_tostring(L, index);
  return strcmp(name, "__gc") == 0 || strcmp(name, "__mode") == 0;
}

static int base_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argcheck(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table expected");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return luaL_error(L, "cannot change a protected metatable");
  if (type == LUA_TTABLE) {
    static const char *const forbidden[] = {"__gc", "__mode"};
    for (size_t i = 0; i < 2; i++) {
      lua_pushstring(L, forbidden[i]);
      if (lua_rawget(L, 2) != LUA_TNIL)
        return luaL_error(L, "%s is not there: when memory is collected must not show in a state", forbidden[i]);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (sandbox_is_sealed(L, 1)) return luaL_error(L, "rawset: what is shared by all scripts cannot be written to");
  if (is_forbidden_field(L, 2))
    return luaL_error(L, "%s is not there: when memory is collected must not show in a state", lua_tostring(L, 2));
  lua_rawset(L, 1);
  return 1;
}

static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (event_is(L, 1)) { /* whose fields come into being when they are looked at */
    lua_gettable(L, 1);
    return 1;
  }
  lua_rawget(L, 1);
  return 1;
}

static int base_array(lua_State *L) {
  if (lua_isnone(L, 1)) lua_newtable(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (lua_getmetatable(L, 1)) {
    if (!json_is_array(L, 1)) return luaL_error(L, "array: the table has a metatable already");
    lua_settop(L, 1);
    return 1;
  }
  json_push_array_metatable(L);
  lua_setmetatable(L, 1);
  return 1;
}

/* ---- Putting it together ----------------------------------------------------------------------------------------------- */

static void copy_functions(lua_State *L, int from, int to, const char *const *names) {
  for (; *names; names++) {
    lua_getfield(L, from, *names);
    lua_setfield(L, to, *names);
  }
}

static void open_base(lua_State *L, int globals) {
  static const char *const as_they_are[] = {"assert", "error",  "ipairs", "pcall",        "rawequal",
                                            "rawlen", "select", "type",   "getmetatable", NULL};
  static const luaL_Reg ours[] = {{"tostring", base_tostring}, {"setmetatable", base_setmetatable},
                                  {"rawset", base_rawset},     {"rawget", base_rawget},
                                  {"array", base_array},       {NULL, NULL}};
  luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
  int base = lua_gettop(L);
  copy_functions(L, base, globals, as_they_are);
  lua_getfield(L, base, "tonumber");
  lua_pushcclosure(L, base_tonumber, 1);
  lua_setfield(L, globals, "tonumber");
  lua_pushvalue(L, globals);
  luaL_setfuncs(L, ours, 0);
  lua_settop(L, globals);
  json_push_null(L);
  lua_setfield(L, globals, "null");
}

/* Strings have a metatable, whose __index is the library whatever an environment says: so the library itself is edited. */
static void open_string(lua_State *L, int globals) {
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
  strings_open(L, lua_gettop(L));
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 2);
  sandbox_seal(L, "string", NULL);
  lua_setfield(L, globals, "string");
}

static void open_libraries(lua_State *L, int globals) {
  open_string(L, globals);
  lua_newtable(L);
  tables_open(L, lua_gettop(L));
  sandbox_seal(L, "table", NULL);
  lua_setfield(L, globals, "table");
  luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 0);
  static const char *const chance[] = {"random", "randomseed"};
  for (size_t i = 0; i < 2; i++) {
    lua_pushnil(L);
    lua_setfield(L, -2, chance[i]);
  }
  sandbox_seal(L, "math", NULL);
  lua_setfield(L, globals, "math");
  luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
  strings_charge_all(L, lua_gettop(L));
  sandbox_seal(L, "utf8", NULL);
  lua_setfield(L, globals, "utf8");
}

/* What luaL_requiref keeps for `require` would hold the unedited world alive. */
static void forget_loaded(lua_State *L) {
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, -4);
  }
  lua_pop(L, 1);
}

void sandbox_open(lua_State *L) {
  luaL_checkstack(L, 20, NULL);
  lua_newtable(L);
  int globals = lua_gettop(L);
  lua_pushvalue(L, globals);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &globals_key);
  open_base(L, globals);
  order_open(L, globals);
  open_libraries(L, globals);
  forget_loaded(L);
  set_missing(L, "", NULL);
  lua_newtable(L); /* the metatable of all environments */
  lua_pushvalue(L, globals);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "");
  lua_pushcclosure(L, refuse_write, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &sealed_key);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &environment_key);
  lua_settop(L, globals - 1);
}

void sandbox_push_environment(lua_State *L) {
  lua_createtable(L, 0, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &environment_key);
  lua_setmetatable(L, -2);
}

void sandbox_push_globals(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &globals_key); }

/* ---- Asking it --------------------------------------------------------------------------------------------------------- */

typedef struct asked_name {
  const char *name, *member;
  bool is_write;
} asked_name;

/* Does what a script would do; what that raises is the answer. */
static int use_name(lua_State *L, void *context, annal_error *error) {
  const asked_name *asked = context;
  (void)error;
  luaL_checkstack(L, 8, NULL);
  if (asked->is_write && !asked->member) {
    sandbox_push_environment(L);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, asked->name);
    return 0;
  }
  sandbox_push_globals(L);
  lua_getfield(L, -1, asked->name);
  if (!asked->member || !lua_istable(L, -1)) return 0;
  if (asked->is_write) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, asked->member);
  } else {
    lua_getfield(L, -1, asked->member);
  }
  return 0;
}

int script_name_fault(script_state *state, const char *name, const char *member_or_null, bool is_write, annal_error *error) {
  asked_name asked = {.name = name, .member = member_or_null, .is_write = is_write};
  return script_protect(state, use_name, &asked, error);
}
