/* Calls that overtake each other take turns; see turns.h. */
#include "api/turns.h"

#include "base/hash.h"
#include "base/limits.h"
#include <string.h>
#include <time.h>

void turns_init(handle_turns *turns) {
  for (int i = 0; i < TURNS_LANES; i++) {
    pthread_mutex_init(&turns->lanes[i], NULL);
    atomic_init(&turns->hot_until[i], 0);
  }
}

void turns_destroy(handle_turns *turns) {
  for (int i = 0; i < TURNS_LANES; i++) pthread_mutex_destroy(&turns->lanes[i]);
}

uint64_t turns_of(const fold_boundary *boundary) {
  uint64_t lanes = 0;
  for (size_t i = 0; i < boundary->instance_count; i++) {
    const fold_instance *instance = boundary->instances[i];
    const char *name = fold_projection(instance)->name, *id = fold_id(instance);
    unsigned char one[HASH_BYTES], other[HASH_BYTES];
    hash_bytes(name, strlen(name), one);
    hash_bytes(id, strlen(id), other);
    lanes |= UINT64_C(1) << (one[0] ^ other[0]) % TURNS_LANES;
  }
  return lanes;
}

void turns_mark(handle_turns *turns, uint64_t lanes) {
  int64_t until = base_monotonic() + LIMIT_CALL_HOT_US;
  for (int i = 0; i < TURNS_LANES; i++)
    if (lanes >> i & 1) atomic_store_explicit(&turns->hot_until[i], until, memory_order_relaxed);
}

/* In rising order, so that two calls never wait for each other. */
uint64_t turns_take(handle_turns *turns, uint64_t lanes) {
  uint64_t taken = 0;
  int64_t now = base_monotonic();
  for (int i = 0; i < TURNS_LANES; i++) {
    if (!(lanes >> i & 1) || atomic_load_explicit(&turns->hot_until[i], memory_order_relaxed) < now) continue;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LIMIT_CALL_TURN_US * 1000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_mutex_timedlock(&turns->lanes[i], &until) == 0) taken |= UINT64_C(1) << i;
  }
  return taken;
}

void turns_leave(handle_turns *turns, uint64_t taken) {
  for (int i = 0; i < TURNS_LANES; i++)
    if (taken >> i & 1) pthread_mutex_unlock(&turns->lanes[i]);
}
