/* The scanner: from bytes to tokens, strictly by RFC 8259, and the place of an error as a path. Role: json_canonical.c and
 * json_decode.c stand on it, so that both accept and refuse exactly the same texts. json_encode.c shares the paths.
 *
 * The text need not end in a NUL and is never read beyond `end`. Nothing here allocates but the scratch for strings with
 * escapes. What is hot is inline: white space, plain strings, short integers. */
#ifndef JSON_JSON_SCAN_H
#define JSON_JSON_SCAN_H

#include "base/error.h"
#include "base/limits.h"
#include "json/json.h"
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* One step of the path from the root to the value at hand: a container that is being walked. */
typedef struct json_frame {
  const char *key; /* the member at hand; NULL between members and in arrays */
  size_t key_size;
  uint64_t index; /* the element at hand, counted from 1 as in Lua; 0 between elements and in objects */
} json_frame;

/* Writes the path ("items[3].price") of `depth` frames, cut with "..." where it does not fit. Keys that are no names are written
 * ["so"]; `escaped` says that keys are still as in a JSON source. */
#define JSON_PATH_BYTES sizeof(((annal_error *)NULL)->where)
void json_path(const json_frame *frames, unsigned depth, bool escaped, char path[JSON_PATH_BYTES]);

typedef struct json_scan {
  const char *start;
  const char *at;
  const char *end;
  unsigned flags;
  unsigned depth;    /* open containers */
  base_buf *scratch; /* holds the last string that had escapes */
  annal_error *error;
  json_frame frames[LIMIT_DEPTH]; /* of the open containers, outermost first; the rest is not set */
} json_scan;

static inline void json_scan_init(json_scan *scan, const char *text, size_t size, unsigned flags, base_buf *scratch,
                                  annal_error *error) {
  scan->start = scan->at = text;
  scan->end = text + size;
  scan->flags = flags;
  scan->depth = 0;
  scan->scratch = scratch;
  scan->error = error;
}

/* A scanned string: in the source itself, or in the scratch (until the next string) when it had escapes. */
typedef struct json_slice {
  const char *bytes;
  size_t size;
  bool escaped;
} json_slice;

typedef struct json_number {
  bool is_float;
  int64_t integer;
  double real;
} json_number;

/* Fills scan->error: `invalid`, the path, and "message at byte n" for `at`. Answers the code. */
int json_scan_fail(const json_scan *scan, const char *at, const char *message);
/* The same for "expected …, found what is at scan->at". */
int json_scan_expected(const json_scan *scan, const char *expected);

int json_scan_too_deep(const json_scan *scan);

/* Enters the container whose bracket stands at scan->at; NULL, with the error (`invalid`) set, beyond LIMIT_DEPTH. */
static inline json_frame *json_scan_enter(json_scan *scan) {
  if (scan->depth == LIMIT_DEPTH) {
    json_scan_too_deep(scan);
    return NULL;
  }
  json_frame *frame = &scan->frames[scan->depth++];
  *frame = (json_frame){0};
  scan->at++;
  return frame;
}

static inline void json_scan_leave(json_scan *scan) {
  scan->at++;
  scan->depth--;
}

/* Skips white space; answers the byte that follows, or -1 at the end. */
static inline int json_scan_next(json_scan *scan) {
  while (scan->at < scan->end) {
    unsigned char c = (unsigned char)*scan->at;
    if (c > ' ' || (c != ' ' && c != '\n' && c != '\r' && c != '\t')) return c;
    scan->at++;
  }
  return -1;
}

/* ---- Words of eight bytes at a time ------------------------------------------------------------------------------------ */

#define JSON_EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

static inline uint64_t json_word(const char *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

/* Non-zero if a byte of `word` is a quote, a backslash, a control character or not ASCII. The lowest set bit is exact; bits
 * above it may be false by borrow. */
static inline uint64_t json_word_stops(uint64_t word) {
  uint64_t quote = (word ^ JSON_EACH_BYTE(0x22)) - JSON_EACH_BYTE(1);
  uint64_t backslash = (word ^ JSON_EACH_BYTE(0x5C)) - JSON_EACH_BYTE(1);
  uint64_t control = word - JSON_EACH_BYTE(0x20);
  return (quote | backslash | control | word) & JSON_EACH_BYTE(0x80);
}

/* The first bytes in the lowest places, zeros above: up to 7 of them, at least one. Reads no further. */
static inline uint64_t json_short_word(const char *at, size_t size) {
  if (size >= 4) {
    uint32_t first, last;
    memcpy(&first, at, sizeof first);
    memcpy(&last, at + size - 4, sizeof last);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    first = __builtin_bswap32(first);
    last = __builtin_bswap32(last);
#endif
    return first | (uint64_t)last << (8 * (size - 4)); /* where they overlap they are the same */
  }
  size_t middle = size / 2;
  return (unsigned char)at[0] | (uint64_t)(unsigned char)at[middle] << (8 * middle) |
         (uint64_t)(unsigned char)at[size - 1] << (8 * (size - 1));
}

/* memcmp of at least one byte without a call, which for keys costs more than the comparison. */
static inline bool json_same(const char *a, const char *b, size_t size) {
  if (size < 8) return json_short_word(a, size) == json_short_word(b, size);
  for (size_t at = 0; at + 8 < size; at += 8)
    if (json_word(a + at) != json_word(b + at)) return false;
  return json_word(a + size - 8) == json_word(b + size - 8);
}

static inline bool json_byte_stops(unsigned char c) { return c < 0x20 || c >= 0x80 || c == '"' || c == '\\'; }

/* The first byte from `at` on that is a quote, a backslash, a control character or not ASCII; `end` if there is none. */
static inline const char *json_skip_plain(const char *at, const char *end) {
#ifdef __SSE2__
  for (; end - at >= 16; at += 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i quotes = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    __m128i others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* signed: what is not ASCII is below 0 */
    int stops = _mm_movemask_epi8(_mm_or_si128(quotes, others));
    if (stops) return at + __builtin_ctz((unsigned)stops);
  }
#endif
  while (end - at >= 8) {
    uint64_t stops = json_word_stops(json_word(at));
    if (stops) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
      return at + (__builtin_ctzll(stops) >> 3);
#else
      break;
#endif
    }
    at += 8;
  }
  while (at < end && !json_byte_stops((unsigned char)*at)) at++;
  return at;
}

/* Bytes of the well-formed UTF-8 sequence at `at` that is not ASCII; 0 when there is none. */
size_t json_sequence(const char *at, const char *end);

/* ---- Tokens ------------------------------------------------------------------------------------------------------------ */

/* `at` is the first byte that is not plain. */
int json_scan_string_slow(json_scan *scan, const char *at, json_slice *out);

/* scan->at stands after the opening quote and is moved behind the closing one. */
static inline int json_scan_string(json_scan *scan, json_slice *out) {
  const char *from = scan->at;
  const char *to = json_skip_plain(from, scan->end);
  if (to == scan->end || *to != '"') return json_scan_string_slow(scan, to, out);
  *out = (json_slice){.bytes = from, .size = (size_t)(to - from)};
  scan->at = to + 1;
  return 0;
}

int json_scan_number_slow(json_scan *scan, json_number *out);

/* scan->at stands on a digit or '-'. */
static inline int json_scan_number(json_scan *scan, json_number *out) {
  const char *at = scan->at;
  bool negative = *at == '-';
  const char *digits = at += negative;
  int64_t value = 0;
  while (at < scan->end && (unsigned char)(*at - '0') < 10 && at - digits < 18) value = value * 10 + (*at++ - '0');
  unsigned char next = at < scan->end ? (unsigned char)*at : ' ';
  bool plain = at > digits && (*digits != '0' || (at == digits + 1 && !negative));
  if (!plain || next == '.' || (next | 32) == 'e' || (unsigned char)(next - '0') < 10) return json_scan_number_slow(scan, out);
  out->is_float = false;
  out->integer = negative ? -value : value;
  scan->at = at;
  return 0;
}

/* scan->at stands on the first letter; refuses anything but `word`. */
int json_scan_word(json_scan *scan, const char *word);

/* After the value: nothing but white space may follow. */
int json_scan_finish(json_scan *scan);

/* ---- Numbers (json_number.c) ------------------------------------------------------------------------------------------- */

/* Reads text that keeps to JSON's grammar of numbers; false when it overflows a double. */
bool json_read_double(const char *from, const char *to, double *value);
/* Writes decimal digits; answers their number. */
size_t json_int_text(int64_t value, char text[20]);

#endif
