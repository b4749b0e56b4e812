/* Transactions of the caller's whose COMMIT is lost on its way or on its way back, and interrupted ones. PQsendQueryParams stands
 * here before libpq's own, so that a test can cut the connection at exactly that statement. Skipped without ANNAL_TEST_PG. */
#include "fixture.h"

#include "store/transaction.h"
#include <dlfcn.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

/* ---- A connection that is cut at COMMIT ------------------------------------------------------------------------------------ */

static enum { CUT_NOTHING, CUT_BEFORE, CUT_AFTER } cut;
static PGconn *blocker; /* takes the append lock once the COMMIT is done, if there is one */
static const char *blocker_sql;

/* COMMIT is done when the server answers: what it answers is thrown away. */
static void lose_answer(PGconn *conn) {
  char bytes[4096];
  struct pollfd waited = {.fd = PQsocket(conn), .events = POLLIN};
  while (PQflush(conn) > 0) poll(NULL, 0, 1);
  assert_int_equal(poll(&waited, 1, 10000), 1);
  while (recv(waited.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
  shutdown(waited.fd, SHUT_RDWR);
  if (!blocker) return;
  PGresult *result = PQexec(blocker, blocker_sql);
  assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
  PQclear(result);
}

/* In place of libpq's, whose parameters have other names. NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int PQsendQueryParams(PGconn *conn, const char *command, int count, const Oid *types, const char *const *values,
                      const int *lengths, const int *formats, int format) {
  int (*real)(PGconn *, const char *, int, const Oid *, const char *const *, const int *, const int *, int);
  void *symbol = dlsym(RTLD_NEXT, "PQsendQueryParams");
  memcpy(&real, &symbol, sizeof real);
  bool hit = cut != CUT_NOTHING && strcmp(command, "commit") == 0;
  if (hit && cut == CUT_BEFORE) shutdown(PQsocket(conn), SHUT_RDWR);
  int sent = real(conn, command, count, types, values, lengths, formats, format);
  if (hit && cut == CUT_AFTER) lose_answer(conn);
  if (hit) cut = CUT_NOTHING;
  return sent;
}

/* ---- What the tests do ----------------------------------------------------------------------------------------------------- */

/* Inserts a row and, with an id, saves an event, in one transaction. */
static int both(fixture *f, const char *id, bool *was_stored, annal_event *event) {
  store_transaction *t;
  const store_result *result;
  char sql[128];
  *event = event_of(id, "T", "{\"k\":\"v\"}");
  store_save save = {.events = event, .count = 1};
  assert_ok(store_begin(f->store, &t, &test_error));
  snprintf(sql, sizeof sql, "insert into %s.mine values ($1)", f->schema);
  store_value value = {.kind = STORE_INTEGER, .integer = 1};
  assert_ok(store_transaction_execute(t, sql, &value, 1, &result, &test_error));
  assert_false(result->has_rows);
  assert_int_equal(result->changed, 1);
  if (id) assert_ok(store_transaction_stage(t, &save, &test_error));
  error_clear(&test_error);
  int code = store_transaction_commit(t, NULL, was_stored, &test_error);
  store_transaction_end(t);
  return code;
}

static int64_t rows_of(fixture *f) {
  char sql[128];
  PGconn *conn = PQconnectdb(getenv("ANNAL_TEST_PG"));
  snprintf(sql, sizeof sql, "select count(*) from %s.mine", f->schema);
  PGresult *result = PQexec(conn, sql);
  assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
  int64_t count = atoll(PQgetvalue(result, 0, 0));
  PQclear(result);
  PQfinish(conn);
  return count;
}

static int setup(void **state) {
  int result = fixture_setup(state);
  if (!result) fixture_sql(*state, "create table mine (n integer)", NULL);
  cut = CUT_NOTHING;
  return result;
}

static void a_lost_answer_is_settled(void **state) {
  fixture *f = *state;
  annal_event event;
  bool was_stored;
  save_one(f, "before", "T", "{}");
  cut = CUT_AFTER;
  assert_ok(both(f, "a", &was_stored, &event));
  assert_int_equal(cut, CUT_NOTHING); /* it was cut */
  assert_false(was_stored);           /* by an earlier transaction */
  assert_int_equal(event.position, 2);
  assert_int_equal(head_of(f), 2);
  assert_int_equal(rows_of(f), 1);
}

static void a_lost_commit_is_none(void **state) {
  fixture *f = *state;
  annal_event event;
  bool was_stored;
  cut = CUT_BEFORE;
  assert_fails(both(f, "a", &was_stored, &event), ANNAL_UNAVAILABLE, "rolled back");
  assert_int_equal(cut, CUT_NOTHING);
  assert_false(test_error.in_doubt);
  assert_true(test_error.retryable);
  assert_int_equal(event.position, 0);
  assert_int_equal(head_of(f), 0);
  assert_int_equal(rows_of(f), 0);
  assert_ok(both(f, "a", &was_stored, &event));
  assert_int_equal(event.position, 1);
  assert_int_equal(rows_of(f), 1);
}

static void without_a_save_it_is_in_doubt(void **state) {
  fixture *f = *state;
  annal_event event;
  bool was_stored;
  cut = CUT_AFTER;
  assert_fails(both(f, NULL, &was_stored, &event), ANNAL_UNAVAILABLE, "not known");
  assert_true(test_error.in_doubt);
  assert_int_equal(rows_of(f), 1);
  cut = CUT_BEFORE;
  assert_fails(both(f, NULL, &was_stored, &event), ANNAL_UNAVAILABLE, "not known");
  assert_true(test_error.in_doubt);
  assert_int_equal(rows_of(f), 1);
}

/* Somebody has the append lock until the deadline: nobody can be asked. The next try under the same id settles it. */
static void what_cannot_be_asked_is_in_doubt(void **state) {
  fixture *f = *state;
  char sql[256];
  annal_event event;
  bool was_stored;
  f->options.timeout = 1;
  f->options.lock_timeout = 0.2;
  fixture_reopen(f);
  snprintf(sql, sizeof sql, "select pg_advisory_lock(1634627180, '%s.events'::regclass::oid::int)", f->schema);
  blocker_sql = sql;
  blocker = PQconnectdb(getenv("ANNAL_TEST_PG"));
  cut = CUT_AFTER;
  assert_fails(both(f, "a", &was_stored, &event), ANNAL_UNAVAILABLE, "same ids");
  PQfinish(blocker);
  blocker = NULL;
  assert_true(test_error.in_doubt);
  assert_int_equal(event.position, 0);
  assert_ok(both(f, "a", &was_stored, &event));
  assert_true(was_stored);
  assert_int_equal(event.position, 1);
  assert_int_equal(rows_of(f), 1); /* that try's row was taken back */
}

/* An interruption between two statements ends all of it. */
static void an_interruption_ends_it(void **state) {
  fixture *f = *state;
  store_transaction *t;
  const store_result *result;
  bool was_stored;
  char sql[128];
  snprintf(sql, sizeof sql, "insert into %s.mine values (1)", f->schema);
  assert_ok(store_begin(f->store, &t, &test_error));
  assert_ok(store_transaction_execute(t, sql, NULL, 0, &result, &test_error));
  store_interrupt(f->store);
  assert_fails(store_transaction_commit(t, NULL, &was_stored, &test_error), ANNAL_UNAVAILABLE, "interrupted");
  assert_false(test_error.in_doubt);
  store_transaction_end(t);
  assert_int_equal(rows_of(f), 0);
  annal_event event;
  assert_ok(both(f, "a", &was_stored, &event));
}

/* The server ends the session between two statements: nothing was stored, and the next transaction has another one. */
static void a_lost_session_is_replaced(void **state) {
  fixture *f = *state;
  store_transaction *t;
  const store_result *result;
  bool was_stored;
  annal_event event;
  assert_ok(store_begin(f->store, &t, &test_error));
  assert_ok(store_transaction_execute(t, "select pg_backend_pid() as pid", NULL, 0, &result, &test_error));
  char sql[128];
  snprintf(sql, sizeof sql, "select pg_terminate_backend(%lld, 10000)", (long long)result->values[0].integer);
  fixture_sql(f, sql, NULL);
  assert_int_not_equal(store_transaction_execute(t, "select 1", NULL, 0, &result, &test_error), ANNAL_OK);
  assert_int_equal(test_error.code, ANNAL_UNAVAILABLE);
  assert_true(test_error.retryable);
  assert_false(test_error.in_doubt);
  assert_int_equal(store_transaction_commit(t, NULL, &was_stored, &test_error), ANNAL_UNAVAILABLE);
  store_transaction_end(t);
  assert_ok(both(f, "a", &was_stored, &event));
  assert_int_equal(rows_of(f), 1);
}

int main(void) {
  const struct CMUnitTest transactions[] = {
      cmocka_unit_test_setup_teardown(a_lost_answer_is_settled, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_lost_commit_is_none, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(without_a_save_it_is_in_doubt, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_cannot_be_asked_is_in_doubt, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_interruption_ends_it, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_lost_session_is_replaced, setup, fixture_teardown),
  };
  fixture_runs_on = ON_POSTGRES;
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: transactions on PostgreSQL were NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* skipped, to meson */
  }
  return cmocka_run_group_tests(transactions, NULL, NULL);
}
