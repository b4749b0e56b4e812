/* Small apps on disk, loaded, and looked at. Role: shared by the tests of src/script. */
#ifndef SPEC_SCRIPT_SUPPORT_H
#define SPEC_SCRIPT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "script/script.h"
#include <cmocka.h>

#define LIST(array) (sizeof(array) / sizeof *(array))

typedef struct app_files {
  char directory[64];
} app_files;

/* A fresh directory below /tmp; removed by app_remove. */
void app_make(app_files *app);
void app_remove(app_files *app);
/* Writes a file below it, making directories on the way. */
void app_write(const app_files *app, const char *path, const char *text);

/* The C library's allocator, a log that is kept, the real clock. */
const base_env *test_env(void);
/* What scripts logged since the last call, lines joined by '\n'. */
const char *test_log(void);

/* Loads with the default limits. */
int app_try(const app_files *app, script_app **out, annal_error *error);
script_app *app_load(const app_files *app);
/* One file `app.lua` with this text, loaded or not. */
script_app *app_of_text(const char *text);
int app_fails(const char *text, annal_error *error);

/* Fails the test unless the app of this one file is refused: `script`, at `where`, with `message` within the message. */
void expect_refused(const char *text, const char *where, const char *message);

/* Runs `return function(…) … end` bodies: an app whose event E has this validate, called with the data given. Answers the code. */
int run_validate(const char *body, const char *data, const script_options *options, annal_error *error);
/* The same where `body` is statements that have to end without an error: fails the test otherwise. */
void expect_runs(const char *body);
void expect_fails(const char *body, int wanted, const char *message);

#endif
