/* Sets of rows that are kept current, on SQLite; see store/kept.h. Role: the backend's half of it.
 *
 * A piece holds nothing while it is folded. The write lock is taken for its commit alone, which looks first whether the checkpoint is
 * still where the piece began: who comes second has worked for nothing, and nobody has waited for anybody's scripts. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include <string.h>

/* ---- Statements with a few texts and numbers ------------------------------------------------------------------------------ */

/* Values of the statements here, in order: NULL is NULL. */
static int prepare_texts(sqlite_conn *conn, const char *sql, const char *const *texts, int count, sqlite3_stmt **stmt,
                         annal_error *error) {
  int result = sqlite_prepare(conn, sql, stmt, error);
  for (int i = 0; !result && i < count; i++) sqlite_bind(*stmt, i + 1, texts[i]);
  return result;
}

/* Runs it to its end; *changed, if wanted, is how many rows it has changed. */
static int finish(sqlite_conn *conn, sqlite3_stmt *stmt, int *changed, annal_error *error) {
  int result;
  do result = sqlite_step(conn, stmt, error);
  while (result == SQLITE_ROW);
  if (changed) *changed = sqlite3_changes(conn->db);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int run_texts(sqlite_store *s, sqlite_conn *conn, int sql, const char *one, const char *two, const char *three,
                     annal_error *error) {
  const char *texts[] = {one, two, three};
  sqlite3_stmt *stmt;
  int count = three ? 3 : 2;
  int result = prepare_texts(conn, s->sql[sql], texts, count, &stmt, error);
  return result ? result : finish(conn, stmt, NULL, error);
}

/* ---- Transactions --------------------------------------------------------------------------------------------------------- */

/* What is done under the write lock. *keep: it is to be committed. */
typedef int write_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error);

static int write_within(sqlite_store *s, sqlite_conn *conn, write_body *body, void *context, annal_error *error) {
  bool keep = false;
  int result = sqlite_begin(conn, error);
  if (result) return result;
  result = body(s, conn, context, &keep, error);
  if (!result && keep) {
    result = sqlite_commit(conn, error);
    if (!result) sqlite_checkpoint_when_long(s, conn);
    return result;
  }
  sqlite_rollback(conn);
  return result;
}

static int write_in(store *base, write_body *body, void *context, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  sqlite_conn *conn;
  int result = sqlite_take_writer(s, &conn, error);
  if (result) return result;
  result = write_within(s, conn, body, context, error);
  sqlite_give_back(conn);
  return result;
}

/* ---- annal_meta ------------------------------------------------------------------------------------------------------------ */

static int get_meta(sqlite_store *s, sqlite_conn *conn, const char *key, char value[STORE_KEPT_BYTES], bool *there,
                    annal_error *error) {
  sqlite3_stmt *stmt;
  value[0] = 0;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_META_GET], &key, 1, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result < 0) return result;
  *there = result == SQLITE_ROW;
  if (!*there) return ANNAL_OK;
  const char *text = (const char *)sqlite3_column_text(stmt, 0);
  if (text && !memccpy(value, text, 0, STORE_KEPT_BYTES)) value[STORE_KEPT_BYTES - 1] = 0;
  sqlite_done(stmt);
  return text ? ANNAL_OK : error_memory(error);
}

static int meta_get(store *base, const char *key, char value[STORE_KEPT_BYTES], bool *there, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  sqlite_conn *conn;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = get_meta(s, conn, key, value, there, error);
  sqlite_give_back(conn);
  return result;
}

static int swap_meta(sqlite_store *s, sqlite_conn *conn, const char *key, const char *before, const char *after, bool *done,
                     annal_error *error) {
  const char *texts[] = {key, after, before};
  sqlite3_stmt *stmt;
  int changed = 0, sql = before ? SQL_KEPT_META_SWAP : SQL_KEPT_META_NEW;
  int result = prepare_texts(conn, s->sql[sql], texts, before ? 3 : 2, &stmt, error);
  if (!result) result = finish(conn, stmt, &changed, error);
  *done = !result && changed == 1;
  return result;
}

typedef struct meta_change {
  const char *key, *before, *after;
  bool *done;
} meta_change;

static int swap_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const meta_change *change = context;
  int result = swap_meta(s, conn, change->key, change->before, change->after, change->done, error);
  *keep = !result && *change->done;
  return result;
}

static int meta_swap(store *base, const char *key, const char *before, const char *after, bool *done, annal_error *error) {
  meta_change change = {key, before, after, done};
  *done = false;
  return write_in(base, swap_body, &change, error);
}

/* ---- Looking ---------------------------------------------------------------------------------------------------------------- */

static void take_id(char out[65], const unsigned char *id) {
  if (id && !memccpy(out, id, 0, 65)) out[64] = 0;
}

static int read_set(sqlite3_stmt *stmt, store_set *found, annal_error *error) {
  int result = store_kept_parse((const char *)sqlite3_column_text(stmt, 0), &found->kept, error);
  found->exists = sqlite3_column_type(stmt, 1) != SQLITE_NULL;
  found->checkpoint.position = sqlite3_column_int64(stmt, 1);
  take_id(found->checkpoint.id, sqlite3_column_text(stmt, 2));
  found->touched_at = sqlite3_column_int64(stmt, 3);
  found->sound = sqlite3_column_int(stmt, 4) != 0;
  found->head.position = sqlite3_column_int64(stmt, 5);
  take_id(found->head.id, sqlite3_column_text(stmt, 6));
  return result;
}

static int look_with(sqlite_store *s, sqlite_conn *conn, const char *type, const char *set, store_set *found,
                     annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES];
  store_kept_key(type, key);
  const char *texts[] = {type, set, key};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_LOOK], texts, 3, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  result = read_set(stmt, found, error);
  sqlite_done(stmt);
  return result;
}

static int look(store *base, const char *type, const char *set, store_set *found, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  sqlite_conn *conn;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = look_with(s, conn, type, set, found, error);
  sqlite_give_back(conn);
  return result;
}

/* The one integer that a statement on (type, set) answers; 0 for NULL. */
static int read_integer(store *base, int sql, const char *type, const char *set, int64_t *value, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  const char *texts[] = {type, set};
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = prepare_texts(conn, s->sql[sql], texts, 2, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result == SQLITE_ROW) {
    *value = sqlite3_column_int64(stmt, 0);
    sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result < 0 ? result : ANNAL_OK;
}

static int has_rows(store *base, const char *type, const char *set, bool *any, annal_error *error) {
  int64_t value = 0;
  int result = read_integer(base, SQL_KEPT_HAS_ROWS, type, set, &value, error);
  *any = value != 0;
  return result;
}

static int newest(store *base, const char *type, const char *set, int64_t *updated_at, annal_error *error) {
  return read_integer(base, SQL_KEPT_NEWEST, type, set, updated_at, error);
}

/* ---- Checkpoints ------------------------------------------------------------------------------------------------------------ */

/* Whether the checkpoint is still the one that was seen. */
static int is_same_checkpoint(sqlite_store *s, sqlite_conn *conn, const char *type, const char *set, const store_head_info *seen,
                              bool *same, annal_error *error) {
  const char *texts[] = {type, set};
  char id[65] = "";
  sqlite3_stmt *stmt;
  *same = false;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_CHECKPOINT], texts, 2, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  take_id(id, sqlite3_column_text(stmt, 1));
  *same = sqlite3_column_int64(stmt, 0) == seen->position && strcmp(id, seen->id) == 0;
  sqlite_done(stmt);
  return ANNAL_OK;
}

static int read_position(sqlite_store *s, sqlite_conn *conn, const char *type, const char *set, int64_t *position,
                         annal_error *error) {
  const char *texts[] = {type, set};
  sqlite3_stmt *stmt;
  *position = 0;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_CHECKPOINT], texts, 2, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  *position = sqlite3_column_int64(stmt, 0);
  sqlite_done(stmt);
  return ANNAL_OK;
}

static int advance_to(sqlite_store *s, sqlite_conn *conn, const char *type, const char *set, const store_head_info *place,
                      annal_error *error) {
  const char *texts[] = {type, set};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_ADVANCE], texts, 2, &stmt, error);
  if (result) return result;
  sqlite3_bind_int64(stmt, 3, place->position);
  sqlite_bind(stmt, 4, place->id[0] ? place->id : NULL);
  sqlite3_bind_int64(stmt, 5, base_now(s->base.env));
  return finish(conn, stmt, NULL, error);
}

/* make and touch: type, set, the time. */
static int run_timed(sqlite_store *s, sqlite_conn *conn, int sql, const char *type, const char *set, annal_error *error) {
  const char *texts[] = {type, set};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, s->sql[sql], texts, 2, &stmt, error);
  if (result) return result;
  sqlite3_bind_int64(stmt, 3, base_now(s->base.env));
  return finish(conn, stmt, NULL, error);
}

/* A set, for bodies that need no more; and another. */
typedef struct set_names {
  const char *type, *set, *other;
  const store_head_info *checkpoint;
  bool *done;
} set_names;

static int make_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const set_names *names = context;
  *keep = true;
  return run_timed(s, conn, SQL_KEPT_MAKE, names->type, names->set, error);
}

static int make(store *base, const char *type, const char *set, annal_error *error) {
  set_names names = {.type = type, .set = set};
  store_set found = {0};
  int result = look(base, type, set, &found, error); /* most often it is there, and no lock is wanted */
  return result || found.exists ? result : write_in(base, make_body, &names, error);
}

/* ---- Pieces ----------------------------------------------------------------------------------------------------------------- */

typedef struct sqlite_piece {
  store_piece base;
  sqlite_store *s;
  store_set found;
  const char *set; /* in `type`, behind it */
  char type[];
} sqlite_piece;

static int read_instance(sqlite_piece *p, sqlite_conn *conn, const char *id, store_each_kept *each, void *context,
                         annal_error *error) {
  const char *texts[] = {p->type, p->set, id};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, p->s->sql[SQL_KEPT_ROW], texts, 3, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  bool has_row = sqlite3_column_type(stmt, 1) != SQLITE_NULL;
  store_kept_row row = {.id = id,
                        .state = (const char *)sqlite3_column_text(stmt, 0),
                        .state_size = (size_t)sqlite3_column_bytes(stmt, 0),
                        .position = sqlite3_column_int64(stmt, 1),
                        .latest_event_id = (const char *)sqlite3_column_text(stmt, 2),
                        .sound = sqlite3_column_int(stmt, 3) != 0,
                        .parked = (const char *)sqlite3_column_text(stmt, 4)};
  bool whole = !has_row || (row.latest_event_id && (row.state || sqlite3_column_type(stmt, 0) == SQLITE_NULL));
  whole = whole && (row.parked || sqlite3_column_type(stmt, 4) == SQLITE_NULL);
  if (whole) each(context, &row);
  sqlite_done(stmt);
  return whole ? ANNAL_OK : error_memory(error);
}

static int piece_rows(store_piece *piece, const char *const *ids, size_t count, store_each_kept *each, void *context,
                      annal_error *error) {
  sqlite_piece *p = (sqlite_piece *)piece;
  sqlite_conn *conn;
  if (count == 0) return ANNAL_OK;
  int result = sqlite_take_reader(p->s, &conn, error);
  if (result) return result;
  bool within = !sqlite3_get_autocommit(conn->db);
  if (!within) result = sqlite_run(conn, "BEGIN", error); /* one transaction costs less than many */
  for (size_t i = 0; i < count && !result; i++) result = read_instance(p, conn, ids[i], each, context, error);
  if (!within) sqlite_rollback(conn);
  sqlite_give_back(conn);
  return result;
}

static int put_row(sqlite_store *s, sqlite_conn *conn, const char *type, const char *set, const store_row *row,
                   annal_error *error) {
  const char *texts[] = {type, set, row->id};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_PUT_ROW], texts, 3, &stmt, error);
  if (result) return result;
  sqlite3_bind_text64(stmt, 4, row->state, row->state_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_text64(stmt, 5, row->data, row->data_size, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_bind_int64(stmt, 6, row->position);
  sqlite_bind(stmt, 7, row->latest_event_id);
  sqlite3_bind_int64(stmt, 8, base_now(s->base.env));
  return finish(conn, stmt, NULL, error);
}

static int put_rows(sqlite_piece *p, sqlite_conn *conn, const store_row *rows, size_t count, annal_error *error) {
  int result = ANNAL_OK;
  for (size_t i = 0; i < count && !result; i++) result = put_row(p->s, conn, p->type, p->set, &rows[i], error);
  return result;
}

static int park(sqlite_piece *p, sqlite_conn *conn, const store_advance *advance, annal_error *error) {
  int result = ANNAL_OK;
  for (size_t i = 0; i < advance->resumed_count && !result; i++)
    result = run_texts(p->s, conn, SQL_KEPT_RESUME, p->type, p->set, advance->resumed[i], error);
  for (size_t i = 0; i < advance->parked_count && !result; i++) {
    const store_parked *parked = &advance->parked[i];
    const char *texts[] = {p->type, p->set, parked->id, parked->event_id, parked->error};
    sqlite3_stmt *stmt;
    result = prepare_texts(conn, p->s->sql[SQL_KEPT_PARK], texts, 5, &stmt, error);
    if (!result) result = finish(conn, stmt, NULL, error);
  }
  return result;
}

/* The switch, and a mark on the set that was served: its readers may not be done with it. */
static int serve(sqlite_piece *p, sqlite_conn *conn, const store_head_info *place, bool *serves, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], before[STORE_KEPT_BYTES], after[STORE_KEPT_BYTES];
  store_kept kept = p->found.kept;
  store_set served = {0};
  if (kept.number == 0 || strcmp(kept.wanted, p->set) != 0) return ANNAL_OK;
  int result = kept.served[0] ? look_with(p->s, conn, p->type, kept.served, &served, error) : ANNAL_OK;
  if (result || store_set_is_ahead(&served, place)) return result;
  store_kept_key(p->type, key);
  store_kept_text(&kept, before);
  memccpy(kept.served, p->set, 0, sizeof kept.served);
  store_kept_text(&kept, after);
  result = swap_meta(p->s, conn, key, before, after, serves, error);
  if (!result && *serves && p->found.kept.served[0])
    result = run_timed(p->s, conn, SQL_KEPT_TOUCH, p->type, p->found.kept.served, error);
  return result;
}

typedef struct piece_write {
  sqlite_piece *p;
  const store_row *rows;
  size_t count;
  const store_advance *advance; /* NULL: rows alone, ahead of the checkpoint */
  store_advanced *done;
} piece_write;

static int piece_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  piece_write *w = context;
  bool same = false;
  int result = is_same_checkpoint(s, conn, w->p->type, w->p->set, &w->p->found.checkpoint, &same, error);
  if (result) return result;
  w->done->overtaken = !same;
  if (!same) return ANNAL_OK;
  *keep = true;
  result = put_rows(w->p, conn, w->rows, w->count, error);
  if (!w->advance) return result ? result : run_timed(s, conn, SQL_KEPT_TOUCH, w->p->type, w->p->set, error);
  if (!result) result = park(w->p, conn, w->advance, error);
  if (!result) result = advance_to(s, conn, w->p->type, w->p->set, &w->advance->place, error);
  if (!result && w->advance->serve) result = serve(w->p, conn, &w->advance->place, &w->done->serves, error);
  return result;
}

static int piece_put(store_piece *piece, const store_row *rows, size_t count, bool *overtaken, annal_error *error) {
  sqlite_piece *p = (sqlite_piece *)piece;
  store_advanced done = {0};
  piece_write w = {.p = p, .rows = rows, .count = count, .done = &done};
  int result = write_in(&p->s->base, piece_body, &w, error);
  *overtaken = done.overtaken;
  return result;
}

static int piece_keep(store_piece *piece, bool *overtaken, annal_error *error) {
  return piece_put(piece, NULL, 0, overtaken, error);
}

static int piece_commit(store_piece *piece, const store_advance *advance, store_advanced *done, annal_error *error) {
  sqlite_piece *p = (sqlite_piece *)piece;
  piece_write w = {.p = p, .rows = advance->rows, .count = advance->row_count, .advance = advance, .done = done};
  int result = write_in(&p->s->base, piece_body, &w, error);
  if (result) *done = (store_advanced){0};
  return result;
}

static void piece_end(store_piece *piece) { base_free(((sqlite_piece *)piece)->s->base.env, piece); }

static int begin(store *base, const char *type, const char *set, store_piece **piece, store_set *found, annal_error *error) {
  static const store_piece_backend backend = {
      .rows = piece_rows, .keep = piece_keep, .put = piece_put, .commit = piece_commit, .end = piece_end};
  int result = look(base, type, set, found, error);
  if (result || !found->exists) return result;
  size_t type_size = strlen(type) + 1, set_size = strlen(set) + 1;
  sqlite_piece *p = base_calloc(base->env, 1, sizeof *p + type_size + set_size);
  if (!p) return error_memory(error);
  p->base.backend = &backend;
  p->s = (sqlite_store *)base;
  p->found = *found;
  memcpy(p->type, type, type_size);
  memcpy(p->type + type_size, set, set_size);
  p->set = p->type + type_size;
  *piece = &p->base;
  return ANNAL_OK;
}

/* ---- Whole sets ------------------------------------------------------------------------------------------------------------- */

/* A set whose rows are taken away is served no more. */
static int stop_serving(sqlite_store *s, sqlite_conn *conn, const set_names *names, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], before[STORE_KEPT_BYTES], after[STORE_KEPT_BYTES];
  store_kept kept;
  bool there = false, done = false;
  store_kept_key(names->type, key);
  int result = get_meta(s, conn, key, before, &there, error);
  if (!result) result = store_kept_parse(there ? before : NULL, &kept, error);
  if (result || strcmp(kept.served, names->set) != 0) return result;
  kept.served[0] = 0;
  store_kept_text(&kept, after);
  return swap_meta(s, conn, key, before, after, &done, error);
}

static int reset_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const set_names *names = context;
  store_head_info first = {0};
  store_set found = {0};
  int result = is_same_checkpoint(s, conn, names->type, names->set, names->checkpoint, names->done, error);
  if (!result) result = look_with(s, conn, names->type, names->set, &found, error);
  if (found.sound) *names->done = false;
  if (result || !*names->done) return result;
  *keep = true;
  result = stop_serving(s, conn, names, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_DROP_ROWS, names->type, names->set, NULL, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_DROP_PARKED, names->type, names->set, NULL, error);
  return result ? result : advance_to(s, conn, names->type, names->set, &first, error);
}

static int reset(store *base, const char *type, const char *set, const store_head_info *checkpoint, bool *done,
                 annal_error *error) {
  set_names names = {.type = type, .set = set, .checkpoint = checkpoint, .done = done};
  int result = write_in(base, reset_body, &names, error);
  if (result) *done = false;
  return result;
}

static int replace_rows(sqlite_store *s, sqlite_conn *conn, const set_names *names, annal_error *error) {
  const char *texts[] = {names->type, names->other};
  sqlite3_stmt *stmt;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_REPLACE_OLD], texts, 2, &stmt, error);
  if (result) return result;
  sqlite3_bind_int64(stmt, 3, names->checkpoint->position);
  result = finish(conn, stmt, NULL, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_REPLACE_BEHIND, names->type, names->set, names->other, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_REPLACE_ROWS, names->type, names->set, names->other, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_DROP_PARKED, names->type, names->other, NULL, error);
  if (!result) result = run_texts(s, conn, SQL_KEPT_REPLACE_PARKED, names->type, names->set, names->other, error);
  return result;
}

static int replace_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const set_names *names = context;
  store_head_info first = {0};
  int64_t other = 0;
  int result = is_same_checkpoint(s, conn, names->type, names->set, names->checkpoint, names->done, error);
  if (!result) result = read_position(s, conn, names->type, names->other, &other, error);
  if (other > names->checkpoint->position) *names->done = false;
  if (result || !*names->done) return result;
  *keep = true;
  result = replace_rows(s, conn, names, error);
  if (!result) result = advance_to(s, conn, names->type, names->other, names->checkpoint, error);
  return result ? result : advance_to(s, conn, names->type, names->set, &first, error);
}

static int replace(store *base, const char *type, const char *set, const char *other, const store_head_info *checkpoint,
                   bool *done, annal_error *error) {
  set_names names = {.type = type, .set = set, .other = other, .checkpoint = checkpoint, .done = done};
  int result = write_in(base, replace_body, &names, error);
  if (result) *done = false;
  return result;
}

static int finish_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const set_names *names = context;
  store_head_info first = {0};
  *keep = true;
  return advance_to(s, conn, names->type, names->set, &first, error);
}

static int finish_set(store *base, const char *type, const char *set, annal_error *error) {
  set_names names = {.type = type, .set = set};
  return write_in(base, finish_body, &names, error);
}

/* ---- Removing what nobody uses ------------------------------------------------------------------------------------------------ */

static int each_name(store *base, const char *type, store_each_name *each, void *context, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = prepare_texts(conn, s->sql[SQL_KEPT_NAMES], &type, 1, &stmt, error);
  while (!result && (result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    const char *set = (const char *)sqlite3_column_text(stmt, 0);
    if (set) each(context, set, sqlite3_column_int64(stmt, 1));
    result = set ? ANNAL_OK : error_memory(error);
    if (result) sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

typedef struct removal {
  set_names names;
  const char *kept;
  int64_t untouched_since;
  bool *more;
} removal;

static int remove_body(sqlite_store *s, sqlite_conn *conn, void *context, bool *keep, annal_error *error) {
  const removal *r = context;
  char key[STORE_KEPT_KEY_BYTES];
  store_kept_key(r->names.type, key);
  const char *texts[] = {r->names.type, r->names.set, key, r->kept};
  store_head_info first = {0};
  sqlite3_stmt *stmt;
  int changed = 0;
  int result = prepare_texts(conn, s->sql[SQL_KEPT_REMOVE_ROWS], texts, 4, &stmt, error);
  if (result) return result;
  sqlite3_bind_int64(stmt, 5, r->untouched_since);
  result = finish(conn, stmt, &changed, error);
  *keep = true;
  *r->more = changed > 0;
  if (result || changed > 0) return result;
  /* Nothing is left of it, or it is used again: only then rows are left. */
  int64_t rows = 0;
  result = prepare_texts(conn, s->sql[SQL_KEPT_HAS_ROWS], texts, 2, &stmt, error);
  if (!result) result = sqlite_step(conn, stmt, error);
  if (result == SQLITE_ROW) rows = sqlite3_column_int64(stmt, 0);
  if (result < 0) return result;
  sqlite_done(stmt);
  if (rows) return ANNAL_OK;
  result = run_texts(s, conn, SQL_KEPT_DROP_PARKED, r->names.type, r->names.set, NULL, error);
  return result ? result : advance_to(s, conn, r->names.type, r->names.set, &first, error);
}

static int remove_some(store *base, const char *type, const char *set, const char *kept, int64_t untouched_since, bool *more,
                       annal_error *error) {
  removal r = {.names = {.type = type, .set = set}, .kept = kept, .untouched_since = untouched_since, .more = more};
  *more = false;
  return write_in(base, remove_body, &r, error);
}

/* ---- Looking at them ---------------------------------------------------------------------------------------------------------- */

static int each_set(store *base, store_each_set *each, void *context, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = sqlite_prepare(conn, s->sql[SQL_KEPT_SETS], &stmt, error);
  while (!result && (result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    store_set_figures set = {.type = (const char *)sqlite3_column_text(stmt, 0),
                             .set = (const char *)sqlite3_column_text(stmt, 1),
                             .rows = sqlite3_column_int64(stmt, 2),
                             .has_checkpoint = sqlite3_column_type(stmt, 3) != SQLITE_NULL,
                             .position = sqlite3_column_int64(stmt, 3),
                             .touched_at = sqlite3_column_int64(stmt, 4),
                             .parked_count = sqlite3_column_int64(stmt, 5),
                             .next_at = sqlite3_column_int64(stmt, 6)};
    result = set.type && set.set ? ANNAL_OK : error_memory(error);
    if (!result) each(context, &set);
    else sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int each_parked(store *base, const char *type, const char *set, const char *after, size_t limit, store_each_parked *each,
                       void *context, annal_error *error) {
  sqlite_store *s = (sqlite_store *)base;
  const char *texts[] = {type, set, after};
  sqlite_conn *conn;
  sqlite3_stmt *stmt;
  int result = sqlite_take_reader(s, &conn, error);
  if (result) return result;
  result = prepare_texts(conn, s->sql[SQL_KEPT_PARKED], texts, 3, &stmt, error);
  if (!result) sqlite3_bind_int64(stmt, 4, (int64_t)limit);
  while (!result && (result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    store_parked parked = {.id = (const char *)sqlite3_column_text(stmt, 0),
                           .event_id = (const char *)sqlite3_column_text(stmt, 1),
                           .error = (const char *)sqlite3_column_text(stmt, 2)};
    result = parked.id && parked.event_id && parked.error ? ANNAL_OK : error_memory(error);
    if (!result) each(context, &parked);
    else sqlite_done(stmt);
  }
  sqlite_give_back(conn);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static size_t at_once(const store *base) {
  (void)base;
  return SIZE_MAX;
}

const store_kept_backend sqlite_kept = {.at_once = at_once,
                                        .meta_get = meta_get,
                                        .meta_swap = meta_swap,
                                        .make = make,
                                        .look = look,
                                        .has_rows = has_rows,
                                        .begin = begin,
                                        .reset = reset,
                                        .replace = replace,
                                        .finish = finish_set,
                                        .names = each_name,
                                        .newest = newest,
                                        .remove_some = remove_some,
                                        .sets = each_set,
                                        .parked = each_parked};
