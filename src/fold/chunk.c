/* A run of events in memory; see chunk.h. Texts lie in blocks that do not move, so that an event's pointers stay good. */
#include "fold/chunk.h"

#include "base/error.h"
#include <string.h>

typedef struct chunk_block {
  struct chunk_block *next;
  size_t size, used;
  char bytes[];
} chunk_block;

#define BLOCK_BYTES ((size_t)1 << 20)

void chunk_init(fold_chunk *chunk, const base_env *env, const script_app *app) { *chunk = (fold_chunk){.env = env, .app = app}; }

void chunk_free(fold_chunk *chunk) {
  for (chunk_block *block = chunk->blocks; block;) {
    chunk_block *next = block->next;
    base_free(chunk->env, block);
    block = next;
  }
  base_free(chunk->env, chunk->events);
  chunk_init(chunk, chunk->env, chunk->app);
}

void chunk_clear(fold_chunk *chunk, size_t keep) {
  size_t kept = chunk->capacity * sizeof *chunk->events;
  if (kept > keep / 2) { /* events are hardly ever shorter than what says of them where they are */
    base_free(chunk->env, chunk->events);
    chunk->events = NULL;
    chunk->capacity = kept = 0;
  }
  for (chunk_block **at = &chunk->blocks; *at;) {
    chunk_block *block = *at;
    kept += block->size;
    block->used = 0;
    if (kept <= keep) {
      at = &block->next;
    } else {
      *at = block->next;
      base_free(chunk->env, block);
    }
  }
  chunk->block = chunk->blocks;
  chunk->count = chunk->bytes = 0;
}

/* Room for `size` bytes in one piece, in the block at hand, one that was used before, or a new one. */
static char *make_room(fold_chunk *chunk, size_t size) {
  chunk_block *block = chunk->block;
  while (block && block->size - block->used < size) block = block->next;
  if (!block) {
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    block = base_alloc(chunk->env, sizeof *block + room);
    if (!block) return NULL;
    *block = (chunk_block){.size = room, .next = chunk->block ? chunk->block->next : NULL};
    if (chunk->block) chunk->block->next = block;
    else chunk->blocks = block;
  }
  chunk->block = block;
  char *room = block->bytes + block->used;
  block->used += size;
  return room;
}

static const char *put(char **at, const char *text, size_t size) {
  const char *begin = *at;
  memcpy(*at, text, size);
  (*at)[size] = 0;
  *at += size + 1;
  return begin;
}

/* NULL: no event of the app's. */
static const char *known_type(fold_chunk *chunk, const char *type) {
  if (chunk->last_type && strcmp(chunk->last_type, type) == 0) return chunk->last_type;
  const script_event *event = script_find_event(chunk->app, type);
  if (event) chunk->last_type = event->type;
  return event ? event->type : NULL;
}

static bool copy_event(fold_chunk *chunk, const annal_event *event) {
  const char *known = known_type(chunk, event->type);
  size_t id = strlen(event->id), type = known ? 0 : strlen(event->type);
  size_t size = id + type + event->data_size + event->metadata_size + 4;
  char *at = make_room(chunk, size);
  if (!at) return false;
  annal_event *copy = &chunk->events[chunk->count];
  *copy = *event;
  copy->id = put(&at, event->id, id);
  copy->type = known ? known : put(&at, event->type, type);
  copy->data = put(&at, event->data, event->data_size);
  if (event->metadata) copy->metadata = put(&at, event->metadata, event->metadata_size);
  chunk->count++;
  chunk->bytes += size + sizeof *copy;
  return true;
}

int chunk_add(fold_chunk *chunk, const annal_event *events, size_t count, annal_error *error) {
  if (chunk->count + count > chunk->capacity) {
    size_t capacity = chunk->capacity * 2 > chunk->count + count ? chunk->capacity * 2 : chunk->count + count;
    annal_event *more = base_realloc(chunk->env, chunk->events, capacity * sizeof *more);
    if (!more) return error_memory(error);
    chunk->events = more;
    chunk->capacity = capacity;
  }
  for (size_t i = 0; i < count; i++)
    if (!copy_event(chunk, &events[i])) return error_memory(error);
  return ANNAL_OK;
}
