/* Small questions about text. Role: limits on names, ids, times and UTF-8, asked alike by every face. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "annal.h"

/* Valid UTF-8 without U+0000 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF). */
bool text_is_utf8(const char *bytes, size_t size);
/* [A-Za-z_][A-Za-z0-9_]*, 1 to LIMIT_NAME_BYTES bytes. */
bool text_is_name(const char *text);
/* Reads RFC 3339 in UTC ending in Z, 0 to 6 digits of fraction; false when it is anything else or no real date. */
bool text_to_time(const char *text, int64_t *microseconds);
/* A decimal int64 and nothing else. */
bool text_to_int(const char *text, int64_t *value);
/* Checks a value against a byte limit and UTF-8: `invalid`, naming `what` ("event type") and the value (shortened). */
int text_check(const char *text, size_t min, size_t max, const char *what, annal_error *error);
/* A shortened printable copy for messages: at most 80 bytes, cut between code points, control characters as '?'. */
const char *text_show(const char *text, char out[96]);

#endif
