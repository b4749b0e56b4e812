/* A worker beside one of other scripts whose rows are to take the place of its own: when it stands still for them, and when it does not. On
 * SQLite, and on PostgreSQL where ANNAL_TEST_PG names a server. */
#include "../api/stage.h"

#include "base/limits.h"
#include "store/kept.h"

static const char script[] = "event 'COUNTED' { n = t.integer }\n"
                             "projection 'COUNT' { keep = 'background', init = { count = 0 },\n"
                             "  on = { COUNTED = function(s) s.count = s.count + 1 end } }\n";

static void save(stage *s, size_t count) {
  static annal_event events[1000];
  annal_error error;
  for (; count > 0; count -= count < 1000 ? count : 1000) {
    size_t some = count < 1000 ? count : 1000;
    for (size_t i = 0; i < some; i++) events[i] = (annal_event){.type = "COUNTED", .data = "{\"n\":1}"};
    stage_ok(annal_save(s->handle, events, some, NULL, NULL, &error), &error);
  }
}

static void work(stage *s) {
  annal_error error;
  for (bool done = true; done;) stage_ok(handle_run_once(s->handle, 0, &done, &error), &error);
}

static store_set look(stage *s, const char *set) {
  store_set found;
  annal_error error;
  stage_ok(store_set_look(s->handle->store, "COUNT", set, &found, &error), &error);
  return found;
}

/* How far the worker's own set has come. */
static int64_t own_position(stage *s) {
  script_app *app = handle_app(s->handle);
  char set[STORE_SET_BYTES];
  snprintf(set, sizeof set, "%s", script_find_projection(app, "COUNT")->fingerprint);
  script_release(app);
  return look(s, set).checkpoint.position;
}

/* A piece of the set by other scripts, which is the wanted one, up to the head. */
static void build_other(stage *s) {
  store_piece *piece;
  store_set found;
  store_advanced done;
  annal_error error;
  stage_ok(store_piece_begin(s->handle->store, "COUNT", "other", &piece, &found, &error), &error);
  store_advance advance = {.place = found.head};
  stage_ok(store_piece_commit(piece, &advance, &done, &error), &error);
  store_piece_end(piece);
}

/* The worker's rows are served, other scripts' are wanted. */
static void start(stage *s, size_t events) {
  annal_error error;
  stage_start(s, script, (annal_options){0});
  save(s, events);
  work(s);
  assert_int_equal(own_position(s), events);
  stage_ok(store_kept_want(s->handle->store, "COUNT", "other", &error), &error);
  assert_string_not_equal(look(s, "other").kept.served, "");
}

static void it_stands_still_while_the_other_set_moves_close_behind(void **unused) {
  (void)unused;
  stage s;
  start(&s, 5);
  build_other(&s);
  for (int64_t stored = 6; stored < 9; stored++) { /* in all longer than it waits for one that does not move */
    save(&s, 1);
    work(&s);
    assert_int_equal(own_position(&s), 5);
    usleep(LIMIT_GIVE_WAY_US / 2);
    build_other(&s);
  }
  work(&s);
  usleep(LIMIT_GIVE_WAY_US * 11 / 10);
  work(&s);
  assert_int_equal(own_position(&s), 8);
  save(&s, 1);
  work(&s);
  assert_int_equal(own_position(&s), 9);
  stage_end(&s);
}

static void it_does_not_wait_for_one_that_is_far_behind(void **unused) {
  (void)unused;
  stage s;
  start(&s, LIMIT_GIVE_WAY_EVENTS + 1);
  save(&s, 1);
  work(&s);
  assert_int_equal(own_position(&s), LIMIT_GIVE_WAY_EVENTS + 2);
  stage_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(it_stands_still_while_the_other_set_moves_close_behind),
                                     cmocka_unit_test(it_does_not_wait_for_one_that_is_far_behind)};
  return STAGE_RUN("keeper", tests);
}
