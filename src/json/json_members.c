/* Putting members in order; see json_members.h. */
#include "json/json_members.h"

#include <string.h>

#define FIRST_CAPACITY 32
#define INSERTION_MAX 12 /* below this insertion sort beats merging */

void json_members_init(json_members *members, const base_env *env) {
  *members = (json_members){.env = env};
  buf_init(&members->moved, env);
}

void json_members_free(json_members *members) {
  base_free(members->env, members->list);
  buf_free(&members->moved);
  json_members_init(members, members->env);
}

static bool reserve(json_members *members, size_t more) {
  size_t need = members->count + more;
  if (need <= members->capacity) return true;
  size_t capacity = members->capacity ? members->capacity * 2 : FIRST_CAPACITY, bytes;
  if (capacity < need) capacity = need;
  if (__builtin_mul_overflow(capacity, sizeof *members->list, &bytes)) return false;
  json_member *list = base_realloc(members->env, members->list, bytes);
  if (!list) return false;
  members->list = list;
  members->capacity = capacity;
  return true;
}

void json_member_set_key(json_member *member, const char *key, size_t key_size) {
  unsigned char first[8] = {0};
  if (key_size) memcpy(first, key, key_size < 8 ? key_size : 8);
  uint64_t prefix;
  memcpy(&prefix, first, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  prefix = __builtin_bswap64(prefix);
#endif
  member->prefix = prefix;
  member->key = key;
  member->key_size = key_size;
}

json_member *json_members_add(json_members *members, const char *key, size_t key_size) {
  if (!reserve(members, 1)) return NULL;
  json_member *member = &members->list[members->count++];
  json_member_set_key(member, key, key_size);
  return member;
}

/* Bytewise, a prefix before what it begins. */
static int compare(const json_member *a, const json_member *b) {
  if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
  size_t common = a->key_size < b->key_size ? a->key_size : b->key_size;
  int order = common ? memcmp(a->key, b->key, common) : 0;
  if (order != 0) return order;
  return (a->key_size > b->key_size) - (a->key_size < b->key_size);
}

static void sort_few(json_member *list, size_t count) {
  for (size_t i = 1; i < count; i++) {
    json_member member = list[i];
    size_t at = i;
    for (; at > 0 && compare(&list[at - 1], &member) > 0; at--) list[at] = list[at - 1];
    list[at] = member;
  }
}

/* Merges the sorted runs of `width` in `from` to runs of twice that in `to`. Stable. */
static void merge_runs(const json_member *from, json_member *to, size_t count, size_t width) {
  for (size_t start = 0; start < count; start += 2 * width) {
    size_t left = start, middle = start + width < count ? start + width : count;
    size_t right = middle, end = start + 2 * width < count ? start + 2 * width : count;
    for (size_t at = start; at < end; at++) {
      bool take_left = left < middle && (right == end || compare(&from[left], &from[right]) <= 0);
      to[at] = from[take_left ? left++ : right++];
    }
  }
}

/* Sorts the members from `base` on, stably and in n log n whatever a hostile document brings. */
static bool sort(json_members *members, size_t base) {
  size_t count = members->count - base;
  if (count <= INSERTION_MAX) {
    sort_few(members->list + base, count);
    return true;
  }
  if (!reserve(members, count)) return false;
  json_member *list = members->list + base, *other = list + count;
  for (size_t start = 0; start < count; start += INSERTION_MAX)
    sort_few(list + start, count - start < INSERTION_MAX ? count - start : INSERTION_MAX);
  for (size_t width = INSERTION_MAX; width < count; width *= 2) {
    merge_runs(list, other, count, width);
    json_member *swap = list;
    list = other;
    other = swap;
  }
  if (list != members->list + base) memcpy(members->list + base, list, count * sizeof *list);
  return true;
}

/* Rewrites the members in `out`, which fill it from `from` to its end, in the order of the list. */
static bool move(json_members *members, size_t base, size_t from, base_buf *out) {
  base_buf *moved = &members->moved;
  buf_clear(moved);
  buf_add(moved, out->bytes + from, out->size - from);
  if (moved->failed) return false;
  char *to = out->bytes + from;
  for (size_t i = base; i < members->count; i++) {
    const json_member *member = &members->list[i];
    if (i > base) *to++ = ',';
    memcpy(to, moved->bytes + (member->from - from), member->to - member->from);
    to += member->to - member->from;
  }
  return true;
}

bool json_members_end(json_members *members, size_t base, base_buf *out, const json_member **duplicate) {
  json_member *list = members->list;
  size_t count = members->count, i = base + 1;
  *duplicate = NULL;
  while (i < count && compare(&list[i - 1], &list[i]) < 0) i++;
  if (i < count) {
    size_t from = list[base].from;
    if (!sort(members, base)) return false;
    list = members->list;
    for (i = base + 1; i < count; i++) {
      if (compare(&list[i - 1], &list[i]) != 0) continue;
      *duplicate = &list[i]; /* the sort is stable: the later one comes second */
      return true;
    }
    if (!move(members, base, from, out)) return false;
  }
  members->count = base;
  return true;
}
