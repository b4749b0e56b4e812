/* Lua values on their way in: strictly checked, named by their path when they are wrong. Role: every table that a caller of the
 * Lua face hands in is looked at through these functions. Raw access only; see lua_face.h. */
#include "api/lua_face.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "script/near.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char buffers_key = 0;

/* ---- Names off by a letter --------------------------------------------------------------------------------------------- */

/* dataIndexes and dataindexs are meant to be data_indexes: underscores do not count, and near_name forgives one letter. */
static void without_underscores(const char *name, char out[LIMIT_NAME_BYTES + 1]) {
  size_t size = 0;
  for (; *name && size < LIMIT_NAME_BYTES; name++)
    if (*name != '_') out[size++] = *name;
  out[size] = 0;
}

static const char *nearest(const char *key, const char *const *keys) {
  char meant[LIMIT_NAME_BYTES + 1], known[LIMIT_NAME_BYTES + 1];
  without_underscores(key, meant);
  for (; *keys; keys++) {
    without_underscores(*keys, known);
    if (near_name(meant, known)) return *keys;
  }
  return NULL;
}

int face_unknown(lua_State *L, const char *where, const char *what, const char *key, const char *const *keys) {
  char shown[96];
  text_show(key, shown);
  const char *near = nearest(key, keys);
  if (near) face_misuse(L, where, "\"%s\" is no %s; did you mean \"%s\"?", shown, what, near);
  if (!*keys) face_misuse(L, where, "\"%s\" is no %s, and there are no others", shown, what);
  luaL_Buffer known;
  luaL_buffinit(L, &known);
  for (const char *const *k = keys; *k; k++) {
    if (k != keys) luaL_addstring(&known, ", ");
    luaL_addstring(&known, *k);
  }
  luaL_pushresult(&known);
  face_misuse(L, where, "\"%s\" is no %s; there are: %s", shown, what, lua_tostring(L, -1));
}

/* ---- What one call needs ----------------------------------------------------------------------------------------------- */

face_scratch face_scratch_open(lua_State *L) {
  luaL_checkstack(L, 40, "annal");
  lua_newtable(L);
  return (face_scratch){.L = L, .anchor = lua_gettop(L)};
}

void face_keep(face_scratch *scratch) { lua_rawseti(scratch->L, scratch->anchor, ++scratch->kept); }

void *face_room(face_scratch *scratch, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) luaL_error(scratch->L, "annal: too many values");
  void *room = lua_newuserdatauv(scratch->L, total ? total : 1, 0);
  memset(room, 0, total);
  face_keep(scratch);
  return room;
}

static int buffer_gc(lua_State *L) {
  base_buf *buf = lua_touserdata(L, 1);
  if (buf && buf->env) buf_free(buf);
  return 0;
}

base_buf *face_buffer(face_scratch *scratch) {
  lua_State *L = scratch->L;
  base_buf *buf = lua_newuserdatauv(L, sizeof *buf, 0);
  buf_init(buf, face_env(L));
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &buffers_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, buffer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &buffers_key);
  }
  lua_setmetatable(L, -2);
  face_keep(scratch);
  return buf;
}

/* ---- Showing and naming ------------------------------------------------------------------------------------------------ */

/* 1.0 as what it is, since an integer would have done; the text is JSON's, so that it is the same under every locale. */
static void show_float(double value, char out[FACE_SHOW_BYTES]) {
  char text[JSON_DOUBLE_BYTES];
  if (isnan(value)) snprintf(out, FACE_SHOW_BYTES, "NaN");
  else if (isinf(value)) snprintf(out, FACE_SHOW_BYTES, "%s", value < 0 ? "-infinity" : "infinity");
  else snprintf(out, FACE_SHOW_BYTES, "the float %.*s", (int)json_double_text(value, text), text);
}

const char *face_show(lua_State *L, int index, char out[FACE_SHOW_BYTES]) {
  char shown[96];
  switch (lua_type(L, index)) {
  case LUA_TNIL:
  case LUA_TNONE: snprintf(out, FACE_SHOW_BYTES, "nil"); break;
  case LUA_TBOOLEAN: snprintf(out, FACE_SHOW_BYTES, "%s", lua_toboolean(L, index) ? "true" : "false"); break;
  case LUA_TSTRING: snprintf(out, FACE_SHOW_BYTES, "\"%s\"", text_show(lua_tostring(L, index), shown)); break;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index)) snprintf(out, FACE_SHOW_BYTES, "%lld", (long long)lua_tointeger(L, index));
    else show_float(lua_tonumber(L, index), out);
    break;
  case LUA_TTABLE: snprintf(out, FACE_SHOW_BYTES, "a table"); break;
  default:
    snprintf(out, FACE_SHOW_BYTES, "%s%s", json_is_null(L, index) ? "" : "a ",
             json_is_null(L, index) ? "null" : lua_typename(L, lua_type(L, index)));
  }
  return out;
}

void face_path(char out[FACE_WHERE_BYTES], const char *where, const char *name) {
  char shown[96];
  snprintf(out, FACE_WHERE_BYTES, "%.80s%s%s", where, where[0] ? "." : "", text_show(name, shown));
}

void face_path_at(char out[FACE_WHERE_BYTES], const char *where, lua_Integer number) {
  snprintf(out, FACE_WHERE_BYTES, "%.160s[%lld]", where, (long long)number);
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------ */

void face_plain_table(lua_State *L, int index, const char *where) {
  if (json_is_array(L, index) || !lua_getmetatable(L, index)) return;
  face_wrong(L, where, "has a metatable: a table that is handed in is read as it stands, without __index");
}

void face_check_keys(lua_State *L, int index, const char *where, const char *what, const char *const *keys) {
  char shown[FACE_SHOW_BYTES];
  index = lua_absindex(L, index);
  if (lua_type(L, index) != LUA_TTABLE) face_wrong(L, where, "must be a table, not %s", face_show(L, index, shown));
  face_plain_table(L, index, where);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING) face_misuse(L, where, "%s is no %s", face_show(L, -2, shown), what);
    size_t size;
    const char *key = lua_tolstring(L, -2, &size);
    bool known = false;
    for (const char *const *k = keys; *k && !known; k++) known = strcmp(*k, key) == 0 && strlen(key) == size;
    if (!known) face_unknown(L, where, what, key, keys);
    lua_pop(L, 1);
  }
}

int face_field(lua_State *L, int index, const char *key) {
  index = lua_absindex(L, index);
  lua_pushstring(L, key);
  return lua_rawget(L, index);
}

lua_Integer face_list(lua_State *L, int index, const char *where, const char *of_what) {
  char shown[FACE_SHOW_BYTES];
  index = lua_absindex(L, index);
  if (lua_type(L, index) != LUA_TTABLE) face_wrong(L, where, "must be a list of %s, not %s", of_what, face_show(L, index, shown));
  face_plain_table(L, index, where);
  lua_Integer size = (lua_Integer)lua_rawlen(L, index), keys = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    keys++;
    if (!lua_isinteger(L, -1)) face_wrong(L, where, "must be a list of %s, but has the key %s", of_what, face_show(L, -1, shown));
    if (lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > size)
      face_wrong(L, where, "must be a list of %s without holes, but has the key %s", of_what, face_show(L, -1, shown));
  }
  if (keys == 0) face_wrong(L, where, "is empty: a list of %s has at least one", of_what);
  if (keys != size) face_wrong(L, where, "must be a list of %s without holes", of_what);
  return size;
}

/* ---- Simple values ----------------------------------------------------------------------------------------------------- */

const char *face_text(lua_State *L, int index, const char *where) {
  char shown[FACE_SHOW_BYTES];
  if (lua_type(L, index) != LUA_TSTRING) face_wrong(L, where, "must be a string, not %s", face_show(L, index, shown));
  size_t size;
  const char *text = lua_tolstring(L, index, &size);
  annal_error error;
  if (memchr(text, 0, size)) {
    error_set(&error, ANNAL_INVALID, where, "%s contains a NUL byte, which no store can keep", face_show(L, index, shown));
    face_raise(L, &error);
  }
  if (!text_is_utf8(text, size)) {
    error_set(&error, ANNAL_INVALID, where, "%s is not valid UTF-8", face_show(L, index, shown));
    face_raise(L, &error);
  }
  return text;
}

const char *face_name(lua_State *L, int index, const char *where) {
  const char *text = face_text(L, index, where);
  if (!text[0]) face_wrong(L, where, "is empty");
  return text;
}

lua_Integer face_integer(lua_State *L, int index, const char *where, lua_Integer least) {
  char shown[FACE_SHOW_BYTES];
  int is_integer = 0;
  lua_Integer value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer) face_wrong(L, where, "must be an integer, not %s", face_show(L, index, shown));
  if (value < least) face_wrong(L, where, "must be at least %lld, not %lld", (long long)least, (long long)value);
  return value;
}

bool face_boolean(lua_State *L, int index, const char *where) {
  char shown[FACE_SHOW_BYTES];
  if (!lua_isboolean(L, index)) face_wrong(L, where, "must be true or false, not %s", face_show(L, index, shown));
  return lua_toboolean(L, index);
}

const char *face_text_field(face_scratch *scratch, int index, const char *where, const char *key) {
  char path[FACE_WHERE_BYTES];
  if (face_field(scratch->L, index, key) == LUA_TNIL) {
    lua_pop(scratch->L, 1);
    return NULL;
  }
  face_path(path, where, key);
  const char *text = face_name(scratch->L, -1, path);
  face_keep(scratch);
  return text;
}
