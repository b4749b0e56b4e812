/* Kept rows and kept states as a property: whatever is saved, worked at, interrupted, killed, reloaded, rebuilt and restored, in whatever
 * order and by however many programs, with whatever apps, a view equals the fold of all events by the current scripts, at every position
 * asked for; and the rows that a query answers equal the fold up to the checkpoint of the set that is served.
 *
 * The fold that they are compared with is none of a store's: all events are read into a list, and as many of them as there were at a
 * position are folded in one go, with no row, no state, no page in between. */
#include "keep_world.h"

enum { TRIALS = 10, SERVER_TRIALS = 12, STEPS = 90, LOG_MAX = 1024 };

/* How often what was looked at, so that a test that looks at nothing is noticed. */
static struct {
  unsigned views, past, failing, held; /* of views: at the newest event, before; that fail; of instances that are kept */
  unsigned sets, others;               /* sets served by the scripts that are compared with; those that were others' */
  unsigned rows, ahead, parked; /* of these sets: instances with a row; with one ahead of the checkpoint; that stand still */
  unsigned unserved;            /* rows that are kept inline, without a worker */
  keep_counts happened;
} met;

/* ---- The log ----------------------------------------------------------------------------------------------------------- */

static annal_event events[LOG_MAX];
static size_t event_count;

static void forget_log(void) {
  for (size_t i = 0; i < event_count; i++) {
    free((char *)(uintptr_t)events[i].id);
    free((char *)(uintptr_t)events[i].type);
    free((char *)(uintptr_t)events[i].data);
  }
  event_count = 0;
}

static int take_event(void *context, const annal_event *event) {
  (void)context;
  assert_true(event_count < LOG_MAX);
  assert_int_equal(event->position, event_count + 1);
  annal_event *copy = &events[event_count++];
  *copy = *event;
  copy->id = strdup(event->id);
  copy->type = strdup(event->type);
  copy->data = strdup(event->data);
  copy->metadata = NULL;
  return 0;
}

static void read_log(keep_world *w) {
  annal_error error;
  annal_selection selection = {.size = sizeof selection};
  forget_log();
  expect_ok(annal_read(w->judges[0], &selection, take_event, NULL, &error), &error);
}

/* What a fold came to. */
typedef struct folded {
  int code;
  int64_t at;
  char text[2048]; /* the view, "" before the first event; or the error */
} folded;

static void note(fold_instance *instance, int code, const base_env *env, folded *out) {
  annal_error error;
  const char *ignored;
  base_buf view;
  buf_init(&view, env);
  out->code = code;
  out->at = 0;
  if (!out->code) out->code = fold_position(instance, &out->at, &ignored, &error);
  if (!out->code && out->at > 0) out->code = fold_view(instance, &view, &error);
  snprintf(out->text, sizeof out->text, "%s", view.size && !out->code ? view.bytes : "");
  if (out->code) out->at = 0;
  buf_free(&view);
}

/* By a variant's scripts, of the events up to a position alone. */
static void fold_list(keep_world *w, int variant, const char *name, const char *id, int64_t position, folded *out) {
  annal_error error;
  fold_instance *instance;
  annal_store *judge = w->judges[variant];
  expect_ok(handle_projection(judge, name, id, false, &instance, &error), &error);
  note(instance, fold_from_history(instance, events, (size_t)position, &error), &judge->env, out);
  fold_close(instance);
}

/* ---- Views ------------------------------------------------------------------------------------------------------------- */

static bool same(const folded *a, const folded *b) {
  return a->code == b->code && a->at == b->at && strcmp(a->text, b->text) == 0;
}

/* Of one program's instance, as of a position, or of the newest event. */
static void compare_view(keep_world *w, const keep_program *p, fold_instance *instance, int variant, bool past, int step) {
  annal_error error;
  folded got, wanted;
  const char *name = fold_projection(instance)->name;
  store_head_info head = {.position = past ? (int64_t)keep_pick((unsigned)event_count + 1) : (int64_t)event_count};
  int code = past ? fold_refresh_at(instance, &head, &error) : fold_refresh(instance, &error);
  note(instance, code, &p->store->env, &got);
  fold_list(w, variant, name, fold_id(instance), head.position, &wanted);
  if (!same(&got, &wanted))
    fail_msg("step %d: the view of %s %s up to %lld is %s at %lld (%s), and folded anew %s at %lld (%s)", step, name,
             fold_id(instance), (long long)head.position, got.text, (long long)got.at, annal_code_name(got.code), wanted.text,
             (long long)wanted.at, annal_code_name(wanted.code));
  if (past) met.past++;
  else met.views++;
  met.failing += got.code != 0;
}

static void check_views(keep_world *w, const keep_program *p, int step) {
  char id[8];
  annal_error error;
  fold_instance *instance;
  for (int i = 0; i < KEEP_PROJECTIONS * 2; i++) {
    const keep_projection *projection = &w->apps[p->variant].projections[i / 2];
    keep_pick_id(projection, id);
    expect_ok(handle_projection(p->store, projection->name, id, keep_pick(8), &instance, &error), &error);
    compare_view(w, p, instance, p->variant, keep_pick(2), step);
    if (keep_pick(2)) compare_view(w, p, instance, p->variant, keep_pick(2), step);
    fold_close(instance);
  }
  for (int i = 0; i < KEEP_HELD; i++) {
    if (!p->held[i].fold) continue;
    compare_view(w, p, p->held[i].fold, p->held[i].variant, keep_pick(3) == 0, step);
    met.held++;
  }
}

/* ---- Rows -------------------------------------------------------------------------------------------------------------- */

/* A row as the query answers it. */
typedef struct found_row {
  bool there, stale, is_parked;
  int64_t position;
  char event_id[65], data[2048], parked[256];
} found_row;

static int note_row(void *context, const store_row *row) {
  found_row *found = context;
  assert_false(found->there);
  *found = (found_row){.there = true, .stale = row->stale, .is_parked = row->parked != NULL, .position = row->position};
  snprintf(found->event_id, sizeof found->event_id, "%s", row->latest_event_id);
  snprintf(found->data, sizeof found->data, "%s", row->data);
  snprintf(found->parked, sizeof found->parked, "%s", row->parked ? row->parked : "");
  return 0;
}

static void fail_row(const char *name, const char *id, const found_row *row, const folded *wanted, int64_t checkpoint, int step) {
  fail_msg("step %d: the row of %s %s is %s at %lld%s%s; the fold up to the checkpoint %lld is %s at %lld (%s)", step, name, id,
           row->there ? row->data : "missing", (long long)row->position, row->is_parked ? ", parked: " : "", row->parked,
           (long long)checkpoint, wanted->text, (long long)wanted->at, annal_code_name(wanted->code));
}

/* Whether its event is still the one that it was made up to. Where it is not, after a restore, nobody continues it. */
static bool is_sound(const found_row *row) {
  return row->position <= (int64_t)event_count && strcmp(events[row->position - 1].id, row->event_id) == 0;
}

/* The row of a set by these scripts that has come to `checkpoint`. One that is ahead of it, as one that was saved, is the fold up to
 * its own event. One that is behind stands still, and its fold fails. */
static void check_row(keep_world *w, int variant, const char *name, const char *id, const found_row *row, int64_t checkpoint,
                      int step) {
  folded wanted, own;
  bool ahead = row->there && row->position > checkpoint;
  if (ahead && !is_sound(row)) return;
  fold_list(w, variant, name, id, ahead ? row->position : checkpoint, &wanted);
  met.rows += row->there;
  met.parked += row->is_parked;
  met.ahead += ahead;
  if (wanted.code && !ahead) {
    /* It is parked, as of some moment before, or it has no row at all. One from before a restore stays until it can be made anew. */
    if (!row->there || (row->is_parked && !is_sound(row))) return;
    fold_list(w, variant, name, id, row->position, &own);
    if (!row->is_parked || own.code || own.at != row->position || strcmp(own.text, row->data) != 0)
      fail_row(name, id, row, &wanted, checkpoint, step);
    return;
  }
  bool right = row->there == (wanted.at > 0) && !wanted.code;
  if (row->there)
    right = right && row->position == wanted.at && strcmp(wanted.text, row->data) == 0 && (ahead || !row->is_parked);
  if (!right) fail_row(name, id, row, &wanted, checkpoint, step);
}

/* Rows that are kept inline where no worker has been: as far as saves by these scripts have come. */
static void check_unserved(keep_world *w, int variant, const char *name, const char *id, const found_row *row, int step) {
  folded wanted;
  if (!row->there || row->stale || !is_sound(row)) return;
  fold_list(w, variant, name, id, row->position, &wanted);
  if (wanted.code || wanted.at != row->position || strcmp(wanted.text, row->data) != 0)
    fail_row(name, id, row, &wanted, row->position, step);
  met.unserved++;
}

static void check_rows(keep_world *w, int variant, const keep_projection *projection, int step) {
  annal_error error;
  store_set set;
  annal_store *judge = w->judges[variant];
  script_app *app = handle_app(judge);
  const char *fingerprint = script_find_projection(app, projection->name)->fingerprint;
  expect_ok(store_set_look(judge->store, projection->name, fingerprint, &set, &error), &error);
  bool own = strcmp(set.kept.served, fingerprint) == 0, unserved = !set.kept.served[0] && projection->kind == KEEP_INLINE;
  script_release(app);
  if (own) met.sets++;
  else met.others++;
  if (!unserved && !(own && set.sound)) return;
  for (unsigned i = 0; i < (projection->instances == BY_NOTHING ? 1 : KEEP_INSTANCES); i++) {
    char id[8] = "";
    found_row row = {0};
    annal_query query = {.size = sizeof query, .type = projection->name};
    if (projection->instances != BY_NOTHING) snprintf(id, sizeof id, "i%u", i);
    expect_ok(handle_query(judge, &query, id, note_row, &row, &error), &error);
    if (!own) check_unserved(w, variant, projection->name, id, &row, step);
    else check_row(w, variant, projection->name, id, &row, set.checkpoint.position, step);
  }
}

/* ---- All of it --------------------------------------------------------------------------------------------------------- */

static void check_all(keep_world *w, int step) {
  int variant = (int)keep_pick(KEEP_VARIANTS);
  read_log(w);
  check_views(w, &w->programs[keep_pick(KEEP_HANDLES)], step);
  for (int i = 0; i < KEEP_PROJECTIONS; i++)
    if (w->apps[variant].projections[i].kind != KEEP_LIVE) check_rows(w, variant, &w->apps[variant].projections[i], step);
}

/* Left alone for a while the rows are those of the log as it is. */
static void settle(keep_world *w) {
  annal_error error;
  keep_program *p = &w->programs[0];
  int steps = 0;
  keep_load(w, 0, p->variant); /* its generation is the wanted one from now on */
  for (bool done = true; done && steps < 1000; steps++) expect_ok(handle_run_once(p->store, 0, &done, &error), &error);
  assert_true(steps < 1000);
  read_log(w);
  for (int i = 0; i < KEEP_PROJECTIONS; i++) {
    store_set set;
    const keep_projection *projection = &w->apps[p->variant].projections[i];
    if (projection->kind == KEEP_LIVE) continue;
    script_app *app = handle_app(p->store);
    const char *fingerprint = script_find_projection(app, projection->name)->fingerprint;
    expect_ok(store_set_look(p->store->store, projection->name, fingerprint, &set, &error), &error);
    assert_string_equal(set.kept.served, fingerprint);
    assert_int_equal(set.checkpoint.position, event_count);
    assert_true(set.sound);
    script_release(app);
    check_rows(w, p->variant, projection, -1);
  }
}

static void try_once(bool on_postgres, uint64_t seed) {
  keep_world w;
  keep_seed(seed);
  fprintf(stderr, "ANNAL_TEST_SEED=%llu\n", (unsigned long long)seed); /* stands last when it fails */
  keep_world_init(&w, on_postgres);
  for (int step = 0; step < STEPS; step++) {
    bool drastic = keep_happen(&w);
    if (drastic || keep_pick(3) == 0) check_all(&w, step);
  }
  settle(&w);
  forget_log();
  const unsigned *from = (const unsigned *)&w.counts;
  unsigned *to = (unsigned *)&met.happened;
  for (size_t i = 0; i < sizeof w.counts / sizeof *to; i++) to[i] += from[i];
  keep_world_end(&w);
}

static void try_many(bool on_postgres, int trials) {
  const char *seed = getenv("ANNAL_TEST_SEED"), *given = getenv("ANNAL_TEST_TRIALS");
  memset(&met, 0, sizeof met);
  if (given) trials = atoi(given);
  if (seed) try_once(on_postgres, strtoull(seed, NULL, 10));
  for (int trial = 0; !seed && trial < trials; trial++) try_once(on_postgres, (uint64_t)trial * 7919 + 1);
  const unsigned *counts = (const unsigned *)&met;
  for (size_t i = 0; i < sizeof met / sizeof *counts; i++) {
    fprintf(stderr, "%u ", counts[i]);
    if (!seed && trials > 3 && counts[i] == 0) fail_msg("count %zu: something was never met", i);
  }
  fprintf(stderr, "\n");
}

static void rows_are_the_fold_whatever_happens(void **unused) {
  (void)unused;
  try_many(false, TRIALS);
}

static void rows_are_the_fold_whatever_happens_on_a_server(void **unused) {
  (void)unused;
  if (!getenv("ANNAL_TEST_PG")) {
    print_message("SKIPPED: this was NOT tested on PostgreSQL: ANNAL_TEST_PG names no server\n");
    return;
  }
  try_many(true, SERVER_TRIALS);
}

int main(int count, char **arguments) {
  if (count == 7 && strcmp(arguments[1], "crash") == 0) return keep_crash(arguments + 2);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_the_fold_whatever_happens),
      cmocka_unit_test(rows_are_the_fold_whatever_happens_on_a_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
