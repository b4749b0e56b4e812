/* What the tests of fold/ and api/ share: an app written into a directory of its own, an SQLite store beside it, events put in. */
#ifndef SPEC_FOLD_SUPPORT_H
#define SPEC_FOLD_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/handle.h"
#include "base/error.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct place {
  char directory[64]; /* removed at the end, with everything in it */
  char app[80];
  char file[80]; /* the SQLite file */
  annal_store *handle;
} place;

static inline void place_init(place *p) {
  *p = (place){0};
  strcpy(p->directory, "/tmp/annal-test-XXXXXX");
  assert_non_null(mkdtemp(p->directory));
  snprintf(p->app, sizeof p->app, "%s/app", p->directory);
  snprintf(p->file, sizeof p->file, "%s/store.db", p->directory);
  assert_int_equal(mkdir(p->app, 0700), 0);
}

static inline void place_remove(place *p) {
  char command[128];
  annal_close(p->handle);
  snprintf(command, sizeof command, "rm -rf '%s'", p->directory);
  assert_int_equal(system(command), 0);
}

/* Writes one of the app's files. */
static inline void place_script(const place *p, const char *name, const char *source) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", p->app, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(source, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static inline void expect_ok(int code, const annal_error *error) {
  if (code) fail_msg("%s: %s: %s", annal_code_name(code), error->where, error->message);
}

/* Opens the store, or opens it anew, with the app as it is written now. */
static inline void place_open_with(place *p, annal_options options) {
  annal_error error;
  annal_close(p->handle);
  p->handle = NULL;
  options.size = sizeof options;
  expect_ok(annal_open(p->file, &options, &p->handle, &error), &error);
}

/* Options' `cache`. 1: no states in memory, so that it is rows which are continued. */
static size_t place_cache;

static inline void place_open(place *p) { place_open_with(p, (annal_options){.app = p->app, .cache = place_cache}); }

/* A place with one script, opened. */
static inline void place_start(place *p, const char *source) {
  place_init(p);
  place_script(p, "app.lua", source);
  place_open(p);
}

static inline void put(place *p, const char *type, const char *id, const char *data) {
  annal_error error;
  annal_event event = {.type = type, .id = id, .data = data};
  expect_ok(annal_save(p->handle, &event, 1, NULL, NULL, &error), &error);
}

/* Runs SQL on the file behind annal's back. */
static inline void place_sql(const place *p, const char *sql) {
  sqlite3 *db;
  char *message = NULL;
  assert_int_equal(sqlite3_open(p->file, &db), SQLITE_OK);
  if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) fail_msg("%s: %s", sql, message);
  sqlite3_close(db);
}

/* The first column of the first row; "" when there is none. To be freed. */
static inline char *place_ask(const place *p, const char *sql) {
  sqlite3 *db;
  sqlite3_stmt *statement;
  assert_int_equal(sqlite3_open(p->file, &db), SQLITE_OK);
  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
  char *answer = strdup(sqlite3_step(statement) == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : "");
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return answer;
}

static inline void expect_sql(const place *p, const char *sql, const char *expected) {
  char *answer = place_ask(p, sql);
  if (strcmp(answer, expected) != 0) fail_msg("%s answers %s, not %s", sql, answer, expected);
  free(answer);
}

static inline fold_instance *instance_of(place *p, const char *projection, const char *id, bool use_saved) {
  annal_error error;
  fold_instance *instance;
  expect_ok(handle_projection(p->handle, projection, id, use_saved, &instance, &error), &error);
  return instance;
}

/* To be freed. */
static inline char *view_text(place *p, fold_instance *instance) {
  annal_error error;
  base_buf out;
  buf_init(&out, &p->handle->env);
  expect_ok(fold_view(instance, &out, &error), &error);
  char *copy = strdup(out.bytes);
  buf_free(&out);
  return copy;
}

static inline void expect_view(place *p, fold_instance *instance, const char *expected) {
  char *view = view_text(p, instance);
  if (strcmp(view, expected) != 0) fail_msg("the view is %s, not %s", view, expected);
  free(view);
}

/* The view of an instance that is opened for it. */
static inline void expect_fold(place *p, const char *projection, const char *id, bool use_saved, const char *expected) {
  fold_instance *instance = instance_of(p, projection, id, use_saved);
  expect_view(p, instance, expected);
  fold_close(instance);
}

/* A view fails; the error is left in *error. */
static inline void expect_failure(place *p, const char *projection, const char *id, int code, annal_error *error) {
  annal_text view;
  int got = annal_view(p->handle, projection, id, NULL, &view, error);
  if (got != code) fail_msg("%s instead of %s: %s", annal_code_name(got), annal_code_name(code), error->message);
  assert_null(view.bytes);
  assert_int_equal(error->code, code);
}

static inline void expect_in(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("\"%s\" does not have \"%s\"", text, part);
}

#endif
