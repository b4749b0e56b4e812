/* One generation, many threads: states are taken, used and given back at will. Meant for ThreadSanitizer too. */
#include "support.h"

#include "base/limits.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 8
#define ROUNDS 200

static script_app *app;

/* Whether an event of the older version comes out doubled, as its upcaster says. */
static bool upgrades(script_state *state, int n) {
  char data[32], doubled[32];
  annal_error error;
  snprintf(data, sizeof data, "{\"n\":%d}", n);
  snprintf(doubled, sizeof doubled, "{\"n\":%d}", 2 * n);
  annal_event event = {.position = 1, .id = "e", .type = "E", .version = 1, .data = data, .data_size = strlen(data)}, upgraded;
  base_buf out;
  buf_init(&out, test_env());
  bool right = script_upcast(state, &event, &out, &upgraded, &error) == 0 && strcmp(upgraded.data, doubled) == 0;
  buf_free(&out);
  return right;
}

/* Most of the events are good, some make the state run out of budget. */
static void *work(void *context) {
  long wrong = 0;
  (void)context;
  for (int i = 0; i < ROUNDS; i++) {
    annal_error error;
    script_state *state = NULL;
    if (script_acquire(app, &state, &error)) return (void *)1000L;
    base_buf out;
    buf_init(&out, test_env());
    char data[32];
    int version = 0, n = i % 12;
    wrong += !upgrades(state, n);
    snprintf(data, sizeof data, "{\"n\":%d}", n);
    int code = script_check_event(state, "E", &version, data, strlen(data), &out, &error);
    wrong += code != (n == 3 ? ANNAL_BUDGET : n == 4 ? ANNAL_INVALID : 0);
    buf_free(&out);
    script_give_back(state);
  }
  script_release(app);
  return (void *)wrong;
}

static void many_threads_share_a_generation(void **unused) {
  (void)unused;
  app_files files;
  annal_error error;
  const script_options options = {.budget = 20000, .memory = LIMIT_SCRIPT_MEMORY};
  app_make(&files);
  app_write(&files, "a.lua",
            "event 'E' { version = 2, schema = { n = t.integer }, upcast = { function(d) d.n = 2 * d.n return d end },"
            "  validate = function(d) while d.n == 3 do end return d.n ~= 4 end }");
  assert_int_equal(script_load(test_env(), &options, files.directory, &app, &error), 0);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    script_retain(app);
    assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
  }
  script_release(app); /* from here on the threads keep it alive */
  for (int i = 0; i < THREADS; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
  app_remove(&files);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads_share_a_generation)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
