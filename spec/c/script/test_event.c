/* Events on their way in (schemas, validate, the form that is stored), events as handlers see them, streams of instances. */
#include "support.h"

#include "base/error.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

static script_app *app;
static script_state *state;

static void open_app(const char *text) {
  annal_error error;
  app = app_of_text(text);
  assert_int_equal(script_acquire(app, &state, &error), 0);
}

static void close_app(void) {
  script_give_back(state);
  script_release(app);
}

static int check_event(const char *type, const char *data, char out[1024], annal_error *error) {
  base_buf buf;
  int version = 0;
  buf_init(&buf, test_env());
  int code = script_check_event(state, type, &version, data, strlen(data), &buf, error);
  snprintf(out, 1024, "%s", buf.size ? buf.bytes : "");
  if (code) assert_int_equal(buf.size, 0);
  buf_free(&buf);
  return code;
}

static void expect_stored(const char *data, const char *stored) {
  char out[1024];
  annal_error error;
  int code = check_event("E", data, out, &error);
  if (code) fail_msg("%s: %s at %s: %s", data, annal_code_name(code), error.where, error.message);
  assert_string_equal(out, stored);
}

static void expect_invalid(const char *data, const char *where, const char *message) {
  char out[1024];
  annal_error error;
  int code = check_event("E", data, out, &error);
  if (code != ANNAL_INVALID || strcmp(error.where, where) != 0 || strcmp(error.message, message) != 0)
    fail_msg("%s: %s at \"%s\": %s\n  not at \"%s\": %s", data, annal_code_name(code), error.where, error.message, where,
             message);
}

/* ---- Schemas ------------------------------------------------------------------------------------------------------------ */

static void strings_are_checked(void **unused) {
  (void)unused;
  open_app("event 'E' { s = t.string { min = 2, max = 3 }, p = t.optional(t.string { pattern = '^%a+%d$' }), e = "
           "t.optional(t.enum { 'web', 2, true }) }");
  expect_stored("{\"s\":\"ab\"}", "{\"s\":\"ab\"}");
  expect_stored("{\"s\":\"\xC3\xA4\xC3\xB6\xE2\x82\xAC\"}", "{\"s\":\"\xC3\xA4\xC3\xB6\xE2\x82\xAC\"}"); /* three code points */
  expect_stored("{\"s\":\"ab\",\"p\":\"xy7\"}", "{\"p\":\"xy7\",\"s\":\"ab\"}");
  expect_stored("{\"s\":\"ab\",\"e\":\"web\"}", "{\"e\":\"web\",\"s\":\"ab\"}");
  expect_stored("{\"s\":\"ab\",\"e\":2}", "{\"e\":2,\"s\":\"ab\"}");
  expect_stored("{\"s\":\"ab\",\"e\":true}", "{\"e\":true,\"s\":\"ab\"}");
  expect_invalid("{\"s\":\"a\"}", "data.s",
                 "E: data.s must be a string of at least 2 characters and at most 3 characters, not \"a\"");
  expect_invalid("{\"s\":\"abcd\"}", "data.s",
                 "E: data.s must be a string of at least 2 characters and at most 3 characters, not \"abcd\"");
  expect_invalid("{\"s\":5}", "data.s", "E: data.s must be a string of at least 2 characters and at most 3 characters, not 5");
  expect_invalid("{\"s\":null}", "data.s",
                 "E: data.s must be a string of at least 2 characters and at most 3 characters, not null");
  expect_invalid("{\"s\":\"ab\",\"p\":\"7\"}", "data.p", "E: data.p must be a string that matches \"^%a+%d$\", not \"7\"");
  expect_invalid("{\"s\":\"ab\",\"e\":\"Web\"}", "data.e", "E: data.e must be one of \"web\", 2, true, not \"Web\"");
  expect_invalid("{\"s\":\"ab\",\"e\":1}", "data.e", "E: data.e must be one of \"web\", 2, true, not 1");
  close_app();
}

static void numbers_are_checked(void **unused) {
  (void)unused;
  open_app("event 'E' { i = t.optional(t.integer { min = 1, max = 9 }), n = t.optional(t.number { min = 0.5 }), w = "
           "t.optional(t.integer), b = t.optional(t.boolean) }");
  expect_stored("{\"i\":2}", "{\"i\":2}");
  expect_stored("{\"i\":2.0}", "{\"i\":2}");
  expect_stored("{\"i\":20e-1}", "{\"i\":2}");
  expect_stored("{\"w\":-0.0}", "{\"w\":0}");
  expect_stored("{\"w\":9007199254740993}", "{\"w\":9007199254740993}");
  expect_stored("{\"w\":-9223372036854775808}", "{\"w\":-9223372036854775808}");
  expect_stored("{\"n\":2}", "{\"n\":2}");
  expect_stored("{\"n\":2.0}", "{\"n\":2.0}");
  expect_stored("{\"b\":false}", "{\"b\":false}");
  expect_invalid("{\"i\":0}", "data.i", "E: data.i must be an integer of at least 1 and at most 9, not 0");
  expect_invalid("{\"i\":2.5}", "data.i", "E: data.i must be an integer of at least 1 and at most 9, not 2.5");
  expect_invalid("{\"i\":\"2\"}", "data.i", "E: data.i must be an integer of at least 1 and at most 9, not \"2\"");
  expect_invalid("{\"w\":1e300}", "data.w", "E: data.w must be an integer, not 1e300");
  expect_invalid("{\"n\":0.25}", "data.n", "E: data.n must be a number of at least 0.5, not 0.25");
  expect_invalid("{\"n\":true}", "data.n", "E: data.n must be a number of at least 0.5, not true");
  expect_invalid("{\"b\":0}", "data.b", "E: data.b must be a boolean, not 0");
  close_app();
}

static void large_numbers_are_compared_exactly(void **unused) {
  (void)unused;
  open_app(
      "event 'E' { a = t.optional(t.number { max = 9007199254740992 }), b = t.optional(t.number { min = 9007199254740993 }), "
      "c = t.optional(t.number { min = -9007199254740992.0, max = 9007199254740992.0 }), "
      "d = t.optional(t.number { max = math.maxinteger }) }");
  expect_stored("{\"a\":9007199254740992}", "{\"a\":9007199254740992}");
  expect_stored("{\"b\":9007199254740993}", "{\"b\":9007199254740993}");
  expect_stored("{\"c\":-9007199254740992}", "{\"c\":-9007199254740992}");
  expect_stored("{\"d\":9223372036854775807}", "{\"d\":9223372036854775807}");
  expect_invalid("{\"a\":9007199254740993}", "data.a",
                 "E: data.a must be a number of at most 9007199254740992, not 9007199254740993");
  expect_invalid("{\"b\":9007199254740992}", "data.b",
                 "E: data.b must be a number of at least 9007199254740993, not 9007199254740992");
  char out[1024];
  annal_error error;
  assert_int_equal(check_event("E", "{\"c\":9007199254740993}", out, &error), ANNAL_INVALID);
  assert_int_equal(check_event("E", "{\"c\":-9007199254740993}", out, &error), ANNAL_INVALID);
  assert_int_equal(check_event("E", "{\"d\":9223372036854775808.0}", out, &error), ANNAL_INVALID); /* 2^63, a double */
  close_app();
}

static void the_id_of_an_instance_is_not_empty(void **unused) {
  (void)unused;
  open_app("event 'E' { id = t.optional(t.string), other = t.optional(t.string) } "
           "projection 'P' { by = 'id', init = {}, on = { E = function(s) return s end } }");
  expect_stored("{\"id\":\"a\"}", "{\"id\":\"a\"}");
  expect_stored("{\"other\":\"\"}", "{\"other\":\"\"}");
  expect_invalid("{\"id\":\"\"}", "data.id", "E: data.id is empty, and as the id of an instance of P it cannot be");
  close_app();
}

static void times_are_checked(void **unused) {
  (void)unused;
  open_app("event 'E' { at = t.timestamp }");
  expect_stored("{\"at\":\"2026-01-31T23:59:59Z\"}", "{\"at\":\"2026-01-31T23:59:59Z\"}");
  expect_stored("{\"at\":\"2026-01-31T23:59:59.123456Z\"}", "{\"at\":\"2026-01-31T23:59:59.123456Z\"}");
  static const char *const wrong[] = {
      "2026-01-31",           "2026-02-30T00:00:00Z",        "2026-01-31T23:59:59", "2026-01-31T23:59:59+00:00",
      "2026-01-31t23:59:59z", "2026-01-31T24:00:00Z",        "yesterday",           "",
      "2026-01-31 23:59:59Z", "2026-01-31T23:59:59.1234567Z"};
  for (size_t i = 0; i < LIST(wrong); i++) {
    char data[128], message[256];
    snprintf(data, sizeof data, "{\"at\":\"%s\"}", wrong[i]);
    snprintf(message, sizeof message, "E: data.at must be a time in UTC such as \"2026-01-31T23:59:59Z\", not \"%s\"", wrong[i]);
    expect_invalid(data, "data.at", message);
  }
  close_app();
}

static void values_in_values_are_checked(void **unused) {
  (void)unused;
  open_app("event 'E' { items = t.array(t.object { price = t.integer, note = t.optional(t.string) }), tags = "
           "t.optional(t.map(t.array(t.integer))), any = t.optional(t.any) }");
  expect_stored("{\"items\":[]}", "{\"items\":[]}");
  expect_stored("{\"items\":{}}", "{\"items\":[]}"); /* as Lua's {} arrives */
  expect_stored("{\"items\":[{\"price\":1.0,\"note\":null},{\"price\":2,\"note\":\"n\"}]}",
                "{\"items\":[{\"price\":1},{\"note\":\"n\",\"price\":2}]}");
  expect_stored("{\"items\":[],\"tags\":{}}", "{\"items\":[],\"tags\":{}}");
  expect_stored("{\"items\":[],\"tags\":{\"a\":[1,2.0],\"b\":{}}}", "{\"items\":[],\"tags\":{\"a\":[1,2],\"b\":[]}}");
  expect_stored("{\"items\":[],\"tags\":null}", "{\"items\":[]}");
  expect_stored("{\"items\":[],\"any\":{\"x\":[{},[],null]}}", "{\"any\":{\"x\":[{},[],null]},\"items\":[]}");
  expect_invalid("{\"items\":[{\"price\":1},{\"price\":\"x\"}]}", "data.items[2].price",
                 "E: data.items[2].price must be an integer, not \"x\"");
  expect_invalid("{\"items\":[{}]}", "data.items[1].price", "E: data.items[1].price is missing");
  expect_invalid("{\"items\":[[]]}", "data.items[1]", "E: data.items[1] must be an object, not an array");
  expect_invalid("{\"items\":[{\"price\":1,\"prise\":2}]}", "data.items[1].prise",
                 "E: data.items[1].prise is no field of the schema (did you mean price?)");
  expect_invalid("{\"items\":{\"a\":1}}", "data.items", "E: data.items must be an array, not an object");
  expect_invalid("{\"items\":[],\"tags\":{\"a\":[1,null]}}", "data.tags.a[2]", "E: data.tags.a[2] must be an integer, not null");
  expect_invalid("{\"items\":[],\"tags\":[]}", "data.tags", "E: data.tags must be an object, not an array");
  close_app();
}

static void the_event_as_a_whole_is_checked(void **unused) {
  (void)unused;
  open_app("event 'E' { cartId = t.string }\nevent 'ITEM_ADDED' {}");
  expect_invalid("{}", "data.cartId", "E: data.cartId is missing");
  expect_invalid("{\"cartID\":\"1\"}", "data.cartID", "E: data.cartID is no field of the schema (did you mean cartId?)");
  expect_invalid("{\"cartId\":\"1\",\"other\":2}", "data.other", "E: data.other is no field of the schema");
  char out[1024];
  annal_error error;
  assert_int_equal(check_event("E", "[]", out, &error), ANNAL_INVALID);
  assert_int_equal(check_event("E", "{\"cartId\":", out, &error), ANNAL_INVALID);
  assert_int_equal(check_event("E", "{\"cartId\":\"\\u0000\"}", out, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "data.cartId");
  assert_int_equal(check_event("ITEM_ADDE", "{}", out, &error), ANNAL_INVALID);
  assert_string_equal(error.message, "the scripts declare no event ITEM_ADDE (did you mean ITEM_ADDED?)");
  assert_int_equal(check_event("", "{}", out, &error), ANNAL_INVALID);
  base_buf buf;
  buf_init(&buf, test_env());
  int version = 2;
  assert_int_equal(script_check_event(state, "E", &version, "{\"cartId\":\"1\"}", 14, &buf, &error), ANNAL_INVALID);
  assert_string_equal(error.where, "version");
  assert_int_equal(version, 2);
  version = 0;
  buf_text(&buf, "before");
  assert_int_equal(script_check_event(state, "E", &version, "{\"cartId\":\"1\"}", 14, &buf, &error), 0);
  assert_int_equal(version, 1);
  assert_string_equal(buf.bytes, "before{\"cartId\":\"1\"}");
  assert_int_equal(script_check_event(state, "E", &version, "{}", 2, &buf, &error), ANNAL_INVALID);
  assert_string_equal(buf.bytes, "before{\"cartId\":\"1\"}");
  buf_free(&buf);
  close_app();
}

static void validate_has_the_last_word_and_changes_nothing(void **unused) {
  (void)unused;
  open_app("event 'E' { schema = { n = t.integer, l = t.array(t.integer) }, validate = function(data)\n"
           "  assert(math.type(data.n) == 'integer')\n"
           "  if data.n == 1 then return nil, 'n is one' end\n"
           "  if data.n == 2 then return false end\n"
           "  if data.n == 3 then error 'three' end\n"
           "  data.n = 99 data.l[1] = 'x' return true end }");
  expect_stored("{\"n\":5.0,\"l\":[1]}", "{\"l\":[1],\"n\":5}");
  expect_invalid("{\"n\":1,\"l\":[]}", "data", "E: n is one");
  expect_invalid("{\"n\":2,\"l\":[]}", "data",
                 "E: refused by its validate, which gives no reason (it has to return true for what it accepts)");
  char out[1024];
  annal_error error;
  assert_int_equal(check_event("E", "{\"n\":3,\"l\":[]}", out, &error), ANNAL_SCRIPT);
  assert_string_equal(error.where, "app.lua:5");
  assert_string_equal(error.message, "validate of E: three");
  close_app();
}

static void a_costly_pattern_is_a_matter_of_the_budget(void **unused) {
  (void)unused;
  open_app("event 'E' { s = t.string { pattern = '.-.-.-.-b' } }");
  char data[3100], out[1024];
  annal_error error;
  snprintf(data, sizeof data, "{\"s\":\"%03000d\"}", 0);
  assert_int_equal(check_event("E", data, out, &error), ANNAL_BUDGET);
  assert_string_equal(error.where, "data.s");
  close_app();
}

/* ---- The event a handler is given --------------------------------------------------------------------------------------- */

typedef struct handler_run {
  annal_event event;
  const annal_event *second;
  bool end;
} handler_run;

static int handler_body(lua_State *L, void *context, annal_error *error) {
  handler_run *run = context;
  script_push_projection(state, script_find_projection(app, "P"));
  lua_getfield(L, -1, "whole");
  lua_getfield(L, -1, "on");
  lua_getfield(L, -1, "E");
  lua_pushnil(L);
  script_push_event(state, &run->event);
  if (run->end) script_end_event(state);
  int code = script_call(state, 2, 1, "reducer of P", error);
  script_end_event(state);
  return code;
}

/* Runs statements as a handler of E with the event in `event`. */
static int run_handler(const char *body, handler_run *run, annal_error *error) {
  char text[4096];
  snprintf(text, sizeof text,
           "event 'E' { a = t.any }\nlocal kept\nprojection 'P' { init = 0, on = { E = function(state, event) %s end } }", body);
  open_app(text);
  int code = script_protect(state, handler_body, run, error);
  assert_int_equal(lua_gettop(script_lua(state)), 0);
  close_app();
  return code;
}

static const annal_event stored = {.position = 7,
                                   .id = "e7",
                                   .type = "E",
                                   .version = 1,
                                   .created_at = 1000000,
                                   .data = "{\"a\":[1,{\"b\":null}]}",
                                   .metadata = "{\"by\":\"me\"}"};

static void expect_handler(const char *body, annal_event event) {
  annal_error error;
  handler_run run = {.event = event};
  int code = run_handler(body, &run, &error);
  if (code) fail_msg("%s\n  %s: %s", body, error.where, error.message);
}

static void an_event_has_its_fields(void **unused) {
  (void)unused;
  expect_handler("assert(event.type == 'E' and event.position == 7 and event.version == 1 and event.id == 'e7')", stored);
  expect_handler("assert(event.created_at == '1970-01-01T00:00:01.000000Z' and event.metadata.by == 'me')", stored);
  expect_handler("assert(event.data.a[1] == 1 and event.data.a[2].b == null and event.data == event.data)", stored);
  expect_handler(
      "assert(rawget(event, 'type') == 'E' and type(event) == 'table' and tostring(event) == 'event' and not is_empty(event))",
      stored);
  expect_handler("local s = '' for k, v in pairs(event) do s = s .. k .. ' ' end assert(s == 'created_at data id metadata "
                 "position type version ')",
                 stored);
  expect_handler("local k = next(event) assert(k == 'created_at') assert(next(event, 'type') == 'version')", stored);
  expect_handler("for k, v in pairs(event) do if k == 'data' then assert(v == event.data) end end", stored);
  expect_handler("event.data.a = 5 assert(event.data.a == 5) event.mine = 1 assert(event.mine == 1)", stored);
  annal_event staged = {.type = "E", .data = "{\"a\":1}", .data_size = 7};
  expect_handler("assert(event.position == nil and event.id == nil and event.created_at == nil and event.metadata == nil and "
                 "event.data.a == 1)",
                 staged);
  expect_handler("local s = '' for k, v in pairs(event) do s = s .. k .. ' ' end assert(s == 'data type version ')", staged);
}

static void a_slip_in_a_name_is_told(void **unused) {
  (void)unused;
  annal_error error;
  handler_run run = {.event = stored};
  assert_int_equal(run_handler("return event.dta", &run, &error), ANNAL_SCRIPT);
  assert_string_equal(error.message, "reducer of P: an event has no field dta (did you mean data?)");
  assert_string_equal(error.where, "app.lua:3");
  assert_int_equal(run_handler("return event.cartId", &run, &error), ANNAL_SCRIPT);
  assert_string_equal(error.message, "reducer of P: an event has no field cartId (what was saved is in event.data)");
}

static void an_event_that_is_over_cannot_be_looked_at(void **unused) {
  (void)unused;
  annal_error error;
  handler_run run = {.event = stored, .end = true};
  assert_int_equal(run_handler("return event.data", &run, &error), ANNAL_SCRIPT);
  assert_non_null(strstr(error.message, "this event is over"));
}

static int keeping_body(lua_State *L, void *context, annal_error *error) {
  handler_run *run = context;
  script_push_projection(state, script_find_projection(app, "P"));
  lua_getfield(L, -1, "whole");
  lua_getfield(L, -1, "on");
  lua_getfield(L, -1, "E");
  for (int i = 0; i < 2; i++) {
    lua_pushvalue(L, 4);
    lua_pushnil(L);
    script_push_event(state, i ? run->second : &run->event);
    int code = script_call(state, 2, 1, "reducer of P", error);
    if (code) return code;
    lua_pop(L, 1);
    script_end_event(state);
  }
  return 0;
}

static void an_event_kept_from_before_is_over_while_the_next_one_runs(void **unused) {
  (void)unused;
  annal_error error;
  handler_run run = {.event = stored, .second = &stored};
  open_app("event 'E' { a = t.any }\nlocal kept\nprojection 'P' { init = 0, on = { E = function(state, event) if kept then "
           "return kept.data end kept = event end } }");
  assert_int_equal(script_protect(state, keeping_body, &run, &error), ANNAL_SCRIPT);
  assert_non_null(strstr(error.message, "this event is over"));
  close_app();
}

static void each_handler_has_its_own_copy(void **unused) {
  (void)unused;
  annal_error error;
  handler_run run = {.event = stored, .second = &stored};
  open_app("event 'E' { a = t.any }\nprojection 'P' { init = 0, on = { E = function(state, event) assert(event.data.a[1] == 1) "
           "event.data.a[1] = 2 event.type = 'X' end } }");
  assert_int_equal(script_protect(state, keeping_body, &run, &error), 0);
  close_app();
}

static void data_that_cannot_be_read_is_corrupt_and_not_to_be_caught(void **unused) {
  (void)unused;
  annal_error error;
  handler_run run = {.event = stored};
  run.event.data = "{\"a\":[1,}";
  assert_int_equal(run_handler("pcall(function() return event.data end) return 5", &run, &error), ANNAL_CORRUPT);
  assert_non_null(strstr(error.message, "event e7 at position "));
  assert_int_equal(run_handler("return event.type", &run, &error), 0); /* who does not look does not notice */
}

/* ---- Streams ------------------------------------------------------------------------------------------------------------ */

#define STREAMS_APP "event 'A' { id = t.string, n = t.integer }\nevent 'B' { other = t.string }\n"
#define HANDLERS "init = 0, on = { A = function() end, B = function() end }"

static int streams_of(const char *id, script_streams *streams, annal_error *error) {
  return script_instance_streams(state, script_find_projection(app, "P"), id, streams, error);
}

static void streams_follow_by(void **unused) {
  (void)unused;
  annal_error error;
  script_streams streams;
  open_app(STREAMS_APP "projection 'P' { by = { A = 'id', B = 'other' }, " HANDLERS " }");
  assert_int_equal(streams_of("x", &streams, &error), 0);
  assert_int_equal(streams.count, 2);
  assert_string_equal(streams.streams[0].types[0], "A");
  assert_string_equal(streams.streams[0].data[0].name, "id");
  assert_string_equal(streams.streams[0].data[0].values[0], "x");
  assert_string_equal(streams.streams[1].data[0].name, "other");
  script_free_streams(test_env(), &streams);
  assert_null(streams.streams);
  close_app();
  open_app(STREAMS_APP "projection 'P' { " HANDLERS " }");
  assert_int_equal(streams_of("", &streams, &error), 0);
  assert_int_equal(streams.count, 1);
  assert_int_equal(streams.streams[0].type_count, 2);
  assert_int_equal(streams.streams[0].data_count, 0);
  script_free_streams(test_env(), &streams);
  assert_int_equal(streams_of("x", &streams, &error), ANNAL_MISUSE);
  close_app();
}

static void streams_come_from_a_function(void **unused) {
  (void)unused;
  annal_error error;
  script_streams streams;
  open_app(STREAMS_APP "projection 'P' { " HANDLERS ", streams = function(id) return { { types = { 'A', 'B' }, data = { id = id, "
                       "b = { 1, true, 'z' } } }, { types = { 'B' } }, { all = true } } end }");
  assert_int_equal(streams_of("x", &streams, &error), 0);
  assert_int_equal(streams.count, 3);
  const annal_stream *first = &streams.streams[0];
  assert_int_equal(first->type_count, 2);
  assert_string_equal(first->data[0].name, "b");
  assert_int_equal(first->data[0].value_count, 3);
  assert_string_equal(first->data[0].values[0], "1");
  assert_string_equal(first->data[0].values[1], "true");
  assert_string_equal(first->data[0].values[2], "z");
  assert_string_equal(first->data[1].values[0], "x");
  assert_false(first->all);
  assert_true(streams.streams[2].all);
  script_free_streams(test_env(), &streams);
  close_app();
}

static void streams_that_say_nothing_are_refused(void **unused) {
  (void)unused;
  static const struct {
    const char *answer, *message;
  } cases[] = {
      {"nil", "streams of P: it has to return a list with at least one stream"},
      {"{}", "streams of P: it has to return a list with at least one stream"},
      {"{ types = { 'A' } }", "streams of P: it has to return a list with at least one stream"},
      {"{ {} }", "streams of P: [1]: selects nothing in particular: write { all = true } for every event"},
      {"{ 5 }", "streams of P: [1]: a stream is a table"},
      {"{ { types = {} } }", "streams of P: [1]: types is an event type, or a list of them with at least one"},
      {"{ { types = 5 } }", "streams of P: [1]: types is an event type, or a list of them with at least one"},
      {"{ { types = 'X' } }", "streams of P: [1]: there is no event X"},
      {"{ { types = { 'A' } }, { types = { 'X' } } }", "streams of P: [2]: there is no event X"},
      {"{ { types = { 'A' }, data = {} } }", "streams of P: [1]: data is empty (is a value in it nil?)"},
      {"{ { data = { id = ({}).x } } }", "streams of P: [1]: data is empty"},
      {"{ { data = { id = {} } } }", "streams of P: [1].data.id: an empty list, or a table that is no list, selects nothing"},
      {"{ { data = { id = null } } }", "streams of P: [1].data.id: a filter value is a string, an integer, a boolean"},
      {"{ { data = { id = 1.5 } } }", "streams of P: [1].data.id: a float is no filter value"},
      {"{ { data = { id = { x = 1 } } } }", "[1].data.id: an empty list, or a table that is no list"},
      {"{ { data = { ['a b'] = 1 } } }", "data has a key that is no name of an identifier"},
      {"{ { data = { id = ('x'):rep(513) } } }", "a value has 513 bytes: at most 512"},
      {"{ { data = { id = '\\xff' } } }", "a value is no valid UTF-8"},
      {"{ { typs = { 'A' } } }", "streams of P: [1]: a stream has no key typs (types, data, all)"},
      {"{ { all = true, types = { 'A' } } }", "streams of P: [1]: all = true stands alone"},
      {"error 'oh'", "streams of P: oh"},
  };
  for (size_t i = 0; i < LIST(cases); i++) {
    char text[1024];
    annal_error error;
    script_streams streams;
    const char *word = strncmp(cases[i].answer, "error", 5) == 0 ? "" : "return ";
    snprintf(text, sizeof text, STREAMS_APP "projection 'P' { " HANDLERS ", streams = function(id) %s%s end }", word,
             cases[i].answer);
    open_app(text);
    int code = streams_of("x", &streams, &error);
    if (code != ANNAL_SCRIPT || !strstr(error.message, cases[i].message) || strcmp(error.where, "app.lua:3") != 0)
      fail_msg("%s: %s at %s: %s", cases[i].answer, annal_code_name(code), error.where, error.message);
    assert_null(streams.memory);
    close_app();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(strings_are_checked),
      cmocka_unit_test(numbers_are_checked),
      cmocka_unit_test(large_numbers_are_compared_exactly),
      cmocka_unit_test(the_id_of_an_instance_is_not_empty),
      cmocka_unit_test(times_are_checked),
      cmocka_unit_test(values_in_values_are_checked),
      cmocka_unit_test(the_event_as_a_whole_is_checked),
      cmocka_unit_test(validate_has_the_last_word_and_changes_nothing),
      cmocka_unit_test(a_costly_pattern_is_a_matter_of_the_budget),
      cmocka_unit_test(an_event_has_its_fields),
      cmocka_unit_test(a_slip_in_a_name_is_told),
      cmocka_unit_test(an_event_that_is_over_cannot_be_looked_at),
      cmocka_unit_test(an_event_kept_from_before_is_over_while_the_next_one_runs),
      cmocka_unit_test(each_handler_has_its_own_copy),
      cmocka_unit_test(data_that_cannot_be_read_is_corrupt_and_not_to_be_caught),
      cmocka_unit_test(streams_follow_by),
      cmocka_unit_test(streams_come_from_a_function),
      cmocka_unit_test(streams_that_say_nothing_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
