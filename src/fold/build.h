/* Building sets of rows out of the log: chunks of events are read, each set takes its part, folds it, and writes rows and checkpoint.
 * Role: what a worker's piece (keeper.c) and a rebuild (rebuild.c) have in common; they decide where to begin and when to commit. */
#ifndef FOLD_BUILD_H
#define FOLD_BUILD_H

#include "fold/crew.h"

/* One set on its way. */
typedef struct build_set {
  fold_set set;
  char name[STORE_SET_BYTES]; /* of its rows and of its checkpoint */
  bool unread;                /* nobody reads its rows: they may be written ahead of the checkpoint */
  store_piece *piece;         /* NULL: none is under way */
  store_set found;            /* as of its beginning */
  store_head_info place;      /* everything up to here was folded */
  bool overtaken;             /* somebody else has moved the checkpoint: what is in memory is of no use */
  uint64_t written;           /* rows, so far */
} build_set;

typedef struct fold_build {
  fold_context context;
  fold_crew crew;
  build_set *sets;
  size_t count;
  size_t budget;       /* bytes of states in memory, of all sets together; more for a moment */
  int64_t kept_at;     /* monotonic: when the store heard last that the pieces go on */
  unsigned interrupts; /* of the store's, when it was opened */
} fold_build;

/* Room for `sets` sets. `jobs` threads; 0: none but the caller's. build_close is to be called in any case. */
int build_open(fold_build *build, const fold_context *context, size_t sets, size_t jobs, size_t budget, annal_error *error);
void build_close(fold_build *build);
int build_add(fold_build *build, const script_projection *projection, const char *name, build_set **added, annal_error *error);

/* Begins a piece. set->piece stays NULL where somebody else is at it. */
int build_begin(fold_build *build, build_set *set, annal_error *error);

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* One read of the log, chunk by chunk. */
typedef struct build_reader {
  store_cursor *cursor;
  bool over;
  store_head_info up_to;   /* where it ends */
  store_head_info reached; /* the last event read, or the end when it is over */
} build_reader;

/* Reads above `after` and up to the head that was seen: every event, or those of the sets' types alone. */
int build_read(fold_build *build, build_reader *reader, const store_head_info *after, const store_head_info *up_to, bool by_type,
               annal_error *error);
void build_end_read(build_reader *reader);
/* Adds events until the chunk has so many, or so many bytes, or the read is over. */
int build_fill(build_reader *reader, fold_chunk *chunk, size_t events, size_t bytes, annal_error *error);
/* Takes events off a chunk that has more than `events`, as if they had not been read. The read is not to go on then. */
void build_cut(build_reader *reader, fold_chunk *chunk, size_t events);

/* ---- Working ----------------------------------------------------------------------------------------------------------- */

/* What the caller does while the crew works: a step that is short; false when there is nothing left to do. */
typedef bool build_meanwhile(void *context);

/* Folds the chunk's events above set->place into the set. `end`: what was read up to, which may lie beyond the last event. Where
 * memory is full, rows of a set that is unread are written and read back; of one that is read only as many events are folded as
 * memory allows in one go. */
int build_fold(fold_build *build, build_set *set, const fold_chunk *chunk, const store_head_info *end, build_meanwhile *meanwhile,
               void *context, annal_error *error);

/* Folds instances that were entered by set_enter, as of set->place, whether or not they are parked. Not more than BUILD_ENTERED. */
#define BUILD_ENTERED 100
int build_fold_entered(fold_build *build, build_set *set, annal_error *error);

/* Writes what has changed and moves the checkpoint to set->place. The piece is over then; set->overtaken says that nothing was written,
 * and that what is in memory is good for nothing (build_forget). `serve`: see store_advance. */
int build_commit(fold_build *build, build_set *set, bool serve, bool *serves, annal_error *error);
void build_forget(build_set *set);
/* Ends a piece that is not to be committed. */
void build_give_up(build_set *set);

/* ---- What these are made of -------------------------------------------------------------------------------------------- */

bool build_is_interrupted(const fold_build *build);
/* Between statements of one piece its server wants to hear of it. */
int build_keep_pieces(fold_build *build, annal_error *error);
/* Writes those of the instances that have changed ahead of the checkpoint, of a set that is unread. Puts them in order of their ids. */
int build_write_ahead(fold_build *build, build_set *set, set_instance **list, size_t count, annal_error *error);

#endif
