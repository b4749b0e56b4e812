/* Declarations that are wrong: each is refused with the line it stands on and a word that helps. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#define EVENT "event 'E' { id = t.string, n = t.integer, l = t.array(t.string) }\n"
#define ON "init = 0, on = { E = function() end }"

typedef struct refusal {
  const char *text, *where, *message;
} refusal;

static void expect_all(const refusal *cases, size_t count) {
  for (size_t i = 0; i < count; i++) expect_refused(cases[i].text, cases[i].where, cases[i].message);
}

static void types_are_checked_where_they_are_written(void **unused) {
  (void)unused;
  static const refusal cases[] = {
      {"event 'E' {\n a = t.strng }", "app.lua:2", "t.strng is not there (did you mean t.string?)"},
      {"event 'E' {\n a = t.float }", "app.lua:2", "t.float is not there"},
      {"event 'E' {\n a = t.string { mn = 1 } }", "app.lua:2", "t.string has no option \"mn\" (did you mean min?)"},
      {"event 'E' {\n a = t.string { 'x' } }", "app.lua:2", "t.string has no option 1"},
      {"event 'E' {\n a = t.string(5) }", "app.lua:2", "t.string takes a table of options, not 5"},
      {"event 'E' {\n a = t.string { min = -1 } }", "app.lua:2", "t.string: min is a number of characters, not -1"},
      {"event 'E' {\n a = t.string { min = 2, max = 1 } }", "app.lua:2", "t.string: min is above max"},
      {"event 'E' {\n a = t.string { pattern = '[a' } }", "app.lua:2",
       "t.string: pattern \"[a\": malformed pattern (missing ']')"},
      {"event 'E' {\n a = t.string { pattern = 5 } }", "app.lua:2", "t.string: pattern is a Lua pattern, not 5"},
      {"event 'E' {\n a = t.string { min = 1 } {} }", "app.lua:2", "attempt to call"},
      {"event 'E' {\n a = t.integer { min = 1.5 } }", "app.lua:2", "t.integer: min is an integer, not 1.5"},
      {"event 'E' {\n a = t.integer { min = '1' } }", "app.lua:2", "t.integer: min is an integer, not \"1\""},
      {"event 'E' {\n a = t.number { max = 0/0 } }", "app.lua:2", "t.number: max is a number, not nan"},
      {"event 'E' {\n a = t.number { max = 1/0 } }", "app.lua:2", "t.number: max is a number, not inf"},
      {"event 'E' {\n a = t.boolean {} }", "app.lua:2", "t.boolean takes no options"},
      {"event 'E' {\n a = t.timestamp {} }", "app.lua:2", "t.timestamp takes no options"},
      {"event 'E' {\n a = t.enum {} }", "app.lua:2", "t.enum takes the list of its values"},
      {"event 'E' {\n a = t.enum 'a' }", "app.lua:2", "t.enum takes the list of its values"},
      {"event 'E' {\n a = t.enum { 'a', 'a' } }", "app.lua:2", "t.enum has \"a\" twice"},
      {"event 'E' {\n a = t.enum { 'a', x = 'b' } }", "app.lua:2", "t.enum takes a list: \"x\" is no place in one"},
      {"event 'E' {\n a = t.enum { 1.5 } }", "app.lua:2", "not 1.5"},
      {"event 'E' {\n a = t.array }", "app.lua:1", "event E.a: t.array(of) is missing its argument"},
      {"event 'E' {\n a = t.array() }", "app.lua:2", "t.array: its element is nil, not a type"},
      {"event 'E' {\n a = t.array(t.optional(t.string)) }", "app.lua:2", "t.optional is for fields"},
      {"event 'E' {\n a = t.map { x = t.string } }", "app.lua:2", "t.map: its element is a table, not a type: write t.object"},
      {"event 'E' {\n a = t.object(t.string) }", "app.lua:2", "t.object takes a table of fields, not a table"},
      {"event 'E' {\n a = t.object { b = 'x' } }", "app.lua:2", "t.object.b is \"x\", not a type such as t.string"},
      {"event 'E' {\n a = t.optional {} }", "app.lua:2", "write t.object"},
      {"local x = t.any\nfor i = 1, 100 do\n x = t.array(x) end", "app.lua:3", "t.array: types are nested more than 60 deep"},
      {"local x = t.any\nfor i = 1, 100 do\n x = t.object { x = x } end", "app.lua:3",
       "t.object: types are nested more than 60 deep"},
      {"event 'E' { a = { b = t.string } }", "app.lua:1", "event E.a is a table, not a type: write t.object"},
      {"event 'E' { a = null }", "app.lua:1", "event E.a is null, not a type: write t.optional"},
      {"event 'E' { t.string }", "app.lua:1", "event E: a field's name is a string, not 1"},
      {"event 'E' { ['\\xff'] = t.string }", "app.lua:1", "a field's name is text in UTF-8"},
      {"t.string = t.integer", "app.lua:1", "t.string cannot be set"},
      {"local x = t.string.min", "app.lua:1", "t.string.min is not there"},
  };
  expect_all(cases, LIST(cases));
}

static void events_are_checked(void **unused) {
  (void)unused;
  static const refusal cases[] = {
      {"event {}", "app.lua:1", "event is followed by its name, not by a table"},
      {"event ''", "app.lua:1", "event: its name is empty"},
      {"event '\\xff' {}", "app.lua:1", "event: its name is no valid UTF-8"},
      {"event(('x'):rep(129)) {}", "app.lua:1", "event: its name has 129 bytes: at most 128"},
      {"event('E', {})", "app.lua:1", "event E takes its table in a second call"},
      {"\nevent 'E'", "app.lua:2", "event E has no table: write event \"E\" { … }"},
      {"event 'E' (5)", "app.lua:1", "event E takes a table of fields, not 5"},
      {"event 'E' {}\n\nevent 'E' {}", "app.lua:3", "event E is declared twice: first at app.lua:1"},
      {"local e = event 'E'\ne {}\ne {}", "app.lua:1", "event E has two tables"},
      {"event 'E' { schema = {}, versoin = 2 }", "app.lua:1", "event E has no key \"versoin\" (did you mean version?)"},
      {"event 'E' { schema = {}, version = 0 }", "app.lua:1", "event E: version is an integer from 1, not 0"},
      {"event 'E' { schema = {}, version = 1.5 }", "app.lua:1", "event E: version is an integer from 1, not 1.5"},
      {"event 'E' { schema = {}, validate = true }", "app.lua:1", "event E: validate is a function of the data, not true"},
      {"event 'E' { a = t.string, validate = function() end }", "app.lua:1",
       "the long form needs its fields in a table `schema`"},
  };
  expect_all(cases, LIST(cases));
  /* A field may be called schema: its value is a type and no plain table. */
  script_app *app = app_of_text("event 'E' { schema = t.string, version = t.integer }");
  assert_string_equal(script_find_event(app, "E")->schema,
                      "{\"schema\":{\"type\":\"string\"},\"version\":{\"type\":\"integer\"}}");
  assert_string_equal(script_find_event(app, "E")->where, "app.lua:1");
  script_release(app);
}

static void reducers_are_checked(void **unused) {
  (void)unused;
  static const refusal cases[] = {
      {"\nreturn reducer(5)", "app.lua:2", "reducer takes a table, not 5"},
      {"return reducer { init = 0, on = {}, x = 1 }", "app.lua:1", "reducer has no key \"x\""},
      {"return reducer { int = 0, on = {} }", "app.lua:1", "reducer has no key \"int\" (did you mean init?)"},
      {"return reducer { on = { E = function() end } }", "app.lua:1",
       "reducer has no init: a value, or a function (write init = null"},
      {"return reducer { init = { f = print_x } }", "app.lua:1", "print_x is not there"},
      {"return reducer { init = { a = { tostring } }, on = {} }", "app.lua:1", "reducer: init.a[1]: "},
      {"local s = {} return reducer { init = { s, s }, on = {} }", "app.lua:1", "reducer: init"},
      {"return reducer { init = 0/0, on = {} }", "app.lua:1", "reducer: init"},
      {"return reducer { init = 0 }", "app.lua:1", "reducer has no handlers"},
      {"return reducer { init = 0, on = {} }", "app.lua:1", "reducer: on is empty"},
      {"return reducer { init = 0, on = { E = 5 } }", "app.lua:1", "reducer: on.E is a function, not 5"},
      {"return reducer { init = 0, on = { function() end } }", "app.lua:1", "on: an event's type is a string, not 1"},
  };
  expect_all(cases, LIST(cases));
}

static void projections_are_checked(void **unused) {
  (void)unused;
  static const refusal cases[] = {
      {EVENT "\nprojection 'P'", "app.lua:3", "projection P has no table"},
      {EVENT "projection 'P' {}", "app.lua:2", "projection P has no reducers: write fields = { … }, or init and on"},
      {EVENT "projection 'P' { feilds = {} }", "app.lua:2", "projection P has no key \"feilds\" (did you mean fields?)"},
      {EVENT "projection 'P' { fields = {} }", "app.lua:2", "projection P: fields is empty"},
      {EVENT "projection 'P' { fields = { a = { init = 0 } } }", "app.lua:2",
       "fields.a is a table, not a reducer: write reducer"},
      {EVENT "projection 'P' { fields = { a = 5 } }", "app.lua:2", "fields.a is 5, not a reducer"},
      {EVENT "projection 'P' { fields = { reducer { " ON " } } }", "app.lua:2", "fields: a name is text in UTF-8, not 1"},
      {EVENT "projection 'P' { fields = { a = reducer { " ON " } }, on = {} }", "app.lua:2",
       "projection P has fields, so it has no on"},
      {EVENT "projection 'P' { on = { E = function() end } }", "app.lua:2", "projection P has no init"},
      {EVENT "projection 'P' { " ON ", view = 5 }", "app.lua:2", "projection P: view is a function, not 5"},
      {EVENT "projection 'P' { " ON ", keep = 'alive' }", "app.lua:2",
       "keep is \"live\", \"background\" or \"inline\", not \"alive\""},
      {EVENT "projection 'P' { " ON ", version = 'x' }", "app.lua:2", "projection P: version is an integer from 1, not \"x\""},
      {EVENT "projection 'P' { " ON ", by = '' }", "app.lua:2", "by: \"\" is no name of an identifier"},
      {EVENT "projection 'P' { " ON ", by = 'a b' }", "app.lua:2", "by: \"a b\" is no name of an identifier"},
      {EVENT "projection 'P' { " ON ", by = 5 }", "app.lua:2", "by is an identifier, or a table"},
      {EVENT "projection 'P' { " ON ", by = 'ids' }", "app.lua:2", "by: event E has no field ids (did you mean id?)"},
      {EVENT "projection 'P' { " ON ", by = 'l' }", "app.lua:2",
       "by: l of event E is of type array, by which no event can be selected"},
      {EVENT "projection 'P' { " ON ", by = {} }", "app.lua:2", "by is an empty table"},
      {EVENT "projection 'P' { " ON ", by = { F = 'id' } }", "app.lua:2", "by names no identifier for event E"},
      {EVENT "event 'F' { id = t.string }\nprojection 'P' { " ON ", by = { E = 'id', F = 'id' } }", "app.lua:3",
       "by names event F, for which it has no handler"},
      {EVENT "projection 'P' { " ON ", by = { E = 'id', G = 'id' } }", "app.lua:2", "by: there is no event \"G\""},
      {EVENT "projection 'P' { " ON ", by = 'id', streams = function() end }", "app.lua:2",
       "projection P has both by and streams"},
      {EVENT "projection 'P' { " ON ", streams = {} }", "app.lua:2", "streams is a function, not a table"},
      {EVENT "projection 'P' { " ON ", ids = function() end }", "app.lua:2", "ids goes with streams"},
      {EVENT "projection 'P' { " ON ", keep = 'background', streams = function() end }", "app.lua:2",
       "projection P: to keep a projection over streams, ids = function(event) … end has to say"},
      {EVENT "projection 'P' { " ON ", shape = 5 }", "app.lua:2", "projection P: shape is a table of types, not 5"},
      {EVENT "projection 'P' { " ON ", shape = { a = 5 } }", "app.lua:2", "projection P: shape.a is 5, not a type"},
      {EVENT "projection 'P' { " ON " }\nprojection 'P' { " ON " }", "app.lua:3",
       "projection P is declared twice: first at app.lua:2"},
      {EVENT "\nprojection 'P' { init = 0, on = { EE = function() end } }", "app.lua:3",
       "projection P: there is no event \"EE\""},
      {"event 'ITEM_ADDED' {}\nprojection 'P' { fields = { items =\nreducer { init = 0, on = { ITEM_ADED = function() end } } } "
       "}",
       "app.lua:3", "projection P: fields.items: there is no event \"ITEM_ADED\" (did you mean ITEM_ADDED?)"},
  };
  expect_all(cases, LIST(cases));
}

static void what_is_declared_comes_out(void **unused) {
  (void)unused;
  script_app *app =
      app_of_text("event 'B' { o = t.integer }\nevent 'A' { o = t.integer, p = t.string }\nevent 'C' { p = t.string }\n"
                  "projection 'MANY' { by = { A = 'o', B = 'o', C = 'p' }, init = 0, keep = 'live',\n"
                  "  on = { C = function() end, A = function() end, B = function() end } }\n"
                  "projection 'ALL' { init = null, on = { A = function() end }, version = 12, shape = t.map(t.any) }\n"
                  "projection 'MULTI' { init = {}, on = { A = function() end },\n"
                  "  streams = function() end, ids = function() end, keep = 'background' }");
  size_t count;
  const script_projection *all = script_projections(app, &count);
  assert_int_equal(count, 3);
  assert_string_equal(all[0].name, "ALL");
  assert_string_equal(all[0].fingerprint, "v12");
  assert_int_equal(all[0].by_count, 0);
  assert_string_equal(all[0].where, "app.lua:6");
  const script_projection *many = &all[1];
  assert_string_equal(many->name, "MANY");
  assert_int_equal(many->keep, SCRIPT_KEEP_LIVE);
  assert_int_equal(many->by_count, 2);
  assert_string_equal(many->by[0].identifier, "o");
  assert_int_equal(many->by[0].type_count, 2);
  assert_string_equal(many->by[0].types[0], "A");
  assert_string_equal(many->by[0].types[1], "B");
  assert_string_equal(many->by[1].identifier, "p");
  assert_int_equal(strlen(all[0].code), 32);
  assert_string_equal(many->code, many->fingerprint);
  assert_true(all[2].has_streams && all[2].has_ids);
  assert_false(many->has_ids);
  assert_int_equal(all[2].keep, SCRIPT_KEEP_BACKGROUND);
  assert_null(script_find_projection(app, "MANYX"));
  script_release(app);
}

static void deep_types_are_taken(void **unused) {
  (void)unused;
  script_release(app_of_text(
      "local x, y = t.any, t.any for i = 1, 60 do x = t.array(x) y = t.object { y = y } end event 'E' { x = x, y = y }"));
}

static void order_of_files_does_not_matter(void **unused) {
  (void)unused;
  app_files app;
  app_make(&app);
  app_write(&app, "a.lua", "projection 'P' { by = 'id', fields = { n = include 'r.n' } }");
  app_write(&app, "r/n.lua", "return reducer { init = 0, on = { E = function(n) return n + 1 end } }");
  app_write(&app, "z.lua", "event 'E' { id = t.string }");
  script_release(app_load(&app));
  app_remove(&app);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(types_are_checked_where_they_are_written),
      cmocka_unit_test(events_are_checked),
      cmocka_unit_test(reducers_are_checked),
      cmocka_unit_test(projections_are_checked),
      cmocka_unit_test(what_is_declared_comes_out),
      cmocka_unit_test(order_of_files_does_not_matter),
      cmocka_unit_test(deep_types_are_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
