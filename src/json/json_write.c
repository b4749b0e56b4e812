/* Writing single values in canonical form. Role: json_canonical.c, json_encode.c, and whoever builds JSON text by hand. */
#include "json/json_scan.h"

/* The escape of each byte below 0x20: its letter, or 'u' for \u00xx. */
static const char escapes[] = "uuuuuuuubtnufruuuuuuuuuuuuuuuuuu";

static void add_escape(base_buf *out, unsigned char c) {
  static const char hex[] = "0123456789abcdef";
  if (c >= 0x20) {
    char pair[2] = {'\\', (char)c};
    buf_add(out, pair, sizeof pair);
  } else if (escapes[c] != 'u') {
    char pair[2] = {'\\', escapes[c]};
    buf_add(out, pair, sizeof pair);
  } else {
    char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_add(out, code, sizeof code);
  }
}

/* From the first byte that is not plain: the opening quote and the text before `at` are written. */
static bool write_rest(base_buf *out, const char *at, const char *end) {
  const char *from = at;
  while (at < end) {
    unsigned char c = (unsigned char)*at;
    if (c >= 0x80) {
      size_t step = json_sequence(at, end);
      if (step == 0) return false;
      at += step;
    } else if (json_byte_stops(c)) {
      buf_add(out, from, (size_t)(at - from));
      add_escape(out, c);
      from = ++at;
    }
    at = json_skip_plain(at, end);
  }
  buf_add(out, from, (size_t)(at - from));
  buf_char(out, '"');
  return true;
}

bool json_write_string(base_buf *out, const char *text, size_t size) {
  if (!buf_reserve(out, size + 2)) return true; /* `failed` tells */
  const char *end = text + size;
  const char *at = json_skip_plain(text, end);
  size_t plain = (size_t)(at - text);
  char *to = out->bytes + out->size;
  *to++ = '"';
  if (plain) memcpy(to, text, plain);
  to += plain;
  out->size += plain + 1;
  if (at < end) return write_rest(out, at, end);
  to[0] = '"';
  to[1] = 0;
  out->size++;
  return true;
}

void json_add_string(base_buf *out, const char *text, size_t size) { json_write_string(out, text, size); }

void json_add_double(base_buf *out, double value) {
  char text[JSON_DOUBLE_BYTES];
  buf_add(out, text, json_double_text(value, text));
}
