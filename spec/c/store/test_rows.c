/* Rows of projections: they only move forward, are read with the events beyond them, and are found by the fields of their views. */
#include "fixture.h"

static store_row row_of(const char *type, const char *fingerprint, const char *id, const char *data, int64_t position,
                        const char *event) {
  return (store_row){.type = type,
                     .fingerprint = fingerprint,
                     .id = id,
                     .state = *fingerprint ? data : NULL,
                     .state_size = *fingerprint ? strlen(data) : 0,
                     .data = data,
                     .data_size = strlen(data),
                     .position = position,
                     .latest_event_id = event};
}

static store_status put(fixture *f, const char *fingerprint, const char *id, const char *data, int64_t position) {
  char event[16];
  snprintf(event, sizeof event, "e%lld", (long long)position);
  store_row row = row_of("CART", fingerprint, id, data, position, event);
  store_status status = STORE_SKIPPED;
  assert_ok(store_put_rows(f->store, &row, 1, &status, &test_error));
  return status;
}

static void fill_events(fixture *f) {
  char id[16];
  for (int i = 1; i <= 9; i++) {
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, i % 3 ? "A" : "B", i % 2 ? "{\"k\":\"odd\"}" : "{\"k\":\"even\"}");
  }
}

/* What a query finds: "id=data@position", a * behind stale ones, separated by spaces. */
static char found[65536];

static int collect(void *context, const store_row *row) {
  int *left = context;
  size_t used = strlen(found);
  snprintf(found + used, sizeof found - used, "%s%s=%s@%lld%s", used ? " " : "", row->id, row->data, (long long)row->position,
           row->stale ? "*" : "");
  assert_int_equal(row->data_size, strlen(row->data));
  return left && --*left == 0 ? 1 : 0;
}

static const char *query_of(fixture *f, store_query query) {
  found[0] = 0;
  if (!query.type) query.type = "CART";
  if (!query.fingerprint) query.fingerprint = "f1";
  assert_ok(store_query_rows(f->store, &query, collect, NULL, &test_error));
  return found;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

static void a_row_only_moves_forward(void **state) {
  fixture *f = *state;
  fill_events(f);
  assert_int_equal(put(f, "f1", "c", "1", 4), STORE_CREATED);
  f->now += 10;
  assert_int_equal(put(f, "f1", "c", "2", 4), STORE_SKIPPED);
  assert_int_equal(put(f, "f1", "c", "3", 3), STORE_SKIPPED);
  assert_string_equal(query_of(f, (store_query){.id = "c"}), "c=1@4");
  assert_int_equal(put(f, "f1", "c", "4", 5), STORE_UPDATED);
  assert_string_equal(query_of(f, (store_query){.id = "c"}), "c=4@5");
  assert_int_equal(put(f, "f2", "c", "5", 1), STORE_CREATED); /* another set is another row */
  assert_string_equal(query_of(f, (store_query){.id = "c"}), "c=4@5");
}

static void a_row_saved_by_hand_gives_way_to_an_equal_position_too(void **state) {
  fixture *f = *state;
  fill_events(f);
  assert_int_equal(put(f, "", "c", "1", 4), STORE_CREATED);
  assert_int_equal(put(f, "", "c", "2", 4), STORE_UPDATED);
  assert_int_equal(put(f, "", "c", "3", 3), STORE_SKIPPED);
  assert_string_equal(query_of(f, (store_query){.fingerprint = ""}), "c=2@4");
}

static void rows_are_written_together(void **state) {
  fixture *f = *state;
  fill_events(f);
  store_row rows[4] = {row_of("CART", "f1", "z", "1", 2, "e2"), row_of("CART", "f1", "a", "2", 3, "e3"),
                       row_of("CART", "f1", "z", "3", 5, "e5"), row_of("CART", "f1", "z", "4", 4, "e4")};
  store_status statuses[4];
  assert_ok(store_put_rows(f->store, rows, 4, statuses, &test_error));
  assert_int_equal(statuses[0], STORE_CREATED);
  assert_int_equal(statuses[1], STORE_CREATED);
  assert_int_equal(statuses[2], STORE_UPDATED);
  assert_int_equal(statuses[3], STORE_SKIPPED);
  assert_string_equal(query_of(f, (store_query){0}), "a=2@3 z=3@5");
  assert_ok(store_put_rows(f->store, rows, 0, NULL, &test_error));
  assert_string_equal(store_status_name(STORE_SKIPPED), "skipped");
}

/* ---- A row and the events beyond it ------------------------------------------------------------------------------------ */

static void a_row_comes_with_the_events_from_its_own_on(void **state) {
  fixture *f = *state;
  if (fixture_without_clock) skip(); /* it looks at times */
  fill_events(f);
  put(f, "f1", "odd", "{\"n\":[1.0,\"ü\"]}", 5);
  f->now += 1000;
  put(f, "f1", "odd", "{\"n\":2}", 7);
  annal_stream stream = {DATA(FIELD("k", "odd"))};
  store_row row;
  store_cursor *cursor;
  store_page page;
  assert_ok(store_read_row(f->store, "CART", "f1", "odd", &stream, 1, NULL, &row, &cursor, &test_error));
  assert_string_equal(row.type, "CART");
  assert_string_equal(row.fingerprint, "f1");
  assert_string_equal(row.id, "odd");
  assert_string_equal(row.data, "{\"n\":2}");
  assert_string_equal(row.state, "{\"n\":2}");
  assert_int_equal(row.state_size, 7);
  assert_int_equal(row.position, 7);
  assert_string_equal(row.latest_event_id, "e7");
  assert_int_equal(row.created_at, f->now - 1000);
  assert_int_equal(row.updated_at, f->now);
  assert_ok(store_cursor_next(cursor, &page, &test_error));
  assert_int_equal(page.count, 2);
  assert_string_equal(page.events[0].id, "e7");
  assert_string_equal(page.events[1].id, "e9");
  assert_ok(store_cursor_next(cursor, &page, &test_error));
  assert_int_equal(page.count, 0);
  assert_string_equal(row.data, "{\"n\":2}"); /* still there */
  store_cursor_close(cursor);
}

/* They come in pages, whole and in order, and the read ends though more are saved all the time. */
static void what_is_newer_than_a_row_may_be_much(void **state) {
  fixture *f = *state;
  enum { NEWER = 2500, PAGES = 50 };
  fill_events(f);
  put(f, "f1", "odd", "1", 7);
  annal_stream stream = {DATA(FIELD("k", "odd"))};
  char id[32];
  for (int i = 0; i < NEWER; i++) {
    snprintf(id, sizeof id, "n%d", i);
    save_one(f, id, "A", "{\"k\":\"odd\"}");
  }
  int64_t stored = head_of(f), last = 0;
  store_row row;
  store_cursor *cursor;
  store_page page = {.count = 1};
  int64_t events = 0;
  assert_ok(store_read_row(f->store, "CART", "f1", "odd", &stream, 1, NULL, &row, &cursor, &test_error));
  assert_int_equal(row.position, 7);
  for (int pages = 0; page.count > 0; pages++) {
    assert_true(pages < PAGES);
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    for (size_t i = 0; i < page.count; i++) {
      assert_true(page.events[i].position > last);
      last = page.events[i].position;
    }
    events += (int64_t)page.count;
    snprintf(id, sizeof id, "late%d", pages);
    save_one(f, id, "A", "{\"k\":\"odd\"}");
  }
  store_cursor_close(cursor);
  assert_true(last >= stored);
  assert_int_equal(events,
                   2 + NEWER + (last - stored)); /* the row's own and the one after it; those; what came late and is seen */
}

static void without_a_row_events_come_from_the_first_on(void **state) {
  fixture *f = *state;
  fill_events(f);
  put(f, "f1", "odd", "1", 7);
  annal_stream streams[2] = {{TYPES("B")}, {DATA(FIELD("k", "odd"))}};
  for (int i = 0; i < 3; i++) {
    store_row row;
    store_cursor *cursor;
    store_page page;
    const char *asked[3][3] = {{"CART", "f2", "odd"}, {"OTHER", "f1", "odd"}, {"CART", "f1", "none"}};
    assert_ok(store_read_row(f->store, asked[i][0], asked[i][1], asked[i][2], streams, 2, NULL, &row, &cursor, &test_error));
    assert_int_equal(row.position, 0);
    assert_null(row.data);
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    assert_int_equal(page.count, 6); /* 1 3 5 6 7 9 */
    assert_string_equal(page.events[3].id, "e6");
    store_cursor_close(cursor);
  }
}

/* ---- Queries ----------------------------------------------------------------------------------------------------------- */

static void rows_come_in_bytewise_order_of_id(void **state) {
  fixture *f = *state;
  fill_events(f);
  const char *ids[] = {"ü", "b", "a", "B", "", "a b", "10", "9", "€"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) put(f, "f1", ids[i], "1", 1);
  assert_string_equal(query_of(f, (store_query){0}), "=1@1 10=1@1 9=1@1 B=1@1 a=1@1 a b=1@1 b=1@1 ü=1@1 €=1@1");
  int two = 2;
  found[0] = 0;
  store_query query = {.type = "CART", .fingerprint = "f1"};
  assert_ok(store_query_rows(f->store, &query, collect, &two, &test_error));
  assert_string_equal(found, "=1@1 10=1@1");
}

static void rows_are_found_by_fields_of_the_view(void **state) {
  fixture *f = *state;
  fill_events(f);
  put(f, "f1", "a", "{\"k\":\"x\",\"z\":1}", 1);
  put(f, "f1", "b", "{\"k\":1,\"z\":true}", 1);
  put(f, "f1", "c", "{\"k\":\"1\",\"z\":null}", 1);
  put(f, "f1", "d", "{\"k\":1.0,\"z\":{\"q\":1}}", 1);
  put(f, "f1", "e", "{\"z\":[\"x\"]}", 1);
  put(f, "f1", "f", "[1]", 1); /* a view need not be an object */
  put(f, "f1", "g", "\"text\"", 1);
  put(f, "f1", "h", "{\"k\":\"{\\\"q\\\":1}\",\"z\":\"{\\\"q\\\":1}\"}", 1);
  const struct {
    annal_field fields[2];
    size_t count;
    const char *ids;
  } cases[] = {
      {{FIELD("k", "x")}, 1, "a"},         {{FIELD("k", "1")}, 1, "b c"},    {{FIELD("k", "1", "x", "1")}, 1, "a b c"},
      {{FIELD("k", "1.0")}, 1, "d"},       {{FIELD("z", "true")}, 1, "b"},   {{FIELD("z", "null")}, 1, ""},
      {{FIELD("z", "{\"q\":1}")}, 1, "h"}, {{FIELD("z", "[\"x\"]")}, 1, ""}, {{FIELD("k", "1"), FIELD("z", "true")}, 2, "b"},
      {{FIELD("none", "1")}, 1, ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    query_of(f, (store_query){.data = cases[i].fields, .data_count = cases[i].count});
    char ids[64] = "";
    for (char *at = found; *at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : "") {
      size_t used = strlen(ids);
      snprintf(ids + used, sizeof ids - used, "%s%c", used ? " " : "", *at);
    }
    if (strcmp(ids, cases[i].ids) != 0) fail_msg("case %zu: \"%s\" instead of \"%s\"", i, ids, cases[i].ids);
  }
  store_query bad = {.type = "CART", .fingerprint = "f1", .data = &(annal_field){.name = "k"}, .data_count = 1};
  assert_fails(store_query_rows(f->store, &bad, collect, NULL, &test_error), ANNAL_MISUSE, "\"k\" is empty");
}

/* k is declared, z is not. */
static void rows_come_in_order_of_a_field(void **state) {
  fixture *f = *state;
  fill_events(f);
  static const char *const values[] = {"2",     "1.5", "\"b\"", "true", "null", "9007199254740993", "9007199254740992.0",
                                       "false", "{}",  "2.0"};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    char id[2] = {(char)('a' + i), 0}, data[64];
    snprintf(data, sizeof data, "{\"k\":%s,\"z\":%s}", values[i], values[i]);
    put(f, "f1", id, data, 1);
  }
  const struct {
    store_query query;
    const char *ids;
  } cases[] = {
      {{.order = "?"}, "ehdbajgfci"},
      {{.order = "?", .descending = true}, "icfgjabdhe"},
      {{.order = "?", .limit = 4}, "ehdb"},
      {{.order = "?", .limit = 3, .after = "a"}, "jgf"},
      {{.order = "?", .descending = true, .limit = 3, .after = "j"}, "abd"},
      {{.order = "?", .limit = 3, .ranges = &(annal_range){"?", "2", NULL}, .range_count = 1}, "ajg"},
      {{.order = "?", .descending = true, .ranges = &(annal_range){"?", NULL, "2.0"}, .range_count = 1}, "jab"},
      {{.ranges = &(annal_range){"?", "9007199254740992.5", NULL}, .range_count = 1}, "fg"}, /* that is 9007199254740992.0 */
      {{.ranges = &(annal_range){"?", "9007199254740993", "9007199254740993"}, .range_count = 1}, "f"},
      {{.order = "?", .ranges = &(annal_range){"?", "\"a\"", "\"c\""}, .range_count = 1}, "c"},
      {{.limit = 2, .after = "h"}, "ij"},
  };
  for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
    store_query query = cases[i / 2].query;
    const char *field = i % 2 ? "z" : "k";
    annal_range range = query.range_count ? *query.ranges : (annal_range){0};
    range.name = field;
    query.ranges = &range;
    if (query.order) query.order = field;
    query_of(f, query);
    char ids[64] = "";
    for (char *at = found; *at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : "") {
      size_t used = strlen(ids);
      snprintf(ids + used, sizeof ids - used, "%c", *at);
    }
    if (strcmp(ids, cases[i / 2].ids) != 0)
      fail_msg("case %zu, %s: \"%s\" instead of \"%s\"", i / 2, field, ids, cases[i / 2].ids);
  }
}

static void an_order_that_cannot_be_is_refused(void **state) {
  fixture *f = *state;
  fill_events(f);
  put(f, "f1", "a", "{}", 1);
  const struct {
    store_query query;
    int code;
    const char *part;
  } cases[] = {
      {{.order = "a b"}, ANNAL_MISUSE, "no name of a field"},
      {{.order = ""}, ANNAL_MISUSE, "no name of a field"},
      {{.descending = true}, ANNAL_MISUSE, "descending"},
      {{.after = "b"}, ANNAL_NOT_FOUND, "no row \"b\""},
      {{.after = "b", .order = "k"}, ANNAL_NOT_FOUND, "no row \"b\""},
      {{.ranges = &(annal_range){"k", NULL, NULL}, .range_count = 1}, ANNAL_MISUSE, "needs min or max"},
      {{.ranges = &(annal_range){NULL, "1", NULL}, .range_count = 1}, ANNAL_MISUSE, "no name of a field"},
      {{.ranges = &(annal_range){"k", "1", "\"1\""}, .range_count = 1}, ANNAL_MISUSE, "of one kind"},
      {{.ranges = &(annal_range){"k", "true", NULL}, .range_count = 1}, ANNAL_MISUSE, "neither"},
      {{.ranges = &(annal_range){"k", "nothing", NULL}, .range_count = 1}, ANNAL_MISUSE, "no JSON"},
      {{.ranges = &(annal_range){"k", "1 2", NULL}, .range_count = 1}, ANNAL_MISUSE, "no JSON"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    store_query query = cases[i].query;
    query.type = "CART";
    query.fingerprint = "f1";
    assert_fails(store_query_rows(f->store, &query, collect, NULL, &test_error), cases[i].code, cases[i].part);
  }
}

static void an_id_without_a_row_of_this_code_shows_its_newest_other_one(void **state) {
  fixture *f = *state;
  fill_events(f);
  put(f, "f0", "a", "{\"k\":\"old\"}", 8);
  put(f, "f1", "a", "{\"k\":\"own\"}", 2); /* its own, though others have come further */
  put(f, "f0", "b", "{\"k\":\"older\"}", 3);
  put(f, "f2", "b", "{\"k\":\"newer\"}", 5);
  put(f, "f9", "b", "{\"k\":\"older\"}", 4);
  put(f, "f1", "c", "{\"k\":\"own\"}", 1);
  put(f, "", "d", "{\"k\":\"hand\"}", 6);
  assert_string_equal(query_of(f, (store_query){0}),
                      "a={\"k\":\"own\"}@2 b={\"k\":\"newer\"}@5* c={\"k\":\"own\"}@1 d={\"k\":\"hand\"}@6*");
  /* The choice comes before the filter: a row that was passed over is not found by its fields. */
  const annal_field older = FIELD("k", "older", "old"), newer = FIELD("k", "newer", "own");
  assert_string_equal(query_of(f, (store_query){.data = &older, .data_count = 1}), "");
  assert_string_equal(query_of(f, (store_query){.data = &newer, .data_count = 1}),
                      "a={\"k\":\"own\"}@2 b={\"k\":\"newer\"}@5* c={\"k\":\"own\"}@1");
  assert_string_equal(query_of(f, (store_query){.id = "b"}), "b={\"k\":\"newer\"}@5*");
  assert_string_equal(query_of(f, (store_query){.id = "nobody"}), "");
  assert_string_equal(query_of(f, (store_query){.fingerprint = ""}), "d={\"k\":\"hand\"}@6");
  assert_string_equal(query_of(f, (store_query){.type = "OTHER"}), "");
}

static int count_rows(void *context, const store_row *row) {
  size_t *count = context;
  char id[16];
  snprintf(id, sizeof id, "%05zu", *count);
  assert_string_equal(row->id, id);
  ++*count;
  return 0;
}

static void a_query_takes_many_large_rows(void **state) {
  fixture *f = *state;
  fill_events(f);
  enum { MANY = 60, SIZE = 200000 };
  char *data = malloc(SIZE + 1);
  memset(data, 'x', SIZE);
  data[0] = data[SIZE - 1] = '"';
  data[SIZE] = 0;
  char id[16];
  for (int i = 0; i < MANY; i++) { /* 12 MB of data and as much of state; every third one of other code */
    snprintf(id, sizeof id, "%05d", i);
    put(f, i % 3 ? "f1" : "f0", id, data, 1);
  }
  size_t count = 0;
  store_query query = {.type = "CART", .fingerprint = "f1"};
  assert_ok(store_query_rows(f->store, &query, count_rows, &count, &test_error));
  assert_int_equal(count, MANY);
  free(data);
}

/* ---- Check ------------------------------------------------------------------------------------------------------------- */

static char findings_text[65536];

static void collect_finding(void *context, const char *line) {
  (void)context;
  size_t used = strlen(findings_text);
  snprintf(findings_text + used, sizeof findings_text - used, "%s\n", line);
}

static uint64_t check(fixture *f) {
  uint64_t findings = 99;
  findings_text[0] = 0;
  assert_ok(store_check(f->store, collect_finding, NULL, &findings, &test_error));
  uint64_t lines = 0;
  for (const char *c = findings_text; *c; c++) lines += *c == '\n';
  assert_int_equal(findings, lines);
  return findings;
}

#define assert_found(text)                                                                                                       \
  do {                                                                                                                           \
    if (!strstr(findings_text, text)) fail_msg("\"%s\" was not found:\n%s", text, findings_text);                                \
  } while (0)

static void a_sound_store_has_no_findings(void **state) {
  fixture *f = *state;
  assert_int_equal(check(f), 0);
  fill_events(f);
  put(f, "f1", "a", "{\"k\":1}", 3);
  put(f, "", "b", "[]", 9);
  assert_int_equal(check(f), 0);
}

static void check_finds_what_was_planted(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip(); /* nobody else can reach it */
  fill_events(f);
  put(f, "f1", "a", "{\"k\":1}", 3);
  put(f, "f1", "b", "{\"k\":1}", 4);
  put(f, "f1", "c", "{\"k\":1}", 9);
  fixture_sql(f,
              "DELETE FROM events WHERE position IN (3, 6, 7);"
              "UPDATE events SET data = '{\"k\": 1}' WHERE position = 1;"
              "UPDATE events SET metadata = '[1]' WHERE position = 2;"
              "UPDATE events SET created_at = created_at - 1000000 WHERE position = 5;"
              "UPDATE events SET version = 0 WHERE position = 8;"
              "UPDATE views SET latest_event_id = 'other' WHERE id = 'b';"
              "UPDATE views SET state = '{ }' WHERE id = 'c'",
              "ALTER TABLE events DISABLE TRIGGER USER;"
              "DELETE FROM events WHERE position IN (3, 6, 7);"
              "UPDATE events SET data = '{\"k\": 1}' WHERE position = 1;"
              "UPDATE events SET metadata = '[1]' WHERE position = 2;"
              "UPDATE events SET created_at = created_at - interval '1 second' WHERE position = 5;"
              "UPDATE events SET version = 0 WHERE position = 8;"
              "UPDATE views SET latest_event_id = 'other' WHERE id = 'b';"
              "UPDATE views SET state = '{ }' WHERE id = 'c'");
  assert_int_equal(check(f), 9);
  assert_found("position 3 is missing");
  assert_found("positions 6 to 7 are missing");
  assert_found("event 1 \"e1\": data: it is not in canonical form");
  assert_found("event 2 \"e2\": metadata:");
  assert_found("event 5 \"e5\": created_at steps back");
  assert_found("event 8 \"e8\": version 0");
  assert_found("row CART \"a\": the event \"e3\" is not at position 3");
  assert_found("row CART \"b\": the event \"other\" is not at position 4");
  assert_found("row CART \"c\": state: it is not in canonical form");
}

static void check_finds_a_missing_index(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_FILE) skip(); /* the name of an index is the backend's own; PostgreSQL's tests have theirs */
  fixture_sql(f, "CREATE TABLE found AS SELECT value FROM annal_meta WHERE key = 'data_index:k'", NULL);
  fixture_sql(f, "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = (SELECT value FROM found)", NULL);
  fixture_reopen(f);
  check(f);
  assert_found("the index of data_index:k is missing");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest rows[] = {
      TEST(a_row_only_moves_forward),
      TEST(a_row_saved_by_hand_gives_way_to_an_equal_position_too),
      TEST(rows_are_written_together),
      TEST(a_row_comes_with_the_events_from_its_own_on),
      TEST(what_is_newer_than_a_row_may_be_much),
      TEST(without_a_row_events_come_from_the_first_on),
      TEST(rows_come_in_bytewise_order_of_id),
      TEST(rows_are_found_by_fields_of_the_view),
      TEST(rows_come_in_order_of_a_field),
      TEST(an_order_that_cannot_be_is_refused),
      TEST(an_id_without_a_row_of_this_code_shows_its_newest_other_one),
      TEST(a_query_takes_many_large_rows),
      TEST(a_sound_store_has_no_findings),
      TEST(check_finds_what_was_planted),
      TEST(check_finds_a_missing_index),
  };
  return RUN_ON_ALL(rows);
}
