/* Turns, medians, lines; see bench.h. */
#include "bench.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

void bench_forget_peak(void) {
  FILE *file = fopen("/proc/self/clear_refs", "w");
  if (!file || fputs("5", file) < 0 || fclose(file)) bench_die("/proc/self/clear_refs cannot be written");
}

long bench_peak_kib(void) {
  char line[128];
  long peak = 0;
  FILE *file = fopen("/proc/self/status", "r");
  if (!file) bench_die("/proc/self/status cannot be read");
  while (fgets(line, sizeof line, file))
    if (strncmp(line, "VmHWM:", 6) == 0) peak = strtol(line + 6, NULL, 10);
  fclose(file);
  return peak;
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

static void print_ratios(const char *work, const char *unit, const char *raw, const char *ours, double *figures, int rounds,
                         double *ratio) {
  double *theirs = figures, *own = figures + rounds, *ratios = own + rounds;
  for (int i = 0; i < rounds; i++) ratios[i] = own[i] / theirs[i];
  *ratio = bench_median(ratios, rounds);
  printf("%-44s %s %10.5g  %s %10.5g %s  ratio %.3f (%.3f to %.3f)", work, raw, bench_median(theirs, rounds), ours,
         bench_median(own, rounds), unit, *ratio, ratios[0], ratios[rounds - 1]);
}

/* Those of the raw side, then ours, then room for their ratios. */
static double *make_figures(int rounds) {
  double *figures = calloc((size_t)rounds * 3, sizeof *figures);
  if (!figures) bench_die("out of memory");
  return figures;
}

double bench_compare(const bench_options *options, const char *work, const char *unit, bench_side raw, bench_side ours,
                     bench_goal goal, double first, double then) {
  int rounds = options->rounds;
  double *figures = make_figures(rounds), *own = figures + rounds, ratio;
  for (int i = 0; i < rounds; i++) {
    /* Who goes first takes turns too. */
    if (i % 2) own[i] = ours.turn(ours.self, options->seconds);
    figures[i] = raw.turn(raw.self, options->seconds);
    if (i % 2 == 0) own[i] = ours.turn(ours.self, options->seconds);
  }
  print_ratios(work, unit, raw.label, ours.label, figures, rounds, &ratio);
  print_goals(ratio, goal, first, then);
  free(figures);
  return ratio;
}

static double time_call(bench_caller caller) {
  double before = bench_now();
  caller.call(caller.self);
  return (bench_now() - before) * 1e6;
}

static void call_in_turns(const bench_options *options, bench_caller raw, bench_caller ours, double *figures) {
  enum { CALLS_MAX = 20000, CALLS_LEAST = 5 };
  static double theirs[CALLS_MAX], own[CALLS_MAX];
  cpu_set_t cores;
  sched_getaffinity(0, sizeof cores, &cores);
  for (int i = 0; i < CALLS_LEAST; i++) {
    raw.call(raw.self);
    ours.call(ours.self);
  }
  if (raw.place) raw.place(raw.self);
  for (int i = 0; i < options->rounds; i++) {
    double start = bench_now();
    int count = 0;
    for (; count < CALLS_MAX && (count < CALLS_LEAST || bench_now() - start < 2 * options->seconds); count++) {
      theirs[count] = time_call(raw);
      own[count] = time_call(ours);
    }
    figures[i] = bench_median(theirs, count);
    figures[options->rounds + i] = bench_median(own, count);
  }
  sched_setaffinity(0, sizeof cores, &cores);
}

void bench_compare_calls(const bench_options *options, const char *work, bench_caller raw, bench_caller ours, double first,
                         double then) {
  double *figures = make_figures(options->rounds), ratio;
  call_in_turns(options, raw, ours, figures);
  print_ratios(work, "us", raw.label, ours.label, figures, options->rounds, &ratio);
  print_goals(ratio, BENCH_AT_MOST, first, then);
  free(figures);
}

void bench_compare_sum(const bench_options *options, const char *work, bench_caller raw, bench_caller ours,
                       bench_allowance allowance) {
  double *figures = make_figures(options->rounds), ratio;
  call_in_turns(options, raw, ours, figures);
  print_ratios(work, "us", raw.label, ours.label, figures, options->rounds, &ratio);
  double limit = bench_median(figures, options->rounds) + allowance.fixed;
  print_goals(bench_median(figures + options->rounds, options->rounds), BENCH_AT_MOST, limit + allowance.first,
              limit + allowance.then);
  free(figures);
}

void bench_report(const char *work, const char *unit, double value, bench_goal goal, double first, double then) {
  printf("%-44s %10.5g %s", work, value, unit);
  print_goals(value, goal, first, then);
}
