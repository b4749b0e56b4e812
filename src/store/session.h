/* What a backend gives to transaction.c: a connection to itself, on which statements of the caller's run and a commit appends.
 * Role: the seam below store/transaction.h. A backend's struct begins with `struct store_session`. */
#ifndef STORE_SESSION_H
#define STORE_SESSION_H

#include "store/backend.h"
#include "store/transaction.h"

/* A store_result while it is made. */
typedef struct result_builder {
  const base_env *env;
  base_buf texts;
  base_buf values; /* store_value, the text as an offset until result_finish */
  base_buf names;  /* offsets, then pointers */
  store_result result;
} result_builder;

void result_init(result_builder *b, const base_env *env);
void result_free(result_builder *b);
void result_column(result_builder *b, const char *name);      /* all of them before the first value */
void result_add(result_builder *b, const store_value *value); /* copies its text */
/* After the last value. misuse: two columns of one name; unavailable: no memory. */
int result_finish(result_builder *b, annal_error *error);

typedef struct store_session_backend {
  /* One statement, its first word already looked at. `fails` becomes true when the transaction cannot go on after the error. */
  int (*execute)(store_session *session, const char *sql, const store_value *params, size_t count, result_builder *result,
                 bool *fails, annal_error *error);
  /* Rows, constraints, saves, COMMIT. Each entry's result is checked by store_judge_entries before the COMMIT. */
  int (*commit)(store_session *session, store_entry *entries, size_t count, const store_row *rows, size_t row_count,
                store_status *statuses, bool *was_stored, annal_error *error);
  /* Rolls back what is open; frees. */
  void (*close)(store_session *session);
} store_session_backend;

struct store_session {
  const store_session_backend *backend;
};

/* After the append: the first save's error, or 0; *was_stored: there are saves, and all of them were stored before. */
int store_judge_entries(const store_entry *entries, size_t count, bool *was_stored, annal_error *error);

#endif
