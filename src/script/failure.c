/* What went wrong in a script, as an annal_error. Role: the place goes to `where`, the rest into one line; error objects are the
 * script's own and are not trusted: nothing of them is run, only strings, numbers and a plain field `message` are read. */
#include "script/internal.h"

#include "base/text.h"
#include <stdio.h>

void failure_clean(char *text) {
  for (size_t size; *text; text += size) {
    for (size = 1; size <= 4 && strnlen(text, size) == size && !text_is_utf8(text, size);) size++;
    if (size <= 4 && strnlen(text, size) == size) continue;
    *text = '?';
    size = 1;
  }
}

/* A place is what Lua puts before a message: path, colon, digits, colon, space. */
const char *failure_split(const char *text, char *where, size_t size) {
  where[0] = 0;
  for (const char *at = strstr(text, ".lua:"); at; at = strstr(at + 1, ".lua:")) {
    const char *end = at + 5;
    while (*end >= '0' && *end <= '9') end++;
    if (end == at + 5 || *end != ':') continue;
    size_t length = (size_t)(end - text);
    if (length >= size) return text;
    memcpy(where, text, length);
    where[length] = 0;
    end++;
    return *end == ' ' ? end + 1 : end;
  }
  return text;
}

/* Whether `place` of the frame is one of the app's: "reducers/items.lua:12". */
static bool frame_place(lua_State *run, lua_Debug *frame, char *place, size_t size) {
  if (!lua_getinfo(run, "Sl", frame) || frame->source[0] != '@' || frame->currentline < 0) return false;
  snprintf(place, size, "%s:%d", frame->source + 1, frame->currentline);
  return true;
}

void failure_place(lua_State *L, char *place, size_t size) {
  lua_Debug frame;
  for (int level = 0; level < 100 && lua_getstack(L, level, &frame); level++)
    if (frame_place(L, &frame, place, size)) return;
  place[0] = 0;
}

/* " (called from a.lua:12, b.lua:3)": where the failing line was called from. The innermost place is left in `where` if the
 * message had none. */
static void trace(lua_State *run, char *where, size_t where_size, char *out, size_t size) {
  lua_Debug frame;
  size_t used = 0;
  bool first = true;
  out[0] = 0;
  for (int level = 0, shown = 0; level < 100 && shown < 6 && lua_getstack(run, level, &frame); level++) {
    char place[256];
    if (!frame_place(run, &frame, place, sizeof place)) continue;
    if (first) {
      if (!where[0]) snprintf(where, where_size, "%s", place);
      first = false;
      continue;
    }
    int added = snprintf(out + used, size - used, "%s%s", shown++ ? ", " : " (called from ", place);
    if (added < 0 || (size_t)added >= size - used - 2) {
      out[used] = 0;
      break;
    }
    used += (size_t)added;
  }
  if (used) snprintf(out + used, size - used, ")");
}

/* The words of an error object at the top of `run`'s stack. Strings of another kind than text are taken as they are. */
static void object_text(lua_State *run, char *out, size_t size) {
  const char *text = NULL;
  int type = lua_gettop(run) ? lua_type(run, -1) : LUA_TNIL;
  if (type == LUA_TTABLE) {
    lua_pushliteral(run, "message");
    lua_rawget(run, -2);
    if (lua_type(run, -1) == LUA_TSTRING) text = lua_tostring(run, -1);
    lua_pop(run, 1);
  } else if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    text = lua_tostring(run, -1);
  }
  if (text) snprintf(out, size, "%s", text);
  else snprintf(out, size, "error called with a %s value", type == LUA_TNIL ? "nil" : lua_typename(run, type));
  failure_clean(out);
}

static int failure_of_budget(script_state *state, const char *where, const char *what, const char *colon, annal_error *error) {
  if (state->failed) {
    *error = state->failure;
    return error->code;
  }
  if (state->out_of_memory) return error_set(error, ANNAL_UNAVAILABLE, where, "%s%sout of memory", what, colon);
  if (state->out_of_quota)
    return error_set(error, ANNAL_BUDGET, where, "%s%sused up the %zu bytes of memory a script state may hold", what, colon,
                     state->app->options.memory);
  return error_set(error, ANNAL_BUDGET, where, "%s%sused up its %lld instructions", what, colon,
                   (long long)(state->loading ? LIMIT_LOAD_BUDGET : state->app->options.budget));
}

int failure_of_call(script_state *state, int status, const char *what, annal_error *error) {
  const char *colon = what[0] ? ": " : "";
  char where[256] = "", calls[600] = "", text[900];
  if (status == LUA_ERRMEM && !state_is_spent(state)) state->out_of_quota = true; /* e.g. a string beyond Lua's own limit */
  if (state_is_spent(state)) {
    if (!state->stopped_at[0]) failure_place(state->run, state->stopped_at, sizeof state->stopped_at);
    return failure_of_budget(state, state->stopped_at, what, colon, error);
  }
  object_text(state->run, text, sizeof text);
  const char *message = failure_split(text, where, sizeof where);
  if (!state->loading) trace(state->run, where, sizeof where, calls, sizeof calls);
  return error_set(error, ANNAL_SCRIPT, where, "%s%s%s%s", what, colon, message, calls);
}

int failure_of_protect(script_state *state, int status, annal_error *error) {
  if (state->failed) {
    *error = state->failure;
    return error->code;
  }
  if (status == LUA_ERRMEM) {
    if (!state->out_of_memory) state->out_of_quota = true;
    return failure_of_budget(state, NULL, "", "", error);
  }
  const char *text = lua_type(state->L, -1) == LUA_TSTRING ? lua_tostring(state->L, -1) : "an error that is no text";
  char where[256];
  const char *message = failure_split(text, where, sizeof where);
  return error_set(error, ANNAL_SCRIPT, where, "%s", message);
}
