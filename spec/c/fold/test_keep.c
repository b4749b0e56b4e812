/* Kept rows as a property: whatever is saved, worked at, interrupted, reloaded, rebuilt and restored, in whatever order and by however
 * many programs, a view equals the fold of all events, and the rows that a query answers equal the fold up to the checkpoint of the set
 * that is served. Two handles on one store stand for two programs; memory that ends at a random moment for a crash. */
#include "support.h"

#include "fold/rebuild.h"
#include <libpq-fe.h>

enum { TRIALS = 12, STEPS = 60, HANDLES = 2, INSTANCES = 5, VARIANTS = 3 };

static uint64_t seed;
/* How often what was met, so that a test that looks at nothing is noticed. */
static struct {
  unsigned rows, parked, failed; /* instances: with a row; parked; whose fold fails */
  unsigned worked, rebuilt, ended;
  unsigned sets, others; /* sets served by the judge's scripts; those that were others' */
} met;

static unsigned pick(unsigned below) {
  uint64_t x = seed += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return (unsigned)((x ^ x >> 31) % below);
}

/* ---- The apps ---------------------------------------------------------------------------------------------------------- */

/* Variants differ in what a handler does with a number that is divisible by 7: add, fail, or never end. */
static const char *const variants[VARIANTS] = {"", "if n % 7 == 0 then s.sum = -1 error('seven') end",
                                               "if n % 7 == 0 then while true do end end"};

static const char app_format[] =
    "event 'ADDED' { id = t.string, n = t.integer }\n"
    "event 'MOVED' { from = t.string, to = t.string, n = t.integer }\n"
    "event 'OTHER' { n = t.integer }\n"
    "local function add(s, e) local n = e.data.n %s s.sum = s.sum + n table.insert(s.seen, e.position) end\n"
    "projection 'SUM' { keep = 'background', by = { ADDED = 'id', MOVED = 'to' }, init = { sum = 0, seen = array {} },\n"
    "  on = { ADDED = add, MOVED = add }, view = function(s, id) if s.sum %% 11 == 5 then error('unseen') end\n"
    "    return { id = id, sum = s.sum, seen = s.seen } end }\n"
    "projection 'BOTH' { keep = 'background', streams = function(id) return { { types = { 'MOVED' }, data = { from = id } },\n"
    "    { types = { 'MOVED', 'ADDED' }, data = { to = id } }, { data = { id = id } } } end,\n"
    "  ids = function(e) local d = e.data return d.from and { d.from, d.to } or { d.id } end,\n"
    "  fields = { a = reducer { init = 0, on = { MOVED = function(n, e) return n + e.data.n end } },\n"
    "    b = reducer { init = array {}, on = { ADDED = function(s, e) if #s > 3 then return {} end s[#s + 1] = e.data.n end } } "
    "} }\n"
    "projection 'ALL' { keep = 'background', version = 5, init = { sum = 0, seen = array {} }, on = { OTHER = function(s, e)\n"
    "  s.sum = s.sum + e.data.n if #s.seen > 4 then s.seen = {} end table.insert(s.seen, e.data.n) end } }\n"
    "projection 'LIVE' { by = 'id', init = { sum = 0, seen = array {} }, on = { ADDED = add } }\n";

static const char *const names[] = {"SUM", "BOTH", "ALL", "LIVE"};

/* ---- The world --------------------------------------------------------------------------------------------------------- */

/* Lets allocations fail from a certain one on. */
typedef struct weak_memory {
  long left; /* allocations that succeed; negative: all */
} weak_memory;

static void *weak_allocate(void *context, void *pointer, size_t size) {
  weak_memory *memory = context;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  if (memory->left == 0) return NULL;
  if (memory->left > 0) memory->left--;
  return realloc(pointer, size);
}

typedef struct world {
  char directory[64];
  char location[256], schema[64];
  annal_store *handles[HANDLES];
  int variant[HANDLES];
  weak_memory memory[HANDLES];
  annal_store *judge; /* loads what it is asked to, and never works */
  bool on_postgres;
} world;

static void app_path(const world *w, int variant, char path[128]) { snprintf(path, 128, "%s/app%d", w->directory, variant); }

static void write_apps(const world *w) {
  for (int i = 0; i < VARIANTS; i++) {
    char path[128], file[160];
    app_path(w, i, path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(file, sizeof file, "%s/app.lua", path);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_true(fprintf(out, app_format, variants[i]) > 0); // NOLINT(clang-diagnostic-format-nonliteral): the text stands above
    assert_int_equal(fclose(out), 0);
  }
}

static annal_store *open_handle(const world *w, int variant, weak_memory *memory) {
  static const char *const declared[] = {"id", "to"};
  char path[128];
  annal_error error;
  annal_store *handle;
  app_path(w, variant, path);
  annal_options options = {.size = sizeof options,
                           .app = path,
                           .schema = w->schema,
                           .data_indexes = declared,
                           .data_index_count = 2,
                           .budget = 20000,
                           .no_reload = true,
                           .cache = pick(2) ? 2000 : 0,
                           .allocate = memory ? weak_allocate : NULL,
                           .allocate_context = memory};
  expect_ok(annal_open(w->location, &options, &handle, &error), &error);
  return handle;
}

static void run_sql(const world *w, const char *sql) {
  if (!w->on_postgres) {
    sqlite3 *db;
    char *problem = NULL;
    assert_int_equal(sqlite3_open(w->location, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, sql, NULL, NULL, &problem)) fail_msg("%s: %s", sql, problem);
    sqlite3_close(db);
    return;
  }
  char path[128];
  PGconn *pg = PQconnectdb(w->location);
  snprintf(path, sizeof path, "set client_min_messages = warning; set search_path = %s", w->schema);
  PQclear(PQexec(pg, path));
  PGresult *result = PQexec(pg, sql);
  if (PQresultStatus(result) != PGRES_COMMAND_OK) fail_msg("%s: %s", sql, PQerrorMessage(pg));
  PQclear(result);
  PQfinish(pg);
}

static void world_init(world *w, bool on_postgres) {
  static int number;
  *w = (world){.on_postgres = on_postgres};
  strcpy(w->directory, "/tmp/annal-test-XXXXXX");
  assert_non_null(mkdtemp(w->directory));
  snprintf(w->schema, sizeof w->schema, "annal_keep_%ld_%d", (long)getpid(), ++number);
  if (on_postgres) snprintf(w->location, sizeof w->location, "%s", getenv("ANNAL_TEST_PG"));
  else snprintf(w->location, sizeof w->location, "%s/store.db", w->directory);
  write_apps(w);
  for (int i = 0; i < HANDLES; i++) {
    w->memory[i].left = -1;
    w->variant[i] = (int)pick(VARIANTS);
    w->handles[i] = open_handle(w, w->variant[i], &w->memory[i]);
  }
  w->judge = open_handle(w, 0, NULL);
}

static void world_end(world *w) {
  char command[128], sql[128];
  for (int i = 0; i < HANDLES; i++) annal_close(w->handles[i]);
  annal_close(w->judge);
  snprintf(sql, sizeof sql, "drop schema %s cascade", w->schema);
  if (w->on_postgres) run_sql(w, sql);
  snprintf(command, sizeof command, "rm -rf '%s'", w->directory);
  assert_int_equal(system(command), 0);
}

/* ---- What happens ------------------------------------------------------------------------------------------------------ */

static void save_some(world *w) {
  annal_event events[8];
  char data[8][96];
  annal_error error;
  unsigned count = 1 + pick(8);
  for (unsigned i = 0; i < count; i++) {
    unsigned kind = pick(5), n = pick(3) ? pick(6) + 1 : pick(40);
    const char *type = kind < 2 ? "ADDED" : kind < 4 ? "MOVED" : "OTHER";
    if (kind < 2) snprintf(data[i], sizeof *data, "{\"id\":\"i%u\",\"n\":%u}", pick(INSTANCES), n);
    else if (kind < 4)
      snprintf(data[i], sizeof *data, "{\"from\":\"i%u\",\"n\":%u,\"to\":\"i%u\"}", pick(INSTANCES), n, pick(INSTANCES));
    else snprintf(data[i], sizeof *data, "{\"n\":%u}", n);
    events[i] = (annal_event){.type = type, .data = data[i]};
  }
  expect_ok(annal_save(w->judge, events, count, NULL, NULL, &error), &error);
}

/* Script errors park; only the end of memory, an interruption and another's work may come out. */
static void expect_bearable(int code, const annal_error *error) {
  if (code && code != ANNAL_UNAVAILABLE && code != ANNAL_BUSY && code != ANNAL_CONFLICT) expect_ok(code, error);
}

static void work(world *w, int i) {
  annal_error error;
  for (unsigned steps = 1 + pick(3); steps > 0; steps--) {
    int code = annal_run_once(w->handles[i], 0, &error);
    expect_bearable(code, &error);
    if (code && w->memory[i].left < 0) expect_ok(code, &error);
    if (code) met.ended++;
    else met.worked++;
  }
}

static int tell_some(void *context, const rebuild_progress *progress) {
  (void)progress;
  unsigned *left = context;
  return *left > 0 && --*left == 0;
}

static void rebuild(world *w, int i) {
  annal_error error;
  annal_store *handle = w->handles[i];
  unsigned left = pick(2) ? 1 + pick(6) : 0;
  const char *name = names[pick(4)];
  script_app *app = handle_app(handle);
  fold_context context = handle_context(handle, app);
  rebuild_options options = {.types = &name,
                             .type_count = pick(3) ? 1 : 0,
                             .jobs = pick(3),
                             .budget = pick(2) ? 1500 : 1 << 20,
                             .lock_us = 100000,
                             .chunk_events = 1 + pick(20),
                             .tell = tell_some,
                             .tell_context = &left};
  int code = fold_rebuild(&context, &options, &error);
  script_release(app);
  expect_bearable(code, &error);
  if (code) met.ended++;
  else met.rebuilt++;
}

static void save_row(world *w, int i) {
  char id[8];
  annal_error error;
  annal_text view;
  annal_view_options options = {.size = sizeof options, .save = true};
  unsigned which = pick(4);
  snprintf(id, sizeof id, "i%u", pick(INSTANCES));
  int code = annal_view(w->handles[i], names[which], which == 2 ? "" : id, &options, &view, &error);
  if (!code) annal_text_free(w->handles[i], &view);
}

static void load(world *w, int i) {
  char path[128];
  annal_error error;
  w->variant[i] = (int)pick(VARIANTS);
  app_path(w, w->variant[i], path);
  int code = annal_load(w->handles[i], path, &error);
  expect_bearable(code, &error);
  if (code) { /* then the scripts that were loaded before are in force: which does not matter, but it must be known */
    w->memory[i].left = -1;
    expect_ok(annal_load(w->handles[i], path, &error), &error);
  }
}

/* As after a restore: the newest events are others than they were. */
static void restore(world *w) {
  char sql[160];
  store_head_info head;
  annal_error error;
  expect_ok(store_head(w->judge->store, &head, &error), &error);
  if (head.position < 3) return;
  snprintf(sql, sizeof sql, "update events set id = id || 'r' where position > %lld", (long long)head.position - 1 - pick(2));
  run_sql(w, sql);
}

static void happen(world *w) {
  int i = (int)pick(HANDLES);
  unsigned what = pick(20);
  w->memory[i].left = pick(4) == 0 ? (long)pick(3000) : -1;
  if (what < 6) save_some(w);
  else if (what < 13) work(w, i);
  else if (what < 15) rebuild(w, i);
  else if (what < 16) save_row(w, i);
  else if (what < 18) load(w, i);
  else if (what < 19) restore(w);
  w->memory[i].left = -1;
  if (what == 19) {
    annal_close(w->handles[i]);
    w->handles[i] = open_handle(w, w->variant[i], &w->memory[i]);
  }
}

/* ---- What must hold ---------------------------------------------------------------------------------------------------- */

/* The view by the judge's scripts as of a position, or the error; to be freed. *parked_at: where its handler failed, 0: it did not. */
static char *fold_at(world *w, const char *name, const char *id, int64_t position, bool saved, int64_t *at, int *code) {
  annal_error error;
  const char *ignored;
  fold_instance *instance;
  base_buf out;
  expect_ok(handle_projection(w->judge, name, id, saved, &instance, &error), &error);
  buf_init(&out, &w->judge->env);
  store_head_info head = {.position = position};
  *code = fold_refresh_at(instance, &head, &error);
  if (!*code) *code = fold_position(instance, at, &ignored, &error);
  if (!*code && *at > 0) *code = fold_view(instance, &out, &error);
  char *text = strdup(*code ? error.message : out.size ? out.bytes : "");
  buf_free(&out);
  fold_close(instance);
  return text;
}

/* A row as the query answers it. */
typedef struct found_row {
  bool there, stale, is_parked;
  int64_t position;
  char data[2048];
  char parked[256];
  char parked_event[65];
} found_row;

static int note_row(void *context, const store_row *row) {
  found_row *found = context;
  found->there = true;
  found->stale = row->stale;
  found->is_parked = row->parked != NULL;
  snprintf(found->parked, sizeof found->parked, "%s", row->parked ? row->parked : "");
  found->position = row->position;
  snprintf(found->data, sizeof found->data, "%s", row->data);
  snprintf(found->parked_event, sizeof found->parked_event, "%s", row->parked ? row->parked_event_id : "");
  return 0;
}

static void check_views(world *w, const char *name, const char *id, int step) {
  store_head_info head;
  annal_error error;
  int64_t at[2] = {0};
  int codes[2];
  expect_ok(store_head(w->judge->store, &head, &error), &error);
  char *saved = fold_at(w, name, id, head.position, true, &at[0], &codes[0]);
  char *fresh = fold_at(w, name, id, head.position, false, &at[1], &codes[1]);
  if (codes[0] != codes[1] || at[0] != at[1] || (!codes[0] && strcmp(saved, fresh) != 0))
    fail_msg("step %d: the view of %s %s is %s at %lld, and folded anew %s at %lld", step, name, id, saved, (long long)at[0],
             fresh, (long long)at[1]);
  free(saved);
  free(fresh);
}

/* The row of a set by the judge's scripts that has come to `checkpoint`. */
static void check_row(world *w, const char *name, const char *id, const found_row *row, int64_t checkpoint, int step) {
  int64_t at = 0;
  int code;
  bool ahead = row->there && row->position > checkpoint;
  char *fold = fold_at(w, name, id, ahead ? row->position : checkpoint, false, &at, &code);
  met.rows += row->there;
  met.parked += row->is_parked;
  bool failed = code == ANNAL_SCRIPT || code == ANNAL_BUDGET;
  met.failed += failed;
  if (failed && !ahead) {
    /* Its handler or its view fails: it is parked, as of some moment before, or it has no row at all. */
    if (row->there && !row->is_parked) fail_msg("step %d: %s %s has failed (%s) and is not parked", step, name, id, fold);
    free(fold);
    if (!row->there) return;
    fold = fold_at(w, name, id, row->position, false, &at, &code);
    if (code || strcmp(fold, row->data) != 0)
      fail_msg("step %d: the parked row of %s %s is %s, not %s", step, name, id, row->data, fold);
  } else if (at == 0) {
    if (row->there) fail_msg("step %d: %s %s has a row and no event", step, name, id);
  } else if (!row->there || row->is_parked || row->position != at || strcmp(fold, row->data) != 0) {
    fail_msg("step %d: the row of %s %s is %s (%s) at %lld, and the fold up to the checkpoint %lld is %s at %lld", step, name, id,
             row->there ? row->data : "missing", row->parked, (long long)row->position, (long long)checkpoint, fold,
             (long long)at);
  }
  free(fold);
}

/* The rows of a kept projection, when they are by the judge's scripts. */
static void check_rows(world *w, const char *name, int step) {
  annal_error error;
  store_set set;
  script_app *app = handle_app(w->judge);
  const char *fingerprint = script_find_projection(app, name)->fingerprint;
  expect_ok(store_set_look(w->judge->store, name, fingerprint, &set, &error), &error);
  bool own = strcmp(set.kept.served, fingerprint) == 0 && set.sound;
  script_release(app);
  if (own) met.sets++;
  else met.others++;
  for (unsigned i = 0; own && i < (strcmp(name, "ALL") == 0 ? 1 : INSTANCES); i++) {
    char id[8] = "";
    found_row row = {0};
    annal_query query = {.size = sizeof query, .type = name};
    if (strcmp(name, "ALL") != 0) snprintf(id, sizeof id, "i%u", i);
    expect_ok(handle_query(w->judge, &query, id, note_row, &row, &error), &error);
    assert_true(!row.stale || row.is_parked);
    check_row(w, name, id, &row, set.checkpoint.position, step);
  }
}

static void check_all(world *w, int step) {
  char path[128], id[8];
  annal_error error;
  int variant = (int)pick(VARIANTS);
  app_path(w, variant, path);
  expect_ok(annal_load(w->judge, path, &error), &error);
  for (unsigned i = 0; i < 4; i++) {
    snprintf(id, sizeof id, "i%u", pick(INSTANCES));
    check_views(w, names[i], strcmp(names[i], "ALL") == 0 ? "" : id, step);
    if (strcmp(names[i], "LIVE") != 0) check_rows(w, names[i], step);
  }
}

/* Left alone for a while the rows are those of the log as it is. */
static void settle(world *w) {
  annal_error error;
  char path[128];
  app_path(w, w->variant[0], path);
  expect_ok(annal_load(w->handles[0], path, &error), &error); /* its generation is the wanted one from now on */
  for (int i = 0; i < 200; i++) expect_ok(annal_run_once(w->handles[0], 0, &error), &error);
  expect_ok(annal_load(w->judge, path, &error), &error);
  for (unsigned i = 0; i < 3; i++) {
    store_set set;
    script_app *app = handle_app(w->judge);
    const char *fingerprint = script_find_projection(app, names[i])->fingerprint;
    expect_ok(store_set_look(w->judge->store, names[i], fingerprint, &set, &error), &error);
    assert_string_equal(set.kept.served, fingerprint);
    assert_int_equal(set.checkpoint.position, set.head.position);
    assert_true(set.sound);
    script_release(app);
    check_rows(w, names[i], -1);
  }
}

static void try_many(bool on_postgres, int trials) {
  for (int trial = 0; trial < trials; trial++) {
    world w;
    const char *chosen = getenv("ANNAL_TEST_SEED");
    seed = chosen ? strtoull(chosen, NULL, 10) : (uint64_t)trial * 7919 + 1;
    if (chosen) trial = trials;
    fprintf(stderr, "ANNAL_TEST_SEED=%llu\n", (unsigned long long)seed); /* stands last when it fails */
    world_init(&w, on_postgres);
    for (int step = 0; step < STEPS; step++) {
      happen(&w);
      if (pick(3) == 0) check_all(&w, step);
    }
    settle(&w);
    world_end(&w);
  }
}

static void met_enough(void) {
  assert_true(met.rows > 0 && met.sets > 0 && met.others > 0 && met.worked > 0 && met.rebuilt > 0);
  if (!getenv("ANNAL_TEST_SEED")) assert_true(met.parked > 0 && met.failed > 0 && met.ended > 0);
}

static void rows_are_the_fold_whatever_happens(void **unused) {
  (void)unused;
  const char *trials = getenv("ANNAL_TEST_TRIALS");
  try_many(false, trials ? atoi(trials) : TRIALS);
  met_enough();
}

static void rows_are_the_fold_whatever_happens_on_a_server(void **unused) {
  (void)unused;
  const char *trials = getenv("ANNAL_TEST_TRIALS");
  if (!getenv("ANNAL_TEST_PG")) {
    print_message("SKIPPED: this was NOT tested on PostgreSQL: ANNAL_TEST_PG names no server\n");
    return;
  }
  try_many(true, trials ? atoi(trials) : TRIALS / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_the_fold_whatever_happens),
      cmocka_unit_test(rows_are_the_fold_whatever_happens_on_a_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
