/* An app as a whole: the project's own two, declarations, the structures of script.h. */
#include "support.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

static const char *const source_root = SOURCE_ROOT;

static script_app *load_project(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/projections/%s", source_root, name);
  const script_options options = {.budget = LIMIT_BUDGET, .memory = LIMIT_SCRIPT_MEMORY};
  annal_error error;
  script_app *app = NULL;
  if (script_load(test_env(), &options, path, &app, &error)) fail_msg("%s: %s", error.where, error.message);
  return app;
}

static void the_cart_is_read_as_declared(void **unused) {
  (void)unused;
  script_app *app = load_project("cart");
  const script_event *added = script_find_event(app, "ITEM_ADDED_TO_CART");
  assert_non_null(added);
  assert_int_equal(added->version, 1);
  assert_string_equal(added->schema, "{\"cartId\":{\"type\":\"string\"},\"priceAtTime\":{\"min\":0,\"type\":\"integer\"},"
                                     "\"productId\":{\"type\":\"string\"},\"quantity\":{\"min\":1,\"type\":\"integer\"}}");
  assert_null(script_find_event(app, "ITEM_ADDED"));
  const script_projection *cart = script_find_projection(app, "SHOPPING_CART");
  assert_non_null(cart);
  assert_int_equal(cart->type_count, 4);
  assert_string_equal(cart->types[0], "CART_CHECKED_OUT");
  assert_string_equal(cart->types[3], "ITEM_REMOVED_FROM_CART");
  assert_int_equal(cart->by_count, 1);
  assert_string_equal(cart->by[0].identifier, "cartId");
  assert_int_equal(cart->by[0].type_count, 4);
  assert_int_equal(strlen(cart->fingerprint), HASH_TEXT_BYTES - 1);
  assert_int_equal(cart->keep, SCRIPT_KEEP_LIVE);
  assert_false(cart->has_streams);
  assert_true(script_find_projection(app, "SHOPPING_CART_WITH_META")->has_streams);
  size_t count;
  const script_event *events = script_events(app, &count);
  for (size_t i = 1; i < count; i++) assert_true(strcmp(events[i - 1].type, events[i].type) < 0);
  script_release(app);
  script_release(load_project("todo"));
}

/* ---- The definition that folds stand on --------------------------------------------------------------------------------- */

typedef struct fold_check {
  script_state *state;
  const script_projection *projection;
} fold_check;

static int look_at_cart(lua_State *L, void *context, annal_error *error) {
  fold_check *c = context;
  script_push_projection(c->state, c->projection);
  assert_int_equal(lua_getfield(L, 1, "view"), LUA_TFUNCTION);
  assert_int_equal(lua_getfield(L, 1, "shape"), LUA_TFUNCTION);
  assert_int_equal(lua_getfield(L, 1, "whole"), LUA_TNIL);
  assert_int_equal(lua_getfield(L, 1, "fields"), LUA_TTABLE);
  static const char *const names[] = {"isCheckedOut", "items", "userId"};
  assert_int_equal(lua_rawlen(L, -1), LIST(names));
  for (int i = 0; i < 3; i++) {
    lua_rawgeti(L, 5, i + 1);
    lua_getfield(L, -1, "name");
    assert_string_equal(lua_tostring(L, -1), names[i]);
    lua_getfield(L, -2, "on");
    assert_int_equal(lua_type(L, -1), LUA_TTABLE);
    lua_pop(L, 3);
  }
  /* A handler folds an event. */
  const char *data = "{\"cartId\":\"c1\",\"userId\":\"u1\"}";
  annal_event event = {
      .position = 7, .id = "e7", .type = "CART_CREATED", .data = data, .data_size = strlen(data), .version = 1, .created_at = 1};
  lua_rawgeti(L, 5, 3);
  lua_getfield(L, -1, "on");
  lua_getfield(L, -1, "CART_CREATED");
  lua_pushliteral(L, "");
  script_push_event(c->state, &event);
  int code = script_call(c->state, 2, 1, "reducer userId of SHOPPING_CART", error);
  if (code) return code;
  assert_string_equal(lua_tostring(L, -1), "u1");
  script_end_event(c->state);
  /* The shape says what is wrong, and where. */
  lua_pushvalue(L, 3);
  luaL_loadstring(L, "return { id = 'c1', userId = 'u1', isCheckedOut = false, total = 2, items = { { productId = 'p', quantity "
                     "= 0, priceAtTime = 1 } } }");
  lua_call(L, 0, 1);
  code = script_call(c->state, 1, 2, "shape", error);
  if (code) return code;
  assert_string_equal(lua_tostring(L, -1), "items[1].quantity");
  assert_string_equal(lua_tostring(L, -2), "items[1].quantity must be an integer of at least 1, not 0");
  return 0;
}

static void a_definition_has_the_form_that_folds_rely_on(void **unused) {
  (void)unused;
  script_app *app = load_project("cart");
  annal_error error;
  fold_check c = {.projection = script_find_projection(app, "SHOPPING_CART")};
  assert_int_equal(script_acquire(app, &c.state, &error), 0);
  if (script_protect(c.state, look_at_cart, &c, &error)) fail_msg("%s: %s", error.where, error.message);
  assert_int_equal(lua_gettop(script_lua(c.state)), 0);
  script_give_back(c.state);
  script_release(app);
}

/* ---- Looking without running -------------------------------------------------------------------------------------------- */

static void files_are_read_and_not_run(void **unused) {
  (void)unused;
  app_files files;
  annal_error error;
  script_app *read = NULL;
  script_source source;
  app_make(&files);
  app_write(&files, "b.lua", "error 'never'");
  app_write(&files, "a/c.lua", "this is no Lua");
  app_write(&files, "spec/x.lua", "");
  assert_int_equal(script_read(test_env(), files.directory, &read, &error), 0);
  assert_true(script_source_at(read, 0, &source));
  assert_string_equal(source.path, "a/c.lua");
  assert_string_equal(source.name, "a.c");
  assert_int_equal(source.size, 14);
  assert_memory_equal(source.text, "this is no Lua", 14);
  assert_true(script_source_at(read, 1, &source));
  assert_string_equal(source.path, "b.lua");
  assert_false(script_source_at(read, 2, &source));
  script_release(read);
  app_remove(&files);
  assert_int_equal(script_read(test_env(), files.directory, &read, &error), ANNAL_NOT_FOUND);
}

static void expect_fault(script_state *state, const char *name, const char *member, bool is_write, const char *message) {
  annal_error error = {0};
  int code = script_name_fault(state, name, member, is_write, &error);
  if (code != (message ? ANNAL_SCRIPT : 0) || (message && !strstr(error.message, message)))
    fail_msg("%s.%s: %s: %s", name, member ? member : "", annal_code_name(code), error.message);
}

static void names_mean_what_the_sandbox_says(void **unused) {
  (void)unused;
  annal_error error;
  script_app *nothing = NULL;
  script_state *state = NULL;
  assert_int_equal(script_load_nothing(test_env(), &nothing, &error), 0);
  assert_int_equal(script_acquire(nothing, &state, &error), 0);
  static const char *const known[] = {"event", "projection", "reducer", "include", "t",
                                      "array", "null",       "log",     "pairs",   "string"};
  for (size_t i = 0; i < LIST(known); i++) expect_fault(state, known[i], NULL, false, NULL);
  expect_fault(state, "string", "rep", false, NULL);
  expect_fault(state, "t", "optional", false, NULL);
  expect_fault(state, "pairs", "anything", false, NULL); /* no library: what that raises is another matter */
  expect_fault(state, "os", NULL, false, "os is not there: a reducer that asks for the time");
  expect_fault(state, "piars", NULL, false, "piars is not there (did you mean pairs?)");
  expect_fault(state, "t", "strng", false, "t.strng is not there (did you mean t.string?)");
  expect_fault(state, "math", "random", false, "math.random is not there");
  expect_fault(state, "x", NULL, true, "'x' is not declared: write local x");
  expect_fault(state, "pairs", NULL, true, "'pairs' is not declared: write local pairs");
  expect_fault(state, "string", "trim", true, "string.trim cannot be set");
  expect_fault(state, "x", NULL, false, "x is not there"); /* nothing was written */
  script_give_back(state);
  script_release(nothing);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_cart_is_read_as_declared),
      cmocka_unit_test(a_definition_has_the_form_that_folds_rely_on),
      cmocka_unit_test(files_are_read_and_not_run),
      cmocka_unit_test(names_mean_what_the_sandbox_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
