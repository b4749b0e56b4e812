/* The codec in a Lua state, and annal.json itself; see json_state.h and json_lua.h. */
#include "json/json_state.h"

#include "base/error.h"
#include <lauxlib.h>

/* Two copies of this library can serve one Lua state (the module, and a host's own libannal). The array metatable is then the
 * same for both, hence found by name; the kit is each copy's own, hence found by an address in it. */
#define ARRAY_NAME "annal.array"
static const char kit_key = 'k';

/* [-0, +0, -] A finalizer that runs after this one finds no codec: its scratch would never be freed. */
static int collect(lua_State *L) {
  json_state *state = lua_touserdata(L, 1);
  buf_free(&state->strings);
  buf_free(&state->text);
  state->env = NULL;
  return 0;
}

/* [-0, +1, m] */
static void push_new_state(lua_State *L, const base_env *env) {
  json_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  *state = (json_state){.env = env};
  buf_init(&state->strings, env);
  buf_init(&state->text, env);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
}

/* [-0, +1, m] */
static void push_array_metatable(lua_State *L) {
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
  json_push_kit(L);
  bool open = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (open) return;
  lua_createtable(L, KIT_FIRST_KEY + LIMIT_JSON_KEYS, 0); /* whole from the start: entering a key must not allocate */
  push_new_state(L, env);
  lua_rawseti(L, -2, KIT_STATE);
  push_array_metatable(L);
  lua_rawseti(L, -2, KIT_ARRAY);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kit_key);
}

void json_push_kit(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &kit_key); }

json_state *json_state_of_kit(lua_State *L) {
  if (lua_isnil(L, -1)) return NULL;
  lua_rawgeti(L, -1, KIT_STATE);
  json_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

void json_key_enter(lua_State *L, json_state *state, int kit, uint8_t slot) {
  size_t size;
  const char *bytes = lua_tolstring(L, -1, &size);
  const void *object = lua_topointer(L, -1);
  lua_pushvalue(L, -1);
  lua_rawseti(L, kit, KIT_FIRST_KEY + slot); /* the place is there: nothing is allocated */
  state->keys[slot] =
      (json_key){.prefix = json_key_prefix(bytes, size), .bytes = bytes, .object = object, .size = (uint8_t)size, .next = slot};
  *json_key_place(state, object) = slot;
}

void json_push_array_metatable(lua_State *L) {
  json_push_kit(L);
  if (lua_isnil(L, -1)) return; /* not prepared: nil is no table's metatable */
  lua_rawgeti(L, -1, KIT_ARRAY);
  lua_remove(L, -2);
}

bool json_is_array(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  json_push_array_metatable(L);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void json_push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

bool json_is_null(lua_State *L, int index) { return lua_islightuserdata(L, index) && !lua_touserdata(L, index); }

/* ---- annal.json: each function has two upvalues, a `library` and the kit ------------------------------------------------- */

#define SELF lua_upvalueindex(1)
#define KIT lua_upvalueindex(2)

typedef struct library {
  json_raise *raise;
  json_state *state; /* the kit keeps it alive */
} library;

/* [-0, +1, e] decode(text) */
static int library_decode(lua_State *L) {
  const library *self = lua_touserdata(L, SELF);
  annal_error error;
  size_t size;
  if (lua_type(L, 1) != LUA_TSTRING) {
    error_set(&error, ANNAL_MISUSE, NULL, "json.decode wants a string, not a value of type %s", luaL_typename(L, 1));
    return self->raise(L, &error);
  }
  const char *text = lua_tolstring(L, 1, &size);
  if (json_decode_with(L, self->state, KIT, text, size, 0, &error) != 0) return self->raise(L, &error);
  return 1;
}

/* [-0, +1, e] encode(value) */
static int library_encode(lua_State *L) {
  const library *self = lua_touserdata(L, SELF);
  base_buf *text = &self->state->text;
  annal_error error;
  if (!self->state->env) {
    error_set(&error, ANNAL_MISUSE, NULL, "the Lua state is closing");
    return self->raise(L, &error);
  }
  buf_clear(text);
  if (json_encode_with(L, self->state, KIT, 1, 0, text, &error) != 0) {
    if (lua_isnone(L, 1)) error_set(&error, ANNAL_MISUSE, NULL, "json.encode wants a value");
    return self->raise(L, &error);
  }
  lua_pushlstring(L, text->bytes, text->size);
  if (text->capacity > LIMIT_JSON_SCRATCH_BYTES) buf_free(text);
  return 1;
}

/* [-0, +1, e] array(t): marks the table itself, and answers it. */
static int library_array(lua_State *L) {
  const library *self = lua_touserdata(L, SELF);
  annal_error error;
  if (!lua_istable(L, 1) || (lua_getmetatable(L, 1) && !json_is_array(L, 1))) {
    error_set(&error, ANNAL_MISUSE, NULL, "array wants a table without a metatable, not a %s",
              lua_istable(L, 1) ? "table with one" : luaL_typename(L, 1));
    return self->raise(L, &error);
  }
  lua_settop(L, 1);
  lua_rawgeti(L, KIT, KIT_ARRAY);
  lua_setmetatable(L, 1);
  return 1;
}

void json_push_library(lua_State *L, json_raise *raise_error) {
  static const luaL_Reg functions[] = {
      {"decode", library_decode}, {"encode", library_encode}, {"array", library_array}, {NULL, NULL}};
  luaL_checkstack(L, 6, NULL);
  lua_createtable(L, 0, 4);
  json_push_null(L);
  lua_setfield(L, -2, "null");
  library *self = lua_newuserdatauv(L, sizeof *self, 0);
  json_push_kit(L);
  *self = (library){.raise = raise_error, .state = json_state_of_kit(L)};
  luaL_setfuncs(L, functions, 2);
}
