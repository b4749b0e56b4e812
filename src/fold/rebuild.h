/* Rebuilding: the rows of some projections made from the log, all of them by one read of it. Role: store:rebuild and annal rebuild.
 *
 * Where rows of the loaded code are served (or, for a projection that is not kept, are there at all) the new ones are made in a set
 * beside them, under another name, and then put in their place in one transaction. Where they are not, they are made in their own set,
 * which a worker may have begun; when it has caught up with the log it is served, by one UPDATE. Until then whoever reads, reads
 * what was there. A rebuild that was interrupted goes on where its last commit was, by the same scripts. */
#ifndef FOLD_REBUILD_H
#define FOLD_REBUILD_H

#include "fold/fold.h"

typedef struct rebuild_progress {
  uint64_t done, total; /* events of the log */
  uint64_t rows;        /* written, so far */
} rebuild_progress;
/* Called now and then by the thread that rebuilds, for the last time at the end; a non-zero answer ends it: unavailable. */
typedef int rebuild_tell(void *context, const rebuild_progress *progress);

typedef struct rebuild_options {
  const char *const *types; /* names of projections; */
  size_t type_count;        /* 0: all that can be */
  size_t jobs;              /* threads; 0: the caller's alone */
  size_t budget;            /* bytes of events and states in memory */
  int64_t lock_us;          /* how long to wait for somebody else's piece */
  size_t chunk_events;      /* at most so many in memory, and a commit after each, for tests; 0: what the limits say */
  rebuild_tell *tell;
  void *tell_context;
} rebuild_options;

/* Errors: not_found (no such projection), misuse (one whose instances nobody can tell: streams without ids), busy (somebody else
 * rebuilds it), conflict (other scripts' rows have come to be wanted), unavailable. */
int fold_rebuild(const fold_context *context, const rebuild_options *options, annal_error *error);

#endif
