/* Random apps for test_keep.c, put together of pieces: how instances are told apart, what a handler folds, how it fails, what is seen of
 * it, how it is kept. An app comes in variants, which stand for edits of its scripts: a projection is the same in some of them. */
#ifndef SPEC_FOLD_KEEP_APPS_H
#define SPEC_FOLD_KEEP_APPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEEP_VARIANTS = 3, KEEP_PROJECTIONS = 4, KEEP_INSTANCES = 5, KEEP_APP_BYTES = 8192 };

/* Random numbers of everything in this test, from one seed. */
void keep_seed(uint64_t seed);
unsigned keep_pick(unsigned below);

typedef enum keep_kind { KEEP_LIVE, KEEP_BACKGROUND, KEEP_INLINE } keep_kind;

typedef struct keep_projection {
  char name[8];
  keep_kind kind;
  enum { BY_FIELD, BY_TABLE, BY_STREAMS, BY_NOTHING } instances; /* BY_NOTHING: one for the whole store */
  enum { A_TABLE, REDUCERS, A_NUMBER } state;
  enum { NEVER, RAISES, LOOPS, NO_STATE } failure; /* at a number that is divisible by 7; NO_STATE: a state that cannot be kept */
  enum { NO_VIEW, A_VIEW, FAILING_VIEW } view;
  bool pinned; /* its version: such are the same in all variants, but for how they are kept */
} keep_projection;

typedef struct keep_app {
  keep_projection projections[KEEP_PROJECTIONS];
} keep_app;

void keep_make_apps(keep_app apps[KEEP_VARIANTS]);
/* Its one file. */
void keep_app_text(const keep_app *app, char text[KEEP_APP_BYTES]);
/* One of its instances; "" where there is one for the whole store. */
void keep_pick_id(const keep_projection *projection, char id[8]);

/* The data of a random event, of one of the types that the apps declare. */
void keep_make_event(const char **type, char data[96]);

#endif
