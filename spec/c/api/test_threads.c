/* One handle, many threads: each saves, views and queries as if it were alone, while scripts are loaded anew beneath them.
 * To be run under the thread sanitizer as well. */
#include "../fold/support.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 25 };

#define APP                                                                                                                      \
  "event 'ADDED' { id = t.string, n = t.integer }\n"                                                                             \
  "projection 'SUM' { by = 'id', init = { n = 0, list = array {} }, on = { ADDED = function(s, e)"                               \
  "  s.n = s.n + e.data.n table.insert(s.list, e.data.n) end } }\n"                                                              \
  "projection 'ALL' { init = 0, on = { ADDED = function(s) return s + 1 end } }\n"

typedef struct worker {
  annal_store *handle;
  const char *app;
  int number;
  char failure[1400]; /* asserting is for the main thread */
} worker;

static int note(worker *w, int code, const annal_error *error, const char *what) {
  if (code && !w->failure[0]) snprintf(w->failure, sizeof w->failure, "%s: %s", what, error->message);
  return code;
}

static int save_one(worker *w, int n) {
  char data[64];
  annal_error error;
  annal_text stored;
  snprintf(data, sizeof data, "{\"id\":\"t%d\",\"n\":%d}", w->number, n);
  annal_event event = {.type = "ADDED", .data = data};
  int code = note(w, annal_save(w->handle, &event, 1, NULL, &stored, &error), &error, "save");
  annal_text_free(w->handle, &stored);
  return code;
}

/* The thread's own instance has exactly what the thread has saved so far. */
static int view_own(worker *w, int round) {
  char id[16], expected[64];
  annal_error error;
  annal_text view;
  annal_view_options options = {.size = sizeof options, .save = round % 5 == 0, .ignore_saved = round % 3 == 0};
  snprintf(id, sizeof id, "t%d", w->number);
  int code = note(w, annal_view(w->handle, "SUM", id, &options, &view, &error), &error, "view");
  if (code) return code;
  snprintf(expected, sizeof expected, "\"n\":%d}", (round + 1) * (round + 2) / 2);
  if (!strstr(view.bytes, expected) && !w->failure[0])
    snprintf(w->failure, sizeof w->failure, "round %d: %s does not have %s", round, view.bytes, expected);
  annal_text_free(w->handle, &view);
  return 0;
}

static void *work(void *context) {
  worker *w = context;
  annal_error error;
  annal_text text;
  annal_query query = {.size = sizeof query, .type = "SUM"};
  for (int round = 0; round < ROUNDS && !w->failure[0]; round++) {
    if (save_one(w, round + 1) || view_own(w, round)) break;
    if (!note(w, annal_view(w->handle, "ALL", "", NULL, &text, &error), &error, "view of all")) annal_text_free(w->handle, &text);
    if (round % 5 == 1 && !note(w, annal_query_projections(w->handle, &query, &text, &error), &error, "query"))
      annal_text_free(w->handle, &text);
    if (round % 10 == w->number) note(w, annal_load(w->handle, w->app, &error), &error, "load");
  }
  return NULL;
}

static void threads_share_a_handle(void **unused) {
  (void)unused;
  place p;
  pthread_t threads[THREADS];
  worker workers[THREADS];
  place_start(&p, APP);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.handle = p.handle, .app = p.app, .number = i};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++)
    if (workers[i].failure[0]) fail_msg("thread %d: %s", i, workers[i].failure);
  char expected[16];
  snprintf(expected, sizeof expected, "%d", THREADS * ROUNDS);
  expect_fold(&p, "ALL", "", false, expected);
  expect_sql(&p, "SELECT max(position) FROM events", expected);
  expect_sql(&p, "SELECT count(DISTINCT id) FROM events", expected);
  place_remove(&p);
}

/* Guarded by what each has seen, the threads count one counter up without losing a step. */
static void *count_up(void *context) {
  worker *w = context;
  annal_error error;
  const char *values[] = {"counter"};
  annal_field field = {.name = "id", .values = values, .value_count = 1};
  annal_stream stream = {.data = &field, .data_count = 1};
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
  for (int done = 0; done < ROUNDS && !w->failure[0];) {
    fold_instance *counter;
    int64_t position;
    const char *latest;
    if (note(w, handle_projection(w->handle, "SUM", "counter", true, &counter, &error), &error, "open")) break;
    int code = note(w, fold_position(counter, &position, &latest, &error), &error, "position");
    if (!code) {
      annal_event event = {.type = "ADDED", .data = "{\"id\":\"counter\",\"n\":1}"};
      condition.latest_event_id = *latest ? latest : NULL;
      code = annal_save(w->handle, &event, 1, &condition, NULL, &error);
      if (code == 0) done++;
      if (code != ANNAL_CONFLICT) note(w, code, &error, "guarded save");
    }
    fold_close(counter);
  }
  return NULL;
}

static void guarded_saves_of_threads_lose_nothing(void **unused) {
  (void)unused;
  place p;
  enum { FEW = 4 };
  pthread_t threads[FEW];
  worker workers[FEW];
  place_start(&p, APP);
  for (int i = 0; i < FEW; i++) {
    workers[i] = (worker){.handle = p.handle, .number = i};
    assert_int_equal(pthread_create(&threads[i], NULL, count_up, &workers[i]), 0);
  }
  for (int i = 0; i < FEW; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < FEW; i++)
    if (workers[i].failure[0]) fail_msg("thread %d: %s", i, workers[i].failure);
  char expected[16];
  snprintf(expected, sizeof expected, "%d", FEW * ROUNDS);
  expect_sql(&p, "SELECT count(*) FROM events", expected);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_handle),
      cmocka_unit_test(guarded_saves_of_threads_lose_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
