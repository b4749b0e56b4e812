/* Reading: every shape of selection with random data against a naive model in memory, and what reads promise besides. */
#include "fixture.h"

/* ---- The model --------------------------------------------------------------------------------------------------------- */

/* A value of a field as JSON, and the text that a filter must name to match it; NULL: nothing matches. */
typedef struct model_value {
  const char *json;
  const char *text;
} model_value;

static const model_value values[] = {
    {"\"x\"", "x"},
    {"\"y\"", "y"},
    {"\"\"", ""},
    {"1", "1"},
    {"\"1\"", "1"},
    {"1.0", "1.0"},
    {"-0.0", "-0.0"},
    {"true", "true"},
    {"\"true\"", "true"},
    {"false", "false"},
    {"null", NULL},
    {"\"null\"", "null"},
    {"9223372036854775807", "9223372036854775807"},
    {"1e300", "1e300"},
    {"{\"a\":1}", NULL},
    {"\"{\\\"a\\\":1}\"", "{\"a\":1}"},
    {"[1]", NULL},
    {"\"[1]\"", "[1]"},
    {"[]", NULL},
    {"\"ü' \\\"€\"", "ü' \"€"},
};
static const char *const asked[] = {"x",
                                    "y",
                                    "",
                                    "1",
                                    "1.0",
                                    "1.00",
                                    "-0.0",
                                    "0",
                                    "true",
                                    "false",
                                    "null",
                                    "9223372036854775807",
                                    "9.223372036854775807e18",
                                    "1e300",
                                    "{\"a\":1}",
                                    "[1]",
                                    "[]",
                                    "ü' \"€",
                                    "X",
                                    "nobody"};
static const char *const types[] = {"A", "B", "C", "a", "Ä"};
static const char *const fields[] = {"k", "m", "n"}; /* k and n are declared, m is not */

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define EVENTS 2600 /* more than two pages */

typedef struct model_event {
  char id[16];
  const char *type;
  const model_value *fields[3]; /* NULL: absent */
  char data[256];
} model_event;

static model_event model[EVENTS];
static unsigned seed;

static unsigned next_random(unsigned below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static void make_event(model_event *event, size_t number) {
  snprintf(event->id, sizeof event->id, "e%zu", number + 1);
  event->type = types[next_random(LENGTH(types))];
  size_t used = (size_t)snprintf(event->data, sizeof event->data, "{");
  for (size_t i = 0; i < 3; i++) {
    event->fields[i] = next_random(4) ? &values[next_random(LENGTH(values))] : NULL;
    if (!event->fields[i]) continue;
    used += (size_t)snprintf(event->data + used, sizeof event->data - used, "%s\"%s\":%s", used > 1 ? "," : "", fields[i],
                             event->fields[i]->json);
  }
  snprintf(event->data + used, sizeof event->data - used, "}");
}

static void fill(fixture *f, size_t count) {
  annal_event *events = calloc(count, sizeof *events);
  for (size_t i = 0; i < count; i++) {
    make_event(&model[i], i);
    events[i] = event_of(model[i].id, model[i].type, model[i].data);
  }
  for (size_t done = 0; done < count;) {
    size_t part = count - done < 400 ? count - done : 1 + next_random(400);
    store_save save = {.events = events + done, .count = part};
    assert_ok(store_append(f->store, &save, &test_error));
    done += part;
  }
  free(events);
}

static bool field_matches(const model_event *event, const annal_field *filter) {
  for (size_t i = 0; i < 3; i++) {
    if (strcmp(fields[i], filter->name) != 0) continue;
    if (!event->fields[i] || !event->fields[i]->text) return false;
    for (size_t j = 0; j < filter->value_count; j++)
      if (strcmp(filter->values[j], event->fields[i]->text) == 0) return true;
  }
  return false;
}

static bool stream_matches(const model_event *event, const annal_stream *stream) {
  bool type = stream->type_count == 0;
  for (size_t i = 0; i < stream->type_count; i++) type |= strcmp(stream->types[i], event->type) == 0;
  for (size_t i = 0; i < stream->data_count; i++)
    if (!field_matches(event, &stream->data[i])) return false;
  return type;
}

static bool selected(const annal_selection *selection, size_t index) {
  int64_t position = (int64_t)index + 1;
  if (position <= selection->after || (selection->before && position >= selection->before)) return false;
  for (size_t i = 0; i < selection->stream_count; i++)
    if (position > selection->streams[i].after && stream_matches(&model[index], &selection->streams[i])) return true;
  return selection->stream_count == 0;
}

/* ---- Random selections ------------------------------------------------------------------------------------------------- */

typedef struct random_stream {
  const char *types[4];
  annal_field fields[2];
  const char *values[2][4];
} random_stream;

static annal_stream make_stream(random_stream *memory) {
  annal_stream stream = {0};
  stream.type_count = next_random(4);
  for (size_t i = 0; i < stream.type_count; i++) memory->types[i] = types[next_random(LENGTH(types))];
  if (stream.type_count) stream.types = memory->types;
  stream.data_count = next_random(3);
  for (size_t i = 0; i < stream.data_count; i++) {
    memory->fields[i] =
        (annal_field){.name = fields[next_random(3)], .values = memory->values[i], .value_count = 1 + next_random(4)};
    for (size_t j = 0; j < memory->fields[i].value_count; j++) memory->values[i][j] = asked[next_random(LENGTH(asked))];
  }
  if (stream.data_count) stream.data = memory->fields;
  stream.all = !stream.type_count && !stream.data_count;
  if (next_random(4) == 0) stream.after = next_random(EVENTS);
  return stream;
}

static void expect_event(const annal_event *got, size_t index) {
  const model_event *event = &model[index];
  assert_int_equal(got->position, (int64_t)index + 1);
  assert_string_equal(got->id, event->id);
  assert_string_equal(got->type, event->type);
  assert_string_equal(got->data, event->data);
}

/* Reads to the end and compares; `count` events are in the model. */
static void expect_selection(fixture *f, const annal_selection *selection, size_t count) {
  store_cursor *cursor;
  store_page page = {0};
  assert_ok(store_read(f->store, selection, &cursor, &test_error));
  size_t at = 0;
  uint64_t seen = 0;
  for (size_t i = 0; i < count; i++) {
    size_t index = selection->reverse ? count - 1 - i : i;
    if (!selected(selection, index)) continue;
    if (selection->limit && seen++ == selection->limit) break;
    if (at == page.count) {
      assert_ok(store_cursor_next(cursor, &page, &test_error));
      at = 0;
      if (page.count == 0) fail_msg("event %zu is missing", index + 1);
    }
    expect_event(&page.events[at++], index);
  }
  assert_int_equal(at, page.count);
  assert_ok(store_cursor_next(cursor, &page, &test_error));
  assert_int_equal(page.count, 0);
  assert_ok(store_cursor_next(cursor, &page, &test_error)); /* and stays over */
  assert_int_equal(page.count, 0);
  store_cursor_close(cursor);
}

static void every_selection_reads_what_the_model_says(void **state) {
  fixture *f = *state;
  seed = 20;
  fill(f, EVENTS);
  for (int round = 0; round < 300; round++) {
    random_stream memory[4];
    annal_stream streams[4];
    annal_selection selection = {.size = sizeof selection, .streams = streams, .stream_count = next_random(5)};
    for (size_t i = 0; i < selection.stream_count; i++) streams[i] = make_stream(&memory[i]);
    if (next_random(3) == 0) selection.after = next_random(EVENTS + 5);
    if (next_random(3) == 0) selection.before = 1 + next_random(EVENTS + 5);
    if (next_random(3) == 0) selection.limit = 1 + next_random(next_random(2) ? 20 : EVENTS);
    selection.reverse = next_random(2);
    expect_selection(f, &selection, EVENTS);
  }
}

/* Conditions ask the same question as reads: a save passes if and only if nothing matches above what was seen. */
static void every_condition_passes_as_the_model_says(void **state) {
  fixture *f = *state;
  seed = 21;
  enum { COUNT_BEFORE = 300, ROUNDS = 300 };
  fill(f, COUNT_BEFORE);
  size_t count = COUNT_BEFORE, accepted = 0;
  for (int round = 0; round < ROUNDS; round++) {
    random_stream memory[3];
    annal_stream streams[3];
    annal_condition condition = {.size = sizeof condition, .streams = streams, .stream_count = 1 + next_random(3)};
    size_t seen = count - next_random(next_random(2) ? 4 : 40), seen_by[3];
    condition.latest_event_id = next_random(8) ? model[seen - 1].id : NULL;
    bool conflict = false;
    for (size_t i = 0; i < condition.stream_count; i++) {
      streams[i] = make_stream(&memory[i]);
      streams[i].after = 0;
      seen_by[i] = condition.latest_event_id ? seen : 0;
      if (next_random(4) == 0) {
        seen_by[i] = count - next_random(10);
        streams[i].after_id = model[seen_by[i] - 1].id;
      }
      for (size_t j = seen_by[i]; j < count; j++) conflict |= stream_matches(&model[j], &streams[i]);
    }
    make_event(&model[count], count);
    annal_event event = event_of(model[count].id, model[count].type, model[count].data);
    store_save save = {.events = &event, .count = 1, .condition = &condition};
    int result = store_append(f->store, &save, &test_error);
    if (result != (conflict ? ANNAL_CONFLICT : ANNAL_OK)) fail_msg("round %d: %d: %s", round, result, test_error.message);
    if (!conflict) count++, accepted++;
  }
  assert_in_range(accepted, 20, ROUNDS - 20);
  expect_selection(f, &(annal_selection){.size = sizeof(annal_selection)}, count);
}

/* ---- What reads promise besides ---------------------------------------------------------------------------------------- */

static void an_empty_store_reads_as_nothing(void **state) {
  fixture *f = *state;
  store_head_info head = {.position = 7, .id = "x"};
  assert_ok(store_head(f->store, &head, &test_error));
  assert_int_equal(head.position, 0);
  assert_string_equal(head.id, "");
  expect_selection(f, &(annal_selection){.size = sizeof(annal_selection)}, 0);
}

static void an_id_is_looked_for_together_with_the_head(void **state) {
  fixture *f = *state;
  store_head_info head = {.position = 7, .id = "x"};
  int64_t position = 7;
  assert_ok(store_find(f->store, "a", &head, &position, &test_error));
  assert_int_equal(head.position, 0);
  assert_string_equal(head.id, "");
  assert_int_equal(position, 0);
  save_one(f, "a", "T", "{}");
  save_one(f, "b", "T", "{}");
  static const struct {
    const char *id;
    int64_t position;
  } cases[] = {{"a", 1}, {"b", 2}, {"c", 0}};
  for (size_t i = 0; i < 3; i++) {
    assert_ok(store_find(f->store, cases[i].id, &head, &position, &test_error));
    assert_int_equal(position, cases[i].position);
    assert_int_equal(head.position, 2);
    assert_string_equal(head.id, "b");
  }
}

static void a_read_goes_no_further_than_the_head_it_began_with(void **state) {
  fixture *f = *state;
  seed = 22;
  fill(f, 1500); /* more than a page */
  store_cursor *cursor;
  store_page page;
  annal_selection everything = {.size = sizeof everything};
  assert_ok(store_read(f->store, &everything, &cursor, &test_error));
  save_one(f, "late", "A", "{}");
  size_t count = 0;
  do {
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    count += page.count;
    assert_in_range(page.count, 0, LIMIT_PAGE_EVENTS);
  } while (page.count);
  store_cursor_close(cursor);
  assert_int_equal(count, 1500);
  assert_int_equal(head_of(f), 1501);
}

static void places_are_positions_or_ids(void **state) {
  fixture *f = *state;
  for (int i = 0; i < 5; i++) save_one(f, (const char *[]){"a", "b", "c", "d", "e"}[i], "A", "{}");
  annal_selection selection = {.size = sizeof selection, .after_id = "a", .before_id = "e"};
  assert_string_equal(ids_of(f, &selection), "b c d");
  selection = (annal_selection){.size = sizeof selection, .after = 3};
  assert_string_equal(ids_of(f, &selection), "d e");
  annal_stream streams[2] = {{TYPES("A"), .after_id = "d"}, {TYPES("B")}};
  selection = (annal_selection){.size = sizeof selection, .streams = streams, .stream_count = 2};
  assert_string_equal(ids_of(f, &selection), "e");
  selection = (annal_selection){.size = sizeof selection, .before = 1};
  assert_string_equal(ids_of(f, &selection), "");
  store_cursor *cursor;
  int64_t position;
  selection = (annal_selection){.size = sizeof selection, .after_id = "nobody"};
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_NOT_FOUND, "\"nobody\"");
  assert_fails(store_position_of(f->store, "no'body", &position, &test_error), ANNAL_NOT_FOUND, "\"no'body\"");
  assert_fails(store_position_of(f->store, "", &position, &test_error), ANNAL_INVALID, "empty");
  selection = (annal_selection){.size = sizeof selection, .after_id = "a", .after = 1};
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_MISUSE, "as a position and as an event id");
  selection = (annal_selection){.size = sizeof selection, .after = -1};
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_MISUSE, "-1");
  assert_ok(store_position_of(f->store, "c", &position, &test_error));
  assert_int_equal(position, 3);
}

static void a_selection_must_say_what_it_selects(void **state) {
  fixture *f = *state;
  char name[80];
  memset(name, 'n', 64);
  name[64] = 0;
  char value[LIMIT_VALUE_BYTES + 2];
  memset(value, 'v', sizeof value - 1);
  value[sizeof value - 1] = 0;
  const annal_field field = {.name = "k", .values = TEXTS("x"), .value_count = 1};
  const struct {
    annal_stream stream;
    int code;
    const char *message;
  } cases[] = {
      {{0}, ANNAL_MISUSE, "neither types nor data"},
      {{.types = TEXTS("A")}, ANNAL_MISUSE, "list of types is empty"},
      {{.data = &field}, ANNAL_MISUSE, "data is empty"},
      {{.all = true, TYPES("A")}, ANNAL_MISUSE, "says all"},
      {{DATA(FIELD("", "x"))}, ANNAL_MISUSE, "no name of a field"},
      {{DATA(FIELD("1a", "x"))}, ANNAL_MISUSE, "no name of a field"},
      {{DATA(FIELD("a b", "x"))}, ANNAL_MISUSE, "no name of a field"},
      {{DATA(FIELD(name, "x"))}, ANNAL_MISUSE, "no name of a field"},
      {{DATA(FIELD("k", NULL))}, ANNAL_MISUSE, "is missing"},
      {{DATA(FIELD("k", value))}, ANNAL_INVALID, "at most 512"},
      {{DATA(FIELD("k", "\xff"))}, ANNAL_INVALID, "UTF-8"},
      {{TYPES("A"), .after = -2}, ANNAL_MISUSE, "-2"},
  };
  for (size_t i = 0; i < LENGTH(cases); i++) {
    annal_selection selection = {.size = sizeof selection, .streams = &cases[i].stream, .stream_count = 1};
    store_cursor *cursor;
    assert_fails(store_read(f->store, &selection, &cursor, &test_error), cases[i].code, cases[i].message);
  }
  const annal_stream one = {TYPES("A", "B", "C"), DATA(FIELD("k", "x", "y"))};
  annal_stream *many = calloc(LIMIT_STREAMS + 1, sizeof *many);
  for (size_t i = 0; i <= LIMIT_STREAMS; i++) many[i] = one;
  annal_selection selection = {.size = sizeof selection, .streams = many, .stream_count = LIMIT_STREAMS + 1};
  store_cursor *cursor;
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_MISUSE, "at most 256");
  /* As many as allowed work. */
  save_one(f, "a", "B", "{\"k\":\"y\"}");
  selection.stream_count = LIMIT_STREAMS;
  assert_string_equal(ids_of(f, &selection), "a");
  free(many);
}

static void long_lists_of_values_work(void **state) {
  fixture *f = *state;
  save_one(f, "a", "A", "{\"k\":\"v123\"}");
  save_one(f, "b", "A", "{\"m\":\"v4999\"}");
  save_one(f, "c", "A", "{\"k\":\"v5000\"}");
  static char texts[LIMIT_STREAM_VALUES + 1][8];
  static const char *list[LIMIT_STREAM_VALUES + 1];
  for (size_t i = 0; i <= LIMIT_STREAM_VALUES; i++) {
    snprintf(texts[i], sizeof texts[i], "v%zu", i);
    list[i] = texts[i];
  }
  annal_field field = {.name = "k", .values = list, .value_count = 5000};
  annal_field undeclared = {.name = "m", .values = list, .value_count = 5000};
  annal_stream streams[2] = {{.data = &field, .data_count = 1}, {.data = &undeclared, .data_count = 1}};
  annal_selection selection = {.size = sizeof selection, .streams = streams, .stream_count = 2};
  assert_string_equal(ids_of(f, &selection), "a b");
  field.value_count = LIMIT_STREAM_VALUES + 1;
  selection.stream_count = 1;
  store_cursor *cursor;
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_MISUSE, "10001 types and values");
}

static void a_cursor_keeps_its_own_copy_of_the_streams(void **state) {
  fixture *f = *state;
  seed = 23;
  fill(f, 2200);
  char type[] = "A", name[] = "k", value[] = "x";
  const char *type_list[] = {type}, *value_list[] = {value};
  annal_field field = {.name = name, .values = value_list, .value_count = 1};
  annal_stream streams[2] = {{.types = type_list, .type_count = 1}, {.data = &field, .data_count = 1}};
  annal_selection selection = {.size = sizeof selection, .streams = streams, .stream_count = 2};
  char *expected = strdup(ids_of(f, &selection));
  store_cursor *cursor;
  store_page page;
  assert_ok(store_read(f->store, &selection, &cursor, &test_error));
  type[0] = name[0] = value[0] = '?';
  memset(&field, 0, sizeof field);
  memset(streams, 0, sizeof streams);
  size_t room = strlen(expected) + 32;
  char *got = calloc(1, room);
  do {
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    for (size_t i = 0; i < page.count && strlen(got) <= strlen(expected); i++) {
      if (*got) append_text(got, room, " ");
      append_text(got, room, page.events[i].id);
    }
  } while (page.count);
  store_cursor_close(cursor);
  assert_string_equal(got, expected);
  free(expected);
  free(got);
}

static void pages_of_large_events_stay_small(void **state) {
  fixture *f = *state;
  size_t size = 1 << 20;
  char *data = long_json("{\"t\":\"", size); /* not declared: a declared one may have 512 bytes, for it is indexed */
  char id[8];
  for (int i = 0; i < 12; i++) {
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, "LARGE", data);
  }
  for (int reverse = 0; reverse < 2; reverse++) {
    annal_selection selection = {.size = sizeof selection, .reverse = reverse};
    store_cursor *cursor;
    store_page page;
    size_t count = 0;
    assert_ok(store_read(f->store, &selection, &cursor, &test_error));
    do {
      assert_ok(store_cursor_next(cursor, &page, &test_error));
      assert_in_range(page.count, 0, LIMIT_PAGE_BYTES / size + 1);
      for (size_t i = 0; i < page.count; i++, count++)
        assert_int_equal(page.events[i].position, reverse ? 12 - (int64_t)count : (int64_t)count + 1);
    } while (page.count);
    store_cursor_close(cursor);
    assert_int_equal(count, 12);
  }
  free(data);
}

static void more_declared_fields_add_indexes_and_fewer_drop_none(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip(); /* nothing is there to be opened again */
  seed = 24;
  fill(f, 300);
  const char *more[] = {"k", "m"};
  f->options.data_indexes = more;
  f->options.data_index_count = 2;
  fixture_reopen(f);
  annal_stream stream = {DATA(FIELD("m", "x", "1"))};
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = 1};
  expect_selection(f, &selection, 300);
  f->options.data_index_count = 0;
  fixture_reopen(f);
  stream = (annal_stream){DATA(FIELD("n", "1", "true"))};
  expect_selection(f, &selection, 300);
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error)); /* every index of the three is there */
  assert_int_equal(findings, 0);
}

/* ---- By time ------------------------------------------------------------------------------------------------------------- */

static void a_time_means_the_last_event_stored_by_then(void **state) {
  fixture *f = *state;
  if (fixture_without_clock) skip(); /* it sets the time */
  int64_t position, start = f->now;
  assert_ok(store_position_at_time(f->store, start, &position, &test_error));
  assert_int_equal(position, 0);
  for (int i = 1; i <= 20; i++) { /* pairs of one time, ten microseconds apart */
    char id[8];
    f->now = start + INT64_C(10) * (i / 2);
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, "A", "{}");
  }
  for (int64_t late = -1; late <= 105; late++) {
    int64_t wanted = late < 0 ? 0 : late / 10 >= 10 ? 20 : late / 10 * 2 + 1;
    assert_ok(store_position_at_time(f->store, start + late, &position, &test_error));
    if (position != wanted) fail_msg("%lld us: %lld instead of %lld", (long long)late, (long long)position, (long long)wanted);
  }
  assert_ok(store_position_at_time(f->store, INT64_MAX, &position, &test_error));
  assert_int_equal(position, 20);
  assert_ok(store_position_at_time(f->store, INT64_MIN, &position, &test_error));
  assert_int_equal(position, 0);
  if (fixture_runs_on == IN_MEMORY) return;
  fixture_sql(f, "DELETE FROM events WHERE position = 10",
              "alter table events disable trigger user; delete from events where position = 10");
  assert_fails(store_position_at_time(f->store, start, &position, &test_error), ANNAL_CORRUPT, "missing");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest reading[] = {
      TEST(every_selection_reads_what_the_model_says),
      TEST(every_condition_passes_as_the_model_says),
      TEST(an_empty_store_reads_as_nothing),
      TEST(an_id_is_looked_for_together_with_the_head),
      TEST(a_read_goes_no_further_than_the_head_it_began_with),
      TEST(places_are_positions_or_ids),
      TEST(a_selection_must_say_what_it_selects),
      TEST(long_lists_of_values_work),
      TEST(a_cursor_keeps_its_own_copy_of_the_streams),
      TEST(pages_of_large_events_stay_small),
      TEST(more_declared_fields_add_indexes_and_fewer_drop_none),
      TEST(a_time_means_the_last_event_stored_by_then),
  };
  return RUN_ON_ALL(reading);
}
