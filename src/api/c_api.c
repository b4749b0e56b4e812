/* The C interface, annal.h, over the handle. Role: checks that pointers are there, turns results into texts, and nothing more. */
#include "annal.h"

#include "api/reader.h"
#include "base/error.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

/* The caller may not want to know what was wrong; everybody below does. */
#define OWN_ERROR(given)                                                                                                         \
  annal_error unwanted;                                                                                                          \
  if (!(given)) (given) = &unwanted;                                                                                             \
  error_clear(given)

/* A call that succeeded has no error, whatever went wrong before it was tried again. */
static int ended(int code, annal_error *error) {
  if (!code) error_clear(error);
  return code;
}

static int missing(const char *what, annal_error *error) { return error_set(error, ANNAL_MISUSE, NULL, "%s is NULL", what); }

int annal_open(const char *location, const annal_options *or_null, annal_store **out, annal_error *error) {
  OWN_ERROR(error);
  if (!out) return missing("the place for the store", error);
  annal_store *opened;
  int code = handle_open(location, or_null, &opened, error);
  if (!code) *out = opened;
  return ended(code, error);
}

void annal_close(annal_store *handle) { handle_close(handle); }

int annal_load(annal_store *handle, const char *directory, annal_error *error) {
  OWN_ERROR(error);
  return handle ? ended(handle_load(handle, directory, error), error) : missing("the store", error);
}

int annal_reload(annal_store *handle, annal_error *error) {
  OWN_ERROR(error);
  bool changed;
  return handle ? ended(handle_reload(handle, &changed, error), error) : missing("the store", error);
}

int annal_run_once(annal_store *handle, double seconds, annal_error *error) {
  OWN_ERROR(error);
  return handle ? ended(handle_run_once(handle, seconds, NULL, error), error) : missing("the store", error);
}

void annal_interrupt(annal_store *handle) {
  if (handle) handle_interrupt(handle);
}

/* ---- Events ------------------------------------------------------------------------------------------------------------ */

/* The events that were stored, or the ids of those of which nobody knows. */
static void take_result(base_buf *text, const handle_batch *batch, int code, annal_text *result, const annal_error *error) {
  if (code && !error->in_doubt) return;
  if (code) handle_add_ids(text, batch);
  else handle_add_events(text, batch);
  buf_take(text, result);
}

static int save_batch(annal_store *handle, handle_batch *batch, const annal_condition *or_null, annal_text *stored_or_null,
                      annal_error *error) {
  base_buf text;
  buf_init(&text, &handle->env);
  int code = stored_or_null ? handle_reserve_events(&text, batch, error) : ANNAL_OK;
  if (!code) code = handle_store(handle, batch, or_null, error);
  if (stored_or_null) take_result(&text, batch, code, stored_or_null, error);
  buf_free(&text);
  return code;
}

/* Whoever sets what the store gives expects it to be kept. */
static int check_given(const annal_event *events, size_t count, annal_error *error) {
  for (size_t i = 0; events && i < count; i++) {
    const char *what = events[i].position ? "position" : events[i].created_at ? "created_at" : NULL;
    if (!what) continue;
    char where[64];
    if (count > 1) snprintf(where, sizeof where, "events[%zu].%s", i + 1, what);
    return error_set(error, ANNAL_MISUSE, count > 1 ? where : what, "%s is given by the store, not by who saves: it must be 0",
                     what);
  }
  return ANNAL_OK;
}

int annal_save(annal_store *handle, const annal_event *events, size_t count, const annal_condition *or_null,
               annal_text *stored_or_null, annal_error *error) {
  OWN_ERROR(error);
  if (stored_or_null) *stored_or_null = (annal_text){0};
  if (!handle) return missing("the store", error);
  handle_batch batch;
  int code = check_given(events, count, error);
  if (!code) code = handle_prepare(handle, events, count, &batch, error);
  if (code) return code;
  code = save_batch(handle, &batch, or_null, stored_or_null, error);
  handle_free_batch(&batch);
  return ended(code, error);
}

int annal_call(annal_store *handle, const char *command, const char *args, const annal_call_options *or_null,
               annal_text *stored_or_null, annal_error *error) {
  OWN_ERROR(error);
  annal_call_options options = {.size = sizeof options};
  if (stored_or_null) *stored_or_null = (annal_text){0};
  if (!handle) return missing("the store", error);
  int code = or_null ? handle_sized(or_null, &options, sizeof options, "annal_call_options", error) : ANNAL_OK;
  if (code) return code;
  base_buf text;
  handle_batch stored;
  buf_init(&text, &handle->env);
  if (!args) args = "{}";
  const char *metadata = options.metadata;
  handle_request request = {.command = command,
                            .args = args,
                            .args_size = strlen(args),
                            .id = options.id,
                            .metadata = metadata,
                            .metadata_size = !metadata || options.metadata_size ? options.metadata_size : strlen(metadata),
                            .room = stored_or_null ? &text : NULL};
  code = handle_call(handle, &request, &stored, error);
  if (stored_or_null) take_result(&text, &stored, code, stored_or_null, error);
  handle_free_batch(&stored);
  buf_free(&text);
  return ended(code, error);
}

/* Until there is nothing more, or the callback has had enough. */
static int read_events(handle_reader *reader, double idle_seconds, annal_each *each, void *context, annal_error *error) {
  for (;;) {
    const annal_event *event;
    int code = handle_reader_next(reader, idle_seconds, &event, error);
    if (code || !event || each(context, event)) return code;
  }
}

int annal_read(annal_store *handle, const annal_selection *selection, annal_each *each, void *context, annal_error *error) {
  OWN_ERROR(error);
  if (!handle) return missing("the store", error);
  if (!selection || !each) return missing(selection ? "the callback" : "the selection", error);
  annal_selection given;
  handle_reader *reader = NULL;
  int code = handle_sized(selection, &given, sizeof given, "annal_selection", error);
  if (!code) code = handle_read(handle, &given, &reader, error);
  if (!code) code = read_events(reader, 0, each, context, error);
  handle_reader_close(reader);
  return ended(code, error);
}

int annal_follow(annal_store *handle, const annal_selection *selection, double idle_seconds, annal_each *each, void *context,
                 annal_error *error) {
  OWN_ERROR(error);
  if (!handle) return missing("the store", error);
  if (!selection || !each) return missing(selection ? "the callback" : "the selection", error);
  annal_selection given;
  handle_reader *reader = NULL;
  int code = handle_sized(selection, &given, sizeof given, "annal_selection", error);
  if (!code) code = handle_follow(handle, &given, &reader, error);
  if (!code) code = read_events(reader, idle_seconds > 0 ? idle_seconds : -1, each, context, error);
  handle_reader_close(reader);
  return ended(code, error);
}

/* ---- Projections ------------------------------------------------------------------------------------------------------- */

static int check_view_options(const annal_view_options *options, annal_error *error) {
  if (!options->as_of && (options->at || options->at_time))
    return error_set(error, ANNAL_MISUSE, options->at ? "at" : "at_time", "a view as of the past says as_of as well");
  if (options->as_of && options->save)
    return error_set(error, ANNAL_MISUSE, "save", "a view as of the past is not saved: a row only moves forward");
  return ANNAL_OK;
}

int annal_view(annal_store *handle, const char *projection, const char *id, const annal_view_options *or_null, annal_text *view,
               annal_error *error) {
  OWN_ERROR(error);
  if (!view) return missing("the place for the view", error);
  *view = (annal_text){0};
  if (!handle) return missing("the store", error);
  annal_view_options options = {.size = sizeof options};
  fold_instance *instance;
  store_head_info past;
  int code = or_null ? handle_sized(or_null, &options, sizeof options, "annal_view_options", error) : ANNAL_OK;
  if (!code) code = check_view_options(&options, error);
  if (!code && options.as_of) code = handle_past(handle, &options, &past, error);
  if (!code) code = handle_projection(handle, projection, id, !options.ignore_saved, &instance, error);
  if (code) return code;
  base_buf text;
  buf_init(&text, &handle->env);
  if (options.as_of) code = fold_refresh_at(instance, &past, error);
  if (!code) code = fold_view(instance, &text, error);
  if (!code && options.save) code = fold_save(instance, NULL, error);
  if (!code && !buf_take(&text, view)) code = error_memory(error);
  buf_free(&text);
  fold_close(instance);
  return ended(code, error);
}

static int add_row(void *context, const store_row *row) {
  base_buf *rows = context;
  if (rows->size > 1) buf_char(rows, ',');
  handle_add_row(rows, row);
  return rows->failed;
}

int annal_query_projections(annal_store *handle, const annal_query *query, annal_text *rows, annal_error *error) {
  OWN_ERROR(error);
  if (!rows) return missing("the place for the rows", error);
  *rows = (annal_text){0};
  if (!handle) return missing("the store", error);
  if (!query) return missing("the query", error);
  base_buf text;
  buf_init(&text, &handle->env);
  buf_char(&text, '[');
  int code = handle_query(handle, query, NULL, add_row, &text, error);
  buf_char(&text, ']');
  if (!code && !buf_take(&text, rows)) code = error_memory(error);
  buf_free(&text);
  return ended(code, error);
}

int annal_rebuild(annal_store *handle, const annal_rebuild_options *or_null, annal_tell *tell_or_null, void *context,
                  annal_error *error) {
  OWN_ERROR(error);
  annal_rebuild_options options = {.size = sizeof options};
  if (!handle) return missing("the store", error);
  int code = or_null ? handle_sized(or_null, &options, sizeof options, "annal_rebuild_options", error) : ANNAL_OK;
  if (!code) code = handle_rebuild(handle, &options, tell_or_null, context, error);
  return ended(code, error);
}

int annal_stats(annal_store *handle, annal_text *stats, annal_error *error) {
  OWN_ERROR(error);
  if (!stats) return missing("the place for the figures", error);
  *stats = (annal_text){0};
  if (!handle) return missing("the store", error);
  base_buf text;
  buf_init(&text, &handle->env);
  int code = handle_stats(handle, &text, error);
  if (!code && !buf_take(&text, stats)) code = error_memory(error);
  buf_free(&text);
  return ended(code, error);
}

void annal_text_free(annal_store *handle, annal_text *text) {
  if (!handle || !text) return;
  base_free(&handle->env, (void *)(uintptr_t)text->bytes);
  *text = (annal_text){0};
}
