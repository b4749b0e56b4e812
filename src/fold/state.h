/* States as bytes. Role: between the Lua value that handlers change (run.c) and the bytes that instances and rows keep.
 *
 * What is kept must be indistinguishable from what was: a fold that is continued from its bytes has to give the same bytes as
 * one that never stopped. JSON keeps everything of a state but one bit: whether a table of values 1..n carries the array
 * metatable, which decides what it is once it is empty. Decoding gives it to every array; so where a filled table went without
 * it, the bytes note that. A state that needs no notes is its canonical JSON; one that does is
 *   {"":NOTES,"state":STATE}
 * where NOTES mirrors the state: a member "" in the place of an array says "plain". (An object that has itself a member "" is
 * wrapped too, so that the two cannot be confused.) */
#ifndef FOLD_STATE_H
#define FOLD_STATE_H

#include "base/buf.h"
#include <lua.h>

/* [-0, +1 on success, +0 otherwise, m] Pushes the state that the bytes hold. */
int fold_state_decode(lua_State *L, const char *bytes, size_t size, annal_error *error);

/* [-0, +0, m] Appends the bytes of the value at `index`. Runs no metamethod. `invalid`, the path in `where`, for what is no state:
 * json_encode with JSON_TREE says what that is; it may nest one level less than a document. */
int fold_state_encode(lua_State *L, int index, base_buf *out, annal_error *error);

#endif
