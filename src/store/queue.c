/* Group commit; see queue.h. The first to come is the leader: it takes what waits, within the limits of a batch, hands it to the
 * backend without holding the lock, gives each its own answer, and passes leadership to the first who is still waiting. A leader
 * serves one batch, its own save always in it, so nobody works for the others for long.
 *
 * Callers that have just been answered mostly come back at once with their next save. A leader that set off without them would
 * make two half batches take turns for ever; so it waits a moment for as many as there were last time, a small part of what a
 * batch takes. A caller alone never waits. */
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
  int result;
  bool answered;
  bool leads;
  pthread_cond_t turn; /* answered, or made leader */
} queue_waiter;

struct store_queue {
  const base_env *env;
  pthread_mutex_t lock;
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
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&queue->arrived, &attributes);
  pthread_condattr_destroy(&attributes);
  return queue;
}

void queue_free(store_queue *queue) {
  if (!queue) return;
  pthread_cond_destroy(&queue->arrived);
  pthread_mutex_destroy(&queue->lock);
  base_free(queue->env, queue);
}

static size_t save_bytes(const store_save *save) {
  size_t bytes = 0;
  for (size_t i = 0; i < save->count; i++) bytes += save->events[i].data_size + save->events[i].metadata_size;
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
  if (wait_us > LIMIT_GATHER_US) wait_us = LIMIT_GATHER_US;
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += wait_us * 1000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  queue->wanted = wanted;
  while (queue->length < wanted && pthread_cond_timedwait(&queue->arrived, &queue->lock, &until) == 0) continue;
  queue->wanted = 0;
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
  if (queue->first) {
    queue->first->leads = true;
    pthread_cond_signal(&queue->first->turn);
  } else {
    queue->last = NULL;
  }
}

/* One batch, led by the first of the queue. Under the lock on entry and exit. */
static void lead(store *s, store_queue *queue) {
  store_entry alone = {0};
  gather(queue);
  size_t count = batch_size(queue);
  store_entry *entries = count > 1 ? base_calloc(queue->env, count, sizeof *entries) : NULL;
  if (!entries) { /* also without memory for a batch: one save needs none */
    entries = &alone;
    count = 1;
  }
  queue_waiter *waiter = queue->first;
  for (size_t i = 0; i < count && waiter; i++, waiter = waiter->next) entries[i].save = waiter->save;
  pthread_mutex_unlock(&queue->lock);
  int64_t began = base_monotonic();
  s->backend->append(s, entries, count);
  int64_t took = base_monotonic() - began;
  pthread_mutex_lock(&queue->lock);
  queue->batch_us = took;
  answer(queue, entries, count);
  if (entries != &alone) base_free(queue->env, entries);
}

int queue_append(store *s, store_save *save, annal_error *error) {
  store_queue *queue = s->queue;
  queue_waiter self = {.save = save, .error = error};
  pthread_cond_init(&self.turn, NULL);
  pthread_mutex_lock(&queue->lock);
  self.leads = !queue->first;
  if (queue->last) queue->last->next = &self;
  else queue->first = &self;
  queue->last = &self;
  queue->length++;
  if (queue->wanted && queue->length >= queue->wanted) pthread_cond_signal(&queue->arrived);
  while (!self.answered && !self.leads) pthread_cond_wait(&self.turn, &queue->lock);
  if (!self.answered) lead(s, queue);
  pthread_mutex_unlock(&queue->lock);
  pthread_cond_destroy(&self.turn);
  return self.result;
}
