/* Tables and their migrations. Role: decides at open whether a schema holds this store, another one, something foreign or
 * nothing; makes and extends what is annal's, in one transaction, under a lock against another opener. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was found. */
typedef struct found {
  const char *table; /* the first of our names that is taken; borrowed from the options or static */
  bool meta, events, projections;
  int64_t version, oldest; /* of annal_meta; 0: it has none */
  int64_t functions;       /* their revision */
  bool functions_differ;   /* from those that this program makes, which are as new or newer, and which this role may put there */
  char event_names[64], projection_names[64];
  PGresult *rows; /* of annal_meta, by key */
} found;

static void found_free(found *f) {
  PQclear(f->rows);
  *f = (found){0};
}

static const char *meta_value(const found *f, const char *key) {
  for (int i = 0; f->rows && i < PQntuples(f->rows); i++)
    if (strcmp(PQgetvalue(f->rows, i, 0), key) == 0) return PQgetvalue(f->rows, i, 1);
  return NULL;
}

/* ---- Looking --------------------------------------------------------------------------------------------------------------- */

static int look_for_tables(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  const char *names[] = {s->names.events, s->names.projections, "annal_meta", "annal_checkpoints", "annal_parked"};
  bool taken[5] = {false};
  pg_array array;
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, s->base.env);
  pg_array_init(&array, s->base.env, PG_TEXT);
  for (size_t i = 0; i < 5; i++) pg_array_text(&array, names[i]);
  pg_params_text(&params, s->names.schema);
  pg_array_param(&array, &params);
  pg_params_text(&params, s->names.events);
  int code = pg_query(s, conn, postgres_sql("state.sql", NULL), &params, call, &result, error);
  for (int i = 0; !code && i < PQntuples(result); i++) {
    for (size_t j = 0; j < 5; j++) taken[j] |= strcmp(PQgetvalue(result, i, 0), names[j]) == 0;
    if (pg_int(result, i, 2)) atomic_store(&s->has_large, true);
  }
  for (size_t j = 5; j-- > 0;)
    if (taken[j]) f->table = names[j];
  f->events = taken[0];
  f->projections = taken[1];
  f->meta = taken[2];
  PQclear(result);
  pg_params_free(&params);
  pg_array_free(&array);
  return code;
}

static int read_meta(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  base_buf sql;
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, NULL, "meta_read.sql");
  int code = sql.failed ? error_memory(error) : pg_query(s, conn, sql.bytes, NULL, call, &f->rows, error);
  buf_free(&sql);
  /* A table of that name with other columns is somebody else's. */
  if (code && strcmp(error->sqlstate, "42703") == 0) return store_fail_foreign(error, s->place, "annal_meta");
  if (code) return code;
  const char *version = meta_value(f, "tables_version"), *oldest = meta_value(f, "oldest_program");
  const char *events = meta_value(f, "events"), *projections = meta_value(f, "projections");
  if (!version || !oldest || !events || !projections || !text_to_int(version, &f->version) || !text_to_int(oldest, &f->oldest))
    return store_fail_foreign(error, s->place, "annal_meta");
  const char *functions = meta_value(f, PG_FUNCTIONS_KEY);
  if (!functions || !text_to_int(functions, &f->functions)) f->functions = 1;
  snprintf(f->event_names, sizeof f->event_names, "%s", events);
  snprintf(f->projection_names, sizeof f->projection_names, "%s", projections);
  return ANNAL_OK;
}

static int look(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  found_free(f);
  int code = look_for_tables(s, conn, call, f, error);
  if (code) return code;
  if (!f->meta) return f->table ? store_fail_foreign(error, s->place, f->table) : ANNAL_OK;
  code = read_meta(s, conn, call, f, error);
  if (code) return code;
  if (f->version > STORE_TABLES_VERSION && f->oldest > STORE_TABLES_VERSION)
    return store_fail_newer(error, s->place, f->version, f->oldest);
  if (strcmp(f->event_names, s->names.events) != 0 || strcmp(f->projection_names, s->names.projections) != 0)
    return store_fail_names(error, s->place, f->event_names, f->projection_names);
  if (!f->events || !f->projections)
    return error_set(error, ANNAL_CORRUPT, NULL, "%s lacks its table \"%s\"", s->place,
                     f->events ? s->names.projections : s->names.events);
  return ANNAL_OK;
}

/* ---- What is missing ------------------------------------------------------------------------------------------------------- */

static bool lacks_field(const found *f, const char *on, const char *field) {
  char key[PG_KEY_BYTES];
  pg_field_key(on, field, key);
  return !meta_value(f, key);
}

/* The fields that are declared now and were not; a name that comes twice is met by `f` only once, so it is looked for before. */
static void render_fields(base_buf *sql, const pg_store *s, const found *f, const char *on, const char *const *fields,
                          size_t count) {
  for (size_t i = 0; i < count; i++) {
    bool again = !lacks_field(f, on, fields[i]);
    for (size_t j = 0; j < i && !again; j++) again = strcmp(fields[j], fields[i]) == 0;
    if (!again) pg_render_declared(sql, &s->names, on, fields[i]);
  }
}

/* Looks at an index of the user's: *there says whether it was made. */
static int own_index_there(const found *f, const annal_index *index, bool *there, annal_error *error) {
  char key[PG_KEY_BYTES];
  pg_own_index_key(index, key);
  const char *known = meta_value(f, key);
  *there = known != NULL;
  if (!known || strcmp(known, index->sql) == 0) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\" is there with other sql; give the new one another name",
                   index->name);
}

static int is_complete(const pg_store *s, const found *f, bool *complete, annal_error *error) {
  const annal_options *options = s->base.options;
  *complete = true;
  for (size_t i = 0; i < options->data_index_count; i++) *complete &= !lacks_field(f, "events", options->data_indexes[i]);
  for (size_t i = 0; i < options->projection_index_count; i++)
    *complete &= !lacks_field(f, "projections", options->projection_indexes[i]) &&
                 !lacks_field(f, "order", options->projection_indexes[i]);
  for (size_t i = 0; i < options->index_count; i++) {
    bool there;
    int code = own_index_there(f, &options->indexes[i], &there, error);
    if (code) return code;
    *complete &= there;
  }
  return ANNAL_OK;
}

/* The declared fields, as remembered: the store's copy of them. */
static int take_fields(pg_store *s, const found *f, annal_error *error) {
  static const char on_events[] = "data_index:", on_views[] = "projection_index:";
  int code = ANNAL_OK;
  store_free_fields(&s->base);
  for (int i = 0; i < PQntuples(f->rows) && !code; i++) {
    const char *key = PQgetvalue(f->rows, i, 0);
    if (strncmp(key, on_events, sizeof on_events - 1) == 0)
      code = store_add_field(&s->base, &s->base.event_fields, key + sizeof on_events - 1, error);
    else if (strncmp(key, on_views, sizeof on_views - 1) == 0)
      code = store_add_field(&s->base, &s->base.view_fields, key + sizeof on_views - 1, error);
  }
  return code;
}

/* Functions that were corrected, or lost a branch, are put right by whoever may; for others it is the owner's to do. */
static int look_at_functions(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  pg_functions there;
  if (s->base.options->read_only || f->functions > PG_FUNCTIONS_REVISION) return ANNAL_OK;
  int code = take_fields(s, f, error);
  if (!code) code = pg_look_at_functions(s, conn, call, &there, error);
  if (code) return code;
  bool differ = there.differ || f->functions < PG_FUNCTIONS_REVISION;
  f->functions_differ = differ && there.ours;
  if (differ && !there.ours)
    base_log(s->base.env, "warn", "%s: its functions are not those of this annal; open it once as the owner of the schema",
             s->place);
  return ANNAL_OK;
}

/* ---- Changing -------------------------------------------------------------------------------------------------------------- */

/* Only the owner can change tables; the server's "permission denied" or "must be owner" does not say what to do. */
static int explain(pg_store *s, const char *what, annal_error *error) {
  if (strcmp(error->sqlstate, "42501") != 0) return error->code;
  char message[512];
  snprintf(message, sizeof message, "%.500s", error->message);
  error_set(error, ANNAL_UNAVAILABLE, NULL,
            "%s: the role \"%s\" may not %s; open it once as the owner of the schema, or run what annal schema prints (%s)",
            s->place, s->role, what, message);
  error->retryable = false;
  snprintf(error->sqlstate, sizeof error->sqlstate, "42501");
  return error->code;
}

/* Two openers wait for each other here; the second finds the work done. */
static int begin_change(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  char hash[HASH_TEXT_BYTES], sql[256];
  hash_text(s->names.schema, strlen(s->names.schema), hash);
  hash[7] = 0; /* 28 bits: a number that an int4 holds */
  snprintf(sql, sizeof sql,
           "begin isolation level read committed; set local statement_timeout = 0; select pg_advisory_xact_lock(%d, %ld)",
           PG_LOCK_SCHEMA, strtol(hash, NULL, 16));
  return pg_script(s, conn, sql, call, error);
}

static int end_change(pg_store *s, pg_conn *conn, const pg_call *call, int code, annal_error *error) {
  if (!code) return pg_script(s, conn, "commit", call, error);
  annal_error ignored;
  if (!pg_lost(conn) && pg_script(s, conn, "rollback", call, &ignored)) pg_disconnect(s, conn);
  return code;
}

static int make_store(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  base_buf sql;
  buf_init(&sql, s->base.env);
  pg_render_store(&sql, &s->names, s->base.options);
  int code = sql.failed ? error_memory(error) : pg_script(s, conn, sql.bytes, call, error);
  buf_free(&sql);
  return code;
}

/* The functions are made again with a branch for each identifier that is declared now, by whomever; but not over those of a newer
 * program, which knows better what they must do. */
static int remake_functions(pg_store *s, pg_conn *conn, const pg_call *call, bool declared, annal_error *error) {
  found now = {0};
  int code = read_meta(s, conn, call, &now, error);
  if (!code && now.functions > PG_FUNCTIONS_REVISION) {
    if (declared)
      code =
          error_set(error, ANNAL_MISUSE, "data_indexes",
                    "%s has functions of a newer annal (revision %lld, and this one makes %d): declare the fields with that one",
                    s->place, (long long)now.functions, PG_FUNCTIONS_REVISION);
  } else if (!code) {
    code = take_fields(s, &now, error);
    if (!code) code = pg_make_functions(s, conn, call, error);
  }
  found_free(&now);
  return code;
}

/* Sent as one statement with parameters (none), which the server takes only one of: what is more in `sql` is refused. */
static int make_own_index(pg_store *s, pg_conn *conn, const annal_index *index, const pg_call *call, annal_error *error) {
  base_buf sql;
  PGresult *result = NULL;
  buf_init(&sql, s->base.env);
  pg_render_own_index(&sql, &s->names, index);
  int code = sql.failed ? error_memory(error) : pg_query(s, conn, sql.bytes, NULL, call, &result, error);
  PQclear(result);
  if (code && code != ANNAL_UNAVAILABLE && error->sqlstate[0] == '4') {
    char message[512], state[sizeof error->sqlstate];
    snprintf(message, sizeof message, "%.500s", error->message);
    memcpy(state, error->sqlstate, sizeof state);
    code = error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\": %s", index->name, message);
    memcpy(error->sqlstate, state, sizeof state);
  }
  buf_clear(&sql);
  pg_render_own_index_row(&sql, &s->names, index);
  if (!code) code = sql.failed ? error_memory(error) : pg_script(s, conn, sql.bytes, call, error);
  buf_free(&sql);
  return code;
}

/* The server would refuse a value that is too long for an index in words of its own, and those between its limit and ours not
 * at all. */
static int check_lengths(pg_store *s, pg_conn *conn, const pg_call *call, const found *f, bool on_events, annal_error *error) {
  const annal_options *options = s->base.options;
  size_t count = on_events ? options->data_index_count : options->projection_index_count;
  int code = ANNAL_OK;
  for (size_t i = 0; i < count && !code; i++) {
    const char *field = on_events ? options->data_indexes[i] : options->projection_indexes[i];
    if (!lacks_field(f, on_events ? "events" : "projections", field)) continue;
    PGresult *result = NULL;
    query q;
    base_buf table;
    buf_init(&table, s->base.env);
    pg_add_name(&table, s->names.schema);
    buf_char(&table, '.');
    pg_add_name(&table, on_events ? s->names.events : s->names.projections);
    query_init(&q, s->base.env, &pg_dialect);
    query_select_long(&q, table.bytes ? table.bytes : "", field, "octet_length(", ")");
    code = q.failed || table.failed ? error_memory(error) : pg_query(s, conn, q.sql.bytes, NULL, call, &result, error);
    if (!code && PQntuples(result) > 0)
      code = query_fail_long(error, on_events, field, pg_int(result, 0, 0), PQgetvalue(result, 0, 1), pg_int(result, 0, 2));
    PQclear(result);
    query_free(&q);
    buf_free(&table);
  }
  return code;
}

static int extend_store(pg_store *s, pg_conn *conn, const pg_call *call, const found *f, annal_error *error) {
  const annal_options *options = s->base.options;
  base_buf sql;
  buf_init(&sql, s->base.env);
  render_fields(&sql, s, f, "projections", options->projection_indexes, options->projection_index_count);
  render_fields(&sql, s, f, "order", options->projection_indexes, options->projection_index_count);
  size_t before = sql.size;
  render_fields(&sql, s, f, "events", options->data_indexes, options->data_index_count);
  bool identifiers = sql.size > before;
  int code = sql.failed ? error_memory(error) : check_lengths(s, conn, call, f, true, error);
  if (!code) code = check_lengths(s, conn, call, f, false, error);
  if (!code && sql.size > 0) code = pg_script(s, conn, sql.bytes, call, error);
  if (!code && (identifiers || f->functions_differ)) code = remake_functions(s, conn, call, identifiers, error);
  buf_free(&sql);
  for (size_t i = 0; i < options->index_count && !code; i++) {
    bool there;
    code = own_index_there(f, &options->indexes[i], &there, error);
    if (!code && !there) code = make_own_index(s, conn, &options->indexes[i], call, error);
  }
  return code;
}

static int change(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  pg_call patient = *call; /* an index on a large log takes its time; an interrupt still ends it */
  patient.deadline = INT64_MAX - PG_GRACE;
  bool was_there = f->meta;
  int code = begin_change(s, conn, &patient, error);
  if (!code) code = look(s, conn, &patient, f, error);
  if (!code && !f->meta) {
    code = make_store(s, conn, &patient, error);
    if (!code) code = look(s, conn, &patient, f, error);
  }
  if (!code) code = look_at_functions(s, conn, &patient, f, error);
  if (!code) code = extend_store(s, conn, &patient, f, error);
  code = end_change(s, conn, &patient, code, error);
  return code ? explain(s, was_there ? "add the indexes that are declared" : "make a store there", error) : ANNAL_OK;
}

/* Whether we may, and whether it is worth the attempt: a refusal would stand in the server's log at every open. */
static bool may_index(pg_store *s, pg_conn *conn, const pg_call *call) {
  annal_error ignored;
  base_buf sql;
  PGresult *result = NULL;
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, NULL, "may_index.sql");
  bool may = !sql.failed && pg_query(s, conn, sql.bytes, NULL, call, &result, &ignored) == ANNAL_OK && PQntuples(result) == 1 &&
             pg_int(result, 0, 0);
  PQclear(result);
  buf_free(&sql);
  return may;
}

static int make_correlations(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  base_buf sql;
  int code = look(s, conn, call, f, error);
  if (code || meta_value(f, PG_CORRELATION_KEY)) return code;
  buf_init(&sql, s->base.env);
  pg_render_correlation(&sql, &s->names);
  code = sql.failed ? error_memory(error) : pg_script(s, conn, sql.bytes, call, error);
  buf_free(&sql);
  return code;
}

/* A store of an older program gets its index of correlations when somebody opens it who may make one. It is a help and no more: who
 * may not, or cannot now, opens the store without it. */
static int index_correlations(pg_store *s, pg_conn *conn, const pg_call *call, found *f, annal_error *error) {
  pg_call patient = *call;
  annal_error failure;
  if (s->base.options->read_only || meta_value(f, PG_CORRELATION_KEY) || !may_index(s, conn, call)) return ANNAL_OK;
  patient.deadline = INT64_MAX - PG_GRACE;
  int code = begin_change(s, conn, &patient, &failure);
  if (!code) code = make_correlations(s, conn, &patient, f, &failure);
  code = end_change(s, conn, &patient, code, &failure);
  if (code) base_log(s->base.env, "warn", "%s: the index of correlations cannot be made: %s", s->place, failure.message);
  if (code && pg_lost(conn)) {
    *error = failure;
    return code;
  }
  return look(s, conn, call, f, error);
}

int pg_schema_prepare(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  found f = {0};
  const annal_options *options = s->base.options;
  int code = look(s, conn, call, &f, error);
  if (!code && !f.meta && (options->read_only || options->no_create)) code = store_fail_missing(error, s->place);
  bool complete = false;
  if (!code && f.meta) code = is_complete(s, &f, &complete, error);
  if (!code && f.meta) code = look_at_functions(s, conn, call, &f, error);
  complete &= !f.functions_differ;
  if (!code && !complete && !options->read_only) {
    code = change(s, conn, call, &f, error);
    if (!code) code = look(s, conn, call, &f, error);
  }
  if (!code) code = index_correlations(s, conn, call, &f, error);
  if (!code) code = take_fields(s, &f, error);
  found_free(&f);
  return code;
}
