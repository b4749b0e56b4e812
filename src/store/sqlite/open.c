/* Opening and closing: the file as the system sees it, the first connection, the store's struct. Role: sqlite_open, and what of
 * the backend's table is neither append nor read. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/limits.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The file ---------------------------------------------------------------------------------------------------------- */

/* SQLite would answer "unable to open database file" to most of this. */
static int check_missing(const char *path, const annal_options *options, annal_error *error) {
  if (options->no_create || options->read_only) return error_set(error, ANNAL_NOT_FOUND, NULL, "%s does not exist", path);
  const char *slash = strrchr(path, '/');
  if (!slash || slash == path) return ANNAL_OK;
  char directory[4096];
  snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path);
  if (access(directory, W_OK | X_OK) == 0) return ANNAL_OK;
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s cannot be made: its directory: %s", path, strerrordesc_np(errno));
}

#define SQLITE_HEADER_BYTES 100

static int check_file(const char *path, const annal_options *options, annal_error *error) {
  struct stat about;
  if (stat(path, &about) != 0) {
    if (errno == ENOENT) return check_missing(path, options, error);
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s cannot be opened: %s", path, strerrordesc_np(errno));
  }
  if (S_ISDIR(about.st_mode)) return error_set(error, ANNAL_MISUSE, NULL, "%s is a directory; name a file in it", path);
  if (!S_ISREG(about.st_mode)) return error_set(error, ANNAL_MISUSE, NULL, "%s is no regular file", path);
  if (access(path, R_OK) != 0)
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s cannot be read: %s", path, strerrordesc_np(errno));
  if (!options->read_only && access(path, W_OK) != 0)
    return error_set(error, ANNAL_UNAVAILABLE, NULL,
                     "%s cannot be written: %s; change its permissions, or open it with read_only", path, strerrordesc_np(errno));
  /* SQLite takes a file of one byte for an empty one, and would write over it. */
  if (about.st_size > 0 && about.st_size < SQLITE_HEADER_BYTES)
    return error_set(error, ANNAL_CORRUPT, NULL, "%s is no SQLite database; it was left as it is", path);
  return ANNAL_OK;
}

/* ---- The store --------------------------------------------------------------------------------------------------------- */

static void sqlite_interrupt(store *s) {
  sqlite_store *self = (sqlite_store *)s;
  atomic_fetch_add(&self->interrupts, 1);
  sqlite3 *db = atomic_load(&self->writer.live);
  if (db) sqlite3_interrupt(db);
  for (size_t i = 0; i < self->reader_count; i++) {
    db = atomic_load(&self->readers[i].live);
    if (db) sqlite3_interrupt(db);
  }
}

static void free_store(sqlite_store *s) {
  const base_env *env = s->base.env;
  for (size_t i = 0; i < s->reader_count; i++) sqlite_disconnect(&s->readers[i]);
  sqlite_disconnect(&s->checkpointer);
  sqlite_disconnect(&s->writer);
  for (size_t i = 0; i < SQL_COUNT; i++) base_free(env, s->sql[i]);
  store_free_fields(&s->base);
  base_free(env, s->events);
  base_free(env, s->readers);
  base_free(env, s->file);
  base_free(env, s->path);
  pthread_cond_destroy(&s->freed);
  pthread_mutex_destroy(&s->lock);
  base_free(env, s);
}

#define CLOSE_WAIT_MS 200 /* for another program's save; its own close will move the log */

static void sqlite_close(store *s) {
  sqlite_store *self = (sqlite_store *)s;
  if (self->wal_frames > 0) sqlite_checkpoint(self, &self->writer, CLOSE_WAIT_MS);
  free_store(self);
}

static const store_backend backend = {.name = "sqlite",
                                      .close = sqlite_close,
                                      .interrupt = sqlite_interrupt,
                                      .append = sqlite_append,
                                      .head = sqlite_head,
                                      .position_of = sqlite_position_of,
                                      .position_at_time = sqlite_position_at_time,
                                      .find = sqlite_find,
                                      .read_correlated = sqlite_read_correlated,
                                      .read = sqlite_read,
                                      .read_on = sqlite_read_on,
                                      .read_row = sqlite_read_row,
                                      .probe = sqlite_probe,
                                      .watch_open = sqlite_watch_open,
                                      .watch_wait = sqlite_watch_wait,
                                      .watch_close = sqlite_watch_close,
                                      .kept = &sqlite_kept,
                                      .put_rows = sqlite_put_rows,
                                      .query_rows = sqlite_query_rows,
                                      .session = sqlite_session_open,
                                      .check = sqlite_check};

static sqlite_store *new_store(const base_env *env, const char *path, const annal_options *options) {
  sqlite_store *s = base_calloc(env, 1, sizeof *s);
  if (!s) return NULL;
  s->base = (store){.backend = &backend, .env = env, .options = options};
  s->memory = strcmp(path, ":memory:") == 0;
  pthread_mutex_init(&s->lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&s->freed, &attributes);
  pthread_condattr_destroy(&attributes);
  s->path = base_strdup(env, path);
  s->reader_count = s->memory ? 0 : options->connections > 0 ? (size_t)options->connections : 1;
  s->readers = base_calloc(env, s->reader_count, sizeof *s->readers);
  s->writer = (sqlite_conn){.store = s, .writes = true};
  s->checkpointer = (sqlite_conn){.store = s, .writes = true};
  if (s->path && s->readers) {
    for (size_t i = 0; i < s->reader_count; i++) s->readers[i].store = s;
    return s;
  }
  s->reader_count = s->readers ? s->reader_count : 0;
  free_store(s);
  return NULL;
}

static int connect_first(sqlite_store *s, annal_error *error) {
  const annal_options *options = s->base.options;
  int flags = options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (s->memory) flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY;
  else if (!options->read_only && !options->no_create) flags |= SQLITE_OPEN_CREATE;
  int result = sqlite_connect(&s->writer, s->path, flags, error);
  if (result) return result;
  if (!options->read_only && sqlite3_db_readonly(s->writer.db, "main") == 1)
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s cannot be written; change its permissions, or open it with read_only",
                     s->path);
  const char *file = sqlite3_db_filename(s->writer.db, "main");
  s->file = base_strdup(s->base.env, file ? file : "");
  return s->file ? ANNAL_OK : error_memory(error);
}

int sqlite_open(const base_env *env, const char *path, const annal_options *options, store **out, annal_error *error) {
  bool memory = strcmp(path, ":memory:") == 0;
  if (memory && options->read_only) return store_fail_missing(error, path);
  int result = memory ? ANNAL_OK : check_file(path, options, error);
  if (result) return result;
  sqlite_store *s = new_store(env, path, options);
  if (!s) return error_memory(error);
  result = sqlite_load_sql(s, error);
  if (!result) result = connect_first(s, error);
  if (!result) {
    sqlite_watch_log(s, &s->writer);
    result = sqlite_prepare_store(s, &s->writer, error);
  }
  if (result) {
    free_store(s);
    return result;
  }
  atomic_store(&s->writer.live, s->writer.db);
  *out = &s->base;
  return ANNAL_OK;
}
