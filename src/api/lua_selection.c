/* Selections as Lua tables: filters, streams, conditions, the options of reads; and back. Role: one reading of them for every
 * method, so that what is `misuse` in one place is so everywhere. */
#include "api/lua_face.h"

#include "base/error.h"
#include "base/text.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

/* ---- Filters ----------------------------------------------------------------------------------------------------------- */

/* [-1, +0, e] One filter value as the JSON text that it is compared as. */
static const char *filter_value(face_scratch *scratch, const char *where) {
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  switch (lua_type(L, -1)) {
  case LUA_TSTRING: break;
  case LUA_TBOOLEAN:
    lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false");
    lua_remove(L, -2);
    break;
  case LUA_TNUMBER:
    if (!lua_isinteger(L, -1))
      face_misuse(L, where, "%s cannot be selected by: a value is a string, an integer, a boolean, or a list of these",
                  face_show(L, -1, shown));
    lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
    lua_remove(L, -2);
    break;
  default:
    face_misuse(L, where, "%s cannot be selected by: a value is a string, an integer, a boolean, or a list of these",
                face_show(L, -1, shown));
  }
  const char *text = face_text(L, -1, where);
  face_keep(scratch);
  return text;
}

/* [-1, +0, e] The value or the list of values on top. */
static void filter_values(face_scratch *scratch, const char *where, annal_field *field) {
  lua_State *L = scratch->L;
  if (lua_type(L, -1) != LUA_TTABLE) {
    const char **one = face_room(scratch, 1, sizeof *one);
    one[0] = filter_value(scratch, where);
    field->values = one;
    field->value_count = 1;
    return;
  }
  lua_Integer count = face_list(L, -1, where, "values");
  const char **values = face_room(scratch, (size_t)count, sizeof *values);
  for (lua_Integer i = 1; i <= count; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, where, i);
    lua_rawgeti(L, -1, i);
    values[i - 1] = filter_value(scratch, path);
  }
  field->values = values;
  field->value_count = (size_t)count;
  lua_pop(L, 1);
}

/* By name: the text of a statement then does not depend on the order in which Lua's tables happen to be walked. */
static void sort_fields(annal_field *fields, size_t count) {
  for (size_t i = 1; i < count; i++) {
    annal_field moving = fields[i];
    size_t at = i;
    for (; at > 0 && strcmp(fields[at - 1].name, moving.name) > 0; at--) fields[at] = fields[at - 1];
    fields[at] = moving;
  }
}

const annal_field *face_fields(face_scratch *scratch, int index, const char *where, size_t *count) {
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES], path[FACE_WHERE_BYTES];
  index = lua_absindex(L, index);
  if (lua_type(L, index) != LUA_TTABLE)
    face_wrong(L, where, "must be a table { field = value }, not %s", face_show(L, index, shown));
  face_plain_table(L, index, where);
  size_t room = 0, used = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) room++;
  if (room == 0) face_wrong(L, where, "is empty, which would select everything: was the value nil?");
  annal_field *fields = face_room(scratch, room, sizeof *fields);
  lua_pushnil(L);
  while (lua_next(L, index) && used < room) {
    if (lua_type(L, -2) != LUA_TSTRING)
      face_wrong(L, where, "must be a table { field = value }, but has the key %s", face_show(L, -2, shown));
    face_path(path, where, lua_tostring(L, -2));
    fields[used].name = face_text(L, -2, path);
    if (!text_is_name(fields[used].name))
      face_misuse(L, path, "%s is no name of a field: letters, digits and _, at most 63", face_show(L, -2, shown));
    lua_pushvalue(L, -2);
    face_keep(scratch);
    filter_values(scratch, path, &fields[used++]);
  }
  sort_fields(fields, used);
  *count = used;
  return fields;
}

/* [-0, +0, e] A type or a list of types. */
static const char *const *read_types(face_scratch *scratch, int index, const char *where, size_t *count) {
  lua_State *L = scratch->L;
  index = lua_absindex(L, index);
  if (lua_type(L, index) == LUA_TSTRING) {
    const char **one = face_room(scratch, 1, sizeof *one);
    one[0] = face_text(L, index, where);
    lua_pushvalue(L, index);
    face_keep(scratch);
    *count = 1;
    return one;
  }
  lua_Integer size = face_list(L, index, where, "event types");
  const char **types = face_room(scratch, (size_t)size, sizeof *types);
  for (lua_Integer i = 1; i <= size; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, where, i);
    lua_rawgeti(L, index, i);
    types[i - 1] = face_text(L, -1, path);
    face_keep(scratch);
  }
  *count = (size_t)size;
  return types;
}

/* ---- Streams ----------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] types, data and all, where they stand in the table at `index`. Answers whether any of them does. */
static bool read_stream_parts(face_scratch *scratch, int index, const char *where, annal_stream *stream) {
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES];
  bool said = false;
  if (face_field(L, index, "types") != LUA_TNIL) {
    face_path(path, where, "types");
    stream->types = read_types(scratch, -1, path, &stream->type_count);
    said = true;
  }
  if (face_field(L, index, "data") != LUA_TNIL) {
    face_path(path, where, "data");
    stream->data = face_fields(scratch, -1, path, &stream->data_count);
    said = true;
  }
  if (face_field(L, index, "all") != LUA_TNIL) {
    face_path(path, where, "all");
    if (!face_boolean(L, -1, path)) face_wrong(L, path, "can only be true: leave it out and give types or data");
    if (said) face_wrong(L, path, "says everything, but there are types or data beside it");
    stream->all = true;
    said = true;
  }
  lua_pop(L, 3);
  return said;
}

/* [-1, +0, e] `after` or `before`: a number is a position, a string an event id. */
static void read_place(face_scratch *scratch, const char *where, lua_Integer least, int64_t *position, const char **id) {
  lua_State *L = scratch->L;
  char shown[FACE_SHOW_BYTES];
  if (lua_type(L, -1) == LUA_TSTRING) {
    *id = face_name(L, -1, where);
    face_keep(scratch);
    return;
  }
  if (lua_type(L, -1) != LUA_TNUMBER)
    face_wrong(L, where, "must be a position (a number) or an event id (a string), not %s", face_show(L, -1, shown));
  *position = face_integer(L, -1, where, least);
  lua_pop(L, 1);
}

static void read_stream(face_scratch *scratch, int index, const char *where, bool condition, annal_stream *stream) {
  static const char *const keys[] = {"types", "data", "after", "all", NULL};
  lua_State *L = scratch->L;
  char path[FACE_WHERE_BYTES], shown[FACE_SHOW_BYTES];
  face_check_keys(L, index, where, "field of a stream", keys);
  if (!read_stream_parts(scratch, index, where, stream))
    face_wrong(L, where, "says nothing: give types or data, or all = true for every event");
  if (face_field(L, index, "after") == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  face_path(path, where, "after");
  if (condition && lua_type(L, -1) != LUA_TSTRING)
    face_wrong(L, path, "must be an event id here, not %s: positions can be given out again after a restore, ids cannot",
               face_show(L, -1, shown));
  read_place(scratch, path, 0, &stream->after, &stream->after_id);
}

const annal_stream *face_streams(face_scratch *scratch, int index, const char *where, bool condition, size_t *count) {
  lua_State *L = scratch->L;
  index = lua_absindex(L, index);
  lua_Integer size = face_list(L, index, where, "streams");
  annal_stream *streams = face_room(scratch, (size_t)size, sizeof *streams);
  for (lua_Integer i = 1; i <= size; i++) {
    char path[FACE_WHERE_BYTES];
    face_path_at(path, where, i);
    lua_rawgeti(L, index, i);
    read_stream(scratch, lua_gettop(L), path, condition, &streams[i - 1]);
    lua_pop(L, 1);
  }
  *count = (size_t)size;
  return streams;
}

/* ---- Reads ------------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] after, before, limit and reverse of the table at `index`. */
static void read_bounds(face_scratch *scratch, int index, annal_selection *selection) {
  lua_State *L = scratch->L;
  if (face_field(L, index, "after") == LUA_TNIL) lua_pop(L, 1);
  else read_place(scratch, "after", 0, &selection->after, &selection->after_id);
  if (face_field(L, index, "before") == LUA_TNIL) lua_pop(L, 1);
  else read_place(scratch, "before", 1, &selection->before, &selection->before_id);
  if (face_field(L, index, "limit") != LUA_TNIL) selection->limit = (uint64_t)face_integer(L, -1, "limit", 1);
  if (face_field(L, index, "reverse") != LUA_TNIL) selection->reverse = face_boolean(L, -1, "reverse");
  lua_pop(L, 2);
}

/* [-0, +0, e] types, data and all, or streams, of the table at `index`. */
static void read_selected(face_scratch *scratch, int index, annal_selection *selection) {
  lua_State *L = scratch->L;
  annal_stream *one = face_room(scratch, 1, sizeof *one);
  bool said = read_stream_parts(scratch, index, "", one);
  if (said) {
    scratch->plain = true;
    selection->streams = one;
    selection->stream_count = 1;
  }
  if (face_field(L, index, "streams") != LUA_TNIL) {
    if (said) face_wrong(L, "streams", "cannot stand beside types, data or all: put those into a stream");
    selection->streams = face_streams(scratch, -1, "streams", false, &selection->stream_count);
  }
  lua_pop(L, 1);
}

void face_selection(face_scratch *scratch, int index, annal_selection *selection) {
  static const char *const keys[] = {"types", "data", "all", "streams", "after", "before", "limit", "reverse", NULL};
  *selection = (annal_selection){.size = sizeof *selection};
  if (lua_isnil(scratch->L, index)) return;
  face_check_keys(scratch->L, index, "", "option of store:events", keys);
  read_bounds(scratch, index, selection);
  read_selected(scratch, index, selection);
}

void face_follow_selection(face_scratch *scratch, int index, annal_selection *selection, double *idle_seconds) {
  static const char *const keys[] = {"types", "data", "all", "streams", "after", "timeout", NULL};
  lua_State *L = scratch->L;
  *selection = (annal_selection){.size = sizeof *selection};
  *idle_seconds = -1;
  if (lua_isnil(L, index)) return;
  face_check_keys(L, index, "", "option of store:follow", keys);
  if (face_field(L, index, "after") == LUA_TNIL) lua_pop(L, 1);
  else read_place(scratch, "after", 0, &selection->after, &selection->after_id);
  if (face_field(L, index, "timeout") != LUA_TNIL) {
    char shown[FACE_SHOW_BYTES];
    double seconds = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : -1;
    if (!(seconds >= 0)) face_wrong(L, "timeout", "must be a number of seconds, 0 or more, not %s", face_show(L, -1, shown));
    *idle_seconds = seconds;
  }
  lua_pop(L, 1);
  read_selected(scratch, index, selection);
}

void face_stream_selection(face_scratch *scratch, int types, int options, bool latest, annal_selection *selection) {
  static const char *const keys[] = {"data", "after", "before", "limit", "reverse", NULL};
  static const char *const latest_keys[] = {"data", NULL};
  lua_State *L = scratch->L;
  *selection = (annal_selection){.size = sizeof *selection};
  annal_stream *stream = face_room(scratch, 1, sizeof *stream);
  if (!lua_isnil(L, types)) stream->types = read_types(scratch, types, "types", &stream->type_count);
  if (!lua_isnil(L, options)) {
    face_check_keys(L, options, "options", latest ? "option of store:get_latest_event" : "option of store:get_event_stream",
                    latest ? latest_keys : keys);
    if (face_field(L, options, "data") != LUA_TNIL) stream->data = face_fields(scratch, -1, "data", &stream->data_count);
    lua_pop(L, 1);
    if (!latest) read_bounds(scratch, options, selection);
  }
  if (stream->type_count || stream->data_count) {
    scratch->plain = true;
    selection->streams = stream;
    selection->stream_count = 1;
  }
  if (latest) {
    selection->reverse = true;
    selection->limit = 1;
  }
}

/* ---- And back ---------------------------------------------------------------------------------------------------------- */

/* [-0, +1, m] One text as itself, several as a list. */
static void push_texts(lua_State *L, const char *const *texts, size_t count, bool always_list) {
  if (count == 1 && !always_list) {
    lua_pushstring(L, texts[0]);
    return;
  }
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushstring(L, texts[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

void face_push_streams(lua_State *L, const annal_stream *streams, size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 3);
    if (streams[i].type_count) {
      push_texts(L, streams[i].types, streams[i].type_count, true);
      lua_setfield(L, -2, "types");
    }
    if (streams[i].data_count) {
      lua_createtable(L, 0, (int)streams[i].data_count);
      for (size_t j = 0; j < streams[i].data_count; j++) {
        push_texts(L, streams[i].data[j].values, streams[i].data[j].value_count, false);
        lua_setfield(L, -2, streams[i].data[j].name);
      }
      lua_setfield(L, -2, "data");
    }
    if (streams[i].all) {
      lua_pushboolean(L, 1);
      lua_setfield(L, -2, "all");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}
