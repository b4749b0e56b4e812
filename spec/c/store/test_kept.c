/* Sets of rows that are kept current (store/kept.h): what is wanted and served, pieces of which one of two wins, sets put back to the
 * beginning, put in each other's place, and removed. */
#include "fixture.h"

#include <pthread.h>
#include <unistd.h>

static store_row row_at(const char *id, const char *data, int64_t position, const char *event) {
  return (store_row){.id = id,
                     .state = data,
                     .state_size = strlen(data),
                     .data = data,
                     .data_size = strlen(data),
                     .position = position,
                     .latest_event_id = event};
}

static void fill_events(fixture *f, int count) {
  char id[16];
  for (int i = 1; i <= count; i++) {
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, "A", "{\"k\":\"x\"}");
  }
}

static char found[4096];

static int note_row(void *context, const store_row *row) {
  (void)context;
  size_t used = strlen(found);
  snprintf(found + used, sizeof found - used, "%s%s=%s@%lld", used ? " " : "", row->id, row->data, (long long)row->position);
  return 0;
}

/* "id=data@position …" of the set's rows. */
static const char *rows_of(fixture *f, const char *set) {
  store_query query = {.type = "CART", .fingerprint = set, .kept_set = true};
  found[0] = 0;
  assert_ok(store_query_rows(f->store, &query, note_row, NULL, &test_error));
  return found;
}

static void note_parked(void *context, const store_parked *parked) {
  (void)context;
  size_t used = strlen(found);
  snprintf(found + used, sizeof found - used, "%s%s@%s:%s", used ? " " : "", parked->id, parked->event_id, parked->error);
}

static const char *parked_of(fixture *f, const char *set) {
  found[0] = 0;
  assert_ok(store_parked_of(f->store, "CART", set, NULL, 100, note_parked, NULL, &test_error));
  return found;
}

static store_set look(fixture *f, const char *set) {
  store_set is;
  assert_ok(store_set_look(f->store, "CART", set, &is, &test_error));
  return is;
}

static store_kept kept_of(fixture *f) {
  store_kept kept;
  assert_ok(store_kept_read(f->store, "CART", &kept, &test_error));
  return kept;
}

static void want(fixture *f, const char *set) { assert_ok(store_kept_want(f->store, "CART", set, &test_error)); }

static store_piece *begin(fixture *f, const char *set) {
  store_piece *piece;
  store_set is;
  assert_ok(store_piece_begin(f->store, "CART", set, &piece, &is, &test_error));
  return piece;
}

static store_advance advance_to(int64_t position) {
  store_advance advance = {.place = {.position = position}};
  snprintf(advance.place.id, sizeof advance.place.id, "e%lld", (long long)position);
  return advance;
}

static store_advanced commit(store_piece *piece, const store_advance *advance) {
  store_advanced done;
  assert_ok(store_piece_commit(piece, advance, &done, &test_error));
  store_piece_end(piece);
  return done;
}

/* One piece with some rows, up to a position. */
static store_advanced do_piece(fixture *f, const char *set, int64_t position, const store_row *rows, size_t count, bool serve) {
  store_piece *piece = begin(f, set);
  store_advance advance = advance_to(position);
  assert_non_null(piece);
  advance.rows = rows;
  advance.row_count = count;
  advance.serve = serve;
  return commit(piece, &advance);
}

/* ---- Wanted and served ------------------------------------------------------------------------------------------------- */

static void what_is_wanted_rises_in_number_and_is_said_once(void **state) {
  fixture *f = *state;
  store_kept kept = kept_of(f);
  assert_int_equal(kept.number, 0);
  want(f, "f1");
  want(f, "f1");
  kept = kept_of(f);
  assert_int_equal(kept.number, 1);
  assert_string_equal(kept.wanted, "f1");
  assert_string_equal(kept.served, "");
  want(f, "f2");
  assert_int_equal(kept_of(f).number, 2);
  want(f, "f1");
  kept = kept_of(f);
  assert_int_equal(kept.number, 3);
  assert_string_equal(kept.wanted, "f1");
  store_set set = look(f, "f2");
  assert_true(set.exists && set.sound);
  assert_int_equal(set.checkpoint.position, 0);
  assert_int_equal(set.kept.number, 3);
  assert_false(look(f, "f3").exists);
}

static void a_set_is_served_while_it_is_the_wanted_one(void **state) {
  fixture *f = *state;
  fill_events(f, 4);
  want(f, "f1");
  assert_true(do_piece(f, "f1", 2, NULL, 0, true).serves);
  assert_string_equal(kept_of(f).served, "f1");
  store_piece *late = begin(f, "f1"); /* begun before another set was wanted */
  want(f, "f2");
  store_advance advance = advance_to(3);
  advance.serve = true;
  assert_false(commit(late, &advance).serves);
  store_kept kept = kept_of(f);
  assert_string_equal(kept.served, "f1");
  assert_string_equal(kept.wanted, "f2");
  assert_int_equal(look(f, "f1").checkpoint.position, 3);
  assert_false(do_piece(f, "f1", 4, NULL, 0, true).serves);
  assert_true(do_piece(f, "f2", 4, NULL, 0, true).serves);
  assert_string_equal(kept_of(f).served, "f2");
}

/* What the served set knows of the one that takes its place knows too, so that no reader sees less than before. */
static void a_set_that_is_behind_the_served_one_has_to_wait(void **state) {
  fixture *f = *state;
  fill_events(f, 5);
  want(f, "f1");
  assert_true(do_piece(f, "f1", 4, NULL, 0, true).serves);
  want(f, "f2");
  store_row row = row_at("a", "1", 3, "e3");
  assert_false(do_piece(f, "f2", 3, &row, 1, true).serves);
  assert_string_equal(kept_of(f).served, "f1");
  assert_int_equal(look(f, "f2").checkpoint.position, 3); /* the rest of the piece counts */
  assert_string_equal(rows_of(f, "f2"), "a=1@3");
  assert_true(do_piece(f, "f2", 4, NULL, 0, true).serves);
  assert_string_equal(kept_of(f).served, "f2");
}

/* Its position says nothing then: it may be one that this log does not come to for years. */
static void a_served_set_of_another_log_is_not_waited_for(void **state) {
  fixture *f = *state;
  fill_events(f, 5);
  want(f, "f1");
  store_piece *piece = begin(f, "f1");
  store_advance advance = {.place = {.position = 4, .id = "another"}, .serve = true};
  assert_true(commit(piece, &advance).serves);
  want(f, "f2");
  assert_true(do_piece(f, "f2", 3, NULL, 0, true).serves);
}

typedef struct late_serve {
  fixture *f;
  store_piece *piece;
  store_advanced done;
  int code;
} late_serve;

static void *serve_at_four(void *context) {
  late_serve *late = context;
  store_advance advance = advance_to(4);
  annal_error error;
  advance.serve = true;
  late->code = store_piece_commit(late->piece, &advance, &late->done, &error);
  return NULL;
}

/* A piece of the served set is under way: what it will know counts. On SQLite pieces hold nothing, and it is the commits that come one
 * after the other. */
static void the_switch_waits_for_a_piece_of_the_served_set(void **state) {
  fixture *f = *state;
  pthread_t thread;
  if (fixture_runs_on != ON_POSTGRES) return;
  fill_events(f, 4);
  want(f, "f1");
  assert_true(do_piece(f, "f1", 4, NULL, 0, true).serves);
  want(f, "f2");
  store_piece *served = begin(f, "f1");
  late_serve late = {.f = f, .piece = begin(f, "f2")};
  assert_int_equal(pthread_create(&thread, NULL, serve_at_four, &late), 0);
  usleep(100000); /* it waits by now, most likely */
  save_one(f, "e5", "A", "{\"k\":\"x\"}");
  store_advance advance = advance_to(5);
  commit(served, &advance);
  pthread_join(thread, NULL);
  assert_int_equal(late.code, ANNAL_OK);
  store_piece_end(late.piece);
  assert_false(late.done.serves);
  assert_string_equal(kept_of(f).served, "f1");
  assert_true(do_piece(f, "f2", 5, NULL, 0, true).serves);
}

static void a_value_that_annal_did_not_write_is_corrupt(void **state) {
  fixture *f = *state;
  store_kept kept;
  if (fixture_runs_on == IN_MEMORY) return;
  fixture_sql(f, "INSERT INTO annal_meta VALUES ('kept:CART', 'yes f1')", NULL);
  assert_fails(store_kept_read(f->store, "CART", &kept, &test_error), ANNAL_CORRUPT, "yes f1");
  assert_fails(store_kept_want(f->store, "CART", "f1", &test_error), ANNAL_CORRUPT, "yes f1");
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------------ */

static void rows_and_checkpoint_come_together(void **state) {
  fixture *f = *state;
  fill_events(f, 5);
  want(f, "f1");
  store_row rows[] = {row_at("a", "1", 1, "e1"), row_at("b", "2", 2, "e2")};
  store_piece *piece = begin(f, "f1");
  bool overtaken;
  store_advance advance = advance_to(3);
  advance.rows = rows;
  advance.row_count = 2;
  store_piece_end(piece); /* given up: nothing has happened */
  assert_string_equal(rows_of(f, "f1"), "");
  piece = begin(f, "f1");
  assert_false(commit(piece, &advance).overtaken);
  assert_string_equal(rows_of(f, "f1"), "a=1@1 b=2@2");
  store_set set = look(f, "f1");
  assert_int_equal(set.checkpoint.position, 3);
  assert_string_equal(set.checkpoint.id, "e3");
  assert_int_equal(set.head.position, 5);
  assert_string_equal(set.head.id, "e5");
  /* Ahead of the checkpoint, and a row that would go back. */
  store_row more[] = {row_at("a", "3", 4, "e4"), row_at("b", "0", 1, "e1")};
  piece = begin(f, "f1");
  assert_ok(store_piece_put(piece, more, 2, &overtaken, &test_error));
  assert_false(overtaken);
  advance = advance_to(5);
  commit(piece, &advance);
  assert_string_equal(rows_of(f, "f1"), "a=3@4 b=2@2");
}

/* On PostgreSQL the second passes by; on SQLite it learns at its end that it was overtaken. Nothing of it is written on either. */
static void of_two_at_one_set_one_wins(void **state) {
  fixture *f = *state;
  fill_events(f, 5);
  want(f, "f1");
  store_row first = row_at("a", "1", 1, "e1"), second = row_at("a", "2", 2, "e2");
  store_piece *one = begin(f, "f1"), *other = begin(f, "f1");
  store_advance advance = advance_to(1), further = advance_to(2);
  advance.rows = &first;
  further.rows = &second;
  advance.row_count = further.row_count = 1;
  assert_non_null(one);
  if (fixture_runs_on == ON_POSTGRES) assert_null(other);
  assert_false(commit(one, &advance).overtaken);
  if (other) {
    bool overtaken = false;
    assert_ok(store_piece_put(other, &second, 1, &overtaken, &test_error));
    assert_true(overtaken);
    assert_true(commit(other, &further).overtaken);
  }
  assert_string_equal(rows_of(f, "f1"), "a=1@1");
  assert_int_equal(look(f, "f1").checkpoint.position, 1);
  assert_false(do_piece(f, "f1", 2, &second, 1, false).overtaken);
  assert_string_equal(rows_of(f, "f1"), "a=2@2");
}

static void sets_do_not_stand_in_each_others_way(void **state) {
  fixture *f = *state;
  fill_events(f, 2);
  want(f, "f1");
  want(f, "f2");
  store_piece *one = begin(f, "f1"), *other = begin(f, "f2");
  store_advance advance = advance_to(2);
  assert_non_null(one);
  assert_non_null(other);
  assert_false(commit(other, &advance).overtaken);
  assert_false(commit(one, &advance).overtaken);
  assert_null(begin(f, "f3"));
}

static void note_kept(void *context, const store_kept_row *row) {
  (void)context;
  size_t used = strlen(found);
  snprintf(found + used, sizeof found - used, "%s%s=%s@%lld%s%s", used ? " " : "", row->id, row->state ? row->state : "none",
           (long long)row->position, row->sound ? "" : "!", row->parked ? row->parked : "");
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Words of `found`, sorted: the order of instances is nobody's. */
static const char *sorted_found(void) {
  char *words[32], copy[sizeof found];
  size_t count = 0;
  memcpy(copy, found, sizeof copy);
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) words[count++] = word;
  qsort(words, count, sizeof *words, by_text);
  found[0] = 0;
  for (size_t i = 0; i < count; i++) append_text(found, sizeof found, i ? " " : ""), append_text(found, sizeof found, words[i]);
  return found;
}

static void instances_are_read_with_what_is_known_of_them(void **state) {
  fixture *f = *state;
  fill_events(f, 5);
  want(f, "f1");
  store_row rows[] = {row_at("a", "1", 1, "e1"), row_at("b", "2", 2, "gone"), row_at("c", "3", 3, "e3")};
  store_parked parked[] = {{"c", "e4", "broken"}, {"d", "e5", "too"}};
  store_piece *piece = begin(f, "f1");
  store_advance advance = advance_to(5);
  advance.rows = rows;
  advance.row_count = 3;
  advance.parked = parked;
  advance.parked_count = 2;
  commit(piece, &advance);
  assert_string_equal(parked_of(f, "f1"), "c@e4:broken d@e5:too");
  const char *ids[] = {"d", "c", "nobody", "a", "b"};
  found[0] = 0;
  piece = begin(f, "f1");
  assert_ok(store_piece_rows(piece, ids, 5, note_kept, NULL, &test_error));
  assert_string_equal(sorted_found(), "a=1@1 b=2@2! c=3@3broken d=none@0!too");
  bool overtaken;
  assert_ok(store_piece_keep(piece, &overtaken, &test_error));
  assert_false(overtaken);
  const char *resumed[] = {"c", "a"};
  store_parked again = {"d", "e4", "still"};
  advance = advance_to(5);
  advance.resumed = resumed;
  advance.resumed_count = 2;
  advance.parked = &again;
  advance.parked_count = 1;
  commit(piece, &advance);
  assert_string_equal(parked_of(f, "f1"), "d@e4:still");
}

/* ---- Whole sets -------------------------------------------------------------------------------------------------------- */

static void a_set_of_another_log_goes_back_to_the_beginning(void **state) {
  fixture *f = *state;
  fill_events(f, 3);
  want(f, "f1");
  store_row row = row_at("a", "1", 2, "e2");
  do_piece(f, "f1", 2, &row, 1, true);
  store_set set = look(f, "f1");
  assert_true(set.sound);
  if (fixture_runs_on == IN_MEMORY) return;
  fixture_sql(f, "UPDATE events SET id = 'restored' WHERE position = 2", NULL);
  set = look(f, "f1");
  assert_false(set.sound);
  store_head_info other = set.checkpoint;
  other.position = 1;
  bool done = true;
  assert_ok(store_set_reset(f->store, "CART", "f1", &other, &done, &test_error));
  assert_false(done);
  assert_string_equal(rows_of(f, "f1"), "a=1@2");
  assert_ok(store_set_reset(f->store, "CART", "f1", &set.checkpoint, &done, &test_error));
  assert_true(done);
  assert_string_equal(rows_of(f, "f1"), "");
  set = look(f, "f1");
  assert_int_equal(set.checkpoint.position, 0);
  assert_string_equal(set.kept.served, "");
  assert_string_equal(set.kept.wanted, "f1");
  assert_true(set.sound);
}

static void a_set_takes_the_place_of_another(void **state) {
  fixture *f = *state;
  fill_events(f, 6);
  want(f, "f1");
  store_row old[] = {row_at("a", "1", 1, "e1"), row_at("b", "2", 2, "e2"), row_at("gone", "0", 2, "e2")};
  do_piece(f, "f1", 3, old, 3, true);
  assert_ok(store_set_make(f->store, "CART", "f1~x", &test_error));
  store_row new[] = {row_at("a", "10", 1, "e1"), row_at("b", "20", 2, "e2"), row_at("c", "30", 4, "e4")};
  do_piece(f, "f1~x", 4, new, 3, false);
  store_row ahead = row_at("b", "21", 6, "e6");
  ahead.type = "CART";
  ahead.fingerprint = "f1";
  assert_ok(store_put_rows(f->store, &ahead, 1, NULL, &test_error));
  store_head_info place = look(f, "f1~x").checkpoint, elsewhere = place;
  bool done = true;
  elsewhere.position = 3;
  assert_ok(store_set_replace(f->store, "CART", "f1~x", "f1", &elsewhere, &done, &test_error));
  assert_false(done);
  assert_ok(store_set_replace(f->store, "CART", "f1~x", "f1", &place, &done, &test_error));
  assert_true(done);
  assert_string_equal(rows_of(f, "f1"), "a=10@1 b=21@6 c=30@4");
  assert_string_equal(rows_of(f, "f1~x"), "");
  assert_int_equal(look(f, "f1").checkpoint.position, 4);
  assert_int_equal(look(f, "f1~x").checkpoint.position, 0);
  assert_string_equal(kept_of(f).served, "f1");
  /* One that is behind has to catch up first. */
  do_piece(f, "f1~x", 2, NULL, 0, false);
  place = look(f, "f1~x").checkpoint;
  assert_ok(store_set_replace(f->store, "CART", "f1~x", "f1", &place, &done, &test_error));
  assert_false(done);
  assert_string_equal(rows_of(f, "f1"), "a=10@1 b=21@6 c=30@4");
}

#define WEEK (INT64_C(7) * 24 * 3600 * 1000000)

static void sets_that_nobody_uses_are_removed_after_a_while(void **state) {
  fixture *f = *state;
  if (fixture_without_clock) skip(); /* it sets the time */
  fill_events(f, 3);
  static const char *const sets[] = {"f1", "f2", "f3"};
  store_row row = row_at("a", "1", 1, "e1");
  store_parked parked = {"p", "e1", "broken"};
  for (size_t i = 0; i < 3; i++) {
    want(f, sets[i]);
    store_piece *piece = begin(f, sets[i]);
    store_advance advance = advance_to(1);
    advance.rows = &row;
    advance.row_count = 1;
    advance.parked = &parked;
    advance.parked_count = 1;
    advance.serve = i < 2;
    commit(piece, &advance);
  }
  /* f1 is unused, f2 served, f3 wanted. */
  f->now += WEEK;
  assert_ok(store_set_clean(f->store, "CART", true, f->now - WEEK - 1, &test_error));
  assert_string_equal(rows_of(f, "f1"), "a=1@1");
  f->now += 2;
  assert_ok(store_set_clean(f->store, "CART", true, f->now - WEEK, &test_error));
  assert_string_equal(rows_of(f, "f1"), "");
  assert_string_equal(parked_of(f, "f1"), "");
  assert_int_equal(look(f, "f1").checkpoint.position, 0);
  assert_string_equal(rows_of(f, "f2"), "a=1@1");
  assert_string_equal(rows_of(f, "f3"), "a=1@1");
  assert_string_equal(parked_of(f, "f3"), "p@e1:broken");
  /* A type that is not kept has rows of many fingerprints; only what a rebuild left goes. */
  assert_ok(store_set_make(f->store, "CART", "f3~x", &test_error));
  do_piece(f, "f3~x", 2, &row, 1, false);
  f->now += WEEK + 1;
  assert_ok(store_set_clean(f->store, "CART", false, f->now - WEEK, &test_error));
  assert_string_equal(rows_of(f, "f3~x"), "");
  assert_string_equal(rows_of(f, "f3"), "a=1@1");
}

static void the_switch_gives_the_old_set_a_while_more(void **state) {
  fixture *f = *state;
  fill_events(f, 3);
  store_row row = row_at("a", "1", 1, "e1");
  want(f, "f1");
  do_piece(f, "f1", 1, &row, 1, true);
  f->now += 2 * WEEK; /* nothing has happened for long */
  want(f, "f2");
  do_piece(f, "f2", 1, &row, 1, true);
  assert_ok(store_set_clean(f->store, "CART", true, f->now - WEEK, &test_error));
  assert_string_equal(rows_of(f, "f1"), "a=1@1");
}

static void note_set(void *context, const store_set_figures *set) {
  (void)context;
  size_t used = strlen(found);
  snprintf(found + used, sizeof found - used, "%s%s/%s:%lld@%lld+%lld%s%s%s", used ? " " : "", set->type, set->set,
           (long long)set->rows, (long long)set->position, (long long)set->parked_count, set->next_at ? "<" : "",
           set->served ? "s" : "", set->wanted ? "w" : "");
}

static void all_sets_are_listed_with_their_figures(void **state) {
  fixture *f = *state;
  fill_events(f, 3);
  store_row rows[] = {row_at("a", "1", 1, "e1"), row_at("b", "1", 1, "e1")};
  want(f, "f1");
  do_piece(f, "f1", 3, rows, 2, true);
  want(f, "f2");
  do_piece(f, "f2", 1, rows, 1, false);
  store_row live = rows[0], hand = rows[0];
  live.type = "LIVE";
  live.fingerprint = "g";
  hand.type = "HAND";
  hand.fingerprint = "";
  hand.state = NULL;
  assert_ok(store_put_rows(f->store, &live, 1, NULL, &test_error));
  assert_ok(store_put_rows(f->store, &hand, 1, NULL, &test_error));
  found[0] = 0;
  assert_ok(store_sets(f->store, note_set, NULL, &test_error));
  assert_string_equal(found, "CART/f1:2@3+0s CART/f2:1@1+0<w LIVE/g:1@0+0");
}

static void a_read_only_store_is_not_kept(void **state) {
  fixture *f = *state;
  store_piece *piece;
  store_set set;
  if (fixture_runs_on == IN_MEMORY) return;
  want(f, "f1");
  f->options.read_only = true;
  fixture_reopen(f);
  assert_int_equal(look(f, "f1").kept.number, 1);
  assert_fails(store_kept_want(f->store, "CART", "f2", &test_error), ANNAL_MISUSE, "read-only");
  assert_fails(store_piece_begin(f->store, "CART", "f1", &piece, &set, &test_error), ANNAL_MISUSE, "read-only");
  assert_null(piece);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_wanted_rises_in_number_and_is_said_once, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_set_is_served_while_it_is_the_wanted_one, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_set_that_is_behind_the_served_one_has_to_wait, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_served_set_of_another_log_is_not_waited_for, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_switch_waits_for_a_piece_of_the_served_set, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_value_that_annal_did_not_write_is_corrupt, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(rows_and_checkpoint_come_together, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(of_two_at_one_set_one_wins, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(sets_do_not_stand_in_each_others_way, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(instances_are_read_with_what_is_known_of_them, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_set_of_another_log_goes_back_to_the_beginning, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_set_takes_the_place_of_another, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(sets_that_nobody_uses_are_removed_after_a_while, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_switch_gives_the_old_set_a_while_more, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(all_sets_are_listed_with_their_figures, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_read_only_store_is_not_kept, fixture_setup, fixture_teardown),
  };
  return RUN_ON_ALL(tests);
}
