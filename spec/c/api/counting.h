/* An allocator that knows how many bytes are held. Role: tests that want to see memory given back, to the byte. */
#ifndef SPEC_API_COUNTING_H
#define SPEC_API_COUNTING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static atomic_long held; /* bytes */

static inline void *count_bytes(void *context, void *pointer, size_t size) {
  (void)context;
  size_t *block = pointer ? (size_t *)pointer - 2 : NULL; /* the size stands before, in 16 bytes for the sake of alignment */
  long before = block ? (long)block[0] : 0;
  if (size == 0) {
    free(block);
    atomic_fetch_sub(&held, before);
    return NULL;
  }
  size_t *fresh = realloc(block, size + 16);
  if (!fresh) return NULL;
  fresh[0] = size;
  atomic_fetch_add(&held, (long)size - before);
  return fresh + 2;
}

#endif
