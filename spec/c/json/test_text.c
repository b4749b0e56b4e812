/* JSON text in, canonical text out, or one clear error: by json_canonical and by json_decode + json_encode alike. */
#include "support.h"

static void writes_the_canonical_form(void **state) {
  json_case *c = *state;
  json_expect(c, " { \"b\" : [ 1 , 2 ] ,\t\"a\"\r\n: { } } ", "{\"a\":{},\"b\":[1,2]}");
  json_expect(c, "{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}");
  json_expect(c, "{}", "{}");
  json_expect(c, "[]", "[]");
  json_expect(c, "[[],{},[{}],{\"a\":[]}]", "[[],{},[{}],{\"a\":[]}]");
  json_expect(c, "null", "null");
  json_expect(c, " true", "true");
  json_expect(c, "false\n", "false");
  json_expect(c, "\"\"", "\"\"");
  json_expect(c, "[null,true,false,null]", "[null,true,false,null]");
  json_expect(c, "{\"z\":{\"y\":1,\"x\":2},\"a\":{\"c\":{\"q\":1,\"p\":2},\"b\":null}}",
              "{\"a\":{\"b\":null,\"c\":{\"p\":2,\"q\":1}},\"z\":{\"x\":2,\"y\":1}}");
}

static void writes_the_shortest_escapes(void **state) {
  json_case *c = *state;
  json_expect(c, "\"\\u0022\\u005c\\u002f\\/\\u0008\\u000C\\u000a\\u000D\\u0009\"", "\"\\\"\\\\//\\b\\f\\n\\r\\t\"");
  json_expect(c, "\"\\b\\f\\n\\r\\t\\\"\\\\\"", "\"\\b\\f\\n\\r\\t\\\"\\\\\"");
  json_expect(c, "\"\\u0001\\u001F\\u000b\\u007f\\u0080\"", "\"\\u0001\\u001f\\u000b\x7F\xC2\x80\"");
  json_expect(c, "\"\\u0000\"", "\"\\u0000\"");
  json_expect(c, "\"\\u00e9\\u20AC\\uD83D\\uDE00\"", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
  json_expect(c, "\"\\uDBFF\\uDFFF\\uffff\\uFFFE\"", "\"\xF4\x8F\xBF\xBF\xEF\xBF\xBF\xEF\xBF\xBE\"");
  json_expect(c, "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\\n\xC3\xA9\"", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\\n\xC3\xA9\"");
  json_expect(c, "\"seven77\\neight888\\tand some more plain text\\u0041\"",
              "\"seven77\\neight888\\tand some more plain textA\"");
}

/* Each byte value at each place within and across the words that are looked at together. */
static void finds_every_special_byte_at_every_place(void **state) {
  json_case *c = *state;
  for (size_t length = 0; length < 36; length++) {
    for (size_t place = 0; place < length; place++) {
      for (int byte = 0; byte < 256; byte++) {
        char text[48], wanted[80];
        memset(text, 'x', sizeof text);
        text[0] = text[length + 1] = '"';
        text[1 + place] = (char)byte;
        annal_error error;
        bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
        if (plain) json_expect_bytes(c, text, length + 2, 0, text, length + 2);
        else json_refused(c, text, length + 2, 0, &error);
        if (byte >= 0x80) continue;
        lua_pushlstring(c->L, text + 1, length);
        base_buf out;
        buf_init(&out, &c->env);
        assert_int_equal(json_encode(c->L, -1, 0, &out, &error), 0);
        const char *escape = byte == '\n' ? "n" : byte == '\t' ? "t" : byte == '\b' ? "b" : byte == '\f' ? "f" : "r";
        if (plain) snprintf(wanted, sizeof wanted, "%.*s", (int)length, text + 1);
        else if (byte == '"' || byte == '\\')
          snprintf(wanted, sizeof wanted, "%.*s\\%c%.*s", (int)place, text + 1, byte, (int)(length - place - 1),
                   text + 2 + place);
        else if (byte == '\n' || byte == '\t' || byte == '\b' || byte == '\f' || byte == '\r')
          snprintf(wanted, sizeof wanted, "%.*s\\%s%.*s", (int)place, text + 1, escape, (int)(length - place - 1),
                   text + 2 + place);
        else
          snprintf(wanted, sizeof wanted, "%.*s\\u%04x%.*s", (int)place, text + 1, (unsigned)byte, (int)(length - place - 1),
                   text + 2 + place);
        assert_int_equal(out.size, strlen(wanted) + 2);
        assert_memory_equal(out.bytes + 1, wanted, strlen(wanted));
        json_expect(c, out.bytes, out.bytes);
        buf_free(&out);
        lua_pop(c->L, 1);
      }
    }
  }
}

/* RFC 3629 by its own table, against every sequence of up to three bytes and every lead of four. */
static bool well_formed(const unsigned char *s, size_t size) {
  uint32_t code;
  if (size == 1) return s[0] < 0x80;
  for (size_t i = 1; i < size; i++)
    if (s[i] < 0x80 || s[i] > 0xBF) return false;
  if (size == 2 && s[0] >= 0xC0 && s[0] <= 0xDF) code = (uint32_t)(s[0] & 31) << 6 | (s[1] & 63u);
  else if (size == 3 && s[0] >= 0xE0 && s[0] <= 0xEF)
    code = (uint32_t)(s[0] & 15) << 12 | (uint32_t)(s[1] & 63) << 6 | (s[2] & 63u);
  else if (size == 4 && s[0] >= 0xF0 && s[0] <= 0xF7)
    code = (uint32_t)(s[0] & 7) << 18 | (uint32_t)(s[1] & 63) << 12 | (uint32_t)(s[2] & 63) << 6 | (s[3] & 63u);
  else return false;
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  return code >= least[size] && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
}

static void check_sequence(json_case *c, const unsigned char *sequence, size_t size) {
  char text[8];
  base_buf out;
  annal_error error;
  text[0] = text[size + 1] = '"';
  memcpy(text + 1, sequence, size);
  buf_init(&out, &c->env);
  bool accepted = json_canonical(text, size + 2, 0, &out, &error) == 0;
  if (accepted != well_formed(sequence, size))
    fail_msg("%02x %02x %02x %02x", sequence[0], sequence[1], sequence[2], sequence[3]);
  buf_clear(&out);
  lua_pushlstring(c->L, (const char *)sequence, size);
  assert_int_equal(json_encode(c->L, -1, 0, &out, &error) == 0, accepted);
  lua_pop(c->L, 1);
  buf_free(&out);
}

static void accepts_exactly_well_formed_utf8(void **state) {
  json_case *c = *state;
  static const unsigned char edges[] = {0x00, 0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
  for (unsigned lead = 0x80; lead < 0x100; lead++) {
    unsigned char s[4] = {(unsigned char)lead};
    check_sequence(c, s, 1);
    for (unsigned second = 0x80; second < 0x100; second++) {
      s[1] = (unsigned char)second;
      check_sequence(c, s, 2);
      for (size_t i = 3; i < sizeof edges; i++) {
        s[2] = edges[i];
        check_sequence(c, s, 3);
        for (size_t j = 3; j < sizeof edges; j++) {
          s[3] = edges[j];
          check_sequence(c, s, 4);
        }
      }
    }
  }
}

static void refuses_what_is_not_json(void **state) {
  json_case *c = *state;
  json_refuse(c, "", 0, "", "expected a value, found the end of the text at byte 0");
  json_refuse(c, "  ", 0, "", "the end of the text at byte 2");
  json_refuse(c, "[1,2", 0, "", "expected ',' or ']' after an element, found the end of the text at byte 4");
  json_refuse(c, "[1,]", 0, "[2]", "expected a value, found ']' at byte 3");
  json_refuse(c, "[,1]", 0, "[1]", "expected a value, found ',' at byte 1");
  json_refuse(c, "[1 2]", 0, "", "expected ',' or ']' after an element, found '2' at byte 3");
  json_refuse(c, "{\"a\":1,}", 0, "", "expected a key in quotes, found '}' at byte 7");
  json_refuse(c, "{a:1}", 0, "", "expected a key in quotes, found 'a' at byte 1");
  json_refuse(c, "{\"a\" 1}", 0, "a", "expected ':' after a key, found '1' at byte 5");
  json_refuse(c, "{\"a\":1 \"b\":2}", 0, "", "expected ',' or '}' after a member, found '\"' at byte 7");
  json_refuse(c, "{\"a\":}", 0, "a", "expected a value, found '}' at byte 5");
  json_refuse(c, "{\"a\"", 0, "a", "expected ':' after a key, found the end of the text at byte 4");
  json_refuse(c, "1 1", 0, "", "expected nothing more after the value, found '1' at byte 2");
  json_refuse(c, "{}}", 0, "", "expected nothing more after the value, found '}' at byte 2");
  json_refuse(c, "nul", 0, "", "expected a value, found 'n' at byte 0");
  json_refuse(c, "[True]", 0, "[1]", "expected a value, found 'T' at byte 1");
  json_refuse(c, "NaN", 0, "", "found 'N'");
  json_refuse(c, "Infinity", 0, "", "found 'I'");
  json_refuse(c, "'a'", 0, "", "found '''");
  json_refuse(c, "/**/1", 0, "", "found '/'");
  json_refuse(c, "\xEF\xBB\xBF{}", 0, "", "byte order mark");
  json_refuse(c, "\x0B{}", 0, "", "found the byte 0x0b at byte 0");
  json_refuse(c, "\xC2\xA0{}", 0, "", "found the byte 0xc2 at byte 0");
  json_refuse(c, "\"abc", 0, "", "a string is not closed: it begins at byte 0");
  json_refuse(c, "{\"a\":\"b\\", 0, "a", "a string is not closed");
  json_refuse(c, "\"a\nb\"", 0, "", "a control character in a string must be escaped at byte 2");
  json_refuse(c, "\"\\x41\"", 0, "", "a backslash begins no escape of JSON's at byte 1");
  json_refuse(c, "\"\\u12g4\"", 0, "", "\\u is not followed by four hexadecimal digits at byte 1");
  json_refuse(c, "\"\\u12", 0, "", "\\u is not followed by four hexadecimal digits at byte 1");
  annal_error error;
  json_refused(c, "[1\0]", 4, 0, &error);
  assert_string_equal(error.message, "expected ',' or ']' after an element, found the byte 0x00 at byte 2");
  json_refused(c, "\"\\\0\"", 4, 0, &error);
  json_refused(c, NULL, 0, 0, &error);
}

static void refuses_lone_surrogates(void **state) {
  json_case *c = *state;
  static const char *const texts[] = {"\"\\ud800\"",        "\"\\udc00\"",         "\"\\udfff\"",        "\"\\ud800\\ud800\"",
                                      "\"\\udc00\\ud800\"", "\"\\ud800x\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800\\n\"",
                                      "\"\\ud800\\udbff\"", "\"\\ud800\\",         "\"\\ud800\\u",       "\"\\ud800\\udc0",
                                      "\"\\ud800\\udc0\"",  "\"\\uDBFF\\uE000\""};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) json_refuse(c, texts[i], 0, "", "a lone surrogate is no character");
  json_refuse(c, "\"\xED\xA0\x80\"", 0, "", "not valid UTF-8 at byte 1");
}

static void refuses_duplicate_keys_however_they_are_written(void **state) {
  json_case *c = *state;
  json_refuse(c, "{\"a\":1,\"a\":1}", 0, "a", "a key comes twice in one object, the second time at byte 7");
  json_refuse(c, "{\"a\":1,\"b\":2,\"\\u0061\":3}", 0, "[\"\\u0061\"]", "the second time at byte 13");
  json_refuse(c, "{\"\":1,\"\":2}", 0, "[\"\"]", "comes twice");
  json_refuse(c, "{\"x\":[{\"k\":{\"a\":1,\"c\":2,\"b\":3,\"a\":4}}]}", 0, "x[1].k.a", "comes twice");
  json_expect(c, "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "{\"a\":{\"a\":1},\"b\":{\"a\":1}}");
  json_expect(c, "{\"a\\u0000\":1,\"a\":2,\"a\\u0000\\u0000\":3}", "{\"a\":2,\"a\\u0000\":1,\"a\\u0000\\u0000\":3}");
}

/* Keys of every length on both sides of what Lua interns, in objects of every size on both sides of what waits on the stack. */
static void refuses_duplicates_in_objects_of_any_size(void **state) {
  json_case *c = *state;
  for (int count = 2; count <= 140; count += count < 40 ? 1 : 17) {
    for (int twin = 0; twin < count - 1; twin += count < 10 ? 1 : 7) {
      for (int width = 3; width <= 60; width += 19) {
        base_buf text;
        annal_error error;
        buf_init(&text, &c->env);
        for (int i = 0; i < count; i++)
          buf_printf(&text, "%s\"%0*d\":%d", i ? "," : "{", width, i == count - 1 ? twin : i * 7919 % 1000, i);
        buf_char(&text, '}');
        bool twice = false; /* the last key stands among the others only if the twin's number is one of theirs */
        for (int i = 0; i < count - 1; i++) twice |= i * 7919 % 1000 == twin;
        if (twice) {
          json_refused(c, text.bytes, text.size, 0, &error);
          assert_non_null(strstr(error.message, "comes twice"));
        } else {
          base_buf out = json_accepted(c, text.bytes, text.size, 0);
          buf_free(&out);
        }
        buf_free(&text);
      }
    }
  }
}

static void sorts_keys_by_their_bytes(void **state) {
  json_case *c = *state;
  json_expect(c, "{\"b\":1,\"a\":2,\"B\":3,\"aa\":4,\"\":5,\"\xC3\xA9\":6,\"z\":7,\"10\":8,\"9\":9}",
              "{\"\":5,\"10\":8,\"9\":9,\"B\":3,\"a\":2,\"aa\":4,\"b\":1,\"z\":7,\"\xC3\xA9\":6}");
  /* by the bytes of the key, not of its escapes: \n (0a) < ! (21) < " (22) < \ (5c) < a */
  json_expect(c, "{\"a\":1,\"\\\\\":2,\"\\\"\":3,\"!\":4,\"\\n\":5}", "{\"\\n\":5,\"!\":4,\"\\\"\":3,\"\\\\\":2,\"a\":1}");
  /* by UTF-8 bytes, not by UTF-16 units: U+FFFF before U+10000 */
  json_expect(c, "{\"\\uD800\\uDC00\":1,\"\\uFFFF\":2}", "{\"\xEF\xBF\xBF\":2,\"\xF0\x90\x80\x80\":1}");
  json_expect(c, "{\"abcdefgh2\":1,\"abcdefgh1\":2,\"abcdefgh\":3,\"abcdefg\":4}",
              "{\"abcdefg\":4,\"abcdefgh\":3,\"abcdefgh1\":2,\"abcdefgh2\":1}");
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sorts_objects_of_any_size(void **state) {
  json_case *c = *state;
  uint64_t seed = 7;
  for (size_t count = 1; count <= 3000; count = count * 5 / 4 + 1) {
    char **keys = calloc(count, sizeof *keys);
    base_buf text, wanted;
    buf_init(&text, &c->env);
    buf_init(&wanted, &c->env);
    for (size_t i = 0; i < count; i++) {
      keys[i] = malloc(64);
      snprintf(keys[i], 64, "\"%.*s%llx_%zu\":%zu", (int)(json_random(&seed) % 12), "common_prefix",
               (unsigned long long)(json_random(&seed) & 0xFFF), i, i);
      buf_printf(&text, "%s%s", i ? "," : "{", keys[i]);
    }
    buf_char(&text, '}');
    qsort(keys, count, sizeof *keys, by_text);
    for (size_t i = 0; i < count; i++) {
      buf_printf(&wanted, "%s%s", i ? "," : "{", keys[i]);
      free(keys[i]);
    }
    buf_char(&wanted, '}');
    json_expect(c, text.bytes, wanted.bytes);
    buf_free(&text);
    buf_free(&wanted);
    free(keys);
  }
}

static void bounds_nesting(void **state) {
  json_case *c = *state;
  static const char *const opens[] = {"[", "{\"a\":"}, *const closes[] = {"]", "}"};
  for (int kind = 0; kind < 3; kind++) {
    for (int depth = LIMIT_DEPTH - 1; depth <= LIMIT_DEPTH + 1; depth++) {
      base_buf text;
      buf_init(&text, &c->env);
      for (int i = 0; i < depth; i++) buf_text(&text, opens[kind == 2 ? i % 2 : kind]);
      buf_char(&text, '1');
      for (int i = depth - 1; i >= 0; i--) buf_text(&text, closes[kind == 2 ? i % 2 : kind]);
      annal_error error;
      if (depth <= LIMIT_DEPTH) json_expect(c, text.bytes, text.bytes);
      else json_refused(c, text.bytes, text.size, 0, &error);
      if (depth > LIMIT_DEPTH) assert_non_null(strstr(error.message, "nested deeper than 128"));
      buf_free(&text);
    }
  }
  char *deep = malloc(1000000);
  annal_error error;
  memset(deep, '[', 1000000);
  json_refused(c, deep, 1000000, 0, &error);
  assert_non_null(strstr(error.where, "[1][1]"));
  assert_int_equal(strcmp(error.where + strlen(error.where) - 3, "..."), 0);
  free(deep);
}

static void names_the_place_of_an_error(void **state) {
  json_case *c = *state;
  json_refuse(c, "{\"items\":[1,2,{\"price\":01}]}", 0, "items[3].price", "a number begins with a needless 0 at byte 23");
  json_refuse(c, "[[[],[0,tru]]]", 0, "[1][2][2]", "at byte 8");
  json_refuse(c, "{\"a b\":{\"\":{\"c\\\"d\":?}}}", 0, "[\"a b\"][\"\"][\"c\\\"d\"]", "found '?' at byte 19");
  json_refuse(c, "{\"\xC3\xA9\":?}", 0, "[\"\xC3\xA9\"]", "found '?'");
  json_refuse(c, "{\"a\":[1],\"b\":?}", 0, "b", "found '?'");
  json_refuse(c, "{\"a\":[1],\"b\" ?}", 0, "b", "found '?'");
  json_refuse(c, "{\"a\":[1]?}", 0, "", "found '?'");
  json_refuse(c, "[{\"a\":[1]},?]", 0, "[2]", "found '?'");
  char text[1200], where[300];
  for (size_t size = 200; size < 300; size++) { /* a key that does not fit is cut between characters or left out */
    memset(where, 'k', size);
    where[size] = 0;
    snprintf(text, sizeof text, "{\"first\":{\"%s\":{\"last\":?}}}", where);
    annal_error error;
    json_refused(c, text, strlen(text), 0, &error);
    assert_true(strlen(error.where) < sizeof error.where);
    assert_memory_equal(error.where, "first.", 5);
    if (size < 230) assert_non_null(strstr(error.where, ".last"));
    if (size > 260) assert_string_equal(error.where, "first...");
  }
}

static void obeys_its_flags(void **state) {
  json_case *c = *state;
  json_refuse(c, "[]", JSON_OBJECT, "", "expected an object, found '[' at byte 0");
  json_refuse(c, " 1", JSON_OBJECT, "", "expected an object, found '1' at byte 1");
  json_refuse(c, "", JSON_OBJECT, "", "expected an object, found the end of the text");
  json_expect_bytes(c, " {}", 3, JSON_OBJECT, "{}", 2);
  json_refuse(c, "{\"a\":[\"x\\u0000\"]}", JSON_NO_NUL, "a[1]", "U+0000 cannot be stored at byte 8");
  json_refuse(c, "{\"a\":{\"x\\u0000\":1}}", JSON_NO_NUL, "a", "U+0000 cannot be stored at byte 8");
  json_expect_bytes(c, "{\"\\u0001\":\"\\\\u0000\"}", 20, JSON_NO_NUL, "{\"\\u0001\":\"\\\\u0000\"}", 20);
  json_expect_bytes(c, "{\"a\\u0000\":\"\\u0000\"}", 20, 0, "{\"a\\u0000\":\"\\u0000\"}", 20);
}

static void appends_to_what_is_there(void **state) {
  json_case *c = *state;
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  buf_text(&out, "x");
  assert_int_equal(json_canonical("{\"b\":1,\"a\":2}", 13, 0, &out, &error), 0);
  assert_int_equal(json_canonical("{\"d\":1,\"c\":2}", 13, 0, &out, &error), 0);
  assert_int_equal(json_canonical("[1", 2, 0, &out, &error), ANNAL_INVALID);
  assert_string_equal(out.bytes, "x{\"a\":2,\"b\":1}{\"c\":2,\"d\":1}");
  buf_free(&out);
}

static void writes_events(void **state) {
  json_case *c = *state;
  base_buf out;
  buf_init(&out, &c->env);
  annal_event event = {.position = 7,
                       .created_at = 1,
                       .id = "01\"",
                       .type = "T\xC3\xA9",
                       .data = "{\"a\":1}xx",
                       .data_size = 7,
                       .metadata = "{}",
                       .version = 2};
  json_add_event(&out, &event);
  assert_string_equal(out.bytes,
                      "{\"created_at\":\"1970-01-01T00:00:00.000001Z\",\"data\":{\"a\":1},\"id\":\"01\\\"\",\"metadata\":{},"
                      "\"position\":7,\"type\":\"T\xC3\xA9\",\"version\":2}");
  json_expect(c, out.bytes, out.bytes);
  buf_clear(&out);
  event = (annal_event){.type = "T", .data = "{}", .version = 1};
  json_add_event(&out, &event);
  assert_string_equal(out.bytes,
                      "{\"created_at\":null,\"data\":{},\"id\":null,\"metadata\":null,\"position\":null,\"type\":\"T\","
                      "\"version\":1}");
  buf_free(&out);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, json_case_open, json_case_close)
  const struct CMUnitTest tests[] = {
      TEST(writes_the_canonical_form),
      TEST(writes_the_shortest_escapes),
      TEST(finds_every_special_byte_at_every_place),
      TEST(accepts_exactly_well_formed_utf8),
      TEST(refuses_what_is_not_json),
      TEST(refuses_lone_surrogates),
      TEST(refuses_duplicate_keys_however_they_are_written),
      TEST(refuses_duplicates_in_objects_of_any_size),
      TEST(sorts_keys_by_their_bytes),
      TEST(sorts_objects_of_any_size),
      TEST(bounds_nesting),
      TEST(names_the_place_of_an_error),
      TEST(obeys_its_flags),
      TEST(appends_to_what_is_there),
      TEST(writes_events),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
