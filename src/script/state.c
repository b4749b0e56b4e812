/* One sandboxed Lua state. Role: the quota on its memory, the budget of its instructions, and the protected calls through which
 * everybody else reaches it.
 *
 * Scripts run on a thread of their own, under a count hook. When the budget is spent the hook yields: the host sees LUA_YIELD
 * and never resumes, so no pcall of the script's can catch it. Where the thread cannot yield (below a callback of table.sort)
 * the hook raises an error instead and comes again at each following instruction, until the script has fallen out of every
 * pcall or can yield. A state that overran is spent: it is thrown away when it is given back. */
#include "script/internal.h"

#include <stdio.h>

#include "json/json_lua.h"
#include <stdlib.h>

static const char run_key = 0; /* in the registry: the scripts' thread */

/* ---- Memory ------------------------------------------------------------------------------------------------------------ */

static void on_count(lua_State *L, lua_Debug *info);

/* Makes the hook come at the next instruction. lua_sethook may be called at any moment, in a signal handler even. */
static void hurry(script_state *state) {
  if (!state->running || state->hurried) return;
  state->hurried = true;
  lua_sethook(state->run, on_count, LUA_MASKCOUNT, 1);
}

/* A first refusal makes Lua collect everything and ask again, so only the second one in a row means that memory is out. A state
 * that lives at the edge of its quota would collect at each allocation: a full collection is paid for with instructions. */
static void *refuse(script_state *state, bool host) {
  if (!state->refused) {
    state->refused = true;
    state->remaining -= (int64_t)(state->used >> 7);
    return NULL;
  }
  if (host) state->out_of_memory = true;
  else state->out_of_quota = true;
  hurry(state);
  return NULL;
}

static void *allocate(void *context, void *pointer, size_t old_size, size_t new_size) {
  script_state *state = context;
  const base_env *env = state->app->env;
  if (!pointer) old_size = 0; /* it is a type tag then */
  if (new_size == 0) {
    base_free(env, pointer);
    state->used -= old_size;
    return NULL;
  }
  if (new_size <= old_size) {
    void *smaller = base_realloc(env, pointer, new_size);
    state->used -= old_size - new_size;
    return smaller ? smaller : pointer; /* Lua counts on it that shrinking succeeds */
  }
  size_t more = new_size - old_size;
  if (state->used > state->app->options.memory || more > state->app->options.memory - state->used) return refuse(state, false);
  void *larger = base_realloc(env, pointer, new_size);
  if (!larger) return refuse(state, true);
  state->refused = false;
  state->used += more;
  if (new_size >= 1024) { /* copying large strings takes time and no instruction: 128 bytes cost as much as one */
    state->remaining -= (int64_t)(new_size >> 7);
    if (state->remaining < 0) hurry(state);
  }
  return larger;
}

/* ---- The budget -------------------------------------------------------------------------------------------------------- */

int state_stop(lua_State *L) {
  script_state *state = state_of(L);
  if (!state->out_of_quota && !state->out_of_memory && !state->failed) state->overrun = true;
  /* Here the place is exact: after a yield from the hook it would be the instruction before. */
  if (!state->stopped_at[0]) failure_place(L, state->stopped_at, sizeof state->stopped_at);
  hurry(state);
  if (lua_isyieldable(L)) return lua_yield(L, 0);
  lua_pushliteral(L, "the script is being stopped");
  return lua_error(L);
}

static bool must_stop(const script_state *state) {
  return state->remaining < 0 || state->out_of_quota || state->out_of_memory || state->failed || state->overrun;
}

static unsigned interrupts_of(const script_state *state) {
  const atomic_uint *count = state->app->options.interrupts;
  return count ? atomic_load_explicit(count, memory_order_relaxed) : 0;
}

void state_begin(script_state *state) { state->interrupts = interrupts_of(state); }

static void on_count(lua_State *L, lua_Debug *info) {
  (void)info;
  script_state *state = state_of(L);
  state->remaining -= state->hurried ? 1 : LIMIT_HOOK_COUNT;
  if (!state->failed && interrupts_of(state) != state->interrupts) {
    error_set(&state->failure, ANNAL_UNAVAILABLE, NULL, "interrupted");
    state->failed = true;
  }
  if (must_stop(state)) state_stop(L);
}

void state_charge(lua_State *L, uint64_t instructions) {
  script_state *state = state_of(L);
  if (!state->running) return;
  if (instructions > INT64_MAX / 2) instructions = INT64_MAX / 2;
  state->remaining -= (int64_t)instructions;
  if (must_stop(state)) state_stop(L);
}

int state_fail(lua_State *L, const annal_error *error) {
  script_state *state = state_of(L);
  if (!state->failed) state->failure = *error;
  state->failed = true;
  return state_stop(L);
}

bool state_is_spent(const script_state *state) {
  return state->overrun || state->out_of_quota || state->out_of_memory || state->failed;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------------- */

/* [-0, +0, m] After a failure the old thread is left to the collector as it stands: closing what is open on it would run code. */
static void renew_thread(script_state *state) {
  lua_State *L = state->L;
  luaL_checkstack(L, 2, NULL);
  state->run = lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &run_key);
}

int state_call(script_state *state, int arguments, int results, int64_t *budget, const char *what, annal_error *error) {
  lua_State *L = state->L, *run = state->run;
  if (state_is_spent(state) || !lua_checkstack(run, arguments + LUA_MINSTACK) || !lua_checkstack(L, results)) {
    lua_pop(L, arguments + 1);
    return failure_of_call(state, LUA_ERRMEM, what, error);
  }
  lua_xmove(L, run, arguments + 1);
  state->remaining = *budget;
  state->hurried = false;
  state->running = true;
  lua_sethook(run, on_count, LUA_MASKCOUNT, LIMIT_HOOK_COUNT);
  int count;
  int status = lua_resume(run, L, arguments, &count);
  state->running = false;
  *budget = state->remaining;
  if (status == LUA_OK && !must_stop(state)) {
    lua_settop(run, results);
    lua_xmove(run, L, results);
    return 0;
  }
  if (status == LUA_OK && state->remaining < 0) state->overrun = true; /* spent by the last thing it did */
  int code = failure_of_call(state, status, what, error);
  if (code == ANNAL_REJECTED) { /* a command has spoken: nothing is wrong with the state */
    state->failed = false;
    state->stopped_at[0] = 0;
  }
  if (!state_is_spent(state)) renew_thread(state);
  return code;
}

int script_call(script_state *state, int arguments, int results, const char *what, annal_error *error) {
  int64_t budget = state->app->options.budget;
  return state_call(state, arguments, results, &budget, what, error);
}

typedef struct protected_call {
  script_body *body;
  void *context;
  annal_error *error;
  int code;
} protected_call;

static int run_protected(lua_State *L) {
  protected_call *call = lua_touserdata(L, 1);
  lua_settop(L, 0);
  call->code = call->body(L, call->context, call->error);
  return 0;
}

int script_protect(script_state *state, script_body *body, void *context, annal_error *error) {
  lua_State *L = state->L;
  int top = lua_gettop(L);
  protected_call call = {.body = body, .context = context, .error = error};
  locale_t host = uselocale(state->app->c_locale); /* for this thread only */
  int status = LUA_ERRMEM;
  if (lua_checkstack(L, 4)) {
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &call);
    status = lua_pcall(L, 1, 0, 0);
  }
  if (status != LUA_OK) call.code = failure_of_protect(state, status, error);
  lua_settop(L, top);
  uselocale(host);
  return call.code;
}

script_app *script_app_of(script_state *state) { return state->app; }

lua_State *script_lua(script_state *state) { return state->L; }

/* ---- Making one -------------------------------------------------------------------------------------------------------- */

static int on_panic(lua_State *L) {
  base_log(state_of(L)->app->env, "error", "an error outside of every protected call: %s", lua_tostring(L, -1));
  abort(); /* reaching this is a fault of ours, and the state is past repair */
}

/* Files in order; each under what is left of the budget for loading. */
static int run_files(script_state *state, int64_t *budget, annal_error *error) {
  lua_State *L = state->L;
  for (size_t i = 0; i < state->app->file_count; i++) {
    lua_pushcfunction(L, declare_call_file);
    lua_pushinteger(L, (lua_Integer)i);
    int code = state_call(state, 1, 0, budget, "", error);
    if (!code) continue;
    size_t file = state->failed_file < state->app->file_count ? state->failed_file : i;
    if (!error->where[0]) snprintf(error->where, sizeof error->where, "%s", state->app->files[file].path); /* error {…} */
    return code;
  }
  return 0;
}

static int open_body(lua_State *L, void *context, annal_error *error) {
  script_state *state = context;
  json_open(L, state->app->env);
  renew_thread(state);
  sandbox_open(L);
  event_open(L);
  declare_open(L);
  int64_t budget = LIMIT_LOAD_BUDGET;
  state->loading = true;
  int code = run_files(state, &budget, error);
  if (code) return code;
  declare_push_resolve(L);
  code = state_call(state, 0, 1, &budget, "", error);
  if (code) return code;
  state->loading = false;
  return compile_definitions(state, error);
}

int state_create(script_app *app, script_state **out, annal_error *error) {
  script_state *state = base_calloc(app->env, 1, sizeof *state);
  if (!state) return error_memory(error);
  state->app = app;
  state_begin(state);
  buf_init(&state->scratch, app->env);
  locale_t host = uselocale(app->c_locale);
  state->L = lua_newstate(allocate, state);
  if (!state->L) {
    uselocale(host);
    base_free(app->env, state);
    return error_memory(error);
  }
  *(script_state **)lua_getextraspace(state->L) = state; /* copied to each new thread */
  lua_atpanic(state->L, on_panic);
  int code = script_protect(state, open_body, state, error);
  uselocale(host);
  if (code) state_destroy(state);
  else *out = state;
  return code;
}

void state_destroy(script_state *state) {
  if (!state) return;
  const base_env *env = state->app->env;
  lua_close(state->L);
  buf_free(&state->scratch);
  base_free(env, state);
}
