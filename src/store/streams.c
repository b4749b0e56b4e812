/* Streams and fields as they come in: what is refused, and copies that outlive a call. Role: the rules of "a value matches" in
 * one place, for reads, conditions and queries, on both backends. */
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "store/backend.h"
#include <stdio.h>
#include <string.h>

/* ---- Checks ------------------------------------------------------------------------------------------------------------ */

static int check_values(const annal_field *field, const char *where, annal_error *error) {
  if (field->value_count == 0 || !field->values)
    return error_set(error, ANNAL_MISUSE, where, "the list of values for \"%s\" is empty: it would match nothing", field->name);
  for (size_t i = 0; i < field->value_count; i++) {
    if (!field->values[i]) return error_set(error, ANNAL_MISUSE, where, "a value for \"%s\" is missing", field->name);
    int result = text_check(field->values[i], 0, LIMIT_VALUE_BYTES, "filter value", error);
    if (result) {
      error_where_prefix(error, where);
      return result;
    }
  }
  return ANNAL_OK;
}

static int check_fields(const annal_field *fields, size_t count, const char *prefix, annal_error *error) {
  char shown[96], where[192];
  for (size_t i = 0; i < count; i++) {
    if (!fields[i].name || !text_is_name(fields[i].name))
      return error_set(error, ANNAL_MISUSE, prefix,
                       "\"%s\" is no name of a field: letters, digits and _, no digit first, at most %d bytes",
                       fields[i].name ? text_show(fields[i].name, shown) : "", LIMIT_NAME_BYTES);
    snprintf(where, sizeof where, "%s.%s", prefix, fields[i].name);
    int result = check_values(&fields[i], where, error);
    if (result) return result;
  }
  return ANNAL_OK;
}

static size_t values_of(const annal_field *fields, size_t count) {
  size_t values = 0;
  for (size_t i = 0; i < count; i++) values += fields[i].value_count;
  return values;
}

static int fail_too_many(size_t values, const char *where, annal_error *error) {
  return error_set(error, ANNAL_MISUSE, where, "%zu types and values in one selection, at most %d are possible", values,
                   LIMIT_STREAM_VALUES);
}

int store_check_fields(const annal_field *fields, size_t count, const char *what, annal_error *error) {
  size_t values = values_of(fields, count);
  if (values > LIMIT_STREAM_VALUES) return fail_too_many(values, what, error);
  return check_fields(fields, count, what, error);
}

static int check_types(const annal_stream *stream, const char *where, annal_error *error) {
  if (stream->types && stream->type_count == 0)
    return error_set(error, ANNAL_MISUSE, where, "the list of types is empty: it would match nothing");
  for (size_t i = 0; i < stream->type_count; i++) {
    if (!stream->types || !stream->types[i]) return error_set(error, ANNAL_MISUSE, where, "a type is missing");
    int result = text_check(stream->types[i], 1, LIMIT_TYPE_BYTES, "event type", error);
    if (result) {
      error_where_prefix(error, where);
      return result;
    }
  }
  return ANNAL_OK;
}

/* Where the stream begins, which reads and conditions say in different ways. */
static int check_after(const annal_stream *stream, const char *where, bool condition, annal_error *error) {
  if (condition && stream->after)
    return error_set(error, ANNAL_MISUSE, where,
                     "a condition names the newest event that was seen by its id, never by a position");
  if (stream->after < 0)
    return error_set(error, ANNAL_MISUSE, where, "after is %lld; positions begin at 1", (long long)stream->after);
  if (stream->after && stream->after_id)
    return error_set(error, ANNAL_MISUSE, where, "after is given as a position and as an event id");
  if (!stream->after_id) return ANNAL_OK;
  int result = text_check(stream->after_id, 1, LIMIT_ID_BYTES, "event id", error);
  if (result) error_where_prefix(error, where);
  return result;
}

static int check_stream(const annal_stream *stream, size_t number, bool condition, annal_error *error) {
  char where[64];
  snprintf(where, sizeof where, "streams[%zu]", number + 1);
  bool narrowed = stream->types || stream->type_count || stream->data || stream->data_count;
  if (!narrowed && !stream->all)
    return error_set(error, ANNAL_MISUSE, where, "the stream names neither types nor data; say { all = true } for every event");
  if (narrowed && stream->all) return error_set(error, ANNAL_MISUSE, where, "the stream says all, and types or data as well");
  if (stream->data && stream->data_count == 0)
    return error_set(error, ANNAL_MISUSE, where, "data is empty: it would select every event");
  if (!stream->data && stream->data_count) return error_set(error, ANNAL_MISUSE, where, "data is missing");
  int result = check_types(stream, where, error);
  if (!result) result = check_after(stream, where, condition, error);
  if (result || !stream->data_count) return result;
  snprintf(where, sizeof where, "streams[%zu].data", number + 1);
  return check_fields(stream->data, stream->data_count, where, error);
}

int store_check_streams(const annal_stream *streams, size_t count, bool condition, annal_error *error) {
  if (count > LIMIT_STREAMS)
    return error_set(error, ANNAL_MISUSE, "streams", "%zu streams in one selection, at most %d are possible", count,
                     LIMIT_STREAMS);
  size_t values = 0;
  for (size_t i = 0; i < count; i++) {
    int result = check_stream(&streams[i], i, condition, error);
    if (result) return result;
    values += streams[i].type_count + values_of(streams[i].data, streams[i].data_count);
  }
  return values > LIMIT_STREAM_VALUES ? fail_too_many(values, "streams", error) : ANNAL_OK;
}

/* ---- Copies ------------------------------------------------------------------------------------------------------------ */

/* One block in two halves: first everything that holds pointers, which wants alignment, then the texts. With NULL for the halves
 * it only counts their bytes. */
typedef struct copier {
  char *structures;
  char *texts;
  size_t structure_bytes;
  size_t text_bytes;
} copier;

static void *copy_array(copier *c, const void *from, size_t count, size_t size) {
  if (count == 0) return NULL;
  void *to = NULL;
  if (c->structures) {
    to = c->structures + c->structure_bytes;
    memcpy(to, from, count * size);
  }
  c->structure_bytes += count * size;
  return to;
}

static const char *copy_text(copier *c, const char *from) {
  if (!from) return NULL;
  size_t size = strlen(from) + 1;
  char *to = NULL;
  if (c->texts) {
    to = c->texts + c->text_bytes;
    memcpy(to, from, size);
  }
  c->text_bytes += size;
  return to;
}

static const char *const *copy_texts(copier *c, const char *const *from, size_t count) {
  const char **to = copy_array(c, from, count, sizeof *from);
  for (size_t i = 0; i < count; i++) {
    const char *text = copy_text(c, from[i]);
    if (to) to[i] = text;
  }
  return to;
}

static annal_stream *copy_streams(copier *c, const annal_stream *from, size_t count) {
  annal_stream *to = copy_array(c, from, count, sizeof *from);
  for (size_t i = 0; i < count; i++) {
    const char *const *types = copy_texts(c, from[i].types, from[i].type_count);
    annal_field *fields = copy_array(c, from[i].data, from[i].data_count, sizeof *fields);
    for (size_t j = 0; j < from[i].data_count; j++) {
      const char *name = copy_text(c, from[i].data[j].name);
      const char *const *values = copy_texts(c, from[i].data[j].values, from[i].data[j].value_count);
      if (fields) fields[j] = (annal_field){.name = name, .values = values, .value_count = from[i].data[j].value_count};
    }
    const char *after_id = copy_text(c, from[i].after_id);
    if (!to) continue;
    to[i].types = types;
    to[i].data = fields;
    to[i].after_id = after_id;
  }
  return to;
}

annal_stream *store_copy_streams(const base_env *env, const annal_stream *streams, size_t count) {
  copier counts = {0};
  copy_streams(&counts, streams, count);
  char *block = base_alloc(env, counts.structure_bytes + counts.text_bytes);
  if (!block || count == 0) return (annal_stream *)(void *)block;
  copier copies = {.structures = block, .texts = block + counts.structure_bytes};
  return copy_streams(&copies, streams, count);
}
