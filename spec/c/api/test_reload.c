/* Scripts that change while a store is open: what is loaded when, what a failure leaves, who is told; annal_run_once;
 * interrupting a script. One thread at a time; test_reload_threads.c has the others. */
#include "../fold/support.h"

#include "api/reader.h"
#include "base/limits.h"
#include "counting.h"
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

/* ---- A place, and what it says ------------------------------------------------------------------------------------------ */

static place p;
static char error_lines[8][1100];
static int error_count, load_count; /* lines of level error; times that a script said "loading" */

static void keep_line(void *context, const char *level, const char *message) {
  (void)context;
  if (strcmp(level, "error") == 0) snprintf(error_lines[error_count++ % 8], sizeof *error_lines, "%s", message);
  if (strstr(message, "loading")) load_count++;
}

static void sleep_us(int64_t us) {
  struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
  nanosleep(&pause, NULL);
}

/* Longer than changes have to rest, and than calls do not look. */
static void rest(void) { sleep_us(LIMIT_RELOAD_SETTLE_US + LIMIT_RELOAD_LOOK_US + 50000); }

#define EVENTS "event 'ADDED' { id = t.string, n = t.integer }"
#define SUM "projection 'SUM' { by = 'id', init = { n = 0 }, on = { ADDED = function(s, e) s.n = s.n + FACTOR * e.data.n end } }"
#define BROKEN "\n\nlocal = 1"

static void write_factor(const char *factor) {
  char text[512];
  snprintf(text, sizeof text, "log 'loading'\nlocal FACTOR = %s\n" SUM, factor);
  place_script(&p, "sum.lua", text);
}

static void start_with(annal_options options) {
  error_count = load_count = 0;
  place_init(&p);
  place_script(&p, "events.lua", EVENTS);
  write_factor("1");
  options.app = p.app;
  options.log = keep_line;
  place_open_with(&p, options);
  put(&p, "ADDED", NULL, "{\"id\":\"a\",\"n\":5}");
  load_count = 0;
}

static void start(void) { start_with((annal_options){0}); }

static void expect_sum(int n) {
  char expected[32];
  snprintf(expected, sizeof expected, "{\"n\":%d}", n);
  expect_fold(&p, "SUM", "a", true, expected);
}

static void reload_ok(void) {
  annal_error error;
  expect_ok(annal_reload(p.handle, &error), &error);
}

static void expect_refused(const char *where, const char *message) {
  annal_error error;
  int code = annal_reload(p.handle, &error);
  if (code != ANNAL_SCRIPT || strcmp(error.where, where) != 0 || !strstr(error.message, message))
    fail_msg("%d at \"%s\": %s\n  not at \"%s\": %s", code, error.where, error.message, where, message);
}

static void expect_errors(int count, const char *last) {
  if (error_count != count)
    fail_msg("%d errors were logged, not %d; the last: %s", error_count, count, error_lines[(error_count + 7) % 8]);
  if (last) expect_in(error_lines[(count - 1) % 8], last);
}

/* ---- Asked for --------------------------------------------------------------------------------------------------------- */

static void a_reload_is_in_force_when_it_returns(void **unused) {
  (void)unused;
  start();
  expect_sum(5);
  write_factor("2");
  reload_ok();
  expect_sum(10);
  place_remove(&p);
}

static void unchanged_scripts_are_not_run_again(void **unused) {
  (void)unused;
  start();
  script_app *before = handle_app(p.handle);
  write_factor("1");
  reload_ok();
  script_app *after = handle_app(p.handle);
  assert_ptr_equal(before, after);
  assert_int_equal(load_count, 0);
  script_release(before);
  script_release(after);
  place_remove(&p);
}

static void a_reload_that_fails_says_where_and_keeps_what_was(void **unused) {
  (void)unused;
  start();
  place_script(&p, "broken.lua", BROKEN);
  expect_refused("broken.lua:3", "<name> expected near '='");
  expect_sum(5);
  expect_refused("broken.lua:3", "<name> expected near '='");
  expect_errors(0, NULL); /* who asked was told */
  rest();
  expect_sum(5);
  expect_errors(0, NULL);
  place_script(&p, "broken.lua", "");
  reload_ok();
  expect_sum(5);
  place_remove(&p);
}

static void a_set_that_failed_is_not_tried_again(void **unused) {
  (void)unused;
  start();
  place_script(&p, "broken.lua", BROKEN);
  place_script(&p, "another.lua", "log 'loading'");
  expect_refused("broken.lua:3", "");
  assert_int_equal(load_count, 1);
  for (int i = 0; i < 3; i++) expect_refused("broken.lua:3", "");
  rest();
  expect_sum(5);
  assert_int_equal(load_count, 1);
  place_script(&p, "broken.lua", "\n" BROKEN);
  expect_refused("broken.lua:4", "");
  assert_int_equal(load_count, 2);
  place_script(&p, "broken.lua", BROKEN); /* it was another meanwhile */
  expect_refused("broken.lua:3", "");
  assert_int_equal(load_count, 3);
  place_remove(&p);
}

static void a_store_without_scripts_has_nothing_to_reload(void **unused) {
  (void)unused;
  annal_error error;
  place_init(&p);
  place_open_with(&p, (annal_options){0});
  reload_ok();
  expect_ok(annal_run_once(p.handle, 0, &error), &error);
  place_remove(&p);
}

/* ---- Unasked ----------------------------------------------------------------------------------------------------------- */

static void a_call_finds_what_has_changed(void **unused) {
  (void)unused;
  annal_error error;
  start();
  write_factor("3");
  rest();
  expect_sum(15);
  assert_int_equal(load_count, 1); /* the state that tried it is used */
  place_script(&p, "events.lua", "event 'OTHER' {}\n" EVENTS);
  rest();
  annal_event event = {.type = "OTHER", .data = "{}"};
  expect_ok(annal_save(p.handle, &event, 1, NULL, NULL, &error), &error);
  place_remove(&p);
}

static void what_cannot_be_loaded_is_logged_once(void **unused) {
  (void)unused;
  start();
  place_script(&p, "broken.lua", BROKEN);
  for (int i = 0; i < 3; i++) {
    rest();
    expect_sum(5);
  }
  expect_errors(1, "script: broken.lua:3: <name> expected near '='; the scripts that were loaded before stay in force");
  place_script(&p, "broken.lua", "local a = nil + 1");
  for (int i = 0; i < 2; i++) {
    rest();
    expect_sum(5);
  }
  expect_errors(2, "script: broken.lua:1: attempt to perform arithmetic on a nil value");
  expect_refused("broken.lua:1", "attempt to perform arithmetic");
  write_factor("4");
  place_script(&p, "broken.lua", "");
  rest();
  expect_sum(20);
  expect_errors(2, NULL);
  place_remove(&p);
}

static void what_is_mended_as_it_was_is_quiet(void **unused) {
  (void)unused;
  start();
  place_script(&p, "events.lua", BROKEN);
  rest();
  expect_sum(5);
  expect_errors(1, "events.lua:3");
  place_script(&p, "events.lua", EVENTS);
  rest();
  load_count = 0;
  expect_sum(5);
  assert_int_equal(load_count, 0);
  place_script(&p, "events.lua", BROKEN); /* it was right meanwhile, so that is news */
  rest();
  expect_sum(5);
  expect_errors(2, "events.lua:3");
  place_remove(&p);
}

static void a_directory_that_is_gone_leaves_what_was_loaded(void **unused) {
  (void)unused;
  char elsewhere[160];
  start();
  snprintf(elsewhere, sizeof elsewhere, "%s.gone", p.app);
  assert_int_equal(rename(p.app, elsewhere), 0);
  for (int i = 0; i < 4; i++) {
    rest();
    expect_sum(5);
  }
  expect_errors(1, "not_found: ");
  annal_error error;
  assert_int_equal(annal_reload(p.handle, &error), ANNAL_NOT_FOUND);
  assert_string_equal(error.where, p.app);
  assert_int_equal(rename(elsewhere, p.app), 0);
  reload_ok();
  write_factor("2");
  rest();
  expect_sum(10);
  expect_errors(1, NULL);
  place_remove(&p);
}

static int64_t file_size(const char *name) {
  struct stat status;
  char path[160];
  snprintf(path, sizeof path, "%s/%s", p.app, name);
  assert_int_equal(stat(path, &status), 0);
  return status.st_size;
}

/* A file is there half for a moment: whatever a call finds then, it is answered by what was loaded before, and nothing is said. */
static void what_is_being_written_is_not_loaded(void **unused) {
  (void)unused;
  int tried = 0;
  start();
  for (int round = 0; round < 40 && tried < 5; round++) {
    bool empty = round % 2; /* which would load, and have no projection; the other would not */
    rest();
    expect_sum(5);
    int64_t begin = base_monotonic();
    place_script(&p, "sum.lua", empty ? "" : "projection 'SUM' { by = 'id',");
    sleep_us(LIMIT_RELOAD_SETTLE_US / 2);
    expect_ok(annal_run_once(p.handle, 0, NULL), &(annal_error){0});
    if (base_monotonic() - begin < LIMIT_RELOAD_SETTLE_US) {
      expect_sum(5);
      expect_errors(0, NULL);
      tried++;
    }
    write_factor("1");
    reload_ok(); /* where the machine was too busy the half was loaded, rightly */
    error_count = 0;
  }
  assert_true(tried > 0);
  assert_true(file_size("sum.lua") > 20);
  place_remove(&p);
}

static atomic_bool returned;

/* Another program's files come and go among the scripts. */
static void *be_busy(void *context) {
  (void)context;
  while (!atomic_load(&returned)) {
    place_script(&p, "busy.txt", "x");
    sleep_us(5000);
    char path[192];
    snprintf(path, sizeof path, "%s/busy.txt", p.app);
    unlink(path);
  }
  return NULL;
}

/* By the time of its last change such a directory never rests: then scripts that stay the same for a while are taken for written. So
 * they are where the file system's clock is another machine's. */
static void scripts_in_a_busy_directory_are_loaded(void **unused) {
  (void)unused;
  pthread_t other;
  start();
  atomic_store(&returned, false);
  assert_int_equal(pthread_create(&other, NULL, be_busy, NULL), 0);
  write_factor("6");
  char *view = NULL;
  for (int64_t until = base_monotonic() + 30000000; base_monotonic() < until; sleep_us(20000)) {
    fold_instance *instance = instance_of(&p, "SUM", "a", true);
    view = view_text(&p, instance);
    fold_close(instance);
    if (strcmp(view, "{\"n\":30}") == 0) break;
    free(view);
    view = NULL;
  }
  atomic_store(&returned, true);
  pthread_join(other, NULL);
  assert_non_null(view);
  free(view);
  place_remove(&p);
}

/* Writing into mapped memory is told to nobody, as is what another machine does on a shared disk. Where not all is watched it is
 * found soon: here there are too many directories. */
static void what_nobody_tells_of_is_found_by_reading(void **unused) {
  (void)unused;
  char path[192];
  start();
  for (int i = 0; i <= LIMIT_RELOAD_DIRECTORIES; i++) {
    snprintf(path, sizeof path, "%s/d%d", p.app, i);
    assert_int_equal(mkdir(path, 0777), 0);
  }
  rest();
  expect_sum(5);
  assert_false(script_watch_is_whole(p.handle->reload.watch));
  snprintf(path, sizeof path, "%s/sum.lua", p.app);
  int file = open(path, O_RDWR);
  size_t size = (size_t)file_size("sum.lua");
  char *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  assert_ptr_not_equal(mapped, MAP_FAILED);
  char *factor = memmem(mapped, size, "FACTOR = 1", 10);
  assert_non_null(factor);
  factor[9] = '7';
  close(file); /* which is told of when the mapping ends too */
  assert_false(script_watch_hint(p.handle->reload.watch));
  annal_error error;
  expect_ok(annal_run_once(p.handle, 30, &error), &error);
  expect_sum(35);
  munmap(mapped, size);
  place_remove(&p);
}

static void with_no_reload_only_who_asks_gets_it(void **unused) {
  (void)unused;
  annal_error error;
  start_with((annal_options){.no_reload = true});
  write_factor("2");
  rest();
  expect_sum(5);
  expect_ok(annal_run_once(p.handle, 0.3, &error), &error);
  expect_sum(5);
  assert_null(p.handle->reload.watch);
  reload_ok();
  expect_sum(10);
  assert_null(p.handle->reload.watch);
  place_remove(&p);
}

static void another_directory_is_watched_once_it_is_loaded(void **unused) {
  (void)unused;
  annal_error error;
  char first[80];
  start();
  rest();
  expect_sum(5);
  snprintf(first, sizeof first, "%s", p.app);
  snprintf(p.app, sizeof p.app, "%s/other", p.directory);
  assert_int_equal(mkdir(p.app, 0700), 0);
  place_script(&p, "events.lua", EVENTS);
  place_script(&p, "sum.lua", BROKEN);
  assert_int_equal(annal_load(p.handle, p.app, &error), ANNAL_SCRIPT);
  write_factor("2");
  rest();
  expect_sum(5); /* it failed, so the first is still the one that is looked at */
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  expect_sum(10);
  write_factor("3");
  rest();
  expect_sum(15);
  load_count = 0;
  snprintf(p.app, sizeof p.app, "%s", first);
  write_factor("4");
  rest();
  expect_sum(15);
  reload_ok();
  expect_sum(15);
  assert_int_equal(load_count, 0);
  place_remove(&p);
}

static void the_working_directory_may_change(void **unused) {
  (void)unused;
  char here[PATH_MAX];
  start();
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(p.directory), 0);
  place_open_with(&p, (annal_options){.app = "app", .log = keep_line});
  assert_int_equal(chdir("/"), 0);
  write_factor("2");
  rest();
  expect_sum(10);
  write_factor("3");
  reload_ok();
  expect_sum(15);
  assert_int_equal(chdir(here), 0);
  place_remove(&p);
}

/* ---- Generations ------------------------------------------------------------------------------------------------------- */

static void an_instance_stays_with_its_generation(void **unused) {
  (void)unused;
  start();
  fold_instance *old = instance_of(&p, "SUM", "a", true);
  write_factor("2");
  reload_ok();
  expect_view(&p, old, "{\"n\":5}");
  put(&p, "ADDED", NULL, "{\"id\":\"a\",\"n\":1}");
  annal_error error;
  expect_ok(fold_refresh(old, &error), &error);
  expect_view(&p, old, "{\"n\":6}");
  expect_sum(12);
  fold_close(old);
  place_remove(&p);
}

/* Of the scripts that it was saved by, unchanged; other files do not matter. */
static void a_saved_row_outlives_a_change_elsewhere(void **unused) {
  (void)unused;
  annal_error error;
  start_with((annal_options){.cache = 1}); /* so that what is in the row shows */
  fold_instance *instance = instance_of(&p, "SUM", "a", true);
  expect_ok(fold_save(instance, NULL, &error), &error);
  fold_close(instance);
  place_sql(&p, "UPDATE projections SET state = '{\"n\":100}', data = '{\"n\":100}'");
  place_script(&p, "more.lua", "event 'MORE' {}");
  reload_ok();
  expect_sum(100);
  write_factor("2");
  reload_ok();
  expect_sum(10);
  write_factor("1");
  reload_ok();
  expect_sum(100);
  place_remove(&p);
}

static void the_last_user_gives_a_generation_back(void **unused) {
  (void)unused;
  start_with((annal_options){.allocate = count_bytes, .cache = 1});
  write_factor("3");
  reload_ok();
  expect_sum(15);
  long before = atomic_load(&held);
  fold_instance *old = instance_of(&p, "SUM", "a", true);
  long instance = atomic_load(&held) - before;
  script_state *state;
  annal_error error;
  script_app *app = handle_app(p.handle);
  expect_ok(script_acquire(app, &state, &error), &error);
  script_release(app);
  handle_reader *reader;
  annal_selection all = {.size = sizeof all};
  expect_ok(handle_read(p.handle, &all, &reader, &error), &error);
  write_factor("2");
  reload_ok();
  expect_sum(10);
  long both = atomic_load(&held);
  fold_close(old);
  assert_true(both - atomic_load(&held) <= instance + 64); /* the others still hold it */
  script_give_back(state);
  assert_true(both - atomic_load(&held) <= instance + 64);
  handle_reader_close(reader);
  assert_true(both - atomic_load(&held) > 10000);
  write_factor("1");
  reload_ok();
  expect_sum(5);
  assert_int_equal(atomic_load(&held), before);
  place_remove(&p);
  assert_int_equal(atomic_load(&held), 0);
}

static void failed_sets_leave_no_memory(void **unused) {
  (void)unused;
  char text[64];
  start_with((annal_options){.allocate = count_bytes, .cache = 1});
  place_script(&p, "broken.lua", BROKEN "    ");
  expect_refused("broken.lua:3", "");
  long before = atomic_load(&held);
  for (int i = 0; i < 20; i++) {
    snprintf(text, sizeof text, BROKEN " -- %d", i);
    place_script(&p, "broken.lua", text);
    expect_refused("broken.lua:3", "");
  }
  assert_int_equal(atomic_load(&held), before);
  place_remove(&p);
}

/* ---- annal_run_once ---------------------------------------------------------------------------------------------------- */

static void *change_later(void *context) {
  (void)context;
  sleep_us(300000);
  write_factor("2");
  return NULL;
}

static void running_once_waits_for_a_change(void **unused) {
  (void)unused;
  annal_error error;
  pthread_t other;
  start();
  assert_int_equal(pthread_create(&other, NULL, change_later, NULL), 0);
  int64_t begin = base_monotonic();
  expect_ok(annal_run_once(p.handle, 60, &error), &error);
  assert_true(base_monotonic() - begin < 60000000); /* it returns after what it did */
  pthread_join(other, NULL);
  p.handle->options.no_reload = true; /* what is in force now was loaded by it */
  expect_sum(10);
  place_remove(&p);
}

static void running_once_does_not_wait_longer_than_asked(void **unused) {
  (void)unused;
  annal_error error;
  start();
  expect_ok(annal_run_once(p.handle, 0, &error), &error);
  int64_t begin = base_monotonic();
  expect_ok(annal_run_once(p.handle, 0.2, &error), &error);
  assert_true(base_monotonic() - begin >= 200000);
  assert_int_equal(annal_run_once(p.handle, -1, &error), ANNAL_MISUSE);
  assert_int_equal(annal_run_once(p.handle, nan(""), &error), ANNAL_MISUSE);
  place_remove(&p);
}

static void running_once_fails_by_no_script(void **unused) {
  (void)unused;
  annal_error error;
  start();
  place_script(&p, "broken.lua", BROKEN);
  expect_ok(annal_run_once(p.handle, 60, &error), &error);
  expect_errors(1, "broken.lua:3");
  expect_ok(annal_run_once(p.handle, 0.3, &error), &error);
  expect_errors(1, NULL);
  place_remove(&p);
}

/* ---- Interrupting ------------------------------------------------------------------------------------------------------ */

/* Again and again, because one that comes before the call is not meant for it. */
static void *interrupt(void *context) {
  (void)context;
  while (!atomic_load(&returned)) {
    sleep_us(20000);
    annal_interrupt(p.handle);
  }
  return NULL;
}

static void expect_interrupted(int (*call)(annal_error *)) {
  annal_error error;
  pthread_t other;
  atomic_store(&returned, false);
  assert_int_equal(pthread_create(&other, NULL, interrupt, NULL), 0);
  int code = call(&error);
  atomic_store(&returned, true);
  pthread_join(other, NULL);
  if (code != ANNAL_UNAVAILABLE || strcmp(error.message, "interrupted") != 0) fail_msg("%d: %s", code, error.message);
}

static int wait_long(annal_error *error) { return annal_run_once(p.handle, 1000, error); }

static void an_interruption_ends_the_waiting(void **unused) {
  (void)unused;
  start();
  expect_interrupted(wait_long);
  place_remove(&p);
}

static int view_sum(annal_error *error) {
  annal_text view;
  return annal_view(p.handle, "SUM", "a", NULL, &view, error);
}

static int save_added(annal_error *error) {
  annal_event event = {.type = "ADDED", .data = "{\"id\":\"a\",\"n\":1}"};
  return annal_save(p.handle, &event, 1, NULL, NULL, error);
}

static void an_interruption_ends_a_script(void **unused) {
  (void)unused;
  start_with((annal_options){.budget = INT64_C(20000000000)});
  place_script(
      &p, "sum.lua",
      "projection 'SUM' { by = 'id', init = 0, on = { ADDED = function() while true do pcall(function() while true do end "
      "end) end end } }");
  reload_ok();
  expect_interrupted(view_sum);
  place_script(&p, "events.lua",
               "event 'ADDED' { schema = { id = t.string, n = t.integer }, validate = function() while true do end end }");
  reload_ok();
  expect_interrupted(save_added);
  place_script(&p, "events.lua", EVENTS);
  write_factor("2");
  reload_ok();
  expect_sum(10);
  place_remove(&p);
}

/* It is for the calls under way, also where a state is used again that was there before. */
static void an_interruption_is_not_for_later_calls(void **unused) {
  (void)unused;
  start();
  place_script(&p, "sum.lua",
               "projection 'SUM' { by = 'id', init = { n = 0 }, on = { ADDED = function(s, e)"
               " for i = 1, 100000 do s.n = s.n + 1 end end } }");
  reload_ok();
  for (int i = 0; i < 3; i++) {
    expect_sum(100000);
    annal_interrupt(p.handle);
  }
  place_remove(&p);
}

static int reload(annal_error *error) { return annal_reload(p.handle, error); }

/* That says nothing of the scripts: they are tried again. */
static void an_interruption_ends_the_loading(void **unused) {
  (void)unused;
  annal_error error;
  start();
  place_script(&p, "looping.lua", "while true do end");
  expect_interrupted(reload);
  expect_sum(5);
  assert_int_equal(annal_reload(p.handle, &error), ANNAL_BUDGET);
  assert_string_equal(error.where, "looping.lua:1");
  place_remove(&p);
}

static annal_error of_callback;

static void reload_from_callback(void *context, const char *level, const char *message) {
  (void)context, (void)level;
  if (p.handle && strstr(message, "loading")) annal_reload(p.handle, &of_callback);
}

static void a_log_callback_cannot_load(void **unused) {
  (void)unused;
  start();
  place_open_with(&p, (annal_options){.app = p.app, .log = reload_from_callback});
  write_factor("2");
  reload_ok();
  assert_int_equal(of_callback.code, ANNAL_MISUSE);
  expect_sum(10);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_reload_is_in_force_when_it_returns),
      cmocka_unit_test(unchanged_scripts_are_not_run_again),
      cmocka_unit_test(a_reload_that_fails_says_where_and_keeps_what_was),
      cmocka_unit_test(a_set_that_failed_is_not_tried_again),
      cmocka_unit_test(a_store_without_scripts_has_nothing_to_reload),
      cmocka_unit_test(a_call_finds_what_has_changed),
      cmocka_unit_test(what_cannot_be_loaded_is_logged_once),
      cmocka_unit_test(what_is_mended_as_it_was_is_quiet),
      cmocka_unit_test(a_directory_that_is_gone_leaves_what_was_loaded),
      cmocka_unit_test(what_is_being_written_is_not_loaded),
      cmocka_unit_test(scripts_in_a_busy_directory_are_loaded),
      cmocka_unit_test(what_nobody_tells_of_is_found_by_reading),
      cmocka_unit_test(with_no_reload_only_who_asks_gets_it),
      cmocka_unit_test(another_directory_is_watched_once_it_is_loaded),
      cmocka_unit_test(the_working_directory_may_change),
      cmocka_unit_test(an_instance_stays_with_its_generation),
      cmocka_unit_test(a_saved_row_outlives_a_change_elsewhere),
      cmocka_unit_test(the_last_user_gives_a_generation_back),
      cmocka_unit_test(failed_sets_leave_no_memory),
      cmocka_unit_test(running_once_waits_for_a_change),
      cmocka_unit_test(running_once_does_not_wait_longer_than_asked),
      cmocka_unit_test(running_once_fails_by_no_script),
      cmocka_unit_test(an_interruption_ends_the_waiting),
      cmocka_unit_test(an_interruption_ends_a_script),
      cmocka_unit_test(an_interruption_is_not_for_later_calls),
      cmocka_unit_test(an_interruption_ends_the_loading),
      cmocka_unit_test(a_log_callback_cannot_load),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
