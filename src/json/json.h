/* JSON on bytes: strict RFC 8259, exact numbers, one canonical form. Role: everything that touches JSON without Lua; the Lua
 * side (json_lua.h) stands on the same scanner.
 *
 * Canonical form: no white space; object keys sorted by their bytes (after unescaping); strings in UTF-8 with the shortest
 * escapes (\" \\ \b \f \n \r \t, other controls \u00xx in lower case, nothing else escaped); integers (no fraction, no exponent
 * in the source) as int64 in decimal; every other number as a double in its shortest form that reads back the same, always with
 * '.' or an exponent, so that a float stays a float: positional from 0.0001 to below 1e15 ("0.1", "5.0"), else "1e15", "2.5e-7".
 * `-0` reads as the float -0.0. Equal values have equal bytes.
 *
 * Refused, `invalid`, with the path in `where` and the byte offset (from 0) in the message: anything outside RFC 8259, a byte
 * order mark, invalid UTF-8, lone surrogates, duplicate keys, integers outside int64, numbers that overflow a double, nesting
 * beyond LIMIT_DEPTH. A path is written as Lua would reach the value: "items[3].price" is in the third element; keys that are no
 * names stand as ["so"]. The C locale's rules hold whatever the host has set. All functions: any thread, no globals. */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/buf.h"

enum {
  JSON_OBJECT = 1, /* the document must be an object */
  JSON_NO_NUL = 2  /* refuse U+0000 inside strings and keys (no store can keep it) */
};

/* Checks `text` and appends its canonical form to `out`, on which nothing is appended when it fails. */
int json_canonical(const char *text, size_t size, unsigned flags, base_buf *out, annal_error *error);

/* Whether `text` may be handed on as it stands: valid by the rules above, without white space between its tokens, the keys of each
 * object in order and written without escapes. What annal has stored is; where the answer is false json_canonical knows why, or
 * mends it. (A float need not have its shortest form.) Several times as fast as making the canonical form. */
bool json_is_tidy(const char *text, size_t size);

/* Finds a member of an object, by a name that needs no escapes: *value is its text within `text`, which is to be tidy. False where
 * there is none, or `text` is no object. */
bool json_find_member(const char *text, size_t size, const char *name, const char **value, size_t *value_size);

/* Append one value in canonical form. The text must be valid UTF-8. The double must be finite. */
void json_add_string(base_buf *out, const char *text, size_t size);
void json_add_double(base_buf *out, double value);

/* The shortest text that reads back as `value` ("0.1", "1e300", "-0.0", "5.0"); answers its length. `value` must be finite. */
#define JSON_DOUBLE_BYTES 32
size_t json_double_text(double value, char text[JSON_DOUBLE_BYTES]);

/* Appends an event as a canonical JSON object: created_at (RFC 3339), data, id, metadata (null where there is none), position,
 * type, version. */
void json_add_event(base_buf *out, const annal_event *event);

#endif
