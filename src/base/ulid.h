/* ULIDs: 48 bits of milliseconds, 80 random bits, 26 characters of Crockford's base 32 (github.com/ulid/spec). Role: ids of
 * events whose caller gave none. Within one generator they rise strictly, also within a millisecond and when the clock steps
 * back, so that equal moments sort by order of making. Any thread. */
#ifndef BASE_ULID_H
#define BASE_ULID_H

#include "base/env.h"
#include <pthread.h>

#define ULID_TEXT_BYTES 27 /* with the NUL */

typedef struct base_ulid {
  pthread_mutex_t lock;
  uint64_t milliseconds;
  uint8_t random[10];
} base_ulid;

void ulid_init(base_ulid *generator);
void ulid_destroy(base_ulid *generator);
/* Writes the next one. `unavailable` when the system gives no randomness. */
int ulid_next(base_ulid *generator, const base_env *env, char text[ULID_TEXT_BYTES], annal_error *error);

/* An id in the form of a ULID that is made of a text and a number alone: the same two give the same id. It tells no time. */
void ulid_derive(const char *seed, uint64_t number, char text[ULID_TEXT_BYTES]);

#endif
