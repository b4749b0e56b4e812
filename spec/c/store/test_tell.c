/* What tells followers of a commit shares the writer's connection with the saves, and an error or a late cancel may end it anywhere:
 * the next save must not find a transaction that has failed. On PostgreSQL alone. */
#include "fixture.h"

#include "base/hash.h"
#include <libpq-fe.h>
#include <stdlib.h>
#include <unistd.h>

/* The message as it was sent, with an error before its NOTIFY. */
static char *broken_hint(fixture *f, PGconn *conn) {
  char names[160], hash[HASH_TEXT_BYTES], sql[320];
  snprintf(names, sizeof names, "%s.%s", f->schema, f->options.events);
  hash_text(names, strlen(names), hash);
  snprintf(sql, sizeof sql,
           "select replace(query, 'notify', 'select 1/0; notify') from pg_stat_activity "
           "where query like '%%notify annal\\_%s%%' and pid <> pg_backend_pid()",
           hash);
  for (int i = 0; i < 500; i++, usleep(10000)) {
    PGresult *result = PQexec(conn, sql);
    char *found = PQntuples(result) == 1 ? strdup(PQgetvalue(result, 0, 0)) : NULL;
    PQclear(result);
    if (found) return found;
  }
  return NULL;
}

static void a_hint_that_fails_leaves_no_transaction_open(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_POSTGRES) skip();
  PGconn *conn = PQconnectdb(getenv("ANNAL_TEST_PG"));
  save_one(f, "one", "A", "{}");
  char *hint = broken_hint(f, conn);
  assert_non_null(hint);
  PGresult *result = PQexec(conn, hint);
  assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "22012");
  assert_int_equal(PQtransactionStatus(conn), PQTRANS_IDLE);
  PQclear(result);
  PQfinish(conn);
  free(hint);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_hint_that_fails_leaves_no_transaction_open, fixture_setup, fixture_teardown),
  };
  return RUN_ON_ALL(tests);
}
