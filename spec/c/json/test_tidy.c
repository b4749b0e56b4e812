/* The quick look at JSON: what is canonical passes, what is not JSON does not, and members are found. (Every text of the other
 * tests goes through it too: support.h.) */
#include "support.h"

static bool is_tidy(const char *text) {
  char *copy = json_exact_copy(text, strlen(text));
  bool tidy = json_is_tidy(copy, strlen(text));
  free(copy);
  return tidy;
}

static void canonical_text_is_tidy(void **state) {
  (void)state;
  static const char *const texts[] = {"{}",
                                      "[]",
                                      "null",
                                      "true",
                                      "false",
                                      "0",
                                      "-1",
                                      "9223372036854775807",
                                      "0.1",
                                      "-0.0",
                                      "1e300",
                                      "\"\"",
                                      "\"\\u0001\\n\\\"\\\\ü€😀\"",
                                      "{\"\":{},\"A\":[1,2.5,\"x\"],\"a\":null,\"ab\":true,\"b\":[[],{}]}"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (!is_tidy(texts[i])) fail_msg("%s", texts[i]);
}

static void what_must_not_be_handed_on_is_not(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      " {}",
                                      "{} ",
                                      "{\"a\": 1}",
                                      "[1, 2]",
                                      "{\"b\":1,\"a\":2}",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"ab\":1,\"a\":2}",
                                      "{\"a\":1,}",
                                      "[1,]",
                                      "[,1]",
                                      "{,}",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{a:1}",
                                      "[1 2]",
                                      "01",
                                      "+1",
                                      "1.",
                                      ".5",
                                      "-",
                                      "1e",
                                      "1e400",
                                      "9223372036854775808",
                                      "nul",
                                      "nulll",
                                      "truE",
                                      "\"",
                                      "\"a",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\t\"",
                                      "\"\xC3\"",
                                      "\"\xED\xA0\x80\"",
                                      "[",
                                      "{",
                                      "[[]",
                                      "{\"a\":{}",
                                      "]",
                                      "{}{}",
                                      "[]1",
                                      "{\"a\\n\":1,\"a\\n\":2}",
                                      "\"\\",
                                      "\"\\u00"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (is_tidy(texts[i])) fail_msg("%s", texts[i]);
}

static void nesting_has_its_limit(void **state) {
  (void)state;
  char text[2 * LIMIT_DEPTH + 3];
  for (size_t depth = LIMIT_DEPTH; depth <= LIMIT_DEPTH + 1; depth++) {
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(json_is_tidy(text, 2 * depth), depth == LIMIT_DEPTH);
  }
}

/* "" where there is none. */
static const char *member(const char *text, const char *name) {
  static char found[64];
  const char *value;
  size_t size;
  char *copy = json_exact_copy(text, strlen(text));
  found[0] = 0;
  if (json_find_member(copy, strlen(text), name, &value, &size)) snprintf(found, sizeof found, "%.*s", (int)size, value);
  free(copy);
  return found;
}

static void members_are_found_at_the_top_alone(void **state) {
  (void)state;
  const char *text = "{\"a\":{\"c\":1},\"ab\":\"x\\\"}\",\"b\":[{\"c\":2},3],\"d\":null}";
  assert_string_equal(member(text, "a"), "{\"c\":1}");
  assert_string_equal(member(text, "ab"), "\"x\\\"}\"");
  assert_string_equal(member(text, "b"), "[{\"c\":2},3]");
  assert_string_equal(member(text, "d"), "null");
  assert_string_equal(member(text, "c"), "");
  assert_string_equal(member(text, ""), "");
  assert_string_equal(member(text, "abc"), "");
  assert_string_equal(member("{}", "a"), "");
  assert_string_equal(member("[\"a\",1]", "a"), "");
  assert_string_equal(member("\"a\"", "a"), "");
  assert_string_equal(member("{\"a\":1", "a"), "1"); /* it looks no further */
  assert_string_equal(member("{\"a\":", "a"), "");
  assert_string_equal(member("", "a"), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(canonical_text_is_tidy),
      cmocka_unit_test(what_must_not_be_handed_on_is_not),
      cmocka_unit_test(nesting_has_its_limit),
      cmocka_unit_test(members_are_found_at_the_top_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
