/* The order of values; see order.h. Used by store.c, which prepares queries, and by the backends. */
#include "store/order.h"

#include "base/error.h"
#include "json/json_scan.h"
#include <math.h>

static order_kind kind_of(const char *json) {
  switch (json ? json[0] : 'n') {
  case 'n': return ORDER_ABSENT;
  case 'f': return ORDER_FALSE;
  case 't': return ORDER_TRUE;
  case '"': return ORDER_TEXT;
  case '[': return ORDER_ARRAY;
  case '{': return ORDER_OBJECT;
  default: return ORDER_NUMBER;
  }
}

static void read_number(const char *json, size_t size, json_number *number) {
  json_scan scan;
  annal_error ignored;
  *number = (json_number){0};
  json_scan_init(&scan, json, size, 0, NULL, &ignored);
  json_scan_number(&scan, number);
}

/* Appends what stands between the quotes, without its escapes. */
static int add_string(const char *json, size_t size, base_buf *out, annal_error *error) {
  json_scan scan;
  json_slice string;
  base_buf scratch;
  buf_init(&scratch, out->env);
  json_scan_init(&scan, json, size, 0, &scratch, error);
  scan.at++;
  int code = json_scan_string(&scan, &string);
  if (!code) buf_add(out, string.bytes, string.size);
  buf_free(&scratch);
  return code;
}

/* ---- Keys -------------------------------------------------------------------------------------------------------------- */

/* The largest double that is not above the integer, and how far the integer is above it: doubles lie at most 1,024 apart below
 * 2^63. */
static double double_below(int64_t integer, uint16_t *above) {
  double below = (double)integer;
  if (below >= 0x1p63 || (int64_t)below > integer) below = nextafter(below, -INFINITY);
  *above = (uint16_t)((uint64_t)integer - (uint64_t)(int64_t)below);
  return below;
}

static void add_big_endian(base_buf *out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) buf_char(out, (char)(value >> shift & 0xFF));
}

/* The double in an order that bytes have, then what an integer is above it. */
static void add_number_key(const json_number *number, base_buf *out) {
  uint16_t above = 0;
  uint64_t bits;
  double real = number->is_float ? number->real : double_below(number->integer, &above);
  if (real == 0) real = 0; /* -0.0 is 0 */
  memcpy(&bits, &real, sizeof bits);
  bits = bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
  add_big_endian(out, bits, 8);
  add_big_endian(out, above, 2);
}

int order_key(const char *json, size_t size, base_buf *out, annal_error *error) {
  order_kind kind = kind_of(json);
  json_number number;
  int code = ANNAL_OK;
  buf_char(out, (char)kind);
  if (kind == ORDER_NUMBER) {
    read_number(json, size, &number);
    add_number_key(&number, out);
  } else if (kind == ORDER_TEXT) {
    code = add_string(json, size, out, error);
  } else if (kind > ORDER_TEXT) {
    buf_add(out, json, size);
  }
  return code ? code : out->failed ? error_memory(error) : ANNAL_OK;
}

/* ---- Places ------------------------------------------------------------------------------------------------------------ */

/* A double's shortest text stands for its value among doubles, and among integers as long as these are doubles too: from 2^53 on
 * it has to be written out to be compared with them. */
static void add_number_text(const char *json, size_t size, base_buf *out) {
  json_number number;
  read_number(json, size, &number);
  bool written_out = number.is_float && fabs(number.real) >= 0x1p53 && number.real >= -0x1p63 && number.real < 0x1p63;
  if (written_out) buf_int(out, (int64_t)number.real);
  else buf_add(out, json, size);
}

int order_place_init(order_place *place, const base_env *env, const char *field, const char *json, size_t size,
                     annal_error *error) {
  if (!json) json = "null", size = 4;
  *place = (order_place){.kind = kind_of(json)};
  buf_init(&place->number, env);
  buf_init(&place->text, env);
  buf_init(&place->document, env);
  int code = ANNAL_OK;
  buf_text(&place->document, "{\"");
  buf_text(&place->document, field);
  buf_text(&place->document, "\":");
  buf_add(&place->document, json, size);
  buf_char(&place->document, '}');
  if (place->kind == ORDER_NUMBER) add_number_text(json, size, &place->number);
  else buf_char(&place->number, '0');
  buf_text(&place->text, "");
  if (place->kind == ORDER_TEXT) code = add_string(json, size, &place->text, error);
  else if (place->kind > ORDER_TEXT) buf_add(&place->text, json, size);
  if (code) return code;
  return place->document.failed || place->number.failed || place->text.failed ? error_memory(error) : ANNAL_OK;
}

void order_place_free(order_place *place) {
  if (!place->document.env) return;
  buf_free(&place->number);
  buf_free(&place->text);
  buf_free(&place->document);
  *place = (order_place){0};
}
