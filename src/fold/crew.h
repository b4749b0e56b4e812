/* Some threads that share a list of work, each with a bench of its own. Role: folding instances in parallel; the only threads that
 * annal starts, and only where a rebuild asks for them. Without any, its user does the work himself. */
#ifndef FOLD_CREW_H
#define FOLD_CREW_H

#include "fold/set.h"
#include <pthread.h>
#include <stdatomic.h>

/* Number `index` of the work at hand. Errors end the work. */
typedef int crew_work(void *context, fold_bench *bench, size_t index, annal_error *error);

typedef struct fold_crew {
  const fold_context *context;
  fold_bench own; /* of the thread that uses the crew */
  size_t size;    /* threads */
  struct crew_member *members;
  pthread_mutex_t lock;
  pthread_cond_t begin, end;
  size_t round; /* counts works, under the lock, as the next three are */
  size_t busy;  /* members that are not done with this one */
  bool closing;
  int code;
  annal_error error;
  crew_work *work;
  void *work_context;
  size_t count;
  atomic_size_t next;
  atomic_bool stop;
} fold_crew;

/* `context` stays borrowed. */
int crew_open(fold_crew *crew, const fold_context *context, size_t jobs, annal_error *error);
void crew_close(fold_crew *crew); /* accepts one that is zeroed */

/* Has work(context, …, 0 … count - 1) done, in any order. One at a time; crew_wait ends it. Without threads it is done at once. */
void crew_start(fold_crew *crew, crew_work *work, void *context, size_t count);
bool crew_is_done(fold_crew *crew);
/* Answers the first error. */
int crew_wait(fold_crew *crew, annal_error *error);
/* Leaves what has not begun undone; crew_wait is still to be called. */
void crew_stop(fold_crew *crew);

#endif
