/* The Lua face from C: annal_push over a host's handle, and a Lua state whose memory runs out at every place in turn. */
#include "annal.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static annal_store *open_store(const char *app) {
  annal_store *store = NULL;
  annal_error error = {0};
  annal_options options = {.size = sizeof options, .app = app};
  int code = annal_open(":memory:", &options, &store, &error);
  if (code) print_error("%s (%s)\n", error.message, error.where);
  assert_int_equal(code, ANNAL_OK);
  return store;
}

/* Runs the chunk with the value on top of the stack as its argument; it must not fail. */
static void run(lua_State *L, const char *chunk) {
  assert_int_equal(luaL_loadstring(L, chunk), LUA_OK);
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  print_error("%s\n", luaL_tolstring(L, -1, NULL));
  fail();
}

/* ---- annal_push -------------------------------------------------------------------------------------------------------- */

static void pushed_store_is_the_same_store(void **state) {
  (void)state;
  annal_store *store = open_store(NULL);
  annal_event event = {.type = "FROM_C", .data = "{\"n\":1}"};
  assert_int_equal(annal_save(store, &event, 1, NULL, NULL, NULL), ANNAL_OK);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  assert_int_equal(annal_push(store, L), ANNAL_OK);
  assert_int_equal(lua_gettop(L), 1);
  run(L, "local store = ... "
         "assert(store:get_latest_event('FROM_C').data.n == 1) "
         "store:save_event { type = 'FROM_LUA', data = { n = 2 } } "
         "local ok, problem = pcall(store.save_event, store, {}) "
         "assert(not ok and problem.code == 'misuse' and tostring(problem):find('^misuse: ')) "
         "store:close() "
         "ok, problem = pcall(store.head, store) "
         "assert(not ok and problem.code == 'misuse')");
  lua_close(L);
  /* Closed on the side of Lua, open for the host. */
  annal_text stored = {0};
  event.type = "AGAIN";
  assert_int_equal(annal_save(store, &event, 1, NULL, &stored, NULL), ANNAL_OK);
  assert_non_null(strstr(stored.bytes, "\"position\":3"));
  annal_text_free(store, &stored);
  annal_close(store);
}

static void what_lua_forgets_is_given_back_before_the_host_closes(void **state) {
  (void)state;
  annal_store *store = open_store(ANNAL_ROOT "/projections/cart");
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  assert_int_equal(annal_push(store, L), ANNAL_OK);
  run(L, "local store = ... "
         "for n = 1, 3 do store:save_event { type = 'CART_CREATED', data = { cartId = 'c' .. n, userId = 'u' } } end "
         "kept = { store:events {}, store:projection('SHOPPING_CART', 'c1'), store:projection('SHOPPING_CART', 'c2') } "
         "assert(kept[1]().position == 1) "
         "assert(kept[2]:view().userId == 'u')");
  lua_close(L);
  annal_close(store);
}

static void module_and_pushed_store_share_a_state(void **state) {
  (void)state;
  annal_store *store = open_store(NULL);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "annal", luaopen_annal, 1);
  lua_pop(L, 1);
  assert_int_equal(annal_push(store, L), ANNAL_OK);
  assert_int_equal(annal_push(store, L), ANNAL_OK);
  lua_setglobal(L, "second");
  run(L, "local first = ... "
         "local saved = second:save_event { type = 'T', data = { list = annal.array {}, nothing = annal.null } } "
         "local read = first:get_latest_event 'T' "
         "assert(annal.json.encode(read) == annal.json.encode(saved)) "
         "second:close() "
         "assert(first:head() == 1) "
         "local own = annal.open ':memory:' "
         "assert(own:head() == 0) "
         "assert(getmetatable(own) == getmetatable(first))");
  lua_close(L);
  annal_close(store);
}

static void push_refuses_what_it_cannot_do(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  assert_int_equal(annal_push(NULL, L), ANNAL_MISUSE);
  assert_int_equal(lua_gettop(L), 0);
  lua_close(L);
}

/* ---- Memory that runs out ---------------------------------------------------------------------------------------------- */

typedef struct scarce {
  long calls_left; /* until the one that fails; negative: none does */
  bool failed;
} scarce;

static void *allocate_scarcely(void *context, void *pointer, size_t old_size, size_t size) {
  scarce *memory = context;
  (void)old_size;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  if (memory->calls_left >= 0 && memory->calls_left-- == 0) {
    memory->failed = true;
    return NULL;
  }
  return realloc(pointer, size);
}

static const char scenario[] =
    "local annal, store = ... "
    "local own = annal.open(':memory:', { data_indexes = nil, timeout = 5 }) "
    "own:close() "
    "local saved = store:save_events { "
    "  { type = 'CART_CREATED', data = { cartId = 'c', userId = 'u' }, metadata = { by = 'me' } }, "
    "  { type = 'ITEM_ADDED_TO_CART', data = { cartId = 'c', productId = 'p', quantity = 1, priceAtTime = 2 } } } "
    "pcall(store.save_event_with_stream_validation, store, { type = 'CART_CHECKED_OUT', data = {} }, saved[1].id, "
    "  { { types = { 'CART_CREATED' }, data = { cartId = { 'c', 1, true } } } }) "
    "for event in store:events { data = { cartId = 'c' }, limit = 5 } do assert(event.data.cartId == 'c') end "
    "assert(#store:get_event_streams { { types = 'CART_CREATED', after = saved[1].id }, { data = { cartId = 'c' } } } > 0) "
    "local cart = store:projection('SHOPPING_CART', 'c') "
    "assert(cart:view().userId == 'u' and #cart.streams > 0) "
    "cart:apply { { type = 'CART_CHECKED_OUT', data = { cartId = 'c', checkoutTime = '2026-01-01T00:00:00Z' } } } "
    "assert(cart:view().isCheckedOut) "
    "cart:refresh():save() "
    "assert(#store:query_projections { type = 'SHOPPING_CART', data = { userId = 'u' } } == 1) "
    "pcall(store.events, store, { typs = 1 }) "
    "assert(tostring(store) == 'annal store')";

/* [-0, +0, e] Arguments: the store. */
static int play(lua_State *L) {
  luaL_openlibs(L);
  luaL_requiref(L, "annal", luaopen_annal, 0);
  luaL_loadstring(L, scenario);
  lua_insert(L, -2);
  if (annal_push(lua_touserdata(L, 1), L)) return luaL_error(L, "no memory to push the store");
  lua_call(L, 2, 0);
  return 0;
}

static void memory_may_run_out_anywhere(void **state) {
  (void)state;
  annal_store *store = open_store(ANNAL_ROOT "/projections/cart");
  long steps = 0;
  bool over = false;
  for (long at = 0; !over; at += 1 + at / 60, steps++) {
    scarce memory = {.calls_left = at};
    lua_State *L = lua_newstate(allocate_scarcely, &memory);
    if (!L) continue;
    lua_pushcfunction(L, play);
    lua_pushlightuserdata(L, store);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) assert_true(memory.failed || (print_error("%s\n", luaL_tolstring(L, -1, NULL)), false));
    over = !memory.failed;
    memory.calls_left = -1;
    lua_close(L);
  }
  assert_true(steps > 100);
  annal_close(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pushed_store_is_the_same_store),
      cmocka_unit_test(what_lua_forgets_is_given_back_before_the_host_closes),
      cmocka_unit_test(module_and_pushed_store_share_a_state),
      cmocka_unit_test(push_refuses_what_it_cannot_do),
      cmocka_unit_test(memory_may_run_out_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
