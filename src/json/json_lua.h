/* JSON to Lua values and back, without a step between. Role: payloads in script states, and annal.json in a host's.
 *
 * Lua side: objects are tables with string keys; arrays are tables 1..n that carry the state's one array metatable (so that an
 * empty one stays []); null is annal.null, the light userdata NULL, the same as cjson.null; integers and floats stay apart.
 * Encoding: a table with the array metatable, or with keys exactly 1..n (n ≥ 1), is an array; any other table needs string keys
 * and is an object, `{}` too. Refused, with the path: sparse arrays, mixed keys, other keys, NaN, infinities, invalid UTF-8,
 * functions, userdata, threads, metatables other than the array's, nesting beyond LIMIT_DEPTH (hence cycles too), and with
 * JSON_TREE a table met twice.
 *
 * Stack effects are noted as in the Lua manual: [-popped, +pushed, raises: - never, m memory only]. */
#ifndef JSON_JSON_LUA_H
#define JSON_JSON_LUA_H

#include "json/json.h"
#include <lua.h>

enum {
  JSON_TREE = 4 /* encode: refuse a table that is met twice, even where that is no cycle */
};

/* [-0, +0, m] Prepares a state: array metatable, scratch memory owned by the state (allocated by `env`, which must outlive the
 * state). Call once, inside a protected call, before any other. Harmless when repeated. */
void json_open(lua_State *L, const base_env *env);

/* [-0, +1 on success, +0 otherwise, m] */
int json_decode(lua_State *L, const char *text, size_t size, unsigned flags, annal_error *error);

/* [-0, +0, -] Appends the canonical form of the value at `index`. Runs no metamethod and no script. On failure `out` is as it was.
 * Errors: `invalid` with the path in `where`. */
int json_encode(lua_State *L, int index, unsigned flags, base_buf *out, annal_error *error);

/* The next four need three free slots on the stack.
 * [-0, +1, -] The array metatable. `getmetatable` of an array answers "array", so that no script can write to it. */
void json_push_array_metatable(lua_State *L);
/* [-0, +0, -] Whether the table at `index` carries it. */
bool json_is_array(lua_State *L, int index);
/* [-0, +1, -] annal.null */
void json_push_null(lua_State *L);
bool json_is_null(lua_State *L, int index);

/* [-0, +1, m] A table { decode = f(text) → value | raises, encode = f(value) → canonical text | raises, null, array(t) }: annal.json.
 * Errors are raised by `raise`, which never returns: [-0, +0, e]. */
typedef int json_raise(lua_State *L, const annal_error *error);
void json_push_library(lua_State *L, json_raise *raise);

#endif
