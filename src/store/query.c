/* Selections as SQL; see query.h. Used by both backends; knows neither. */
#include "store/query.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include <string.h>

void query_init(query *q, const base_env *env, const query_dialect *dialect) {
  *q = (query){.dialect = dialect};
  buf_init(&q->sql, env);
}

void query_free(query *q) {
  base_free(q->sql.env, q->params);
  buf_free(&q->sql);
  query_init(q, q->sql.env, q->dialect);
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------------ */

static void add_param(query *q, query_param param) {
  if (q->count == q->capacity) {
    size_t capacity = q->capacity ? q->capacity * 2 : 16;
    query_param *params = base_realloc(q->sql.env, q->params, capacity * sizeof *params);
    if (!params) {
      q->failed = true;
      return;
    }
    q->params = params;
    q->capacity = capacity;
  }
  q->params[q->count++] = param;
}

void query_bind_int(query *q, int64_t value) { add_param(q, (query_param){.integer = value}); }

void query_bind_text(query *q, const char *value) { add_param(q, (query_param){.text = value}); }

void query_add_int(query *q, int64_t value) {
  query_bind_int(q, value);
  q->dialect->placeholder(&q->sql, q->count, true);
  q->failed |= q->sql.failed;
}

void query_add_text(query *q, const char *value) {
  query_bind_text(q, value);
  q->dialect->placeholder(&q->sql, q->count, false);
  q->failed |= q->sql.failed;
}

static void add_values(query *q, const char *const *values, size_t count) {
  if (count == 1) {
    query_text(q, " = ");
    query_add_text(q, values[0]);
    return;
  }
  query_text(q, " IN (");
  for (size_t i = 0; i < count; i++) {
    if (i) query_text(q, ", ");
    query_add_text(q, values[i]);
  }
  query_text(q, ")");
}

/* The text of an object or array begins so, and so may a string: only then does the stored value's kind matter. */
static bool looks_like_container(const char *value) { return value[0] == '{' || value[0] == '['; }

static void add_field(query *q, const char *column, const char *name, const char *const *values, size_t count) {
  q->dialect->field(&q->sql, column, name);
  add_values(q, values, count);
  for (size_t i = 0; i < count; i++) {
    if (!looks_like_container(values[i])) continue;
    query_text(q, " AND ");
    q->dialect->field_is_scalar(&q->sql, column, name);
    break;
  }
}

void query_add_fields(query *q, const char *column, const annal_field *fields, size_t count) {
  for (size_t i = 0; i < count; i++) {
    query_text(q, " AND ");
    add_field(q, column, fields[i].name, fields[i].values, fields[i].value_count);
  }
}

/* ---- Streams, and the branches they are read in ------------------------------------------------------------------------ */

#define NO_FIELD SIZE_MAX

/* How a stream is read: as a whole, or once for each of its types, or once for each value of one declared field. A page that is
 * to come in order of position from several places of one index would otherwise cost a read and a sort of all that match. */
typedef struct stream_split {
  size_t branches;
  size_t field; /* its values are the branches; NO_FIELD: its types are, or there is one branch */
} stream_split;

enum { FEW_TYPES = 16 };

static bool is_declared(const query *q, const char *name) {
  for (size_t i = 0; i < q->declared_count; i++)
    if (strcmp(q->declared[i], name) == 0) return true;
  return false;
}

static stream_split split_of(const query *q, const annal_stream *stream) {
  stream_split whole = {.branches = 1, .field = NO_FIELD};
  if (stream->data_count == 0) {
    if (stream->type_count > 1 && stream->type_count <= LIMIT_BRANCHES) whole.branches = stream->type_count;
    return whole;
  }
  stream_split best = whole;
  size_t others = stream->type_count;
  for (size_t i = 0; i < stream->data_count; i++) {
    const annal_field *field = &stream->data[i];
    others += field->value_count;
    if (!is_declared(q, field->name)) continue;
    if (field->value_count == 1) return whole; /* one place of that index gives everything in order */
    if (best.field == NO_FIELD && field->value_count <= LIMIT_BRANCHES)
      best = (stream_split){.branches = field->value_count, .field = i};
  }
  return best.branches * others <= LIMIT_BRANCH_VALUES ? best : whole;
}

/* Types beside a declared field, by whose index the events are found: a few of them are compared one by one. */
static void add_few_types(query *q, const char *const *types, size_t count) {
  for (size_t i = 0; i < count; i++) {
    query_text(q, i ? " OR " : "(");
    query_text(q, q->dialect->type_beside_index);
    query_text(q, " = ");
    query_add_text(q, types[i]);
  }
  query_text(q, ")");
}

static bool has_declared(const query *q, const annal_stream *stream) {
  for (size_t i = 0; i < stream->data_count; i++)
    if (is_declared(q, stream->data[i].name)) return true;
  return false;
}

/* Branch `number` of a stream's split. */
static void add_branch(query *q, const annal_stream *stream, stream_split split, size_t number) {
  const char *joint = "";
  if (stream->type_count > 0) {
    bool one = split.branches > 1 && split.field == NO_FIELD, few = stream->type_count > 1 && stream->type_count <= FEW_TYPES;
    if (!one && few && q->dialect->type_beside_index && has_declared(q, stream)) {
      add_few_types(q, stream->types, stream->type_count);
    } else {
      query_text(q, "e.type");
      add_values(q, stream->types + (one ? number : 0), one ? 1 : stream->type_count);
    }
    joint = " AND ";
  }
  for (size_t i = 0; i < stream->data_count; i++, joint = " AND ") {
    const annal_field *field = &stream->data[i];
    bool one = i == split.field;
    query_text(q, joint);
    add_field(q, "e.data", field->name, field->values + (one ? number : 0), one ? 1 : field->value_count);
  }
  if (!*joint) query_text(q, "true");
}

void query_add_stream(query *q, const annal_stream *stream) {
  add_branch(q, stream, (stream_split){.branches = 1, .field = NO_FIELD}, 0);
}

/* ---- Events ------------------------------------------------------------------------------------------------------------ */

/* What bounds a read; all of it parameters, so that every page of a read has one text. */
typedef struct read_bounds {
  int64_t after;
  int64_t up_to;
  int64_t limit;
  const char *order; /* "" or " DESC" */
} read_bounds;

static void add_bounds(query *q, const annal_stream *stream, const read_bounds *bounds) {
  query_text(q, " e WHERE e.position > ");
  if (q->after_sql) query_text(q, q->after_sql);
  else query_add_int(q, stream && stream->after > bounds->after ? stream->after : bounds->after);
  query_text(q, " AND e.position <= ");
  query_add_int(q, bounds->up_to);
}

static void add_order(query *q, const char *column, const read_bounds *bounds) {
  query_text(q, " ORDER BY ");
  query_text(q, column);
  query_text(q, bounds->order);
  query_text(q, " LIMIT ");
  query_add_int(q, bounds->limit);
}

/* What a branch of a read within one correlation asks for, in two ways: its index, and the event that began it, which has no
 * correlation of its own to name. */
static void add_correlation(query *q, bool beginning) {
  if (!q->correlation) return;
  query_text(q, " AND ");
  if (beginning) {
    query_text(q, "e.id");
    add_values(q, &q->correlation, 1);
    return;
  }
  if (q->dialect->correlated) query_text(q, q->dialect->correlated);
  add_field(q, "e.metadata", QUERY_CORRELATION, &q->correlation, 1);
}

/* One place of an index: `stream` NULL stands for all events. */
static void add_place(query *q, const char *table, const annal_stream *stream, stream_split split, size_t number, bool beginning,
                      const read_bounds *bounds) {
  query_text(q, "SELECT b.position FROM (SELECT e.position FROM ");
  query_text(q, table);
  add_bounds(q, stream, bounds);
  add_correlation(q, beginning);
  if (stream) {
    query_text(q, " AND ");
    add_branch(q, stream, split, number);
  }
  add_order(q, "e.position", bounds);
  query_text(q, ") b");
}

static void add_united(query *q, const char *table, const annal_stream *streams, size_t count, size_t branch_count,
                       const read_bounds *bounds) {
  bool split_streams = branch_count <= LIMIT_BRANCHES;
  const char *joint = "";
  for (size_t i = 0; i < (count ? count : 1); i++) {
    const annal_stream *stream = count ? &streams[i] : NULL;
    stream_split split = stream && split_streams ? split_of(q, stream) : (stream_split){.branches = 1, .field = NO_FIELD};
    for (size_t j = 0; j < split.branches; j++)
      for (int way = 0; way < (q->correlation ? 2 : 1); way++, joint = " UNION ") {
        query_text(q, joint);
        add_place(q, table, stream, split, j, way == 1, bounds);
      }
  }
}

enum { USUAL_BYTES = 1000 }; /* the text of a usual selection: it is built for each page, and need not grow by steps */

void query_select_events(query *q, const char *columns, const char *table, const annal_stream *streams, size_t stream_count,
                         int64_t after, int64_t up_to, uint64_t limit, bool reverse) {
  read_bounds bounds = {.after = after,
                        .up_to = up_to ? up_to : INT64_MAX,
                        .limit = limit == 0 || limit > INT64_MAX ? INT64_MAX : (int64_t)limit,
                        .order = reverse ? " DESC" : ""};
  size_t branch_count = 0;
  buf_reserve(&q->sql, USUAL_BYTES);
  for (size_t i = 0; i < stream_count; i++) branch_count += split_of(q, &streams[i]).branches;
  query_text(q, "SELECT ");
  query_text(q, columns);
  query_text(q, " FROM ");
  query_text(q, table);
  if (branch_count <= 1 && !q->correlation) {
    add_bounds(q, stream_count ? streams : NULL, &bounds);
    if (stream_count) {
      query_text(q, " AND ");
      query_add_stream(q, streams);
    }
    add_order(q, "e.position", &bounds);
    return;
  }
  query_text(q, " e WHERE e.position IN (SELECT p.position FROM (");
  add_united(q, table, streams, stream_count, branch_count, &bounds);
  query_text(q, ") p");
  add_order(q, "p.position", &bounds);
  query_text(q, ") ORDER BY e.position");
  query_text(q, bounds.order);
}

/* ---- Before a field is declared ---------------------------------------------------------------------------------------- */

static void add_bytes(query *q, const char *field, const char *open, const char *close) {
  query_text(q, open);
  q->dialect->field(&q->sql, "t.data", field);
  query_text(q, close);
}

void query_select_long(query *q, const char *table, const char *field, const char *open, const char *close) {
  query_text(q, "SELECT t.position, t.id, ");
  add_bytes(q, field, open, close);
  query_text(q, " FROM ");
  query_text(q, table);
  query_text(q, " t WHERE ");
  add_bytes(q, field, open, close);
  buf_printf(&q->sql, " > %d ORDER BY t.position LIMIT 1", LIMIT_VALUE_BYTES);
  q->failed |= q->sql.failed;
}

int query_fail_long(annal_error *error, bool on_events, const char *field, int64_t position, const char *id, int64_t bytes) {
  char shown[96];
  return error_set(error, ANNAL_INVALID, field,
                   "the field %s cannot be declared: in the %s \"%s\" at position %lld it has %lld bytes, at most %d are allowed",
                   field, on_events ? "event" : "row", text_show(id, shown), (long long)position, (long long)bytes,
                   LIMIT_VALUE_BYTES);
}
