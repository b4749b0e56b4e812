/* Writing canonical text into a buffer, byte by byte where it is hot. Role: json_canonical.c and json_encode.c.
 *
 * These keep room for one more byte but leave the buffer without its NUL: who has written a value ends with json_close. */
#ifndef JSON_JSON_WRITE_H
#define JSON_JSON_WRITE_H

#include "json/json_scan.h"

static inline void json_put(base_buf *out, char c) {
  if (out->size + 1 < out->capacity) out->bytes[out->size++] = c;
  else buf_char(out, c);
}

static inline void json_put_bytes(base_buf *out, const char *bytes, size_t size) {
  if (out->size + size < out->capacity) {
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
  } else {
    buf_add(out, bytes, size);
  }
}

#define json_put_word(out, word) json_put_bytes(out, word, sizeof(word) - 1)

static inline void json_close(base_buf *out) {
  if (out->bytes) out->bytes[out->size] = 0;
}

/* Copies up to the first byte that is no plain ASCII; answers how many bytes these were. There is room for all of them and
 * WRITE_SLACK more, which may be overwritten. */
#define WRITE_SLACK 8
static inline size_t json_copy_plain(char *to, const char *from, size_t size) {
  size_t at = 0;
  if (size >= 8) {
    for (; size - at >= 8; at += 8) {
      uint64_t word = json_word(from + at);
      if (json_word_stops(word)) break;
      memcpy(to + at, &word, sizeof word);
    }
    uint64_t last = json_word(from + size - 8); /* the rest, and again something before it */
    if (size - at < 8 && !json_word_stops(last)) {
      memcpy(to + size - 8, &last, sizeof last);
      return size;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  } else if (size > 0) {
    uint64_t word = json_short_word(from, size);
    if (!json_word_stops(word | JSON_EACH_BYTE(0x20) << (8 * size))) {
      memcpy(to, &word, sizeof word);
      return size;
    }
#endif
  }
  while (at < size && !json_byte_stops((unsigned char)from[at])) {
    to[at] = from[at];
    at++;
  }
  return at;
}

/* Writes `before`, then `"key":` for a key that is known to be written as it is. It has 1 byte at least. */
static inline void json_write_plain_key(base_buf *out, char before, const char *key, size_t size) {
  size_t room = size + 4 + WRITE_SLACK;
  if (out->size + room >= out->capacity && !buf_reserve(out, room)) return; /* `failed` tells */
  char *to = out->bytes + out->size;
  *to++ = before;
  *to++ = '"';
  if (size >= 8) {
    uint64_t last = json_word(key + size - 8);
    for (size_t at = 0; at + 8 < size; at += 8) memcpy(to + at, key + at, 8);
    memcpy(to + size - 8, &last, 8);
  } else {
    uint64_t word = json_short_word(key, size);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, 8);
  }
  memcpy(to + size, "\":", 2);
  out->size += size + 4;
}

/* From byte `plain` on, after the opening quote and what is before that byte. */
bool json_write_rest(base_buf *out, const char *text, size_t plain, size_t size);

/* Writes a string in canonical form. False when the text is not UTF-8: what was written then is the caller's to take back. */
static inline bool json_write_string(base_buf *out, const char *text, size_t size) {
  size_t room = size + 2 + WRITE_SLACK;
  if (out->size + room >= out->capacity && !buf_reserve(out, room)) return true; /* `failed` tells */
  char *to = out->bytes + out->size;
  *to = '"';
  size_t plain = json_copy_plain(to + 1, text, size);
  if (plain < size) return json_write_rest(out, text, plain, size);
  to[size + 1] = '"';
  out->size += size + 2;
  return true;
}

/* Below 10,000, where most numbers in events are, all is in line and nothing has to be guessed by the processor. */
static inline void json_write_int(base_buf *out, int64_t value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (value >= 0 && value < 10000 && out->size + 4 < out->capacity) {
    uint32_t number = (uint32_t)value, high = number / 100, low = number % 100;
    uint32_t digits = 0x30303030 + (high / 10 | high % 10 << 8 | low / 10 << 16 | low % 10 << 24);
    unsigned leading = (unsigned)(number < 10) + (unsigned)(number < 100) + (unsigned)(number < 1000);
    digits >>= 8 * leading;
    memcpy(out->bytes + out->size, &digits, sizeof digits);
    out->size += 4 - leading;
    return;
  }
#endif
  char text[20];
  json_put_bytes(out, text, json_int_text(value, text));
}

#endif
