/* The order of values, for queries of rows. Role: what both backends mean by `order`, by a range and by "after this row", in one
 * place; their SQL is measured by it.
 *
 * Absent and null come first, then false, true, numbers, strings, arrays, objects. Numbers compare by their values, exactly,
 * whether they are integers of 64 bits or doubles: 1 and 1.0 are equal, 9007199254740993 is above 9007199254740992.0. Strings
 * compare by their bytes in UTF-8, arrays and objects by those of their JSON text. What is equal stands in order of the rows'
 * ids, bytewise. Descending is the same order from its end: ids too. */
#ifndef STORE_ORDER_H
#define STORE_ORDER_H

#include "base/buf.h"

typedef enum order_kind {
  ORDER_ABSENT, /* or null */
  ORDER_FALSE,
  ORDER_TRUE,
  ORDER_NUMBER,
  ORDER_TEXT,
  ORDER_ARRAY,
  ORDER_OBJECT
} order_kind;

/* Where a value stands in the order of a field, in the forms that backends compare by. */
typedef struct order_place {
  order_kind kind;
  base_buf number;   /* the number as a decimal of exactly its value where integers are near it; "0" for what is none */
  base_buf text;     /* of a string, an array, an object; "" for what is none */
  base_buf document; /* the value as the one field of a row: {"field":value} */
} order_place;

/* `json` is a value (json_is_tidy), or NULL for none. The place is to be freed in any case. `unavailable` without memory. */
int order_place_init(order_place *place, const base_env *env, const char *field, const char *json, size_t size,
                     annal_error *error);
void order_place_free(order_place *place); /* a zeroed one too */

/* Appends bytes that stand for the value: they compare (memcmp, the shorter first) as the values do. */
int order_key(const char *json, size_t size, base_buf *out, annal_error *error);

/* A range of a field, with its ends. */
typedef struct order_range {
  const char *field;
  bool has_min, has_max; /* one of them is there at least; both are of one kind, number or text */
  order_place min, max;
} order_range;

#endif
