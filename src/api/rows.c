/* Rows of projections: those saved by hand, and queries over all of them; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "script/near.h"
#include "json/json_write.h"
#include <string.h>

static int check_row(annal_store *handle, const char *type, const char *id, const char *data, const char *latest_event_id,
                     annal_error *error) {
  if (!type || !id || !data || !latest_event_id)
    return error_set(error, ANNAL_MISUSE, NULL, "a row needs type, id, data and latest_event_id");
  int code = text_check(type, 1, LIMIT_TYPE_BYTES, "the type of the row", error);
  if (!code) code = text_check(id, 1, LIMIT_VALUE_BYTES, "the id of the row", error);
  if (!code) code = text_check(latest_event_id, 1, LIMIT_ID_BYTES, "latest_event_id", error);
  if (code) return code;
  script_app *app = handle_app(handle);
  const script_projection *projection = app ? script_find_projection(app, type) : NULL;
  if (projection)
    code = error_set(error, ANNAL_MISUSE, NULL,
                     "%s is a projection of the app (%s): its rows are saved by its own instances, not by hand", type,
                     projection->where);
  script_release(app);
  return code;
}

static int check_view(annal_store *handle, const base_buf *view, annal_error *error) {
  if (view->size > LIMIT_EVENT_BYTES)
    return error_set(error, ANNAL_INVALID, "data", "the row has %zu bytes of data, at most %u are allowed", view->size,
                     LIMIT_EVENT_BYTES);
  int code = declared_check(store_view_fields(handle->store), view->bytes, view->size, error);
  if (code) error_where_prefix(error, "data");
  return code;
}

/* Stores the row, or stages it in a transaction. */
static int save_row(annal_store *handle, store_transaction *or_null, const char *type, const char *id, const char *data,
                    size_t size, const char *latest_event_id, store_status *status, annal_error *error) {
  int code = check_row(handle, type, id, data, latest_event_id, error);
  if (code) return code;
  base_buf view;
  buf_init(&view, &handle->env);
  code = json_canonical(data, size ? size : strlen(data), JSON_OBJECT | JSON_NO_NUL, &view, error);
  if (code == ANNAL_INVALID) error_where_prefix(error, "data");
  if (!code) code = check_view(handle, &view, error);
  int64_t position = 0;
  if (!code) code = store_position_of(handle->store, latest_event_id, &position, error);
  if (!code) {
    store_row row = {.type = type,
                     .fingerprint = "",
                     .id = id,
                     .data = view.bytes,
                     .data_size = view.size,
                     .position = position,
                     .latest_event_id = latest_event_id};
    code = or_null ? store_transaction_stage_row(or_null, &row, error) : store_put_rows(handle->store, &row, 1, status, error);
  }
  buf_free(&view);
  return code;
}

int handle_save_row(annal_store *handle, const char *type, const char *id, const char *data, size_t size,
                    const char *latest_event_id, store_status *status, annal_error *error) {
  return save_row(handle, NULL, type, id, data, size, latest_event_id, status, error);
}

int handle_stage_row(annal_store *handle, store_transaction *t, const char *type, const char *id, const char *data, size_t size,
                     const char *latest_event_id, annal_error *error) {
  return save_row(handle, t, type, id, data, size, latest_event_id, NULL, error);
}

static int note_any(void *context, const store_row *row) {
  (void)row;
  *(bool *)context = true;
  return 1;
}

static int fail_unknown_type(const script_app *app, const char *type, annal_error *error) {
  char shown[96];
  size_t count;
  const char *near = NULL;
  const script_projection *projections = script_projections(app, &count);
  for (size_t i = 0; i < count && !near; i++)
    if (near_name(type, projections[i].name)) near = projections[i].name;
  text_show(type, shown);
  return error_set(error, ANNAL_NOT_FOUND, "type",
                   "the app declares no projection \"%s\", and no rows of it were saved by hand%s%s%s", shown,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Nothing was found of a type that the app does not declare: that is an answer only where there are rows saved by hand. */
static int check_unknown_type(annal_store *handle, const script_app *app, const store_query *asked, annal_error *error) {
  bool any = false;
  store_query whole = {.type = asked->type, .fingerprint = "", .limit = 1};
  bool narrowed = asked->data_count > 0 || asked->range_count > 0 || asked->after;
  int code = narrowed ? store_query_rows(handle->store, &whole, note_any, &any, error) : ANNAL_OK;
  if (code || any) return code;
  return fail_unknown_type(app, asked->type, error);
}

/* Rows on their way to the caller's callback. */
typedef struct row_reader {
  store_each_row *each;
  void *context;
  base_buf data;           /* of the row at hand, where it had to be put in order */
  const handle_kept *kept; /* whose set is read; NULL: no projection that is kept */
  bool any;                /* there was a row */
  int code;
  annal_error *error;
} row_reader;

/* What is stored may have been changed by another program, and what is no JSON must not be handed on as if it were. */
static int check_data(row_reader *r, store_row *row) {
  char shown[96];
  annal_error fault;
  if (json_is_tidy(row->data, row->data_size)) return ANNAL_OK;
  buf_clear(&r->data);
  int code = json_canonical(row->data, row->data_size, 0, &r->data, &fault);
  row->data = r->data.bytes;
  row->data_size = r->data.size;
  if (code == ANNAL_INVALID)
    return error_set(r->error, ANNAL_CORRUPT, fault.where, "the row of %s \"%s\": data: %.800s", row->type,
                     text_show(row->id, shown), fault.message);
  return code || r->data.failed ? error_memory(r->error) : ANNAL_OK;
}

static int take_row(void *context, const store_row *row) {
  row_reader *r = context;
  store_row checked = *row;
  r->any = true;
  r->code = check_data(r, &checked);
  if (r->kept) checked.stale |= r->kept->stale;
  return r->code ? 1 : r->each(r->context, &checked);
}

/* Whether it has a set that is read as a whole. One that is kept inline does without a worker where it was declared before its first
 * event: every save has written its rows. */
static int has_set(annal_store *handle, const annal_query *given, const script_projection *projection, bool *has,
                   annal_error *error) {
  store_kept kept;
  *has = projection && projection->keep != SCRIPT_KEEP_LIVE;
  if (!*has || projection->keep == SCRIPT_KEEP_BACKGROUND || given->at_least != 0 || given->timeout != 0) return ANNAL_OK;
  int code = store_kept_read(handle->store, projection->name, &kept, error);
  *has = !code && kept.served[0];
  return code;
}

/* Rows of a projection that is kept are those of the set that is served. Others have no checkpoint to wait for. */
static int find_set(annal_store *handle, const annal_query *given, const script_projection *projection, handle_kept *kept,
                    row_reader *reader, store_query *asked, annal_error *error) {
  *kept = (handle_kept){0};
  bool has;
  int code = has_set(handle, given, projection, &has, error);
  if (code) return code;
  if (!has) {
    if (given->at_least == 0 && given->timeout == 0) return ANNAL_OK;
    return error_set(error, ANNAL_MISUSE, given->at_least ? "at_least" : "timeout",
                     "%s is not kept in the background, so there is nothing to wait for", given->type);
  }
  if (given->at_least < 0) return error_set(error, ANNAL_MISUSE, "at_least", "positions begin at 1");
  code = handle_kept_open(handle, projection, given->at_least, given->timeout, kept, error);
  asked->fingerprint = kept->served;
  asked->kept_set = true;
  reader->kept = kept;
  return code;
}

int handle_query(annal_store *handle, const annal_query *query, const char *id_or_null, store_each_row *each, void *context,
                 annal_error *error) {
  annal_query given;
  int code = handle_sized(query, &given, sizeof given, "annal_query", error);
  if (code) return code;
  if (!given.type || !*given.type) return error_set(error, ANNAL_MISUSE, NULL, "a query needs the type of the rows");
  script_app *app = handle_app(handle);
  const script_projection *projection = app ? script_find_projection(app, given.type) : NULL;
  row_reader reader = {.each = each, .context = context, .error = error};
  store_query asked = {.type = given.type,
                       .fingerprint = projection ? projection->fingerprint : "",
                       .id = id_or_null,
                       .data = given.data,
                       .data_count = given.data_count,
                       .ranges = given.ranges,
                       .range_count = given.range_count,
                       .order = given.order,
                       .descending = given.descending,
                       .limit = given.limit,
                       .after = given.after};
  buf_init(&reader.data, &handle->env);
  handle_kept kept;
  code = find_set(handle, &given, projection, &kept, &reader, &asked, error);
  bool empty = reader.kept && !kept.served[0];
  if (!code && !empty) code = store_query_rows(handle->store, &asked, take_row, &reader, error);
  if (!code) code = reader.code;
  buf_free(&reader.data);
  if (!code && !reader.any && app && !projection && !id_or_null) code = check_unknown_type(handle, app, &asked, error);
  script_release(app);
  return code;
}

static void add_id(base_buf *out, const char *id) { json_add_string(out, id, strlen(id)); }

void handle_add_row(base_buf *out, const store_row *row) {
  char time[28];
  annal_time_text(row->updated_at, time);
  buf_reserve(out, row->data_size + 512); /* most ids are short: then the rest is only written down */
  json_put_word(out, "{\"data\":");
  json_put_bytes(out, row->data, row->data_size);
  json_put_word(out, ",\"id\":");
  add_id(out, row->id);
  json_put_word(out, ",\"latest_event_id\":");
  add_id(out, row->latest_event_id);
  if (row->parked) {
    json_put_word(out, ",\"parked\":{\"error\":");
    json_add_string(out, row->parked, strlen(row->parked));
    json_put_word(out, ",\"event_id\":");
    add_id(out, row->parked_event_id);
    json_put_word(out, "}");
  }
  json_put_word(out, ",\"position\":");
  json_write_int(out, row->position);
  json_put_word(out, ",\"stale\":");
  if (row->stale) json_put_word(out, "true");
  else json_put_word(out, "false");
  json_put_word(out, ",\"updated_at\":\"");
  json_put_bytes(out, time, sizeof time - 1);
  json_put_word(out, "\"}");
  json_close(out);
}
