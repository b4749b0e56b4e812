/* Tables and indexes: found, made, migrated, declared. Role: what stands between an open file and a store; the names of tables
 * enter the embedded SQL here and nowhere else. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/hash.h"
#include <stdio.h>
#include <string.h>

/* ---- Dialect ----------------------------------------------------------------------------------------------------------- */

static void add_placeholder(base_buf *sql, size_t number, bool integer) {
  (void)integer;
  buf_char(sql, '?');
  buf_int(sql, (int64_t)number);
}

/* Appends the text with column and name, in turns, for its %. */
static void add_filled(base_buf *sql, const char *text, const char *column, const char *name) {
  bool column_next = true;
  for (const char *mark; (mark = strchr(text, '%')); text = mark + 1, column_next = !column_next) {
    buf_add(sql, text, (size_t)(mark - text));
    buf_text(sql, column_next ? column : name);
  }
  buf_text(sql, text);
}

/* SQLite's ->> answers in its own types (1 is not '1', true is 1, integers of 20 digits are floats): only a string may go through
 * it, everything else is taken as its JSON text. The same expression makes the indexes. */
static void add_field(base_buf *sql, const char *column, const char *name) {
  add_filled(sql, "CASE json_type(%,'$.%') WHEN 'text' THEN %->>'$.%' WHEN 'null' THEN NULL ELSE %->'$.%' END", column, name);
}

static void add_field_is_scalar(base_buf *sql, const char *column, const char *name) {
  add_filled(sql, "json_type(%,'$.%') NOT IN ('object', 'array')", column, name);
}

/* SQLite's own number stands for a double up to the last bit, which its reading of decimals may miss, but never turns two of them
 * around; so an index of it finds what the last term then decides. */
static void add_order_term(base_buf *sql, const char *column, const char *name, size_t term) {
  static const char *const texts[] = {
      [ORDER_TERM_KIND] =
          "CASE json_type(%,'$.%') WHEN 'false' THEN 1 WHEN 'true' THEN 2 WHEN 'integer' THEN 3 WHEN 'real' THEN 3 "
          "WHEN 'text' THEN 4 WHEN 'array' THEN 5 WHEN 'object' THEN 6 ELSE 0 END",
      [ORDER_TERM_NUMBER] = "CASE WHEN json_type(%,'$.%') IN ('integer','real') THEN %->>'$.%' ELSE 0 END",
      [ORDER_TERM_TEXT] = "CASE json_type(%,'$.%') WHEN 'text' THEN %->>'$.%' WHEN 'array' THEN %->'$.%' WHEN 'object' THEN "
                          "%->'$.%' ELSE '' END",
      [ORDER_TERMS_OF_INDEX] = SQLITE_ORDER_FUNCTION "(%,'%')"};
  add_filled(sql, texts[term], column, name);
}

/* The same term of a document that has the value. */
static void add_order_value(query *q, const char *name, size_t term, const order_place *place) {
  char placeholder[24];
  query_bind_text(q, place->document.bytes);
  snprintf(placeholder, sizeof placeholder, "?%zu", q->count);
  add_order_term(&q->sql, placeholder, name, term);
  q->failed |= q->sql.failed;
}

const query_dialect sqlite_dialect = {.placeholder = add_placeholder,
                                      .field = add_field,
                                      .field_is_scalar = add_field_is_scalar,
                                      .type_beside_index = "+e.type", /* for a list SQLite would build a table each time */
                                      .order_exact = ORDER_TERMS_OF_INDEX,
                                      .order_terms = ORDER_TERMS_OF_INDEX + 1,
                                      .order_term = add_order_term,
                                      .order_value = add_order_value};

/* ---- Names into SQL ---------------------------------------------------------------------------------------------------- */

void sqlite_quote(base_buf *out, const char *name, char quote) {
  buf_char(out, quote);
  for (; *name; name++) {
    if (*name == quote) buf_char(out, quote);
    buf_char(out, *name);
  }
  buf_char(out, quote);
}

static const char *find_token(const char *name, size_t size, const sqlite_token *tokens, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strlen(tokens[i].name) == size && strncmp(tokens[i].name, name, size) == 0) return tokens[i].text;
  return NULL;
}

void sqlite_expand(base_buf *out, const char *text, const sqlite_token *tokens, size_t count) {
  for (const char *brace; (brace = strchr(text, '{')); text = strchr(brace, '}') + 1) {
    buf_add(out, text, (size_t)(brace - text));
    const char *value = find_token(brace + 1, (size_t)(strchr(brace, '}') - brace - 1), tokens, count);
    if (value) buf_text(out, value);
    else out->failed = true;
  }
  buf_text(out, text);
}

/* All that an embedded file may name. Some of it is of one index; the rest of the store. */
typedef struct schema_names {
  base_buf events, projections, events_text, projections_text, type_index, type_index_text; /* quoted */
  base_buf index, index_text, field, order, name_text;
} schema_names;

static base_buf *each_name(schema_names *names, size_t i) {
  base_buf *all[] = {&names->events,     &names->projections,     &names->events_text, &names->projections_text,
                     &names->type_index, &names->type_index_text, &names->index,       &names->index_text,
                     &names->field,      &names->order,           &names->name_text};
  return i < sizeof all / sizeof all[0] ? all[i] : NULL;
}

static void index_name(const char *on, const char *field, char name[HASH_TEXT_BYTES + 6]) {
  char text[160], hash[HASH_TEXT_BYTES];
  snprintf(text, sizeof text, "%s:%s", on, field);
  hash_text(text, strlen(text), hash);
  snprintf(name, HASH_TEXT_BYTES + 6, "annal_%s", hash);
}

static void names_init(schema_names *names, const base_env *env, const annal_options *options) {
  for (size_t i = 0; each_name(names, i); i++) buf_init(each_name(names, i), env);
  char type_index[HASH_TEXT_BYTES + 6];
  index_name("events", "type, position", type_index);
  sqlite_quote(&names->events, options->events, '"');
  sqlite_quote(&names->projections, options->projections, '"');
  sqlite_quote(&names->events_text, options->events, '\'');
  sqlite_quote(&names->projections_text, options->projections, '\'');
  sqlite_quote(&names->type_index, type_index, '"');
  sqlite_quote(&names->type_index_text, type_index, '\'');
}

/* Names the index of one declared field next; `on` is "events", "projections", or "order" for a field of these in its order. */
static void names_set_field(schema_names *names, const char *on, const char *field) {
  char index[HASH_TEXT_BYTES + 6];
  index_name(on, field, index);
  buf_clear(&names->index);
  buf_clear(&names->index_text);
  buf_clear(&names->field);
  buf_clear(&names->order);
  buf_clear(&names->name_text);
  sqlite_quote(&names->index, index, '"');
  sqlite_quote(&names->index_text, index, '\'');
  sqlite_quote(&names->name_text, field, '\'');
  add_field(&names->field, "data", field);
  for (size_t term = 0; term < ORDER_TERMS_OF_INDEX; term++) {
    if (term) buf_text(&names->order, ", ");
    add_order_term(&names->order, "data", field, term);
  }
}

/* Names the index of correlations next. */
static void names_set_correlation(schema_names *names) {
  char index[HASH_TEXT_BYTES + 6];
  names_set_field(names, "events", QUERY_CORRELATION);
  index_name("events", "metadata." QUERY_CORRELATION, index);
  buf_clear(&names->index);
  buf_clear(&names->index_text);
  buf_clear(&names->field);
  sqlite_quote(&names->index, index, '"');
  sqlite_quote(&names->index_text, index, '\'');
  add_field(&names->field, "metadata", QUERY_CORRELATION);
}

static void names_free(schema_names *names) {
  for (size_t i = 0; each_name(names, i); i++) buf_free(each_name(names, i));
}

static void expand_file(base_buf *out, schema_names *names, const char *file) {
  for (size_t i = 0; each_name(names, i); i++)
    if (each_name(names, i)->failed) out->failed = true;
  if (out->failed) return;
  const sqlite_token tokens[] = {{"events", names->events.bytes},
                                 {"projections", names->projections.bytes},
                                 {"events_text", names->events_text.bytes},
                                 {"projections_text", names->projections_text.bytes},
                                 {"type_index", names->type_index.bytes},
                                 {"type_index_text", names->type_index_text.bytes},
                                 {"index", names->index.bytes},
                                 {"index_text", names->index_text.bytes},
                                 {"field", names->field.bytes},
                                 {"order", names->order.bytes},
                                 {"name_text", names->name_text.bytes}};
  sqlite_expand(out, sqlite_sql(file, NULL), tokens, sizeof tokens / sizeof *tokens);
}

/* A statement as the cache of statements knows it: without the comment before it and the semicolon behind. */
static char *bare_statement(const base_env *env, const char *text) {
  while (strncmp(text, "--", 2) == 0) text += strcspn(text, "\n") + 1;
  const char *end = strrchr(text, ';');
  return base_strndup(env, text, end ? (size_t)(end - text) : strlen(text));
}

int sqlite_load_sql(sqlite_store *s, annal_error *error) {
  static const char *const files[SQL_COUNT] = {[SQL_CHECK_INDEXES] = "check_indexes.sql",
                                               [SQL_CHECK_ROWS] = "check_rows.sql",
                                               [SQL_EVENT_BY_ID] = "event_by_id.sql",
                                               [SQL_FIND] = "find.sql",
                                               [SQL_HEAD] = "head.sql",
                                               [SQL_INSERT_EVENT] = "insert_event.sql",
                                               [SQL_INSERT_ROW] = "insert_row.sql",
                                               [SQL_KEPT_ADVANCE] = "kept_advance.sql",
                                               [SQL_KEPT_CHECKPOINT] = "kept_checkpoint.sql",
                                               [SQL_KEPT_DROP_PARKED] = "kept_drop_parked.sql",
                                               [SQL_KEPT_DROP_ROWS] = "kept_drop_rows.sql",
                                               [SQL_KEPT_HAS_ROWS] = "kept_has_rows.sql",
                                               [SQL_KEPT_LOOK] = "kept_look.sql",
                                               [SQL_KEPT_MAKE] = "kept_make.sql",
                                               [SQL_KEPT_META_GET] = "kept_meta_get.sql",
                                               [SQL_KEPT_META_NEW] = "kept_meta_new.sql",
                                               [SQL_KEPT_META_SWAP] = "kept_meta_swap.sql",
                                               [SQL_KEPT_NAMES] = "kept_names.sql",
                                               [SQL_KEPT_NEWEST] = "kept_newest.sql",
                                               [SQL_KEPT_PARK] = "kept_park.sql",
                                               [SQL_KEPT_PARKED] = "kept_parked.sql",
                                               [SQL_KEPT_PUT_ROW] = "kept_put_row.sql",
                                               [SQL_KEPT_REMOVE_ROWS] = "kept_remove_rows.sql",
                                               [SQL_KEPT_REPLACE_BEHIND] = "kept_replace_behind.sql",
                                               [SQL_KEPT_REPLACE_OLD] = "kept_replace_old.sql",
                                               [SQL_KEPT_REPLACE_PARKED] = "kept_replace_parked.sql",
                                               [SQL_KEPT_REPLACE_ROWS] = "kept_replace_rows.sql",
                                               [SQL_KEPT_RESUME] = "kept_resume.sql",
                                               [SQL_KEPT_ROW] = "kept_row.sql",
                                               [SQL_KEPT_SETS] = "kept_sets.sql",
                                               [SQL_KEPT_TOUCH] = "kept_touch.sql",
                                               [SQL_LOOK] = "look.sql",
                                               [SQL_META] = "meta.sql",
                                               [SQL_OTHER_SETS] = "other_sets.sql",
                                               [SQL_POSITION_AT_TIME] = "position_at_time.sql",
                                               [SQL_POSITION_OF] = "position_of.sql",
                                               [SQL_PROBE] = "probe.sql",
                                               [SQL_PUT_META] = "put_meta.sql",
                                               [SQL_QUERY_KEPT] = "query_kept.sql",
                                               [SQL_QUERY_OWN] = "query_own.sql",
                                               [SQL_QUERY_ROWS] = "query_rows.sql",
                                               [SQL_QUERY_STALE_ROWS] = "query_stale_rows.sql",
                                               [SQL_ROW] = "row.sql",
                                               [SQL_ROW_POSITION] = "row_position.sql",
                                               [SQL_UPDATE_ROW] = "update_row.sql"};
  const base_env *env = s->base.env;
  schema_names names;
  names_init(&names, env, s->base.options);
  bool ok = true;
  for (size_t i = 0; i < SQL_COUNT && ok; i++) {
    base_buf text;
    buf_init(&text, env);
    expand_file(&text, &names, files[i]);
    s->sql[i] = text.failed ? NULL : bare_statement(env, text.bytes);
    ok = s->sql[i] != NULL;
    buf_free(&text);
  }
  if (ok) s->events = base_strdup(env, names.events.bytes);
  names_free(&names);
  return ok && s->events ? ANNAL_OK : error_memory(error);
}

/* ---- What is there ----------------------------------------------------------------------------------------------------- */

typedef struct schema_found {
  bool meta;
  bool other; /* a table of ours without annal_meta */
  char other_name[64];
  int64_t version;
  int64_t oldest;
  char events[64];
  char projections[64];
} schema_found;

static void copy_name(char out[64], const unsigned char *text) { snprintf(out, 64, "%s", text ? (const char *)text : ""); }

static int look_at_names(sqlite_store *s, sqlite_conn *conn, schema_found *found, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_LOOK], &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, s->base.options->events);
  sqlite_bind(stmt, 2, s->base.options->projections);
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(stmt, 0);
    if (name && strcmp(name, "annal_meta") == 0) {
      found->meta = true;
    } else if (!found->other) {
      found->other = true;
      copy_name(found->other_name, sqlite3_column_text(stmt, 0));
    }
  }
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int look_at_meta(sqlite_store *s, sqlite_conn *conn, schema_found *found, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_META], &stmt, error);
  if (result == ANNAL_INVALID) return store_fail_foreign(error, s->path, "annal_meta"); /* it has other columns */
  if (result) return result;
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    const char *key = (const char *)sqlite3_column_text(stmt, 0);
    if (!key) continue;
    if (strcmp(key, "tables_version") == 0) found->version = sqlite3_column_int64(stmt, 1);
    else if (strcmp(key, "oldest_program") == 0) found->oldest = sqlite3_column_int64(stmt, 1);
    else if (strcmp(key, "store_id") == 0) snprintf(s->store_id, sizeof s->store_id, "%s", sqlite3_column_text(stmt, 1));
    else if (strcmp(key, "events") == 0) copy_name(found->events, sqlite3_column_text(stmt, 1));
    else if (strcmp(key, "projections") == 0) copy_name(found->projections, sqlite3_column_text(stmt, 1));
  }
  if (result != SQLITE_DONE) return result;
  bool whole = found->version > 0 && found->oldest > 0 && s->store_id[0] && found->events[0] && found->projections[0];
  return whole ? ANNAL_OK : store_fail_foreign(error, s->path, "annal_meta");
}

/* Sorts what the file holds; refuses what cannot be opened, before anything is written. */
static int look(sqlite_store *s, sqlite_conn *conn, schema_found *found, annal_error *error) {
  const annal_options *options = s->base.options;
  *found = (schema_found){0};
  int result = look_at_names(s, conn, found, error);
  if (result) return result;
  if (!found->meta) {
    if (found->other) return store_fail_foreign(error, s->path, found->other_name);
    return options->read_only || (options->no_create && !s->memory) ? store_fail_missing(error, s->path) : ANNAL_OK;
  }
  result = look_at_meta(s, conn, found, error);
  if (result) return result;
  if (found->oldest > STORE_TABLES_VERSION) return store_fail_newer(error, s->path, found->version, found->oldest);
  if (strcmp(found->events, options->events) != 0 || strcmp(found->projections, options->projections) != 0)
    return store_fail_names(error, s->path, found->events, found->projections);
  return ANNAL_OK;
}

/* ---- Making ------------------------------------------------------------------------------------------------------------ */

static int run_file(sqlite_store *s, sqlite_conn *conn, schema_names *names, const char *file, annal_error *error) {
  base_buf script;
  buf_init(&script, s->base.env);
  expand_file(&script, names, file);
  int result = script.failed ? error_memory(error) : sqlite_script(conn, script.bytes, error);
  buf_free(&script);
  return result;
}

/* The value of a key of annal_meta: *there, and when `same` is wanted whether it equals. */
static int meta_value(sqlite_conn *conn, const char *prefix, const char *name, const char *expected, bool *there, bool *same,
                      annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, "SELECT value FROM annal_meta WHERE key = ?1 || ?2", &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, prefix);
  sqlite_bind(stmt, 2, name);
  result = sqlite_step(conn, stmt, error);
  if (result < 0) return result;
  *there = result == SQLITE_ROW;
  const char *value = *there ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
  *same = value && expected && strcmp(value, expected) == 0;
  if (*there) sqlite_done(stmt);
  return ANNAL_OK;
}

/* What the options declare and the file lacks: counted, or made. */
typedef struct declaring {
  sqlite_store *s;
  sqlite_conn *conn;
  schema_names names;
  bool make;
  size_t missing;
} declaring;

/* A value that no later save would get past. */
static int check_lengths(declaring *d, const char *on, const char *field, annal_error *error) {
  bool on_events = strcmp(on, "events") == 0;
  sqlite3_stmt *stmt = NULL;
  query q;
  query_init(&q, d->s->base.env, &sqlite_dialect);
  query_select_long(&q, on_events ? d->names.events.bytes : d->names.projections.bytes, field, "length(CAST((", ") AS BLOB))");
  int result = q.failed ? error_memory(error) : ANNAL_OK;
  if (!result) {
    int code = sqlite3_prepare_v2(d->conn->db, q.sql.bytes, -1, &stmt, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(stmt);
    if (code == SQLITE_ROW)
      result = query_fail_long(error, on_events, field, sqlite3_column_int64(stmt, 0), (const char *)sqlite3_column_text(stmt, 1),
                               sqlite3_column_int64(stmt, 2));
    else if (code != SQLITE_DONE) result = sqlite_fail(d->conn, code, error);
    sqlite3_finalize(stmt);
  }
  query_free(&q);
  return result;
}

static int declare_fields(declaring *d, const char *on, const char *prefix, const char *file, const char *const *fields,
                          size_t count, annal_error *error) {
  for (size_t i = 0; i < count; i++) {
    bool there = false, same = false;
    int result = meta_value(d->conn, prefix, fields[i], NULL, &there, &same, error);
    if (result) return result;
    if (there) continue;
    d->missing++;
    if (!d->make) continue;
    result = check_lengths(d, on, fields[i], error);
    if (result) return result;
    names_set_field(&d->names, on, fields[i]);
    result = run_file(d->s, d->conn, &d->names, file, error);
    if (result) return result;
  }
  return ANNAL_OK;
}

/* CREATE INDEX with the user's own text. */
static void add_own_index(base_buf *sql, const annal_options *options, const annal_index *index) {
  buf_text(sql, "CREATE INDEX ");
  sqlite_quote(sql, index->name, '"');
  buf_text(sql, " ON ");
  sqlite_quote(sql, strcmp(index->on, "events") == 0 ? options->events : options->projections, '"');
  buf_char(sql, ' ');
  buf_text(sql, index->sql);
}

/* Prepares and runs the user's text, which must be one statement. */
static int run_own_index(sqlite_conn *conn, const annal_index *index, const char *sql, annal_error *error) {
  sqlite3_stmt *stmt = NULL;
  const char *tail = "";
  int result = ANNAL_OK, code = sqlite3_prepare_v2(conn->db, sql, -1, &stmt, &tail);
  if (code == SQLITE_OK && tail[strspn(tail, " \t\r\n;")]) {
    result = error_set(error, ANNAL_MISUSE, "indexes", "the sql of index \"%s\" is more than one statement", index->name);
  } else if (code == SQLITE_OK) {
    code = sqlite3_step(stmt);
    if (code == SQLITE_DONE) code = SQLITE_OK;
  }
  if (code != SQLITE_OK && sqlite_is_content(code))
    result = error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\": %s", index->name, sqlite3_errmsg(conn->db));
  else if (code != SQLITE_OK) result = sqlite_fail(conn, code, error);
  sqlite3_finalize(stmt);
  return result;
}

static int create_own_index(declaring *d, const annal_index *index, annal_error *error) {
  base_buf sql;
  buf_init(&sql, d->s->base.env);
  add_own_index(&sql, d->s->base.options, index);
  int result = sql.failed ? error_memory(error) : run_own_index(d->conn, index, sql.bytes, error);
  buf_free(&sql);
  return result;
}

static int put_meta(sqlite_store *s, sqlite_conn *conn, const char *prefix, const char *name, const char *value,
                    annal_error *error) {
  char key[96];
  snprintf(key, sizeof key, "%s%s", prefix, name);
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, s->sql[SQL_PUT_META], &stmt, error);
  if (result) return result;
  sqlite_bind(stmt, 1, key);
  sqlite_bind(stmt, 2, value);
  result = sqlite_step(conn, stmt, error);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

static int declare_own_indexes(declaring *d, annal_error *error) {
  const annal_options *options = d->s->base.options;
  for (size_t i = 0; i < options->index_count; i++) {
    const annal_index *index = &options->indexes[i];
    char what[32];
    snprintf(what, sizeof what, "index:%s:", index->on);
    bool there = false, same = false;
    int result = meta_value(d->conn, what, index->name, index->sql, &there, &same, error);
    if (result) return result;
    if (there && !same)
      return error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\" is there with other sql; give the new one another name",
                       index->name);
    if (there) continue;
    d->missing++;
    if (!d->make) continue;
    result = create_own_index(d, index, error);
    if (!result) result = put_meta(d->s, d->conn, what, index->name, index->sql, error);
    if (result) return result;
  }
  return ANNAL_OK;
}

static int declare_all(declaring *d, annal_error *error) {
  const annal_options *options = d->s->base.options;
  d->missing = 0;
  int result =
      declare_fields(d, "events", "data_index:", "index_events.sql", options->data_indexes, options->data_index_count, error);
  if (!result)
    result = declare_fields(d, "projections", "projection_index:", "index_projections.sql", options->projection_indexes,
                            options->projection_index_count, error);
  if (!result)
    result = declare_fields(d, "order", "projection_order:", "index_projection_order.sql", options->projection_indexes,
                            options->projection_index_count, error);
  if (!result) result = declare_own_indexes(d, error);
  return result;
}

/* The write-ahead log, which readers and the one writer need. SQLite answers at once when another program is just doing the same,
 * without asking its busy handler. */
static int set_wal(sqlite_store *s, sqlite_conn *conn, annal_error *error) {
  if (s->memory) return ANNAL_OK;
  for (;;) {
    sqlite3_stmt *stmt;
    int result = sqlite_prepare(conn, "PRAGMA journal_mode = WAL", &stmt, error);
    if (result) return result;
    result = sqlite_step(conn, stmt, error);
    if (result == SQLITE_ROW) {
      bool wal = sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
      result = sqlite_step(conn, stmt, error); /* the answer comes before the commit, which may fail */
      if (result == SQLITE_DONE && wal) return ANNAL_OK;
      if (result == SQLITE_DONE)
        return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: its file system does not allow SQLite's write-ahead log", s->path);
    }
    if (result != ANNAL_BUSY || base_monotonic() > conn->lock_until) return result < 0 ? result : ANNAL_UNAVAILABLE;
    sqlite3_sleep(5);
  }
}

static int check_encoding(sqlite_store *s, sqlite_conn *conn, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, "PRAGMA encoding", &stmt, error);
  if (result) return result;
  result = sqlite_step(conn, stmt, error);
  if (result != SQLITE_ROW) return result < 0 ? result : ANNAL_OK;
  bool utf8 = strcmp((const char *)sqlite3_column_text(stmt, 0), "UTF-8") == 0;
  sqlite_done(stmt);
  if (utf8) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, NULL, "%s keeps text in UTF-16, where bytes sort otherwise; use a file of its own",
                   s->path);
}

static int make_correlations(declaring *d, annal_error *error) {
  bool there, same;
  int result = meta_value(d->conn, "metadata_index:", QUERY_CORRELATION, NULL, &there, &same, error);
  if (result || there) return result;
  names_set_correlation(&d->names);
  return run_file(d->s, d->conn, &d->names, "index_correlation.sql", error);
}

/* A file of an older program gets its index of correlations when somebody opens it who may make one. It is a help and no more: who may
 * not, or cannot now, opens the store without it. */
static int index_correlations(declaring *d, annal_error *error) {
  bool there, same;
  annal_error failure;
  int result = meta_value(d->conn, "metadata_index:", QUERY_CORRELATION, NULL, &there, &same, error);
  if (result || there) return result;
  result = sqlite_begin(d->conn, &failure);
  if (!result) {
    result = make_correlations(d, &failure);
    if (result) sqlite_rollback(d->conn);
    else result = sqlite_commit(d->conn, &failure);
  }
  if (!result) result = sqlite_script(d->conn, "ANALYZE sqlite_schema", &failure); /* the planner reads its figures */
  if (result) base_log(d->s->base.env, "warn", "%s: the index of correlations cannot be made: %s", d->s->path, failure.message);
  return ANNAL_OK;
}

/* Makes the tables, or what the options declare beyond them, in one transaction. Somebody else may have been quicker, so all is
 * looked at again under the lock. */
static int make(declaring *d, schema_found *found, annal_error *error) {
  int result = sqlite_begin(d->conn, error);
  if (result) return result;
  result = look(d->s, d->conn, found, error);
  bool fresh = !result && !found->meta;
  if (fresh) result = run_file(d->s, d->conn, &d->names, "schema_1.sql", error);
  if (fresh && !result) result = look(d->s, d->conn, found, error);
  d->make = true;
  if (!result) result = declare_all(d, error);
  if (result) {
    sqlite_rollback(d->conn);
    return result;
  }
  result = sqlite_commit(d->conn, error);
  if (!result) result = sqlite_script(d->conn, "ANALYZE sqlite_schema", error); /* the planner reads its figures */
  return result;
}

/* Fields that have an index: those of the options and those that were declared before. */
static int load_fields(sqlite_store *s, sqlite_conn *conn, const char *prefix, store_fields *fields, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(
      conn, "SELECT substr(key, length(?1) + 1) FROM annal_meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY 1", &stmt, error);
  if (result) return result;
  sqlite3_bind_text(stmt, 1, prefix, -1, SQLITE_STATIC);
  while ((result = sqlite_step(conn, stmt, error)) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(stmt, 0);
    int code = name ? store_add_field(&s->base, fields, name, error) : error_memory(error);
    if (code) {
      sqlite_done(stmt);
      return code;
    }
  }
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

int sqlite_prepare_store(sqlite_store *s, sqlite_conn *conn, annal_error *error) {
  const annal_options *options = s->base.options;
  declaring d = {.s = s, .conn = conn};
  schema_found found;
  names_init(&d.names, s->base.env, options);
  conn->deadline = 0; /* an index of many events takes its time */
  int result = look(s, conn, &found, error);
  if (!result && !options->read_only) {
    result = check_encoding(s, conn, error);
    if (!result) result = set_wal(s, conn, error);
    if (!result && found.meta) result = declare_all(&d, error);
    if (!result && (!found.meta || d.missing > 0)) result = make(&d, &found, error);
    if (!result) result = index_correlations(&d, error);
  }
  if (!result) result = load_fields(s, conn, "data_index:", &s->base.event_fields, error);
  if (!result) result = load_fields(s, conn, "projection_index:", &s->base.view_fields, error);
  names_free(&d.names);
  return result;
}

/* ---- The DDL for people ------------------------------------------------------------------------------------------------ */

static void add_field_indexes(base_buf *out, schema_names *names, const char *on, const char *file, const char *const *fields,
                              size_t count) {
  for (size_t i = 0; i < count; i++) {
    size_t first = 0;
    while (strcmp(fields[first], fields[i]) != 0) first++;
    if (first < i) continue; /* said twice */
    names_set_field(names, on, fields[i]);
    buf_char(out, '\n');
    expand_file(out, names, file);
  }
}

int sqlite_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error) {
  schema_names names;
  names_init(&names, env, options);
  buf_text(out, "PRAGMA journal_mode = WAL;\nBEGIN IMMEDIATE;\n\n");
  expand_file(out, &names, "schema_1.sql");
  buf_char(out, '\n');
  names_set_correlation(&names);
  expand_file(out, &names, "index_correlation.sql");
  add_field_indexes(out, &names, "events", "index_events.sql", options->data_indexes, options->data_index_count);
  add_field_indexes(out, &names, "projections", "index_projections.sql", options->projection_indexes,
                    options->projection_index_count);
  add_field_indexes(out, &names, "order", "index_projection_order.sql", options->projection_indexes,
                    options->projection_index_count);
  for (size_t i = 0; i < options->index_count; i++) {
    const annal_index *index = &options->indexes[i];
    buf_char(out, '\n');
    add_own_index(out, options, index);
    buf_printf(out, ";\nINSERT INTO annal_meta (key, value) VALUES ('index:%s:%s', ", index->on, index->name);
    sqlite_quote(out, index->sql, '\'');
    buf_text(out, ");\n");
  }
  buf_text(out, "\nCOMMIT;\n");
  names_free(&names);
  return out->failed ? error_memory(error) : ANNAL_OK;
}
