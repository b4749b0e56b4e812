/* The matcher against Lua's own: random patterns on random texts, in a plain state beside the sandbox's functions. */
#include "support.h"

#include "script/pattern.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

static uint32_t seed = 12345;

static uint32_t below(uint32_t limit) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % limit;
}

static void random_text(char *out, size_t max) {
  static const char letters[] = "aabbc1 (.)%\n";
  size_t size = below((uint32_t)max);
  for (size_t i = 0; i < size; i++) out[i] = letters[below(sizeof letters - 1)];
  out[size] = 0;
}

static void random_pattern(char *out, size_t size) {
  static const char *const pieces[] = {
      "a",   "b", "c", ".",  "%a", "%d",     "%s", "%w", "[ab]", "[^a]",   "[a-c]", "[%d%s]", "(",   ")",
      "()",  "*", "+", "-",  "?",  "^",      "$",  "%1", "%2",   "%b()",   "%f[a]", "%f[^a]", "[]]", "[^]]",
      "[a-", "%", "[", "%b", "%f", "[%a-z]", "%(", "%)", "%.",   "[a-%%]", "%g",    "%p",     "%l",  "%u"};
  size_t count = 1 + below(7), used = 0;
  for (size_t i = 0; i < count; i++) {
    /* what is malformed comes less often than the rest */
    const char *piece = pieces[below(LIST(pieces))];
    if ((piece[0] == '[' || piece[0] == '%') && strchr("[%bf-", piece[strlen(piece) - 1]) && below(4)) continue;
    used += (size_t)snprintf(out + used, size - used, "%s", piece);
  }
  out[used] = 0;
}

/* Lua's answer, in words, on the top. */
static const char *standard_answer(lua_State *L, const char *text, const char *pattern) {
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  lua_pushstring(L, text);
  lua_pushstring(L, pattern);
  assert_int_equal(lua_pcall(L, 2, 1, 0), 0);
  return lua_tostring(L, -1);
}

static const char *our_answer(const char *text, const char *pattern, char *out, size_t size) {
  pattern_match match;
  const char *end;
  size_t used = 0;
  pattern_init(&match, text, strlen(text), pattern, strlen(pattern), 10000000);
  const char *start = pattern_search(&match, text, pattern, &end);
  if (match.problem) {
    snprintf(out, size, "error");
  } else if (!start) {
    snprintf(out, size, "nil");
  } else {
    used = (size_t)snprintf(out, size, "%td %td", start - text + 1, end - text);
    for (int i = 0; i < match.count; i++) {
      const pattern_capture *capture = &match.captures[i];
      if (capture->size == PATTERN_POSITION) used += (size_t)snprintf(out + used, size - used, " %td", capture->start - text + 1);
      else used += (size_t)snprintf(out + used, size - used, " %.*s", (int)capture->size, capture->start);
    }
  }
  return out;
}

static void answers_are_those_of_lua(void **unused) {
  (void)unused;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  assert_int_equal(luaL_dostring(L, "return function(s, p) local r = table.pack(pcall(string.find, s, p .. '()')) "
                                    "r = table.pack(pcall(string.find, s, p)) if not r[1] then return 'error' end "
                                    "if r[2] == nil then return 'nil' end return table.concat(r, ' ', 2, r.n) end"),
                   0);
  int matches = 0, errors = 0;
  for (int i = 0; i < 200000; i++) {
    char text[24], pattern[128], ours[256];
    random_text(text, 12);
    random_pattern(pattern, sizeof pattern);
    if (strpbrk(pattern, "^$*+?.([%-") == NULL) continue; /* a plain text is searched for without the matcher */
    const char *theirs = standard_answer(L, text, pattern);
    our_answer(text, pattern, ours, sizeof ours);
    if (strcmp(theirs, ours) != 0) fail_msg("pattern \"%s\" on \"%s\": %s, ours %s", pattern, text, theirs, ours);
    if (strcmp(ours, "error") == 0) errors++;
    else if (strcmp(ours, "nil") != 0) matches++;
    /* What the matcher may stumble upon is found before it is used. */
    if (strcmp(ours, "error") == 0 && !pattern_fault(pattern, strlen(pattern))) fail_msg("\"%s\" counts as well-formed", pattern);
  }
  assert_true(matches > 20000 && errors > 2000);
  lua_close(L);
}

static void functions_answer_as_the_manual_says(void **unused) {
  (void)unused;
  expect_runs("local a, b, c = ('key = value'):find('(%w+) =') assert(a == 1 and b == 5 and c == 'key')");
  expect_runs("assert(('a.b'):find('.', 1, true) == 2 and ('abc'):find('b', -1) == nil and ('abc'):find('', 10) == nil and "
              "('abc'):find('', 4) == 4)");
  expect_runs("assert(('abc'):find('b', -2) == 2 and ('abc'):find('a', -100) == 1 and (''):find '' == 1)");
  expect_runs("assert(('key = value'):match('(%w+) = (%w+)') == 'key' and ('x'):match '()' == 1 and ('x'):match 'y' == nil)");
  expect_runs("assert(('  trim  '):match '^%s*(.-)%s*$' == 'trim')");
  expect_runs("assert(('THE (quick) fox'):find '%((%a+)%)' == 5 and ('THE (quick) fox'):gsub('%b()', '') == 'THE  fox')");
  expect_runs(
      "local s = {} for k, v in ('a=1, b=2'):gmatch '(%w+)=(%w+)' do s[#s + 1] = k .. v end assert(table.concat(s) == 'a1b2')");
  expect_runs("local n = 0 for w in ('abc'):gmatch '' do n = n + 1 end assert(n == 4)");
  expect_runs("local n = 0 for w in ('abc'):gmatch('%a', 2) do n = n + 1 end assert(n == 2)");
  expect_runs("local s, n = ('hello world'):gsub('o', '0') assert(s == 'hell0 w0rld' and n == 2)");
  expect_runs("assert(('hello world'):gsub('(%w+)', '<%1>') == '<hello> <world>' and ('abc'):gsub('%w', '%0%0') == 'aabbcc' and "
              "('abc'):gsub('%w', '%%') == '%%%')");
  expect_runs("assert(('abc'):gsub('', '-') == '-a-b-c-' and ('abc'):gsub('b*', 'x') == 'xaxcx')");
  expect_runs("assert(('$name is $age'):gsub('%$(%w+)', { name = 'lua', age = 5 }) == 'lua is 5')");
  expect_runs("assert(('abc'):gsub('%w', function(c) if c == 'b' then return 'B' end end) == 'aBc')");
  expect_runs("assert(('aaa'):gsub('a', 'b', 2) == 'bba' and ('aaa'):gsub('^a', 'b') == 'baa')");
  expect_runs("assert(('THE (quick) fox'):find('%f[%a]%a+%f[%A]') == 1)");
  expect_fails("('a'):gsub('a', '%2')", ANNAL_SCRIPT, "invalid capture index %2 in replacement string");
  expect_fails("('a'):gsub('a', '%x')", ANNAL_SCRIPT, "invalid use of '%' in replacement string");
  expect_fails("('a'):gsub('a', function() return {} end)", ANNAL_SCRIPT, "invalid replacement value (a table)");
  expect_fails("('a'):find '[a'", ANNAL_SCRIPT, "malformed pattern (missing ']')");
  expect_fails("('a'):find '%'", ANNAL_SCRIPT, "malformed pattern (ends with '%')");
  expect_fails("('a'):find '(a'", ANNAL_SCRIPT, "unfinished capture");
  expect_fails("('a'):rep(300):find(('a?'):rep(300) .. 'b')", ANNAL_SCRIPT, "pattern too complex");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_are_those_of_lua),
      cmocka_unit_test(functions_answer_as_the_manual_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
