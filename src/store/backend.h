/* What a backend gives to store.c. Role: the seam between the neutral half of the store (locations, checks, resolving ids, the
 * queue of saves) and SQLite or PostgreSQL. A backend's struct begins with `struct store`, so that a store * is its self.
 *
 * The neutral half has done, before a backend is called: checks of streams and fields (store_check_streams, …), `misuse` for
 * writing on a read-only store, resolving of after_id and before_id of reads into positions. */
#ifndef STORE_BACKEND_H
#define STORE_BACKEND_H

#include "store/store.h"

/* One save in a batch, with its own answer. */
typedef struct store_entry {
  store_save *save;
  int result; /* out: 0 or the code in error */
  annal_error error;
} store_entry;

typedef struct store_backend {
  const char *name; /* "sqlite" or "postgresql" */
  void (*close)(store *s);
  void (*interrupt)(store *s); /* async-signal-safe */
  /* Appends a batch, in order, later saves seeing earlier ones: each entry gets its result, none blocks another. Within the
   * limits LIMIT_BATCH_*, or a single save of any size. Called by any thread; one call at a time. */
  void (*append)(store *s, store_entry *entries, size_t count);
  int (*head)(store *s, store_head_info *head, annal_error *error);
  int (*position_of)(store *s, const char *id, int64_t *position, annal_error *error);
  int (*read)(store *s, const annal_selection *selection, store_cursor **cursor, annal_error *error);
  int (*read_row)(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                  size_t stream_count, store_row *row, store_cursor **cursor, annal_error *error);
  int (*put_rows)(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error);
  int (*query_rows)(store *s, const store_query *query, store_each_row *each, void *context, annal_error *error);
  int (*check)(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error);
} store_backend;

struct store {
  const store_backend *backend;
  const base_env *env;
  const annal_options *options;
};

/* A backend's struct begins with `struct store_cursor`. */
typedef struct store_cursor_backend {
  int (*next)(store_cursor *cursor, store_page *page, annal_error *error);
  void (*close)(store_cursor *cursor);
} store_cursor_backend;

struct store_cursor {
  const store_cursor_backend *backend;
};

/* The two there are; store.c chooses by location. `location` is what stands behind the scheme for SQLite, the whole conninfo
 * for PostgreSQL. */
int sqlite_open(const base_env *env, const char *path, const annal_options *options, store **out, annal_error *error);
int sqlite_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error);
int postgres_open(const base_env *env, const char *conninfo, const annal_options *options, store **out, annal_error *error);
int postgres_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error);

#endif
