/* Saving and reading through annal.h, without scripts: what goes in comes out, what is wrong is refused and nothing is stored. */
#include "../fold/support.h"

#include "base/limits.h"
#include <math.h>

static void start(place *p) {
  place_init(p);
  place_open_with(p, (annal_options){0});
}

typedef struct reading {
  int count, stop_after;
  int64_t position;
  char text[4096]; /* id type data, one after the other */
} reading;

static int note_event(void *context, const annal_event *event) {
  reading *r = context;
  size_t used = strlen(r->text);
  snprintf(r->text + used, sizeof r->text - used, "%s %s %s\n", event->id, event->type, event->data);
  assert_int_equal(strlen(event->data), event->data_size);
  r->position = event->position;
  return ++r->count == r->stop_after;
}

static int count_events(place *p) {
  annal_error error;
  reading r = {0};
  annal_selection all = {.size = sizeof all};
  expect_ok(annal_read(p->handle, &all, note_event, &r, &error), &error);
  return r.count;
}

/* A save of one event that fails, and leaves nothing behind. */
static void refuse(place *p, annal_event event, int code, const char *where) {
  annal_error error;
  annal_text stored = {"untouched", 9};
  int before = count_events(p);
  int got = annal_save(p->handle, &event, 1, NULL, &stored, &error);
  if (got != code) fail_msg("%s instead of %s: %s", annal_code_name(got), annal_code_name(code), error.message);
  assert_int_equal(error.code, code);
  assert_string_equal(error.where, where);
  assert_null(stored.bytes);
  assert_int_equal(count_events(p), before);
}

static void a_saved_event_comes_back_as_it_was_stored(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text stored;
  start(&p);
  annal_event events[2] = {{.id = "e1", .type = "A", .data = " {\"b\": 9007199254740993, \"a\": [1e15, -0.0, \"\\u00e9\"]}"},
                           {.type = "B", .data = "{} trailing", .data_size = 2, .metadata = "{\"x\":null}", .version = 3}};
  expect_ok(annal_save(p.handle, events, 2, NULL, &stored, &error), &error);
  assert_int_equal(strlen(stored.bytes), stored.size);
  expect_in(stored.bytes, "\"data\":{\"a\":[1e15,-0.0,\"é\"],\"b\":9007199254740993},\"id\":\"e1\",\"metadata\":null,"
                          "\"position\":1,\"type\":\"A\",\"version\":1}");
  expect_in(stored.bytes, "\"metadata\":{\"x\":null},\"position\":2,\"type\":\"B\",\"version\":3}");
  expect_in(stored.bytes, "{\"created_at\":\"20");
  annal_text_free(p.handle, &stored);
  assert_null(stored.bytes);
  annal_text_free(p.handle, &stored);
  reading r = {0};
  annal_selection first = {.size = sizeof first, .before = 2};
  expect_ok(annal_read(p.handle, &first, note_event, &r, &error), &error);
  assert_string_equal(r.text, "e1 A {\"a\":[1e15,-0.0,\"é\"],\"b\":9007199254740993}\n");
  place_remove(&p);
}

static void events_without_id_get_rising_ids(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start(&p);
  annal_event events[3] = {{.type = "A", .data = "{}"}, {.type = "A", .data = "{}"}, {.type = "A", .data = "{}"}};
  expect_ok(annal_save(p.handle, events, 3, NULL, NULL, &error), &error);
  expect_sql(&p, "SELECT count(DISTINCT id) || min(length(id)) || max(length(id)) FROM events", "32626");
  expect_sql(&p, "SELECT count(*) FROM events a JOIN events b ON b.position = a.position + 1 AND b.id > a.id", "2");
  place_remove(&p);
}

static void a_callback_that_answers_ends_the_read(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start(&p);
  for (int i = 0; i < 5; i++) put(&p, "A", NULL, "{}");
  reading r = {.stop_after = 2};
  annal_selection all = {.size = sizeof all};
  expect_ok(annal_read(p.handle, &all, note_event, &r, &error), &error);
  assert_int_equal(r.count, 2);
  assert_int_equal(r.position, 2);
  place_remove(&p);
}

static void streams_select_and_conditions_refuse(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start(&p);
  put(&p, "A", "a1", "{\"cart\":\"x\"}");
  put(&p, "A", "a2", "{\"cart\":\"y\"}");
  put(&p, "B", "b1", "{\"cart\":\"x\"}");
  const char *types[] = {"A"}, *values[] = {"x"};
  annal_field field = {.name = "cart", .values = values, .value_count = 1};
  annal_stream stream = {.types = types, .type_count = 1, .data = &field, .data_count = 1};
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = 1};
  reading r = {0};
  expect_ok(annal_read(p.handle, &selection, note_event, &r, &error), &error);
  assert_string_equal(r.text, "a1 A {\"cart\":\"x\"}\n");
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1, .latest_event_id = "a1"};
  annal_event event = {.id = "a3", .type = "A", .data = "{\"cart\":\"x\"}"};
  expect_ok(annal_save(p.handle, &event, 1, &condition, NULL, &error), &error);
  event.id = "a4";
  annal_text stored = {"untouched", 9};
  assert_int_equal(annal_save(p.handle, &event, 1, &condition, &stored, &error), ANNAL_CONFLICT);
  assert_null(stored.bytes);
  expect_sql(&p, "SELECT count(*) FROM events WHERE id = 'a4'", "0");
  condition.latest_event_id = "never stored";
  assert_int_equal(annal_save(p.handle, &event, 1, &condition, NULL, &error), ANNAL_CONFLICT);
  field.value_count = 0;
  assert_int_equal(annal_save(p.handle, &event, 1, &condition, NULL, &error), ANNAL_MISUSE);
  condition.size = 3;
  assert_int_equal(annal_save(p.handle, &event, 1, &condition, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(count_events(&p), 4);
  place_remove(&p);
}

static void a_retry_under_the_same_id_is_safe(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text one, two;
  start(&p);
  annal_event event = {.id = "e", .type = "A", .data = "{\"n\":1}"};
  expect_ok(annal_save(p.handle, &event, 1, NULL, &one, &error), &error);
  event.data = " { \"n\" : 1 } ";
  expect_ok(annal_save(p.handle, &event, 1, NULL, &two, &error), &error);
  assert_string_equal(one.bytes, two.bytes);
  annal_text_free(p.handle, &one);
  annal_text_free(p.handle, &two);
  event.data = "{\"n\":2}";
  refuse(&p, event, ANNAL_DUPLICATE, "id");
  annal_event same[2] = {{.id = "f", .type = "A", .data = "{}"}, {.id = "f", .type = "A", .data = "{}"}};
  assert_int_equal(annal_save(p.handle, same, 2, NULL, NULL, &error), ANNAL_DUPLICATE);
  expect_in(error.message, "\"f\"");
  assert_int_equal(count_events(&p), 1);
  place_remove(&p);
}

static void bad_events_are_refused_with_their_place(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  char text[600];
  start(&p);
  refuse(&p, (annal_event){.type = "A", .data = "{}", .position = 1}, ANNAL_MISUSE, "position");
  refuse(&p, (annal_event){.type = "A", .data = "{}", .created_at = 1}, ANNAL_MISUSE, "created_at");
  refuse(&p, (annal_event){.type = "A", .data = "no json"}, ANNAL_INVALID, "data");
  refuse(&p, (annal_event){.type = "A", .data = "[1]"}, ANNAL_INVALID, "data");
  refuse(&p, (annal_event){.type = "A", .data = "{\"a\":[1,{\"b\":01}]}"}, ANNAL_INVALID, "data.a[2].b");
  refuse(&p, (annal_event){.type = "A", .data = "{\"a\":\"x\\u0000\"}"}, ANNAL_INVALID, "data.a");
  refuse(&p, (annal_event){.type = "A", .data = "{\"a\":1}", .metadata = "{\"u\":1,\"u\":2}"}, ANNAL_INVALID, "metadata.u");
  refuse(&p, (annal_event){.type = "A", .data = "{}", .metadata = "null"}, ANNAL_INVALID, "metadata");
  refuse(&p, (annal_event){.type = "A"}, ANNAL_INVALID, "data");
  refuse(&p, (annal_event){.data = "{}"}, ANNAL_INVALID, "type");
  refuse(&p, (annal_event){.type = "", .data = "{}"}, ANNAL_INVALID, "type");
  refuse(&p, (annal_event){.type = "\xc0", .data = "{}"}, ANNAL_INVALID, "type");
  refuse(&p, (annal_event){.type = "A", .id = "", .data = "{}"}, ANNAL_INVALID, "id");
  refuse(&p, (annal_event){.type = "A", .data = "{}", .version = -1}, ANNAL_INVALID, "version");
  memset(text, 'x', sizeof text);
  text[129] = 0;
  refuse(&p, (annal_event){.type = text, .data = "{}"}, ANNAL_INVALID, "type");
  text[65] = 0;
  refuse(&p, (annal_event){.type = "A", .id = text, .data = "{}"}, ANNAL_INVALID, "id");
  annal_event events[2] = {{.type = "A", .data = "{}"}, {.type = "A", .data = "{\"n\":1e999}"}};
  assert_int_equal(annal_save(p.handle, events, 2, NULL, NULL, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "events[2].data.n");
  assert_int_equal(annal_save(p.handle, events, 0, NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_save(p.handle, NULL, 1, NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(count_events(&p), 0);
  place_remove(&p);
}

static void sizes_end_where_the_limits_say(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start(&p);
  size_t size = LIMIT_EVENT_BYTES;
  char *data = malloc(size + 2);
  memset(data, 'x', size + 1);
  memcpy(data, "{\"a\":\"", 6);
  memcpy(data + size - 2, "\"}", 3);
  annal_event event = {.type = "BIG", .data = data};
  expect_ok(annal_save(p.handle, &event, 1, NULL, NULL, &error), &error);
  event.metadata = "{}";
  refuse(&p, event, ANNAL_INVALID, "data");
  expect_sql(&p, "SELECT length(data) FROM events", "16777216");
  free(data);
  char deep[300] = "{\"a\":";
  memset(deep + 5, '[', 127);
  memset(deep + 132, ']', 127);
  strcpy(deep + 259, "}");
  event = (annal_event){.type = "DEEP", .data = deep};
  expect_ok(annal_save(p.handle, &event, 1, NULL, NULL, &error), &error);
  memset(deep + 5, '[', 128);
  memset(deep + 133, ']', 128);
  strcpy(deep + 261, "}");
  assert_int_equal(annal_save(p.handle, &event, 1, NULL, NULL, &error), ANNAL_INVALID);
  place_remove(&p);
}

static void values_of_declared_identifiers_are_limited(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  static const char *const indexed[] = {"cartId"};
  place_init(&p);
  place_open_with(&p, (annal_options){.data_indexes = indexed, .data_index_count = 1});
  char data[1400];
  const char *fill[] = {"x", "\\n", "\\u0001", "é"};
  for (size_t i = 0; i < 4; i++) {
    for (int length = 512; length <= 513; length++) {
      strcpy(data, "{\"aa\":[\"]\",{\"cartId\":\"\\\"\"}],\"cartId\":\"");
      char *at = data + strlen(data);
      int bytes = i == 3 ? 2 : 1;
      for (int n = 0; n < length / bytes; n++) at = stpcpy(at, i == 2 && n > 20 ? "y" : fill[i]);
      if (length % bytes) at = stpcpy(at, "z");
      strcpy(at, "\",\"free\":\"x\"}");
      annal_event event = {.type = "A", .data = data};
      int code = annal_save(p.handle, &event, 1, NULL, NULL, &error);
      if (length == 512) expect_ok(code, &error);
      else refuse(&p, event, ANNAL_INVALID, "data.cartId");
    }
  }
  memset(data, 'x', sizeof data);
  memcpy(data, "{\"free\":\"", 9);
  strcpy(data + 1300, "\"}");
  put(&p, "A", NULL, data);
  memset(data, 'x', sizeof data);
  memcpy(data, "{\"cartId\":[\"", 12);
  strcpy(data + 600, "\"]}");
  refuse(&p, (annal_event){.type = "A", .data = data}, ANNAL_INVALID, "data.cartId");
  place_open_with(&p, (annal_options){0}); /* the store remembers what was declared */
  refuse(&p, (annal_event){.type = "A", .data = data}, ANNAL_INVALID, "data.cartId");
  place_remove(&p);
}

static void rows_saved_by_hand_are_kept_and_found(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text rows;
  store_status status;
  start(&p);
  put(&p, "A", "e1", "{}");
  put(&p, "A", "e2", "{}");
  expect_ok(handle_save_row(p.handle, "NOTE", "b", " {\"n\": 1}", 0, "e1", &status, &error), &error);
  assert_int_equal(status, STORE_CREATED);
  expect_ok(handle_save_row(p.handle, "NOTE", "a", "{\"n\":2,\"s\":\"x\"}", 0, "e2", &status, &error), &error);
  expect_ok(handle_save_row(p.handle, "NOTE", "a", "{\"n\":3}", 0, "e1", &status, &error), &error);
  assert_int_equal(status, STORE_SKIPPED);
  expect_ok(handle_save_row(p.handle, "NOTE", "a", "{\"n\":4}", 0, "e2", &status, &error), &error);
  assert_int_equal(status, STORE_UPDATED);
  assert_int_equal(handle_save_row(p.handle, "NOTE", "a", "{}", 0, "e9", &status, &error), ANNAL_NOT_FOUND);
  assert_int_equal(handle_save_row(p.handle, "NOTE", "a", "[]", 0, "e1", &status, &error), ANNAL_INVALID);
  assert_int_equal(handle_save_row(p.handle, "NOTE", "", "{}", 0, "e1", &status, &error), ANNAL_INVALID);
  assert_int_equal(handle_save_row(p.handle, "NOTE", "a", "{}", 0, NULL, &status, &error), ANNAL_MISUSE);
  annal_query query = {.size = sizeof query, .type = "NOTE"};
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  expect_in(rows.bytes,
            "[{\"data\":{\"n\":4},\"id\":\"a\",\"latest_event_id\":\"e2\",\"position\":2,\"stale\":false,\"updated_at\":\"20");
  expect_in(rows.bytes, "Z\"},{\"data\":{\"n\":1},\"id\":\"b\",\"latest_event_id\":\"e1\",\"position\":1,\"stale\":false,");
  annal_text_free(p.handle, &rows);
  const char *values[] = {"1"};
  annal_field field = {.name = "n", .values = values, .value_count = 1};
  query.data = &field;
  query.data_count = 1;
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  expect_in(rows.bytes, "[{\"data\":{\"n\":1},\"id\":\"b\"");
  annal_text_free(p.handle, &rows);
  query.type = "UNKNOWN";
  expect_ok(annal_query_projections(p.handle, &query, &rows, &error), &error);
  assert_string_equal(rows.bytes, "[]");
  annal_text_free(p.handle, &rows);
  place_remove(&p);
}

static void wrong_options_are_refused_by_name(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_store *opened = (annal_store *)&p;
  static const char *const bad_name[] = {"cart id"};
  static const annal_index bad_index[] = {{"mine", "tables", "(x)"}};
  static const struct {
    annal_options options;
    const char *where;
  } cases[] = {
      {{.size = sizeof(annal_options), .data_indexes = bad_name, .data_index_count = 1}, "data_indexes"},
      {{.size = sizeof(annal_options), .projection_indexes = bad_name, .projection_index_count = 1}, "projection_indexes"},
      {{.size = sizeof(annal_options), .data_index_count = 1}, "data_indexes"},
      {{.size = sizeof(annal_options), .indexes = bad_index, .index_count = 1}, "indexes"},
      {{.size = sizeof(annal_options), .schema = "a-b"}, "schema"},
      {{.size = sizeof(annal_options), .events = ""}, "events"},
      {{.size = sizeof(annal_options), .events = "t", .projections = "t"}, "projections"},
      {{.size = sizeof(annal_options), .timeout = -1}, "timeout"},
      {{.size = sizeof(annal_options), .timeout = 2000001}, "timeout"},
      {{.size = sizeof(annal_options), .timeout = NAN}, "timeout"},
      {{.size = sizeof(annal_options), .lock_timeout = -1}, "lock_timeout"},
      {{.size = sizeof(annal_options), .lock_timeout = 1e300}, "lock_timeout"},
      {{.size = sizeof(annal_options), .connections = -1}, "connections"},
      {{.size = sizeof(annal_options), .budget = -1}, "budget"},
      {{.size = 0}, ""},
      {{.size = sizeof(annal_options) + 8}, ""},
  };
  place_init(&p);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(annal_open(p.file, &cases[i].options, &opened, &error), ANNAL_MISUSE);
    assert_string_equal(error.where, cases[i].where);
    assert_ptr_equal(opened, &p);
  }
  assert_int_not_equal(access(p.file, F_OK), 0);
  assert_int_equal(annal_open(NULL, NULL, &opened, &error), ANNAL_MISUSE);
  assert_int_equal(annal_open("", NULL, &opened, NULL), ANNAL_MISUSE);
  place_remove(&p);
}

/* A program that was built with an older annal passes shorter structs. */
static void older_and_shorter_options_are_understood(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_init(&p);
  annal_options options;
  memset(&options, 0xAA, sizeof options);
  options.size = offsetof(annal_options, schema);
  options.app = NULL;
  expect_ok(annal_open(p.file, &options, &p.handle, &error), &error);
  put(&p, "A", NULL, "{}");
  place_remove(&p);
}

static void missing_arguments_are_misuse_and_no_crash(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text text;
  annal_event event = {.type = "A", .data = "{}"};
  annal_selection all = {.size = sizeof all};
  start(&p);
  annal_close(NULL);
  annal_interrupt(NULL);
  annal_text_free(NULL, NULL);
  assert_int_equal(annal_open(p.file, NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_save(NULL, &event, 1, NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_read(NULL, &all, note_event, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_read(p.handle, NULL, note_event, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_read(p.handle, &all, NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_view(NULL, "P", "i", NULL, &text, &error), ANNAL_MISUSE);
  assert_int_equal(annal_view(p.handle, "P", "i", NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_view(p.handle, NULL, "i", NULL, &text, &error), ANNAL_MISUSE);
  assert_int_equal(annal_view(p.handle, "P", "i", NULL, &text, &error), ANNAL_NOT_FOUND);
  expect_in(error.message, "no scripts are loaded");
  assert_int_equal(annal_query_projections(p.handle, NULL, &text, &error), ANNAL_MISUSE);
  assert_int_equal(annal_query_projections(p.handle, &(annal_query){.size = sizeof(annal_query)}, &text, &error), ANNAL_MISUSE);
  assert_int_equal(annal_load(NULL, "x", &error), ANNAL_MISUSE);
  assert_int_equal(annal_load(p.handle, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_load(p.handle, "/nowhere/at/all", &error), ANNAL_NOT_FOUND);
  assert_int_equal(annal_reload(p.handle, &error), 0);
  assert_int_equal(annal_save(p.handle, NULL, 0, NULL, NULL, NULL), ANNAL_MISUSE);
  place_remove(&p);
}

static void a_store_that_is_read_only_refuses_to_save(void **unused) {
  (void)unused;
  place p;
  start(&p);
  put(&p, "A", "e1", "{}");
  place_open_with(&p, (annal_options){.read_only = true});
  refuse(&p, (annal_event){.type = "A", .data = "{}"}, ANNAL_MISUSE, "");
  assert_int_equal(count_events(&p), 1);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_saved_event_comes_back_as_it_was_stored),
      cmocka_unit_test(events_without_id_get_rising_ids),
      cmocka_unit_test(a_callback_that_answers_ends_the_read),
      cmocka_unit_test(streams_select_and_conditions_refuse),
      cmocka_unit_test(a_retry_under_the_same_id_is_safe),
      cmocka_unit_test(bad_events_are_refused_with_their_place),
      cmocka_unit_test(sizes_end_where_the_limits_say),
      cmocka_unit_test(values_of_declared_identifiers_are_limited),
      cmocka_unit_test(rows_saved_by_hand_are_kept_and_found),
      cmocka_unit_test(wrong_options_are_refused_by_name),
      cmocka_unit_test(older_and_shorter_options_are_understood),
      cmocka_unit_test(missing_arguments_are_misuse_and_no_crash),
      cmocka_unit_test(a_store_that_is_read_only_refuses_to_save),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
