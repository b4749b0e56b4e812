/* Whether an event belongs to a selection, decided without a store. Role: events laid over a state (instance.c) count only where
 * they would count once stored. The rule is the stores' own: DESIGN "a value matches". */
#ifndef FOLD_MATCH_H
#define FOLD_MATCH_H

#include "annal.h"
#include <lua.h>

/* [-0, +0, m] *matches: whether one of the streams selects the event. Errors: invalid (its data is no JSON). */
int fold_match(lua_State *L, const annal_stream *streams, size_t count, const annal_event *event, bool *matches,
               annal_error *error);

#endif
