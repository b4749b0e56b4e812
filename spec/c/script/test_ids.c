/* The instances that an event is for, as a projection's function `ids` says it (script_event_ids). */
#include "support.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>

/* What `ids` with this body answers for an event whose data is {"a":"x","n":7}: joined by spaces, or the error. */
static const char *answer(const char *body, int *code, annal_error *error) {
  static char text[2048];
  char app_text[1024];
  snprintf(app_text, sizeof app_text,
           "event 'E' { a = t.string, n = t.integer }\n"
           "projection 'P' { init = 0, on = { E = function() end }, streams = function(id) return { { all = true } } end,\n"
           "ids = function(event) %s end }",
           body);
  script_app *app = app_of_text(app_text);
  script_state *state;
  annal_event event = {.id = "e1",
                       .type = "E",
                       .version = 1,
                       .position = 3,
                       .data = "{\"a\":\"x\",\"n\":7}",
                       .data_size = strlen("{\"a\":\"x\",\"n\":7}")};
  base_buf out;
  size_t count = 0;
  buf_init(&out, test_env());
  assert_int_equal(script_acquire(app, &state, error), 0);
  buf_text(&out, "kept before");
  buf_char(&out, 0);
  *code = script_event_ids(state, script_find_projection(app, "P"), &event, &out, &count, error);
  const char *at = out.bytes + strlen(out.bytes) + 1;
  text[0] = 0;
  for (size_t i = 0; i < count && !*code; i++, at += strlen(at) + 1)
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", at);
  if (*code) assert_int_equal(out.size, strlen("kept before") + 1);
  buf_free(&out);
  script_give_back(state);
  script_release(app);
  return text;
}

static void expect_ids(const char *body, const char *expected) {
  int code;
  annal_error error;
  const char *got = answer(body, &code, &error);
  if (code) fail_msg("%s: %s", body, error.message);
  assert_string_equal(got, expected);
}

static void expect_error(const char *body, int expected, const char *message) {
  int code;
  annal_error error;
  answer(body, &code, &error);
  if (code != expected || !strstr(error.message, message)) fail_msg("%s: %d %s", body, code, code ? error.message : "");
}

static void ids_are_the_texts_by_which_events_are_selected(void **unused) {
  (void)unused;
  expect_ids("return { event.data.a }", "x");
  expect_ids("return { event.data.a, event.data.n, true, event.type, event.position }", "x 7 true E 3");
  expect_ids("return {}", "");
  expect_ids("return nil", "");
  expect_ids("", "");
  expect_ids("return { 'b', 'a', 'b', 7, '7' }", "b a 7");
}

static void what_is_no_id_is_refused(void **unused) {
  (void)unused;
  expect_error("return 'x'", ANNAL_SCRIPT, "ids of P: it has to return a list of ids");
  expect_error("return { a = 'x' }", ANNAL_SCRIPT, "this table is none");
  expect_error("return { '' }", ANNAL_SCRIPT, "an id is empty");
  expect_error("return { 1.5 }", ANNAL_SCRIPT, "a float is no id");
  expect_error("return { {} }", ANNAL_SCRIPT, "an id is a string, an integer or a boolean");
  expect_error("return { ('x'):rep(513) }", ANNAL_SCRIPT, "too long");
  expect_error("return { '\\0' }", ANNAL_SCRIPT, "U+0000");
  expect_error("error 'no'", ANNAL_SCRIPT, "ids of P");
  expect_error("while true do end", ANNAL_BUDGET, "ids of P");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_are_the_texts_by_which_events_are_selected),
      cmocka_unit_test(what_is_no_id_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
