/* Which saves of a batch may touch an earlier one. Role: append.c inserts the events of saves that do not together, in one
 * statement. It may say yes too often, never no where it is yes: then only time is lost.
 *
 * A save touches an earlier one when it bears one of its ids, names one in its condition, or its condition could match one of
 * its events. Data are not parsed: a value that is no substring of the canonical JSON is no value in it. */
#include "store/postgres/pg.h"

#include <string.h>

#define TOUCH_CHECKS_MAX 20000 /* streams against events: about a millisecond; beyond, an insert more is cheaper */

typedef struct id_slot {
  const char *id;
  size_t save;
} id_slot;

typedef struct id_table {
  id_slot *slots;
  size_t mask;
} id_table;

static size_t id_hash(const char *id) {
  uint64_t hash = UINT64_C(1469598103934665603); /* FNV-1a */
  for (; *id; id++) hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
  return (size_t)(hash ^ hash >> 32);
}

static id_slot *find_slot(const id_table *table, const char *id) {
  size_t at = id_hash(id) & table->mask;
  while (table->slots[at].id && strcmp(table->slots[at].id, id) != 0) at = (at + 1) & table->mask;
  return &table->slots[at];
}

static bool ids_touch(const id_table *table, const store_save *save, size_t number) {
  for (size_t i = 0; i < save->count; i++) {
    const id_slot *slot = find_slot(table, save->events[i].id);
    if (slot->id && slot->save < number) return true;
  }
  const annal_condition *condition = save->condition;
  for (size_t i = 0; condition && i < condition->stream_count; i++) {
    const char *seen = store_condition_id(condition, i);
    if (seen && find_slot(table, seen)->id) return true;
  }
  return false;
}

/* The text of a value stands in JSON as it is only when nothing in it is escaped there. */
static bool stands_plainly(const char *value) {
  for (; *value; value++)
    if (*value < 32 || *value > 126 || *value == '"' || *value == '\\') return false;
  return true;
}

static bool field_may_match(const annal_field *field, const annal_event *event) {
  for (size_t i = 0; i < field->value_count; i++)
    if (!stands_plainly(field->values[i]) || memmem(event->data, event->data_size, field->values[i], strlen(field->values[i])))
      return true;
  return false;
}

static bool may_match(const annal_stream *stream, const annal_event *event) {
  bool typed = stream->type_count == 0;
  for (size_t i = 0; i < stream->type_count && !typed; i++) typed = strcmp(stream->types[i], event->type) == 0;
  if (!typed) return false;
  for (size_t i = 0; i < stream->data_count; i++)
    if (!field_may_match(&stream->data[i], event)) return false;
  return true;
}

static bool condition_touches(const annal_condition *condition, const store_save *earlier) {
  for (size_t i = 0; i < condition->stream_count; i++)
    for (size_t j = 0; j < earlier->count; j++)
      if (may_match(&condition->streams[i], &earlier->events[j])) return true;
  return false;
}

static bool fill_table(id_table *table, const base_env *env, store_entry *const *entries, size_t count) {
  size_t events = 0, capacity = 16;
  for (size_t i = 0; i < count; i++) events += entries[i]->save->count;
  while (capacity < events * 2) capacity *= 2;
  table->slots = base_calloc(env, capacity, sizeof *table->slots);
  table->mask = capacity - 1;
  if (!table->slots) return false;
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < entries[i]->save->count; j++) {
      id_slot *slot = find_slot(table, entries[i]->save->events[j].id);
      if (!slot->id) *slot = (id_slot){.id = entries[i]->save->events[j].id, .save = i}; /* the earliest that bears it */
    }
  return true;
}

bool pg_touches(const base_env *env, store_entry *const *entries, size_t count, bool *flushes) {
  memset(flushes, 0, count * sizeof *flushes);
  if (count < 2) return false;
  id_table table;
  size_t checks = 0, events = entries[0]->save->count;
  bool anywhere = false, known = fill_table(&table, env, entries, count);
  for (size_t i = 1; i < count; i++) {
    const store_save *save = entries[i]->save;
    flushes[i] = !known || ids_touch(&table, save, i);
    if (save->condition && !flushes[i]) {
      checks += save->condition->stream_count * events;
      if (checks > TOUCH_CHECKS_MAX) flushes[i] = true;
      for (size_t j = 0; j < i && !flushes[i]; j++) flushes[i] = condition_touches(save->condition, entries[j]->save);
    }
    events += save->count;
    anywhere |= flushes[i];
  }
  base_free(env, table.slots);
  return anywhere;
}
