/* What is kept inline, under many threads of one handle: their saves go in batches, of which each brings rows of its own, and where they
 * are for one instance they go one after the other. On SQLite, and on PostgreSQL where ANNAL_TEST_PG names a server. To be run under the
 * thread sanitizer as well. */
#include "stage.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 15, SHARED = 3 };

#define APP                                                                                                                      \
  "event 'ADDED' { id = t.string, n = t.integer }\n"                                                                             \
  "local function sum(keep) return { by = 'id', keep = keep, init = { n = 0, seen = array {} },\n"                               \
  "  on = { ADDED = function(s, e) s.n = s.n + e.data.n table.insert(s.seen, e.id) end } } end\n"                                \
  "projection 'SUM' (sum 'inline')\n"                                                                                            \
  "projection 'TWIN' (sum 'live')\n"

typedef struct worker {
  annal_store *handle;
  int number;
  char failure[1400]; /* asserting is for the main thread */
} worker;

static void *work(void *context) {
  worker *w = context;
  annal_error error;
  for (int round = 1; round <= ROUNDS && !w->failure[0]; round++) {
    char own[48], shared[48];
    snprintf(own, sizeof own, "{\"id\":\"own%d\",\"n\":%d}", w->number, round);
    snprintf(shared, sizeof shared, "{\"id\":\"shared%d\",\"n\":1}", (w->number + round) % SHARED);
    annal_event events[] = {{.type = "ADDED", .data = own}, {.type = "ADDED", .data = shared}};
    /* By turns only what nobody else touches, which can share a batch, and both. */
    if (annal_save(w->handle, events, 1 + (size_t)(round % 2), NULL, NULL, &error))
      snprintf(w->failure, sizeof w->failure, "%s: %s", annal_code_name(error.code), error.message);
  }
  return NULL;
}

typedef struct kept {
  const char *id;
  char text[4096];
  int64_t position;
} kept;

static int take_row(void *context, const store_row *row) {
  kept *k = context;
  snprintf(k->text, sizeof k->text, "%.*s", (int)row->data_size, row->data);
  k->position = row->position;
  return 0;
}

/* The row is the fold from the first event. */
static void expect_whole(const stage *s, const char *id) {
  annal_error error;
  annal_text view;
  fold_instance *twin;
  int64_t position;
  const char *latest;
  kept k = {.id = id};
  annal_query query = {.size = sizeof query, .type = "SUM"};
  stage_ok(handle_query(s->handle, &query, id, take_row, &k, &error), &error);
  stage_ok(annal_view(s->handle, "TWIN", id, NULL, &view, &error), &error);
  assert_string_equal(k.text, view.bytes);
  annal_text_free(s->handle, &view);
  stage_ok(handle_projection(s->handle, "TWIN", id, false, &twin, &error), &error);
  stage_ok(fold_position(twin, &position, &latest, &error), &error);
  assert_int_equal(k.position, position);
  fold_close(twin);
}

static void saves_of_threads_bring_their_rows(void **unused) {
  (void)unused;
  static const char *const indexes[] = {"id"};
  stage s;
  pthread_t threads[THREADS];
  static worker workers[THREADS];
  stage_start(&s, APP, (annal_options){.data_indexes = indexes, .data_index_count = 1});
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.handle = s.handle, .number = i};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++)
    if (workers[i].failure[0]) fail_msg("thread %d: %s", i, workers[i].failure);
  assert_int_equal(stage_head(&s), THREADS * (ROUNDS + (ROUNDS + 1) / 2));
  for (int i = 0; i < THREADS; i++) {
    char id[16];
    snprintf(id, sizeof id, "own%d", i);
    expect_whole(&s, id);
    if (i >= SHARED) continue;
    snprintf(id, sizeof id, "shared%d", i);
    expect_whole(&s, id);
  }
  stage_end(&s);
}

/* ---- Lanes ---------------------------------------------------------------------------------------------------------------- */

static void *interrupt_soon(void *handle) {
  usleep(100000);
  annal_interrupt(handle);
  return NULL;
}

static void who_waits_for_a_lane_can_leave(void **unused) {
  (void)unused;
  stage s;
  annal_error error;
  pthread_t thread;
  lane_set set = {0}, other = {0};
  stage_start(&s, APP, (annal_options){.timeout = 0.2});
  lanes_add(&set, "SUM", "a");
  lanes_add(&other, "SUM", "b");
  assert_memory_not_equal(&set, &other, sizeof set);
  stage_ok(lanes_take(&s.handle->lanes, &set, s.handle->store, 1000000, &error), &error);
  annal_event event = {.type = "ADDED", .data = "{\"id\":\"a\",\"n\":1}"};
  assert_int_equal(annal_save(s.handle, &event, 1, NULL, NULL, &error), ANNAL_UNAVAILABLE);
  assert_non_null(strstr(error.message, "0.2 s"));
  assert_false(error.in_doubt);
  event.data = "{\"id\":\"b\",\"n\":1}";
  stage_ok(annal_save(s.handle, &event, 1, NULL, NULL, &error), &error);
  lanes_add(&other, "SUM", "a");
  assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, s.handle), 0);
  assert_int_equal(lanes_take(&s.handle->lanes, &other, s.handle->store, 60000000, &error), ANNAL_UNAVAILABLE);
  assert_string_equal(error.message, "interrupted");
  pthread_join(thread, NULL);
  lanes_give_back(&s.handle->lanes, &set);
  stage_ok(annal_save(s.handle, &event, 1, NULL, NULL, &error), &error); /* what was not got was given back */
  assert_int_equal(stage_head(&s), 2);
  stage_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(saves_of_threads_bring_their_rows),
      cmocka_unit_test(who_waits_for_a_lane_can_leave),
  };
  int failed = cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
  if (!getenv("ANNAL_TEST_PG")) return failed;
  stage_on_postgres = true;
  return failed + cmocka_run_group_tests_name("postgresql", tests, NULL, NULL);
}
