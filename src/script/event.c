/* Events, in both directions: the table a handler is given, and the check of an event that is to be saved.
 *
 * A handler's event is a table without fields: each is made when it is first looked at and then kept in the table, so that a
 * fold that only counts never decodes, and one that reads `data` twice gets one table. The table bears the serial number of the
 * event it stands for; when the event is over no table has the right number any more. */
#include "script/internal.h"

#include "script/near.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <stdio.h>

static const char metatable_key = 0; /* in the registry */
static const char serial_key = 0;    /* in an event's table */

static const char *const field_names[] = {"created_at", "data", "id", "metadata", "position", "type", "version"};
#define FIELD_COUNT (sizeof field_names / sizeof *field_names)

/* ---- The table a handler is given --------------------------------------------------------------------------------------- */

/* [-0, +1, e] The object in `text`. */
static void push_decoded(lua_State *L, const annal_event *event, const char *name, const char *text, size_t size) {
  annal_error error;
  if (!text) {
    lua_pushnil(L);
    return;
  }
  if (json_decode(L, text, size ? size : strlen(text), JSON_OBJECT, &error) == 0) return;
  error_where_prefix(&error, name);
  error_set(&error, ANNAL_CORRUPT, error.where, "event %s at position %lld: %s", event->id ? event->id : event->type,
            (long long)event->position, error.message);
  state_fail(L, &error);
}

/* [-0, +1, e] */
static void push_text_or_nil(lua_State *L, const char *text) { lua_pushstring(L, text && text[0] ? text : NULL); }

/* [-0, +0, e] */
static int fail_not_stored_yet(lua_State *L, const char *name) {
  return luaL_error(L,
                    "event.%s is known only once the event is stored, and a projection with keep = \"inline\" is folded before: "
                    "leave it out, or write keep = \"background\"",
                    name);
}

/* [-0, +1, e] False when events have no such field. */
static bool push_field(lua_State *L, const annal_event *event, const char *name) {
  char time[28];
  if (strcmp(name, "data") == 0) {
    push_decoded(L, event, name, event->data, event->data_size);
  } else if (strcmp(name, "type") == 0) {
    lua_pushstring(L, event->type);
  } else if (strcmp(name, "position") == 0) {
    if (event->position == SCRIPT_NOT_STORED_YET) return fail_not_stored_yet(L, name);
    if (event->position) lua_pushinteger(L, event->position);
    else lua_pushnil(L);
  } else if (strcmp(name, "version") == 0) {
    lua_pushinteger(L, event->version ? event->version : 1);
  } else if (strcmp(name, "id") == 0) {
    push_text_or_nil(L, event->id);
  } else if (strcmp(name, "metadata") == 0) {
    push_decoded(L, event, name, event->metadata, event->metadata_size);
  } else if (strcmp(name, "created_at") == 0) {
    if (event->position == SCRIPT_NOT_STORED_YET && !event->created_at) return fail_not_stored_yet(L, name);
    if (event->created_at) annal_time_text(event->created_at, time);
    push_text_or_nil(L, event->created_at ? time : NULL);
  } else {
    return false;
  }
  return true;
}

static int no_such_field(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "an event has no field of type %s", luaL_typename(L, 2));
  const char *name = lua_tostring(L, 2);
  for (size_t i = 0; i < FIELD_COUNT; i++)
    if (near_name(name, field_names[i]))
      return luaL_error(L, "an event has no field %s (did you mean %s?)", name, field_names[i]);
  return luaL_error(L, "an event has no field %s (what was saved is in event.data)", name);
}

/* __index: comes only for what the table does not hold yet. */
static int event_index(lua_State *L) {
  const script_state *state = state_of(L);
  lua_rawgetp(L, 1, &serial_key);
  if (!state->event || lua_tointeger(L, -1) != state->event_serial)
    return luaL_error(L, "this event is over: it can be looked at only by the handler it was given to, while that runs");
  lua_settop(L, 2);
  if (lua_type(L, 2) != LUA_TSTRING || !push_field(L, state->event, lua_tostring(L, 2))) return no_such_field(L);
  if (lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, 1);
  return 1;
}

void event_open(lua_State *L) {
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, event_index);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "event");
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}

bool event_is(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void event_push_plain(lua_State *L, int index) {
  int event = lua_absindex(L, index);
  luaL_checkstack(L, 6, NULL);
  lua_createtable(L, 0, FIELD_COUNT);
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    lua_getfield(L, event, field_names[i]);
    lua_setfield(L, -2, field_names[i]);
  }
  for (lua_pushnil(L); lua_next(L, event); lua_pop(L, 1)) { /* what the handler itself has put there */
    if (lua_islightuserdata(L, -2)) continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
  }
}

void script_push_event(script_state *state, const annal_event *event) {
  lua_State *L = state->L;
  if (state->event != event) state->event_serial++;
  state->event = event;
  lua_createtable(L, 0, 2); /* the number and data: most handlers look at nothing else */
  lua_pushinteger(L, state->event_serial);
  lua_rawsetp(L, -2, &serial_key);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
}

void script_end_event(script_state *state) {
  state->event = NULL;
  state->event_serial++;
}

/* ---- Checking an event that is to be saved ------------------------------------------------------------------------------ */

typedef struct check {
  size_t index; /* of its declaration */
  const char *data;
  size_t size;
  base_buf *out;
} check;

/* [-1, +0, m] Runs the app's own check on the data at the top. It is free to change them: what is stored is already written. */
static int run_validate(lua_State *L, size_t index, annal_error *error) {
  script_state *state = state_of(L);
  const char *type = state->app->events[index].type;
  char what[LIMIT_TYPE_BYTES + 16];
  snprintf(what, sizeof what, "validate of %s", type);
  compile_push_event(L, index);
  lua_getfield(L, -1, "validate");
  lua_replace(L, -2);
  lua_insert(L, -2);
  int code = script_call(state, 1, 2, what, error);
  if (code) return code;
  bool accepted = lua_toboolean(L, -2);
  if (!accepted) {
    char reason[800] = "refused by its validate, which gives no reason (it has to return true for what it accepts)";
    if (lua_type(L, -1) == LUA_TSTRING) snprintf(reason, sizeof reason, "%s", lua_tostring(L, -1));
    failure_clean(reason);
    code = error_set(error, ANNAL_INVALID, "data", "%s: %s", type, reason);
  }
  lua_pop(L, 2);
  return code;
}

/* [-0, +0, m] The id of an instance is never empty: what is stored under "" no instance could be made of. */
static int check_keys(lua_State *L, size_t index, annal_error *error) {
  const script_app *app = state_of(L)->app;
  for (const script_event_key *key = app->event_details[index].keys; key; key = key->next) {
    lua_pushstring(L, key->identifier);
    bool empty = lua_rawget(L, -2) == LUA_TSTRING && lua_rawlen(L, -1) == 0;
    lua_pop(L, 1);
    if (!empty) continue;
    char where[LIMIT_NAME_BYTES + 8];
    snprintf(where, sizeof where, "data.%s", key->identifier);
    return error_set(error, ANNAL_INVALID, where, "%s: %s is empty, and as the id of an instance of %s it cannot be",
                     app->events[index].type, where, key->projection);
  }
  return 0;
}

int event_fit(lua_State *L, size_t index, base_buf *out, annal_error *error) {
  const script_app *app = state_of(L)->app;
  schema_result result;
  if (!schema_check(L, -1, app->event_details[index].schema, app->options.budget, &result)) {
    error_set(error, result.overrun ? ANNAL_BUDGET : ANNAL_INVALID, result.where, "%s", result.message);
    error_where_prefix(error, "data");
    return error_set(error, error->code, error->where, "%s %s", error->where, result.message);
  }
  int code = json_encode(L, -1, JSON_NO_NUL, out, error);
  if (code) {
    error_where_prefix(error, "data");
    return code;
  }
  return out->failed ? error_memory(error) : 0;
}

int event_accept(lua_State *L, size_t index, annal_error *error) {
  int code = check_keys(L, index, error);
  if (!code && state_of(L)->app->event_details[index].has_validate) return run_validate(L, index, error);
  lua_pop(L, 1);
  return code;
}

static int check_body(lua_State *L, void *context, annal_error *error) {
  const check *c = context;
  luaL_checkstack(L, 20, NULL);
  int code = json_decode(L, c->data, c->size, JSON_OBJECT | JSON_NO_NUL, error);
  if (code) {
    error_where_prefix(error, "data");
    return code;
  }
  code = event_fit(L, c->index, c->out, error);
  if (code == ANNAL_INVALID || code == ANNAL_BUDGET)
    return error_set(error, code, error->where, "%s: %s", state_of(L)->app->events[c->index].type, error->message);
  return code ? code : event_accept(L, c->index, error);
}

static int unknown_type(const script_app *app, const char *type, annal_error *error) {
  for (size_t i = 0; i < app->event_count; i++)
    if (near_name(type, app->events[i].type))
      return error_set(error, ANNAL_INVALID, "type", "the scripts declare no event %.128s (did you mean %s?)", type,
                       app->events[i].type);
  return error_set(error, ANNAL_INVALID, "type", "the scripts declare no event %.128s", type);
}

int script_check_event(script_state *state, const char *type, int *version, const char *data, size_t size, base_buf *out,
                       annal_error *error) {
  const script_app *app = state->app;
  const script_event *event = script_find_event(app, type);
  if (!event) return unknown_type(app, type, error);
  if (*version && *version != event->version)
    return error_set(error, ANNAL_INVALID, "version", "event %s has version %d, but the scripts declare version %d", type,
                     *version, event->version);
  check c = {.index = (size_t)(event - app->events), .data = data, .size = size, .out = out};
  size_t before = out->size;
  int code = script_protect(state, check_body, &c, error);
  if (code) {
    out->size = before;
    if (out->bytes) out->bytes[before] = 0;
    return code;
  }
  *version = event->version;
  return 0;
}
