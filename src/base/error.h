/* Errors: one caller-owned struct, filled once, passed up unchanged. Role: the only way any layer reports a failure.
 * Internal functions take a non-NULL error and answer 0 or the code that they put in. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "annal.h"

/* Fills *error (all other fields cleared) and answers `code`: `return error_set(error, ANNAL_INVALID, path, "…", …)`.
 * `where` may be NULL. Control characters in the message become spaces: it is one line. */
int error_set(annal_error *error, int code, const char *where, const char *format, ...) ANNAL_PRINTF(4, 5);

/* Out of memory in the host: `unavailable`, retryable. */
int error_memory(annal_error *error);

void error_clear(annal_error *error);

/* Puts `prefix` before the path: error_where_prefix(e, "data") turns "items[3]" into "data.items[3]" and "" into "data". */
void error_where_prefix(annal_error *error, const char *prefix);

#endif
