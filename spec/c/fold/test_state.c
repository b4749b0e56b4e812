/* States as bytes (fold/state.h): what is decoded behaves as what was encoded did, and no state has two forms. */
#include "base/limits.h"
#include "fold/state.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static base_env env;

/* A Lua state in which `array` gives the array metatable and `null` is null. */
static int make_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  json_push_array_metatable(L);
  lua_setmetatable(L, 1);
  return 1;
}

static lua_State *new_lua(void) {
  base_env_init(&env, NULL);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  json_open(L, &env);
  lua_pushcfunction(L, make_array);
  lua_setglobal(L, "array");
  json_push_null(L);
  lua_setglobal(L, "null");
  return L;
}

static void run(lua_State *L, const char *code) {
  if (luaL_loadstring(L, code) || lua_pcall(L, 0, LUA_MULTRET, 0)) fail_msg("%s", lua_tostring(L, -1));
}

/* Encodes the value on top. */
static char *encoded(lua_State *L) {
  base_buf out;
  annal_error error;
  buf_init(&out, &env);
  if (fold_state_encode(L, -1, &out, &error)) fail_msg("%s: %s", error.where, error.message);
  char *copy = strdup(out.bytes);
  buf_free(&out);
  return copy;
}

static void assert_bytes(lua_State *L, const char *expected) {
  char *bytes = encoded(L);
  assert_string_equal(bytes, expected);
  free(bytes);
}

/* The state `make` gives, once more through bytes: `change` (a function of the state) must do the same to both. */
static void assert_continues(const char *make, const char *change) {
  lua_State *L = new_lua();
  annal_error error;
  run(L, make);
  char *bytes = encoded(L);
  assert_int_equal(fold_state_decode(L, bytes, strlen(bytes), &error), 0);
  assert_bytes(L, bytes);
  for (int copy = 0; copy < 2; copy++) {
    run(L, change);
    lua_pushvalue(L, 1 + copy);
    lua_call(L, 1, 0);
  }
  char *after = encoded(L);
  lua_pop(L, 1);
  assert_bytes(L, after);
  assert_int_equal(lua_gettop(L), 1);
  free(after);
  free(bytes);
  lua_close(L);
}

static void a_state_without_plain_arrays_is_its_canonical_json(void **unused) {
  (void)unused;
  lua_State *L = new_lua();
  run(L, "return { b = array { 1, 2.5, array {} }, a = {}, c = null, d = 'x', [' '] = 9007199254740993 }");
  assert_bytes(L, "{\" \":9007199254740993,\"a\":{},\"b\":[1,2.5,[]],\"c\":null,\"d\":\"x\"}");
  run(L, "return -0.0");
  assert_bytes(L, "-0.0");
  run(L, "return null");
  assert_bytes(L, "null");
  lua_close(L);
}

static void plain_arrays_are_noted_where_they_are(void **unused) {
  (void)unused;
  lua_State *L = new_lua();
  run(L, "return { tags = { 1, 2 }, deep = array { 5, { x = { 7 } } } }");
  assert_bytes(L, "{\"\":{\"deep\":{\"2\":{\"x\":{\"\":true}}},\"tags\":{\"\":true}},"
                  "\"state\":{\"deep\":[5,{\"x\":[7]}],\"tags\":[1,2]}}");
  run(L, "return { { 1 }, array { 2 } }");
  assert_bytes(L, "{\"\":{\"\":true,\"1\":{\"\":true}},\"state\":[[1],[2]]}");
  lua_close(L);
}

static void a_member_with_an_empty_key_is_no_note(void **unused) {
  (void)unused;
  lua_State *L = new_lua();
  annal_error error;
  run(L, "return { [''] = { state = 1 }, state = 2 }");
  assert_bytes(L, "{\"\":{},\"state\":{\"\":{\"state\":1},\"state\":2}}");
  char *bytes = encoded(L);
  assert_int_equal(fold_state_decode(L, bytes, strlen(bytes), &error), 0);
  assert_bytes(L, bytes);
  free(bytes);
  lua_close(L);
}

static void an_emptied_array_is_what_it_would_have_been(void **unused) {
  (void)unused;
  assert_continues("return { t = { 1 } }", "return function(s) table.remove(s.t) end");
  assert_continues("return { t = array { 1 } }", "return function(s) table.remove(s.t) end");
  assert_continues("return { t = array {} }", "return function(s) s.t[1] = 5 end");
  assert_continues("return { t = { { { 1 }, array { 2 } } } }", "return function(s) s.t[1][1][1] = nil s.t[1][2][1] = nil end");
  assert_continues("return { ['10'] = array { array { 1 }, { 2 } } }",
                   "return function(s) s['10'][1][1] = nil s['10'][2][1] = nil end");
  assert_continues("return { { 1 } }", "return function(s) s[1][1] = nil end");
}

static void assert_refused(const char *make, const char *where) {
  lua_State *L = new_lua();
  base_buf out;
  annal_error error;
  buf_init(&out, &env);
  buf_text(&out, "before");
  run(L, make);
  assert_int_equal(fold_state_encode(L, -1, &out, &error), ANNAL_INVALID);
  assert_string_equal(error.where, where);
  assert_string_equal(out.bytes ? out.bytes : "", "before");
  assert_int_equal(out.size, 6);
  assert_int_equal(lua_gettop(L), 1);
  buf_free(&out);
  lua_close(L);
}

static void what_is_no_tree_is_refused_with_its_path(void **unused) {
  (void)unused;
  assert_refused("local t = {} return { items = { t, { b = t } } }", "items[2].b");
  assert_refused("local t = {} t.a = { t } return t", "a[1]");
  assert_refused("return { items = { 1, 2, { price = 0/0 } } }", "items[3].price");
  assert_refused("return { a = 1/0 }", "a");
  assert_refused("return { a = print }", "a");
  assert_refused("return { a = setmetatable({}, {}) }", "a");
  assert_refused("return { a = { [1] = 1, [3] = 3 } }", "a");
  assert_refused("return { a = { 1, x = 2 } }", "a");
  assert_refused("return { a = '\\xff' }", "a");
  assert_refused("return { a = 'x\\0y' }", "a");
  assert_refused("return { [true] = 1 }", "");
}

static void a_state_nests_one_level_less_than_a_document(void **unused) {
  (void)unused;
  lua_State *L = new_lua();
  base_buf out;
  annal_error error;
  buf_init(&out, &env);
  const char *nest = "local n, wrap = ... local t = { 1 } for _ = 2, n do t = wrap and { t } or { x = t } end return t";
  for (int wrap = 0; wrap < 2; wrap++) {
    if (luaL_loadstring(L, nest)) fail();
    lua_pushinteger(L, LIMIT_DEPTH - 1);
    lua_pushboolean(L, wrap);
    lua_call(L, 2, 1);
    buf_clear(&out);
    assert_int_equal(fold_state_encode(L, -1, &out, &error), 0);
    assert_int_equal(fold_state_decode(L, out.bytes, out.size, &error), 0);
    if (luaL_loadstring(L, nest)) fail();
    lua_pushinteger(L, LIMIT_DEPTH);
    lua_pushboolean(L, wrap);
    lua_call(L, 2, 1);
    assert_int_equal(fold_state_encode(L, -1, &out, &error), ANNAL_INVALID);
  }
  buf_free(&out);
  lua_close(L);
}

static void damaged_bytes_are_refused_or_read_without_harm(void **unused) {
  (void)unused;
  static const char *const damaged[] = {"", "{", "{\"\":{}}", "{\"\":{\"a\":true},\"status\":1}"};
  static const char *const odd[] = {"{\"\":7,\"state\":[1]}", "{\"\":{\"\":true,\"9\":{\"\":true},\"x\":5},\"state\":[[1]]}",
                                    "{\"\":[true],\"state\":{\"1\":[2]}}",
                                    "{\"\":{\"a\":{\"\":true}},\"state\":{\"a\":{\"\":1}}}"};
  lua_State *L = new_lua();
  annal_error error;
  for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
    assert_int_not_equal(fold_state_decode(L, damaged[i], strlen(damaged[i]), &error), 0);
    assert_int_equal(lua_gettop(L), 0);
  }
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    assert_int_equal(fold_state_decode(L, odd[i], strlen(odd[i]), &error), 0);
    assert_int_equal(lua_gettop(L), 1);
    lua_settop(L, 0);
  }
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_state_without_plain_arrays_is_its_canonical_json),
      cmocka_unit_test(plain_arrays_are_noted_where_they_are),
      cmocka_unit_test(a_member_with_an_empty_key_is_no_note),
      cmocka_unit_test(an_emptied_array_is_what_it_would_have_been),
      cmocka_unit_test(what_is_no_tree_is_refused_with_its_path),
      cmocka_unit_test(a_state_nests_one_level_less_than_a_document),
      cmocka_unit_test(damaged_bytes_are_refused_or_read_without_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
