/* Which instances of a projection an event is for. Role: the way back from an instance's streams, for who has an event and no id. */
#ifndef FOLD_BELONG_H
#define FOLD_BELONG_H

#include "script/script.h"

/* Appends the ids, each once and ended by a NUL; *count is how many. By the value of the identifier in the event's data (canonical), as
 * selections see it; by the projection's `ids`, which is given the event as upgraded; or "" where there is one for the whole store. An
 * upcaster changes no identifier, so the data are looked at as they are. `scratch` is used and left. Errors: script, budget. */
int fold_belong(script_state *state, const script_projection *projection, const annal_event *event, base_buf *scratch,
                base_buf *ids, size_t *count, annal_error *error);

/* The id in the event's data (canonical): of a string what is in it, of a number or boolean its JSON; it borrows from the event or from
 * `scratch`. *id is NULL for null, for what is no scalar, and for what no instance can be called. */
int fold_belong_by(const annal_event *event, const char *identifier, base_buf *scratch, const char **id, size_t *length,
                   annal_error *error);

#endif
