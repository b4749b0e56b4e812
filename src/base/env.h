/* The handle's surroundings: allocator, log, clock. Role: every layer gets memory, time and its voice from here and nowhere
 * else, so that a host can own all three. One env per annal_store; it is immutable, hence free for any thread. */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include "annal.h"

typedef struct base_env {
  annal_allocate *allocate; /* never NULL after base_env_init */
  void *allocate_context;
  annal_log *log; /* may be NULL */
  void *log_context;
  annal_clock *clock; /* never NULL after base_env_init */
  void *clock_context;
} base_env;

/* Takes what `options` (may be NULL) gives and fills the rest with the C library's. */
void base_env_init(base_env *env, const annal_options *options);

/* NULL when there is no memory. Size 0 counts as 1. */
void *base_alloc(const base_env *env, size_t size);
void *base_calloc(const base_env *env, size_t count, size_t size); /* zeroed; checks for overflow */
void *base_realloc(const base_env *env, void *pointer, size_t size);
void base_free(const base_env *env, void *pointer); /* accepts NULL */
char *base_strdup(const base_env *env, const char *text);
char *base_strndup(const base_env *env, const char *bytes, size_t size); /* adds a NUL */

/* Microseconds since 1970 UTC. */
int64_t base_now(const base_env *env);
/* Monotonic, for deadlines; microseconds from an arbitrary start. Not replaced by the host's clock. */
int64_t base_monotonic(void);

void base_log(const base_env *env, const char *level, const char *format, ...) ANNAL_PRINTF(3, 4);

#endif
