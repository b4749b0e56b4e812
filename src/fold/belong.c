/* Instances that an event is for; see belong.h. */
#include "fold/belong.h"

#include "base/error.h"
#include "base/limits.h"
#include "json/json.h"
#include "json/json_scan.h"
#include <string.h>

static bool has_type(const char *const *types, size_t count, const char *type) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(types[i], type) == 0) return true;
  return false;
}

/* NULL: the event is for no instance. */
static const char *identifier_of(const script_projection *projection, const char *type) {
  for (size_t i = 0; i < projection->by_count; i++)
    if (has_type(projection->by[i].types, projection->by[i].type_count, type)) return projection->by[i].identifier;
  return NULL;
}

/* The text of a string with escapes; false when there is no memory. */
static bool unescape(base_buf *scratch, const char *value, size_t size, json_slice *text) {
  annal_error ignored;
  json_scan scan;
  buf_clear(scratch);
  json_scan_init(&scan, value, size, 0, scratch, &ignored);
  scan.at++;
  return json_scan_string(&scan, text) == 0 && !scratch->failed;
}

/* Of a string what is in it, of a number or boolean its JSON; null, what is no scalar, and what no instance can be called, is none. */
static int by_data(const annal_event *event, const char *identifier, base_buf *scratch, base_buf *ids, size_t *count,
                   annal_error *error) {
  const char *value;
  size_t size;
  if (!json_find_member(event->data, event->data_size, identifier, &value, &size)) return ANNAL_OK;
  if (value[0] == '{' || value[0] == '[' || value[0] == 'n') return ANNAL_OK;
  json_slice text = {.bytes = value, .size = size};
  if (value[0] == '"') {
    text = (json_slice){.bytes = value + 1, .size = size - 2};
    if (memchr(text.bytes, '\\', text.size) && !unescape(scratch, value, size, &text)) return error_memory(error);
  }
  if (text.size == 0 || text.size > LIMIT_VALUE_BYTES) return ANNAL_OK;
  buf_add(ids, text.bytes, text.size);
  buf_char(ids, 0);
  *count = 1;
  return ids->failed ? error_memory(error) : ANNAL_OK;
}

static int by_script(script_state *state, const script_projection *projection, const annal_event *event, base_buf *scratch,
                     base_buf *ids, size_t *count, annal_error *error) {
  bool older;
  annal_event upgraded = *event;
  buf_clear(scratch);
  int code = script_look_at_version(script_app_of(state), event, &older, error);
  if (!code && older) code = script_upcast(state, event, scratch, &upgraded, error);
  return code ? code : script_event_ids(state, projection, &upgraded, ids, count, error);
}

int fold_belong(script_state *state, const script_projection *projection, const annal_event *event, base_buf *scratch,
                base_buf *ids, size_t *count, annal_error *error) {
  *count = 0;
  if (!has_type(projection->types, projection->type_count, event->type)) return ANNAL_OK;
  if (projection->has_streams) return by_script(state, projection, event, scratch, ids, count, error);
  if (projection->by_count > 0) {
    const char *identifier = identifier_of(projection, event->type);
    return identifier ? by_data(event, identifier, scratch, ids, count, error) : ANNAL_OK;
  }
  buf_char(ids, 0);
  *count = 1;
  return ids->failed ? error_memory(error) : ANNAL_OK;
}
