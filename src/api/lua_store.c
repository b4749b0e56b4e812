/* The store as a Lua object, and how objects are made: classes, methods, children, closing. Role: annal.open and everything
 * that `store:` offers stands in the table of methods here. */
#include "api/lua_face.h"

#include "base/error.h"
#include "base/limits.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

static const char env_key = 0, opened_key = 0;

/* ---- Classes ----------------------------------------------------------------------------------------------------------- */

void *face_to(lua_State *L, int index, const face_class *class) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, class);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? lua_touserdata(L, index) : NULL;
}

void face_set_class(lua_State *L, const face_class *class) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, class);
  lua_setmetatable(L, -2);
}

/* The body runs protected so that the counts are right again whatever it raises: while they are not zero, nothing that a
 * finalizer does in the middle of the call can close what it uses. */
static int run_body(lua_State *L, int *own_calls, int *store_calls, lua_CFunction body) {
  luaL_checkstack(L, 4, "annal");
  lua_pushcfunction(L, body);
  lua_insert(L, 1);
  ++*store_calls;
  if (own_calls) ++*own_calls;
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  if (own_calls) --*own_calls;
  --*store_calls;
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* [-arguments, +results, e] The open object at 1, guarded during `body`. */
static int call_guarded(lua_State *L, const face_class *class, lua_CFunction body) {
  void *self = lua_touserdata(L, 1);
  if (class->is_child) {
    face_child *child = self;
    if (!child->store) return face_misuse(L, "", "the %s is closed", class->name);
    return run_body(L, &child->calls, &child->store->calls, body);
  }
  face_store *object = self;
  if (!object->handle) return face_misuse(L, "", "the store is closed");
  return run_body(L, NULL, &object->calls, body);
}

/* Upvalues: class, method. */
static int method_call(lua_State *L) {
  const face_class *class = lua_touserdata(L, lua_upvalueindex(1));
  const face_method *method = lua_touserdata(L, lua_upvalueindex(2));
  if (!face_to(L, 1, class))
    return face_misuse(L, "", "%s:%s is called with a colon, on a %s", class->name, method->name, class->name);
  if (lua_gettop(L) - 1 > method->most)
    return face_misuse(L, "", "%s:%s takes at most %d arguments, not %d", class->name, method->name, method->most,
                       lua_gettop(L) - 1);
  face_check_transaction(L, class, method->name);
  lua_settop(L, method->most + 1);
  return call_guarded(L, class, method->body);
}

/* Upvalues: class, table of methods. */
static int object_index(lua_State *L) {
  const face_class *class = lua_touserdata(L, lua_upvalueindex(1));
  if (!face_to(L, 1, class)) return face_misuse(L, "", "this is no %s", class->name);
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
  char what[64], shown[FACE_SHOW_BYTES];
  if (lua_type(L, 2) != LUA_TSTRING) return face_misuse(L, "", "%s is no field of a %s", face_show(L, 2, shown), class->name);
  const char *name = lua_tostring(L, 2);
  for (const char *const *field = class->fields; field && *field; field++)
    if (strcmp(*field, name) == 0) {
      lua_settop(L, 2);
      return call_guarded(L, class, class->get);
    }
  const char *known[48];
  size_t count = 0;
  for (const face_method *m = class->methods; m->name; m++) known[count++] = m->name;
  for (const char *const *field = class->fields; field && *field; field++) known[count++] = *field;
  known[count] = NULL;
  snprintf(what, sizeof what, "%s of %s", class->fields ? "field or method" : "method", class->name);
  return face_unknown(L, "", what, name, known);
}

static int object_newindex(lua_State *L) {
  const face_class *class = lua_touserdata(L, lua_upvalueindex(1));
  char shown[FACE_SHOW_BYTES];
  return face_misuse(L, "", "a %s has no fields to set: %s", class->name, face_show(L, 2, shown));
}

static int object_call(lua_State *L) {
  const face_class *class = lua_touserdata(L, lua_upvalueindex(1));
  if (!face_to(L, 1, class)) return face_misuse(L, "", "this is no %s", class->name);
  lua_settop(L, 1);
  return call_guarded(L, class, class->call);
}

/* [-0, +0, m] metatable[name] = closure over the class; the metatable is on top. */
static void set_meta(lua_State *L, const face_class *class, const char *name, lua_CFunction function) {
  lua_pushlightuserdata(L, (void *)class);
  lua_pushcclosure(L, function, 1);
  lua_setfield(L, -2, name);
}

void face_open_class(lua_State *L, const face_class *class) {
  lua_createtable(L, 0, 10);
  lua_newtable(L);
  for (const face_method *method = class->methods; method->name; method++) {
    lua_pushlightuserdata(L, (void *)class);
    lua_pushlightuserdata(L, (void *)method);
    lua_pushcclosure(L, method_call, 2);
    lua_setfield(L, -2, method->name);
  }
  lua_pushcfunction(L, class->close); /* not by method_call: closing what is closed is no misuse */
  lua_setfield(L, -2, "close");
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods"); /* for tools that complete names */
  lua_pushlightuserdata(L, (void *)class);
  lua_insert(L, -2);
  lua_pushcclosure(L, object_index, 2);
  lua_setfield(L, -2, "__index");
  set_meta(L, class, "__newindex", object_newindex);
  if (class->call) set_meta(L, class, "__call", object_call);
  lua_pushcfunction(L, class->close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, class->close);
  lua_setfield(L, -2, "__close");
  lua_pushcfunction(L, class->text);
  lua_setfield(L, -2, "__tostring");
  lua_pushfstring(L, "annal.%s", class->name);
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, class);
}

/* ---- What a Lua state needs -------------------------------------------------------------------------------------------- */

const base_env *face_env(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &env_key);
  const base_env *env = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return env;
}

void face_open(lua_State *L, const base_env *env) {
  luaL_checkstack(L, 20, "annal");
  int opened = lua_rawgetp(L, LUA_REGISTRYINDEX, &opened_key);
  int has_env = lua_rawgetp(L, LUA_REGISTRYINDEX, &env_key);
  lua_pop(L, 2);
  if (opened == LUA_TBOOLEAN) return;
  /* First of all, since json_open keeps pointing at it; when memory runs out below, the next attempt goes on with the same. It
   * has no finalizer and so outlives every object that has one, also while the state is closed. */
  if (has_env != LUA_TUSERDATA) {
    base_env *copy = lua_newuserdatauv(L, sizeof *copy, 0);
    *copy = *env;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &env_key);
  }
  json_open(L, face_env(L));
  face_open_errors(L);
  face_open_class(L, &face_store_class);
  face_open_class(L, &face_cursor_class);
  face_open_class(L, &face_follower_class);
  face_open_class(L, &face_batch_class);
  face_open_class(L, &face_projection_class);
  face_open_class(L, &face_transaction_class);
  lua_pushboolean(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &opened_key);
}

/* ---- Children ---------------------------------------------------------------------------------------------------------- */

void *face_new_child(lua_State *L, int index, size_t size, const face_class *class, void (*end)(face_child *child)) {
  index = lua_absindex(L, index);
  face_child *child = lua_newuserdatauv(L, size, 2);
  memset(child, 0, size);
  lua_pushvalue(L, index);
  lua_setiuservalue(L, -2, 1); /* keeps the store object as long as its child */
  face_store *object = lua_touserdata(L, index);
  child->store = object;
  child->end = end;
  child->next = object->children;
  child->link = &object->children;
  if (child->next) child->next->link = &child->next;
  object->children = child;
  face_set_class(L, class);
  return child;
}

void face_end_child(face_child *child) {
  if (!child->store) return;
  *child->link = child->next;
  if (child->next) child->next->link = child->link;
  child->end(child);
  child->store = NULL;
}

int face_close_child(lua_State *L, const face_class *class) {
  face_child *child = face_to(L, 1, class);
  if (!child) return face_misuse(L, "", "%s:close is called with a colon, on a %s", class->name, class->name);
  if (child->calls > 0) return face_misuse(L, "", "the %s cannot be closed in the middle of a call on it", class->name);
  face_end_child(child);
  return 0;
}

/* ---- The store object -------------------------------------------------------------------------------------------------- */

face_store *face_new_store(lua_State *L, annal_store *handle, bool owned) {
  face_store *object = lua_newuserdatauv(L, sizeof *object, 0);
  *object = (face_store){.handle = handle, .owned = owned};
  face_set_class(L, &face_store_class);
  return object;
}

face_store *face_self(lua_State *L) { return lua_touserdata(L, 1); }

static int store_close_object(lua_State *L) {
  face_store *object = face_to(L, 1, &face_store_class);
  if (!object) return face_misuse(L, "", "store:close is called with a colon, on a store");
  if (!object->handle) return 0;
  if (object->calls > 0) return face_misuse(L, "", "the store cannot be closed in the middle of a call on it");
  while (object->children) face_end_child(object->children);
  annal_store *handle = object->handle;
  object->handle = NULL;
  if (object->owned) handle_close(handle);
  return 0;
}

/* Without its location: a password may stand there. */
static int store_text(lua_State *L) {
  face_store *object = face_to(L, 1, &face_store_class);
  lua_pushstring(L, object && object->handle ? "annal store" : "annal store (closed)");
  return 1;
}

static int store_load(lua_State *L) {
  face_store *object = face_self(L);
  annal_error error;
  if (handle_load(object->handle, face_name(L, 2, "directory"), &error)) return face_raise(L, &error);
  return 0;
}

static int store_reload(lua_State *L) {
  annal_error error;
  bool changed;
  if (handle_reload(face_self(L)->handle, &changed, &error)) return face_raise(L, &error);
  lua_pushboolean(L, changed);
  return 1;
}

/* [-1, +1, e] run_once(seconds) → whether there was something to do */
static int store_run_once(lua_State *L) {
  annal_error error;
  bool done = false;
  double seconds = 0;
  if (!lua_isnil(L, 2)) {
    if (lua_type(L, 2) != LUA_TNUMBER || !(lua_tonumber(L, 2) >= 0)) {
      char shown[FACE_SHOW_BYTES];
      face_wrong(L, "seconds", "must be a number of at least 0, not %s", face_show(L, 2, shown));
    }
    seconds = lua_tonumber(L, 2);
  }
  if (handle_run_once(face_self(L)->handle, seconds, &done, &error)) return face_raise(L, &error);
  lua_pushboolean(L, done);
  return 1;
}

static int store_head_of(lua_State *L) {
  store_head_info head;
  annal_error error;
  if (store_head(face_self(L)->handle->store, &head, &error)) return face_raise(L, &error);
  lua_pushinteger(L, head.position);
  if (head.id[0]) lua_pushstring(L, head.id);
  else lua_pushnil(L);
  return 2;
}

static const face_method store_methods[] = {
    {"save_event", face_save_event, 1},
    {"save_events", face_save_events, 1},
    {"save_event_with_stream_validation", face_save_validated, 3},
    {"get_latest_event", face_get_latest_event, 2},
    {"get_event_stream", face_get_event_stream, 2},
    {"get_event_streams", face_get_event_streams, 1},
    {"events", face_events_iterator, 1},
    {"follow", face_follow, 1},
    {"save_projection", face_save_projection, 1},
    {"get_projection", face_get_projection, 1},
    {"query_projections", face_query_projections, 1},
    {"projection", face_projection, 3},
    {"view", face_view, 3},
    {"transaction", face_transaction, 1},
    {"call", face_call, 3},
    {"load", store_load, 1},
    {"reload", store_reload, 0},
    {"run_once", store_run_once, 1},
    {"rebuild", face_rebuild, 1},
    {"stats", face_stats, 0},
    {"head", store_head_of, 0},
    {NULL, NULL, 0},
};

const face_class face_store_class = {
    .name = "store",
    .methods = store_methods,
    .close = store_close_object,
    .text = store_text,
};

/* ---- annal.open -------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] A list of names of fields. */
static const char *const *read_names(face_scratch *scratch, int index, const char *key, size_t *count) {
  lua_State *L = scratch->L;
  if (face_field(L, index, key) == LUA_TNIL) {
    lua_pop(L, 1);
    return NULL;
  }
  lua_Integer size = face_list(L, -1, key, "names of fields");
  const char **names = face_room(scratch, (size_t)size, sizeof *names);
  for (lua_Integer i = 1; i <= size; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, key, i);
    lua_rawgeti(L, -1, i);
    names[i - 1] = face_name(L, -1, path);
    face_keep(scratch);
  }
  lua_pop(L, 1);
  *count = (size_t)size;
  return names;
}

/* [-0, +0, e] indexes = { { name, on, sql }, … } */
static void read_indexes(face_scratch *scratch, int index, annal_options *options) {
  static const char *const keys[] = {"name", "on", "sql", NULL};
  lua_State *L = scratch->L;
  if (face_field(L, index, "indexes") == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  lua_Integer size = face_list(L, -1, "indexes", "indexes");
  annal_index *indexes = face_room(scratch, (size_t)size, sizeof *indexes);
  for (lua_Integer i = 1; i <= size; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, "indexes", i);
    lua_rawgeti(L, -1, i);
    face_check_keys(L, -1, path, "field of an index", keys);
    annal_index *one = &indexes[i - 1];
    one->name = face_text_field(scratch, -1, path, "name");
    one->on = face_text_field(scratch, -1, path, "on");
    one->sql = face_text_field(scratch, -1, path, "sql");
    if (!one->name || !one->on || !one->sql) face_misuse(L, path, "an index needs name, on and sql");
    if (strcmp(one->on, "events") != 0 && strcmp(one->on, "projections") != 0)
      face_misuse(L, path, "on must be \"events\" or \"projections\", not \"%.80s\"", one->on);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  options->indexes = indexes;
  options->index_count = (size_t)size;
}

/* [-0, +0, e] The boolean option, `otherwise` where it is absent. */
static bool read_switch(lua_State *L, int index, const char *key, bool otherwise) {
  bool value = otherwise;
  if (face_field(L, index, key) != LUA_TNIL) value = face_boolean(L, -1, key);
  lua_pop(L, 1);
  return value;
}

/* [-0, +0, e] The number of seconds, 0 (the default) where it is absent. */
static double read_seconds(lua_State *L, int index, const char *key) {
  double value = 0;
  char shown[FACE_SHOW_BYTES];
  if (face_field(L, index, key) != LUA_TNIL) {
    value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    if (!(value > 0 && value <= LIMIT_TIMEOUT_MOST_SECONDS))
      face_wrong(L, key, "must be a number of seconds above 0 and not above %d, not %s", (int)LIMIT_TIMEOUT_MOST_SECONDS,
                 face_show(L, -1, shown));
  }
  lua_pop(L, 1);
  return value;
}

/* [-0, +0, e] The count, 0 (the default) where it is absent. */
static lua_Integer read_count(lua_State *L, int index, const char *key) {
  lua_Integer value = 0;
  if (face_field(L, index, key) != LUA_TNIL) value = face_integer(L, -1, key, 1);
  lua_pop(L, 1);
  return value;
}

/* [-0, +0, e] Bytes of the cache: 0 says that there is to be none, which is 1 in C. */
static size_t read_cache(lua_State *L, int index) {
  size_t bytes = 0;
  if (face_field(L, index, "cache") != LUA_TNIL) bytes = (size_t)face_integer(L, -1, "cache", 0) + (lua_tointeger(L, -1) == 0);
  lua_pop(L, 1);
  return bytes;
}

static void read_options(face_scratch *scratch, int index, annal_options *options) {
  static const char *const keys[] = {
      "app",          "schema",      "events",    "projections", "data_indexes", "projection_indexes",
      "indexes",      "create",      "read_only", "reload",      "pooled",       "timeout",
      "lock_timeout", "connections", "budget",    "memory",      "cache",        NULL,
  };
  lua_State *L = scratch->L;
  face_check_keys(L, index, "", "option of annal.open", keys);
  options->app = face_text_field(scratch, index, "", "app");
  options->schema = face_text_field(scratch, index, "", "schema");
  options->events = face_text_field(scratch, index, "", "events");
  options->projections = face_text_field(scratch, index, "", "projections");
  options->data_indexes = read_names(scratch, index, "data_indexes", &options->data_index_count);
  options->projection_indexes = read_names(scratch, index, "projection_indexes", &options->projection_index_count);
  read_indexes(scratch, index, options);
  options->no_create = !read_switch(L, index, "create", true);
  options->read_only = read_switch(L, index, "read_only", false);
  options->no_reload = !read_switch(L, index, "reload", true);
  options->pooled = read_switch(L, index, "pooled", false);
  options->timeout = read_seconds(L, index, "timeout");
  options->lock_timeout = read_seconds(L, index, "lock_timeout");
  lua_Integer connections = read_count(L, index, "connections");
  if (connections > 1000) face_wrong(L, "connections", "must be at most 1000, not %lld", (long long)connections);
  options->connections = (int)connections;
  options->budget = read_count(L, index, "budget");
  options->memory = (size_t)read_count(L, index, "memory");
  options->cache = read_cache(L, index);
}

int face_open_store(lua_State *L) {
  if (lua_gettop(L) > 2) return face_misuse(L, "", "annal.open takes at most 2 arguments, not %d", lua_gettop(L));
  lua_settop(L, 2);
  face_scratch scratch = face_scratch_open(L);
  annal_options options = {.size = sizeof options};
  const char *location = face_name(L, 1, "location");
  if (!lua_isnil(L, 2)) read_options(&scratch, 2, &options);
  /* The object is there before the handle is: a handle is never without an owner. */
  face_store *object = face_new_store(L, NULL, true);
  annal_error error;
  if (handle_open(location, &options, &object->handle, &error)) {
    object->handle = NULL;
    return face_raise(L, &error);
  }
  return 1;
}
