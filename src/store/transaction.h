/* Transactions of the caller's: events and rows of tables of their own, stored together or not at all. Role: what store:transaction
 * of the faces stands on; implemented by transaction.c on top of a backend's session (session.h).
 *
 * The order of things, on every backend:
 *  1. Nothing is sent before the first store_transaction_execute, or the commit. What is staged before it (checks, scripts, folds)
 *     holds no lock. From then on SQLite's write lock is held to the end; on PostgreSQL only what the statements themselves lock.
 *  2. Saves and rows of projections are staged: they reach the database in the commit, which writes the rows, has all deferred
 *     constraints checked, appends the saves in their order, and commits. On PostgreSQL the append lock is thus held from the
 *     append to the end of the commit, and no statement of the caller's runs under it. READ COMMITTED.
 *  3. Whatever fails, fails the whole of it: after a statement or a commit that failed nothing but store_transaction_end is left.
 *  4. Every save in it is stored already, with equal content: an earlier try was committed, with all that belonged to it. This one
 *     is rolled back and answers with the stored events, so that a transaction may be repeated under the same ids. (Its statements
 *     run once more before that is known; they must bear it, as with ON CONFLICT DO NOTHING.)
 *  5. A COMMIT whose answer is lost is settled by the append lock: whoever gets it after the COMMIT was sent finds the events stored
 *     or knows that they never will be. Only where that cannot be asked in time, or where there is no save to ask for, is the
 *     outcome in doubt.
 *
 * Reads on the store meanwhile see what is committed, and nothing of the transaction; its own statements see their own rows.
 * Statements reach whatever the database lets the connection's role reach, annal's own tables too; who writes into those has left
 * the protocol of the log.
 *
 * A transaction is for one thread. Other threads and programs go on: on PostgreSQL it has a connection of its own, on SQLite their
 * saves wait for it, up to lock_timeout. */
#ifndef STORE_TRANSACTION_H
#define STORE_TRANSACTION_H

#include "store/store.h"

typedef struct store_transaction store_transaction;

typedef enum store_kind { STORE_NULL, STORE_TEXT, STORE_INTEGER, STORE_FLOAT, STORE_BOOLEAN } store_kind;

/* A value on its way into a statement or out of one. */
typedef struct store_value {
  store_kind kind;
  const char *text; /* UTF-8 without U+0000 on its way in; NUL-terminated */
  size_t size;
  int64_t integer; /* a boolean is 0 or 1 */
  double number;   /* finite on its way in */
} store_value;

/* What a statement answered. */
typedef struct store_result {
  bool has_rows;   /* the statement answers rows, even if there were none */
  int64_t changed; /* rows that it inserted, updated or deleted, where it answers none */
  size_t columns, rows;
  const char *const *names;  /* of the columns; all differ */
  const store_value *values; /* row by row */
} store_result;

/* Begins one; nothing is sent yet. Errors: misuse (a read-only store). */
int store_begin(store *s, store_transaction **t, annal_error *error);

/* Runs one statement; *result is borrowed until the next call on the transaction. Placeholders are $1, $2 … on both backends, on
 * SQLite also ? and ?1. PostgreSQL takes a parameter's type from the statement, as it does for a quoted literal: where it cannot,
 * a cast says it ($1::bigint). Types that are none of store_kind's are answered as text; SQLite has no booleans, but 1 and 0.
 * Errors: misuse (several statements, one that would begin or end a transaction or change the session, a number of parameters that
 * is not the statement's; what the server does not understand), duplicate and invalid (constraints), busy, unavailable. After any
 * but the misuse of the first kinds, which are found before anything is sent, the transaction has failed. */
int store_transaction_execute(store_transaction *t, const char *sql, const store_value *params, size_t count,
                              const store_result **result, annal_error *error);

/* Stages a save. Its events stay borrowed until the end, and get positions and times by the commit; the condition is copied. */
int store_transaction_stage(store_transaction *t, const store_save *save, annal_error *error);
/* Guards and rows of the save that was staged as number `save`, from 0: borrowed until the commit has answered, which is `conflict` where
 * a guard fails. Replaces those it had. */
int store_transaction_stage_inline(store_transaction *t, size_t save, const store_guard *guards, size_t guard_count,
                                   const store_save_row *rows, size_t row_count, annal_error *error);
/* Stages a row of a projection, which is copied. */
int store_transaction_stage_row(store_transaction *t, const store_row *row, annal_error *error);

/* Writes, appends, commits. *was_stored: rule 4. `statuses`, of the staged rows, may be NULL; not set where *was_stored is. Errors: those
 * of store_append, store_put_rows and of deferred constraints; the first error of a statement; in_doubt by rule 5. */
int store_transaction_commit(store_transaction *t, store_status *statuses, bool *was_stored, annal_error *error);

/* Rolls back what is not committed and gives everything back. Accepts NULL. */
void store_transaction_end(store_transaction *t);

#endif
