/* A projection as a script state runs it; see program.h. */
#include "fold/program.h"

#include "base/error.h"
#include "fold/state.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <string.h>

static const char programs_key; /* its address: programs of a state, by projection, in the state's registry */

int fold_program_type(const fold_program *program, const char *type) {
  const script_projection *projection = program->projection;
  for (size_t i = 0; i < projection->type_count && i < 8; i++) /* the app's own text, in a chunk of events (chunk.h) */
    if (projection->types[i] == type) return (int)i;
  size_t low = 0, high = projection->type_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(type, projection->types[middle]);
    if (order == 0) return (int)middle;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return -1;
}

/* ---- Making one -------------------------------------------------------------------------------------------------------- */

/* Where things stand on the stack while a program is made. */
typedef struct maker {
  lua_State *L;
  script_state *state;
  const script_projection *projection;
  base_buf *scratch;
  annal_error *error;
  int definition; /* the table of script_push_projection */
  int fields;     /* its list of reducers: one without a name for `whole` */
  int anchors;
  int places;  /* a list of { field, first_key, key_count } */
  int initial; /* the initial state */
  fold_program program;
} maker;

/* [-1, +0, m] Puts the value on top into the anchors; answers where. */
static int anchor(maker *m) {
  int at = (int)lua_rawlen(m->L, m->anchors) + 1;
  lua_rawseti(m->L, m->anchors, at);
  return at;
}

/* [-0, +1, m] A member of the table at `index`. */
static int push_member(lua_State *L, int index, const char *name) {
  index = lua_absindex(L, index);
  lua_pushstring(L, name);
  return lua_rawget(L, index);
}

/* [-0, +1, m] The fields as a list of reducers; for a whole state a list of the one. */
static void push_fields(maker *m) {
  m->program.has_fields = push_member(m->L, m->definition, "fields") == LUA_TTABLE;
  if (m->program.has_fields) return;
  lua_pop(m->L, 1);
  lua_createtable(m->L, 1, 0);
  push_member(m->L, m->definition, "whole");
  lua_rawseti(m->L, -2, 1);
}

/* [-0, +1 on success, +0 otherwise, m] What the reducer on top begins with. */
static int push_initial(maker *m) {
  lua_State *L = m->L;
  int type = push_member(L, -1, "init");
  if (type == LUA_TFUNCTION) {
    int code = script_call(m->state, 0, 1, "init", m->error);
    if (code) return code;
    type = lua_type(L, -1);
  }
  if (type == LUA_TNIL) {
    lua_pop(L, 1);
    json_push_null(L);
  }
  return ANNAL_OK;
}

/* [-0, +1 on success, +0 otherwise, m] The initial state as the reducers give it. */
static int push_given_initial(maker *m) {
  lua_State *L = m->L;
  lua_createtable(L, 0, m->program.field_count);
  for (int i = 1; i <= m->program.field_count; i++) {
    lua_rawgeti(L, m->fields, i);
    int code = push_initial(m);
    if (code) {
      lua_pop(L, 2);
      return code;
    }
    if (!m->program.has_fields) {
      lua_replace(L, -3);
      lua_pop(L, 1);
      return ANNAL_OK;
    }
    push_member(L, -2, "name");
    lua_insert(L, -2);
    lua_rawset(L, -4);
    lua_pop(L, 1);
  }
  return ANNAL_OK;
}

/* [-0, +1 on success, +0 otherwise, m] The initial state as every instance begins with it: a copy by way of JSON, in which each
 * array carries the array metatable whether or not its script said `array`. Two fields may share one reducer, hence its `init`,
 * so a table met twice is copied twice here. */
static int push_clean_initial(maker *m) {
  lua_State *L = m->L;
  int code = push_given_initial(m);
  if (code) return code;
  buf_clear(m->scratch);
  code = json_encode(L, lua_gettop(L), JSON_NO_NUL, m->scratch, m->error);
  lua_pop(L, 1);
  return code ? code : json_decode(L, m->scratch->bytes, m->scratch->size, 0, m->error);
}

/* [-0, +0, m] Finds the arrays in the value on top, which is part `field` of the initial state, going through objects only: what
 * stands inside of an array has no place of its own. The keys on the way stand in the `depth` slots above `keys`. */
static void find_places(maker *m, int field, int keys, int depth) {
  lua_State *L = m->L;
  luaL_checkstack(L, 8, "initial state");
  int value = lua_gettop(L);
  if (!lua_istable(L, value)) return;
  if (json_is_array(L, value)) {
    program_place place = {.field = field, .first_key = (int)lua_rawlen(L, m->anchors) + 1, .key_count = depth};
    for (int i = 1; i <= depth; i++) {
      lua_rawgeti(L, keys, i);
      anchor(m);
    }
    program_place *kept = lua_newuserdatauv(L, sizeof place, 0);
    *kept = place;
    lua_rawseti(L, m->places, (lua_Integer)lua_rawlen(L, m->places) + 1);
    return;
  }
  lua_pushnil(L);
  while (lua_next(L, value)) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, keys, depth + 1);
    find_places(m, field, keys, depth + 1);
    lua_pop(L, 1);
  }
}

/* [-0, +0, m] */
static void find_all_places(maker *m) {
  lua_State *L = m->L;
  lua_newtable(L);
  int keys = lua_gettop(L);
  for (int i = 0; i < m->program.field_count; i++) {
    if (m->program.has_fields) {
      lua_rawgeti(L, m->anchors, m->program.first_name + i);
      lua_rawget(L, m->initial);
    } else {
      lua_pushvalue(L, m->initial);
    }
    find_places(m, i, keys, 0);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* [-0, +0, m] Names, view, shape and the bytes of the initial state go into the anchors. */
static int anchor_definition(maker *m) {
  lua_State *L = m->L;
  for (int i = 1; m->program.has_fields && i <= m->program.field_count; i++) {
    lua_rawgeti(L, m->fields, i);
    push_member(L, -1, "name");
    int at = anchor(m);
    if (i == 1) m->program.first_name = at;
    lua_pop(L, 1);
  }
  if (push_member(L, m->definition, "view") == LUA_TFUNCTION) m->program.view = anchor(m);
  else lua_pop(L, 1);
  if (push_member(L, m->definition, "shape") == LUA_TFUNCTION) m->program.shape = anchor(m);
  else lua_pop(L, 1);
  buf_clear(m->scratch);
  int code = fold_state_encode(L, m->initial, m->scratch, m->error);
  if (code) return code;
  lua_pushlstring(L, m->scratch->bytes, m->scratch->size);
  m->program.initial = lua_tolstring(L, -1, &m->program.initial_size);
  anchor(m);
  return ANNAL_OK;
}

/* [-0, +0, m] Anchors the handler of one type in the reducer on top, if it has one. */
static bool anchor_handler(maker *m, const char *type, int field, program_handler *handler) {
  lua_State *L = m->L;
  int reducer = lua_gettop(L);
  if (push_member(L, reducer, "on") != LUA_TTABLE || push_member(L, -1, type) != LUA_TFUNCTION) {
    lua_settop(L, reducer);
    return false;
  }
  *handler = (program_handler){.field = field, .function = anchor(m)};
  lua_pop(L, 1);
  if (!m->program.has_fields) {
    handler->what = "reducer";
    return true;
  }
  lua_pushliteral(L, "reducer ");
  push_member(L, -2, "name");
  lua_concat(L, 2);
  handler->what = lua_tostring(L, -1);
  anchor(m);
  return true;
}

/* [-0, +1, m] The userdata with the program and its tables. There can be no more handlers than types times fields. */
static const fold_program *push_program(maker *m) {
  lua_State *L = m->L;
  size_t types = m->projection->type_count, fields = (size_t)m->program.field_count;
  m->program.place_count = (int)lua_rawlen(L, m->places);
  size_t places = (size_t)m->program.place_count;
  size_t size = sizeof(fold_program) + types * fields * sizeof(program_handler) + places * sizeof(program_place) +
                (types + 1) * sizeof(int);
  char *block = lua_newuserdatauv(L, size, 1);
  fold_program *program = (fold_program *)(void *)block;
  program_handler *handlers = (program_handler *)(void *)(block + sizeof *program);
  program_place *place = (program_place *)(void *)(handlers + types * fields);
  int *first = (int *)(void *)(place + places);
  int count = 0;
  for (size_t t = 0; t < types; t++) {
    first[t] = count;
    for (int f = 0; f < (int)fields; f++) {
      lua_rawgeti(L, m->fields, f + 1);
      if (anchor_handler(m, m->projection->types[t], f, &handlers[count])) count++;
      lua_pop(L, 1);
    }
  }
  first[types] = count;
  for (size_t i = 0; i < places; i++) {
    lua_rawgeti(L, m->places, (lua_Integer)i + 1);
    place[i] = *(const program_place *)lua_touserdata(L, -1);
    lua_pop(L, 1);
  }
  *program = m->program;
  program->projection = m->projection;
  program->handlers = handlers;
  program->places = place;
  program->first_handler = first;
  lua_pushvalue(L, m->anchors);
  lua_setiuservalue(L, -2, 1);
  return program;
}

/* [-0, +1 on success, +0 otherwise, m] */
static int make_program(maker *m, const fold_program **program) {
  lua_State *L = m->L;
  luaL_checkstack(L, 16, "projection");
  int base = lua_gettop(L);
  script_push_projection(m->state, m->projection);
  m->definition = lua_gettop(L);
  push_fields(m);
  m->fields = lua_gettop(L);
  m->program.field_count = (int)lua_rawlen(L, m->fields);
  lua_newtable(L);
  m->anchors = lua_gettop(L);
  lua_newtable(L);
  m->places = lua_gettop(L);
  int code = push_clean_initial(m);
  if (!code) {
    m->initial = lua_gettop(L);
    code = anchor_definition(m);
  }
  if (code) {
    lua_settop(L, base);
    return code;
  }
  find_all_places(m);
  *program = push_program(m);
  lua_replace(L, base + 1);
  lua_settop(L, base + 1);
  return ANNAL_OK;
}

/* Says whose initial state it is that is none. */
static int explain(const script_projection *projection, annal_error *error) {
  int code = error->code;
  if (code == ANNAL_INVALID) code = ANNAL_SCRIPT;
  if (code != ANNAL_SCRIPT && code != ANNAL_BUDGET) return code;
  const char *where = error->where[0] ? error->where : projection->where;
  return error_set(error, code, where, "initial state of %s: %s", projection->name, error->message);
}

int fold_program_push(script_state *state, const script_projection *projection, base_buf *scratch, const fold_program **program,
                      annal_error *error) {
  lua_State *L = script_lua(state);
  luaL_checkstack(L, 8, "projection");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &programs_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &programs_key);
  }
  if (lua_rawgetp(L, -1, projection) != LUA_TUSERDATA) {
    lua_pop(L, 1);
    maker m = {.L = L, .state = state, .projection = projection, .scratch = scratch, .error = error};
    int code = make_program(&m, program);
    if (code) {
      lua_pop(L, 1);
      return explain(projection, error);
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, projection);
  }
  *program = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, 1);
  lua_replace(L, -3);
  return ANNAL_OK;
}
