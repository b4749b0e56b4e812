/* A fresh store for each test, on whichever backend the run is for. Role: lets the store's tests be the same on all of them. */
#ifndef SPEC_STORE_FIXTURE_H
#define SPEC_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"
#include "store/backend.h"

typedef enum fixture_kind { ON_FILE, IN_MEMORY, ON_POSTGRES } fixture_kind;
extern fixture_kind fixture_runs_on;
extern bool fixture_without_clock; /* time is the store's own, as it is for most programs: on PostgreSQL then other SQL runs */

typedef struct fixture {
  base_env env;
  annal_options options;
  store *store;
  int64_t now; /* what the handle's clock says */
  char directory[64];
  char location[512];
  char schema[64];
} fixture;

/* cmocka's setup and teardown. The store has the declared identifiers "k" and "n" and the declared view field "k". */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Options as every test has them; the test may change them before it opens a store of its own. */
void fixture_options(fixture *f);
void fixture_reopen(fixture *f); /* fails the test when it cannot */
/* Runs SQL past the store, in its schema; {events} and {views} are its tables. Not in memory. */
void fixture_sql(fixture *f, const char *sqlite_or_both, const char *postgres_or_null);

/* Runs the group on an SQLite file, in memory, and where ANNAL_TEST_PG says so on PostgreSQL, there with and without a clock of the
 * test's. Answers main's exit code. */
int fixture_run(const char *name, const struct CMUnitTest *tests, size_t count);
#define RUN_ON_ALL(tests) fixture_run(#tests, tests, sizeof(tests) / sizeof *(tests))

/* ---- Short ways to say things ---- */

#define TEXTS(...) ((const char *const[]){__VA_ARGS__})
#define COUNT(...) (sizeof(TEXTS(__VA_ARGS__)) / sizeof(char *))
#define TYPES(...) .types = TEXTS(__VA_ARGS__), .type_count = COUNT(__VA_ARGS__)
#define FIELD(field, ...)                                                                                                        \
  { .name = (field), .values = TEXTS(__VA_ARGS__), .value_count = COUNT(__VA_ARGS__) }
#define DATA(...)                                                                                                                \
  .data = (const annal_field[]){__VA_ARGS__}, .data_count = sizeof((const annal_field[]){__VA_ARGS__}) / sizeof(annal_field)

/* An object of `size` bytes that begins with `start`, in which a string is open: {"k":"x","text":" … "}. To be freed. */
char *long_json(const char *start, size_t size);
/* Appends to a text in a buffer of `room` bytes. */
void append_text(char *text, size_t room, const char *more);
annal_event event_of(const char *id, const char *type, const char *data);
/* Saves one event, and fails the test when it is not stored; answers its position. */
int64_t save_one(fixture *f, const char *id, const char *type, const char *data);
/* Saves one event under a condition of one stream; answers the code. */
int save_under(fixture *f, const char *id, const char *type, const char *data, annal_stream stream, const char *latest,
               annal_error *error);
/* Ids of what a selection reads, separated by spaces. Borrowed until the next call. */
const char *ids_of(fixture *f, const annal_selection *selection);
const char *ids_of_stream(fixture *f, annal_stream stream);
int64_t head_of(fixture *f);

#define assert_ok(call)                                                                                                          \
  do {                                                                                                                           \
    error_clear(&test_error);                                                                                                    \
    int assert_ok_result = (call);                                                                                               \
    if (assert_ok_result) fail_msg("%s: %s: %s", #call, annal_code_name(assert_ok_result), test_error.message);                  \
  } while (0)
/* The call must fail with this code, and its message contain this. */
#define assert_fails(call, expected, part)                                                                                       \
  do {                                                                                                                           \
    error_clear(&test_error);                                                                                                    \
    int assert_fails_result = (call);                                                                                            \
    if (assert_fails_result != (expected))                                                                                       \
      fail_msg("%s: %s instead of %s: %s", #call, annal_code_name(assert_fails_result), annal_code_name(expected),               \
               test_error.message);                                                                                              \
    assert_int_equal(test_error.code, expected);                                                                                 \
    if (!strstr(test_error.message, part)) fail_msg("\"%s\" is not in \"%s\"", part, test_error.message);                        \
  } while (0)
extern annal_error test_error;

#endif
