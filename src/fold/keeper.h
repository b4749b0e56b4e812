/* The worker: brings what is kept in the background up to date, piece by piece. Role: what annal_run_once does for projections.
 *
 * Any number of workers, threads and processes, share the work: each piece belongs to whoever gets it (store/kept.h), and whoever
 * dies is replaced at once. For each projection the set of the loaded code's rows is followed while it is served or wanted; where it
 * is wanted and not served it is built beside the served one and takes its place when it has caught up. A new generation of scripts
 * makes its sets the wanted ones, once; so of two generations side by side the one that was loaded last is served in the end, and
 * the other lets it be.
 *
 * One keeper belongs to a handle. Any thread. */
#ifndef FOLD_KEEPER_H
#define FOLD_KEEPER_H

#include "fold/fold.h"
#include "store/kept.h"

typedef struct fold_keeper fold_keeper;

/* `env` and store must outlive it. */
int keeper_new(const base_env *env, store *store, fold_keeper **out, annal_error *error);
void keeper_free(fold_keeper *keeper); /* accepts NULL */

/* One piece for every projection that the app keeps: of one that is kept inline it builds what was there before, and finds its rows written
 * otherwise. *done: there was something to do. Errors: of the first
 * projection that had one, after the others were seen to. */
int keeper_step(fold_keeper *keeper, script_app *app, bool *done, annal_error *error);

#endif
