/* A second opinion: jansson reads the same documents. Both must accept the same ones and find the same values in them.
 *
 * Where jansson is wrong or bounded otherwise it is not asked: it reads -0 as the integer 0, refuses U+0000 in keys whatever the
 * flags, and allows 2,048 levels of nesting; the documents here have neither NUL keys nor such depth. */
#include "second_opinion.h"
#include "support.h"

#include <math.h>

typedef struct document {
  uint64_t seed;
  base_buf text;
  int keys; /* counts, so that no key comes twice unless it is meant to */
} document;

static uint64_t choose(document *d, uint64_t among) { return json_random(&d->seed) % among; }

static void add_space(document *d) {
  static const char *const spaces[] = {"", "", "", "", " ", "\n", "\t\r", "  "};
  buf_text(&d->text, spaces[choose(d, 8)]);
}

static void add_string(document *d, int key) {
  static const char *const parts[] = {"a",
                                      "plain text",
                                      " ",
                                      "\\n",
                                      "\\\"",
                                      "\\\\",
                                      "\\/",
                                      "\\u0041",
                                      "\\u00e9",
                                      "\xC3\xA9",
                                      "\xE2\x82\xAC",
                                      "\\uD83D\\uDE00",
                                      "\xF0\x9F\x98\x80",
                                      "\\b\\f\\r\\t",
                                      "\\u001f",
                                      "\x7F",
                                      "{[,:]}",
                                      "\\u20ac"};
  buf_char(&d->text, '"');
  for (uint64_t n = choose(d, 6); n > 0; n--) buf_text(&d->text, parts[choose(d, sizeof parts / sizeof *parts)]);
  if (key) buf_printf(&d->text, "%d", key);
  buf_char(&d->text, '"');
}

static void add_number(document *d) {
  char text[64];
  int64_t bits = (int64_t)json_random(&d->seed);
  double value;
  memcpy(&value, &bits, sizeof value);
  switch (choose(d, 6)) {
  case 0: snprintf(text, sizeof text, "%d", (int)choose(d, 2000) - 1000); break;
  case 1: snprintf(text, sizeof text, "%lld", (long long)bits); break;
  case 2: snprintf(text, sizeof text, "%.*f", (int)choose(d, 5) + 1, (double)(bits >> 40) / 100); break;
  case 3: snprintf(text, sizeof text, "%.17g", isfinite(value) ? value : 0.5); break;
  case 4: snprintf(text, sizeof text, "%dE%s%d", (int)choose(d, 99), choose(d, 2) ? "+" : "-", (int)choose(d, 300)); break;
  default: snprintf(text, sizeof text, "%lld%d", (long long)bits, (int)choose(d, 10)); break; /* seldom within 64 bits */
  }
  buf_text(&d->text, text);
}

static void add_value(document *d, int depth) {
  uint64_t kind = choose(d, depth > 6 ? 5 : 8), count = choose(d, 6);
  add_space(d);
  switch (kind) {
  case 0:
  case 1: add_number(d); break;
  case 2:
  case 3: add_string(d, 0); break;
  case 4: buf_text(&d->text, count == 0 ? "true" : count < 3 ? "false" : "null"); break;
  case 5:
  case 6:
    buf_char(&d->text, '{');
    for (uint64_t i = 0; i < count; i++) {
      if (i) buf_char(&d->text, ',');
      add_space(d);
      add_string(d, choose(d, 200) ? ++d->keys : d->keys); /* a duplicate now and then */
      add_space(d);
      buf_char(&d->text, ':');
      add_value(d, depth + 1);
    }
    add_space(d);
    buf_char(&d->text, '}');
    break;
  default:
    buf_char(&d->text, '[');
    for (uint64_t i = 0; i < count; i++) {
      if (i) buf_char(&d->text, ',');
      add_value(d, depth + 1);
    }
    buf_char(&d->text, ']');
  }
  add_space(d);
}

/* One byte changed, lost or doubled. */
static void damage(document *d) {
  if (d->text.size == 0) return;
  static const char bytes[] = "\"\\{}[],:0.eE-+ \n\x01\x80tfnu";
  char *text = d->text.bytes;
  size_t at = choose(d, d->text.size);
  if (choose(d, 3)) text[at] = bytes[choose(d, sizeof bytes - 1)];
  else memmove(text + at, text + at + 1, d->text.size-- - at);
}

/* Deeper than we read, or with a NUL in a key: see above. */
static bool is_beyond_comparison(const annal_error *error) {
  return strstr(error->message, "nested deeper") || strstr(error->message, "U+0000");
}

static void compare(json_case *c, const char *text, size_t size, size_t *accepted, size_t *refused) {
  base_buf out;
  annal_error error;
  buf_init(&out, &c->env);
  bool ours = json_canonical(text, size, JSON_NO_NUL, &out, &error) == 0, theirs = second_opinion_accepts(text, size);
  if (!ours && theirs && is_beyond_comparison(&error)) {
    buf_free(&out);
    return;
  }
  if (ours != theirs) fail_msg("%s: %.*s", ours ? "jansson refuses what we accept" : error.message, (int)size, text);
  ++*(ours ? accepted : refused);
  buf_free(&out);
  if (!ours) {
    json_refused(c, text, size, 0, &error);
    return;
  }
  out = json_accepted(c, text, size, 0);
  if (!second_opinion_equal(text, size, out.bytes, out.size) && !strstr(out.bytes, "-0.0"))
    fail_msg("%.*s is not the same value as %s", (int)size, text, out.bytes);
  buf_free(&out);
}

static void jansson_reads_the_same(void **state) {
  json_case *c = *state;
  document d = {.seed = 11};
  size_t accepted = 0, refused = 0;
  buf_init(&d.text, &c->env);
  for (int i = 0; i < 20000; i++) {
    buf_clear(&d.text);
    add_value(&d, 0);
    if (i % 2) damage(&d);
    char *exact = json_exact_copy(d.text.bytes, d.text.size);
    compare(c, exact, d.text.size, &accepted, &refused);
    free(exact);
  }
  buf_free(&d.text);
  assert_true(accepted > 5000 && refused > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(jansson_reads_the_same, json_case_open, json_case_close)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
