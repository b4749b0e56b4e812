/* Folded states kept in memory; see cache.h. A table of chains, and a list in the order of use. One lock for all: it is held for a
 * look-up, some 100 ns, where the read that follows takes some 10,000. */
#include "fold/cache.h"

#include "base/limits.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* name, fingerprint and id one behind the other, each with a NUL. */
#define KEY_BYTES (LIMIT_TYPE_BYTES + LIMIT_VALUE_BYTES + 64 + 3)

/* One block of memory: this, then key, event id, state and view, each with a NUL. */
typedef struct kept {
  cache_entry entry; /* first: what is handed out */
  atomic_size_t holders;
  uint64_t hash;
  size_t bytes; /* of the block, and of its place in the table */
  size_t key_size;
  const char *key;
  struct kept *next;          /* of the chain */
  struct kept *newer, *older; /* by use */
} kept;

struct fold_cache {
  const base_env *env;
  uint64_t seed; /* ids come from anywhere: nobody is to know which ones share a chain */
  size_t limit;
  pthread_mutex_t lock; /* of everything below */
  size_t bytes, count;
  kept **chains;
  size_t chain_count; /* a power of two */
  kept *newest, *oldest;
};

typedef struct key_text {
  char bytes[KEY_BYTES];
  size_t size;
  uint64_t hash;
} key_text;

/* False: longer than any key can be, so that there is nothing of it. */
static bool write_key(const fold_cache *cache, const cache_key *key, key_text *out) {
  const char *parts[] = {key->projection, key->fingerprint, key->id};
  out->size = 0;
  for (size_t i = 0; i < 3; i++) {
    size_t size = strlen(parts[i]) + 1;
    if (out->size + size > sizeof out->bytes) return false;
    memcpy(out->bytes + out->size, parts[i], size);
    out->size += size;
  }
  out->hash = XXH3_64bits_withSeed(out->bytes, out->size, cache->seed);
  return true;
}

/* ---- Under the lock ---------------------------------------------------------------------------------------------------- */

static kept **find(const fold_cache *cache, const key_text *key) {
  kept **at = &cache->chains[key->hash & (cache->chain_count - 1)];
  while (*at && ((*at)->hash != key->hash || (*at)->key_size != key->size || memcmp((*at)->key, key->bytes, key->size) != 0))
    at = &(*at)->next;
  return at;
}

static void unlist(fold_cache *cache, kept *k) {
  *(k->newer ? &k->newer->older : &cache->newest) = k->older;
  *(k->older ? &k->older->newer : &cache->oldest) = k->newer;
}

static void list_newest(fold_cache *cache, kept *k) {
  k->newer = NULL;
  k->older = cache->newest;
  *(cache->newest ? &cache->newest->newer : &cache->oldest) = k;
  cache->newest = k;
}

/* Takes it out; `*at` is where its chain has it. The caller lets go of it once the lock is given back. */
static kept *take_out(fold_cache *cache, kept **at) {
  kept *k = *at;
  *at = k->next;
  unlist(cache, k);
  cache->bytes -= k->bytes;
  cache->count--;
  return k;
}

/* Twice as many chains, where there is memory for them; else longer ones. */
static void grow(fold_cache *cache) {
  size_t count = cache->chain_count * 2;
  kept **chains = base_calloc(cache->env, count, sizeof(kept *));
  if (!chains) return;
  for (kept *k = cache->newest; k; k = k->older) {
    kept **at = &chains[k->hash & (count - 1)];
    k->next = *at;
    *at = k;
  }
  base_free(cache->env, cache->chains);
  cache->chains = chains;
  cache->chain_count = count;
}

/* Takes out what was not asked for longest until the rest fits; answers what was taken out, chained by `next`. */
static kept *make_room(fold_cache *cache) {
  kept *out = NULL;
  while (cache->bytes > cache->limit && cache->oldest) {
    kept **at = &cache->chains[cache->oldest->hash & (cache->chain_count - 1)];
    while (*at != cache->oldest) at = &(*at)->next;
    kept *k = take_out(cache, at);
    k->next = out;
    out = k;
  }
  return out;
}

/* ---- Entries ----------------------------------------------------------------------------------------------------------- */

static void let_go(fold_cache *cache, kept *k) {
  if (k && atomic_fetch_sub(&k->holders, 1) == 1) base_free(cache->env, k);
}

static const char *append(char **at, const char *bytes, size_t size) {
  char *start = *at;
  if (size) memcpy(start, bytes, size);
  start[size] = 0;
  *at += size + 1;
  return start;
}

/* NULL: it is too large, or there is no memory. */
static kept *make_kept(const fold_cache *cache, const key_text *key, const cache_entry *entry) {
  size_t id_size = strlen(entry->event_id);
  size_t bytes = sizeof(kept) + key->size + id_size + entry->state_size + entry->view_size + 4;
  size_t cost = bytes + 2 * sizeof(kept *);
  kept *k = cost > cache->limit ? NULL : base_alloc(cache->env, bytes);
  if (!k) return NULL;
  char *at = (char *)(k + 1);
  *k = (kept){.hash = key->hash, .bytes = cost, .key_size = key->size};
  atomic_init(&k->holders, 1);
  k->key = append(&at, key->bytes, key->size);
  k->entry = (cache_entry){.state_size = entry->state_size, .view_size = entry->view_size, .position = entry->position};
  k->entry.event_id = append(&at, entry->event_id, id_size);
  k->entry.state = append(&at, entry->state, entry->state_size);
  if (entry->view) k->entry.view = append(&at, entry->view, entry->view_size);
  return k;
}

/* ---- The face ---------------------------------------------------------------------------------------------------------- */

enum { FIRST_CHAINS = 64 };

fold_cache *cache_new(const base_env *env, size_t bytes) {
  fold_cache *cache = base_calloc(env, 1, sizeof *cache);
  if (!cache) return NULL;
  cache->chains = base_calloc(env, FIRST_CHAINS, sizeof(kept *));
  if (!cache->chains) {
    base_free(env, cache);
    return NULL;
  }
  cache->env = env;
  cache->limit = bytes;
  cache->chain_count = FIRST_CHAINS;
  if (getrandom(&cache->seed, sizeof cache->seed, GRND_NONBLOCK) < 0) cache->seed = (uint64_t)(uintptr_t)cache;
  pthread_mutex_init(&cache->lock, NULL);
  return cache;
}

void cache_free(fold_cache *cache) {
  if (!cache) return;
  for (kept *k = cache->newest, *older; k; k = older) {
    older = k->older;
    let_go(cache, k);
  }
  pthread_mutex_destroy(&cache->lock);
  base_free(cache->env, cache->chains);
  base_free(cache->env, cache);
}

const cache_entry *cache_get(fold_cache *cache, const cache_key *key) {
  key_text text;
  if (!write_key(cache, key, &text)) return NULL;
  pthread_mutex_lock(&cache->lock);
  kept *k = *find(cache, &text);
  if (k) {
    atomic_fetch_add(&k->holders, 1);
    unlist(cache, k);
    list_newest(cache, k);
  }
  pthread_mutex_unlock(&cache->lock);
  return k ? &k->entry : NULL;
}

void cache_release(fold_cache *cache, const cache_entry *entry) {
  if (entry) let_go(cache, (kept *)(uintptr_t)entry);
}

/* A fold that began earlier may end later. Of two as of one event the one with a view says more. */
static bool is_newer(const cache_entry *entry, const cache_entry *than) {
  if (entry->position != than->position) return entry->position > than->position;
  return strcmp(entry->event_id, than->event_id) != 0 || (entry->view && !than->view);
}

void cache_put(fold_cache *cache, const cache_key *key, const cache_entry *entry) {
  key_text text;
  if (!write_key(cache, key, &text)) return;
  kept *k = make_kept(cache, &text, entry), *old = NULL, *room = NULL;
  pthread_mutex_lock(&cache->lock);
  kept **at = find(cache, &text);
  if (*at && is_newer(entry, &(*at)->entry)) old = take_out(cache, at); /* also where its successor is too large */
  else if (*at) old = k, k = NULL;
  if (k) {
    if (cache->count >= cache->chain_count) grow(cache);
    at = &cache->chains[k->hash & (cache->chain_count - 1)];
    k->next = *at;
    *at = k;
    list_newest(cache, k);
    cache->bytes += k->bytes;
    cache->count++;
    room = make_room(cache);
  }
  pthread_mutex_unlock(&cache->lock);
  let_go(cache, old);
  for (kept *next; room; room = next) {
    next = room->next;
    let_go(cache, room);
  }
}

void cache_drop(fold_cache *cache, const cache_key *key, const cache_entry *entry) {
  key_text text;
  kept *k = NULL;
  if (!write_key(cache, key, &text)) return;
  pthread_mutex_lock(&cache->lock);
  kept **at = find(cache, &text);
  if (*at && &(*at)->entry == entry) k = take_out(cache, at);
  pthread_mutex_unlock(&cache->lock);
  let_go(cache, k);
}

void cache_count(fold_cache *cache, size_t *bytes, size_t *entries) {
  pthread_mutex_lock(&cache->lock);
  *bytes = cache->bytes;
  *entries = cache->count;
  pthread_mutex_unlock(&cache->lock);
}
