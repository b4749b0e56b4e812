/* Options of a handle: checked, copied, every default filled in; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int handle_sized(const void *in, void *out, size_t out_size, const char *what, annal_error *error) {
  size_t size;
  memcpy(&size, in, sizeof size);
  if (size <= sizeof size) return error_set(error, ANNAL_MISUSE, NULL, "%s.size is %zu; set it to sizeof(%s)", what, size, what);
  if (size > out_size)
    return error_set(error, ANNAL_MISUSE, NULL, "%s has %zu bytes, this version of annal (" ANNAL_VERSION ") knows %zu of them",
                     what, size, out_size);
  memset(out, 0, out_size);
  memcpy(out, in, size);
  memcpy(out, &out_size, sizeof out_size);
  return ANNAL_OK;
}

void handle_plain_where(annal_error *error) {
  static const char stream[] = "streams[1]";
  const char *rest = error->where + sizeof stream - 1;
  if (strcmp(error->where, "streams") == 0) error->where[0] = 0; /* too much in all, of types and values together */
  else if (strcmp(error->where, stream) == 0) snprintf(error->where, sizeof error->where, "types");
  else if (strncmp(error->where, stream, sizeof stream - 1) == 0 && *rest == '.')
    memmove(error->where, rest + 1, strlen(rest + 1) + 1);
}

/* ---- Checking ---------------------------------------------------------------------------------------------------------- */

/* What the names are like is the store's to say (store_open); here only that lists are there at all. */
static int check_list(const void *list, size_t count, const char *what, annal_error *error) {
  if (count == 0 || list) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, what, "%s is NULL and its count is %zu", what, count);
}

static int check_lists(const annal_options *options, annal_error *error) {
  int code = check_list(options->data_indexes, options->data_index_count, "data_indexes", error);
  if (!code) code = check_list(options->projection_indexes, options->projection_index_count, "projection_indexes", error);
  if (!code) code = check_list(options->indexes, options->index_count, "indexes", error);
  return code;
}

static int check_seconds(double seconds, const char *name, annal_error *error) {
  if (seconds > 0 && seconds <= LIMIT_TIMEOUT_MOST_SECONDS) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, name, "the %s must be a number of seconds above 0 and not above %.0f", name,
                   LIMIT_TIMEOUT_MOST_SECONDS);
}

static int check_numbers(const annal_options *options, annal_error *error) {
  int code = check_seconds(options->timeout, "timeout", error);
  if (!code) code = check_seconds(options->lock_timeout, "lock_timeout", error);
  if (code) return code;
  if (options->connections < 1)
    return error_set(error, ANNAL_MISUSE, "connections", "%d connections are not enough, at least 1 is needed",
                     options->connections);
  if (options->budget < 1) return error_set(error, ANNAL_MISUSE, "budget", "the budget must be at least 1 instruction");
  return ANNAL_OK;
}

static void fill_defaults(annal_options *options) {
  if (!options->schema) options->schema = "annal";
  if (!options->events) options->events = "events";
  if (!options->projections) options->projections = "projections";
  if (options->timeout == 0) options->timeout = LIMIT_TIMEOUT_SECONDS;
  if (options->lock_timeout == 0) options->lock_timeout = LIMIT_LOCK_TIMEOUT_SECONDS;
  if (options->connections == 0) options->connections = LIMIT_CONNECTIONS;
  if (options->budget == 0) options->budget = LIMIT_BUDGET;
  if (options->memory == 0) options->memory = LIMIT_SCRIPT_MEMORY;
  if (options->cache == 0) options->cache = LIMIT_CACHE_BYTES;
}

/* ---- Copying ----------------------------------------------------------------------------------------------------------- */

/* One block holds everything. The same code runs twice over it: without a block it counts, with one it copies. */
typedef struct placer {
  char *block;
  size_t used;
} placer;

static void *place(placer *p, const void *bytes, size_t size) {
  size_t at = (p->used + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
  p->used = at + size;
  if (!p->block) return NULL;
  if (size) memcpy(p->block + at, bytes, size);
  return p->block + at;
}

static const char *place_text(placer *p, const char *text) { return text ? place(p, text, strlen(text) + 1) : NULL; }

static const char *const *place_names(placer *p, const char *const *names, size_t count) {
  const char **list = place(p, names, count * sizeof *names);
  for (size_t i = 0; i < count; i++) {
    const char *name = place_text(p, names[i]);
    if (list) list[i] = name;
  }
  return list;
}

static const annal_index *place_indexes(placer *p, const annal_index *indexes, size_t count) {
  annal_index *list = place(p, indexes, count * sizeof *indexes);
  for (size_t i = 0; i < count; i++) {
    annal_index copy = {place_text(p, indexes[i].name), place_text(p, indexes[i].on), place_text(p, indexes[i].sql)};
    if (list) list[i] = copy;
  }
  return list;
}

static annal_options place_options(placer *p, const annal_options *given) {
  annal_options copy = *given;
  copy.app = place_text(p, given->app);
  copy.schema = place_text(p, given->schema);
  copy.events = place_text(p, given->events);
  copy.projections = place_text(p, given->projections);
  copy.data_indexes = place_names(p, given->data_indexes, given->data_index_count);
  copy.projection_indexes = place_names(p, given->projection_indexes, given->projection_index_count);
  copy.indexes = place_indexes(p, given->indexes, given->index_count);
  return copy;
}

int handle_copy_options(const base_env *env, const annal_options *or_null, annal_options *out, void **memory,
                        annal_error *error) {
  annal_options given = {.size = sizeof given};
  int code = or_null ? handle_sized(or_null, &given, sizeof given, "annal_options", error) : ANNAL_OK;
  if (code) return code;
  fill_defaults(&given);
  code = check_lists(&given, error);
  if (!code) code = check_numbers(&given, error);
  if (code) return code;
  placer p = {0};
  place_options(&p, &given);
  p.block = base_alloc(env, p.used);
  if (!p.block) return error_memory(error);
  p.used = 0;
  *out = place_options(&p, &given);
  *memory = p.block;
  return ANNAL_OK;
}
