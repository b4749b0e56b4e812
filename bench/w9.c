/* W9: commit in one process, seen by a follower in another. The clock begins when the save has answered, so what is measured is
 * how much later than the writer somebody else knows. Idle in between: an event each 20 to 40 ms. */
#include "work.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMMITS_MAX = 4096 };

typedef struct shared_times {
  _Atomic int ready;
  _Atomic int seen_count;
  double seen[COMMITS_MAX];
} shared_times;

static int note_time(void *context, const annal_event *event) {
  shared_times *times = context;
  (void)event;
  int at = atomic_load(&times->seen_count);
  if (at < COMMITS_MAX) times->seen[at] = bench_now();
  atomic_store(&times->seen_count, at + 1);
  return 0;
}

static void follow_in_child(const bench_options *options, const work_store *store, shared_times *times) {
  annal_store *handle = work_open(options, store);
  annal_selection selection = {.size = sizeof selection, .after = store->events};
  annal_error error;
  raw_connection *raw = work_raw(store);
  selection.after = raw_head(raw); /* works before this one have added to the store */
  raw_close(raw);
  atomic_store(&times->ready, 1);
  bench_check(annal_follow(handle, &selection, 2, note_time, times, &error), &error, "follow");
  annal_close(handle);
}

void work_follow(const bench_options *options, bool postgres, const char *which) {
  static double saved[COMMITS_MAX];
  work_store store;
  work_make(options, postgres, "append", 1, &store);
  shared_times *times = mmap(NULL, sizeof *times, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (times == MAP_FAILED) bench_die("no shared memory");
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    follow_in_child(options, &store, times);
    _exit(0);
  }
  annal_store *handle = work_open(options, &store);
  annal_error error;
  while (!atomic_load(&times->ready)) usleep(1000);
  usleep(300000); /* its connection for hearing is made when it first waits */
  int count = 0;
  for (double start = bench_now(); count < COMMITS_MAX && bench_now() - start < options->seconds * options->rounds; count++) {
    usleep((useconds_t)(20000 + count * 7919 % 20000));
    data_event event;
    data_append_event((uint64_t)getpid() * 100000 + (uint64_t)count, 0, &event);
    bench_check(annal_save(handle, &(annal_event){.type = event.type, .data = event.data}, 1, NULL, NULL, &error), &error,
                "save");
    saved[count] = bench_now();
  }
  int status;
  waitpid(child, &status, 0);
  annal_close(handle);
  if (status || atomic_load(&times->seen_count) != count)
    bench_die("%s: the follower saw %d of %d events", which, atomic_load(&times->seen_count), count);
  for (int i = 0; i < count; i++) saved[i] = times->seen[i] > saved[i] ? (times->seen[i] - saved[i]) * 1e3 : 0;
  char title[96];
  snprintf(title, sizeof title, "%s commit to follower, idle, p50, %s", which, store.kind);
  bench_report(title, "ms", bench_percentile(saved, count, 50), BENCH_AT_MOST, 1.5, 0.6);
  snprintf(title, sizeof title, "%s commit to follower, idle, p99, %s", which, store.kind);
  bench_report(title, "ms", bench_percentile(saved, count, 99), BENCH_AT_MOST, 6, 2.5);
  munmap(times, sizeof *times);
}
