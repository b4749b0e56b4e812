/* pairs and next in one order: numbers ascending, then strings bytewise, then false and true. Role: a table's own order depends
 * on the process and on the history of its keys, and a state continued from its saved row has another history than the same
 * state folded from the first event. Other keys have no order that every process agrees on: they are an error.
 *
 * pairs looks at the keys once, when the loop begins: keys that come during the loop are not visited, those that go are left out. */
#include "script/internal.h"

#include "json/json_lua.h"

#define ON_STACK 120 /* keys kept as upvalues of the iterator, of which there may be 255 */

typedef struct key {
  int kind;  /* 0: integer, 1: float, 2: string, 3: boolean */
  int place; /* where the key itself stands */
  union {
    lua_Integer integer;
    lua_Number number;
    struct {
      const char *bytes;
      size_t size;
    } text;
  } is;
} key;

static int compare_texts(const char *one, size_t one_size, const char *other, size_t other_size) {
  int order = memcmp(one, other, one_size < other_size ? one_size : other_size);
  return order ? order : (one_size > other_size) - (one_size < other_size);
}

static int compare_keys(const key *one, const key *other) {
  int rank = one->kind <= 1 ? 1 : one->kind, other_rank = other->kind <= 1 ? 1 : other->kind;
  if (rank != other_rank) return rank < other_rank ? -1 : 1;
  if (rank == 2) return compare_texts(one->is.text.bytes, one->is.text.size, other->is.text.bytes, other->is.text.size);
  if (rank == 3 || (one->kind == 0 && other->kind == 0))
    return (one->is.integer > other->is.integer) - (one->is.integer < other->is.integer);
  /* A float that is a key has a fraction or lies outside of int64, so this comparison is exact enough to be right. */
  double a = one->kind == 0 ? (double)one->is.integer : one->is.number;
  double b = other->kind == 0 ? (double)other->is.integer : other->is.number;
  return (a > b) - (a < b);
}

/* [-0, +0, e] */
static void read_key(lua_State *L, int index, key *out) {
  switch (lua_type(L, index)) {
  case LUA_TNUMBER:
    out->kind = lua_isinteger(L, index) ? 0 : 1;
    if (out->kind == 0) out->is.integer = lua_tointeger(L, index);
    else out->is.number = lua_tonumber(L, index);
    return;
  case LUA_TSTRING:
    out->kind = 2;
    out->is.text.bytes = lua_tolstring(L, index, &out->is.text.size);
    return;
  case LUA_TBOOLEAN:
    out->kind = 3;
    out->is.integer = lua_toboolean(L, index);
    return;
  default:
    luaL_error(L, "a %s is a key of this table: such keys have no order that is the same in every process",
               json_is_null(L, index) ? "null" : luaL_typename(L, index));
  }
}

/* Merges runs of growing length, from one half of the room to the other. `keys` has room for 2 * count; answers where they are. */
static key *sort_keys(key *keys, size_t count) {
  key *from = keys, *to = keys + count;
  for (size_t i = 1; i < count; i++) { /* short lists, and those in order, are done here */
    if (compare_keys(&from[i - 1], &from[i]) <= 0) continue;
    if (count > 16) goto merge;
    key moved = from[i];
    size_t at = i;
    for (; at > 0 && compare_keys(&from[at - 1], &moved) > 0; at--) from[at] = from[at - 1];
    from[at] = moved;
  }
  return from;
merge:
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t left = 0; left < count; left += 2 * width) {
      size_t middle = left + width < count ? left + width : count, right = left + 2 * width < count ? left + 2 * width : count;
      for (size_t i = left, j = middle, k = left; k < right; k++)
        to[k] = i < middle && (j >= right || compare_keys(&from[i], &from[j]) <= 0) ? from[i++] : from[j++];
    }
    key *swap = from;
    from = to;
    to = swap;
  }
  return from;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------------- */

/* upvalues: the last index, the table's length as pairs found it */
static int next_element(lua_State *L) {
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(2));
  for (lua_Integer i = lua_tointeger(L, lua_upvalueindex(1)) + 1; i <= last; i++) {
    if (lua_rawgeti(L, 1, i) == LUA_TNIL) {
      lua_pop(L, 1);
      continue;
    }
    lua_pushinteger(L, i);
    lua_copy(L, -1, lua_upvalueindex(1));
    lua_insert(L, -2);
    return 2;
  }
  lua_pushnil(L);
  return 1;
}

/* upvalues: the last place, then the keys in order */
static int next_of_few(lua_State *L) {
  for (lua_Integer i = lua_tointeger(L, lua_upvalueindex(1)) + 1;; i++) {
    if (i >= 255 || lua_isnone(L, lua_upvalueindex((int)i + 1)) || lua_isnil(L, lua_upvalueindex((int)i + 1))) break;
    lua_pushvalue(L, lua_upvalueindex((int)i + 1));
    lua_pushvalue(L, -1);
    if (lua_rawget(L, 1) != LUA_TNIL) {
      lua_pushinteger(L, i);
      lua_replace(L, lua_upvalueindex(1));
      return 2;
    }
    lua_pop(L, 2);
  }
  lua_pushnil(L);
  return 1;
}

/* upvalues: the last place, the list of keys in order */
static int next_of_many(lua_State *L) {
  for (lua_Integer i = lua_tointeger(L, lua_upvalueindex(1)) + 1; lua_rawgeti(L, lua_upvalueindex(2), i) != LUA_TNIL; i++) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, 1) != LUA_TNIL) {
      lua_pushinteger(L, i);
      lua_replace(L, lua_upvalueindex(1));
      return 2;
    }
    lua_pop(L, 2);
  }
  lua_pushnil(L);
  return 1;
}

/* [-0, +1, e] The iterator of a table with more keys than fit on the stack. */
static void push_iterator_of_many(lua_State *L, int table) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
  state_charge(L, count);
  key *keys = lua_newuserdatauv(L, 2 * count * sizeof *keys, 0);
  lua_createtable(L, (int)(count < INT_MAX ? count : INT_MAX), 0);
  int list = lua_gettop(L);
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1), i++) {
    read_key(L, -2, &keys[i]);
    lua_pushvalue(L, -2);
    lua_rawseti(L, list, (lua_Integer)i + 1); /* holds the key, so that its bytes stay */
    keys[i].place = (int)i + 1;
  }
  key *sorted = sort_keys(keys, count);
  lua_pushinteger(L, 0);
  lua_createtable(L, (int)(count < INT_MAX ? count : INT_MAX), 0);
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, list, sorted[i].place);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushcclosure(L, next_of_many, 2);
}

/* [-0, +1, e] */
static void push_iterator(lua_State *L, int table) {
  luaL_checkstack(L, 2 * ON_STACK + 8, NULL);
  key keys[2 * ON_STACK];
  int base = lua_gettop(L), count = 0;
  bool is_list = true;
  lua_Integer elements = 0;
  for (lua_pushnil(L); lua_next(L, table);) {
    lua_pop(L, 1);
    if (is_list && lua_isinteger(L, -1) && lua_tointeger(L, -1) == elements + 1) {
      elements++;
      if (count < ON_STACK) lua_pushvalue(L, -1), count++;
      else continue; /* as long as it is a list the keys need not be kept */
    } else {
      is_list = false;
      if (count == ON_STACK || elements > count) {
        lua_settop(L, base);
        push_iterator_of_many(L, table);
        return;
      }
      lua_pushvalue(L, -1);
      count++;
    }
  }
  state_charge(L, (uint64_t)elements / 4);
  if (is_list) {
    lua_settop(L, base);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, elements);
    lua_pushcclosure(L, next_element, 2);
    return;
  }
  for (int i = 0; i < count; i++) {
    read_key(L, base + 1 + i, &keys[i]);
    keys[i].place = base + 1 + i;
  }
  key *sorted = sort_keys(keys, (size_t)count);
  lua_pushinteger(L, 0);
  for (int i = 0; i < count; i++) lua_pushvalue(L, sorted[i].place);
  lua_pushcclosure(L, next_of_few, count + 1);
}

static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (event_is(L, 1)) {
    event_push_plain(L, 1);
    lua_replace(L, 1);
  } else if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 3);
    return 3;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  push_iterator(L, 1);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/* ---- next -------------------------------------------------------------------------------------------------------------- */

/* The least key that is above the one given: looks at all of them. */
static int base_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (event_is(L, 1)) {
    event_push_plain(L, 1);
    lua_replace(L, 1);
  }
  key after = {0}, best = {0}, candidate = {0};
  bool from_first = lua_isnil(L, 2), found = false;
  if (!from_first) read_key(L, 2, &after);
  lua_pushnil(L); /* 3: the best so far */
  uint64_t count = 0;
  for (lua_pushnil(L); lua_next(L, 1);) {
    lua_pop(L, 1);
    count++;
    read_key(L, -1, &candidate);
    if (!from_first && compare_keys(&candidate, &after) <= 0) continue;
    if (found && compare_keys(&candidate, &best) >= 0) continue;
    found = true;
    best = candidate;
    lua_copy(L, -1, 3);
  }
  state_charge(L, count / 2);
  if (!found) {
    lua_pushnil(L);
    return 1;
  }
  lua_settop(L, 3);
  lua_pushvalue(L, 3);
  lua_rawget(L, 1);
  return 2;
}

static int base_is_empty(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  bool empty = !event_is(L, 1);
  if (empty) {
    lua_pushnil(L);
    empty = lua_next(L, 1) == 0;
  }
  lua_pushboolean(L, empty);
  return 1;
}

void order_open(lua_State *L, int globals) {
  static const luaL_Reg ours[] = {{"pairs", base_pairs}, {"next", base_next}, {"is_empty", base_is_empty}, {NULL, NULL}};
  lua_pushvalue(L, globals);
  luaL_setfuncs(L, ours, 0);
  lua_pop(L, 1);
}
