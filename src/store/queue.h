/* The queue of saves: group commit among the threads of one handle. Role: store_append's way to a backend; who comes first leads
 * and sends what waits as one batch, so that one flush of the disk serves many. No thread of its own. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include "store/store.h"

typedef struct store_queue store_queue;

store_queue *queue_new(const base_env *env); /* NULL: no memory */
void queue_free(store_queue *queue);         /* accepts NULL; nobody may be waiting */

/* Stores one checked save, alone or together with others, and answers for this one. Any thread. `unavailable`, with nothing stored and
 * nothing in doubt, where its turn did not come within the timeout, or the store was interrupted while it waited for it. */
int queue_append(store *s, store_save *save, annal_error *error);

#endif
