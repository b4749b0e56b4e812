/* store:rebuild and store:stats in Lua. */
#include "api/lua_face.h"

#include "base/error.h"
#include "json/json_lua.h"
#include <lauxlib.h>

/* The function that is told, at the top of the stack while the rebuild runs. What it raises is raised when that has ended: until then
 * it stays there in its place. */
typedef struct lua_telling {
  lua_State *L;
  int function;
  bool raised;
} lua_telling;

static void set_number(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* [-1, +0, e] function(progress) */
static int call_function(lua_State *L) {
  const annal_progress *progress = lua_touserdata(L, 2);
  lua_settop(L, 1);
  lua_createtable(L, 0, 5);
  set_number(L, "done", progress->done);
  set_number(L, "total", progress->total);
  set_number(L, "rows", progress->rows);
  lua_pushnumber(L, progress->rate);
  lua_setfield(L, -2, "rate");
  lua_pushnumber(L, progress->seconds_left);
  lua_setfield(L, -2, "seconds_left");
  lua_call(L, 1, 0);
  return 0;
}

static int tell(void *context, const annal_progress *progress) {
  lua_telling *t = context;
  lua_State *L = t->L;
  lua_pushcfunction(L, call_function);
  lua_pushvalue(L, t->function);
  lua_pushlightuserdata(L, (void *)(uintptr_t)progress);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return 0;
  lua_replace(L, t->function);
  t->raised = true;
  return 1;
}

/* [-0, +0, e] Names of projections at `index`. */
static const char *const *read_types(face_scratch *scratch, int index, size_t *count) {
  lua_State *L = scratch->L;
  lua_Integer size = face_list(L, index, "types", "names of projections");
  const char **types = face_room(scratch, (size_t)size, sizeof *types);
  for (lua_Integer i = 1; i <= size; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, "types", i);
    lua_rawgeti(L, index, i);
    types[i - 1] = face_name(L, -1, path);
    face_keep(scratch);
  }
  *count = (size_t)size;
  return types;
}

static void read_options(face_scratch *scratch, int index, annal_rebuild_options *options, int *function) {
  static const char *const keys[] = {"types", "jobs", "progress", NULL};
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  face_check_keys(L, index, "", "option of store:rebuild", keys);
  if (face_field(L, index, "types") != LUA_TNIL) options->types = read_types(scratch, lua_gettop(L), &options->type_count);
  lua_pop(L, 1);
  if (face_field(L, index, "jobs") != LUA_TNIL) {
    lua_Integer jobs = face_integer(L, -1, "jobs", 0);
    options->jobs = jobs > INT16_MAX ? INT16_MAX : (int)jobs; /* too many in any case */
  }
  lua_pop(L, 1);
  int type = face_field(L, index, "progress");
  if (type != LUA_TNIL && type != LUA_TFUNCTION) face_wrong(L, "progress", "must be a function, not %s", face_show(L, -1, shown));
  *function = type == LUA_TFUNCTION ? lua_gettop(L) : 0;
}

int face_rebuild(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_rebuild_options options = {.size = sizeof options};
  lua_telling t = {.L = L};
  annal_error error;
  if (!lua_isnil(L, 2)) read_options(&scratch, 2, &options, &t.function);
  luaL_checkstack(L, 8, "rebuild");
  int code = handle_rebuild(face_self(L)->handle, &options, t.function ? tell : NULL, &t, &error);
  if (t.raised) {
    lua_pushvalue(L, t.function);
    return lua_error(L);
  }
  if (code) return face_raise(L, &error);
  return 0;
}

int face_stats(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  base_buf *out = face_buffer(&scratch);
  annal_error error;
  if (handle_stats(face_self(L)->handle, out, &error)) return face_raise(L, &error);
  if (out->failed) {
    error_memory(&error);
    return face_raise(L, &error);
  }
  if (json_decode(L, out->bytes, out->size, 0, &error)) return face_raise(L, &error);
  return 1;
}
