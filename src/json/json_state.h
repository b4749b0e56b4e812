/* What the codec keeps in a Lua state: the array metatable, scratch memory, and the keys that it met last. Role: json_decode.c
 * and json_encode.c; opened by json_open. The scratch belongs to a userdata, so that nothing leaks when Lua jumps out of a call
 * for want of memory.
 *
 * All hangs on one table, the kit, which the registry holds. The key cache spares Lua the hashing of keys that come again and
 * again, and their checking on the way out: an entry names the string in the kit, which lives as long as the entry, and the entry
 * whose key came next the last time. Only keys that canonical JSON writes as they are, between quotes, are in it. */
#ifndef JSON_JSON_STATE_H
#define JSON_JSON_STATE_H

#include "base/limits.h"
#include "json/json_lua.h"
#include "json/json_members.h"

/* Places in the kit. */
enum { KIT_STATE = 1, KIT_ARRAY = 2, KIT_FIRST_KEY = 3 };

#define KEY_DEPTHS 8 /* levels whose first key is guessed */

typedef struct json_key {
  uint64_t prefix;    /* json_key_prefix */
  const char *bytes;  /* of the Lua string at KIT_FIRST_KEY + its number; NULL while the entry is empty */
  const void *object; /* that string, by lua_topointer */
  uint8_t size;
  uint8_t next; /* a guess: which entry's key follows this one */
} json_key;

#define KEY_OBJECTS 256 /* twice the entries, so that few strings share a place; a power of two, and a byte's values */

typedef struct json_state {
  const base_env *env; /* NULL once the state closes */
  base_buf strings;    /* decode: the last string that had escapes */
  base_buf text;       /* the library's encode: what it is about to push */
  json_key keys[LIMIT_JSON_KEYS];
  uint8_t first[KEY_DEPTHS];      /* a guess: which entry's key is the first of an object at this depth */
  uint8_t by_object[KEY_OBJECTS]; /* which entry may have the string whose address falls here */
} json_state;

static inline uint8_t *json_key_place(json_state *state, const void *object) {
  return &state->by_object[(uint8_t)(((uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 56)];
}

/* The entry that the key's bytes lead to, whatever is in it. The key has 1 to LIMIT_JSON_KEY_BYTES bytes. */
static inline uint8_t json_key_slot(const char *key, size_t size) {
  uint64_t first = 0, last = 0;
  if (size >= 8) {
    first = json_word(key);
    last = json_word(key + size - 8);
  } else {
    first = json_short_word(key, size);
  }
  return (uint8_t)(((first ^ (last << 1) ^ size) * UINT64_C(0x9E3779B97F4A7C15) >> 32) % LIMIT_JSON_KEYS);
}

static inline bool json_key_is(const json_key *key, const char *bytes, size_t size) {
  return key->size == size && json_same(key->bytes, bytes, size);
}

/* [-0, +0, -] Enters the string on top of the stack, in place of what was there. `kit` is the kit's index. */
void json_key_enter(lua_State *L, json_state *state, int kit, uint8_t slot);

/* [-0, +1, -] The kit, or nil before json_open. */
void json_push_kit(lua_State *L);
/* [-0, +0, -] The state in the kit on top of the stack; NULL before json_open. */
json_state *json_state_of_kit(lua_State *L);

/* [-0, +1 on success, +0 otherwise, m] json_decode with the kit at hand, where there is room for 4 values on the stack. */
int json_decode_with(lua_State *L, json_state *state, int kit, const char *text, size_t size, unsigned flags, annal_error *error);
/* [-0, +0 on success, anything otherwise, -] json_encode with the kit at hand, for an absolute index; `state` may be NULL. */
int json_encode_with(lua_State *L, json_state *state, int kit, int index, unsigned flags, base_buf *out, annal_error *error);

#endif
