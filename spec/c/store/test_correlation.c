/* Events of one correlation: which they are, that they are found along an index, and how stores of older programs get it. */
#include "fixture.h"

#include "store/postgres/pg.h"
#include "store/sqlite/sqlite.h"
#include <sqlite3.h>
#include <unistd.h>

static char lines[4096];

static void on_log(void *context, const char *level, const char *message) {
  (void)context;
  append_text(lines, sizeof lines, level);
  append_text(lines, sizeof lines, ": ");
  append_text(lines, sizeof lines, message);
}

static void save_with(fixture *f, const char *id, const char *type, const char *data, const char *metadata) {
  annal_event event = event_of(id, type, data);
  event.metadata = metadata;
  event.metadata_size = metadata ? strlen(metadata) : 0;
  store_save save = {.events = &event, .count = 1};
  assert_ok(store_append(f->store, &save, &test_error));
}

/* Ids of what is read, separated by spaces. */
static const char *ids_within(fixture *f, const char *correlation, annal_selection selection) {
  static char text[1 << 16];
  size_t used = 0;
  store_cursor *cursor;
  store_page page;
  selection.size = sizeof selection;
  text[0] = 0;
  assert_ok(store_read_correlated(f->store, &selection, correlation, &cursor, &test_error));
  do {
    assert_ok(store_cursor_next(cursor, &page, &test_error));
    for (size_t i = 0; i < page.count; i++)
      used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", page.events[i].id);
  } while (page.count);
  store_cursor_close(cursor);
  return text;
}

static void a_correlation_is_its_first_event_and_those_that_name_it(void **state) {
  fixture *f = *state;
  save_with(f, "before", "A", "{}", NULL);
  save_with(f, "root", "A", "{\"k\":\"1\"}", NULL);
  save_with(f, "other", "A", "{\"k\":\"1\"}", "{\"correlation_id\":\"elsewhere\"}");
  save_with(f, "one", "B", "{\"k\":\"1\"}", "{\"causation_id\":\"root\",\"correlation_id\":\"root\"}");
  save_with(f, "two", "B", "{\"k\":\"2\"}", "{\"correlation_id\":\"root\"}");
  save_with(f, "inner", "A", "{\"correlation_id\":\"root\"}", "{\"x\":{\"correlation_id\":\"root\"}}");
  save_with(f, "three", "A", "{\"k\":\"1\"}", "{\"correlation_id\":\"root\"}");
  save_with(f, "number", "A", "{}", "{\"correlation_id\":7}");
  save_with(f, "object", "A", "{}", "{\"correlation_id\":{\"a\":1}}");
  save_with(f, "text", "A", "{}", "{\"correlation_id\":\"{\\\"a\\\":1}\"}");
  save_with(f, "none", "A", "{}", "{\"correlation_id\":null}");
  assert_string_equal(ids_within(f, "root", (annal_selection){0}), "root one two three");
  assert_string_equal(ids_within(f, "root", (annal_selection){.reverse = true}), "three two one root");
  assert_string_equal(ids_within(f, "root", (annal_selection){.limit = 2}), "root one");
  assert_string_equal(ids_within(f, "root", (annal_selection){.limit = 3, .reverse = true}), "three two one");
  assert_string_equal(ids_within(f, "root", (annal_selection){.after_id = "root"}), "one two three");
  assert_string_equal(ids_within(f, "root", (annal_selection){.after_id = "one", .before_id = "three"}), "two");
  annal_stream stream = {TYPES("A")};
  annal_selection selection = {.streams = &stream, .stream_count = 1};
  assert_string_equal(ids_within(f, "root", selection), "root three");
  stream = (annal_stream){TYPES("A", "B"), DATA(FIELD("k", "1", "9"))};
  assert_string_equal(ids_within(f, "root", selection), "root one three");
  stream = (annal_stream){DATA(FIELD("k", "2"))};
  assert_string_equal(ids_within(f, "root", selection), "two");
  assert_string_equal(ids_within(f, "elsewhere", (annal_selection){0}), "other");
  assert_string_equal(ids_within(f, "before", (annal_selection){0}), "before");
  assert_string_equal(ids_within(f, "nowhere", (annal_selection){0}), "");
  assert_string_equal(ids_within(f, "7", (annal_selection){0}), "number");
  assert_string_equal(ids_within(f, "{\"a\":1}", (annal_selection){0}), "text");
  assert_string_equal(ids_within(f, "null", (annal_selection){0}), "");
}

static void a_first_event_that_names_its_own_correlation_comes_once(void **state) {
  fixture *f = *state;
  save_with(f, "root", "A", "{}", "{\"correlation_id\":\"root\"}");
  save_with(f, "one", "A", "{}", "{\"correlation_id\":\"root\"}");
  assert_string_equal(ids_within(f, "root", (annal_selection){0}), "root one");
}

static void long_ones_are_read_in_pages(void **state) {
  fixture *f = *state;
  enum { COUNT = 2 * LIMIT_PAGE_EVENTS + 5 };
  static annal_event events[COUNT];
  static char ids[COUNT][16];
  for (size_t i = 0; i < COUNT; i++) {
    snprintf(ids[i], sizeof ids[i], "e%zu", i);
    events[i] = event_of(ids[i], "A", "{}");
    events[i].metadata = i % 2 ? "{\"correlation_id\":\"e0\"}" : NULL;
    events[i].metadata_size = i % 2 ? strlen(events[i].metadata) : 0;
  }
  store_save save = {.events = events, .count = COUNT};
  assert_ok(store_append(f->store, &save, &test_error));
  for (int reverse = 0; reverse < 2; reverse++) {
    store_cursor *cursor;
    store_page page;
    size_t count = 0;
    int64_t last = reverse ? INT64_MAX : 0;
    annal_selection selection = {.size = sizeof selection, .reverse = reverse};
    assert_ok(store_read_correlated(f->store, &selection, "e0", &cursor, &test_error));
    do {
      assert_ok(store_cursor_next(cursor, &page, &test_error));
      for (size_t i = 0; i < page.count; i++, last = page.events[i - 1].position) {
        assert_true(reverse ? page.events[i].position < last : page.events[i].position > last);
        count++;
      }
    } while (page.count);
    store_cursor_close(cursor);
    assert_int_equal(count, COUNT / 2 + 1);
  }
}

/* Metadata are anybody's: however long such an id is, it is stored. It cannot be asked for. */
static void ids_that_fit_no_index_are_stored_all_the_same(void **state) {
  fixture *f = *state;
  enum { LONG = 100000 };
  static char metadata[LONG + 64];
  uint64_t chance = 88172645463325252u;
  size_t size = (size_t)snprintf(metadata, sizeof metadata, "{\"correlation_id\":\"");
  for (size_t i = 0; i < LONG; i++) { /* what does not get smaller by compression */
    chance ^= chance << 13, chance ^= chance >> 7, chance ^= chance << 17;
    metadata[size++] = (char)('a' + chance % 26);
  }
  snprintf(metadata + size, sizeof metadata - size, "\"}");
  save_with(f, "long", "A", "{}", metadata);
  metadata[19 + 512] = '"', metadata[19 + 513] = '}', metadata[19 + 514] = 0;
  save_with(f, "longest", "A", "{}", metadata);
  metadata[19 + 512] = 0;
  assert_string_equal(ids_within(f, metadata + 19, (annal_selection){0}), "longest");
  store_cursor *cursor;
  annal_selection selection = {.size = sizeof selection};
  memset(metadata, 'x', 513), metadata[513] = 0;
  assert_fails(store_read_correlated(f->store, &selection, metadata, &cursor, &test_error), ANNAL_INVALID, "correlation id");
  assert_fails(store_read_correlated(f->store, &selection, "", &cursor, &test_error), ANNAL_INVALID, "correlation id");
}

/* ---- The index --------------------------------------------------------------------------------------------------------------- */

/* How the database runs the read, one line a step. */
static void plan_of(fixture *f, const annal_selection *selection, char *plan, size_t room) {
  query q;
  bool postgres = fixture_runs_on == ON_POSTGRES;
  query_init(&q, &f->env, postgres ? &pg_dialect : &sqlite_dialect);
  q.correlation = "root";
  q.declared = (const char *const *)f->store->event_fields.names;
  q.declared_count = f->store->event_fields.count;
  query_select_events(&q, "e.position, e.data", "events", selection->streams, selection->stream_count, 0, 0, 1000,
                      selection->reverse);
  assert_false(q.failed);
  char *sql = malloc(q.sql.size + 64);
  plan[0] = 0;
  if (postgres) {
    PGconn *conn = PQconnectdb(f->location);
    char path[160];
    snprintf(path, sizeof path, "set search_path = %s; set enable_seqscan = off; set enable_bitmapscan = off", f->schema);
    PQclear(PQexec(conn, path));
    sprintf(sql, "prepare p as %s", q.sql.bytes);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) fail_msg("%s", PQerrorMessage(conn));
    PQclear(result);
    PQclear(PQexec(conn, "set plan_cache_mode = force_generic_plan"));
    sprintf(sql, "explain execute p(");
    for (size_t i = 0; i < q.count; i++) {
      if (q.params[i].text) sprintf(sql + strlen(sql), "%s'%s'", i ? "," : "", q.params[i].text);
      else sprintf(sql + strlen(sql), "%s%lld", i ? "," : "", (long long)q.params[i].integer);
    }
    strcat(sql, ")");
    result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) fail_msg("%s: %s", sql, PQerrorMessage(conn));
    for (int i = 0; i < PQntuples(result); i++) append_text(plan, room, PQgetvalue(result, i, 0)), append_text(plan, room, "\n");
    PQclear(result);
    PQfinish(conn);
  } else {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    sqlite3_open(f->location, &db);
    sprintf(sql, "EXPLAIN QUERY PLAN %s", q.sql.bytes);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) fail_msg("%s: %s", sqlite3_errmsg(db), sql);
    while (sqlite3_step(stmt) == SQLITE_ROW)
      append_text(plan, room, (const char *)sqlite3_column_text(stmt, 3)), append_text(plan, room, "\n");
    sqlite3_finalize(stmt);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db);
  }
  free(sql);
  query_free(&q);
}

static const char *in_plan(void) {
  return fixture_runs_on == ON_POSTGRES ? "Index Cond: ((((metadata ->> 'correlation_id'" : "(<expr>=? AND position>?";
}

static void a_read_goes_along_the_index(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip();
  char plan[8192], id[16];
  for (int i = 0; i < 300; i++) {
    snprintf(id, sizeof id, "e%d", i);
    save_with(f, id, i % 2 ? "A" : "B", "{\"k\":\"often\"}", i % 3 ? NULL : "{\"correlation_id\":\"often\"}");
  }
  if (fixture_runs_on == ON_POSTGRES) fixture_sql(f, "analyze events", NULL);
  annal_stream by_type = {TYPES("A")}, by_types = {TYPES("A", "B")};
  const annal_selection cases[] = {{0},
                                   {.reverse = true},
                                   {.streams = &by_type, .stream_count = 1},
                                   {.streams = &by_types, .stream_count = 1, .reverse = true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    plan_of(f, &cases[i], plan, sizeof plan);
    bool along = strstr(plan, in_plan()) != NULL && strstr(plan, fixture_runs_on == ON_POSTGRES ? "(id = $" : "(id=?") != NULL;
    if (!along || strstr(plan, "Seq Scan") || strstr(plan, "SCAN e\n")) fail_msg("case %zu:\n%s", i, plan);
  }
}

/* Takes away what programs before this one did not make. */
static void make_old(fixture *f) {
  if (fixture_runs_on == ON_POSTGRES) {
    fixture_sql(f, NULL,
                "DO $$ BEGIN EXECUTE (SELECT format('DROP INDEX %I', value) FROM annal_meta WHERE key LIKE 'metadata%');"
                " DELETE FROM annal_meta WHERE key LIKE 'metadata%'; END $$");
    return;
  }
  sqlite3 *db;
  sqlite3_stmt *stmt;
  char sql[160];
  sqlite3_open(f->location, &db);
  sqlite3_prepare_v2(db, "SELECT value FROM annal_meta WHERE key LIKE 'metadata%'", -1, &stmt, NULL);
  assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
  snprintf(sql, sizeof sql, "DROP INDEX %s; DELETE FROM annal_meta WHERE key LIKE 'metadata%%'", sqlite3_column_text(stmt, 0));
  sqlite3_finalize(stmt);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_close(db);
}

static bool goes_along(fixture *f) {
  char plan[8192];
  plan_of(f, &(annal_selection){0}, plan, sizeof plan);
  return strstr(plan, in_plan()) != NULL;
}

static void a_store_of_an_older_program_gets_the_index(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip();
  uint64_t findings;
  save_with(f, "root", "A", "{}", NULL);
  save_with(f, "one", "A", "{}", "{\"correlation_id\":\"root\"}");
  make_old(f);
  assert_false(goes_along(f));
  f->options.read_only = true;
  fixture_reopen(f); /* reads without it, and makes none */
  assert_string_equal(ids_within(f, "root", (annal_selection){0}), "root one");
  assert_false(goes_along(f));
  f->options.read_only = false;
  fixture_reopen(f);
  assert_true(goes_along(f));
  assert_string_equal(ids_within(f, "root", (annal_selection){0}), "root one");
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  fixture_reopen(f); /* and once only */
}

static void who_may_not_make_it_opens_the_store_without(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_POSTGRES) skip();
  char sql[1024], user[640];
  save_with(f, "root", "A", "{}", NULL);
  make_old(f);
  snprintf(sql, sizeof sql,
           "CREATE ROLE %s_w LOGIN; GRANT USAGE ON SCHEMA %s TO %s_w; GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s_w;"
           " GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %s TO %s_w",
           f->schema, f->schema, f->schema, f->schema, f->schema, f->schema, f->schema);
  fixture_sql(f, NULL, sql);
  fixture other = *f;
  snprintf(user, sizeof user, "%s user=%s_w", f->location, f->schema);
  f->options.log = on_log;
  base_env_init(&other.env, &f->options);
  lines[0] = 0;
  assert_ok(store_open(&other.env, user, &f->options, &other.store, &test_error));
  save_with(&other, "one", "A", "{}", "{\"correlation_id\":\"root\"}");
  assert_string_equal(ids_within(&other, "root", (annal_selection){0}), "root one");
  store_close(other.store);
  assert_string_equal(lines, "");
  assert_false(goes_along(f));
  snprintf(sql, sizeof sql, "DROP OWNED BY %s_w; DROP ROLE %s_w", f->schema, f->schema);
  fixture_sql(f, NULL, sql);
}

/* Somebody else writes, and goes on writing: the store is opened all the same, and says what it lacks. */
static void who_cannot_make_it_now_opens_the_store_without(void **state) {
  fixture *f = *state;
  if (fixture_runs_on != ON_FILE) skip();
  sqlite3 *db;
  store *s;
  save_with(f, "root", "A", "{}", NULL);
  make_old(f);
  sqlite3_open(f->location, &db);
  assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  f->options.lock_timeout = 0.05;
  f->options.log = on_log;
  base_env env;
  base_env_init(&env, &f->options);
  lines[0] = 0;
  assert_ok(store_open(&env, f->location, &f->options, &s, &test_error));
  assert_non_null(strstr(lines, "warn: "));
  assert_non_null(strstr(lines, "the index of correlations cannot be made"));
  store_close(s);
  sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  sqlite3_close(db);
  f->options.log = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest correlation[] = {
      TEST(a_correlation_is_its_first_event_and_those_that_name_it),
      TEST(a_first_event_that_names_its_own_correlation_comes_once),
      TEST(long_ones_are_read_in_pages),
      TEST(ids_that_fit_no_index_are_stored_all_the_same),
      TEST(a_read_goes_along_the_index),
      TEST(a_store_of_an_older_program_gets_the_index),
      TEST(who_may_not_make_it_opens_the_store_without),
      TEST(who_cannot_make_it_now_opens_the_store_without),
  };
  return RUN_ON_ALL(correlation);
}
