/* Turns, medians, lines; see bench.h. */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

double bench_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_percentile(double *values, int count, double percent) {
  if (count == 0) return 0;
  qsort(values, (size_t)count, sizeof *values, by_value);
  int at = (int)(percent / 100 * (count - 1) + 0.5);
  return values[at];
}

double bench_median(double *values, int count) { return bench_percentile(values, count, 50); }

long bench_peak_kib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

void bench_die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

void bench_check(int result, const annal_error *error, const char *what) {
  if (result) bench_die("%s: %s: %s %s", what, annal_code_name(result), error->message, error->where);
}

static const char *verdict(double value, bench_goal goal, double wanted) {
  return (goal == BENCH_AT_LEAST ? value >= wanted : value <= wanted) ? "reached" : "MISSED";
}

static void print_goals(double value, bench_goal goal, double first, double then) {
  const char *sign = goal == BENCH_AT_LEAST ? ">=" : "<=";
  if (first > 0) printf("  first %s %.4g %s", sign, first, verdict(value, goal, first));
  if (then > 0) printf(", then %s %.4g %s", sign, then, verdict(value, goal, then));
  printf("\n");
  fflush(stdout);
}

double bench_compare(const bench_options *options, const char *work, const char *unit, bench_side raw, bench_side ours,
                     bench_goal goal, double first, double then) {
  int rounds = options->rounds;
  double *figures = calloc((size_t)rounds * 3, sizeof *figures);
  if (!figures) bench_die("out of memory");
  double *theirs = figures, *own = figures + rounds, *ratios = own + rounds;
  for (int i = 0; i < rounds; i++) {
    /* Who goes first takes turns too. */
    if (i % 2) own[i] = ours.turn(ours.self, options->seconds);
    theirs[i] = raw.turn(raw.self, options->seconds);
    if (i % 2 == 0) own[i] = ours.turn(ours.self, options->seconds);
    ratios[i] = own[i] / theirs[i];
  }
  double ratio = bench_median(ratios, rounds);
  printf("%-44s %s %10.5g  %s %10.5g %s  ratio %.3f (%.3f to %.3f)", work, raw.label, bench_median(theirs, rounds), ours.label,
         bench_median(own, rounds), unit, ratio, ratios[0], ratios[rounds - 1]);
  print_goals(ratio, goal, first, then);
  free(figures);
  return ratio;
}

void bench_compare_sum(const bench_options *options, const char *work, const char *unit, bench_side raw, bench_side ours,
                       bench_allowance allowance) {
  int rounds = options->rounds;
  double *theirs = calloc((size_t)rounds * 2, sizeof *theirs);
  if (!theirs) bench_die("out of memory");
  double *own = theirs + rounds;
  for (int i = 0; i < rounds; i++) {
    if (i % 2) own[i] = ours.turn(ours.self, options->seconds);
    theirs[i] = raw.turn(raw.self, options->seconds);
    if (i % 2 == 0) own[i] = ours.turn(ours.self, options->seconds);
  }
  double limit = bench_median(theirs, rounds), figure = bench_median(own, rounds);
  double first = limit + allowance.fixed + allowance.first, then = limit + allowance.fixed + allowance.then;
  printf("%-44s %s %10.5g  %s %10.5g %s  ratio %.3f", work, raw.label, limit, ours.label, figure, unit, figure / limit);
  print_goals(figure, BENCH_AT_MOST, first, then);
  free(theirs);
}

void bench_report(const char *work, const char *unit, double value, bench_goal goal, double first, double then) {
  printf("%-44s %10.5g %s", work, value, unit);
  print_goals(value, goal, first, then);
}
