/* The ground every layer stands on: buffers, errors, text, times, ULIDs, hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/ulid.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static base_env plain_env(void) {
  base_env env;
  base_env_init(&env, NULL);
  return env;
}

/* An allocator that fails from the n-th call on. */
typedef struct failing {
  int left;
} failing;

static void *failing_allocate(void *context, void *pointer, size_t size) {
  failing *f = context;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  if (f->left-- <= 0) return NULL;
  return realloc(pointer, size);
}

static void a_buffer_grows_and_gives_its_bytes_away(void **state) {
  (void)state;
  base_env env = plain_env();
  base_buf buf;
  buf_init(&buf, &env);
  for (int i = 0; i < 1000; i++) buf_printf(&buf, "%d,", i);
  assert_memory_equal(buf.bytes, "0,1,2,", 6);
  assert_int_equal(buf.size, 10 * 2 + 90 * 3 + 900 * 4);
  assert_int_equal(buf.bytes[buf.size], 0);
  annal_text text;
  assert_true(buf_take(&buf, &text));
  assert_int_equal(buf.size, 0);
  assert_int_equal(strlen(text.bytes), text.size);
  base_free(&env, (void *)(uintptr_t)text.bytes);
  assert_true(buf_take(&buf, &text));
  assert_string_equal(text.bytes, "");
  base_free(&env, (void *)(uintptr_t)text.bytes);
}

static void a_buffer_without_memory_stays_failed(void **state) {
  (void)state;
  failing f = {.left = 1};
  base_env env;
  base_env_init(&env, &(annal_options){.allocate = failing_allocate, .allocate_context = &f});
  base_buf buf;
  buf_init(&buf, &env);
  buf_text(&buf, "short");
  char large[4096] = {0};
  buf_add(&buf, large, sizeof large);
  assert_true(buf.failed);
  assert_int_equal(buf.size, 5);
  buf_text(&buf, "x");
  assert_int_equal(buf.size, 5);
  annal_text text;
  assert_false(buf_take(&buf, &text));
  assert_null(text.bytes);
  buf_free(&buf);
}

static void integers_print_in_full_range(void **state) {
  (void)state;
  base_env env = plain_env();
  base_buf buf;
  buf_init(&buf, &env);
  buf_int(&buf, INT64_MIN);
  buf_char(&buf, ' ');
  buf_int(&buf, INT64_MAX);
  buf_char(&buf, ' ');
  buf_int(&buf, 0);
  assert_string_equal(buf.bytes, "-9223372036854775808 9223372036854775807 0");
  buf_free(&buf);
}

static void an_error_is_one_line_and_valid_utf8(void **state) {
  (void)state;
  annal_error error;
  assert_int_equal(error_set(&error, ANNAL_INVALID, "data.x", "first\nsecond\t%s\n", "third"), ANNAL_INVALID);
  assert_string_equal(error.message, "first second third");
  assert_string_equal(error.where, "data.x");
  assert_false(error.retryable);
  char large[3000];
  memset(large, 0, sizeof large);
  for (size_t i = 0; i + 2 < sizeof large - 1; i += 2) memcpy(large + i, "\xC3\xA4", 2);
  for (int shift = 0; shift < 3; shift++) {
    error_set(&error, ANNAL_BUSY, large, "%.*s%s", shift, "xx", large);
    assert_true(text_is_utf8(error.message, strlen(error.message)));
    assert_true(text_is_utf8(error.where, strlen(error.where)));
    assert_true(strlen(error.message) > 1000);
  }
  assert_true(error.retryable);
}

static void an_error_may_quote_itself(void **state) {
  (void)state;
  annal_error error;
  error_set(&error, ANNAL_INVALID, "price", "too small");
  error_set(&error, ANNAL_SCRIPT, error.where, "event 3: %s", error.message);
  assert_string_equal(error.message, "event 3: too small");
  assert_string_equal(error.where, "price");
  error_where_prefix(&error, "items[3]");
  assert_string_equal(error.where, "items[3].price");
  error_set(&error, ANNAL_INVALID, "[3]", "x");
  error_where_prefix(&error, "data");
  assert_string_equal(error.where, "data[3]");
  error_set(&error, ANNAL_INVALID, NULL, "x");
  error_where_prefix(&error, "data");
  assert_string_equal(error.where, "data");
}

static void utf8_is_checked_strictly(void **state) {
  (void)state;
  static const char *const good[] = {
      "", "a", "\xC3\xA4", "\xE2\x82\xAC", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"};
  static const char *const bad[] = {"\x80",
                                    "\xC0\x80",
                                    "\xC1\xBF",
                                    "\xC3",
                                    "\xE0\x9F\xBF",
                                    "\xED\xA0\x80",
                                    "\xF0\x8F\xBF\xBF",
                                    "\xF4\x90\x80\x80",
                                    "\xF5\x80\x80\x80",
                                    "\xE2\x82",
                                    "a\xFF",
                                    "\xF0\x9F\x98"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(text_is_utf8(good[i], strlen(good[i])));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_is_utf8(bad[i], strlen(bad[i])));
  assert_false(text_is_utf8("a\0b", 3));
}

static void names_are_letters_digits_and_underscores(void **state) {
  (void)state;
  char longest[LIMIT_NAME_BYTES + 2];
  memset(longest, 'a', sizeof longest);
  longest[LIMIT_NAME_BYTES] = 0;
  assert_true(text_is_name(longest));
  longest[LIMIT_NAME_BYTES] = 'a';
  longest[LIMIT_NAME_BYTES + 1] = 0;
  assert_false(text_is_name(longest));
  assert_true(text_is_name("cartId") && text_is_name("_") && text_is_name("a1"));
  assert_false(text_is_name("") || text_is_name("1a") || text_is_name("a-b") || text_is_name("a b") || text_is_name("\xC3\xA4"));
}

static void integers_are_read_in_full_range_only(void **state) {
  (void)state;
  int64_t value = 1;
  assert_true(text_to_int("-9223372036854775808", &value) && value == INT64_MIN);
  assert_true(text_to_int("9223372036854775807", &value) && value == INT64_MAX);
  assert_true(text_to_int("0", &value) && value == 0);
  static const char *const bad[] = {"", "-", "9223372036854775808", "-9223372036854775809", "1x", " 1", "+1", "1.0"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_to_int(bad[i], &value));
}

static void times_go_to_text_and_back(void **state) {
  (void)state;
  static const struct {
    int64_t microseconds;
    const char *text;
  } cases[] = {{0, "1970-01-01T00:00:00.000000Z"},
               {-1, "1969-12-31T23:59:59.999999Z"},
               {INT64_C(951782400000001), "2000-02-29T00:00:00.000001Z"},
               {INT64_C(4102444799999999), "2099-12-31T23:59:59.999999Z"},
               {INT64_C(-62135596800000000), "0001-01-01T00:00:00.000000Z"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[28];
    int64_t back = 1;
    annal_time_text(cases[i].microseconds, text);
    assert_string_equal(text, cases[i].text);
    assert_true(text_to_time(text, &back));
    assert_int_equal(back, cases[i].microseconds);
  }
  int64_t value;
  assert_true(text_to_time("2026-01-31T23:59:59Z", &value));
  assert_true(text_to_time("2026-01-31T23:59:59.5Z", &value));
  assert_int_equal(value % 1000000, 500000);
  static const char *const bad[] = {"2026-02-29T00:00:00Z",
                                    "2026-13-01T00:00:00Z",
                                    "2026-01-31T24:00:00Z",
                                    "2026-01-31T23:59:60Z",
                                    "2026-01-31T23:59:59",
                                    "2026-01-31 23:59:59Z",
                                    "2026-01-31T23:59:59.Z",
                                    "2026-1-31T23:59:59Z",
                                    "2026-01-31T23:59:59+01:00",
                                    "2026-01-31T23:59:59.1234567Z",
                                    "",
                                    "2026-01-31T23:59:59ZZ"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_to_time(bad[i], &value));
}

static int64_t stopped_clock(void *context) { return *(int64_t *)context; }

static void ulids_rise_when_the_clock_does_not(void **state) {
  (void)state;
  int64_t now = INT64_C(1767225600000000);
  base_env env;
  base_env_init(&env, &(annal_options){.clock = stopped_clock, .clock_context = &now});
  base_ulid generator;
  ulid_init(&generator);
  char last[ULID_TEXT_BYTES] = "", text[ULID_TEXT_BYTES];
  annal_error error;
  for (int i = 0; i < 10000; i++) {
    if (i == 5000) now -= 10000000;
    assert_int_equal(ulid_next(&generator, &env, text, &error), 0);
    assert_int_equal(strlen(text), 26);
    assert_true(strcmp(last, text) < 0);
    assert_memory_equal(text, "01KDVDNA00", 10);
    strcpy(last, text);
  }
  memset(generator.random, 0xFF, sizeof generator.random);
  uint64_t before = generator.milliseconds;
  assert_int_equal(ulid_next(&generator, &env, text, &error), 0);
  assert_int_equal(generator.milliseconds, before + 1);
  assert_true(strcmp(last, text) < 0);
  ulid_destroy(&generator);
}

static void derived_ids_are_of_their_seed_and_number_alone(void **state) {
  (void)state;
  char one[ULID_TEXT_BYTES], again[ULID_TEXT_BYTES], other[ULID_TEXT_BYTES], third[ULID_TEXT_BYTES];
  ulid_derive("request", 1, one);
  ulid_derive("request", 1, again);
  ulid_derive("request", 2, other);
  ulid_derive("reques", 1, third);
  assert_string_equal(one, again);
  assert_int_equal(strspn(one, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
  assert_in_range(one[0], '0', '7'); /* 128 bits */
  assert_string_not_equal(one, other);
  assert_string_not_equal(one, third);
}

static void hashes_are_the_published_ones(void **state) {
  (void)state;
  char text[HASH_TEXT_BYTES];
  hash_text("", 0, text);
  assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
}

static void a_shown_text_is_short_and_printable(void **state) {
  (void)state;
  char out[96], large[500];
  assert_string_equal(text_show("a\x01\xFF\xC3\xA4", out), "a??\xC3\xA4");
  memset(large, 'x', sizeof large);
  large[sizeof large - 1] = 0;
  assert_int_equal(strlen(text_show(large, out)), 80);
  annal_error error;
  assert_int_equal(text_check("", 1, 64, "event id", &error), ANNAL_INVALID);
  assert_int_equal(text_check(large, 1, 64, "event id", &error), ANNAL_INVALID);
  assert_int_equal(text_check("\xFF", 1, 64, "event id", &error), ANNAL_INVALID);
  assert_int_equal(text_check("ok", 1, 64, "event id", &error), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_buffer_grows_and_gives_its_bytes_away),
      cmocka_unit_test(a_buffer_without_memory_stays_failed),
      cmocka_unit_test(integers_print_in_full_range),
      cmocka_unit_test(an_error_is_one_line_and_valid_utf8),
      cmocka_unit_test(an_error_may_quote_itself),
      cmocka_unit_test(utf8_is_checked_strictly),
      cmocka_unit_test(names_are_letters_digits_and_underscores),
      cmocka_unit_test(integers_are_read_in_full_range_only),
      cmocka_unit_test(times_go_to_text_and_back),
      cmocka_unit_test(ulids_rise_when_the_clock_does_not),
      cmocka_unit_test(derived_ids_are_of_their_seed_and_number_alone),
      cmocka_unit_test(hashes_are_the_published_ones),
      cmocka_unit_test(a_shown_text_is_short_and_printable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
