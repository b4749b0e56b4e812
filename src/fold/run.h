/* Running scripts over events and states. Role: the hot loop, and the making of views; instance.c decides what is run over what.
 * From bytes to bytes: no Lua value outlives a call. */
#ifndef FOLD_RUN_H
#define FOLD_RUN_H

#include "script/script.h"
#include "store/store.h"

/* Where events come from: first `events`, then, if there is a cursor, its pages, up to the position `up_to` (inclusive). */
#define FOLD_NO_BOUND INT64_MAX
typedef struct fold_source {
  const annal_event *events;
  size_t count;
  store_cursor *cursor;
  int64_t up_to; /* FOLD_NO_BOUND: all of them */
} fold_source;

/* Buffers and the cursor belong to the caller, so that an error raised in Lua leaves nothing behind. */
typedef struct fold_run {
  script_state *state;
  const script_projection *projection;
  const char *id;
  const char *bytes; /* in: the state to begin with (state.h); NULL: the initial one */
  size_t size;
  base_buf *scratch; /* also holds the data of the event at hand where it had to be upgraded */
  base_buf *out;     /* the new state, or the view, is appended */

  /* Of fold_run_events alone. */
  fold_source source;
  const annal_stream *only; /* fold those events alone that belong to these streams; NULL: all of them do */
  size_t only_count;
  int64_t position;  /* in and out: of the last event that belonged to the instance */
  char event_id[65]; /* its id */
  bool unfit;        /* out: the state to begin with is not one of this projection's */
  int64_t failed_at; /* out: position and id of the event at which a handler failed; 0 and "": none did */
  char failed_id[65];
} fold_run;

/* Leaves off the events above `up_to`, which come last; whether there were any. Staged ones, at position 0, stay. */
bool fold_cut(const annal_event *events, size_t *count, int64_t up_to);

/* Folds the events of the source into the state. Errors: script, budget (the message names projection, instance and event),
 * those of the cursor; corrupt with `unfit`. */
int fold_run_events(fold_run *run, annal_error *error);

/* The state as a view, canonical JSON, checked against `shape`. */
int fold_run_view(fold_run *run, annal_error *error);

#endif
