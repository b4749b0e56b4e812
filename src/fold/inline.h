/* Projections with keep = "inline": what saves make of them. Role: the rows that go into the store together with a save's events, and
 * the guards under which they are right; api/inline.c sends them.
 *
 * Invariants:
 *  1. Scripts run here, before anything is sent: never under a lock of the store.
 *  2. The row of an instance is the fold of its events that are stored, up to the one that its guard names, and of those of the saves.
 *     Where the guard holds under the lock of the append, that is the fold of all its events up to the last one of the saves.
 *  3. A handler sees of an event that is not stored yet what it will see of the stored one, or raises.
 *  4. Instances, and so the locks that are taken for them, are in order of (type, id).
 * For one thread. */
#ifndef FOLD_INLINE_H
#define FOLD_INLINE_H

#include "fold/fold.h"

/* One instance that some of the saves' events are for. */
typedef struct inline_instance {
  const script_projection *projection;
  const char *id;
  fold_instance *fold;
  base_buf view;
  store_row row;
  size_t first_save; /* the first that is for it: there its guard stands; SIZE_MAX: none yet */
  size_t last_save;  /* the last: there its row stands … */
  size_t last;       /* … as of this event of it */
} inline_instance;

/* An event of a save, and an instance that it is for. */
typedef struct inline_part {
  size_t instance;
  size_t event;
} inline_part;

typedef struct fold_inline {
  fold_context context;
  inline_instance **instances; /* in order of (type, id); each stays where it is */
  size_t count, capacity;
  size_t saves;
  store_guard *guards; /* what fold_inline_give gives out */
  store_save_row *rows;
} fold_inline;

/* Whether the app keeps anything inline. */
bool fold_inline_any(const script_app *app);

/* `context` is copied; its app is to outlive this. */
void fold_inline_init(fold_inline *in, const fold_context *context);
void fold_inline_free(fold_inline *in);

/* Finds the instances that the events are for and opens those that are new; they are read when they are folded. *parts, to be freed by
 * base_free, says which event is for which, in order of instance and event; NULL where none is. Positions in it hold until the next
 * call. Errors: script, budget. */
int fold_inline_find(fold_inline *in, const annal_event *events, size_t count, inline_part **parts, size_t *part_count,
                     annal_error *error);

/* Lays the events of one more save over the instances, as `parts` says. Errors: those of handlers and views; invalid where a declared
 * field of a view is too long. After one of them nothing more may be added. */
int fold_inline_add(fold_inline *in, const annal_event *events, const inline_part *parts, size_t part_count, annal_error *error);

/* Forgets what was added, and reads the instances anew: for another try. */
int fold_inline_again(fold_inline *in, annal_error *error);

/* Room for what fold_inline_give gives of all saves. */
int fold_inline_prepare(fold_inline *in, annal_error *error);
/* Guards and rows of one save, borrowed until the next change. They lie behind those of the saves before, which were given first. */
void fold_inline_give(fold_inline *in, size_t save, store_save *out);

#endif
