/* Allocator, log and clock of a handle; see env.h. */
#include "base/env.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *system_allocate(void *context, void *pointer, size_t size) {
  (void)context;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  return realloc(pointer, size);
}

static int64_t read_clock(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t system_clock(void *context) {
  (void)context;
  return read_clock(CLOCK_REALTIME);
}

void base_env_init(base_env *env, const annal_options *options) {
  *env = (base_env){.allocate = system_allocate, .clock = system_clock};
  if (!options) return;
  if (options->allocate) {
    env->allocate = options->allocate;
    env->allocate_context = options->allocate_context;
  }
  if (options->clock) {
    env->clock = options->clock;
    env->clock_context = options->clock_context;
  }
  env->log = options->log;
  env->log_context = options->log_context;
}

void *base_realloc(const base_env *env, void *pointer, size_t size) {
  return env->allocate(env->allocate_context, pointer, size ? size : 1);
}

void *base_alloc(const base_env *env, size_t size) { return base_realloc(env, NULL, size); }

void *base_calloc(const base_env *env, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return NULL;
  void *pointer = base_alloc(env, total);
  if (pointer) memset(pointer, 0, total ? total : 1);
  return pointer;
}

void base_free(const base_env *env, void *pointer) {
  if (pointer) env->allocate(env->allocate_context, pointer, 0);
}

char *base_strndup(const base_env *env, const char *bytes, size_t size) {
  char *copy = base_alloc(env, size + 1);
  if (!copy) return NULL;
  if (size) memcpy(copy, bytes, size);
  copy[size] = 0;
  return copy;
}

char *base_strdup(const base_env *env, const char *text) { return base_strndup(env, text, strlen(text)); }

int64_t base_now(const base_env *env) { return env->clock(env->clock_context); }

int64_t base_monotonic(void) { return read_clock(CLOCK_MONOTONIC); }

void base_log(const base_env *env, const char *level, const char *format, ...) {
  if (!env->log) return;
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  env->log(env->log_context, level, line);
}
