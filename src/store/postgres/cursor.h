/* A read in progress. Role: shared by read.c (events), rows.c (a row and its events) and the pool, which may fetch a page that was
 * asked for when it needs the connection. */
#ifndef STORE_POSTGRES_CURSOR_H
#define STORE_POSTGRES_CURSOR_H

#include "store/postgres/pg.h"

/* Columns of events in every statement that reads them, in this order; `extra` may follow. */
#define PG_EVENT_COLUMNS "e.position, e.id, e.type, e.version, e.data, e.metadata, e.created_at"

typedef struct pg_cursor {
  struct store_cursor base;
  pg_store *s;
  annal_stream *streams; /* owned copy */
  size_t stream_count;
  char *correlation; /* owned; NULL: none was asked for */
  bool reverse;
  bool over;              /* no page comes after the one in hand */
  bool begun;             /* the first page was handed out */
  int64_t after;          /* the next page begins above … */
  int64_t up_to;          /* … and ends here; 0: no bound */
  bool bounded;           /* up_to lies at or below the head as it was when the read began */
  store_reach reach;      /* what the next page must contain: the event that was handed out last, and up_to where `bounded` */
  bool proves;            /* the page under way says whether it does */
  uint64_t left;          /* events still wanted */
  pg_call call;           /* of the page under way; its interrupts are those there had been when the cursor was made */
  int page_rows;          /* asked for in that page */
  const query *row_query; /* asks for a row and the first page, in its place; else NULL */
  pg_conn *conn;          /* where it was asked for; NULL: nowhere */
  bool asked;             /* it is under way, or fetched */
  bool fetching;          /* the pool is at it; under pool_lock */
  bool fetched;           /* `ready` and `ready_code` hold the answer; under pool_lock while asked */
  PGresult *ready;
  int ready_code;
  annal_error ready_error;
  PGresult *page;  /* holds the strings of the events handed out */
  PGresult *first; /* read_row: holds the row, until the cursor is closed */
  annal_event *events;
  size_t taken; /* events of the page */
  size_t capacity;
  size_t row_bytes; /* the largest event seen: it decides how many a page may hold */
} pg_cursor;

/* Receives the page under way on `conn`; the cursor takes it from `ready` later. */
void pg_cursor_fetch(pg_cursor *c, pg_conn *conn);

#endif
