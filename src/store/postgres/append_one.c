/* A save of one event as the arguments of annal_append_one_1. Role: append.c sends it so wherever it can, which is nearly always when
 * a save comes alone: PL/pgSQL is much faster with single values than with arrays.
 *
 * The function stands on what session.sql sets; behind a pooler the call brings that along. Rows, kept times and a host's clock are for the
 * others. */
#include "store/postgres/pg.h"

#include <stdio.h>
#include <string.h>

/* The one stream whose declared identifier has one value that decides alone; NULL: the condition is of another kind. */
static const annal_stream *simple_stream(const pg_store *s, const annal_condition *condition) {
  if (condition->stream_count != 1) return NULL;
  const annal_stream *stream = &condition->streams[0];
  bool simple = stream->data_count == 1 && stream->data[0].value_count == 1 && pg_decides_alone(stream) &&
                pg_is_declared(s, stream->data[0].name);
  return simple ? stream : NULL;
}

static void add_text(pg_params *params, const char *text) { pg_params_binary(params, PG_TEXT, text, text ? strlen(text) : 0); }

bool pg_one_params(const pg_store *s, const store_save *save, pg_one *room, pg_params *params) {
  const annal_stream *stream = save->condition ? simple_stream(s, save->condition) : NULL;
  bool fits = s->has_append_one && !s->host_clock && save->count == 1 && save->row_count == 0 && !save->keep_created_at;
  if (!fits || (save->condition && !stream)) return false;
  const annal_event *event = &save->events[0];
  bool typed = stream && stream->type_count > 0;
  if (typed) pg_array_init(&room->types, s->base.env, PG_TEXT);
  for (size_t i = 0; typed && i < stream->type_count; i++) pg_array_text(&room->types, stream->types[i]);
  pg_put32(room->version, event->version);
  add_text(params, event->id);
  add_text(params, event->type);
  pg_params_binary(params, PG_INT4, room->version, sizeof room->version);
  pg_params_binary(params, PG_JSON, event->data, event->data_size);
  pg_params_binary(params, PG_JSON, event->metadata, event->metadata_size);
  add_text(params, stream ? store_condition_id(save->condition, 0) : NULL);
  add_text(params, stream ? stream->data[0].name : NULL);
  add_text(params, stream ? stream->data[0].values[0] : NULL);
  pg_array_param_if(typed, &room->types, params);
  if (!s->base.options->pooled) return true;
  pg_put32(room->mark, s->mark);
  snprintf(room->lock_ms, sizeof room->lock_ms, "%lld", (long long)s->lock_ms);
  pg_params_binary(params, PG_INT4, room->mark, sizeof room->mark);
  add_text(params, room->lock_ms);
  return true;
}

void pg_one_free(pg_one *room) {
  if (room->types.bytes.env) pg_array_free(&room->types);
}
