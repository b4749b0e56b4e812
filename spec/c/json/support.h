/* What the tests of src/json share: a Lua state prepared for JSON, and texts put through both ways in at once (json_canonical,
 * and json_decode followed by json_encode), which must agree on every text, to the byte and to the error. */
#ifndef SPEC_JSON_SUPPORT_H
#define SPEC_JSON_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/limits.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct json_case {
  base_env env;
  lua_State *L;
} json_case;

static inline int json_case_open(void **state) {
  json_case *c = malloc(sizeof *c);
  base_env_init(&c->env, NULL);
  c->L = luaL_newstate();
  luaL_openlibs(c->L);
  json_open(c->L, &c->env);
  *state = c;
  return 0;
}

static inline int json_case_close(void **state) {
  json_case *c = *state;
  lua_close(c->L);
  free(c);
  return 0;
}

/* A copy that ends where the text ends, so that the sanitizer sees a read beyond. */
static inline char *json_exact_copy(const char *text, size_t size) {
  char *copy = malloc(size ? size : 1);
  if (size) memcpy(copy, text, size);
  return copy;
}

/* Both ways accept the text; answers the canonical form, on which they agree. To be freed by buf_free. */
static inline base_buf json_accepted(json_case *c, const char *text, size_t size, unsigned flags) {
  base_buf out, again;
  annal_error error = {0};
  char *copy = json_exact_copy(text, size);
  buf_init(&out, &c->env);
  buf_init(&again, &c->env);
  int top = lua_gettop(c->L);
  if (json_canonical(copy, size, flags, &out, &error) != 0) fail_msg("%.*s: %s: %s", (int)size, text, error.where, error.message);
  if (json_decode(c->L, copy, size, flags, &error) != 0) fail_msg("%.*s: %s: %s", (int)size, text, error.where, error.message);
  assert_int_equal(lua_gettop(c->L), top + 1);
  if (json_encode(c->L, -1, flags | JSON_TREE, &again, &error) != 0)
    fail_msg("%.*s: %s: %s", (int)size, text, error.where, error.message);
  lua_pop(c->L, 1);
  assert_int_equal(out.size, again.size);
  assert_memory_equal(out.bytes, again.bytes, out.size);
  assert_int_equal(out.bytes[out.size], 0);
  char *exact = json_exact_copy(out.bytes, out.size);
  /* Escapes in keys are not for the quick look. */
  if (!json_is_tidy(exact, out.size) && !memchr(exact, '\\', out.size)) fail_msg("not tidy: %s", out.bytes);
  free(exact);
  buf_free(&again);
  free(copy);
  return out;
}

static inline void json_expect_bytes(json_case *c, const char *text, size_t size, unsigned flags, const char *canonical,
                                     size_t canonical_size) {
  base_buf out = json_accepted(c, text, size, flags);
  if (out.size != canonical_size || memcmp(out.bytes, canonical, canonical_size) != 0)
    fail_msg("%s became %s instead of %s", text, out.bytes, canonical);
  buf_free(&out);
}

static inline void json_expect(json_case *c, const char *text, const char *canonical) {
  json_expect_bytes(c, text, strlen(text), 0, canonical, strlen(canonical));
}

/* Both ways refuse the text with the same error, which is left in *error, and leave buffer and stack as they were. */
static inline void json_refused(json_case *c, const char *text, size_t size, unsigned flags, annal_error *error) {
  annal_error other = {0};
  base_buf out;
  char *copy = json_exact_copy(text, size);
  if (!text) text = "";
  buf_init(&out, &c->env);
  buf_text(&out, "before");
  int top = lua_gettop(c->L);
  if (json_canonical(copy, size, flags, &out, error) != ANNAL_INVALID) fail_msg("accepted: %.*s", (int)size, text);
  if (json_decode(c->L, copy, size, flags, &other) != ANNAL_INVALID) fail_msg("decoded: %.*s", (int)size, text);
  assert_int_equal(lua_gettop(c->L), top);
  assert_string_equal(out.bytes, "before");
  assert_int_equal(out.size, 6);
  assert_false(out.failed);
  assert_int_equal(error->code, ANNAL_INVALID);
  assert_int_equal(other.code, ANNAL_INVALID);
  assert_string_equal(error->where, other.where);
  assert_string_equal(error->message, other.message);
  assert_non_null(strstr(error->message, " at byte "));
  if (flags == 0 && json_is_tidy(copy, size)) fail_msg("tidy: %.*s", (int)size, text);
  buf_free(&out);
  free(copy);
}

static inline void json_refuse(json_case *c, const char *text, unsigned flags, const char *where, const char *message) {
  annal_error error;
  json_refused(c, text, strlen(text), flags, &error);
  if (strcmp(error.where, where) != 0) fail_msg("%s: where is \"%s\", not \"%s\"", text, error.where, where);
  if (!strstr(error.message, message)) fail_msg("%s: \"%s\" does not have \"%s\"", text, error.message, message);
}

/* Numbers that look random and are the same in every run (splitmix64). */
static inline uint64_t json_random(uint64_t *seed) {
  uint64_t x = *seed += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return x ^ x >> 31;
}

#endif
