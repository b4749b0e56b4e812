/* Writing single values in canonical form. Role: json_canonical.c, json_encode.c, and whoever builds JSON text by hand. */
#include "json/json_write.h"

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

bool json_write_rest(base_buf *out, const char *text, size_t plain, size_t size) {
  const char *from = text + plain, *at = from, *end = text + size;
  out->size += 1 + plain;
  while (at < end) {
    unsigned char c = (unsigned char)*at;
    if (c >= 0x80) {
      size_t step = json_sequence(at, end);
      if (step == 0) return false;
      at += step;
    } else if (json_byte_stops(c)) {
      json_put_bytes(out, from, (size_t)(at - from));
      add_escape(out, c);
      from = ++at;
    }
    at = json_skip_plain(at, end);
  }
  json_put_bytes(out, from, (size_t)(at - from));
  json_put(out, '"');
  return true;
}

void json_add_string(base_buf *out, const char *text, size_t size) {
  json_write_string(out, text, size);
  json_close(out);
}

void json_add_double(base_buf *out, double value) {
  char text[JSON_DOUBLE_BYTES];
  buf_add(out, text, json_double_text(value, text));
}
