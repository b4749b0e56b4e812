/* Ways to save under a condition that are known to be wrong, in raw SQL on annal's own table: the judge has to catch each.
 * Role: `judge_dcb --saver NAME`. Positions come from a sequence here, as they do where these mistakes are made.
 *
 * PostgreSQL: cte            INSERT in a WITH, refused afterwards by NOT EXISTS: a WITH that writes always runs to its end
 *             not_exists     INSERT ... WHERE NOT EXISTS at READ COMMITTED, without a lock
 *             late_lock      checks, then takes the lock, then inserts
 *             repeatable     REPEATABLE READ: its snapshot is as old as the wait for the lock
 *             one_statement  lock and check in one statement, hence on one snapshot, older than the lock (a STABLE function too)
 *             unlock_early   gives the lock back before the commit
 * SQLite:     check_outside  checks, then begins the transaction that inserts
 *             insert_first   inserts, then finds that it should not have */
#ifndef SAVER_H
#define SAVER_H

#include "annal.h"

typedef struct saver saver;

saver *saver_open(const char *name, const char *location, const char *schema);
void saver_close(saver *s); /* accepts NULL */
/* ANNAL_OK or ANNAL_CONFLICT. */
int saver_save(saver *s, const annal_event *event, const annal_condition *condition);

#endif
