/* A projection as a script state runs it. Role: what the hot loop of run.c looks things up in, made once for each projection
 * and script state out of the definition that the scripts gave, kept by that state and ended with it. */
#ifndef FOLD_PROGRAM_H
#define FOLD_PROGRAM_H

#include "script/script.h"

/* One function of one reducer, for one type of event. */
typedef struct program_handler {
  int field;        /* which part of the state it changes */
  int function;     /* where it stands in the anchors */
  const char *what; /* "reducer items", for messages */
} program_handler;

/* A place inside of a part of the initial state where an array stands: whatever empty table a handler leaves there is one. */
typedef struct program_place {
  int field;
  int first_key; /* where its keys stand in the anchors, one after the other */
  int key_count; /* 0: the part itself */
} program_place;

/* Immutable. An `init` function was run once to make it. Lives in a userdata, whose user value is the anchors: a Lua table 1..n with the functions and strings. */
typedef struct fold_program {
  const script_projection *projection;
  bool has_fields; /* the state is an object with one member for each part; else the one part is the state */
  int field_count;
  int first_name; /* the names of the parts in the anchors, one after the other; 0 without fields */
  int view;       /* functions in the anchors, or 0 */
  int shape;
  const char *initial; /* the initial state as bytes (state.h) */
  size_t initial_size;
  const int *first_handler; /* those of types[i] are handlers[first_handler[i]] up to handlers[first_handler[i + 1]] */
  const program_handler *handlers;
  const program_place *places; /* in order of field */
  int place_count;
} fold_program;

/* [-0, +2 on success, +0 otherwise, m] Pushes the anchors, and above them the userdata that *program lies in. `scratch` is a
 * buffer that the caller owns: it outlives an error that is raised here. Errors: script (the initial state is none), budget. */
int fold_program_push(script_state *state, const script_projection *projection, base_buf *scratch, const fold_program **program,
                      annal_error *error);

/* Which of the projection's types it is; -1: none. */
int fold_program_type(const fold_program *program, const char *type);

#endif
