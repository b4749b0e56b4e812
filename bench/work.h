/* What the works share: stores to work on. Role: between bench.c and w1_w4.c, w5_w8.c, w9.c. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bench.h"
#include "data.h"
#include "raw.h"

/* A store of `tenths` hundred thousand cart events with cartId and productId declared, kept for the whole run and made at first
 * use. `name` keeps several apart: it is the file's name or the schema's. */
typedef struct work_store {
  char location[512]; /* for annal_open and raw_open */
  char schema[64];
  bool postgres;
  const char *kind; /* "PostgreSQL" or "SQLite" */
  int64_t events;
} work_store;

bool work_has_postgres(const bench_options *options);
void work_make(const bench_options *options, bool postgres, const char *name, unsigned tenths, work_store *store);
annal_store *work_open(const bench_options *options, const work_store *store);
annal_store *work_open_cache(const bench_options *options, const work_store *store, size_t cache); /* as annal_options.cache */
raw_connection *work_raw(const work_store *store);

void work_appends(const bench_options *options, bool postgres, const char *which);           /* W1–W4 */
void work_calls(const bench_options *options, bool postgres, const char *which);             /* W4C */
void work_views_from_events(const bench_options *options, bool postgres, const char *which); /* W5 */
void work_views_from_rows(const bench_options *options, bool postgres, const char *which);   /* W6 */
void work_rebuild(const bench_options *options, bool postgres, const char *which);           /* W7 */
void work_queries(const bench_options *options, bool postgres, const char *which);           /* W8 */
void work_follow(const bench_options *options, bool postgres, const char *which);            /* W9 */

#endif
