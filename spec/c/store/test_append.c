/* Saving: what is stored, what is refused, in which order things are looked at. On every backend alike. */
#include "fixture.h"

/* ---- One save ---------------------------------------------------------------------------------------------------------- */

static void saved_events_come_back_as_they_were(void **state) {
  fixture *f = *state;
  if (fixture_without_clock) skip(); /* it looks at times */
  annal_event events[3] = {event_of("a", "CREATED", "{\"k\":\"x\"}"), event_of("b", "ADDED", "{}"),
                           event_of("c", "ADDED", "{\"z\":[1.5,-0.0,1e300,9007199254740993,\"ü\\u001f\"]}")};
  events[1].metadata = "{\"by\":\"me\"}";
  events[1].metadata_size = strlen(events[1].metadata);
  events[2].version = 7;
  store_save save = {.events = events, .count = 3};
  assert_ok(store_append(f->store, &save, &test_error));
  assert_false(save.was_stored);
  store_cursor *cursor;
  store_page page;
  annal_selection everything = {.size = sizeof everything};
  assert_ok(store_read(f->store, &everything, &cursor, &test_error));
  assert_ok(store_cursor_next(cursor, &page, &test_error));
  assert_int_equal(page.count, 3);
  for (size_t i = 0; i < 3; i++) {
    const annal_event *got = &page.events[i];
    assert_int_equal(got->position, (int64_t)i + 1);
    assert_int_equal(events[i].position, (int64_t)i + 1);
    assert_int_equal(got->created_at, f->now);
    assert_int_equal(events[i].created_at, got->created_at);
    assert_string_equal(got->id, events[i].id);
    assert_string_equal(got->type, events[i].type);
    assert_string_equal(got->data, events[i].data);
    assert_int_equal(got->data_size, strlen(got->data));
    assert_int_equal(got->version, events[i].version);
  }
  assert_null(page.events[0].metadata);
  assert_string_equal(page.events[1].metadata, "{\"by\":\"me\"}");
  assert_int_equal(page.events[1].metadata_size, strlen("{\"by\":\"me\"}"));
  store_cursor_close(cursor);
}

static int64_t save_timed(fixture *f, const char *id) {
  annal_event event = event_of(id, "A", "{}");
  store_save save = {.events = &event, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error));
  return event.created_at;
}

static void time_never_steps_back(void **state) {
  fixture *f = *state;
  if (fixture_without_clock) skip(); /* it looks at times */
  save_timed(f, "a");
  f->now -= 5000000;
  assert_int_equal(save_timed(f, "b"), f->now + 5000000);
  f->now += 5000001;
  assert_int_equal(save_timed(f, "c"), f->now);
}

static void time_stands_still_until_the_clock_has_caught_up(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip(); /* the hour is set past the store */
  int64_t first = save_timed(f, "a");
  fixture_sql(f, "UPDATE events SET created_at = created_at + 86400000000",
              "ALTER TABLE events DISABLE TRIGGER USER; UPDATE events SET created_at = created_at + interval '24 hours';"
              "ALTER TABLE events ENABLE TRIGGER USER");
  assert_int_equal(save_timed(f, "b"), first + INT64_C(86400000000));
  assert_int_equal(save_timed(f, "c"), first + INT64_C(86400000000));
}

static void import_keeps_times_that_are_in_order(void **state) {
  fixture *f = *state;
  annal_event events[2] = {event_of("a", "A", "{}"), event_of("b", "A", "{}")};
  store_save save = {.events = events, .count = 2, .keep_created_at = true};
  events[0].created_at = 1000;
  events[1].created_at = 1000;
  assert_ok(store_append(f->store, &save, &test_error));
  assert_int_equal(events[1].created_at, 1000);
  events[0] = event_of("c", "A", "{}");
  events[1] = event_of("d", "A", "{}");
  events[0].created_at = 1001;
  events[1].created_at = 999;
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_INVALID, "before that of the previous event");
  assert_string_equal(test_error.where, "events[2].created_at");
  events[0].created_at = 999;
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_INVALID, "1970-01-01T00:00:00.001000Z");
  events[0].created_at = 1001;
  int64_t future = INT64_C(4102444800000000); /* 2100 */
  events[1].created_at = future;
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_INVALID, "2100-01-01T00:00:00.000000Z lies in the future");
  assert_int_equal(events[1].created_at, future);
  assert_int_equal(head_of(f), 2);
  events[1].created_at = f->now;
  assert_ok(store_append(f->store, &save, &test_error));
  assert_int_equal(events[0].created_at, 1001);
}

/* ---- Ids --------------------------------------------------------------------------------------------------------------- */

static void a_repeated_save_answers_what_was_stored(void **state) {
  fixture *f = *state;
  annal_event events[2] = {event_of("a", "A", "{\"k\":1}"), event_of("b", "B", "{}")};
  events[0].metadata = "{}";
  events[0].metadata_size = 2;
  store_save save = {.events = events, .count = 2};
  assert_ok(store_append(f->store, &save, &test_error));
  save_one(f, "c", "A", "{}");
  int64_t then = events[1].created_at;
  f->now += 99;
  events[0].position = events[1].position = events[0].created_at = events[1].created_at = 0;
  assert_ok(store_append(f->store, &save, &test_error));
  assert_true(save.was_stored);
  assert_int_equal(events[0].position, 1);
  assert_int_equal(events[1].position, 2);
  assert_int_equal(events[1].created_at, then);
  assert_int_equal(head_of(f), 3);
}

static void an_id_with_other_content_is_a_duplicate(void **state) {
  fixture *f = *state;
  annal_event stored = event_of("a", "A", "{\"k\":1}");
  stored.metadata = "{\"m\":1}";
  stored.metadata_size = 7;
  store_save save = {.events = &stored, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error));
  for (int change = 0; change < 6; change++) {
    annal_event event = stored;
    event.position = event.created_at = 0;
    if (change == 0) event.type = "B";
    if (change == 1) event.version = 2;
    if (change == 2) event.data = "{\"k\":2}";
    if (change == 3) event.metadata = "{\"m\":2}";
    if (change == 4) event.metadata = NULL, event.metadata_size = 0;
    if (change == 5) event.data = "{\"k\":1,\"l\":0}", event.data_size = 13;
    store_save other = {.events = &event, .count = 1};
    assert_fails(store_append(f->store, &other, &test_error), ANNAL_DUPLICATE, "\"a\" is stored at position 1");
    assert_int_equal(event.position, 0);
  }
  assert_int_equal(head_of(f), 1);
}

static void a_save_that_is_stored_in_part_is_a_duplicate(void **state) {
  fixture *f = *state;
  save_one(f, "a", "A", "{}");
  annal_event events[2] = {event_of("a", "A", "{}"), event_of("b", "A", "{}")};
  store_save save = {.events = events, .count = 2};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_DUPLICATE, "\"b\" of the same save is not");
  events[0] = event_of("b", "A", "{}");
  events[1] = event_of("a", "A", "{}");
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_DUPLICATE, "\"b\" of the same save is not");
  assert_int_equal(head_of(f), 1);
}

static void one_id_cannot_come_twice_in_a_save(void **state) {
  fixture *f = *state;
  annal_event events[3] = {event_of("a", "A", "{}"), event_of("b", "A", "{}"), event_of("a", "A", "{}")};
  store_save save = {.events = events, .count = 3};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_DUPLICATE, "\"a\" comes twice");
  assert_int_equal(head_of(f), 0);
}

static void ids_come_before_the_condition(void **state) {
  fixture *f = *state;
  annal_stream stream = {TYPES("A")};
  assert_ok(save_under(f, "a", "A", "{}", stream, NULL, &test_error));
  /* The condition holds no more, but the save is stored already. */
  assert_ok(save_under(f, "a", "A", "{}", stream, NULL, &test_error));
  assert_fails(save_under(f, "a", "A", "{\"k\":1}", stream, NULL, &test_error), ANNAL_DUPLICATE, "");
  assert_int_equal(head_of(f), 1);
}

/* ---- Conditions -------------------------------------------------------------------------------------------------------- */

static void a_condition_refuses_what_is_newer_and_stores_nothing(void **state) {
  fixture *f = *state;
  annal_stream stream = {TYPES("CREATED", "ADDED"), DATA(FIELD("k", "x"))};
  save_one(f, "a", "CREATED", "{\"k\":\"x\"}");
  assert_ok(save_under(f, "b", "ADDED", "{\"k\":\"x\"}", stream, "a", &test_error));
  assert_fails(save_under(f, "c", "ADDED", "{\"k\":\"x\"}", stream, "a", &test_error), ANNAL_CONFLICT,
               "(CREATED, ADDED with k = x) has moved: \"b\" at position 2 is newer than \"a\"");
  assert_string_equal(test_error.where, "streams[1]");
  assert_true(test_error.retryable);
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a b");
  /* Others' events are none of its business. */
  save_one(f, "d", "ADDED", "{\"k\":\"y\"}");
  save_one(f, "e", "REMOVED", "{\"k\":\"x\"}");
  assert_ok(save_under(f, "c", "ADDED", "{\"k\":\"x\"}", stream, "b", &test_error));
}

static void a_condition_without_an_id_wants_no_event(void **state) {
  fixture *f = *state;
  annal_stream stream = {DATA(FIELD("k", "x"))};
  save_one(f, "a", "A", "{\"k\":\"y\"}");
  assert_ok(save_under(f, "b", "A", "{\"k\":\"x\"}", stream, NULL, &test_error));
  assert_fails(save_under(f, "c", "A", "{\"k\":\"x\"}", stream, NULL, &test_error), ANNAL_CONFLICT,
               "(k = x) was to have no event, but \"b\" is there at position 2");
}

static void a_condition_on_an_id_that_is_not_stored_is_a_conflict(void **state) {
  fixture *f = *state;
  annal_stream stream = {DATA(FIELD("k", "x"))};
  save_one(f, "a", "A", "{\"k\":\"x\"}");
  assert_fails(save_under(f, "b", "A", "{}", stream, "gone", &test_error), ANNAL_CONFLICT, "\"gone\", up to which");
  assert_int_equal(head_of(f), 1);
}

/* One row a case: the stream, and whether event c at position 3 (type ADDED, k = x, z = 5) belongs to it. */
static void every_shape_of_condition(void **state) {
  fixture *f = *state;
  save_one(f, "a", "CREATED", "{\"k\":\"x\",\"z\":5}");
  save_one(f, "b", "CREATED", "{\"k\":\"x\",\"z\":5}");
  save_one(f, "c", "ADDED", "{\"k\":\"x\",\"z\":5}");
  const struct {
    annal_stream stream;
    bool matches;
  } cases[] = {
      {{.all = true}, true},
      {{TYPES("ADDED")}, true},
      {{TYPES("CREATED")}, false},
      {{TYPES("REMOVED", "ADDED", "OTHER")}, true},
      {{DATA(FIELD("k", "x"))}, true},
      {{DATA(FIELD("k", "y"))}, false},
      {{DATA(FIELD("k", "y", "x"))}, true},
      {{DATA(FIELD("z", "5"))}, true},
      {{DATA(FIELD("z", "5.0"))}, false},
      {{TYPES("ADDED"), DATA(FIELD("k", "x"), FIELD("z", "4", "5"))}, true},
      {{TYPES("ADDED"), DATA(FIELD("k", "x"), FIELD("z", "6"))}, false},
      {{TYPES("CREATED"), DATA(FIELD("k", "x"))}, false},
  };
  char id[32];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(id, sizeof id, "case%zu", i);
    int result = save_under(f, id, "CASE", "{}", cases[i].stream, "b", &test_error);
    if (result != (cases[i].matches ? ANNAL_CONFLICT : ANNAL_OK)) fail_msg("case %zu: %s", i, test_error.message);
    if (cases[i].matches) assert_non_null(strstr(test_error.message, "\"c\" at position 3"));
    id[0] = 'C';
    annal_stream seen = cases[i].stream;
    if (!seen.all) assert_ok(save_under(f, id, "CASE", "{}", seen, "c", &test_error));
  }
}

static void any_of_several_streams_refuses(void **state) {
  fixture *f = *state;
  save_one(f, "a", "A", "{\"k\":\"x\"}");
  save_one(f, "b", "B", "{\"k\":\"y\"}");
  annal_event event = event_of("c", "A", "{}");
  annal_stream streams[2] = {{TYPES("A"), .after_id = "a"}, {TYPES("B"), DATA(FIELD("k", "y"))}};
  annal_condition condition = {.size = sizeof condition, .streams = streams, .stream_count = 2};
  store_save save = {.events = &event, .count = 1, .condition = &condition};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_CONFLICT, "(B with k = y) was to have no event, but \"b\"");
  assert_string_equal(test_error.where, "streams[2]");
  /* One id for all, and a stream's own in its place. */
  condition.latest_event_id = "a";
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_CONFLICT, "\"b\" at position 2 is newer than \"a\"");
  streams[1].after_id = "b";
  assert_ok(store_append(f->store, &save, &test_error));
  assert_int_equal(event.position, 3);
}

static void a_condition_must_say_what_it_guards(void **state) {
  fixture *f = *state;
  annal_stream nothing = {0}, position = {TYPES("A"), .after = 3}, no_values = {DATA({.name = "k", .values = TEXTS("x")})};
  annal_stream bad_name = {DATA(FIELD("k\"; drop", "x"))}, too_much = {TYPES("A"), .all = true}, empty_type = {TYPES("")};
  assert_fails(save_under(f, "a", "A", "{}", nothing, NULL, &test_error), ANNAL_MISUSE, "all = true");
  assert_fails(save_under(f, "a", "A", "{}", position, NULL, &test_error), ANNAL_MISUSE, "never by a position");
  assert_fails(save_under(f, "a", "A", "{}", no_values, NULL, &test_error), ANNAL_MISUSE, "\"k\" is empty");
  assert_fails(save_under(f, "a", "A", "{}", bad_name, NULL, &test_error), ANNAL_MISUSE, "no name of a field");
  assert_fails(save_under(f, "a", "A", "{}", too_much, NULL, &test_error), ANNAL_MISUSE, "says all");
  assert_fails(save_under(f, "a", "A", "{}", empty_type, NULL, &test_error), ANNAL_INVALID, "event type is empty");
  annal_event event = event_of("a", "A", "{}");
  annal_condition no_streams = {.size = sizeof no_streams};
  store_save save = {.events = &event, .count = 1, .condition = &no_streams};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_MISUSE, "guards nothing");
  save = (store_save){.events = &event};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_MISUSE, "without events");
  assert_int_equal(head_of(f), 0);
}

/* ---- Batches ----------------------------------------------------------------------------------------------------------- */

static void later_saves_of_a_batch_see_earlier_ones(void **state) {
  fixture *f = *state;
  annal_event events[5] = {event_of("a", "A", "{\"k\":\"x\"}"), event_of("b", "A", "{\"k\":\"x\"}"),
                           event_of("a", "A", "{\"k\":\"x\"}"), event_of("a", "A", "{\"k\":\"y\"}"),
                           event_of("c", "A", "{\"k\":\"x\"}")};
  annal_stream stream = {DATA(FIELD("k", "x"))};
  annal_condition none = {.size = sizeof none, .streams = &stream, .stream_count = 1};
  annal_condition after_a = {.size = sizeof after_a, .streams = &stream, .stream_count = 1, .latest_event_id = "a"};
  store_save saves[5];
  store_entry entries[5] = {0};
  for (size_t i = 0; i < 5; i++) {
    saves[i] = (store_save){.events = &events[i], .count = 1};
    entries[i].save = &saves[i];
  }
  saves[0].condition = saves[1].condition = &none;
  saves[4].condition = &after_a;
  f->store->backend->append(f->store, entries, 5);
  assert_int_equal(entries[0].result, ANNAL_OK);
  assert_int_equal(entries[1].result, ANNAL_CONFLICT); /* the first has come before it */
  assert_non_null(strstr(entries[1].error.message, "\"a\" is there at position 1"));
  assert_int_equal(entries[2].result, ANNAL_OK);
  assert_true(saves[2].was_stored);
  assert_int_equal(events[2].position, 1);
  assert_int_equal(entries[3].result, ANNAL_DUPLICATE);
  assert_int_equal(entries[4].result, ANNAL_OK);
  assert_int_equal(events[4].position, 2);
  assert_string_equal(ids_of_stream(f, (annal_stream){.all = true}), "a c");
}

/* A batch in which the save in the middle, of two events, holds one that the table refuses: it alone fails. */
static void expect_own_fault(fixture *f, const char *bad_data, const char *part) {
  char text[3][16];
  static int number;
  int64_t head = head_of(f);
  number++;
  for (int i = 0; i < 3; i++) snprintf(text[i], sizeof text[i], "%d%c", number, "abd"[i]);
  annal_event first = event_of(text[0], "A", "{}"), last = event_of(text[2], "A", "{}");
  annal_event pair[2] = {event_of(text[1], "A", "{}"), event_of("c", "BAD", bad_data)};
  store_save saves[3] = {{.events = &first, .count = 1}, {.events = pair, .count = 2}, {.events = &last, .count = 1}};
  store_entry entries[3] = {{.save = &saves[0]}, {.save = &saves[1]}, {.save = &saves[2]}};
  f->store->backend->append(f->store, entries, 3);
  for (int i = 0; i < 3; i++)
    if (entries[i].result != (i == 1 ? ANNAL_INVALID : ANNAL_OK))
      fail_msg("%s: save %d: %d %s", part, i, entries[i].result, entries[i].error.message);
  if (!strstr(entries[1].error.message, part)) fail_msg("\"%s\" is not in \"%s\"", part, entries[1].error.message);
  assert_false(entries[1].error.retryable);
  assert_int_equal(first.position, head + 1);
  assert_int_equal(last.position, head + 2);
  assert_int_equal(pair[0].position, 0);
  assert_int_equal(head_of(f), head + 2);
  /* And alone. */
  store_save again = {.events = pair, .count = 2};
  assert_fails(store_append(f->store, &again, &test_error), ANNAL_INVALID, part);
  store_save one = {.events = &pair[1], .count = 1};
  assert_fails(store_append(f->store, &one, &test_error), ANNAL_INVALID, part);
  assert_int_equal(pair[1].position, 0);
  assert_int_equal(head_of(f), head + 2);
}

static void a_refused_event_fails_its_own_save_alone(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip(); /* its rule is set past the store */
  fixture_sql(f, "CREATE TRIGGER bad BEFORE INSERT ON events WHEN new.type = 'BAD' BEGIN SELECT raise(ABORT, 'BAD is bad'); END",
              "ALTER TABLE events ADD CONSTRAINT bad CHECK (type <> 'BAD')");
  expect_own_fault(f, "{}", "bad");
}

/* However a trigger or an index of the user's refuses: some of these ways end the transaction of all. */
static void every_way_to_refuse_is_one_saves_own(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip();
  static const char *const sqlite_ways[] = {"ABORT, 'no'", "ROLLBACK, 'no'", "FAIL, 'no'"};
  static const char *const postgres_ways[] = {"raise exception 'no'", "raise exception 'no' using errcode = 'U0001'",
                                              "raise exception 'no' using errcode = '45000'"};
  for (int way = 0; way < 3; way++)
    for (int after = 0; after < 2; after++) {
      char sqlite[256], postgres[512];
      const char *when = after ? "AFTER" : "BEFORE";
      snprintf(sqlite, sizeof sqlite, "CREATE TRIGGER bad %s INSERT ON events WHEN new.type = 'BAD' BEGIN SELECT raise(%s); END",
               when, sqlite_ways[way]);
      snprintf(postgres, sizeof postgres,
               "create function bad() returns trigger language plpgsql as $$ begin %s; end $$; "
               "create trigger bad %s insert on events for each row when (new.type = 'BAD') execute function bad()",
               postgres_ways[way], when);
      fixture_sql(f, sqlite, postgres);
      expect_own_fault(f, "{}", "no");
      fixture_sql(f, "DROP TRIGGER bad", "drop trigger bad on events; drop function bad()");
    }
  if (fixture_runs_on != ON_POSTGRES) return;
  /* Class 54: an index of the user's on a value that is too long for one. */
  fixture_sql(f, "", "create index wide on events ((data ->> 'wide'))");
  char *data = malloc(40000);
  size_t used = (size_t)sprintf(data, "{\"wide\":\"");
  for (uint64_t x = 1; used < 20000; x = x * 6364136223846793005u + 1442695040888963407u) /* what compression cannot make small */
    used += (size_t)sprintf(data + used, "%016llx", (unsigned long long)(x ^ x >> 29));
  strcpy(data + used, "\"}");
  expect_own_fault(f, data, "index row");
  free(data);
}

/* A trigger that drops an event without an error: the save must not be told that it is stored. */
static void an_event_that_the_table_drops_is_no_success(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip();
  fixture_sql(f, "CREATE TRIGGER bad BEFORE INSERT ON events WHEN new.type = 'BAD' BEGIN SELECT raise(IGNORE); END",
              "create function bad() returns trigger language plpgsql as $$ begin return null; end $$; "
              "create trigger bad before insert on events for each row when (new.type = 'BAD') execute function bad()");
  expect_own_fault(f, "{}", "dropped");
  if (fixture_runs_on != ON_POSTGRES) return;
  /* SQLite's triggers cannot do this: the event is there, and not as it was given. */
  static const char *const changes[] = {"new.id := 'other'", "new.position := new.position + 7"};
  for (int i = 0; i < 2; i++) {
    char sql[256];
    snprintf(sql, sizeof sql,
             "create or replace function bad() returns trigger language plpgsql as $$ begin %s; return new; end $$", changes[i]);
    fixture_sql(f, "", sql);
    expect_own_fault(f, "{}", "changed");
  }
}

/* Nothing refused either of them before the batch, so that only the first can refuse the second. */
static void of_a_batch_the_later_save_sees_the_earlier(void **state) {
  fixture *f = *state;
  save_one(f, "base", "A", "{\"k\":\"x\"}");
  static const char *const data[] = {"{\"k\":\"x\"}", "{\"n\":\"x\"}"};
  for (int field = 0; field < 2; field++) { /* the one that the event bears, and one that it does not */
    annal_stream stream = {DATA(FIELD(field ? "n" : "k", "x"))};
    annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
    if (field == 0) condition.latest_event_id = "base";
    annal_event events[3] = {event_of(field ? "n1" : "k1", "A", data[0]), event_of(field ? "n2" : "k2", "A", data[field]),
                             event_of(field ? "n3" : "k3", "A", "{}")};
    store_save saves[3] = {{.events = &events[0], .count = 1, .condition = field ? NULL : &condition},
                           {.events = &events[1], .count = 1, .condition = &condition},
                           {.events = &events[2], .count = 1}};
    store_entry entries[3] = {{.save = &saves[0]}, {.save = &saves[1]}, {.save = &saves[2]}};
    f->store->backend->append(f->store, entries, 3);
    assert_int_equal(entries[0].result, ANNAL_OK);
    assert_int_equal(entries[1].result, field ? ANNAL_OK : ANNAL_CONFLICT);
    assert_int_equal(entries[2].result, ANNAL_OK);
  }
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "base k1 k3 n1 n2 n3");
}

static void a_save_may_be_larger_than_a_batch(void **state) {
  fixture *f = *state;
  enum { MANY = 2 * LIMIT_BATCH_EVENTS + 7 };
  annal_event *events = calloc(MANY, sizeof *events);
  char(*ids)[24] = calloc(MANY, sizeof *ids);
  for (size_t i = 0; i < MANY; i++) {
    snprintf(ids[i], sizeof ids[i], "e%zu", i);
    events[i] = event_of(ids[i], i % 2 ? "ODD" : "EVEN", "{\"k\":\"x\"}");
  }
  store_save save = {.events = events, .count = MANY};
  assert_ok(store_append(f->store, &save, &test_error));
  assert_int_equal(events[MANY - 1].position, MANY);
  assert_int_equal(head_of(f), MANY);
  for (size_t i = 0; i < MANY; i++) events[i].position = 0;
  assert_ok(store_append(f->store, &save, &test_error));
  assert_true(save.was_stored);
  assert_int_equal(events[MANY - 1].position, MANY);
  free(events);
  free(ids);
}

static void an_event_may_be_as_large_as_allowed(void **state) {
  fixture *f = *state;
  char *data = long_json("{\"k\":\"v\",\"text\":\"", LIMIT_EVENT_BYTES);
  for (int i = 0; i < 3; i++) save_one(f, (const char *[]){"a", "b", "c"}[i], "LARGE", data);
  assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("k", "v"))}), "a b c");
  free(data);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest appending[] = {
      TEST(saved_events_come_back_as_they_were),
      TEST(time_never_steps_back),
      TEST(time_stands_still_until_the_clock_has_caught_up),
      TEST(import_keeps_times_that_are_in_order),
      TEST(a_repeated_save_answers_what_was_stored),
      TEST(an_id_with_other_content_is_a_duplicate),
      TEST(a_save_that_is_stored_in_part_is_a_duplicate),
      TEST(one_id_cannot_come_twice_in_a_save),
      TEST(ids_come_before_the_condition),
      TEST(a_condition_refuses_what_is_newer_and_stores_nothing),
      TEST(a_condition_without_an_id_wants_no_event),
      TEST(a_condition_on_an_id_that_is_not_stored_is_a_conflict),
      TEST(every_shape_of_condition),
      TEST(any_of_several_streams_refuses),
      TEST(a_condition_must_say_what_it_guards),
      TEST(later_saves_of_a_batch_see_earlier_ones),
      TEST(a_refused_event_fails_its_own_save_alone),
      TEST(every_way_to_refuse_is_one_saves_own),
      TEST(an_event_that_the_table_drops_is_no_success),
      TEST(of_a_batch_the_later_save_sees_the_earlier),
      TEST(a_save_may_be_larger_than_a_batch),
      TEST(an_event_may_be_as_large_as_allowed),
  };
  return RUN_ON_ALL(appending);
}
