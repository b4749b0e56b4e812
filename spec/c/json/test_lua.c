/* Lua values to JSON and back: what is an array, what is an object, what is refused and where, and the library in Lua. */
#include "support.h"

static void run(json_case *c, const char *expression) {
  char chunk[4096];
  snprintf(chunk, sizeof chunk, "return %s", expression);
  if (luaL_loadstring(c->L, chunk) != LUA_OK || lua_pcall(c->L, 0, 1, 0) != LUA_OK)
    fail_msg("%s: %s", expression, lua_tostring(c->L, -1));
}

static void encodes_as(json_case *c, const char *expression, unsigned flags, const char *wanted) {
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  run(c, expression);
  int top = lua_gettop(c->L);
  if (json_encode(c->L, -1, flags, &out, &error) != 0) fail_msg("%s: %s: %s", expression, error.where, error.message);
  assert_int_equal(lua_gettop(c->L), top);
  if (strcmp(out.bytes, wanted) != 0) fail_msg("%s became %s instead of %s", expression, out.bytes, wanted);
  lua_pop(c->L, 1);
  buf_free(&out);
}

static void encode_fails(json_case *c, const char *expression, unsigned flags, const char *where, const char *message) {
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  buf_text(&out, "before");
  run(c, expression);
  int top = lua_gettop(c->L);
  if (json_encode(c->L, -1, flags, &out, &error) != ANNAL_INVALID) fail_msg("%s became %s", expression, out.bytes);
  assert_int_equal(lua_gettop(c->L), top);
  assert_string_equal(out.bytes, "before");
  assert_int_equal(out.size, 6);
  assert_int_equal(error.code, ANNAL_INVALID);
  if (strcmp(error.where, where) != 0) fail_msg("%s: where is \"%s\", not \"%s\"", expression, error.where, where);
  if (!strstr(error.message, message)) fail_msg("%s: \"%s\" does not have \"%s\"", expression, error.message, message);
  lua_pop(c->L, 1);
  buf_free(&out);
}

/* The library under the name `json`; its errors are raised as "code where: message". */
static int raise_text(lua_State *L, const annal_error *error) {
  return luaL_error(L, "%s %s: %s", annal_code_name(error->code), error->where, error->message);
}

static int open_with_library(void **state) {
  json_case_open(state);
  json_case *c = *state;
  json_push_library(c->L, raise_text);
  lua_setglobal(c->L, "json");
  return 0;
}

static void encodes_scalars(void **state) {
  json_case *c = *state;
  encodes_as(c, "1", 0, "1");
  encodes_as(c, "1.0", 0, "1.0");
  encodes_as(c, "-0.0", 0, "-0.0");
  encodes_as(c, "math.mininteger", 0, "-9223372036854775808");
  encodes_as(c, "0.1+0.2", 0, "0.30000000000000004");
  encodes_as(c, "true", 0, "true");
  encodes_as(c, "false", 0, "false");
  encodes_as(c, "json.null", 0, "null");
  encodes_as(c, "'a\"\\n\\\\\\0\\1\\127é'", 0, "\"a\\\"\\n\\\\\\u0000\\u0001\x7F\xC3\xA9\"");
  encodes_as(c, "''", 0, "\"\"");
}

static void tells_arrays_from_objects(void **state) {
  json_case *c = *state;
  encodes_as(c, "{}", 0, "{}");
  encodes_as(c, "json.array {}", 0, "[]");
  encodes_as(c, "json.array { 1, 2 }", 0, "[1,2]");
  encodes_as(c, "{ 1, 'a', true, json.null, {}, json.array {} }", 0, "[1,\"a\",true,null,{},[]]");
  encodes_as(c, "{ b = 1, a = { 2 }, c = {} }", 0, "{\"a\":[2],\"b\":1,\"c\":{}}");
  encodes_as(c, "{ ['1'] = 'string key' }", 0, "{\"1\":\"string key\"}");
  encodes_as(c, "{ [1.0] = 'a', [2.0] = 'b' }", 0, "[\"a\",\"b\"]");
  encodes_as(c, "{ [3] = 'c', [2] = 'b', [1] = 'a' }", 0, "[\"a\",\"b\",\"c\"]");
  encodes_as(c, "{ 'a', 'b', [4] = 'd', [3] = 'c' }", 0, "[\"a\",\"b\",\"c\",\"d\"]");
  encodes_as(c, "(function() local t = {} for i = 100, 1, -1 do t[i] = i end return { #t, t[100], t } end)()", 0,
             "[100,100,[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,"
             "39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64,65,66,67,68,69,70,71,72,73,74,75,76,"
             "77,78,79,80,81,82,83,84,85,86,87,88,89,90,91,92,93,94,95,96,97,98,99,100]]");
  encodes_as(c, "(function() local t = json.array { 1, 2, 3 } t[3] = nil t[2] = nil t[1] = nil return t end)()", 0, "[]");
  encodes_as(c, "(function() local t = { 1, 2, 3, x = 1 } t.x = nil t[3] = nil return t end)()", 0, "[1,2]");
}

static void refuses_tables_that_are_neither(void **state) {
  json_case *c = *state;
  encode_fails(c, "{ 1, 2, nil, 4 }", 0, "", "an array has holes: its highest key is 4, and it has 3 elements");
  encode_fails(c, "{ [2] = 1 }", 0, "", "an array has holes");
  encode_fails(c, "{ a = { [1] = 1, [1 << 40] = 1 } }", 0, "a", "an array has holes");
  encode_fails(c, "{ 1, a = 2 }", 0, "", "a table has both elements and named fields");
  encode_fails(c, "{ a = { b = 1, [5] = 2 } }", 0, "a", "a table has both elements and named fields");
  encode_fails(c, "json.array { 1, a = 2 }", 0, "", "a table has both elements and named fields");
  encode_fails(c, "json.array { a = 2 }", 0, "", "a table has both elements and named fields");
  encode_fails(c, "json.array { 1, nil, 3 }", 0, "", "an array has holes");
  encode_fails(c, "{ [0] = 1 }", 0, "", "a number below 1 or a fraction");
  encode_fails(c, "{ 1, 2, [0] = 1 }", 0, "", "a number below 1 or a fraction");
  encode_fails(c, "{ [-1] = 1 }", 0, "", "a number below 1 or a fraction");
  encode_fails(c, "{ [1.5] = 1 }", 0, "", "a number below 1 or a fraction");
  encode_fails(c, "{ 1, [true] = 1 }", 0, "", "a table has a key that is boolean");
  encode_fails(c, "{ x = { [true] = 1 } }", 0, "x", "a table has a key that is a boolean");
  encode_fails(c, "{ [{}] = 1 }", 0, "", "a table has a key that is a table");
  encode_fails(c, "{ [print] = 1 }", 0, "", "a table has a key that is a function");
  encode_fails(c, "{ [json.null] = 1 }", 0, "", "a key that is a userdata");
}

static void refuses_values_that_json_has_not(void **state) {
  json_case *c = *state;
  encode_fails(c, "{ items = { 1, 2, { price = 0/0 } } }", 0, "items[3].price", "NaN");
  encode_fails(c, "{ a = 1/0 }", 0, "a", "an infinity");
  encode_fails(c, "{ a = -1/0 }", 0, "a", "an infinity");
  encode_fails(c, "{ f = print }", 0, "f", "a function is no JSON value");
  encode_fails(c, "{ f = { coroutine.create(print) } }", 0, "f[1]", "a thread is no JSON value");
  encode_fails(c, "io.stdout", 0, "", "a userdata is no JSON value");
  encode_fails(c, "nil", 0, "", "nil is no JSON value");
  encode_fails(c, "{ ['a b'] = { '\\xff' } }", 0, "[\"a b\"][1]", "a string is not valid UTF-8");
  encode_fails(c, "{ a = { ['\\xff'] = 1 } }", 0, "a", "a key is not valid UTF-8");
  encode_fails(c, "{ ['\\1\"'] = print }", 0, "[\"\\u0001\\\"\"]", "a function");
  encode_fails(c, "'long enough for a word \\xed\\xa0\\x80'", 0, "", "not valid UTF-8");
  lua_pushlightuserdata(c->L, c);
  lua_setglobal(c->L, "light");
  encode_fails(c, "{ light }", 0, "[1]", "a userdata is no JSON value");
}

static void refuses_metatables_and_runs_no_metamethod(void **state) {
  json_case *c = *state;
  encode_fails(c, "setmetatable({}, {})", 0, "", "a metatable other than array's");
  encode_fails(c, "{ x = setmetatable({ 1 }, { __index = error, __pairs = error, __len = error }) }", 0, "x", "a metatable");
  encode_fails(c, "{ setmetatable({}, { __name = 'annal.array' }) }", 0, "[1]", "a metatable");
}

static void refuses_cycles_and_depth(void **state) {
  json_case *c = *state;
  encode_fails(c, "(function() local t = {} t.a = { t } return t end)()", JSON_TREE, "a[1]", "stands in the value twice");
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  run(c, "(function() local t = {} t[1] = t return t end)()");
  assert_int_equal(json_encode(c->L, -1, 0, &out, &error), ANNAL_INVALID);
  assert_non_null(strstr(error.message, "nested deeper than 128, or a table contains itself"));
  run(c, "(function() local t = 1 for i = 1, 128 do t = { t } end return t end)()");
  assert_int_equal(json_encode(c->L, -1, JSON_TREE, &out, &error), 0);
  assert_int_equal(out.size, 2 * 128 + 1);
  run(c, "(function() local t = 1 for i = 1, 129 do t = { a = t } end return t end)()");
  assert_int_equal(json_encode(c->L, -1, JSON_TREE, &out, &error), ANNAL_INVALID);
  assert_non_null(strstr(error.message, "nested deeper than 128"));
  buf_free(&out);
}

static void a_tree_has_no_shared_tables(void **state) {
  json_case *c = *state;
  const char *shared = "(function() local s = { 1 } return { a = { s }, b = { x = s } } end)()";
  encodes_as(c, shared, 0, "{\"a\":[[1]],\"b\":{\"x\":[1]}}");
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  run(c, shared);
  assert_int_equal(json_encode(c->L, -1, JSON_TREE, &out, &error), ANNAL_INVALID);
  assert_true(strcmp(error.where, "a[1]") == 0 || strcmp(error.where, "b.x") == 0); /* whichever is met later */
  encode_fails(c, "(function() local s = {} return { s, s } end)()", JSON_TREE, "[2]", "stands in the value twice");
  encode_fails(c, "(function() local s, t = {}, {} for i = 1, 500 do t[i] = { i } end t[501] = t[250] return t end)()", JSON_TREE,
               "[501]", "stands in the value twice");
  run(c, "(function() local t = {} for i = 1, 5000 do t[i] = { {} } end return t end)()");
  assert_int_equal(json_encode(c->L, -1, JSON_TREE, &out, &error), 0);
  assert_int_equal(json_encode(c->L, -1, JSON_TREE, &out, &error), 0); /* nothing is remembered from one call to the next */
  buf_free(&out);
}

static void obeys_its_flags(void **state) {
  json_case *c = *state;
  encode_fails(c, "{ 1 }", JSON_OBJECT, "", "an object is wanted");
  encode_fails(c, "json.array {}", JSON_OBJECT, "", "an object is wanted");
  encode_fails(c, "1", JSON_OBJECT, "", "an object is wanted");
  encodes_as(c, "{}", JSON_OBJECT, "{}");
  encode_fails(c, "{ a = { 'x\\0' } }", JSON_NO_NUL, "a[1]", "U+0000 cannot be stored");
  encode_fails(c, "{ a = { ['\\0'] = 1 } }", JSON_NO_NUL, "a", "U+0000 cannot be stored");
  encodes_as(c, "{ a = '\\1' }", JSON_NO_NUL, "{\"a\":\"\\u0001\"}");
}

static void decodes_into_tables_that_lua_understands(void **state) {
  json_case *c = *state;
  lua_State *L = c->L;
  const char *check =
      "local t = json.decode(...)\n"
      "assert(t.i == 3 and math.type(t.i) == 'integer' and t.f == 3.0 and math.type(t.f) == 'float')\n"
      "assert(t.s == 'é\\0\\n' and t.n == json.null and t.yes == true and t.no == false)\n"
      "assert(#t.list == 40 and t.list[40] == 40 and getmetatable(t.list) == 'array' and getmetatable(t.object) == nil)\n"
      "assert(#t.empty == 0 and getmetatable(t.empty) == 'array' and next(t.object) == nil)\n"
      "assert(1 / t.zero == -math.huge and math.type(t.zero) == 'float')\n"
      "assert(not pcall(setmetatable, t.list, {}))\n"
      "local count = 0 for _ in pairs(t) do count = count + 1 end assert(count == 10)\n"
      "t.list[41] = 'more' assert(json.encode(t):find('40,\"more\"]', 1, true))";
  assert_int_equal(luaL_loadstring(L, check), LUA_OK);
  lua_pushstring(
      L, "{\"i\":3,\"f\":3.0,\"s\":\"\\u00e9\\u0000\\n\",\"n\":null,\"yes\":true,\"no\":false,\"list\":[1,2,3,4,5,6,7,8,9,10,"
         "11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40],\"empty\":[],"
         "\"object\":{},\"zero\":-0}");
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

static void the_library_raises_and_answers(void **state) {
  json_case *c = *state;
  const char *check = "local function fails(pattern, f, ...)\n"
                      "  local ok, message = pcall(f, ...)\n"
                      "  assert(not ok and message:find(pattern), tostring(message))\n"
                      "end\n"
                      "assert(json.encode(json.decode(' {\"b\":1,\"a\":[ ]}')) == '{\"a\":[],\"b\":1}')\n"
                      "assert(json.encode(json.null) == 'null' and json.decode('null') == json.null)\n"
                      "fails('^invalid a%[2%]: expected a value, found .%]. at byte 8$', json.decode, '{\"a\":[1,]}')\n"
                      "fails('^misuse : json.decode wants a string, not a value of type number', json.decode, 12)\n"
                      "fails('^misuse : json.decode wants a string', json.decode)\n"
                      "fails('^invalid : nil is no JSON value', json.encode, nil)\n"
                      "fails('^misuse : json.encode wants a value', json.encode)\n"
                      "fails('^invalid x: a function is no JSON value', json.encode, { x = print })\n"
                      "fails('^misuse : array wants a table', json.array)\n"
                      "fails('^misuse : array wants a table', json.array, 1)\n"
                      "fails('^misuse : array wants a table without a metatable', json.array, setmetatable({}, {}))\n"
                      "local t = { 1 } assert(json.array(t) == t and json.array(t) == t and json.encode(t) == '[1]')\n"
                      "assert(json.encode(string.rep('x', 1000000)) == '\"' .. string.rep('x', 1000000) .. '\"')\n"
                      "local big = {} for i = 1, 20000 do big['key' .. i] = { i } end\n"
                      "local again = json.decode(json.encode(big)) for k, v in pairs(big) do assert(again[k][1] == v[1]) end";
  if (luaL_dostring(c->L, check) != LUA_OK) fail_msg("%s", lua_tostring(c->L, -1));
}

/* A finalizer may run inside any allocation of a decoding, and may itself use the codec. */
static void finalizers_may_use_the_codec(void **state) {
  json_case *c = *state;
  const char *check =
      "local text = '{\"a\\\\u0061\":\"\\\\n' .. string.rep('x', 100) .. '\",\"b\":[[\"\\\\t\"],{\"c\":\"\\\\r\"}]}'\n"
      "local wanted, runs = json.encode(json.decode(text)), 0\n"
      "local function litter() setmetatable({}, { __gc = function()\n"
      "  runs = runs + 1\n"
      "  assert(json.encode({ z = 1, y = json.decode('[\"\\\\u0041\",\"other\"]') }) == '{\"y\":[\"A\",\"other\"],\"z\":1}')\n"
      "end }) end\n"
      "collectgarbage('setpause', 0) collectgarbage('setstepmul', 1000)\n"
      "for i = 1, 3000 do litter() assert(json.encode(json.decode(text)) == wanted) end\n"
      "collectgarbage() assert(runs == 3000)\n"
      "setmetatable({}, { __gc = function() json.encode({ 1 }) end })"; /* at the end of the state, too */
  if (luaL_dostring(c->L, check) != LUA_OK) fail_msg("%s", lua_tostring(c->L, -1));
}

/* Keys that come again are known by their address. More of them than are remembered, in objects inside of objects, and collected
 * in between, so that others come to lie where they lay: what is written must be what a writer without a memory writes. */
static void keys_are_written_as_they_are_whatever_was_written_before(void **state) {
  json_case *c = *state;
  const char *check =
      "math.randomseed(7)\n"
      "local escapes = { ['\"'] = '\\\\\"', ['\\\\'] = '\\\\\\\\', ['\\n'] = '\\\\n', ['\\0'] = '\\\\u0000' }\n"
      "local function quoted(text) return '\"' .. text:gsub('[\"\\\\\\n%z]', escapes) .. '\"' end\n"
      "local function reference(value)\n"
      "  if type(value) == 'string' then return quoted(value) elseif type(value) ~= 'table' then return tostring(value) end\n"
      "  local members = {}\n"
      "  for key in pairs(value) do members[#members + 1] = key end\n"
      "  table.sort(members)\n"
      "  for i, key in ipairs(members) do members[i] = quoted(key) .. ':' .. reference(value[key]) end\n"
      "  return '{' .. table.concat(members, ',') .. '}'\n"
      "end\n"
      "local odd = { '', '\"', 'a\\nb', 'nul\\0', '\\xC3\\xA9t\\xC3\\xA9', 'same_prefix_1', 'same_prefix_2',\n"
      "  'same_but_for_the_a_in_the_middle', 'same_but_for_the_b_in_the_middle' }\n"
      "local function key(round)\n"
      "  local kind = math.random(10)\n"
      "  if kind == 1 then return odd[math.random(#odd)] end\n"
      "  if kind < 5 then return ('k' .. round .. '_' .. math.random(20)) end\n"
      "  return string.rep(string.char(math.random(97, 122)), math.random(42))\n"
      "end\n"
      "local function object(round, depth)\n"
      "  local made = {}\n"
      "  for _ = 1, math.random(0, 10) do\n"
      "    made[key(round)] = depth > 1 and math.random(4) == 1 and object(round, depth - 1) or math.random(2) == 1 and round or "
      "key(round)\n"
      "  end\n"
      "  return made\n"
      "end\n"
      "for round = 1, 4000 do\n"
      "  local value = object(round, 3)\n"
      "  local wanted, text = reference(value), json.encode(value)\n"
      "  assert(text == wanted, text .. ' instead of ' .. wanted)\n"
      "  assert(json.encode(json.decode(text)) == wanted)\n"
      "  if round % 20 == 0 then collectgarbage() end\n"
      "end";
  if (luaL_dostring(c->L, check) != LUA_OK) fail_msg("%s", lua_tostring(c->L, -1));
}

/* The address of a string is no key of that name. */
static void refuses_an_address_as_key_even_that_of_a_known_key(void **state) {
  json_case *c = *state;
  annal_error error;
  base_buf out;
  buf_init(&out, &c->env);
  encodes_as(c, "{ known = 1 }", 0, "{\"known\":1}");
  lua_pushliteral(c->L, "known");
  lua_newtable(c->L);
  lua_pushinteger(c->L, 1);
  lua_rawsetp(c->L, -2, lua_topointer(c->L, -3));
  assert_int_equal(json_encode(c->L, -1, 0, &out, &error), ANNAL_INVALID);
  assert_string_equal(error.message, "a table has a key that is a userdata; keys are strings");
  buf_free(&out);
}

static void works_on_any_thread_of_the_state_and_any_depth_of_stack(void **state) {
  json_case *c = *state;
  annal_error error;
  base_buf out;
  buf_init(&out, &c->env);
  lua_State *thread = lua_newthread(c->L);
  const char *text = "{\"a\":[[[1,2,3],[4,5,6]],{\"b\":{\"c\":[7,8,9,10,11,12,13,14,15,16,17,18,19,20]}}]}";
  assert_int_equal(json_decode(thread, text, strlen(text), 0, &error), 0);
  assert_int_equal(lua_gettop(thread), 1);
  assert_int_equal(json_encode(thread, 1, JSON_TREE, &out, &error), 0);
  assert_string_equal(out.bytes, text);
  lua_pushinteger(thread, 5);
  buf_clear(&out);
  assert_int_equal(json_encode(thread, -2, 0, &out, &error), 0); /* a relative index, not on top */
  assert_string_equal(out.bytes, text);
  buf_free(&out);
}

static void says_what_a_value_is(void **state) {
  json_case *c = *state;
  lua_State *L = c->L;
  json_open(L, &c->env); /* harmless when repeated */
  json_push_null(L);
  assert_true(json_is_null(L, -1));
  assert_false(json_is_array(L, -1));
  lua_pushlightuserdata(L, L);
  assert_false(json_is_null(L, -1));
  lua_pushnil(L);
  assert_false(json_is_null(L, -1));
  lua_newtable(L);
  assert_false(json_is_array(L, -1));
  json_push_array_metatable(L);
  lua_setmetatable(L, -2);
  assert_true(json_is_array(L, -1));
  lua_newtable(L);
  lua_newtable(L);
  lua_setmetatable(L, -2);
  assert_false(json_is_array(L, -1));
  assert_int_equal(lua_gettop(L), 5);
}

static void refuses_states_that_were_not_prepared(void **state) {
  json_case *c = *state;
  annal_error error;
  base_buf out;
  buf_init(&out, &c->env);
  lua_State *L = luaL_newstate();
  assert_int_equal(json_decode(L, "1", 1, 0, &error), ANNAL_MISUSE);
  assert_int_equal(lua_gettop(L), 0);
  lua_newtable(L);
  assert_false(json_is_array(L, -1));
  lua_newtable(L);
  lua_setmetatable(L, -2);
  assert_false(json_is_array(L, -1));
  assert_int_equal(json_encode(L, -1, 0, &out, &error), ANNAL_INVALID);
  assert_int_equal(lua_gettop(L), 1);
  lua_close(L);
  buf_free(&out);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_with_library, json_case_close)
  const struct CMUnitTest tests[] = {
      TEST(encodes_scalars),
      TEST(tells_arrays_from_objects),
      TEST(refuses_tables_that_are_neither),
      TEST(refuses_values_that_json_has_not),
      TEST(refuses_metatables_and_runs_no_metamethod),
      TEST(refuses_cycles_and_depth),
      TEST(a_tree_has_no_shared_tables),
      TEST(obeys_its_flags),
      TEST(decodes_into_tables_that_lua_understands),
      TEST(the_library_raises_and_answers),
      TEST(finalizers_may_use_the_codec),
      TEST(keys_are_written_as_they_are_whatever_was_written_before),
      TEST(refuses_an_address_as_key_even_that_of_a_known_key),
      TEST(works_on_any_thread_of_the_state_and_any_depth_of_stack),
      TEST(says_what_a_value_is),
      TEST(refuses_states_that_were_not_prepared),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
