/* Threads that share work; see crew.h. */
#include "fold/crew.h"

#include "base/error.h"
#include <signal.h>

typedef struct crew_member {
  fold_crew *crew;
  fold_bench bench;
  pthread_t thread;
} crew_member;

static void note_error(fold_crew *crew, int code, const annal_error *error) {
  pthread_mutex_lock(&crew->lock);
  if (!crew->code) {
    crew->code = code;
    crew->error = *error;
  }
  pthread_mutex_unlock(&crew->lock);
  atomic_store(&crew->stop, true);
}

static void do_share(fold_crew *crew, fold_bench *bench) {
  annal_error error;
  size_t index;
  while (!atomic_load_explicit(&crew->stop, memory_order_relaxed) && (index = atomic_fetch_add(&crew->next, 1)) < crew->count) {
    int code = crew->work(crew->work_context, bench, index, &error);
    if (code) note_error(crew, code, &error);
  }
}

static void *run_member(void *context) {
  crew_member *member = context;
  fold_crew *crew = member->crew;
  size_t seen = 0;
  pthread_mutex_lock(&crew->lock);
  for (;;) {
    while (crew->round == seen && !crew->closing) pthread_cond_wait(&crew->begin, &crew->lock);
    if (crew->closing) break;
    seen = crew->round;
    pthread_mutex_unlock(&crew->lock);
    do_share(crew, &member->bench);
    pthread_mutex_lock(&crew->lock);
    if (--crew->busy == 0) pthread_cond_signal(&crew->end);
  }
  pthread_mutex_unlock(&crew->lock);
  return NULL;
}

/* Signals are the host's, and go to its threads. */
static int start_member(crew_member *member, annal_error *error) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&member->thread, NULL, run_member, member);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed ? error_set(error, ANNAL_UNAVAILABLE, NULL, "no thread can be started for a job; ask for fewer") : ANNAL_OK;
}

static int open_member(fold_crew *crew, annal_error *error) {
  crew_member *member = &crew->members[crew->size];
  member->crew = crew;
  int code = bench_open(&member->bench, crew->context, error);
  if (!code) code = start_member(member, error);
  if (code) bench_close(&member->bench);
  else crew->size++;
  return code;
}

int crew_open(fold_crew *crew, const fold_context *context, size_t jobs, annal_error *error) {
  *crew = (fold_crew){.context = context};
  pthread_mutex_init(&crew->lock, NULL);
  pthread_cond_init(&crew->begin, NULL);
  pthread_cond_init(&crew->end, NULL);
  int code = bench_open(&crew->own, context, error);
  if (code || jobs == 0) return code;
  crew->members = base_calloc(context->env, jobs, sizeof *crew->members);
  if (!crew->members) return error_memory(error);
  for (size_t i = 0; i < jobs && !code; i++) code = open_member(crew, error);
  return code;
}

void crew_close(fold_crew *crew) {
  if (!crew->context) return;
  pthread_mutex_lock(&crew->lock);
  crew->closing = true;
  pthread_cond_broadcast(&crew->begin);
  pthread_mutex_unlock(&crew->lock);
  for (size_t i = 0; i < crew->size; i++) {
    pthread_join(crew->members[i].thread, NULL);
    bench_close(&crew->members[i].bench);
  }
  base_free(crew->context->env, crew->members);
  bench_close(&crew->own);
  pthread_cond_destroy(&crew->begin);
  pthread_cond_destroy(&crew->end);
  pthread_mutex_destroy(&crew->lock);
  *crew = (fold_crew){0};
}

void crew_start(fold_crew *crew, crew_work *work, void *context, size_t count) {
  pthread_mutex_lock(&crew->lock);
  crew->work = work;
  crew->work_context = context;
  crew->count = count;
  crew->code = 0;
  atomic_store(&crew->next, 0);
  atomic_store(&crew->stop, false);
  crew->busy = crew->size;
  crew->round++;
  pthread_cond_broadcast(&crew->begin);
  pthread_mutex_unlock(&crew->lock);
  if (crew->size == 0) do_share(crew, &crew->own);
}

bool crew_is_done(fold_crew *crew) {
  pthread_mutex_lock(&crew->lock);
  bool done = crew->busy == 0;
  pthread_mutex_unlock(&crew->lock);
  return done;
}

int crew_wait(fold_crew *crew, annal_error *error) {
  pthread_mutex_lock(&crew->lock);
  while (crew->busy > 0) pthread_cond_wait(&crew->end, &crew->lock);
  int code = crew->code;
  if (code) *error = crew->error;
  pthread_mutex_unlock(&crew->lock);
  return code;
}

void crew_stop(fold_crew *crew) { atomic_store(&crew->stop, true); }
