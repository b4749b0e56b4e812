/* One save after the other where they touch one instance; see lanes.h. */
#include "api/lanes.h"

#include "base/env.h"
#include "base/error.h"
#include "base/limits.h"
#include <string.h>
#include <time.h>

void lanes_init(lanes *all) {
  pthread_condattr_t monotonic;
  memset(all->taken, 0, sizeof all->taken);
  pthread_mutex_init(&all->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&all->freed, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

void lanes_destroy(lanes *all) {
  pthread_cond_destroy(&all->freed);
  pthread_mutex_destroy(&all->lock);
}

static size_t mix(size_t hash, const char *text) { /* FNV-1a */
  do hash = (hash ^ (unsigned char)*text) * (size_t)UINT64_C(1099511628211);
  while (*text++);
  return hash;
}

void lanes_add(lane_set *set, const char *type, const char *id) {
  size_t hash = mix(mix((size_t)UINT64_C(1469598103934665603), type), id);
  set->wanted[(hash ^ hash >> 32) % LANES] = true;
}

/* A while; interrupts come from signal handlers, which can wake nobody. Under the lock. */
static void wait(lanes *all) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += LIMIT_QUEUE_LOOK_US * 1000L;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_cond_timedwait(&all->freed, &all->lock, &until);
}

/* Gives back those below `count`. Under the lock. */
static void free_lanes(lanes *all, const lane_set *set, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (set->wanted[i]) all->taken[i] = false;
  pthread_cond_broadcast(&all->freed);
}

int lanes_take(lanes *all, const lane_set *set, const store *s, int64_t timeout_us, annal_error *error) {
  int64_t deadline = base_monotonic() + timeout_us;
  unsigned interrupts = store_interrupts(s);
  int code = ANNAL_OK;
  pthread_mutex_lock(&all->lock);
  for (size_t i = 0; i < LANES && !code; i++) {
    if (!set->wanted[i]) continue;
    while (all->taken[i] && !code) {
      wait(all);
      if (store_interrupts(s) != interrupts) code = error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
      else if (all->taken[i] && base_monotonic() >= deadline)
        code =
            error_set(error, ANNAL_UNAVAILABLE, NULL,
                      "the save has waited for others that change the same projection longer than the timeout of %g s; nothing "
                      "of it was stored",
                      (double)timeout_us / 1e6);
    }
    if (code) free_lanes(all, set, i);
    else all->taken[i] = true;
  }
  pthread_mutex_unlock(&all->lock);
  return code;
}

void lanes_give_back(lanes *all, const lane_set *set) {
  pthread_mutex_lock(&all->lock);
  free_lanes(all, set, LANES);
  pthread_mutex_unlock(&all->lock);
}
