/* Events on their way in; see intake.h. */
#include "fold/intake.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "json/json.h"
#include <string.h>

/* The text grows while events are added, so until the end their parts are known by where they begin. Offset 0 is an empty text
 * that stands for "absent". */
typedef struct intake_span {
  size_t id, type, data, metadata;
} intake_span;

int intake_init(intake *in, const base_env *env, size_t capacity, annal_error *error) {
  *in = (intake){.env = env, .capacity = capacity};
  buf_init(&in->text, env);
  buf_add(&in->text, "", 1);
  in->spans = base_calloc(env, capacity, sizeof *in->spans);
  in->events = base_calloc(env, capacity, sizeof *in->events);
  return in->spans && in->events && !in->text.failed ? ANNAL_OK : error_memory(error);
}

void intake_free(intake *in) {
  if (!in->env) return;
  buf_free(&in->text);
  base_free(in->env, in->spans);
  base_free(in->env, in->events);
  *in = (intake){0};
}

static size_t add_text(intake *in, const char *text) {
  size_t at = in->text.size;
  buf_add(&in->text, text, strlen(text) + 1);
  return at;
}

static int check_name(const char *text, size_t max, const char *where, const char *what, annal_error *error) {
  int code = text_check(text, 1, max, what, error);
  if (code) error_where_prefix(error, where);
  return code;
}

static int add_document(intake *in, const char *text, size_t size, const char *where, size_t *at, annal_error *error) {
  *at = in->text.size;
  int code = json_canonical(text, size ? size : strlen(text), JSON_OBJECT | JSON_NO_NUL, &in->text, error);
  if (code == ANNAL_INVALID) error_where_prefix(error, where);
  return code;
}

/* As it is: nothing of it is checked, unless `state` is to see whether its upgraded form fits. */
static int add_as_it_is(intake *in, script_state *state, const annal_event *event, size_t *at, annal_error *error) {
  int code = add_document(in, event->data, event->data_size, "data", at, error);
  if (code || !state) return code;
  if (in->text.failed) return error_memory(error);
  annal_event canonical = *event;
  canonical.data = in->text.bytes + *at;
  canonical.data_size = in->text.size - *at;
  return script_check_older(state, &canonical, error);
}

/* The version of an event that is stored and does not say under which. */
static int current_version(script_state *state, const char *type) {
  const script_event *declared = state ? script_find_event(script_app_of(state), type) : NULL;
  return declared ? declared->version : 1;
}

static int add_data(intake *in, script_state *state, const annal_event *event, annal_event *copy, size_t *at,
                    annal_error *error) {
  if (!state || event->position != 0) {
    if (copy->version == 0) copy->version = current_version(state, event->type);
    return add_as_it_is(in, NULL, event, at, error);
  }
  if (in->takes_older && script_is_older(script_app_of(state), event->type, event->version))
    return add_as_it_is(in, state, event, at, error);
  *at = in->text.size;
  size_t size = event->data_size ? event->data_size : strlen(event->data);
  return script_check_event(state, event->type, &copy->version, event->data, size, &in->text, error);
}

static int check_sizes(const intake *in, const annal_event *copy, const intake_span *span, annal_error *error) {
  if (copy->data_size + copy->metadata_size > LIMIT_EVENT_BYTES)
    return error_set(error, ANNAL_INVALID, "data", "the event has %zu bytes of data and metadata, at most %u are allowed",
                     copy->data_size + copy->metadata_size, LIMIT_EVENT_BYTES);
  if (in->text.failed) return error_memory(error);
  if (!in->identifiers) return ANNAL_OK;
  int code = declared_check(in->identifiers, in->text.bytes + span->data, copy->data_size, error);
  if (code) error_where_prefix(error, "data");
  return code;
}

int intake_add(intake *in, script_state *state, const annal_event *event, annal_error *error) {
  intake_span span = {0};
  annal_event copy = {.position = event->position, .created_at = event->created_at, .version = event->version};
  if (!event->type) return error_set(error, ANNAL_INVALID, "type", "the event has no type");
  if (!event->data) return error_set(error, ANNAL_INVALID, "data", "the event %s has no data", event->type);
  if (event->version < 0) return error_set(error, ANNAL_INVALID, "version", "the version %d is below 1", event->version);
  int code = check_name(event->type, LIMIT_TYPE_BYTES, "type", "the event type", error);
  if (!code && event->id) code = check_name(event->id, LIMIT_ID_BYTES, "id", "the event id", error);
  if (code) return code;
  span.type = add_text(in, event->type);
  if (event->id) span.id = add_text(in, event->id);
  code = add_data(in, state, event, &copy, &span.data, error);
  if (code) return code;
  copy.data_size = in->text.size - span.data;
  buf_add(&in->text, "", 1);
  if (event->metadata) {
    code = add_document(in, event->metadata, event->metadata_size, "metadata", &span.metadata, error);
    if (code) return code;
    copy.metadata_size = in->text.size - span.metadata;
    buf_add(&in->text, "", 1);
  }
  code = check_sizes(in, &copy, &span, error);
  if (code) return code;
  in->spans[in->count] = span;
  in->events[in->count] = copy;
  in->count++;
  return ANNAL_OK;
}

int intake_give_id(intake *in, size_t index, const char *id, annal_error *error) {
  in->spans[index].id = add_text(in, id);
  return in->text.failed ? error_memory(error) : ANNAL_OK;
}

int intake_finish(intake *in, annal_error *error) {
  if (in->text.failed) return error_memory(error);
  const char *text = in->text.bytes;
  for (size_t i = 0; i < in->count; i++) {
    const intake_span *span = &in->spans[i];
    in->events[i].type = text + span->type;
    in->events[i].data = text + span->data;
    in->events[i].id = span->id ? text + span->id : NULL;
    in->events[i].metadata = span->metadata ? text + span->metadata : NULL;
  }
  return ANNAL_OK;
}
