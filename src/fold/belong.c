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

/* The text of a string with escapes. */
static int unescape(base_buf *scratch, const char *value, size_t size, json_slice *text, annal_error *error) {
  annal_error ignored;
  json_scan scan;
  buf_clear(scratch);
  json_scan_init(&scan, value, size, 0, scratch, &ignored);
  scan.at++;
  int code = json_scan_string(&scan, text);
  return code || scratch->failed ? error_memory(error) : ANNAL_OK; /* canonical data have no other fault */
}

int fold_belong_by(const annal_event *event, const char *identifier, base_buf *scratch, const char **id, size_t *length,
                   annal_error *error) {
  const char *value;
  size_t size;
  *id = NULL;
  if (!json_find_member(event->data, event->data_size, identifier, &value, &size)) return ANNAL_OK;
  if (value[0] == '{' || value[0] == '[' || value[0] == 'n') return ANNAL_OK;
  json_slice text = {.bytes = value, .size = size};
  if (value[0] == '"') {
    text = (json_slice){.bytes = value + 1, .size = size - 2};
    int code = memchr(text.bytes, '\\', text.size) ? unescape(scratch, value, size, &text, error) : ANNAL_OK;
    if (code) return code;
  }
  if (text.size == 0 || text.size > LIMIT_VALUE_BYTES) return ANNAL_OK;
  *id = text.bytes;
  *length = text.size;
  return ANNAL_OK;
}

static int by_data(const annal_event *event, const char *identifier, base_buf *scratch, base_buf *ids, size_t *count,
                   annal_error *error) {
  const char *id;
  size_t length;
  int code = fold_belong_by(event, identifier, scratch, &id, &length, error);
  if (code || !id) return code;
  buf_add(ids, id, length);
  buf_char(ids, 0);
  *count = 1;
  return ids->failed ? error_memory(error) : ANNAL_OK;
}

int fold_belong(script_state *state, const script_projection *projection, const annal_event *event, base_buf *scratch,
                base_buf *ids, size_t *count, annal_error *error) {
  *count = 0;
  if (!has_type(projection->types, projection->type_count, event->type)) return ANNAL_OK;
  if (projection->has_streams) return script_event_ids(state, projection, event, ids, count, error);
  if (projection->by_count > 0) {
    const char *identifier = identifier_of(projection, event->type);
    return identifier ? by_data(event, identifier, scratch, ids, count, error) : ANNAL_OK;
  }
  buf_char(ids, 0);
  *count = 1;
  return ids->failed ? error_memory(error) : ANNAL_OK;
}
