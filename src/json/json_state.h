/* What the codec keeps in a Lua state: the array metatable and scratch memory. Role: json_decode.c and json_encode.c; opened by
 * json_open. The scratch belongs to a userdata, so that nothing leaks when Lua jumps out of a call for want of memory. */
#ifndef JSON_JSON_STATE_H
#define JSON_JSON_STATE_H

#include "json/json_lua.h"
#include "json/json_members.h"

/* Tables met in one JSON_TREE encoding: open addressing, a power of two, NULL for free. */
typedef struct json_seen {
  const void **slots;
  size_t capacity, count;
} json_seen;

typedef struct json_state {
  const base_env *env;
  base_buf strings; /* decode: the last string that had escapes */
  base_buf text;    /* the library's encode: what it is about to push */
  json_members members;
  json_seen seen;
  const void *array_metatable; /* its address; the state keeps it alive */
} json_state;

/* [-0, +0, -] NULL before json_open and while the state closes. Needs one free slot on the stack. */
json_state *json_state_of(lua_State *L);

/* Gives back the scratch that an unusually large value needed, all but `text`. */
void json_state_trim(json_state *state);

#endif
