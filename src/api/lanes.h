/* Saves of one handle that touch one instance of a projection, one after the other. Role: inline.c takes the lanes of its instances
 * before it reads them and gives them back when the save is answered, so that threads of one process do not overtake each other;
 * what other processes do the guards find out. Several instances may share a lane. */
#ifndef API_LANES_H
#define API_LANES_H

#include "store/store.h"
#include <pthread.h>

enum { LANES = 64 }; /* one for each save that a batch may have */

typedef struct lanes {
  pthread_mutex_t lock;
  pthread_cond_t freed;
  bool taken[LANES];
} lanes;

typedef struct lane_set {
  bool wanted[LANES];
} lane_set;

void lanes_init(lanes *all);
void lanes_destroy(lanes *all);
void lanes_add(lane_set *set, const char *type, const char *id);

/* Waits until each of the set is free. Whoever takes several takes them in one order, so nobody waits for each other. Errors:
 * unavailable, and then none is taken: not within `timeout_us`, or the store was interrupted. */
int lanes_take(lanes *all, const lane_set *set, const store *s, int64_t timeout_us, annal_error *error);
void lanes_give_back(lanes *all, const lane_set *set);

#endif
