/* What the codec keeps in a Lua state: the array metatable, scratch memory, and the keys that it met last. Role: json_decode.c;
 * opened by json_open. The scratch belongs to a userdata, so that nothing leaks when Lua jumps out of a call for want of memory.
 *
 * All hangs on one table, the kit, which the registry holds. The key cache spares Lua the hashing of keys that come again and
 * again: an entry names the string in the kit, and the entry whose key came next the last time. */
#ifndef JSON_JSON_STATE_H
#define JSON_JSON_STATE_H

#include "base/limits.h"
#include "json/json_lua.h"

/* Places in the kit. */
enum { KIT_STATE = 1, KIT_ARRAY = 2, KIT_FIRST_KEY = 3 };

#define KEY_DEPTHS 8 /* levels whose first key is guessed */

typedef struct json_key {
  uint64_t prefix;   /* json_key_prefix */
  const char *bytes; /* of the Lua string at KIT_FIRST_KEY + its number; NULL while the entry is empty */
  uint8_t size;
  uint8_t next; /* a guess: which entry's key follows this one */
} json_key;

typedef struct json_state {
  const base_env *env; /* NULL once the state closes */
  base_buf strings;    /* decode: the last string that had escapes */
  base_buf text;       /* the library's encode: what it is about to push */
  json_key keys[LIMIT_JSON_KEYS];
  uint8_t first[KEY_DEPTHS]; /* a guess: which entry's key is the first of an object at this depth */
} json_state;

/* [-0, +1, -] The kit, or nil before json_open. */
void json_push_kit(lua_State *L);
/* [-0, +0, -] The state in the kit on top of the stack; NULL before json_open. */
json_state *json_state_of_kit(lua_State *L);

/* [-0, +1 on success, +0 otherwise, m] json_decode with the kit at hand, where there is room for 4 values on the stack. */
int json_decode_with(lua_State *L, json_state *state, int kit, const char *text, size_t size, unsigned flags, annal_error *error);

#endif
