/* Memory that is given back all at once. Role: what a generation and a list of streams point to. Not for two threads. */
#ifndef SCRIPT_ARENA_H
#define SCRIPT_ARENA_H

#include "base/env.h"

typedef struct arena_block arena_block;

typedef struct script_arena {
  const base_env *env;
  arena_block *blocks; /* newest first; a list of streams carries this pointer as its `memory` */
  size_t used;         /* of the newest block */
} script_arena;

void arena_init(script_arena *arena, const base_env *env);
/* NULL when there is no memory; zeroed, aligned for any of our types. */
void *arena_alloc(script_arena *arena, size_t size);
/* Room for `count` values of `size`; NULL on overflow too. */
void *arena_array(script_arena *arena, size_t count, size_t size);
char *arena_strndup(script_arena *arena, const char *bytes, size_t size); /* adds a NUL */
void arena_free(script_arena *arena);
void arena_free_blocks(const base_env *env, arena_block *blocks);

#endif
