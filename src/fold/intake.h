/* Events on their way in: limits, declarations and canonical form. Role: the one gate for events that are to be saved
 * (api/save.c) or laid over a state (instance.c); behind it nobody checks an event again.
 *
 * What is put in is copied: the events that come out live as long as the intake. For one thread. */
#ifndef FOLD_INTAKE_H
#define FOLD_INTAKE_H

#include "fold/declared.h"
#include "script/script.h"

struct intake_span;

typedef struct intake {
  const base_env *env;
  const store_fields *identifiers; /* fields of data that the store indexes; NULL: they need not be looked at */
  bool takes_older;                /* events of older versions too: their upgraded form is checked, and they stay as they are */
  base_buf text;                   /* everything that the events point to */
  struct intake_span *spans;       /* where in it, while it may still move */
  annal_event *events;
  size_t count;
  size_t capacity;
} intake;

/* Room for `capacity` events. `unavailable` without memory. The intake is to be freed in any case. */
int intake_init(intake *in, const base_env *env, size_t capacity, annal_error *error);
void intake_free(intake *in);

/* Adds a copy. With a script state (`state`, else NULL) an event without a position is checked against its declaration; one with
 * a position is stored already and was checked then. Version 0 becomes the current one, or 1; another one than the current is
 * `invalid`, but for takes_older. Errors: invalid (`where` is the place in the event: "data.items[3]", "type"), script, budget. */
int intake_add(intake *in, script_state *state, const annal_event *event, annal_error *error);

/* Gives an event that came without an id one of `id`. */
int intake_give_id(intake *in, size_t index, const char *id, annal_error *error);

/* After the last intake_add: points the events into the copied text. `unavailable` without memory. */
int intake_finish(intake *in, annal_error *error);

#endif
