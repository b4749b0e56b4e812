/* What test_keep.c looks at: one store, two programs with a handle each, and what happens to them. Role: lets things happen at random;
 * knows nothing of what must hold, but that a failed call has changed nothing. */
#ifndef SPEC_FOLD_KEEP_WORLD_H
#define SPEC_FOLD_KEEP_WORLD_H

#include "support.h"

#include "keep_apps.h"

enum { KEEP_HANDLES = 2, KEEP_HELD = 2 };

/* How often what happened. */
typedef struct keep_counts {
  unsigned saved, refused, worked, rebuilt, ended; /* refused: by what is kept inline; ended: by the end of memory or of
                                                      the disk */
  unsigned crashed, restored, loaded, opened[3];   /* opened: without a cache, with a small one, with a large one */
} keep_counts;

/* Lets allocations fail from a certain one on. */
typedef struct weak_memory {
  long made;  /* allocations so far */
  long left;  /* allocations that succeed; negative: all */
  bool kills; /* the process is killed instead */
} weak_memory;

/* An instance that a program keeps and refreshes now and then. */
typedef struct keep_held {
  fold_instance *fold;
  int variant;
  const keep_projection *projection;
} keep_held;

typedef struct keep_program {
  annal_store *store;
  int variant; /* of the app, that is loaded */
  weak_memory memory;
  long usual; /* allocations of a step of work, so that memory ends anywhere in one */
  keep_held held[KEEP_HELD];
} keep_program;

typedef struct keep_world {
  char directory[64];
  char location[256], schema[64];
  bool on_postgres;
  keep_app apps[KEEP_VARIANTS];
  keep_program programs[KEEP_HANDLES];
  annal_store *judges[KEEP_VARIANTS]; /* one for each variant: they look, and save, and never work */
  bool has_snapshot;
  keep_counts counts;
} keep_world;

void keep_world_init(keep_world *w, bool on_postgres);
void keep_world_end(keep_world *w);
/* Whether it is something after which everything is to be looked at. */
bool keep_happen(keep_world *w);
void keep_load(keep_world *w, int program, int variant);
int64_t keep_head(keep_world *w);

/* The part of another process, that is killed in the middle of its work: `test_fold_keep crash …`. */
int keep_crash(char **arguments);

#endif
