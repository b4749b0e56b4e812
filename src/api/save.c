/* Saving events: from what a caller gave to what a store takes; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "base/text.h"
#include "json/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* An id given twice would make the second event a retry of the first, and lose it. */
static int check_ids(const base_env *env, const annal_event *events, size_t count, annal_error *error) {
  char shown[96];
  size_t given = 0;
  const char **ids = base_alloc(env, count * sizeof *ids);
  if (!ids) return error_memory(error);
  for (size_t i = 0; i < count; i++)
    if (events[i].id) ids[given++] = events[i].id;
  qsort(ids, given, sizeof *ids, compare_texts);
  int code = ANNAL_OK;
  for (size_t i = 1; i < given && !code; i++)
    if (strcmp(ids[i - 1], ids[i]) == 0)
      code =
          error_set(error, ANNAL_DUPLICATE, NULL, "the id \"%s\" is given to two events of this save", text_show(ids[i], shown));
  base_free(env, ids);
  return code;
}

static int give_ids(annal_store *handle, const annal_event *events, handle_batch *batch, annal_error *error) {
  char id[ULID_TEXT_BYTES];
  int code = ANNAL_OK;
  batch->ids_are_new = true;
  for (size_t i = 0; i < batch->count && !code; i++) {
    batch->ids_are_new &= !events[i].id;
    if (events[i].id) continue;
    code = ulid_next(&handle->ulid, &handle->env, id, error);
    if (!code) code = intake_give_id(&batch->intake, i, id, error);
  }
  return code;
}

static int take_in(script_state *state, const annal_event *events, size_t count, intake *in, annal_error *error) {
  int code = ANNAL_OK;
  for (size_t i = 0; i < count && !code; i++) {
    annal_event event = events[i];
    event.position = event.created_at = 0; /* of an event that was read before: it is saved anew, or found by its id */
    code = intake_add(in, state, &event, error);
    if (code && count > 1) {
      char prefix[48];
      snprintf(prefix, sizeof prefix, "events[%zu]", i + 1);
      error_where_prefix(error, prefix);
    }
  }
  return code;
}

static int prepare(annal_store *handle, script_app *app, const annal_event *events, size_t count, bool takes_older,
                   handle_batch *batch, annal_error *error) {
  *batch = (handle_batch){.env = &handle->env, .app = app ? script_retain(app) : NULL};
  if (count == 0 || !events) {
    handle_free_batch(batch);
    return error_set(error, ANNAL_MISUSE, NULL, "there are no events to save");
  }
  script_state *state = NULL;
  int code = intake_init(&batch->intake, &handle->env, count, error);
  batch->intake.identifiers = store_event_fields(handle->store);
  batch->intake.takes_older = takes_older;
  if (!code && app) code = script_acquire(app, &state, error);
  if (!code) code = take_in(state, events, count, &batch->intake, error);
  script_give_back(state);
  batch->count = count;
  if (!code && count > 1) code = check_ids(&handle->env, events, count, error);
  if (!code) code = give_ids(handle, events, batch, error);
  if (!code) code = intake_finish(&batch->intake, error);
  batch->events = batch->intake.events;
  if (code) handle_free_batch(batch);
  return code;
}

int handle_prepare_by(annal_store *handle, script_app *app, const annal_event *events, size_t count, handle_batch *batch,
                      annal_error *error) {
  return prepare(handle, app, events, count, false, batch, error);
}

int handle_prepare(annal_store *handle, const annal_event *events, size_t count, handle_batch *batch, annal_error *error) {
  script_app *app = handle_app(handle);
  int code = prepare(handle, app, events, count, false, batch, error);
  script_release(app);
  return code;
}

int handle_prepare_import(annal_store *handle, const annal_event *events, size_t count, handle_batch *batch, annal_error *error) {
  script_app *app = handle_app(handle);
  int code = prepare(handle, app, events, count, true, batch, error);
  script_release(app);
  return code;
}

int handle_store(annal_store *handle, handle_batch *batch, const annal_condition *or_null, annal_error *error) {
  annal_condition condition;
  int code = or_null ? handle_sized(or_null, &condition, sizeof condition, "annal_condition", error) : ANNAL_OK;
  if (code) return code;
  store_save save = {.events = batch->events,
                     .count = batch->count,
                     .condition = or_null ? &condition : NULL,
                     .ids_are_new = batch->ids_are_new};
  batch->ids_are_new = false; /* from now on they may be stored */
  code = handle_append(handle, batch->app, &save, error);
  batch->was_stored = save.was_stored;
  return code;
}

void handle_free_batch(handle_batch *batch) {
  intake_free(&batch->intake);
  script_release(batch->app);
  *batch = (handle_batch){0};
}

int handle_reserve_events(base_buf *out, const handle_batch *batch, annal_error *error) {
  size_t size = 16;
  for (size_t i = 0; i < batch->count; i++) {
    const annal_event *event = &batch->events[i];
    /* Ids and types may have to be escaped. */
    size += event->data_size + event->metadata_size + 6 * (strlen(event->id) + strlen(event->type)) + 256;
  }
  return buf_reserve(out, size) ? ANNAL_OK : error_memory(error);
}

void handle_add_events(base_buf *out, const handle_batch *batch) {
  buf_char(out, '[');
  for (size_t i = 0; i < batch->count; i++) {
    if (i > 0) buf_char(out, ',');
    json_add_event(out, &batch->events[i]);
  }
  buf_char(out, ']');
}

void handle_add_ids(base_buf *out, const handle_batch *batch) {
  buf_text(out, "{\"ids\":[");
  for (size_t i = 0; i < batch->count; i++) {
    if (i > 0) buf_char(out, ',');
    json_add_string(out, batch->events[i].id, strlen(batch->events[i].id));
  }
  buf_text(out, "]}");
}
