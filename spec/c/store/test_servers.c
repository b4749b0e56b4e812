/* Connections of one handle that reach different servers, of which one lags behind the other, or has another history. The second
 * server is a second database with a store of the same names: two functions of libpq's stand here before its own, which send each
 * connection where the test wants it, and cut it when the test wants another. Skipped without ANNAL_TEST_PG. */
#include "server.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- Two servers ------------------------------------------------------------------------------------------------------------ */

typedef enum route { TO_FRESH, TO_LAGGING, BY_TURNS, TO_NONE } route;

static _Atomic(int) where; /* a route */
static _Atomic(unsigned) connections;
static char lagging_database[64]; /* empty: there is none yet */

static bool goes_to_lagging(void) {
  unsigned number = atomic_fetch_add(&connections, 1);
  return lagging_database[0] && (where == TO_LAGGING || (where == BY_TURNS && number % 2));
}

/* In place of libpq's. NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand) {
  PGconn *(*real)(const char *const *, const char *const *, int);
  void *symbol = dlsym(RTLD_NEXT, "PQconnectStartParams");
  memcpy(&real, &symbol, sizeof real);
  bool nowhere = where == TO_NONE;
  if (!nowhere && !goes_to_lagging()) return real(keywords, values, expand);
  const char *words[64], *texts[64];
  size_t count = 0;
  for (; keywords[count] && count < 62; count++) {
    words[count] = keywords[count];
    texts[count] = values[count];
  }
  words[count] = nowhere ? "host" : "dbname"; /* the last of a keyword counts */
  texts[count++] = nowhere ? "/nowhere/at/all" : lagging_database;
  words[count] = texts[count] = NULL;
  return real(words, texts, expand);
}

static _Atomic(int) statements_each; /* so many statements go over a connection before it is cut; 0: any number */

/* A connection's first statement makes its session; it is cut before a later one, which is then sent over the next connection.
 * NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values, const int *lengths,
                        const int *formats, int format) {
  static _Atomic(int) sent[1 << 16]; /* by server process */
  int (*real)(PGconn *, const char *, int, const char *const *, const int *, const int *, int);
  void *symbol = dlsym(RTLD_NEXT, "PQsendQueryPrepared");
  memcpy(&real, &symbol, sizeof real);
  int number = atomic_fetch_add(&sent[PQbackendPID(conn) & 0xFFFF], 1);
  if (statements_each && number > statements_each) {
    atomic_store(&sent[PQbackendPID(conn) & 0xFFFF], 0);
    shutdown(PQsocket(conn), SHUT_RDWR);
  }
  return real(conn, name, count, values, lengths, formats, format);
}

typedef struct scene {
  fixture *f;
  PGconn *fresh, *lagging; /* past the store */
  store *s;                /* read-only, with one connection */
} scene;

static scene sc; /* not on the stack, which a test that fails leaves at once */

static PGconn *session_in(const char *database) {
  char location[512], words[96], path[128];
  snprintf(words, sizeof words, "dbname=%s", database);
  location_with(location, words);
  PGconn *conn = PQconnectdb(location);
  if (PQstatus(conn) != CONNECTION_OK) fail_msg("%s", PQerrorMessage(conn));
  snprintf(path, sizeof path, "set client_min_messages = warning; set search_path = %s", sc.f->schema);
  PQclear(PQexec(conn, path));
  return conn;
}

static int setup(void **state) {
  int result = fixture_setup(state);
  if (result) return result;
  char sql[160], name[96];
  sc = (scene){.f = *state};
  sc.fresh = session(sc.f);
  snprintf(name, sizeof name, "%s_lag", sc.f->schema);
  snprintf(sql, sizeof sql, "create database %s template template0", name);
  run(sc.fresh, sql);
  append_text(lagging_database, sizeof lagging_database, name);
  where = TO_LAGGING;
  store *s;
  assert_ok(store_open(&sc.f->env, sc.f->location, &sc.f->options, &s, &test_error));
  store_close(s);
  sc.lagging = session_in(lagging_database);
  where = TO_FRESH;
  sc.f->options.read_only = true;
  sc.f->options.connections = 1;
  sc.f->options.timeout = 5;
  assert_ok(store_open(&sc.f->env, sc.f->location, &sc.f->options, &sc.s, &test_error));
  return 0;
}

static int teardown(void **state) {
  char sql[160];
  statements_each = 0;
  where = TO_FRESH;
  store_close(sc.s);
  PQfinish(sc.lagging);
  snprintf(sql, sizeof sql, "drop database %s with (force)", lagging_database);
  lagging_database[0] = 0;
  run(sc.fresh, sql);
  PQfinish(sc.fresh);
  return fixture_teardown(state);
}

/* Events e(from) to e(to) as the one log has them: every tenth is of type A. */
static void fill(PGconn *conn, const char *prefix, int from, int to) {
  char sql[320];
  snprintf(sql, sizeof sql,
           "insert into events (position, id, type, version, data, created_at) select g, '%s' || g, "
           "case when g %% 10 = 0 then 'A' else 'B' end, 1, '{}', now() from generate_series(%d, %d) g",
           prefix, from, to);
  run(conn, sql);
}

/* The next connections go there; those that are open are ended. */
static void go(route to) {
  where = to;
  ask(sc.fresh, "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where application_name = 'annal'");
}

static void sleep_ms(long milliseconds) {
  nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000}, NULL);
}

/* ---- Reads ------------------------------------------------------------------------------------------------------------------ */

/* Reads all of it in pages, the first over the fresh server; `turn` is called when it is there. Answers how many events came in order. */
static int64_t read_across(const annal_selection *selection, void turn(void), annal_error *error, int *code) {
  store_cursor *cursor = NULL;
  store_page page = {0};
  int64_t count = 0, last = 0;
  *code = store_read(sc.s, selection, &cursor, error);
  while (!*code && (*code = store_cursor_next(cursor, &page, error)) == 0 && page.count) {
    for (size_t i = 0; i < page.count; i++, count++) {
      if (count > 0) assert_int_equal(page.events[i].position, selection->reverse ? last - 1 : last + 1);
      last = page.events[i].position;
    }
    if (count == (int64_t)page.count && turn) turn();
  }
  store_cursor_close(cursor);
  return count;
}

static void turn_to_lagging(void) { go(TO_LAGGING); }
static void turn_by_turns(void) { go(BY_TURNS); }

static void *catch_up_soon(void *context) {
  int *from_to = context;
  sleep_ms(300);
  fill(sc.lagging, "e", from_to[0], from_to[1]);
  return NULL;
}

static pthread_t catching_up;

static void turn_to_lagging_for_a_while(void) {
  static int missing[2] = {2501, 6500};
  go(TO_LAGGING);
  assert_int_equal(pthread_create(&catching_up, NULL, catch_up_soon, missing), 0);
}

static void a_read_waits_for_a_server_that_lags(void **state) {
  (void)state;
  int code;
  fill(sc.fresh, "e", 1, 6500);
  fill(sc.lagging, "e", 1, 2500);
  annal_selection all = {.size = sizeof all};
  int64_t count = read_across(&all, turn_to_lagging_for_a_while, &test_error, &code);
  pthread_join(catching_up, NULL);
  assert_int_equal(code, ANNAL_OK);
  assert_int_equal(count, 6500);
}

static void a_read_goes_on_where_another_server_does_not_lag(void **state) {
  (void)state;
  fill(sc.fresh, "e", 1, 6500);
  fill(sc.lagging, "e", 1, 2500);
  for (int reverse = 0; reverse < 2; reverse++) {
    int code;
    annal_selection all = {.size = sizeof all, .reverse = reverse};
    assert_int_equal(read_across(&all, turn_by_turns, &test_error, &code), 6500);
    assert_int_equal(code, ANNAL_OK);
    go(TO_FRESH);
  }
}

static void a_read_ends_where_no_server_has_the_rest(void **state) {
  (void)state;
  fill(sc.fresh, "e", 1, 6500);
  fill(sc.lagging, "e", 1, 2500);
  for (int reverse = 0; reverse < 2; reverse++) {
    int code;
    sc.f->options.timeout = 0.3;
    fixture_reopen(sc.f);
    store *kept = sc.s;
    sc.s = sc.f->store;
    annal_selection all = {.size = sizeof all, .reverse = reverse};
    int64_t count = read_across(&all, turn_to_lagging, &test_error, &code);
    sc.f->store = sc.s;
    sc.s = kept;
    assert_int_equal(code, ANNAL_UNAVAILABLE);
    assert_true(test_error.retryable);
    assert_non_null(strstr(test_error.message, "2500"));
    assert_true(count < 6500);
    go(TO_FRESH);
  }
}

static void replace_history(void) {
  run(sc.lagging, "delete from events where position > 500");
  fill(sc.lagging, "other", 501, 6600);
  go(TO_LAGGING);
}

static void a_read_does_not_mix_histories(void **state) {
  (void)state;
  int code;
  fill(sc.fresh, "e", 1, 6500);
  fill(sc.lagging, "e", 1, 6500);
  annal_selection all = {.size = sizeof all};
  assert_true(read_across(&all, replace_history, &test_error, &code) < 6500);
  assert_int_equal(code, ANNAL_UNAVAILABLE);
  assert_non_null(strstr(test_error.message, "read again"));
}

/* An id is looked for on one server, and the page read from the other, by turns. */
static void a_place_that_was_found_is_there_for_the_page(void **state) {
  (void)state;
  fill(sc.fresh, "e", 1, 30);
  fill(sc.lagging, "e", 1, 5);
  annal_stream stream = {.all = true, .after_id = "e10"};
  const struct {
    annal_selection selection;
    const char *first;
  } cases[] = {
      {{.size = sizeof(annal_selection), .after_id = "e10"}, "e11"},
      {{.size = sizeof(annal_selection), .before_id = "e10", .reverse = true, .limit = 3}, "e9"},
      {{.size = sizeof(annal_selection), .streams = &stream, .stream_count = 1}, "e11"},
  };
  statements_each = 1;
  for (size_t i = 0; i < 3; i++) {
    int found = 0;
    for (int turn = 0; turn < 6; turn++) {
      store_cursor *cursor;
      store_page page;
      go(BY_TURNS);
      atomic_store(&connections, (unsigned)turn);
      int code = store_read(sc.s, &cases[i].selection, &cursor, &test_error);
      if (code == ANNAL_NOT_FOUND) continue; /* where the lagging one was asked for the id */
      if (code) fail_msg("%s", test_error.message);
      assert_ok(store_cursor_next(cursor, &page, &test_error));
      if (page.count == 0) fail_msg("case %zu: the page is empty", i);
      assert_string_equal(page.events[0].id, cases[i].first);
      store_cursor_close(cursor);
      found++;
    }
    assert_true(found > 0);
  }
}

/* Reads events up to the head, or a row (saved at position 3, on both servers) and the events from there on. */
static int read_up_to(const store_head_info *head, bool with_row, int64_t *count, int64_t *last, annal_error *error) {
  annal_stream all = {.all = true};
  annal_selection selection = {.size = sizeof selection, .streams = &all, .stream_count = 1};
  store_cursor *cursor = NULL;
  store_page page = {0};
  store_row row;
  *count = *last = 0;
  int code = with_row ? store_read_row(sc.s, "T", "f", "a", &all, 1, head, &row, &cursor, error)
                      : store_read_up_to(sc.s, &selection, head, &cursor, error);
  if (!code && with_row) assert_int_equal(row.position, 3);
  while (!code && (code = store_cursor_next(cursor, &page, error)) == 0 && page.count)
    for (size_t i = 0; i < page.count; i++, ++*count) *last = page.events[i].position;
  store_cursor_close(cursor);
  return code;
}

static void fill_both_with_a_row(int fresh, int lagging) {
  static const char *const row = "insert into views (type, fingerprint, id, state, data, position, latest_event_id, created_at, "
                                 "updated_at) values ('T', 'f', 'a', '1', '1', 3, 'e3', now(), now())";
  fill(sc.fresh, "e", 1, fresh);
  fill(sc.lagging, "e", 1, lagging);
  run(sc.fresh, row);
  run(sc.lagging, row);
}

static void what_is_read_up_to_a_head_is_all_of_it(void **state) {
  (void)state;
  fill_both_with_a_row(30, 5);
  statements_each = 1;
  for (unsigned turn = 0; turn < 12; turn++) {
    store_head_info head;
    int64_t count, last;
    bool with_row = turn % 2;
    go(BY_TURNS);
    atomic_store(&connections, turn / 2);
    assert_ok(store_head(sc.s, &head, &test_error));
    assert_ok(read_up_to(&head, with_row, &count, &last, &test_error));
    if (with_row) assert_true(last >= head.position);
    else assert_int_equal(last, head.position);
    assert_int_equal(count, with_row ? last - 2 : last);
  }
}

static void a_read_up_to_a_head_waits_for_a_server_that_lags(void **state) {
  (void)state;
  fill_both_with_a_row(30, 5);
  for (int with_row = 0; with_row < 2; with_row++) {
    static int missing[2][2] = {{6, 20}, {21, 30}};
    store_head_info head = {.position = missing[with_row][1]};
    int64_t count, last;
    snprintf(head.id, sizeof head.id, "e%lld", (long long)head.position);
    go(TO_LAGGING);
    assert_int_equal(pthread_create(&catching_up, NULL, catch_up_soon, missing[with_row]), 0);
    int code = read_up_to(&head, with_row, &count, &last, &test_error);
    pthread_join(catching_up, NULL);
    assert_ok(code);
    assert_int_equal(last, head.position);
  }
}

static void a_head_of_another_history_is_not_read_up_to(void **state) {
  (void)state;
  fill_both_with_a_row(30, 5);
  fill(sc.lagging, "other", 6, 40);
  go(TO_LAGGING);
  for (int with_row = 0; with_row < 2; with_row++) {
    int64_t count, last;
    assert_fails(read_up_to(&(store_head_info){.position = 30, .id = "e30"}, with_row, &count, &last, &test_error),
                 ANNAL_UNAVAILABLE, "read again");
    assert_ok(read_up_to(&(store_head_info){.position = 30}, with_row, &count, &last, &test_error));
    assert_int_equal(last, with_row ? 40 : 30);
  }
}

/* ---- Followers -------------------------------------------------------------------------------------------------------------- */

static store_follower *follow(const annal_selection *selection) {
  store_follower *follower;
  assert_ok(store_follow(sc.s, selection, &follower, &test_error));
  return follower;
}

/* Takes what comes until `to` was given, all in order and each `step` apart. */
static void take(store_follower *follower, int64_t from, int64_t to, int64_t step) {
  store_page page;
  int64_t next = from;
  while (next <= to) {
    assert_ok(store_follower_next(follower, base_monotonic() + 10000000, &page, &test_error));
    if (page.count == 0) fail_msg("nothing came, and %lld was to come", (long long)next);
    for (size_t i = 0; i < page.count; i++, next += step) assert_int_equal(page.events[i].position, next);
  }
  assert_int_equal(next, to + step);
}

static void a_follower_waits_for_a_server_that_lags(void **state) {
  (void)state;
  store_page page;
  int missing[2] = {6, 12};
  pthread_t thread;
  fill(sc.fresh, "e", 1, 10);
  fill(sc.lagging, "e", 1, 5);
  store_follower *follower = follow(&(annal_selection){.size = sizeof(annal_selection)});
  take(follower, 1, 10, 1);
  go(TO_LAGGING);
  /* No conflict, and no end: it was not looked yet. */
  assert_fails(store_follower_next(follower, base_monotonic() + 100000, &page, &test_error), ANNAL_UNAVAILABLE, "lags");
  assert_non_null(strstr(test_error.message, "position 5"));
  assert_int_equal(page.count, 0);
  assert_int_equal(pthread_create(&thread, NULL, catch_up_soon, missing), 0);
  take(follower, 11, 12, 1);
  pthread_join(thread, NULL);
  store_follower_close(follower);
}

/* The head is seen on the one server and the page read on the other, which does not have that part yet. */
static void a_filtered_follower_goes_no_further_than_its_page(void **state) {
  (void)state;
  static const char *const types[] = {"A"};
  annal_stream stream = {.types = types, .type_count = 1};
  store_head_info place;
  store_page page;
  fill(sc.fresh, "e", 1, 5);
  fill(sc.lagging, "e", 1, 5);
  store_follower *follower = follow(&(annal_selection){.size = sizeof(annal_selection), .streams = &stream, .stream_count = 1});
  assert_ok(store_follower_next(follower, 0, &page, &test_error));
  assert_int_equal(page.count, 0);
  fill(sc.fresh, "e", 6, 35);
  statements_each = 1;
  for (unsigned turn = 0; turn < 20; turn++) {
    go(BY_TURNS);
    atomic_store(&connections, turn);
    int code = store_follower_next(follower, 0, &page, &test_error);
    if (code && code != ANNAL_UNAVAILABLE) fail_msg("%s", test_error.message);
    store_follower_place(follower, &place);
    if (place.position > 5) fail_msg("it has read up to %lld, and was given nothing", (long long)place.position);
    if (!code && page.count) break;
  }
  if (page.count == 0) {
    statements_each = 0;
    go(TO_FRESH);
    assert_ok(store_follower_next(follower, base_monotonic() + 5000000, &page, &test_error));
  }
  assert_int_equal(page.count, 3);
  assert_int_equal(page.events[0].position, 10);
  store_follower_close(follower);
}

static void another_history_is_a_conflict(void **state) {
  (void)state;
  store_page page;
  fill(sc.fresh, "e", 1, 10);
  fill(sc.lagging, "e", 1, 7);
  store_follower *follower = follow(&(annal_selection){.size = sizeof(annal_selection)});
  take(follower, 1, 10, 1);
  go(TO_LAGGING);
  assert_fails(store_follower_next(follower, base_monotonic() + 50000, &page, &test_error), ANNAL_UNAVAILABLE, "position 7");
  fill(sc.lagging, "other", 8, 9);
  assert_fails(store_follower_next(follower, base_monotonic() + 50000, &page, &test_error), ANNAL_UNAVAILABLE, "position 9");
  fill(sc.lagging, "other", 10, 12);
  assert_fails(store_follower_next(follower, base_monotonic() + 5000000, &page, &test_error), ANNAL_CONFLICT,
               "ends before position 10");
  assert_fails(store_follower_next(follower, base_monotonic() + 5000000, &page, &test_error), ANNAL_CONFLICT, "\"e10\"");
  store_follower_close(follower);
}

static void *be_away_twice(void *context) {
  (void)context;
  for (int i = 0; i < 2; i++) {
    sleep_ms(300);
    go(TO_NONE);
    sleep_ms(300);
    where = TO_FRESH;
    sleep_ms(1200);
  }
  fill(sc.fresh, "e", 11, 11);
  return NULL;
}

/* Each time that the server is away has the whole timeout, however long ago the last one was. */
static void a_follower_bears_a_server_that_is_away_again(void **state) {
  fixture *f = *state;
  store *patient;
  pthread_t thread;
  f->options.timeout = 1;
  assert_ok(store_open(&f->env, f->location, &f->options, &patient, &test_error));
  store_close(sc.s);
  sc.s = patient;
  fill(sc.fresh, "e", 1, 10);
  store_follower *follower = follow(&(annal_selection){.size = sizeof(annal_selection)});
  take(follower, 1, 10, 1);
  assert_int_equal(pthread_create(&thread, NULL, be_away_twice, NULL), 0);
  store_page page;
  int code = store_follower_next(follower, base_monotonic() + 30000000, &page, &test_error);
  pthread_join(thread, NULL);
  if (code) fail_msg("%s", test_error.message);
  assert_int_equal(page.count, 1);
  store_follower_close(follower);
}

/* An event in the middle that is gone, with others above it, is no server that lags. */
static void a_hole_is_a_conflict_at_once(void **state) {
  (void)state;
  store_page page;
  fill(sc.fresh, "e", 1, 10);
  store_follower *follower = follow(&(annal_selection){.size = sizeof(annal_selection)});
  take(follower, 1, 10, 1);
  fill(sc.fresh, "e", 11, 12);
  run(sc.fresh, "delete from events where position = 10");
  assert_fails(store_follower_next(follower, base_monotonic() + 5000000, &page, &test_error), ANNAL_CONFLICT, "\"e10\"");
  store_follower_close(follower);
}

/* ---- All at once ------------------------------------------------------------------------------------------------------------ */

enum { EVENTS = 4000 };

typedef struct race {
  _Atomic(int) written;
} race;

/* Writes, and copies with a delay of up to 100 events, in pieces of any size. */
static void *write_and_copy(void *context) {
  race *r = context;
  int copied = 0;
  unsigned seed = 7;
  PGconn *fresh = session_in(PQdb(sc.fresh)), *lagging = session_in(lagging_database);
  for (int at = 0; at < EVENTS;) {
    int more = (int)(rand_r(&seed) % 40) + 1;
    if (at + more > EVENTS) more = EVENTS - at;
    fill(fresh, "e", at + 1, at + more);
    at += more;
    r->written = at;
    int up_to = at - (int)(rand_r(&seed) % 100);
    if (up_to > copied) {
      fill(lagging, "e", copied + 1, up_to);
      copied = up_to;
    }
    sleep_ms(rand_r(&seed) % 4);
  }
  fill(lagging, "e", copied + 1, EVENTS);
  PQfinish(fresh);
  PQfinish(lagging);
  return NULL;
}

typedef struct taker {
  race *r;
  int64_t step, given;
  char fault[256];
} taker;

static void *take_all(void *context) {
  taker *t = context;
  static const char *const types[] = {"A"};
  annal_stream stream = {.types = types, .type_count = 1};
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = t->step > 1 ? 1 : 0};
  annal_error error;
  store_follower *follower;
  if (store_follow(sc.s, &selection, &follower, &error)) return strcpy(t->fault, "no follower");
  for (int64_t give_up = base_monotonic() + 60000000; t->given < EVENTS && base_monotonic() < give_up && !t->fault[0];) {
    store_page page;
    int code = store_follower_next(follower, base_monotonic() + 200000, &page, &error);
    if (code && code != ANNAL_UNAVAILABLE) snprintf(t->fault, sizeof t->fault, "%d %.200s", code, error.message);
    for (size_t i = 0; !code && i < page.count; i++) {
      if (page.events[i].position != t->given + t->step)
        snprintf(t->fault, sizeof t->fault, "%lld after %lld", (long long)page.events[i].position, (long long)t->given);
      t->given = page.events[i].position;
    }
  }
  store_follower_close(follower);
  return NULL;
}

/* Whole reads meanwhile: from the first event, without a gap, and never less than what a head that was taken promised. */
static void read_meanwhile(race *r, char fault[256]) {
  while (r->written < EVENTS && !fault[0]) {
    store_cursor *cursor = NULL;
    store_page page;
    annal_selection all = {.size = sizeof all};
    annal_error error;
    int64_t last = 0, first_page = 0;
    int code = store_read(sc.s, &all, &cursor, &error);
    while (!code && (code = store_cursor_next(cursor, &page, &error)) == 0 && page.count) {
      for (size_t i = 0; i < page.count; i++)
        if (page.events[i].position != ++last) snprintf(fault, 256, "read: %lld", (long long)page.events[i].position);
      if (!first_page) first_page = last;
    }
    if (code && code != ANNAL_UNAVAILABLE) snprintf(fault, 256, "read: %.200s", error.message);
    store_cursor_close(cursor);
  }
}

static void followers_between_two_servers_miss_nothing(void **state) {
  (void)state;
  static race r;
  static taker takers[2];
  char fault[256] = "";
  pthread_t writer, threads[2];
  r = (race){0};
  store_close(sc.s);
  sc.f->options.connections = 4;
  assert_ok(store_open(&sc.f->env, sc.f->location, &sc.f->options, &sc.s, &test_error));
  where = BY_TURNS;
  statements_each = 2; /* so that what comes after one another often comes from different servers */
  assert_int_equal(pthread_create(&writer, NULL, write_and_copy, &r), 0);
  for (int i = 0; i < 2; i++) {
    takers[i] = (taker){.r = &r, .step = i ? 10 : 1};
    assert_int_equal(pthread_create(&threads[i], NULL, take_all, &takers[i]), 0);
  }
  read_meanwhile(&r, fault);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  pthread_join(writer, NULL);
  if (fault[0]) fail_msg("%s", fault);
  for (int i = 0; i < 2; i++)
    if (takers[i].fault[0] || takers[i].given != EVENTS)
      fail_msg("follower %d came to %lld: %s", i, (long long)takers[i].given, takers[i].fault);
}

int main(void) {
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: several servers were NOT tested: ANNAL_TEST_PG names no server\n");
    return 77; /* what meson takes for skipped */
  }
  fixture_runs_on = ON_POSTGRES;
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest servers[] = {
      TEST(a_read_waits_for_a_server_that_lags),
      TEST(a_read_goes_on_where_another_server_does_not_lag),
      TEST(a_read_ends_where_no_server_has_the_rest),
      TEST(a_read_does_not_mix_histories),
      TEST(a_place_that_was_found_is_there_for_the_page),
      TEST(what_is_read_up_to_a_head_is_all_of_it),
      TEST(a_read_up_to_a_head_waits_for_a_server_that_lags),
      TEST(a_head_of_another_history_is_not_read_up_to),
      TEST(a_follower_waits_for_a_server_that_lags),
      TEST(a_filtered_follower_goes_no_further_than_its_page),
      TEST(another_history_is_a_conflict),
      TEST(a_follower_bears_a_server_that_is_away_again),
      TEST(a_hole_is_a_conflict_at_once),
      TEST(followers_between_two_servers_miss_nothing),
  };
  return cmocka_run_group_tests(servers, NULL, NULL);
}
