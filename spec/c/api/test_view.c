/* Views through annal.h: scripts loaded, events checked by them, views made, rows saved and queried. */
#include "../fold/support.h"

#include "base/limits.h"

#define CART                                                                                                                     \
  "event 'ADDED' { cartId = t.string, n = t.integer { min = 1 }, note = t.optional(t.string) }\n"                                \
  "projection 'CART' { by = 'cartId', init = { n = 0 }, on = { ADDED = function(s, e) s.n = s.n + e.data.n end },"               \
  "  view = function(s, id) return { id = id, n = s.n } end }\n"

static void expect_annal_view(place *p, const char *projection, const char *id, const annal_view_options *options,
                              const char *expected) {
  annal_error error;
  annal_text view;
  expect_ok(annal_view(p->handle, projection, id, options, &view, &error), &error);
  assert_string_equal(view.bytes, expected);
  assert_int_equal(strlen(view.bytes), view.size);
  annal_text_free(p->handle, &view);
}

static void a_view_is_read_folded_and_saved(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text view;
  place_start(&p, CART);
  place_open_with(&p, (annal_options){.app = p.app, .cache = 1}); /* so that what is in the row shows */
  annal_view_options save = {.size = sizeof save, .save = true};
  assert_int_equal(annal_view(p.handle, "CART", "a", &save, &view, &error), ANNAL_NOT_FOUND);
  assert_null(view.bytes);
  expect_annal_view(&p, "CART", "a", NULL, "{\"id\":\"a\",\"n\":0}");
  put(&p, "ADDED", "e1", "{\"cartId\":\"a\",\"n\":2}");
  expect_annal_view(&p, "CART", "a", &save, "{\"id\":\"a\",\"n\":2}");
  expect_sql(&p, "SELECT data || latest_event_id FROM projections", "{\"id\":\"a\",\"n\":2}e1");
  place_sql(&p, "UPDATE projections SET state = '{\"n\":50}', data = '{\"id\":\"a\",\"n\":50}'");
  expect_annal_view(&p, "CART", "a", NULL, "{\"id\":\"a\",\"n\":50}");
  annal_view_options fresh = {.size = sizeof fresh, .ignore_saved = true};
  expect_annal_view(&p, "CART", "a", &fresh, "{\"id\":\"a\",\"n\":2}");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"n\":1}");
  expect_annal_view(&p, "CART", "a", NULL, "{\"id\":\"a\",\"n\":51}");
  place_remove(&p);
}

static void rows_are_queried_and_stale_ones_marked(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text rows;
  place_start(&p, CART);
  annal_view_options save = {.size = sizeof save, .save = true};
  put(&p, "ADDED", NULL, "{\"cartId\":\"b\",\"n\":2}");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"n\":3}");
  expect_annal_view(&p, "CART", "a", &save, "{\"id\":\"a\",\"n\":3}");
  expect_annal_view(&p, "CART", "b", &save, "{\"id\":\"b\",\"n\":2}");
  place_script(&p, "app.lua", CART "-- changed\n");
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  expect_annal_view(&p, "CART", "b", &save, "{\"id\":\"b\",\"n\":2}");
  annal_query query = {.size = sizeof query, .type = "CART"};
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  expect_in(rows.bytes, "[{\"data\":{\"id\":\"a\",\"n\":3},\"id\":\"a\",");
  expect_in(rows.bytes, "\"position\":2,\"stale\":true,");
  expect_in(rows.bytes, "{\"data\":{\"id\":\"b\",\"n\":2},\"id\":\"b\",");
  expect_in(rows.bytes, "\"position\":1,\"stale\":false,");
  annal_text_free(p.handle, &rows);
  store_status status;
  assert_int_equal(handle_save_row(p.handle, "CART", "a", "{}", 0, "x", &status, &error), ANNAL_MISUSE);
  place_remove(&p);
}

static void a_view_is_given_as_of_the_past(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text view;
  place_start(&p, CART);
  for (int n = 1; n <= 3; n++) put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"n\":1}");
  for (int n = 0; n <= 3; n++) {
    char wanted[64];
    annal_view_options options = {.size = sizeof options, .as_of = true, .at = n, .ignore_saved = n % 2};
    snprintf(wanted, sizeof wanted, "{\"id\":\"a\",\"n\":%d}", n);
    expect_annal_view(&p, "CART", "a", &options, wanted);
  }
  annal_view_options early = {.size = sizeof early, .as_of = true, .at_time = 1}, late = early;
  late.at_time = INT64_MAX;
  expect_annal_view(&p, "CART", "a", &early, "{\"id\":\"a\",\"n\":0}");
  expect_annal_view(&p, "CART", "a", &late, "{\"id\":\"a\",\"n\":3}");
  early.at_time = INT64_MIN;
  expect_annal_view(&p, "CART", "a", &early, "{\"id\":\"a\",\"n\":0}");
  const struct {
    annal_view_options options;
    int code;
    const char *where;
  } wrong[] = {
      {{.as_of = true, .at = 4}, ANNAL_NOT_FOUND, "at"},
      {{.as_of = true, .at = -1}, ANNAL_MISUSE, "at"},
      {{.as_of = true, .at = 1, .at_time = 1}, ANNAL_MISUSE, "at"},
      {{.at = 1}, ANNAL_MISUSE, "at"},
      {{.at_time = 1}, ANNAL_MISUSE, "at_time"},
      {{.as_of = true, .at = 1, .save = true}, ANNAL_MISUSE, "save"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    annal_view_options options = wrong[i].options;
    options.size = sizeof options;
    assert_int_equal(annal_view(p.handle, "CART", "a", &options, &view, &error), wrong[i].code);
    assert_string_equal(error.where, wrong[i].where);
  }
  place_remove(&p);
}

static void rows_come_in_order_and_in_pages(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text rows;
  place_start(&p, CART);
  static const char *const ids[] = {"a", "b", "c", "d"};
  annal_view_options save = {.size = sizeof save, .save = true};
  for (int i = 0; i < 4; i++) {
    char data[64], view[64];
    snprintf(data, sizeof data, "{\"cartId\":\"%s\",\"n\":%d}", ids[i], 10 - i);
    snprintf(view, sizeof view, "{\"id\":\"%s\",\"n\":%d}", ids[i], 10 - i);
    put(&p, "ADDED", NULL, data);
    expect_annal_view(&p, "CART", ids[i], &save, view);
  }
  const annal_range range = {.name = "n", .min = "7.5"};
  annal_query query = {.size = sizeof query, .type = "CART", .ranges = &range, .range_count = 1, .order = "n", .limit = 2};
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  expect_in(rows.bytes, "[{\"data\":{\"id\":\"c\",\"n\":8},\"id\":\"c\",");
  expect_in(rows.bytes, ",{\"data\":{\"id\":\"b\",\"n\":9},\"id\":\"b\",");
  assert_null(strstr(rows.bytes, "\"id\":\"a\""));
  annal_text_free(p.handle, &rows);
  query.after = "b";
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  expect_in(rows.bytes, "[{\"data\":{\"id\":\"a\",\"n\":10},\"id\":\"a\",");
  annal_text_free(p.handle, &rows);
  query.descending = true;
  query.after = "c"; /* nothing of the range is below it */
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  assert_string_equal(rows.bytes, "[]");
  annal_text_free(p.handle, &rows);
  query.after = "z";
  assert_int_equal(annal_query_projections(p.handle, &query, &rows, &error), ANNAL_NOT_FOUND);
  assert_string_equal(error.where, "after");
  place_remove(&p);
}

static void events_are_checked_by_the_scripts(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text stored;
  place_start(&p, CART);
  static const struct {
    annal_event event;
    const char *where;
  } cases[] = {
      {{.type = "ADDED", .data = "{\"cartId\":\"a\",\"n\":\"2\"}"}, "data.n"},
      {{.type = "ADDED", .data = "{\"cartId\":\"a\",\"n\":0}"}, "data.n"},
      {{.type = "ADDED", .data = "{\"cartId\":\"a\"}"}, "data.n"},
      {{.type = "ADDED", .data = "{\"cartId\":\"a\",\"n\":1,\"more\":1}"}, "data.more"},
      {{.type = "ADDED", .data = "{\"cartId\":\"a\\u0000\",\"n\":1}"}, "data.cartId"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(annal_save(p.handle, &cases[i].event, 1, NULL, NULL, &error), ANNAL_INVALID);
    assert_string_equal(error.where, cases[i].where);
  }
  annal_event event = {.type = "UNDECLARED", .data = "{}"};
  assert_int_equal(annal_save(p.handle, &event, 1, NULL, NULL, &error), ANNAL_INVALID);
  expect_in(error.message, "UNDECLARED");
  event = (annal_event){.type = "ADDED", .data = "{\"cartId\":\"a\",\"n\":1}", .version = 9};
  assert_int_equal(annal_save(p.handle, &event, 1, NULL, NULL, &error), ANNAL_INVALID);
  expect_sql(&p, "SELECT count(*) FROM events", "0");
  event = (annal_event){.type = "ADDED", .data = "{\"n\":2.0,\"cartId\":\"a\",\"note\":null}"};
  expect_ok(annal_save(p.handle, &event, 1, NULL, &stored, &error), &error);
  expect_in(stored.bytes, "\"data\":{\"cartId\":\"a\",\"n\":2},");
  expect_in(stored.bytes, "\"version\":1}");
  annal_text_free(p.handle, &stored);
  place_remove(&p);
}

static void a_load_that_fails_leaves_the_scripts_in_force(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, CART);
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"n\":2}");
  place_script(&p, "broken.lua", "\n\nprojection 'CART {");
  assert_int_equal(annal_load(p.handle, p.app, &error), ANNAL_SCRIPT);
  assert_string_equal(error.where, "broken.lua:3");
  expect_annal_view(&p, "CART", "a", NULL, "{\"id\":\"a\",\"n\":2}");
  place_script(&p, "broken.lua", "event 'MENDED' { x = t.string }");
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  put(&p, "MENDED", NULL, "{\"x\":\"\"}");
  annal_store *opened = NULL;
  place_script(&p, "broken.lua", "error 'no'");
  annal_options options = {.size = sizeof options, .app = p.app};
  assert_int_equal(annal_open(p.file, &options, &opened, &error), ANNAL_SCRIPT);
  assert_null(opened);
  place_remove(&p);
}

static void numbers_and_empty_tables_come_through_a_view_unchanged(void **unused) {
  (void)unused;
  place p;
  place_start(&p, "event 'KEPT' { id = t.string, value = t.any }\n"
                  "projection 'KEEP' { by = 'id', init = null, on = { KEPT = function(_, e) return e.data.value end } }");
  static const char *const values[] = {"9223372036854775807",
                                       "-9223372036854775808",
                                       "0.1",
                                       "1e15",
                                       "-0.0",
                                       "5.0",
                                       "1.7976931348623157e308",
                                       "123456789012345.67",
                                       "[]",
                                       "{}",
                                       "[[],{},null]",
                                       "null",
                                       "\"\\u0001\\\"\\\\\\n é 🙂\"",
                                       "{\"\":{\"\":[]}}"};
  annal_view_options save = {.size = sizeof save, .save = true}, fresh = {.size = sizeof fresh, .ignore_saved = true};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    char id[8], data[128];
    snprintf(id, sizeof id, "%zu", i);
    snprintf(data, sizeof data, "{\"id\":\"%s\",\"value\":%s}", id, values[i]);
    put(&p, "KEPT", NULL, data);
    expect_annal_view(&p, "KEEP", id, &save, values[i]);
    expect_annal_view(&p, "KEEP", id, NULL, values[i]);
    expect_annal_view(&p, "KEEP", id, &fresh, values[i]);
  }
  place_remove(&p);
}

static int64_t fixed_clock(void *context) { return *(int64_t *)context; }

static void the_clock_and_the_log_are_the_hosts(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text stored;
  int64_t now = INT64_C(1700000000123456);
  place_init(&p);
  place_open_with(&p, (annal_options){.clock = fixed_clock, .clock_context = &now});
  annal_event event = {.type = "A", .data = "{}"};
  expect_ok(annal_save(p.handle, &event, 1, NULL, &stored, &error), &error);
  expect_in(stored.bytes, "\"created_at\":\"2023-11-14T22:13:20.123456Z\"");
  annal_text_free(p.handle, &stored);
  now -= 1000000;
  expect_ok(annal_save(p.handle, &event, 1, NULL, &stored, &error), &error);
  expect_in(stored.bytes, "\"created_at\":\"2023-11-14T22:13:20.123456Z\"");
  annal_text_free(p.handle, &stored);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_view_is_read_folded_and_saved),
      cmocka_unit_test(rows_are_queried_and_stale_ones_marked),
      cmocka_unit_test(rows_come_in_order_and_in_pages),
      cmocka_unit_test(a_view_is_given_as_of_the_past),
      cmocka_unit_test(events_are_checked_by_the_scripts),
      cmocka_unit_test(a_load_that_fails_leaves_the_scripts_in_force),
      cmocka_unit_test(numbers_and_empty_tables_come_through_a_view_unchanged),
      cmocka_unit_test(the_clock_and_the_log_are_the_hosts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
