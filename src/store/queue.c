/* Group commit; see queue.h. The first to come is the leader: it takes what waits, within the limits of a batch, hands it to the
 * backend without holding the lock, gives each its own answer, and passes leadership to the first who is still waiting. A leader
 * serves one batch, its own save always in it, so nobody works for the others for long.
 *
 * Callers that have just been answered mostly come back at once with their next save. A leader that set off without them would
 * make two half batches take turns for ever; so it waits a moment for as many as there were last time, a small part of what a
 * batch takes. A caller alone never waits.
 *
 * Who waits may leave, at its timeout or when the store is interrupted, as long as no batch has taken its save: then nothing of it
 * was sent, hence nothing stored and nothing in doubt. What a batch has taken waits for the answer, which alone can tell. */
#include "store/queue.h"

#include "base/error.h"
#include "base/limits.h"
#include "store/backend.h"
#include <string.h>
#include <time.h>

typedef struct queue_waiter {
  struct queue_waiter *next;
  store_save *save;
  annal_error *error;
  unsigned interrupts; /* there had been when it came: more end its waiting */
  int64_t deadline;    /* monotonic: so does this */
  int result;
  bool answered;
  bool leads;
  bool sent;           /* in a batch that is under way */
  pthread_cond_t turn; /* answered, or made leader */
} queue_waiter;

struct store_queue {
  const base_env *env;
  pthread_mutex_t lock;
  pthread_condattr_t monotonic;
  queue_waiter *first; /* in order of arrival; the leader is the first */
  queue_waiter *last;
  size_t length;
  size_t callers;         /* that there were when the last batch was answered: in it, or waiting */
  int64_t batch_us;       /* what the last batch took */
  size_t wanted;          /* the leader waits until there are so many; 0: it does not wait */
  pthread_cond_t arrived; /* as many as are wanted */
};

store_queue *queue_new(const base_env *env) {
  store_queue *queue = base_calloc(env, 1, sizeof *queue);
  if (!queue) return NULL;
  queue->env = env;
  pthread_mutex_init(&queue->lock, NULL);
  pthread_condattr_init(&queue->monotonic);
  pthread_condattr_setclock(&queue->monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&queue->arrived, &queue->monotonic);
  return queue;
}

void queue_free(store_queue *queue) {
  if (!queue) return;
  pthread_cond_destroy(&queue->arrived);
  pthread_condattr_destroy(&queue->monotonic);
  pthread_mutex_destroy(&queue->lock);
  base_free(queue->env, queue);
}

static struct timespec after_us(int64_t microseconds) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += microseconds / 1000000;
  until.tv_nsec += microseconds % 1000000 * 1000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  return until;
}

/* ---- A batch --------------------------------------------------------------------------------------------------------------- */

static size_t save_bytes(const store_save *save) {
  size_t bytes = 0;
  for (size_t i = 0; i < save->count; i++) bytes += save->events[i].data_size + save->events[i].metadata_size;
  for (size_t i = 0; i < save->row_count; i++) bytes += save->rows[i].row.state_size + save->rows[i].row.data_size;
  return bytes;
}

/* How many of those that wait, from the first on, go together. A save beyond the limits goes alone. */
static size_t batch_size(const store_queue *queue) {
  size_t saves = 0, events = 0, bytes = 0;
  for (queue_waiter *waiter = queue->first; waiter && saves < LIMIT_BATCH_SAVES; waiter = waiter->next) {
    events += waiter->save->count;
    bytes += save_bytes(waiter->save);
    if (saves > 0 && (events > LIMIT_BATCH_EVENTS || bytes > LIMIT_BATCH_BYTES)) break;
    saves++;
  }
  return saves;
}

/* Waits for those who were here last time, for at most a part of what a batch takes. Under the lock. */
static void gather(store_queue *queue) {
  size_t wanted = queue->callers < LIMIT_BATCH_SAVES ? queue->callers : LIMIT_BATCH_SAVES;
  int64_t wait_us = queue->batch_us / LIMIT_GATHER_PART;
  if (queue->length >= wanted) return;
  struct timespec until = after_us(wait_us > LIMIT_GATHER_US ? LIMIT_GATHER_US : wait_us);
  queue->wanted = wanted;
  while (queue->length < wanted && pthread_cond_timedwait(&queue->arrived, &queue->lock, &until) == 0) continue;
  queue->wanted = 0;
}

/* Whoever is first leads from now on. Under the lock. */
static void pass_leadership(store_queue *queue) {
  queue_waiter *first = queue->first;
  if (!first || first->leads) return;
  first->leads = true;
  pthread_cond_signal(&first->turn);
}

/* Answers the `count` first and takes them off the queue; whoever is first then leads. Under the lock. */
static void answer(store_queue *queue, const store_entry *entries, size_t count) {
  queue->callers = queue->length;
  queue->length -= count;
  for (size_t i = 0; i < count; i++) {
    queue_waiter *waiter = queue->first;
    queue->first = waiter->next;
    waiter->result = entries[i].result;
    if (waiter->result) *waiter->error = entries[i].error;
    waiter->answered = true;
    if (!waiter->leads) pthread_cond_signal(&waiter->turn);
  }
  if (!queue->first) queue->last = NULL;
  pass_leadership(queue);
}

/* ---- Leaving --------------------------------------------------------------------------------------------------------------- */

/* Fills its error where it has to leave. */
static bool has_to_leave(const store *s, queue_waiter *waiter, int64_t now) {
  if (waiter->sent) return false;
  if (atomic_load(&s->interrupts) != waiter->interrupts) {
    waiter->result = error_set(waiter->error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    return true;
  }
  if (now < waiter->deadline) return false;
  waiter->result = error_set(waiter->error, ANNAL_UNAVAILABLE, NULL,
                             "the save has waited for others before it longer than the timeout of %g s; nothing of it was stored",
                             s->options->timeout);
  return true;
}

/* Takes one off the queue, which then counts as answered. Under the lock. */
static void take_off(store_queue *queue, queue_waiter *gone) {
  queue_waiter *before = NULL;
  for (queue_waiter *waiter = queue->first; waiter != gone; waiter = waiter->next) before = waiter;
  if (before) before->next = gone->next;
  else queue->first = gone->next;
  if (queue->last == gone) queue->last = before;
  queue->length--;
  gone->answered = true;
}

/* Nobody who has to leave goes into the batch that is made now: each would notice by itself, but a little later. Under the lock. */
static void dismiss(const store *s, store_queue *queue) {
  int64_t now = base_monotonic();
  for (queue_waiter *waiter = queue->first, *next; waiter; waiter = next) {
    next = waiter->next;
    if (!has_to_leave(s, waiter, now)) continue;
    take_off(queue, waiter);
    pthread_cond_signal(&waiter->turn);
  }
}

/* ---- Leading --------------------------------------------------------------------------------------------------------------- */

/* One batch, led by the first of the queue, unless that one has to leave. Under the lock on entry and exit. */
static void lead(store *s, store_queue *queue, queue_waiter *leader) {
  store_entry alone = {0};
  gather(queue);
  dismiss(s, queue);
  if (leader->answered) {
    pass_leadership(queue);
    return;
  }
  size_t count = batch_size(queue);
  store_entry *entries = count > 1 ? base_calloc(queue->env, count, sizeof *entries) : NULL;
  if (!entries) { /* also without memory for a batch: one save needs none */
    entries = &alone;
    count = 1;
  }
  queue_waiter *waiter = queue->first;
  for (size_t i = 0; i < count && waiter; i++, waiter = waiter->next) {
    entries[i].save = waiter->save;
    waiter->sent = true;
  }
  pthread_mutex_unlock(&queue->lock);
  int64_t began = base_monotonic();
  s->backend->append(s, entries, count);
  int64_t took = base_monotonic() - began;
  pthread_mutex_lock(&queue->lock);
  queue->batch_us = took;
  answer(queue, entries, count);
  if (entries != &alone) base_free(queue->env, entries);
}

/* Waits to be answered or made leader. An interrupt comes from a signal handler, which can wake nobody: so it is looked for, now and
 * then. Under the lock. */
static void wait_for_turn(const store *s, store_queue *queue, queue_waiter *self) {
  while (!self->answered && !self->leads) {
    int64_t left = self->deadline - base_monotonic();
    struct timespec until = after_us(left > 0 && left < LIMIT_QUEUE_LOOK_US ? left : LIMIT_QUEUE_LOOK_US);
    pthread_cond_timedwait(&self->turn, &queue->lock, &until);
    if (!self->answered && !self->leads && has_to_leave(s, self, base_monotonic())) take_off(queue, self);
  }
}

int queue_append(store *s, store_save *save, annal_error *error) {
  store_queue *queue = s->queue;
  queue_waiter self = {.save = save, .error = error, .interrupts = atomic_load(&s->interrupts)};
  self.deadline = base_monotonic() + (int64_t)(s->options->timeout * 1e6);
  pthread_cond_init(&self.turn, &queue->monotonic);
  pthread_mutex_lock(&queue->lock);
  self.leads = !queue->first;
  if (queue->last) queue->last->next = &self;
  else queue->first = &self;
  queue->last = &self;
  queue->length++;
  if (queue->wanted && queue->length >= queue->wanted) pthread_cond_signal(&queue->arrived);
  wait_for_turn(s, queue, &self);
  if (!self.answered) lead(s, queue, &self);
  pthread_mutex_unlock(&queue->lock);
  pthread_cond_destroy(&self.turn);
  return self.result;
}
