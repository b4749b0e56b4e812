/* Queries of rows as SQL: ranges, orders, and where to go on. Role: what rows.c of either backend builds its statement of, beside
 * query.h; what is compared by which expressions stands in the dialect. */
#ifndef STORE_QUERY_ROWS_H
#define STORE_QUERY_ROWS_H

#include "store/backend.h"
#include "store/query.h"

/* The expressions that rows are ordered by: terms of the dialect from `first` up to `end`, then the id. */
typedef struct query_order {
  const char *field; /* NULL: the id alone */
  size_t first, end;
  size_t whole; /* from this one on they say where a row stands, also one that is not within the ranges */
  bool descending;
} query_order;

query_order query_order_of(const query_dialect *dialect, const store_sought *sought);

/* Each appends to a condition (" AND …"), about rows that are called p. */
void query_add_ranges(query *q, const order_range *ranges, size_t count);
void query_add_after(query *q, const query_order *order, const store_sought *sought);
/* ", <term> AS order_0 …", for a list of columns. */
void query_add_order_columns(query *q, const query_order *order);
/* " ORDER BY …" by those columns, or by the terms themselves. */
void query_add_order(query *q, const query_order *order, bool by_columns);
/* " LIMIT …", if there is one. */
void query_add_limit(query *q, const store_sought *sought);

#endif
