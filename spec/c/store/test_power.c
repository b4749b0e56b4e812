/* Power cuts and disks that fail, on SQLite: a workload of saves is cut at each of its flushes, the files become what a cut may
 * leave, and the store that is opened on them is judged against what was answered. The judge is itself tried on stores that do
 * lose and tear saves. */
#include "fixture.h"
#include "power_vfs.h"

#include "store/sqlite/sqlite.h"

/* ---- The workload ------------------------------------------------------------------------------------------------------ */

#define SAVES 24
#define FURTHER 3    /* saves after the cut */
#define EVENTS 5     /* in a save, at most */
#define LOG_PAGES 20 /* a checkpoint every few saves */

typedef enum answer { UNASKED, STORED, REFUSED, IN_DOUBT } answer;

typedef struct planned {
  store_save save;
  annal_event events[EVENTS];
  char ids[EVENTS][24];
  char *data[EVENTS];
  annal_condition condition;
  char latest[24];
  answer answer;
  int64_t positions[EVENTS]; /* as answered */
  int found[EVENTS];         /* by the judge */
} planned;

static planned plan[SAVES + FURTHER];

static const char *const guard_value[] = {"guard"};
static const annal_field guard_field = {.name = "k", .values = guard_value, .value_count = 1};
static const annal_stream guard_stream = {.data = &guard_field, .data_count = 1};

/* By its number a save is one event, several, guarded, guarded by one who has read nothing, or large. */
static bool is_guarded(int number) { return number % 6 == 2 || number % 6 == 5; }
static bool is_stale(int number) { return number % 6 == 3; }
static size_t count_of(int number) { return number % 6 == 1 ? EVENTS : number % 6 == 5 ? 3 : 1; }
static size_t size_of(int number) { return number % 6 == 4 ? 12000 : 60; }

static void plan_condition(planned *p, int number) {
  if (!is_guarded(number) && !is_stale(number)) return;
  p->condition = (annal_condition){.size = sizeof p->condition, .streams = &guard_stream, .stream_count = 1};
  p->save.condition = &p->condition;
  for (int before = number - 1; before >= 0 && is_guarded(number); before--) {
    if (!is_guarded(before)) continue;
    snprintf(p->latest, sizeof p->latest, "%s", plan[before].ids[plan[before].save.count - 1]);
    p->condition.latest_event_id = p->latest;
    return;
  }
}

static int plan_all(void **state) {
  (void)state;
  for (int number = 0; number < SAVES + FURTHER; number++) {
    planned *p = &plan[number];
    p->save = (store_save){.events = p->events, .count = count_of(number)};
    for (int i = 0; i < (int)p->save.count; i++) {
      char start[80];
      snprintf(p->ids[i], sizeof p->ids[i], "%d/%d", number, i);
      snprintf(start, sizeof start, "{\"k\":\"%s\",\"n\":\"%s\",\"text\":\"", is_guarded(number) ? "guard" : "free", p->ids[i]);
      p->data[i] = long_json(start, size_of(number));
      p->events[i] = event_of(p->ids[i], "PAID", p->data[i]);
    }
    plan_condition(p, number);
  }
  return 0;
}

static int forget_plan(void **state) {
  (void)state;
  for (int number = 0; number < SAVES + FURTHER; number++)
    for (size_t i = 0; i < plan[number].save.count; i++) free(plan[number].data[i]);
  return 0;
}

static void begin_anew(fixture *f) {
  char command[600];
  snprintf(command, sizeof command, "rm -f '%s'*", f->location);
  assert_int_equal(system(command), 0);
  for (int number = 0; number < SAVES + FURTHER; number++) {
    plan[number].answer = UNASKED;
    plan[number].save.was_stored = false;
  }
}

/* Failures that are not in doubt must have stored nothing, whatever their reason. */
static void take_answer(planned *p, int result, const annal_error *error) {
  if (result) {
    p->answer = error->in_doubt ? IN_DOUBT : REFUSED;
    if (error->in_doubt) assert_int_equal(result, ANNAL_UNAVAILABLE);
    return;
  }
  p->answer = STORED;
  for (size_t i = 0; i < p->save.count; i++) p->positions[i] = p->events[i].position;
}

/* Several saves go as one batch, with one flush for all. */
static void save_some(fixture *f, int first, int count) {
  store_entry entries[SAVES] = {0};
  ((sqlite_store *)f->store)->wal_checkpoint = LOG_PAGES;
  for (int i = 0; i < count; i++) entries[i].save = &plan[first + i].save;
  if (count == 1) entries[0].result = store_append(f->store, entries[0].save, &entries[0].error);
  else f->store->backend->append(f->store, entries, (size_t)count);
  for (int i = 0; i < count; i++) take_answer(&plan[first + i], entries[i].result, &entries[i].error);
}

static int batch_at(int number) { return number % 7 == 3 && number + 3 <= SAVES ? 3 : 1; }

static int open_store(fixture *f) {
  f->store = NULL;
  return store_open(&f->env, f->location, &f->options, &f->store, &test_error);
}

/* Opens, saves, and goes on for one save after the power is gone. `configuration` is for the writer; NULL: none. */
static void run_workload(fixture *f, const char *configuration) {
  if (open_store(f)) return;
  if (configuration)
    assert_int_equal(sqlite3_exec(((sqlite_store *)f->store)->writer.db, configuration, NULL, NULL, NULL), SQLITE_OK);
  bool was_off = false;
  for (int number = 0; number < SAVES && !was_off; number += batch_at(number)) {
    was_off = power.off;
    save_some(f, number, batch_at(number));
  }
}

static void close_store(fixture *f) {
  store_close(f->store);
  f->store = NULL;
}

/* ---- The judge --------------------------------------------------------------------------------------------------------- */

typedef struct verdict {
  int stored;   /* events */
  int lost;     /* answered as stored, and not there, or not at the position that was answered */
  int risen;    /* refused, or never asked for, and there */
  int twice;    /* events that come twice */
  int gaps;     /* positions left out or unordered */
  int halves;   /* saves of which a part is stored */
  int changed;  /* events with other content, or of nobody */
  int findings; /* of store_check */
  int refused;  /* what a store must do and this one did not: open, take further saves */
} verdict;

static bool is_clean(const verdict *v) {
  return !(v->lost || v->risen || v->twice || v->gaps || v->halves || v->changed || v->findings || v->refused);
}

static void expect_clean(const verdict *v, const char *when, int number, int left) {
  if (is_clean(v)) return;
  fail_msg("%s, flush %d, left %d: lost %d, risen %d, twice %d, gaps %d, halves %d, changed %d, findings %d, refused %d (%s)",
           when, number, left, v->lost, v->risen, v->twice, v->gaps, v->halves, v->changed, v->findings, v->refused,
           test_error.message);
}

static void judge_event(const annal_event *event, verdict *v) {
  int number = -1, i = -1;
  v->stored++;
  if (event->position != v->stored) v->gaps++;
  bool known = sscanf(event->id, "%d/%d", &number, &i) == 2 && number >= 0 && number < SAVES + FURTHER && i >= 0 &&
               i < (int)plan[number].save.count;
  if (!known || strcmp(event->data, plan[number].data[i]) != 0) v->changed++;
  if (!known) return;
  if (plan[number].found[i]++) v->twice++;
  if (plan[number].answer == STORED && plan[number].positions[i] != event->position) v->lost++;
}

static void judge_save(const planned *p, verdict *v) {
  size_t found = 0;
  for (size_t i = 0; i < p->save.count; i++) found += p->found[i] > 0;
  if (found && found < p->save.count) v->halves++;
  if (p->answer == STORED && found < p->save.count) v->lost++;
  if ((p->answer == REFUSED || p->answer == UNASKED) && found) v->risen++;
}

static void print_finding(void *context, const char *line) {
  (void)context;
  (void)line;
}

static verdict judge(fixture *f) {
  verdict v = {0};
  annal_selection everything = {.size = sizeof everything};
  store_cursor *cursor = NULL;
  store_page page = {0};
  uint64_t findings = 0;
  for (int number = 0; number < SAVES + FURTHER; number++) memset(plan[number].found, 0, sizeof plan[number].found);
  int result = store_read(f->store, &everything, &cursor, &test_error);
  while (!result && !(result = store_cursor_next(cursor, &page, &test_error)) && page.count)
    for (size_t i = 0; i < page.count; i++) judge_event(&page.events[i], &v);
  store_cursor_close(cursor);
  for (int number = 0; number < SAVES + FURTHER; number++) judge_save(&plan[number], &v);
  if (!result) result = store_check(f->store, print_finding, NULL, &findings, &test_error);
  v.findings = (int)findings;
  if (result) v.refused++;
  return v;
}

/* Saves go on: those in doubt are asked for again under their ids, then new ones come. All must be there, each once. */
static void save_further(fixture *f, verdict *v) {
  for (int number = 0; number < SAVES + FURTHER; number++) {
    if (number < SAVES && plan[number].answer != IN_DOUBT) continue;
    plan[number].save.condition = number < SAVES ? plan[number].save.condition : NULL;
    save_some(f, number, 1);
    if (plan[number].answer != (number < SAVES && is_stale(number) ? REFUSED : STORED)) v->refused++;
  }
}

/* Opens what the cut left, judges, saves further, judges again. */
static verdict judge_left(fixture *f) {
  verdict v = {.refused = 1};
  if (open_store(f)) return v;
  v = judge(f);
  if (is_clean(&v)) {
    save_further(f, &v);
    close_store(f);
    if (!v.refused) v = open_store(f) ? (verdict){.refused = 1} : judge(f);
  }
  if (f->store) close_store(f);
  return v;
}

static int setup(void **state) {
  power_end(); /* of a test that failed */
  int result = fixture_setup(state);
  if (!result) close_store(*state);
  return result;
}

/* ---- Cuts -------------------------------------------------------------------------------------------------------------- */

static answer answers[SAVES + FURTHER];

static void keep_answers(void) {
  for (int number = 0; number < SAVES + FURTHER; number++) answers[number] = plan[number].answer;
}

/* Each outcome of a cut is judged from the same answers. */
static void restore(power_left left, uint64_t seed) {
  for (int number = 0; number < SAVES + FURTHER; number++) plan[number].answer = answers[number];
  power_restore(left, seed);
}

static int count_syncs(fixture *f, int *opening) {
  begin_anew(f);
  power_start(0, 0);
  assert_ok(open_store(f));
  *opening = power.syncs;
  close_store(f);
  begin_anew(f);
  power_start(0, 0);
  run_workload(f, NULL);
  close_store(f);
  int syncs = power.syncs;
  power_end();
  return syncs;
}

#define SEEDS 3

static void a_cut_at_any_flush_loses_nothing_that_was_answered(void **state) {
  fixture *f = *state;
  int opening, acknowledged = 0, doubted = 0, doubted_stored = 0, syncs = count_syncs(f, &opening);
  assert_true(opening >= 2);
  for (int cut = 1; cut <= syncs + 1; cut++) { /* the last: after everything */
    begin_anew(f);
    power_start(cut, 0);
    run_workload(f, NULL);
    assert_int_equal(power.off, cut <= syncs);
    if (!power.off) power_cut();
    close_store(f);
    keep_answers();
    for (int number = 0; number < SAVES; number++) {
      acknowledged += plan[number].answer == STORED;
      doubted += plan[number].answer == IN_DOUBT;
    }
    for (int left = 0; left < LEFT_COUNT + SEEDS - 1; left++) {
      restore(left < LEFT_COUNT ? (power_left)left : LEFT_SOME, (uint64_t)cut * 100 + (uint64_t)left);
      verdict v = judge_left(f);
      expect_clean(&v, "cut", cut, left);
      for (int number = 0; number < SAVES; number++)
        doubted_stored += answers[number] == IN_DOUBT && plan[number].save.was_stored;
    }
    power_end();
  }
  /* It was about something: flushes of checkpoints too, saves answered, and both ends of a doubt. */
  assert_true(syncs > opening + 20);
  assert_true(acknowledged > syncs);
  assert_true(doubted > SAVES / 2);
  assert_true(doubted_stored > 0 && doubted_stored < doubted * (LEFT_COUNT + SEEDS - 1));
}

/* ---- Flushes that fail ------------------------------------------------------------------------------------------------- */

/* Saves, and asks again for what is in doubt: at once, or (where no later save builds on it) after all the others, which then
 * write over what the failed one has left in the log. Answers how many saves were in doubt. */
static int save_insisting(fixture *f, bool late) {
  int doubts = 0;
  for (int number = 0; number < SAVES; number += batch_at(number)) {
    save_some(f, number, batch_at(number));
    for (int i = number; i < number + batch_at(number); i++) {
      if (plan[i].answer != IN_DOUBT) continue;
      doubts++;
      if (!late || is_guarded(i)) save_some(f, i, 1);
    }
  }
  for (int number = 0; number < SAVES; number++)
    if (plan[number].answer == IN_DOUBT) save_some(f, number, 1);
  for (int number = 0; number < SAVES; number++) assert_int_equal(plan[number].answer, is_stale(number) ? REFUSED : STORED);
  return doubts;
}

/* The log, or the database in a checkpoint, or the files while they are made: one flush fails, and what it was to write is
 * forgotten, in part or all of it. Later the power goes. */
static int fail_a_flush(fixture *f, int failing, bool late) {
  begin_anew(f);
  power_start(0, failing);
  power.fail_some = late;
  if (open_store(f)) {
    assert_int_equal(test_error.code, ANNAL_UNAVAILABLE);
    assert_ok(open_store(f));
  }
  int doubts = save_insisting(f, late);
  verdict v = judge(f);
  expect_clean(&v, "a failure", failing, -1);
  power_cut();
  close_store(f);
  keep_answers();
  for (int left = 0; left < LEFT_COUNT; left++) {
    restore((power_left)left, (uint64_t)failing);
    v = judge_left(f);
    expect_clean(&v, "a failure and a cut", failing, left);
  }
  power_end();
  return doubts;
}

static void a_flush_that_fails_leaves_a_doubt_that_the_same_ids_settle(void **state) {
  fixture *f = *state;
  int opening, doubts = 0, syncs = count_syncs(f, &opening);
  for (int failing = 1; failing <= syncs; failing++) {
    doubts += fail_a_flush(f, failing, false);
    doubts += fail_a_flush(f, failing, true);
  }
  assert_true(doubts >= SAVES);
}

/* ---- The judge is tried ------------------------------------------------------------------------------------------------ */

/* Without a flush at COMMIT the answers are false, unless a checkpoint happens to come before the cut. Events answered as stored
 * are lost in most cuts, and in none is anything else amiss. */
static void the_judge_sees_what_a_writer_without_flushes_loses(void **state) {
  fixture *f = *state;
  static const char *const careless[] = {"PRAGMA synchronous = OFF", "PRAGMA synchronous = NORMAL"};
  for (int i = 0; i < 2; i++) {
    int cuts = 0, losses = 0;
    bool was_cut = true;
    for (int cut = 1; was_cut; cut++, cuts++) {
      begin_anew(f);
      power_start(cut, 0);
      run_workload(f, careless[i]);
      was_cut = power.off;
      power_cut();
      close_store(f);
      power_restore(LEFT_SYNCED, 0);
      verdict v = judge_left(f);
      losses += v.lost > 0;
      v.lost = 0;
      expect_clean(&v, careless[i], cut, LEFT_SYNCED);
      power_end();
    }
    assert_true(cuts > 5);
    assert_true(losses >= 3);
  }
}

static void the_judge_sees_what_is_missing_torn_and_in_the_wrong_place(void **state) {
  fixture *f = *state;
  static const char *const damages[] = {
      "DELETE FROM events WHERE id = '7/2'", "DELETE FROM events WHERE position = (SELECT max(position) FROM events)",
      "UPDATE events SET data = '{}' WHERE id = '7/2'", "UPDATE events SET id = '3/0' WHERE id = '6/0'", NULL};
  verdict seen[4];
  for (int i = 0; damages[i]; i++) {
    begin_anew(f);
    run_workload(f, NULL);
    close_store(f);
    fixture_sql(f, damages[i], NULL);
    seen[i] = judge_left(f);
  }
  assert_true(seen[0].lost > 0 && seen[0].gaps > 0 && seen[0].halves == 1 && seen[0].findings > 0);
  assert_true(seen[1].lost > 0 && seen[1].gaps == 0);
  assert_true(seen[2].changed == 1 && seen[2].lost == 0);
  assert_true(seen[3].risen == 1 && seen[3].lost > 0);
}

int main(void) {
  const struct CMUnitTest power_tests[] = {
      cmocka_unit_test_setup_teardown(a_cut_at_any_flush_loses_nothing_that_was_answered, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flush_that_fails_leaves_a_doubt_that_the_same_ids_settle, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_judge_sees_what_a_writer_without_flushes_loses, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_judge_sees_what_is_missing_torn_and_in_the_wrong_place, setup, fixture_teardown),
  };
  fixture_runs_on = ON_FILE;
  power_install();
  return cmocka_run_group_tests_name("power", power_tests, plan_all, forget_plan);
}
