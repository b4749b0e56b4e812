/* Saved rows (fold/fold.h): written, continued, and not used where they must not be. What a row holds is changed behind annal's
 * back to see whether it was read. */
#include "support.h"

#define APP                                                                                                                      \
  "event 'ADDED' { cartId = t.string, n = t.integer }\n"                                                                         \
  "event 'OTHER' { cartId = t.string }\n"                                                                                        \
  "projection 'SUM' { by = 'cartId', init = { sum = 0, seen = array {} }, on = { ADDED = function(s, e)"                         \
  "  s.sum = s.sum + e.data.n table.insert(s.seen, e.position) end },"                                                           \
  "  view = function(s, id) return { id = id, sum = s.sum, seen = s.seen } end }\n"

static store_status save(fold_instance *instance) {
  annal_error error;
  store_status status;
  expect_ok(fold_save(instance, &status, &error), &error);
  return status;
}

static void save_row(place *p, const char *projection, const char *id) {
  fold_instance *instance = instance_of(p, projection, id, true);
  save(instance);
  fold_close(instance);
}

static void add(place *p, const char *id, int n) {
  char data[64];
  snprintf(data, sizeof data, "{\"cartId\":\"c\",\"n\":%d}", n);
  put(p, "ADDED", id, data);
}

/* A store with two events of "c" and a row made up to them, in which the sum was then changed to 100. */
static void start_with_marked_row(place *p) {
  place_start(p, APP);
  add(p, "one", 1);
  add(p, "two", 2);
  save_row(p, "SUM", "c");
  place_sql(p, "UPDATE projections SET state = replace(state, '\"sum\":3', '\"sum\":100'),"
               " data = replace(data, '\"sum\":3', '\"sum\":100')");
}

static void a_row_is_created_updated_and_skipped(void **unused) {
  (void)unused;
  place p;
  place_start(&p, APP);
  add(&p, NULL, 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true), *late = instance_of(&p, "SUM", "c", true);
  annal_error error;
  assert_int_equal(save(instance), STORE_CREATED);
  assert_int_equal(save(instance), STORE_SKIPPED);
  expect_view(&p, late, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  add(&p, "two", 2);
  assert_int_equal(save(instance), STORE_SKIPPED);
  expect_ok(fold_refresh(instance, &error), &error);
  assert_int_equal(save(instance), STORE_UPDATED);
  assert_int_equal(save(late), STORE_SKIPPED);
  expect_sql(&p, "SELECT state || data || position || latest_event_id FROM projections",
             "{\"seen\":[1,2],\"sum\":3}{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}2two");
  fold_close(instance);
  fold_close(late);
  place_remove(&p);
}

static void a_row_is_continued_and_only_newer_events_are_folded(void **unused) {
  (void)unused;
  place p;
  start_with_marked_row(&p);
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":100}");
  expect_fold(&p, "SUM", "c", false, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  put(&p, "OTHER", NULL, "{\"cartId\":\"c\"}");
  add(&p, NULL, 5);
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2,4],\"sum\":105}");
  expect_fold(&p, "SUM", "c", false, "{\"id\":\"c\",\"seen\":[1,2,4],\"sum\":8}");
  place_remove(&p);
}

static void a_row_by_other_code_is_not_used(void **unused) {
  (void)unused;
  place p;
  start_with_marked_row(&p);
  place_script(&p, "unrelated.lua", "event 'UNRELATED' { x = t.string }");
  place_open(&p);
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":100}");
  place_script(&p, "app.lua", APP "-- a comment is a change\n");
  place_open(&p);
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  place_remove(&p);
}

static void a_row_whose_event_is_not_at_its_place_is_not_used(void **unused) {
  (void)unused;
  place p;
  start_with_marked_row(&p);
  place_sql(&p, "UPDATE projections SET latest_event_id = 'another'");
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  place_sql(&p, "UPDATE projections SET latest_event_id = 'two', position = 9");
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  place_sql(&p, "UPDATE projections SET latest_event_id = 'one', position = 1");
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2,2],\"sum\":102}");
  place_remove(&p);
}

static void an_instance_whose_log_was_replaced_folds_from_the_first_event(void **unused) {
  (void)unused;
  place p;
  place_start(&p, APP);
  add(&p, "one", 1);
  add(&p, "two", 2);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  annal_error error;
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  /* As after a restore from a backup that lacked the second event, whose position was then given out again. */
  place_sql(&p, "UPDATE events SET id = 'restored', data = '{\"cartId\":\"c\",\"n\":50}' WHERE position = 2");
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":51}");
  fold_close(instance);
  place_remove(&p);
}

static void a_damaged_row_is_passed_over(void **unused) {
  (void)unused;
  place p;
  start_with_marked_row(&p);
  static const char *const damage[] = {"'{\"sum\":'", "'{\"\":{}}'", "''"};
  for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE projections SET state = %s, position = 1, latest_event_id = 'one'", damage[i]);
    place_sql(&p, sql);
    expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  }
  place_sql(&p, "UPDATE projections SET state = NULL, position = 2, latest_event_id = 'two'");
  expect_fold(&p, "SUM", "c", true, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  place_remove(&p);
}

static void a_row_with_other_fields_under_a_pinned_version_is_not_used(void **unused) {
  (void)unused;
  place p;
  const char *event = "event 'ADDED' { cartId = t.string, n = t.integer }\n"
                      "local count = reducer { init = 0, on = { ADDED = function(s) return s + 1 end } }\n";
  char source[512];
  place_init(&p);
  snprintf(source, sizeof source, "%sprojection 'P' { by = 'cartId', version = 1, fields = { a = count } }", event);
  place_script(&p, "app.lua", source);
  place_open(&p);
  add(&p, "one", 1);
  save_row(&p, "P", "c");
  add(&p, "two", 1);
  snprintf(source, sizeof source, "%sprojection 'P' { by = 'cartId', version = 1, fields = { a = count, b = count } }", event);
  place_script(&p, "app.lua", source);
  place_open(&p);
  expect_fold(&p, "P", "c", true, "{\"a\":2,\"b\":2}");
  snprintf(source, sizeof source, "%sprojection 'P' { by = 'cartId', version = 1, fields = { b = count } }", event);
  place_script(&p, "app.lua", source);
  place_open(&p);
  expect_fold(&p, "P", "c", true, "{\"b\":2}");
  place_remove(&p);
}

static void a_view_with_a_long_declared_field_has_no_row(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  static const char *const indexed[] = {"text"};
  place_init(&p);
  place_script(&p, "app.lua",
               "event 'NOTED' { id = t.string, text = t.string }\n"
               "projection 'NOTE' { by = 'id', init = { text = '', free = '' }, on = { NOTED = function(s, e)"
               "  s.text = e.data.text s.free = e.data.text .. e.data.text end } }");
  place_open_with(&p, (annal_options){.app = p.app, .projection_indexes = indexed, .projection_index_count = 1});
  char data[640];
  for (int length = 512; length < 514; length++) {
    snprintf(data, sizeof data, "{\"id\":\"%d\",\"text\":\"\\n%0*d\"}", length, length - 1, 0);
    put(&p, "NOTED", NULL, data);
    snprintf(data, sizeof data, "%d", length);
    fold_instance *note = instance_of(&p, "NOTE", data, true);
    assert_int_equal(fold_save(note, NULL, &error), length == 512 ? 0 : ANNAL_INVALID);
    fold_close(note);
  }
  assert_string_equal(error.where, "view.text");
  place_open(&p); /* the store remembers what was declared */
  fold_instance *note = instance_of(&p, "NOTE", "513", true);
  assert_int_equal(fold_save(note, NULL, &error), ANNAL_INVALID);
  fold_close(note);
  store_status status;
  snprintf(data, sizeof data, "{\"text\":\"%0513d\"}", 0);
  char *latest = place_ask(&p, "SELECT id FROM events");
  assert_int_equal(handle_save_row(p.handle, "BY_HAND", "a", data, 0, latest, &status, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "data.text");
  free(latest);
  place_remove(&p);
}

/* ---- Events laid over what was read ------------------------------------------------------------------------------------ */

static void apply(fold_instance *instance, const char *data, int64_t position, int expected) {
  annal_error error = {0};
  annal_event event = {.type = "ADDED", .data = data, .position = position, .id = position ? "given" : NULL};
  int code = fold_apply(instance, &event, 1, &error);
  if (code != expected) fail_msg("%s: %s", annal_code_name(code), error.message);
}

static void staged_events_are_seen_and_not_stored(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  store_status status;
  place_start(&p, APP);
  add(&p, "one", 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  apply(instance, "{\"cartId\":\"c\",\"n\":10}", 0, 0);
  apply(instance, " { \"n\" : 20, \"cartId\" : \"c\" } ", 0, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":31}");
  int64_t position;
  const char *latest;
  expect_ok(fold_position(instance, &position, &latest, &error), &error);
  assert_int_equal(position, 1);
  assert_string_equal(latest, "one");
  assert_int_equal(fold_save(instance, &status, &error), ANNAL_MISUSE);
  expect_in(error.message, "staged");
  expect_sql(&p, "SELECT count(*) FROM events", "1");
  expect_sql(&p, "SELECT count(*) FROM projections", "0");
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  assert_int_equal(save(instance), STORE_CREATED);
  fold_close(instance);
  place_remove(&p);
}

static void staged_events_are_checked_all_or_none(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, APP);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  annal_event events[] = {{.type = "ADDED", .data = "{\"cartId\":\"c\",\"n\":1}"},
                          {.type = "ADDED", .data = "{\"cartId\":\"c\",\"n\":\"many\"}"}};
  assert_int_equal(fold_apply(instance, events, 2, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "events[2].data.n");
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[],\"sum\":0}");
  events[1].data = "{\"cartId\":\"c\",\"n\":1";
  assert_int_equal(fold_from_history(instance, events, 2, &error), ANNAL_INVALID);
  events[1] = (annal_event){.type = "UNDECLARED", .data = "{}"};
  assert_int_equal(fold_apply(instance, events, 2, &error), ANNAL_INVALID);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[],\"sum\":0}");
  fold_close(instance);
  place_remove(&p);
}

static void staged_events_count_where_they_would_count_once_stored(void **unused) {
  (void)unused;
  place p;
  place_start(&p, APP);
  add(&p, "one", 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  apply(instance, "{\"cartId\":\"d\",\"n\":10}", 0, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  apply(instance, "{\"cartId\":\"c\",\"n\":10}", 1, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  apply(instance, "{\"cartId\":\"c\",\"n\":10}", 7, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1,7],\"sum\":11}");
  fold_close(instance);
  place_remove(&p);
}

static void staged_events_that_were_stored_since_are_saved_as_they_are_in_the_log(void **unused) {
  (void)unused;
  place p;
  place_start(&p, APP);
  add(&p, "one", 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  add(&p, "unseen", 100);
  add(&p, "given", 10);
  apply(instance, "{\"cartId\":\"c\",\"n\":10}", 3, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1,3],\"sum\":11}");
  save(instance);
  expect_sql(&p, "SELECT data FROM projections", "{\"id\":\"c\",\"seen\":[1,2,3],\"sum\":111}");
  fold_close(instance);
  place_remove(&p);
}

static void a_history_replaces_what_was_read(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  store_status status;
  place_start(&p, APP);
  add(&p, "one", 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  annal_event events[] = {{.type = "ADDED", .data = "{\"cartId\":\"c\",\"n\":7}", .id = "x", .position = 40},
                          {.type = "ADDED", .data = "{\"cartId\":\"c\",\"n\":8}", .id = "y", .position = 41}};
  expect_ok(fold_from_history(instance, events, 2, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[40,41],\"sum\":15}");
  int64_t position;
  const char *latest;
  expect_ok(fold_position(instance, &position, &latest, &error), &error);
  assert_int_equal(position, 41);
  assert_string_equal(latest, "y");
  assert_int_equal(fold_save(instance, &status, &error), ANNAL_MISUSE);
  apply(instance, "{\"cartId\":\"c\",\"n\":100}", 0, 0);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[40,41],\"sum\":115}");
  expect_ok(fold_from_history(instance, NULL, 0, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[],\"sum\":0}");
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  fold_close(instance);
  place_remove(&p);
}

static void an_instance_stays_as_it_was_read_until_it_is_refreshed(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, APP);
  add(&p, "one", 1);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  add(&p, "two", 2);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1],\"sum\":1}");
  /* Neither by a load: it keeps its generation. */
  place_script(&p, "app.lua", "event 'ADDED' { cartId = t.string, n = t.integer }");
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "{\"id\":\"c\",\"seen\":[1,2],\"sum\":3}");
  fold_close(instance);
  place_remove(&p);
}

static void more_events_than_a_page_are_folded(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  enum { COUNT = 2500 };
  annal_event *events = calloc(COUNT, sizeof *events);
  for (int i = 0; i < COUNT; i++) events[i] = (annal_event){.type = "ADDED", .data = "{\"cartId\":\"c\",\"n\":1}"};
  place_start(&p, "event 'ADDED' { cartId = t.string, n = t.integer }\n"
                  "projection 'SUM' { by = 'cartId', init = 0, on = { ADDED = function(s, e) return s + e.data.n end } }");
  expect_ok(annal_save(p.handle, events, COUNT, NULL, NULL, &error), &error);
  fold_instance *instance = instance_of(&p, "SUM", "c", true);
  expect_view(&p, instance, "2500");
  save(instance);
  expect_ok(annal_save(p.handle, events, COUNT, NULL, NULL, &error), &error);
  expect_fold(&p, "SUM", "c", true, "5000");
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "5000");
  fold_close(instance);
  free(events);
  place_remove(&p);
}

int main(void) {
  place_cache = 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_row_is_created_updated_and_skipped),
      cmocka_unit_test(a_row_is_continued_and_only_newer_events_are_folded),
      cmocka_unit_test(a_row_by_other_code_is_not_used),
      cmocka_unit_test(a_row_whose_event_is_not_at_its_place_is_not_used),
      cmocka_unit_test(an_instance_whose_log_was_replaced_folds_from_the_first_event),
      cmocka_unit_test(a_damaged_row_is_passed_over),
      cmocka_unit_test(a_row_with_other_fields_under_a_pinned_version_is_not_used),
      cmocka_unit_test(a_view_with_a_long_declared_field_has_no_row),
      cmocka_unit_test(staged_events_are_seen_and_not_stored),
      cmocka_unit_test(staged_events_are_checked_all_or_none),
      cmocka_unit_test(staged_events_count_where_they_would_count_once_stored),
      cmocka_unit_test(staged_events_that_were_stored_since_are_saved_as_they_are_in_the_log),
      cmocka_unit_test(a_history_replaces_what_was_read),
      cmocka_unit_test(an_instance_stays_as_it_was_read_until_it_is_refreshed),
      cmocka_unit_test(more_events_than_a_page_are_folded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
