/* W7: all views of a million events, folded and saved as rows, by one rebuild. Raw reads the same events, all their columns, and does
 * nothing with them: PostgreSQL by COPY in binary form, SQLite by stepping through the table. */
#include "work.h"

#include <stdio.h>
#include <string.h>

typedef struct rebuilder {
  annal_store *handle;
  raw_connection *raw;
  int64_t events;
  int jobs;
} rebuilder;

static double raw_turn(void *self, double seconds) {
  rebuilder *r = self;
  (void)seconds; /* the work is one whole */
  double begin = bench_now();
  size_t count = raw_read_all(r->raw);
  if ((int64_t)count != r->events) bench_die("raw: %zu events read", count);
  return (double)count / (bench_now() - begin);
}

static double rebuild_turn(void *self, double seconds) {
  rebuilder *r = self;
  static const char *const types[] = {"SHOPPING_CART"};
  annal_rebuild_options options = {.size = sizeof options, .types = types, .type_count = 1, .jobs = r->jobs};
  annal_error error;
  (void)seconds;
  raw_forget_rows(r->raw);
  double begin = bench_now();
  bench_check(annal_rebuild(r->handle, &options, NULL, NULL, &error), &error, "rebuild");
  return (double)r->events / (bench_now() - begin);
}

void work_rebuild(const bench_options *options, bool postgres, const char *which) {
  static const int jobs[] = {0, 1, 2};
  work_store store;
  bench_options few = *options;
  work_make(options, postgres, "million", options->tenths, &store);
  rebuilder r = {.handle = work_open(options, &store), .raw = work_raw(&store), .events = store.events};
  if (few.rounds > 3) few.rounds = 3; /* each takes seconds */
  for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
    char title[96];
    r.jobs = jobs[i];
    snprintf(title, sizeof title, "%s rebuild of %.1f M events, %d jobs, %s", which, (double)store.events / 1e6, jobs[i],
             store.kind);
    bench_compare(&few, title, "events/s", (bench_side){"raw read", raw_turn, &r}, (bench_side){"annal", rebuild_turn, &r},
                  BENCH_AT_LEAST, 0, 0);
    raw_forget_rows(r.raw);
    bench_forget_peak();
    bench_report("   the same", "events/s", rebuild_turn(&r, 0), BENCH_AT_LEAST, 250000, postgres ? 400000 : 350000);
    printf("   in %ld MiB of memory\n", bench_peak_kib() / 1024);
  }
  annal_close(r.handle);
  raw_close(r.raw);
}
