/* The instances that an event is for, where a projection's function `ids` says it. Role: the way back from streams, which are made of
 * an id; who folds all events at once asks it of each of them. */
#include "script/internal.h"

#include "base/text.h"
#include <stdio.h>

typedef struct question {
  script_state *state;
  const script_projection *projection;
  const annal_event *event;
  base_buf *out;
  size_t begin; /* of the answer in `out` */
  size_t *count;
} question;

static int refuse(const question *q, annal_error *error, const char *what) {
  return error_set(error, ANNAL_SCRIPT, q->projection->where, "ids of %s: %s", q->projection->name, what);
}

static bool is_there(const question *q, const char *id) {
  const char *at = q->out->bytes + q->begin;
  for (size_t i = 0; i < *q->count; i++, at += strlen(at) + 1)
    if (strcmp(at, id) == 0) return true;
  return false;
}

/* [-0, +0, m] The id at the top: what selects events selects instances. */
static int add_id(const question *q, lua_State *L, annal_error *error) {
  char number[32];
  const char *id = number;
  size_t size = 0;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    id = lua_tolstring(L, -1, &size);
    if (size == 0) return refuse(q, error, "an id is empty");
    if (size > LIMIT_VALUE_BYTES || !text_is_utf8(id, size))
      return refuse(q, error, "an id is too long, or no valid UTF-8, or holds U+0000");
    break;
  case LUA_TBOOLEAN: id = lua_toboolean(L, -1) ? "true" : "false"; break;
  case LUA_TNUMBER:
    if (!lua_isinteger(L, -1)) return refuse(q, error, "a float is no id");
    snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, -1));
    break;
  default: return refuse(q, error, "an id is a string, an integer or a boolean");
  }
  if (is_there(q, id)) return 0;
  buf_add(q->out, id, strlen(id) + 1);
  if (q->out->failed) return error_memory(error);
  (*q->count)++;
  return 0;
}

/* [-0, +0, m] The answer at the top: a list, or nil for none. */
static int read_answer(const question *q, lua_State *L, annal_error *error) {
  if (lua_isnil(L, -1)) return 0;
  if (!lua_istable(L, -1)) return refuse(q, error, "it has to return a list of ids");
  lua_Integer size = (lua_Integer)lua_rawlen(L, -1), keys = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) keys++;
  if (keys != size) return refuse(q, error, "it has to return a list of ids, and this table is none");
  int code = 0;
  for (lua_Integer i = 1; i <= size && code == 0; i++) {
    lua_rawgeti(L, -1, i);
    code = add_id(q, L, error);
    lua_pop(L, 1);
  }
  return code;
}

static int ids_body(lua_State *L, void *context, annal_error *error) {
  const question *q = context;
  luaL_checkstack(L, 20, NULL);
  compile_push_projection(L, (size_t)(q->projection - q->state->app->projections));
  lua_getfield(L, -1, "ids");
  script_push_event(q->state, q->event);
  char what[LIMIT_TYPE_BYTES + 16];
  snprintf(what, sizeof what, "ids of %s", q->projection->name);
  int code = script_call(q->state, 1, 1, what, error);
  script_end_event(q->state);
  return code ? code : read_answer(q, L, error);
}

int script_event_ids(script_state *state, const script_projection *projection, const annal_event *event, base_buf *out,
                     size_t *count, annal_error *error) {
  question q = {.state = state, .projection = projection, .event = event, .out = out, .begin = out->size, .count = count};
  annal_event upgraded;
  base_buf data; /* of an event of an older version: what is asked of is its upgraded form */
  bool older = false;
  *count = 0;
  buf_init(&data, state->app->env);
  int code = script_look_at_version(state->app, event, &older, error);
  if (!code && older) code = script_upcast(state, event, &data, &upgraded, error);
  if (older) q.event = &upgraded;
  if (!code) code = script_protect(state, ids_body, &q, error);
  if (code) out->size = q.begin;
  buf_free(&data);
  return code;
}
