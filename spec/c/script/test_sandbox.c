/* What scripts can see and do: every replaced function against what it promises. */
#include "support.h"

#include "base/limits.h"
#include "base/text.h"
#include <locale.h>
#include <stdio.h>
#include <string.h>

static void what_is_not_there_says_why(void **unused) {
  (void)unused;
  static const struct {
    const char *body, *message;
  } cases[] = {
      {"return os.time()",
       "os is not there: a reducer that asks for the time would fold differently tomorrow; an event carries created_at"},
      {"return io.open('x')", "io is not there"},
      {"print('x')", "print is not there: use log"},
      {"return math.random()", "math.random is not there"},
      {"math.randomseed(1)", "math.randomseed is not there"},
      {"return load('return 1')", "load is not there"},
      {"return loadstring('return 1')", "loadstring is not there"},
      {"return dofile('x')", "dofile is not there"},
      {"return require 'x'", "require is not there: use include"},
      {"return string.dump(function() end)", "string.dump is not there"},
      {"return ('x'):dump()", "string.dump is not there"},
      {"return xpcall(error, error)", "xpcall is not there"},
      {"return coroutine.wrap(error)", "coroutine is not there"},
      {"return debug.getinfo(1)", "debug is not there"},
      {"collectgarbage()", "collectgarbage is not there"},
      {"return _G", "_G is not there"},
      {"return ipars{}", "ipars is not there (did you mean ipairs?)"},
      {"return table.insrt", "table.insrt is not there (did you mean table.insert?)"},
      {"return string.formt", "(did you mean string.format?)"},
      {"return undeclared", "undeclared is not there: a variable must be declared with local"},
      {"counter = 1", "'counter' is not declared: write local counter"},
      {"_ENV.counter = 1", "'counter' is not declared"},
      {"rawset(_ENV, 'counter', 1)", "cannot be written to"},
      {"string.format = nil", "string.format cannot be set"},
      {"rawset(math, 'floor', 1)", "cannot be written to"},
      {"setmetatable(math, {})", "cannot change a protected metatable"},
      {"table.insert(table, 1)", "cannot be set"},
      {"setmetatable(array {}, {})", "cannot change a protected metatable"},
      {"setmetatable({}, { __gc = function() end })", "__gc is not there"},
      {"rawset({}, '__gc', 1)", "__gc is not there"},
      {"return string.format('%p', {})", "%p is not there"},
      {"for k in pairs { [{}] = 1 } do end", "a table is a key of this table"},
      {"for k in pairs { [null] = 1 } do end", "a null is a key of this table"},
      {"array(setmetatable({}, {}))", "the table has a metatable already"},
      {"event 'X' {}", "there are none while handlers run"},
      {"include 'x'", "there is none while handlers run"},
  };
  for (size_t i = 0; i < LIST(cases); i++) expect_fails(cases[i].body, ANNAL_SCRIPT, cases[i].message);
}

static void metatables_of_shared_things_are_hidden(void **unused) {
  (void)unused;
  expect_runs("assert(getmetatable('') == false)");
  expect_runs("assert(getmetatable(_ENV) == false and getmetatable(math) == false)");
  expect_runs("assert(type(getmetatable(array {})) == 'string')");
  expect_runs("local mt = { __index = { a = 1 } } local t = setmetatable({}, mt) assert(t.a == 1 and getmetatable(t) == mt)");
  expect_runs("assert(rawget(math, 'floor') == nil and math.floor(1.5) == 1)");
}

static void pairs_goes_in_one_order(void **unused) {
  (void)unused;
  expect_runs("local t = { b = 1, a = 2, [3] = 3, [1] = 4, [2.5] = 5, [-1] = 6, B = 7, [true] = 8, [false] = 9 }\n"
              "local s = {} for k in pairs(t) do s[#s + 1] = tostring(k) end\n"
              "assert(table.concat(s, ' ') == '-1 1 2.5 3 B a b false true', table.concat(s, ' '))");
  /* whatever the history of insertions: 200 keys in two orders, with others put in and taken out between */
  expect_runs("local function keys(t) local s = {} for k, v in pairs(t) do assert(t[k] == v) s[#s + 1] = k end return "
              "table.concat(s, ',') end\n"
              "for _, n in ipairs { 1, 3, 10, 119, 120, 121, 200, 1000 } do\n"
              "  local one, two = {}, {}\n"
              "  for i = 1, n do one['k' .. i] = i end\n"
              "  for i = 1, 3 * n do two['x' .. i] = i end\n"
              "  for i = n, 1, -1 do two['k' .. i] = i end\n"
              "  for i = 1, 3 * n do two['x' .. i] = nil end\n"
              "  assert(keys(one) == keys(two)) assert(#keys(one) > 0)\n"
              "end");
  expect_runs("local list, sum = {}, 0 for i = 1, 500 do list[i] = i end for i, v in pairs(list) do assert(i == v) sum = sum + 1 "
              "end assert(sum == 500)");
  /* 130 elements and a name: more than is kept on the stack */
  expect_runs("local t, n = { x = 0 }, 0 for i = 1, 130 do t[i] = i end for k, v in pairs(t) do n = n + 1 if n == 131 then "
              "assert(k == 'x') else assert(k == n) end end assert(n == 131)");
  expect_runs("local t = { a = 1, b = 2, c = 3 } local s = '' for k in pairs(t) do s = s .. k t[k] = nil t.c = nil end assert(s "
              "== 'ab' and is_empty(t))");
  expect_runs("local t = setmetatable({}, { __pairs = function(t) return function(_, k) if not k then return 1, 2 end end, t, "
              "nil end }) for k, v in pairs(t) do assert(k == 1 and v == 2) end");
  expect_runs("for k in pairs {} do error 'nothing there' end");
  expect_runs(
      "local n = 0 for a in pairs { x = 1, y = 2 } do for b in pairs { p = 1, q = 2 } do n = n + 1 end end assert(n == 4)");
}

static void next_goes_in_the_same_order(void **unused) {
  (void)unused;
  expect_runs("local t = { b = 1, a = 2, [2] = 3, [1] = 4, [1.5] = 5 } local s, k = {}, nil\n"
              "repeat k = next(t, k) s[#s + 1] = tostring(k) until k == nil\n"
              "assert(table.concat(s, ' ') == '1 1.5 2 a b nil')");
  expect_runs("assert(next {} == nil) assert(select('#', next { 5 }) == 2)");
  expect_runs("assert(is_empty {} and not is_empty { a = 1 } and not is_empty { 1 } and is_empty(array {}))");
}

static void numbers_become_the_shortest_text(void **unused) {
  (void)unused;
  expect_runs("assert(tostring(0.1 + 0.2) == '0.30000000000000004')");
  expect_runs("assert(tostring(1.5) == '1.5' and tostring(2.0) == '2.0' and tostring(-7) == '-7')");
  expect_runs("assert(tostring(1 / 0) == 'inf' and tostring(-1 / 0) == '-inf' and tostring(0 / 0) == 'nan')");
  expect_runs("assert(tostring(math.mininteger) == '-9223372036854775808')");
  expect_runs("assert(string.format('%s|%d|%5.1f|%q', 0.1 + 0.2, 3, 2.25, 'a') == '0.30000000000000004|3|  2.2|\"a\"')");
  expect_runs("assert(table.concat({ 0.1 + 0.2, 1 }, ' ') == '0.30000000000000004 1')");
  expect_runs("assert(('x'):gsub('x', 0.1 + 0.2) == '0.30000000000000004')");
  expect_runs("assert(tostring(nil) == 'nil' and tostring(true) == 'true' and tostring(null) == 'null')");
}

static void no_address_is_shown(void **unused) {
  (void)unused;
  expect_runs("assert(tostring({}) == 'table')");
  expect_runs("assert(tostring(function() end) == 'function' and string.format('%s', {}) == 'table')");
  expect_runs("local ok, message = pcall(error, {}) assert(not ok and type(message) == 'table')");
  expect_runs("local t = setmetatable({}, { __tostring = function() return 'mine' end }) assert(tostring(t) == 'mine' and "
              "('%s'):format(t) == 'mine')");
  expect_runs("local t = setmetatable({}, { __name = 'Cart' }) assert(not tostring(t):find '0x')");
}

static void sorting_is_stable(void **unused) {
  (void)unused;
  expect_runs("local t = {} for i = 1, 1000 do t[i] = { key = i * 7919 % 10, place = i } end\n"
              "table.sort(t, function(a, b) return a.key < b.key end)\n"
              "for i = 2, 1000 do local a, b = t[i - 1], t[i] assert(a.key < b.key or a.key == b.key and a.place < b.place) end");
  expect_runs("for n = 0, 70 do local t = {} for i = 1, n do t[i] = i * 37 % 71 end table.sort(t) for i = 2, n do assert(t[i - "
              "1] <= t[i]) end end");
  expect_runs("local t = { 'b', 'a', 'C' } table.sort(t) assert(table.concat(t) == 'Cab')");
  expect_runs("local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) assert(table.concat(t) == '321')");
  expect_runs("local t = { 1, 2, 3, 4, 5, 6 } table.sort(t, function() return true end) assert(#t == 6)");
  expect_fails("table.sort { 1, 'x' }", ANNAL_SCRIPT, "attempt to compare");
  expect_fails("table.sort({ 1, 2 }, function() error 'from below' end)", ANNAL_SCRIPT, "from below");
}

static void table_functions_keep_the_manual(void **unused) {
  (void)unused;
  expect_runs("local t = { 1, 2, 3 } table.insert(t, 4) table.insert(t, 1, 0) assert(table.concat(t, ',') == '0,1,2,3,4')");
  expect_runs(
      "local t = { 1, 2, 3 } assert(table.remove(t) == 3 and table.remove(t, 1) == 1 and #t == 1 and table.remove {} == nil)");
  expect_runs("local t = { 1, 2, 3 } assert(table.remove(t, 4) == nil) assert(not pcall(table.remove, t, 6)) assert(not "
              "pcall(table.insert, t, 6, 1))");
  expect_runs("local t = { 1, 2, 3 } table.move(t, 1, 3, 2) assert(table.concat(t, ',') == '1,1,2,3')");
  expect_runs("local t = table.move({ 1, 2, 3 }, 2, 3, 1) assert(table.concat(t, ',') == '2,3,3')");
  expect_runs("local t = table.move({ 1, 2 }, 1, 2, 1, {}) assert(table.concat(t, ',') == '1,2')");
  expect_runs("local p = table.pack(1, nil, 3) assert(p.n == 3 and p[3] == 3) assert(select('#', table.unpack(p, 1, p.n)) == 3)");
  expect_runs(
      "assert(table.unpack({ 1, 2, 3 }, 2) == 2 and table.concat({}, 'x') == '' and table.concat({ 1, 2 }, '-', 2, 2) == '2')");
  expect_runs("local t = setmetatable({}, { __len = function() return 2 end, __index = function(_, k) return k * 10 end }) "
              "assert(table.concat(t, ' ') == '10 20')");
  expect_fails("table.concat { {} }", ANNAL_SCRIPT, "invalid value (table) at index 1");
  expect_fails("table.insert({}, 1, 2, 3)", ANNAL_SCRIPT, "wrong number of arguments");
}

/* A locale with a decimal comma: an installed one, or one built by localedef in a temporary directory. */
static bool set_comma_locale(const char *directory) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8"};
  for (size_t i = 0; i < LIST(names); i++)
    if (setlocale(LC_ALL, names[i])) return true;
  char command[256];
  snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", directory);
  int status = system(command); /* 1 stands for warnings: what counts is whether the locale can be set */
  return status != -1 && setenv("LOCPATH", directory, 1) == 0 && setlocale(LC_ALL, "de_DE.UTF-8");
}

static void a_host_locale_changes_nothing(void **unused) {
  (void)unused;
  char text[8];
  app_files place; /* a directory for the locale */
  app_make(&place);
  if (!set_comma_locale(place.directory)) print_message("*** no locale with a decimal comma: only the C locale was tried ***\n");
  else assert_true(snprintf(text, sizeof text, "%.1f", 1.5) == 3 && text[1] == ',');
  expect_runs("assert(tostring(1.5) == '1.5' and 1.5 .. '' == '1.5' and tonumber('1.5') == 1.5 and tonumber('1,5') == nil)");
  expect_runs("assert(string.format('%.1f', 1.5) == '1.5' and ('1.5' + 1) == 2.5)");
  expect_runs("assert(('I\\xc4'):lower() == 'i\\xc4' and not ('\\xe4'):find '%a' and 'B' < 'a')");
  if (strcmp(setlocale(LC_ALL, NULL), "C") != 0)
    assert_int_equal(snprintf(text, sizeof text, "%.1f", 1.5) == 3 && text[1] == ',', 1);
  setlocale(LC_ALL, "C");
  app_remove(&place);
}

static void a_log_line_names_its_place(void **unused) {
  (void)unused;
  test_log();
  expect_runs("log('total', 1.5, nil, true, { b = 1, a = { 1 } }, null)\nlog('two\\nlines', function() end)");
  assert_string_equal(test_log(),
                      "info: app.lua:1: total 1.5 nil true {\"a\":[1],\"b\":1} null\ninfo: app.lua:2: two lines function");
  expect_runs("log(('x'):rep(100000))");
  assert_int_equal(strlen(test_log()), LIMIT_LOG_LINE_BYTES - 1 + strlen("info: "));
}

static void a_long_log_line_is_cut_between_characters(void **unused) {
  (void)unused;
  for (int i = 0; i < 3; i++) {
    char body[64];
    test_log();
    snprintf(body, sizeof body, "log(('x'):rep(%d) .. ('\xE2\x82\xAC'):rep(2000))", i);
    expect_runs(body);
    const char *line = test_log();
    size_t size = strlen(line);
    assert_true(text_is_utf8(line, size));
    assert_in_range(size, LIMIT_LOG_LINE_BYTES - 3, LIMIT_LOG_LINE_BYTES + 8);
  }
}

static void an_error_tells_place_and_way(void **unused) {
  (void)unused;
  annal_error error;
  const script_options options = {.budget = 1000000};
  int code =
      run_validate("\nlocal function inner() local t = nil; return t.x end\nlocal r = inner()\nreturn r", "{}", &options, &error);
  assert_int_equal(code, ANNAL_SCRIPT);
  assert_string_equal(error.where, "app.lua:2");
  assert_string_equal(error.message, "validate of E: attempt to index a nil value (local 't') (called from app.lua:3)");
  run_validate("error({ message = 'from a table' })", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: from a table");
  assert_string_equal(error.where, "app.lua:1");
  run_validate("error(setmetatable({}, { __tostring = function() while true do end end }))", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: error called with a table value");
  run_validate("error('\\xff\\xc3\\xa4\\xc3')", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: ?\xC3\xA4?");
  run_validate("error()", "{}", &options, &error);
  assert_string_equal(error.message, "validate of E: error called with a nil value");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_there_says_why),
      cmocka_unit_test(metatables_of_shared_things_are_hidden),
      cmocka_unit_test(pairs_goes_in_one_order),
      cmocka_unit_test(next_goes_in_the_same_order),
      cmocka_unit_test(numbers_become_the_shortest_text),
      cmocka_unit_test(no_address_is_shown),
      cmocka_unit_test(sorting_is_stable),
      cmocka_unit_test(table_functions_keep_the_manual),
      cmocka_unit_test(a_host_locale_changes_nothing),
      cmocka_unit_test(a_log_line_names_its_place),
      cmocka_unit_test(a_long_log_line_is_cut_between_characters),
      cmocka_unit_test(an_error_tells_place_and_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
