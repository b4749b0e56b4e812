/* The neutral half of a transaction: what is refused before anything is sent, what is staged, when it has failed; see transaction.h.
 * Role: between the faces and a backend's session. */
#include "store/transaction.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "store/session.h"
#include <string.h>
#include <strings.h>

/* A save with the copy of its condition. */
typedef struct staged_save {
  store_save save;
  annal_condition condition;
  annal_stream *streams; /* owned */
  char latest_event_id[LIMIT_ID_BYTES + 1];
  store_guarded guarded; /* during the commit */
} staged_save;

struct store_transaction {
  store *store;
  store_session *session;
  staged_save **saves;
  size_t save_count;
  store_row *rows; /* the texts of each lie in one block, at which `type` points */
  size_t row_count;
  result_builder result;
  unsigned interrupts; /* there had been when it began: more end it */
  bool over;           /* committed, or failed for good: `failure` */
  annal_error failure;
};

/* ---- Statements -------------------------------------------------------------------------------------------------------- */

/* Behind a comment that begins at `at`, or `at` where none does. PostgreSQL's nest. */
static const char *skip_comment(const char *at, bool nests) {
  if (at[0] == '-' && at[1] == '-') return at + strcspn(at, "\n\r");
  if (at[0] != '/' || at[1] != '*') return at;
  size_t depth = 1;
  for (at += 2; *at && depth > 0;) {
    if (at[0] == '*' && at[1] == '/') depth--;
    else if (nests && at[0] == '/' && at[1] == '*') depth++;
    else {
      at++;
      continue;
    }
    at += 2;
  }
  return at;
}

/* The first word of a statement. Empty statements before it are none to either database. */
static const char *first_word(const char *sql, bool nests, size_t *size) {
  const char *at = sql, *before;
  if (strncmp(at, "\xEF\xBB\xBF", 3) == 0) at += 3; /* SQLite passes over a byte order mark */
  do {
    before = at;
    at = skip_comment(at + strspn(at, " \t\n\r\f\v;"), nests);
  } while (at != before);
  *size = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
  return at;
}

static const struct {
  const char *word, *why;
} refused_words[] = {
    {"begin", "the transaction has begun"},
    {"start", "the transaction has begun"},
    {"commit", "the transaction is committed when its function returns"},
    {"end", "the transaction is committed when its function returns"},
    {"rollback", "raise an error to roll the transaction back"},
    {"abort", "raise an error to roll the transaction back"},
    {"savepoint", "what fails in a transaction ends all of it"},
    {"release", "what fails in a transaction ends all of it"},
    {"prepare", "a prepared transaction or statement would outlive this one"},
    {"copy", "the data of COPY travels by a way of its own; use INSERT"},
    {"pragma", "it would change the connection by which annal writes"},
    {"attach", "it would change the connection by which annal writes"},
    {"detach", "it would change the connection by which annal writes"},
    {"vacuum", "no transaction can hold it"},
    {"discard", "no transaction can hold it"},
};

static int check_statement(const char *sql, bool nests, annal_error *error) {
  size_t size;
  const char *word = first_word(sql, nests, &size);
  if (!*word) return error_set(error, ANNAL_MISUSE, "sql", "there is no statement in it");
  for (size_t i = 0; i < sizeof refused_words / sizeof *refused_words; i++)
    if (strlen(refused_words[i].word) == size && strncasecmp(refused_words[i].word, word, size) == 0)
      return error_set(error, ANNAL_MISUSE, "sql", "%.*s has no place inside of a transaction of annal's: %s", (int)size, word,
                       refused_words[i].why);
  return ANNAL_OK;
}

/* ---- Results ----------------------------------------------------------------------------------------------------------- */

void result_init(result_builder *b, const base_env *env) {
  *b = (result_builder){.env = env};
  buf_init(&b->texts, env);
  buf_init(&b->values, env);
  buf_init(&b->names, env);
}

void result_free(result_builder *b) {
  buf_free(&b->texts);
  buf_free(&b->values);
  buf_free(&b->names);
  b->result = (store_result){0};
}

static uintptr_t add_text(result_builder *b, const char *text, size_t size) {
  uintptr_t at = b->texts.size;
  buf_add(&b->texts, text, size);
  buf_char(&b->texts, 0);
  return at;
}

void result_column(result_builder *b, const char *name) {
  uintptr_t at = add_text(b, name, strlen(name));
  buf_add(&b->names, &at, sizeof at);
  b->result.columns++;
  b->result.has_rows = true;
}

void result_add(result_builder *b, const store_value *value) {
  store_value copy = *value;
  if (value->kind == STORE_TEXT) {
    uintptr_t at = add_text(b, value->text, value->size);
    memcpy(&copy.text, &at, sizeof at);
  }
  buf_add(&b->values, &copy, sizeof copy);
}

int result_finish(result_builder *b, annal_error *error) {
  char shown[96];
  if (b->texts.failed || b->values.failed || b->names.failed) return error_memory(error);
  store_result *result = &b->result;
  const char **names = (const char **)(void *)b->names.bytes;
  store_value *values = (store_value *)(void *)b->values.bytes;
  for (size_t i = 0; i < result->columns; i++) names[i] = b->texts.bytes + (uintptr_t)names[i];
  size_t count = b->values.size / sizeof *values;
  for (size_t i = 0; i < count; i++)
    if (values[i].kind == STORE_TEXT) values[i].text = b->texts.bytes + (uintptr_t)values[i].text;
  result->rows = result->columns ? count / result->columns : 0;
  result->names = names;
  result->values = values;
  for (size_t i = 1; i < result->columns; i++)
    for (size_t j = 0; j < i; j++)
      if (strcmp(names[i], names[j]) == 0)
        return error_set(error, ANNAL_MISUSE, "sql", "two columns of the answer are named \"%s\"; name one otherwise with AS",
                         text_show(names[i], shown));
  return ANNAL_OK;
}

/* ---- Beginning and running --------------------------------------------------------------------------------------------- */

int store_begin(store *s, store_transaction **out, annal_error *error) {
  *out = NULL;
  int code = store_check_own(s, error);
  if (code) return code;
  if (s->options->read_only) return error_set(error, ANNAL_MISUSE, NULL, "the store was opened read-only");
  store_transaction *t = base_calloc(s->env, 1, sizeof *t);
  if (!t) return error_memory(error);
  t->store = s;
  t->interrupts = atomic_load(&s->interrupts);
  result_init(&t->result, s->env);
  code = s->backend->session(s, &t->session, error);
  if (code) base_free(s->env, t);
  else *out = t;
  return code;
}

/* Remembers why nothing goes on any more. */
static int fail(store_transaction *t, const annal_error *error) {
  t->over = true;
  t->failure = *error;
  return error->code;
}

static int check_open(store_transaction *t, annal_error *error) {
  int own = store_check_own(t->store, error);
  if (own) return own;
  if (!t->over && atomic_load(&t->store->interrupts) != t->interrupts) {
    error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    return fail(t, error);
  }
  if (!t->over) return ANNAL_OK;
  if (!t->failure.code) return error_set(error, ANNAL_MISUSE, NULL, "the transaction is over");
  return error_set(error, ANNAL_MISUSE, NULL, "the transaction has failed and can only end; what failed: %.600s",
                   t->failure.message);
}

int store_transaction_execute(store_transaction *t, const char *sql, const store_value *params, size_t count,
                              const store_result **result, annal_error *error) {
  *result = NULL;
  int code = check_open(t, error);
  if (!code) code = check_statement(sql, strcmp(t->store->backend->name, "postgresql") == 0, error);
  if (code) return code;
  bool fails = true;
  result_free(&t->result);
  code = t->session->backend->execute(t->session, sql, params, count, &t->result, &fails, error);
  if (!code) code = result_finish(&t->result, error);
  if (code) return fails ? fail(t, error) : code;
  *result = &t->result.result;
  return ANNAL_OK;
}

/* ---- Staging ----------------------------------------------------------------------------------------------------------- */

static void free_staged(const base_env *env, staged_save *staged) {
  if (!staged) return;
  base_free(env, staged->streams);
  base_free(env, staged);
}

static staged_save *copy_save(const base_env *env, const store_save *save) {
  staged_save *staged = base_calloc(env, 1, sizeof *staged);
  if (!staged) return NULL;
  staged->save = *save;
  staged->save.was_stored = false;
  if (!save->condition) return staged;
  staged->streams = store_copy_streams(env, save->condition->streams, save->condition->stream_count);
  if (!staged->streams) {
    free_staged(env, staged);
    return NULL;
  }
  staged->condition = *save->condition;
  staged->condition.streams = staged->streams;
  if (save->condition->latest_event_id) { /* its length was checked */
    memcpy(staged->latest_event_id, save->condition->latest_event_id, strlen(save->condition->latest_event_id) + 1);
    staged->condition.latest_event_id = staged->latest_event_id;
  }
  staged->save.condition = &staged->condition;
  return staged;
}

int store_transaction_stage(store_transaction *t, const store_save *save, annal_error *error) {
  const base_env *env = t->store->env;
  int code = check_open(t, error);
  if (!code) code = store_check_save(t->store, save, error);
  if (code) return code;
  staged_save **more = base_realloc(env, t->saves, (t->save_count + 1) * sizeof *more);
  if (more) t->saves = more;
  staged_save *staged = more ? copy_save(env, save) : NULL;
  if (!staged) return error_memory(error);
  t->saves[t->save_count++] = staged;
  return ANNAL_OK;
}

int store_transaction_stage_inline(store_transaction *t, size_t save, const store_guard *guards, size_t guard_count,
                                   const store_save_row *rows, size_t row_count, annal_error *error) {
  int code = check_open(t, error);
  if (code) return code;
  store_save *staged = &t->saves[save]->save;
  staged->guards = guards;
  staged->guard_count = guard_count;
  staged->rows = rows;
  staged->row_count = row_count;
  return ANNAL_OK;
}

static char *copy_bytes(char **at, const char *bytes, size_t size) {
  char *copy = *at;
  memcpy(copy, bytes, size);
  copy[size] = 0;
  *at += size + 1;
  return copy;
}

static bool copy_row(const base_env *env, const store_row *row, store_row *out) {
  size_t type = strlen(row->type), fingerprint = strlen(row->fingerprint), id = strlen(row->id);
  size_t latest = strlen(row->latest_event_id);
  char *at = base_alloc(env, type + fingerprint + id + latest + row->data_size + row->state_size + 6);
  if (!at) return false;
  *out = *row;
  out->type = copy_bytes(&at, row->type, type);
  out->fingerprint = copy_bytes(&at, row->fingerprint, fingerprint);
  out->id = copy_bytes(&at, row->id, id);
  out->latest_event_id = copy_bytes(&at, row->latest_event_id, latest);
  out->data = copy_bytes(&at, row->data, row->data_size);
  if (row->state) out->state = copy_bytes(&at, row->state, row->state_size);
  return true;
}

int store_transaction_stage_row(store_transaction *t, const store_row *row, annal_error *error) {
  const base_env *env = t->store->env;
  int code = check_open(t, error);
  if (code) return code;
  store_row *more = base_realloc(env, t->rows, (t->row_count + 1) * sizeof *more);
  if (more) t->rows = more;
  if (!more || !copy_row(env, row, &t->rows[t->row_count])) return error_memory(error);
  t->row_count++;
  return ANNAL_OK;
}

/* ---- Ending ------------------------------------------------------------------------------------------------------------ */

int store_judge_entries(const store_entry *entries, size_t count, bool *was_stored, annal_error *error) {
  *was_stored = count > 0;
  for (size_t i = 0; i < count; i++) {
    if (entries[i].result) {
      *was_stored = false;
      *error = entries[i].error;
      return entries[i].result;
    }
    *was_stored = *was_stored && entries[i].save->was_stored;
  }
  /* Rows of later saves were made as if this one came now. */
  for (size_t i = 0; i < count && !*was_stored; i++)
    if (entries[i].save->was_stored && entries[i].save->guard_count > 0)
      return error_set(error, ANNAL_CONFLICT, NULL,
                       "the event \"%s\" was stored by somebody else while the transaction was under way",
                       entries[i].save->events[0].id);
  return ANNAL_OK;
}

/* What was numbered and then not stored. */
static void forget_places(store_transaction *t) {
  for (size_t i = 0; i < t->save_count; i++) {
    store_save *save = &t->saves[i]->save;
    for (size_t j = 0; j < save->count; j++) {
      save->events[j].position = 0;
      if (!save->keep_created_at) save->events[j].created_at = 0;
    }
  }
}

static int guard_saves(store_transaction *t, store_entry *entries, annal_error *error) {
  int code = ANNAL_OK;
  for (size_t i = 0; i < t->save_count && !code; i++) {
    code = store_guard_save(t->store, &t->saves[i]->save, &t->saves[i]->guarded, error);
    entries[i].save = &t->saves[i]->save;
  }
  return code;
}

static void unguard_saves(store_transaction *t, const store_entry *entries) {
  for (size_t i = 0; i < t->save_count; i++)
    store_unguard(t->store, &t->saves[i]->save, &t->saves[i]->guarded, entries[i].result);
}

int store_transaction_commit(store_transaction *t, store_status *statuses, bool *was_stored, annal_error *error) {
  *was_stored = false;
  if (t->over && t->failure.code) {
    *error = t->failure;
    return error->code;
  }
  int code = check_open(t, error);
  if (code) return code;
  store_entry *entries = base_calloc(t->store->env, t->save_count ? t->save_count : 1, sizeof *entries);
  if (!entries) return error_memory(error);
  code = guard_saves(t, entries, error);
  if (!code)
    code = t->session->backend->commit(t->session, entries, t->save_count, t->rows, t->row_count, statuses, was_stored, error);
  unguard_saves(t, entries);
  base_free(t->store->env, entries);
  t->over = true;
  if (!code) return ANNAL_OK;
  forget_places(t);
  return fail(t, error);
}

void store_transaction_end(store_transaction *t) {
  if (!t || !store_is_own(t->store)) return;
  const base_env *env = t->store->env;
  t->session->backend->close(t->session);
  for (size_t i = 0; i < t->save_count; i++) free_staged(env, t->saves[i]);
  for (size_t i = 0; i < t->row_count; i++) base_free(env, (void *)t->rows[i].type);
  base_free(env, t->saves);
  base_free(env, t->rows);
  result_free(&t->result);
  base_free(env, t);
}
