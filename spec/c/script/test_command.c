/* Commands as scripts declare them, their arguments, and what decide may answer. What becomes of the events is the business of
 * src/api. */
#include "support.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>

#define APP                                                                                                                      \
  "event 'PAID' { id = t.string, other = t.optional(t.string), n = t.integer }\n"                                                \
  "projection 'ACCOUNT' { by = 'id', init = 0, on = { PAID = function(s, e) return s + e.data.n end } }\n"                       \
  "projection 'PAIR' { by = { PAID = 'id', GONE = 'gone' }, init = 0, on = { PAID = function() end, GONE = function() end } }\n" \
  "event 'GONE' { gone = t.string }\n"                                                                                           \
  "projection 'FREE' { streams = function(id) return { { data = { id = id } } } end, init = 0, on = { PAID = function() end } }" \
  "projection 'ALL' { init = 0, on = { PAID = function() end } }\n"
/* The lines of APP; a command after it begins on the next one. */
#define AT "app.lua:6"
#define DECIDE "decide = function() end"

static void declarations_are_checked(void **unused) {
  (void)unused;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"command {}", "command is followed by its name, not by a table"},
      {"command ''", "command: its name is empty"},
      {"command 'C'", "command C has no table: write command \"C\" { … }"},
      {"command 'C' (5)", "command C takes a table, not 5"},
      {"command 'C' {}", "command C: decide is a function of the arguments and the views, not nil"},
      {"command 'C' { decide = 1 }", "command C: decide is a function of the arguments and the views, not 1"},
      {"command 'C' { arg = {}, " DECIDE " }", "command C has no key \"arg\" (did you mean args?)"},
      {"command 'C' { args = t.string, " DECIDE " }", "command C: args is a table of types, not a table"},
      {"command 'C' { args = { a = 'x' }, " DECIDE " }", "command C: args.a is \"x\", not a type such as t.string"},
      {"command 'C' { uses = 'ACCOUNT', " DECIDE " }", "command C: uses is a table of projections, not \"ACCOUNT\""},
      {"command 'C' { uses = { 'ACCOUNT' }, " DECIDE " }",
       "command C: uses: \"ACCOUNT\" has no name: write account = \"ACCOUNT\""},
      {"command 'C' { uses = { a = 1 }, " DECIDE " }",
       "command C: uses.a is the name of a projection, or { \"NAME\", id = … }, not 1"},
      {"command 'C' { uses = { a = {} }, " DECIDE " }", "command C: uses.a begins with the name of a projection"},
      {"command 'C' { uses = { a = { 'ALL', ids = 'x' } }, " DECIDE " }",
       "command C: uses.a has no key \"ids\" (did you mean id?)"},
      {"command 'C' { uses = { a = { 'ALL', id = 1 } }, " DECIDE " }",
       "command C: uses.a: id is the name of an argument, or a function"},
      {"command 'C' { uses = { a = 'ACOUNT' }, " DECIDE " }",
       "command C: uses.a: there is no projection \"ACOUNT\" (did you mean ACCOUNT?)"},
      {"command 'C' { args = { x = t.string }, uses = { a = 'ACCOUNT' }, " DECIDE " }",
       "command C: uses.a: ACCOUNT goes by id, which is no argument: write { \"ACCOUNT\", id = … }"},
      {"command 'C' { args = { from = t.string }, uses = { a = { 'ACCOUNT', id = 'form' } }, " DECIDE " }",
       "command C: uses.a: there is no argument \"form\" (did you mean from?)"},
      {"command 'C' { args = { id = t.string }, uses = { a = 'PAIR' }, " DECIDE " }",
       "command C: uses.a needs to know which instance: write { \"PAIR\", id = … }"},
      {"command 'C' { args = { id = t.string }, uses = { a = 'FREE' }, " DECIDE " }",
       "command C: uses.a needs to know which instance: write { \"FREE\", id = … }"},
      {"command 'C' { args = { id = t.string }, uses = { a = { 'ALL', id = 'id' } }, " DECIDE " }",
       "command C: uses.a: ALL has one instance for the whole store: it takes no id"},
      {"command 'C' { args = { id = t.optional(t.string) }, uses = { a = 'ACCOUNT' }, " DECIDE " }",
       "command C: uses.a: the argument id is optional, and an id has to be there"},
      {"command 'C' { args = { id = t.number }, uses = { a = 'ACCOUNT' }, " DECIDE " }",
       "command C: uses.a: the argument id is of type number, which is no id"},
      {"command 'C' { " DECIDE " } command 'C' { " DECIDE " }", "command C is declared twice: first at " AT},
      {"reject 'no'", "reject has no place here"},
  };
  for (size_t i = 0; i < LIST(cases); i++) {
    char text[2048];
    snprintf(text, sizeof text, "%s%s", APP, cases[i].text);
    expect_refused(text, AT, cases[i].message);
  }
}

static void uses_are_resolved_in_order_of_name(void **unused) {
  (void)unused;
  script_app *app =
      app_of_text(APP "command 'B' { " DECIDE " } command 'A' { args = { id = t.string, to = t.integer },\n"
                      "uses = { z = 'ACCOUNT', f = { 'FREE', id = function(args) return 'x' .. args.to end }, all = 'ALL',"
                      " to = { 'ACCOUNT', id = 'to' } }, " DECIDE " }");
  size_t count;
  const script_command *commands = script_commands(app, &count);
  assert_int_equal(count, 2);
  assert_string_equal(commands[0].name, "A");
  assert_string_equal(commands[0].where, AT);
  assert_ptr_equal(script_find_command(app, "B"), &commands[1]);
  assert_null(script_find_command(app, "C"));
  assert_int_equal(commands[1].use_count, 0);
  static const struct {
    const char *view, *projection, *field;
    bool has_function;
  } expected[] = {
      {"all", "ALL", NULL, false}, {"f", "FREE", NULL, true}, {"to", "ACCOUNT", "to", false}, {"z", "ACCOUNT", "id", false}};
  assert_int_equal(commands[0].use_count, LIST(expected));
  for (size_t i = 0; i < LIST(expected); i++) {
    const script_use *use = &commands[0].uses[i];
    assert_string_equal(use->view, expected[i].view);
    assert_string_equal(use->projection->name, expected[i].projection);
    assert_int_equal(use->has_function, expected[i].has_function);
    if (expected[i].field) assert_string_equal(use->field, expected[i].field);
    else assert_null(use->field);
  }
  script_release(app);
}

static void commands_are_no_part_of_fingerprints(void **unused) {
  (void)unused;
  app_files files;
  char before[64], after[64];
  app_make(&files);
  app_write(&files, "app.lua", APP);
  for (int i = 0; i < 2; i++) {
    app_write(&files, "commands.lua", i ? "command 'C' { uses = { a = 'ALL' }, " DECIDE " }" : "");
    script_app *app = app_load(&files);
    snprintf(i ? after : before, sizeof before, "%s", script_find_projection(app, "ALL")->fingerprint);
    script_release(app);
  }
  assert_string_equal(before, after);
  app_remove(&files);
}

/* ---- Arguments ----------------------------------------------------------------------------------------------------------- */

static int check(script_app *app, const char *args, base_buf *out, base_buf *ids, annal_error *error) {
  script_state *state;
  buf_clear(out);
  buf_clear(ids);
  assert_int_equal(script_acquire(app, &state, error), 0);
  int code = script_check_arguments(state, script_find_command(app, "C"), args, strlen(args), out, ids, error);
  script_give_back(state);
  return code;
}

static void arguments_are_checked_and_give_the_ids(void **unused) {
  (void)unused;
  annal_error error;
  base_buf out, ids;
  buf_init(&out, test_env());
  buf_init(&ids, test_env());
  script_app *app = app_of_text(
      APP "command 'C' { args = { id = t.any, n = t.integer { min = 1 }, o = t.optional(t.string) },\n"
          "uses = { a = 'ACCOUNT', b = { 'FREE', id = function(args) args.n = 7 if args.id == 'bad' then return args end"
          " return args.id end },\n"
          "c = { 'FREE', id = function(args) return args.n end }, d = 'ALL' }, " DECIDE " }");
  assert_int_equal(check(app, "{\"n\":2.0,\"id\":\"x\",\"o\":null}", &out, &ids, &error), 0);
  assert_string_equal(out.bytes, "{\"id\":\"x\",\"n\":2}");
  assert_int_equal(ids.size, 7);
  assert_memory_equal(ids.bytes,
                      "x\0x\0"
                      "2\0",
                      7);
  assert_int_equal(check(app, "{\"n\":1,\"id\":true}", &out, &ids, &error), 0);
  assert_string_equal(ids.bytes, "true");
  assert_int_equal(check(app, "{\"n\":1,\"id\":-5}", &out, &ids, &error), 0);
  assert_string_equal(ids.bytes, "-5");
  static const struct {
    const char *args;
    int code;
    const char *where, *message;
  } refused[] = {
      {"{\"n\":0,\"id\":\"x\"}", ANNAL_INVALID, "args.n", "C: args.n must be an integer of at least 1, not 0"},
      {"{\"n\":1}", ANNAL_INVALID, "args.id", "C: args.id"},
      {"{\"n\":1,\"id\":\"x\",\"q\":1}", ANNAL_INVALID, "args.q", "C: args.q"},
      {"{\"n\":1,\"id\":\"\"}", ANNAL_INVALID, "args.id", "C: args.id is empty, and as the id of an instance of ACCOUNT"},
      {"{\"n\":1,\"id\":1.5}", ANNAL_INVALID, "args.id", "C: args.id is a float, which is no id of an instance of ACCOUNT"},
      {"{\"n\":1,\"id\":[]}", ANNAL_INVALID, "args.id", "C: args.id is a table, which is no id of an instance of ACCOUNT"},
      {"{\"n\":1,\"id\":\"\\u0000\"}", ANNAL_INVALID, "args.id", "U+0000"},
      {"[]", ANNAL_INVALID, "args", "object"},
      {"{", ANNAL_INVALID, "args", ""},
      {"{\"n\":1,\"id\":\"bad\"}", ANNAL_SCRIPT, AT, "id of uses.b of C is a table, which is no id of an instance of FREE"},
  };
  for (size_t i = 0; i < LIST(refused); i++) {
    int code = check(app, refused[i].args, &out, &ids, &error);
    if (code != refused[i].code || strcmp(error.where, refused[i].where) != 0 || !strstr(error.message, refused[i].message))
      fail_msg("%s: %s (%s)", refused[i].args, error.message, error.where);
  }
  script_release(app);
  buf_free(&out);
  buf_free(&ids);
}

/* ---- decide -------------------------------------------------------------------------------------------------------------- */

/* decide(args, views, context) with args { n = 5 }, views.a = { list = {}, n = 1 } and the metadata given. What it answers is
 * written down in `out`, one event a line. */
static int decide_in(script_app *app, const char *metadata, base_buf *out, annal_error *error) {
  script_state *state;
  script_answer answer;
  base_buf view;
  buf_init(&view, test_env());
  buf_text(&view, "{\"list\":[],\"n\":1}");
  script_question question = {.command = script_find_command(app, "C"),
                              .args = "{\"n\":5}",
                              .args_size = 7,
                              .views = &view,
                              .metadata = metadata,
                              .metadata_size = metadata ? strlen(metadata) : 0,
                              .now = "2026-01-31T23:59:59.000001Z",
                              .seed = "request"};
  assert_int_equal(script_acquire(app, &state, error), 0);
  int code = script_decide(state, &question, &answer, error);
  script_give_back(state);
  buf_clear(out);
  buf_text(out, "");
  for (size_t i = 0; i < answer.count && !code; i++) {
    const annal_event *event = &answer.events[i];
    assert_int_equal(event->data_size, strlen(event->data));
    if (event->metadata) assert_int_equal(event->metadata_size, strlen(event->metadata));
    buf_printf(out, "%s%s/%d %s %s", i ? "\n" : "", event->type, event->version, event->data,
               event->metadata ? event->metadata : "-");
  }
  script_free_answer(test_env(), &answer);
  buf_free(&view);
  return code;
}

static script_app *app_deciding(const char *body) {
  char text[4096];
  snprintf(text, sizeof text,
           APP "command 'C' { args = { n = t.integer }, uses = { a = 'ALL' }, decide = function(args, views, context) %s end }",
           body);
  return app_of_text(text);
}

static void expect_decided(const char *body, const char *metadata, const char *expected) {
  annal_error error = {0};
  base_buf out;
  buf_init(&out, test_env());
  script_app *app = app_deciding(body);
  for (int i = 0; i < 2; i++) { /* what a try does must not show in the next */
    int code = decide_in(app, metadata, &out, &error);
    const char *got = out.bytes ? out.bytes : "";
    if (code || strcmp(got, expected) != 0) fail_msg("%s\n  gave %d %s %s\n  %s", body, code, error.where, error.message, got);
  }
  script_release(app);
  buf_free(&out);
}

static void expect_undecided(const char *body, int wanted, const char *where, const char *message) {
  annal_error error = {0};
  base_buf out;
  buf_init(&out, test_env());
  script_app *app = app_deciding(body);
  int code = decide_in(app, "{\"m\":1}", &out, &error);
  if (code != wanted || strcmp(error.where, where) != 0 || !strstr(error.message, message))
    fail_msg("%s\n  gave %s at \"%s\": %s", body, annal_code_name(code), error.where, error.message);
  script_release(app);
  buf_free(&out);
}

static void decide_answers_events(void **unused) {
  (void)unused;
  expect_decided("", NULL, "");
  expect_decided("return {}", NULL, "");
  expect_decided("return array {}", NULL, "");
  expect_decided("return { type = 'A', data = args }", NULL, "A/0 {\"n\":5} -");
  expect_decided("return { { type = 'A', data = args }, { type = 'B', data = args, version = 2 } }", NULL,
                 "A/0 {\"n\":5} -\nB/2 {\"n\":5} -");
  expect_decided("args.n = args.n + views.a.n views.a.n = 9 return { type = 'A', data = { n = args.n, l = views.a.list } }", NULL,
                 "A/0 {\"l\":[],\"n\":6} -");
  expect_decided("return { type = 'A', data = {} }", "{\"m\":1,\"n\":2}", "A/0 {} {\"m\":1,\"n\":2}");
  expect_decided("return { type = 'A', data = {}, metadata = { n = 3, o = { 1 } } }", "{\"m\":1,\"n\":2}",
                 "A/0 {} {\"m\":1,\"n\":3,\"o\":[1]}");
  expect_decided("return { type = 'A', data = {}, metadata = { n = 3 } }", NULL, "A/0 {} {\"n\":3}");
  expect_decided("return { type = 'A', data = {}, metadata = null }", NULL, "A/0 {} -");
  expect_decided("return { type = 'A', data = { now = context.now, m = context.metadata.m, x = context.metadata.x } }",
                 "{\"m\":1}", "A/0 {\"m\":1,\"now\":\"2026-01-31T23:59:59.000001Z\"} {\"m\":1}");
  expect_decided("return { type = 'A', data = { m = context.metadata } }", NULL, "A/0 {\"m\":{}} -");
  expect_decided("local one, two = context.new_id(), context.new_id()\n"
                 "return { type = 'A', data = { #one, #two, one ~= two, one:find '^[0-7][0-9A-HJKMNP-TV-Z]+$' == 1 } }",
                 NULL, "A/0 [26,26,true,true] -");
}

static void ids_are_the_same_for_the_same_seed(void **unused) {
  (void)unused;
  annal_error error;
  base_buf first, second;
  buf_init(&first, test_env());
  buf_init(&second, test_env());
  script_app *app = app_deciding("return { type = 'A', data = { id = context.new_id(), other = context.new_id() } }");
  assert_int_equal(decide_in(app, NULL, &first, &error), 0);
  assert_int_equal(decide_in(app, NULL, &second, &error), 0);
  assert_string_equal(first.bytes, second.bytes);
  script_release(app);
  buf_free(&first);
  buf_free(&second);
}

static void rejections_cannot_be_caught(void **unused) {
  (void)unused;
  expect_undecided("reject 'not enough money'", ANNAL_REJECTED, "", "not enough money");
  expect_undecided("return reject('two\\nlines\\xff')", ANNAL_REJECTED, "", "two lines?");
  expect_undecided("pcall(reject, 'no') return { type = 'A', data = {} }", ANNAL_REJECTED, "", "no");
  expect_undecided("pcall(pcall, pcall, reject, 'no') while true do end", ANNAL_REJECTED, "", "no");
  expect_undecided("pcall(table.sort, { 1, 2, 3 }, function() reject 'no' end) pcall(error, 'x')", ANNAL_REJECTED, "", "no");
  expect_undecided("pcall(string.gsub, 'abc', '.', function() pcall(reject, 'first') reject 'second' end)", ANNAL_REJECTED, "",
                   "first");
  expect_undecided("setmetatable({}, { __index = function() reject 'no' end }).x = 1 local y = setmetatable({},"
                   "{ __index = function() reject 'no' end }).x",
                   ANNAL_REJECTED, "", "no");
  expect_undecided("reject()", ANNAL_SCRIPT, AT, "reject takes the reason");
  expect_undecided("reject ''", ANNAL_SCRIPT, AT, "reject takes the reason");
  expect_undecided("reject(5)", ANNAL_SCRIPT, AT, "reject takes the reason");
}

/* A refusal is an answer like others: it must not cost the state that gave it. */
static void a_rejection_leaves_the_state_in_use(void **unused) {
  (void)unused;
  annal_error error;
  base_buf out;
  buf_init(&out, test_env());
  script_app *app = app_deciding("log('asked') if args.n == 5 then reject 'no' end");
  script_state *before, *after;
  assert_int_equal(script_acquire(app, &before, &error), 0);
  script_give_back(before);
  for (int i = 0; i < 3; i++) assert_int_equal(decide_in(app, NULL, &out, &error), ANNAL_REJECTED);
  assert_int_equal(script_acquire(app, &after, &error), 0);
  assert_ptr_equal(before, after);
  script_give_back(after);
  script_release(app);
  buf_free(&out);
  test_log();
}

static void what_decide_may_not_do_is_the_scripts_fault(void **unused) {
  (void)unused;
  static const struct {
    const char *body, *message;
  } cases[] = {
      {"return 5", "decide of C: it returned a number: it returns an event, a list of events, or nothing"},
      {"return null", "it returned null"},
      {"return setmetatable({}, { __index = args })", "it returned a table with a metatable"},
      {"return { [2] = { type = 'A', data = {} } }", "neither an event nor a list of events without holes"},
      {"return { { type = 'A', data = {} }, n = 1 }", "neither an event nor a list of events without holes"},
      {"return { 'A' }", "events[1] is no table { type"},
      {"return { { type = 'A', data = {} }, { data = {} } }", "events[2] has no type"},
      {"return { type = 5, data = {} }", "its event has no type"},
      {"return { type = 'A\\0', data = {} }", "has a type that is no valid UTF-8, or holds U+0000"},
      {"return { type = 'A' }", "its event has no data"},
      {"return { type = 'A', data = 'x' }", "its event has no data"},
      {"return { type = 'A', dta = {} }", "its event has no field \"dta\" (did you mean data?)"},
      {"return { type = 'A', data = {}, position = 1 }", "its event has no field \"position\": there are"},
      {"return { type = 'A', data = {}, id = 'x' }", "its event has an id: the events of a command get theirs from the call"},
      {"return { type = 'A', data = {}, version = 0 }", "its event has a version that is no integer from 1"},
      {"return { type = 'A', data = {}, metadata = 'x' }", "its event has metadata that is no table"},
      {"return { type = 'A', data = { x = { reject } } }", "its event cannot be saved: data.x[1]: "},
      {"return { type = 'A', data = {}, metadata = { x = 0/0 } }", "its event cannot be saved: metadata.x: "},
      {"return setmetatable({ type = 'A', data = {} }, { __len = 1 })", "it returned a table with a metatable"},
      {"return views.b", "views.b is not there"},
      {"return views.A", "views.A is not there (did you mean views.a?)"},
      {"return context.nwo", "context.nwo is not there (did you mean context.now?)"},
      {"local t = nil return t.x", "attempt to index a nil value (local 't')"},
      {"return os.time()", "os is not there"},
  };
  for (size_t i = 0; i < LIST(cases); i++) expect_undecided(cases[i].body, ANNAL_SCRIPT, AT, cases[i].message);
  expect_undecided("while true do end", ANNAL_BUDGET, AT, "decide of C: used up its ");
  expect_undecided("pcall(function() while true do end end) reject 'no'", ANNAL_BUDGET, AT, "decide of C: used up its ");
}

/* What was given to decide is of no use to anybody else, nor later. */
static void the_words_of_decide_end_with_it(void **unused) {
  (void)unused;
  annal_error error;
  base_buf out;
  int version = 0;
  script_state *state;
  buf_init(&out, test_env());
  script_app *app =
      app_of_text("local kept\n"
                  "event 'E' { schema = { v = t.string }, validate = function(data)\n"
                  "  if data.v == 'new_id' then return true, kept() end\n"
                  "  reject 'no' end }\n"
                  "command 'C' { args = { n = t.integer }, decide = function(_, _, context) kept = context.new_id end }");
  assert_int_equal(decide_in(app, NULL, &out, &error), 0);
  assert_int_equal(script_acquire(app, &state, &error), 0);
  assert_int_equal(script_check_event(state, "E", &version, "{\"v\":\"new_id\"}", 14, &out, &error), ANNAL_SCRIPT);
  assert_non_null(strstr(error.message, "new_id is for the decide that it was given to"));
  assert_string_equal(error.where, "app.lua:3");
  assert_int_equal(script_check_event(state, "E", &version, "{\"v\":\"\"}", 8, &out, &error), ANNAL_SCRIPT);
  assert_non_null(strstr(error.message, "reject has no place here"));
  assert_string_equal(error.where, "app.lua:4");
  script_give_back(state);
  script_release(app);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(declarations_are_checked),
      cmocka_unit_test(uses_are_resolved_in_order_of_name),
      cmocka_unit_test(commands_are_no_part_of_fingerprints),
      cmocka_unit_test(arguments_are_checked_and_give_the_ids),
      cmocka_unit_test(decide_answers_events),
      cmocka_unit_test(ids_are_the_same_for_the_same_seed),
      cmocka_unit_test(rejections_cannot_be_caught),
      cmocka_unit_test(a_rejection_leaves_the_state_in_use),
      cmocka_unit_test(what_decide_may_not_do_is_the_scripts_fault),
      cmocka_unit_test(the_words_of_decide_end_with_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
