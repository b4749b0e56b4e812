/* Calls that others come in between of. What comes between is brought in by the log callback, which runs where a script says `log`:
 * in the middle of a fold, or in the middle of a decision. So each of these races ends the same way every time. */
#include "stage.h"

#define APP                                                                                                                      \
  "event 'PAID' { account = t.string, cents = t.integer }\n"                                                                     \
  "event 'MOVED' { from = t.string, to = t.string, cents = t.integer }\n"                                                        \
  "projection 'ACCOUNT' {\n"                                                                                                     \
  "  streams = function(id) return { { types = { 'PAID' }, data = { account = id } },\n"                                         \
  "    { types = { 'MOVED' }, data = { from = id } }, { types = { 'MOVED' }, data = { to = id } } } end,\n"                      \
  "  init = { cents = 0, list = array {} }, on = {\n"                                                                            \
  "    PAID = function(s, e) log('fold ' .. e.data.account) s.cents = s.cents + e.data.cents end,\n"                             \
  "    MOVED = function(s, e) table.insert(s.list, e.data) end },\n"                                                             \
  "  view = function(s, id) for _, one in ipairs(s.list) do\n"                                                                   \
  "    s.cents = s.cents + (one.from == id and -one.cents or one.cents) end return { cents = s.cents } end }\n"                  \
  "command 'PAY' { args = { account = t.string, cents = t.integer }, decide = function(args)\n"                                  \
  "  log('pay') return { type = 'PAID', data = args } end }\n"                                                                   \
  "command 'MOVE' { args = { from = t.string, to = t.string, cents = t.integer },\n"                                             \
  "  uses = { from = { 'ACCOUNT', id = 'from' }, to = { 'ACCOUNT', id = 'to' } }, decide = function(args, views, context)\n"     \
  "  log('decide ' .. views.from.cents .. ' ' .. views.to.cents .. ' ' .. context.new_id() .. context.now)\n"                    \
  "  if views.from.cents < args.cents then reject 'poor' end\n"                                                                  \
  "  local data = { from = args.from, to = args.to, cents = args.cents }\n"                                                      \
  "  views.from.cents, args.cents = -1, 0\n"                                                                                     \
  "  return { type = 'MOVED', data = data } end }\n"                                                                             \
  "command 'TAKE' { args = { from = t.string, to = t.string, cents = t.integer },\n"                                             \
  "  uses = { a = { 'ACCOUNT', id = 'to' }, b = { 'ACCOUNT', id = 'from' } }, decide = function(args, views)\n"                  \
  "  log('decide ' .. views.b.cents) if views.b.cents < args.cents then reject 'poor' end\n"                                     \
  "  return { type = 'MOVED', data = args } end }\n"                                                                             \
  "command 'DRAW' { args = { account = t.string, cents = t.integer }, uses = { account = { 'ACCOUNT', id = 'account' } }, "      \
  "decide = function(args, "                                                                                                     \
  "views)\n"                                                                                                                     \
  "  log('decide ' .. views.account.cents)\n"                                                                                    \
  "  if views.account.cents < args.cents then reject 'poor' end\n"                                                               \
  "  return { type = 'PAID', data = { account = args.account, cents = -args.cents } } end }\n"                                   \
  "command 'SPLIT' { args = { n = t.integer }, decide = function(args) log('split') local list = {}\n"                           \
  "  for i = 1, args.n do list[i] = { type = 'PAID', data = { account = 's', cents = i } } end return list end }\n"

/* What happens when a script logs a line that begins with `at`: `act` is run, at most `times` times. */
typedef struct intruder {
  stage *s;
  annal_store *other;
  const char *at;
  void (*act)(struct intruder *in);
  int times;
  bool busy; /* what it does itself is not looked at */
  char lines[4096];
} intruder;

static intruder here;

static void on_log(void *context, const char *level, const char *message) {
  (void)level;
  intruder *in = context;
  const char *line = strstr(message, ": ");
  if (!line || in->busy) return;
  line += 2;
  size_t used = strlen(in->lines);
  snprintf(in->lines + used, sizeof in->lines - used, "%s;", line);
  if (!in->at || strncmp(line, in->at, strlen(in->at)) != 0 || in->times == 0) return;
  in->times--;
  in->busy = true;
  in->act(in);
  in->busy = false;
}

static void start(stage *s) {
  stage_start(s, APP, (annal_options){.log = on_log, .log_context = &here});
  here = (intruder){.s = s, .other = stage_open(s)};
}

static void finish(stage *s) {
  annal_close(here.other);
  stage_end(s);
}

static void intrude(const char *at, int times, void (*act)(intruder *in)) {
  here.lines[0] = 0;
  here.at = at;
  here.act = act;
  here.times = times;
}

/* ---- Calls ----------------------------------------------------------------------------------------------------------------- */

static int call(annal_store *handle, const char *command, const char *args, const char *id, char ids[512], annal_error *error) {
  annal_call_options options = {.size = sizeof options, .id = id};
  annal_text stored = {0};
  int code = annal_call(handle, command, args, &options, &stored, error);
  ids[0] = 0;
  if (!code) {
    assert_non_null(stored.bytes);
    for (const char *at = stored.bytes; (at = strstr(at, "\"id\":\"")); at++) {
      size_t used = strlen(ids);
      snprintf(ids + used, 512 - used, "%s%.*s", used ? " " : "", (int)strcspn(at + 6, "\""), at + 6);
    }
  } else {
    assert_null(stored.bytes);
  }
  annal_text_free(handle, &stored);
  return code;
}

static void expect_ids(const char *command, const char *args, const char *id, const char *expected) {
  char ids[512];
  annal_error error;
  stage_ok(call(here.s->handle, command, args, id, ids, &error), &error);
  assert_string_equal(ids, expected);
}

static void other_calls(intruder *in, const char *command, const char *args, const char *id) {
  char ids[512];
  annal_error error;
  stage_ok(call(in->other, command, args, id, ids, &error), &error);
}

static void pay(const char *account, int cents) {
  char args[96];
  snprintf(args, sizeof args, "{\"account\":\"%s\",\"cents\":%d}", account, cents);
  here.busy = true;
  other_calls(&here, "PAY", args, NULL);
  here.busy = false;
}

static int count_lines(const char *begin) {
  int count = 0;
  for (const char *at = here.lines; (at = strstr(at, begin)); at++) count++;
  return count;
}

/* ---- Overtaken --------------------------------------------------------------------------------------------------------------- */

static void pay_a(intruder *in) { other_calls(in, "PAY", "{\"account\":\"a\",\"cents\":1}", NULL); }

static void draw_8(intruder *in) { other_calls(in, "DRAW", "{\"account\":\"a\",\"cents\":8}", NULL); }

static void an_overtaken_call_decides_anew_on_what_is_new(void **unused) {
  (void)unused;
  stage s;
  char ids[512];
  annal_error error;
  start(&s);
  pay("a", 10);
  intrude("decide", 1, draw_8);
  assert_int_equal(call(s.handle, "DRAW", "{\"account\":\"a\",\"cents\":5}", "r", ids, &error), ANNAL_REJECTED);
  assert_string_equal(error.message, "poor");
  assert_non_null(strstr(here.lines, "decide 10;"));
  assert_non_null(strstr(here.lines, "decide 2;"));
  assert_int_equal(count_lines("decide"), 2);
  assert_int_equal(stage_head(&s), 2);
  finish(&s);
}

static void the_views_are_fresh_at_each_try(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  pay("a", 10);
  intrude("decide", 2, pay_a);
  expect_ids("MOVE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":5}", "r", "r/1");
  assert_int_equal(count_lines("decide"), 3);
  assert_non_null(strstr(here.lines, "decide 10 0"));
  assert_non_null(strstr(here.lines, "decide 11 0"));
  const char *last = strstr(here.lines, "decide 12 0"), *first = strstr(here.lines, "decide 10 0");
  assert_non_null(last);
  /* Ids and the time are the same at every try. */
  assert_int_equal(strncmp(first + 12, last + 12, 26 + 27), 0);
  assert_int_equal(stage_head(&s), 4);
  intrude(NULL, 0, NULL);
  char ids[512];
  annal_error error;
  assert_int_equal(call(s.handle, "DRAW", "{\"account\":\"a\",\"cents\":8}", NULL, ids, &error), ANNAL_REJECTED);
  stage_ok(call(s.handle, "DRAW", "{\"account\":\"a\",\"cents\":7}", NULL, ids, &error),
           &error); /* 5 were moved, no other number */
  finish(&s);
}

static void a_call_without_an_id_is_overtaken_too(void **unused) {
  (void)unused;
  stage s;
  char ids[512];
  annal_error error;
  start(&s);
  pay("a", 10);
  intrude("decide", 1, pay_a);
  stage_ok(call(s.handle, "DRAW", "{\"account\":\"a\",\"cents\":3}", NULL, ids, &error), &error);
  assert_int_equal(count_lines("decide"), 2);
  assert_non_null(strstr(here.lines, "decide 11;"));
  pay("b", 0);
  intrude("decide", 1, pay_a);
  stage_ok(call(s.handle, "MOVE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":3}", NULL, ids, &error), &error);
  assert_int_equal(count_lines("decide"), 2);
  assert_non_null(strstr(here.lines, "decide 9 0 "));
  finish(&s);
}

static void an_instance_without_events_is_guarded_as_well(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  intrude("decide", 1, pay_a); /* the first event of the store */
  expect_ids("DRAW", "{\"account\":\"a\",\"cents\":0}", "r", "r/1");
  assert_int_equal(count_lines("decide"), 2);
  assert_non_null(strstr(here.lines, "decide 1;"));
  finish(&s);
}

static void events_of_others_do_not_disturb(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  pay("x", 10);
  intrude("decide", 1, pay_a);
  expect_ids("MOVE", "{\"from\":\"x\",\"to\":\"y\",\"cents\":5}", "r", "r/1");
  assert_int_equal(count_lines("decide"), 1);
  intrude("pay", 1, pay_a); /* nothing is used, so nothing is in the way */
  expect_ids("PAY", "{\"account\":\"a\",\"cents\":5}", "p", "p/1");
  assert_int_equal(count_lines("pay"), 1);
  finish(&s);
}

static void who_is_overtaken_every_time_gives_up(void **unused) {
  (void)unused;
  stage s;
  char ids[512];
  annal_error error;
  start(&s);
  pay("a", 10);
  intrude("decide", 1000, pay_a);
  assert_int_equal(call(s.handle, "DRAW", "{\"account\":\"a\",\"cents\":1}", "r", ids, &error), ANNAL_CONFLICT);
  assert_true(error.retryable);
  assert_false(error.in_doubt);
  assert_non_null(strstr(error.message, "DRAW was overtaken in each of 8 tries"));
  assert_int_equal(count_lines("decide"), 8);
  assert_int_equal(stage_head(&s), 9); /* nothing of it was stored */
  finish(&s);
}

/* ---- One boundary ---------------------------------------------------------------------------------------------------------- */

static void move_back(intruder *in) { other_calls(in, "MOVE", "{\"from\":\"b\",\"to\":\"a\",\"cents\":4}", NULL); }

/* Between the reading of the one account and that of the other money goes from one to the other: both must show the same moment. */
static void all_that_is_used_is_of_one_moment(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  pay("a", 10);
  pay("b", 10);
  intrude("fold a", 1, move_back);
  expect_ids("MOVE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":1}", "r", "r/1");
  assert_non_null(strstr(here.lines, "decide 10 10 "));
  assert_non_null(strstr(here.lines, "decide 14 6 "));
  assert_int_equal(count_lines("decide"), 2);
  finish(&s);
}

/* ---- The same request at the same time --------------------------------------------------------------------------------------- */

static void same_request(intruder *in) { other_calls(in, "MOVE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":7}", "r"); }
static void same_request_of_three(intruder *in) { other_calls(in, "SPLIT", "{\"n\":3}", "r"); }
static void same_request_of_one(intruder *in) { other_calls(in, "SPLIT", "{\"n\":1}", "r"); }

static void of_two_calls_of_one_request_one_is_stored(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  pay("a", 10);
  /* The other one is stored while this one decides, and has decided otherwise. */
  intrude("decide", 1, same_request);
  expect_ids("MOVE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":5}", "r", "r/1");
  assert_int_equal(count_lines("decide"), 1);
  assert_int_equal(stage_head(&s), 2);
  finish(&s);
}

static void the_other_one_may_have_more_events_or_fewer(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  intrude("split", 1, same_request_of_three);
  expect_ids("SPLIT", "{\"n\":1}", "r", "r/1 r/2 r/3"); /* all that were decided on here are stored */
  assert_int_equal(stage_head(&s), 3);
  finish(&s);
  start(&s);
  intrude("split", 1, same_request_of_one);
  expect_ids("SPLIT", "{\"n\":3}", "r", "r/1");
  assert_int_equal(stage_head(&s), 1);
  finish(&s);
}

static void same_taking(intruder *in) { other_calls(in, "TAKE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":7}", "r"); }

/* The other one is stored after this one has looked for it, and before it reads the account whose money that took: were it seen
 * there, this one would be rejected because it had been accepted. */
static void a_request_is_not_rejected_for_what_it_did(void **unused) {
  (void)unused;
  stage s;
  start(&s);
  pay("a", 10);
  pay("b", 1);
  intrude("fold b", 1, same_taking);
  expect_ids("TAKE", "{\"from\":\"a\",\"to\":\"b\",\"cents\":7}", "r", "r/1");
  assert_int_equal(count_lines("decide 10;"), 1);
  assert_int_equal(stage_head(&s), 3);
  finish(&s);
}

/* ---- The C interface --------------------------------------------------------------------------------------------------------- */

static void the_interface_checks_what_it_is_given(void **unused) {
  (void)unused;
  stage s;
  annal_error error;
  annal_text stored;
  start(&s);
  assert_int_equal(annal_call(NULL, "PAY", "{}", NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_call(s.handle, NULL, "{}", NULL, NULL, &error), ANNAL_MISUSE);
  assert_int_equal(annal_call(s.handle, "PAY", NULL, NULL, &stored, &error), ANNAL_INVALID);
  assert_null(stored.bytes);
  assert_int_equal(annal_call(s.handle, "PAY", "{", NULL, NULL, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "args");
  annal_call_options options = {.size = 1};
  assert_int_equal(annal_call(s.handle, "PAY", "{}", &options, NULL, &error), ANNAL_MISUSE);
  options = (annal_call_options){.size = sizeof options, .metadata = "{\"a\" : 1}garbage", .metadata_size = 9};
  stage_ok(annal_call(s.handle, "PAY", "{\"account\":\"a\",\"cents\":1}", &options, &stored, NULL), &error);
  assert_non_null(strstr(stored.bytes, "\"metadata\":{\"a\":1}"));
  annal_text_free(s.handle, &stored);
  stage_ok(annal_call(s.handle, "PAY", "{\"account\":\"a\",\"cents\":1}", NULL, NULL, &error), &error);
  assert_int_equal(stage_head(&s), 2);
  stage_ok(annal_call(s.handle, "SPLIT", "{\"n\":0}", NULL, &stored, &error), &error);
  assert_string_equal(stored.bytes, "[]");
  annal_text_free(s.handle, &stored);
  finish(&s);
}

/* Where a call was overtaken, who is there has it alone; elsewhere nobody waits. */
static void calls_take_turns_where_one_was_overtaken(void **unused) {
  (void)unused;
  static handle_turns turns;
  uint64_t taken = 0;
  turns_init(&turns);
  assert_int_equal(turns_take(&turns, 5), 0);
  for (int tries = 0; tries < 50 && taken != 5; tries++) { /* a machine that is busy may let the mark grow cold */
    turns_leave(&turns, taken);
    turns_mark(&turns, 5);
    taken = turns_take(&turns, 7);
  }
  assert_int_equal(taken, 5);
  turns_mark(&turns, 1);
  assert_int_equal(turns_take(&turns, 1), 0); /* goes without after a while */
  turns_leave(&turns, taken);
  for (taken = 0; taken == 0;) {
    turns_mark(&turns, 1);
    taken = turns_take(&turns, 1);
  }
  assert_int_equal(taken, 1);
  turns_leave(&turns, taken);
  turns_destroy(&turns);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_overtaken_call_decides_anew_on_what_is_new),
      cmocka_unit_test(the_views_are_fresh_at_each_try),
      cmocka_unit_test(a_call_without_an_id_is_overtaken_too),
      cmocka_unit_test(an_instance_without_events_is_guarded_as_well),
      cmocka_unit_test(events_of_others_do_not_disturb),
      cmocka_unit_test(who_is_overtaken_every_time_gives_up),
      cmocka_unit_test(all_that_is_used_is_of_one_moment),
      cmocka_unit_test(of_two_calls_of_one_request_one_is_stored),
      cmocka_unit_test(the_other_one_may_have_more_events_or_fewer),
      cmocka_unit_test(a_request_is_not_rejected_for_what_it_did),
      cmocka_unit_test(the_interface_checks_what_it_is_given),
      cmocka_unit_test(calls_take_turns_where_one_was_overtaken),
  };
  return STAGE_RUN("calls", tests);
}
