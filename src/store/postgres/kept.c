/* Sets of rows that are kept current, on PostgreSQL; see store/kept.h. Role: the backend's half of it.
 *
 * A piece is a transaction that begins by locking its set's checkpoint; who finds it locked passes by. The lock ends with the session,
 * whatever becomes of the worker. What it writes can be made again from the log: so its commit waits for no flush. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include <stdlib.h>
#include <string.h>

/* ---- Statements ------------------------------------------------------------------------------------------------------------ */

/* Where a statement runs: on a connection with a transaction, or on any of the pool's. */
typedef struct runner {
  pg_store *s;
  pg_conn *conn; /* NULL: the pool's */
  pg_call call;
} runner;

static runner run_on_pool(store *base) {
  pg_store *s = (pg_store *)base;
  return (runner){.s = s, .call = pg_call_begin(s)};
}

static int run(runner *r, const char *file, const pg_params *params, PGresult **result, annal_error *error) {
  base_buf sql;
  buf_init(&sql, r->s->base.env);
  pg_render(&sql, &r->s->names, NULL, file);
  r->call.deadline = base_monotonic() + r->s->timeout;
  int code = sql.failed || params->failed ? error_memory(error)
             : r->conn                    ? pg_query(r->s, r->conn, sql.bytes, params, &r->call, result, error)
                                          : pg_run(r->s, sql.bytes, params, &r->call, result, error);
  buf_free(&sql);
  return code;
}

/* Parameters that are texts, up to the first NULL. */
static void add_texts(pg_params *params, const char *const *texts) {
  for (; *texts; texts++) pg_params_text(params, *texts);
}

/* A statement whose parameters are texts. *result is set on success, unless it is NULL. */
static int run_texts(runner *r, const char *file, const char *const *texts, PGresult **result, annal_error *error) {
  pg_params params;
  PGresult *answer = NULL;
  pg_params_init(&params, r->s->base.env);
  add_texts(&params, texts);
  int code = run(r, file, &params, &answer, error);
  pg_params_free(&params);
  if (!code && result) *result = answer;
  else PQclear(answer);
  return code;
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* One whose last parameter is the clock for tests. */
static int run_timed(runner *r, const char *file, const char *type, const char *set, annal_error *error) {
  pg_params params;
  PGresult *result = NULL;
  char clock[8];
  pg_params_init(&params, r->s->base.env);
  add_texts(&params, TEXTS(type, set));
  pg_params_clock(r->s, &params, clock);
  int code = run(r, file, &params, &result, error);
  PQclear(result);
  pg_params_free(&params);
  return code;
}

static void take_id(char out[65], const char *id) {
  if (id && !memccpy(out, id, 0, 65)) out[64] = 0;
}

/* ---- Transactions ---------------------------------------------------------------------------------------------------------- */

/* A connection of those for transactions, in annal's own settings. */
static int make_ready(runner *r, annal_error *error) {
  if (!pg_alive(r->conn)) return pg_connect(r->s, r->conn, &r->call, error);
  return r->conn->used ? pg_reset(r->s, r->conn, &r->call, error) : ANNAL_OK;
}

/* Nothing depends on it yet, so it is tried once more when the connection proves lost. */
static int open_transaction(store *base, runner *r, annal_error *error) {
  *r = run_on_pool(base);
  int code = pg_acquire_own(r->s, &r->call, &r->conn, error);
  if (code || !r->conn) {
    r->conn = NULL;
    return code;
  }
  for (int attempt = 0; attempt < 2; attempt++) {
    code = make_ready(r, error);
    if (!code)
      code =
          pg_script(r->s, r->conn, "begin isolation level read committed; set local synchronous_commit = off", &r->call, error);
    if (!code || !pg_lost(r->conn) || pg_interrupted(r->s, &r->call)) break;
  }
  if (!code) return ANNAL_OK;
  pg_release(r->s, r->conn);
  r->conn = NULL;
  return code;
}

static int commit(runner *r, annal_error *error) {
  r->call.deadline = base_monotonic() + r->s->timeout;
  return pg_script(r->s, r->conn, "commit", &r->call, error);
}

/* Rolls back what is open, and gives the connection back. */
static void close_transaction(runner *r) {
  annal_error ignored;
  if (!r->conn) return;
  pg_call call = pg_call_begin(r->s); /* what has ended the transaction is not to end this */
  bool idle = pg_lost(r->conn) || PQtransactionStatus(r->conn->pq) == PQTRANS_IDLE;
  if (!idle && pg_script(r->s, r->conn, "rollback", &call, &ignored)) pg_disconnect(r->s, r->conn);
  pg_release(r->s, r->conn);
  r->conn = NULL;
}

/* ---- annal_meta ------------------------------------------------------------------------------------------------------------ */

static int get_meta(runner *r, const char *file, const char *key, char value[STORE_KEPT_BYTES], bool *there, annal_error *error) {
  PGresult *result = NULL;
  value[0] = 0;
  int code = run_texts(r, file, TEXTS(key), &result, error);
  if (code) return code;
  *there = PQntuples(result) == 1;
  if (*there && !memccpy(value, PQgetvalue(result, 0, 0), 0, STORE_KEPT_BYTES)) value[STORE_KEPT_BYTES - 1] = 0;
  PQclear(result);
  return ANNAL_OK;
}

static int meta_get(store *base, const char *key, char value[STORE_KEPT_BYTES], bool *there, annal_error *error) {
  runner r = run_on_pool(base);
  return get_meta(&r, "kept_meta_get.sql", key, value, there, error);
}

static int swap_meta(runner *r, const char *key, const char *before, const char *after, bool *done, annal_error *error) {
  PGresult *result = NULL;
  const char *file = before ? "kept_meta_swap.sql" : "kept_meta_new.sql";
  int code = run_texts(r, file, TEXTS(key, after, before), &result, error);
  *done = !code && strcmp(PQcmdTuples(result), "1") == 0;
  if (!code) PQclear(result);
  return code;
}

static int meta_swap(store *base, const char *key, const char *before, const char *after, bool *done, annal_error *error) {
  runner r = run_on_pool(base);
  return swap_meta(&r, key, before, after, done, error);
}

/* ---- Looking ---------------------------------------------------------------------------------------------------------------- */

static int look_with(runner *r, const char *type, const char *set, store_set *found, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES];
  PGresult *result = NULL;
  store_kept_key(type, key);
  int code = run_texts(r, "kept_look.sql", TEXTS(type, set, key), &result, error);
  if (code) return code;
  code = store_kept_parse(pg_text(result, 0, 0), &found->kept, error);
  found->exists = !PQgetisnull(result, 0, 1);
  found->checkpoint.position = pg_int(result, 0, 1);
  take_id(found->checkpoint.id, pg_text(result, 0, 2));
  found->touched_at = pg_time(result, 0, 3);
  found->sound = pg_int(result, 0, 4) != 0;
  found->head.position = pg_int(result, 0, 5);
  take_id(found->head.id, pg_text(result, 0, 6));
  PQclear(result);
  return code;
}

static int look(store *base, const char *type, const char *set, store_set *found, annal_error *error) {
  runner r = run_on_pool(base);
  return look_with(&r, type, set, found, error);
}

static int make(store *base, const char *type, const char *set, annal_error *error) {
  runner r = run_on_pool(base);
  return run_timed(&r, "kept_make.sql", type, set, error);
}

static int has_rows(store *base, const char *type, const char *set, bool *any, annal_error *error) {
  runner r = run_on_pool(base);
  PGresult *result = NULL;
  int code = run_texts(&r, "kept_has_rows.sql", TEXTS(type, set), &result, error);
  if (code) return code;
  *any = pg_int(result, 0, 0) != 0;
  PQclear(result);
  return ANNAL_OK;
}

static int newest(store *base, const char *type, const char *set, int64_t *updated_at, annal_error *error) {
  runner r = run_on_pool(base);
  PGresult *result = NULL;
  int code = run_texts(&r, "kept_newest.sql", TEXTS(type, set), &result, error);
  if (code) return code;
  *updated_at = pg_time(result, 0, 0);
  PQclear(result);
  return ANNAL_OK;
}

/* ---- Checkpoints ------------------------------------------------------------------------------------------------------------ */

static int advance_to(runner *r, const char *type, const char *set, const store_head_info *place, annal_error *error) {
  pg_params params;
  PGresult *result = NULL;
  char clock[8];
  pg_params_init(&params, r->s->base.env);
  add_texts(&params, TEXTS(type, set));
  pg_params_int(&params, place->position);
  pg_params_text(&params, place->id[0] ? place->id : NULL);
  pg_params_clock(r->s, &params, clock);
  int code = run(r, "kept_advance.sql", &params, &result, error);
  PQclear(result);
  pg_params_free(&params);
  return code;
}

/* Waits for whoever has the checkpoint, and has it then. */
static int lock_checkpoint(runner *r, const char *type, const char *set, store_head_info *place, annal_error *error) {
  PGresult *result = NULL;
  *place = (store_head_info){0};
  int code = run_texts(r, "kept_lock_wait.sql", TEXTS(type, set), &result, error);
  if (code) return code;
  if (PQntuples(result) == 1) {
    place->position = pg_int(result, 0, 0);
    take_id(place->id, pg_text(result, 0, 1));
  }
  PQclear(result);
  return ANNAL_OK;
}

static bool same_place(const store_head_info *a, const store_head_info *b) {
  return a->position == b->position && strcmp(a->id, b->id) == 0;
}

/* ---- Pieces ----------------------------------------------------------------------------------------------------------------- */

typedef struct pg_piece {
  store_piece base;
  runner r;
  store_set found;
  const char *set; /* in `type`, behind it */
  char type[];
} pg_piece;

/* So many instances in one statement: an answer of some MiB. */
enum { ROWS_AT_ONCE = 2000 };

static int read_some(pg_piece *p, const char *const *ids, size_t count, store_each_kept *each, void *context,
                     annal_error *error) {
  pg_array array;
  pg_params params;
  PGresult *result = NULL;
  pg_array_init(&array, p->r.s->base.env, PG_TEXT);
  for (size_t i = 0; i < count; i++) pg_array_text(&array, ids[i]);
  pg_params_init(&params, p->r.s->base.env);
  add_texts(&params, TEXTS(p->type, p->set));
  pg_array_param(&array, &params);
  int code = run(&p->r, "kept_rows.sql", &params, &result, error);
  for (int i = 0; !code && i < PQntuples(result); i++) {
    store_kept_row row = {.id = PQgetvalue(result, i, 0),
                          .state = pg_text(result, i, 1),
                          .state_size = (size_t)PQgetlength(result, i, 1),
                          .position = pg_int(result, i, 2),
                          .latest_event_id = pg_text(result, i, 3),
                          .sound = pg_int(result, i, 4) != 0,
                          .parked = pg_text(result, i, 5)};
    each(context, &row);
  }
  PQclear(result);
  pg_params_free(&params);
  pg_array_free(&array);
  return code;
}

static int piece_rows(store_piece *piece, const char *const *ids, size_t count, store_each_kept *each, void *context,
                      annal_error *error) {
  pg_piece *p = (pg_piece *)piece;
  int code = ANNAL_OK;
  for (size_t at = 0; at < count && !code; at += ROWS_AT_ONCE)
    code = read_some(p, ids + at, count - at < ROWS_AT_ONCE ? count - at : ROWS_AT_ONCE, each, context, error);
  return code;
}

enum { PUT_ARRAYS = 5, PUT_BYTES = 8 << 20 };

/* As many rows as go into one statement; answers how many. */
static size_t gather_rows(pg_array arrays[PUT_ARRAYS], const base_env *env, const store_row *rows, size_t count,
                          pg_params *params) {
  static const Oid types[PUT_ARRAYS] = {PG_TEXT, PG_JSON, PG_JSON, PG_INT8, PG_TEXT};
  size_t at = 0, bytes = 0;
  for (size_t i = 0; i < PUT_ARRAYS; i++) pg_array_init(&arrays[i], env, types[i]);
  for (; at < count && at < ROWS_AT_ONCE && bytes < PUT_BYTES; at++) {
    const store_row *row = &rows[at];
    pg_array_text(&arrays[0], row->id);
    pg_array_bytes(&arrays[1], row->state, row->state_size);
    pg_array_bytes(&arrays[2], row->data, row->data_size);
    pg_array_int8(&arrays[3], row->position);
    pg_array_text(&arrays[4], row->latest_event_id);
    bytes += row->state_size + row->data_size;
  }
  for (size_t i = 0; i < PUT_ARRAYS; i++) pg_array_param(&arrays[i], params);
  return at;
}

static int put_rows(pg_piece *p, const store_row *rows, size_t count, annal_error *error) {
  int code = ANNAL_OK;
  for (size_t at = 0; at < count && !code;) {
    pg_array arrays[PUT_ARRAYS];
    pg_params params;
    PGresult *result = NULL;
    char clock[8];
    pg_params_init(&params, p->r.s->base.env);
    add_texts(&params, TEXTS(p->type, p->set));
    at += gather_rows(arrays, p->r.s->base.env, rows + at, count - at, &params);
    pg_params_clock(p->r.s, &params, clock);
    code = run(&p->r, "kept_put_rows.sql", &params, &result, error);
    PQclear(result);
    pg_params_free(&params);
    for (size_t i = 0; i < PUT_ARRAYS; i++) pg_array_free(&arrays[i]);
  }
  return code;
}

static int piece_keep(store_piece *piece, bool *overtaken, annal_error *error) {
  pg_piece *p = (pg_piece *)piece;
  *overtaken = false;
  p->r.call.deadline = base_monotonic() + p->r.s->timeout;
  return pg_script(p->r.s, p->r.conn, "select", &p->r.call, error);
}

static int piece_put(store_piece *piece, const store_row *rows, size_t count, bool *overtaken, annal_error *error) {
  *overtaken = false; /* nobody can, as long as the lock is held */
  return put_rows((pg_piece *)piece, rows, count, error);
}

static int resume(pg_piece *p, const store_advance *advance, annal_error *error) {
  pg_array array;
  pg_params params;
  PGresult *result = NULL;
  if (advance->resumed_count == 0) return ANNAL_OK;
  pg_array_init(&array, p->r.s->base.env, PG_TEXT);
  for (size_t i = 0; i < advance->resumed_count; i++) pg_array_text(&array, advance->resumed[i]);
  pg_params_init(&params, p->r.s->base.env);
  add_texts(&params, TEXTS(p->type, p->set));
  pg_array_param(&array, &params);
  int code = run(&p->r, "kept_resume.sql", &params, &result, error);
  PQclear(result);
  pg_params_free(&params);
  pg_array_free(&array);
  return code;
}

static int park(pg_piece *p, const store_advance *advance, annal_error *error) {
  pg_array arrays[3];
  pg_params params;
  PGresult *result = NULL;
  if (advance->parked_count == 0) return ANNAL_OK;
  for (size_t i = 0; i < 3; i++) pg_array_init(&arrays[i], p->r.s->base.env, PG_TEXT);
  for (size_t i = 0; i < advance->parked_count; i++) {
    pg_array_text(&arrays[0], advance->parked[i].id);
    pg_array_text(&arrays[1], advance->parked[i].event_id);
    pg_array_text(&arrays[2], advance->parked[i].error);
  }
  pg_params_init(&params, p->r.s->base.env);
  add_texts(&params, TEXTS(p->type, p->set));
  for (size_t i = 0; i < 3; i++) pg_array_param(&arrays[i], &params);
  int code = run(&p->r, "kept_park.sql", &params, &result, error);
  PQclear(result);
  pg_params_free(&params);
  for (size_t i = 0; i < 3; i++) pg_array_free(&arrays[i]);
  return code;
}

/* Whether the set that is served knows of more than is known up to `place`. From now on to the commit nobody moves it. What it knows is
 * looked at by a statement of its own: it may be younger than the one that waited for it. */
static int is_served_ahead(pg_piece *p, const store_head_info *place, bool *ahead, annal_error *error) {
  store_head_info ignored;
  store_set served = {0};
  const char *name = p->found.kept.served;
  int code = name[0] ? lock_checkpoint(&p->r, p->type, name, &ignored, error) : ANNAL_OK;
  if (!code && name[0]) code = look_with(&p->r, p->type, name, &served, error);
  *ahead = store_set_is_ahead(&served, place);
  return code;
}

/* The switch, and a mark on the set that was served: its readers may not be done with it. */
static int serve(pg_piece *p, const store_head_info *place, bool *serves, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], before[STORE_KEPT_BYTES], after[STORE_KEPT_BYTES];
  store_kept kept = p->found.kept;
  bool ahead;
  if (kept.number == 0 || strcmp(kept.wanted, p->set) != 0) return ANNAL_OK;
  int code = is_served_ahead(p, place, &ahead, error);
  if (code || ahead) return code;
  store_kept_key(p->type, key);
  store_kept_text(&kept, before);
  memccpy(kept.served, p->set, 0, sizeof kept.served);
  store_kept_text(&kept, after);
  code = swap_meta(&p->r, key, before, after, serves, error);
  if (!code && *serves && p->found.kept.served[0])
    code = run_timed(&p->r, "kept_touch.sql", p->type, p->found.kept.served, error);
  return code;
}

static int piece_commit(store_piece *piece, const store_advance *advance, store_advanced *done, annal_error *error) {
  pg_piece *p = (pg_piece *)piece;
  int code = put_rows(p, advance->rows, advance->row_count, error);
  if (!code) code = resume(p, advance, error);
  if (!code) code = park(p, advance, error);
  if (!code) code = advance_to(&p->r, p->type, p->set, &advance->place, error);
  if (!code && advance->serve) code = serve(p, &advance->place, &done->serves, error);
  if (!code) code = commit(&p->r, error);
  if (code) *done = (store_advanced){0};
  return code;
}

static void piece_end(store_piece *piece) {
  pg_piece *p = (pg_piece *)piece;
  close_transaction(&p->r);
  base_free(p->r.s->base.env, p);
}

/* *locked: the checkpoint is there, and nobody else has it. */
static int take_lock(runner *r, const char *type, const char *set, bool *locked, annal_error *error) {
  PGresult *result = NULL;
  int code = run_texts(r, "kept_lock.sql", TEXTS(type, set), &result, error);
  if (code) return code;
  *locked = PQntuples(result) == 1;
  PQclear(result);
  return ANNAL_OK;
}

static int begin(store *base, const char *type, const char *set, store_piece **piece, store_set *found, annal_error *error) {
  static const store_piece_backend backend = {
      .rows = piece_rows, .keep = piece_keep, .put = piece_put, .commit = piece_commit, .end = piece_end};
  size_t type_size = strlen(type) + 1, set_size = strlen(set) + 1;
  pg_piece *p = base_calloc(base->env, 1, sizeof *p + type_size + set_size);
  if (!p) return error_memory(error);
  bool locked = false;
  p->base.backend = &backend;
  memcpy(p->type, type, type_size);
  memcpy(p->type + type_size, set, set_size);
  p->set = p->type + type_size;
  int code = open_transaction(base, &p->r, error);
  if (!code) code = take_lock(&p->r, type, set, &locked, error);
  if (!code && locked) code = look_with(&p->r, type, set, found, error);
  if (code || !locked) {
    piece_end(&p->base);
    return code;
  }
  p->found = *found;
  *piece = &p->base;
  return ANNAL_OK;
}

/* ---- Whole sets ------------------------------------------------------------------------------------------------------------- */

/* A set whose rows are taken away is served no more. */
static int stop_serving(runner *r, const char *type, const char *set, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], before[STORE_KEPT_BYTES], after[STORE_KEPT_BYTES];
  store_kept kept;
  bool there = false, done = false;
  store_kept_key(type, key);
  int code = get_meta(r, "kept_meta_lock.sql", key, before, &there, error);
  if (!code) code = store_kept_parse(there ? before : NULL, &kept, error);
  if (code || strcmp(kept.served, set) != 0) return code;
  kept.served[0] = 0;
  store_kept_text(&kept, after);
  return swap_meta(r, key, before, after, &done, error);
}

static int reset(store *base, const char *type, const char *set, const store_head_info *checkpoint, bool *done,
                 annal_error *error) {
  runner r;
  store_head_info place, first = {0};
  int code = open_transaction(base, &r, error);
  if (code) return code;
  code = lock_checkpoint(&r, type, set, &place, error);
  store_set found = {0};
  if (!code) code = look_with(&r, type, set, &found, error);
  bool same = !code && same_place(&place, checkpoint) && !found.sound;
  if (same) code = stop_serving(&r, type, set, error);
  if (same && !code) code = run_texts(&r, "kept_drop_rows.sql", TEXTS(type, set), NULL, error);
  if (same && !code) code = run_texts(&r, "kept_drop_parked.sql", TEXTS(type, set), NULL, error);
  if (same && !code) code = advance_to(&r, type, set, &first, error);
  if (same && !code) code = commit(&r, error);
  *done = same && !code;
  close_transaction(&r);
  return code;
}

static int replace_rows(runner *r, const char *type, const char *set, const char *other, int64_t position, annal_error *error) {
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, r->s->base.env);
  add_texts(&params, TEXTS(type, other));
  pg_params_int(&params, position);
  int code = run(r, "kept_replace_old.sql", &params, &result, error);
  PQclear(result);
  pg_params_free(&params);
  if (!code) code = run_texts(r, "kept_replace_behind.sql", TEXTS(type, set, other), NULL, error);
  if (!code) code = run_texts(r, "kept_replace_rows.sql", TEXTS(type, set, other), NULL, error);
  if (!code) code = run_texts(r, "kept_drop_parked.sql", TEXTS(type, other), NULL, error);
  if (!code) code = run_texts(r, "kept_replace_parked.sql", TEXTS(type, set, other), NULL, error);
  return code;
}

static int replace(store *base, const char *type, const char *set, const char *other, const store_head_info *checkpoint,
                   bool *done, annal_error *error) {
  runner r;
  store_head_info own = {0}, theirs = {0}, first = {0};
  int code = open_transaction(base, &r, error);
  if (code) return code;
  /* In the order of their names, by everybody. */
  bool own_first = strcmp(set, other) < 0;
  code = lock_checkpoint(&r, type, own_first ? set : other, own_first ? &own : &theirs, error);
  if (!code) code = lock_checkpoint(&r, type, own_first ? other : set, own_first ? &theirs : &own, error);
  bool may = !code && same_place(&own, checkpoint) && theirs.position <= own.position;
  if (may) code = replace_rows(&r, type, set, other, checkpoint->position, error);
  if (may && !code) code = advance_to(&r, type, other, checkpoint, error);
  if (may && !code) code = advance_to(&r, type, set, &first, error);
  if (may && !code) code = commit(&r, error);
  *done = may && !code;
  close_transaction(&r);
  return code;
}

static int finish(store *base, const char *type, const char *set, annal_error *error) {
  runner r = run_on_pool(base);
  store_head_info first = {0};
  return advance_to(&r, type, set, &first, error);
}

/* ---- Removing what nobody uses ------------------------------------------------------------------------------------------------ */

static int each_name(store *base, const char *type, store_each_name *each, void *context, annal_error *error) {
  runner r = run_on_pool(base);
  PGresult *result = NULL;
  int code = run_texts(&r, "kept_names.sql", TEXTS(type), &result, error);
  if (code) return code;
  for (int i = 0; i < PQntuples(result); i++) each(context, PQgetvalue(result, i, 0), pg_time(result, i, 1));
  PQclear(result);
  return ANNAL_OK;
}

/* Some rows; *removed says whether there were any. */
static int remove_rows(runner *r, const char *type, const char *set, const char *kept, int64_t untouched_since, bool *removed,
                       annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], since[8];
  pg_params params;
  PGresult *result = NULL;
  store_kept_key(type, key);
  pg_params_init(&params, r->s->base.env);
  add_texts(&params, TEXTS(type, set, key));
  pg_params_text(&params, kept);
  pg_put64(since, untouched_since - PG_EPOCH);
  pg_params_binary(&params, PG_TIMESTAMPTZ, since, sizeof since);
  int code = run(r, "kept_remove_rows.sql", &params, &result, error);
  *removed = !code && strcmp(PQcmdTuples(result), "0") != 0;
  PQclear(result);
  pg_params_free(&params);
  return code;
}

static int remove_some(store *base, const char *type, const char *set, const char *kept, int64_t untouched_since, bool *more,
                       annal_error *error) {
  runner r = run_on_pool(base);
  bool left = false;
  int code = remove_rows(&r, type, set, kept, untouched_since, more, error);
  if (code || *more) return code;
  /* Nothing is left of it, or it is used again: only then rows are left. */
  code = has_rows(base, type, set, &left, error);
  if (code || left) return code;
  code = run_texts(&r, "kept_drop_parked.sql", TEXTS(type, set), NULL, error);
  return code ? code : finish(base, type, set, error);
}

/* ---- Looking at them ---------------------------------------------------------------------------------------------------------- */

static int each_set(store *base, store_each_set *each, void *context, annal_error *error) {
  runner r = run_on_pool(base);
  PGresult *result = NULL;
  pg_params none;
  pg_params_init(&none, r.s->base.env);
  int code = run(&r, "kept_sets.sql", &none, &result, error);
  if (code) return code;
  for (int i = 0; i < PQntuples(result); i++) {
    store_set_figures set = {.type = PQgetvalue(result, i, 0),
                             .set = PQgetvalue(result, i, 1),
                             .rows = pg_int(result, i, 2),
                             .has_checkpoint = !PQgetisnull(result, i, 3),
                             .position = pg_int(result, i, 3),
                             .touched_at = pg_time(result, i, 4),
                             .parked_count = pg_int(result, i, 5),
                             .next_at = pg_time(result, i, 6)};
    each(context, &set);
  }
  PQclear(result);
  return ANNAL_OK;
}

static int each_parked(store *base, const char *type, const char *set, const char *after, size_t limit, store_each_parked *each,
                       void *context, annal_error *error) {
  runner r = run_on_pool(base);
  PGresult *result = NULL;
  pg_params params;
  pg_params_init(&params, r.s->base.env);
  add_texts(&params, TEXTS(type, set));
  pg_params_text(&params, after);
  pg_params_int(&params, (int64_t)limit);
  int code = run(&r, "kept_parked.sql", &params, &result, error);
  for (int i = 0; !code && i < PQntuples(result); i++) {
    store_parked parked = {
        .id = PQgetvalue(result, i, 0), .event_id = PQgetvalue(result, i, 1), .error = PQgetvalue(result, i, 2)};
    each(context, &parked);
  }
  PQclear(result);
  pg_params_free(&params);
  return code;
}

/* Each has a connection of those for transactions; one is left to others. */
static size_t at_once(const store *base) {
  size_t connections = ((const pg_store *)base)->reader_count;
  return connections > 1 ? connections - 1 : 1;
}

const store_kept_backend pg_kept = {.at_once = at_once,
                                    .meta_get = meta_get,
                                    .meta_swap = meta_swap,
                                    .make = make,
                                    .look = look,
                                    .has_rows = has_rows,
                                    .begin = begin,
                                    .reset = reset,
                                    .replace = replace,
                                    .finish = finish,
                                    .names = each_name,
                                    .newest = newest,
                                    .remove_some = remove_some,
                                    .sets = each_set,
                                    .parked = each_parked};
