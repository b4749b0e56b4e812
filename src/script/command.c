/* Commands: their arguments checked, and what they decide. Role: between JSON texts and a command's Lua functions. Every try gets
 * values of its own, decoded from the same bytes, so that no try can see what another did. */
#include "script/internal.h"

#include "base/text.h"
#include "base/ulid.h"
#include "script/near.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <stdarg.h>
#include <stdio.h>

/* ---- Words that only decide may say -------------------------------------------------------------------------------------- */

int command_reject(lua_State *L) {
  const script_state *state = state_of(L);
  char reason[sizeof(((annal_error *)0)->message)];
  annal_error error;
  if (!state->deciding) return luaL_error(L, "reject has no place here: it ends the decide of a command");
  if (lua_type(L, 1) != LUA_TSTRING || lua_rawlen(L, 1) == 0)
    return luaL_error(L, "reject takes the reason: reject \"not enough money\"");
  snprintf(reason, sizeof reason, "%s", lua_tostring(L, 1));
  failure_clean(reason);
  error_set(&error, ANNAL_REJECTED, NULL, "%s", reason);
  return state_fail(L, &error);
}

/* context.new_id(); upvalue 1: the seed; upvalue 2: how many there were */
static int new_id(lua_State *L) {
  char id[ULID_TEXT_BYTES];
  if (!state_of(L)->deciding) return luaL_error(L, "new_id is for the decide that it was given to, while that runs");
  lua_Integer number = lua_tointeger(L, lua_upvalueindex(2)) + 1;
  lua_pushinteger(L, number);
  lua_replace(L, lua_upvalueindex(2));
  state_charge(L, 20);
  ulid_derive(lua_tostring(L, lua_upvalueindex(1)), (uint64_t)number, id);
  lua_pushstring(L, id);
  return 1;
}

/* ---- Arguments ----------------------------------------------------------------------------------------------------------- */

typedef struct arguments {
  script_state *state;
  const script_command *command;
  const char *text;
  size_t size;
  base_buf *out, *ids;
} arguments;

static size_t index_of(const script_state *state, const script_command *command) {
  return (size_t)(command - state->app->commands);
}

/* [-0, +1, m] A function or table of the command's definition. */
static void push_definition(lua_State *L, const script_command *command, const char *name) {
  compile_push_command(L, index_of(state_of(L), command));
  lua_getfield(L, -1, "def");
  lua_getfield(L, -1, name);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* [-0, +0, m] Appends the id at the top. `where` and `what` name it; `code`: whose fault it is when it is none. */
static int add_id(lua_State *L, const script_use *use, int code, const char *where, const char *what, base_buf *ids,
                  annal_error *error) {
  size_t size;
  const char *text;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &size);
    if (size == 0)
      return error_set(error, code, where, "%s is empty, and as the id of an instance of %s it cannot be", what,
                       use->projection->name);
    if (size > LIMIT_VALUE_BYTES)
      return error_set(error, code, where, "%s has %zu bytes: the id of an instance has at most %d", what, size,
                       LIMIT_VALUE_BYTES);
    if (!text_is_utf8(text, size)) return error_set(error, code, where, "%s is no valid UTF-8, or holds U+0000", what);
    buf_add(ids, text, size);
    break;
  case LUA_TBOOLEAN: buf_text(ids, lua_toboolean(L, -1) ? "true" : "false"); break;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1)) {
      buf_int(ids, lua_tointeger(L, -1));
      break;
    }
    /* fall through */
  default:
    return error_set(error, code, where, "%s is %s%s, which is no id of an instance of %s", what, lua_isnil(L, -1) ? "" : "a ",
                     lua_isnumber(L, -1) ? "float" : luaL_typename(L, -1), use->projection->name);
  }
  return 0;
}

/* [-0, +0, m] By a function of the arguments, which are in out. */
static int add_made_id(lua_State *L, const arguments *a, size_t number, annal_error *error) {
  const script_command *command = a->command;
  const script_use *use = &command->uses[number];
  char what[2 * LIMIT_TYPE_BYTES + 32];
  snprintf(what, sizeof what, "id of uses.%.100s of %s", use->view, command->name);
  push_definition(L, command, "ids");
  lua_rawgeti(L, -1, (lua_Integer)number + 1);
  lua_replace(L, -2);
  int code = json_decode(L, a->out->bytes, a->out->size, 0, error);
  if (code) return code;
  code = script_call(a->state, 1, 1, what, error);
  if (code) return code;
  code = add_id(L, use, ANNAL_SCRIPT, command->where, what, a->ids, error);
  lua_pop(L, 1);
  return code;
}

/* [-0, +0, m] From the argument of that name; the arguments are at `args`. */
static int add_given_id(lua_State *L, const arguments *a, int args, const script_use *use, annal_error *error) {
  char where[160], what[LIMIT_TYPE_BYTES + 176];
  snprintf(where, sizeof where, "args.%.150s", use->field);
  snprintf(what, sizeof what, "%s: %s", a->command->name, where);
  lua_pushstring(L, use->field);
  lua_rawget(L, args);
  int code = add_id(L, use, ANNAL_INVALID, where, what, a->ids, error);
  lua_pop(L, 1);
  return code;
}

static int check_arguments(lua_State *L, void *context, annal_error *error) {
  const arguments *a = context;
  const script_command *command = a->command;
  schema_result result;
  luaL_checkstack(L, 20, NULL);
  int code = json_decode(L, a->text, a->size, JSON_OBJECT | JSON_NO_NUL, error);
  if (!code && !schema_check(L, -1, a->state->app->command_details[index_of(a->state, command)].args,
                             a->state->app->options.budget, &result)) {
    code = error_set(error, result.overrun ? ANNAL_BUDGET : ANNAL_INVALID, result.where, "%s", result.message);
    error_where_prefix(error, "args");
    return error_set(error, code, error->where, "%s: %s %s", command->name, error->where, result.message);
  }
  if (!code) code = json_encode(L, -1, JSON_NO_NUL, a->out, error);
  if (code) {
    error_where_prefix(error, "args");
    return code;
  }
  int args = lua_gettop(L);
  for (size_t i = 0; i < command->use_count && !code; i++) {
    const script_use *use = &command->uses[i];
    if (use->has_function) code = add_made_id(L, a, i, error);
    else if (use->field) code = add_given_id(L, a, args, use, error);
    buf_char(a->ids, 0);
  }
  return code ? code : a->out->failed || a->ids->failed ? error_memory(error) : 0;
}

int script_check_arguments(script_state *state, const script_command *command, const char *args, size_t size, base_buf *out,
                           base_buf *ids, annal_error *error) {
  arguments a = {.state = state, .command = command, .text = args, .size = size, .out = out, .ids = ids};
  return script_protect(state, check_arguments, &a, error);
}

/* ---- What decide is given ------------------------------------------------------------------------------------------------ */

typedef struct decision {
  script_state *state;
  const script_question *question;
  script_answer *answer;
} decision;

/* [-0, +1 on success, +0 otherwise, m] */
static int push_views(lua_State *L, const script_question *question, annal_error *error) {
  const script_command *command = question->command;
  lua_createtable(L, 0, (int)command->use_count);
  for (size_t i = 0; i < command->use_count; i++) {
    int code = json_decode(L, question->views[i].bytes, question->views[i].size, 0, error);
    if (code) {
      lua_pop(L, 1);
      return code;
    }
    lua_setfield(L, -2, command->uses[i].view);
  }
  sandbox_guard(L, "views");
  return 0;
}

/* [-0, +1 on success, +0 otherwise, m] */
static int push_context(lua_State *L, const script_question *question, annal_error *error) {
  lua_createtable(L, 0, 3);
  if (question->metadata) {
    int code = json_decode(L, question->metadata, question->metadata_size, 0, error);
    if (code) {
      lua_pop(L, 1);
      return code;
    }
  } else {
    lua_newtable(L); /* so that a look at context.metadata.user is nil and no error */
  }
  lua_setfield(L, -2, "metadata");
  lua_pushstring(L, question->now);
  lua_setfield(L, -2, "now");
  lua_pushstring(L, question->seed);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, new_id, 2);
  lua_setfield(L, -2, "new_id");
  sandbox_guard(L, "context");
  return 0;
}

/* ---- What it answers: all functions below [-0, +0, m] -------------------------------------------------------------------- */

static int refuse(const decision *d, annal_error *error, const char *format, ...) ANNAL_PRINTF(3, 4);
static int refuse(const decision *d, annal_error *error, const char *format, ...) {
  const script_command *command = d->question->command;
  char text[700];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  return error_set(error, ANNAL_SCRIPT, command->where, "decide of %s: %s", command->name, text);
}

/* What json_encode says of a value that cannot be stored, as the script's fault. */
static int explain(const decision *d, const char *event, const char *part, annal_error *error) {
  if (error->code != ANNAL_INVALID) return error->code;
  error_where_prefix(error, part);
  return refuse(d, error, "%s cannot be saved: %.120s: %.400s", event, error->where, error->message);
}

static int unknown_key(const decision *d, const char *event, const char *key, annal_error *error) {
  static const char *const known[] = {"data", "metadata", "type", "version"};
  char shown[96];
  text_show(key, shown);
  if (strcmp(key, "id") == 0) return refuse(d, error, "%s has an id: the events of a command get theirs from the call", event);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (near_name(key, known[i])) return refuse(d, error, "%s has no field \"%s\" (did you mean %s?)", event, shown, known[i]);
  return refuse(d, error, "%s has no field \"%s\": there are type, data, metadata, version", event, shown);
}

static int check_keys(lua_State *L, const decision *d, const char *event, annal_error *error) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    bool known =
        strcmp(key, "type") == 0 || strcmp(key, "data") == 0 || strcmp(key, "metadata") == 0 || strcmp(key, "version") == 0;
    if (!known) return unknown_key(d, event, key, error);
  }
  return 0;
}

/* [-0, +1, -] */
static int push_part(lua_State *L, int table, const char *name) {
  lua_pushstring(L, name);
  return lua_rawget(L, table);
}

static int add_type(lua_State *L, const decision *d, int table, const char *event, annal_error *error) {
  size_t size;
  if (push_part(L, table, "type") != LUA_TSTRING)
    return refuse(d, error, "%s has no type: an event is { type = \"…\", data = { … } }", event);
  const char *type = lua_tolstring(L, -1, &size);
  if (!text_is_utf8(type, size)) return refuse(d, error, "%s has a type that is no valid UTF-8, or holds U+0000", event);
  buf_add(&d->answer->text, type, size + 1);
  return 0;
}

static int add_version(lua_State *L, const decision *d, int table, const char *event, annal_event *out, annal_error *error) {
  if (push_part(L, table, "version") == LUA_TNIL) return 0;
  lua_Integer version = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
  if (version < 1 || version > INT32_MAX) return refuse(d, error, "%s has a version that is no integer from 1", event);
  out->version = (int)version;
  return 0;
}

static int add_data(lua_State *L, const decision *d, int table, const char *event, annal_event *out, annal_error *error) {
  base_buf *text = &d->answer->text;
  size_t begin = text->size;
  if (push_part(L, table, "data") != LUA_TTABLE)
    return refuse(d, error, "%s has no data: an event is { type = \"…\", data = { … } }", event);
  if (json_encode(L, -1, JSON_NO_NUL, text, error)) return explain(d, event, "data", error);
  out->data_size = text->size - begin;
  buf_char(text, 0);
  return 0;
}

/* Lays the table at the top over the question's metadata, which takes its place. */
static int merge_metadata(lua_State *L, const script_question *question, annal_error *error) {
  int own = lua_gettop(L);
  int code = json_decode(L, question->metadata, question->metadata_size, 0, error);
  if (code) return code;
  for (lua_pushnil(L); lua_next(L, own);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, own + 1);
  }
  return 0;
}

static int add_metadata(lua_State *L, const decision *d, int table, const char *event, annal_event *out, annal_error *error) {
  const script_question *question = d->question;
  base_buf *text = &d->answer->text;
  size_t begin = text->size;
  int type = push_part(L, table, "metadata"), code = 0;
  if (type == LUA_TTABLE) {
    if (question->metadata) code = merge_metadata(L, question, error);
    if (!code) code = json_encode(L, -1, JSON_NO_NUL, text, error);
    if (code) return explain(d, event, "metadata", error);
  } else if (type != LUA_TNIL && !json_is_null(L, -1)) {
    return refuse(d, error, "%s has metadata that is no table", event);
  } else if (question->metadata) {
    buf_add(text, question->metadata, question->metadata_size);
  }
  out->metadata_size = text->size - begin;
  if (out->metadata_size) buf_char(text, 0);
  return 0;
}

/* The event at the top. Its parts follow each other in the text; where they are is known when that moves no more. */
static int add_event(lua_State *L, const decision *d, const char *event, annal_event *out, annal_error *error) {
  int table = lua_gettop(L);
  if (!lua_istable(L, table)) return refuse(d, error, "%s is no table { type = \"…\", data = { … } }", event);
  if (lua_getmetatable(L, table)) return refuse(d, error, "%s has a metatable: an event is a plain table", event);
  int code = check_keys(L, d, event, error);
  if (!code) code = add_version(L, d, table, event, out, error);
  if (!code) code = add_type(L, d, table, event, error);
  if (!code) code = add_data(L, d, table, event, out, error);
  if (!code) code = add_metadata(L, d, table, event, out, error);
  lua_settop(L, table);
  return code;
}

/* Whether the table at the top is one event: its first key is a name. */
static bool is_event(lua_State *L) {
  lua_pushnil(L);
  if (!lua_next(L, -2)) return false;
  bool named = lua_type(L, -2) == LUA_TSTRING;
  lua_pop(L, 2);
  return named;
}

/* How many elements the list at the top has; -1 when it is none. */
static lua_Integer list_size(lua_State *L) {
  lua_Integer size = (lua_Integer)lua_rawlen(L, -1), keys = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) keys++;
  return keys == size ? size : -1;
}

static int add_events(lua_State *L, const decision *d, annal_error *error) {
  script_answer *answer = d->answer;
  bool single = is_event(L);
  lua_Integer count = single ? 1 : list_size(L);
  if (count < 0) return refuse(d, error, "it returned a table that is neither an event nor a list of events without holes");
  if (count == 0) return 0;
  answer->events = base_calloc(answer->text.env, (size_t)count, sizeof *answer->events);
  if (!answer->events) return error_memory(error);
  if (single) {
    answer->count = 1;
    return add_event(L, d, "its event", answer->events, error);
  }
  int code = 0;
  for (; answer->count < (size_t)count && !code; answer->count++) {
    char event[40];
    snprintf(event, sizeof event, "events[%zu]", answer->count + 1);
    lua_rawgeti(L, -1, (lua_Integer)answer->count + 1);
    code = add_event(L, d, event, &answer->events[answer->count], error);
    lua_pop(L, 1);
  }
  return code;
}

static void set_pointers(script_answer *answer) {
  const char *at = answer->text.bytes;
  for (size_t i = 0; i < answer->count; i++) {
    annal_event *event = &answer->events[i];
    event->type = at;
    at += strlen(at) + 1;
    event->data = at;
    at += event->data_size + 1;
    if (event->metadata_size == 0) continue;
    event->metadata = at;
    at += event->metadata_size + 1;
  }
}

/* What decide returned is at the top. */
static int read_answer(lua_State *L, const decision *d, annal_error *error) {
  static const char wanted[] = "it returns an event, a list of events, or nothing";
  if (lua_isnil(L, -1)) return 0;
  if (json_is_null(L, -1)) return refuse(d, error, "it returned null: %s", wanted);
  if (!lua_istable(L, -1)) return refuse(d, error, "it returned a %s: %s", luaL_typename(L, -1), wanted);
  if (!json_is_array(L, -1) && lua_getmetatable(L, -1))
    return refuse(d, error, "it returned a table with a metatable: %s", wanted);
  int code = add_events(L, d, error);
  if (!code && d->answer->text.failed) code = error_memory(error);
  if (!code) set_pointers(d->answer);
  return code;
}

static int decide(lua_State *L, void *context, annal_error *error) {
  const decision *d = context;
  const script_question *question = d->question;
  char what[LIMIT_TYPE_BYTES + 16];
  luaL_checkstack(L, 32, NULL);
  snprintf(what, sizeof what, "decide of %s", question->command->name);
  push_definition(L, question->command, "decide");
  int code = json_decode(L, question->args, question->args_size, 0, error);
  if (!code) code = push_views(L, question, error);
  if (!code) code = push_context(L, question, error);
  if (code) return code;
  d->state->deciding = true;
  code = script_call(d->state, 3, 1, what, error);
  return code ? code : read_answer(L, d, error);
}

int script_decide(script_state *state, const script_question *question, script_answer *answer, annal_error *error) {
  decision d = {.state = state, .question = question, .answer = answer};
  *answer = (script_answer){0};
  buf_init(&answer->text, state->app->env);
  int code = script_protect(state, decide, &d, error);
  state->deciding = false; /* also when memory ended in the middle */
  return code;
}

void script_free_answer(const base_env *env, script_answer *answer) {
  base_free(env, answer->events);
  buf_free(&answer->text);
  *answer = (script_answer){0};
}
