/* A generation: scripts loaded once, immutable, counted, with a pool of states. Role: the entry to script/. Everything the
 * structures of script.h point to lies in one arena, so any thread may read it as long as it holds a reference. */
#include "script/internal.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static void destroy_app(script_app *app) {
  while (app->idle) {
    script_state *state = app->idle;
    app->idle = state->next;
    state_destroy(state);
  }
  if (app->c_locale) freelocale(app->c_locale);
  vocabulary_release(app->words);
  pthread_mutex_destroy(&app->lock);
  arena_free(&app->arena);
  base_free(app->env, app);
}

/* The caller's list may end before the generation does. */
static bool keep_identifiers(script_app *app) {
  size_t count = app->options.identifier_count;
  const char **names = arena_array(&app->arena, count, sizeof *names);
  if (!names) return false;
  for (size_t i = 0; i < count; i++) {
    const char *given = app->options.identifiers[i];
    names[i] = arena_strndup(&app->arena, given, strlen(given));
    if (!names[i]) return false;
  }
  app->options.identifiers = names;
  return true;
}

/* Where a relative directory is, as long as somebody knows. */
static const char *whole_path(script_app *app, const char *directory) {
  char path[PATH_MAX];
  if (directory[0] == '/' || !getcwd(path, PATH_MAX)) return arena_strndup(&app->arena, directory, strlen(directory));
  size_t used = strlen(path), size = strlen(directory);
  char *whole = arena_alloc(&app->arena, used + size + 2);
  if (whole) snprintf(whole, used + size + 2, "%s/%s", path, directory);
  return whole;
}

static int prepare_app(script_app *app, const char *directory, annal_error *error) {
  app->directory = arena_strndup(&app->arena, directory, strlen(directory));
  app->path = whole_path(app, directory);
  app->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  return app->directory && app->path && app->c_locale && keep_identifiers(app) ? 0 : error_memory(error);
}

/* A generation without files, NULL with the error. `directory` is what it is called. */
static script_app *new_app(const base_env *env, const script_options *options, const char *directory, annal_error *error) {
  script_app *made = base_calloc(env, 1, sizeof *made);
  if (!made) {
    error_memory(error);
    return NULL;
  }
  made->env = env;
  made->options = *options;
  if (made->options.budget <= 0) made->options.budget = LIMIT_BUDGET;
  if (made->options.memory == 0) made->options.memory = LIMIT_SCRIPT_MEMORY;
  arena_init(&made->arena, env);
  atomic_init(&made->references, 1);
  pthread_mutex_init(&made->lock, NULL);
  if (prepare_app(made, directory, error) == 0) return made;
  destroy_app(made);
  return NULL;
}

/* Hands out what was made, or ends it. */
static int finish_app(script_app *made, int code, script_app **app) {
  if (code) destroy_app(made);
  else *app = made;
  return code;
}

int script_build(script_app *app, annal_error *error) {
  if (!app->words) app->words = vocabulary_create(app->env);
  int code = app->words ? state_create(app, &app->idle, error) : error_memory(error);
  if (!code) vocabulary_complete(app->words);
  return code;
}

int script_load(const base_env *env, const script_options *options, const char *directory, script_app **app, annal_error *error) {
  script_app *made = new_app(env, options, directory, error);
  if (!made) return error->code;
  int code = files_find(made, NULL, error);
  if (!code) code = script_build(made, error);
  return finish_app(made, code, app);
}

int script_read(const base_env *env, const char *directory, script_app **files, annal_error *error) {
  script_app *made = new_app(env, &(script_options){0}, directory, error);
  return made ? finish_app(made, files_find(made, NULL, error), files) : error->code;
}

int script_read_again(const script_app *app, script_watch *watch, script_app **files, annal_error *error) {
  script_app *made = new_app(app->env, &app->options, app->directory, error);
  if (!made) return error->code;
  made->path = arena_strndup(&made->arena, app->path, strlen(app->path));
  if (app->words) made->words = vocabulary_retain(app->words);
  int code = made->path ? files_find(made, watch, error) : error_memory(error);
  return finish_app(made, code, files);
}

int script_load_nothing(const base_env *env, script_app **app, annal_error *error) {
  script_app *made = new_app(env, &(script_options){0}, "", error);
  return made ? finish_app(made, script_build(made, error), app) : error->code;
}

script_app *script_retain(script_app *app) {
  atomic_fetch_add_explicit(&app->references, 1, memory_order_relaxed);
  return app;
}

void script_release(script_app *app) {
  if (app && atomic_fetch_sub_explicit(&app->references, 1, memory_order_acq_rel) == 1) destroy_app(app);
}

const char *script_directory(const script_app *app) { return app->directory; }

const char *script_hash(const script_app *app) { return app->hash; }

int64_t script_changed_at(const script_app *app) { return app->changed_at; }

/* ---- The pool ---------------------------------------------------------------------------------------------------------- */

int script_acquire(script_app *app, script_state **state, annal_error *error) {
  pthread_mutex_lock(&app->lock);
  script_state *taken = app->idle;
  if (taken) app->idle = taken->next;
  pthread_mutex_unlock(&app->lock);
  if (!taken) {
    int code = state_create(app, &taken, error);
    if (code) return code;
  }
  state_begin(taken);
  script_retain(app); /* a state keeps its generation alive */
  *state = taken;
  return 0;
}

void script_give_back(script_state *state) {
  if (!state) return;
  script_app *app = state->app;
  if (state_is_spent(state)) {
    state_destroy(state);
  } else {
    lua_settop(state->L, 0);
    script_end_event(state);
    pthread_mutex_lock(&app->lock);
    state->next = app->idle;
    app->idle = state;
    pthread_mutex_unlock(&app->lock);
  }
  script_release(app);
}

/* ---- Looking things up ------------------------------------------------------------------------------------------------- */

const script_event *script_events(const script_app *app, size_t *count) {
  *count = app->event_count;
  return app->events;
}

const script_projection *script_projections(const script_app *app, size_t *count) {
  *count = app->projection_count;
  return app->projections;
}

const script_event *script_find_event(const script_app *app, const char *type) {
  size_t low = 0, high = app->event_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(app->events[middle].type, type);
    if (order == 0) return &app->events[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

const script_projection *script_find_projection(const script_app *app, const char *name) {
  size_t low = 0, high = app->projection_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(app->projections[middle].name, name);
    if (order == 0) return &app->projections[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

const script_command *script_commands(const script_app *app, size_t *count) {
  *count = app->command_count;
  return app->commands;
}

const script_command *script_find_command(const script_app *app, const char *name) {
  size_t low = 0, high = app->command_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(app->commands[middle].name, name);
    if (order == 0) return &app->commands[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}
