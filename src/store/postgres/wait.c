/* Waiting for a server: until a deadline, or until somebody interrupts. Role: every call waits for its connection here; watch.c alone
 * waits in its own way, for what nobody has asked for.
 *
 * Whoever sleeps has to be woken: where the server answers within some hundred microseconds, as most do to most statements, that takes
 * about as long again, and longest on a machine that has nothing else to do. So an answer that is likely to come at once is waited for
 * awake. One thread of a handle does so at a time, and each look lets others have the processor. How long answers take is seen as they
 * come: behind a network, a slow disk or a queue for the lock nobody stays awake. */
#include "store/postgres/pg.h"

#include "base/limits.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>

pg_call pg_call_begin(pg_store *s) {
  return (pg_call){.deadline = base_monotonic() + s->timeout, .interrupts = atomic_load(&s->interrupts)};
}

bool pg_interrupted(const pg_store *s, const pg_call *call) { return atomic_load(&s->interrupts) != call->interrupts; }

/* In slices, so that an interrupt from another thread is seen. */
bool pg_wait(const pg_store *s, const PGconn *pq, short events, const pg_call *call) {
  int64_t interrupted_at = 0;
  for (;;) {
    int64_t now = base_monotonic(), left = call->deadline - now;
    if (left <= 0) return false;
    if (pg_interrupted(s, call)) {
      if (!interrupted_at) interrupted_at = now;
      else if (now - interrupted_at > PG_GRACE) return false;
    }
    int slice = left > 200000 ? 200 : (int)(left / 1000) + 1;
    struct pollfd waited = {.fd = PQsocket(pq), .events = events};
    int ready = poll(&waited, 1, slice);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
  }
}

bool pg_can_wait_awake(void) {
  cpu_set_t ours;
  return sched_getaffinity(0, sizeof ours, &ours) == 0 && CPU_COUNT(&ours) > 1;
}

static bool wait_awake(const pg_store *s, const pg_conn *conn, int64_t until, const pg_call *call) {
  struct pollfd waited = {.fd = PQsocket(conn->pq), .events = POLLIN};
  do {
    if (poll(&waited, 1, 0) > 0) return true;
    sched_yield();
  } while (base_monotonic() < until && !pg_interrupted(s, call));
  return false;
}

bool pg_wait_answer(pg_store *s, pg_conn *conn, const pg_call *call) {
  int64_t began = base_monotonic(), took;
  bool awake = s->can_wait_awake && conn->usual_us <= LIMIT_AWAKE_US && !atomic_exchange(&s->is_awake, true);
  bool ready = awake && wait_awake(s, conn, began + 2 * conn->usual_us + LIMIT_AWAKE_US / 8, call);
  if (awake) atomic_store(&s->is_awake, false);
  if (!ready) ready = pg_wait(s, conn->pq, POLLIN, call);
  took = base_monotonic() - began;
  if (took > INT64_C(4) * LIMIT_AWAKE_US)
    took = INT64_C(4) * LIMIT_AWAKE_US; /* one long answer among short ones changes little */
  conn->usual_us += (took - conn->usual_us) / 8;
  return ready;
}
