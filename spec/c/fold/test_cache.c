/* States kept in memory: the bytes that they may have, who goes first, what a key is; and that reads which begin at them come to
 * what all events come to, whatever became of the log meanwhile. */
#include "support.h"

#include "../api/counting.h"
#include "base/limits.h"

/* ---- The cache by itself ------------------------------------------------------------------------------------------------ */

static base_env env;

static int start_cache(void **unused) {
  (void)unused;
  annal_options options = {.allocate = count_bytes};
  base_env_init(&env, &options);
  return 0;
}

static cache_key key_of(const char *projection, const char *fingerprint, const char *id) {
  return (cache_key){.projection = projection, .fingerprint = fingerprint, .id = id};
}

static void keep(fold_cache *cache, cache_key key, const char *state, const char *view, int64_t position, const char *event_id) {
  cache_entry entry = {.state = state,
                       .state_size = strlen(state),
                       .view = view,
                       .view_size = view ? strlen(view) : 0,
                       .position = position,
                       .event_id = event_id};
  cache_put(cache, &key, &entry);
}

/* "state view@position id", "" for nothing. */
static const char *kept(fold_cache *cache, cache_key key) {
  static char text[256];
  const cache_entry *entry = cache_get(cache, &key);
  text[0] = 0;
  if (entry)
    snprintf(text, sizeof text, "%s %s@%lld %s", entry->state, entry->view ? entry->view : "-", (long long)entry->position,
             entry->event_id);
  cache_release(cache, entry);
  return text;
}

static void what_was_put_is_found_by_all_of_its_key(void **unused) {
  (void)unused;
  fold_cache *cache = cache_new(&env, 1 << 20);
  cache_key keys[] = {key_of("P", "f", "a"), key_of("P", "f", "b"), key_of("P", "g", "a"), key_of("Q", "f", "a"),
                      key_of("P", "f", ""),  key_of("Pf", "", "a"), key_of("", "Pf", "a"), key_of("P", "fa", "")};
  const size_t count = sizeof keys / sizeof *keys;
  char state[16];
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(kept(cache, keys[i]), "");
    snprintf(state, sizeof state, "s%zu", i);
    keep(cache, keys[i], state, i % 2 ? "v" : NULL, (int64_t)i + 1, "e");
  }
  for (size_t i = 0; i < count; i++) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "s%zu %s@%zu e", i, i % 2 ? "v" : "-", i + 1);
    assert_string_equal(kept(cache, keys[i]), wanted);
  }
  cache_free(cache);
  assert_int_equal(atomic_load(&held), 0);
}

static void an_entry_gives_way_to_what_says_more(void **unused) {
  (void)unused;
  fold_cache *cache = cache_new(&env, 1 << 20);
  cache_key key = key_of("P", "f", "a");
  keep(cache, key, "s5", NULL, 5, "e5");
  keep(cache, key, "s4", "v4", 4, "e4"); /* a fold that began earlier */
  assert_string_equal(kept(cache, key), "s5 -@5 e5");
  keep(cache, key, "s5", "v5", 5, "e5"); /* now with its view */
  assert_string_equal(kept(cache, key), "s5 v5@5 e5");
  keep(cache, key, "s5", NULL, 5, "e5");
  assert_string_equal(kept(cache, key), "s5 v5@5 e5");
  keep(cache, key, "s6", NULL, 6, "e6");
  assert_string_equal(kept(cache, key), "s6 -@6 e6");
  keep(cache, key, "other", NULL, 6, "x6"); /* another event at the same place: of two, the one read later */
  assert_string_equal(kept(cache, key), "other -@6 x6");
  cache_free(cache);
  assert_int_equal(atomic_load(&held), 0);
}

static void what_is_not_true_any_more_is_dropped_once(void **unused) {
  (void)unused;
  fold_cache *cache = cache_new(&env, 1 << 20);
  cache_key key = key_of("P", "f", "a");
  keep(cache, key, "old", NULL, 9, "e9");
  const cache_entry *one = cache_get(cache, &key), *other = cache_get(cache, &key);
  cache_drop(cache, &key, one);
  assert_string_equal(kept(cache, key), "");
  assert_string_equal(one->state, "old"); /* who holds it has it still */
  cache_release(cache, one);
  keep(cache, key, "new", NULL, 3, "e3");
  cache_drop(cache, &key, other); /* somebody else was quicker */
  cache_release(cache, other);
  assert_string_equal(kept(cache, key), "new -@3 e3");
  cache_free(cache);
  assert_int_equal(atomic_load(&held), 0);
}

static void its_bytes_are_bounded_and_the_least_used_go_first(void **unused) {
  (void)unused;
  enum { STATE = 1000, ROOM = 20 };
  const size_t limit = (size_t)ROOM * (STATE + 300);
  char state[STATE + 1], id[16];
  memset(state, 'x', STATE);
  state[STATE] = 0;
  size_t bytes, entries;
  fold_cache *cache = cache_new(&env, limit);
  for (int i = 0; i < 1000; i++) {
    snprintf(id, sizeof id, "%d", i);
    keep(cache, key_of("P", "f", id), state, NULL, 1, "e");
    if (i > 0) assert_string_not_equal(kept(cache, key_of("P", "f", "0")), ""); /* asked for again and again */
    cache_count(cache, &bytes, &entries);
    assert_true(bytes <= limit);
    assert_true((size_t)atomic_load(&held) < limit + 20000); /* and the table */
  }
  assert_true(entries >= ROOM && entries <= ROOM * 13 / 10);
  for (int i = 1; i < 1000; i++) {
    snprintf(id, sizeof id, "%d", i);
    bool there = kept(cache, key_of("P", "f", id))[0] != 0;
    if (there != (i >= 1000 - (int)entries + 1)) fail_msg("%d of the last %zu is %s", i, entries, there ? "there" : "gone");
  }
  cache_free(cache);
  assert_int_equal(atomic_load(&held), 0);
}

static void what_alone_is_too_large_is_not_kept(void **unused) {
  (void)unused;
  char *large = malloc(10001);
  memset(large, 'x', 10000);
  large[10000] = 0;
  size_t bytes, entries;
  fold_cache *cache = cache_new(&env, 10000);
  keep(cache, key_of("P", "f", "b"), "small", NULL, 1, "e");
  keep(cache, key_of("P", "f", "a"), large, NULL, 1, "e");
  assert_string_equal(kept(cache, key_of("P", "f", "a")), "");
  assert_string_equal(kept(cache, key_of("P", "f", "b")), "small -@1 e"); /* nobody had to go for it */
  keep(cache, key_of("P", "f", "b"), large, NULL, 2, "e");
  cache_count(cache, &bytes, &entries);
  assert_int_equal(entries, 0); /* it has grown out of the cache */
  assert_int_equal(bytes, 0);
  cache_free(cache);
  for (size_t limit = 0; limit < 300; limit++) { /* one that takes nothing is one all the same */
    cache = cache_new(&env, limit);
    keep(cache, key_of("P", "f", "a"), "s", "v", 1, "e");
    cache_count(cache, &bytes, &entries);
    assert_true(bytes <= limit);
    cache_free(cache);
  }
  free(large);
  assert_int_equal(atomic_load(&held), 0);
}

/* ---- Reads that begin at it --------------------------------------------------------------------------------------------- */

#define APP                                                                                                                      \
  "event 'ADDED' { id = t.string, n = t.integer }\n"                                                                             \
  "projection 'SUM' { by = 'id', init = { n = 0, seen = array {} },\n"                                                           \
  "  on = { ADDED = function(s, e) s.n = s.n + e.data.n s.seen[#s.seen + 1] = e.data.n end },\n"                                 \
  "  view = function(s, id) log('view') return { id = id, n = s.n, seen = s.seen } end }\n"                                      \
  "projection 'ALL' { init = 0, on = { ADDED = function(n) return n + 1 end } }\n"                                               \
  "projection 'BOTH' { streams = function(id) return { { types = { 'ADDED' }, data = { id = id } } } end,\n"                     \
  "  init = 0, on = { ADDED = function(n, e) return n + e.data.n end } }\n"

static int views_made;

static void count_views(void *context, const char *level, const char *message) {
  (void)context;
  (void)level;
  if (strstr(message, "view")) views_made++;
}

static void start_with(place *p, size_t cache) {
  place_init(p);
  place_script(p, "app.lua", APP);
  place_open_with(p, (annal_options){.app = p->app, .cache = cache, .log = count_views});
}

static void add(place *p, const char *id, int n) {
  char data[64];
  snprintf(data, sizeof data, "{\"id\":\"%s\",\"n\":%d}", id, n);
  put(p, "ADDED", NULL, data);
}

static void a_hit_runs_no_script(void **unused) {
  (void)unused;
  place p;
  start_with(&p, 0);
  add(&p, "a", 1);
  views_made = 0;
  for (int i = 0; i < 3; i++) expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  assert_int_equal(views_made, 1);
  add(&p, "a", 2);
  add(&p, "b", 9);
  for (int i = 0; i < 3; i++) expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":3,\"seen\":[1,2]}");
  assert_int_equal(views_made, 2);
  expect_fold(&p, "SUM", "a", false, "{\"id\":\"a\",\"n\":3,\"seen\":[1,2]}"); /* from the first event, whatever is kept */
  assert_int_equal(views_made, 3);
  for (int i = 0; i < 2; i++) {
    expect_fold(&p, "ALL", "", true, "3");
    expect_fold(&p, "BOTH", "a", true, "3");
  }
  place_remove(&p);
}

/* What an entry was made of shows: somebody changes the events that it has behind its back. */
static void spoil(place *p) { place_sql(p, "UPDATE events SET data = replace(data, '\"n\":1}', '\"n\":100}')"); }

static void only_what_is_newer_is_read(void **unused) {
  (void)unused;
  place p;
  start_with(&p, 0);
  add(&p, "a", 1);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  spoil(&p);
  add(&p, "a", 2);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":3,\"seen\":[1,2]}");
  expect_fold(&p, "SUM", "a", false, "{\"id\":\"a\",\"n\":102,\"seen\":[100,2]}");
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":3,\"seen\":[1,2]}"); /* and what saved = false came to was not kept */
  place_remove(&p);
}

static void without_a_cache_everything_is_read(void **unused) {
  (void)unused;
  place p;
  start_with(&p, 1);
  assert_null(p.handle->cache);
  add(&p, "a", 1);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  spoil(&p);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":100,\"seen\":[100]}");
  place_remove(&p);
}

/* A restore, or a failover to a server that had less: positions are given out again, to other events. */
static void an_entry_whose_event_is_gone_is_not_used(void **unused) {
  (void)unused;
  place p;
  start_with(&p, 0);
  for (int n = 1; n <= 3; n++) add(&p, "a", n);
  fold_instance *steady = instance_of(&p, "SUM", "a", true);
  expect_view(&p, steady, "{\"id\":\"a\",\"n\":6,\"seen\":[1,2,3]}");
  expect_fold(&p, "ALL", "", true, "3");
  place_sql(&p, "DELETE FROM events WHERE position > 1");
  annal_error error;
  expect_ok(fold_refresh(steady, &error), &error);
  expect_view(&p, steady, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  fold_close(steady);
  add(&p, "a", 7);
  add(&p, "a", 8);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":16,\"seen\":[1,7,8]}");
  expect_fold(&p, "ALL", "", true, "3"); /* position 3 again, and another event */
  place_sql(&p, "UPDATE events SET id = 'other', data = '{\"id\":\"a\",\"n\":80}' WHERE position = 3");
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":88,\"seen\":[1,7,80]}");
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":88,\"seen\":[1,7,80]}");
  place_remove(&p);
}

static void other_code_finds_nothing_of_it(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start_with(&p, 0);
  add(&p, "a", 1);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  place_script(&p, "app.lua",
               "event 'ADDED' { id = t.string, n = t.integer }\n"
               "projection 'SUM' { by = 'id', init = 0, on = { ADDED = function(n, e) return n - e.data.n end } }\n");
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  expect_fold(&p, "SUM", "a", true, "-1");
  place_script(&p, "app.lua", APP);
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  views_made = 0;
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}"); /* what that code has made is there still */
  assert_int_equal(views_made, 0);
  /* Two projections whose fingerprints are pinned, and the same text. */
  place_script(&p, "app.lua",
               "event 'ADDED' { id = t.string, n = t.integer }\n"
               "projection 'ONE' { version = 1, by = 'id', init = 0, on = { ADDED = function(n) return n + 1 end } }\n"
               "projection 'TWO' { version = 1, by = 'id', init = 0, on = { ADDED = function(n) return n + 2 end } }\n");
  expect_ok(annal_load(p.handle, p.app, &error), &error);
  for (int i = 0; i < 2; i++) {
    expect_fold(&p, "ONE", "a", true, "1");
    expect_fold(&p, "TWO", "a", true, "2");
  }
  place_remove(&p);
}

static void what_is_staged_or_laid_in_is_not_kept(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  start_with(&p, 0);
  put(&p, "ADDED", "e1", "{\"id\":\"a\",\"n\":1}");
  fold_instance *instance = instance_of(&p, "SUM", "a", true);
  annal_event staged = {.type = "ADDED", .data = "{\"id\":\"a\",\"n\":5}"};
  expect_ok(fold_apply(instance, &staged, 1, &error), &error);
  expect_view(&p, instance, "{\"id\":\"a\",\"n\":6,\"seen\":[1,5]}");
  fold_close(instance);
  expect_fold(&p, "SUM", "a", true, "{\"id\":\"a\",\"n\":1,\"seen\":[1]}");
  /* A history of events that are stored, but were otherwise. */
  put(&p, "ADDED", "e2", "{\"id\":\"b\",\"n\":2}");
  annal_event history = {.type = "ADDED", .data = "{\"id\":\"b\",\"n\":40}", .position = 2, .id = "e2"};
  instance = instance_of(&p, "SUM", "b", true);
  expect_ok(fold_from_history(instance, &history, 1, &error), &error);
  expect_view(&p, instance, "{\"id\":\"b\",\"n\":40,\"seen\":[40]}");
  fold_close(instance);
  expect_fold(&p, "SUM", "b", true, "{\"id\":\"b\",\"n\":2,\"seen\":[2]}");
  place_remove(&p);
}

static void it_serves_the_past_as_far_as_it_goes(void **unused) {
  (void)unused;
  place p;
  start_with(&p, 0);
  for (int n = 1; n <= 4; n++) add(&p, "a", 1);
  for (int64_t at = 4; at >= 0; at--) {
    char wanted[64];
    annal_text view;
    annal_error error;
    annal_view_options options = {.size = sizeof options, .as_of = true, .at = at};
    snprintf(wanted, sizeof wanted, "%lld", (long long)at);
    expect_ok(annal_view(p.handle, "ALL", "", &options, &view, &error), &error);
    assert_string_equal(view.bytes, wanted);
    annal_text_free(p.handle, &view);
    expect_fold(&p, "ALL", "", true, "4"); /* and the present is not lost for it */
  }
  place_remove(&p);
}

/* ---- Whatever happens ----------------------------------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned pick(unsigned below) {
  uint64_t x = seed += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return (unsigned)((x ^ x >> 31) % below);
}

enum { INSTANCES = 5, STEPS = 120, MODEL_MAX = 512 };

/* What the log has: whose event, and its number. */
static struct {
  unsigned instance;
  int n;
} model[MODEL_MAX];
static size_t model_count;

static void expected_view(unsigned instance, char *out, size_t room) {
  int sum = 0;
  size_t used = 0;
  char list[MODEL_MAX * 4] = "";
  for (size_t i = 0; i < model_count; i++) {
    if (model[i].instance != instance) continue;
    sum += model[i].n;
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%d", used ? "," : "", model[i].n);
  }
  snprintf(out, room, "{\"id\":\"%u\",\"n\":%d,\"seen\":[%s]}", instance, sum, list);
}

static void check_all(place *p) {
  char wanted[MODEL_MAX * 4 + 64], count[16], id[8];
  snprintf(count, sizeof count, "%zu", model_count);
  for (unsigned i = 0; i < INSTANCES; i++) {
    snprintf(id, sizeof id, "%u", i);
    expected_view(i, wanted, sizeof wanted);
    expect_fold(p, "SUM", id, true, wanted);
    if (pick(4) == 0) expect_fold(p, "SUM", id, false, wanted);
  }
  expect_fold(p, "ALL", "", true, count);
}

/* One thing that happens to a store: an event, a row saved, a new start of the program with another size of the cache, a restore of
 * an older state of the log and other events in place of those that are gone. */
static void happen(place *p) {
  char id[8];
  annal_error error;
  unsigned what = pick(20), instance = pick(INSTANCES);
  snprintf(id, sizeof id, "%u", instance);
  if (what < 12 && model_count < MODEL_MAX) {
    model[model_count].instance = instance;
    model[model_count].n = (int)pick(99) + 1;
    add(p, id, model[model_count++].n);
  } else if (what < 15) {
    fold_instance *saved = instance_of(p, "SUM", id, true);
    int code = fold_save(saved, NULL, &error);
    if (code != ANNAL_NOT_FOUND) expect_ok(code, &error);
    fold_close(saved);
  } else if (what < 17) {
    static const size_t sizes[] = {0, 1, 2, 200, 400, 700, 1500, 4000};
    place_open_with(p, (annal_options){.app = p->app, .cache = sizes[pick(8)]});
  } else if (model_count > 0) {
    char sql[80];
    size_t lost = 1 + pick(3);
    if (lost > model_count) lost = model_count;
    model_count -= lost;
    snprintf(sql, sizeof sql, "DELETE FROM events WHERE position > %zu", model_count);
    place_sql(p, sql);
    for (size_t i = pick((unsigned)lost + 2); i > 0 && model_count < MODEL_MAX; i--) { /* as many, fewer, more */
      model[model_count].instance = pick(INSTANCES);
      model[model_count].n = (int)pick(99) + 1;
      snprintf(id, sizeof id, "%u", model[model_count].instance);
      add(p, id, model[model_count++].n);
    }
  }
}

static void a_view_is_the_fold_of_all_events_whatever_happens(void **unused) {
  (void)unused;
  for (unsigned trial = 0; trial < 6; trial++) {
    place p;
    seed = trial * 1000 + 7;
    model_count = 0;
    start_with(&p, trial % 2 ? 600 : 0);
    for (int step = 0; step < STEPS; step++) {
      happen(&p);
      check_all(&p);
    }
    place_remove(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(what_was_put_is_found_by_all_of_its_key, start_cache),
      cmocka_unit_test_setup(an_entry_gives_way_to_what_says_more, start_cache),
      cmocka_unit_test_setup(what_is_not_true_any_more_is_dropped_once, start_cache),
      cmocka_unit_test_setup(its_bytes_are_bounded_and_the_least_used_go_first, start_cache),
      cmocka_unit_test_setup(what_alone_is_too_large_is_not_kept, start_cache),
      cmocka_unit_test(a_hit_runs_no_script),
      cmocka_unit_test(only_what_is_newer_is_read),
      cmocka_unit_test(without_a_cache_everything_is_read),
      cmocka_unit_test(an_entry_whose_event_is_gone_is_not_used),
      cmocka_unit_test(other_code_finds_nothing_of_it),
      cmocka_unit_test(what_is_staged_or_laid_in_is_not_kept),
      cmocka_unit_test(it_serves_the_past_as_far_as_it_goes),
      cmocka_unit_test(a_view_is_the_fold_of_all_events_whatever_happens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
