/* What both backends answer alike: refusals of an open and of a save. Role: one wording, so that a message does not depend on the
 * database behind it. */
#include "base/error.h"
#include "base/text.h"
#include "store/backend.h"
#include <stdio.h>
#include <string.h>

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

int store_fail_newer(annal_error *error, const char *place, int64_t version, int64_t oldest) {
  return error_set(
      error, ANNAL_MISUSE, NULL,
      "%s has tables of version %lld, which need a program of version %lld or newer; this one is of version %d: update it", place,
      (long long)version, (long long)oldest, STORE_TABLES_VERSION);
}

int store_fail_foreign(annal_error *error, const char *place, const char *table) {
  return error_set(error, ANNAL_CORRUPT, NULL,
                   "%s has a table \"%s\" that annal did not make; it was left as it is: choose other names", place, table);
}

int store_fail_names(annal_error *error, const char *place, const char *events, const char *projections) {
  return error_set(error, ANNAL_MISUSE, NULL,
                   "%s has a store with the tables \"%s\" and \"%s\" already; open it with these names, or use another place",
                   place, events, projections);
}

int store_fail_missing(annal_error *error, const char *place) {
  return error_set(error, ANNAL_NOT_FOUND, NULL, "%s holds no store, and none is to be made there", place);
}

/* ---- Saving ------------------------------------------------------------------------------------------------------------ */

int store_fail_no_event(annal_error *error, const char *id) {
  char shown[96];
  return error_set(error, ANNAL_NOT_FOUND, NULL, "no event with the id \"%s\" is stored", text_show(id, shown));
}

static const char *event_where(char where[48], const char *field, size_t number, size_t count) {
  if (count == 1) snprintf(where, 48, "%s", field);
  else snprintf(where, 48, "events[%zu].%s", number + 1, field);
  return where;
}

int store_fail_duplicate(annal_error *error, const annal_event *event, size_t number, size_t count, int64_t position) {
  char where[48], shown[96];
  return error_set(error, ANNAL_DUPLICATE, event_where(where, "id", number, count),
                   "the id \"%s\" is stored at position %lld with other content", text_show(event->id, shown),
                   (long long)position);
}

int store_fail_partly_stored(annal_error *error, const annal_event *stored, size_t number, const annal_event *missing) {
  char where[48], shown[96], other[96];
  return error_set(
      error, ANNAL_DUPLICATE, event_where(where, "id", number, 2),
      "the id \"%s\" is stored at position %lld, but \"%s\" of the same save is not: this is no repetition of a save",
      text_show(stored->id, shown), (long long)stored->position, text_show(missing->id, other));
}

const char *store_condition_id(const annal_condition *condition, size_t number) {
  const char *own = condition->streams[number].after_id;
  return own ? own : condition->latest_event_id;
}

int store_fail_dropped(annal_error *error, const char *place, const annal_event *event) {
  char shown[96];
  return error_set(
      error, ANNAL_INVALID, NULL,
      "%s did not keep the event \"%s\": a trigger on its table of events dropped it; nothing of the save was stored", place,
      text_show(event->id, shown));
}

/* A few words on what a stream selects, for people; long lists are cut. */
static void describe_list(char *out, size_t room, const char *const *values, size_t count, const char *joint) {
  char shown[96];
  size_t used = strlen(out);
  for (size_t i = 0; i < count && used + 120 < room; i++) {
    if (i == 4) {
      snprintf(out + used, room - used, "%s… (%zu)", joint, count);
      return;
    }
    used += (size_t)snprintf(out + used, room - used, "%s%s", i ? joint : "", text_show(values[i], shown));
  }
}

static void describe_stream(const annal_stream *stream, char *out, size_t room) {
  out[0] = 0;
  if (stream->all) {
    snprintf(out, room, "all events");
    return;
  }
  describe_list(out, room, stream->types, stream->type_count, ", ");
  for (size_t i = 0; i < stream->data_count; i++) {
    size_t used = strlen(out);
    if (used + 200 > room) return;
    snprintf(out + used, room - used, "%s%s = ", used == 0 ? "" : i ? ", " : " with ", stream->data[i].name);
    describe_list(out, room, stream->data[i].values, stream->data[i].value_count, " or ");
  }
}

int store_fail_conflict(annal_error *error, const annal_condition *condition, size_t number, const char *newer_id,
                        int64_t newer_position) {
  char where[48], stream[560], newer[96], seen[96];
  const char *id = store_condition_id(condition, number);
  describe_stream(&condition->streams[number], stream, sizeof stream);
  snprintf(where, sizeof where, "streams[%zu]", number + 1);
  if (!id)
    return error_set(error, ANNAL_CONFLICT, where, "the stream (%s) was to have no event, but \"%s\" is there at position %lld",
                     stream, text_show(newer_id, newer), (long long)newer_position);
  return error_set(error, ANNAL_CONFLICT, where, "the stream (%s) has moved: \"%s\" at position %lld is newer than \"%s\"",
                   stream, text_show(newer_id, newer), (long long)newer_position, text_show(id, seen));
}

int store_fail_conflict_missing(annal_error *error, const annal_condition *condition, size_t number) {
  char where[48], stream[560], seen[96];
  describe_stream(&condition->streams[number], stream, sizeof stream);
  snprintf(where, sizeof where, "streams[%zu]", number + 1);
  return error_set(error, ANNAL_CONFLICT, where, "the event \"%s\", up to which the stream (%s) was seen, is not stored",
                   text_show(store_condition_id(condition, number), seen), stream);
}

int store_check_time(annal_error *error, const annal_event *event, size_t number, size_t count, int64_t previous, int64_t now) {
  char where[48], own[28], other[28];
  annal_time_text(event->created_at, own);
  event_where(where, "created_at", number, count);
  if (event->created_at < previous) {
    annal_time_text(previous, other);
    return error_set(error, ANNAL_INVALID, where, "created_at %s lies before that of the previous event, %s", own, other);
  }
  if (event->created_at > now) {
    annal_time_text(now, other);
    return error_set(error, ANNAL_INVALID, where, "created_at %s lies in the future; the store's clock says %s", own, other);
  }
  return ANNAL_OK;
}
