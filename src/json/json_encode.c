/* From Lua values to canonical bytes. Role: states, views and payloads on their way out of scripts; see json_lua.h.
 *
 * Nothing here raises, allocates in Lua, or runs a script: tables are walked by lua_next and read raw, so the scratch can live on
 * the C stack. */
#include "json/json_state.h"
#include "json/json_write.h"

#include <math.h>

#define SEEN_INLINE 64 /* a power of two */

/* Tables met in one JSON_TREE encoding: open addressing, NULL for free. */
typedef struct seen_tables {
  const void **slots;
  size_t capacity, count;
  const void *few[SEEN_INLINE];
} seen_tables;

typedef struct encoder {
  lua_State *L;
  json_state *state; /* with the keys that are known; NULL: none are */
  int kit;
  base_buf *out;
  unsigned flags;
  unsigned depth; /* tables that are being walked */
  annal_error *error;
  json_frame frames[LIMIT_DEPTH]; /* of these, outermost first; the rest is not set */
  json_members members;
  seen_tables seen; /* not set up without JSON_TREE */
} encoder;

/* Out of line, so that what is around it stays small. */
static int encode_table(encoder *e, int table) __attribute__((noinline));

/* The path of the value at hand, in `path`. */
static const char *place(const encoder *e, char path[JSON_PATH_BYTES]) {
  json_path(e->frames, e->depth, false, path);
  return path;
}

#define fail(e, ...) error_set((e)->error, ANNAL_INVALID, place((e), (char[JSON_PATH_BYTES]){0}), __VA_ARGS__)

/* ---- Tables met, for JSON_TREE ----------------------------------------------------------------------------------------- */

static size_t seen_slot(const seen_tables *seen, const void *table) {
  size_t at = (size_t)(((uintptr_t)table >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (seen->capacity - 1);
  while (seen->slots[at] && seen->slots[at] != table) at = (at + 1) & (seen->capacity - 1);
  return at;
}

static void seen_free(encoder *e) {
  if (e->seen.slots != e->seen.few) base_free(e->out->env, e->seen.slots);
}

static bool seen_grow(encoder *e) {
  seen_tables *seen = &e->seen;
  seen_tables larger = {.capacity = seen->capacity * 2};
  larger.slots = base_calloc(e->out->env, larger.capacity, sizeof *larger.slots);
  if (!larger.slots) return false;
  for (size_t i = 0; i < seen->capacity; i++)
    if (seen->slots[i]) larger.slots[seen_slot(&larger, seen->slots[i])] = seen->slots[i];
  seen_free(e);
  seen->slots = larger.slots;
  seen->capacity = larger.capacity;
  return true;
}

static int see(encoder *e, int index) {
  seen_tables *seen = &e->seen;
  if (2 * (seen->count + 1) > seen->capacity && !seen_grow(e)) return error_memory(e->error);
  const void *table = lua_topointer(e->L, index);
  size_t at = seen_slot(seen, table);
  if (seen->slots[at]) return fail(e, "this table stands in the value twice; each place needs a table of its own");
  seen->slots[at] = table;
  seen->count++;
  return 0;
}

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

/* Whether a text, of which `written` bytes were written, has a U+0000 that is refused: without escapes it has none. */
static inline bool has_nul(const encoder *e, const char *text, size_t size, size_t written) {
  return written != size + 2 && (e->flags & JSON_NO_NUL) && memchr(text, 0, size);
}

static inline int encode_string(encoder *e, int index) {
  size_t size, before = e->out->size;
  const char *text = lua_tolstring(e->L, index, &size);
  if (!json_write_string(e->out, text, size)) return fail(e, "a string is not valid UTF-8");
  if (has_nul(e, text, size, e->out->size - before)) return fail(e, "U+0000 cannot be stored, and a string has it");
  return 0;
}

static inline int encode_number(encoder *e, int index) {
  if (lua_isinteger(e->L, index)) {
    json_write_int(e->out, lua_tointeger(e->L, index));
    return 0;
  }
  double value = lua_tonumber(e->L, index);
  if (!isfinite(value)) return fail(e, "%s is no number that JSON can write", isnan(value) ? "NaN" : "an infinity");
  json_add_double(e->out, value);
  return 0;
}

/* [-0, +0 on success, anything otherwise, -] */
static inline __attribute__((always_inline)) int encode_value(encoder *e, int index) {
  int type = lua_type(e->L, index);
  switch (type) {
  case LUA_TSTRING: return encode_string(e, index);
  case LUA_TNUMBER: return encode_number(e, index);
  case LUA_TTABLE: return encode_table(e, index);
  case LUA_TBOOLEAN:
    if (lua_toboolean(e->L, index)) json_put_word(e->out, "true");
    else json_put_word(e->out, "false");
    return 0;
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(e->L, index)) {
      json_put_word(e->out, "null");
      return 0;
    }
    return fail(e, "a userdata is no JSON value");
  case LUA_TNIL: return fail(e, "nil is no JSON value; use null");
  default: return fail(e, "a %s is no JSON value", lua_typename(e->L, type));
  }
}

/* ---- Arrays ------------------------------------------------------------------------------------------------------------ */

/* [-0, +0, -] Answers how many elements the table has if its keys are exactly 1..n; else refuses it. */
static int check_elements(encoder *e, int table, lua_Integer *count) {
  lua_State *L = e->L;
  lua_Integer highest = 0;
  *count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    int type = lua_type(L, -2);
    if (type == LUA_TSTRING) return fail(e, "a table has both elements and named fields");
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1)
      return fail(e, "a table has a key that is %s; keys are strings, or 1..n in an array",
                  type == LUA_TNUMBER ? "a number below 1 or a fraction" : lua_typename(L, type));
    ++*count;
    if (lua_tointeger(L, -2) > highest) highest = lua_tointeger(L, -2);
  }
  if (highest == *count) return 0;
  return fail(e, "an array has holes: its highest key is %lld, and it has %lld elements", (long long)highest, (long long)*count);
}

/* [-0, +0, -] The elements by number; for tables whose elements do not lie in order. */
static int encode_elements(encoder *e, int table, json_frame *frame) {
  lua_Integer count;
  int result = check_elements(e, table, &count);
  for (lua_Integer i = 1; result == 0 && i <= count; i++) {
    if (i > 1) json_put(e->out, ',');
    frame->index = (uint64_t)i;
    lua_rawgeti(e->L, table, i);
    result = encode_value(e, lua_gettop(e->L));
    lua_pop(e->L, 1);
  }
  return result;
}

/* [-2 if more, +0, -] On the stack, if `more`: the first key and its value. */
static int encode_array(encoder *e, int table, bool more) {
  lua_State *L = e->L;
  json_frame *frame = &e->frames[e->depth - 1];
  size_t before = e->out->size + 1;
  int result = 0;
  json_put(e->out, '[');
  for (lua_Integer i = 1; more; i++, more = lua_next(L, table)) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != i) {
      lua_pop(L, 2);
      if (!e->out->failed) e->out->size = before;
      frame->index = 0;
      result = encode_elements(e, table, frame);
      break;
    }
    if (i > 1) json_put(e->out, ',');
    frame->index = (uint64_t)i;
    if ((result = encode_value(e, lua_gettop(L))) != 0) return result;
    lua_pop(L, 1);
  }
  json_put(e->out, ']');
  return result;
}

/* ---- Objects ----------------------------------------------------------------------------------------------------------- */

/* A key of the table that is being walked, which keeps it alive. */
typedef struct table_key {
  const char *bytes;
  size_t size;
  uint64_t prefix;
  bool plain; /* known to be written as it is */
} table_key;

/* [-0, +0, -] Fills in a key that is not known by its address, and on demand makes it known if it is one that is written as it is.
 * False, with the error (`invalid`) set, when it is no string. */
static bool take_new_key(encoder *e, int type, bool remember, table_key *key) {
  if (type != LUA_TSTRING) {
    if (type == LUA_TNUMBER) fail(e, "a table has both elements and named fields");
    else fail(e, "a table has a key that is a %s; keys are strings", lua_typename(e->L, type));
    return false;
  }
  key->bytes = lua_tolstring(e->L, -2, &key->size);
  key->prefix = json_key_prefix(key->bytes, key->size);
  key->plain = false;
  if (!remember || !e->state || key->size == 0 || key->size > LIMIT_JSON_KEY_BYTES) return true;
  if (json_skip_plain(key->bytes, key->bytes + key->size) != key->bytes + key->size) return true;
  uint8_t slot = json_key_slot(key->bytes, key->size);
  if (!json_key_is(&e->state->keys[slot], key->bytes, key->size)) {
    lua_pushvalue(e->L, -2);
    json_key_enter(e->L, e->state, e->kit, slot);
    lua_pop(e->L, 1);
  } else {
    *json_key_place(e->state, lua_topointer(e->L, -2)) = slot;
  }
  key->plain = true;
  return true;
}

/* [-0, +0, -] The key below the top of the stack, which is of that type. */
static inline bool take_key(encoder *e, int type, bool remember, table_key *key) {
  if (e->state && type == LUA_TSTRING) {
    const void *object = lua_topointer(e->L, -2);
    const json_key *known = &e->state->keys[*json_key_place(e->state, object)];
    if (known->object == object) {
      *key = (table_key){.bytes = known->bytes, .size = known->size, .prefix = known->prefix, .plain = true};
      return true;
    }
  }
  return take_new_key(e, type, remember, key);
}

/* [-0, +0, -] Writes a member whose value is at `value`: after a brace the first one, after a comma the others. */
static inline __attribute__((always_inline)) int encode_member(encoder *e, bool first, const table_key *key, int value) {
  json_frame *frame = &e->frames[e->depth - 1];
  if (key->plain) {
    json_write_plain_key(e->out, first ? '{' : ',', key->bytes, key->size);
  } else {
    json_put(e->out, first ? '{' : ',');
    size_t before = e->out->size;
    if (!json_write_string(e->out, key->bytes, key->size)) return fail(e, "a key is not valid UTF-8");
    if (has_nul(e, key->bytes, key->size, e->out->size - before)) return fail(e, "U+0000 cannot be stored, and a key has it");
    json_put(e->out, ':');
  }
  frame->key = key->bytes;
  frame->key_size = key->size;
  int result = encode_value(e, value);
  frame->key = NULL;
  return result;
}

/* [-2, +0, -] An object of any size: members are written as they come and put in order at the end. Many keys are seldom names that
 * come again: they are not remembered, so that they do not drive out those that do. */
static int encode_many(encoder *e, int table) {
  json_members *members = &e->members;
  const json_member *none; /* keys of a table are all different */
  size_t base = members->count;
  for (bool more = true; more; more = lua_next(e->L, table)) {
    table_key key;
    if (!take_key(e, lua_type(e->L, -2), false, &key)) return ANNAL_INVALID;
    json_member *member = json_members_add(members, key.bytes, key.size);
    if (!member) return error_memory(e->error);
    member->from = e->out->size + 1; /* behind the brace or comma */
    size_t mine = members->count - 1;
    int result = encode_member(e, mine == base, &key, lua_gettop(e->L));
    if (result != 0) return result;
    members->list[mine].to = e->out->size;
    lua_pop(e->L, 1);
  }
  if (e->out->failed || !json_members_end(members, base, e->out, &none)) return error_memory(e->error);
  return 0;
}

/* [-2, +0, -] Of a few members keys and values are laid out on the stack, ranked, and written in their order. */
static int encode_few(encoder *e, int table, int type) {
  lua_State *L = e->L;
  table_key keys[RANKED_MAX];
  size_t count = 0;
  uint8_t order[RANKED_MAX];
  uint64_t prefixes[RANKED_MAX];
  int first = lua_gettop(L) - 1, result = 0;
  bool more = true;
  for (; more && count < RANKED_MAX; more = lua_next(L, table)) {
    if (!take_key(e, count ? lua_type(L, -2) : type, true, &keys[count])) return ANNAL_INVALID;
    prefixes[count] = keys[count].prefix;
    count++;
    lua_pushvalue(L, -2); /* for lua_next; this one stays, under its value */
  }
  if (more || !json_rank(prefixes, count, order)) {
    lua_settop(L, first - 1);
    lua_pushnil(L);
    lua_next(L, table);
    return encode_many(e, table);
  }
  for (size_t i = 0; i < count && result == 0; i++) result = encode_member(e, i == 0, &keys[order[i]], first + 2 * order[i] + 1);
  lua_settop(L, first - 1);
  return result;
}

/* [-2, +0, -] On the stack: the first key, of that type, and its value. */
static inline int encode_object(encoder *e, int table, int type) {
  int result = encode_few(e, table, type);
  json_put(e->out, '}');
  return result;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------ */

/* [-0, +0 on success, anything otherwise, -] */
static int encode_table(encoder *e, int table) {
  lua_State *L = e->L;
  if (e->depth == LIMIT_DEPTH) return fail(e, "nested deeper than %d, or a table contains itself", LIMIT_DEPTH);
  if (!lua_checkstack(L, 2 * RANKED_MAX + 4)) return error_memory(e->error);
  bool marked = false;
  if (lua_getmetatable(L, table)) {
    json_push_array_metatable(L);
    marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (!marked) return fail(e, "a table has a metatable other than array's");
  }
  int result = e->flags & JSON_TREE ? see(e, table) : 0;
  if (result != 0) return result;
  e->frames[e->depth++] = (json_frame){0};
  lua_pushnil(L);
  bool more = lua_next(L, table);
  int type = more ? lua_type(L, -2) : LUA_TNONE; /* of the first key */
  if (marked || type == LUA_TNUMBER) result = encode_array(e, table, more);
  else if (more) result = encode_object(e, table, type);
  else json_put_word(e->out, "{}");
  e->depth--;
  return result;
}

int json_encode_with(lua_State *L, json_state *state, int kit, int index, unsigned flags, base_buf *out, annal_error *error) {
  size_t before = out->size;
  encoder e; /* not cleared as a whole: the room for members and tables is large */
  if ((out->failed || !out->bytes) && !buf_reserve(out, 0)) return error_memory(error);
  e.L = L;
  e.state = state && state->env ? state : NULL;
  e.kit = kit;
  e.out = out;
  e.flags = flags;
  e.depth = 0;
  e.error = error;
  json_members_init(&e.members, out->env);
  if (flags & JSON_TREE) e.seen = (seen_tables){.slots = e.seen.few, .capacity = SEEN_INLINE};
  int result = encode_value(&e, index);
  if (result == 0 && (flags & JSON_OBJECT) && !out->failed && out->bytes[before] != '{')
    result = fail(&e, "an object is wanted here");
  if (result == 0 && out->failed) result = error_memory(error);
  json_members_free(&e.members);
  if (flags & JSON_TREE) seen_free(&e);
  if (result != 0) {
    out->size = before;
    out->failed = false;
  }
  json_close(out);
  return result;
}

int json_encode(lua_State *L, int index, unsigned flags, base_buf *out, annal_error *error) {
  if (!lua_checkstack(L, 6)) return error_memory(error);
  int top = lua_gettop(L), value = lua_absindex(L, index);
  json_push_kit(L);
  int result = json_encode_with(L, json_state_of_kit(L), top + 1, value, flags, out, error);
  lua_settop(L, top);
  return result;
}
