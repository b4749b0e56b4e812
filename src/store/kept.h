/* Sets of rows that are kept current. Role: what fold/ needs of a store to keep projections in the background and to rebuild them;
 * the neutral half is kept.c, the work is the backend's (kept.c of either).
 *
 * A set is all rows of one type and one name, most often a fingerprint; `projections` holds the rows, annal_checkpoints how far the
 * set has come, annal_parked its instances whose handler failed. annal_meta holds for each type that is kept, in one value that is
 * only changed as a whole, which set is served and which is wanted.
 *
 * Invariants:
 *  1. The checkpoint of a set and the rows that belong to it change in one transaction (store_piece_commit). Rows may be ahead of their
 *     checkpoint, each as of its own position, never behind it.
 *  2. Of those who do a piece of one set at the same time only one can commit it: who comes second is told that he was overtaken, and
 *     has changed nothing.
 *  3. A checkpoint holds the id of its event, and whoever reads it is told whether that event is still stored.
 *  4. Which set is served changes by one UPDATE of one row, and only from what was seen before; and to a set whose checkpoint is not
 *     before that of the set it replaces, unless that one was made from another log than this. (Rows that are ahead of it, as saves
 *     write them of what is kept inline, do not count.) */
#ifndef STORE_KEPT_H
#define STORE_KEPT_H

#include "store/store.h"

#define STORE_SET_BYTES 64 /* names of sets, with the NUL: 32 digits, or "v" and a number; with the mark of one that is rebuilt */

/* What annal_meta says of a type. */
typedef struct store_kept {
  int64_t number;               /* rises with each change of `wanted`; 0: nobody has wanted a set of it yet */
  char wanted[STORE_SET_BYTES]; /* the set that is to be served */
  char served[STORE_SET_BYTES]; /* the one that queries read; "": none is whole yet */
} store_kept;

/* A set and its surroundings, in one snapshot. */
typedef struct store_set {
  store_kept kept;
  bool exists;                /* it has a checkpoint */
  store_head_info checkpoint; /* the last event that its rows know of; 0 and "" before the first */
  int64_t touched_at;         /* when the checkpoint was written last; microseconds */
  bool sound;                 /* the checkpoint's event is stored */
  store_head_info head;       /* of the log */
} store_set;

int store_kept_read(store *s, const char *type, store_kept *kept, annal_error *error);
/* Makes the set the wanted one of its type, with a higher number, unless it is; and a checkpoint for it, unless it has one. */
int store_kept_want(store *s, const char *type, const char *set, annal_error *error);
/* A checkpoint for a set that is not wanted, as one that is rebuilt beside another. */
int store_set_make(store *s, const char *type, const char *set, annal_error *error);
int store_set_look(store *s, const char *type, const char *set, store_set *found, annal_error *error);
int store_set_has_rows(store *s, const char *type, const char *set, bool *any, annal_error *error);

/* ---- Pieces ------------------------------------------------------------------------------------------------------------ */

/* One step forward of one set, by one thread. On PostgreSQL it is a transaction that holds the checkpoint's row from the beginning
 * to the end, so that others pass it by; between two calls on it may pass no more than the store's timeout. On SQLite nothing is held
 * until store_piece_commit, which looks whether somebody was faster. */
typedef struct store_piece store_piece;

/* *piece is NULL when somebody else is at it, or the set has no checkpoint. *found is as of the beginning. */
int store_piece_begin(store *s, const char *type, const char *set, store_piece **piece, store_set *found, annal_error *error);

/* One instance of a set as it is kept. */
typedef struct store_kept_row {
  const char *id;
  const char *state; /* NULL: there is no row */
  size_t state_size;
  int64_t position;
  const char *latest_event_id;
  bool sound;         /* that event is stored */
  const char *parked; /* why it is parked, see store_parked; NULL: it is not */
} store_kept_row;
typedef void store_each_kept(void *context, const store_kept_row *row);
/* Those of these instances that have a row or are parked, in any order, borrowed during the call of `each`, which must not use the
 * store. */
int store_piece_rows(store_piece *piece, const char *const *ids, size_t count, store_each_kept *each, void *context,
                     annal_error *error);

/* Says that the piece goes on, to the server and to others who would like to do it: for one that takes longer than a moment. */
int store_piece_keep(store_piece *piece, bool *overtaken, annal_error *error);
/* How many pieces one thread may have under way at a time. */
size_t store_pieces_at_once(const store *s);

/* Writes rows ahead of the checkpoint, of a set that nobody reads yet: others may see them before the commit. *overtaken: nothing was
 * written, and nothing more can be. A row gives way to a position that is not lower. */
int store_piece_put(store_piece *piece, const store_row *rows, size_t count, bool *overtaken, annal_error *error);

/* An instance whose handler failed, and at which event. It stays as it was before. */
typedef struct store_parked {
  const char *id; /* "" where there are instances: the set as a whole, whose `ids` failed */
  const char *event_id;
  const char *error; /* one line */
} store_parked;

typedef struct store_advance {
  store_head_info place; /* the checkpoint from now on */
  const store_row *rows; /* of this set; each id once */
  size_t row_count;
  const store_parked *parked; /* now, or again */
  size_t parked_count;
  const char *const *resumed; /* ids that were parked and are no more */
  size_t resumed_count;
  /* The set is served from now on, if it is still the wanted one of what was found at the beginning, and knows of every event that the
   * served one knows of: who reads is not taken back to before what a worker has folded. */
  bool serve;
} store_advance;

typedef struct store_advanced {
  bool overtaken; /* somebody else has moved the checkpoint: nothing was written */
  bool serves;    /* `serve` was granted; where it was not, all else was written */
} store_advanced;

/* All of it or nothing. The piece is over then, and to be ended. */
int store_piece_commit(store_piece *piece, const store_advance *advance, store_advanced *done, annal_error *error);
void store_piece_end(store_piece *piece); /* what was not committed is undone; accepts NULL */

/* Reads events (store_read) of which it is known that they are there, whichever server answers: above the event `after` and up to the
 * event `up_to`, each as it was seen; an empty id stands for whichever event. `selection` has streams and no bounds. */
int store_read_known(store *s, const annal_selection *selection, const store_head_info *after, const store_head_info *up_to,
                     store_cursor **cursor, annal_error *error);

/* ---- Whole sets -------------------------------------------------------------------------------------------------------- */

/* A set that was made from another log than this one: away with its rows and parked instances, back to the first event, and no
 * longer served. Not *done where its checkpoint is no longer the one that was found, or its event is stored after all. */
int store_set_reset(store *s, const char *type, const char *set, const store_head_info *checkpoint, bool *done,
                    annal_error *error);

/* Puts a set, with its checkpoint and parked instances, in the place of another; rows of the other that are ahead of the checkpoint stay.
 * Not *done where the checkpoint is another than the one given, or the other set is ahead of it. */
int store_set_replace(store *s, const char *type, const char *set, const char *other, const store_head_info *checkpoint,
                      bool *done, annal_error *error);

/* For a set that nobody follows, once it is whole: its next rebuild begins at the first event. Its rows stay. */
int store_set_finish(store *s, const char *type, const char *set, annal_error *error);

/* The mark in the name of a set that is made beside one of the same code: what comes before it is the other's name. */
#define STORE_SET_MARK '~'

/* Removes sets of the type that are neither served nor wanted and that nobody has written to since; of types that are not kept, those
 * with the mark alone. In steps, between which others go on. */
int store_set_clean(store *s, const char *type, bool is_kept, int64_t untouched_since, annal_error *error);

/* ---- Looking at them --------------------------------------------------------------------------------------------------- */

typedef struct store_set_figures {
  const char *type;
  const char *set;
  int64_t rows;
  bool has_checkpoint;
  int64_t position;   /* of the checkpoint */
  int64_t touched_at; /* microseconds */
  int64_t next_at;    /* created_at of the first event after the checkpoint; 0: there is none */
  int64_t parked_count;
  bool served, wanted; /* filled in by kept.c */
} store_set_figures;
typedef void store_each_set(void *context, const store_set_figures *set);
/* Every set that has rows or a checkpoint, by type and name, but those of rows saved by hand. */
int store_sets(store *s, store_each_set *each, void *context, annal_error *error);

typedef void store_each_parked(void *context, const store_parked *parked);
/* By id, from above `after` (NULL: the first) on, at most `limit`. */
int store_parked_of(store *s, const char *type, const char *set, const char *after, size_t limit, store_each_parked *each,
                    void *context, annal_error *error);

/* ---- Waiting ----------------------------------------------------------------------------------------------------------- */

/* Noticing that something may have been committed, as a follower does. For one thread at a time. */
typedef struct store_watch store_watch;
int store_watch_open(store *s, store_watch **watch, annal_error *error);
/* Returns at the latest at `deadline` (base_monotonic). What was committed between the opening and the first wait may be missed. */
int store_watch_wait(store *s, store_watch *watch, int64_t deadline, annal_error *error);
void store_watch_close(store *s, store_watch *watch); /* accepts NULL */

#endif
