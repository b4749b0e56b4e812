/* A disk whose power can be cut: an SQLite VFS that remembers what was flushed. Role: test_power.c's tool.
 *
 * What is written goes to the real files, so that everybody reads it back; beside that the content of each file as of its last
 * flush is kept, and a journal of what was written since. A cut makes everything fail from then on, and afterwards the files are
 * what a power cut may leave of them. Nothing is really flushed: a run costs no disk. For one thread. */
#ifndef SPEC_STORE_POWER_VFS_H
#define SPEC_STORE_POWER_VFS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum power_left {
  LEFT_SYNCED, /* what was flushed, and nothing else */
  LEFT_SOME,   /* of what was written since, some of the sectors, in no order */
  LEFT_ALL,    /* all of it: as after a kill, or where the flush was done and only its answer was lost */
  LEFT_COUNT
} power_left;

typedef struct power_state {
  int syncs;      /* asked for since power_start */
  int cut_at;     /* the sync that cuts the power instead of flushing; 0: none */
  int fail_at;    /* the sync that fails and, as Linux does it, forgets what was to be flushed; 0: none */
  bool fail_some; /* … but of that some has come to the disk */
  bool off;
} power_state;
extern power_state power;

/* Becomes the process's default VFS. */
void power_install(void);
/* From now on files are followed; none may be open. */
void power_start(int cut_at, int fail_at);
void power_cut(void);
/* After a cut and when all is closed: makes the files what the cut left and gives power again, without following the files any
 * more. May be called again for another outcome of the same cut. */
void power_restore(power_left left, uint64_t seed);
/* Forgets everything. */
void power_end(void);

#endif
