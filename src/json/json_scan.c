/* The scanner's slower paths: escapes, UTF-8, numbers with a point or an exponent, and errors; see json_scan.h. */
#include "json/json_scan.h"

#include "base/text.h"
#include <stdio.h>

/* ---- Errors ------------------------------------------------------------------------------------------------------------ */

#define STEP_BYTES (JSON_PATH_BYTES + 16)

static bool is_name(const char *key, size_t size) {
  for (size_t i = 0; i < size; i++) {
    char c = key[i];
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    if (!letter && !(i > 0 && c >= '0' && c <= '9')) return false;
  }
  return size > 0;
}

/* Writes `key` as it would stand between the quotes of a JSON string; answers the bytes written, at most `room`, whole
 * characters only. What is not UTF-8 becomes '?'. */
static size_t quote_key(const char *key, size_t size, bool escaped, char *out, size_t room) {
  size_t used = 0;
  for (const char *at = key, *end = key + size; at < end;) {
    char piece[8];
    size_t step = 1, length = 1;
    unsigned char c = (unsigned char)*at;
    piece[0] = (char)c;
    if (c >= 0x80) {
      step = json_sequence(at, end);
      length = step;
      if (step) memcpy(piece, at, step);
      else step = length = 1, piece[0] = '?';
    } else if (!escaped && (c < 0x20 || c == '"' || c == '\\')) {
      length = (size_t)snprintf(piece, sizeof piece, c < 0x20 ? "\\u%04x" : "\\%c", c);
    }
    if (used + length > room) break;
    memcpy(out + used, piece, length);
    used += length;
    at += step;
  }
  return used;
}

/* Writes one step as it would stand in `path`, which has `size` bytes; answers its length, which may be too much for it. */
static size_t write_step(const json_frame *frame, bool escaped, bool first, char step[STEP_BYTES]) {
  if (frame->index) return (size_t)snprintf(step, STEP_BYTES, "[%llu]", (unsigned long long)frame->index);
  if (!is_name(frame->key, frame->key_size)) {
    size_t length = quote_key(frame->key, frame->key_size, escaped, step + 2, STEP_BYTES - 8);
    step[0] = '[';
    step[1] = step[length + 2] = '"';
    step[length + 3] = ']';
    return length + 4;
  }
  size_t dot = first ? 0 : 1, length = frame->key_size < STEP_BYTES - 1 ? frame->key_size : STEP_BYTES - 1;
  step[0] = '.';
  for (size_t i = 0; i < length; i++) step[dot + i] = frame->key[i];
  return dot + length;
}

void json_path(const json_frame *frames, unsigned depth, bool escaped, char path[JSON_PATH_BYTES]) {
  char step[STEP_BYTES];
  size_t size = 0;
  for (unsigned i = 0; i < depth; i++) {
    if (!frames[i].key && !frames[i].index) continue;
    size_t length = write_step(&frames[i], escaped, size == 0, step);
    bool fits = size + length + sizeof "..." <= JSON_PATH_BYTES;
    const char *from = fits ? step : "...";
    for (size_t k = 0; k < (fits ? length : 3); k++) path[size++] = from[k];
    if (!fits) break;
  }
  path[size] = 0;
}

int json_scan_fail(const json_scan *scan, const char *at, const char *message) {
  char path[JSON_PATH_BYTES];
  json_path(scan->frames, scan->depth, true, path);
  return error_set(scan->error, ANNAL_INVALID, path, "%s at byte %zu", message, (size_t)(at - scan->start));
}

int json_scan_expected(const json_scan *scan, const char *expected) {
  char message[160];
  unsigned char c = scan->at < scan->end ? (unsigned char)*scan->at : 0;
  if (scan->at == scan->end) snprintf(message, sizeof message, "expected %s, found the end of the text", expected);
  else if (c == 0xEF && scan->at == scan->start)
    snprintf(message, sizeof message, "expected %s, found a byte order mark or other non-ASCII text", expected);
  else if (c > 32 && c < 127) snprintf(message, sizeof message, "expected %s, found '%c'", expected, c);
  else snprintf(message, sizeof message, "expected %s, found the byte 0x%02x", expected, c);
  return json_scan_fail(scan, scan->at, message);
}

int json_scan_too_deep(const json_scan *scan) {
  char message[64];
  snprintf(message, sizeof message, "nested deeper than %d", LIMIT_DEPTH);
  return json_scan_fail(scan, scan->at, message);
}

/* ---- Strings ----------------------------------------------------------------------------------------------------------- */

size_t json_sequence(const char *at, const char *end) {
  const unsigned char *s = (const unsigned char *)at;
  unsigned char lead = s[0];
  if (lead < 0xC2 || lead > 0xF4) return 0;
  size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if ((size_t)(end - at) < size) return 0;
  for (size_t i = 1; i < size; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if (lead == 0xE0 && s[1] < 0xA0) return 0; /* overlong */
  if (lead == 0xED && s[1] > 0x9F) return 0; /* surrogates */
  if (lead == 0xF0 && s[1] < 0x90) return 0; /* overlong */
  if (lead == 0xF4 && s[1] > 0x8F) return 0; /* above U+10FFFF */
  return size;
}

/* Four hexadecimal digits; -1 when there are none. */
static int32_t read_hex(const char *at, const char *end) {
  if (end - at < 4) return -1;
  int32_t value = 0;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static void add_code_point(base_buf *buf, uint32_t code) {
  char bytes[4];
  size_t size = 0;
  if (code < 0x80) {
    bytes[size++] = (char)code;
  } else if (code < 0x800) {
    bytes[size++] = (char)(0xC0 | code >> 6);
    bytes[size++] = (char)(0x80 | (code & 63));
  } else if (code < 0x10000) {
    bytes[size++] = (char)(0xE0 | code >> 12);
    bytes[size++] = (char)(0x80 | (code >> 6 & 63));
    bytes[size++] = (char)(0x80 | (code & 63));
  } else {
    bytes[size++] = (char)(0xF0 | code >> 18);
    bytes[size++] = (char)(0x80 | (code >> 12 & 63));
    bytes[size++] = (char)(0x80 | (code >> 6 & 63));
    bytes[size++] = (char)(0x80 | (code & 63));
  }
  buf_add(buf, bytes, size);
}

/* *at stands on the 'u' of \u and is moved behind the escape, or the pair of escapes. */
static int read_unicode_escape(json_scan *scan, const char **at) {
  const char *escape = *at - 1;
  int32_t code = read_hex(*at + 1, scan->end);
  if (code < 0) return json_scan_fail(scan, escape, "\\u is not followed by four hexadecimal digits");
  *at += 5;
  if (code >= 0xD800 && code < 0xE000) {
    int32_t low = -1;
    if (code < 0xDC00 && scan->end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') low = read_hex(*at + 2, scan->end);
    if (low < 0xDC00 || low > 0xDFFF) return json_scan_fail(scan, escape, "a lone surrogate is no character");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    *at += 6;
  }
  if (code == 0 && (scan->flags & JSON_NO_NUL)) return json_scan_fail(scan, escape, "U+0000 cannot be stored");
  add_code_point(scan->scratch, (uint32_t)code);
  return 0;
}

/* *at stands on a backslash and is moved behind the escape, which is added to the scratch. */
static int read_escape(json_scan *scan, const char **at) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  const char *escape = *at;
  if (scan->end - escape < 2) return json_scan_fail(scan, escape, "a string is not closed");
  if (escape[1] == 'u') {
    *at = escape + 1;
    return read_unicode_escape(scan, at);
  }
  const char *letter = escape[1] ? strchr(letters, escape[1]) : NULL;
  if (!letter) return json_scan_fail(scan, escape, "a backslash begins no escape of JSON's");
  buf_char(scan->scratch, meanings[letter - letters]);
  *at = escape + 2;
  return 0;
}

/* Everything in a string but plain ASCII. Up to the first escape the source is used as it is; from there on the string is
 * gathered in the scratch. `at` is the first byte that is not plain. */
int json_scan_string_slow(json_scan *scan, const char *at, json_slice *out) {
  const char *from = scan->at; /* of what is not yet in the scratch */
  const char *quote = scan->at - 1;
  bool escaped = false;
  for (;; at = json_skip_plain(at, scan->end)) {
    if (at == scan->end) return json_scan_fail(scan, quote, "a string is not closed: it begins");
    unsigned char c = (unsigned char)*at;
    if (c == '"') break;
    if (c < 0x20) return json_scan_fail(scan, at, "a control character in a string must be escaped");
    if (c >= 0x80) {
      size_t step = json_sequence(at, scan->end);
      if (step == 0) return json_scan_fail(scan, at, "a string is not valid UTF-8");
      at += step;
      continue;
    }
    if (!escaped) buf_clear(scan->scratch);
    escaped = true;
    buf_add(scan->scratch, from, (size_t)(at - from));
    int result = read_escape(scan, &at);
    if (result != 0) return result;
    from = at;
  }
  if (escaped) {
    buf_add(scan->scratch, from, (size_t)(at - from));
    if (scan->scratch->failed) return error_memory(scan->error);
    *out = (json_slice){.bytes = scan->scratch->bytes, .size = scan->scratch->size, .escaped = true};
  } else {
    *out = (json_slice){.bytes = from, .size = (size_t)(at - from)};
  }
  scan->at = at + 1;
  return 0;
}

/* ---- Numbers and words ------------------------------------------------------------------------------------------------- */

static const char *skip_digits(const char *at, const char *end) {
  while (at < end && *at >= '0' && *at <= '9') at++;
  return at;
}

/* int64 from digits without a sign; false when it does not fit. Counts down: there is one more negative number. */
static bool read_integer(const char *at, const char *end, bool negative, int64_t *value) {
  int64_t result = 0;
  for (; at < end; at++)
    if (__builtin_mul_overflow(result, 10, &result) || __builtin_sub_overflow(result, *at - '0', &result)) return false;
  if (!negative && __builtin_sub_overflow(0, result, &result)) return false;
  *value = result;
  return true;
}

/* Any number by the grammar: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
int json_scan_number_slow(json_scan *scan, json_number *out) {
  const char *from = scan->at, *end = scan->end, *at = from;
  bool negative = *at == '-', is_float = false;
  if (negative) at++;
  const char *digits = at;
  at = skip_digits(at, end);
  if (at == digits) return json_scan_fail(scan, from, "a '-' is not followed by a digit");
  if (*digits == '0' && at > digits + 1) return json_scan_fail(scan, from, "a number begins with a needless 0");
  const char *whole = at;
  if (at < end && *at == '.') {
    const char *fraction = ++at;
    at = skip_digits(at, end);
    if (at == fraction) return json_scan_fail(scan, from, "a number's point is not followed by a digit");
    is_float = true;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    at++;
    if (at < end && (*at == '+' || *at == '-')) at++;
    const char *exponent = at;
    at = skip_digits(at, end);
    if (at == exponent) return json_scan_fail(scan, from, "a number's exponent has no digits");
    is_float = true;
  }
  out->is_float = is_float;
  if (is_float) {
    if (!json_read_double(from, at, &out->real)) return json_scan_fail(scan, from, "a number too large for a double");
  } else if (negative && *digits == '0') {
    /* An int64 has no -0, and the sign must survive. */
    out->is_float = true;
    out->real = -0.0;
  } else if (!read_integer(digits, whole, negative, &out->integer)) {
    return json_scan_fail(scan, from, "an integer beyond 64 bits (write it as a string, or as a float with \".0\")");
  }
  scan->at = at;
  return 0;
}

int json_scan_word(json_scan *scan, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0) return json_scan_expected(scan, "a value");
  scan->at += size;
  return 0;
}

int json_scan_finish(json_scan *scan) {
  if (json_scan_next(scan) < 0) return 0;
  return json_scan_expected(scan, "nothing more after the value");
}
