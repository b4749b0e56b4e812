/* Comparing two ways of doing the same work in one run. Role: every W stands on this.
 *
 * A shared machine drifts: so the two sides take turns, round by round, and what is reported is the median of the rounds'
 * ratios, with the medians of both rates beside it. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "annal.h"

/* What a run is about; filled from the command line and the environment. */
typedef struct bench_options {
  const char *postgres;  /* conninfo of a server to be used freely, or NULL: PostgreSQL is left out, and said so */
  const char *directory; /* for SQLite files */
  const char *app;       /* projections/cart */
  int rounds;            /* turns of each side */
  double seconds;        /* of one turn */
  unsigned tenths;       /* hundred thousand events in the large store */
} bench_options;

/* One side: does the work for about `seconds`, answers units a second (or seconds a unit where the work says so). */
typedef double bench_turn(void *self, double seconds);
typedef struct bench_side {
  const char *label;
  bench_turn *turn;
  void *self;
} bench_side;

typedef enum bench_goal { BENCH_AT_LEAST, BENCH_AT_MOST } bench_goal;

/* Alternates the two and prints one line: work, store, both medians, the ratio ours / raw, and whether `first` and `then` are
 * reached. A figure of 0 is not a goal. Answers the median ratio. */
double bench_compare(const bench_options *options, const char *work, const char *unit, bench_side raw, bench_side ours,
                     bench_goal goal, double first, double then);

/* Calls of microseconds: the two sides take turns call by call. A round's figure is the median of its calls, because one slow call
 * must not count for hundreds. `place`, which may be NULL, is called once both sides have been warmed up: a client and its server
 * are to be on one core, for where the scheduler wakes them costs more than many a call. */
typedef void bench_call(void *self);
typedef struct bench_caller {
  const char *label;
  bench_call *call;
  void *self;
  bench_call *place;
} bench_caller;

/* The ratio ours / raw is to be at most so much; 0: no goal. */
void bench_compare_calls(const bench_options *options, const char *work, bench_caller raw, bench_caller ours, double first,
                         double then);

/* Ours may take raw's and, on top, `fixed` and an allowance for the work itself, in microseconds. */
typedef struct bench_allowance {
  double fixed, first, then;
} bench_allowance;
void bench_compare_sum(const bench_options *options, const char *work, bench_caller raw, bench_caller ours,
                       bench_allowance allowance);

/* Prints a figure that stands alone: no raw limit, only a goal (0: none). */
void bench_report(const char *work, const char *unit, double value, bench_goal goal, double first, double then);

double bench_now(void);                                             /* seconds, monotonic */
double bench_median(double *values, int count);                     /* sorts them */
double bench_percentile(double *values, int count, double percent); /* sorts them */
void bench_forget_peak(void);
long bench_peak_kib(void); /* the most memory of this process since then */

/* Prints the error and ends the program: a benchmark that fails measures nothing. */
void bench_check(int result, const annal_error *error, const char *what);
_Noreturn void bench_die(const char *format, ...) ANNAL_PRINTF(1, 2);

#endif
