/* Events of older versions: the chain of upcasters, what it may not do, what it costs, and that nothing of it leaks. */
#include "support.h"

#include "base/error.h"
#include "base/limits.h"
#include <stdio.h>
#include <string.h>

static script_app *app;
static script_state *state;
static base_buf data;

/* The store's own identifier is `shelf`. `memory` and `budget` 0: the usual ones. */
static void open_with(const char *text, script_options options) {
  static const char *const identifiers[] = {"shelf"};
  annal_error error;
  app_files files;
  options.identifiers = identifiers;
  options.identifier_count = 1;
  app_make(&files);
  app_write(&files, "app.lua", text);
  if (script_load(test_env(), &options, files.directory, &app, &error)) fail_msg("%s\n%s: %s", text, error.where, error.message);
  app_remove(&files);
  assert_int_equal(script_acquire(app, &state, &error), 0);
  buf_init(&data, test_env());
}

static void open_app(const char *text) { open_with(text, (script_options){0}); }

static void close_app(void) {
  buf_free(&data);
  script_give_back(state);
  script_release(app);
}

static annal_event event_of(int version, const char *json) {
  return (annal_event){.position = 7, .id = "e7", .type = "E", .version = version, .data = json, .data_size = strlen(json)};
}

static void expect_upgraded(int version, const char *json, const char *expected) {
  annal_error error;
  annal_event event = event_of(version, json), upgraded;
  bool older;
  assert_int_equal(script_look_at_version(app, &event, &older, &error), 0);
  assert_true(older);
  buf_clear(&data);
  int code = script_upcast(state, &event, &data, &upgraded, &error);
  if (code) fail_msg("%s: %s at %s: %s", json, annal_code_name(code), error.where, error.message);
  assert_string_equal(upgraded.data, expected);
  assert_int_equal(upgraded.data_size, strlen(expected));
  assert_int_equal(upgraded.version, script_find_event(app, "E")->version);
  assert_int_equal(upgraded.position, 7);
  assert_string_equal(upgraded.id, "e7");
}

static void expect_failure(int version, const char *json, int wanted, const char *where, const char *message) {
  annal_error error;
  annal_event event = event_of(version, json), upgraded = {.version = 99};
  buf_clear(&data);
  buf_text(&data, "kept");
  int code = script_upcast(state, &event, &data, &upgraded, &error);
  if (code != wanted || strcmp(error.where, where) != 0 || strcmp(error.message, message) != 0)
    fail_msg("%s at \"%s\": %s\n  not %s at \"%s\": %s", annal_code_name(code), error.where, error.message,
             annal_code_name(wanted), where, message);
  assert_string_equal(data.bytes, "kept");
  assert_int_equal(upgraded.version, 99);
}

#define THREE                                                                                                                    \
  "event 'E' { version = 3, schema = { id = t.string, cents = t.integer, tags = t.array(t.string), note = t.optional(t.any) "    \
  "},\n"                                                                                                                         \
  "  upcast = {\n"                                                                                                               \
  "    [1] = function(d) return { id = d.id, euros = d.euros or 0 } end,\n"                                                      \
  "    [2] = function(d) d.cents, d.euros, d.tags = math.tointeger(d.euros * 100), nil, {} return d end,\n"                      \
  "  } }\n"

static void each_older_version_goes_through_the_rest_of_the_chain(void **unused) {
  (void)unused;
  open_app(THREE);
  expect_upgraded(1, "{\"euros\":2,\"gone\":true,\"id\":\"a\"}", "{\"cents\":200,\"id\":\"a\",\"tags\":[]}");
  expect_upgraded(1, "{\"id\":\"a\"}", "{\"cents\":0,\"id\":\"a\",\"tags\":[]}");
  expect_upgraded(2, "{\"euros\":2.5,\"id\":\"a\",\"note\":{\"a\":[],\"b\":{},\"c\":-0.0}}",
                  "{\"cents\":250,\"id\":\"a\",\"note\":{\"a\":[],\"b\":{},\"c\":-0.0},\"tags\":[]}");
  expect_upgraded(2, "{\"euros\":9007199254740993,\"id\":\"a\",\"note\":null}",
                  "{\"cents\":900719925474099300,\"id\":\"a\",\"tags\":[]}");
  close_app();
}

static void versions_that_are_not_older_stay(void **unused) {
  (void)unused;
  annal_error error;
  bool older = true;
  open_app(THREE);
  annal_event event = event_of(3, "{}"); /* it would not fit: nobody looks */
  assert_int_equal(script_look_at_version(app, &event, &older, &error), 0);
  assert_false(older);
  event.type = "OTHER";
  event.version = 12;
  assert_int_equal(script_look_at_version(app, &event, &older, &error), 0);
  assert_false(older);
  event.type = "E";
  assert_int_equal(script_look_at_version(app, &event, &older, &error), ANNAL_SCRIPT);
  assert_string_equal(error.where, "app.lua:1");
  assert_string_equal(error.message,
                      "event \"e7\" (E, position 7) has version 12, but the scripts declare version 3: they are older "
                      "than what is stored");
  close_app();
}

static void an_upcaster_that_fails_is_named(void **unused) {
  (void)unused;
  open_app(THREE);
  expect_failure(2, "{\"id\":\"a\"}", ANNAL_SCRIPT, "app.lua:4",
                 "event \"e7\" (E, position 7), from version 2 to 3: upcast: attempt to perform arithmetic on a nil value (field "
                 "'euros')");
  expect_failure(1, "{\"euros\":\"much\"}", ANNAL_SCRIPT, "app.lua:4",
                 "event \"e7\" (E, position 7), from version 2 to 3: upcast: attempt to mul a 'string' with a "
                 "'number'");
  expect_failure(2, "{\"euros\":0.001,\"id\":\"a\"}", ANNAL_SCRIPT, "app.lua:4",
                 "event \"e7\" (E, position 7), from version 2 to 3: data.cents is missing");
  expect_failure(2, "{\"euros\":1,\"id\":\"a\",\"what\":1}", ANNAL_SCRIPT, "app.lua:4",
                 "event \"e7\" (E, position 7), from version 2 to 3: data.what is no field of the schema");
  expect_failure(2, "{\"euros\":1,\"id\":5}", ANNAL_SCRIPT, "app.lua:4",
                 "event \"e7\" (E, position 7), from version 2 to 3: data.id must be a string, not 5");
  expect_failure(2, "{\"euros\":1,\"id\":", ANNAL_CORRUPT, "data.id",
                 "event \"e7\" (E, position 7): expected a value, found the end of the text at byte 16");
  close_app();
}

static void what_it_returns_has_to_be_data(void **unused) {
  (void)unused;
  static const struct {
    const char *body, *message;
  } cases[] = {
      {"", "its function returned nothing: it has to return the data, also where it changed them in place"},
      {"return false", "its function returned boolean: it has to return the data"},
      {"return null", "its function returned userdata: it has to return the data"},
      {"return array {}", "its function returned an array: it has to return the data"},
      {"return { 1, 2 }", "its function returned an array: it has to return the data"},
      {"d.f = function() end return d", "data.f: "},
      {"d.f = 0/0 return d", "data.f: "},
      {"d.f = d return d", "data.f"},
      {"d.f = { [1] = 1, [3] = 2 } return d", "data.f: "},
      {"d.f = '\\xff' return d", "data.f: "},
      {"d.f = 'a\\0' return d", "data.f: "},
      {"return setmetatable(d, { __index = {} })", "data: "},
      {"error { message = 'mine' }", "upcast: mine"},
      {"error()", "upcast: error called with a nil value"},
  };
  for (size_t i = 0; i < LIST(cases); i++) {
    char text[512];
    annal_error error;
    snprintf(text, sizeof text,
             "\nevent 'E' { version = 2, schema = { f = t.optional(t.any) }, upcast = {\nfunction(d) %s end } }", cases[i].body);
    open_app(text);
    annal_event event = event_of(1, "{}"), upgraded;
    int code = script_upcast(state, &event, &data, &upgraded, &error);
    if (code != ANNAL_SCRIPT || strcmp(error.where, "app.lua:3") != 0 ||
        strncmp(error.message, "event \"e7\" (E, position 7), from version 1 to 2: ", 49) != 0 ||
        strncmp(error.message + 49, cases[i].message, strlen(cases[i].message)) != 0)
      fail_msg("%s: %s at %s: %s", cases[i].body, annal_code_name(code), error.where, error.message);
    assert_int_equal(data.size, 0);
    close_app();
  }
}

#define FIXED                                                                                                                    \
  "event 'E' { version = 2, schema = { id = t.optional(t.any), owner = t.optional(t.any), shelf = t.optional(t.any),\n"          \
  "    to = t.optional(t.any), n = t.optional(t.integer) }, upcast = { function(d)\n"                                            \
  "    local to, field = d.to, d.field d.to, d.field = nil, nil if field then d[field] = to end return d end } }\n"              \
  "event 'F' { owner = t.string, id = t.string, to = t.string }\n"                                                               \
  "projection 'P' { by = 'id', init = 0, on = { E = function() end } }\n"                                                        \
  "projection 'Q' { by = { E = 'owner', F = 'to' }, init = 0, on = { E = function() end, F = function() end } }\n"

static void fields_by_which_events_are_selected_have_to_stay(void **unused) {
  (void)unused;
  static const struct {
    const char *name, *from, *to;
    bool refused;
  } cases[] = {
      {"id", "\"a\"", "\"b\"", true},     {"owner", "\"a\"", "\"b\"", true}, {"shelf", "\"a\"", "\"b\"", true},
      {"id", "\"a\"", "\"a\"", false},    {"id", "\"a\"", NULL, true},       {"id", NULL, "\"a\"", true},
      {"id", "1", "\"1\"", true},         {"id", "1", "1.0", true},          {"id", "1.5", "1.5", false},
      {"id", "0.0", "-0.0", true},        {"id", "true", "false", true},     {"id", "true", "1", true},
      {"id", "null", NULL, false},        {"id", "null", "[]", false},       {"id", "{\"a\":1}", "[1]", false},
      {"id", "{\"a\":1}", "\"a\"", true}, {"id", "7", "7", false},           {"id", "7", "[7]", true},
      {"n", "1.0", "1", false},
  };
  open_app(FIXED);
  for (size_t i = 0; i < LIST(cases); i++) {
    char json[256], stored[64] = "", to[64] = "", place[128];
    if (cases[i].from) snprintf(stored, sizeof stored, ",\"%s\":%s", cases[i].name, cases[i].from);
    if (cases[i].to) snprintf(to, sizeof to, ",\"to\":%s", cases[i].to);
    snprintf(json, sizeof json, "{\"field\":\"%s\"%s%s}", cases[i].name, stored, to);
    annal_error error;
    annal_event event = event_of(1, json), upgraded;
    snprintf(place, sizeof place, "data.%s is changed", cases[i].name);
    int code = script_upcast(state, &event, &data, &upgraded, &error);
    bool as_expected = cases[i].refused
                           ? code == ANNAL_SCRIPT && strstr(error.message, place) && strcmp(error.where, "app.lua:2") == 0
                           : code == 0;
    if (!as_expected)
      fail_msg("%s: %s at %s: %s", json, annal_code_name(code), code ? error.where : "", code ? error.message : "");
  }
  expect_failure(
      1, "{\"field\":\"id\",\"id\":\"a\",\"to\":\"b\"}", ANNAL_SCRIPT, "app.lua:2",
      "event \"e7\" (E, position 7), from version 1 to 2: data.id is changed, but by it events are selected, as they are "
      "stored: it has to stay");
  close_app();
}

/* A check puts arrays and absent fields into their stored form: what it does that to must not be the script's own constants. */
static void constants_of_the_script_stay_what_they_are(void **unused) {
  (void)unused;
  open_app(
      "local nothing = {}\nlocal some = { x = 1.0, y = null }\n"
      "event 'E' { version = 2, schema = { list = t.optional(t.array(t.any)), map = t.optional(t.map(t.any)), o = t.optional("
      "t.object { x = t.integer, y = t.optional(t.any) }), text = t.optional(t.string) }, upcast = { function(d)\n"
      "  if d.again then return { map = nothing, text = tostring(some.x) .. tostring(some.y == null) } end\n"
      "  return { list = nothing, o = some } end } }");
  expect_upgraded(1, "{}", "{\"list\":[],\"o\":{\"x\":1}}");
  expect_upgraded(1, "{\"again\":true}", "{\"map\":{},\"text\":\"1.0true\"}");
  close_app();
}

static void the_budget_is_the_upcasters_too(void **unused) {
  (void)unused;
  open_with("event 'E' { version = 3, schema = {}, upcast = { function(d) return d end,\n"
            "  function(d) while true do pcall(error) end end } }",
            (script_options){.budget = 100000});
  expect_failure(1, "{}", ANNAL_BUDGET, "app.lua:2",
                 "event \"e7\" (E, position 7), from version 2 to 3: upcast: used up its 100000 "
                 "instructions");
  script_give_back(state); /* it is thrown away: the next one is as good as new */
  annal_error error;
  assert_int_equal(script_acquire(app, &state, &error), 0);
  annal_event event = event_of(2, "{}"), upgraded;
  assert_int_equal(script_upcast(state, &event, &data, &upgraded, &error), ANNAL_BUDGET);
  close_app();
  open_with("event 'E' { version = 2, schema = {}, upcast = { function(d) local s = 'x' while true do s = s .. s end end } }",
            (script_options){.memory = 4u << 20});
  expect_failure(
      1, "{}", ANNAL_BUDGET, "app.lua:1",
      "event \"e7\" (E, position 7), from version 1 to 2: upcast: used up the 4194304 bytes of memory a script state may "
      "hold");
  close_app();
}

static void expect_older(const char *type, int version, const char *json, int wanted, const char *where, const char *message) {
  annal_error error = {0};
  annal_event event = {.type = type, .version = version, .data = json, .data_size = strlen(json)};
  assert_true(script_is_older(app, type, version));
  int code = script_check_older(state, &event, &error);
  if (code != wanted || strcmp(error.where, where) != 0 || strcmp(error.message, message) != 0)
    fail_msg("%s at \"%s\": %s\n  not %s at \"%s\": %s", annal_code_name(code), error.where, error.message,
             annal_code_name(wanted), where, message);
}

static void what_comes_in_under_an_older_version_must_fit_once_upgraded(void **unused) {
  (void)unused;
  open_app(
      "event 'E' { version = 3, schema = { id = t.string, n = t.integer { min = 1 } }, upcast = { function(d) d.n = d.n or 1 "
      "return d end,\n  function(d) d.old = nil if d.id == 'no' then error 'cannot' end return d end },\n"
      "  validate = function(d) return d.n ~= 13, 'unlucky' end }\n"
      "projection 'P' { by = 'id', init = 0, on = { E = function() end } }");
  assert_false(script_is_older(app, "E", 3));
  assert_false(script_is_older(app, "E", 4));
  assert_false(script_is_older(app, "E", 0)); /* the current one */
  assert_false(script_is_older(app, "F", 1));
  expect_older("E", 1, "{\"id\":\"a\",\"old\":1}", 0, "", "");
  expect_older("E", 2, "{\"id\":\"a\",\"n\":2}", 0, "", "");
  expect_older("E", 2, "{\"id\":\"a\",\"n\":0}", ANNAL_INVALID, "data.n",
               "E: upgraded from version 2 to 3, data.n must be an integer of at least 1, not 0");
  expect_older("E", 1, "{\"id\":\"a\",\"n\":13}", ANNAL_INVALID, "data", "E: unlucky");
  expect_older("E", 1, "{\"id\":\"\"}", ANNAL_INVALID, "data.id",
               "E: data.id is empty, and as the id of an instance of P it cannot be");
  expect_older("E", 1, "{\"id\":\"no\"}", ANNAL_SCRIPT, "app.lua:2", "event without id (E), from version 2 to 3: upcast: cannot");
  close_app();
}

/* ---- Loading ------------------------------------------------------------------------------------------------------------ */

static void chains_are_whole(void **unused) {
  (void)unused;
  static const struct {
    const char *rest, *message;
  } cases[] = {
      {"version = 2", "event E: upcast has no function from version 1 to 2: [1] = function(data) … return data end"},
      {"version = 2, upcast = {}", "event E: upcast has no function from version 1 to 2"},
      {"version = 3, upcast = { [1] = f }", "event E: upcast has no function from version 2 to 3"},
      {"version = 3, upcast = { [2] = f }", "event E: upcast has no function from version 1 to 2"},
      {"version = 4, upcast = { [1] = f, [3] = f }", "event E: upcast has no function from version 2 to 3"},
      {"version = 2147483647", "event E: upcast has no function from version 1 to 2"},
      {"upcast = { f }", "event E: upcast[1]: the current version is 1, so there is nothing to upgrade it to"},
      {"version = 2, upcast = { f, f }", "event E: upcast[2]: the current version is 2, so there is nothing to upgrade it to"},
      {"version = 2, upcast = { f, [9] = f }", "event E: upcast[9]: the current version is 2"},
      {"version = 2, upcast = { [0] = f, f }", "event E: upcast: a key is the version that the function takes, not 0"},
      {"version = 2, upcast = { ['1'] = f }", "event E: upcast: a key is the version that the function takes, not \"1\""},
      {"version = 2, upcast = { [1.5] = f }", "event E: upcast: a key is the version that the function takes, not 1.5"},
      {"version = 2, upcast = { 5 }", "event E: upcast[1] is a function of the data, not 5"},
      {"version = 2, upcast = f", "event E: upcast is a table of functions, not a function"},
      {"version = 2, upcast = array { f }", "event E: upcast is a table of functions, not a table"},
  };
  for (size_t i = 0; i < LIST(cases); i++) {
    char text[256];
    snprintf(text, sizeof text, "local function f(d) return d end\nevent 'E' { schema = {}, %s }", cases[i].rest);
    expect_refused(text, "app.lua:2", cases[i].message);
  }
  expect_refused("event 'E' { a = t.string, upcast = {} }", "app.lua:1", "the long form needs its fields in a table `schema`");
  script_app *loaded = app_of_text("local function f(d) return d end event 'E' { schema = {}, upcast = {} } "
                                   "event 'F' { schema = {}, version = 3.0 // 1 | 0, upcast = { f, f } }\n"
                                   "event 'G' { upcast = t.string }");
  assert_int_equal(script_find_event(loaded, "F")->version, 3);
  script_release(loaded);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------- */

static long calls, fail_at;

static void *failing(void *context, void *pointer, size_t size) {
  (void)context;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  if (++calls >= fail_at && fail_at) return NULL;
  return realloc(pointer, size);
}

static void upgrading_fails_whole_at_each_allocation(void **unused) {
  (void)unused;
  base_env env;
  base_env_init(&env, NULL);
  env.allocate = failing;
  app_files files;
  app_make(&files);
  app_write(&files, "app.lua", THREE);
  const script_options options = {.budget = LIMIT_BUDGET, .memory = LIMIT_SCRIPT_MEMORY};
  annal_error error;
  fail_at = 0;
  assert_int_equal(script_load(&env, &options, files.directory, &app, &error), 0);
  long succeeded = 0, failed = 0;
  for (long n = 1; succeeded < 3 && n < 2000; n++) {
    assert_int_equal(script_acquire(app, &state, &error), 0);
    annal_event event = event_of(1, "{\"euros\":1,\"id\":\"a\"}"), upgraded;
    buf_init(&data, &env);
    calls = 0;
    fail_at = n;
    int code = script_upcast(state, &event, &data, &upgraded, &error);
    fail_at = 0;
    if (code && (code != ANNAL_UNAVAILABLE || !strstr(error.message, "out of memory")))
      fail_msg("call %ld: %s: %s", n, annal_code_name(code), error.message);
    if (!code) assert_string_equal(upgraded.data, "{\"cents\":100,\"id\":\"a\",\"tags\":[]}");
    code ? failed++ : succeeded++;
    buf_free(&data);
    script_give_back(state);
  }
  assert_true(failed > 2);
  assert_true(succeeded == 3);
  script_release(app);
  app_remove(&files);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_older_version_goes_through_the_rest_of_the_chain),
      cmocka_unit_test(versions_that_are_not_older_stay),
      cmocka_unit_test(an_upcaster_that_fails_is_named),
      cmocka_unit_test(what_it_returns_has_to_be_data),
      cmocka_unit_test(fields_by_which_events_are_selected_have_to_stay),
      cmocka_unit_test(constants_of_the_script_stay_what_they_are),
      cmocka_unit_test(the_budget_is_the_upcasters_too),
      cmocka_unit_test(what_comes_in_under_an_older_version_must_fit_once_upgraded),
      cmocka_unit_test(chains_are_whole),
      cmocka_unit_test(upgrading_fails_whole_at_each_allocation),
  };
  return cmocka_run_group_tests_name("upcasters", tests, NULL, NULL);
}
