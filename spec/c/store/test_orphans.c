/* Server processes that a lost save leaves behind: whatever they do, and whenever, what the caller was told stays true. A proxy cuts the
 * store's connection and leaves the server's open, at a moment of the test's choice. Skipped without ANNAL_TEST_PG. */
#include "server.h"

#include <time.h>
#include <unistd.h>

static void sleep_ms(long milliseconds) { nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL); }

/* ---- A save on its own thread ----------------------------------------------------------------------------------------------- */

typedef struct saver {
  store *s;
  annal_event event;
  annal_stream stream;
  annal_condition condition;
  store_save save;
  int result;
  annal_error error;
  pthread_t thread;
} saver;

static void *save_now(void *context) {
  saver *one = context;
  one->result = store_append(one->s, &one->save, &one->error);
  return NULL;
}

/* Saves "orphan", on condition that `seen` (or NULL: no condition) is stored and the newest. */
static void start_save(saver *one, store *s, const char *seen) {
  *one = (saver){.s = s, .event = event_of("orphan", "T", "{\"k\":\"v\"}"), .stream = {.all = true}};
  one->condition = (annal_condition){.size = sizeof one->condition, .stream_count = 1, .latest_event_id = seen};
  one->condition.streams = &one->stream;
  one->save = (store_save){.events = &one->event, .count = 1, .condition = seen ? &one->condition : NULL};
  assert_int_equal(pthread_create(&one->thread, NULL, save_now, one), 0);
}

static void finish_save(saver *one) { pthread_join(one->thread, NULL); }

static void save(saver *one, store *s, const char *seen) {
  start_save(one, s, seen);
  finish_save(one);
}

/* ---- The server ------------------------------------------------------------------------------------------------------------- */

typedef struct scene {
  fixture *f;
  proxy between;
  store *s;     /* through the proxy */
  PGconn *conn; /* past it */
} scene;

static scene sc; /* not on the stack, which a test that fails leaves at once */

static void open_scene(fixture *f, const char *more) {
  sc.f = f;
  proxy_start(&sc.between, f, "orphan");
  assert_ok(open_through(&sc.between, f, more, &sc.s));
  sc.conn = session(f);
}

static const char take_right[] = "revoke execute on function pg_catalog.pg_terminate_backend(int, bigint) from public";
static const char give_right[] = "grant execute on function pg_catalog.pg_terminate_backend(int, bigint) to public";

static void drop_guest(fixture *f) {
  char sql[256];
  PGconn *conn = session(f);
  run(conn, give_right);
  snprintf(sql, sizeof sql, "select 1 from pg_roles where rolname = '%s_guest'", f->schema);
  if (ask(conn, sql)[0]) {
    snprintf(sql, sizeof sql, "drop owned by %s_guest; drop role %s_guest", f->schema, f->schema);
    run(conn, sql);
  }
  PQfinish(conn);
}

static int teardown(void **state) {
  if (sc.f) {
    PQfinish(sc.conn); /* first: it may hold the lock */
    store_close(sc.s);
    proxy_stop(&sc.between);
  }
  sc = (scene){0};
  drop_guest(*state);
  return fixture_teardown(state);
}

/* Waits until so many sessions of the store's wait for the append lock. */
static void wait_for_waiting(int count) {
  char wanted[16];
  snprintf(wanted, sizeof wanted, "%d", count);
  PGconn *conn = session(sc.f); /* a transaction sees one state of pg_stat_activity, and sc.conn may be in one */
  for (int i = 0; i < 1000; i++, sleep_ms(10))
    if (strcmp(ask(conn,
                   "select count(*) from pg_stat_activity where application_name = 'annal' and datname = current_database() "
                   "and wait_event = 'advisory'"),
               wanted) == 0)
      break;
  PQfinish(conn);
}

/* What was held back is delivered, and whoever is left of the store's sessions does what it can. */
static void let_the_orphan_live(void) {
  proxy_deliver(&sc.between);
  for (int i = 0; i < 1000; i++, sleep_ms(10))
    if (strcmp(ask(sc.conn, "select count(*) from pg_stat_activity where application_name = 'annal' and datname = "
                            "current_database() and state = 'active'"),
               "0") == 0)
      break;
  sleep_ms(100);
}

static void expect_stored(const char *ids) {
  assert_string_equal(ask(sc.conn, "select coalesce(string_agg(id, ' ' order by position), '') from events"), ids);
}

/* ---- The tests -------------------------------------------------------------------------------------------------------------- */

/* The orphan waits for the lock, and gets it before the save that is sent again. */
static void an_orphan_that_stores_is_found(void **state) {
  static saver one;
  open_scene(*state, "");
  run(sc.conn, take_lock);
  proxy_do(&sc.between, LEAVE_ORPHAN, 1);
  start_save(&one, sc.s, NULL);
  wait_for_waiting(1);
  proxy_deliver(&sc.between);
  wait_for_waiting(2); /* it, and the store that comes to settle */
  run(sc.conn, "commit");
  finish_save(&one);
  if (one.result) fail_msg("%s", one.error.message);
  assert_true(one.save.was_stored);
  assert_int_equal(one.event.position, 1);
  expect_stored("orphan");
}

/* The id that its condition names is not stored when it is sent again, and is when the first call arrives at last. */
static void an_id_that_is_stored_later_helps_no_orphan(void **state) {
  static saver one;
  open_scene(*state, "");
  proxy_do(&sc.between, HOLD_CALL, 1);
  save(&one, sc.s, "base");
  assert_int_equal(one.result, ANNAL_CONFLICT);
  assert_int_equal(one.event.position, 0);
  save_one(sc.f, "base", "T", "{}");
  let_the_orphan_live();
  expect_stored("base");
  save(&one, sc.s, "base"); /* a new save, and its condition holds */
  assert_int_equal(one.result, ANNAL_OK);
  assert_false(one.save.was_stored);
  expect_stored("base orphan");
}

/* A trigger refuses it when it is sent again, and would not refuse the first call any more. */
static void a_trigger_that_changes_its_mind_helps_no_orphan(void **state) {
  static saver one;
  open_scene(*state, "");
  run(sc.conn, "create function no() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;"
               "create trigger no before insert on events for each row execute function no()");
  proxy_do(&sc.between, HOLD_CALL, 1);
  save(&one, sc.s, NULL);
  assert_int_equal(one.result, ANNAL_INVALID);
  assert_non_null(strstr(one.error.message, "not today"));
  run(sc.conn, "drop trigger no on events");
  let_the_orphan_live();
  expect_stored("");
}

/* The orphan comes to the lock while the store waits for it, to settle: it is met there. */
static void meet_at_the_lock(fixture *f, const char *more) {
  static saver one;
  open_scene(f, more);
  run(sc.conn, take_lock);
  proxy_do(&sc.between, HOLD_CALL, 1);
  start_save(&one, sc.s, "base");
  wait_for_waiting(1);
  proxy_deliver(&sc.between);
  wait_for_waiting(2);
  run(sc.conn, "commit");
  finish_save(&one);
  assert_int_equal(one.result, ANNAL_CONFLICT);
  save_one(f, "base", "T", "{}");
  let_the_orphan_live();
  expect_stored("base");
}

static void an_orphan_at_the_lock_is_ended(void **state) { meet_at_the_lock(*state, ""); }

static void behind_a_pooler_too(void **state) {
  fixture *f = *state;
  f->options.pooled = true;
  meet_at_the_lock(f, "options='-c statement_timeout=30s -c idle_in_transaction_session_timeout=30s'");
}

/* The call gives up before it could settle; the next save of the handle, whichever, does that first. */
static void what_is_in_doubt_is_settled_by_the_next_save(void **state) {
  fixture *f = *state;
  static saver one;
  f->options.timeout = 0.5;
  open_scene(f, "");
  run(sc.conn, take_lock);
  proxy_do(&sc.between, HOLD_CALL, 1);
  save(&one, sc.s, "base");
  assert_int_equal(one.result, ANNAL_UNAVAILABLE);
  assert_true(one.error.in_doubt);
  run(sc.conn, "commit");
  save(&one, sc.s, "base");
  assert_int_equal(one.result, ANNAL_CONFLICT);
  save_one(f, "base", "T", "{}");
  let_the_orphan_live();
  expect_stored("base");
}

/* A role from which the right to end its own sessions was taken: the orphan is waited for, but others do not stand still for it. */
static void without_the_right_to_end_it_what_is_in_doubt_stays_so(void **state) {
  fixture *f = *state;
  static saver one;
  char sql[768], user[128];
  PGconn *conn = session(f);
  snprintf(
      sql, sizeof sql,
      "create role %s_guest login; grant usage on schema %s to %s_guest; grant select on all tables in schema %s to %s_guest; "
      "grant execute on function annal_append_1 to %s_guest; %s",
      f->schema, f->schema, f->schema, f->schema, f->schema, f->schema, take_right);
  run(conn, sql);
  PQfinish(conn);
  snprintf(user, sizeof user, "user=%s_guest", f->schema);
  f->options.timeout = 0.5;
  open_scene(f, user);
  proxy_do(&sc.between, HOLD_CALL, 1);
  save(&one, sc.s, NULL);
  assert_int_equal(one.result, ANNAL_UNAVAILABLE);
  assert_true(one.error.in_doubt);
  assert_ok(save_to(sc.s, "another", &test_error));
  let_the_orphan_live();
  expect_stored("another orphan");
  save(&one, sc.s, NULL); /* as the error said */
  assert_int_equal(one.result, ANNAL_OK);
  assert_true(one.save.was_stored);
}

/* Nothing of an own session is ended where nothing was lost, nor of another handle's. */
static void other_sessions_are_left_alone(void **state) {
  fixture *f = *state;
  static saver one;
  open_scene(f, "");
  save_one(f, "base", "T", "{}"); /* over a writer of its own */
  char pid[64] = "";
  for (int i = 0; i < 1000;
       i++, sleep_ms(10)) { /* until nobody but that writer bears a mark: sessions of other tests may just end */
    snprintf(pid, sizeof pid, "%s",
             ask(sc.conn,
                 "select string_agg(pid::text, ' ') from pg_locks where locktype = 'advisory' and classid = 1634627183 and "
                 "database = (select oid from pg_database where datname = current_database())"));
    if (pid[0] && !strchr(pid, ' ')) break;
  }
  proxy_do(&sc.between, HOLD_CALL, 1);
  save(&one, sc.s, "base");
  assert_int_equal(one.result, ANNAL_OK);
  char sql[128];
  snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %s", pid);
  assert_string_equal(ask(sc.conn, sql), "1");
  let_the_orphan_live();
  expect_stored("base orphan");
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: orphans on PostgreSQL were NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
  fixture_without_clock = true;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, teardown)
  const struct CMUnitTest orphans[] = {
      TEST(an_orphan_that_stores_is_found),
      TEST(an_id_that_is_stored_later_helps_no_orphan),
      TEST(a_trigger_that_changes_its_mind_helps_no_orphan),
      TEST(an_orphan_at_the_lock_is_ended),
      TEST(behind_a_pooler_too),
      TEST(what_is_in_doubt_is_settled_by_the_next_save),
      TEST(without_the_right_to_end_it_what_is_in_doubt_stays_so),
      TEST(other_sessions_are_left_alone),
  };
  return cmocka_run_group_tests(orphans, NULL, NULL);
}
