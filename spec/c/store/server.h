/* The PostgreSQL server past the store: sessions of the test's own, and a proxy between the store and the server that loses answers,
 * leaves server processes behind, and lets calls arrive late. Role: for the tests that are PostgreSQL's alone. */
#ifndef SPEC_STORE_SERVER_H
#define SPEC_STORE_SERVER_H

#include "fixture.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- Sessions --------------------------------------------------------------------------------------------------------------- */

/* A session of the test's own, in the store's schema. */
PGconn *session(fixture *f);
/* The first value of the answer, or the SQLSTATE of a failure. Borrowed until the next call on this thread. */
const char *ask(PGconn *conn, const char *sql);
void run(PGconn *conn, const char *sql); /* fails the test when the statement fails */

/* Begins a transaction that holds the append lock. */
extern const char *const take_lock;

/* The conninfo of the tests with other words in it. */
void location_with(char out[512], const char *more);
int open_with(fixture *f, const char *more, store **out);
/* An event of type T with {"k":"v"}. */
int save_to(store *s, const char *id, annal_error *error);

/* ---- The proxy -------------------------------------------------------------------------------------------------------------- */

/* What the proxy does to a call that holds the marker. The client's connection is closed in each case, and the server's only where it
 * is said. */
typedef enum proxy_fault {
  LOSE_ANSWER, /* the server gets the call; what it answers is thrown away, then its connection is closed too */
  LEAVE_ORPHAN, /* the server gets the call; with proxy_deliver the client's connection is closed, and the server does not notice */
  HOLD_CALL     /* the server gets the call with proxy_deliver, the client's connection is closed before */
} proxy_fault;

enum { PROXY_PAIRS = 16 };

typedef struct proxy_pair {
  int client, server; /* -1: closed */
  bool losing, leaving;
  char *held; /* a call that is kept back */
  size_t held_size;
} proxy_pair;

typedef struct proxy {
  char directory[64];
  const char *marker; /* a call is known by it */
  int listener;
  proxy_pair pairs[PROXY_PAIRS];
  atomic_bool stop;
  atomic_int fault;   /* a proxy_fault, done to … */
  atomic_int faults;  /* … so many more calls */
  atomic_int held;    /* calls that are kept back, clients that are to be left */
  atomic_bool let_go; /* now */
  pthread_t thread;
} proxy;

/* Listens in the fixture's directory: `host=DIRECTORY port=5432 hostaddr=''`. */
void proxy_start(proxy *p, fixture *f, const char *marker);
void proxy_do(proxy *p, proxy_fault fault, int calls);
void proxy_deliver(proxy *p); /* waits until there is something to deliver or to cut, and returns when that is done */
void proxy_stop(proxy *p);
/* A store that is reached through the proxy. `more`: other words for the conninfo. */
int open_through(proxy *p, fixture *f, const char *more, store **out);

#endif
