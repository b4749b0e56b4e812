/* Sessions past the store, and the proxy; see server.h. */
#include "server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- Sessions --------------------------------------------------------------------------------------------------------------- */

PGconn *session(fixture *f) {
  PGconn *conn = PQconnectdb(getenv("ANNAL_TEST_PG"));
  if (PQstatus(conn) != CONNECTION_OK) fail_msg("%s", PQerrorMessage(conn));
  char sql[160];
  snprintf(sql, sizeof sql, "set client_min_messages = warning; set search_path = %s", f->schema);
  PQclear(PQexec(conn, sql));
  return conn;
}

const char *ask(PGconn *conn, const char *sql) {
  static _Thread_local char answer[512];
  PGresult *result = PQexec(conn, sql);
  answer[0] = 0;
  if (PQresultStatus(result) == PGRES_TUPLES_OK) {
    if (PQntuples(result) > 0) snprintf(answer, sizeof answer, "%s", PQgetvalue(result, 0, 0));
  } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    snprintf(answer, sizeof answer, "%s", state ? state : "lost");
  }
  PQclear(result);
  return answer;
}

void run(PGconn *conn, const char *sql) {
  const char *answer = ask(conn, sql);
  if (strlen(answer) == 5 && answer[0] >= '0' && answer[0] <= '9') fail_msg("%s: %s %s", sql, answer, PQerrorMessage(conn));
}

const char *const take_lock = "begin; select pg_advisory_xact_lock(1634627180, 'events'::regclass::oid::int)";

void location_with(char out[512], const char *more) {
  PQconninfoOption *options = PQconninfoParse(getenv("ANNAL_TEST_PG"), NULL);
  size_t used = 0;
  assert_non_null(options);
  for (PQconninfoOption *o = options; o->keyword; o++)
    if (o->val) used += (size_t)snprintf(out + used, 512 - used, "%s='%s' ", o->keyword, o->val);
  snprintf(out + used, 512 - used, "%s", more);
  PQconninfoFree(options);
}

int open_with(fixture *f, const char *more, store **out) {
  char location[512];
  location_with(location, more);
  *out = NULL;
  return store_open(&f->env, location, &f->options, out, &test_error);
}

int save_to(store *s, const char *id, annal_error *error) {
  annal_event event = event_of(id, "T", "{\"k\":\"v\"}");
  store_save save = {.events = &event, .count = 1};
  return store_append(s, &save, error);
}

/* ---- The proxy -------------------------------------------------------------------------------------------------------------- */

static int connect_to_server(void) {
  PGconn *conn = PQconnectdb(getenv("ANNAL_TEST_PG"));
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  assert_int_equal(getpeername(PQsocket(conn), (struct sockaddr *)&address, &size), 0);
  PQfinish(conn);
  int server = socket(address.ss_family, SOCK_STREAM, 0);
  assert_int_equal(connect(server, (struct sockaddr *)&address, size), 0);
  return server;
}

static void close_end(int *end) {
  if (*end >= 0) close(*end);
  *end = -1;
}

static void close_pair(proxy *p, proxy_pair *pair) {
  close_end(&pair->client);
  close_end(&pair->server);
  if (pair->held || pair->leaving) atomic_fetch_sub(&p->held, 1);
  free(pair->held);
  *pair = (proxy_pair){.client = -1, .server = -1};
}

static bool pass(int to, const char *bytes, size_t size) {
  return to >= 0 && send(to, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* A call that holds the marker: false when both connections are to be closed. */
static bool disturb(proxy *p, proxy_pair *pair, const char *bytes, size_t size) {
  proxy_fault fault = (proxy_fault)atomic_load(&p->fault);
  if (fault == LOSE_ANSWER) pair->losing = true;
  else atomic_fetch_sub(&p->faults, 1); /* an answer is lost when it comes */
  if (fault != LOSE_ANSWER) atomic_fetch_add(&p->held, 1);
  pair->leaving = fault == LEAVE_ORPHAN;
  if (fault != HOLD_CALL) return pass(pair->server, bytes, size);
  pair->held = malloc(size);
  memcpy(pair->held, bytes, size);
  pair->held_size = size;
  close_end(&pair->client);
  return true;
}

static bool forward_call(proxy *p, proxy_pair *pair) {
  static char bytes[1 << 16];
  ssize_t size = recv(pair->client, bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  bool marked = atomic_load(&p->faults) > 0 && memmem(bytes, (size_t)size, p->marker, strlen(p->marker)) != NULL;
  return marked ? disturb(p, pair, bytes, (size_t)size) : pass(pair->server, bytes, (size_t)size);
}

static bool forward_answer(proxy *p, proxy_pair *pair) {
  static char bytes[1 << 16];
  ssize_t size = recv(pair->server, bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  if (pair->losing) {
    atomic_fetch_sub(&p->faults, 1);
    return false;
  }
  return pair->client < 0 || pass(pair->client, bytes, (size_t)size); /* an orphan speaks to nobody */
}

static void deliver(proxy *p) {
  for (int i = 0; i < PROXY_PAIRS; i++) {
    proxy_pair *pair = &p->pairs[i];
    if (!pair->held && !pair->leaving) continue;
    if (pair->held) pass(pair->server, pair->held, pair->held_size); /* or its server process has been ended */
    if (pair->leaving) close_end(&pair->client);
    free(pair->held);
    pair->held = NULL;
    pair->leaving = false;
    atomic_fetch_sub(&p->held, 1);
  }
}

static void take_connection(proxy *p) {
  for (int i = 0; i < PROXY_PAIRS; i++) {
    if (p->pairs[i].client >= 0 || p->pairs[i].server >= 0) continue;
    p->pairs[i].client = accept(p->listener, NULL, NULL);
    p->pairs[i].server = connect_to_server();
    return;
  }
}

static void *run_proxy(void *context) {
  proxy *p = context;
  while (!atomic_load(&p->stop)) {
    struct pollfd waited[1 + 2 * PROXY_PAIRS] = {{.fd = p->listener, .events = POLLIN}};
    for (int i = 0; i < PROXY_PAIRS; i++) {
      waited[1 + 2 * i] = (struct pollfd){.fd = p->pairs[i].client, .events = POLLIN};
      waited[2 + 2 * i] = (struct pollfd){.fd = p->pairs[i].server, .events = POLLIN};
    }
    int ready = poll(waited, 1 + 2 * PROXY_PAIRS, 20);
    if (atomic_load(&p->let_go)) deliver(p);
    if (ready <= 0) continue;
    for (int i = 0; i < PROXY_PAIRS; i++) {
      proxy_pair *pair = &p->pairs[i];
      if (waited[1 + 2 * i].revents && pair->client >= 0 && !forward_call(p, pair)) close_pair(p, pair);
      if (waited[2 + 2 * i].revents && pair->server >= 0 && !forward_answer(p, pair)) close_pair(p, pair);
    }
    if (waited[0].revents) take_connection(p);
  }
  for (int i = 0; i < PROXY_PAIRS; i++) close_pair(p, &p->pairs[i]);
  return NULL;
}

void proxy_start(proxy *p, fixture *f, const char *marker) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  *p = (proxy){.marker = marker};
  snprintf(p->directory, sizeof p->directory, "%s", f->directory);
  for (int i = 0; i < PROXY_PAIRS; i++) p->pairs[i] = (proxy_pair){.client = -1, .server = -1};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", f->directory);
  p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(p->listener, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(p->listener, 8), 0);
  assert_int_equal(pthread_create(&p->thread, NULL, run_proxy, p), 0);
}

void proxy_do(proxy *p, proxy_fault fault, int calls) {
  atomic_store(&p->fault, fault);
  atomic_store(&p->faults, calls);
}

void proxy_deliver(proxy *p) {
  while (atomic_load(&p->faults) > 0) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* the call is on its way */
  atomic_store(&p->let_go, true);
  while (atomic_load(&p->held) > 0) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  atomic_store(&p->let_go, false);
}

void proxy_stop(proxy *p) {
  atomic_store(&p->stop, true);
  pthread_join(p->thread, NULL);
  close(p->listener);
}

int open_through(proxy *p, fixture *f, const char *more, store **out) {
  char words[400];
  snprintf(words, sizeof words, "host=%s port=5432 hostaddr='' %s", p->directory, more);
  return open_with(f, words, out);
}
