/* The C half of the vocabulary: running files, include, log, and what the Lua half (lua/annal/script) asks of C. Role: one
 * table of helpers is handed to the Lua half, which runs in the state itself and which scripts cannot reach.
 *
 * Every word that a script calls is a C function around a Lua one. It finds the place it was called from and hands it on as the
 * first argument, so that each message names the line of the declaration; a C function leaves its caller's frame alone even in
 * `return reducer { … }`, which is a tail call. */
#include "script/internal.h"

#include "base/text.h"
#include "script/near.h"
#include "script/pattern.h"
#include "json/json_lua.h"
#include <stdarg.h>
#include <stdio.h>

static const char results_key = 0; /* in the registry: what each file returned, by its index + 1 */
static const char resolve_key = 0;
static char running; /* its address stands for the result of a file that is being run */

/* ---- Places ------------------------------------------------------------------------------------------------------------ */

/* [-0, +1, m] "events.lua:12" of the script that called, or "?". */
static void push_place(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.source[0] != '@' || frame.currentline < 0) continue;
    lua_pushfstring(L, "%s:%d", frame.source + 1, frame.currentline);
    return;
  }
  lua_pushliteral(L, "?");
}

/* [-0, +0, e] An error of the script at `place`: luaL_error would put a second place before it. */
static int raise_at(lua_State *L, const char *place, const char *format, ...) ANNAL_PRINTF(3, 4);
static int raise_at(lua_State *L, const char *place, const char *format, ...) {
  char text[600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  lua_pushfstring(L, "%s: %s", place, text);
  return lua_error(L);
}

/* upvalue 1: the Lua function; upvalue 2: whether it declares something. Calls it with the place before the arguments. */
static int call_with_place(lua_State *L) {
  state_charge(L, 20);
  push_place(L);
  if (lua_toboolean(L, lua_upvalueindex(2)) && !state_of(L)->loading)
    return raise_at(L, lua_tostring(L, -1), "declarations belong into the file itself: there are none while handlers run");
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int helper_entry(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, 0);
  lua_pushcclosure(L, call_with_place, 2);
  return 1;
}

static int helper_declaration(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, 1);
  lua_pushcclosure(L, call_with_place, 2);
  return 1;
}

/* ---- Files ------------------------------------------------------------------------------------------------------------- */

/* The writer of lua_dump gets each string constant in a piece of its own; nothing else in a stripped chunk has these bytes. */
static int find_mode(lua_State *L, const void *bytes, size_t size, void *context) {
  (void)L;
  if (size == 6 && memcmp(bytes, "__mode", 6) == 0) *(bool *)context = true;
  return 0;
}

/* [-0, +0, e] A metatable's __mode counts whenever the collector looks, also when it is set later than setmetatable can see. */
static void refuse_weak_tables(lua_State *L, const script_file *file) {
  bool found = false;
  lua_dump(L, find_mode, &found, 1);
  if (!found) return;
  int line = 1;
  const char *word = memmem(file->source, file->size, "__mode", 6);
  for (const char *at = file->source; word && at < word; at++) line += *at == '\n';
  char place[LIMIT_SCRIPT_PATH_BYTES + 16];
  snprintf(place, sizeof place, "%s:%d", file->path, line);
  raise_at(L, place, "__mode is not there: when memory is collected must not show in a state");
}

/* A file on its way to Lua's parser, line by line: how far it got is then the place of an error to which Lua gives none. */
typedef struct source_feed {
  const char *next;
  size_t left;
  int line; /* that was handed over last */
} source_feed;

static const char *feed_line(lua_State *L, void *context, size_t *size) {
  (void)L;
  source_feed *feed = context;
  const char *line = feed->next, *end = memchr(line, '\n', feed->left);
  *size = end ? (size_t)(end - line) + 1 : feed->left;
  feed->next += *size;
  feed->left -= *size;
  feed->line += *size > 0;
  return *size ? line : NULL;
}

/* [-0, +1, e] The file's chunk. Nesting too deep and bytecode are what Lua names no place of. */
static void load_file(lua_State *L, const script_file *file) {
  source_feed feed = {.next = file->source, .left = file->size};
  char where[LIMIT_SCRIPT_PATH_BYTES + 16];
  lua_pushfstring(L, "@%s", file->path);
  int status = lua_load(L, feed_line, &feed, lua_tostring(L, -1), "t");
  if (status == LUA_OK) return;
  if (status == LUA_ERRMEM || lua_type(L, -1) != LUA_TSTRING) lua_error(L);
  failure_split(lua_tostring(L, -1), where, sizeof where);
  if (where[0]) lua_error(L);
  snprintf(where, sizeof where, "%s:%d", file->path, feed.line ? feed.line : 1);
  raise_at(L, where, "%s", lua_tostring(L, -1));
}

/* [-1, +1, e] Loads and runs the file whose index is the argument. */
static int run_chunk(lua_State *L) {
  const script_file *file = &state_of(L)->app->files[lua_tointeger(L, 1)];
  load_file(L, file);
  refuse_weak_tables(L, file);
  sandbox_push_environment(L);
  lua_setupvalue(L, -2, 1);
  lua_call(L, 0, 1);
  if (!lua_isnil(L, -1)) return 1;
  lua_pushboolean(L, 1);
  return 1;
}

/* [-0, +1, e] A file's result, true where it returns nothing; each file runs once. */
static void run_file(lua_State *L, size_t index) {
  script_state *state = state_of(L);
  luaL_checkstack(L, 8, "files that include each other too deeply");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &results_key);
  int results = lua_gettop(L);
  if (lua_rawgeti(L, results, (lua_Integer)index + 1) != LUA_TNIL) {
    lua_remove(L, results);
    return;
  }
  lua_pushlightuserdata(L, &running);
  lua_rawseti(L, results, (lua_Integer)index + 1);
  lua_pushcfunction(L, run_chunk);
  lua_pushinteger(L, (lua_Integer)index);
  size_t previous = state->file;
  state->file = index;
  state->failed_file = SIZE_MAX;
  int status = lua_pcall(L, 1, 1, 0); /* so that a script that catches the error finds everything as it was before */
  state->file = previous;
  if (status == LUA_OK) lua_pushvalue(L, -1);
  else lua_pushnil(L);
  lua_rawseti(L, results, (lua_Integer)index + 1);
  if (status != LUA_OK) {
    if (state->failed_file == SIZE_MAX)
      state->failed_file = index; /* the innermost one's failure goes on through those around it */
    lua_error(L);
  }
  lua_replace(L, results);
  lua_settop(L, results);
}

int declare_call_file(lua_State *L) {
  run_file(L, (size_t)lua_tointeger(L, 1));
  return 0;
}

/* Names are those of files below the root, with dots: nothing else can be written, so nothing outside can be meant. */
static bool is_module_name(const char *name) {
  bool begin = true;
  for (; *name; name++) {
    if (*name == '.' && begin) return false;
    if (*name == '/' || *name == '\\') return false;
    begin = *name == '.';
  }
  return !begin;
}

/* [-0, +0, e] */
static int no_such_file(lua_State *L, const char *place, const char *name) {
  const script_app *app = state_of(L)->app;
  for (size_t i = 0; i < app->file_count; i++)
    if (near_name(name, app->files[i].name))
      return raise_at(L, place, "include \"%s\": there is no such file (did you mean \"%s\"?)", name, app->files[i].name);
  luaL_gsub(L, name, ".", "/");
  return raise_at(L, place, "include \"%s\": there is no file %s.lua below the app's directory", name, lua_tostring(L, -1));
}

static int word_include(lua_State *L) {
  script_state *state = state_of(L);
  lua_settop(L, 1);     /* the place is pushed below: without an argument it would be taken for one */
  state_charge(L, 100); /* looking for a file is more than an instruction */
  push_place(L);
  const char *place = lua_tostring(L, -1);
  if (lua_type(L, 1) != LUA_TSTRING) return raise_at(L, place, "include takes the name of a file: include \"reducers.items\"");
  const char *name = lua_tostring(L, 1);
  if (!state->loading) return raise_at(L, place, "include belongs into the file itself: there is none while handlers run");
  if (!is_module_name(name))
    return raise_at(L, place, "include \"%s\": a name is counted from the app's directory, with dots: include \"reducers.items\"",
                    name);
  size_t index = files_by_name(state->app, name);
  if (index == SIZE_MAX) return no_such_file(L, place, name);
  unsigned char *includes = state->app->files[state->file].includes;
  if (!state->app->loaded) includes[index / 8] |= (unsigned char)(1u << index % 8);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &results_key);
  if (lua_rawgeti(L, -1, (lua_Integer)index + 1) == LUA_TLIGHTUSERDATA && lua_touserdata(L, -1) == &running)
    return raise_at(L, place, "include \"%s\": the file is being run already, so that it would include itself", name);
  lua_pop(L, 2);
  run_file(L, index);
  return 1;
}

/* ---- log --------------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] What a person wants to see of a value: a table's content, if it is data. */
static void add_shown(lua_State *L, int index, luaL_Buffer *line) {
  annal_error ignored;
  base_buf *scratch = &state_of(L)->scratch;
  buf_clear(scratch);
  if (lua_istable(L, index) && json_encode(L, index, 0, scratch, &ignored) == 0 && !scratch->failed) {
    luaL_addlstring(line, scratch->bytes, scratch->size);
    return;
  }
  sandbox_tostring(L, index, NULL);
  luaL_addvalue(line);
}

static int word_log(lua_State *L) {
  const base_env *env = state_of(L)->app->env;
  int count = lua_gettop(L);
  push_place(L);
  luaL_Buffer line;
  luaL_buffinit(L, &line);
  lua_pushvalue(L, count + 1);
  luaL_addvalue(&line);
  luaL_addstring(&line, ":");
  for (int i = 1; i <= count; i++) {
    luaL_addchar(&line, ' ');
    add_shown(L, i, &line);
  }
  luaL_pushresult(&line);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  state_charge(L, size / 16);
  if (!env->log) return 0;
  char out[LIMIT_LOG_LINE_BYTES];
  if (size >= sizeof out) {
    size = sizeof out - 1;
    while (size > 0 && ((unsigned char)text[size] & 0xC0) == 0x80) size--; /* never cut a code point */
  }
  for (size_t i = 0; i < size; i++) out[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? ' ' : text[i];
  out[size] = 0;
  env->log(env->log_context, "info", out);
  return 0;
}

/* ---- Helpers of the Lua half ------------------------------------------------------------------------------------------- */

/* fail(where, format, …) */
static int helper_fail(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1)); /* string.format */
  lua_insert(L, 2);
  lua_call(L, lua_gettop(L) - 2, 1);
  lua_pushfstring(L, "%s: %s", lua_tostring(L, 1), lua_tostring(L, 2));
  return lua_error(L);
}

/* show(value) → how a message names it */
static int helper_show(lua_State *L) {
  char copy[96];
  switch (lua_type(L, 1)) {
  case LUA_TNONE:
  case LUA_TNIL: lua_pushliteral(L, "nil"); break;
  case LUA_TSTRING: lua_pushfstring(L, "\"%s\"", text_show(lua_tostring(L, 1), copy)); break;
  case LUA_TNUMBER:
  case LUA_TBOOLEAN: sandbox_tostring(L, 1, NULL); break;
  default: lua_pushfstring(L, "a %s", json_is_null(L, 1) ? "null" : luaL_typename(L, 1));
  }
  return 1;
}

/* seal(table, name, call?) → a table that reads as this one and cannot be written to */
static int helper_seal(lua_State *L) {
  lua_settop(L, 3);
  lua_pushvalue(L, 1);
  sandbox_seal(L, luaL_checkstring(L, 2), NULL);
  if (lua_isnil(L, 3)) return 1;
  lua_getmetatable(L, -1);
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "__call");
  lua_pop(L, 1);
  return 1;
}

/* hint(name, table) → " (did you mean x?)" for the key that is a slip of the fingers away, or "" */
static int helper_hint(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_type(L, 1) == LUA_TSTRING) sandbox_push_near(L, 2, lua_tostring(L, 1));
  lua_pushstring(L, "");
  if (lua_type(L, 3) == LUA_TSTRING && lua_gettop(L) == 4) lua_pushfstring(L, " (did you mean %s?)", lua_tostring(L, 3));
  return 1;
}

static int helper_is_plain(lua_State *L) {
  bool plain = lua_istable(L, 1) && !lua_getmetatable(L, 1);
  lua_pushboolean(L, plain);
  return 1;
}

static int helper_is_text(lua_State *L) {
  size_t size;
  const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &size) : NULL;
  lua_pushboolean(L, text && text_is_utf8(text, size));
  return 1;
}

static int helper_is_identifier(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_pushboolean(L, strlen(text) == size && text_is_name(text));
  return 1;
}

/* name_fault(name) → what is wrong with the name of an event or a projection, or nil */
static int helper_name_fault(lua_State *L) {
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  if (size == 0) lua_pushliteral(L, "is empty");
  else if (size > LIMIT_TYPE_BYTES) lua_pushfstring(L, "has %d bytes: at most %d", (int)size, LIMIT_TYPE_BYTES);
  else if (!text_is_utf8(name, size)) lua_pushliteral(L, "is no valid UTF-8");
  else lua_pushnil(L);
  return 1;
}

/* value_fault(value) → what keeps it from being stored, and where in it; or nil */
static int helper_value_fault(lua_State *L) {
  annal_error error;
  base_buf *scratch = &state_of(L)->scratch;
  buf_clear(scratch);
  if (json_encode(L, 1, JSON_TREE | JSON_NO_NUL, scratch, &error) == 0) return 0;
  if (error.code == ANNAL_UNAVAILABLE) return state_fail(L, &error); /* no memory: that is no fault of the value's */
  lua_pushstring(L, error.message);
  lua_pushstring(L, error.where);
  return 2;
}

static int helper_pattern_fault(lua_State *L) {
  size_t size;
  const char *pattern = luaL_checklstring(L, 1, &size);
  lua_pushstring(L, pattern_fault(pattern, size)); /* NULL becomes nil */
  return 1;
}

static int helper_file(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)state_of(L)->file);
  return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

/* [-arguments, +1, e] Runs one of the embedded files; its environment is the globals themselves. */
static void run_embedded(lua_State *L, const char *path, int arguments) {
  vocabulary_load(L, path);
  sandbox_push_globals(L);
  lua_setupvalue(L, -2, 1);
  lua_insert(L, -arguments - 1);
  lua_call(L, arguments, 1);
}

static void push_helpers(lua_State *L) {
  static const luaL_Reg helpers[] = {{"entry", helper_entry},
                                     {"declaration", helper_declaration},
                                     {"show", helper_show},
                                     {"seal", helper_seal},
                                     {"hint", helper_hint},
                                     {"is_plain", helper_is_plain},
                                     {"is_text", helper_is_text},
                                     {"is_identifier", helper_is_identifier},
                                     {"name_fault", helper_name_fault},
                                     {"value_fault", helper_value_fault},
                                     {"pattern_fault", helper_pattern_fault},
                                     {"file", helper_file},
                                     {NULL, NULL}};
  luaL_newlib(L, helpers);
  sandbox_push_globals(L);
  lua_getfield(L, -1, "string");
  lua_getfield(L, -1, "format");
  lua_pushcclosure(L, helper_fail, 1);
  lua_setfield(L, -4, "fail");
  lua_pop(L, 2);
  json_push_null(L);
  lua_setfield(L, -2, "null");
}

void declare_open(lua_State *L) {
  luaL_checkstack(L, 20, NULL);
  int base = lua_gettop(L);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &results_key);
  sandbox_push_globals(L);
  int globals = base + 1, helpers = base + 2, types = base + 3, declarations = base + 4, commands = base + 5;
  push_helpers(L);
  lua_pushvalue(L, helpers);
  run_embedded(L, "types.lua", 1);
  lua_pushvalue(L, helpers);
  lua_pushvalue(L, types);
  run_embedded(L, "declare.lua", 2);
  lua_pushvalue(L, helpers);
  lua_pushvalue(L, types);
  lua_pushvalue(L, declarations);
  run_embedded(L, "command.lua", 3);
  lua_pushvalue(L, helpers);
  lua_pushvalue(L, declarations);
  lua_pushvalue(L, commands);
  run_embedded(L, "resolve.lua", 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &resolve_key);
  static const char *const words[] = {"event", "projection", "reducer"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    lua_getfield(L, declarations, words[i]);
    lua_setfield(L, globals, words[i]);
  }
  lua_getfield(L, types, "t");
  lua_setfield(L, globals, "t");
  lua_getfield(L, commands, "command");
  lua_setfield(L, globals, "command");
  lua_pushcfunction(L, command_reject);
  lua_setfield(L, globals, "reject");
  lua_pushcfunction(L, word_include);
  lua_setfield(L, globals, "include");
  lua_pushcfunction(L, word_log);
  lua_setfield(L, globals, "log");
  lua_settop(L, base);
}

void declare_push_resolve(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &resolve_key); }
