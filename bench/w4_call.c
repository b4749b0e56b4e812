/* W4C: calls of a command beside guarded saves, eight threads, on one account and on 10,000. What a call does more than a guarded
 * save whose caller knows the newest event: it reads the account, folds it, lets the script decide. The account's row is saved now
 * and then, as a program would that has hot accounts. */
#include "work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLERS = 8, ACCOUNTS = 10000, KEEP_EVERY = 64 };

typedef struct bank {
  annal_store *handle;
  bool one_account;
  _Atomic uint64_t stored; /* by calls, in all turns */
  uint64_t overtaken;      /* calls that answered `conflict` */
} bank;

typedef struct customer {
  bank *bank;
  int number;
  double until;
  uint64_t done, overtaken;
  char (*seen)[65]; /* guarded saves: the newest event of each account of this thread's */
  unsigned step;
} customer;

/* Which account comes next: the one, or each of the thread's own in turn. */
static unsigned next_account(customer *c) {
  unsigned own = ACCOUNTS / CALLERS;
  return c->bank->one_account ? 0 : (unsigned)c->number * own + c->step++ % own;
}

/* ---- Guarded saves ----------------------------------------------------------------------------------------------------- */

static int take_id(void *context, const annal_event *event) {
  snprintf(context, 65, "%s", event->id);
  return 1;
}

/* What annal_save answers begins [{"created_at":…; the id stands behind "id":". */
static void take_stored_id(const annal_text *stored, char seen[65]) {
  const char *at = strstr(stored->bytes, "\"id\":\"");
  if (!at) bench_die("no id in %s", stored->bytes);
  snprintf(seen, 65, "%.*s", (int)strcspn(at + 6, "\""), at + 6);
}

static void *save_until(void *context) {
  customer *c = context;
  annal_store *handle = c->bank->handle;
  annal_error error;
  while (bench_now() < c->until) {
    char data[96], account[24];
    unsigned number = next_account(c);
    char *seen = c->seen[c->bank->one_account ? 0 : number % (ACCOUNTS / CALLERS)];
    snprintf(account, sizeof account, "account%u", number);
    snprintf(data, sizeof data, "{\"accountId\":\"%s\",\"cents\":10}", account);
    const char *value = account;
    static const char *const types[] = {"DRAWN", "PAID_IN"};
    annal_field field = {.name = "accountId", .values = &value, .value_count = 1};
    annal_stream stream = {.types = types, .type_count = 2, .data = &field, .data_count = 1};
    annal_condition condition = {
        .size = sizeof condition, .streams = &stream, .stream_count = 1, .latest_event_id = seen[0] ? seen : NULL};
    annal_event event = {.type = "DRAWN", .data = data};
    annal_text stored;
    int code = annal_save(handle, &event, 1, &condition, &stored, &error);
    if (code == ANNAL_CONFLICT) {
      annal_selection newest = {.size = sizeof newest, .streams = &stream, .stream_count = 1, .limit = 1, .reverse = true};
      seen[0] = 0;
      bench_check(annal_read(handle, &newest, take_id, seen, &error), &error, "read");
      continue;
    }
    bench_check(code, &error, "guarded save");
    take_stored_id(&stored, seen);
    annal_text_free(handle, &stored);
    c->done++;
  }
  return NULL;
}

/* ---- Calls --------------------------------------------------------------------------------------------------------------- */

static void *call_until(void *context) {
  customer *c = context;
  annal_store *handle = c->bank->handle;
  annal_error error;
  while (bench_now() < c->until) {
    char args[96];
    annal_text stored;
    snprintf(args, sizeof args, "{\"accountId\":\"account%u\",\"cents\":10}", next_account(c));
    int code = annal_call(handle, "DRAW", args, NULL, &stored, &error);
    if (code == ANNAL_CONFLICT) {
      c->overtaken++;
      continue;
    }
    bench_check(code, &error, "call");
    annal_text_free(handle, &stored);
    c->done++;
    if (atomic_fetch_add(&c->bank->stored, 1) % KEEP_EVERY || !c->bank->one_account) continue;
    annal_view_options keep = {.size = sizeof keep, .save = true};
    bench_check(annal_view(handle, "ACCOUNT", "account0", &keep, &stored, &error), &error, "keep");
    annal_text_free(handle, &stored);
  }
  return NULL;
}

/* ---- Turns --------------------------------------------------------------------------------------------------------------- */

static double turn(bank *b, void *(*body)(void *), double seconds) {
  pthread_t threads[CALLERS];
  static customer customers[CALLERS];
  static char seen[CALLERS][ACCOUNTS / CALLERS][65];
  double start = bench_now();
  for (int i = 0; i < CALLERS; i++) {
    customers[i] = (customer){.bank = b,
                              .number = i,
                              .until = start + seconds,
                              .seen = seen[i],
                              .step = customers[i].bank == b ? customers[i].step : 0};
    if (pthread_create(&threads[i], NULL, body, &customers[i])) bench_die("no thread");
  }
  uint64_t done = 0;
  for (int i = 0; i < CALLERS; i++) {
    pthread_join(threads[i], NULL);
    done += customers[i].done;
    b->overtaken += customers[i].overtaken;
  }
  return (double)done / (bench_now() - start);
}

static double saves_turn(void *self, double seconds) { return turn(self, save_until, seconds); }
static double calls_turn(void *self, double seconds) { return turn(self, call_until, seconds); }

/* Each side has a store of its own, so that neither reads what the other has made. */
static annal_store *open_bank(const bench_options *options, bool postgres, const char *name) {
  static const char *const declared[] = {"accountId"};
  char location[512], schema[64];
  annal_store *handle;
  annal_error error;
  snprintf(schema, sizeof schema, "bench_%s", name);
  if (postgres) snprintf(location, sizeof location, "%s", options->postgres);
  else snprintf(location, sizeof location, "%s/%s.db", options->directory, name);
  annal_options open_options = {
      .size = sizeof open_options, .app = "bench/account", .schema = schema, .data_indexes = declared, .data_index_count = 1};
  bench_check(annal_open(location, &open_options, &handle, &error), &error, "open");
  return handle;
}

void work_calls(const bench_options *options, bool postgres, const char *which) {
  (void)which;
  for (int one = 1; one >= 0; one--) {
    char title[96];
    bank saves = {.handle = open_bank(options, postgres, one ? "saves_1" : "saves_n"), .one_account = one};
    bank calls = {.handle = open_bank(options, postgres, one ? "calls_1" : "calls_n"), .one_account = one};
    snprintf(title, sizeof title, "W4C calls, 8 threads, %s, %s", one ? "one account" : "10,000 accounts",
             postgres ? "PostgreSQL" : "SQLite");
    bench_compare(options, title, "a second", (bench_side){"guarded", saves_turn, &saves},
                  (bench_side){"calls", calls_turn, &calls}, BENCH_AT_LEAST, 0, 0);
    if (calls.overtaken) printf("%-44s %llu calls were overtaken 8 times\n", "", (unsigned long long)calls.overtaken);
    annal_close(saves.handle);
    annal_close(calls.handle);
  }
}
