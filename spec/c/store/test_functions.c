/* The functions of a store on PostgreSQL: what they refuse, and how corrected ones reach a store that exists. Skipped without
 * ANNAL_TEST_PG. */
#include "server.h"

#include "base/hash.h"
#include "store/postgres/pg.h"

/* A save of one event under the condition that nothing newer than `latest` has `field` = x. */
typedef struct guarded {
  annal_event event;
  annal_field field;
  annal_stream stream;
  annal_condition condition;
  store_save save;
} guarded;

static void guard(guarded *g, const char *id, const char *field, const char *latest) {
  static const char *const values[] = {"x"};
  *g = (guarded){.event = event_of(id, "T", "{\"k\":\"x\"}"), .field = {.name = field, .values = values, .value_count = 1}};
  g->stream = (annal_stream){.data = &g->field, .data_count = 1};
  g->condition =
      (annal_condition){.size = sizeof g->condition, .streams = &g->stream, .stream_count = 1, .latest_event_id = latest};
  g->save = (store_save){.events = &g->event, .count = 1, .condition = &g->condition};
}

/* ---- What they refuse ------------------------------------------------------------------------------------------------------- */

/* A program that leads a condition by an identifier for which the function has no branch must not be told that nothing is newer. */
static void an_identifier_without_a_branch_is_an_error(void **state) {
  fixture *f = *state;
  guarded g[3];
  save_one(f, "base", "T", "{\"ghost\":\"x\"}");
  assert_ok(store_add_field(f->store, &f->store->event_fields, "ghost", &test_error)); /* and nobody else knows of it */
  guard(&g[0], "a", "k", NULL);
  guard(&g[1], "b", "ghost", NULL);
  guard(&g[2], "c", "k", "a");
  store_entry entries[3] = {{.save = &g[0].save}, {.save = &g[1].save}, {.save = &g[2].save}};
  f->store->backend->append(f->store, entries, 3);
  if (entries[0].result || entries[2].result) fail_msg("%s %s", entries[0].error.message, entries[2].error.message);
  assert_int_equal(entries[1].result, ANNAL_CORRUPT);
  assert_non_null(strstr(entries[1].error.message, "branch"));
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "base a c");
  PGconn *conn = session(f);
  assert_string_equal(
      ask(conn, "select annal_newers_1(array[null], array['ghost'], array[true], '{1,1}', null, '{1,2}', array['ghost'], "
                "'{1,2}', array['x'])"),
      "XX000");
  assert_string_equal(ask(conn, "select annal_newers_1(array[null], array['k'], array[true], '{1,1}', null, '{1,2}', array['k'], "
                                "'{1,2}', array['x'])"),
                      "{2}");
  PQfinish(conn);
}

/* ---- Corrected ones --------------------------------------------------------------------------------------------------------- */

static const char *const blind_newers =
    "create or replace function annal_newers_1(after_ids text[], leads text[], alones boolean[], type_starts int[], "
    "stream_types text[], field_starts int[], field_names text[], value_starts int[], field_values text[]) returns bigint[] "
    "language plpgsql volatile as $$ declare answers bigint[]; begin return answers; end $$";

/* Two saves of a batch, of which the first must be refused. */
static bool batch_is_guarded(fixture *f) {
  guarded g[2];
  static int number;
  char id[16];
  snprintf(id, sizeof id, "b%d", number++);
  guard(&g[0], "never", "k", NULL);
  guard(&g[1], id, "n", NULL);
  store_entry entries[2] = {{.save = &g[0].save}, {.save = &g[1].save}};
  f->store->backend->append(f->store, entries, 2);
  assert_int_equal(entries[1].result, ANNAL_OK);
  if (entries[0].result == ANNAL_OK) fixture_sql(f, NULL, "delete from events where id = 'never'");
  return entries[0].result == ANNAL_CONFLICT;
}

static void a_corrected_function_reaches_a_store_that_exists(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  save_one(f, "base", "T", "{\"k\":\"x\"}");
  assert_true(batch_is_guarded(f));
  run(conn, blind_newers);
  assert_false(batch_is_guarded(f)); /* what the old one does */
  fixture_reopen(f);
  assert_true(batch_is_guarded(f));
  /* One that is gone is made anew, and not everybody's. */
  run(conn, "drop function annal_newers_1");
  fixture_reopen(f);
  assert_true(batch_is_guarded(f));
  assert_string_equal(ask(conn, "select has_function_privilege('public', 'annal_newers_1'::regproc, 'execute')"), "f");
  /* And one that was made before there was talk of revisions. */
  run(conn, "delete from annal_meta where key = 'functions'");
  run(conn, blind_newers);
  fixture_reopen(f);
  assert_true(batch_is_guarded(f));
  char revision[16];
  snprintf(revision, sizeof revision, "%d", PG_FUNCTIONS_REVISION);
  assert_string_equal(ask(conn, "select value from annal_meta where key = 'functions'"), revision);
  PQfinish(conn);
}

/* Reopening changes nothing where nothing is wrong, whatever the order in which fields are declared. */
static void functions_that_are_right_are_left_alone(void **state) {
  fixture *f = *state;
  static const char *const other_order[] = {"n", "k", "n"}, *const more[] = {"zeta", "k", "Alpha", "n"};
  static const char versions[] = "select string_agg(xmin::text, ' ' order by proname) from pg_proc where pronamespace = "
                                 "current_schema()::regnamespace";
  PGconn *conn = session(f);
  char before[256], after[256];
  snprintf(before, sizeof before, "%s", ask(conn, versions));
  f->options.data_indexes = other_order;
  f->options.data_index_count = 3;
  fixture_reopen(f);
  assert_string_equal(ask(conn, versions), before);
  f->options.data_indexes = more;
  f->options.data_index_count = 4;
  fixture_reopen(f);
  snprintf(after, sizeof after, "%s", ask(conn, versions));
  assert_string_not_equal(after, before);
  f->options.data_index_count = 0;
  fixture_reopen(f);
  assert_string_equal(ask(conn, versions), after);
  PQfinish(conn);
}

static void a_newer_programs_functions_are_left_alone(void **state) {
  fixture *f = *state;
  static const char *const more[] = {"k", "n", "late"};
  PGconn *conn = session(f);
  run(conn, "update annal_meta set value = '99' where key = 'functions'");
  run(conn, blind_newers);
  fixture_reopen(f);
  assert_string_equal(ask(conn, "select prosrc like '%return answers; end%' from pg_proc where oid = 'annal_newers_1'::regproc"),
                      "t");
  f->options.data_indexes = more;
  f->options.data_index_count = 3;
  store *s;
  assert_fails(store_open(&f->env, f->location, &f->options, &s, &test_error), ANNAL_MISUSE, "revision 99");
  assert_string_equal(ask(conn, "select count(*) from annal_meta where key like '%late%'"), "0"); /* nothing is half done */
  PQfinish(conn);
}

static int warnings;

static void count_warnings(void *context, const char *level, const char *message) {
  (void)context;
  if (strcmp(level, "warn") == 0 && strstr(message, "as the owner")) warnings++;
}

/* Who may not replace them goes on with those that are there, and is told. */
static void who_is_not_the_owner_goes_on(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  char sql[640], user[128];
  run(conn, blind_newers);
  snprintf(
      sql, sizeof sql,
      "create role %s_guest login; grant usage on schema %s to %s_guest; grant select on all tables in schema %s to %s_guest; "
      "grant execute on function annal_append_1 to %s_guest",
      f->schema, f->schema, f->schema, f->schema, f->schema, f->schema);
  run(conn, sql);
  snprintf(user, sizeof user, "user=%s_guest", f->schema);
  f->options.log = count_warnings;
  base_env_init(&f->env, &f->options);
  warnings = 0;
  store *s;
  assert_ok(open_with(f, user, &s));
  assert_int_equal(warnings, 1);
  assert_ok(save_to(s, "a", &test_error));
  store_close(s);
  assert_string_equal(ask(conn, "select prosrc like '%return answers; end%' from pg_proc where oid = 'annal_newers_1'::regproc"),
                      "t");
  fixture_reopen(f);
  assert_int_equal(warnings, 1);
  snprintf(sql, sizeof sql, "drop owned by %s_guest; drop role %s_guest", f->schema, f->schema);
  run(conn, sql);
  PQfinish(conn);
}

/* A store that was made before saves could bring rows gets the function from its owner, and whoever may append may use it. */
static void an_older_store_learns_to_append_with_rows(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  char sql[640];
  snprintf(sql, sizeof sql, "create role %s_guest login; grant execute on function annal_append_1 to %s_guest", f->schema,
           f->schema);
  run(conn, sql);
  run(conn, "do $$ begin execute 'drop function ' || 'annal_append_rows_1'::regproc::oid::regprocedure; end $$;"
            "update annal_meta set value = '2' where key = 'functions'");
  fixture_reopen(f);
  snprintf(sql, sizeof sql, "select has_function_privilege('%s_guest', 'annal_append_rows_1'::regproc::oid, 'execute')::text",
           f->schema);
  assert_string_equal(ask(conn, sql), "true");
  assert_string_equal(ask(conn,
                          "select count(*) from pg_proc p, aclexplode(p.proacl) a where p.oid = 'annal_append_rows_1'::regproc "
                          "and a.grantee = 0"),
                      "0");
  snprintf(sql, sizeof sql, "drop owned by %s_guest; drop role %s_guest", f->schema, f->schema);
  run(conn, sql);
  PQfinish(conn);
}

/* Whoever changes what the functions are made of lets the revision rise, and writes down both here. */
static void the_revision_rises_with_the_text(void **state) {
  (void)state;
  static const char *const files[] = {"matches.sql",          "newer.sql",     "newer_field.sql", "newers.sql",
                                      "newers_field.sql",     "append.sql",    "append_rows.sql", "append_one.sql",
                                      "append_one_field.sql", "append_new.sql"};
  static const char known[] = "453f8a2eb0fb52c6c84c613781d3395a";
  base_env env;
  annal_options options = {.size = sizeof options};
  base_buf text;
  char hash[HASH_TEXT_BYTES];
  base_env_init(&env, &options);
  buf_init(&text, &env);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) buf_text(&text, postgres_sql(files[i], NULL));
  hash_text(text.bytes, text.size, hash);
  buf_free(&text);
  assert_int_equal(PG_FUNCTIONS_REVISION, 7);
  assert_string_equal(hash, known);
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: functions on PostgreSQL were NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
  fixture_without_clock = true;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest tests[] = {
      TEST(an_identifier_without_a_branch_is_an_error),
      TEST(a_corrected_function_reaches_a_store_that_exists),
      TEST(functions_that_are_right_are_left_alone),
      TEST(a_newer_programs_functions_are_left_alone),
      TEST(who_is_not_the_owner_goes_on),
      TEST(an_older_store_learns_to_append_with_rows),
      cmocka_unit_test(the_revision_rises_with_the_text),
  };
  return cmocka_run_group_tests_name("functions", tests, NULL, NULL);
}
