/* The function for events with new ids on PostgreSQL: that batches go to it, that what it refuses is looked at by the other function, and
 * that it is left where the table has triggers. Skipped without ANNAL_TEST_PG. */
#include "server.h"

#include "store/postgres/pg.h"

enum { SAVES = 3 };

/* Saves of one event each, said to have new ids. */
typedef struct batch {
  annal_event events[SAVES];
  store_save saves[SAVES];
  store_entry entries[SAVES];
} batch;

static void batch_of(batch *b, const char *const ids[SAVES]) {
  for (int i = 0; i < SAVES; i++) {
    b->events[i] = event_of(ids[i], "T", "{\"k\":\"x\"}");
    b->saves[i] = (store_save){.events = &b->events[i], .count = 1, .ids_are_new = true};
    b->entries[i] = (store_entry){.save = &b->saves[i]};
  }
}

static void append(store *s, batch *b, const char *const ids[SAVES]) {
  batch_of(b, ids);
  s->backend->append(s, b->entries, SAVES);
}

static void expect_stored(const batch *b, int64_t first) {
  for (int i = 0; i < SAVES; i++) {
    if (b->entries[i].result) fail_msg("%s", b->entries[i].error.message);
    assert_false(b->saves[i].was_stored);
    assert_int_equal(b->events[i].position, first + i);
  }
}

static bool goes_there(const store *s) { return ((const pg_store *)s)->has_append_new; }

/* What stands in its place answers a time of its own, so that one sees who was asked. */
static const char *const early =
    "create or replace function annal_append_new_1(event_ids text[], event_types text[], event_versions int[], event_data "
    "json[], "
    "event_metadata json[]) returns annal_answer_1 language sql set search_path from current as "
    "$$ select row(null, null, array[77], array['2001-01-01 00:00:00+00'::timestamptz], null, null, null)::annal_answer_1 $$";

/* ---- Who calls it ----------------------------------------------------------------------------------------------------------- */

static bool was_asked(fixture *f, store_entry *entries, size_t count) {
  f->store->backend->append(f->store, entries, count);
  if (entries[0].result) fail_msg("%s", entries[0].error.message);
  return entries[0].save->events[0].position == 77;
}

static void batches_of_new_events_go_to_it(void **state) {
  fixture *f = *state;
  batch b;
  PGconn *conn = session(f);
  run(conn, early);
  batch_of(&b, TEXTS("a1", "a2", "a3"));
  assert_true(was_asked(f, b.entries, SAVES));
  batch_of(&b, TEXTS("b1", "b2", "b3"));
  assert_true(was_asked(f, b.entries, 2));
  b.saves[1].ids_are_new = false;
  assert_false(was_asked(f, b.entries, 2));
  batch_of(&b, TEXTS("c1", "c2", "c3"));
  annal_stream none = {DATA(FIELD("k", "nobody"))};
  annal_condition condition = {.size = sizeof condition, .streams = &none, .stream_count = 1};
  b.saves[1].condition = &condition;
  assert_false(was_asked(f, b.entries, 2));
  batch_of(&b, TEXTS("d1", "d2", "d3"));
  b.saves[1].keep_created_at = true;
  b.events[1].created_at = base_now(&f->env);
  assert_false(was_asked(f, b.entries, 2));
  store_save whole = {.events = b.events, .count = SAVES, .ids_are_new = true};
  assert_true(was_asked(f, &(store_entry){.save = &whole}, 1));
  batch_of(&b, TEXTS("e1", "e2", "e3"));
  fixture_without_clock = false;
  fixture_options(f);
  fixture_without_clock = true;
  fixture_reopen(f);
  run(conn, early);
  assert_false(was_asked(f, b.entries, 2)); /* the host has a clock of its own */
  PQfinish(conn);
}

/* ---- What it stores ----------------------------------------------------------------------------------------------------------- */

static void it_stores_as_the_other_does(void **state) {
  fixture *f = *state;
  batch b;
  batch_of(&b, TEXTS("a1", "a2", "a3"));
  b.events[1].metadata = "{\"by\":1}";
  b.events[1].metadata_size = strlen(b.events[1].metadata);
  b.events[2].version = 3;
  f->store->backend->append(f->store, b.entries, SAVES);
  expect_stored(&b, 1); /* into a store that is empty */
  PGconn *conn = session(f);
  assert_string_equal(
      ask(conn, "select string_agg(concat_ws(' ', position, id, type, version, data, metadata), '; ' order by position) "
                "from events"),
      "1 a1 T 1 {\"k\":\"x\"}; 2 a2 T 1 {\"k\":\"x\"} {\"by\":1}; 3 a3 T 3 {\"k\":\"x\"}");
  assert_string_equal(ask(conn, "select max(abs(extract(epoch from clock_timestamp() - created_at))) < 60 from events"), "t");
  run(conn, "update events set created_at = created_at + interval '1 day' where position = 3"); /* a clock that was set back */
  append(f->store, &b, TEXTS("b1", "b2", "b3"));
  expect_stored(&b, 4);
  assert_string_equal(ask(conn, "select count(distinct created_at) from events where position >= 3"), "1");
  assert_true(goes_there(f->store));
  PQfinish(conn);
}

/* Whoever says of an id that it is new, and is wrong, is answered as if he had not said so. */
static void ids_that_are_stored_are_found(void **state) {
  fixture *f = *state;
  batch b;
  append(f->store, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  append(f->store, &b, TEXTS("b1", "a2", "b3"));
  for (int i = 0; i < SAVES; i++) assert_int_equal(b.entries[i].result, ANNAL_OK);
  assert_int_equal(b.events[0].position, 4);
  assert_true(b.saves[1].was_stored);
  assert_int_equal(b.events[1].position, 2);
  assert_int_equal(b.events[2].position, 5);
  batch_of(&b, TEXTS("c1", "a3", "c1"));
  b.events[1].type = "OTHER";
  f->store->backend->append(f->store, b.entries, SAVES);
  assert_int_equal(b.entries[0].result, ANNAL_OK);
  assert_int_equal(b.entries[1].result, ANNAL_DUPLICATE);
  assert_int_equal(b.entries[2].result, ANNAL_OK);
  assert_true(b.saves[2].was_stored); /* the same id twice in one batch */
  assert_int_equal(b.events[2].position, 6);
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a1 a2 a3 b1 b3 c1");
  assert_true(goes_there(f->store));
}

/* An event that the table refuses is its own save's fault. */
static void of_a_batch_the_culprit_alone_fails(void **state) {
  fixture *f = *state;
  batch b;
  fixture_sql(f, NULL, "alter table events add constraint never check (id <> 'a2')");
  append(f->store, &b, TEXTS("a1", "a2", "a3"));
  assert_int_equal(b.entries[0].result, ANNAL_OK);
  assert_int_equal(b.entries[1].result, ANNAL_INVALID);
  assert_int_equal(b.entries[2].result, ANNAL_OK);
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a1 a3");
  assert_true(goes_there(f->store));
}

/* ---- Triggers and rules ------------------------------------------------------------------------------------------------------- */

static void make_trigger(PGconn *conn, const char *body) {
  char sql[512];
  snprintf(sql, sizeof sql,
           "create or replace function meddle() returns trigger language plpgsql as $$ begin %s end $$;"
           "create or replace trigger meddle before insert on events for each row execute function meddle()",
           body);
  run(conn, sql);
}

/* Each time as where the trigger is made while the handle is open. */
static void a_table_with_triggers_is_left_to_the_other(void **state) {
  fixture *f = *state;
  batch b;
  PGconn *conn = session(f);
  make_trigger(conn, "return new;");
  append(f->store, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  assert_false(goes_there(f->store));
  append(f->store, &b, TEXTS("b1", "b2", "b3"));
  expect_stored(&b, 4);
  fixture_reopen(f);
  make_trigger(conn, "if new.id = 'c2' then return null; end if; return new;");
  append(f->store, &b, TEXTS("c1", "c2", "c3"));
  assert_int_equal(b.entries[0].result, ANNAL_OK);
  assert_int_equal(b.entries[1].result, ANNAL_INVALID);
  assert_int_equal(b.entries[2].result, ANNAL_OK);
  fixture_reopen(f);
  make_trigger(conn, "new.id := new.id || '!'; return new;");
  append(f->store, &b, TEXTS("d1", "d2", "d3"));
  for (int i = 0; i < SAVES; i++) assert_int_equal(b.entries[i].result, ANNAL_INVALID);
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a1 a2 a3 b1 b2 b3 c1 c3");
  PQfinish(conn);
}

static void a_table_with_rules_is_left_to_the_other(void **state) {
  fixture *f = *state;
  batch b;
  fixture_sql(f, NULL, "create rule fixed as on update to events do instead nothing");
  append(f->store, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  assert_false(goes_there(f->store));
  fixture_reopen(f);
  fixture_sql(f, NULL, "create rule lost as on insert to events where new.id = 'b2' do instead nothing");
  append(f->store, &b, TEXTS("b1", "b2", "b3"));
  for (int i = 0; i < SAVES; i++)
    assert_int_not_equal(b.entries[i].result, ANNAL_OK); /* the server refuses to say what was inserted */
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a1 a2 a3");
}

/* What policies hide from their owner, and what a partition's trigger makes of an event, the count does not show. */
static void a_table_with_policies_is_left_to_the_other(void **state) {
  fixture *f = *state;
  batch b;
  PGconn *conn = session(f);
  fixture_sql(f, NULL, "alter table events enable row level security");
  append(f->store, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  assert_false(goes_there(f->store));
  /* A table that others have made: one of the program's is no table of partitions. */
  run(conn,
      "drop table events; create table events (position bigint primary key, id text collate \"C\", type text collate \"C\", "
      "version int, data json, metadata json, created_at timestamptz) partition by range (position);"
      "create table events_1 partition of events for values from (0) to (1000)");
  fixture_reopen(f);
  append(f->store, &b, TEXTS("b1", "b2", "b3"));
  assert_false(goes_there(f->store));
  PQfinish(conn);
}

/* ---- What holds for it as for the other ---------------------------------------------------------------------------------------- */

static const char *const call = "select annal_append_new_1('{x}', '{T}', '{1}', array['{}'::json], null)";

static void it_refuses_other_settings(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  static const char *const begins[] = {"begin isolation level repeatable read", "begin isolation level serializable",
                                       "begin; set local synchronous_commit = off"};
  for (int i = 0; i < 3; i++) {
    char answer[16];
    run(conn, begins[i]);
    snprintf(answer, sizeof answer, "%s", ask(conn, call));
    run(conn, "rollback");
    assert_string_equal(answer, "0A000");
  }
  assert_string_equal(ask(conn, "select annal_append_new_1('{x,y}', '{T}', '{1}', array['{}'::json], null)"), "23502");
  assert_string_equal(ask(conn, "select annal_append_new_1('{x,x}', '{T,T}', '{1,1}', array['{}'::json,'{}'], null)"), "23505");
  assert_string_equal(ask(conn, "select count(*) from events"), "0");
  PQfinish(conn);
}

/* Saves of a session that is not durable are made durable, by the other function. */
static void what_is_appended_is_durable(void **state) {
  fixture *f = *state;
  batch b;
  store *s;
  assert_ok(open_with(f, "options='-c synchronous_commit=off'", &s));
  append(s, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  assert_false(goes_there(s));
  store_close(s);
}

/* What is committed while it waits for the lock is before it. */
static void it_counts_on_under_the_lock(void **state) {
  fixture *f = *state;
  PGconn *holder = session(f), *waiter = session(f);
  run(holder, "begin; select annal_append_new_1('{a}', '{T}', '{1}', array['{}'::json], null)");
  assert_int_equal(PQsendQuery(waiter, "select positions from annal_append_new_1('{x}', '{T}', '{1}', array['{}'::json], null)"),
                   1);
  const char *waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 'events'::regclass";
  bool waiting = false;
  for (int tries = 0; !waiting && tries < 5000; tries++) waiting = strcmp(ask(holder, waits), "1") == 0;
  run(holder, "commit");
  assert_true(waiting);
  PGresult *result = PQgetResult(waiter), *end;
  assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
  assert_string_equal(PQgetvalue(result, 0, 0), "{2}");
  PQclear(result);
  while ((end = PQgetResult(waiter)) != NULL) PQclear(end);
  PQfinish(holder);
  PQfinish(waiter);
}

/* ---- Lost connections ----------------------------------------------------------------------------------------------------------- */

static void an_answer_that_is_lost_is_settled(void **state) {
  fixture *f = *state;
  proxy between;
  batch b;
  store *s;
  proxy_start(&between, f, "lost answer");
  assert_ok(open_through(&between, f, "", &s));
  for (int faults = 1; faults < 4; faults++) {
    char ids[SAVES][24];
    for (int i = 0; i < SAVES; i++) snprintf(ids[i], sizeof ids[i], "lost answer %d %d", faults, i);
    proxy_do(&between, LOSE_ANSWER, faults);
    append(s, &b, TEXTS(ids[0], ids[1], ids[2]));
    assert_int_equal(atomic_load(&between.faults), 0);
    for (int i = 0; i < SAVES; i++) {
      if (b.entries[i].result) fail_msg("%s", b.entries[i].error.message);
      assert_true(b.saves[i].was_stored); /* by an attempt whose answer nobody heard */
      assert_int_equal(b.events[i].position, (faults - 1) * SAVES + i + 1);
    }
  }
  assert_int_equal(head_of(f), 3 * SAVES);
  assert_true(goes_there(s));
  store_close(s);
  proxy_stop(&between);
}

/* ---- Who may call it ----------------------------------------------------------------------------------------------------------- */

static void where_it_is_not_the_other_is_asked(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  batch b;
  char sql[640], user[128];
  store *s;
  snprintf(sql, sizeof sql,
           "create role \"%s Guest\" login; grant usage on schema %s to \"%s Guest\"; grant select on all tables in schema %s to "
           "\"%s Guest\"; grant execute on function annal_append_1, annal_append_new_1 to \"%s Guest\"",
           f->schema, f->schema, f->schema, f->schema, f->schema, f->schema);
  run(conn, sql);
  snprintf(user, sizeof user, "user='%s Guest'", f->schema);
  assert_ok(open_with(f, user, &s));
  append(s, &b, TEXTS("a1", "a2", "a3"));
  expect_stored(&b, 1);
  assert_true(goes_there(s));
  snprintf(sql, sizeof sql, "revoke execute on function annal_append_new_1 from \"%s Guest\"", f->schema);
  run(conn, sql);
  append(s, &b, TEXTS("b1", "b2", "b3"));
  expect_stored(&b, 4);
  assert_false(goes_there(s));
  store_close(s);
  run(conn, "drop function annal_append_new_1"); /* as where a dump of an older program is put back */
  append(f->store, &b, TEXTS("c1", "c2", "c3"));
  expect_stored(&b, 7);
  assert_false(goes_there(f->store));
  fixture_reopen(f); /* its owner comes, and the function with him */
  assert_true(goes_there(f->store));
  assert_string_equal(ask(conn, "select has_function_privilege('public', 'annal_append_new_1'::regproc, 'execute')"), "f");
  snprintf(sql, sizeof sql, "drop owned by \"%s Guest\"; drop role \"%s Guest\"", f->schema, f->schema);
  run(conn, sql);
  PQfinish(conn);
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: the function for new events was NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
  fixture_without_clock = true;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest tests[] = {
      TEST(batches_of_new_events_go_to_it),
      TEST(it_stores_as_the_other_does),
      TEST(ids_that_are_stored_are_found),
      TEST(of_a_batch_the_culprit_alone_fails),
      TEST(a_table_with_triggers_is_left_to_the_other),
      TEST(a_table_with_rules_is_left_to_the_other),
      TEST(a_table_with_policies_is_left_to_the_other),
      TEST(it_refuses_other_settings),
      TEST(what_is_appended_is_durable),
      TEST(it_counts_on_under_the_lock),
      TEST(an_answer_that_is_lost_is_settled),
      TEST(where_it_is_not_the_other_is_asked),
  };
  return cmocka_run_group_tests_name("append_new", tests, NULL, NULL);
}
