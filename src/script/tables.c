/* The table library as scripts have it, written anew. Role: the standard functions loop as long as __len and their arguments
 * say, without a VM instruction; and its sort picks a pivot by the clock, so that equal elements come out in an order of the
 * hour. Here everything is paid for before it is done, and the sort is stable. Metamethods are respected as in the standard. */
#include "script/internal.h"

/* [-0, +0, e] The length, by __len where there is one. */
static lua_Integer length(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE) luaL_checktype(L, index, LUA_TTABLE);
  return luaL_len(L, index);
}

static void charge_range(lua_State *L, lua_Integer from, lua_Integer to) {
  if (to >= from) state_charge(L, ((uint64_t)to - (uint64_t)from) / 2);
}

static int table_insert(lua_State *L) {
  lua_Integer end = (lua_Integer)((lua_Unsigned)length(L, 1) + 1), at = end; /* wraps as the standard does */
  int count = lua_gettop(L);
  if (count != 2 && count != 3) return luaL_error(L, "wrong number of arguments to 'insert'");
  if (count == 3) {
    at = luaL_checkinteger(L, 2);
    luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)end, 2, "position out of bounds");
    charge_range(L, at, end);
    for (lua_Integer i = end; i > at; i--) {
      lua_geti(L, 1, i - 1);
      lua_seti(L, 1, i);
    }
  }
  lua_settop(L, count);
  lua_seti(L, 1, at);
  return 0;
}

static int table_remove(lua_State *L) {
  lua_Integer size = length(L, 1), at = luaL_optinteger(L, 2, size);
  if (!lua_isnoneornil(L, 2)) luaL_argcheck(L, (lua_Unsigned)at - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
  charge_range(L, at, size);
  lua_geti(L, 1, at);
  for (; at < size; at++) {
    lua_geti(L, 1, at + 1);
    lua_seti(L, 1, at);
  }
  lua_pushnil(L);
  lua_seti(L, 1, at);
  return 1;
}

static int table_move(lua_State *L) {
  lua_Integer from = luaL_checkinteger(L, 2), end = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
  int target = lua_isnoneornil(L, 5) ? 1 : 5;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, target, LUA_TTABLE);
  if (end >= from) {
    luaL_argcheck(L, from > 0 || end < LUA_MAXINTEGER + from, 3, "too many elements to move");
    lua_Integer count = end - from + 1;
    luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
    charge_range(L, from, end);
    bool forward = to > end || to <= from || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
    for (lua_Integer i = 0; i < count; i++) {
      lua_Integer offset = forward ? i : count - 1 - i;
      lua_geti(L, 1, from + offset);
      lua_seti(L, target, to + offset);
    }
  }
  lua_pushvalue(L, target);
  return 1;
}

static int table_concat(lua_State *L) {
  lua_Integer last = length(L, 1);
  size_t between_size;
  const char *between = luaL_optlstring(L, 2, "", &between_size);
  lua_Integer at = luaL_optinteger(L, 3, 1);
  last = luaL_optinteger(L, 4, last);
  charge_range(L, at, last);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (; at <= last; at++) {
    lua_geti(L, 1, at);
    int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
      return luaL_error(L, "invalid value (%s) at index %I in table for 'concat'", luaL_typename(L, -1), (LUAI_UACINT)at);
    if (type == LUA_TNUMBER) {
      sandbox_tostring(L, -1, NULL);
      lua_remove(L, -2);
    }
    luaL_addvalue(&out);
    if (at == last) break; /* which may be the greatest integer */
    luaL_addlstring(&out, between, between_size);
  }
  luaL_pushresult(&out);
  return 1;
}

static int table_pack(lua_State *L) {
  int count = lua_gettop(L);
  lua_createtable(L, count, 1);
  lua_insert(L, 1);
  for (int i = count; i >= 1; i--) lua_rawseti(L, 1, i);
  lua_pushinteger(L, count);
  lua_setfield(L, 1, "n");
  return 1;
}

static int table_unpack(lua_State *L) {
  lua_Integer from = luaL_optinteger(L, 2, 1);
  lua_Integer to = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
  if (from > to) return 0;
  lua_Unsigned count = (lua_Unsigned)to - (lua_Unsigned)from;
  if (count >= LUAI_MAXSTACK || !lua_checkstack(L, (int)++count)) return luaL_error(L, "too many results to unpack");
  charge_range(L, from, to);
  for (; from < to; from++) lua_geti(L, 1, from);
  lua_geti(L, 1, to);
  return (int)count;
}

/* ---- sort -------------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] Whether element j of the table at `table` must come before element i. A stable sort takes i otherwise. */
static bool comes_before(lua_State *L, int table, lua_Integer j, lua_Integer i) {
  bool before;
  if (lua_isnil(L, 2)) {
    lua_rawgeti(L, table, j);
    lua_rawgeti(L, table, i);
    before = lua_compare(L, -2, -1, LUA_OPLT);
    lua_pop(L, 2);
  } else {
    lua_pushvalue(L, 2);
    lua_rawgeti(L, table, j);
    lua_rawgeti(L, table, i);
    lua_call(L, 2, 1);
    before = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  return before;
}

/* Merges the runs [left, middle) and [middle, right) of `from` into `to`. */
static void merge_runs(lua_State *L, int from, int to, lua_Integer left, lua_Integer middle, lua_Integer right) {
  lua_Integer i = left, j = middle;
  bool in_order = middle >= right || !comes_before(L, from, middle, middle - 1);
  for (lua_Integer k = left; k < right; k++) {
    bool second = !in_order && i < middle && j < right && comes_before(L, from, j, i);
    lua_Integer take = i < middle && !second ? i++ : j++;
    lua_rawgeti(L, from, take);
    lua_rawseti(L, to, k);
  }
}

static int table_sort(lua_State *L) {
  lua_Integer count = length(L, 1);
  if (count < 2) return 0;
  luaL_argcheck(L, count < INT_MAX, 1, "array too big");
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  state_charge(L, (uint64_t)count);
  lua_createtable(L, (int)count, 0); /* 3 and 4: the elements go from one to the other with each width */
  lua_createtable(L, (int)count, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, 1, i);
    lua_rawseti(L, 3, i);
  }
  int from = 3, to = 4;
  for (lua_Integer width = 1; width < count; width *= 2) {
    state_charge(L, (uint64_t)count);
    for (lua_Integer left = 1; left <= count; left += 2 * width) {
      lua_Integer middle = left + width <= count + 1 ? left + width : count + 1;
      lua_Integer right = left + 2 * width <= count + 1 ? left + 2 * width : count + 1;
      merge_runs(L, from, to, left, middle, right);
    }
    from = 7 - from;
    to = 7 - to;
  }
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, from, i);
    lua_seti(L, 1, i);
  }
  return 0;
}

void tables_open(lua_State *L, int tables) {
  static const luaL_Reg ours[] = {
      {"insert", table_insert}, {"remove", table_remove}, {"move", table_move}, {"concat", table_concat},
      {"pack", table_pack},     {"unpack", table_unpack}, {"sort", table_sort}, {NULL, NULL}};
  lua_pushvalue(L, tables);
  luaL_setfuncs(L, ours, 0);
  lua_pop(L, 1);
}
