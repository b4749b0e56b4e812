/* From bytes to Lua values, without a step between. Role: payloads and states on their way into scripts; see json_lua.h.
 *
 * The members of a container gather on the Lua stack, above a slot for its table, until all are there: then the table is made
 * in its final size and filled by raw sets. Only containers of more than PENDING members grow their tables. Any Lua allocation
 * may jump out of here; what is at stake then is on the Lua stack or belongs to the state's userdata.
 *
 * A finalizer that runs inside an allocation may itself decode: the scratch for strings is empty again before any can run. */
#include "json/json_scan.h"
#include "json/json_state.h"

#define PENDING 32   /* members held on the stack at most: more than events and views usually have */
#define STACK_STEP 8 /* members for which room on the stack is asked at once */

typedef struct decoder {
  json_scan scan;
  lua_State *L;
} decoder;

/* An object or array while it is read. */
typedef struct container {
  json_frame frame;
  int slot;    /* on the Lua stack: nil, then the table */
  bool made;   /* whether the table is there */
  int pending; /* members on the stack above */
  lua_Integer stored;
  const char *keys[PENDING]; /* of the pending members, kept alive by the stack */
  size_t key_sizes[PENDING];
} container;

static int decode_value(decoder *d);

/* [-0, +1, -] scan->at stands on the opening bracket. */
static int begin(decoder *d, container *c) {
  int result = json_scan_enter(&d->scan);
  if (result != 0) return result;
  if (!lua_checkstack(d->L, 4)) return error_memory(d->scan.error);
  c->frame = (json_frame){.up = d->scan.frame};
  c->made = false;
  c->pending = 0;
  c->stored = 0;
  lua_pushnil(d->L);
  c->slot = lua_gettop(d->L);
  d->scan.frame = &c->frame;
  d->scan.at++;
  return 0;
}

/* scan->at stands on the closing bracket. */
static void end(decoder *d, const container *c) {
  d->scan.at++;
  d->scan.depth--;
  d->scan.frame = c->frame.up;
}

/* Room for the next STACK_STEP members, their table and a test for duplicates. */
static int make_room(decoder *d, const container *c) {
  if (c->pending % STACK_STEP != 0 || lua_checkstack(d->L, 2 * STACK_STEP + 4)) return 0;
  return error_memory(d->scan.error);
}

/* ---- Objects ----------------------------------------------------------------------------------------------------------- */

/* [-2 × pending, +0, m] */
static void store_members(decoder *d, container *c) {
  if (!c->made) {
    lua_createtable(d->L, 0, c->pending);
    lua_replace(d->L, c->slot);
    c->made = true;
  }
  for (; c->pending > 0; c->pending--) lua_rawset(d->L, c->slot);
}

/* [-0, +0, -] Whether the key on top of the stack is already in the object. */
static bool is_duplicate(decoder *d, const container *c, const char *key, size_t size) {
  for (int i = 0; i < c->pending; i++)
    if (c->key_sizes[i] == size && memcmp(c->keys[i], key, size) == 0) return true;
  if (!c->made) return false;
  lua_pushvalue(d->L, -1);
  bool found = lua_rawget(d->L, c->slot) != LUA_TNIL;
  lua_pop(d->L, 1);
  return found;
}

/* [-0, +1, m] Reads `"key" :`. */
static int decode_key(decoder *d, container *c) {
  json_slice key;
  if (json_scan_next(&d->scan) != '"') return json_scan_expected(&d->scan, "a key in quotes");
  const char *source = ++d->scan.at;
  int result = json_scan_string(&d->scan, &key);
  if (result != 0) return result;
  c->frame.key = source;
  c->frame.key_size = (size_t)(d->scan.at - 1 - source);
  const char *bytes = lua_pushlstring(d->L, key.bytes, key.size);
  if (is_duplicate(d, c, bytes, key.size))
    return json_scan_fail(&d->scan, source - 1, "a key comes twice in one object, the second time");
  c->keys[c->pending] = bytes;
  c->key_sizes[c->pending] = key.size;
  if (json_scan_next(&d->scan) != ':') return json_scan_expected(&d->scan, "':' after a key");
  d->scan.at++;
  return 0;
}

/* [-0, +1, m] */
static int decode_object(decoder *d) {
  container c;
  int result = begin(d, &c);
  if (result != 0) return result;
  int next = json_scan_next(&d->scan);
  while (next != '}') {
    if (c.made || c.pending > 0) {
      if (next != ',') return json_scan_expected(&d->scan, "',' or '}' after a member");
      d->scan.at++;
    }
    if (c.pending == PENDING) store_members(d, &c);
    if ((result = make_room(d, &c)) != 0 || (result = decode_key(d, &c)) != 0 || (result = decode_value(d)) != 0) return result;
    c.pending++;
    c.frame.key = NULL;
    next = json_scan_next(&d->scan);
  }
  store_members(d, &c);
  end(d, &c);
  return 0;
}

/* ---- Arrays ------------------------------------------------------------------------------------------------------------ */

/* [-pending, +0, m] */
static void store_elements(decoder *d, container *c) {
  if (!c->made) {
    lua_createtable(d->L, c->pending, 0);
    lua_replace(d->L, c->slot);
    json_push_array_metatable(d->L);
    lua_setmetatable(d->L, c->slot);
    c->made = true;
  }
  lua_Integer count = c->pending;
  for (; c->pending > 0; c->pending--) lua_rawseti(d->L, c->slot, c->stored + c->pending);
  c->stored += count;
}

/* [-0, +1, m] */
static int decode_array(decoder *d) {
  container c;
  int result = begin(d, &c);
  if (result != 0) return result;
  int next = json_scan_next(&d->scan);
  while (next != ']') {
    if (c.made || c.pending > 0) {
      if (next != ',') return json_scan_expected(&d->scan, "',' or ']' after an element");
      d->scan.at++;
    }
    if (c.pending == PENDING) store_elements(d, &c);
    c.frame.index = (uint64_t)(c.stored + c.pending) + 1;
    if ((result = make_room(d, &c)) != 0 || (result = decode_value(d)) != 0) return result;
    c.pending++;
    c.frame.index = 0;
    next = json_scan_next(&d->scan);
  }
  store_elements(d, &c);
  end(d, &c);
  return 0;
}

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

/* [-0, +1, m] */
static int decode_string(decoder *d) {
  json_slice string;
  d->scan.at++;
  int result = json_scan_string(&d->scan, &string);
  if (result == 0) lua_pushlstring(d->L, string.bytes, string.size);
  return result;
}

/* [-0, +1, -] */
static int decode_number(decoder *d) {
  json_number number;
  int result = json_scan_number(&d->scan, &number);
  if (result != 0) return result;
  if (number.is_float) lua_pushnumber(d->L, number.real);
  else lua_pushinteger(d->L, number.integer);
  return 0;
}

/* [-0, +1, m] */
static int decode_value(decoder *d) {
  int result, next = json_scan_next(&d->scan);
  switch (next) {
  case '{': return decode_object(d);
  case '[': return decode_array(d);
  case '"': return decode_string(d);
  case 't':
    if ((result = json_scan_word(&d->scan, "true")) == 0) lua_pushboolean(d->L, 1);
    return result;
  case 'f':
    if ((result = json_scan_word(&d->scan, "false")) == 0) lua_pushboolean(d->L, 0);
    return result;
  case 'n':
    if ((result = json_scan_word(&d->scan, "null")) == 0) json_push_null(d->L);
    return result;
  default:
    if (next == '-' || (next >= '0' && next <= '9')) return decode_number(d);
    return json_scan_expected(&d->scan, "a value");
  }
}

int json_decode(lua_State *L, const char *text, size_t size, unsigned flags, annal_error *error) {
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 4)) return error_memory(error);
  json_state *state = json_state_of(L);
  if (!state) return error_set(error, ANNAL_MISUSE, NULL, "this Lua state was not prepared for JSON, or is closing");
  decoder d = {.L = L};
  d.scan = (json_scan){.start = text, .at = text, .end = text + size, .flags = flags, .scratch = &state->strings, .error = error};
  int result = 0;
  if ((flags & JSON_OBJECT) && json_scan_next(&d.scan) != '{') result = json_scan_expected(&d.scan, "an object");
  if (result == 0) result = decode_value(&d);
  if (result == 0) result = json_scan_finish(&d.scan);
  if (result != 0) lua_settop(L, top);
  if (state->strings.capacity) json_state_trim(state);
  return result;
}
