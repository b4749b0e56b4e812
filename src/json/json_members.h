/* The members of objects while they are being written: noted in the order in which they come, put in the order of their keys
 * when the object ends, duplicates found on the way. Role: json_canonical.c (from text) and json_encode.c (from Lua tables).
 *
 * Members are written to the output at once, whatever their order, and moved afterwards if they need to be: an object that
 * comes sorted, as everything stored does, costs no more than a comparison a member. One list serves a whole document; nested
 * objects stack their members on top of their parent's. The first few need no allocation. */
#ifndef JSON_JSON_MEMBERS_H
#define JSON_JSON_MEMBERS_H

#include "json/json_scan.h"

#define MEMBERS_INLINE 24
#define RANKED_MAX 8 /* up to here members are ranked instead of sorted */

typedef struct json_member {
  uint64_t prefix; /* the first 8 bytes of the key, so that most comparisons are one of integers */
  const char *key; /* unescaped; NULL while it is only in `source` with escapes */
  size_t key_size;
  size_t from, to;    /* in the output: `"key":value` without the comma */
  const char *source; /* where the key stands in the source; the canonical writer's alone */
  size_t source_size;
} json_member;

typedef struct json_members {
  const base_env *env;
  json_member *list;
  size_t count, capacity;
  json_member few[MEMBERS_INLINE];
} json_members;

static inline void json_members_init(json_members *members, const base_env *env) {
  members->env = env;
  members->list = members->few;
  members->count = 0;
  members->capacity = MEMBERS_INLINE;
}

static inline void json_members_free(json_members *members) {
  if (members->list != members->few) base_free(members->env, members->list);
}

/* Room for more; false when there is no memory. Moves the list. */
bool json_members_grow(json_members *members, size_t more);

static inline uint64_t json_key_prefix(const char *key, size_t size) {
  if (size < 8) return size ? __builtin_bswap64(json_short_word(key, size)) : 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return __builtin_bswap64(json_word(key));
#else
  return json_word(key);
#endif
}

/* The order of a few keys whose prefixes all differ, each one's place being the number of smaller ones; false when two are the
 * same. Cheaper than moving members about: nothing here is hard to guess for a processor. */
bool json_rank(const uint64_t *prefixes, size_t count, uint8_t order[RANKED_MAX]);

/* Notes a member on top; NULL when there is no memory. The pointer is good until the next one is added. */
static inline json_member *json_members_add(json_members *members, const char *key, size_t key_size) {
  if (members->count == members->capacity && !json_members_grow(members, 1)) return NULL;
  json_member *member = &members->list[members->count++];
  member->prefix = json_key_prefix(key, key_size);
  member->key = key;
  member->key_size = key_size;
  return member;
}

/* Ends an object whose members are those from `base` on: puts them in order in `out`, of which they are the end, and drops them
 * from the list. When two keys are equal nothing is done but to set *duplicate to the later one in the source. False when there is
 * no memory. */
bool json_members_end(json_members *members, size_t base, base_buf *out, const json_member **duplicate);

#endif
