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

/* A piece of the set by other scripts, which is the wanted one: up to the head, or one that only moves it. */
static void build_other(stage *s, bool to_head) {
  store_piece *piece;
  store_set found;
  store_advanced done;
  annal_error error;
  stage_ok(store_piece_begin(s->handle->store, "COUNT", "other", &piece, &found, &error), &error);
  store_advance advance = {.place = to_head ? found.head : found.checkpoint};
  stage_ok(store_piece_commit(piece, &advance, &done, &error), &error);
  store_piece_end(piece);
}

/* The worker's rows are served, those by other scripts are wanted, and so many events behind. */
static void start(stage *s, size_t behind) {
  annal_error error;
  stage_start(s, script, (annal_options){0});
  save(s, 3);
  work(s);
  stage_ok(store_set_make(s->handle->store, "COUNT", "other", &error), &error);
  build_other(s, true);
  save(s, behind);
  work(s);
  assert_int_equal(own_position(s), 3 + behind);
  stage_ok(store_kept_want(s->handle->store, "COUNT", "other", &error), &error);
  assert_string_not_equal(look(s, "other").kept.served, "");
  save(s, 1);
}

/* So long that the other set is taken for one that does not move. */
static void let_it_rest(void) { usleep(LIMIT_GIVE_WAY_US * 11 / 10); }

static void it_stands_still_while_the_other_set_moves_close_behind(void **unused) {
  (void)unused;
  stage s;
  start(&s, LIMIT_GIVE_WAY_EVENTS);
  for (int i = 0; i < 3; i++) { /* in all longer than it waits for one that does not move */
    work(&s);
    assert_int_equal(own_position(&s), 3 + LIMIT_GIVE_WAY_EVENTS);
    usleep(LIMIT_GIVE_WAY_US / 2);
    build_other(&s, false);
  }
  work(&s);
  let_it_rest();
  work(&s);
  assert_int_equal(own_position(&s), 4 + LIMIT_GIVE_WAY_EVENTS);
  stage_end(&s);
}

static void it_does_not_wait_for_one_that_is_far_behind(void **unused) {
  (void)unused;
  stage s;
  start(&s, LIMIT_GIVE_WAY_EVENTS + 1);
  work(&s);
  assert_int_equal(own_position(&s), 5 + LIMIT_GIVE_WAY_EVENTS);
  stage_end(&s);
}

/* Which may have something to do still, that it never comes to the end of. */
static void it_does_not_wait_for_one_that_is_ahead(void **unused) {
  (void)unused;
  stage s;
  start(&s, 5);
  build_other(&s, true);
  work(&s);
  assert_int_equal(own_position(&s), 9);
  stage_end(&s);
}

/* One that moves, and is still behind: after a while it goes on, and for a good while. */
static void it_does_not_stand_still_for_ever(void **unused) {
  (void)unused;
  stage s;
  int64_t began = base_monotonic();
  start(&s, 5);
  while (own_position(&s) == 8 && base_monotonic() - began < INT64_C(5) * LIMIT_STAND_US) {
    build_other(&s, false);
    work(&s);
    usleep(10000);
  }
  assert_int_equal(own_position(&s), 9);
  assert_true(base_monotonic() - began >= LIMIT_STAND_US);
  for (int i = 0; i < 3; i++) {
    build_other(&s, false);
    save(&s, 1);
    work(&s);
    assert_int_equal(own_position(&s), 10 + i);
  }
  stage_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(it_stands_still_while_the_other_set_moves_close_behind),
                                     cmocka_unit_test(it_does_not_wait_for_one_that_is_far_behind),
                                     cmocka_unit_test(it_does_not_wait_for_one_that_is_ahead),
                                     cmocka_unit_test(it_does_not_stand_still_for_ever)};
  return STAGE_RUN("keeper", tests);
}
