/* Many threads call two commands, each about two of a few accounts. Every event carries the balance that its command saw; replayed
 * in the order of the log, each must have seen the balance as it was right before. So nothing was decided on anything else, and no
 * money came or went. To be run under the thread sanitizer as well, which makes everything some ten times slower: with fewer calls
 * then. */
#include "stage.h"

#include <pthread.h>

enum { THREADS = 32, ACCOUNTS = 8, OPENING = 1000, KEEP_EVERY = 16 };

#if defined(__SANITIZE_THREAD__)
enum { CALLS = 2000 };
#else
enum { CALLS = 10000 };
#endif

#define APP                                                                                                                      \
  "event 'IN' { account = t.string, cents = t.integer, seen = t.integer }\n"                                                     \
  "event 'OUT' { account = t.string, cents = t.integer, seen = t.integer }\n"                                                    \
  "projection 'ACCOUNT' { by = 'account', init = 0, on = { IN = function(s, e) return s + e.data.cents end,\n"                   \
  "  OUT = function(s, e) return s - e.data.cents end }, view = function(s) return { balance = s } end }\n"                      \
  "local function move(from, to, cents, views) return {\n"                                                                       \
  "  { type = 'OUT', data = { account = from, cents = cents, seen = views[from].balance } },\n"                                  \
  "  { type = 'IN', data = { account = to, cents = cents, seen = views[to].balance } } } end\n"                                  \
  "command 'TRANSFER' { args = { from = t.string, to = t.string, cents = t.integer { min = 1 } },\n"                             \
  "  uses = { from = { 'ACCOUNT', id = 'from' }, to = { 'ACCOUNT', id = 'to' } }, decide = function(args, views)\n"              \
  "    if views.from.balance < args.cents then reject 'not enough money' end\n"                                                  \
  "    return move(args.from, args.to, args.cents, { [args.from] = views.from, [args.to] = views.to }) end }\n"                  \
  "command 'EVEN' { args = { a = t.string, b = t.string }, uses = { a = { 'ACCOUNT', id = 'a' }, b = { 'ACCOUNT', id = 'b' } "   \
  "},\n"                                                                                                                         \
  "  decide = function(args, views)\n"                                                                                           \
  "    local half = (views.a.balance - views.b.balance) // 2\n"                                                                  \
  "    local seen = { [args.a] = views.a, [args.b] = views.b }\n"                                                                \
  "    if half > 0 then return move(args.a, args.b, half, seen) end\n"                                                           \
  "    half = (views.b.balance - views.a.balance) // 2\n"                                                                        \
  "    if half > 0 then return move(args.b, args.a, half, seen) end end }\n"

typedef enum outcome { STORED, NOTHING, REJECTED, OVERTAKEN, FAILED } outcome;

/* One request, the same whenever it is made. */
typedef struct request {
  char id[16];
  const char *command;
  char args[80];
  outcome outcome;
  int64_t position; /* of its first event */
} request;

typedef struct teller {
  annal_store *handle;
  request *requests;
  size_t count;
  char failure[1400]; /* asserting is for the main thread */
} teller;

static void make_request(request *r, unsigned number) {
  unsigned chance = number * 2654435761u, from = chance >> 8 & (ACCOUNTS - 1);
  unsigned to = (from + 1 + (chance >> 16) % (ACCOUNTS - 1)) % ACCOUNTS;
  snprintf(r->id, sizeof r->id, "r%u", number);
  r->command = chance >> 28 < 4 ? "EVEN" : "TRANSFER";
  if (chance >> 28 < 4) snprintf(r->args, sizeof r->args, "{\"a\":\"a%u\",\"b\":\"a%u\"}", from, to);
  else snprintf(r->args, sizeof r->args, "{\"from\":\"a%u\",\"to\":\"a%u\",\"cents\":%u}", from, to, 1 + (chance >> 20) % 600);
}

/* The number behind the last `"name":` before the end of the first event's JSON. */
static int64_t number_of(const char *json, const char *name) {
  char key[32];
  snprintf(key, sizeof key, "\"%s\":", name);
  const char *at = strstr(json, key);
  return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

static outcome ask(annal_store *handle, const request *r, int64_t *position, annal_error *error) {
  annal_text stored = {0};
  annal_call_options options = {.size = sizeof options, .id = r->id};
  int code = annal_call(handle, r->command, r->args, &options, &stored, error);
  outcome answer = code == ANNAL_REJECTED ? REJECTED : code == ANNAL_CONFLICT ? OVERTAKEN : code ? FAILED : NOTHING;
  if (!code && strcmp(stored.bytes, "[]") != 0) {
    char first[24], second[24];
    snprintf(first, sizeof first, "\"%s/1\"", r->id);
    snprintf(second, sizeof second, "\"%s/2\"", r->id);
    *position = number_of(stored.bytes, "position");
    answer = STORED;
    if (!strstr(stored.bytes, first) || !strstr(stored.bytes, second)) {
      error_set(error, ANNAL_CORRUPT, NULL, "%s has other events: %.500s", r->id, stored.bytes);
      answer = FAILED;
    }
  }
  annal_text_free(handle, &stored);
  return answer;
}

static void *work(void *context) {
  teller *t = context;
  annal_error error;
  for (size_t i = 0; i < t->count && !t->failure[0]; i++) {
    request *r = &t->requests[i];
    r->outcome = ask(t->handle, r, &r->position, &error);
    if (r->outcome == FAILED)
      snprintf(t->failure, sizeof t->failure, "%s %s: %s: %s", r->id, r->args, error.where, error.message);
    if (i % KEEP_EVERY) continue;
    annal_text view; /* so that the next folds are short */
    char account[8];
    annal_view_options options = {.size = sizeof options, .save = true};
    snprintf(account, sizeof account, "a%zu", (i / KEEP_EVERY) % ACCOUNTS);
    if (annal_view(t->handle, "ACCOUNT", account, &options, &view, &error))
      snprintf(t->failure, sizeof t->failure, "view: %s", error.message);
    else annal_text_free(t->handle, &view);
  }
  return NULL;
}

/* ---- Afterwards ------------------------------------------------------------------------------------------------------------- */

typedef struct replay {
  int64_t balances[ACCOUNTS];
  int64_t events;
  char failure[400];
} replay;

static int replay_event(void *context, const annal_event *event) {
  replay *p = context;
  const char *account = strstr(event->data, "\"account\":\"a");
  int64_t cents = number_of(event->data, "cents"), seen = number_of(event->data, "seen");
  int64_t *balance = &p->balances[account ? account[12] - '0' : 0];
  p->events++;
  if (!account || seen != *balance)
    snprintf(p->failure, sizeof p->failure, "event %s at %lld saw %lld where there were %lld: %s", event->id,
             (long long)event->position, (long long)seen, (long long)*balance, event->data);
  *balance += strcmp(event->type, "IN") == 0 ? cents : -cents;
  if (*balance < 0) snprintf(p->failure, sizeof p->failure, "the balance at %lld is below 0", (long long)event->position);
  return p->failure[0] != 0;
}

static void expect_sound(const stage *s, int64_t stored) {
  replay p = {0};
  annal_error error;
  int64_t sum = 0;
  annal_selection all = {.size = sizeof all};
  stage_ok(annal_read(s->handle, &all, replay_event, &p, &error), &error);
  if (p.failure[0]) fail_msg("%s", p.failure);
  for (int i = 0; i < ACCOUNTS; i++) sum += p.balances[i];
  assert_int_equal(sum, ACCOUNTS * OPENING);
  assert_int_equal(p.events, ACCOUNTS + 2 * stored);
}

static void money_is_conserved(void **unused) {
  (void)unused;
  stage s;
  annal_error error;
  static request requests[CALLS];
  static teller tellers[THREADS];
  pthread_t threads[THREADS];
  static const char *const fields[] = {"account"};
  stage_start(&s, APP, (annal_options){.data_indexes = fields, .data_index_count = 1});
  for (int i = 0; i < ACCOUNTS; i++) {
    char data[64];
    snprintf(data, sizeof data, "{\"account\":\"a%d\",\"cents\":%d,\"seen\":0}", i, OPENING);
    annal_event event = {.type = "IN", .data = data};
    stage_ok(annal_save(s.handle, &event, 1, NULL, NULL, &error), &error);
  }
  size_t next = 0;
  for (unsigned i = 0; i < CALLS; i++) make_request(&requests[i], i);
  for (int i = 0; i < THREADS; i++) {
    size_t count = (CALLS - next) / (size_t)(THREADS - i);
    tellers[i] = (teller){.handle = s.handle, .requests = &requests[next], .count = count};
    next += count;
    assert_int_equal(pthread_create(&threads[i], NULL, work, &tellers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++)
    if (tellers[i].failure[0]) fail_msg("thread %d: %s", i, tellers[i].failure);
  int64_t counts[FAILED + 1] = {0};
  for (unsigned i = 0; i < CALLS; i++) counts[requests[i].outcome]++;
  print_message("%d calls: %lld stored, %lld decided on nothing, %lld rejected, %lld overtaken\n", CALLS,
                (long long)counts[STORED], (long long)counts[NOTHING], (long long)counts[REJECTED], (long long)counts[OVERTAKEN]);
  assert_true(counts[STORED] > CALLS / 10);
  assert_true(counts[REJECTED] > 0);
  expect_sound(&s, counts[STORED]);

  /* What stored events stores nothing new when it is repeated, and answers the same. */
  int64_t head = stage_head(&s);
  for (unsigned i = 0; i < CALLS; i++) {
    int64_t position = 0;
    if (requests[i].outcome != STORED) continue;
    if (ask(s.handle, &requests[i], &position, &error) != STORED || position != requests[i].position)
      fail_msg("%s is at %lld and not at %lld", requests[i].id, (long long)position, (long long)requests[i].position);
  }
  assert_int_equal(stage_head(&s), head);
  stage_end(&s);
}

/* The same few requests are made by all threads at once: each is stored once, and everybody is answered the same. */
static void all_threads_may_make_one_request(void **unused) {
  (void)unused;
  enum { SAME = 20 };
  stage s;
  annal_error error;
  static request requests[THREADS][SAME];
  static teller tellers[THREADS];
  pthread_t threads[THREADS];
  stage_start(&s, APP, (annal_options){0});
  annal_event event = {.type = "IN", .data = "{\"account\":\"a0\",\"cents\":1000,\"seen\":0}"};
  stage_ok(annal_save(s.handle, &event, 1, NULL, NULL, &error), &error);
  for (int i = 0; i < THREADS; i++) {
    for (int k = 0; k < SAME; k++) {
      request *r = &requests[i][k];
      *r = (request){.command = "TRANSFER"};
      snprintf(r->id, sizeof r->id, "same%d", k);
      snprintf(r->args, sizeof r->args, "{\"from\":\"a0\",\"to\":\"a1\",\"cents\":%d}", 1 + i); /* who comes first decides */
    }
    tellers[i] = (teller){.handle = s.handle, .requests = requests[i], .count = SAME};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &tellers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    if (tellers[i].failure[0]) fail_msg("thread %d: %s", i, tellers[i].failure);
    for (int k = 0; k < SAME; k++) {
      if (requests[i][k].outcome == OVERTAKEN) continue;
      assert_int_equal(requests[i][k].outcome, STORED);
      int64_t position = 0;
      assert_int_equal(ask(s.handle, &requests[i][k], &position, &error), STORED);
      assert_int_equal(requests[i][k].position, position);
    }
  }
  assert_int_equal(stage_head(&s), 1 + 2 * SAME);
  stage_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(money_is_conserved),
      cmocka_unit_test(all_threads_may_make_one_request),
  };
  return STAGE_RUN("calls of many threads", tests);
}
