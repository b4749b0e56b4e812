/* Folded states kept in memory. Role: where a read of an instance begins when it was read before; instance.c asks and fills it. A
 * handle has one, and all its threads share it.
 *
 * Invariants:
 *  1. An entry is bytes: a state (state.h), and its view where that was made. No Lua value, so a hit needs no script.
 *  2. An entry is found by what made it: the projection's name, its fingerprint, the instance's id. Under other code, or another
 *     projection's pinned version, it is another entry.
 *  3. An entry is no truth. Who takes it reads on from its position, and uses it only if the event there still bears its id.
 *  4. What is kept has at most so many bytes; what was not asked for longest goes first. What alone would be too much is not kept. */
#ifndef FOLD_CACHE_H
#define FOLD_CACHE_H

#include "base/env.h"

typedef struct fold_cache fold_cache;

/* Immutable; held by whoever got it, until cache_release. */
typedef struct cache_entry {
  const char *state;
  size_t state_size;
  const char *view; /* NULL: it was not made yet */
  size_t view_size;
  int64_t position; /* of the event that it was made up to, above 0 */
  const char *event_id;
} cache_entry;

typedef struct cache_key {
  const char *projection;
  const char *fingerprint;
  const char *id;
} cache_key;

/* NULL: no memory. `env` must outlive it. */
fold_cache *cache_new(const base_env *env, size_t bytes);
/* Accepts NULL. No entry may be held any more. */
void cache_free(fold_cache *cache);

/* All of these: any thread. */

/* The entry, held for the caller; NULL where there is none. */
const cache_entry *cache_get(fold_cache *cache, const cache_key *key);
void cache_release(fold_cache *cache, const cache_entry *entry); /* accepts NULL */

/* Keeps a copy, which takes the place of one that is not newer. Whatever prevents it (no memory, no room) makes later reads slower
 * and nothing else. */
void cache_put(fold_cache *cache, const cache_key *key, const cache_entry *entry);

/* Throws away an entry that was found not to be true any more, unless another has taken its place meanwhile. */
void cache_drop(fold_cache *cache, const cache_key *key, const cache_entry *entry);

/* Bytes and entries at this moment. */
void cache_count(fold_cache *cache, size_t *bytes, size_t *entries);

#endif
