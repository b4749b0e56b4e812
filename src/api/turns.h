/* Calls that overtake each other take turns. Role: call.c; a part of the handle, for any thread.
 *
 * Of many threads that call about one account, one is stored a round and the others have decided in vain. So once a call was
 * overtaken, calls of this handle about the same instance go one after the other for a while: nobody decides in vain, and nobody
 * gives up after so many tries. Instances that calls only look at are never overtaken, so their calls go on together.
 *
 * This is about speed alone. What keeps decisions right is the condition of the append; whoever waits too long for a turn goes
 * without, and other processes know of none. */
#ifndef API_TURNS_H
#define API_TURNS_H

#include "fold/boundary.h"
#include <pthread.h>
#include <stdatomic.h>

enum { TURNS_LANES = 64 }; /* instances share them by chance: a bit each in a set */

typedef struct handle_turns {
  pthread_mutex_t lanes[TURNS_LANES];
  _Atomic int64_t hot_until[TURNS_LANES]; /* monotonic: until then calls take turns there */
} handle_turns;

void turns_init(handle_turns *turns);
void turns_destroy(handle_turns *turns);

/* The lanes of a boundary's instances. */
uint64_t turns_of(const fold_boundary *boundary);
/* A call was overtaken there. */
void turns_mark(handle_turns *turns, uint64_t lanes);
/* Waits for those of the lanes that are hot; answers which it got, to be given back. */
uint64_t turns_take(handle_turns *turns, uint64_t lanes);
void turns_leave(handle_turns *turns, uint64_t taken);

#endif
