/* The raw limit: the same rows into annal's own tables with the same indexes, by libpq or sqlite3 and nothing else. Role: the
 * other side of W1–W8. */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "annal.h"
#include "data.h"

typedef struct raw_event {
  int64_t position;
  char id[27];
  data_event event;
} raw_event;

/* One connection. `position` is where its store ends; counted here, shared by the connections of one store. */
typedef struct raw_connection raw_connection;

raw_connection *raw_open(const char *location, const char *schema);
void raw_close(raw_connection *raw);
int64_t raw_head(raw_connection *raw);
/* Moves this thread and all that serves this database to one processor; for a file nothing is to be moved. */
void raw_share_core(raw_connection *raw);
/* Inserts the events in one transaction, one prepared INSERT each. */
void raw_insert(raw_connection *raw, const raw_event *events, size_t count);
/* PostgreSQL: COPY in one transaction. SQLite: as raw_insert. */
void raw_bulk(raw_connection *raw, const raw_event *events, size_t count);
/* Reads type and data of a cart's events above `after`, as many as there are; answers how many. */
size_t raw_read_cart(raw_connection *raw, const char *cart, int64_t after);
/* Reads all columns of all events: by COPY in binary form, or step by step. Answers how many. */
size_t raw_read_all(raw_connection *raw);
/* Removes all saved rows, and what is known of sets of them. */
void raw_forget_rows(raw_connection *raw);
/* Reads the saved row of one cart, and the cart's events above the position (on PostgreSQL: above the row's). On PostgreSQL in one round trip.
 * Answers 0 where there is no row. */
size_t raw_read_row(raw_connection *raw, const char *type, const char *id, int64_t position);

/* Reads the saved views of a type, by id, into a JSON array: all of them, or those whose userId that is. Answers how many. */
size_t raw_query_views(raw_connection *raw, const char *type, const char *user_or_null);

#endif
