/* Queries of rows as SQL; see query_rows.h. */
#include "store/query_rows.h"

#include <string.h>

static void add_term(query *q, const char *field, size_t term) {
  q->dialect->order_term(&q->sql, "p.data", field, term);
  q->failed |= q->sql.failed;
}

/* ---- Ranges ------------------------------------------------------------------------------------------------------------ */

/* Within a range of numbers, or of texts, the terms before this one are the same everywhere. */
static size_t ranging_term(const order_range *range) {
  return (range->has_min ? range->min.kind : range->max.kind) == ORDER_NUMBER ? ORDER_TERM_NUMBER : ORDER_TERM_TEXT;
}

static void add_comparison(query *q, const char *field, size_t term, const char *comparison, const order_place *place) {
  query_text(q, " AND ");
  add_term(q, field, term);
  query_text(q, comparison);
  q->dialect->order_value(q, field, term, place);
}

static void add_end(query *q, const order_range *range, const char *comparison, const order_place *place) {
  size_t term = ranging_term(range), exact = q->dialect->order_exact;
  add_comparison(q, range->field, term, comparison, place);
  if (exact > term) add_comparison(q, range->field, exact, comparison, place);
}

void query_add_ranges(query *q, const order_range *ranges, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const order_range *range = &ranges[i];
    for (size_t term = 0; term < ranging_term(range); term++)
      add_comparison(q, range->field, term, " = ", range->has_min ? &range->min : &range->max);
    if (range->has_min) add_end(q, range, " >= ", &range->min);
    if (range->has_max) add_end(q, range, " <= ", &range->max);
  }
}

/* ---- Orders ------------------------------------------------------------------------------------------------------------ */

/* Terms that help an index are of no use without one; those that a range fixes would keep an index from giving the order. */
query_order query_order_of(const query_dialect *dialect, const store_sought *sought) {
  query_order order = {.field = sought->query->order, .descending = sought->query->descending};
  if (!order.field) return order;
  order.first = order.whole = sought->along_order ? 0 : dialect->order_exact;
  order.end = dialect->order_terms;
  for (size_t i = 0; i < sought->query->range_count; i++) {
    size_t term = ranging_term(&sought->ranges[i]);
    if (strcmp(sought->ranges[i].field, order.field) == 0 && order.first < term) order.first = term;
  }
  return order;
}

void query_add_after(query *q, const query_order *order, const store_sought *sought) {
  if (!sought->query->after) return;
  query_text(q, " AND (");
  for (size_t term = order->whole; term < order->end; term++) {
    add_term(q, order->field, term);
    query_text(q, ", ");
  }
  query_text(q, order->descending ? "p.id) < (" : "p.id) > (");
  for (size_t term = order->whole; term < order->end; term++) {
    q->dialect->order_value(q, order->field, term, sought->after);
    query_text(q, ", ");
  }
  query_add_text(q, sought->query->after);
  query_text(q, ")");
}

void query_add_order_columns(query *q, const query_order *order) {
  for (size_t term = order->first; term < order->end; term++) {
    query_text(q, ", ");
    add_term(q, order->field, term);
    buf_printf(&q->sql, " AS order_%zu", term);
  }
}

void query_add_order(query *q, const query_order *order, bool by_columns) {
  const char *direction = order->descending ? " DESC" : "";
  query_text(q, " ORDER BY ");
  for (size_t term = order->first; term < order->end; term++) {
    if (by_columns) buf_printf(&q->sql, "order_%zu", term);
    else add_term(q, order->field, term);
    query_text(q, direction);
    query_text(q, ", ");
  }
  query_text(q, by_columns ? "id" : "p.id");
  query_text(q, direction);
}

void query_add_limit(query *q, const store_sought *sought) {
  uint64_t limit = sought->query->limit;
  if (limit == 0) return;
  query_text(q, " LIMIT ");
  query_add_int(q, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
}
