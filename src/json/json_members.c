/* Putting members in order; see json_members.h. */
#include "json/json_members.h"

#include <string.h>

#define INSERTION_MAX 12 /* up to here insertion sort beats merging */

bool json_members_grow(json_members *members, size_t more) {
  size_t need = members->count + more, capacity = members->capacity * 2, bytes;
  if (need <= members->capacity) return true;
  if (capacity < need) capacity = need;
  if (__builtin_mul_overflow(capacity, sizeof *members->list, &bytes)) return false;
  json_member *old = members->list == members->few ? NULL : members->list;
  json_member *list = base_realloc(members->env, old, bytes);
  if (!list) return false;
  if (!old) memcpy(list, members->few, members->count * sizeof *list);
  members->list = list;
  members->capacity = capacity;
  return true;
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
  if (!json_members_grow(members, count)) return false;
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

/* Rewrites the members in `out`, which fill it from `from` to its end, by way of the room behind: in the order of the list, or in
 * `order` where that is given. */
static bool move(json_members *members, size_t base, size_t from, const uint8_t *order, base_buf *out) {
  size_t size = out->size - from, count = members->count - base;
  if (!buf_reserve(out, size)) return false;
  char *to = out->bytes + from, *moved = to + size;
  memcpy(moved, to, size);
  for (size_t i = 0; i < count; i++) {
    const json_member *member = &members->list[base + (order ? order[i] : i)];
    size_t length = member->to - member->from;
    if (i > 0) *to++ = ',';
    memcpy(to, moved + (member->from - from), length);
    to += length;
  }
  return true;
}

/* In line for each `count`, so that loops and places are known when it is compiled. */
static inline __attribute__((always_inline)) bool rank(const uint64_t *prefixes, size_t count, uint8_t *order) {
  size_t place[RANKED_MAX] = {0};
  bool equal = false;
  for (size_t i = 1; i < count; i++) {
    for (size_t k = 0; k < i; k++) {
      bool less = prefixes[i] < prefixes[k];
      place[k] += less;
      place[i] += !less;
    }
  }
  for (size_t i = 0; i < count; i++) order[place[i]] = (uint8_t)i;
  for (size_t i = 1; i < count; i++) equal |= prefixes[order[i - 1]] == prefixes[order[i]];
  return !equal;
}

bool json_rank(const uint64_t *prefixes, size_t count, uint8_t order[RANKED_MAX]) {
  switch (count) {
  case 1: return rank(prefixes, 1, order);
  case 2: return rank(prefixes, 2, order);
  case 3: return rank(prefixes, 3, order);
  case 4: return rank(prefixes, 4, order);
  case 5: return rank(prefixes, 5, order);
  case 6: return rank(prefixes, 6, order);
  default: return rank(prefixes, count, order);
  }
}

/* json_rank for the members from `base` on. */
static bool rank_members(const json_members *members, size_t base, uint8_t order[RANKED_MAX]) {
  uint64_t prefixes[RANKED_MAX];
  size_t count = members->count - base;
  if (count > RANKED_MAX) return false;
  for (size_t i = 0; i < count; i++) prefixes[i] = members->list[base + i].prefix;
  return json_rank(prefixes, count, order);
}

bool json_members_end(json_members *members, size_t base, base_buf *out, const json_member **duplicate) {
  json_member *list = members->list;
  size_t count = members->count, i = base + 1;
  uint8_t order[RANKED_MAX];
  *duplicate = NULL;
  while (i < count && compare(&list[i - 1], &list[i]) < 0) i++;
  if (i < count) {
    size_t from = list[base].from;
    bool ranked = rank_members(members, base, order);
    if (!ranked) {
      if (!sort(members, base)) return false;
      list = members->list;
      for (i = base + 1; i < count; i++) {
        if (compare(&list[i - 1], &list[i]) != 0) continue;
        *duplicate = &list[i]; /* the sort is stable: the later one comes second */
        return true;
      }
    }
    if (!move(members, base, from, ranked ? order : NULL, out)) return false;
  }
  members->count = base;
  return true;
}
