/* Several instances as of one moment; see boundary.h. */
#include "fold/boundary.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>

/* The instance that an earlier use is about too, or SIZE_MAX. */
static size_t find_instance(const fold_boundary *b, const script_projection *projection, const char *id) {
  for (size_t i = 0; i < b->instance_count; i++)
    if (fold_projection(b->instances[i]) == projection && strcmp(fold_id(b->instances[i]), id) == 0) return i;
  return SIZE_MAX;
}

static int open_instances(const fold_context *context, const script_command *command, const char *ids, fold_boundary *b,
                          annal_error *error) {
  for (size_t i = 0; i < command->use_count; i++, ids += strlen(ids) + 1) {
    const script_projection *projection = command->uses[i].projection;
    b->instance_of[i] = find_instance(b, projection, ids);
    if (b->instance_of[i] != SIZE_MAX) continue;
    int code = fold_open(context, projection->name, ids, true, &b->instances[b->instance_count], error);
    if (code) return code;
    b->instance_of[i] = b->instance_count++;
  }
  return ANNAL_OK;
}

static int gather_streams(fold_boundary *b, annal_error *error) {
  const annal_stream *streams;
  size_t count;
  for (size_t i = 0; i < b->instance_count; i++) {
    int code = fold_streams(b->instances[i], &streams, &count, error);
    if (code) return code;
    b->stream_count += count;
  }
  if (b->stream_count == 0) return ANNAL_OK;
  b->streams = base_calloc(b->env, b->stream_count, sizeof *b->streams);
  if (!b->streams) return error_memory(error);
  annal_stream *next = b->streams;
  for (size_t i = 0; i < b->instance_count; i++, next += count) {
    fold_streams(b->instances[i], &streams, &count, error);
    memcpy(next, streams, count * sizeof *streams);
  }
  return ANNAL_OK;
}

int fold_boundary_open(const fold_context *context, const script_command *command, const char *ids, fold_boundary *out,
                       annal_error *error) {
  *out = (fold_boundary){.env = context->env};
  if (command->use_count == 0) return ANNAL_OK;
  out->instances = base_calloc(out->env, command->use_count, sizeof *out->instances);
  out->instance_of = base_calloc(out->env, command->use_count, sizeof *out->instance_of);
  if (!out->instances || !out->instance_of) return error_memory(error);
  int code = open_instances(context, command, ids, out, error);
  return code ? code : gather_streams(out, error);
}

void fold_boundary_close(fold_boundary *b) {
  if (!b->env) return;
  for (size_t i = 0; i < b->instance_count; i++) fold_close(b->instances[i]);
  base_free(b->env, b->instances);
  base_free(b->env, b->instance_of);
  base_free(b->env, b->streams);
  *b = (fold_boundary){0};
}

/* One instance is a boundary by itself: its one read is of one moment. */
static int read_alone(fold_boundary *b, annal_error *error) {
  int64_t position;
  const char *event_id = "";
  b->after_id[0] = 0;
  if (b->instance_count == 0) return ANNAL_OK;
  int code = fold_refresh(b->instances[0], error);
  if (!code) code = fold_position(b->instances[0], &position, &event_id, error);
  if (!code) snprintf(b->after_id, sizeof b->after_id, "%s", event_id);
  return code;
}

int fold_boundary_read(fold_boundary *b, const store_head_info *head_or_null, annal_error *error) {
  int code = ANNAL_OK;
  if (head_or_null) {
    memcpy(b->after_id, head_or_null->id, sizeof b->after_id);
    for (size_t i = 0; i < b->instance_count && !code; i++) code = fold_refresh_at(b->instances[i], head_or_null, error);
  } else {
    code = read_alone(b, error);
  }
  for (size_t i = 0; i < b->stream_count; i++) b->streams[i].after_id = b->after_id[0] ? b->after_id : NULL;
  return code;
}

int fold_boundary_view(fold_boundary *b, size_t use, base_buf *out, annal_error *error) {
  return fold_view(b->instances[b->instance_of[use]], out, error);
}

bool fold_boundary_condition(const fold_boundary *b, annal_condition *condition) {
  *condition = (annal_condition){.size = sizeof *condition, .streams = b->streams, .stream_count = b->stream_count};
  return b->stream_count > 0;
}
