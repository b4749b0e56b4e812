/* The codec in a Lua state, and annal.json itself; see json_state.h and json_lua.h. */
#include "json/json_state.h"

#include "base/error.h"
#include <lauxlib.h>

/* Two copies of this library can serve one Lua state (the module, and a host's own libannal). The array metatable is then the
 * same for both, hence found by name; the scratch is each copy's own, hence found by an address in it. */
#define ARRAY_NAME "annal.array"
static const char state_key = 's';
static const char array_key = 'a';

#define KEPT_BYTES (256u << 10) /* scratch kept between calls: room for any usual state, nothing beside the state itself */

static void release(json_state *state) {
  buf_free(&state->strings);
  buf_free(&state->text);
  json_members_free(&state->members);
  base_free(state->env, state->seen.slots);
  state->seen = (json_seen){0};
}

/* [-0, +0, -] A finalizer that runs after this one must find no codec: its scratch would never be freed. One that was never
 * entered, for want of memory, must not take its successor's entry away. */
static int collect(lua_State *L) {
  json_state *state = lua_touserdata(L, 1);
  release(state);
  if (json_state_of(L) != state) return 0;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  return 0;
}

/* [-0, +1, m] */
static void make_array_metatable(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, ARRAY_NAME) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "array");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "array"); /* what getmetatable answers: no script may write to what all arrays share */
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, ARRAY_NAME);
}

void json_open(lua_State *L, const base_env *env) {
  luaL_checkstack(L, 6, NULL);
  if (json_state_of(L)) return;
  make_array_metatable(L);
  const void *array_metatable = lua_topointer(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
  json_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  *state = (json_state){.env = env, .array_metatable = array_metatable};
  buf_init(&state->strings, env);
  buf_init(&state->text, env);
  json_members_init(&state->members, env);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

json_state *json_state_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  json_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

/* Not the text: it may be what the caller is about to read. */
void json_state_trim(json_state *state) {
  if (state->strings.capacity > KEPT_BYTES) buf_free(&state->strings);
  if (state->members.capacity * sizeof(json_member) > KEPT_BYTES || state->members.moved.capacity > KEPT_BYTES)
    json_members_free(&state->members);
  if (state->seen.capacity * sizeof(void *) > KEPT_BYTES) {
    base_free(state->env, state->seen.slots);
    state->seen = (json_seen){0};
  }
}

void json_push_array_metatable(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key); }

bool json_is_array(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  json_push_array_metatable(L);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void json_push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

bool json_is_null(lua_State *L, int index) { return lua_islightuserdata(L, index) && !lua_touserdata(L, index); }

/* ---- annal.json: each function has the raising function as its upvalue -------------------------------------------------- */

typedef struct library {
  json_raise *raise;
} library;

/* [-0, +0, e] */
static int raise(lua_State *L, const annal_error *error) {
  const library *self = lua_touserdata(L, lua_upvalueindex(1));
  return self->raise(L, error);
}

/* [-0, +1, e] decode(text) */
static int library_decode(lua_State *L) {
  annal_error error;
  size_t size;
  if (lua_type(L, 1) != LUA_TSTRING) {
    error_set(&error, ANNAL_MISUSE, NULL, "json.decode wants a string, not a value of type %s", luaL_typename(L, 1));
    return raise(L, &error);
  }
  const char *text = lua_tolstring(L, 1, &size);
  if (json_decode(L, text, size, 0, &error) != 0) return raise(L, &error);
  return 1;
}

/* [-0, +1, e] encode(value) */
static int library_encode(lua_State *L) {
  annal_error error;
  json_state *state = json_state_of(L);
  if (lua_isnone(L, 1) || !state) {
    error_set(&error, ANNAL_MISUSE, NULL, state ? "json.encode wants a value" : "the Lua state is closing");
    return raise(L, &error);
  }
  buf_clear(&state->text);
  if (json_encode(L, 1, 0, &state->text, &error) != 0) return raise(L, &error);
  lua_pushlstring(L, state->text.bytes, state->text.size);
  if (state->text.capacity > KEPT_BYTES) buf_free(&state->text);
  return 1;
}

/* [-0, +1, e] array(t): marks the table itself, and answers it. */
static int library_array(lua_State *L) {
  annal_error error;
  if (!lua_istable(L, 1) || (lua_getmetatable(L, 1) && !json_is_array(L, 1))) {
    error_set(&error, ANNAL_MISUSE, NULL, "array wants a table without a metatable, not a %s",
              lua_istable(L, 1) ? "table with one" : luaL_typename(L, 1));
    return raise(L, &error);
  }
  lua_settop(L, 1);
  json_push_array_metatable(L);
  lua_setmetatable(L, 1);
  return 1;
}

void json_push_library(lua_State *L, json_raise *raise_error) {
  static const luaL_Reg functions[] = {
      {"decode", library_decode}, {"encode", library_encode}, {"array", library_array}, {NULL, NULL}};
  luaL_checkstack(L, 4, NULL);
  lua_createtable(L, 0, 4);
  json_push_null(L);
  lua_setfield(L, -2, "null");
  library *self = lua_newuserdatauv(L, sizeof *self, 0);
  self->raise = raise_error;
  luaL_setfuncs(L, functions, 1);
}
