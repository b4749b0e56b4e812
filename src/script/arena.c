/* Blocks in a list, filled from their beginning; see arena.h. */
#include "script/arena.h"

#include <stdalign.h>
#include <string.h>

#define BLOCK_BYTES 4064 /* with the header and the allocator's own a page */

struct arena_block {
  arena_block *next;
  size_t size;
  alignas(16) char bytes[];
};

void arena_init(script_arena *arena, const base_env *env) { *arena = (script_arena){.env = env}; }

void *arena_alloc(script_arena *arena, size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  size = (size + 15) / 16 * 16;
  arena_block *block = arena->blocks;
  if (!block || block->size - arena->used < size) {
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    block = base_alloc(arena->env, sizeof *block + room);
    if (!block) return NULL;
    *block = (arena_block){.next = arena->blocks, .size = room};
    arena->blocks = block;
    arena->used = 0;
  }
  void *pointer = block->bytes + arena->used;
  arena->used += size;
  memset(pointer, 0, size);
  return pointer;
}

void *arena_array(script_arena *arena, size_t count, size_t size) {
  size_t total;
  return __builtin_mul_overflow(count, size, &total) ? NULL : arena_alloc(arena, total);
}

char *arena_strndup(script_arena *arena, const char *bytes, size_t size) {
  char *copy = arena_alloc(arena, size + 1);
  if (copy && size) memcpy(copy, bytes, size);
  return copy;
}

void arena_free_blocks(const base_env *env, arena_block *blocks) {
  while (blocks) {
    arena_block *next = blocks->next;
    base_free(env, blocks);
    blocks = next;
  }
}

void arena_free(script_arena *arena) {
  arena_free_blocks(arena->env, arena->blocks);
  arena_init(arena, arena->env);
}
