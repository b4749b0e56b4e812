/* A run of events in memory. Role: what background folding and rebuilding work through at a time: read once, then folded instance by
 * instance, so that each state is taken apart and put together once for all its events in it. */
#ifndef FOLD_CHUNK_H
#define FOLD_CHUNK_H

#include "script/script.h"
#include "store/store.h"

/* For one thread while it is filled, then for any that read. */
typedef struct fold_chunk {
  const base_env *env;
  const script_app *app; /* types that it declares are its own texts, so that they can be told apart by their addresses */
  const char *last_type; /* most often the next event has the same */
  annal_event *events;   /* in order of position */
  size_t count, capacity;
  size_t bytes; /* of their texts */
  struct chunk_block *blocks, *block;
} fold_chunk;

void chunk_init(fold_chunk *chunk, const base_env *env, const script_app *app);
void chunk_free(fold_chunk *chunk);
void chunk_clear(fold_chunk *chunk, size_t keep); /* keeps about so many bytes of memory for what comes next */

/* Copies events to the end. `unavailable` without memory. */
int chunk_add(fold_chunk *chunk, const annal_event *events, size_t count, annal_error *error);

#endif
