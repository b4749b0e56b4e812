/* One handle, many threads: guarded saves of which exactly one may win, unguarded ones that are committed together, readers that
 * follow meanwhile. Meant for ThreadSanitizer as well. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define THREADS 8
#define ROUNDS 25

typedef struct worker {
  fixture *f;
  int number;
  pthread_barrier_t *start;
  atomic_int *won; /* a round */
  int failures;
  char message[256];
  int64_t positions[ROUNDS];
} worker;

static void run_workers(fixture *f, worker workers[THREADS], void *(*body)(void *)) {
  pthread_t threads[THREADS];
  pthread_barrier_t start;
  static atomic_int won[ROUNDS];
  for (int i = 0; i < ROUNDS; i++) won[i] = 0;
  pthread_barrier_init(&start, NULL, THREADS);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.f = f, .number = i, .start = &start, .won = won};
    assert_int_equal(pthread_create(&threads[i], NULL, body, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&start);
  for (int i = 0; i < THREADS; i++)
    if (workers[i].failures) fail_msg("thread %d failed %d times: %s", i, workers[i].failures, workers[i].message);
}

static void note(worker *w, int result, const annal_error *error) {
  w->failures++;
  snprintf(w->message, sizeof w->message, "%s: %.200s", annal_code_name(result), error->message);
}

/* Each round has a name of its own; every thread saves an event of it that wants to be the first. */
static void *race(void *context) {
  worker *w = context;
  for (int round = 0; round < ROUNDS; round++) {
    char id[32], data[64], value[16];
    snprintf(value, sizeof value, "round%d", round);
    snprintf(id, sizeof id, "r%d-t%d", round, w->number);
    snprintf(data, sizeof data, "{\"k\":\"%s\"}", value);
    annal_field field = {.name = "k", .values = TEXTS(value), .value_count = 1};
    annal_error error;
    pthread_barrier_wait(w->start);
    int result = save_under(w->f, id, "RACE", data, (annal_stream){.data = &field, .data_count = 1}, NULL, &error);
    if (result == ANNAL_OK) w->won[round]++;
    else if (result != ANNAL_CONFLICT) note(w, result, &error);
  }
  return NULL;
}

static void exactly_one_of_eight_wins_each_round(void **state) {
  fixture *f = *state;
  worker workers[THREADS];
  run_workers(f, workers, race);
  for (int i = 0; i < ROUNDS; i++) assert_int_equal(workers[0].won[i], 1);
  assert_int_equal(head_of(f), ROUNDS);
  for (int i = 0; i < ROUNDS; i++) { /* counted in the store, too */
    char value[16];
    snprintf(value, sizeof value, "round%d", i);
    const char *ids = ids_of_stream(f, (annal_stream){DATA(FIELD("k", value))});
    assert_true(*ids && !strchr(ids, ' '));
  }
}

static void *save_own(void *context) {
  worker *w = context;
  for (int round = 0; round < ROUNDS; round++) {
    char id[32];
    snprintf(id, sizeof id, "r%d-t%d", round, w->number);
    annal_event event = event_of(id, "OWN", "{\"k\":\"x\"}");
    store_save save = {.events = &event, .count = 1};
    annal_error error;
    int result = store_append(w->f->store, &save, &error);
    if (result) note(w, result, &error);
    w->positions[round] = event.position;
  }
  return NULL;
}

static void every_thread_gets_its_own_answer(void **state) {
  fixture *f = *state;
  worker workers[THREADS];
  bool taken[THREADS * ROUNDS + 1] = {false};
  run_workers(f, workers, save_own);
  assert_int_equal(head_of(f), THREADS * ROUNDS);
  for (int i = 0; i < THREADS; i++) {
    for (int round = 0; round < ROUNDS; round++) {
      int64_t position = workers[i].positions[round], stored;
      assert_in_range(position, 1, THREADS * ROUNDS);
      assert_false(taken[position]);
      taken[position] = true;
      if (round) assert_true(position > workers[i].positions[round - 1]);
      char id[32];
      snprintf(id, sizeof id, "r%d-t%d", round, i);
      assert_ok(store_position_of(f->store, id, &stored, &test_error));
      assert_int_equal(stored, position);
    }
  }
}

/* Half of the threads save, the others follow: read on from the last position they saw, until all is there. */
static void *follow_or_save(void *context) {
  worker *w = context;
  if (w->number % 2) return save_own(context);
  int64_t seen = 0, wanted = (int64_t)THREADS / 2 * ROUNDS;
  int64_t deadline = base_monotonic() + 60000000;
  while (seen < wanted && base_monotonic() < deadline) {
    annal_stream streams[2] = {{TYPES("OWN"), DATA(FIELD("k", "x"))}, {TYPES("OTHER")}};
    annal_selection selection = {.size = sizeof selection, .streams = streams, .stream_count = 2, .after = seen};
    store_cursor *cursor;
    annal_error error;
    store_page page = {0};
    int result = store_read(w->f->store, &selection, &cursor, &error);
    while (!result && (result = store_cursor_next(cursor, &page, &error)) == 0 && page.count) {
      for (size_t i = 0; i < page.count; i++)
        if (page.events[i].position != ++seen) w->failures++;
    }
    store_cursor_close(cursor);
    if (result) note(w, result, &error);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  if (seen != wanted) w->failures++;
  return NULL;
}

static void a_follower_skips_nothing_and_sees_nothing_twice(void **state) {
  worker workers[THREADS];
  run_workers(*state, workers, follow_or_save);
}

static void *put_row(void *context) {
  worker *w = context;
  for (int round = 1; round <= ROUNDS; round++) {
    store_row row = {.type = "CART",
                     .fingerprint = "f1",
                     .id = "one",
                     .state = "1",
                     .state_size = 1,
                     .data = "1",
                     .data_size = 1,
                     .position = (round * 7 + w->number * 3) % 50 + 1,
                     .latest_event_id = "e"};
    store_status status;
    annal_error error;
    int result = store_put_rows(w->f->store, &row, 1, &status, &error);
    if (result) note(w, result, &error);
    annal_stream stream = {.all = true};
    store_cursor *cursor;
    result = store_read_row(w->f->store, "CART", "f1", "one", &stream, 1, NULL, &row, &cursor, &error);
    if (result) note(w, result, &error);
    else if (row.position < w->positions[round - 1]) w->failures++; /* backwards */
    if (!result && round < ROUNDS) w->positions[round] = row.position;
    store_cursor_close(result ? NULL : cursor);
  }
  return NULL;
}

static void a_row_moves_only_forward_under_many_hands(void **state) {
  worker workers[THREADS];
  run_workers(*state, workers, put_row);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest threads[] = {
      TEST(exactly_one_of_eight_wins_each_round),
      TEST(every_thread_gets_its_own_answer),
      TEST(a_follower_skips_nothing_and_sees_nothing_twice),
      TEST(a_row_moves_only_forward_under_many_hands),
  };
  return RUN_ON_ALL(threads);
}
