/* The instances of one projection that a run of events is for, in memory: their states as bytes, folded event by event and made into
 * rows. Role: between the chunk of events and the set of rows; build.c says what is read, loaded, folded and written when.
 *
 * The steps, in this order, for each chunk:
 *   set_take     by one thread: which instances the events are for
 *   set_unknown  those among them whose rows have to be read; set_load for each row that there is
 *   set_fold     by several threads, each instance by one of them
 *   set_view     likewise, for instances that are to be written
 * A handler that fails parks its instance: what came before the event is kept, what comes after it is passed over. Where the view fails
 * (or the state is none that can be kept) nothing is written, and the next event may mend it. */
#ifndef FOLD_SET_H
#define FOLD_SET_H

#include "fold/chunk.h"
#include "fold/fold.h"
#include "store/kept.h"

typedef enum set_parking {
  SET_RUNS,
  SET_POISONED, /* a handler failed at an event: it stays as it was before, until other scripts or another start */
  SET_UNSEEN    /* no row can be made of its state: it is tried again with its next event */
} set_parking;

typedef struct set_problem {
  char event_id[65];
  char text[];
} set_problem;

typedef struct set_instance {
  size_t hash;
  char *state; /* as of `position`; NULL: the initial one */
  size_t state_size, state_room;
  char *view; /* by set_view, until the row was written */
  size_t view_size;
  int64_t position; /* of latest_event_id; 0: no event */
  char latest_event_id[65];
  uint32_t first, last; /* its events in the chunk: links; SET_NO_LINK */
  uint32_t round;       /* the set's, when it was touched last */
  size_t counted;       /* bytes that the set has counted for it */
  bool known;           /* its row was looked for */
  bool dirty;           /* it has changed since its row was written */
  bool from_first;      /* its row cannot be used: it is read anew */
  bool read_on;         /* likewise from its row on: what came since was passed over */
  bool was_parked;      /* annal_parked has it */
  set_parking parking;
  set_problem *problem; /* why it is parked, to be written; NULL: nothing new */
  char id[];
} set_instance;

#define SET_NO_LINK UINT32_MAX

typedef struct set_link {
  uint32_t event, next;
} set_link;

typedef struct fold_set {
  const fold_context *context;
  const script_projection *projection;
  const char **identifiers; /* by type of event; NULL: `ids`, or one instance for the whole store */
  set_instance **table;     /* a hash of all instances; NULL where there is none */
  size_t table_size, count;
  set_instance **touched; /* those that events of the chunk are for */
  size_t touched_count, touched_capacity;
  uint32_t round; /* counts chunks */
  set_link *links;
  size_t link_count, link_capacity;
  size_t hand;     /* where in the table set_choose looks next */
  size_t bytes;    /* that all instances take */
  size_t used;     /* events of the last chunk that were for some instance */
  base_buf answer; /* scratch of set_take */
  bool was_halted; /* annal_parked has it as a whole */
  bool halted;     /* `ids` has failed at this event, with this error; the chunk ended before it */
  char halt_event[65];
  annal_error halt_error;
} fold_set;

/* What one thread folds with. */
typedef struct fold_bench {
  const fold_context *context;
  script_state *state;
  base_buf scratch, out;
  annal_event *events;
  size_t capacity;
} fold_bench;

int bench_open(fold_bench *bench, const fold_context *context, annal_error *error);
void bench_close(fold_bench *bench); /* accepts one that is zeroed */

/* `context` and projection stay borrowed. */
int set_open(fold_set *set, const fold_context *context, const script_projection *projection, annal_error *error);
void set_close(fold_set *set); /* accepts one that is zeroed */

/* Whether rows of it can be made by reading all events: not without `ids` where there are streams. */
bool set_can(const script_projection *projection);

/* Takes events [from, count) of the chunk. *taken is how many of the chunk's events count for the set: fewer than `count` where it
 * is halted. */
int set_take(fold_set *set, const fold_chunk *chunk, size_t from, size_t count, fold_bench *bench, size_t *taken,
             annal_error *error);

/* An instance without events of the chunk, to be looked at again from its row on. NULL: no memory. */
set_instance *set_enter(fold_set *set, const char *id);

/* The touched instances that are not known yet, in the order of their first events; room for touched_count. */
size_t set_unknown(const fold_set *set, set_instance **unknown);
/* A store_each_kept; `context` is a set_loading. */
typedef struct set_loading {
  fold_set *set;
  bool failed; /* no memory */
} set_loading;
void set_load(void *context, const store_kept_row *row);

/* Folds the chunk's events of a touched instance, or what it has to be read anew up to `up_to`. Errors: not those of scripts, which
 * park the instance. */
int set_fold(fold_set *set, fold_bench *bench, set_instance *instance, const fold_chunk *chunk, int64_t up_to,
             annal_error *error);

/* Makes a copy of the bytes the instance's state. False: no memory. */
bool set_keep_state(const fold_set *set, set_instance *instance, const char *bytes, size_t size);

/* Makes the view of an instance that is dirty, for its row; where there is none to be had it is dirty no more. */
int set_view(fold_set *set, fold_bench *bench, set_instance *instance, annal_error *error);

/* The row of an instance that has a view. */
void set_row(const fold_set *set, const char *name, const set_instance *instance, store_row *row);
/* It was written: its view is let go. */
void set_written(const fold_set *set, set_instance *instance);
/* What annal_parked is to say of an instance: NULL where it says the right thing. For those that run again `error` is NULL. */
bool set_parking_news(const set_instance *instance, store_parked *parked);
/* It was said. */
void set_settled(const fold_set *set, set_instance *instance);

/* Leaves the chunk's events from number `event` on to the next round, with the instances that only they are for. */
void set_cut(fold_set *set, size_t event);

/* The number of the first event of the chunk that is for it. */
size_t set_first_event(const fold_set *set, const set_instance *instance);

/* Puts those of the touched instances that are known behind the others, whose number it answers. */
size_t set_known_last(fold_set *set);
/* The last `count` of the touched instances were folded: the chunk has nothing more for them, and their bytes are counted anew. */
void set_done(fold_set *set, size_t count);

/* All that it takes. */
size_t set_memory(const fold_set *set);
/* Which instances are to be written and forgotten so that `bytes` are held: none that the chunk at hand is still for, and those first
 * that it is not for at all. Room for all; answers how many. */
size_t set_choose(fold_set *set, size_t bytes, set_instance **chosen);
/* Forgets those among them of which everything was written and told. */
void set_forget(fold_set *set, set_instance *const *chosen, size_t count);

#endif
