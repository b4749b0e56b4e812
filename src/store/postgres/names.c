/* Quoted names and SQL templates. Role: every identifier and literal that becomes part of an SQL text goes through here; also
 * the DDL for people (store_ddl). The templates are the files of sql/. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pg_add_name(base_buf *out, const char *name) {
  buf_char(out, '"');
  for (; *name; name++) {
    if (*name == '"') buf_char(out, '"');
    buf_char(out, *name);
  }
  buf_char(out, '"');
}

/* With standard_conforming_strings, which each session sets, only the quote is special. */
void pg_add_literal(base_buf *out, const char *text) {
  buf_char(out, '\'');
  for (; *text; text++) {
    if (*text == '\'') buf_char(out, '\'');
    buf_char(out, *text);
  }
  buf_char(out, '\'');
}

/* ---- Names --------------------------------------------------------------------------------------------------------------- */

static void add_qualified(base_buf *out, const char *schema, const char *name) {
  pg_add_name(out, schema);
  buf_char(out, '.');
  pg_add_name(out, name);
}

static bool add_word(pg_names *names, size_t *count, const char *word, base_buf *text) {
  annal_text taken;
  if (!buf_take(text, &taken)) return false;
  names->words[(*count)++] = (pg_word){.word = word, .text = taken.bytes};
  return true;
}

int pg_names_init(pg_names *names, const base_env *env, const annal_options *options, annal_error *error) {
  *names = (pg_names){.schema = options->schema, .events = options->events, .projections = options->projections};
  const pg_word qualified[] = {{"events", names->events},
                               {"projections", names->projections},
                               {"meta", "annal_meta"},
                               {"checkpoints", "annal_checkpoints"},
                               {"parked", "annal_parked"},
                               {"append", "annal_append_1"},
                               {"append_rows", "annal_append_rows_1"},
                               {"append_one", "annal_append_one_1"},
                               {"append_new", "annal_append_new_1"},
                               {"answer", "annal_answer_1"},
                               {"newer", "annal_newer_1"},
                               {"newers", "annal_newers_1"},
                               {"matches", "annal_matches_1"}};
  base_buf text;
  buf_init(&text, env);
  size_t count = 0;
  bool done = true;
  for (size_t i = 0; i < sizeof qualified / sizeof *qualified && done; i++) {
    add_qualified(&text, names->schema, qualified[i].text);
    done = add_word(names, &count, qualified[i].word, &text);
  }
  if (done) {
    pg_add_name(&text, names->schema);
    done = add_word(names, &count, "schema", &text);
  }
  if (done) {
    pg_add_literal(&text, names->words[0].text);
    done = add_word(names, &count, "events_literal", &text);
  }
  if (done) {
    char index[PG_INDEX_NAME_BYTES];
    pg_index_name("events", "(type)", index);
    pg_add_name(&text, index);
    done = add_word(names, &count, "events_type_index", &text);
  }
  if (done) {
    buf_text(&text, PG_LOCK_APPEND);
    done = add_word(names, &count, "lock", &text);
  }
  if (done) {
    buf_text(&text, PG_LOCK_MARK);
    done = add_word(names, &count, "mark_class", &text);
  }
  buf_free(&text);
  return done ? ANNAL_OK : error_memory(error);
}

void pg_names_free(pg_names *names, const base_env *env) {
  for (size_t i = 0; i < PG_WORDS; i++) base_free(env, (char *)names->words[i].text);
  *names = (pg_names){0};
}

/* Names of fields differ in case and may be 63 bytes long; those of indexes are cut there, hence a hash. */
void pg_index_name(const char *on, const char *field, char name[PG_INDEX_NAME_BYTES]) {
  char text[160], hash[HASH_TEXT_BYTES];
  snprintf(text, sizeof text, "%s/%s", on, field);
  hash_text(text, strlen(text), hash);
  snprintf(name, PG_INDEX_NAME_BYTES, "annal_%s", hash);
}

/* ---- Templates ----------------------------------------------------------------------------------------------------------- */

static const char *word_text(const pg_word *words, const char *word, size_t size) {
  for (size_t i = 0; words && words[i].word; i++)
    if (strlen(words[i].word) == size && memcmp(words[i].word, word, size) == 0) return words[i].text;
  return NULL;
}

static void render(base_buf *out, const pg_names *names, const pg_word *own, const char *text) {
  for (;;) {
    const char *start = strchr(text, '@');
    const char *end = start ? strchr(start + 1, '@') : NULL;
    if (!end) break;
    buf_add(out, text, (size_t)(start - text));
    size_t size = (size_t)(end - start - 1);
    const char *replaced = word_text(own, start + 1, size);
    if (!replaced) replaced = word_text(names->words, start + 1, size);
    if (replaced) {
      buf_text(out, replaced);
      text = end + 1;
    } else { /* not a word of ours: the sign stands for itself */
      buf_char(out, '@');
      text = start + 1;
    }
  }
  buf_text(out, text);
}

void pg_render_text(base_buf *out, const pg_names *names, const char *text) { render(out, names, NULL, text); }

void pg_render(base_buf *out, const pg_names *names, const pg_word *own, const char *file) {
  const char *text = postgres_sql(file, NULL);
  if (text) render(out, names, own, text);
  else out->failed = true; /* the build left the file out */
}

static void add_quoted_word(base_buf *out, const base_env *env, void add(base_buf *, const char *), const char *text) {
  buf_init(out, env);
  add(out, text);
}

static void render_remembered(base_buf *out, const pg_names *names, const char *key, const char *value) {
  base_buf quoted_key, quoted_value;
  add_quoted_word(&quoted_key, out->env, pg_add_literal, key);
  add_quoted_word(&quoted_value, out->env, pg_add_literal, value);
  out->failed |= quoted_key.failed || quoted_value.failed;
  if (!out->failed) {
    const pg_word own[] = {{"key", quoted_key.bytes}, {"value", quoted_value.bytes}, {NULL, NULL}};
    pg_render(out, names, own, "remember.sql");
  }
  buf_free(&quoted_key);
  buf_free(&quoted_value);
}

static int compare_fields(const void *a, const void *b) {
  const char *one, *other;
  memcpy(&one, a, sizeof one);
  memcpy(&other, b, sizeof other);
  return strcmp(one, other);
}

/* In bytewise order and each once, so that the same fields give the same text. To be freed; NULL: no memory. */
static const char **sort_fields(const base_env *env, const char *const *fields, size_t *count) {
  const char **sorted = base_calloc(env, *count + 1, sizeof *sorted);
  size_t kept = 0;
  if (!sorted) return NULL;
  for (size_t i = 0; i < *count; i++) sorted[i] = fields[i];
  if (*count) qsort(sorted, *count, sizeof *sorted, compare_fields);
  for (size_t i = 0; i < *count; i++)
    if (kept == 0 || strcmp(sorted[kept - 1], sorted[i]) != 0) sorted[kept++] = sorted[i];
  *count = kept;
  return sorted;
}

/* The template once for each field. */
static void render_branches(base_buf *out, const pg_names *names, const char *const *fields, size_t count, const char *file) {
  base_buf literal;
  buf_init(&literal, out->env);
  for (size_t i = 0; i < count; i++) {
    buf_clear(&literal);
    pg_add_literal(&literal, fields[i]);
    const pg_word own[] = {{"field", literal.bytes ? literal.bytes : ""}, {NULL, NULL}};
    pg_render(out, names, own, file);
  }
  out->failed |= literal.failed;
  buf_free(&literal);
}

static void render_with_branches(base_buf *out, const pg_names *names, const char *const *fields, size_t count, const char *file,
                                 const char *branch_file) {
  base_buf branches, list;
  buf_init(&branches, out->env);
  buf_init(&list, out->env);
  render_branches(&branches, names, fields, count, branch_file);
  for (size_t i = 0; i < count; i++) {
    if (i) buf_text(&list, ", ");
    pg_add_literal(&list, fields[i]);
  }
  const pg_word own[] = {
      {"branches", branches.bytes ? branches.bytes : ""}, {"fields", list.bytes ? list.bytes : ""}, {NULL, NULL}};
  pg_render(out, names, own, file);
  out->failed |= branches.failed || list.failed;
  buf_free(&branches);
  buf_free(&list);
}

void pg_render_functions(base_buf *out, const pg_names *names, const char *const *fields, size_t count) {
  static const char *const none[] = {""}; /* CASE wants a branch: one that no field can take, where none is declared */
  const char **sorted = sort_fields(out->env, fields, &count);
  out->failed |= !sorted;
  if (out->failed) return;
  pg_render(out, names, NULL, "matches.sql");
  render_with_branches(out, names, count ? sorted : none, count ? count : 1, "newer.sql", "newer_field.sql");
  render_with_branches(out, names, sorted, count, "newers.sql", "newers_field.sql");
  pg_render(out, names, NULL, "append.sql");
  pg_render(out, names, NULL, "append_rows.sql");
  render_with_branches(out, names, count ? sorted : none, count ? count : 1, "append_one.sql", "append_one_field.sql");
  pg_render(out, names, NULL, "append_new.sql");
  base_free(out->env, sorted);
}

void pg_render_functions_row(base_buf *out, const pg_names *names) {
  char revision[16];
  snprintf(revision, sizeof revision, "%d", PG_FUNCTIONS_REVISION);
  render_remembered(out, names, PG_FUNCTIONS_KEY, revision);
}

static void render_index(base_buf *out, const pg_names *names, const char *on, const char *field) {
  char index[PG_INDEX_NAME_BYTES], quoted[PG_INDEX_NAME_BYTES + 2];
  pg_index_name(on, field, index);
  snprintf(quoted, sizeof quoted, "\"%s\"", index);
  base_buf literal;
  buf_init(&literal, out->env);
  pg_add_literal(&literal, field);
  const pg_word own[] = {{"index", quoted}, {"field", literal.bytes ? literal.bytes : ""}, {NULL, NULL}};
  pg_render(out, names, own, strcmp(on, "events") == 0 ? "events_index.sql" : "projections_index.sql");
  out->failed |= literal.failed;
  buf_free(&literal);
}

static void render_order_index(base_buf *out, const pg_names *names, const char *field) {
  char index[PG_INDEX_NAME_BYTES], quoted[PG_INDEX_NAME_BYTES + 2];
  pg_index_name("order", field, index);
  snprintf(quoted, sizeof quoted, "\"%s\"", index);
  base_buf terms;
  buf_init(&terms, out->env);
  for (size_t term = 0; term < ORDER_TERMS_OF_INDEX; term++) {
    if (term) buf_text(&terms, ", ");
    pg_dialect.order_term(&terms, "data", field, term);
  }
  const pg_word own[] = {{"index", quoted}, {"terms", terms.bytes ? terms.bytes : ""}, {NULL, NULL}};
  pg_render(out, names, own, "projections_order_index.sql");
  out->failed |= terms.failed;
  buf_free(&terms);
}

/* ---- The dialect --------------------------------------------------------------------------------------------------------- */

static void add_placeholder(base_buf *sql, size_t number, bool integer) {
  buf_char(sql, '$');
  buf_int(sql, (int64_t)number);
  buf_text(sql, integer ? "::int8" : "::text");
}

static void add_field(base_buf *sql, const char *column, const char *name) {
  buf_text(sql, "((");
  buf_text(sql, column);
  buf_text(sql, " ->> ");
  pg_add_literal(sql, name);
  buf_text(sql, ") collate \"C\")");
}

static void add_field_is_scalar(base_buf *sql, const char *column, const char *name) {
  buf_text(sql, "json_typeof(");
  buf_text(sql, column);
  buf_text(sql, " -> ");
  pg_add_literal(sql, name);
  buf_text(sql, ") in ('string', 'number', 'boolean')");
}

/* The terms with ^ for the field as JSON and ! for it as text. A numeric is exact: only where doubles are integers, but not every
 * integer a double, the shortest text of a double may be another number than the double. Bounds are such that what is beyond the
 * last double below 2^63 is not made a bigint. */
static const char *const order_terms[ORDER_TERMS_OF_INDEX] = {
    [ORDER_TERM_KIND] = "(case json_typeof^ when 'boolean' then case ! when 'false' then 1 else 2 end when 'number' then 3"
                        " when 'string' then 4 when 'array' then 5 when 'object' then 6 else 0 end)",
    [ORDER_TERM_NUMBER] = "(case json_typeof^ when 'number' then case when ! ~ '[.eE]'"
                          " and (!::numeric between 9007199254740992 and 9223372036854775295"
                          " or !::numeric between -9223372036854776832 and -9007199254740992)"
                          " then !::float8::int8::numeric else !::numeric end else 0 end)",
    [ORDER_TERM_TEXT] = "((case when json_typeof^ in ('string', 'array', 'object') then ! else '' end) collate \"C\")",
};

static void add_order_term(base_buf *sql, const char *column, const char *name, size_t term) {
  for (const char *at = order_terms[term]; *at; at++) {
    if (*at != '^' && *at != '!') {
      buf_char(sql, *at);
      continue;
    }
    buf_char(sql, '(');
    buf_text(sql, column);
    buf_text(sql, *at == '^' ? " -> " : " ->> ");
    pg_add_literal(sql, name);
    buf_char(sql, ')');
  }
}

static void add_order_value(query *q, const char *name, size_t term, const order_place *place) {
  (void)name;
  switch (term) {
  case ORDER_TERM_KIND: query_add_int(q, place->kind); break;
  case ORDER_TERM_NUMBER:
    query_add_text(q, place->number.bytes);
    query_text(q, "::numeric");
    break;
  default: query_add_text(q, place->text.bytes); break;
  }
}

#define AS_TEXT(number) #number
#define BYTES_TEXT(number) AS_TEXT(number)

/* As in correlation_index.sql. */
#define CORRELATED "octet_length(e.metadata ->> '" QUERY_CORRELATION "') <= " BYTES_TEXT(LIMIT_VALUE_BYTES) " AND "

const query_dialect pg_dialect = {.placeholder = add_placeholder,
                                  .field = add_field,
                                  .field_is_scalar = add_field_is_scalar,
                                  .order_exact = 0,
                                  .order_terms = ORDER_TERMS_OF_INDEX,
                                  .order_term = add_order_term,
                                  .order_value = add_order_value,
                                  .correlated = CORRELATED};

/* ---- The DDL for people -------------------------------------------------------------------------------------------------- */

/* Rows of annal_meta that describe a new store. */
static void render_meta(base_buf *out, const pg_names *names) {
  base_buf events, projections;
  add_quoted_word(&events, out->env, pg_add_literal, names->events);
  add_quoted_word(&projections, out->env, pg_add_literal, names->projections);
  char version[24], oldest[24], functions[24];
  snprintf(functions, sizeof functions, "'%d'", PG_FUNCTIONS_REVISION);
  snprintf(version, sizeof version, "'%d'", STORE_TABLES_VERSION);
  snprintf(oldest, sizeof oldest, "'%d'", STORE_OLDEST_PROGRAM);
  out->failed |= events.failed || projections.failed;
  if (!out->failed) {
    const pg_word own[] = {{"version", version},
                           {"oldest", oldest},
                           {"functions", functions},
                           {"events_name", events.bytes},
                           {"projections_name", projections.bytes},
                           {NULL, NULL}};
    pg_render(out, names, own, "meta.sql");
  }
  buf_free(&events);
  buf_free(&projections);
}

void pg_field_key(const char *on, const char *field, char key[PG_KEY_BYTES]) {
  const char *kind = strcmp(on, "events") == 0  ? "data_index"
                     : strcmp(on, "order") == 0 ? "projection_order"
                                                : "projection_index";
  snprintf(key, PG_KEY_BYTES, "%s:%s", kind, field);
}

void pg_render_correlation(base_buf *out, const pg_names *names) {
  char index[PG_INDEX_NAME_BYTES], quoted[PG_INDEX_NAME_BYTES + 2];
  pg_index_name("events", "metadata." QUERY_CORRELATION, index);
  snprintf(quoted, sizeof quoted, "\"%s\"", index);
  const pg_word own[] = {
      {"index", quoted}, {"field", "'" QUERY_CORRELATION "'"}, {"bytes", BYTES_TEXT(LIMIT_VALUE_BYTES)}, {NULL, NULL}};
  pg_render(out, names, own, "correlation_index.sql");
  render_remembered(out, names, PG_CORRELATION_KEY, index);
}

void pg_own_index_key(const annal_index *index, char key[PG_KEY_BYTES]) {
  snprintf(key, PG_KEY_BYTES, "index:%s:%s", index->on, index->name);
}

void pg_render_declared(base_buf *out, const pg_names *names, const char *on, const char *field) {
  char key[PG_KEY_BYTES], index[PG_INDEX_NAME_BYTES];
  pg_field_key(on, field, key);
  pg_index_name(on, field, index);
  if (strcmp(on, "order") == 0) render_order_index(out, names, field);
  else render_index(out, names, on, field);
  render_remembered(out, names, key, index);
}

void pg_render_own_index(base_buf *out, const pg_names *names, const annal_index *index) {
  buf_text(out, "create index ");
  pg_add_name(out, index->name);
  buf_text(out, " on ");
  buf_text(out, word_text(names->words, index->on, strlen(index->on)));
  buf_char(out, ' ');
  buf_text(out, index->sql);
}

void pg_render_own_index_row(base_buf *out, const pg_names *names, const annal_index *index) {
  char key[PG_KEY_BYTES];
  pg_own_index_key(index, key);
  render_remembered(out, names, key, index->sql);
}

static bool named_before(const char *const *names, size_t at) {
  for (size_t i = 0; i < at; i++)
    if (strcmp(names[i], names[at]) == 0) return true;
  return false;
}

void pg_render_store(base_buf *out, const pg_names *names, const annal_options *options) {
  pg_render(out, names, NULL, "tables_1.sql");
  render_meta(out, names);
  for (size_t i = 0; i < options->data_index_count; i++)
    if (!named_before(options->data_indexes, i)) pg_render_declared(out, names, "events", options->data_indexes[i]);
  for (size_t i = 0; i < options->projection_index_count; i++)
    if (!named_before(options->projection_indexes, i)) {
      pg_render_declared(out, names, "projections", options->projection_indexes[i]);
      pg_render_declared(out, names, "order", options->projection_indexes[i]);
    }
  pg_render_correlation(out, names);
  pg_render(out, names, NULL, "answer.sql");
  pg_render_functions(out, names, options->data_indexes, options->data_index_count);
  pg_render(out, names, NULL, "revoke.sql");
}

/* A role of the schema's: "annal_reader". Too long a schema's name is PostgreSQL's to cut. */
static void add_role(base_buf *out, const base_env *env, const char *schema, const char *role) {
  base_buf name;
  buf_init(&name, env);
  buf_printf(&name, "%s_%s", schema, role);
  buf_init(out, env);
  pg_add_name(out, name.bytes ? name.bytes : "");
  out->failed |= name.failed;
  buf_free(&name);
}

int postgres_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error) {
  pg_names names;
  int result = pg_names_init(&names, env, options, error);
  if (!result) {
    base_buf reader, writer, worker;
    add_role(&reader, env, names.schema, "reader");
    add_role(&writer, env, names.schema, "writer");
    add_role(&worker, env, names.schema, "worker");
    buf_text(out, "begin;\n");
    pg_render_store(out, &names, options);
    for (size_t i = 0; i < options->index_count; i++) {
      pg_render_own_index(out, &names, &options->indexes[i]);
      buf_text(out, ";\n");
      pg_render_own_index_row(out, &names, &options->indexes[i]);
    }
    buf_text(out, "commit;\n\n");
    out->failed |= reader.failed || writer.failed || worker.failed;
    if (!out->failed) {
      const pg_word own[] = {{"reader", reader.bytes}, {"writer", writer.bytes}, {"worker", worker.bytes}, {NULL, NULL}};
      pg_render(out, &names, own, "grants.sql");
    }
    buf_free(&reader);
    buf_free(&writer);
    buf_free(&worker);
    if (out->failed) result = error_memory(error);
  }
  pg_names_free(&names, env);
  return result;
}
