/* The walk along a value and its schema; see schema.h. A place is named only once something is wrong there: on the way back up
 * each level puts its own part before the path. */
#include "script/schema.h"

#include "base/limits.h"
#include "base/text.h"
#include "script/near.h"
#include "script/pattern.h"
#include "json/json.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct walk {
  lua_State *L;
  schema_result *result;
  int64_t steps;
  bool changed; /* the value at the top took the place of the one that was checked; its owner has to store it */
} walk;

static bool check_value(walk *w, const schema_node *node);

const schema_field *schema_find(const schema_node *node, const char *name, size_t size) {
  size_t low = 0, high = node->field_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const schema_field *field = &node->fields[middle];
    int order = field->size != size ? (field->size < size ? -1 : 1) : memcmp(field->name, name, size);
    if (order == 0) return field;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

/* ---- Saying what is wrong ---------------------------------------------------------------------------------------------- */

static void prepend(walk *w, const char *part) {
  char *where = w->result->where, rest[sizeof w->result->where];
  memcpy(rest, where, sizeof rest);
  snprintf(where, sizeof w->result->where, "%s%s%.*s", part, rest[0] && rest[0] != '[' ? "." : "", (int)sizeof rest / 2, rest);
}

/* "\"abc\"", "12", "null", "an array": the value at the top in few words. */
static const char *show(lua_State *L, char out[128]) {
  char text[JSON_DOUBLE_BYTES], copy[96];
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    if (!text_is_utf8(lua_tostring(L, -1), lua_rawlen(L, -1))) return "a string that is no UTF-8 or holds U+0000";
    snprintf(out, 128, "\"%s\"", text_show(lua_tostring(L, -1), copy));
    return out;
  case LUA_TBOOLEAN: return lua_toboolean(L, -1) ? "true" : "false";
  case LUA_TTABLE: return json_is_array(L, -1) || lua_rawlen(L, -1) > 0 ? "an array" : "an object";
  case LUA_TNUMBER: break;
  case LUA_TNIL: return "nil";
  default: return json_is_null(L, -1) ? "null" : lua_typename(L, lua_type(L, -1));
  }
  if (lua_isinteger(L, -1)) snprintf(out, 128, "%lld", (long long)lua_tointeger(L, -1));
  else if (!isfinite(lua_tonumber(L, -1))) snprintf(out, 128, "%s", isnan(lua_tonumber(L, -1)) ? "NaN" : "an infinity");
  else {
    size_t size = json_double_text(lua_tonumber(L, -1), text);
    snprintf(out, 128, "%.*s", (int)size, text);
  }
  return out;
}

/* "must be …, not …" about the value at the top. */
static bool refuse(walk *w, const char *expected, ...) ANNAL_PRINTF(2, 3);
static bool refuse(walk *w, const char *expected, ...) {
  char text[400], value[128];
  va_list arguments;
  va_start(arguments, expected);
  vsnprintf(text, sizeof text, expected, arguments);
  va_end(arguments);
  snprintf(w->result->message, sizeof w->result->message, "must be %s, not %s", text, show(w->L, value));
  return false;
}

/* ", at least 1, at most 9" */
static const char *show_range(const schema_node *node, const char *unit, char out[128]) {
  size_t size = 0;
  out[0] = 0;
  char number[JSON_DOUBLE_BYTES];
  for (int i = 0; i < 2; i++) {
    if (!(i == 0 ? node->has_min : node->has_max)) continue;
    if (node->kind == SCHEMA_NUMBER) {
      const schema_bound *bound = i == 0 ? &node->number_min : &node->number_max;
      size_t length = bound->is_integer ? (size_t)snprintf(number, sizeof number, "%lld", (long long)bound->integer)
                                        : json_double_text(bound->real, number);
      number[length < sizeof number ? length : sizeof number - 1] = 0;
    } else {
      snprintf(number, sizeof number, "%lld", (long long)(i == 0 ? node->min : node->max));
    }
    size += (size_t)snprintf(out + size, 128 - size, "%s %s %s%s", size ? " and" : " of", i == 0 ? "at least" : "at most", number,
                             unit);
    if (size >= 128) break;
  }
  return out;
}

/* ---- One value --------------------------------------------------------------------------------------------------------- */

static int64_t code_points(const char *text, size_t size) {
  int64_t count = 0;
  for (size_t i = 0; i < size; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
  return count;
}

static bool check_string(walk *w, const schema_node *node) {
  char range[128];
  if (lua_type(w->L, -1) != LUA_TSTRING) return refuse(w, "a string%s", show_range(node, " characters", range));
  size_t size;
  const char *text = lua_tolstring(w->L, -1, &size);
  if (node->has_min || node->has_max) {
    int64_t count = code_points(text, size);
    if ((node->has_min && count < node->min) || (node->has_max && count > node->max))
      return refuse(w, "a string%s", show_range(node, " characters", range));
  }
  if (!node->pattern) return true;
  pattern_match match;
  const char *end;
  pattern_init(&match, text, size, node->pattern, node->pattern_size, w->steps);
  bool matches = pattern_search(&match, text, node->pattern, &end) != NULL;
  w->steps = match.steps;
  if (match.problem) {
    w->result->overrun = match.steps < 0;
    snprintf(w->result->message, sizeof w->result->message, "%s: \"%.100s\"", match.problem, node->pattern);
    return false;
  }
  return matches || refuse(w, "a string that matches \"%.200s\"", node->pattern);
}

static bool check_integer(walk *w, const schema_node *node) {
  lua_State *L = w->L;
  char range[128];
  if (lua_type(L, -1) == LUA_TNUMBER) {
    int whole;
    lua_Integer value = lua_tointegerx(L, -1, &whole); /* takes 2.0, refuses 2.5 and 1e300 */
    if (whole && (!node->has_min || value >= node->min) && (!node->has_max || value <= node->max)) {
      if (lua_isinteger(L, -1)) return true;
      lua_pushinteger(L, value);
      lua_replace(L, -2);
      return w->changed = true;
    }
  }
  return refuse(w, "an integer%s", show_range(node, "", range));
}

/* How the number at the top compares with the bound. Lua does this exactly for every pair of an integer and a float. */
static bool compares(lua_State *L, const schema_bound *bound, bool at_least) {
  if (bound->is_integer) lua_pushinteger(L, bound->integer);
  else lua_pushnumber(L, bound->real);
  bool holds = at_least ? lua_compare(L, -1, -2, LUA_OPLE) : lua_compare(L, -2, -1, LUA_OPLE);
  lua_pop(L, 1);
  return holds;
}

static bool check_number(walk *w, const schema_node *node) {
  char range[128];
  if (lua_type(w->L, -1) == LUA_TNUMBER && isfinite(lua_tonumber(w->L, -1)) &&
      (!node->has_min || compares(w->L, &node->number_min, true)) && (!node->has_max || compares(w->L, &node->number_max, false)))
    return true;
  return refuse(w, "a number%s", show_range(node, "", range));
}

static bool check_timestamp(walk *w) {
  int64_t ignored;
  if (lua_type(w->L, -1) == LUA_TSTRING) {
    size_t size;
    const char *text = lua_tolstring(w->L, -1, &size);
    if (strlen(text) == size && text_to_time(text, &ignored)) return true;
  }
  return refuse(w, "a time in UTC such as \"2026-01-31T23:59:59Z\"");
}

static bool choice_matches(lua_State *L, const schema_choice *choice) {
  if (lua_type(L, -1) != choice->type) return false;
  if (choice->type == LUA_TBOOLEAN) return lua_toboolean(L, -1) == (choice->number != 0);
  if (choice->type == LUA_TNUMBER) return lua_isinteger(L, -1) && lua_tointeger(L, -1) == choice->number;
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  return size == choice->size && memcmp(text, choice->text, size) == 0;
}

static bool check_enum(walk *w, const schema_node *node) {
  for (size_t i = 0; i < node->choice_count; i++)
    if (choice_matches(w->L, &node->choices[i])) return true;
  char list[300];
  size_t size = 0;
  for (size_t i = 0; i < node->choice_count && size < sizeof list - 64; i++) {
    const schema_choice *choice = &node->choices[i];
    const char *comma = i ? ", " : "";
    int added;
    if (choice->type == LUA_TSTRING) added = snprintf(list + size, sizeof list - size, "%s\"%.40s\"", comma, choice->text);
    else if (choice->type == LUA_TNUMBER)
      added = snprintf(list + size, sizeof list - size, "%s%lld", comma, (long long)choice->number);
    else added = snprintf(list + size, sizeof list - size, "%s%s", comma, choice->number ? "true" : "false");
    size += (size_t)added;
  }
  return refuse(w, "one of %s", list);
}

/* ---- Values in values -------------------------------------------------------------------------------------------------- */

static bool check_array(walk *w, const schema_node *node) {
  lua_State *L = w->L;
  if (lua_type(L, -1) != LUA_TTABLE) return refuse(w, "an array");
  int table = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, table);
  if (!json_is_array(L, table)) {
    lua_Integer keys = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) keys++;
    if (keys != count) return refuse(w, "an array");
    if (count == 0) { /* {} is an array where the schema says so */
      json_push_array_metatable(L);
      lua_setmetatable(L, table);
    }
  }
  if (node->of->kind == SCHEMA_ANY) return true;
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, table, i);
    w->changed = false;
    if (!check_value(w, node->of)) {
      char part[32];
      snprintf(part, sizeof part, "[%lld]", (long long)i);
      prepend(w, part);
      return false;
    }
    if (w->changed) lua_rawseti(L, table, i);
    else lua_pop(L, 1);
  }
  w->changed = false;
  return true;
}

static bool missing_field(walk *w, const schema_node *node, int table) {
  for (size_t i = 0; i < node->field_count; i++) {
    const schema_field *field = &node->fields[i];
    if (field->node->optional) continue;
    lua_pushlstring(w->L, field->name, field->size);
    if (lua_rawget(w->L, table) != LUA_TNIL) {
      lua_pop(w->L, 1);
      continue;
    }
    lua_pop(w->L, 1);
    prepend(w, field->name);
    snprintf(w->result->message, sizeof w->result->message, "is missing");
    return false;
  }
  return true;
}

static bool unknown_field(walk *w, const schema_node *node, const char *name) {
  char shown[96];
  const char *hint = NULL;
  for (size_t i = 0; i < node->field_count && !hint; i++)
    if (near_name(name, node->fields[i].name)) hint = node->fields[i].name;
  prepend(w, text_show(name, shown));
  snprintf(w->result->message, sizeof w->result->message, "is no field of the schema%s%s%s", hint ? " (did you mean " : "",
           hint ? hint : "", hint ? "?)" : "");
  return false;
}

/* The member whose key and value are the two topmost values: by `of` for a map, else by the field of that name. */
static bool check_member(walk *w, const schema_node *node, int table, size_t *required) {
  lua_State *L = w->L;
  size_t size;
  const char *name = lua_tolstring(L, -2, &size);
  const schema_node *of = node->of;
  if (node->kind == SCHEMA_OBJECT) {
    const schema_field *field = schema_find(node, name, size);
    if (!field) return unknown_field(w, node, name);
    of = field->node;
    if (of->optional && json_is_null(L, -1)) { /* stored as absent */
      lua_pushvalue(L, -2);
      lua_pushnil(L);
      lua_rawset(L, table);
      return true;
    }
    if (!of->optional) ++*required;
  }
  w->changed = false;
  if (!check_value(w, of)) {
    char shown[96];
    prepend(w, text_show(name, shown));
    return false;
  }
  if (w->changed) {
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, table); /* to an existing key: allowed while lua_next goes on */
  }
  return true;
}

static bool check_members(walk *w, const schema_node *node) {
  lua_State *L = w->L;
  if (lua_type(L, -1) != LUA_TTABLE || json_is_array(L, -1) || lua_rawlen(L, -1) > 0) return refuse(w, "an object");
  int table = lua_gettop(L);
  size_t required = 0;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_settop(L, table);
      return refuse(w, "an object with strings as keys");
    }
    if (!check_member(w, node, table, &required)) return false;
    lua_settop(L, table + 1);
  }
  w->changed = false;
  return required == node->required || missing_field(w, node, table);
}

static bool check_value(walk *w, const schema_node *node) {
  switch (node->kind) {
  case SCHEMA_STRING: return check_string(w, node);
  case SCHEMA_INTEGER: return check_integer(w, node);
  case SCHEMA_NUMBER: return check_number(w, node);
  case SCHEMA_BOOLEAN: return lua_type(w->L, -1) == LUA_TBOOLEAN || refuse(w, "a boolean");
  case SCHEMA_TIMESTAMP: return check_timestamp(w);
  case SCHEMA_ENUM: return check_enum(w, node);
  case SCHEMA_ANY: return true;
  case SCHEMA_ARRAY:
  case SCHEMA_MAP:
  case SCHEMA_OBJECT: break;
  }
  luaL_checkstack(w->L, 8, "a value nested too deeply"); /* depth is bounded by the schema's */
  return node->kind == SCHEMA_ARRAY ? check_array(w, node) : check_members(w, node);
}

bool schema_check(lua_State *L, int index, const schema_node *node, int64_t steps, schema_result *result) {
  result->where[0] = result->message[0] = 0;
  result->overrun = false;
  walk w = {.L = L, .result = result, .steps = steps};
  int top = lua_gettop(L);
  lua_pushvalue(L, index);
  bool fits = check_value(&w, node);
  lua_settop(L, top);
  return fits;
}
