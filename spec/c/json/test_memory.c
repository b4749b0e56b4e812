/* The codec when memory runs out: every allocation of a piece of work fails in turn, once or from then on, in Lua and in the
 * library alike. It ends in an error or in the right result, leaks nothing, and works again afterwards. */
#include "support.h"

typedef struct ration {
  size_t live;      /* blocks that are not given back */
  size_t asked;     /* allocations since the ration was set */
  size_t fail_at;   /* which of them fails, from 1; 0: none */
  bool fail_onward; /* and all that follow */
} ration;

static bool refused(ration *r) {
  r->asked++;
  return r->fail_at && (r->fail_onward ? r->asked >= r->fail_at : r->asked == r->fail_at);
}

static void *ration_allocate(void *context, void *pointer, size_t size) {
  ration *r = context;
  if (size == 0) {
    if (pointer) r->live--;
    free(pointer);
    return NULL;
  }
  if (refused(r)) return NULL;
  void *fresh = realloc(pointer, size);
  if (!pointer) r->live++;
  return fresh;
}

/* Lua relies on that a block can always be made smaller. */
static void *ration_for_lua(void *context, void *pointer, size_t old_size, size_t size) {
  ration *r = context;
  if (size == 0 || (pointer && size <= old_size)) {
    if (size == 0 && pointer) r->live--;
    if (size == 0) {
      free(pointer);
      return NULL;
    }
    return realloc(pointer, size);
  }
  return ration_allocate(context, pointer, size);
}

typedef struct work {
  base_env env;
  ration ration;
  base_buf out;
  int result;
  annal_error error;
} work;

static const char payload[] =
    "{\"z\\n1\":\"\\u00e9scaped\",\"cartId\":\"cart_004711\",\"list\":[1,2.5,{\"b\":1,\"a\":[]},[[[]]]],"
    "\"k40\":\"a string that is too long to be interned by Lua, as it has more than 40 bytes\",\"m\":{"
    "\"k01\":1,\"k02\":2,\"k03\":3,\"k04\":4,\"k05\":5,\"k06\":6,\"k07\":7,\"k08\":8,\"k09\":9,\"k10\":0,"
    "\"k11\":1,\"k12\":2,\"k13\":3,\"k14\":4,\"k15\":5,\"k16\":6,\"k17\":7,\"k18\":8,\"k19\":9,\"k20\":0,"
    "\"k21\":1,\"k22\":2,\"k23\":3,\"k24\":4,\"k25\":5,\"k26\":6,\"k27\":7,\"k28\":8,\"k29\":9,\"k30\":0,"
    "\"k31\":1,\"k32\":2,\"k33\":3,\"k34\":4,\"k35\":5,\"\\u006b00\":0,\"a\":\"\\u0041\"}}";

static char *wanted_bytes(size_t *size) {
  base_env env;
  base_buf out;
  annal_error error;
  base_env_init(&env, NULL);
  buf_init(&out, &env);
  assert_int_equal(json_canonical(payload, sizeof payload - 1, 0, &out, &error), 0);
  *size = out.size;
  return out.bytes;
}

/* Opens the codec, decodes, encodes as a tree; the state may be new. */
static int there_and_back(lua_State *L) {
  work *w = lua_touserdata(L, 1);
  json_open(L, &w->env);
  w->result = json_decode(L, payload, sizeof payload - 1, 0, &w->error);
  if (w->result == 0) w->result = json_encode(L, -1, JSON_TREE, &w->out, &w->error);
  return 0;
}

static int raise_memory(lua_State *L, const annal_error *error) { return luaL_error(L, "%s", error->message); }

/* The same through the functions that Lua sees; the result is compared inside. */
static int through_the_library(lua_State *L) {
  work *w = lua_touserdata(L, 1);
  json_open(L, &w->env);
  json_push_library(L, raise_memory);
  lua_getfield(L, -1, "decode");
  lua_pushlstring(L, payload, sizeof payload - 1);
  lua_call(L, 1, 1);
  lua_getfield(L, -2, "encode");
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  buf_add(&w->out, text, size);
  w->result = w->out.failed ? error_memory(&w->error) : 0;
  return 0;
}

static void run(lua_State *L, lua_CFunction body, work *w) {
  w->result = 0;
  error_clear(&w->error);
  lua_pushcfunction(L, body);
  lua_pushlightuserdata(L, w);
  int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) return;
  if (status != LUA_ERRMEM) assert_non_null(strstr(lua_tostring(L, -1), "out of memory"));
  lua_pop(L, 1);
  w->result = error_memory(&w->error);
}

static void check_wanted(const work *w, const char *wanted, size_t size) {
  assert_int_equal(w->out.size, size);
  assert_memory_equal(w->out.bytes, wanted, size);
}

static void fail_each_allocation(lua_CFunction body, bool onward) {
  size_t size, failures = 0;
  char *wanted = wanted_bytes(&size);
  for (size_t n = 1;; n++) {
    work w = {0};
    w.env = (base_env){.allocate = ration_allocate, .allocate_context = &w.ration};
    buf_init(&w.out, &w.env);
    lua_State *L = lua_newstate(ration_for_lua, &w.ration);
    assert_non_null(L);
    w.ration.asked = 0;
    w.ration.fail_at = n;
    w.ration.fail_onward = onward;
    run(L, body, &w);
    bool reached = w.ration.asked >= n;
    w.ration.fail_at = 0;
    if (w.result == 0) {
      check_wanted(&w, wanted, size);
    } else {
      failures++;
      assert_int_equal(w.error.code, ANNAL_UNAVAILABLE);
      assert_true(w.error.retryable);
      assert_string_equal(w.error.message, "out of memory");
      if (body == there_and_back) assert_int_equal(w.out.size, 0);
    }
    if (onward) assert_int_equal(w.result != 0, reached);
    buf_clear(&w.out);
    run(L, body, &w); /* with memory again, in the same state */
    assert_int_equal(w.result, 0);
    check_wanted(&w, wanted, size);
    buf_free(&w.out);
    lua_close(L);
    assert_int_equal(w.ration.live, 0);
    if (!reached) break;
  }
  assert_true(failures > (onward ? 20 : 3));
  free(wanted);
}

static void decoding_and_encoding_survive_any_failed_allocation(void **state) {
  (void)state;
  fail_each_allocation(there_and_back, true);
  fail_each_allocation(there_and_back, false);
}

static void the_library_survives_any_failed_allocation(void **state) {
  (void)state;
  fail_each_allocation(through_the_library, true);
  fail_each_allocation(through_the_library, false);
}

static void canonical_survives_any_failed_allocation(void **state) {
  (void)state;
  size_t size, failures = 0;
  char *wanted = wanted_bytes(&size);
  for (int onward = 0; onward < 2; onward++) {
    for (size_t n = 1;; n++) {
      work w = {0};
      w.env = (base_env){.allocate = ration_allocate, .allocate_context = &w.ration};
      buf_init(&w.out, &w.env);
      buf_text(&w.out, "before");
      w.ration = (ration){.live = w.ration.live, .fail_at = n, .fail_onward = onward};
      int result = json_canonical(payload, sizeof payload - 1, 0, &w.out, &w.error);
      bool reached = w.ration.asked >= n;
      assert_int_equal(result, reached ? ANNAL_UNAVAILABLE : 0);
      assert_memory_equal(w.out.bytes, "before", 6);
      if (result != 0) {
        failures++;
        assert_int_equal(w.out.size, 6);
        assert_int_equal(w.out.bytes[6], 0);
        assert_string_equal(w.error.message, "out of memory");
      } else {
        assert_memory_equal(w.out.bytes + 6, wanted, size);
      }
      buf_free(&w.out);
      assert_int_equal(w.ration.live, 0);
      if (!reached) break;
    }
  }
  assert_true(failures > 4);
  free(wanted);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decoding_and_encoding_survive_any_failed_allocation),
      cmocka_unit_test(the_library_survives_any_failed_allocation),
      cmocka_unit_test(canonical_survives_any_failed_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
