/* What only PostgreSQL has: the append function past its C, lost and interrupted sessions, locks, roles, engines and sessions that
 * are refused, connections that run out. Skipped without ANNAL_TEST_PG. */
#include "server.h"

#include "base/env.h"
#include "store/postgres/pg.h"
#include <time.h>
#include <unistd.h>

/* ---- The function itself --------------------------------------------------------------------------------------------------- */

#define PLAIN_CALL                                                                                                               \
  "select (annal_append_1('{1,2}', null, array['%s'], array['T'], array[1], array['{}']::json[], null, null, null, null, null, " \
  "null, null, null, null, null, null, null, null, null)).results is null"

static const char *plain_call(const char *id) {
  static char sql[512];
  snprintf(sql, sizeof sql, PLAIN_CALL, id);
  return sql;
}

static void the_append_refuses_other_isolation_levels(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  assert_string_equal(ask(conn, plain_call("a")), "t");
  run(conn, "begin isolation level repeatable read");
  assert_string_equal(ask(conn, plain_call("b")), "25000");
  run(conn, "rollback; begin isolation level serializable");
  assert_string_equal(ask(conn, plain_call("b")), "25000");
  run(conn, "rollback");
  run(conn, "set default_transaction_isolation = serializable");
  assert_string_equal(ask(conn, plain_call("b")), "25000");
  assert_int_equal(head_of(f), 1);
  PQfinish(conn);
}

static void what_is_appended_is_durable_also_where_commits_are_asynchronous(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  run(conn, "set synchronous_commit = off; begin");
  assert_string_equal(ask(conn, "show synchronous_commit"), "off");
  assert_string_equal(ask(conn, plain_call("a")), "t");
  assert_string_equal(ask(conn, "show synchronous_commit"), "on"); /* until this commit */
  run(conn, "commit");
  assert_string_equal(ask(conn, "show synchronous_commit"), "off");
  run(conn, "set synchronous_commit = local; begin");
  assert_string_equal(ask(conn, plain_call("b")), "t");
  assert_string_equal(ask(conn, "show synchronous_commit"), "local"); /* flushes here: as the operator wants it */
  run(conn, "commit");
  PQfinish(conn);
}

static void the_lock_is_held_until_the_commit(void **state) {
  fixture *f = *state;
  PGconn *one = session(f), *other = session(f);
  run(one, "begin");
  assert_string_equal(ask(one, plain_call("a")), "t");
  assert_string_equal(ask(other, "select pg_try_advisory_lock(1634627180, 'events'::regclass::oid::int)"), "f");
  run(one, "commit");
  assert_string_equal(ask(other, "select pg_try_advisory_lock(1634627180, 'events'::regclass::oid::int)"), "t");
  PQfinish(one);
  PQfinish(other);
}

static void a_path_of_the_callers_does_not_reach_into_the_append(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  run(conn, "create function current_setting(text) returns text language sql as $$ select 'read committed' $$;"
            "create function pg_advisory_xact_lock(int, int) returns void language sql as $$ $$");
  char path[160];
  snprintf(path, sizeof path, "set search_path = %s, pg_catalog; begin isolation level serializable", f->schema);
  run(conn, path);
  assert_string_equal(ask(conn, plain_call("a")), "25000");
  PQfinish(conn);
}

/* Each range of a condition must go along its own index, whatever the planner takes the values for. */
static void conditions_go_along_their_index(void **state) {
  fixture *f = *state;
  for (int i = 0; i < 50; i++) {
    char id[16];
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, i % 2 ? "A" : "B", i % 2 ? "{\"k\":\"often\",\"n\":\"x\"}" : "{\"k\":\"often\"}");
  }
  PGconn *conn = session(f);
  run(conn, "analyze events; set enable_seqscan = off; set enable_bitmapscan = off; set plan_cache_mode = force_generic_plan");
  run(conn, "prepare p(text, bigint) as select e.position from events e where (e.data ->> 'k') is not null"
            " and ((e.data ->> 'k') collate \"C\", e.position) > ($1, $2)"
            " and ((e.data ->> 'k') collate \"C\", e.position) <= ($1, 9223372036854775807) limit 1");
  PGresult *plan = PQexec(conn, "explain execute p('often', 3)");
  bool found = false;
  for (int i = 0; i < PQntuples(plan); i++) found |= strstr(PQgetvalue(plan, i, 0), "Index Cond: ((ROW(") != NULL;
  PQclear(plan);
  assert_true(found);
  /* And that is the text which the function has. */
  assert_string_equal(ask(conn, "select count(*) from pg_proc where oid = 'annal_newer_1'::regproc and prosrc like "
                                "'%((e.data ->> ''k'') collate \"C\", e.position) > (field\\_values[at], seen)%'"),
                      "1");
  PQfinish(conn);
}

static int ignore_row(void *context, const store_row *row) {
  (void)context;
  (void)row;
  return 0;
}

static void take_plan(PGconn *conn, const char *sql, char *plan, size_t room) {
  PGresult *result = PQexec(conn, sql);
  if (PQresultStatus(result) != PGRES_TUPLES_OK) fail_msg("%s: %s", sql, PQerrorMessage(conn));
  plan[0] = 0;
  for (int i = 0; i < PQntuples(result); i++) {
    append_text(plan, room, PQgetvalue(result, i, 0));
    append_text(plan, room, "\n");
  }
  PQclear(result);
}

/* How the server runs the statement that the store's connection for reading has prepared last. */
static void explain_last(fixture *f, char *plan, size_t room) {
  pg_conn *conn = &((pg_store *)f->store)->readers[0];
  char sql[512];
  unsigned name = conn->names[conn->statement_count - 1];
  run(conn->pq, "set plan_cache_mode = force_generic_plan");
  snprintf(sql, sizeof sql, "select cardinality(parameter_types) from pg_prepared_statements where name = 'annal_%u'", name);
  int count = atoi(ask(conn->pq, sql));
  snprintf(sql, sizeof sql, "explain execute annal_%u(null", name);
  for (int i = 1; i < count; i++) append_text(sql, sizeof sql, ", null");
  append_text(sql, sizeof sql, ")");
  take_plan(conn->pq, sql, plan, room);
}

static void plan_of_rows(fixture *f, store_query asked, char *plan, size_t room) {
  asked.type = "T";
  if (!asked.fingerprint) asked.fingerprint = "f1";
  assert_ok(store_query_rows(f->store, &asked, ignore_row, NULL, &test_error));
  explain_last(f, plan, room);
}

/* k is declared. Nothing was analysed, so that the planner takes every set for one row: it must not matter. */
static void queries_of_rows_go_along_their_indexes(void **state) {
  fixture *f = *state;
  static char plan[65536];
  save_one(f, "e1", "A", "{}");
  store_row row = {.type = "T",
                   .fingerprint = "f1",
                   .id = "a",
                   .state = "1",
                   .state_size = 1,
                   .data = "{\"k\":1}",
                   .data_size = 7,
                   .position = 1,
                   .latest_event_id = "e1"};
  assert_ok(store_put_rows(f->store, &row, 1, NULL, &test_error));
  row.id = "b"; /* a query that finds nothing has something more to ask */
  assert_ok(store_put_rows(f->store, &row, 1, NULL, &test_error));
  char of_field[PG_INDEX_NAME_BYTES], of_order[PG_INDEX_NAME_BYTES];
  pg_index_name("projections", "k", of_field);
  pg_index_name("order", "k", of_order);
  const annal_field one = FIELD("k", "1");
  const annal_range range = {.name = "k", .min = "0", .max = "2"};
  const struct {
    store_query query;
    const char *index;
    bool sorted; /* within a set */
  } cases[] = {
      {{0}, "views_pkey", true},
      {{.limit = 5}, "views_pkey", false},
      {{.limit = 5, .after = "a"}, "views_pkey", false},
      {{.data = &one, .data_count = 1}, of_field, true},
      {{.data = &one, .data_count = 1, .order = "k"}, of_field, true},
      {{.data = &one, .data_count = 1, .fingerprint = ""}, of_field, true},
      {{.order = "k", .limit = 5}, of_order, false},
      {{.order = "k", .limit = 5, .descending = true}, of_order, false},
      {{.order = "k", .limit = 5, .after = "a"}, of_order, false},
      {{.ranges = &range, .range_count = 1}, of_order, true},
      {{.ranges = &range, .range_count = 1, .order = "k", .limit = 5}, of_order, false},
      {{.fingerprint = "", .order = "k", .limit = 5}, of_order, false},
      {{.fingerprint = "", .limit = 5}, "views_pkey", false},
  };
  const size_t count = sizeof cases / sizeof *cases;
  for (size_t i = 0; i < 2 * count; i++) {
    char step[96];
    if (i == count) { /* the same where there is another set */
      row.fingerprint = "f0";
      assert_ok(store_put_rows(f->store, &row, 1, NULL, &test_error));
    }
    if (i >= count && cases[i % count].query.fingerprint) continue; /* it knows of one set, and was explained */
    plan_of_rows(f, cases[i % count].query, plan, sizeof plan);
    snprintf(step, sizeof step, " using %s on views p ", cases[i % count].index);
    const char *found = strstr(plan, step);
    if (!found) fail_msg("case %zu: not%sin\n%s", i, step, plan);
    const char *first = strstr(plan, "Nested Loop"); /* below it the sets are read */
    const char *sort = strstr(first ? first : plan, "Sort Key");
    if (!cases[i % count].sorted && sort && sort < found) fail_msg("case %zu sorts:\n%s", i, plan);
    if (i >= count && !strstr(plan, "using views_pkey on views o"))
      fail_msg("case %zu looks for ids in other ways:\n%s", i, plan);
  }
}

/* The primary key begins as the index of a declared field does, and is what finds a row. */
static void a_row_is_found_by_its_key(void **state) {
  fixture *f = *state;
  save_one(f, "e1", "A", "{\"k\":\"x\"}");
  annal_stream stream = {TYPES("A")};
  store_row row;
  store_cursor *cursor;
  assert_ok(store_read_row(f->store, "T", "f1", "a", &stream, 1, NULL, &row, &cursor, &test_error));
  store_cursor_close(cursor);
  char plan[8192];
  explain_last(f, plan, sizeof plan);
  if (!strstr(plan, "using views_pkey on views p")) fail_msg("%s", plan);
}

/* Rows of a set that is being made are so new that the planner knows of none of them: it must not compare each with each. */
/* How often the last statement of the store's connection for reading was planned for its values, and how often run by the plan for all. */
static void expect_plans(fixture *f, const char *for_values, const char *once) {
  pg_conn *conn = &((pg_store *)f->store)->readers[0];
  char sql[160];
  unsigned name = conn->names[conn->statement_count - 1];
  snprintf(sql, sizeof sql, "select custom_plans from pg_prepared_statements where name = 'annal_%u'", name);
  assert_string_equal(ask(conn->pq, sql), for_values);
  snprintf(sql, sizeof sql, "select generic_plans from pg_prepared_statements where name = 'annal_%u'", name);
  assert_string_equal(ask(conn->pq, sql), once);
}

/* Which index events are read along does not depend on values, and that of rows does. */
static void reads_of_events_are_planned_once(void **state) {
  fixture *f = *state;
  annal_stream stream = {DATA(FIELD("k", "x"))};
  store_query rows = {.type = "T", .fingerprint = "f1", .data = stream.data, .data_count = 1};
  for (int i = 0; i < 4; i++) assert_string_equal(ids_of_stream(f, stream), "");
  expect_plans(f, "0", "4");
  for (int i = 0; i < 2; i++) assert_ok(store_query_rows(f->store, &rows, ignore_row, NULL, &test_error));
  assert_true(((pg_store *)f->store)->readers[0].plans_once == false);
  assert_string_equal(ids_of_stream(f, stream), "");
  assert_string_equal(ask(((pg_store *)f->store)->readers[0].pq, "show plan_cache_mode"), "force_generic_plan");
  assert_ok(store_query_rows(f->store, &rows, ignore_row, NULL, &test_error));
  assert_string_equal(ask(((pg_store *)f->store)->readers[0].pq, "show plan_cache_mode"), "auto");
}

static void new_rows_are_looked_up_by_their_keys(void **state) {
  fixture *f = *state;
  static const struct {
    const char *file, *call, *keys[2];
  } cases[] = {
      {"kept_replace_behind.sql", "(text, text, text)", {"AND (id = p.id))"}},
      {"kept_rows.sql", "(text, text, text[])", {"AND (id = (i.id)::text))", "using annal_parked_pkey on annal_parked k"}},
  };
  save_one(f, "e1", "A", "{}");
  pg_store *s = (pg_store *)f->store;
  PGconn *conn = session(f);
  run(conn, "set plan_cache_mode = force_generic_plan; set enable_seqscan = off");
  run(conn,
      "insert into views (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at) "
      "select 'T', 'f' || n % 2, 'i' || n / 2, '1', '1', 1, 'e1', now(), now() from generate_series(1, 2000) n; analyze views;"
      "insert into views (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at) "
      "select 'T', 'g' || n % 2, 'i' || n / 2, '1', '1', 1, 'e1', now(), now() from generate_series(1, 2000) n");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static char plan[8192];
    base_buf sql;
    buf_init(&sql, s->base.env);
    buf_text(&sql, "prepare p");
    buf_text(&sql, cases[i].call);
    buf_text(&sql, " as ");
    pg_render(&sql, &s->names, NULL, cases[i].file);
    run(conn, sql.bytes);
    buf_free(&sql);
    take_plan(conn, "explain (costs off) execute p(null, null, null)", plan, sizeof plan);
    for (int k = 0; k < 2 && cases[i].keys[k]; k++)
      if (!strstr(plan, cases[i].keys[k])) fail_msg("%s has no \"%s\":\n%s", cases[i].file, cases[i].keys[k], plan);
    run(conn, "deallocate p");
  }
  PQfinish(conn);
}

/* ---- Many saves in one call ------------------------------------------------------------------------------------------------ */

static void saves_of_one_call_see_each_other(void **state) {
  fixture *f = *state;
  save_one(f, "first", "A", "{\"k\":\"1\"}");
  annal_event a[2] = {event_of("a1", "A", "{\"k\":\"1\"}"), event_of("a2", "A", "{\"k\":\"9\"}")};
  annal_event b = event_of("b", "A", "{\"k\":\"1\"}"), c = event_of("a1", "A", "{\"k\":\"1\"}");
  annal_event d = event_of("d", "A", "{\"k\":\"1\"}"), e = event_of("e", "B", "{\"k\":\"2\"}"), g = event_of("a2", "A", "{}");
  annal_event h = event_of("h", "A", "{\"k\":\"1\"}"), i[2] = {event_of("i", "A", "{}"), event_of("a2", "A", "{\"k\":\"9\"}")};
  annal_stream one = {DATA(FIELD("k", "1"))};
  annal_condition after_first = {.size = sizeof after_first, .streams = &one, .stream_count = 1, .latest_event_id = "first"};
  annal_condition after_a1 = after_first, after_nothing = after_first, after_none = after_first;
  after_a1.latest_event_id = "a1";
  after_nothing.latest_event_id = NULL;
  after_none.latest_event_id = "never";
  store_save saves[] = {{.events = a, .count = 2, .condition = &after_first},    /* stored: 2, 3 */
                        {.events = &b, .count = 1, .condition = &after_first},   /* a1 is newer */
                        {.events = &c, .count = 1, .condition = &after_first},   /* stored in this very call */
                        {.events = &d, .count = 1, .condition = &after_a1},      /* stored: 4 */
                        {.events = &e, .count = 1},                              /* stored: 5 */
                        {.events = &g, .count = 1},                              /* a2 with other content */
                        {.events = &h, .count = 1, .condition = &after_none},    /* no such id */
                        {.events = i, .count = 2, .condition = &after_nothing}}; /* a2 is stored, i is not */
  const int wanted[] = {0, ANNAL_CONFLICT, 0, 0, 0, ANNAL_DUPLICATE, ANNAL_CONFLICT, ANNAL_DUPLICATE};
  store_entry entries[8] = {0};
  for (size_t n = 0; n < 8; n++) entries[n].save = &saves[n];
  f->store->backend->append(f->store, entries, 8);
  for (size_t n = 0; n < 8; n++)
    if (entries[n].result != wanted[n]) fail_msg("save %zu: %d: %s", n, entries[n].result, entries[n].error.message);
  assert_int_equal(a[0].position, 2);
  assert_int_equal(a[1].position, 3);
  assert_true(saves[2].was_stored);
  assert_int_equal(c.position, 2);
  assert_int_equal(c.created_at, a[0].created_at);
  assert_int_equal(d.position, 4);
  assert_int_equal(e.position, 5);
  assert_non_null(strstr(entries[1].error.message, "\"a1\" at position 2"));
  assert_non_null(strstr(entries[6].error.message, "\"never\""));
  assert_non_null(strstr(entries[7].error.message, "\"i\" of the same save is not"));
  assert_int_equal(head_of(f), 5);
}

static void the_culprit_of_an_error_fails_alone(void **state) {
  fixture *f = *state;
  annal_event events[3] = {event_of("a", "A", "{\"k\":1}"), event_of("b", "A", "{\"k\":"), event_of("c", "A", "{}")};
  store_save saves[3];
  store_entry entries[3] = {0};
  for (int i = 0; i < 3; i++) {
    saves[i] = (store_save){.events = &events[i], .count = 1};
    entries[i].save = &saves[i];
  }
  f->store->backend->append(f->store, entries, 3);
  assert_int_equal(entries[0].result, 0);
  assert_int_equal(entries[1].result, ANNAL_INVALID);
  assert_string_equal(entries[1].error.sqlstate, "22P02");
  assert_int_equal(entries[2].result, 0);
  assert_int_equal(events[2].position, 2);
  assert_string_equal(ids_of(f, &(annal_selection){.size = sizeof(annal_selection)}), "a c");
}

/* Conditions against a plain evaluation of them, for many shapes: declared, undeclared, types, lists, several fields. */
static void conditions_of_every_shape_hold(void **state) {
  fixture *f = *state;
  static const char *const data[] = {"{\"k\":\"1\",\"u\":\"x\"}", "{\"k\":2,\"u\":true}",    "{\"n\":\"[1]\",\"u\":null}",
                                     "{\"n\":[1],\"u\":\"x\"}",   "{\"k\":\"1\",\"n\":2.5}", "{\"u\":\"x\",\"w\":\"y\"}"};
  char id[16];
  for (int i = 0; i < 6; i++) {
    snprintf(id, sizeof id, "e%d", i + 1);
    save_one(f, id, i % 2 ? "ODD" : "EVEN", data[i]);
  }
  const struct {
    annal_stream stream;
    int newest; /* the position of the newest event that matches; 0: none does */
  } cases[] = {
      {{DATA(FIELD("k", "1"))}, 5},
      {{DATA(FIELD("k", "2"))}, 2},
      {{DATA(FIELD("k", "3"))}, 0},
      {{DATA(FIELD("k", "2", "3", "1"))}, 5},
      {{DATA(FIELD("n", "[1]"))}, 3}, /* the string, not the array */
      {{DATA(FIELD("n", "2.5"))}, 5},
      {{DATA(FIELD("u", "x"))}, 6},
      {{DATA(FIELD("u", "true"))}, 2},
      {{DATA(FIELD("u", "null"))}, 0},
      {{DATA(FIELD("u", "x"), FIELD("w", "y", "z"))}, 6},
      {{DATA(FIELD("u", "x"), FIELD("k", "1"))}, 1},
      {{DATA(FIELD("u", "x"), FIELD("w", "q"))}, 0},
      {{TYPES("EVEN")}, 5},
      {{TYPES("NONE")}, 0},
      {{TYPES("NONE", "ODD")}, 6},
      {{TYPES("EVEN"), DATA(FIELD("k", "2"))}, 0},
      {{TYPES("EVEN", "ODD"), DATA(FIELD("k", "2"))}, 2},
      {{TYPES("ODD"), DATA(FIELD("u", "x"))}, 6},
      {{TYPES("EVEN"), DATA(FIELD("u", "x"))}, 1},
      {{.all = true}, 6},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int seen = 0; seen <= 6; seen++) {
      char after[16];
      snprintf(after, sizeof after, "e%d", seen);
      PGconn *conn = session(f);
      int result = save_under(f, "new", "NEW", "{}", cases[i].stream, seen ? after : NULL, &test_error);
      if ((result == ANNAL_CONFLICT) != (cases[i].newest > seen)) fail_msg("case %zu after %d: %d", i, seen, result);
      run(conn, "delete from events where id = 'new'");
      PQfinish(conn);
    }
}

/* ---- Locks, timeouts, interrupts -------------------------------------------------------------------------------------------- */

static void a_lock_that_is_not_to_be_had_is_busy(void **state) {
  fixture *f = *state;
  f->options.lock_timeout = 0.2;
  fixture_reopen(f);
  PGconn *conn = session(f);
  run(conn, take_lock);
  assert_fails(save_to(f->store, "a", &test_error), ANNAL_BUSY, "lock_timeout");
  assert_true(test_error.retryable);
  assert_false(test_error.in_doubt);
  assert_string_equal(test_error.sqlstate, "55P03");
  run(conn, "rollback");
  assert_ok(save_to(f->store, "a", &test_error));
  PQfinish(conn);
}

static void a_call_ends_at_its_timeout(void **state) {
  fixture *f = *state;
  f->options.timeout = 0.3;
  fixture_reopen(f);
  PGconn *conn = session(f);
  run(conn, take_lock);
  int64_t start = base_monotonic();
  assert_fails(save_to(f->store, "a", &test_error), ANNAL_UNAVAILABLE, "timeout of 0.3 seconds");
  assert_false(test_error.in_doubt);
  assert_true(base_monotonic() - start < 2000000);
  run(conn, "rollback; begin; lock table events");
  store_head_info head;
  assert_fails(store_head(f->store, &head, &test_error), ANNAL_UNAVAILABLE, "timeout");
  run(conn, "rollback");
  assert_ok(store_head(f->store, &head, &test_error));
  PQfinish(conn);
}

typedef struct interrupter {
  store *s;
  atomic_bool done;
  pthread_t thread;
} interrupter;

/* Again and again: what is to be interrupted may be late. */
static void *interrupt_soon(void *context) {
  interrupter *i = context;
  while (!atomic_load(&i->done)) {
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    store_interrupt(i->s);
  }
  return NULL;
}

static void begin_interrupts(interrupter *i, store *s) {
  *i = (interrupter){.s = s};
  assert_int_equal(pthread_create(&i->thread, NULL, interrupt_soon, i), 0);
}

static void end_interrupts(interrupter *i) {
  atomic_store(&i->done, true);
  pthread_join(i->thread, NULL);
}

static void an_interrupt_ends_what_is_under_way(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  interrupter other;
  run(conn, take_lock);
  begin_interrupts(&other, f->store);
  assert_fails(save_to(f->store, "a", &test_error), ANNAL_UNAVAILABLE, "interrupted");
  assert_false(test_error.in_doubt);
  end_interrupts(&other);
  run(conn, "rollback; begin; lock table events");
  begin_interrupts(&other, f->store);
  store_head_info head;
  assert_fails(store_head(f->store, &head, &test_error), ANNAL_UNAVAILABLE, "interrupted");
  end_interrupts(&other);
  run(conn, "rollback");
  assert_ok(save_to(f->store, "a", &test_error)); /* what comes later is not touched */
  assert_int_equal(head_of(f), 1);
  PQfinish(conn);
}

/* ---- Lost sessions ---------------------------------------------------------------------------------------------------------- */

static const char *const end_appends =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'annal' and datname = "
    "current_database() and wait_event = 'advisory'";
static const char *const end_idle =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'annal' "
    "and datname = current_database() and state = 'idle'";

/* Ends the server processes that wait for the lock, with a save and on their way to one, then lets go of it. */
static void *end_waiting(void *context) {
  PGconn **conns = context;
  for (int ended = 0; ended < 2;) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (strcmp(ask(conns[1], end_appends), "0") != 0) ended++;
  }
  run(conns[0], "commit");
  return NULL;
}

static void a_save_whose_session_is_lost_is_sent_again(void **state) {
  fixture *f = *state;
  PGconn *conns[2] = {session(f), session(f)};
  pthread_t thread;
  run(conns[0], take_lock);
  assert_int_equal(pthread_create(&thread, NULL, end_waiting, conns), 0);
  annal_event event = event_of("a", "T", "{\"k\":\"v\"}");
  store_save save = {.events = &event, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error));
  pthread_join(thread, NULL);
  assert_int_equal(event.position, 1);
  assert_int_equal(head_of(f), 1);
  PQfinish(conns[0]);
  PQfinish(conns[1]);
}

/* The server commits and its answer never comes: the same save under the same ids finds what is stored. */
static void a_save_whose_answer_is_lost_is_settled(void **state) {
  fixture *f = *state;
  proxy between;
  store *s;
  proxy_start(&between, f, "lost answer");
  assert_ok(open_through(&between, f, "", &s));
  annal_stream all = {.all = true};
  annal_condition empty = {.size = sizeof empty, .streams = &all, .stream_count = 1};
  annal_event event = event_of("lost answer", "T", "{\"k\":\"v\"}");
  store_save save = {.events = &event, .count = 1, .condition = &empty};
  proxy_do(&between, LOSE_ANSWER, 3);
  assert_ok(store_append(s, &save, &test_error));
  assert_int_equal(atomic_load(&between.faults), 0);
  assert_true(save.was_stored); /* by an attempt whose answer nobody heard */
  assert_int_equal(event.position, 1);
  assert_int_equal(head_of(f), 1);
  store_close(s);
  proxy_stop(&between);
}

static void *end_waiting_for_good(void *context) {
  PGconn *conn = context; /* not the one that holds the lock: a transaction sees one state of pg_stat_activity */
  for (int i = 0; i < 40; i++) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    ask(conn, end_appends);
  }
  return NULL;
}

static void what_cannot_be_settled_in_time_is_in_doubt(void **state) {
  fixture *f = *state;
  f->options.timeout = 0.5;
  fixture_reopen(f);
  PGconn *conn = session(f), *other = session(f);
  pthread_t thread;
  run(conn, take_lock);
  assert_int_equal(pthread_create(&thread, NULL, end_waiting_for_good, other), 0);
  assert_fails(save_to(f->store, "a", &test_error), ANNAL_UNAVAILABLE, "not known whether");
  assert_true(test_error.in_doubt);
  pthread_join(thread, NULL);
  run(conn, "commit");
  assert_ok(save_to(f->store, "a", &test_error)); /* settles it */
  assert_int_equal(head_of(f), 1);
  PQfinish(conn);
  PQfinish(other);
}

static void sessions_that_were_ended_while_idle_are_made_again(void **state) {
  fixture *f = *state;
  save_one(f, "a", "T", "{\"k\":\"v\"}");
  PGconn *conn = session(f);
  for (int i = 0; i < 3; i++) {
    char id[16];
    snprintf(id, sizeof id, "b%d", i);
    ask(conn, end_idle);
    if (i != 1) save_one(f, id, "T", "{\"k\":\"v\"}");
    assert_string_equal(ids_of_stream(f, (annal_stream){DATA(FIELD("k", "v"))}), i == 2 ? "a b0 b2" : "a b0");
    ask(conn, end_idle);
    store_row row = {
        .type = "R", .fingerprint = "", .id = id, .data = "1", .data_size = 1, .position = 1, .latest_event_id = "a"};
    store_status status;
    assert_ok(store_put_rows(f->store, &row, 1, &status, &test_error));
    assert_int_equal(status, STORE_CREATED);
  }
  PQfinish(conn);
}

static void fill(fixture *f, int count) {
  annal_event *events = calloc((size_t)count, sizeof *events);
  char(*ids)[16] = calloc((size_t)count, sizeof *ids);
  for (int i = 0; i < count; i++) {
    snprintf(ids[i], sizeof *ids, "e%06d", i + 1);
    events[i] = event_of(ids[i], "T", "{\"k\":\"v\"}");
  }
  store_save save = {.events = events, .count = (size_t)count};
  assert_ok(store_append(f->store, &save, &test_error));
  free(events);
  free(ids);
}

static void a_read_goes_on_where_its_session_was_lost(void **state) {
  fixture *f = *state;
  fill(f, 3500);
  PGconn *conn = session(f);
  for (int reverse = 0; reverse < 2; reverse++) {
    annal_selection selection = {.size = sizeof selection, .reverse = reverse};
    store_cursor *cursor;
    store_page page;
    int64_t count = 0;
    assert_ok(store_read(f->store, &selection, &cursor, &test_error));
    do {
      assert_ok(store_cursor_next(cursor, &page, &test_error));
      for (size_t i = 0; i < page.count; i++, count++)
        assert_int_equal(page.events[i].position, reverse ? 3500 - count : count + 1);
      ask(conn, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'annal' and datname = "
                "current_database()");
    } while (page.count);
    assert_int_equal(count, 3500);
    store_cursor_close(cursor);
  }
  PQfinish(conn);
}

/* ---- Connections that run out ---------------------------------------------------------------------------------------------- */

static void reads_within_reads_never_wait_for_themselves(void **state) {
  fixture *f = *state;
  fill(f, 2500);
  f->options.connections = 2;
  fixture_reopen(f);
  store_cursor *cursors[10];
  int64_t next[10] = {0};
  annal_selection selection = {.size = sizeof selection};
  for (int i = 0; i < 10; i++) assert_ok(store_read(f->store, &selection, &cursors[i], &test_error));
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < 10; i++) {
      store_page page;
      assert_ok(store_cursor_next(cursors[i], &page, &test_error));
      assert_int_equal(page.count, round < 2 ? 1000 : 500);
      assert_int_equal(page.events[0].position, next[i] + 1);
      next[i] += (int64_t)page.count;
      assert_int_equal(page.events[page.count - 1].position, next[i]);
      assert_int_equal(head_of(f), 2500);
      if (round == 1 && i >= 7) {
        store_cursor_close(cursors[i]); /* with a page under way */
        cursors[i] = NULL;
        assert_ok(store_read(f->store, &selection, &cursors[i], &test_error));
        assert_ok(store_cursor_next(cursors[i], &page, &test_error));
        assert_ok(store_cursor_next(cursors[i], &page, &test_error));
      }
    }
  for (int i = 0; i < 10; i++) store_cursor_close(cursors[i]);
}

static void *read_all(void *context) {
  fixture *f = context;
  for (int i = 0; i < 5; i++) {
    store_cursor *cursor;
    store_page page;
    annal_error error;
    annal_selection selection = {.size = sizeof selection};
    int64_t count = 0;
    if (store_read(f->store, &selection, &cursor, &error)) return "read";
    do {
      if (store_cursor_next(cursor, &page, &error)) {
        store_cursor_close(cursor);
        return "next";
      }
      for (size_t j = 0; j < page.count; j++)
        if (page.events[j].position != ++count) return "order";
    } while (page.count);
    store_cursor_close(cursor);
    if (count != 2500) return "count";
  }
  return NULL;
}

static void many_threads_share_few_connections(void **state) {
  fixture *f = *state;
  fill(f, 2500);
  f->options.connections = 2;
  fixture_reopen(f);
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_all, f), 0);
  for (int i = 0; i < 8; i++) {
    void *fault;
    pthread_join(threads[i], &fault);
    if (fault) fail_msg("%s", (const char *)fault);
  }
}

/* ---- Opening ----------------------------------------------------------------------------------------------------------------- */

static void no_message_shows_a_password(void **state) {
  fixture *f = *state;
  store *s;
  static const char *const locations[] = {
      "postgresql://u:s3cret@/x?host=/nowhere/at/all",
      "postgresql://u:s3cret/more@localhost/x",
      "postgresql://u:p@localhost:s3cret/x",
      "postgresql://u@localhost/x?password=a&s3cret",
      "host=/nowhere/at/all password=s3cret",
      "host=/nowhere/at/all password=s3cret s3cret",
      "host=127.0.0.1 port=1 password='s3cret' dbname=s3cret",
  };
  for (size_t i = 0; i < sizeof locations / sizeof *locations; i++) {
    int result = store_open(&f->env, locations[i], &f->options, &s, &test_error);
    if (result != ANNAL_UNAVAILABLE && result != ANNAL_MISUSE) fail_msg("%s: %d", locations[i], result);
    if (strstr(test_error.message, "s3cret")) fail_msg("%s: %s", locations[i], test_error.message);
  }
}

static void a_server_that_is_not_there_is_unavailable_at_once(void **state) {
  fixture *f = *state;
  store *s;
  int64_t start = base_monotonic();
  assert_fails(store_open(&f->env, "host=/nowhere/at/all dbname=x", &f->options, &s, &test_error), ANNAL_UNAVAILABLE, "nowhere");
  assert_true(test_error.retryable);
  assert_fails(open_with(f, "dbname=no_such_database", &s), ANNAL_UNAVAILABLE, "no_such_database");
  assert_true(base_monotonic() - start < 5000000);
}

static void other_encodings_are_refused(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  store *s;
  char name[64], sql[256], more[128];
  snprintf(name, sizeof name, "annal_ascii_%ld", (long)getpid());
  snprintf(sql, sizeof sql, "create database %s template template0 encoding 'SQL_ASCII' locale 'C'%s", name,
           PQserverVersion(conn) >= 150000 ? " locale_provider 'libc'" : "");
  run(conn, sql);
  snprintf(more, sizeof more, "dbname=%s", name);
  int result = open_with(f, more, &s);
  snprintf(sql, sizeof sql, "drop database %s", name);
  run(conn, sql);
  PQfinish(conn);
  assert_int_equal(result, ANNAL_MISUSE);
  assert_non_null(strstr(test_error.message, "SQL_ASCII"));
}

static void *open_and_close(void *context) {
  fixture *f = context;
  store *s;
  annal_error error;
  if (store_open(&f->env, f->location, &f->options, &s, &error)) return strdup(error.message);
  store_close(s);
  return NULL;
}

static void openers_at_one_time_make_one_store(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  char sql[128];
  for (int round = 0; round < 3; round++) {
    store_close(f->store);
    f->store = NULL;
    snprintf(sql, sizeof sql, "drop schema %s cascade", f->schema);
    run(conn, sql);
    pthread_t threads[6];
    char *faults[6];
    for (int i = 0; i < 6; i++) assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, f), 0);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], (void **)&faults[i]);
    for (int i = 0; i < 6; i++)
      if (faults[i]) fail_msg("%s", faults[i]);
    fixture_reopen(f);
    save_one(f, "a", "T", "{\"k\":\"v\"}");
  }
  PQfinish(conn);
}

static void identifiers_declared_later_guard_earlier_handles_too(void **state) {
  fixture *f = *state;
  save_one(f, "a", "T", "{\"late\":\"x\"}");
  static const char *const more[] = {"k", "n", "late", "quo_Te"};
  fixture other = *f;
  other.options.data_indexes = more;
  other.options.data_index_count = 4;
  store *s;
  assert_ok(store_open(&other.env, f->location, &other.options, &s, &test_error));
  annal_stream stream = {DATA(FIELD("late", "x"))};
  /* The earlier handle does not know of the index; the later one uses it. */
  assert_int_equal(save_under(f, "b", "T", "{}", stream, NULL, &test_error), ANNAL_CONFLICT);
  other.store = s;
  assert_int_equal(save_under(&other, "b", "T", "{}", stream, NULL, &test_error), ANNAL_CONFLICT);
  assert_int_equal(save_under(&other, "b", "T", "{\"late\":\"x\"}", stream, "a", &test_error), ANNAL_OK);
  assert_int_equal(save_under(f, "c", "T", "{}", stream, "a", &test_error), ANNAL_CONFLICT);
  uint64_t findings;
  assert_ok(store_check(s, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  store_close(s);
}

/* ---- Roles ------------------------------------------------------------------------------------------------------------------- */

static void drop_roles(PGconn *conn, fixture *f) {
  char sql[512];
  snprintf(sql, sizeof sql, "drop schema if exists %s cascade; drop role if exists %s_login, %s_worker, %s_writer, %s_reader",
           f->schema, f->schema, f->schema, f->schema, f->schema);
  run(conn, sql);
}

static void become(PGconn *conn, fixture *f, const char *role) {
  char sql[512];
  snprintf(sql, sizeof sql, "drop role if exists %s_login; create role %s_login login in role %s_%s", f->schema, f->schema,
           f->schema, role);
  run(conn, sql);
}

static void roles_may_what_the_ddl_grants(void **state) {
  fixture *f = *state;
  PGconn *conn = session(f);
  store_close(f->store);
  f->store = NULL;
  drop_roles(conn, f);
  base_buf ddl;
  buf_init(&ddl, &f->env);
  assert_ok(store_ddl(&f->env, f->location, &f->options, &ddl, &test_error));
  run(conn, ddl.bytes);
  buf_free(&ddl);
  char user[128];
  snprintf(user, sizeof user, "user=%s_login", f->schema);
  store *s;
  store_status status;
  store_row row = {.type = "R", .fingerprint = "", .id = "i", .data = "1", .data_size = 1, .position = 1, .latest_event_id = "a"};

  become(conn, f, "reader");
  assert_ok(open_with(f, user, &s));
  store_head_info head;
  assert_ok(store_head(s, &head, &test_error));
  assert_fails(save_to(s, "a", &test_error), ANNAL_UNAVAILABLE, "grant execute on function");
  assert_string_equal(test_error.sqlstate, "42501");
  assert_false(test_error.retryable);
  assert_fails(store_put_rows(s, &row, 1, &status, &test_error), ANNAL_UNAVAILABLE, "grant select, insert, update on");
  store_close(s);

  become(conn, f, "writer");
  assert_ok(open_with(f, user, &s));
  assert_ok(save_to(s, "a", &test_error));
  assert_ok(store_put_rows(s, &row, 1, &status, &test_error));
  assert_int_equal(status, STORE_CREATED);
  uint64_t findings;
  assert_ok(store_check(s, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  store_close(s);
  char sql[512];
  snprintf(sql, sizeof sql, "set role %s_login", f->schema);
  run(conn, sql);
  snprintf(sql, sizeof sql, "set search_path = %s", f->schema);
  run(conn, sql);
  assert_string_equal(
      ask(conn, "insert into events (position, id, type, version, data, created_at) values (7, 'x', 'T', 1, '{}', now())"),
      "42501");
  assert_string_equal(ask(conn, "delete from events"), "42501");
  run(conn, "reset role");

  /* What only the owner can do says so. */
  static const char *const more[] = {"k", "n", "late"};
  f->options.data_indexes = more;
  f->options.data_index_count = 3;
  assert_fails(open_with(f, user, &s), ANNAL_UNAVAILABLE, "as the owner");
  snprintf(sql, sizeof sql, "drop role %s_login; create role %s_login login", f->schema, f->schema);
  run(conn, sql);
  fixture_options(f);
  assert_fails(open_with(f, user, &s), ANNAL_UNAVAILABLE, "grant usage on schema");
  drop_roles(conn, f);
  assert_ok(store_open(&f->env, f->location, &f->options, &f->store, &test_error));
  PQfinish(conn);
}

/* ---- Poolers and readers ----------------------------------------------------------------------------------------------------- */

static void pooled_sessions_must_be_set_up_by_their_role(void **state) {
  fixture *f = *state;
  store *s;
  f->options.pooled = true;
  assert_fails(open_with(f, "options='-c statement_timeout=0 -c idle_in_transaction_session_timeout=0'", &s), ANNAL_MISUSE,
               "SET statement_timeout");
  assert_fails(open_with(f,
                         "options='-c default_transaction_isolation=serializable -c statement_timeout=30s "
                         "-c idle_in_transaction_session_timeout=30s'",
                         &s),
               ANNAL_MISUSE, "SET default_transaction_isolation = 'read committed'");
  assert_ok(open_with(f, "options='-c statement_timeout=30s -c idle_in_transaction_session_timeout=30s'", &s));
  assert_ok(save_to(s, "a", &test_error));
  assert_ok(save_to(s, "a", &test_error));
  store_head_info head;
  assert_ok(store_head(s, &head, &test_error));
  assert_int_equal(head.position, 1);
  PGconn *conn = session(f);
  assert_string_equal(ask(conn, "select count(*) from pg_prepared_statements"), "0");
  PQfinish(conn);
  store_close(s);
}

static void a_read_only_handle_cannot_write_whatever_it_is_asked(void **state) {
  fixture *f = *state;
  save_one(f, "a", "T", "{\"k\":\"v\"}");
  f->options.read_only = true;
  fixture_reopen(f);
  annal_event event = event_of("b", "T", "{}");
  store_save save = {.events = &event, .count = 1};
  store_entry entry = {.save = &save};
  f->store->backend->append(f->store, &entry, 1); /* past the check of the neutral half */
  assert_int_equal(entry.result, ANNAL_MISUSE);
  assert_string_equal(entry.error.sqlstate, "25006");
  assert_int_equal(head_of(f), 1);
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: PostgreSQL was NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
  fixture_without_clock = true;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest tests[] = {
      TEST(the_append_refuses_other_isolation_levels),
      TEST(what_is_appended_is_durable_also_where_commits_are_asynchronous),
      TEST(the_lock_is_held_until_the_commit),
      TEST(a_path_of_the_callers_does_not_reach_into_the_append),
      TEST(conditions_go_along_their_index),
      TEST(queries_of_rows_go_along_their_indexes),
      TEST(a_row_is_found_by_its_key),
      TEST(reads_of_events_are_planned_once),
      TEST(new_rows_are_looked_up_by_their_keys),
      TEST(saves_of_one_call_see_each_other),
      TEST(the_culprit_of_an_error_fails_alone),
      TEST(conditions_of_every_shape_hold),
      TEST(a_lock_that_is_not_to_be_had_is_busy),
      TEST(a_call_ends_at_its_timeout),
      TEST(an_interrupt_ends_what_is_under_way),
      TEST(a_save_whose_session_is_lost_is_sent_again),
      TEST(a_save_whose_answer_is_lost_is_settled),
      TEST(what_cannot_be_settled_in_time_is_in_doubt),
      TEST(sessions_that_were_ended_while_idle_are_made_again),
      TEST(a_read_goes_on_where_its_session_was_lost),
      TEST(reads_within_reads_never_wait_for_themselves),
      TEST(many_threads_share_few_connections),
      TEST(no_message_shows_a_password),
      TEST(a_server_that_is_not_there_is_unavailable_at_once),
      TEST(other_encodings_are_refused),
      TEST(openers_at_one_time_make_one_store),
      TEST(identifiers_declared_later_guard_earlier_handles_too),
      TEST(roles_may_what_the_ddl_grants),
      TEST(pooled_sessions_must_be_set_up_by_their_role),
      TEST(a_read_only_handle_cannot_write_whatever_it_is_asked),
  };
  return cmocka_run_group_tests_name("PostgreSQL", tests, NULL, NULL);
}
