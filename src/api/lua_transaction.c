/* Transactions in Lua: store:transaction(function(tx) … end), events and one's own rows together. Role: the tx object; what it
 * stands for is store/transaction.h. */
#include "api/lua_face.h"

#include "base/error.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* User value 2 is a list of what was staged: for saves the batch, whose events the store borrows, and the table that was answered; for
 * a row true and its table. The tables get what only the commit knows. */
typedef struct lua_transaction {
  face_child head;
  store_transaction *transaction;
  handle_inline kept;
  bool failed; /* a save could not be folded, and `failure` says why: nothing of the transaction is committed */
  annal_error failure;
  lua_Integer staged; /* length of that list */
  size_t rows;
  bool running; /* inside of its function */
} lua_transaction;

static void transaction_end(face_child *child) {
  lua_transaction *self = (lua_transaction *)child;
  store_transaction_end(self->transaction);
  handle_inline_end(&self->kept);
}

/* The transaction of a method's self. A finalizer that runs in the middle of a call is not to change what that call reads. */
static lua_transaction *transaction_of(lua_State *L) {
  lua_transaction *self = lua_touserdata(L, 1);
  if (self->head.calls > 1) face_misuse(L, "", "the transaction is in the middle of another call");
  return self;
}

/* ---- Staging ----------------------------------------------------------------------------------------------------------- */

/* [-2, +1, m] Remembers a key and the table on top of it, which stays. */
static void remember(lua_State *L, int owner, lua_transaction *self) {
  lua_getiuservalue(L, owner, 2);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, ++self->staged);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, ++self->staged);
  lua_pop(L, 1);
  lua_remove(L, -2);
}

void face_stage(lua_State *L, int owner, int index, const annal_condition *or_null) {
  annal_error error;
  lua_transaction *self = transaction_of(L);
  owner = lua_absindex(L, owner);
  index = lua_absindex(L, index);
  lua_getiuservalue(L, owner, 1);
  face_batch *batch = face_prepare(L, -1, index);
  face_push_batch(L, batch);
  lua_pushvalue(L, -2);
  lua_insert(L, -2);
  remember(L, owner, self); /* before it is staged: what is staged is borrowed from it */
  store_save save = {.events = batch->batch.events, .count = batch->batch.count, .condition = or_null};
  int code = store_transaction_stage(self->transaction, &save, &error);
  if (code) self->staged -= 2; /* the next takes its places */
  if (!code && !self->failed) {
    code = handle_inline_stage(&self->kept, &save, &error);
    self->failed = code != ANNAL_OK;
    if (code) self->failure = error;
  }
  if (code) face_raise(L, &error);
}

static int transaction_save_projection(lua_State *L) {
  lua_transaction *self = transaction_of(L);
  face_stage_row(L, 2, self->head.store->handle, self->transaction);
  self->rows++;
  lua_pushboolean(L, 1);
  lua_insert(L, -2);
  remember(L, 1, self);
  return 1;
}

/* ---- Statements -------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] The value at `index`, which a table or the scratch keeps. */
static store_value read_value(lua_State *L, int index, const char *where) {
  char shown[FACE_SHOW_BYTES];
  switch (lua_type(L, index)) {
  case LUA_TSTRING: {
    store_value value = {.kind = STORE_TEXT, .text = face_text(L, index, where)};
    value.size = strlen(value.text);
    return value;
  }
  case LUA_TNUMBER: {
    if (lua_isinteger(L, index)) return (store_value){.kind = STORE_INTEGER, .integer = lua_tointeger(L, index)};
    store_value value = {.kind = STORE_FLOAT, .number = lua_tonumber(L, index)};
    if (!isfinite(value.number)) face_wrong(L, where, "is %s, which not every database can hold", face_show(L, index, shown));
    return value;
  }
  case LUA_TBOOLEAN: return (store_value){.kind = STORE_BOOLEAN, .integer = lua_toboolean(L, index)};
  default: break;
  }
  if (!json_is_null(L, index))
    face_wrong(L, where, "must be a string, a number, true, false or annal.null, not %s", face_show(L, index, shown));
  return (store_value){.kind = STORE_NULL};
}

/* [-0, +0, e] The list of values at `index`, empty or absent where the statement takes none. */
static const store_value *read_values(face_scratch *scratch, int index, size_t *count) {
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES];
  *count = 0;
  if (lua_isnil(L, index)) return NULL;
  if (lua_type(L, index) == LUA_TTABLE) {
    lua_pushnil(L);
    if (!lua_next(L, index)) return NULL;
    lua_pop(L, 2);
  }
  *count = (size_t)face_list(L, index, "params", "values (annal.null for NULL)");
  store_value *values = face_room(scratch, *count, sizeof *values);
  for (size_t i = 0; i < *count; i++) {
    face_path_at(path, "params", (lua_Integer)i + 1);
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    values[i] = read_value(L, -1, path);
    face_keep(scratch);
  }
  return values;
}

/* [-0, +1, m] */
static void push_value(lua_State *L, const store_value *value) {
  switch (value->kind) {
  case STORE_TEXT: lua_pushlstring(L, value->text, value->size); break;
  case STORE_INTEGER: lua_pushinteger(L, value->integer); break;
  case STORE_FLOAT: lua_pushnumber(L, value->number); break;
  case STORE_BOOLEAN: lua_pushboolean(L, value->integer != 0); break;
  case STORE_NULL: json_push_null(L); break;
  }
}

static int transaction_execute(lua_State *L) {
  lua_transaction *self = transaction_of(L);
  face_scratch scratch = face_scratch_open(L);
  const char *sql = face_name(L, 2, "sql");
  size_t count;
  const store_value *params = read_values(&scratch, 3, &count);
  const store_result *result;
  annal_error error;
  if (store_transaction_execute(self->transaction, sql, params, count, &result, &error)) return face_raise(L, &error);
  if (!result->has_rows) {
    lua_pushinteger(L, result->changed);
    return 1;
  }
  lua_createtable(L, (int)result->rows, 0);
  for (size_t row = 0; row < result->rows; row++) {
    lua_createtable(L, 0, (int)result->columns);
    for (size_t i = 0; i < result->columns; i++) {
      push_value(L, &result->values[row * result->columns + i]);
      lua_setfield(L, -2, result->names[i]);
    }
    lua_rawseti(L, -2, (lua_Integer)row + 1);
  }
  return 1;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* Reads are the store's: what is committed, without what this transaction has staged or done. Its place is taken by the store; the
 * frame of store:transaction keeps it. */
static int read_store(lua_State *L, lua_CFunction body) {
  lua_getiuservalue(L, 1, 1);
  lua_replace(L, 1);
  return body(L);
}

static int read_latest_event(lua_State *L) { return read_store(L, face_get_latest_event); }
static int read_event_stream(lua_State *L) { return read_store(L, face_get_event_stream); }
static int read_event_streams(lua_State *L) { return read_store(L, face_get_event_streams); }
static int read_events(lua_State *L) { return read_store(L, face_events_iterator); }
static int read_projection_row(lua_State *L) { return read_store(L, face_get_projection); }
static int read_projections(lua_State *L) { return read_store(L, face_query_projections); }
static int read_projection(lua_State *L) { return read_store(L, face_projection); }
static int read_view(lua_State *L) { return read_store(L, face_view); }

static const face_method transaction_methods[] = {
    {"save_event", face_save_event, 1},
    {"save_events", face_save_events, 1},
    {"save_event_with_stream_validation", face_save_validated, 3},
    {"save_projection", transaction_save_projection, 1},
    {"execute", transaction_execute, 2},
    {"get_latest_event", read_latest_event, 2},
    {"get_event_stream", read_event_stream, 2},
    {"get_event_streams", read_event_streams, 1},
    {"events", read_events, 1},
    {"get_projection", read_projection_row, 1},
    {"query_projections", read_projections, 1},
    {"projection", read_projection, 3},
    {"view", read_view, 3},
    {NULL, NULL, 0},
};

static int transaction_close(lua_State *L) {
  const lua_transaction *self = face_to(L, 1, &face_transaction_class);
  if (self && self->running)
    return face_misuse(L, "", "a transaction ends with its function: return to commit it, raise an error to roll it back");
  return face_close_child(L, &face_transaction_class);
}

static int transaction_text(lua_State *L) {
  const lua_transaction *self = face_to(L, 1, &face_transaction_class);
  lua_pushstring(L, self && self->head.store ? "annal transaction" : "annal transaction (closed)");
  return 1;
}

const face_class face_transaction_class = {.name = "transaction",
                                           .methods = transaction_methods,
                                           .close = transaction_close,
                                           .text = transaction_text,
                                           .is_child = true};

/* ---- What is refused meanwhile ----------------------------------------------------------------------------------------- */

static bool is_one_of(const char *name, const char *const *names) {
  while (*names && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

void face_check_transaction(lua_State *L, const face_class *class, const char *method) {
  static const char *const reads[] = {"get_latest_event",
                                      "get_event_stream",
                                      "get_event_streams",
                                      "events",
                                      "follow",
                                      "get_projection",
                                      "query_projections",
                                      "projection",
                                      "view",
                                      "head",
                                      NULL};
  static const char *const projection_reads[] = {"view", "refresh", "apply", "from_history", NULL};
  const void *self = lua_touserdata(L, 1);
  const face_store *object = class->is_child ? ((const face_child *)self)->store : self;
  if (!object || !object->in_transaction || class == &face_transaction_class) return;
  if (class == &face_store_class && !is_one_of(method, reads)) {
    for (const face_method *own = transaction_methods; own->name; own++)
      if (strcmp(own->name, method) == 0)
        face_misuse(L, "", "inside of store:transaction use tx:%s, not store:%s", method, method);
    if (strcmp(method, "transaction") == 0)
      face_misuse(L, "", "store:transaction inside of store:transaction: they do not nest; go on with the tx at hand");
    face_misuse(L, "", "store:%s has no place inside of store:transaction; call it before or after", method);
  }
  if (class == &face_projection_class && !is_one_of(method, projection_reads))
    face_misuse(L, "", "inside of store:transaction use %s, not projection:%s",
                strcmp(method, "save_event") == 0
                    ? "tx:save_event_with_stream_validation(event, projection.latest_event_id, projection.streams)"
                    : "tx:save_projection",
                method);
}

/* ---- store:transaction ------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] Raises why it failed; who is in doubt is told the ids that settle it. */
static void raise_commit(lua_State *L, int owner, const lua_transaction *self, const annal_error *error) {
  face_push_error(L, error);
  if (!error->in_doubt) lua_error(L);
  lua_newtable(L);
  lua_Integer count = 0;
  lua_getiuservalue(L, owner, 2);
  for (lua_Integer i = 1; i < self->staged; i += 2) {
    lua_rawgeti(L, -1, i);
    const face_batch *batch = face_to(L, -1, &face_batch_class);
    lua_pop(L, 1);
    for (size_t j = 0; batch && j < batch->batch.count; j++) {
      lua_pushstring(L, batch->batch.events[j].id);
      lua_rawseti(L, -3, ++count);
    }
  }
  lua_pop(L, 1);
  lua_setfield(L, -2, "ids");
  lua_error(L);
}

/* [-0, +0, m] Gives the table on top what its event got. */
static void place_event(lua_State *L, const annal_event *event) {
  if (lua_type(L, -1) != LUA_TTABLE) return;
  char time[28];
  annal_time_text(event->created_at, time);
  lua_pushstring(L, "position");
  lua_pushinteger(L, event->position);
  lua_rawset(L, -3);
  lua_pushstring(L, "created_at");
  lua_pushstring(L, time);
  lua_rawset(L, -3);
}

/* [-0, +0, m] The tables that tx:save_… answered, now as stored. */
static void place_all(lua_State *L, int owner, const lua_transaction *self, const store_status *statuses) {
  lua_getiuservalue(L, owner, 2);
  for (lua_Integer i = 1; i < self->staged; i += 2) {
    lua_rawgeti(L, -1, i);
    const face_batch *batch = face_to(L, -1, &face_batch_class);
    lua_rawgeti(L, -2, i + 1);
    if (!batch && statuses) {
      lua_pushstring(L, "status");
      lua_pushstring(L, store_status_name(*statuses++));
      lua_rawset(L, -3);
    } else if (batch && !batch->is_list) {
      place_event(L, batch->batch.events);
    }
    for (size_t j = 0; batch && batch->is_list && j < batch->batch.count; j++) {
      lua_rawgeti(L, -1, (lua_Integer)j + 1);
      place_event(L, &batch->batch.events[j]);
      lua_pop(L, 1);
    }
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
}

/* [-0, +0, e] The commit of the transaction at `owner`. */
static void commit(lua_State *L, int owner, lua_transaction *self) {
  face_scratch scratch = face_scratch_open(L);
  store_status *statuses = face_room(&scratch, self->rows, sizeof *statuses);
  bool was_stored = false;
  annal_error error = self->failure;
  if (self->failed || handle_inline_commit(&self->kept, self->transaction, &error) ||
      store_transaction_commit(self->transaction, statuses, &was_stored, &error))
    raise_commit(L, owner, self, &error);
  place_all(L, owner, self, was_stored ? NULL : statuses);
  lua_settop(L, scratch.anchor - 1);
}

/* [-2, +results, e] Calls the function at 2 with the transaction at 1, and commits. */
static int run_and_commit(lua_State *L) {
  lua_pushvalue(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  commit(L, 1, lua_touserdata(L, 1));
  return lua_gettop(L) - 1;
}

/* The function's error rolls back and is raised again; what it returns is returned after the commit. Whatever way it ends, the
 * transaction has ended when this returns or raises. */
int face_transaction(lua_State *L) {
  face_store *object = face_self(L);
  char shown[FACE_SHOW_BYTES];
  annal_error error;
  if (lua_type(L, 2) != LUA_TFUNCTION)
    return face_wrong(L, "", "of store:transaction must be a function, which is given the tx, not %s", face_show(L, 2, shown));
  luaL_checkstack(L, 20, "annal transaction");
  lua_transaction *self = face_new_child(L, 1, sizeof *self, &face_transaction_class, transaction_end);
  lua_newtable(L);
  lua_setiuservalue(L, 3, 2);
  if (store_begin(object->handle->store, &self->transaction, &error)) return face_raise(L, &error);
  handle_inline_begin(object->handle, &self->kept);
  lua_pushcfunction(L, run_and_commit);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 2);
  object->in_transaction = self->running = true;
  int status = lua_pcall(L, 2, LUA_MULTRET, 0);
  object->in_transaction = self->running = false;
  face_end_child(&self->head);
  if (status != LUA_OK) return lua_error(L);
  return lua_gettop(L) - 3;
}
