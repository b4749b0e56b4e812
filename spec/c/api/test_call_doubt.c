/* Calls whose connection is lost in the middle of the save, between a program and PostgreSQL: settled by the call itself where there
 * is time, else by calling again under the same request's id. Skipped without ANNAL_TEST_PG. */
#include "../store/server.h"

#include <sys/stat.h>
#include <unistd.h>

#define APP                                                                                                                      \
  "event 'PAID' { k = t.string, cents = t.integer }\n"                                                                           \
  "projection 'ACCOUNT' { by = 'k', init = 0, on = { PAID = function(s, e) return s + e.data.cents end } }\n"                    \
  "command 'PAY' { args = { k = t.string, cents = t.integer }, uses = { account = 'ACCOUNT' }, decide = function(args, views)\n" \
  "  if views.account >= 100 then reject 'that is enough' end\n"                                                                 \
  "  return { { type = 'PAID', data = args }, { type = 'PAID', data = { k = args.k, cents = 1 } } } end }\n"

/* Of what is said to the server only a save holds this. */
#define MARKER "\"cents\":100"

/* A handle with the app, past the proxy or directly. */
static annal_store *open_handle(fixture *f, const char *words, double timeout) {
  char directory[128], path[160], location[512];
  annal_store *handle;
  snprintf(directory, sizeof directory, "%s/app", f->directory);
  mkdir(directory, 0700);
  snprintf(path, sizeof path, "%s/app.lua", directory);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(APP, file) >= 0);
  fclose(file);
  annal_options options = f->options;
  options.app = directory;
  options.timeout = timeout;
  options.clock = NULL;
  location_with(location, words);
  assert_ok(annal_open(location, &options, &handle, &test_error));
  return handle;
}

static annal_store *open_past(proxy *p, fixture *f, double timeout) {
  char words[160];
  snprintf(words, sizeof words, "host=%s port=5432 hostaddr=''", p->directory);
  return open_handle(f, words, timeout);
}

static int pay(annal_store *handle, const char *id, annal_text *stored) {
  annal_call_options options = {.size = sizeof options, .id = id};
  return annal_call(handle, "PAY", "{\"k\":\"marked\",\"cents\":100}", &options, stored, &test_error);
}

static void expect_stored(const annal_text *stored, const char *first) {
  char expected[64];
  snprintf(expected, sizeof expected, "\"id\":\"%s/1\",\"metadata\":null,\"position\":1,", first);
  if (!strstr(stored->bytes, expected)) fail_msg("%s is not in %s", expected, stored->bytes);
  assert_non_null(strstr(stored->bytes, "\"position\":2,"));
}

static void a_call_whose_answer_is_lost_is_settled(void **state) {
  fixture *f = *state;
  proxy between;
  annal_text stored;
  proxy_start(&between, f, MARKER);
  annal_store *handle = open_past(&between, f, 10);
  proxy_do(&between, LOSE_ANSWER, 2);
  assert_ok(pay(handle, "r", &stored));
  expect_stored(&stored, "r");
  assert_int_equal(head_of(f), 2);
  annal_text_free(handle, &stored);
  annal_close(handle);
  proxy_stop(&between);
}

/* The call gets no answer until its time is up: it says so, with the ids. It is made again, by another program even, and stored;
 * and when at last the first one's words arrive at the server they store nothing. */
static void a_call_in_doubt_is_settled_by_the_next(void **state) {
  fixture *f = *state;
  proxy between;
  annal_text stored;
  proxy_start(&between, f, MARKER);
  annal_store *handle = open_past(&between, f, 1), *other = open_handle(f, "", 10);
  proxy_do(&between, HOLD_CALL, 1000);
  assert_int_equal(pay(handle, "r", &stored), ANNAL_UNAVAILABLE);
  assert_true(test_error.in_doubt);
  assert_string_equal(stored.bytes, "{\"ids\":[\"r/1\",\"r/2\"]}");
  annal_text_free(handle, &stored);
  proxy_do(&between, HOLD_CALL, 0);
  assert_ok(pay(other, "r", &stored));
  expect_stored(&stored, "r");
  annal_text_free(other, &stored);
  proxy_deliver(&between);
  assert_ok(pay(handle, "r", &stored)); /* although there is enough by now: nothing is decided */
  expect_stored(&stored, "r");
  annal_text_free(handle, &stored);
  assert_int_equal(head_of(f), 2);
  annal_close(handle);
  annal_close(other);
  proxy_stop(&between);
}

static void a_call_without_an_id_tells_the_ids_of_its_events(void **state) {
  fixture *f = *state;
  proxy between;
  annal_text stored;
  proxy_start(&between, f, MARKER);
  annal_store *handle = open_past(&between, f, 1);
  proxy_do(&between, HOLD_CALL, 1000);
  assert_int_equal(pay(handle, NULL, &stored), ANNAL_UNAVAILABLE);
  assert_true(test_error.in_doubt);
  assert_int_equal(strncmp(stored.bytes, "{\"ids\":[\"0", 10), 0);
  assert_int_equal(stored.size, strlen("{\"ids\":[\"\",\"\"]}") + (size_t)2 * 26);
  annal_text_free(handle, &stored);
  annal_close(handle);
  proxy_stop(&between);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest doubtful_calls[] = {
      TEST(a_call_whose_answer_is_lost_is_settled),
      TEST(a_call_in_doubt_is_settled_by_the_next),
      TEST(a_call_without_an_id_tells_the_ids_of_its_events),
  };
  if (!getenv("ANNAL_TEST_PG")) {
    fprintf(stderr, "SKIPPED: doubtful calls were NOT tested: ANNAL_TEST_PG names no server\n");
    return 77;
  }
  fixture_runs_on = ON_POSTGRES;
  return cmocka_run_group_tests(doubtful_calls, NULL, NULL);
}
