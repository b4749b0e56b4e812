/* Group commit; see queue.h. One caller leads: it takes what waits, within the limits of a batch, hands it to the backend without
 * holding the lock, gives each its own answer, and passes leadership to the first who is still waiting. A leader serves one batch, so
 * nobody works for the others for long.
 *
 * Callers that have just been answered mostly come back at once with their next save. A leader that set off without them would
 * make two half batches take turns for ever; so it waits a moment for as many as there were last time, a small part of what a
 * batch takes. Who completes their number leads in its place: it is awake. A caller alone never waits.
 *
 * To wake a thread takes as long as to prepare a save, or longer, and who is woken under the lock stands at it again. So each waits
 * at a semaphore of its own, and who is woken wakes half of the rest.
 *
 * Who waits may leave, at its timeout or when the store is interrupted, as long as no batch has taken its save: then nothing of it
 * was sent, hence nothing stored and nothing in doubt. What a batch has taken waits for the answer, which alone can tell. */
#include "store/queue.h"

#include "base/error.h"
#include "base/limits.h"
#include "store/backend.h"
#include <semaphore.h>
#include <string.h>
#include <time.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

typedef struct queue_waiter {
  struct queue_waiter *next; /* in the queue, then in the batch, then of those whom it has to wake */
  store_save *save;
  annal_error *error;
  unsigned interrupts; /* there had been when it came: more end its waiting */
  int64_t deadline;    /* monotonic: so does this */
  int result;
  bool taken;    /* by a batch */
  bool answered; /* has its result, or has left */
  bool leads;
  sem_t turn; /* posted once for being made leader, once for being answered by another */
  struct queue_waiter *others;
} queue_waiter;

struct store_queue {
  const base_env *env;
  pthread_mutex_t lock;
  queue_waiter *first; /* in order of arrival; those that a batch has taken are not among them */
  queue_waiter *last;
  size_t length;
  bool led;               /* somebody leads: is made leader, gathers, or has a batch under way */
  queue_waiter *gatherer; /* the leader, while it waits for others; NULL: it does not */
  size_t wanted;          /* by the gatherer */
  size_t callers;         /* that there were when the last batch was answered: in it, or waiting */
  int64_t batch_us;       /* what the last batch took */
};

store_queue *queue_new(const base_env *env) {
  store_queue *queue = base_calloc(env, 1, sizeof *queue);
  if (!queue) return NULL;
  queue->env = env;
  pthread_mutex_init(&queue->lock, NULL);
  return queue;
}

void queue_free(store_queue *queue) {
  if (!queue) return;
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

/* True: posted, within that time. */
static bool await_turn(sem_t *turn, int64_t microseconds) {
  struct timespec until = after_us(microseconds);
  bool posted = sem_clockwait(turn, CLOCK_MONOTONIC, &until) == 0;
#ifdef __SANITIZE_THREAD__
  if (posted) __tsan_acquire(turn); /* it does not know this function */
#endif
  return posted;
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

/* Whoever is first leads from now on. Under the lock, by who has led. */
static void pass_leadership(store_queue *queue) {
  queue->led = queue->first != NULL;
  if (!queue->led) return;
  queue->first->leads = true;
  sem_post(&queue->first->turn);
}

/* Takes the `count` first off the queue, as a list. Under the lock. */
static queue_waiter *take_batch(store_queue *queue, store_entry *entries, size_t count) {
  queue_waiter *batch = queue->first, *last = NULL;
  for (size_t i = 0; i < count; i++) {
    last = queue->first;
    entries[i].save = last->save;
    last->taken = true;
    queue->first = last->next;
  }
  last->next = NULL;
  if (!queue->first) queue->last = NULL;
  queue->length -= count;
  return batch;
}

/* Under the lock. Nobody is woken here. */
static void note_answers(queue_waiter *batch, const store_entry *entries) {
  for (; batch; batch = batch->next, entries++) {
    batch->result = entries->result;
    if (batch->result) *batch->error = entries->error;
    batch->answered = true;
  }
}

/* Without the lock. Who is posted may be gone at once, and the waiter with it: it is not looked at afterwards. */
static void wake(queue_waiter *list) {
  size_t count = 0;
  for (queue_waiter *waiter = list; waiter; waiter = waiter->next) count++;
  while (list) {
    queue_waiter *head = list, *end = list;
    size_t share = (count + 1) / 2;
    for (size_t i = 1; i < share; i++) end = end->next;
    list = end->next;
    end->next = NULL;
    count -= share;
    head->others = head->next;
    sem_post(&head->turn);
  }
}

/* Takes one off the list. */
static queue_waiter *without(queue_waiter *list, const queue_waiter *gone) {
  queue_waiter **at = &list;
  while (*at && *at != gone) at = &(*at)->next;
  if (*at) *at = gone->next;
  return list;
}

/* ---- Leaving --------------------------------------------------------------------------------------------------------------- */

/* Fills its error where it has to leave. */
static bool has_to_leave(const store *s, queue_waiter *waiter, int64_t now) {
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
static void dismiss(const store *s, store_queue *queue, const queue_waiter *leader) {
  int64_t now = base_monotonic();
  for (queue_waiter *waiter = queue->first, *next; waiter; waiter = next) {
    next = waiter->next;
    if (!has_to_leave(s, waiter, now)) continue;
    take_off(queue, waiter);
    if (waiter != leader) sem_post(&waiter->turn);
  }
}

/* ---- Leading --------------------------------------------------------------------------------------------------------------- */

/* One batch of what waits, unless the leader has to leave. Under the lock on entry, not on exit. */
static void lead(store *s, store_queue *queue, const queue_waiter *leader) {
  store_entry alone = {0};
  dismiss(s, queue, leader);
  if (leader->answered) {
    pass_leadership(queue);
    pthread_mutex_unlock(&queue->lock);
    return;
  }
  size_t count = batch_size(queue);
  store_entry *entries = count > 1 ? base_calloc(queue->env, count, sizeof *entries) : NULL;
  if (!entries) { /* also without memory for a batch: one save needs none */
    entries = &alone;
    count = 1;
  }
  queue_waiter *batch = take_batch(queue, entries, count);
  pthread_mutex_unlock(&queue->lock);
  int64_t began = base_monotonic();
  s->backend->append(s, entries, count);
  int64_t took = base_monotonic() - began;
  pthread_mutex_lock(&queue->lock);
  queue->batch_us = took;
  queue->callers = queue->length + count;
  note_answers(batch, entries);
  pass_leadership(queue);
  pthread_mutex_unlock(&queue->lock);
  wake(without(batch, leader));
  if (entries != &alone) base_free(queue->env, entries);
}

/* For how long a leader waits for those who were here last time; 0: they are here. Under the lock. */
static int64_t gathering_us(store_queue *queue) {
  queue->wanted = queue->callers < LIMIT_BATCH_SAVES ? queue->callers : LIMIT_BATCH_SAVES;
  if (queue->length >= queue->wanted) return 0;
  int64_t part = queue->batch_us / LIMIT_GATHER_PART;
  return part > LIMIT_GATHER_US ? LIMIT_GATHER_US : part;
}

/* For who was made leader, or found none. Answers whether that is all: a leader whom another has forestalled waits for the answer.
 * Under the lock on entry, not on exit. */
static bool gather_and_lead(store *s, store_queue *queue, queue_waiter *self) {
  int64_t wait_us = gathering_us(queue);
  if (wait_us > 0) {
    queue->gatherer = self;
    pthread_mutex_unlock(&queue->lock);
    bool posted = await_turn(&self->turn, wait_us);
    if (posted && self->answered) return true;
    pthread_mutex_lock(&queue->lock);
    /* Posted without an answer: who forestalled it had to leave, and has passed leadership back. */
    bool leads = posted || queue->gatherer == self;
    if (leads) queue->gatherer = NULL;
    else pthread_mutex_unlock(&queue->lock);
    if (!leads) return false;
  }
  lead(s, queue, self);
  return self->answered;
}

/* Returns when it was posted, or has left. An interrupt comes from a signal handler, which can wake nobody: so it is looked for, now
 * and then. */
static void wait_for_turn(const store *s, store_queue *queue, queue_waiter *self) {
  for (bool waits = true; waits;) {
    int64_t left = self->deadline - base_monotonic();
    if (await_turn(&self->turn, left > 0 && left < LIMIT_QUEUE_LOOK_US ? left : LIMIT_QUEUE_LOOK_US)) return;
    pthread_mutex_lock(&queue->lock);
    bool bound = self->taken || self->leads || self->answered; /* then a post is on its way, and has to be waited for */
    if (!bound && has_to_leave(s, self, base_monotonic())) {
      take_off(queue, self);
      waits = false;
    }
    pthread_mutex_unlock(&queue->lock);
  }
}

static bool join(store *s, store_queue *queue, queue_waiter *self) {
  pthread_mutex_lock(&queue->lock);
  if (queue->last) queue->last->next = self;
  else queue->first = self;
  queue->last = self;
  queue->length++;
  if (!queue->led) {
    queue->led = self->leads = true;
    return gather_and_lead(s, queue, self);
  }
  if (queue->gatherer && queue->length >= queue->wanted) {
    queue->gatherer = NULL;
    lead(s, queue, self);
    return self->answered; /* not where the batch was full before it came to this one */
  }
  pthread_mutex_unlock(&queue->lock);
  return false;
}

int queue_append(store *s, store_save *save, annal_error *error) {
  store_queue *queue = s->queue;
  queue_waiter self = {.save = save, .error = error, .interrupts = atomic_load(&s->interrupts)};
  self.deadline = base_monotonic() + (int64_t)(s->options->timeout * 1e6);
  sem_init(&self.turn, 0, 0);
  for (bool done = join(s, queue, &self); !done;) {
    wait_for_turn(s, queue, &self);
    done = self.answered;
    if (done) break;
    pthread_mutex_lock(&queue->lock);
    done = gather_and_lead(s, queue, &self);
  }
  wake(self.others);
  sem_destroy(&self.turn);
  return self.result;
}
