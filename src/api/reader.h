/* Reads and followers as everybody outside sees them: events of the version that the loaded scripts declare. Role: the one way from
 * the log to a reader; the C face (annal_read, annal_follow), the Lua face and the command stand on it. What an event is stored as is
 * seen by those alone who ask store/ itself.
 *
 * Without scripts, and for types that they do not declare, events come as they are stored. */
#ifndef API_READER_H
#define API_READER_H

#include "api/handle.h"

/* One read or one follower. For one thread at a time; closed before its handle. */
typedef struct handle_reader handle_reader;

/* Those of store_read. A read is by one generation of scripts, the one in force when it begins. */
int handle_read(annal_store *handle, const annal_selection *selection, handle_reader **reader, annal_error *error);

/* By a generation that the caller holds; NULL: by none. */
int handle_read_by(annal_store *handle, script_app *app, const annal_selection *selection, handle_reader **reader,
                   annal_error *error);

/* Those of store_read_correlated. */
int handle_read_correlated(annal_store *handle, const annal_selection *selection, const char *correlation_id,
                           handle_reader **reader, annal_error *error);

/* Those of store_follow. A follower has no end, so it takes the generation in force with every page. */
int handle_follow(annal_store *handle, const annal_selection *selection, handle_reader **reader, annal_error *error);

/* The next event, borrowed until the next call; NULL: the read is over, or nothing came for `idle_seconds` (a read does not wait;
 * negative: a follower waits for ever). After an error the same event is the next one again: nothing is passed over. Errors: those of
 * store_cursor_next or store_follower_next; script and budget where an event cannot be shown as the scripts declare it. */
int handle_reader_next(handle_reader *reader, double idle_seconds, const annal_event **event, annal_error *error);

void handle_reader_close(handle_reader *reader); /* accepts NULL */

#endif
