/* Stores to work on; see work.h. */
#include "work.h"

#include <stdio.h>
#include <string.h>

enum { MADE_MAX = 64, LOAD_EVENTS = 1000 };

/* Stores that were made in this run, so that works share them. */
static work_store made[MADE_MAX];
static char made_names[MADE_MAX][64];
static int made_count;

bool work_has_postgres(const bench_options *options) { return options->postgres != NULL; }

annal_store *work_open_cache(const bench_options *options, const work_store *store, size_t cache) {
  static const char *const declared[] = {"cartId", "productId"}, *const of_views[] = {"userId"};
  annal_options open_options = {.size = sizeof open_options,
                                .app = options->app,
                                .schema = store->schema,
                                .cache = cache,
                                .data_indexes = declared,
                                .data_index_count = 2,
                                .projection_indexes = of_views,
                                .projection_index_count = 1};
  annal_store *handle;
  annal_error error;
  bench_check(annal_open(store->location, &open_options, &handle, &error), &error, "open");
  return handle;
}

annal_store *work_open(const bench_options *options, const work_store *store) { return work_open_cache(options, store, 0); }

raw_connection *work_raw(const work_store *store) { return raw_open(store->location, store->schema); }

static void load(annal_store *handle, unsigned tenths) {
  static data_event texts[LOAD_EVENTS];
  annal_event events[LOAD_EVENTS];
  data_generator generator;
  annal_error error;
  data_open(&generator, tenths);
  for (bool more = true; more;) {
    size_t count = 0;
    while (count < LOAD_EVENTS && (more = data_next(&generator, &texts[count]))) {
      events[count] = (annal_event){.type = texts[count].type, .data = texts[count].data};
      count++;
    }
    if (count) bench_check(annal_save(handle, events, count, NULL, NULL, &error), &error, "load");
  }
  data_close(&generator);
}

void work_make(const bench_options *options, bool postgres, const char *name, unsigned tenths, work_store *store) {
  char full[64];
  snprintf(full, sizeof full, "%s_%s", postgres ? "pg" : "sqlite", name);
  for (int i = 0; i < made_count; i++)
    if (strcmp(made_names[i], full) == 0) {
      *store = made[i];
      return;
    }
  if (made_count == MADE_MAX) bench_die("too many stores");
  *store = (work_store){.postgres = postgres, .kind = postgres ? "PostgreSQL" : "SQLite"};
  snprintf(store->schema, sizeof store->schema, "bench_%s", name);
  if (postgres) {
    snprintf(store->location, sizeof store->location, "%s", options->postgres);
  } else {
    snprintf(store->location, sizeof store->location, "%s/%s.db", options->directory, name);
  }
  annal_store *handle = work_open(options, store);
  if (tenths) load(handle, tenths);
  annal_close(handle);
  raw_connection *raw = work_raw(store);
  store->events = raw_head(raw);
  raw_close(raw);
  snprintf(made_names[made_count], sizeof made_names[0], "%s", full);
  made[made_count++] = *store;
}
