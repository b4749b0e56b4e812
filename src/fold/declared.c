/* The limit on declared fields; see declared.h. Canonical JSON has no white space and was checked before, so one pass that
 * only tracks strings and nesting finds every top-level field. */
#include "fold/declared.h"

#include "base/error.h"
#include "base/limits.h"
#include <string.h>

/* The end of the string that begins at `at` (on its quote): the byte after the closing quote. *length gets the bytes of its text. */
static size_t skip_string(const char *json, size_t size, size_t at, size_t *length) {
  size_t bytes = 0;
  for (at++; at < size && json[at] != '"'; bytes++) {
    if (json[at] != '\\') {
      at++;
    } else {
      at += json[at + 1] == 'u' ? 6 : 2; /* canonical form escapes single-byte characters only */
    }
  }
  *length = bytes;
  return at + 1;
}

/* The end of the value that begins at `at`. *length gets the bytes of the text that an index would hold. */
static size_t skip_value(const char *json, size_t size, size_t at, size_t *length) {
  if (json[at] == '"') return skip_string(json, size, at, length);
  size_t start = at, depth = 0, ignored;
  while (at < size) {
    char c = json[at];
    if (depth == 0 && (c == ',' || c == '}')) break;
    if (c == '"') {
      at = skip_string(json, size, at, &ignored);
      continue;
    }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') depth--;
    at++;
  }
  *length = at - start;
  return at;
}

static const char *declared_name(const store_fields *fields, const char *key, size_t size) {
  for (size_t i = 0; i < fields->count; i++)
    if (strncmp(fields->names[i], key, size) == 0 && fields->names[i][size] == 0) return fields->names[i];
  return NULL;
}

int declared_check(const store_fields *fields, const char *json, size_t size, annal_error *error) {
  if (fields->count == 0 || size < 2 || json[0] != '{') return ANNAL_OK;
  for (size_t at = 1; at < size && json[at] == '"';) {
    size_t key = at + 1, ignored, length;
    at = skip_string(json, size, at, &ignored);
    const char *name = declared_name(fields, json + key, at - 1 - key);
    at = skip_value(json, size, at + 1, &length);
    if (name && length > LIMIT_VALUE_BYTES)
      return error_set(error, ANNAL_INVALID, name, "the indexed field %s has %zu bytes, at most %d are allowed", name, length,
                       LIMIT_VALUE_BYTES);
    if (at < size && json[at] == ',') at++;
  }
  return ANNAL_OK;
}
