/* The host's allocator fails at the n-th call, for every n: each load and each check then ends in one error, and nothing leaks
 * or is touched twice (the sanitizers watch). What fails once succeeds when it is tried again. */
#include "support.h"

#include "base/limits.h"
#include <string.h>

static long calls, fail_at; /* fail_at 0: never; else from that call on, `fail_count` times */
static long fail_count;
static long live;

static void *failing(void *context, void *pointer, size_t size) {
  (void)context;
  if (size == 0) {
    if (pointer) live--;
    free(pointer);
    return NULL;
  }
  calls++;
  if (fail_at && calls >= fail_at && calls < fail_at + fail_count) return NULL;
  if (!pointer) live++;
  return realloc(pointer, size);
}

static const char *const text =
    "event 'E' { schema = { id = t.string, n = t.optional(t.integer), l = t.optional(t.array(t.string { pattern = 'x' })) },\n"
    "  validate = function(data) local s = {} for k in pairs(data) do s[#s + 1] = k .. '!' end return table.concat(s) ~= '' end "
    "}\n"
    "projection 'P' { by = 'id', fields = { n = include 'lib.n' }, view = function(s) return s end, shape = { n = t.integer } }";

static int load(const base_env *env, const app_files *files, script_app **app, annal_error *error) {
  const script_options options = {.budget = LIMIT_BUDGET, .memory = LIMIT_SCRIPT_MEMORY};
  memset(error, 0, sizeof *error);
  return script_load(env, &options, files->directory, app, error);
}

static void expect_memory_error(int code, const annal_error *error, long n) {
  if (code != ANNAL_UNAVAILABLE || !strstr(error->message, "out of memory"))
    fail_msg("call %ld: %s: %s", n, annal_code_name(code), error->message);
}

static void make_files(app_files *files) {
  app_make(files);
  app_write(files, "a.lua", text);
  app_write(files, "lib/n.lua", "return reducer { init = 0, on = { E = function(n) return n + 1 end } }");
}

/* One failure alone may be survived: Lua collects and asks again. Two in a row are the end. */
static void loading_fails_whole_at_each_allocation(void **unused) {
  (void)unused;
  base_env env;
  base_env_init(&env, NULL);
  env.allocate = failing;
  app_files files;
  make_files(&files);
  annal_error error;
  script_app *app = NULL;
  calls = fail_at = live = 0;
  assert_int_equal(load(&env, &files, &app, &error), 0);
  script_release(app);
  assert_int_equal(live, 0);
  long needed = calls;
  assert_true(needed > 500);
  for (fail_count = 1; fail_count <= 1000000; fail_count *= 1000) {
    long failures = 0;
    for (long n = 1; n <= needed; n += n < 300 ? 1 : 7) {
      calls = 0;
      fail_at = n;
      app = NULL;
      int code = load(&env, &files, &app, &error);
      fail_at = 0;
      if (code) {
        expect_memory_error(code, &error, n);
        failures++;
      } else {
        script_release(app);
      }
      assert_int_equal(live, 0);
    }
    if (fail_count > 1) assert_true(failures > needed / 8);
  }
  app_remove(&files);
}

static void checking_an_event_fails_whole_at_each_allocation(void **unused) {
  (void)unused;
  base_env env;
  base_env_init(&env, NULL);
  env.allocate = failing;
  app_files files;
  make_files(&files);
  annal_error error;
  script_app *app = NULL;
  fail_at = live = 0;
  fail_count = 1000000;
  assert_int_equal(load(&env, &files, &app, &error), 0);
  const char *data = "{\"id\":\"abc\",\"n\":2.0,\"l\":[\"x\",\"xy\"]}";
  long succeeded = 0, failed = 0;
  for (long n = 1; succeeded < 3 && n < 2000; n++) {
    script_state *state = NULL;
    assert_int_equal(script_acquire(app, &state, &error), 0);
    base_buf out;
    buf_init(&out, &env);
    int version = 0;
    calls = 0;
    fail_at = n;
    int code = script_check_event(state, "E", &version, data, strlen(data), &out, &error);
    fail_at = 0;
    if (code) {
      expect_memory_error(code, &error, n);
      failed++;
      succeeded = 0;
    } else {
      assert_string_equal(out.bytes, "{\"id\":\"abc\",\"l\":[\"x\",\"xy\"],\"n\":2}");
      succeeded++;
    }
    script_streams streams;
    calls = 0;
    fail_at = n;
    code = script_instance_streams(state, script_find_projection(app, "P"), "x", &streams, &error);
    fail_at = 0;
    if (code) expect_memory_error(code, &error, n);
    script_free_streams(&env, &streams);
    buf_free(&out);
    script_give_back(state);
  }
  assert_int_equal(succeeded, 3);
  assert_true(failed > 0);
  script_release(app);
  assert_int_equal(live, 0);
  app_remove(&files);
}

/* States are made on demand: one that cannot be made is an error for its caller, not for the app. */
static void a_second_state_fails_alone(void **unused) {
  (void)unused;
  base_env env;
  base_env_init(&env, NULL);
  env.allocate = failing;
  app_files files;
  make_files(&files);
  annal_error error;
  script_app *app = NULL;
  fail_at = live = 0;
  assert_int_equal(load(&env, &files, &app, &error), 0);
  script_state *first = NULL, *second = NULL;
  assert_int_equal(script_acquire(app, &first, &error), 0);
  fail_count = 1000000;
  for (long n = 1; n < 1000; n += 37) {
    calls = 0;
    fail_at = n;
    int code = script_acquire(app, &second, &error);
    fail_at = 0;
    if (code) expect_memory_error(code, &error, n);
    else script_give_back(second);
    if (!code) break;
  }
  assert_int_equal(script_acquire(app, &second, &error), 0);
  script_give_back(second);
  script_release(app); /* the first state keeps the generation alive */
  assert_string_equal(script_find_event(script_app_of(first), "E")->type, "E");
  script_give_back(first);
  assert_int_equal(live, 0);
  app_remove(&files);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loading_fails_whole_at_each_allocation),
      cmocka_unit_test(checking_an_event_fails_whole_at_each_allocation),
      cmocka_unit_test(a_second_state_fails_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
