/* Selections as SQL: the one table of queries. Role: turns streams and fields into a statement and its parameters for either
 * backend; the differences between the two stand in a dialect and nowhere else. The text depends on the shape of the selection
 * only (names of fields, numbers of values), never on a value: so it can be the key of a cache of prepared statements, and no
 * value ever becomes SQL. Field names were checked to be names and are quoted.
 *
 * One stream: one SELECT along an index. Several, or one whose index would have to be read at several places (some types, or
 * some values of a declared field): the positions of each, along its own index and limited, united (so that each event comes
 * once), ordered, limited, and the events by position: one statement, one snapshot, and no page reads more than it needs. */
#ifndef STORE_QUERY_H
#define STORE_QUERY_H

#include "base/buf.h"
#include "store/order.h"

struct query;

/* The terms of an order (order.h), by which a field is compared one after the other: these three are what its index has. */
enum { ORDER_TERM_KIND, ORDER_TERM_NUMBER, ORDER_TERM_TEXT, ORDER_TERMS_OF_INDEX };

/* The field of metadata by which events belong together. */
#define QUERY_CORRELATION "correlation_id"

typedef struct query_dialect {
  /* Appends the placeholder of parameter `number`, from 1; `integer` says whether it is an int64 or a text. */
  void (*placeholder)(base_buf *sql, size_t number, bool integer);
  /* Appends the expression that is the text of the top-level field `name` of the JSON column `column`: the same expression that
   * the indexes of declared fields are made of; SQL NULL for null and absent. */
  void (*field)(base_buf *sql, const char *column, const char *name);
  /* Appends a condition that is true when that field is a string, number or boolean (not an object or array). It is added only
   * where a filter value begins with '{' or '[', which no number or boolean does but a string may. */
  void (*field_is_scalar)(base_buf *sql, const char *column, const char *name);
  /* The type of an event where it is only compared and no index of types is to be used; NULL: a list (IN) does as well. */
  const char *type_beside_index;
  /* The terms from `order_exact` on are exact by themselves; those before only say what an index can. */
  size_t order_exact, order_terms;
  void (*order_term)(base_buf *sql, const char *column, const char *name, size_t term);
  /* Appends what that term is for a value: a placeholder with its parameter, borrowed from the place. */
  void (*order_value)(struct query *q, const char *name, size_t term, const order_place *place);
  /* Appends the condition under which the index of correlations holds an event, where it is more than that there is a value; NULL:
   * it is not. Without it that index would not be used. */
  const char *correlated;
} query_dialect;

typedef struct query_param {
  const char *text; /* borrowed from the selection; NULL: an integer */
  int64_t integer;
} query_param;

typedef struct query {
  const query_dialect *dialect;
  const char *const *declared; /* fields of events that have an index; may be set after query_init, else NULL */
  size_t declared_count;
  const char
      *correlation; /* only events of this correlation: those that name it, and the one whose id it is; may be set, else NULL */
  const char *after_sql; /* an SQL expression in place of the parameter `after` of query_select_events; may be set, else NULL */
  base_buf sql;
  query_param *params;
  size_t count;
  size_t capacity;
  bool failed; /* no memory; also when sql.failed */
} query;

void query_init(query *q, const base_env *env, const query_dialect *dialect);
void query_free(query *q);

/* Pieces. */
static inline void query_text(query *q, const char *sql) {
  buf_text(&q->sql, sql);
  q->failed |= q->sql.failed;
}
void query_add_int(query *q, int64_t value);      /* placeholder and parameter */
void query_add_text(query *q, const char *value); /* likewise */
/* A parameter alone, for texts that name their first parameters themselves (?1, $1). */
void query_bind_int(query *q, int64_t value);
void query_bind_text(query *q, const char *value);
/* Appends "e.type in (…) and <field of e.data> in (…) and …", or "true". */
void query_add_stream(query *q, const annal_stream *stream);
/* Appends " AND <field> in (…)" for each field: it stands behind another condition. */
void query_add_fields(query *q, const char *column, const annal_field *fields, size_t count);

/* With a `correlation` of one stream at most.
 * SELECT `columns` FROM `table` for events above `after` (0: all; a stream's own `after` counts where it is higher), up to and
 * including `up_to` (0: no bound), of `streams` (0: all events), in order of position, at most `limit` (0: none).
 * `columns` are qualified with "e.". */
void query_select_events(query *q, const char *columns, const char *table, const annal_stream *streams, size_t stream_count,
                         int64_t after, int64_t up_to, uint64_t limit, bool reverse);

/* The first stored value of a field that is too long for an index: position, id, bytes. `open` and `close` stand around a text
 * whose bytes are counted. A field is checked so before it is declared. */
void query_select_long(query *q, const char *table, const char *field, const char *open, const char *close);
int query_fail_long(annal_error *error, bool on_events, const char *field, int64_t position, const char *id, int64_t bytes);

#endif
