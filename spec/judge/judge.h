/* What the judges share: random numbers, records in files, processes. Role: programs of spec/judge/ that hold a store to its word
 * from outside; each is also tried on broken ways to save or read, which it has to catch. */
#ifndef JUDGE_H
#define JUDGE_H

#include "annal.h"
#include <stdio.h>
#include <sys/types.h>

_Noreturn void judge_die(const char *format, ...) ANNAL_PRINTF(1, 2);
uint64_t judge_random(uint64_t *state);
double judge_now(void); /* seconds, monotonic */
/* A set of event ids, as their number and the sum of their hashes: equal sets have equal sums, others hardly ever. */
typedef struct judge_set {
  uint64_t count, sum;
} judge_set;
void judge_add(judge_set *set, const char *id);

/* Codes that a store may answer when processes are killed around it; whoever gets one tries again. */
bool judge_may_pass(int code);

/* Puts a file in place at once, in a directory that is made where it is missing: an app that a running program notices. */
void judge_write(const char *directory, const char *name, const char *text);

/* Another process by an image of its own, of the same program: what is open here is none of its business. It does not outlive this
 * one. `arguments` end with a NULL. */
pid_t judge_start(const char *const *arguments);
int judge_end_of(pid_t child); /* waits for it: its status */
void judge_kill(pid_t child);  /* with -9 */

/* Does what is due in the background until it is killed; errors that may not pass end it. */
_Noreturn void judge_work(annal_store *handle);

/* Reads "--name value" and "--flag" into the pointers given; dies on anything else. Ended by a NULL name. */
typedef struct judge_option {
  const char *name;
  const char **text;
  double *number;
  bool *flag;
} judge_option;
void judge_options(int count, char **arguments, const judge_option *options);

#endif
