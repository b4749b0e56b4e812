/* The members of objects while they are being written: noted in the order in which they come, put in the order of their keys
 * when the object ends, duplicates found on the way. Role: json_canonical.c (from text) and json_encode.c (from Lua tables).
 *
 * Members are written to the output at once, whatever their order, and moved afterwards if they need to be: an object that
 * comes sorted, as everything stored does, costs no more than a comparison a member. One list serves a whole document; nested
 * objects stack their members on top of their parent's. */
#ifndef JSON_JSON_MEMBERS_H
#define JSON_JSON_MEMBERS_H

#include "base/buf.h"

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
  base_buf moved; /* the members of one object while they are put in order */
} json_members;

void json_members_init(json_members *members, const base_env *env);
void json_members_free(json_members *members);

/* Notes a member on top; NULL when there is no memory. The pointer is good until the next one is added. */
json_member *json_members_add(json_members *members, const char *key, size_t key_size);

/* Ends an object whose members are those from `base` on: puts them in order in `out` and drops them from the list. When two
 * keys are equal nothing is done but to set *duplicate to the later one in the source. False when there is no memory. */
bool json_members_end(json_members *members, size_t base, base_buf *out, const json_member **duplicate);

/* Sets the key of a member, where it was not known when it was added. */
void json_member_set_key(json_member *member, const char *key, size_t key_size);

#endif
