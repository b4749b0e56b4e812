/* A store with an app, on an SQLite file or on PostgreSQL. Role: tests of src/api that are to hold on both. The app is written
 * before the store is opened. */
#ifndef SPEC_API_STAGE_H
#define SPEC_API_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/handle.h"
#include "base/error.h"
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct stage {
  bool postgres;
  char directory[64]; /* removed at the end, with everything in it */
  char app[80];
  char location[512];
  char schema[64];
  annal_options options;
  annal_store *handle;
} stage;

static bool stage_on_postgres; /* where stages are made that come next */

static inline void stage_ok(int code, const annal_error *error) {
  if (code) fail_msg("%s: %s: %s", annal_code_name(code), error->where, error->message);
}

/* Another handle over the same store: to be closed by the test. */
static inline annal_store *stage_open(const stage *s) {
  annal_error error;
  annal_store *handle;
  stage_ok(annal_open(s->location, &s->options, &handle, &error), &error);
  return handle;
}

/* `options` needs no app, no schema and no size. */
static inline void stage_start(stage *s, const char *script, annal_options options) {
  static int number;
  char path[128];
  *s = (stage){.postgres = stage_on_postgres, .options = options};
  strcpy(s->directory, "/tmp/annal-stage-XXXXXX");
  assert_non_null(mkdtemp(s->directory));
  snprintf(s->app, sizeof s->app, "%s/app", s->directory);
  assert_int_equal(mkdir(s->app, 0700), 0);
  snprintf(path, sizeof path, "%s/app.lua", s->app);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(script, file) >= 0);
  assert_int_equal(fclose(file), 0);
  snprintf(s->schema, sizeof s->schema, "annal_stage_%ld_%d", (long)getpid(), ++number);
  if (s->postgres) snprintf(s->location, sizeof s->location, "%s", getenv("ANNAL_TEST_PG"));
  else snprintf(s->location, sizeof s->location, "%s/store.db", s->directory);
  s->options.size = sizeof s->options;
  s->options.app = s->app;
  s->options.schema = s->schema;
  s->handle = stage_open(s);
}

static inline void stage_end(stage *s) {
  char command[192];
  annal_close(s->handle);
  if (s->postgres) {
    PGconn *conn = PQconnectdb(s->location);
    snprintf(command, sizeof command, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE", s->schema);
    PGresult *result = PQexec(conn, command);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    PQfinish(conn);
  }
  snprintf(command, sizeof command, "rm -rf '%s'", s->directory);
  assert_int_equal(system(command), 0);
}

static inline int64_t stage_head(const stage *s) {
  annal_error error;
  store_head_info head;
  stage_ok(store_head(s->handle->store, &head, &error), &error);
  return head.position;
}

/* Runs the group on SQLite, and on PostgreSQL where ANNAL_TEST_PG names a server. */
#define STAGE_RUN(name, tests) stage_run(name, tests, sizeof(tests) / sizeof *(tests))
static inline int stage_run(const char *name, const struct CMUnitTest *tests, size_t count) {
  char group[96];
  snprintf(group, sizeof group, "%s on SQLite", name);
  int failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: %s on PostgreSQL was NOT tested: ANNAL_TEST_PG names no server\n", name);
    return failed;
  }
  stage_on_postgres = true;
  snprintf(group, sizeof group, "%s on PostgreSQL", name);
  return failed + _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}

#endif
