/* Following: everything once and in order, from where it was left off, and no further than the history that was read. On every backend
 * alike, but for what a lost end of the history is told as. */
#include "fixture.h"

static void fill(fixture *f, int from, int to) {
  for (int at = from; at <= to;) {
    annal_event events[500];
    char ids[500][16];
    int count = 0;
    for (; at <= to && count < 500; at++, count++) {
      snprintf(ids[count], sizeof ids[count], "e%d", at);
      events[count] = event_of(ids[count], at % 10 ? "B" : "A", "{\"k\":\"v\"}");
    }
    store_save save = {.events = events, .count = (size_t)count};
    assert_ok(store_append(f->store, &save, &test_error));
  }
}

/* Takes what is there, each `step` after the one before; answers the last position. */
static int64_t take(store_follower *follower, int64_t last, int64_t step) {
  for (;;) {
    store_page page;
    assert_ok(store_follower_next(follower, 0, &page, &test_error));
    if (page.count == 0) return last;
    for (size_t i = 0; i < page.count; i++, last += step) assert_int_equal(page.events[i].position, last + step);
  }
}

static void everything_comes_once_and_in_order(void **state) {
  fixture *f = *state;
  annal_stream stream = {TYPES("A")};
  const annal_selection selections[] = {{.size = sizeof(annal_selection)},
                                        {.size = sizeof(annal_selection), .streams = &stream, .stream_count = 1}};
  store_follower *followers[2];
  store_head_info place;
  int64_t last[2] = {0};
  for (int i = 0; i < 2; i++) assert_ok(store_follow(f->store, &selections[i], &followers[i], &test_error));
  for (int to = 0; to <= 2400; to += to < 20 ? 5 : 1190) {
    fill(f, (int)head_of(f) + 1, to);
    for (int i = 0; i < 2; i++) {
      last[i] = take(followers[i], last[i], i ? 10 : 1);
      assert_int_equal(last[i], i ? to / 10 * 10 : to);
      store_follower_place(followers[i], &place);
      assert_int_equal(place.position, to); /* also where it was given nothing */
    }
  }
  for (int i = 0; i < 2; i++) store_follower_close(followers[i]);
}

static void it_goes_on_from_a_place(void **state) {
  fixture *f = *state;
  store_follower *follower;
  fill(f, 1, 30);
  assert_ok(
      store_follow(f->store, &(annal_selection){.size = sizeof(annal_selection), .after_id = "e12"}, &follower, &test_error));
  assert_int_equal(take(follower, 12, 1), 30);
  store_follower_close(follower);
  assert_ok(store_follow(f->store, &(annal_selection){.size = sizeof(annal_selection), .after = 29}, &follower, &test_error));
  assert_int_equal(take(follower, 29, 1), 30);
  store_follower_close(follower);
  assert_fails(store_follow(f->store, &(annal_selection){.size = sizeof(annal_selection), .after = 31}, &follower, &test_error),
               ANNAL_NOT_FOUND, "31");
  assert_fails(
      store_follow(f->store, &(annal_selection){.size = sizeof(annal_selection), .after_id = "e31"}, &follower, &test_error),
      ANNAL_NOT_FOUND, "e31");
}

/* After a restore or a failover another event bears the position: nothing above it is handed out. */
static void another_event_at_its_place_is_a_conflict(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip(); /* the history is changed past the store */
  annal_stream stream = {TYPES("A")};
  const annal_selection selections[] = {{.size = sizeof(annal_selection)},
                                        {.size = sizeof(annal_selection), .streams = &stream, .stream_count = 1}};
  fill(f, 1, 15);
  store_follower *followers[2];
  store_page page;
  for (int i = 0; i < 2; i++) {
    assert_ok(store_follow(f->store, &selections[i], &followers[i], &test_error));
    take(followers[i], 0, i ? 10 : 1);
  }
  fixture_sql(f, "DELETE FROM events WHERE position > 13", NULL);
  save_one(f, "x14", "B", "{}");
  save_one(f, "x15", "B", "{}");
  fill(f, 16, 20);
  for (int i = 0; i < 2; i++) {
    assert_fails(store_follower_next(followers[i], 0, &page, &test_error), ANNAL_CONFLICT, "before position 15");
    assert_int_equal(page.count, 0);
    assert_fails(store_follower_next(followers[i], 0, &page, &test_error), ANNAL_CONFLICT, "\"e15\"");
    store_follower_close(followers[i]);
  }
}

/* The end of the history is gone, and nothing has come in its place. A file has lost it; a server may merely lag. */
static void a_history_that_ends_before_its_place_is_noticed(void **state) {
  fixture *f = *state;
  if (fixture_runs_on == IN_MEMORY) skip();
  store_follower *follower;
  store_page page;
  fill(f, 1, 15);
  assert_ok(store_follow(f->store, &(annal_selection){.size = sizeof(annal_selection)}, &follower, &test_error));
  take(follower, 0, 1);
  for (int left = 12; left >= 0; left -= 12) {
    fixture_sql(f, left ? "DELETE FROM events WHERE position > 12" : "DELETE FROM events", NULL);
    if (fixture_runs_on == ON_FILE)
      assert_fails(store_follower_next(follower, 0, &page, &test_error), ANNAL_CONFLICT, "before position 15");
    else
      assert_fails(store_follower_next(follower, base_monotonic() + 100000, &page, &test_error), ANNAL_UNAVAILABLE,
                   left ? "up to position 12" : "up to position 0");
    assert_int_equal(page.count, 0);
  }
  store_follower_close(follower);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
  const struct CMUnitTest following[] = {
      TEST(everything_comes_once_and_in_order),
      TEST(it_goes_on_from_a_place),
      TEST(another_event_at_its_place_is_a_conflict),
      TEST(a_history_that_ends_before_its_place_is_noticed),
  };
  return RUN_ON_ALL(following);
}
