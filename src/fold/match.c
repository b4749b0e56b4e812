/* Whether an event belongs to a selection; see match.h. */
#include "fold/match.h"

#include "json/json_lua.h"
#include <stdio.h>
#include <string.h>

static bool type_matches(const annal_stream *stream, const char *type) {
  for (size_t i = 0; i < stream->type_count; i++)
    if (strcmp(stream->types[i], type) == 0) return true;
  return stream->type_count == 0;
}

/* [-0, +0, m] Whether the value on top has the text `wanted`. */
static bool value_matches(lua_State *L, const char *wanted) {
  char number[JSON_DOUBLE_BYTES + 1];
  switch (lua_type(L, -1)) {
  case LUA_TSTRING: {
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    return strlen(wanted) == size && memcmp(text, wanted, size) == 0;
  }
  case LUA_TBOOLEAN: return strcmp(wanted, lua_toboolean(L, -1) ? "true" : "false") == 0;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1)) snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, -1));
    else number[json_double_text(lua_tonumber(L, -1), number)] = 0;
    return strcmp(wanted, number) == 0;
  default: return false; /* null and absent match nothing, nor do objects and arrays */
  }
}

/* [-0, +0, m] The data is at `data`. */
static bool field_matches(lua_State *L, int data, const annal_field *field) {
  bool matches = false;
  lua_pushstring(L, field->name);
  lua_rawget(L, data);
  for (size_t i = 0; i < field->value_count && !matches; i++) matches = value_matches(L, field->values[i]);
  lua_pop(L, 1);
  return matches;
}

static bool stream_matches(lua_State *L, int data, const annal_stream *stream) {
  for (size_t i = 0; i < stream->data_count; i++)
    if (!field_matches(L, data, &stream->data[i])) return false;
  return true;
}

int fold_match(lua_State *L, const annal_stream *streams, size_t count, const annal_event *event, bool *matches,
               annal_error *error) {
  int top = lua_gettop(L), code = ANNAL_OK;
  *matches = false;
  for (size_t i = 0; i < count && !*matches && !code; i++) {
    if (!type_matches(&streams[i], event->type)) continue;
    if (streams[i].data_count > 0 && lua_gettop(L) == top) code = json_decode(L, event->data, event->data_size, 0, error);
    if (!code) *matches = stream_matches(L, top + 1, &streams[i]);
  }
  lua_settop(L, top);
  return code;
}
