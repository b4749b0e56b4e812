/* Arrays in PostgreSQL's binary form. Role: the parameters of the append and of put_rows: a server takes them faster than text,
 * and nothing in them needs quoting. Form: dimensions, has-nulls, element type, length, lower bound, then length and bytes each. */
#include "store/postgres/pg.h"

#include <string.h>

enum { HEADER_BYTES = 20 };

static void add32(base_buf *out, int64_t value) {
  char bytes[4];
  pg_put32(bytes, value);
  buf_add(out, bytes, sizeof bytes);
}

void pg_array_init(pg_array *array, const base_env *env, Oid type) {
  *array = (pg_array){.type = type};
  buf_init(&array->bytes, env);
  add32(&array->bytes, 1);
  add32(&array->bytes, 0);
  add32(&array->bytes, type);
  add32(&array->bytes, 0);
  add32(&array->bytes, 1);
}

void pg_array_free(pg_array *array) { buf_free(&array->bytes); }

void pg_array_bytes(pg_array *array, const char *bytes, size_t size) {
  array->count++;
  if (bytes) {
    add32(&array->bytes, (int64_t)size);
    buf_add(&array->bytes, bytes, size);
  } else {
    array->nulls = true;
    add32(&array->bytes, -1);
  }
}

void pg_array_text(pg_array *array, const char *text) { pg_array_bytes(array, text, text ? strlen(text) : 0); }

void pg_array_int(pg_array *array, int64_t value) {
  char bytes[4];
  pg_put32(bytes, value);
  pg_array_bytes(array, bytes, sizeof bytes);
}

void pg_array_int8(pg_array *array, int64_t value) {
  char bytes[8];
  pg_put64(bytes, value);
  pg_array_bytes(array, bytes, sizeof bytes);
}

void pg_array_bool(pg_array *array, bool value) { pg_array_bytes(array, value ? "\1" : "\0", 1); }

static Oid array_type(Oid element) {
  switch (element) {
  case PG_BOOL: return PG_BOOL_ARRAY;
  case PG_INT4: return PG_INT4_ARRAY;
  case PG_INT8: return PG_INT8_ARRAY;
  case PG_JSON: return PG_JSON_ARRAY;
  case PG_TIMESTAMPTZ: return PG_TIMESTAMPTZ_ARRAY;
  default: return PG_TEXT_ARRAY;
  }
}

void pg_array_param(pg_array *array, pg_params *params) {
  if (array->bytes.failed) {
    params->failed = true;
    return;
  }
  char *header = array->bytes.bytes;
  if (array->count == 0) { /* an empty array has no dimension */
    pg_put32(header, 0);
    array->bytes.size = 12;
  } else {
    pg_put32(header + 4, array->nulls);
    pg_put32(header + 12, array->count);
  }
  pg_params_binary(params, array_type(array->type), header, array->bytes.size);
}

void pg_array_param_if(bool wanted, pg_array *array, pg_params *params) {
  if (wanted) pg_array_param(array, params);
  else pg_params_binary(params, array_type(array->type), NULL, 0);
}

bool pg_array_get(pg_value array, int64_t number, pg_value *element) {
  const char *at = array.bytes, *end = at + array.size;
  if (!at || array.size < HEADER_BYTES || pg_get32(at) != 1) return false;
  /* The server numbers elements from the one that was assigned first. */
  int64_t place = number + 1 - pg_get32(at + 16);
  if (place < 0 || place >= pg_get32(at + 12)) return false;
  at += HEADER_BYTES;
  for (;; place--) {
    if (end - at < 4) return false;
    int32_t size = pg_get32(at);
    at += 4;
    if (size > end - at) return false;
    if (place == 0) {
      *element = (pg_value){.bytes = at, .size = size};
      return size >= 0;
    }
    if (size > 0) at += size;
  }
}
