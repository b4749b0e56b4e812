/* Tests of src/cli/scan.c: members of canonical JSON, checked against what the codec takes apart and puts together. */
#include "cli/cli.h"
#include "json/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static base_env env;

static int open_env(void **state) {
  (void)state;
  base_env_init(&env, NULL);
  return 0;
}

/* The canonical form of a document, to be freed. */
static base_buf canonical(const char *text) {
  annal_error error;
  base_buf out;
  buf_init(&out, &env);
  if (json_canonical(text, strlen(text), 0, &out, &error)) fail_msg("%s: %s", text, error.message);
  return out;
}

/* All members of a document as "key=value;". */
static void expect_members(const char *document, const char *expected) {
  base_buf text = canonical(document), seen;
  cli_member member;
  size_t at = 0;
  buf_init(&seen, &env);
  while (scan_next(text.bytes, text.size, &at, &member)) {
    if (member.key) buf_add(&seen, member.key, member.key_size);
    buf_char(&seen, '=');
    buf_add(&seen, member.value, member.value_size);
    buf_char(&seen, ';');
  }
  assert_string_equal(seen.bytes ? seen.bytes : "", expected);
  buf_free(&text);
  buf_free(&seen);
}

static void steps_through_objects_and_arrays(void **state) {
  (void)state;
  expect_members("{}", "");
  expect_members("[]", "");
  expect_members("[1]", "=1;");
  expect_members("[[],[[1,2],{}],\"]\",null]", "=[];=[[1,2],{}];=\"]\";=null;");
  expect_members("{\"b\":{\"x\":[1,{\"y\":2}]},\"a\":\"},\\\"{\",\"c\":-1.5}", "a=\"},\\\"{\";b={\"x\":[1,{\"y\":2}]};c=-1.5;");
  expect_members("{\"\":0,\"\\\\\":\"\\\\\"}", "=0;\\\\=\"\\\\\";");
}

static void takes_nothing_from_scalars(void **state) {
  (void)state;
  expect_members("1", "");
  cli_member member;
  size_t at = 0;
  assert_false(scan_next("", 0, &at, &member));
  assert_false(scan_next("{", 1, &at, &member));
}

static void ends_where_the_text_ends(void **state) {
  (void)state;
  static const char text[] = "{\"a\":{\"b\":[1,\"x\\\"";
  for (size_t size = 0; size < sizeof text; size++) {
    char *copy = test_malloc(size + 1); /* a read beyond it is seen */
    cli_member member;
    size_t at = 0;
    memcpy(copy, text, size);
    while (scan_next(copy, size, &at, &member)) assert_true(member.value + member.value_size <= copy + size);
    test_free(copy);
  }
}

static void finds_a_member_by_its_whole_name(void **state) {
  (void)state;
  base_buf text = canonical("{\"ab\":1,\"a\":{\"b\":2},\"abc\":3}");
  cli_member member;
  assert_true(scan_find(text.bytes, text.size, "ab", &member));
  assert_memory_equal(member.value, "1", member.value_size);
  assert_true(scan_find(text.bytes, text.size, "abc", &member));
  assert_memory_equal(member.value, "3", member.value_size);
  assert_false(scan_find(text.bytes, text.size, "b", &member));
  buf_free(&text);
}

/* Every escape that the canonical form has, by the codec itself. */
static void reads_back_any_string(void **state) {
  (void)state;
  char all[0x200];
  size_t size = 0;
  for (int byte = 1; byte < 0x80; byte++) all[size++] = (char)byte;
  const char *more = "ä日本😀\\u0041\"";
  memcpy(all + size, more, strlen(more));
  size += strlen(more);
  base_buf text, out;
  buf_init(&text, &env);
  buf_init(&out, &env);
  buf_char(&text, '[');
  json_add_string(&text, all, size);
  buf_char(&text, ']');
  cli_member member;
  size_t at = 0;
  assert_true(scan_next(text.bytes, text.size, &at, &member));
  assert_true(scan_string(&member, &out));
  assert_int_equal(out.size, size);
  assert_memory_equal(out.bytes, all, size);
  member = (cli_member){.value = "12", .value_size = 2};
  assert_false(scan_string(&member, &out));
  buf_free(&text);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_through_objects_and_arrays),
      cmocka_unit_test(takes_nothing_from_scalars),
      cmocka_unit_test(ends_where_the_text_ends),
      cmocka_unit_test(finds_a_member_by_its_whole_name),
      cmocka_unit_test(reads_back_any_string),
  };
  return cmocka_run_group_tests(tests, open_env, NULL);
}
