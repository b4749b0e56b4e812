/* annal_bench [W1 … W4 W4C … W9] [--rounds N] [--seconds S] [--millions M] [--store sqlite|postgresql]: the work against the raw
 * limit. M has one decimal place. PostgreSQL is the server that ANNAL_TEST_PG names. Run by ./dev bench. */
#include "work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  void (*run)(const bench_options *options, bool postgres, const char *which);
} works[] = {{"W1", work_appends},         {"W2", work_appends}, {"W3", work_appends},
             {"W4", work_appends},         {"W4C", work_calls},  {"W5", work_views_from_events},
             {"W6", work_views_from_rows}, {"W7", work_rebuild}, {"W8", work_queries},
             {"W9", work_follow}};

static bool wanted(const char *name, char *const *names, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return true;
  return count == 0;
}

static double number_after(int *at, int count, char **arguments) {
  if (*at + 1 >= count) bench_die("%s needs a number", arguments[*at]);
  char *end;
  double value = strtod(arguments[++*at], &end);
  if (*end || value <= 0) bench_die("%s: not a number above 0", arguments[*at]);
  return value;
}

int main(int count, char **arguments) {
  char directory[] = "/tmp/annal-bench-XXXXXX";
  bench_options options = {
      .postgres = getenv("ANNAL_TEST_PG"), .app = "projections/cart", .rounds = 7, .seconds = 1, .tenths = 10};
  const char *only = NULL;
  char *names[16];
  int name_count = 0;
  for (int i = 1; i < count; i++) {
    if (strcmp(arguments[i], "--rounds") == 0) {
      options.rounds = (int)number_after(&i, count, arguments);
    } else if (strcmp(arguments[i], "--seconds") == 0) {
      options.seconds = number_after(&i, count, arguments);
    } else if (strcmp(arguments[i], "--millions") == 0) {
      options.tenths = (unsigned)(number_after(&i, count, arguments) * 10 + 0.5);
    } else if (strcmp(arguments[i], "--store") == 0 && i + 1 < count) {
      only = arguments[++i];
    } else if (arguments[i][0] == 'W' && name_count < 16) {
      names[name_count++] = arguments[i];
    } else {
      bench_die("usage: annal_bench [W1 ... W9] [--rounds N] [--seconds S] [--millions M] [--store sqlite|postgresql]");
    }
  }
  if (!mkdtemp(directory)) bench_die("no temporary directory");
  options.directory = directory;
  if (!options.postgres) printf("PostgreSQL is left out: ANNAL_TEST_PG names no server\n");
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
    if (!wanted(works[i].name, names, name_count)) continue;
    if (options.postgres && (!only || strcmp(only, "postgresql") == 0)) works[i].run(&options, true, works[i].name);
    if (!only || strcmp(only, "sqlite") == 0) works[i].run(&options, false, works[i].name);
  }
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command) == 0 ? 0 : 1;
}
