/* What the judges share: random numbers, records in files, processes. Role: programs of spec/judge/ that hold a store to its word
 * from outside; each is also tried on broken ways to save or read, which it has to catch. */
#ifndef JUDGE_H
#define JUDGE_H

#include "annal.h"
#include <stdio.h>

_Noreturn void judge_die(const char *format, ...) ANNAL_PRINTF(1, 2);
uint64_t judge_random(uint64_t *state);
double judge_now(void); /* seconds, monotonic */
/* A set of event ids, as their number and the sum of their hashes: equal sets have equal sums, others hardly ever. */
typedef struct judge_set {
  uint64_t count, sum;
} judge_set;
void judge_add(judge_set *set, const char *id);

/* Reads "--name value" and "--flag" into the pointers given; dies on anything else. Ended by a NULL name. */
typedef struct judge_option {
  const char *name;
  const char **text;
  double *number;
  bool *flag;
} judge_option;
void judge_options(int count, char **arguments, const judge_option *options);

#endif
