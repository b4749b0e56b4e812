/* Fresh stores for tests; see fixture.h. */
#include "fixture.h"

#include <libpq-fe.h>
#include <sqlite3.h>
#include <unistd.h>

fixture_kind fixture_runs_on;
bool fixture_without_clock;
annal_error test_error;

static int64_t fixture_clock(void *context) { return *(const int64_t *)context; }

void fixture_options(fixture *f) {
  static const char *const fields[] = {"k", "n"};
  f->options = (annal_options){.size = sizeof f->options,
                               .schema = f->schema,
                               .events = "events",
                               .projections = "views",
                               .data_indexes = fields,
                               .data_index_count = 2,
                               .projection_indexes = fields,
                               .projection_index_count = 1,
                               .timeout = LIMIT_TIMEOUT_SECONDS,
                               .lock_timeout = LIMIT_LOCK_TIMEOUT_SECONDS,
                               .connections = LIMIT_CONNECTIONS,
                               .clock = fixture_without_clock ? NULL : fixture_clock,
                               .clock_context = &f->now};
  base_env_init(&f->env, &f->options);
}

/* A schema of its own in PostgreSQL, a directory of its own for files. */
static void choose_location(fixture *f) {
  static int number;
  snprintf(f->schema, sizeof f->schema, "annal_spec_%ld_%d", (long)getpid(), ++number);
  append_text(f->directory, sizeof f->directory, "/tmp/annal-spec-XXXXXX");
  assert_non_null(mkdtemp(f->directory));
  if (fixture_runs_on == IN_MEMORY) append_text(f->location, sizeof f->location, ":memory:");
  else if (fixture_runs_on == ON_FILE) snprintf(f->location, sizeof f->location, "%s/spec.db", f->directory);
  else snprintf(f->location, sizeof f->location, "%s", getenv("ANNAL_TEST_PG"));
}

void fixture_reopen(fixture *f) {
  store_close(f->store);
  f->store = NULL;
  assert_ok(store_open(&f->env, f->location, &f->options, &f->store, &test_error));
}

int fixture_setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  f->now = INT64_C(1700000000000000);
  choose_location(f);
  fixture_options(f);
  *state = f;
  int result = store_open(&f->env, f->location, &f->options, &f->store, &test_error);
  if (result) print_error("no store at all: %s\n", test_error.message);
  return result;
}

static void postgres_sql(const char *schema, const char *sql) {
  PGconn *conn = PQconnectdb(getenv("ANNAL_TEST_PG"));
  char text[256];
  snprintf(text, sizeof text, "SET client_min_messages = warning; SET search_path = %s", schema);
  PGresult *set = PQexec(conn, text);
  PGresult *result = PQexec(conn, sql);
  bool ok = PQresultStatus(set) == PGRES_COMMAND_OK &&
            (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK);
  if (!ok) print_error("%s: %s\n", sql, PQerrorMessage(conn));
  PQclear(set);
  PQclear(result);
  PQfinish(conn);
  assert_true(ok);
}

static void sqlite_sql_on(const char *file, const char *sql) {
  sqlite3 *db = NULL;
  char *message = NULL;
  sqlite3_open(file, &db);
  sqlite3_busy_timeout(db, 5000);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  int code = sqlite3_exec(db, sql, NULL, NULL, &message);
  if (code) print_error("%s: %s\n", sql, message);
  sqlite3_free(message);
  sqlite3_close(db);
  assert_int_equal(code, SQLITE_OK);
}

void fixture_sql(fixture *f, const char *sqlite_or_both, const char *postgres_or_null) {
  assert_int_not_equal(fixture_runs_on, IN_MEMORY);
  if (fixture_runs_on == ON_POSTGRES) postgres_sql(f->schema, postgres_or_null ? postgres_or_null : sqlite_or_both);
  else sqlite_sql_on(f->location, sqlite_or_both);
}

int fixture_teardown(void **state) {
  fixture *f = *state;
  store_close(f->store);
  if (fixture_runs_on == ON_POSTGRES) {
    char sql[128];
    snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE", f->schema);
    postgres_sql(f->schema, sql);
  }
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", f->directory);
  int result = system(command);
  free(f);
  return result;
}

int fixture_run(const char *name, const struct CMUnitTest *tests, size_t count) {
  int failed = 0;
  char group[128];
  static const char *const kinds[] = {"an SQLite file", "SQLite in memory", "PostgreSQL"};
  for (fixture_kind kind = ON_FILE; kind <= ON_POSTGRES; kind++) {
    if (kind == ON_POSTGRES && !getenv("ANNAL_TEST_PG")) {
      fprintf(stderr, "SKIPPED: %s on PostgreSQL was NOT tested: ANNAL_TEST_PG names no server\n", name);
      continue;
    }
    fixture_runs_on = kind;
    snprintf(group, sizeof group, "%s on %s", name, kinds[kind]);
    failed += _cmocka_run_group_tests(group, tests, count, NULL, NULL);
    if (kind != ON_POSTGRES) continue;
    fixture_without_clock = true;
    failed += _cmocka_run_group_tests("the same by the server's clock", tests, count, NULL, NULL);
    fixture_without_clock = false;
  }
  return failed ? 1 : 0;
}

/* ---- Short ways to say things ---- */

char *long_json(const char *start, size_t size) {
  char *text = malloc(size + 1);
  memset(text, 'x', size);
  for (size_t i = 0; start[i]; i++) text[i] = start[i];
  text[size - 2] = '"';
  text[size - 1] = '}';
  text[size] = 0;
  return text;
}

void append_text(char *text, size_t room, const char *more) {
  size_t used = strlen(text);
  snprintf(text + used, room - used, "%s", more);
}

annal_event event_of(const char *id, const char *type, const char *data) {
  return (annal_event){.id = id, .type = type, .version = 1, .data = data, .data_size = strlen(data)};
}

int64_t save_one(fixture *f, const char *id, const char *type, const char *data) {
  annal_event event = event_of(id, type, data);
  store_save save = {.events = &event, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error));
  return event.position;
}

int save_under(fixture *f, const char *id, const char *type, const char *data, annal_stream stream, const char *latest,
               annal_error *error) {
  annal_event event = event_of(id, type, data);
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1, .latest_event_id = latest};
  store_save save = {.events = &event, .count = 1, .condition = &condition};
  return store_append(f->store, &save, error);
}

const char *ids_of(fixture *f, const annal_selection *selection) {
  static char text[1 << 20];
  size_t used = 0;
  store_cursor *cursor;
  store_page page;
  text[0] = 0;
  assert_ok(store_read(f->store, selection, &cursor, &test_error));
  do {
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    for (size_t i = 0; i < page.count; i++)
      used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", page.events[i].id);
  } while (page.count);
  store_cursor_close(cursor);
  return text;
}

const char *ids_of_stream(fixture *f, annal_stream stream) {
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = 1};
  return ids_of(f, &selection);
}

int64_t head_of(fixture *f) {
  store_head_info head;
  assert_ok(store_head(f->store, &head, &test_error));
  return head.position;
}
