/* The string library as scripts have it: the standard one, edited in place, because strings find their methods there whatever
 * an environment says. Role: replaces what can run for hours within one VM instruction (patterns, rep), what shows addresses
 * (%p, %s of a table), what prints floats with fewer digits than they have, and takes dump away. */
#include "script/internal.h"

#include "script/pattern.h"

/* Where a position counted from either end of a text lies, 1 for its first byte; 0 and less mean before it. */
static lua_Integer position(lua_Integer given, size_t size) {
  if (given >= 0) return given;
  return given < -(lua_Integer)size ? 0 : (lua_Integer)size + given + 1;
}

/* ---- Patterns ---------------------------------------------------------------------------------------------------------- */

static int64_t begin_match(lua_State *L, pattern_match *match, const char *text, size_t size, const char *pattern,
                           size_t pattern_size) {
  script_state *state = state_of(L);
  int64_t steps = state->running ? state->remaining : LIMIT_BUDGET;
  pattern_init(match, text, size, pattern, pattern_size, steps < 0 ? 0 : steps);
  return match->steps;
}

/* [-0, +0, e] Takes what the match did from the budget, and raises what it found wrong. */
static void end_match(lua_State *L, const pattern_match *match, int64_t before) {
  state_charge(L, (uint64_t)(before - match->steps));
  if (match->problem) luaL_error(L, "%s", match->problem);
}

static void push_capture(lua_State *L, const pattern_match *match, int index) {
  const pattern_capture *capture = &match->captures[index];
  if (capture->size == PATTERN_POSITION) lua_pushinteger(L, capture->start - match->subject + 1);
  else lua_pushlstring(L, capture->start, (size_t)capture->size);
}

/* [-0, +n, e] The captures; without any the whole match, if wanted. */
static int push_captures(lua_State *L, const pattern_match *match, const char *start, const char *end, bool whole) {
  luaL_checkstack(L, match->count + 1, "too many captures");
  for (int i = 0; i < match->count; i++) push_capture(L, match, i);
  if (match->count > 0 || !whole) return match->count;
  lua_pushlstring(L, start, (size_t)(end - start));
  return 1;
}

static bool is_plain(const char *pattern, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (strchr("^$*+?.([%-", pattern[i]) && pattern[i]) return false;
  return true;
}

static int find_plain(lua_State *L, const char *text, size_t size, const char *wanted, size_t wanted_size, size_t from) {
  state_charge(L, (size - from) / 16);
  const char *found = memmem(text + from, size - from, wanted, wanted_size);
  if (!found) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, found - text + 1);
  lua_pushinteger(L, found - text + (lua_Integer)wanted_size);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t size, pattern_size;
  const char *text = luaL_checklstring(L, 1, &size), *pattern = luaL_checklstring(L, 2, &pattern_size);
  lua_Integer from = position(luaL_optinteger(L, 3, 1), size);
  if (from < 1) from = 1;
  if (from > (lua_Integer)size + 1) {
    lua_pushnil(L);
    return 1;
  }
  if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_size)))
    return find_plain(L, text, size, pattern, pattern_size, (size_t)from - 1);
  pattern_match match;
  int64_t before = begin_match(L, &match, text, size, pattern, pattern_size);
  const char *end, *start = pattern_search(&match, text + from - 1, pattern, &end);
  end_match(L, &match, before);
  if (!start) {
    lua_pushnil(L);
    return 1;
  }
  if (!find) return push_captures(L, &match, start, end, true);
  lua_pushinteger(L, start - text + 1);
  lua_pushinteger(L, end - text);
  return push_captures(L, &match, start, end, false) + 2;
}

static int string_find(lua_State *L) { return find_or_match(L, true); }
static int string_match(lua_State *L) { return find_or_match(L, false); }

/* upvalues: text, pattern, offset of the next try, end of the last match (-1: none) */
static int next_match(lua_State *L) {
  size_t size, pattern_size;
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &size),
             *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_size);
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
  pattern_match match;
  int64_t before = begin_match(L, &match, text, size, pattern, pattern_size);
  for (const char *at = text + lua_tointeger(L, lua_upvalueindex(3)); at <= match.subject_end && !match.problem; at++) {
    const char *end = pattern_at(&match, at, pattern);
    if (!end || end - text == last) continue; /* an empty match right behind the last one is none */
    end_match(L, &match, before);
    lua_pushinteger(L, end - text);
    lua_copy(L, -1, lua_upvalueindex(3));
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(L, &match, at, end, true);
  }
  end_match(L, &match, before);
  lua_pushinteger(L, (lua_Integer)size + 1);
  lua_replace(L, lua_upvalueindex(3));
  return 0;
}

static int string_gmatch(lua_State *L) {
  size_t size;
  luaL_checklstring(L, 1, &size);
  luaL_checkstring(L, 2);
  lua_Integer from = position(luaL_optinteger(L, 3, 1), size);
  if (from < 1) from = 1;
  if (from > (lua_Integer)size + 1) from = (lua_Integer)size + 2;
  lua_settop(L, 2);
  lua_pushinteger(L, from - 1);
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, next_match, 4);
  return 1;
}

/* ---- gsub -------------------------------------------------------------------------------------------------------------- */

/* The replacement string with its %0 to %9. The third argument is that string. */
static void add_replacement(lua_State *L, luaL_Buffer *out, const pattern_match *match, const char *start, const char *end) {
  size_t size;
  const char *text = lua_tolstring(L, 3, &size);
  for (size_t i = 0; i < size; i++) {
    if (text[i] != '%') {
      luaL_addchar(out, text[i]);
      continue;
    }
    i++;
    int index = i < size && text[i] >= '1' && text[i] <= '9' ? text[i] - '1' : -1;
    if (i < size && text[i] == '%') {
      luaL_addchar(out, '%');
    } else if (i < size && (text[i] == '0' || (index == 0 && match->count == 0))) {
      luaL_addlstring(out, start, (size_t)(end - start));
    } else if (index >= 0) {
      if (index >= match->count) luaL_error(L, "invalid capture index %%%d in replacement string", index + 1);
      push_capture(L, match, index);
      luaL_addvalue(out);
    } else {
      luaL_error(L, "invalid use of '%%' in replacement string");
    }
  }
}

static void add_value(lua_State *L, luaL_Buffer *out, const pattern_match *match, const char *start, const char *end) {
  int type = lua_type(L, 3);
  if (type != LUA_TTABLE && type != LUA_TFUNCTION) {
    add_replacement(L, out, match, start, end);
    return;
  }
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(L, match, start, end, true), 1);
  } else {
    if (match->count) push_capture(L, match, 0);
    else lua_pushlstring(L, start, (size_t)(end - start));
    lua_gettable(L, 3);
  }
  if (!lua_toboolean(L, -1)) { /* nil and false keep what was there */
    lua_pop(L, 1);
    luaL_addlstring(out, start, (size_t)(end - start));
    return;
  }
  if (!lua_isstring(L, -1)) luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  if (lua_type(L, -1) == LUA_TNUMBER) {
    sandbox_tostring(L, -1, NULL);
    lua_remove(L, -2);
  }
  luaL_addvalue(out);
}

static int string_gsub(lua_State *L) {
  size_t size, pattern_size;
  const char *text = luaL_checklstring(L, 1, &size), *pattern = luaL_checklstring(L, 2, &pattern_size);
  int type = lua_type(L, 3);
  luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                   "string/function/table");
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)size + 1), count = 0;
  if (type == LUA_TNUMBER) {
    sandbox_tostring(L, 3, NULL);
    lua_replace(L, 3);
  }
  bool anchored = pattern_size > 0 && *pattern == '^';
  const char *at = text, *last = NULL, *items = pattern + (anchored ? 1 : 0);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  while (count < most) {
    pattern_match match;
    int64_t before = begin_match(L, &match, text, size, pattern, pattern_size);
    const char *end = pattern_at(&match, at, items);
    match.steps--; /* each try costs something */
    end_match(L, &match, before);
    if (end && end != last) {
      count++;
      add_value(L, &out, &match, at, end);
      at = last = end;
    } else if (at < match.subject_end) {
      luaL_addchar(&out, *at++);
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&out, at, (size_t)(text + size - at));
  luaL_pushresult(&out);
  lua_pushinteger(L, count);
  return 2;
}

/* ---- rep, format ------------------------------------------------------------------------------------------------------- */

static int string_rep(lua_State *L) {
  size_t size, between_size, total;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_Integer count = luaL_checkinteger(L, 2);
  const char *between = luaL_optlstring(L, 3, "", &between_size);
  if (count <= 0 || size + between_size == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (__builtin_mul_overflow(size + between_size, (size_t)count, &total) || total > INT64_MAX / 2)
    return luaL_error(L, "resulting string too large");
  total -= between_size;
  state_charge(L, total / 128 + (uint64_t)count / 8);
  luaL_Buffer out;
  char *at = luaL_buffinitsize(L, &out, total);
  for (lua_Integer i = 0; i < count; i++) {
    memcpy(at, text, size);
    at += size;
    if (i + 1 == count) break;
    memcpy(at, between, between_size);
    at += between_size;
  }
  luaL_pushresultsize(&out, total);
  return 1;
}

/* Prepares the arguments for the standard function (upvalue 1): what %s shows is put in as a string. */
static int string_format(lua_State *L) {
  size_t size;
  const char *format = luaL_checklstring(L, 1, &size);
  int argument = 1;
  state_charge(L, size / 8);
  for (const char *at = format; at < format + size; at++) {
    if (*at != '%') continue;
    if (*++at == '%') continue;
    while (*at && strchr("-+ #0123456789.", *at)) at++;
    argument++;
    if (*at == 'p') return luaL_error(L, "string.format: %%p is not there: an address is another in each process");
    if (*at != 's' || lua_type(L, argument) == LUA_TSTRING || lua_isnone(L, argument)) continue;
    sandbox_tostring(L, argument, NULL);
    lua_replace(L, argument);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

/* upvalue 1: a function that reads its text without an instruction and without memory of its own */
static int charged(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) state_charge(L, lua_rawlen(L, 1) / 16);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

void strings_charge_all(lua_State *L, int library) {
  static const char *const reading[] = {"len", "offset", "codepoint"};
  for (size_t i = 0; i < sizeof reading / sizeof *reading; i++) {
    lua_getfield(L, library, reading[i]);
    lua_pushcclosure(L, charged, 1);
    lua_setfield(L, library, reading[i]);
  }
}

void strings_open(lua_State *L, int strings) {
  static const luaL_Reg ours[] = {{"find", string_find}, {"match", string_match}, {"gmatch", string_gmatch},
                                  {"gsub", string_gsub}, {"rep", string_rep},     {NULL, NULL}};
  lua_getfield(L, strings, "format");
  lua_pushcclosure(L, string_format, 1);
  lua_setfield(L, strings, "format");
  lua_pushnil(L);
  lua_setfield(L, strings, "dump");
  lua_pushvalue(L, strings);
  luaL_setfuncs(L, ours, 0);
  lua_pop(L, 1);
}
