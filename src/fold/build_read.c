/* Reading the log for sets; see build.h. */
#include "fold/build.h"

#include "base/error.h"
#include "base/limits.h"
#include <string.h>

/* The types of all sets, each once; false where one of them may be for any event. */
static bool gather_types(const fold_build *build, const char **types, size_t *count) {
  *count = 0;
  for (size_t i = 0; i < build->count; i++) {
    const script_projection *projection = build->sets[i].set.projection;
    if (projection->has_streams) return false;
    for (size_t t = 0; t < projection->type_count; t++) {
      bool there = false;
      for (size_t k = 0; k < *count && !there; k++) there = strcmp(types[k], projection->types[t]) == 0;
      if (!there) types[(*count)++] = projection->types[t];
    }
  }
  return *count > 0 && *count <= LIMIT_BRANCHES; /* more of them at once cost more than to read everything */
}

int build_read(fold_build *build, build_reader *reader, const store_head_info *after, const store_head_info *up_to, bool by_type,
               annal_error *error) {
  *reader = (build_reader){.up_to = *up_to, .reached = *after};
  if (after->position >= up_to->position) {
    reader->over = true;
    reader->reached = *up_to;
    return ANNAL_OK;
  }
  size_t most = 1;
  for (size_t i = 0; i < build->count; i++) most += build->sets[i].set.projection->type_count;
  const char **types = base_calloc(build->context.env, most, sizeof *types);
  if (!types) return error_memory(error);
  annal_stream stream = {0};
  annal_selection selection = {.size = sizeof selection};
  if (by_type && gather_types(build, types, &stream.type_count)) {
    stream.types = types;
    selection.streams = &stream;
    selection.stream_count = 1;
  }
  int code = store_read_known(build->context.store, &selection, after, up_to, &reader->cursor, error);
  base_free(build->context.env, (void *)types);
  return code;
}

void build_end_read(build_reader *reader) {
  store_cursor_close(reader->cursor);
  reader->cursor = NULL;
}

int build_fill(build_reader *reader, fold_chunk *chunk, size_t events, size_t bytes, annal_error *error) {
  while (!reader->over && chunk->count < events && chunk->bytes < bytes) {
    store_page page;
    int code = store_cursor_next(reader->cursor, &page, error);
    if (code) return code;
    if (page.count == 0) {
      reader->over = true;
      reader->reached = reader->up_to;
      break;
    }
    code = chunk_add(chunk, page.events, page.count, error);
    if (code) return code;
    const annal_event *last = &chunk->events[chunk->count - 1];
    reader->reached.position = last->position;
    memccpy(reader->reached.id, last->id, 0, sizeof reader->reached.id - 1);
  }
  return ANNAL_OK;
}

void build_cut(build_reader *reader, fold_chunk *chunk, size_t events) {
  const annal_event *last = &chunk->events[events - 1];
  chunk->count = events;
  reader->over = false;
  reader->reached.position = last->position;
  memccpy(reader->reached.id, last->id, 0, sizeof reader->reached.id - 1);
}
