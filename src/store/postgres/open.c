/* Opening, closing and interrupting a store on PostgreSQL. Role: the constructor behind store_open, and the backend's table. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The conninfo ---------------------------------------------------------------------------------------------------------- */

static const char *option_value(const PQconninfoOption *parsed, const char *keyword) {
  for (; parsed && parsed->keyword; parsed++)
    if (strcmp(parsed->keyword, keyword) == 0) return parsed->val;
  return NULL;
}

/* libpq would show a port that is none, and a password with a raw '/' may have become one. */
static bool has_bad_port(const PQconninfoOption *parsed) {
  const char *port = option_value(parsed, "port");
  return port && port[strspn(port, "0123456789, ")] != 0;
}

/* What libpq says of a conninfo that it cannot read quotes from it, hence is not shown. */
static int parse_conninfo(const char *conninfo, PQconninfoOption **parsed, annal_error *error) {
  char *message = NULL;
  *parsed = PQconninfoParse(conninfo, &message);
  PQfreemem(message);
  if (*parsed && !has_bad_port(*parsed)) return ANNAL_OK;
  PQconninfoFree(*parsed);
  *parsed = NULL;
  return error_set(error, ANNAL_MISUSE, NULL,
                   "libpq cannot read the conninfo or URL of the store; in a URL write special characters of user, password "
                   "and host as %%XX, in a conninfo quote values with spaces ('…')");
}

static bool copy_option(pg_store *s, size_t at, const char *keyword, const char *value) {
  s->keywords[at] = base_strdup(s->base.env, keyword);
  s->values[at] = base_strdup(s->base.env, value);
  return s->keywords[at] && s->values[at];
}

/* Of several hosts the one that takes writes is meant, unless the conninfo says otherwise or nothing is to be written. */
static bool wants_primary(const pg_store *s, const PQconninfoOption *parsed) {
  const char *host = option_value(parsed, "host"), *address = option_value(parsed, "hostaddr");
  bool several = (host && strchr(host, ',')) || (address && strchr(address, ','));
  return several && !s->base.options->read_only && !getenv("PGTARGETSESSIONATTRS");
}

/* Copies what was given; the encoding is ours to say, and what stands before is ours unless given: the last of a keyword counts. */
static bool copy_options(pg_store *s, const PQconninfoOption *parsed) {
  size_t count = 0, at = 0;
  for (const PQconninfoOption *o = parsed; o && o->keyword; o++) count++;
  s->keywords = base_calloc(s->base.env, count + 4, sizeof *s->keywords);
  s->values = base_calloc(s->base.env, count + 4, sizeof *s->values);
  if (!s->keywords || !s->values) return false;
  if (wants_primary(s, parsed) && !copy_option(s, at++, "target_session_attrs", "primary")) return false;
  for (const PQconninfoOption *o = parsed; o && o->keyword; o++) {
    bool ours = strcmp(o->keyword, "client_encoding") == 0 || strcmp(o->keyword, "fallback_application_name") == 0;
    if (o->val && !ours && !copy_option(s, at++, o->keyword, o->val)) return false;
  }
  const char *password = option_value(parsed, "password");
  if (password && *password) s->password = base_strdup(s->base.env, password);
  return copy_option(s, at, "client_encoding", "UTF8") && copy_option(s, at + 1, "fallback_application_name", "annal") &&
         (!password || !*password || s->password);
}

static int take_conninfo(pg_store *s, const char *conninfo, annal_error *error) {
  PQconninfoOption *parsed;
  int code = parse_conninfo(conninfo, &parsed, error);
  if (code) return code;
  const char *host = option_value(parsed, "host"), *name = option_value(parsed, "dbname");
  if (!copy_options(s, parsed)) code = error_memory(error);
  char place[sizeof s->place];
  snprintf(place, sizeof place, "PostgreSQL%s%.80s%s%.80s", host ? " at " : "", host ? host : "", name ? ", database " : "",
           name ? name : "");
  if (!pg_scrub(s, place, s->place, sizeof s->place)) snprintf(s->place, sizeof s->place, "PostgreSQL");
  PQconninfoFree(parsed);
  return code;
}

/* ---- Closing and interrupting ---------------------------------------------------------------------------------------------- */

static void pg_close(store *base) {
  pg_store *s = (pg_store *)base;
  const base_env *env = s->base.env;
  if (s->cancels && s->cancel_owned && s->own) {
    for (size_t i = 0; i < s->reader_count; i++) pg_disconnect(s, &s->readers[i]);
    pg_disconnect(s, &s->writer);
    for (size_t i = 0; i < s->reader_count; i++) pg_disconnect(s, &s->own[i]);
  }
  for (size_t i = 0; s->keywords && s->keywords[i]; i++) base_free(env, s->keywords[i]);
  for (size_t i = 0; s->values && s->values[i]; i++) base_free(env, s->values[i]);
  base_free(env, s->keywords);
  base_free(env, s->values);
  base_free(env, s->password);
  base_free(env, s->readers);
  base_free(env, s->own);
  base_free(env, (void *)s->cancels);
  base_free(env, s->cancel_owned);
  base_free(env, s->append_sql);
  base_free(env, s->append_marked_sql);
  base_free(env, s->append_one_sql);
  base_free(env, s->append_new_sql);
  base_free(env, s->append_rows_sql);
  base_free(env, s->append_rows_marked_sql);
  store_free_fields(&s->base);
  pg_names_free(&s->names, env);
  pthread_mutex_destroy(&s->write_lock);
  pthread_mutex_destroy(&s->pool_lock);
  pthread_cond_destroy(&s->pool_free);
  base_free(env, s);
}

/* Async-signal-safe, as PQcancel is: nothing is locked or allocated. */
static void pg_interrupt(store *base) {
  pg_store *s = (pg_store *)base;
  char message[8];
  atomic_fetch_add(&s->interrupts, 1);
  atomic_fetch_add(&s->interrupting, 1);
  for (size_t i = 0; i <= 2 * s->reader_count; i++) {
    PGcancel *cancel = atomic_load(&s->cancels[i]);
    if (cancel) PQcancel(cancel, message, sizeof message);
  }
  atomic_fetch_sub(&s->interrupting, 1);
}

/* ---- Opening --------------------------------------------------------------------------------------------------------------- */

static const store_backend backend = {.name = "postgresql",
                                      .close = pg_close,
                                      .interrupt = pg_interrupt,
                                      .append = pg_append,
                                      .head = pg_head,
                                      .position_of = pg_position_of,
                                      .position_at_time = pg_position_at_time,
                                      .find = pg_find,
                                      .read_correlated = pg_read_correlated,
                                      .read = pg_read,
                                      .read_on = pg_read_on,
                                      .read_row = pg_read_row,
                                      .read_foreign = pg_read_foreign,
                                      .probe = pg_look,
                                      .watch_open = pg_watch_open,
                                      .watch_wait = pg_watch_wait,
                                      .watch_close = pg_watch_close,
                                      .kept = &pg_kept,
                                      .put_rows = pg_put_rows,
                                      .query_rows = pg_query_rows,
                                      .session = pg_session_open,
                                      .check = pg_check};

static char *render_call(const pg_store *s, const char *file) {
  base_buf sql;
  annal_text text = {0};
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, NULL, file);
  return buf_take(&sql, &text) ? (char *)text.bytes : NULL;
}

static int render_calls(pg_store *s, annal_error *error) {
  s->append_sql = render_call(s, "append_call.sql");
  s->append_rows_sql = render_call(s, "append_rows_call.sql");
  s->append_one_sql = render_call(s, s->base.options->pooled ? "append_one_call_pooled.sql" : "append_one_call.sql");
  s->append_new_sql = render_call(s, "append_new_call.sql");
  bool done = s->append_sql && s->append_rows_sql && s->append_one_sql && s->append_new_sql;
  if (s->base.options->pooled) {
    s->append_marked_sql = render_call(s, "append_call_marked.sql");
    s->append_rows_marked_sql = render_call(s, "append_rows_call_marked.sql");
    done = done && s->append_marked_sql && s->append_rows_marked_sql;
  }
  return done ? ANNAL_OK : error_memory(error);
}

static int new_store(const base_env *env, const annal_options *options, pg_store **out, annal_error *error) {
  pg_store *s = base_calloc(env, 1, sizeof *s);
  if (!s) return error_memory(error);
  s->base = (store){.backend = &backend, .env = env, .options = options};
  s->can_wait_awake = pg_can_wait_awake();
  s->timeout = (int64_t)(options->timeout * 1e6);
  s->host_clock = options->clock != NULL;
  s->lock_ms = (int64_t)(options->lock_timeout * 1e3);
  pthread_mutex_init(&s->write_lock, NULL);
  pthread_mutex_init(&s->pool_lock, NULL);
  pthread_cond_init(&s->pool_free, NULL);
  *out = s;
  s->reader_count = options->connections > 0 ? (size_t)options->connections : 1;
  s->readers = base_calloc(env, s->reader_count, sizeof *s->readers);
  s->own = base_calloc(env, s->reader_count, sizeof *s->own);
  s->cancels = base_calloc(env, 2 * s->reader_count + 1, sizeof *s->cancels);
  s->cancel_owned = base_calloc(env, 2 * s->reader_count + 1, sizeof *s->cancel_owned);
  if (!s->readers || !s->own || !s->cancels || !s->cancel_owned) return error_memory(error);
  for (size_t i = 0; i < s->reader_count; i++) s->readers[i].place = i;
  s->writer.place = s->reader_count;
  for (size_t i = 0; i < s->reader_count; i++) s->own[i].place = s->reader_count + 1 + i;
  int code = pg_names_init(&s->names, env, options, error);
  if (!code) code = render_calls(s, error);
  return code ? code : pg_make_mark(s, error);
}

/* A read-only store never writes: its first connection is one for reading like the others. */
static int connect_first(pg_store *s, const pg_call *call, annal_error *error) {
  int code = pg_connect(s, &s->writer, call, error);
  if (code) return code;
  const char *host = PQhost(s->writer.pq);
  char place[sizeof s->place];
  snprintf(place, sizeof place, "schema \"%.63s\" of database \"%.63s\"%s%.80s", s->names.schema, PQdb(s->writer.pq),
           host && *host ? " at " : "", host ? host : "");
  if (!pg_scrub(s, place, s->place, sizeof s->place)) snprintf(s->place, sizeof s->place, "the store on PostgreSQL");
  snprintf(s->role, sizeof s->role, "%s", PQuser(s->writer.pq));
  const char *standby = PQparameterStatus(s->writer.pq, "in_hot_standby");
  if (standby && strcmp(standby, "on") == 0 && !s->base.options->read_only)
    return error_set(error, ANNAL_MISUSE, NULL, "%s is on a standby, which only reads: open it with read_only", s->place);
  return s->base.options->read_only ? ANNAL_OK : pg_connect(s, &s->readers[0], call, error);
}

int postgres_open(const base_env *env, const char *conninfo, const annal_options *options, store **out, annal_error *error) {
  pg_store *s = NULL;
  int code = new_store(env, options, &s, error);
  if (!s) return code;
  if (!code) code = take_conninfo(s, conninfo, error);
  if (!code) {
    pg_call call = pg_call_begin(s);
    code = connect_first(s, &call, error);
    if (!code) code = pg_probe(s, &s->writer, &s->readers[0], &call, error);
    if (!code) code = pg_schema_prepare(s, &s->writer, &call, error);
  }
  if (code) pg_close(&s->base);
  else *out = &s->base;
  return code;
}
