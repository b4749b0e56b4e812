/* Queries of rows, before any SQL: what is refused, the ends of ranges, the row to go on after. Role: store_query_rows over a
 * backend. */
#include "store/backend.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

/* ---- Ranges ------------------------------------------------------------------------------------------------------------ */

static bool is_end(const order_place *place) { return place->kind == ORDER_NUMBER || place->kind == ORDER_TEXT; }

/* One end, given as JSON. */
static int read_end(store *s, const annal_range *range, const char *json, const char *which, order_place *place,
                    annal_error *error) {
  char where[LIMIT_NAME_BYTES + 16], shown[96];
  base_buf canonical;
  snprintf(where, sizeof where, "data.%s.%s", range->name, which);
  buf_init(&canonical, s->env);
  int code = json_canonical(json, strlen(json), JSON_NO_NUL, &canonical, error);
  if (code == ANNAL_INVALID)
    code = error_set(error, ANNAL_MISUSE, where, "%s is no JSON: %.400s", text_show(json, shown), error->message);
  if (!code) code = order_place_init(place, s->env, range->name, canonical.bytes, canonical.size, error);
  if (!code && !is_end(place))
    code =
        error_set(error, ANNAL_MISUSE, where, "a range is of numbers or of strings, and %s is neither", text_show(json, shown));
  if (!code && place->text.size > LIMIT_VALUE_BYTES)
    code = error_set(error, ANNAL_INVALID, where, "%s has %zu bytes, at most %d are allowed", text_show(json, shown),
                     place->text.size, LIMIT_VALUE_BYTES);
  buf_free(&canonical);
  return code;
}

static int read_range(store *s, const annal_range *range, order_range *out, annal_error *error) {
  char where[LIMIT_NAME_BYTES + 16], shown[96];
  if (!range->name || !text_is_name(range->name))
    return error_set(error, ANNAL_MISUSE, "data",
                     "\"%s\" is no name of a field: letters, digits and _, no digit first, at most %d bytes",
                     range->name ? text_show(range->name, shown) : "", LIMIT_NAME_BYTES);
  snprintf(where, sizeof where, "data.%s", range->name);
  if (!range->min && !range->max) return error_set(error, ANNAL_MISUSE, where, "a range needs min or max");
  out->field = range->name;
  out->has_min = range->min != NULL;
  out->has_max = range->max != NULL;
  int code = range->min ? read_end(s, range, range->min, "min", &out->min, error) : ANNAL_OK;
  if (!code && range->max) code = read_end(s, range, range->max, "max", &out->max, error);
  if (!code && range->min && range->max && out->min.kind != out->max.kind)
    code = error_set(error, ANNAL_MISUSE, where, "min and max are a number and a string: a range is of one kind");
  return code;
}

static void free_ranges(store *s, order_range *ranges, size_t count) {
  for (size_t i = 0; i < count && ranges; i++) {
    order_place_free(&ranges[i].min);
    order_place_free(&ranges[i].max);
  }
  base_free(s->env, ranges);
}

/* ---- The row to go on after -------------------------------------------------------------------------------------------- */

typedef struct place_reader {
  store *s;
  const char *field; /* NULL: the row has only to be there */
  order_place place;
  bool found;
  int code;
  annal_error *error;
} place_reader;

static int read_place(place_reader *r, const char *data, size_t size) {
  const char *value = NULL;
  size_t value_size = 0;
  if (!json_find_member(data, size, r->field, &value, &value_size)) value = NULL;
  return order_place_init(&r->place, r->s->env, r->field, value, value_size, r->error);
}

static int take_place(void *context, const store_row *row) {
  place_reader *r = context;
  char shown[96];
  annal_error fault;
  r->found = true;
  if (!r->field) return 1;
  if (json_is_tidy(row->data, row->data_size)) {
    r->code = read_place(r, row->data, row->data_size);
    return 1;
  }
  base_buf canonical; /* another program has written it, or keys have escapes */
  buf_init(&canonical, r->s->env);
  int code = json_canonical(row->data, row->data_size, 0, &canonical, &fault);
  if (!code) r->code = read_place(r, canonical.bytes, canonical.size);
  else if (code != ANNAL_INVALID) r->code = error_memory(r->error);
  else
    r->code =
        error_set(r->error, ANNAL_CORRUPT, fault.where, "the row \"%s\": data: %.800s", text_show(row->id, shown), fault.message);
  buf_free(&canonical);
  return 1;
}

/* Where the row that `after` names stands now. */
static int find_place(store *s, const store_query *query, place_reader *r, annal_error *error) {
  char shown[96];
  store_query one = *query;
  one.id = query->after;
  one.data_count = one.range_count = 0;
  one.order = one.after = NULL;
  one.descending = false;
  one.limit = 1;
  store_sought sought = {.query = &one};
  int code = text_check(query->after, 0, LIMIT_VALUE_BYTES, "the id to go on after", error);
  if (!code) code = s->backend->query_rows(s, &sought, take_place, r, error);
  if (!code) code = r->code;
  if (!code && !r->found)
    code = error_set(error, ANNAL_NOT_FOUND, "after", "there is no row \"%s\" of %s to go on after",
                     text_show(query->after, shown), query->type);
  return code;
}

/* ---- Queries ----------------------------------------------------------------------------------------------------------- */

static bool is_declared(const store *s, const char *field) {
  for (size_t i = 0; i < s->view_fields.count; i++)
    if (strcmp(s->view_fields.names[i], field) == 0) return true;
  return false;
}

static int check(const store_query *query, annal_error *error) {
  char shown[96];
  int code = text_check(query->type, 1, LIMIT_TYPE_BYTES, "type", error);
  if (!code) code = store_check_fields(query->data, query->data_count, "data", error);
  if (code) return code;
  if (query->order && !text_is_name(query->order))
    return error_set(error, ANNAL_MISUSE, "order",
                     "\"%s\" is no name of a field: letters, digits and _, no digit first, at most %d bytes",
                     text_show(query->order, shown), LIMIT_NAME_BYTES);
  if (query->descending && !query->order) return error_set(error, ANNAL_MISUSE, "order", "descending needs a field to order by");
  return ANNAL_OK;
}

/* Which indexes may help. */
static void choose_indexes(const store *s, store_sought *sought) {
  const store_query *query = sought->query;
  for (size_t i = 0; i < query->data_count; i++) sought->by_value |= is_declared(s, query->data[i].name);
  sought->along_order = query->order && query->limit > 0 && is_declared(s, query->order);
  sought->by_order = sought->along_order;
  for (size_t i = 0; i < query->range_count; i++) sought->by_order |= is_declared(s, query->ranges[i].name);
}

int store_query_rows(store *s, const store_query *query, store_each_row *each, void *context, annal_error *error) {
  int code = store_check_own(s, error);
  if (!code) code = check(query, error);
  if (code) return code;
  order_range *ranges = NULL;
  if (query->range_count) {
    ranges = base_calloc(s->env, query->range_count, sizeof *ranges);
    if (!ranges) return error_memory(error);
  }
  place_reader r = {.s = s, .field = query->order, .error = error};
  store_sought sought = {.query = query, .ranges = ranges, .after = &r.place};
  for (size_t i = 0; i < query->range_count && !code; i++) code = read_range(s, &query->ranges[i], &ranges[i], error);
  if (!code) choose_indexes(s, &sought);
  if (!code && query->after) code = find_place(s, query, &r, error);
  if (!code) code = s->backend->query_rows(s, &sought, each, context, error);
  order_place_free(&r.place);
  free_ranges(s, ranges, query->range_count);
  return code;
}
