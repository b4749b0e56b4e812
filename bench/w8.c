/* W8: 10,000 saved views, queried by an indexed field (2 rows) and all of them. Raw selects the same columns of the same rows in the
 * same order and writes them down as a JSON array, as annal_query_projections does. Lua tables out of it are reported beside. */
#include "work.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VIEWS = 10000, VIEWS_OF_USER = 2, EVENTS_OF_CART = 16, CARTS_A_SAVE = 50, EVENTS_A_SAVE = 800 };

typedef struct querier {
  annal_store *handle;
  raw_connection *raw;
  lua_State *L;
  bool all;
  unsigned at;
  size_t rows; /* a call has to give */
} querier;

static void user_name(unsigned user, char name[24]) { snprintf(name, 24, "user_%05u", user); }

/* ---- Making the views -------------------------------------------------------------------------------------------------- */

static void add_cart(unsigned cart, annal_event *events, char (*data)[192]) {
  char user[24];
  user_name(cart / VIEWS_OF_USER, user);
  snprintf(data[0], sizeof *data, "{\"cartId\":\"view_%05u\",\"userId\":\"%s\"}", cart, user);
  events[0] = (annal_event){.type = "CART_CREATED", .data = data[0]};
  for (unsigned i = 1; i < EVENTS_OF_CART; i++) {
    snprintf(data[i], sizeof *data,
             "{\"cartId\":\"view_%05u\",\"priceAtTime\":%u,\"productId\":\"product_%04u\",\"quantity\":%u}", cart, 1000 + i * 50,
             (cart + i * 7) % 1000, i % 5 + 1);
    events[i] = (annal_event){.type = "ITEM_ADDED_TO_CART", .data = data[i]};
  }
}

static void make_views(annal_store *handle) {
  static char data[EVENTS_A_SAVE][192];
  annal_event events[EVENTS_A_SAVE];
  annal_view_options save = {.size = sizeof save, .save = true};
  annal_error error;
  for (unsigned first = 0; first < VIEWS; first += CARTS_A_SAVE) {
    for (size_t i = 0; i < CARTS_A_SAVE; i++)
      add_cart(first + (unsigned)i, &events[i * EVENTS_OF_CART], &data[i * EVENTS_OF_CART]);
    bench_check(annal_save(handle, events, EVENTS_A_SAVE, NULL, NULL, &error), &error, "save");
    for (unsigned i = 0; i < CARTS_A_SAVE; i++) {
      char id[24];
      annal_text view;
      snprintf(id, sizeof id, "view_%05u", first + i);
      bench_check(annal_view(handle, "SHOPPING_CART", id, &save, &view, &error), &error, "save view");
      annal_text_free(handle, &view);
    }
  }
}

/* ---- Turns ------------------------------------------------------------------------------------------------------------- */

static size_t raw_call(querier *q, const char *user) { return raw_query_views(q->raw, "SHOPPING_CART", user); }

/* Rows are counted by what each has once. */
static size_t text_call(querier *q, const char *user) {
  const annal_field field = {.name = "userId", .values = &user, .value_count = 1};
  annal_query query = {.size = sizeof query, .type = "SHOPPING_CART", .data = user ? &field : NULL, .data_count = user != NULL};
  annal_text rows;
  annal_error error;
  size_t count = 0;
  bench_check(annal_query_projections(q->handle, &query, &rows, &error), &error, "query");
  if (user)
    for (const char *at = rows.bytes; (at = strstr(at, "\"updated_at\"")) != NULL; at++) count++;
  else count = rows.size > 1000 ? VIEWS : 0; /* to look through all would be measured */
  annal_text_free(q->handle, &rows);
  return count;
}

static size_t tables_call(querier *q, const char *user) {
  lua_settop(q->L, 1);
  lua_getfield(q->L, 1, "query_projections");
  lua_pushvalue(q->L, 1);
  lua_createtable(q->L, 0, 2);
  lua_pushstring(q->L, "SHOPPING_CART");
  lua_setfield(q->L, -2, "type");
  if (user) {
    lua_createtable(q->L, 0, 1);
    lua_pushstring(q->L, user);
    lua_setfield(q->L, -2, "userId");
    lua_setfield(q->L, -2, "data");
  }
  if (lua_pcall(q->L, 2, 1, 0) != LUA_OK) bench_die("query: %s", luaL_tolstring(q->L, -1, NULL));
  return lua_rawlen(q->L, -1);
}

static void check_rows(const querier *q, size_t rows) {
  if (rows != q->rows) bench_die("%zu rows instead of %zu", rows, q->rows);
}

static void call_with_user(querier *q, size_t (*call)(querier *q, const char *user)) {
  char user[24];
  user_name(q->at * 7919 % (VIEWS / VIEWS_OF_USER), user);
  check_rows(q, call(q, q->all ? NULL : user));
}

static void raw_turn(void *self) { call_with_user(self, raw_call); }

/* Called after raw's, for the same user; then it is the next one's turn. */
static void annal_turn(void *self) {
  querier *q = self;
  call_with_user(q, text_call);
  q->at++;
}

static void lua_turn(void *self) {
  querier *q = self;
  call_with_user(q, tables_call);
  q->at++;
}

static void on_one_core(void *self) { raw_share_core(((querier *)self)->raw); }

void work_queries(const bench_options *options, bool postgres, const char *which) {
  work_store store;
  work_make(options, postgres, "views", 0, &store);
  querier q = {.handle = work_open(options, &store), .raw = work_raw(&store), .L = luaL_newstate()};
  if (!q.L) bench_die("out of memory");
  luaL_openlibs(q.L);
  make_views(q.handle);
  annal_push(q.handle, q.L);
  for (int all = 0; all < 2; all++) {
    char title[96];
    q.all = all;
    q.rows = all ? VIEWS : VIEWS_OF_USER;
    snprintf(title, sizeof title, "%s query of %zu of %d views, %s", which, q.rows, VIEWS, store.kind);
    const bench_caller raw = {"raw", raw_turn, &q, on_one_core};
    bench_compare_calls(options, title, raw, (bench_caller){"annal", annal_turn, &q, NULL}, 1.5, 0);
    snprintf(title, sizeof title, "%s the same as Lua tables, %s", which, store.kind);
    bench_compare_calls(options, title, raw, (bench_caller){"Lua", lua_turn, &q, NULL}, 0, 0);
  }
  lua_close(q.L);
  annal_close(q.handle);
  raw_close(q.raw);
}
