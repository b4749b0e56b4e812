/* One cache, many threads, little room: what is found under a key is what was put under it, whole, and what is held stays. To be run
 * under the thread sanitizer as well. */
#include "support.h"

#include "../api/counting.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 4000, KEYS = 40 };

static base_env env;
static fold_cache *cache;
static atomic_int failures;

typedef struct worker {
  uint64_t seed;
  const cache_entry *holds; /* for a while */
  char holds_id[8];
} worker;

static unsigned pick(worker *w, unsigned below) {
  w->seed = w->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (unsigned)(w->seed >> 33) % below;
}

/* A state says of which key and position it is, and is filled up to a size of its own. */
static void write_state(char *out, size_t size, const char *id, int64_t position) {
  size_t used = (size_t)snprintf(out, size + 1, "%s:%lld:", id, (long long)position);
  while (used < size) out[used++] = (char)('a' + position % 26);
  out[size] = 0;
}

static bool is_whole(const cache_entry *entry, const char *id) {
  char wanted[2048];
  if (entry->state_size >= sizeof wanted) return false;
  write_state(wanted, entry->state_size, id, entry->position);
  return strlen(entry->state) == entry->state_size && strcmp(entry->state, wanted) == 0 &&
         (!entry->view || strcmp(entry->view, entry->event_id) == 0);
}

static void let_go(worker *w) {
  if (!w->holds) return;
  if (!is_whole(w->holds, w->holds_id)) atomic_fetch_add(&failures, 1);
  cache_release(cache, w->holds);
  w->holds = NULL;
}

static void put_one(worker *w, const cache_key *key) {
  char state[2048], event_id[16];
  int64_t position = 1 + pick(w, 50);
  size_t size = 30 + pick(w, 1500);
  write_state(state, size, key->id, position);
  snprintf(event_id, sizeof event_id, "e%lld", (long long)position);
  cache_entry entry = {.state = state, .state_size = size, .position = position, .event_id = event_id};
  if (pick(w, 2)) {
    entry.view = event_id;
    entry.view_size = strlen(event_id);
  }
  cache_put(cache, key, &entry);
}

static void *work(void *context) {
  worker *w = context;
  for (int round = 0; round < ROUNDS; round++) {
    char id[8];
    snprintf(id, sizeof id, "%u", pick(w, KEYS));
    cache_key key = {.projection = "P", .fingerprint = pick(w, 2) ? "f" : "g", .id = id};
    const cache_entry *entry = cache_get(cache, &key);
    if (entry && !is_whole(entry, id)) atomic_fetch_add(&failures, 1);
    if (pick(w, 3) == 0) put_one(w, &key);
    if (entry && pick(w, 8) == 0) cache_drop(cache, &key, entry);
    let_go(w);
    w->holds = entry;
    snprintf(w->holds_id, sizeof w->holds_id, "%s", id);
    size_t bytes, entries;
    cache_count(cache, &bytes, &entries);
    if (bytes > 12000) atomic_fetch_add(&failures, 1);
  }
  let_go(w);
  return NULL;
}

static void threads_share_it(void **unused) {
  (void)unused;
  pthread_t threads[THREADS];
  worker workers[THREADS];
  annal_options options = {.allocate = count_bytes};
  base_env_init(&env, &options);
  cache = cache_new(&env, 12000);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.seed = (uint64_t)i * 7919 + 1};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(atomic_load(&failures), 0);
  cache_free(cache);
  assert_int_equal(atomic_load(&held), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(threads_share_it)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
