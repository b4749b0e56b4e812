/* The streams of one instance of a projection. Role: from `by`, or from what the projection's function `streams` answers, to
 * annal_stream; everything lies in one run of blocks that the caller gives back. */
#include "script/internal.h"

#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct build {
  script_state *state; /* NULL where no function is called */
  const script_projection *projection;
  const char *id;
  script_arena arena; /* becomes the streams' memory */
  annal_stream *streams;
  size_t count;
  annal_error *error;
} build;

static int refuse(build *b, const char *path, const char *format, ...) ANNAL_PRINTF(3, 4);
static int refuse(build *b, const char *path, const char *format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return error_set(b->error, ANNAL_SCRIPT, b->projection->where, "streams of %s: %s%s%s", b->projection->name, path,
                   path[0] ? ": " : "", text);
}

/* ---- From `by`, or of the whole store ---------------------------------------------------------------------------------- */

/* One stream for each identifier, asking for the events whose identifier is the instance's id. */
static int build_by(build *b) {
  const script_projection *projection = b->projection;
  size_t count = projection->by_count;
  annal_stream *streams = arena_array(&b->arena, count, sizeof *streams);
  annal_field *fields = arena_array(&b->arena, count, sizeof *fields);
  const char **values = arena_array(&b->arena, 1, sizeof *values);
  if (!streams || !fields || !values) return error_memory(b->error);
  *values = arena_strndup(&b->arena, b->id, strlen(b->id));
  if (!*values) return error_memory(b->error);
  for (size_t i = 0; i < count; i++) {
    const script_by *by = &projection->by[i];
    fields[i] = (annal_field){.name = by->identifier, .values = values, .value_count = 1};
    streams[i] = (annal_stream){.types = by->types, .type_count = by->type_count, .data = &fields[i], .data_count = 1};
  }
  b->streams = streams;
  b->count = count;
  return 0;
}

static int build_whole_store(build *b) {
  const script_projection *projection = b->projection;
  if (b->id[0])
    return error_set(b->error, ANNAL_MISUSE, NULL,
                     "projection %s has one instance for the whole store: its id is \"\", not \"%.100s\"", projection->name,
                     b->id);
  b->streams = arena_array(&b->arena, 1, sizeof *b->streams);
  if (!b->streams) return error_memory(b->error);
  *b->streams = (annal_stream){.types = projection->types, .type_count = projection->type_count};
  b->count = 1;
  return 0;
}

/* ---- From the function `streams`: all functions below [-0, +0, m] ------------------------------------------------------- */

/* A filter's value at the top, as the text by which stored values are compared. */
static int add_value(build *b, lua_State *L, const char *path, const char **out) {
  char number[32];
  size_t size;
  const char *text = number;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &size);
    if (!text_is_utf8(text, size)) return refuse(b, path, "a value is no valid UTF-8, or holds U+0000");
    if (size > LIMIT_VALUE_BYTES) return refuse(b, path, "a value has %zu bytes: at most %d", size, LIMIT_VALUE_BYTES);
    break;
  case LUA_TBOOLEAN: text = lua_toboolean(L, -1) ? "true" : "false"; break;
  case LUA_TNUMBER:
    if (!lua_isinteger(L, -1))
      return refuse(b, path, "a float is no filter value: events are selected by text, integers and booleans");
    snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, -1));
    break;
  default:
    return refuse(b, path, "a filter value is a string, an integer, a boolean or a list of these, not a %s",
                  luaL_typename(L, -1));
  }
  *out = arena_strndup(&b->arena, text, strlen(text));
  return *out ? 0 : error_memory(b->error);
}

/* How many elements the list at the top has; -1 when it is none. */
static lua_Integer list_size(lua_State *L) {
  if (!lua_istable(L, -1)) return -1;
  lua_Integer size = (lua_Integer)lua_rawlen(L, -1), keys = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) keys++;
  return keys == size ? size : -1;
}

/* The value, or the list of values, at the top: the field of that name. */
static int add_field(build *b, lua_State *L, const char *path, annal_field *field) {
  bool is_list = lua_istable(L, -1);
  lua_Integer count = is_list ? list_size(L) : 1;
  if (count < 1) return refuse(b, path, "an empty list, or a table that is no list, selects nothing");
  const char **values = arena_array(&b->arena, (size_t)count, sizeof *values);
  if (!values) return error_memory(b->error);
  for (lua_Integer i = 0; i < count; i++) {
    if (is_list) lua_rawgeti(L, -1, i + 1);
    int code = add_value(b, L, path, &values[i]);
    if (is_list) lua_pop(L, 1);
    if (code) return code;
  }
  field->values = values;
  field->value_count = (size_t)count;
  return 0;
}

static int compare_field_names(const void *one, const void *other) {
  return strcmp(((const annal_field *)one)->name, ((const annal_field *)other)->name);
}

/* `data` at the top. */
static int add_data(build *b, lua_State *L, const char *path, annal_stream *stream) {
  size_t count = 0;
  if (!lua_istable(L, -1)) return refuse(b, path, "data is a table of fields, not a %s", luaL_typename(L, -1));
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) count++;
  if (count == 0) return refuse(b, path, "data is empty (is a value in it nil?)");
  annal_field *fields = arena_array(&b->arena, count, sizeof *fields);
  if (!fields) return error_memory(b->error);
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), i++) {
    size_t size;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &size) : NULL;
    if (!name || strlen(name) != size || !text_is_name(name))
      return refuse(b, path, "data has a key that is no name of an identifier");
    char below[128];
    snprintf(below, sizeof below, "%s.data.%s", path, name);
    fields[i].name = arena_strndup(&b->arena, name, size);
    if (!fields[i].name) return error_memory(b->error);
    int code = add_field(b, L, below, &fields[i]);
    if (code) return code;
  }
  qsort(fields, count, sizeof *fields, compare_field_names);
  stream->data = fields;
  stream->data_count = count;
  return 0;
}

/* `types` at the top. */
static int add_types(build *b, lua_State *L, const char *path, annal_stream *stream) {
  bool is_list = lua_type(L, -1) != LUA_TSTRING; /* one type may stand for a list of one */
  lua_Integer count = is_list ? list_size(L) : 1;
  if (count < 1) return refuse(b, path, "types is an event type, or a list of them with at least one");
  const char **types = arena_array(&b->arena, (size_t)count, sizeof *types);
  if (!types) return error_memory(b->error);
  for (lua_Integer i = 0; i < count; i++) {
    if (is_list) lua_rawgeti(L, -1, i + 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const script_event *event = name ? script_find_event(b->state->app, name) : NULL;
    if (!event) return refuse(b, path, "there is no event %.128s", name ? name : luaL_typename(L, -1));
    types[i] = event->type; /* lives as long as the generation */
    if (is_list) lua_pop(L, 1);
  }
  stream->types = types;
  stream->type_count = (size_t)count;
  return 0;
}

/* One stream, at the top. */
static int add_stream(build *b, lua_State *L, const char *path, annal_stream *stream) {
  if (!lua_istable(L, -1)) return refuse(b, path, "a stream is a table { types = …, data = … }, not a %s", luaL_typename(L, -1));
  int code = 0;
  for (lua_pushnil(L); code == 0 && lua_next(L, -2); lua_pop(L, code ? 0 : 1)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (strcmp(key, "types") == 0) code = add_types(b, L, path, stream);
    else if (strcmp(key, "data") == 0) code = add_data(b, L, path, stream);
    else if (strcmp(key, "all") == 0 && lua_isboolean(L, -1)) stream->all = lua_toboolean(L, -1);
    else code = refuse(b, path, "a stream has no key %.60s (types, data, all)", key);
  }
  if (code) return code;
  bool narrowed = stream->types || stream->data;
  if (stream->all && narrowed) return refuse(b, path, "all = true stands alone");
  return narrowed || stream->all ? 0 : refuse(b, path, "selects nothing in particular: write { all = true } for every event");
}

static int build_streams(build *b, lua_State *L) {
  compile_push_projection(L, (size_t)(b->projection - b->state->app->projections));
  lua_getfield(L, -1, "streams");
  lua_pushstring(L, b->id);
  char what[LIMIT_TYPE_BYTES + 16];
  snprintf(what, sizeof what, "streams of %s", b->projection->name);
  int code = script_call(b->state, 1, 1, what, b->error);
  if (code) return code;
  lua_Integer count = list_size(L);
  if (count < 1) return refuse(b, "", "it has to return a list with at least one stream");
  b->streams = arena_array(&b->arena, (size_t)count, sizeof *b->streams);
  if (!b->streams) return error_memory(b->error);
  b->count = (size_t)count;
  for (lua_Integer i = 0; i < count && code == 0; i++) {
    char path[32];
    snprintf(path, sizeof path, "[%lld]", (long long)i + 1);
    lua_rawgeti(L, -1, i + 1);
    code = add_stream(b, L, path, &b->streams[i]);
    if (code == 0) lua_pop(L, 1);
  }
  return code;
}

static int build_body(lua_State *L, void *context, annal_error *error) {
  (void)error;
  luaL_checkstack(L, 20, NULL);
  return build_streams(context, L);
}

static int hand_over(build *b, int code, script_streams *out) {
  if (code) arena_free(&b->arena);
  *out = code ? (script_streams){0} : (script_streams){.streams = b->streams, .count = b->count, .memory = b->arena.blocks};
  return code;
}

int script_plain_streams(const script_app *app, const script_projection *projection, const char *id, script_streams *out,
                         annal_error *error) {
  build b = {.projection = projection, .id = id, .error = error};
  arena_init(&b.arena, app->env);
  return hand_over(&b, projection->by_count ? build_by(&b) : build_whole_store(&b), out);
}

int script_instance_streams(script_state *state, const script_projection *projection, const char *id, script_streams *out,
                            annal_error *error) {
  if (!projection->has_streams) return script_plain_streams(state->app, projection, id, out, error);
  build b = {.state = state, .projection = projection, .id = id, .error = error};
  arena_init(&b.arena, state->app->env);
  return hand_over(&b, script_protect(state, build_body, &b, error), out);
}

void script_free_streams(const base_env *env, script_streams *streams) {
  arena_free_blocks(env, streams->memory);
  *streams = (script_streams){0};
}
