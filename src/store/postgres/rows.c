/* Rows of projections: written many at a time, queried one by one. Role: put_rows and query_rows of the backend. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "store/query_rows.h"
#include <stdlib.h>
#include <string.h>

/* ---- Writing --------------------------------------------------------------------------------------------------------------- */

/* A row with its place among the caller's, and how many rows of the same key come before it. */
typedef struct placed_row {
  const store_row *row;
  size_t place;
  size_t wave;
} placed_row;

static int compare_keys(const store_row *a, const store_row *b) {
  int order = strcmp(a->type, b->type);
  if (!order) order = strcmp(a->fingerprint, b->fingerprint);
  return order ? order : strcmp(a->id, b->id);
}

static int compare_placed(const void *a, const void *b) {
  const placed_row *x = a, *y = b;
  int order = compare_keys(x->row, y->row);
  return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* One statement cannot write a row twice: rows of one key go into waves. Answers how many there are. */
static size_t place_rows(const store_row *rows, size_t count, placed_row *placed) {
  size_t waves = 1;
  for (size_t i = 0; i < count; i++) placed[i] = (placed_row){.row = &rows[i], .place = i};
  qsort(placed, count, sizeof *placed, compare_placed);
  for (size_t i = 1; i < count; i++) {
    if (compare_keys(placed[i - 1].row, placed[i].row) == 0) placed[i].wave = placed[i - 1].wave + 1;
    if (placed[i].wave >= waves) waves = placed[i].wave + 1;
  }
  return waves;
}

enum { ROW_ARRAYS = 7 };

static void build_arrays(pg_array arrays[ROW_ARRAYS], const base_env *env, const placed_row *placed, size_t count, size_t wave,
                         pg_params *params) {
  static const Oid types[ROW_ARRAYS] = {PG_TEXT, PG_TEXT, PG_TEXT, PG_JSON, PG_JSON, PG_INT8, PG_TEXT};
  for (size_t i = 0; i < ROW_ARRAYS; i++) pg_array_init(&arrays[i], env, types[i]);
  for (size_t i = 0; i < count; i++) {
    if (placed[i].wave != wave) continue;
    const store_row *row = placed[i].row;
    pg_array_text(&arrays[0], row->type);
    pg_array_text(&arrays[1], row->fingerprint);
    pg_array_text(&arrays[2], row->id);
    pg_array_bytes(&arrays[3], row->state, row->state_size);
    pg_array_bytes(&arrays[4], row->data, row->data_size);
    pg_array_int8(&arrays[5], row->position);
    pg_array_text(&arrays[6], row->latest_event_id);
  }
  for (size_t i = 0; i < ROW_ARRAYS; i++) pg_array_param(&arrays[i], params);
}

/* What was written comes back in the order in which it was sent, without what was skipped. */
static void take_statuses(const PGresult *result, const placed_row *placed, size_t count, size_t wave, store_status *statuses) {
  int at = 0;
  for (size_t i = 0; i < count; i++) {
    if (placed[i].wave != wave) continue;
    const store_row *row = placed[i].row;
    bool written = at < PQntuples(result) && strcmp(PQgetvalue(result, at, 0), row->type) == 0 &&
                   strcmp(PQgetvalue(result, at, 1), row->fingerprint) == 0 && strcmp(PQgetvalue(result, at, 2), row->id) == 0;
    statuses[placed[i].place] = !written ? STORE_SKIPPED : pg_int(result, at, 3) ? STORE_CREATED : STORE_UPDATED;
    at += written;
  }
}

/* `conn` NULL: a connection of the pool's, and once more if it was lost. */
static int put_wave(pg_store *s, pg_conn *conn, const char *sql, const placed_row *placed, size_t count, size_t wave,
                    store_status *statuses, const pg_call *call, annal_error *error) {
  pg_array arrays[ROW_ARRAYS];
  pg_params params;
  PGresult *result = NULL;
  char clock[8];
  pg_params_init(&params, s->base.env);
  build_arrays(arrays, s->base.env, placed, count, wave, &params);
  pg_params_clock(s, &params, clock);
  int code = conn ? pg_query(s, conn, sql, &params, call, &result, error) : pg_run(s, sql, &params, call, &result, error);
  if (!code && statuses) take_statuses(result, placed, count, wave, statuses);
  PQclear(result);
  pg_params_free(&params);
  for (size_t i = 0; i < ROW_ARRAYS; i++) pg_array_free(&arrays[i]);
  return code;
}

static int put_waves(pg_store *s, const char *sql, const placed_row *placed, size_t count, size_t waves, store_status *statuses,
                     const pg_call *call, annal_error *error) {
  pg_conn *conn;
  int code = pg_acquire(s, call, &conn, error);
  if (code) return code;
  code = pg_script(s, conn, "begin isolation level read committed", call, error);
  for (size_t wave = 0; wave < waves && !code; wave++) code = put_wave(s, conn, sql, placed, count, wave, statuses, call, error);
  annal_error ignored;
  if (!code) code = pg_script(s, conn, "commit", call, error);
  else if (!pg_lost(conn) && pg_script(s, conn, "rollback", call, &ignored)) pg_disconnect(s, conn);
  pg_release(s, conn);
  return code;
}

/* `within`: a connection with a transaction of the caller's; NULL: in one of its own. */
static int put_rows(pg_store *s, pg_conn *within, const store_row *rows, size_t count, store_status *statuses,
                    const pg_call *call, annal_error *error) {
  base_buf sql;
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, NULL, "put_rows.sql");
  placed_row *placed = base_calloc(s->base.env, count, sizeof *placed);
  int code;
  if (sql.failed || !placed) {
    code = error_memory(error);
  } else {
    size_t waves = place_rows(rows, count, placed);
    if (!within && waves > 1) {
      code = put_waves(s, sql.bytes, placed, count, waves, statuses, call, error);
    } else {
      code = ANNAL_OK;
      for (size_t wave = 0; wave < waves && !code; wave++)
        code = put_wave(s, within, sql.bytes, placed, count, wave, statuses, call, error);
    }
  }
  base_free(s->base.env, placed);
  buf_free(&sql);
  return code;
}

int pg_put_rows(store *base, const store_row *rows, size_t count, store_status *statuses, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  return put_rows(s, NULL, rows, count, statuses, &call, error);
}

int pg_put_rows_within(pg_store *s, pg_conn *conn, const store_row *rows, size_t count, store_status *statuses,
                       const pg_call *call, annal_error *error) {
  return put_rows(s, conn, rows, count, statuses, call, error);
}

/* ---- Querying -------------------------------------------------------------------------------------------------------------- */

void pg_row(const PGresult *result, int row, store_row *out) {
  *out = (store_row){.type = PQgetvalue(result, row, 0),
                     .fingerprint = PQgetvalue(result, row, 1),
                     .id = PQgetvalue(result, row, 2),
                     .state = pg_text(result, row, 3),
                     .state_size = (size_t)PQgetlength(result, row, 3),
                     .data = PQgetvalue(result, row, 4),
                     .data_size = (size_t)PQgetlength(result, row, 4),
                     .position = pg_int(result, row, 5),
                     .latest_event_id = PQgetvalue(result, row, 6),
                     .created_at = pg_time(result, row, 7),
                     .updated_at = pg_time(result, row, 8)};
}

/* The parts of a statement that a template puts in their places, one behind the other in q->sql, each ended by a NUL. */
enum { PART_FILTER, PART_COLUMNS, PART_FIRST, PART_ORDER, PART_SET_ORDER, PARTS };

/* Every row has a position; to say so is to ask for the index of an order (projections_order_index.sql). */
static void add_filter(query *q, const store_sought *sought, const query_order *order) {
  if (sought->query->id) {
    query_text(q, " and p.id = ");
    query_add_text(q, sought->query->id);
  }
  query_add_fields(q, "p.data", sought->query->data, sought->query->data_count);
  query_add_ranges(q, sought->ranges, sought->query->range_count);
  query_add_after(q, order, sought);
  if (sought->by_order) query_text(q, " and p.position >= 0");
}

/* Whoever wants all rows that have a value is to find them by its index. A planner without statistics takes every set for a row or
 * two, and would rather read the whole of it by the primary key, which spares it the sorting. */
static void add_set_order(query *q, const store_sought *sought, const query_order *order) {
  bool plain = order->field || sought->query->limit > 0 || !sought->by_value;
  if (plain) query_add_order(q, order, false);
  else query_text(q, " order by p.id || ''");
  query_add_limit(q, sought);
}

/* With a limit no set has to give more than that. */
static void add_first(query *q, const store_sought *sought, const query_order *order) {
  if (sought->query->limit == 0) {
    query_text(q, "offset 0");
    return;
  }
  query_add_order(q, order, true);
  query_add_limit(q, sought);
}

static void add_part(query *q, int part, const store_sought *sought, const query_order *order) {
  switch (part) {
  case PART_FILTER: add_filter(q, sought, order); break;
  case PART_COLUMNS: query_add_order_columns(q, order); break;
  case PART_FIRST: add_first(q, sought, order); break;
  case PART_SET_ORDER: add_set_order(q, sought, order); break;
  default: query_add_order(q, order, true); query_add_limit(q, sought);
  }
}

/* Which rows a statement is to find. KEPT_SET: with what stands still of it. */
typedef enum query_sets { ONE_SET, KEPT_SET, OWN_SET_IF_ALONE, ALL_SETS } query_sets;

/* The statement in `sql`, its parameters in `q`. */
static bool build_query(pg_store *s, const store_sought *sought, query_sets sets, query *q, base_buf *sql) {
  static const char *const words[PARTS] = {"filter", "columns", "first", "order", "set_order"};
  static const char *const files[] = {[ONE_SET] = "query_set.sql",
                                      [KEPT_SET] = "query_kept.sql",
                                      [OWN_SET_IF_ALONE] = "query_own.sql",
                                      [ALL_SETS] = "query_rows.sql"};
  query_order order = query_order_of(&pg_dialect, sought);
  size_t starts[PARTS];
  query_bind_text(q, sought->query->type);
  query_bind_text(q, sought->query->fingerprint);
  for (int part = 0; part < PARTS; part++) {
    bool wanted = part == PART_FILTER || (sets == ALL_SETS) == (part != PART_SET_ORDER);
    starts[part] = q->sql.size;
    if (wanted) add_part(q, part, sought, &order);
    buf_char(&q->sql, 0);
  }
  q->failed |= q->sql.failed;
  if (q->failed) return false;
  pg_word own[PARTS + 1] = {{NULL, NULL}};
  for (int part = 0; part < PARTS; part++) own[part] = (pg_word){words[part], q->sql.bytes + starts[part]};
  pg_render(sql, &s->names, own, files[sets]);
  return !sql->failed;
}

static int run_query(pg_store *s, const store_sought *sought, query_sets sets, const pg_call *call, PGresult **result,
                     annal_error *error) {
  query q;
  base_buf sql;
  pg_params params;
  query_init(&q, s->base.env, &pg_dialect);
  buf_init(&sql, s->base.env);
  pg_params_init(&params, s->base.env);
  bool built = build_query(s, sought, sets, &q, &sql);
  pg_params_query(&params, &q);
  params.plans = PG_PLANS_BY_VALUES;
  int code = built ? pg_run(s, sql.bytes, &params, call, result, error) : error_memory(error);
  pg_params_free(&params);
  buf_free(&sql);
  query_free(&q);
  return code;
}

/* Whether there are other sets, where no row has said so. */
static int look_for_others(pg_store *s, const store_query *asked, const pg_call *call, bool *others, annal_error *error) {
  base_buf sql;
  pg_params params;
  PGresult *result = NULL;
  buf_init(&sql, s->base.env);
  pg_params_init(&params, s->base.env);
  pg_render(&sql, &s->names, NULL, "other_sets.sql");
  pg_params_text(&params, asked->type);
  pg_params_text(&params, asked->fingerprint);
  int code = sql.failed ? error_memory(error) : pg_run(s, sql.bytes, &params, call, &result, error);
  *others = !code && pg_int(result, 0, 0);
  PQclear(result);
  pg_params_free(&params);
  buf_free(&sql);
  return code;
}

/* Most types have one set: what others cost is paid only where there are some. The result is one statement's in any case. */
static int find_rows(pg_store *s, const store_sought *sought, PGresult **result, annal_error *error) {
  pg_call call = pg_call_begin(s);
  bool others = false;
  if (sought->query->fingerprint[0] == 0) return run_query(s, sought, ONE_SET, &call, result, error);
  if (sought->query->kept_set) return run_query(s, sought, KEPT_SET, &call, result, error);
  int code = run_query(s, sought, OWN_SET_IF_ALONE, &call, result, error);
  if (code) return code;
  if (PQntuples(*result) > 0) others = pg_int(*result, 0, 5) != 0;
  else code = look_for_others(s, sought->query, &call, &others, error);
  if (code || !others) return code;
  PQclear(*result);
  *result = NULL;
  return run_query(s, sought, ALL_SETS, &call, result, error);
}

/* The sixth column says whether the row is stale; where there is but one set it is false or not there. Of a set that is kept there are
 * two instead: the event at which the instance stands still, and why; null where it does not. */
static void get_row(const PGresult *result, int row, const store_query *asked, store_row *out) {
  *out = (store_row){.type = asked->type,
                     .id = PQgetvalue(result, row, 0),
                     .data = PQgetvalue(result, row, 1),
                     .data_size = (size_t)PQgetlength(result, row, 1),
                     .position = pg_int(result, row, 2),
                     .latest_event_id = PQgetvalue(result, row, 3),
                     .updated_at = pg_time(result, row, 4),
                     .stale = PQnfields(result) == 6 && pg_int(result, row, 5)};
  if (!asked->kept_set || PQgetisnull(result, row, 5)) return;
  out->parked_event_id = PQgetvalue(result, row, 5);
  out->parked = PQgetvalue(result, row, 6);
  out->stale = true;
}

/* The whole answer is taken in before the first row is handed out: a slow caller would otherwise run into the server's timeout. */
int pg_query_rows(store *base, const store_sought *sought, store_each_row *each, void *context, annal_error *error) {
  PGresult *result = NULL;
  int code = find_rows((pg_store *)base, sought, &result, error);
  for (int i = 0; !code && i < PQntuples(result); i++) {
    store_row row;
    get_row(result, i, sought->query, &row);
    if (each(context, &row)) break;
  }
  PQclear(result);
  return code;
}
