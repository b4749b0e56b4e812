/* What must hold for any bytes at all put into the codec. Role: the libFuzzer target beside this file and the short mutation run
 * of the normal tests (spec/c/json/test_mutation.c) check the same property.
 *
 *  1. json_canonical and json_decode accept the same texts, and refuse with the same error (where a key comes twice in a text
 *     with further errors they may name another one of these: the one looks for twins at each key, the other at each end).
 *  2. encoding what was decoded gives the canonical bytes.
 *  3. canonical bytes are their own canonical form.
 *  4. whatever is accepted is accepted again with every flag that does not forbid it. */
#ifndef SPEC_FUZZ_JSON_PROPERTY_H
#define SPEC_FUZZ_JSON_PROPERTY_H

#include "json/json_lua.h"
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct json_property_state {
  base_env env;
  lua_State *L;
  size_t accepted, refused; /* so that a run can show that it tried both */
} json_property_state;

static inline void json_property_open(json_property_state *state) {
  *state = (json_property_state){0};
  base_env_init(&state->env, NULL);
  state->L = luaL_newstate();
  json_open(state->L, &state->env);
}

static inline void json_property_close(json_property_state *state) { lua_close(state->L); }

static inline void json_property_broken(const char *what, const char *text, size_t size) {
  fprintf(stderr, "broken: %s, for %zu bytes: ", what, size);
  for (size_t i = 0; i < size; i++) fprintf(stderr, text[i] >= 32 && text[i] < 127 ? "%c" : "\\x%02x", (unsigned char)text[i]);
  fprintf(stderr, "\n");
  abort();
}

#define JSON_HOLDS(condition)                                                                                                    \
  if (!(condition)) json_property_broken(#condition, text, size)

static inline void json_property_check(json_property_state *state, const char *text, size_t size, unsigned flags) {
  lua_State *L = state->L;
  base_buf canonical, encoded, again;
  annal_error error = {0}, other = {0};
  buf_init(&canonical, &state->env);
  buf_init(&encoded, &state->env);
  buf_init(&again, &state->env);
  int result = json_canonical(text, size, flags, &canonical, &error);
  int decoded = json_decode(L, text, size, flags, &other);
  JSON_HOLDS(result == decoded);
  JSON_HOLDS(lua_gettop(L) == (result == 0));
  if (result != 0) {
    state->refused++;
    bool twins = strstr(error.message, "comes twice") || strstr(other.message, "comes twice");
    JSON_HOLDS(twins || (strcmp(error.where, other.where) == 0 && strcmp(error.message, other.message) == 0));
    JSON_HOLDS(result == ANNAL_INVALID && error.code == ANNAL_INVALID && error.message[0] && canonical.size == 0);
  } else {
    state->accepted++;
    JSON_HOLDS(json_encode(L, -1, flags | JSON_TREE, &encoded, &error) == 0);
    lua_settop(L, 0);
    JSON_HOLDS(encoded.size == canonical.size && memcmp(encoded.bytes, canonical.bytes, canonical.size) == 0);
    JSON_HOLDS(json_canonical(canonical.bytes, canonical.size, flags, &again, &error) == 0);
    JSON_HOLDS(again.size == canonical.size && memcmp(again.bytes, canonical.bytes, canonical.size) == 0);
    buf_clear(&again);
    JSON_HOLDS(json_canonical(text, size, 0, &again, &error) == 0);
  }
  buf_free(&canonical);
  buf_free(&encoded);
  buf_free(&again);
}

#undef JSON_HOLDS

#endif
