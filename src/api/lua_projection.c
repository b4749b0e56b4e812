/* Projection objects: one instance of a projection, as of when it was last read. Role: store:projection and store:view. */
#include "api/lua_face.h"

#include "base/error.h"
#include "base/text.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <string.h>

typedef struct lua_projection {
  face_child head;
  fold_instance *instance;
} lua_projection;

static void projection_end(face_child *child) { fold_close(((lua_projection *)child)->instance); }

static fold_instance *instance_of(lua_State *L) { return ((lua_projection *)lua_touserdata(L, 1))->instance; }

/* [-0, +1, e] An instance of the store at 1, by the name at 2 and the id at 3 (nil: the one of the whole store). */
static lua_projection *open_projection(lua_State *L, bool use_saved) {
  annal_store *handle = face_self(L)->handle;
  char shown[FACE_SHOW_BYTES];
  annal_error error;
  const char *name = face_name(L, 2, "projection"), *id = "";
  if (lua_isinteger(L, 3)) {
    lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, 3));
    lua_replace(L, 3);
  }
  if (lua_type(L, 3) != LUA_TSTRING && !lua_isnil(L, 3))
    face_wrong(L, "id", "must be a string or an integer, not %s", face_show(L, 3, shown));
  if (!lua_isnil(L, 3)) id = face_text(L, 3, "id");
  lua_projection *self = face_new_child(L, 1, sizeof *self, &face_projection_class, projection_end);
  if (handle_projection(handle, name, id, use_saved, &self->instance, &error)) face_raise(L, &error);
  return self;
}

/* [-0, +1, e] */
static void push_view(lua_State *L, fold_instance *instance) {
  face_scratch scratch = face_scratch_open(L);
  base_buf *out = face_buffer(&scratch);
  annal_error error;
  if (fold_view(instance, out, &error)) face_raise(L, &error);
  if (out->failed) {
    error_memory(&error);
    face_raise(L, &error);
  }
  if (json_decode(L, out->bytes, out->size, 0, &error)) face_raise(L, &error);
}

/* [-0, +1, e] The id of the newest event read, or nil; answers its position. */
static int64_t push_latest(lua_State *L, fold_instance *instance) {
  const char *latest_event_id;
  int64_t position;
  annal_error error;
  if (fold_position(instance, &position, &latest_event_id, &error)) face_raise(L, &error);
  if (latest_event_id && latest_event_id[0]) lua_pushstring(L, latest_event_id);
  else lua_pushnil(L);
  return position;
}

int face_projection(lua_State *L) {
  static const char *const keys[] = {"saved", NULL};
  bool use_saved = true;
  if (!lua_isnil(L, 4)) {
    face_check_keys(L, 4, "", "option of store:projection", keys);
    if (face_field(L, 4, "saved") != LUA_TNIL) use_saved = face_boolean(L, -1, "saved");
    lua_pop(L, 1);
  }
  open_projection(L, use_saved);
  return 1;
}

/* [-0, +0, e] `at` of the options at 4: a number is a position, a string a time. */
static void read_past(lua_State *L, annal_view_options *options) {
  static const char *const keys[] = {"at", NULL};
  char shown[FACE_SHOW_BYTES];
  if (lua_isnil(L, 4)) return;
  face_check_keys(L, 4, "", "option of store:view", keys);
  int type = face_field(L, 4, "at");
  options->as_of = type != LUA_TNIL;
  if (type == LUA_TNUMBER) {
    options->at = face_integer(L, -1, "at", 0);
  } else if (type == LUA_TSTRING) {
    if (!text_to_time(face_text(L, -1, "at"), &options->at_time))
      face_misuse(L, "at", "%s is no time: write it in UTC, as 2026-01-31T12:00:00Z", face_show(L, -1, shown));
  } else if (type != LUA_TNIL) {
    face_wrong(L, "at", "must be a position (a number) or a time (a string), not %s", face_show(L, -1, shown));
  }
  lua_pop(L, 1);
}

int face_view(lua_State *L) {
  annal_view_options options = {.size = sizeof options};
  annal_error error;
  store_head_info past;
  read_past(L, &options);
  if (options.as_of && handle_past(face_self(L)->handle, &options, &past, &error)) return face_raise(L, &error);
  lua_projection *self = open_projection(L, true);
  if (options.as_of && fold_refresh_at(self->instance, &past, &error)) return face_raise(L, &error);
  push_view(L, self->instance);
  lua_pushinteger(L, push_latest(L, self->instance));
  face_end_child(&self->head);
  return 3;
}

/* ---- Methods ----------------------------------------------------------------------------------------------------------- */

static int projection_view(lua_State *L) {
  push_view(L, instance_of(L));
  return 1;
}

static int projection_refresh(lua_State *L) {
  annal_error error;
  if (fold_refresh(instance_of(L), &error)) return face_raise(L, &error);
  lua_settop(L, 1);
  return 1;
}

/* [-1, +1, e] Lays the events at 2 in by `lay`; answers the object itself. */
static int lay_events(lua_State *L, int (*lay)(fold_instance *, const annal_event *, size_t, annal_error *)) {
  face_scratch scratch = face_scratch_open(L);
  size_t count;
  bool is_list;
  annal_error error;
  const annal_event *events = face_events(&scratch, 2, "events", true, &count, &is_list);
  if (lay(instance_of(L), events, count, &error)) return face_raise(L, &error);
  lua_settop(L, 1);
  return 1;
}

static int projection_apply(lua_State *L) { return lay_events(L, fold_apply); }

static int projection_from_history(lua_State *L) { return lay_events(L, fold_from_history); }

static int projection_save(lua_State *L) {
  fold_instance *instance = instance_of(L);
  face_scratch scratch = face_scratch_open(L);
  base_buf *view = face_buffer(&scratch);
  store_status status;
  annal_error error;
  if (fold_save(instance, &status, &error) || fold_view(instance, view, &error)) return face_raise(L, &error);
  push_latest(L, instance);
  const char *latest_event_id = lua_tostring(L, -1);
  face_push_saved_row(L, fold_projection(instance)->name, fold_id(instance), view, latest_event_id ? latest_event_id : "",
                      &status);
  return 1;
}

static int projection_save_event(lua_State *L) {
  fold_instance *instance = instance_of(L);
  annal_condition condition = {.size = sizeof condition};
  annal_error error;
  push_latest(L, instance);
  condition.latest_event_id = lua_tostring(L, -1);
  if (fold_streams(instance, &condition.streams, &condition.stream_count, &error)) return face_raise(L, &error);
  lua_getiuservalue(L, 1, 1);
  face_save(L, lua_gettop(L), 2, &condition);
  return 1;
}

static const face_method projection_methods[] = {
    {"view", projection_view, 0},
    {"refresh", projection_refresh, 0},
    {"apply", projection_apply, 1},
    {"from_history", projection_from_history, 1},
    {"save", projection_save, 0},
    {"save_event", projection_save_event, 1},
    {NULL, NULL, 0},
};

/* ---- Fields ------------------------------------------------------------------------------------------------------------ */

static const char *const projection_fields[] = {"id", "position", "latest_event_id", "streams", NULL};

static int projection_get(lua_State *L) {
  fold_instance *instance = instance_of(L);
  const char *name = lua_tostring(L, 2);
  if (strcmp(name, "id") == 0) {
    lua_pushstring(L, fold_id(instance));
  } else if (strcmp(name, "position") == 0) {
    lua_pushinteger(L, push_latest(L, instance));
  } else if (strcmp(name, "latest_event_id") == 0) {
    push_latest(L, instance);
  } else {
    const annal_stream *streams;
    size_t count;
    annal_error error;
    if (fold_streams(instance, &streams, &count, &error)) return face_raise(L, &error);
    face_push_streams(L, streams, count);
  }
  return 1;
}

static int projection_close(lua_State *L) { return face_close_child(L, &face_projection_class); }

static int projection_text(lua_State *L) {
  const lua_projection *self = face_to(L, 1, &face_projection_class);
  if (!self || !self->head.store) {
    lua_pushstring(L, "annal projection (closed)");
    return 1;
  }
  lua_pushfstring(L, "annal projection %s \"%s\"", fold_projection(self->instance)->name, fold_id(self->instance));
  return 1;
}

const face_class face_projection_class = {.name = "projection",
                                          .methods = projection_methods,
                                          .fields = projection_fields,
                                          .get = projection_get,
                                          .close = projection_close,
                                          .text = projection_text,
                                          .is_child = true};
