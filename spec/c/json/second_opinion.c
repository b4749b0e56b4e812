/* What jansson thinks of a text; see second_opinion.h. */
#include "second_opinion.h"

#include <jansson.h>

static json_t *read_text(const char *text, size_t size) {
  json_error_t error;
  return json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
}

bool second_opinion_accepts(const char *text, size_t size) {
  json_t *value = read_text(text, size);
  json_decref(value);
  return value != NULL;
}

bool second_opinion_equal(const char *a, size_t a_size, const char *b, size_t b_size) {
  json_t *first = read_text(a, a_size), *second = read_text(b, b_size);
  bool equal = first && second && json_equal(first, second);
  json_decref(first);
  json_decref(second);
  return equal;
}
