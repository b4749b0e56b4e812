/* Scripts that do not end, or eat memory: each ends in one error for its caller, and the host goes on. */
#include "support.h"

#include "base/env.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Ends as `budget`, within reason: under the sanitizers everything is several times as slow. */
static void expect_stopped(const char *body) {
  annal_error error = {0};
  const script_options options = {.budget = 300000, .memory = 32u << 20};
  double begin = seconds();
  int code = run_validate(body, "{}", &options, &error);
  double took = seconds() - begin;
  if (code != ANNAL_BUDGET || took > 20)
    fail_msg("%s\n  gave %s after %.1f s: %s", body, annal_code_name(code), took, error.message);
}

static void a_loop_is_stopped(void **unused) {
  (void)unused;
  static const char *const loops[] = {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "local function f() return pcall(f) end while true do f() end",
      "local function f() while true do pcall(f) end end f()",
      "repeat local ok = pcall(error, 'x') until false",
      "local function f() return f() end f()",
      "local s = '' while true do s = s .. 'x' end",
      "local big = ('x'):rep(1 << 20) while true do local s = big .. 'x' end",
      "table.sort({ 1, 2, 3 }, function() while true do end end)",
      "table.sort({ 1, 2, 3 }, function() while true do pcall(function() while true do end end) end end)",
      "('x'):gsub('x', function() while true do end end)",
      "('x'):rep(100):gsub('.', function() while true do pcall(error) end end)",
      "local t=setmetatable({},{__index=function(t,k) return t[k+1] end}) while true do pcall(table.concat,t,'',1,1) end",
      "local t = setmetatable({}, { __index = function(t, k) while true do pcall(error) end end }) return t[1]",
      "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
      "local t = setmetatable({}, { __lt = function() while true do end end }) table.sort { t, t }",
      "do local x <close> = setmetatable({}, { __close = function() while true do end end }) end",
      "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
      "for k in pairs(setmetatable({}, { __pairs = function() return function() return 1 end end })) do end",
      "for i = 1, math.maxinteger do end",
      "goto a ::a:: goto a",
      "while true do local t = {} for i = 1, 100 do t[i] = { i } end end",
      "while true do for k in pairs { 1, 2, 3 } do end end",
      "local t = {} for i = 1, 10000 do t[i] = i end while true do next(t) end",
      "local t = {} for i = 1, 10000 do t['k' .. i] = i end while true do pairs(t) end",
  };
  for (size_t i = 0; i < LIST(loops); i++) expect_stopped(loops[i]);
}

/* No VM instruction runs inside of these. */
static void long_work_in_one_instruction_is_stopped(void **unused) {
  (void)unused;
  static const char *const loops[] = {
      "return ('a'):rep(3000):find('.-.-.-.-b')",
      "return ('a'):rep(3000):match('.-.-.-.-b')",
      "return ('a'):rep(3000):gsub('.-.-.-.-b', '')",
      "for x in ('a'):rep(3000):gmatch('.-.-.-.-b') do end",
      "return ('a'):rep(100000):find('a*a*a*a*b')",
      "return ('('):rep(100000):gsub('%b()', '')",
      "while true do table.move({}, 1, 1 << 40, 2) end",
      "return table.move({}, 1, 1 << 40, 2)",
      "return table.move({}, math.mininteger, -2, -(1 << 62))",
      "return table.insert(setmetatable({}, { __len = function() return 1 << 40 end }), 1, 1)",
      "return table.remove(setmetatable({}, { __len = function() return 1 << 40 end }), 1)",
      "return table.concat(setmetatable({}, { __len = function() return 1 << 40 end, __index = function() return '' end }))",
      "return table.unpack({}, 1, 900000), table.unpack({}, 1, 900000), table.unpack({}, 1, 900000)",
      "return table.sort(setmetatable({}, { __len = function() return 1 << 30 end }))",
      "local s = ('x'):rep(20 << 20) while true do utf8.len(s) end",
      "local s = ('1'):rep(1 << 20) while true do tonumber(s) end",
      "local s = ('x'):rep(20 << 20) while true do s:find('y', 1, true) end",
      "local s = ('x'):rep(1 << 20) while true do s:upper() end",
      "local s = ('x'):rep(1 << 20) while true do s:reverse() end",
      "while true do ('x'):rep(1 << 20) end",
      "local s = ('%s'):rep(1000) while true do pcall(string.format, s) end",
  };
  for (size_t i = 0; i < LIST(loops); i++) expect_stopped(loops[i]);
}

static void an_empty_text_is_repeated_in_no_time(void **unused) {
  (void)unused;
  expect_runs("assert(string.rep('', 1 << 62) == '' and string.rep('', 1 << 62, '') == '' and ('ab'):rep(3, '-') == 'ab-ab-ab')");
  expect_fails("return ('x'):rep(1 << 62)", ANNAL_SCRIPT, "resulting string too large");
}

static void memory_has_an_end(void **unused) {
  (void)unused;
  static const char *const bombs[] = {
      "local t = {} for i = 1, math.maxinteger do t[i] = { i } end",
      "local s = 'x' while true do s = s .. s end",
      "return ('x'):rep(1 << 40)",
      "local t = {} while true do t[#t + 1] = pcall(string.rep, 'x', 1 << 24) and ('x'):rep(1 << 22) .. #t end",
      "local t = {} while true do pcall(function() for i = 1, math.maxinteger do t[i] = { i } end end) end",
      "local function f() f() return 1 end f() while true do pcall(f) end",
      "local t = {} for i = 1, math.maxinteger do t['k' .. i] = i end",
      "local t = {} while true do t = { t } end",
      "local t = {} for i = 1, math.maxinteger do t[i] = function() return i end end",
  };
  for (size_t i = 0; i < LIST(bombs); i++) {
    annal_error error = {0};
    const script_options options = {.budget = 100000000, .memory = 4u << 20};
    double begin = seconds();
    int code = run_validate(bombs[i], "{}", &options, &error);
    bool stack = code == ANNAL_SCRIPT && strstr(error.message, "stack overflow");
    if ((code != ANNAL_BUDGET && !stack) || seconds() - begin > 20)
      fail_msg("%s\n  gave %s after %.1f s: %s", bombs[i], annal_code_name(code), seconds() - begin, error.message);
  }
}

/* Arguments that grow from call to call cost more to copy than the budget knows: the quota ends it, here a small one. */
static void growing_arguments_end_with_the_memory(void **unused) {
  (void)unused;
  annal_error error = {0};
  const script_options options = {.budget = 100000000, .memory = 1u << 20};
  int code = run_validate("local function f(...) return f(1, ...) end f()", "{}", &options, &error);
  if (code != ANNAL_BUDGET) fail_msg("%s: %s", annal_code_name(code), error.message);
}

static void memory_that_is_given_back_does_not_count(void **unused) {
  (void)unused;
  annal_error error;
  const script_options options = {.budget = 100000000, .memory = 4u << 20};
  int code =
      run_validate("for i = 1, 2000 do local t = {} for j = 1, 200 do t[j] = { j } end end return true", "{}", &options, &error);
  if (code) fail_msg("%s", error.message);
}

static void the_message_names_what_ran_out(void **unused) {
  (void)unused;
  annal_error error;
  script_options options = {.budget = 10000, .memory = 4u << 20};
  run_validate("\nwhile true do end", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: used up its 10000 instructions");
  assert_string_equal(error.where, "app.lua:2");
  options.budget = 10000000;
  run_validate("local t = {} for i = 1, 1 << 40 do t[i] = i end", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: used up the 4194304 bytes of memory a script state may hold");
}

/* What is to be closed when an error ends the call is left as it is: closing it would run code that nobody counts. */
static void nothing_is_closed_behind_an_error(void **unused) {
  (void)unused;
  expect_fails("local t <close> = setmetatable({}, { __close = function() while true do end end }) error 'x'", ANNAL_SCRIPT, "x");
}

/* After an overrun the next call has a state of its own. */
static void the_host_goes_on(void **unused) {
  (void)unused;
  script_app *app =
      app_of_text("event 'E' { schema = { n = t.integer }, validate = function(d) while d.n == 1 do end return true end }");
  annal_error error;
  for (int i = 0; i < 6; i++) {
    script_state *state;
    assert_int_equal(script_acquire(app, &state, &error), 0);
    base_buf out;
    buf_init(&out, test_env());
    int version = 0;
    char data[16];
    snprintf(data, sizeof data, "{\"n\":%d}", i % 2);
    int code = script_check_event(state, "E", &version, data, strlen(data), &out, &error);
    assert_int_equal(code, i % 2 ? ANNAL_BUDGET : 0);
    assert_int_equal(out.size, i % 2 ? 0 : 7);
    if (i % 2) { /* a spent state refuses, until it is given back */
      version = 0;
      assert_int_equal(script_check_event(state, "E", &version, "{\"n\":2}", 7, &out, &error), ANNAL_BUDGET);
    }
    buf_free(&out);
    script_give_back(state);
  }
  script_release(app);
}

static void loading_has_a_budget_too(void **unused) {
  (void)unused;
  annal_error error;
  assert_int_equal(app_fails("while true do end", &error), ANNAL_BUDGET);
  assert_string_equal(error.where, "app.lua:1");
  assert_int_equal(app_fails("while true do pcall(include, 'x') end", &error), ANNAL_BUDGET);
  assert_int_equal(app_fails("local t = {} for i = 1, 1 << 40 do t[i] = { i } end", &error), ANNAL_BUDGET);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_loop_is_stopped),
      cmocka_unit_test(long_work_in_one_instruction_is_stopped),
      cmocka_unit_test(an_empty_text_is_repeated_in_no_time),
      cmocka_unit_test(memory_has_an_end),
      cmocka_unit_test(growing_arguments_end_with_the_memory),
      cmocka_unit_test(memory_that_is_given_back_does_not_count),
      cmocka_unit_test(the_message_names_what_ran_out),
      cmocka_unit_test(nothing_is_closed_behind_an_error),
      cmocka_unit_test(the_host_goes_on),
      cmocka_unit_test(loading_has_a_budget_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
