/* See support.h. */
#include "support.h"

#include "base/limits.h"
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char log_lines[16384];

static void keep_line(void *context, const char *level, const char *message) {
  (void)context;
  size_t size = strlen(log_lines);
  snprintf(log_lines + size, sizeof log_lines - size, "%s%s: %s", size ? "\n" : "", level, message);
}

const base_env *test_env(void) {
  static base_env env;
  if (!env.allocate) {
    base_env_init(&env, NULL);
    env.log = keep_line;
  }
  return &env;
}

const char *test_log(void) {
  static char copy[sizeof log_lines];
  memcpy(copy, log_lines, sizeof copy);
  log_lines[0] = 0;
  return copy;
}

void app_make(app_files *app) {
  snprintf(app->directory, sizeof app->directory, "/tmp/annal-script-XXXXXX");
  assert_non_null(mkdtemp(app->directory));
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place) {
  (void)status, (void)type, (void)place;
  return remove(path);
}

void app_remove(app_files *app) { nftw(app->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

void app_write(const app_files *app, const char *path, const char *text) {
  char whole[512];
  snprintf(whole, sizeof whole, "%s/%s", app->directory, path);
  for (char *slash = strchr(whole + strlen(app->directory) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(whole, 0777);
    *slash = '/';
  }
  FILE *file = fopen(whole, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
  assert_int_equal(fclose(file), 0);
}

static int load_with(const app_files *app, const script_options *options, script_app **out, annal_error *error) {
  memset(error, 0, sizeof *error);
  return script_load(test_env(), options, app->directory, out, error);
}

int app_try(const app_files *app, script_app **out, annal_error *error) {
  const script_options options = {.budget = LIMIT_BUDGET, .memory = LIMIT_SCRIPT_MEMORY};
  return load_with(app, &options, out, error);
}

script_app *app_load(const app_files *app) {
  annal_error error;
  script_app *loaded = NULL;
  if (app_try(app, &loaded, &error)) fail_msg("%s: %s", error.where, error.message);
  return loaded;
}

int app_fails(const char *text, annal_error *error) {
  app_files app;
  script_app *loaded = NULL;
  app_make(&app);
  app_write(&app, "app.lua", text);
  const script_options options = {.memory = 32u << 20};
  int code = load_with(&app, &options, &loaded, error);
  if (code == 0) script_release(loaded);
  app_remove(&app);
  return code;
}

script_app *app_of_text(const char *text) {
  app_files app;
  app_make(&app);
  app_write(&app, "app.lua", text);
  script_app *loaded = app_load(&app);
  app_remove(&app);
  return loaded;
}

void expect_refused(const char *text, const char *where, const char *message) {
  annal_error error;
  int code = app_fails(text, &error);
  if (code != ANNAL_SCRIPT || strcmp(error.where, where) != 0 || !strstr(error.message, message) ||
      strncmp(error.message, where, strlen(where)) == 0)
    fail_msg("%s\n  gave %d at \"%s\": %s\n  not at \"%s\": %s", text, code, error.where, error.message, where, message);
}

int run_validate(const char *body, const char *data, const script_options *options, annal_error *error) {
  app_files app;
  script_app *loaded = NULL;
  char text[8192];
  snprintf(text, sizeof text, "event \"E\" { schema = { v = t.optional(t.any) }, validate = function(data) %s\nend }", body);
  app_make(&app);
  app_write(&app, "app.lua", text);
  int code = load_with(&app, options, &loaded, error);
  if (code) fail_msg("%s: %s", error->where, error->message);
  app_remove(&app);
  script_state *state = NULL;
  assert_int_equal(script_acquire(loaded, &state, error), 0);
  base_buf out;
  buf_init(&out, test_env());
  int version = 0;
  code = script_check_event(state, "E", &version, data, strlen(data), &out, error);
  buf_free(&out);
  script_give_back(state);
  script_release(loaded);
  return code;
}

static int run_body(const char *body, annal_error *error) {
  const script_options options = {.budget = LIMIT_BUDGET, .memory = 64u << 20};
  char text[8192];
  snprintf(text, sizeof text, "do %s\nend return true", body);
  memset(error, 0, sizeof *error);
  return run_validate(text, "{}", &options, error);
}

void expect_runs(const char *body) {
  annal_error error;
  int code = run_body(body, &error);
  if (code) fail_msg("%s\n  gave %s at %s: %s", body, annal_code_name(code), error.where, error.message);
}

void expect_fails(const char *body, int wanted, const char *message) {
  annal_error error;
  int code = run_body(body, &error);
  if (code != wanted || !strstr(error.message, message))
    fail_msg("%s\n  gave %s at %s: %s\n  not %s: %s", body, annal_code_name(code), error.where, error.message,
             annal_code_name(wanted), message);
}
