/* From bytes to Lua values, without a step between. Role: payloads and states on their way into scripts; see json_lua.h.
 *
 * The members of a container gather on the Lua stack, above a slot for its table, until all are there: then the table is made
 * in its final size and filled by raw sets. Only containers of more than LIMIT_JSON_PENDING members grow their tables. Any Lua
 * allocation may jump out of here; what is at stake then is on the Lua stack or belongs to the state's userdata.
 *
 * A finalizer that runs inside an allocation may itself decode: the scratch for strings is empty again before any can run. */
#include "json/json_scan.h"
#include "json/json_state.h"

#define STACK_STEP 8 /* members for which room on the stack is asked at once */
#define STACK_ROOM (2 * STACK_STEP + 4)
#define COMPARED 8 /* members on the stack with which a key is compared one by one; more are stored first, and looked up */

typedef struct decoder {
  json_scan scan;
  lua_State *L;
  json_state *state;
  int kit;
} decoder;

/* An object or array while it is read. */
typedef struct container {
  json_frame *frame;
  int slot;    /* on the Lua stack: nil, then the table */
  int pending; /* members on the stack above */
  bool made;   /* whether the table is there */
  lua_Integer stored;
  uint8_t *guess;   /* where the entry of the next key is guessed */
  uint64_t highest; /* prefix of any key so far: a key with a higher one is new, and what is stored comes sorted */
} container;

/* Out of line, so that what is around them stays small. */
static int decode_object(decoder *d) __attribute__((noinline));
static int decode_array(decoder *d) __attribute__((noinline));

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

/* [-0, +1, m] */
static inline int decode_string(decoder *d) {
  json_slice string;
  d->scan.at++;
  int result = json_scan_string(&d->scan, &string);
  if (result == 0) lua_pushlstring(d->L, string.bytes, string.size);
  return result;
}

/* [-0, +1, -] */
static inline int decode_number(decoder *d) {
  json_number number;
  int result = json_scan_number(&d->scan, &number);
  if (result != 0) return result;
  if (number.is_float) lua_pushnumber(d->L, number.real);
  else lua_pushinteger(d->L, number.integer);
  return 0;
}

/* [-0, +1, m] `next` is the byte at scan->at, or -1. */
static inline __attribute__((always_inline)) int decode_value(decoder *d, int next) {
  int result;
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

/* ---- Containers -------------------------------------------------------------------------------------------------------- */

/* [-0, +1, -] scan->at stands on the opening bracket. */
static inline int begin(decoder *d, container *c) {
  *c = (container){.slot = lua_gettop(d->L) + 1};
  c->frame = json_scan_enter(&d->scan);
  if (!c->frame) return ANNAL_INVALID;
  if (!lua_checkstack(d->L, STACK_ROOM)) return error_memory(d->scan.error);
  c->guess = &d->state->first[d->scan.depth % KEY_DEPTHS];
  lua_pushnil(d->L);
  return 0;
}

/* Room for the next STACK_STEP members, their table and a test for duplicates; `begin` asked for the first. */
static inline int make_room(decoder *d, const container *c) {
  if (c->pending % STACK_STEP != 0 || c->pending == 0 || lua_checkstack(d->L, STACK_ROOM)) return 0;
  return error_memory(d->scan.error);
}

/* ---- Keys -------------------------------------------------------------------------------------------------------------- */

/* [-0, +1, -] Pushes the cached key; answers its prefix. */
static inline uint64_t push_cached(decoder *d, container *c, uint8_t slot) {
  json_key *key = &d->state->keys[slot];
  lua_rawgeti(d->L, d->kit, KIT_FIRST_KEY + slot);
  c->guess = &key->next;
  return key->prefix;
}

/* [-0, +1, m] Pushes a key that is not where it was guessed; answers its prefix. Only the plain ones of the source are cached: a
 * guess is compared with the source as it stands. A finalizer inside lua_pushlstring may change the cache, but not after it: the
 * entry is made at once. */
static uint64_t push_key(decoder *d, container *c, const json_slice *key) {
  uint64_t prefix = json_key_prefix(key->bytes, key->size);
  if (key->escaped || key->size == 0 || key->size > LIMIT_JSON_KEY_BYTES) {
    c->guess = NULL;
    lua_pushlstring(d->L, key->bytes, key->size);
    return prefix;
  }
  uint8_t slot = json_key_slot(key->bytes, key->size), *guess = c->guess;
  if (guess) *guess = slot;
  if (json_key_is(&d->state->keys[slot], key->bytes, key->size)) return push_cached(d, c, slot);
  lua_pushlstring(d->L, key->bytes, key->size);
  json_key_enter(d->L, d->state, d->kit, slot);
  c->guess = &d->state->keys[slot].next;
  return prefix;
}

/* [-0, +1 if true, -] Whether the key at scan->at is the guessed one; moves behind its closing quote then. */
static inline bool take_guessed(decoder *d, container *c, uint64_t *prefix) {
  if (!c->guess) return false;
  uint8_t slot = *c->guess;
  const json_key *key = &d->state->keys[slot];
  const char *at = d->scan.at;
  size_t size = key->size;
  if ((size_t)(d->scan.end - at) <= size || at[size] != '"' || size == 0 || !json_same(at, key->bytes, size)) return false;
  d->scan.at = at + size + 1;
  *prefix = push_cached(d, c, slot);
  return true;
}

/* ---- Objects ----------------------------------------------------------------------------------------------------------- */

/* [-2 × pending, +0, m] */
static inline void store_members(decoder *d, container *c) {
  if (!c->made) {
    lua_createtable(d->L, 0, c->pending);
    lua_replace(d->L, c->slot);
    c->made = true;
  }
  for (; c->pending > 0; c->pending--) lua_rawset(d->L, c->slot);
}

/* [-0, +0, m] Whether the key on top of the stack is already in the object. */
static bool is_duplicate(decoder *d, container *c) {
  if (c->pending > COMPARED) {
    lua_insert(d->L, c->slot + 1);
    store_members(d, c);
  }
  for (int i = 0; i < c->pending; i++)
    if (lua_rawequal(d->L, -1, c->slot + 1 + 2 * i)) return true;
  if (!c->made) return false;
  lua_pushvalue(d->L, -1);
  bool found = lua_rawget(d->L, c->slot) != LUA_TNIL;
  lua_pop(d->L, 1);
  return found;
}

/* [-0, +1, m] Reads `"key" :`. */
static inline int decode_key(decoder *d, container *c) {
  if (json_scan_next(&d->scan) != '"') return json_scan_expected(&d->scan, "a key in quotes");
  const char *source = ++d->scan.at;
  uint64_t prefix;
  if (!take_guessed(d, c, &prefix)) {
    json_slice key;
    int result = json_scan_string(&d->scan, &key);
    if (result != 0) return result;
    prefix = push_key(d, c, &key);
  }
  c->frame->key = source;
  c->frame->key_size = (size_t)(d->scan.at - 1 - source);
  if (prefix > c->highest) c->highest = prefix;
  else if (is_duplicate(d, c)) return json_scan_fail(&d->scan, source - 1, "a key comes twice in one object, the second time");
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
  bool more = next != '}';
  while (more) {
    if (c.pending == LIMIT_JSON_PENDING) store_members(d, &c);
    if ((result = make_room(d, &c)) != 0 || (result = decode_key(d, &c)) != 0) return result;
    if ((result = decode_value(d, json_scan_next(&d->scan))) != 0) return result;
    c.pending++;
    c.frame->key = NULL;
    next = json_scan_next(&d->scan);
    more = next == ',';
    if (more) d->scan.at++;
    else if (next != '}') return json_scan_expected(&d->scan, "',' or '}' after a member");
  }
  store_members(d, &c);
  json_scan_leave(&d->scan);
  return 0;
}

/* ---- Arrays ------------------------------------------------------------------------------------------------------------ */

/* [-pending, +0, m] */
static void store_elements(decoder *d, container *c) {
  if (!c->made) {
    lua_createtable(d->L, c->pending, 0);
    lua_replace(d->L, c->slot);
    lua_rawgeti(d->L, d->kit, KIT_ARRAY);
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
  bool more = next != ']';
  while (more) {
    if (c.pending == LIMIT_JSON_PENDING) store_elements(d, &c);
    c.frame->index = (uint64_t)(c.stored + c.pending) + 1;
    if ((result = make_room(d, &c)) != 0 || (result = decode_value(d, json_scan_next(&d->scan))) != 0) return result;
    c.pending++;
    c.frame->index = 0;
    next = json_scan_next(&d->scan);
    more = next == ',';
    if (more) d->scan.at++;
    else if (next != ']') return json_scan_expected(&d->scan, "',' or ']' after an element");
  }
  store_elements(d, &c);
  json_scan_leave(&d->scan);
  return 0;
}

/* ---- Documents --------------------------------------------------------------------------------------------------------- */

int json_decode_with(lua_State *L, json_state *state, int kit, const char *text, size_t size, unsigned flags,
                     annal_error *error) {
  int top = lua_gettop(L);
  if (!state || !state->env)
    return error_set(error, ANNAL_MISUSE, NULL, "this Lua state was not prepared for JSON, or is closing");
  decoder d; /* not cleared as a whole: the room for frames is large */
  d.L = L;
  d.state = state;
  d.kit = kit;
  json_scan_init(&d.scan, text, size, flags, &state->strings, error);
  int next = json_scan_next(&d.scan), result = 0;
  if ((flags & JSON_OBJECT) && next != '{') result = json_scan_expected(&d.scan, "an object");
  if (result == 0) result = decode_value(&d, next);
  if (result == 0) result = json_scan_finish(&d.scan);
  if (result != 0) lua_settop(L, top);
  if (state->strings.capacity > LIMIT_JSON_SCRATCH_BYTES) buf_free(&state->strings);
  return result;
}

int json_decode(lua_State *L, const char *text, size_t size, unsigned flags, annal_error *error) {
  if (!lua_checkstack(L, 6)) return error_memory(error);
  json_push_kit(L);
  int kit = lua_gettop(L);
  int result = json_decode_with(L, json_state_of_kit(L), kit, text, size, flags, error);
  lua_remove(L, kit);
  return result;
}
