/* The queue of saves over a backend of the test's own, which takes as long as the test wants: who goes with whom, and who may leave.
 * Has threads, so that ThreadSanitizer looks at it too. */
#include "fixture.h"

#include "store/queue.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { CALLERS_MAX = 160, BATCHES_MAX = 400 };

/* A store whose backend notes what it is given, and answers when the gate is open. */
typedef struct fake {
  store base; /* first */
  base_env env;
  annal_options options;
  pthread_mutex_t lock;
  pthread_cond_t moved;
  int passes;    /* batches that the gate still lets through; negative: any number */
  size_t inside; /* batches at the gate */
  size_t batch_count;
  struct {
    size_t saves, events, bytes;
  } batches[BATCHES_MAX];
  int64_t head;
} fake;

static void fake_append(store *base, store_entry *entries, size_t count) {
  fake *f = (fake *)base;
  pthread_mutex_lock(&f->lock);
  size_t number = f->batch_count++, events = 0, bytes = 0;
  for (size_t i = 0; i < count; i++) {
    events += entries[i].save->count;
    for (size_t j = 0; j < entries[i].save->count; j++) bytes += entries[i].save->events[j].data_size;
  }
  assert_true(number < BATCHES_MAX);
  f->batches[number].saves = count;
  f->batches[number].events = events;
  f->batches[number].bytes = bytes;
  f->inside++;
  pthread_cond_broadcast(&f->moved);
  while (f->passes == 0) pthread_cond_wait(&f->moved, &f->lock);
  if (f->passes > 0) f->passes--;
  f->inside--;
  for (size_t i = 0; i < count; i++) {
    entries[i].result = ANNAL_OK;
    for (size_t j = 0; j < entries[i].save->count; j++) entries[i].save->events[j].position = ++f->head;
  }
  pthread_mutex_unlock(&f->lock);
}

static void fake_interrupt(store *base) { (void)base; }

static const store_backend fake_backend = {.name = "fake", .append = fake_append, .interrupt = fake_interrupt};

static int setup(void **state) {
  fake *f = calloc(1, sizeof *f);
  f->options = (annal_options){.size = sizeof f->options, .timeout = LIMIT_TIMEOUT_SECONDS};
  base_env_init(&f->env, &f->options);
  f->base = (store){.backend = &fake_backend, .env = &f->env, .options = &f->options, .owner = getpid()};
  f->base.queue = queue_new(&f->env);
  pthread_mutex_init(&f->lock, NULL);
  pthread_cond_init(&f->moved, NULL);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fake *f = *state;
  queue_free(f->base.queue);
  pthread_mutex_destroy(&f->lock);
  pthread_cond_destroy(&f->moved);
  free(f);
  return 0;
}

static void let_through(fake *f, int passes) {
  pthread_mutex_lock(&f->lock);
  f->passes = passes;
  pthread_cond_broadcast(&f->moved);
  pthread_mutex_unlock(&f->lock);
}

/* Waits until `count` batches have come, the last of which is at the gate. */
static void wait_for_batch(fake *f, size_t count) {
  pthread_mutex_lock(&f->lock);
  while (f->batch_count < count || f->inside == 0) pthread_cond_wait(&f->moved, &f->lock);
  pthread_mutex_unlock(&f->lock);
}

/* ---- Callers --------------------------------------------------------------------------------------------------------------- */

typedef struct caller {
  fake *f;
  pthread_t thread;
  annal_event *events;
  size_t count;
  int result;
  annal_error error;
  _Atomic(bool) done;
} caller;

static void *call(void *context) {
  caller *c = context;
  store_save save = {.events = c->events, .count = c->count};
  c->result = queue_append(&c->f->base, &save, &c->error);
  c->done = true;
  return NULL;
}

/* Each event of them bears the one text, which says how many bytes it has. */
static void start(caller *c, fake *f, size_t count, const char *data, size_t bytes) {
  *c = (caller){.f = f, .count = count, .events = calloc(count, sizeof *c->events)};
  for (size_t i = 0; i < count; i++) c->events[i] = (annal_event){.id = "id", .type = "T", .data = data, .data_size = bytes};
  assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

static void start_small(caller *c, fake *f) { start(c, f, 1, "{}", 2); }

static void finish(caller *c) {
  pthread_join(c->thread, NULL);
  free(c->events);
  c->events = NULL;
}

static void sleep_ms(long milliseconds) {
  nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000}, NULL);
}

/* The gate is closed: who has not come to it after this time is mostly in line. On a busy machine some may be late. */
static void let_them_line_up(void) { sleep_ms(200); }

static void finish_all(caller *callers, size_t count) {
  for (size_t i = 0; i < count; i++) finish(&callers[i]);
}

/* ---- Batches --------------------------------------------------------------------------------------------------------------- */

/* Saves of one size, all in line behind a first one; the saves of the largest batch. */
static size_t largest_batch(fake *f, size_t count, size_t events, size_t bytes) {
  static caller callers[CALLERS_MAX];
  size_t saves = 0, largest = 0;
  let_through(f, 0);
  f->batch_count = 0;
  start_small(&callers[0], f);
  wait_for_batch(f, 1);
  for (size_t i = 1; i <= count; i++) start(&callers[i], f, events, "{}", bytes);
  let_them_line_up();
  let_through(f, -1);
  finish_all(callers, count + 1);
  for (size_t i = 0; i <= count; i++) assert_int_equal(callers[i].result, ANNAL_OK);
  for (size_t i = 0; i < f->batch_count; i++) {
    saves += f->batches[i].saves;
    if (f->batches[i].saves > largest) largest = f->batches[i].saves;
    assert_true(f->batches[i].saves <= LIMIT_BATCH_SAVES);
    if (f->batches[i].saves == 1) continue;
    assert_true(f->batches[i].events <= LIMIT_BATCH_EVENTS);
    assert_true(f->batches[i].bytes <= LIMIT_BATCH_BYTES);
  }
  assert_int_equal(saves, count + 1);
  return largest;
}

static void a_batch_keeps_to_its_limits(void **state) {
  fake *f = *state;
  const struct {
    size_t callers, events, bytes, saves;
  } cases[] = {
      {150, 1, 2, LIMIT_BATCH_SAVES},    {40, 60, 2, LIMIT_BATCH_EVENTS / 60}, {20, 2, 500000, LIMIT_BATCH_BYTES / 1000000},
      {6, LIMIT_BATCH_EVENTS + 1, 2, 1}, /* larger than a batch: each goes alone */
      {6, 1, LIMIT_BATCH_BYTES + 1, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t largest = 0;
    for (int tries = 0; tries < 20 && largest != cases[i].saves; tries++) {
      largest = largest_batch(f, cases[i].callers, cases[i].events, cases[i].bytes);
      assert_true(largest <= cases[i].saves);
    }
    assert_int_equal(largest, cases[i].saves); /* what may go together does */
  }
}

/* ---- Leaving --------------------------------------------------------------------------------------------------------------- */

static void expect_left(const caller *c, const char *why) {
  assert_int_equal(c->result, ANNAL_UNAVAILABLE);
  assert_int_equal(c->error.code, ANNAL_UNAVAILABLE);
  assert_false(c->error.in_doubt);
  assert_true(c->error.retryable);
  if (!strstr(c->error.message, why)) fail_msg("%s", c->error.message);
}

/* Interrupts until all of them are through, for some may not have been in line the first time. */
static void interrupt_all(fake *f, caller *callers, size_t count) {
  for (size_t i = 0; i < count; i++)
    while (!callers[i].done) {
      store_interrupt(&f->base);
      sleep_ms(50);
    }
  finish_all(callers, count);
}

static void who_waits_leaves_when_interrupted(void **state) {
  fake *f = *state;
  static caller callers[9];
  start_small(&callers[0], f);
  wait_for_batch(f, 1);
  for (int i = 1; i < 9; i++) start_small(&callers[i], f);
  let_them_line_up();
  interrupt_all(f, callers + 1, 8); /* while the batch before them is still under way */
  for (int i = 1; i < 9; i++) expect_left(&callers[i], "interrupted");
  assert_false(callers[0].done);
  let_through(f, -1);
  finish(&callers[0]);
  assert_int_equal(callers[0].result, ANNAL_OK);
  assert_int_equal(f->batch_count, 1); /* nothing of those that left was ever sent */
  start_small(&callers[0], f);         /* and what comes later is not touched */
  finish(&callers[0]);
  assert_int_equal(callers[0].result, ANNAL_OK);
  assert_int_equal(f->head, 2);
}

/* Nobody but its answer can tell what became of a batch. */
static void who_was_sent_waits_for_the_answer(void **state) {
  fake *f = *state;
  static caller callers[5];
  f->options.timeout = 1;
  start_small(&callers[0], f);
  wait_for_batch(f, 1);
  for (int i = 1; i < 5; i++) start_small(&callers[i], f);
  let_them_line_up();
  let_through(f, 1);
  wait_for_batch(f, 2);
  store_interrupt(&f->base);
  sleep_ms(1200); /* and beyond its timeout */
  size_t sent = f->batches[1].saves, stored = 0;
  let_through(f, -1);
  finish_all(callers, 5);
  for (int i = 1; i < 5; i++) stored += callers[i].result == ANNAL_OK;
  assert_true(stored >= sent);
  assert_int_equal(f->head, (int64_t)stored + 1);
}

static void who_waits_leaves_at_its_timeout(void **state) {
  fake *f = *state;
  static caller callers[4];
  f->options.timeout = 0.2;
  start_small(&callers[0], f);
  wait_for_batch(f, 1);
  start_small(&callers[1], f);
  start_small(&callers[2], f);
  finish(&callers[1]);
  finish(&callers[2]);
  expect_left(&callers[1], "timeout of 0.2 s");
  expect_left(&callers[2], "nothing of it was stored");
  start_small(&callers[3], f); /* its time begins now: it is there when the gate opens */
  assert_false(callers[0].done);
  let_through(f, -1);
  finish(&callers[3]);
  finish(&callers[0]);
  assert_int_equal(callers[0].result, ANNAL_OK);
  assert_int_equal(f->batch_count, callers[3].result ? 1 : 2); /* on a busy machine it may have left too */
}

/* The batch that an interrupt or a timeout meets ends late; whoever waits at that moment must not go into the next one. */
static void who_has_to_leave_is_not_sent_any_more(void **state) {
  fake *f = *state;
  static caller callers[3];
  size_t left = 0;
  for (int round = 0; round < 20; round++) {
    let_through(f, 0);
    f->batch_count = 0;
    start_small(&callers[0], f);
    wait_for_batch(f, 1);
    start_small(&callers[1], f);
    start_small(&callers[2], f);
    sleep_ms(20); /* most are in line by then; who is not begins after the interrupt and is stored */
    store_interrupt(&f->base);
    let_through(f, -1); /* at once: the waiters have not looked yet */
    finish_all(callers, 3);
    size_t sent = 0, stored = 0;
    for (size_t i = 0; i < f->batch_count; i++) sent += f->batches[i].saves;
    for (int i = 0; i < 3; i++) {
      if (callers[i].result == ANNAL_OK) stored++;
      else expect_left(&callers[i], "interrupted");
    }
    assert_int_equal(callers[0].result, ANNAL_OK);
    assert_int_equal(sent, stored);
    left += 3 - stored;
  }
  assert_true(left > 10); /* of 40: most were in line */
}

/* ---- Everything at once ---------------------------------------------------------------------------------------------------- */

typedef struct hurry {
  fake *f;
  _Atomic(size_t) stored, left;
} hurry;

static void *save_in_a_hurry(void *context) {
  hurry *h = context;
  for (int i = 0; i < 200; i++) {
    annal_event event = {.id = "id", .type = "T", .data = "{}", .data_size = 2};
    store_save save = {.events = &event, .count = 1};
    annal_error error;
    if (queue_append(&h->f->base, &save, &error) == ANNAL_OK) {
      assert_true(event.position > 0);
      h->stored++;
    } else {
      assert_int_equal(event.position, 0);
      h->left++;
    }
  }
  return NULL;
}

static void quick_append(store *base, store_entry *entries, size_t count) {
  fake *f = (fake *)base;
  for (size_t i = 0; i < count; i++) {
    entries[i].result = ANNAL_OK;
    entries[i].save->events[0].position = ++f->head;
  }
  sleep_ms(1);
}

static void slow_append(store *base, store_entry *entries, size_t count) {
  (void)base;
  for (size_t i = 0; i < count; i++) entries[i].result = ANNAL_OK;
  sleep_ms(9); /* of which a leader waits an eighth for others */
}

/* Whoever leaves, the others are served, each once, and the queue is empty in the end. */
static void leaving_disturbs_nobody(void **state) {
  fake *f = *state;
  static const store_backend quick = {.name = "quick", .append = quick_append, .interrupt = fake_interrupt};
  hurry h = {.f = f};
  pthread_t threads[8];
  f->base.backend = &quick;
  f->options.timeout = 0.003;
  for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, save_in_a_hurry, &h), 0);
  for (int i = 0; i < 50; i++) {
    sleep_ms(2);
    store_interrupt(&f->base);
  }
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  assert_int_equal(h.stored + h.left, 1600);
  assert_int_equal(f->head, (int64_t)h.stored);
  assert_true(h.stored > 0);
}

/* One gathers, another completes the number, takes the lead, and has to leave at once: the first leads again. */
static void who_forestalls_and_leaves_gives_the_lead_back(void **state) {
  fake *f = *state;
  static const store_backend slow = {.name = "slow", .append = slow_append, .interrupt = fake_interrupt};
  static fake hasty; /* the same queue for somebody without time */
  f->base.backend = &slow;
  hasty = *f;
  hasty.options.timeout = 0;
  hasty.base.options = &hasty.options;
  hasty.base.env = &f->env;
  caller callers[3];
  unsigned left = 0;
  for (int i = 0; i < 150; i++) {
    for (size_t j = 0; j < 3; j++) start_small(&callers[j], f); /* one, then two together: so the next one waits for another */
    finish_all(callers, 3);
    start_small(&callers[0], f);
    nanosleep(&(struct timespec){.tv_nsec = i * 2000L}, NULL);
    start_small(&callers[1], &hasty);
    for (int ms = 0; ms < 10000 && !(callers[0].done && callers[1].done); ms++) sleep_ms(1);
    if (!callers[0].done || !callers[1].done) fail_msg("the queue stands still in round %d", i);
    finish_all(callers, 2);
    assert_int_equal(callers[0].result, ANNAL_OK);
    left += callers[1].result == ANNAL_UNAVAILABLE;
  }
  assert_int_equal(left, 150);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest queue[] = {
      TEST(a_batch_keeps_to_its_limits),
      TEST(who_waits_leaves_when_interrupted),
      TEST(who_was_sent_waits_for_the_answer),
      TEST(who_waits_leaves_at_its_timeout),
      TEST(who_has_to_leave_is_not_sent_any_more),
      TEST(leaving_disturbs_nobody),
      TEST(who_forestalls_and_leaves_gives_the_lead_back),
  };
  return cmocka_run_group_tests(queue, NULL, NULL);
}
