/* The function for one event on PostgreSQL: that it is the one that is called, that it knows what it may not do by itself, and that
 * whoever may call the other may call it. What saves must do anyhow is asked in test_append.c, by this function too. Skipped without
 * ANNAL_TEST_PG. */
#include "server.h"

#include "store/postgres/pg.h"

/* ---- Who calls it ----------------------------------------------------------------------------------------------------------- */

static bool fits(const store *s, const store_save *save) {
  pg_one room = {0};
  pg_params params;
  pg_params_init(&params, s->env);
  bool result = pg_one_params((const pg_store *)s, save, &room, &params);
  pg_params_free(&params);
  pg_one_free(&room);
  return result;
}

static bool condition_fits(const fixture *f, annal_stream stream) {
  annal_event event = event_of("a", "T", "{}");
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
  return fits(f->store, &(store_save){.events = &event, .count = 1, .condition = &condition});
}

static void saves_of_one_event_go_to_it(void **state) {
  fixture *f = *state;
  annal_event events[2] = {event_of("a", "T", "{}"), event_of("b", "T", "{}")};
  annal_stream two[2] = {{DATA(FIELD("k", "x"))}, {DATA(FIELD("n", "x"))}};
  annal_condition both = {.size = sizeof both, .streams = two, .stream_count = 2};
  assert_true(fits(f->store, &(store_save){.events = events, .count = 1}));
  assert_false(fits(f->store, &(store_save){.events = events, .count = 2}));
  assert_false(fits(f->store, &(store_save){.events = events, .count = 1, .keep_created_at = true}));
  assert_false(fits(f->store, &(store_save){.events = events, .count = 1, .condition = &both}));
  assert_true(condition_fits(f, two[0]));
  assert_true(condition_fits(f, (annal_stream){TYPES("T", "U"), DATA(FIELD("n", "x"))}));
  assert_false(condition_fits(f, (annal_stream){TYPES("T", "U")})); /* led by no identifier */
  assert_false(condition_fits(f, (annal_stream){DATA(FIELD("undeclared", "x"))}));
  assert_false(condition_fits(f, (annal_stream){DATA(FIELD("k", "x"), FIELD("n", "y"))}));
  assert_false(condition_fits(f, (annal_stream){DATA(FIELD("k", "x", "y"))}));
  assert_false(condition_fits(f, (annal_stream){DATA(FIELD("k", "{\"a\":1}"))})); /* the text of an object, too */
  fixture_without_clock = false;
  fixture_options(f);
  fixture_without_clock = true;
  fixture_reopen(f);
  assert_false(fits(f->store, &(store_save){.events = events, .count = 1})); /* the host has a clock of its own */
}

/* ---- What it leaves to the other --------------------------------------------------------------------------------------------- */

/* Whatever is refused is refused as the other function does, in the same words. */
static void refusals_are_those_of_the_other_function(void **state) {
  fixture *f = *state;
  annal_stream k = {DATA(FIELD("k", "x"))}, typed = {TYPES("T"), DATA(FIELD("k", "x"))};
  annal_event event = event_of("first", "T", "{\"k\":\"x\"}");
  event.metadata = "{\"by\":1}";
  event.metadata_size = strlen(event.metadata);
  store_save save = {.events = &event, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error)); /* into a store that is empty */
  assert_int_equal(event.position, 1);
  int64_t time = event.created_at;
  event.position = event.created_at = 0;
  assert_ok(store_append(f->store, &save, &test_error)); /* once more */
  assert_true(save.was_stored);
  assert_int_equal(event.position, 1);
  assert_int_equal(event.created_at, time);
  event.metadata = NULL;
  event.metadata_size = 0;
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_DUPLICATE, "first");
  assert_int_equal(save_one(f, "second", "U", "{\"k\":\"x\"}"), 2);
  assert_int_equal(save_under(f, "no", "T", "{}", k, NULL, &test_error), ANNAL_CONFLICT);
  assert_non_null(strstr(test_error.message, "first"));
  assert_int_equal(save_under(f, "no", "T", "{}", k, "first", &test_error), ANNAL_CONFLICT);
  assert_non_null(strstr(test_error.message, "second"));
  assert_int_equal(save_under(f, "no", "T", "{}", k, "nobody", &test_error), ANNAL_CONFLICT);
  assert_non_null(strstr(test_error.message, "nobody"));
  assert_int_equal(head_of(f), 2);
  assert_ok(save_under(f, "third", "T", "{\"k\":\"x\"}", typed, "first", &test_error)); /* another type is newer */
  assert_int_equal(save_under(f, "third", "T", "{\"k\":\"x\"}", typed, "first", &test_error), ANNAL_OK); /* ids come first */
  assert_int_equal(save_under(f, "no", "T", "{}", typed, "first", &test_error), ANNAL_CONFLICT);
  assert_ok(save_under(f, "fourth", "T", "{\"n\":1}", (annal_stream){DATA(FIELD("n", "1"))}, NULL, &test_error));
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "first second third fourth");
}

/* ---- What holds for it as for the other ---------------------------------------------------------------------------------------- */

static const char *const call = "select annal_append_one_1('x', 'T', 1, '{}', null, null, null, null, null)";

static void it_refuses_other_isolation_levels(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  save_one(f, "base", "T", "{}"); /* an empty store is the other function's */
  static const char *const levels[] = {"repeatable read", "serializable"};
  for (int i = 0; i < 2; i++) {
    char begin[64], answer[16];
    snprintf(begin, sizeof begin, "begin isolation level %s", levels[i]);
    run(conn, begin);
    snprintf(answer, sizeof answer, "%s", ask(conn, call));
    run(conn, "rollback");
    assert_string_equal(answer, "25000");
  }
  PQfinish(conn);
}

/* What the setting is after the call, until the commit; no transaction is left open, whatever comes. */
static void expect_durability(PGconn *conn, const char *set, const char *within) {
  char sql[128], found[16];
  snprintf(sql, sizeof sql, "set synchronous_commit = %s; begin", set);
  run(conn, sql);
  ask(conn, call);
  snprintf(found, sizeof found, "%s", ask(conn, "show synchronous_commit"));
  run(conn, "rollback");
  assert_string_equal(found, within);
}

static void what_it_appends_is_durable(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  save_one(f, "base", "T", "{}");
  expect_durability(conn, "off", "on");
  expect_durability(conn, "local", "local"); /* flushes here: as the operator wants it */
  PQfinish(conn);
}

/* A retry finds what is stored, and nothing of the owner's is run for it. */
static void no_trigger_runs_for_what_is_stored(void **state) {
  fixture *f = *state;
  annal_event events[2] = {event_of("first", "T", "{\"k\":\"x\"}"), event_of("second", "T", "{\"k\":\"y\"}")};
  annal_stream stream = {DATA(FIELD("k", "y"))};
  annal_condition none = {.size = sizeof none, .streams = &stream, .stream_count = 1};
  save_one(f, "base", "T", "{}");
  PGconn *conn = session(f);
  run(conn, "create table fired (id text); grant all on fired to public;"
            "create function once() returns trigger language plpgsql set search_path from current as $$ begin "
            "if exists (select from events where id = new.id) then raise exception 'twice'; end if;"
            "insert into fired values (new.id); return new; end $$;"
            "create trigger once before insert on events for each row execute function once()");
  for (int guarded = 0; guarded < 2; guarded++) {
    annal_event *event = &events[guarded];
    store_save save = {.events = event, .count = 1, .condition = guarded ? &none : NULL};
    for (int again = 0; again < 2; again++) {
      assert_true(fits(f->store, &save));
      event->position = event->created_at = 0;
      if (store_append(f->store, &save, &test_error)) fail_msg("%s", test_error.message);
      assert_int_equal(save.was_stored, again);
      assert_int_equal(event->position, 2 + guarded);
    }
  }
  assert_string_equal(ask(conn, "select string_agg(id, ' ') from fired"), "first second");
  PQfinish(conn);
}

/* How some keep a table from being changed; it forbids ON CONFLICT. */
static void a_rule_against_updates_is_no_hindrance(void **state) {
  fixture *f = *state;
  save_one(f, "base", "T", "{}");
  fixture_sql(f, NULL, "create rule fixed as on update to events do instead nothing");
  assert_int_equal(save_one(f, "first", "T", "{}"), 2);
  assert_ok(save_under(f, "second", "T", "{\"k\":\"x\"}", (annal_stream){DATA(FIELD("k", "x"))}, NULL, &test_error));
}

/* What is committed while it waits for the lock is seen by all that it looks at. */
static void everything_is_looked_at_under_the_lock(void **state) {
  fixture *f = *state;
  static const struct {
    const char *first, *waiting, *answer;
  } races[] = {
      {"'same', 'T', 1, '{\"k\":\"x\"}', null, null, null, null, null",
       "results from annal_append_one_1('same', 'T', 1, '{}', null, "
       "null, null, null, null)",
       "{4}"},
      {"'newer', 'T', 1, '{\"k\":\"x\"}', null, null, null, null, null",
       "results from annal_append_one_1('no', 'T', 1, '{}', null, "
       "'same', 'k', 'x', null)",
       "{2}"},
      {"'one', 'T', 1, '{}', null, null, null, null, null",
       "positions from annal_append_one_1('two', 'T', 1, '{}', null, null, null, "
       "null, null)",
       "{5}"},
  };
  PGconn *holder = session(f), *waiter = session(f);
  save_one(f, "base", "T", "{}");
  for (size_t i = 0; i < sizeof races / sizeof *races; i++) {
    char sql[256];
    snprintf(sql, sizeof sql, "begin; select annal_append_one_1(%s)", races[i].first);
    run(holder, sql);
    snprintf(sql, sizeof sql, "select %s", races[i].waiting);
    assert_int_equal(PQsendQuery(waiter, sql), 1);
    const char *waits =
        "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 'events'::regclass";
    bool waiting = false;
    for (int tries = 0; !waiting && tries < 5000; tries++) waiting = strcmp(ask(holder, waits), "1") == 0;
    run(holder, "commit");
    assert_true(waiting);
    PGresult *result = PQgetResult(waiter), *end;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) fail_msg("%s", PQerrorMessage(waiter));
    assert_string_equal(PQgetvalue(result, 0, 0), races[i].answer);
    PQclear(result);
    while ((end = PQgetResult(waiter)) != NULL) PQclear(end);
  }
  PQfinish(holder);
  PQfinish(waiter);
}

/* Its condition must go along the identifier's own index, whatever the planner takes the value for. */
static void its_condition_goes_along_the_index(void **state) {
  fixture *f = *state;
  for (int i = 0; i < 50; i++) {
    char id[16];
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, "T", i % 2 ? "{\"k\":\"often\",\"n\":\"x\"}" : "{\"k\":\"often\"}");
  }
  static const char text[] = "not exists (\n"
                             "               select from %1$s e\n"
                             "                where (e.data ->> 'k') is not null\n"
                             "                  and ((e.data ->> 'k') collate \"C\", e.position) > (%2$s, %3$s)\n"
                             "                  and ((e.data ->> 'k') collate \"C\", e.position) <= (%2$s, 9223372036854775807)\n"
                             "                  and (%4$s is null or e.type = any (%4$s)))";
  char condition[1024], table[128], sql[1200];
  PGconn *conn = session(f);
  snprintf(condition, sizeof condition, text, "events", "$1", "$2", "$3");
  snprintf(sql, sizeof sql, "prepare p(text, bigint, text[]) as select 1 where %s", condition);
  run(conn, "analyze events; set enable_seqscan = off; set enable_bitmapscan = off; set plan_cache_mode = force_generic_plan");
  run(conn, sql);
  PGresult *plan = PQexec(conn, "explain execute p('often', 3, null)");
  bool found = false;
  for (int i = 0; i < PQntuples(plan); i++) found |= strstr(PQgetvalue(plan, i, 0), "Index Cond: ((ROW(") != NULL;
  PQclear(plan);
  assert_true(found);
  /* And that is the text which the function has. */
  snprintf(table, sizeof table, "\"%s\".\"events\"", f->schema);
  snprintf(condition, sizeof condition, text, table, "lead_value", "seen", "stream_types");
  snprintf(sql, sizeof sql, "select strpos(prosrc, $t$%s$t$) > 0 from pg_proc where oid = 'annal_append_one_1'::regproc",
           condition);
  assert_string_equal(ask(conn, sql), "t");
  PQfinish(conn);
}

/* ---- Who may call it ----------------------------------------------------------------------------------------------------------- */

static void whoever_may_append_may_call_it(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  annal_event event = event_of("a", "T", "{}");
  store_save save = {.events = &event, .count = 1};
  char sql[640], user[128];
  store *s;
  snprintf(sql, sizeof sql,
           "drop function annal_append_one_1; create role \"%s Guest\" login; grant usage on schema %s to \"%s Guest\"; "
           "grant select on all tables in schema %s to \"%s Guest\"; grant execute on function annal_append_1 to \"%s Guest\"",
           f->schema, f->schema, f->schema, f->schema, f->schema, f->schema);
  run(conn, sql);
  snprintf(user, sizeof user, "user='%s Guest'", f->schema);
  assert_ok(open_with(f, user, &s)); /* a store that was made before there was such a function */
  assert_false(fits(s, &save));
  assert_ok(store_append(s, &save, &test_error));
  store_close(s);
  fixture_reopen(f); /* its owner comes, and the function with him */
  assert_true(fits(f->store, &save));
  assert_ok(open_with(f, user, &s));
  assert_true(fits(s, &save));
  event.id = "b";
  assert_ok(store_append(s, &save, &test_error));
  assert_int_equal(event.position, 2);
  assert_string_equal(ask(conn, "select has_function_privilege('public', 'annal_append_one_1'::regproc, 'execute')"), "f");
  snprintf(sql, sizeof sql, "revoke execute on function annal_append_one_1 from \"%s Guest\"", f->schema);
  run(conn, sql);
  event.id = "bb";
  assert_ok(store_append(s, &save, &test_error)); /* while it is open: it goes the other way from then on */
  assert_int_equal(event.position, 3);
  assert_false(fits(s, &save));
  store_close(s);
  assert_ok(open_with(f, user, &s));
  assert_false(fits(s, &save));
  event.id = "c";
  assert_ok(store_append(s, &save, &test_error));
  store_close(s);
  run(conn, "drop function annal_append_one_1"); /* as where a dump of an older program is put back */
  assert_true(fits(f->store, &save));
  event.id = "d";
  assert_ok(store_append(f->store, &save, &test_error));
  assert_int_equal(event.position, 5);
  assert_false(fits(f->store, &save));
  snprintf(sql, sizeof sql, "drop owned by \"%s Guest\"; drop role \"%s Guest\"", f->schema, f->schema);
  run(conn, sql);
  PQfinish(conn);
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: the function for one event was NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
  fixture_without_clock = true;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest tests[] = {
      TEST(saves_of_one_event_go_to_it),
      TEST(refusals_are_those_of_the_other_function),
      TEST(it_refuses_other_isolation_levels),
      TEST(what_it_appends_is_durable),
      TEST(no_trigger_runs_for_what_is_stored),
      TEST(a_rule_against_updates_is_no_hindrance),
      TEST(everything_is_looked_at_under_the_lock),
      TEST(its_condition_goes_along_the_index),
      TEST(whoever_may_append_may_call_it),
  };
  return cmocka_run_group_tests_name("append_one", tests, NULL, NULL);
}
