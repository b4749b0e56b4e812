/* Rebuilds and their memory. Where states do not fit into it some are written and read back while it goes on, every row comes out as it
 * should, and what the rebuild takes is the same however much there is to do. It ends with any memory that it is given, and at any
 * pace. */
#include "support.h"

#include "fold/rebuild.h"
#include "fold/set.h"

/* ---- A set in little memory -------------------------------------------------------------------------------------------- */

enum { NAMES = 3000, ROUNDS = 200 };

static void name_of(size_t n, char name[16]) { snprintf(name, 16, "n%zu", n); }

static void enter(fold_set *set, bool *there, size_t n) {
  char name[16];
  name_of(n, name);
  set_instance *instance = set_enter(set, name);
  assert_non_null(instance);
  assert_true(set_keep_state(set, instance, name, strlen(name)));
  there[n] = true;
}

/* Each instance that was entered and not forgotten is found again, with what was kept for it, and no other is there. */
static void expect_found(fold_set *set, const bool *there) {
  size_t count = 0, held = 0;
  for (size_t i = 0; i < set->table_size; i++) {
    const set_instance *instance = set->table[i];
    if (!instance) continue;
    size_t n = strtoul(instance->id + 1, NULL, 10);
    assert_true(there[n]);
    assert_int_equal(instance->state_size, strlen(instance->id));
    assert_memory_equal(instance->state, instance->id, instance->state_size);
    assert_ptr_equal(set_enter(set, instance->id), instance);
    held += instance->counted;
    count++;
  }
  set_done(set, set->touched_count);
  for (size_t n = 0; n < NAMES; n++) count -= there[n];
  assert_int_equal(count, 0);
  assert_true(held <= set->bytes);
}

static void forgotten_are_only_those_that_may_be(void **unused) {
  (void)unused;
  static bool there[NAMES];
  static set_instance *chosen[NAMES];
  place p;
  annal_error error;
  fold_set set;
  place_start(&p,
              "event 'A' { id = t.string }\nprojection 'P' { by = 'id', init = 0, on = { A = function(n) return n + 1 end } }\n");
  script_app *app = handle_app(p.handle);
  fold_context context = handle_context(p.handle, app);
  expect_ok(set_open(&set, &context, script_find_projection(app, "P"), &error), &error);
  srand(7);
  for (int round = 0; round < ROUNDS; round++) {
    set.round++;
    for (int i = rand() % 100; i > 0; i--) enter(&set, there, (size_t)rand() % NAMES);
    set_instance *dirty = set.touched_count ? set.touched[0] : NULL;
    if (dirty) dirty->dirty = true;
    set_done(&set, set.touched_count);
    size_t wanted = set.bytes / 8 * (size_t)(rand() % 9), count = set_choose(&set, wanted, chosen);
    for (size_t i = 0; i < count; i++)
      if (chosen[i] != dirty) there[strtoul(chosen[i]->id + 1, NULL, 10)] = false;
    set_forget(&set, chosen, count);
    assert_true(set.bytes <= wanted + (dirty ? dirty->counted : 0));
    if (dirty) dirty->dirty = false;
    expect_found(&set, there);
  }
  set_close(&set);
  script_release(app);
  place_remove(&p);
}

/* ---- Rebuilds ---------------------------------------------------------------------------------------------------------- */

static const char app[] =
    "event 'ADDED' { id = t.string, other = t.string, n = t.integer }\n"
    "local function add(s, e) return { n = s.n + e.data.n, count = s.count + 1, text = s.text } end\n"
    "local function init() return { n = 0, count = 0, text = string.rep('x', 300) } end\n"
    "local function view(s, id) return { id = id, n = s.n, count = s.count } end\n"
    "projection 'SUM' { keep = 'background', by = 'id', init = init, on = { ADDED = add }, view = view }\n"
    "projection 'BOTH' { keep = 'background', ids = function(e) return { e.data.id, e.data.other } end,\n"
    "  streams = function(id)\n"
    "    return { { types = { 'ADDED' }, data = { id = id } }, { types = { 'ADDED' }, data = { other = id } } }\n"
    "  end,\n"
    "  init = init, on = { ADDED = add }, view = view }\n";

/* What the handle has allocated, and at most. */
typedef struct account {
  atomic_size_t held, most;
} account;

static void *allocate(void *context, void *pointer, size_t size) {
  account *a = context;
  max_align_t *block = pointer;
  if (block) atomic_fetch_sub(&a->held, *(size_t *)--block);
  if (size == 0) {
    free(block);
    return NULL;
  }
  block = realloc(block, size + sizeof *block);
  assert_non_null(block);
  *(size_t *)block = size;
  size_t held = atomic_fetch_add(&a->held, size) + size, most = atomic_load(&a->most);
  while (held > most && !atomic_compare_exchange_weak(&a->most, &most, held)) continue;
  return block + 1;
}

enum { STATES = 96 << 10, PAGE = 1000 };

static void fill(place *p, size_t ids, size_t count) {
  static annal_event events[PAGE];
  static char data[PAGE][80];
  annal_error error;
  for (size_t at = 0; at < count; at += PAGE) {
    for (size_t i = 0; i < PAGE; i++) {
      size_t id = (size_t)rand() % ids, other = (id + 1 + (size_t)rand() % (ids - 1)) % ids;
      snprintf(data[i], sizeof data[i], "{\"id\":\"i%zu\",\"other\":\"i%zu\",\"n\":%d}", id, other, rand() % 100);
      events[i] = (annal_event){.type = "ADDED", .data = data[i]};
    }
    expect_ok(annal_save(p->handle, events, PAGE, NULL, NULL, &error), &error);
  }
}

/* Each row against what SQL makes of the events. */
static void expect_rows(const place *p) {
  expect_sql(
      p,
      "WITH e AS (SELECT data->>'$.id' id, sum(data->>'$.n') n, count(*) c, max(position) p FROM events GROUP BY 1) "
      "SELECT (count(*) - (SELECT count(*) FROM e)) || ' ' || (count(*) - (SELECT count(*) FROM projections WHERE type = 'SUM')) "
      "FROM e JOIN projections r ON r.type = 'SUM' AND r.id = e.id AND r.data->>'$.n' = e.n AND r.data->>'$.count' = e.c "
      "AND r.position = e.p",
      "0 0");
  expect_sql(p,
             "WITH s AS (SELECT data->>'$.id' id, data->>'$.n' n, position FROM events "
             "UNION ALL SELECT data->>'$.other', data->>'$.n', position FROM events), "
             "e AS (SELECT id, sum(n) n, count(*) c, max(position) p FROM s GROUP BY 1) "
             "SELECT (count(*) - (SELECT count(*) FROM e)) || ' ' || (count(*) - (SELECT count(*) FROM projections WHERE type = "
             "'BOTH')) "
             "FROM e JOIN projections r ON r.type = 'BOTH' AND r.id = e.id AND r.data->>'$.n' = e.n AND r.data->>'$.count' = e.c "
             "AND r.position = e.p",
             "0 0");
}

/* How many bytes a rebuild of so much takes beyond what the handle has. */
static size_t rebuild_of(size_t ids, size_t events, int jobs) {
  place p;
  annal_error error;
  account a = {0};
  annal_rebuild_options options = {.size = sizeof options, .jobs = jobs};
  place_init(&p);
  place_script(&p, "app.lua", app);
  place_open_with(&p, (annal_options){.app = p.app, .cache = STATES, .allocate = allocate, .allocate_context = &a});
  fill(&p, ids, events);
  for (int i = 0; i < 2; i++) { /* the first makes the rows that are missing, the second others beside them */
    expect_ok(annal_rebuild(p.handle, &options, NULL, NULL, &error), &error);
    expect_rows(&p);
  }
  size_t before = a.held;
  a.most = before;
  expect_ok(annal_rebuild(p.handle, &options, NULL, NULL, &error), &error);
  size_t taken = a.most - before;
  place_remove(&p);
  assert_int_equal(a.held, 0);
  return taken;
}

static void memory_is_the_same_for_more(int jobs) {
  size_t some = rebuild_of(700, 3000, jobs), more = rebuild_of(2800, 12000, jobs);
  if (more > some + some / 4) fail_msg("%zu bytes for four times what takes %zu", more, some);
}

static void a_rebuild_beyond_its_memory(void **unused) {
  (void)unused;
  memory_is_the_same_for_more(0);
}

static void a_rebuild_beyond_its_memory_with_jobs(void **unused) {
  (void)unused;
  memory_is_the_same_for_more(2);
}

/* ---- Large states ------------------------------------------------------------------------------------------------------ */

/* They come in groups, and nobody knows before how much a group takes. */
static void large_states(void **unused) {
  (void)unused;
  enum { LARGE = 600, CACHE = 16 << 20 }; /* of a rebuild's budget that is a half, and all the states are much more */
  static annal_event events[LARGE];
  static char data[LARGE][24];
  place p;
  annal_error error;
  account a = {0};
  annal_rebuild_options options = {.size = sizeof options};
  place_init(&p);
  place_script(&p, "app.lua",
               "event 'A' { id = t.string }\nprojection 'P' { keep = 'background', by = 'id', init = '',\n"
               "  on = { A = function(s) return string.rep('x', 200000) end }, view = function() return {} end }\n");
  place_open_with(&p, (annal_options){.app = p.app, .cache = CACHE, .allocate = allocate, .allocate_context = &a});
  for (int i = 0; i < LARGE; i++) {
    snprintf(data[i], sizeof data[i], "{\"id\":\"f%d\"}", i);
    events[i] = (annal_event){.type = "A", .data = data[i]};
  }
  expect_ok(annal_save(p.handle, events, LARGE, NULL, NULL, &error), &error);
  size_t before = a.held;
  a.most = before;
  expect_ok(annal_rebuild(p.handle, &options, NULL, NULL, &error), &error);
  size_t taken = a.most - before;
  expect_sql(&p, "SELECT count(*) FROM projections WHERE length(state) > 200000", "600");
  place_remove(&p);
  if (taken > 4 * (size_t)CACHE) fail_msg("%zu bytes, where there should be %d", taken, 2 * CACHE);
}

/* ---- Rebuilds that have to end ----------------------------------------------------------------------------------------- */

static const char small_app[] = "event 'A' { id = t.string }\nprojection 'P' { keep = 'background', by = 'id', init = 0, on = { "
                                "A = function(n) return n + 1 end } }\n";

enum { TELLS = 1000 }; /* far more than there is to tell: a rebuild that comes nowhere ends by it, and fails */

typedef struct slow {
  place *place;
  int tells;
  bool saves; /* events, while it is told for the first time */
} slow;

/* So many at least are read in a round of their own, and not left to the worker. */
static void save_many(const place *p) {
  static annal_event events[PAGE];
  annal_error error;
  for (int i = 0; i < PAGE; i++) events[i] = (annal_event){.type = "A", .data = "{\"id\":\"x\"}"};
  for (int i = 0; i < 2; i++) expect_ok(annal_save(p->handle, events, PAGE, NULL, NULL, &error), &error);
}

static int64_t clock_step; /* microseconds that pass between two looks at the clock, beside those that do; 0: none */

/* The project's one clock for what takes how long, as the linker puts it in place of the real one in this program. */
int64_t __real_base_monotonic(void); // NOLINT(bugprone-reserved-identifier): the linker's names
int64_t __wrap_base_monotonic(void); // NOLINT(bugprone-reserved-identifier): likewise

int64_t __wrap_base_monotonic(void) { // NOLINT(bugprone-reserved-identifier): likewise
  static atomic_llong ahead;
  return __real_base_monotonic() + (atomic_fetch_add(&ahead, clock_step) + clock_step);
}

static int count_tell(void *context, const rebuild_progress *progress) {
  slow *s = context;
  (void)progress;
  clock_step = 0;
  if (s->saves) save_many(s->place);
  s->saves = false;
  return ++s->tells > TELLS;
}

static int rebuild_told(place *p, size_t budget, slow *s, annal_error *error) {
  script_app *scripts = handle_app(p->handle);
  fold_context context = handle_context(p->handle, scripts);
  rebuild_options options = {.budget = budget, .lock_us = INT64_MAX / 4, .tell = count_tell, .tell_context = s};
  int code = fold_rebuild(&context, &options, error);
  script_release(scripts);
  return code;
}

/* As large a number as there is can be counted with. */
static void unlimited_memory(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, small_app);
  put(&p, "A", NULL, "{\"id\":\"x\"}");
  for (size_t less = 0; less < 2; less++) {
    slow s = {.place = &p};
    expect_ok(rebuild_told(&p, SIZE_MAX - less, &s, &error), &error);
    expect_sql(&p, "SELECT state FROM projections", "1");
  }
  place_remove(&p);
}

/* That it took long says nothing of how many events the next one should have: there are many, and they were saved meanwhile. */
static void a_slow_round_without_events(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, small_app);
  put(&p, "A", NULL, "{\"id\":\"x\"}");
  slow first = {.place = &p, .tells = TELLS}, second = {.place = &p, .saves = true};
  assert_int_equal(rebuild_told(&p, 64 << 20, &first, &error), ANNAL_UNAVAILABLE); /* what it has done is kept */
  clock_step = INT64_C(4000000);
  expect_ok(rebuild_told(&p, 64 << 20, &second, &error), &error);
  assert_false(second.saves);
  expect_sql(&p, "SELECT state FROM projections", "2001");
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forgotten_are_only_those_that_may_be),
                                     cmocka_unit_test(a_rebuild_beyond_its_memory),
                                     cmocka_unit_test(a_rebuild_beyond_its_memory_with_jobs),
                                     cmocka_unit_test(large_states),
                                     cmocka_unit_test(unlimited_memory),
                                     cmocka_unit_test(a_slow_round_without_events)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
