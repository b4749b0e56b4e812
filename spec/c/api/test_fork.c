/* A store that another process inherits, and one over whose connections another has spoken: no answer is taken for another's, and the
 * child is told to open its own. */
#include "../fold/support.h"

#include "api/handle.h"
#include "store/postgres/pg.h"
#include <sys/wait.h>
#include <unistd.h>

static char schema[64];

/* NULL: the database is not to be tried, and that is said. */
static annal_store *open_on(place *p, bool postgres) {
  annal_error error;
  annal_store *opened = NULL;
  const char *server = getenv("ANNAL_TEST_PG");
  annal_options options = {.size = sizeof options, .schema = postgres ? schema : NULL};
  char path[512];
  if (postgres && (!server || !*server)) {
    fprintf(stderr, "\n*** SKIPPED: forks were NOT tested on PostgreSQL: ANNAL_TEST_PG names no server ***\n\n");
    return NULL;
  }
  snprintf(schema, sizeof schema, "fork_%ld", (long)getpid());
  snprintf(path, sizeof path, "%s/fork.db", p->directory);
  expect_ok(annal_open(postgres ? server : path, &options, &opened, &error), &error);
  return opened;
}

static void drop_schema(bool postgres) {
  if (!postgres) return;
  char sql[128];
  PGconn *pq = PQconnectdb(getenv("ANNAL_TEST_PG"));
  snprintf(sql, sizeof sql, "set client_min_messages = error; drop schema %s cascade", schema);
  PQclear(PQexec(pq, sql));
  PQfinish(pq);
}

static int save_one(annal_store *handle, annal_error *error) {
  annal_event event = {.type = "T", .version = 1, .data = "{}"};
  return annal_save(handle, &event, 1, NULL, NULL, error);
}

static int count_one(void *context, const annal_event *event) {
  (void)event;
  ++*(int *)context;
  return 0;
}

static int count_events(annal_store *handle, annal_error *error) {
  int count = 0;
  annal_selection all = {.size = sizeof all};
  return annal_read(handle, &all, count_one, &count, error) ? -1 : count;
}

/* What the child finds; it ends without what cmocka and the sanitizers do at a process's end. */
static int be_a_child(annal_store *handle) {
  annal_error error;
  annal_text rows;
  annal_selection all = {.size = sizeof all};
  annal_query asked = {.size = sizeof asked, .type = "P"};
  int count = 0;
  annal_interrupt(handle); /* must not cancel the parent's */
  if (save_one(handle, &error) != ANNAL_MISUSE || !strstr(error.message, "after fork")) return 1;
  if (annal_read(handle, &all, count_one, &count, &error) != ANNAL_MISUSE || count) return 2;
  if (annal_query_projections(handle, &asked, &rows, &error) != ANNAL_MISUSE) return 3;
  if (annal_follow(handle, &all, 0.1, count_one, &count, &error) != ANNAL_MISUSE || count) return 4;
  store_transaction *t;
  if (store_begin(handle->store, &t, &error) != ANNAL_MISUSE) return 5;
  if (annal_reload(handle, &error) != ANNAL_MISUSE || !strstr(error.message, "after fork")) return 6;
  if (annal_load(handle, "/", &error) != ANNAL_MISUSE) return 7;
  if (annal_run_once(handle, 0, &error) != ANNAL_MISUSE) return 8;
  annal_close(handle);
  return 0;
}

static void check_fork(bool postgres) {
  place p;
  annal_error error;
  place_init(&p);
  annal_store *handle = open_on(&p, postgres);
  if (!handle) {
    place_remove(&p);
    skip();
  }
  for (int round = 1; round <= 3; round++) {
    expect_ok(save_one(handle, &error), &error);
    pid_t child = fork();
    if (child == 0) _exit(be_a_child(handle));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    expect_ok(save_one(handle, &error), &error);
    assert_int_equal(count_events(handle, &error), 2 * round);
  }
  annal_close(handle);
  drop_schema(postgres);
  place_remove(&p);
}

static void an_inherited_store_is_misuse_and_the_parents_goes_on(void **unused) {
  (void)unused;
  check_fork(false);
}

static void so_it_is_on_postgresql(void **unused) {
  (void)unused;
  check_fork(true);
}

/* The child's calls do not take from the parent what the system tells of its scripts. */
static void the_parent_finds_what_has_changed(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  annal_text view;
  place_start(&p, "event 'T' {} projection 'P' { init = 1, on = { T = function() end } }");
  usleep(250000);
  expect_fold(&p, "P", "", true, "1"); /* from here on they are watched */
  assert_non_null(p.handle->reload.watch);
  place_script(&p, "app.lua", "event 'T' {} projection 'P' { init = 2, on = { T = function() end } }");
  usleep(350000);
  pid_t child = fork();
  if (child == 0) _exit(annal_view(p.handle, "P", "", NULL, &view, &error) == ANNAL_MISUSE ? 0 : 1);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_true(script_watch_hint(p.handle->reload.watch));
  expect_fold(&p, "P", "", true, "2");
  place_remove(&p);
}

/* Sends a statement over a connection behind its owner's back. */
static void speak_over(const pg_conn *conn, const char *sql) {
  char message[256] = "Q";
  size_t size = strlen(sql) + 1;
  pg_put32(message + 1, (int32_t)(size + 4));
  memcpy(message + 5, sql, size);
  assert_int_equal(write(PQsocket(conn->pq), message, size + 5), size + 5);
}

static void anothers_answer_is_not_taken_for_the_appends(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_init(&p);
  annal_store *handle = open_on(&p, true);
  if (!handle) {
    place_remove(&p);
    skip();
  }
  expect_ok(save_one(handle, &error), &error);
  speak_over(&((pg_store *)handle->store)->writer, "do $$ begin perform pg_sleep(0.3); end $$");
  expect_ok(save_one(handle, &error), &error);
  assert_int_equal(count_events(handle, &error), 2);
  annal_close(handle);
  drop_schema(true);
  place_remove(&p);
}

static void a_success_leaves_no_error(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_init(&p);
  annal_store *handle = open_on(&p, true);
  if (!handle) {
    place_remove(&p);
    skip();
  }
  expect_ok(save_one(handle, &error), &error);
  speak_over(&((pg_store *)handle->store)->readers[0], "select pg_terminate_backend(pg_backend_pid()) from pg_sleep(0.3)");
  assert_int_equal(count_events(handle, &error), 1);
  assert_int_equal(error.code, 0);
  assert_string_equal(error.message, "");
  assert_string_equal(error.sqlstate, "");
  annal_close(handle);
  drop_schema(true);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_inherited_store_is_misuse_and_the_parents_goes_on),
      cmocka_unit_test(so_it_is_on_postgresql),
      cmocka_unit_test(the_parent_finds_what_has_changed),
      cmocka_unit_test(anothers_answer_is_not_taken_for_the_appends),
      cmocka_unit_test(a_success_leaves_no_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
