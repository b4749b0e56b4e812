/* The JSON codec beside lua-cjson, on the cart's payloads and on a cart's view. Role: the target of at least 2.2 times decoding and
 * twice encoding, and at most 0.9 µs a payload, in one run, alternating, so that the machine's mood is the same for both:
 * medians, the ratio's too.
 *
 * Both are called as Lua functions, by lua_call on values that are ready on the stack, each in a Lua state of its own with the
 * collector running as usual. The last lines are ours as C calls it, without the call through Lua. */
#include "base/error.h"
#include "json/json_lua.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 31
#define PAYLOADS 512 /* few enough that the collector's marking of what is kept for the measurement stays small */
#define VIEWS 64
#define REPEATS 8 /* of the whole work in one measurement */
#define VIEW_ITEMS 12

/* A codec in a Lua state: at these indices of its stack a table of texts, one of values, and the two functions. */
enum { TEXTS = 1, VALUES, DECODE, ENCODE };

typedef struct codec {
  lua_State *L;
  base_env env;
} codec;

typedef struct work {
  const char *name;
  char **texts;
  int count;
  size_t bytes;
} work;

static void give_up(const char *what) {
  fprintf(stderr, "bench/json: %s\n", what);
  exit(1);
}

static int raise_message(lua_State *L, const annal_error *error) { return luaL_error(L, "%s", error->message); }

/* ---- The work ---------------------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed) {
  uint64_t x = *seed += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  return x ^ x >> 31;
}

static char *payload(uint64_t *seed) {
  char text[256];
  unsigned cart = (unsigned)(next_random(seed) % 10000), product = (unsigned)(next_random(seed) % 20);
  unsigned kind = (unsigned)(next_random(seed) % 100), price = 99 + (unsigned)(next_random(seed) % 9900);
  if (kind < 1)
    snprintf(text, sizeof text, "{\"cartId\":\"cart_%06u\",\"createdAt\":\"2024-03-01T12:00:00Z\",\"userId\":\"user_%06u\"}",
             cart, cart);
  else if (kind < 75)
    snprintf(text, sizeof text, "{\"cartId\":\"cart_%06u\",\"priceAtTime\":%u,\"productId\":\"prod_%02u\",\"quantity\":%u}", cart,
             price, product, 1 + product % 5);
  else
    snprintf(text, sizeof text,
             "{\"cartId\":\"cart_%06u\",\"productId\":\"prod_%02u\",\"quantity\":%u,\"reason\":\"changed_mind\"}", cart, product,
             1 + product % 5);
  return strdup(text);
}

static char *view(uint64_t *seed) {
  char text[2048];
  unsigned cart = (unsigned)(next_random(seed) % 10000);
  int size =
      snprintf(text, sizeof text, "{\"id\":\"cart_%06u\",\"isCheckedOut\":%s,\"items\":[", cart, cart % 2 ? "true" : "false");
  for (unsigned i = 0; i < VIEW_ITEMS; i++)
    size +=
        snprintf(text + size, sizeof text - (size_t)size, "%s{\"priceAtTime\":%u,\"productId\":\"prod_%02u\",\"quantity\":%u}",
                 i ? "," : "", 99 + (unsigned)(next_random(seed) % 9900), i, 1 + i % 5);
  snprintf(text + size, sizeof text - (size_t)size, "],\"total\":%u,\"userId\":\"user_%06u\"}", cart * 7, cart);
  return strdup(text);
}

static work make_work(const char *name, int count, char *make(uint64_t *seed)) {
  uint64_t seed = 42;
  work w = {.name = name, .count = count, .texts = calloc((size_t)count, sizeof(char *))};
  for (int i = 0; i < count; i++) {
    w.texts[i] = make(&seed);
    w.bytes += strlen(w.texts[i]);
  }
  return w;
}

/* ---- The codecs -------------------------------------------------------------------------------------------------------- */

/* Lays the texts and the values that our codec reads from them on the stack of the state, which has both functions on top. */
static void lay_out(codec *c, const work *w) {
  lua_State *L = c->L;
  annal_error error;
  json_open(L, &c->env);
  lua_createtable(L, w->count, 0);
  lua_createtable(L, w->count, 0);
  for (int i = 0; i < w->count; i++) {
    lua_pushstring(L, w->texts[i]);
    lua_rawseti(L, -3, i + 1);
    if (json_decode(L, w->texts[i], strlen(w->texts[i]), 0, &error) != 0) give_up(error.message);
    lua_rawseti(L, -2, i + 1);
  }
  lua_rotate(L, 1, 2); /* the tables below the functions */
}

static void open_ours(codec *c, const work *w) {
  c->L = luaL_newstate();
  base_env_init(&c->env, NULL);
  json_open(c->L, &c->env);
  json_push_library(c->L, raise_message);
  lua_getfield(c->L, 1, "decode");
  lua_getfield(c->L, 1, "encode");
  lua_remove(c->L, 1);
  lay_out(c, w);
}

static void open_cjson(codec *c, const work *w) {
  c->L = luaL_newstate();
  base_env_init(&c->env, NULL);
  luaL_openlibs(c->L);
  if (luaL_dostring(c->L, "local cjson = require 'cjson' return cjson.decode, cjson.encode") != LUA_OK)
    give_up("lua-cjson is not installed (Debian: lua-cjson)");
  lay_out(c, w);
}

/* ---- Measuring --------------------------------------------------------------------------------------------------------- */

typedef void run_once(codec *c, const work *w);

static void call_each(codec *c, const work *w, int function, int table) {
  for (int i = 1; i <= w->count; i++) {
    lua_pushvalue(c->L, function);
    lua_rawgeti(c->L, table, i);
    lua_call(c->L, 1, 1);
    lua_pop(c->L, 1);
  }
}

static void decode_by_lua(codec *c, const work *w) { call_each(c, w, DECODE, TEXTS); }
static void encode_by_lua(codec *c, const work *w) { call_each(c, w, ENCODE, VALUES); }

static void decode_by_c(codec *c, const work *w) {
  annal_error error;
  for (int i = 0; i < w->count; i++) {
    if (json_decode(c->L, w->texts[i], strlen(w->texts[i]), JSON_OBJECT, &error) != 0) give_up(error.message);
    lua_pop(c->L, 1);
  }
}

static void encode_by_c(codec *c, const work *w) {
  annal_error error;
  base_buf out;
  buf_init(&out, &c->env);
  for (int i = 0; i < w->count; i++) {
    buf_clear(&out);
    lua_rawgeti(c->L, VALUES, i + 1);
    if (json_encode(c->L, -1, JSON_OBJECT | JSON_TREE | JSON_NO_NUL, &out, &error) != 0) give_up(error.message);
    lua_pop(c->L, 1);
  }
  buf_free(&out);
}

static void canonical_by_c(codec *c, const work *w) {
  annal_error error;
  base_buf out;
  buf_init(&out, &c->env);
  for (int i = 0; i < w->count; i++) {
    buf_clear(&out);
    if (json_canonical(w->texts[i], strlen(w->texts[i]), JSON_OBJECT | JSON_NO_NUL, &out, &error) != 0) give_up(error.message);
  }
  buf_free(&out);
}

/* Of this thread, in nanoseconds: what else the machine does counts less than by the clock. */
static double cpu_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Nanoseconds a text. */
static double measure(codec *c, const work *w, run_once *run) {
  double start = cpu_time();
  for (int i = 0; i < REPEATS; i++) run(c, w);
  return (cpu_time() - start) / (w->count * REPEATS);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values) {
  qsort(values, ROUNDS, sizeof *values, by_value);
  return values[ROUNDS / 2];
}

static void compare(codec *ours, codec *theirs, const work *w, const char *verb, run_once *run, double target) {
  double our_times[ROUNDS], their_times[ROUNDS], ratios[ROUNDS];
  run(ours, w);
  run(theirs, w);
  for (int round = 0; round < ROUNDS; round++) {
    our_times[round] = measure(ours, w, run);
    their_times[round] = measure(theirs, w, run);
    ratios[round] = their_times[round] / our_times[round];
  }
  printf("json %-8s %-7s annal %6.0f ns   lua-cjson %6.0f ns   ratio %.2f   (target %.1f)\n", w->name, verb, median(our_times),
         median(their_times), median(ratios), target);
}

static void alone(codec *ours, const work *w, const char *verb, run_once *run) {
  double times[ROUNDS];
  run(ours, w);
  for (int round = 0; round < ROUNDS; round++) times[round] = measure(ours, w, run);
  printf("json %-8s %-7s from C %5.0f ns\n", w->name, verb, median(times));
}

int main(void) {
  work works[] = {make_work("payload", PAYLOADS, payload), make_work("view", VIEWS, view)};
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
    work *w = &works[i];
    codec ours, theirs;
    open_ours(&ours, w);
    open_cjson(&theirs, w);
    printf("json %-8s %d texts of %zu bytes on average\n", w->name, w->count, w->bytes / (size_t)w->count);
    compare(&ours, &theirs, w, "decode", decode_by_lua, 2.2);
    compare(&ours, &theirs, w, "encode", encode_by_lua, 2.0);
    alone(&ours, w, "decode", decode_by_c);
    alone(&ours, w, "encode", encode_by_c);
    alone(&ours, w, "check", canonical_by_c);
    lua_close(ours.L);
    lua_close(theirs.L);
    for (int k = 0; k < w->count; k++) free(w->texts[k]);
    free(w->texts);
  }
  return 0;
}
