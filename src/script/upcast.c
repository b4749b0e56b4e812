/* Events of older versions, upgraded to the version that the scripts declare. Role: reads (api/reader.c) and folds (fold/run.c) ask
 * for stored events, intakes (fold/intake.c) for those that come from elsewhere. What is stored is never changed.
 *
 * The functions of `upcast` get a copy of the data that is theirs alone, one after the other. What the last one gives goes through
 * its bytes before it is checked: it may hold tables that are constants of the script's, and a check puts what it checks into the
 * form that is stored. */
#include "script/internal.h"

#include "base/text.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <math.h>
#include <stdio.h>

typedef struct upgrade {
  script_state *state;
  size_t index; /* of the declaration */
  const script_event *declared;
  const annal_event *event;
  base_buf *out;    /* the upgraded data are appended */
  bool is_incoming; /* the event is to be stored: what does not fit the schema is its own fault, and not its upcasters' */
} upgrade;

/* ---- Which version ------------------------------------------------------------------------------------------------------ */

bool script_is_older(const script_app *app, const char *type, int version) {
  const script_event *declared = version > 0 ? script_find_event(app, type) : NULL;
  return declared && version < declared->version;
}

/* `event "e17" (CART_CHECKED_OUT, position 17)`: what messages begin with. */
static const char *name_event(const annal_event *event, char out[320]) {
  char id[96], type[96], position[32] = "";
  if (event->position > 0) snprintf(position, sizeof position, ", position %lld", (long long)event->position);
  bool has_id = event->id && event->id[0];
  snprintf(out, 320, "event %s%s%s (%s%s)", has_id ? "\"" : "", has_id ? text_show(event->id, id) : "without id",
           has_id ? "\"" : "", text_show(event->type, type), position);
  return out;
}

int script_look_at_version(const script_app *app, const annal_event *event, bool *older, annal_error *error) {
  char name[320];
  const script_event *declared = script_find_event(app, event->type);
  *older = declared && event->version < declared->version;
  if (!declared || event->version <= declared->version) return 0;
  return error_set(error, ANNAL_SCRIPT, declared->where,
                   "%s has version %d, but the scripts declare version %d: they are older than what is stored",
                   name_event(event, name), event->version, declared->version);
}

/* ---- The chain ---------------------------------------------------------------------------------------------------------- */

/* [-0, +1, m] The function that takes data of this version. */
static void push_upcaster(lua_State *L, const upgrade *u, int version) {
  compile_push_event(L, u->index);
  lua_getfield(L, -1, "upcast");
  lua_rawgeti(L, -1, version);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* [-0, +0, m] Puts the event and the step before the message of what went wrong, and the place of its function where there is none. */
static int explain(lua_State *L, const upgrade *u, int version, annal_error *error) {
  char name[320], where[sizeof error->where];
  lua_Debug place;
  int code = error->code;
  if (code != ANNAL_SCRIPT && code != ANNAL_BUDGET) return code;
  snprintf(where, sizeof where, "%s", error->where);
  if (!where[0]) {
    push_upcaster(L, u, version);
    if (lua_isfunction(L, -1) && lua_getinfo(L, ">S", &place) && place.source[0] == '@')
      snprintf(where, sizeof where, "%s:%d", place.source + 1, place.linedefined);
    else snprintf(where, sizeof where, "%s", u->declared->where);
  }
  return error_set(error, code, where, "%s, from version %d to %d: %s", name_event(u->event, name), version, version + 1,
                   error->message);
}

/* [-1, +1 on success, +0 otherwise, m] The data at the top, one version further. */
static int run_step(lua_State *L, const upgrade *u, int version, annal_error *error) {
  push_upcaster(L, u, version);
  lua_insert(L, -2);
  int code = script_call(u->state, 1, 1, "upcast", error);
  if (code) return explain(L, u, version, error);
  bool is_table = lua_istable(L, -1), nothing = lua_isnil(L, -1);
  if (is_table && !json_is_array(L, -1) && lua_rawlen(L, -1) == 0) return 0;
  error_set(error, ANNAL_SCRIPT, NULL, "its function returned %s: it has to return the data%s",
            nothing    ? "nothing"
            : is_table ? "an array"
                       : luaL_typename(L, -1),
            nothing ? ", also where it changed them in place" : "");
  lua_pop(L, 1);
  return explain(L, u, version, error);
}

/* [-1, +1 on success, +0 otherwise, m] What the last function gave, as values that nobody else has. */
static int copy_result(lua_State *L, const upgrade *u, annal_error *error) {
  size_t before = u->out->size;
  int code = json_encode(L, -1, JSON_NO_NUL, u->out, error);
  lua_pop(L, 1);
  if (!code && u->out->failed) return error_memory(error);
  if (!code) code = json_decode(L, u->out->bytes + before, u->out->size - before, JSON_OBJECT | JSON_NO_NUL, error);
  u->out->size = before;
  if (code != ANNAL_INVALID) return code;
  error_where_prefix(error, "data");
  error_set(error, ANNAL_SCRIPT, NULL, "%s: %s", error->where, error->message);
  return explain(L, u, u->declared->version - 1, error);
}

/* [-1, +1 on success, +0 otherwise, m] The data at the top, as stored, become those of the declared version. */
static int run_chain(lua_State *L, const upgrade *u, annal_error *error) {
  int code = 0;
  for (int version = u->event->version; version < u->declared->version && !code; version++) code = run_step(L, u, version, error);
  return code ? code : copy_result(L, u, error);
}

/* ---- What must stay as it is -------------------------------------------------------------------------------------------- */

/* Walks through the fields by which the event is selected: those that projections name, then those of the store. */
typedef struct fixed_fields {
  const script_event_key *key;
  size_t next;
} fixed_fields;

static const char *next_fixed(const upgrade *u, fixed_fields *at) {
  const script_options *options = &u->state->app->options;
  if (at->key) {
    const char *name = at->key->identifier;
    at->key = at->key->next;
    return name;
  }
  return at->next < options->identifier_count ? options->identifiers[at->next++] : NULL;
}

static fixed_fields first_fixed(const upgrade *u) { return (fixed_fields){.key = u->state->app->event_details[u->index].keys}; }

/* [-0, +n, m] The values of those fields in the data at `data`. */
static void push_fixed(lua_State *L, const upgrade *u, int data) {
  fixed_fields at = first_fixed(u);
  for (const char *name; (name = next_fixed(u, &at));) {
    luaL_checkstack(L, 20, "identifiers");
    lua_pushstring(L, name);
    lua_rawget(L, data);
  }
}

/* [-0, +0, -] Whether two values are selected by the same filters: what is no string, number or boolean is selected by none. */
static bool same_selection(lua_State *L, int one, int other) {
  int type = lua_type(L, one), other_type = lua_type(L, other);
  bool is_scalar = type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN;
  bool other_scalar = other_type == LUA_TSTRING || other_type == LUA_TNUMBER || other_type == LUA_TBOOLEAN;
  if (!is_scalar || !other_scalar) return is_scalar == other_scalar;
  if (!lua_rawequal(L, one, other) || lua_isinteger(L, one) != lua_isinteger(L, other)) return false;
  return type != LUA_TNUMBER || !signbit(lua_tonumber(L, one)) == !signbit(lua_tonumber(L, other)); /* 0.0 is not -0.0 */
}

/* [-0, +0, m] `values` is where those of push_fixed begin, `data` the upgraded ones. */
static int check_fixed(lua_State *L, const upgrade *u, int values, int data, annal_error *error) {
  fixed_fields at = first_fixed(u);
  for (const char *name; (name = next_fixed(u, &at)); values++) {
    lua_pushstring(L, name);
    lua_rawget(L, data);
    bool same = same_selection(L, values, lua_gettop(L));
    lua_pop(L, 1);
    if (same) continue;
    error_set(error, ANNAL_SCRIPT, NULL, "data.%s is changed, but by it events are selected, as they are stored: it has to stay",
              name);
    return explain(L, u, u->declared->version - 1, error);
  }
  return 0;
}

/* ---- The whole ---------------------------------------------------------------------------------------------------------- */

/* [-0, +1 on success, +0 otherwise, m] */
static int push_stored(lua_State *L, const upgrade *u, annal_error *error) {
  char name[320];
  const annal_event *event = u->event;
  int code = json_decode(L, event->data, event->data_size ? event->data_size : strlen(event->data), JSON_OBJECT, error);
  if (code != ANNAL_INVALID || u->is_incoming) return code;
  error_where_prefix(error, "data");
  return error_set(error, ANNAL_CORRUPT, error->where, "%s: %s", name_event(event, name), error->message);
}

/* [-0, +0, m] What was checked and found wanting. */
static int unfit(lua_State *L, const upgrade *u, annal_error *error) {
  char message[sizeof error->message];
  snprintf(message, sizeof message, "%s", error->message);
  if (u->is_incoming)
    return error_set(error, error->code, error->where, "%s: upgraded from version %d to %d, %s", u->declared->type,
                     u->event->version, u->declared->version, message);
  if (error->code == ANNAL_INVALID) error_set(error, ANNAL_SCRIPT, NULL, "%s", message);
  return explain(L, u, u->declared->version - 1, error);
}

static int upgrade_body(lua_State *L, void *context, annal_error *error) {
  const upgrade *u = context;
  luaL_checkstack(L, 20, NULL);
  int code = push_stored(L, u, error);
  if (code) return code;
  int stored = lua_gettop(L);
  push_fixed(L, u, stored);
  lua_pushvalue(L, stored);
  code = run_chain(L, u, error);
  if (code) return code;
  int data = lua_gettop(L);
  code = event_fit(L, u->index, u->out, error);
  if (code == ANNAL_INVALID || code == ANNAL_BUDGET) return unfit(L, u, error);
  if (!code) code = check_fixed(L, u, stored + 1, data, error);
  return !code && u->is_incoming ? event_accept(L, u->index, error) : code;
}

static int run_upgrade(upgrade *u, annal_error *error) {
  size_t before = u->out->size;
  u->declared = script_find_event(u->state->app, u->event->type);
  u->index = (size_t)(u->declared - u->state->app->events);
  int code = script_protect(u->state, upgrade_body, u, error);
  if (!code || !u->out->bytes) return code;
  u->out->size = before;
  u->out->bytes[before] = 0;
  return code;
}

int script_upcast(script_state *state, const annal_event *event, base_buf *data, annal_event *upgraded, annal_error *error) {
  upgrade u = {.state = state, .event = event, .out = data};
  size_t begin = data->size;
  int code = run_upgrade(&u, error);
  if (code) return code;
  annal_event made = *event; /* *upgraded may be the event itself */
  made.data = data->bytes + begin;
  made.data_size = data->size - begin;
  made.version = u.declared->version;
  *upgraded = made;
  return 0;
}

int script_check_older(script_state *state, const annal_event *event, annal_error *error) {
  base_buf checked;
  buf_init(&checked, state->app->env);
  upgrade u = {.state = state, .event = event, .out = &checked, .is_incoming = true};
  int code = run_upgrade(&u, error);
  buf_free(&checked);
  return code;
}
