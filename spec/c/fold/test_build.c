/* Reading the log in chunks: where one is cut, or a read ends, the next one goes on, with no event missed and none twice. */
#include "support.h"

#include "fold/build.h"

enum { EVENTS = 4500 };

static const char app[] =
    "event 'ADDED' { id = t.string, n = t.integer }\n"
    "projection 'SUM' { keep = 'background', by = 'id', init = 0, on = { ADDED = function(n, e) return n + e.data.n end } }\n";

static void fill(place *p) {
  static annal_event events[EVENTS];
  annal_error error;
  for (size_t i = 0; i < EVENTS; i++) events[i] = (annal_event){.type = "ADDED", .data = "{\"id\":\"a\",\"n\":1}"};
  place_start(p, app);
  expect_ok(annal_save(p->handle, events, EVENTS, NULL, NULL, &error), &error);
}

/* Reads from *at on, takes `wanted` events at most, and leaves *at where it came to. */
static void take(fold_build *build, store_head_info *at, const store_head_info *head, size_t wanted, int64_t *expected) {
  annal_error error;
  build_reader reader = {0};
  fold_chunk chunk;
  chunk_init(&chunk, build->context.env, build->context.app);
  expect_ok(build_read(build, &reader, at, head, false, &error), &error);
  expect_ok(build_fill(&reader, &chunk, wanted, SIZE_MAX, &error), &error);
  if (chunk.count > wanted) build_cut(&reader, &chunk, wanted);
  assert_true(chunk.count <= wanted);
  for (size_t i = 0; i < chunk.count; i++) assert_int_equal(chunk.events[i].position, (*expected)++);
  if (reader.over) assert_int_equal(reader.reached.position, head->position);
  else assert_string_equal(reader.reached.id, chunk.events[chunk.count - 1].id);
  build_end_read(&reader);
  *at = reader.reached;
  chunk_free(&chunk);
}

static void chunks_of_any_size_have_each_event_once(void **unused) {
  (void)unused;
  static const size_t sizes[] = {1, 7, 999, 1000, 1001, 1500, 2000, 2500, EVENTS - 1, EVENTS, EVENTS + 1};
  place p;
  annal_error error;
  store_head_info head;
  fold_build build;
  build_set *set;
  fill(&p);
  expect_ok(store_head(p.handle->store, &head, &error), &error);
  script_app *generation = handle_app(p.handle);
  fold_context context = handle_context(p.handle, generation);
  expect_ok(build_open(&build, &context, 1, 0, 1 << 20, &error), &error);
  expect_ok(build_add(&build, script_find_projection(generation, "SUM"), "set", &set, &error), &error);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    store_head_info at = {0};
    int64_t expected = 1;
    size_t least = sizes[i] < 300 ? 300 : 0; /* the small ones need not come to the end */
    while (at.position < head.position && (least == 0 || (size_t)expected < least)) take(&build, &at, &head, sizes[i], &expected);
    if (least == 0) assert_int_equal(expected, EVENTS + 1);
  }
  build_close(&build);
  script_release(generation);
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_of_any_size_have_each_event_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
