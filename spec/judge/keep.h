/* The log and its rows as who reads them knows them: what judge_keep compares. Role: between keep.c, which lets things happen, and
 * keep_log.c, which says whether rows are right. Events are COUNTED, of a key (k0, k1 …: counters; c0, c1 …: carts; "poison"), with a
 * number. */
#ifndef JUDGE_KEEP_H
#define JUDGE_KEEP_H

#include "judge.h"

#include "api/handle.h"

enum { KEEP_KEYS = 40 }; /* counters */

extern const char *const keep_names[2]; /* the projections: by key, and one for the whole store */

/* One event of a key, and what its key's fold is with it. */
typedef struct counted {
  int64_t position;
  uint64_t count, sum;
  int64_t next; /* the key's next event; INT64_MAX: none yet */
} counted;

typedef struct history {
  counted *events;
  size_t count, capacity;
} history;

typedef struct log_copy {
  history *all; /* by keep_number */
  size_t count;
  int64_t position;
  char id[65];
} log_copy;

/* 0 is the whole log (NULL); every key has a number of its own. */
size_t keep_number(const char *key);
/* Reads what is new. */
void keep_read_on(log_copy *log, annal_store *handle);
/* The event at this very position; NULL: it is not of this history. */
const counted *keep_event_at(const log_copy *log, size_t number, int64_t position);

/* One look at all rows of a projection. */
typedef struct keep_row {
  char key[16];
  int64_t position;
  unsigned long long count, sum;
  int factor;
  bool parked;
} keep_row;

typedef struct look {
  keep_row *rows;
  size_t count, capacity;
} look;

/* Asks until the rows know of `at_least`, and not longer than a minute. */
void keep_look(annal_store *handle, size_t which, int64_t at_least, look *l);
/* How many violations: each row has to be the fold of its events, all by the same scripts, and there has to be one position up to which
 * all of them are. `log` is read later than the rows. */
uint64_t keep_judge(const look *l, const log_copy *log, size_t which);
uint64_t keep_complain(const char *projection, const keep_row *row, const char *what);

#endif
