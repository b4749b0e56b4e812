/* Opening: what is made, what is refused and left as it is, what the options add. On every backend that can be opened twice. */
#include "fixture.h"

/* Tests that open a second time have nothing to open in memory. */
static bool in_memory(void) { return fixture_runs_on == IN_MEMORY; }

static int open_again(fixture *f, annal_error *error) {
  store_close(f->store);
  f->store = NULL;
  return store_open(&f->env, f->location, &f->options, &f->store, error);
}

/* ---- What is there stays ----------------------------------------------------------------------------------------------- */

static void a_store_keeps_its_events(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  for (int i = 0; i < 3; i++) save_one(f, (const char *[]){"a", "b", "c"}[i], "A", "{\"k\":\"x\"}");
  for (int i = 0; i < 3; i++) {
    fixture_reopen(f);
    assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("k", "x"))}), "a b c");
  }
  save_one(f, "d", "A", "{}");
  assert_int_equal(head_of(f), 4);
}

static void a_table_that_annal_did_not_make_is_left_as_it_is(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  save_one(f, "a", "A", "{}");
  store_close(f->store);
  f->store = NULL;
  const char *drop = "DROP TABLE annal_meta";
  fixture_sql(f, drop, NULL);
  assert_fails(open_again(f, &test_error), ANNAL_CORRUPT, "that annal did not make");
  fixture_sql(f, "INSERT INTO events (position, id, type, version, data, created_at) VALUES (2, 'b', 'B', 1, '{}', 5)",
              "INSERT INTO events (position, id, type, version, data, created_at) VALUES (2, 'b', 'B', 1, '{}', now())");
}

static void a_second_store_with_other_names_is_refused(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  save_one(f, "a", "A", "{}");
  f->options.events = "others";
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "\"events\" and \"views\"");
  f->options.events = "events";
  f->options.projections = "Views";
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "\"events\" and \"views\"");
  f->options.projections = "views";
  assert_ok(open_again(f, &test_error));
  assert_int_equal(head_of(f), 1);
}

static void newer_tables_open_only_for_programs_they_allow(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  save_one(f, "a", "A", "{}");
  fixture_sql(f, "UPDATE annal_meta SET value = '7' WHERE key = 'tables_version'", NULL);
  assert_ok(open_again(f, &test_error));
  save_one(f, "b", "A", "{}");
  fixture_sql(f, "UPDATE annal_meta SET value = '6' WHERE key = 'oldest_program'", NULL);
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "tables of version 7");
  assert_non_null(strstr(test_error.message, "version 6 or newer"));
  assert_non_null(strstr(test_error.message, "this one is of version 1"));
  fixture_sql(f, "UPDATE annal_meta SET value = '1' WHERE key = 'oldest_program'", NULL);
  assert_ok(open_again(f, &test_error));
  assert_int_equal(head_of(f), 2);
}

/* ---- Names ------------------------------------------------------------------------------------------------------------- */

static void names_of_tables_are_names(void **state) {
  fixture *f = *state;
  const char *bad[] = {"", "1a", "a b", "a\"b", "a;drop", "Ä", "annal_x", "ANNAL_meta", "sqlite_x", "pg_x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    f->options.events = bad[i];
    store *other;
    assert_fails(store_open(&f->env, f->location, &f->options, &other, &test_error), ANNAL_MISUSE, "the name \"");
    assert_null(other);
  }
  f->options.events = "VIEWS";
  store *other;
  assert_fails(store_open(&f->env, f->location, &f->options, &other, &test_error), ANNAL_MISUSE, "cannot share");
  f->options.events = "events";
  const char *fields[] = {"good", "bad-field"};
  f->options.data_indexes = fields;
  f->options.data_index_count = 2;
  assert_fails(store_open(&f->env, f->location, &f->options, &other, &test_error), ANNAL_MISUSE, "\"bad-field\"");
}

static void any_name_may_be_chosen(void **state) {
  fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  if (fixture_runs_on == ON_FILE) snprintf(f->location, sizeof f->location, "%s/other.db", f->directory);
  if (fixture_runs_on == ON_POSTGRES) fixture_sql(f, "DROP TABLE annal_meta, events, views CASCADE", NULL);
  f->options.events = "order"; /* a word of SQL's own */
  f->options.projections = "Group";
  const char *fields[] = {"select", "Select", "user_id"}; /* case matters */
  f->options.data_indexes = fields;
  f->options.data_index_count = 3;
  f->options.projection_indexes = fields;
  f->options.projection_index_count = 3;
  if (fixture_runs_on == ON_POSTGRES) append_text(f->schema, sizeof f->schema, "_b"), f->options.schema = f->schema;
  assert_ok(store_open(&f->env, f->location, &f->options, &f->store, &test_error));
  save_one(f, "a", "A", "{\"select\":\"x\"}");
  save_one(f, "b", "A", "{\"Select\":\"x\"}");
  assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("select", "x"))}), "a");
  assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("Select", "x"))}), "b");
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  if (fixture_runs_on == ON_POSTGRES) { /* both schemas go */
    store_close(f->store);
    f->store = NULL;
    char sql[128];
    snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", f->schema);
    fixture_sql(f, sql, NULL);
    f->schema[strlen(f->schema) - 2] = 0;
  }
}

/* ---- Options ----------------------------------------------------------------------------------------------------------- */

static void without_create_there_must_be_a_store(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  f->options.no_create = true;
  assert_ok(open_again(f, &test_error));
  save_one(f, "a", "A", "{}");
  store_close(f->store);
  f->store = NULL;
  if (fixture_runs_on == ON_FILE) append_text(f->location, sizeof f->location, ".none");
  else f->options.schema = "annal_spec_none";
  assert_fails(open_again(f, &test_error), ANNAL_NOT_FOUND, "");
  assert_fails(open_again(f, &test_error), ANNAL_NOT_FOUND, ""); /* the first try has made nothing */
}

static void a_read_only_store_reads_and_refuses_to_write(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  save_one(f, "a", "A", "{\"k\":\"x\"}");
  f->options.read_only = true;
  const char *more[] = {"k", "new"};
  f->options.data_indexes = more; /* no index is made for it now */
  assert_ok(open_again(f, &test_error));
  assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("k", "x"))}), "a");
  annal_event event = event_of("b", "A", "{}");
  store_save save = {.events = &event, .count = 1};
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_MISUSE, "read-only");
  store_row row = {.type = "T", .fingerprint = "", .id = "i", .data = "1", .data_size = 1, .position = 1, .latest_event_id = "a"};
  assert_fails(store_put_rows(f->store, &row, 1, NULL, &test_error), ANNAL_MISUSE, "read-only");
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
}

static void indexes_of_ones_own_are_made_once(void **state) {
  fixture *f = *state;
  if (in_memory()) skip();
  annal_index indexes[2] = {{.name = "big_orders", .on = "events", .sql = "(type, version) WHERE version > 1"},
                            {.name = "by_update", .on = "projections", .sql = "(updated_at)"}};
  f->options.indexes = indexes;
  f->options.index_count = 2;
  assert_ok(open_again(f, &test_error));
  assert_ok(open_again(f, &test_error));
  fixture_sql(f, "DROP INDEX big_orders; DROP INDEX by_update", NULL); /* they are there */
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 2);
  indexes[0].sql = "(version)";
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "with other sql");
  indexes[0] = (annal_index){.name = "wrong", .on = "events", .sql = "(no_such_column)"};
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "no_such_column");
  indexes[0] = (annal_index){.name = "two", .on = "events", .sql = "(version); DROP TABLE events"};
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "");
  indexes[0] = (annal_index){.name = "on", .on = "nothing", .sql = "(version)"};
  assert_fails(open_again(f, &test_error), ANNAL_MISUSE, "\"events\" or \"projections\"");
  f->options.index_count = 0;
  assert_ok(open_again(f, &test_error));
  assert_int_equal(head_of(f), 0);
}

static void the_ddl_for_people_makes_a_store(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_FILE) skip(); /* PostgreSQL's grants need roles; its own tests have them */
  const char *twice[] = {"k", "n", "k"};
  f->options.data_indexes = twice;
  f->options.data_index_count = 3;
  annal_index index = {.name = "own", .on = "events", .sql = "(version) WHERE type = 'it''s'"};
  f->options.indexes = &index;
  f->options.index_count = 1;
  base_buf ddl;
  buf_init(&ddl, &f->env);
  assert_ok(store_ddl(&f->env, f->location, &f->options, &ddl, &test_error));
  store_close(f->store);
  f->store = NULL;
  append_text(f->location, sizeof f->location, ".by_hand");
  fixture_sql(f, ddl.bytes, NULL);
  f->options.no_create = true;
  assert_ok(open_again(f, &test_error));
  save_one(f, "a", "A", "{\"k\":\"x\"}");
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  buf_free(&ddl);
}

/* ---- Locations --------------------------------------------------------------------------------------------------------- */

static void locations_are_told_apart(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_FILE) skip();
  const struct {
    const char *location;
    int code;
    const char *message;
  } cases[] = {
      {"", ANNAL_MISUSE, "is empty"},
      {"sqlite:", ANNAL_MISUSE, "lacks the path"},
      {"mysql://root:secret@localhost/db", ANNAL_MISUSE, "\"mysql://\" is no kind of store"},
      {"http://x", ANNAL_MISUSE, "no kind of store"},
      {"postgresql://u:secret@127.0.0.1:1/d", ANNAL_UNAVAILABLE, ""},
      {"postgres://u:secret@127.0.0.1:1/d", ANNAL_UNAVAILABLE, ""},
      {"host=127.0.0.1 port=1 dbname=d password=secret", ANNAL_UNAVAILABLE, ""},
      {"  password = 'secret' host=127.0.0.1 port=1", ANNAL_UNAVAILABLE, ""},
      {"sslpassword=secret host=127.0.0.1 port=1", ANNAL_UNAVAILABLE, ""},
      {"PASSWORD=secret host=127.0.0.1 port=1", ANNAL_MISUSE, "libpq cannot read"},
      {"postgres:u:secret@127.0.0.1/d", ANNAL_MISUSE, "looks like one of PostgreSQL"},
      {"jdbc:postgresql://h/d?password=secret", ANNAL_MISUSE, "looks like one of PostgreSQL"},
      {"postgresql://u:x@secret@127.0.0.1:1/d", ANNAL_MISUSE, "write @ as %40"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    store *other;
    assert_fails(store_open(&f->env, cases[i].location, &f->options, &other, &test_error), cases[i].code, cases[i].message);
    assert_null(other);
    if (strstr(test_error.message, "secret")) fail_msg("a password in \"%s\"", test_error.message);
  }
  const char *paths[] = {"sqlite:%s/a=b.db", "%s/host=x.db", "sqlite:%s/host", "%s/a b'\"?#%%.db"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    char location[256];
    snprintf(location, sizeof location, paths[i], f->directory);
    store *other;
    assert_ok(store_open(&f->env, location, &f->options, &other, &test_error));
    assert_string_equal(other->backend->name, "sqlite");
    store_close(other);
  }
  store_close(NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest opening[] = {
      TEST(a_store_keeps_its_events),
      TEST(a_table_that_annal_did_not_make_is_left_as_it_is),
      TEST(a_second_store_with_other_names_is_refused),
      TEST(newer_tables_open_only_for_programs_they_allow),
      TEST(names_of_tables_are_names),
      TEST(any_name_may_be_chosen),
      TEST(without_create_there_must_be_a_store),
      TEST(a_read_only_store_reads_and_refuses_to_write),
      TEST(indexes_of_ones_own_are_made_once),
      TEST(the_ddl_for_people_makes_a_store),
      TEST(locations_are_told_apart),
  };
  return RUN_ON_ALL(opening);
}
