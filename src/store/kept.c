/* Sets of rows that are kept current, the half that both backends share; see kept.h. Role: the form of what annal_meta says, checks,
 * and what needs more than one step. */
#include "store/kept.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "store/backend.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What annal_meta says ---------------------------------------------------------------------------------------------- */

void store_kept_key(const char *type, char key[STORE_KEPT_KEY_BYTES]) { snprintf(key, STORE_KEPT_KEY_BYTES, "kept:%s", type); }

void store_kept_text(const store_kept *kept, char text[STORE_KEPT_BYTES]) {
  snprintf(text, STORE_KEPT_BYTES, "%lld %s %s", (long long)kept->number, kept->wanted, kept->served[0] ? kept->served : "-");
}

int store_kept_parse(const char *text, store_kept *kept, annal_error *error) {
  long long number;
  int end = 0;
  *kept = (store_kept){0};
  if (!text) return ANNAL_OK;
  bool whole = sscanf(text, "%lld %63s %63s%n", &number, kept->wanted, kept->served, &end) == 3 && text[end] == 0 && number > 0;
  if (!whole) {
    char shown[96];
    *kept = (store_kept){0};
    return error_set(error, ANNAL_CORRUPT, NULL, "annal_meta says of a kept type \"%s\", which is not what annal writes there",
                     text_show(text, shown));
  }
  kept->number = number;
  if (strcmp(kept->served, "-") == 0) kept->served[0] = 0;
  return ANNAL_OK;
}

bool store_set_is_ahead(const store_set *set, const store_head_info *place) {
  return set->sound && set->checkpoint.position > place->position;
}

static int check(store *s, const char *type, const char *set, annal_error *error) {
  int result = store_check_own(s, error);
  if (!result) result = text_check(type, 1, LIMIT_TYPE_BYTES, "type", error);
  if (!result && set) result = text_check(set, 1, STORE_SET_BYTES - 1, "set", error);
  return result;
}

static int check_writing(store *s, const char *type, const char *set, annal_error *error) {
  int result = check(s, type, set, error);
  if (!result && s->options->read_only) result = error_set(error, ANNAL_MISUSE, NULL, "the store was opened read-only");
  return result;
}

int store_kept_read(store *s, const char *type, store_kept *kept, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], text[STORE_KEPT_BYTES];
  bool there;
  int result = check(s, type, NULL, error);
  if (result) return result;
  store_kept_key(type, key);
  result = s->backend->kept->meta_get(s, key, text, &there, error);
  return result ? result : store_kept_parse(there ? text : NULL, kept, error);
}

/* One attempt; *done: it is the wanted one now. */
static int try_want(store *s, const char *type, const char *set, bool *done, annal_error *error) {
  char key[STORE_KEPT_KEY_BYTES], before[STORE_KEPT_BYTES], after[STORE_KEPT_BYTES];
  bool there;
  store_kept kept;
  store_kept_key(type, key);
  int result = s->backend->kept->meta_get(s, key, before, &there, error);
  if (!result) result = store_kept_parse(there ? before : NULL, &kept, error);
  if (result) return result;
  *done = strcmp(kept.wanted, set) == 0;
  if (*done) return ANNAL_OK;
  kept.number++;
  snprintf(kept.wanted, sizeof kept.wanted, "%s", set);
  store_kept_text(&kept, after);
  return s->backend->kept->meta_swap(s, key, there ? before : NULL, after, done, error);
}

int store_kept_want(store *s, const char *type, const char *set, annal_error *error) {
  int result = store_set_make(s, type, set, error);
  for (bool done = false; !result && !done;) result = try_want(s, type, set, &done, error);
  return result;
}

/* ---- Sets and pieces --------------------------------------------------------------------------------------------------- */

int store_set_make(store *s, const char *type, const char *set, annal_error *error) {
  int result = check_writing(s, type, set, error);
  return result ? result : s->backend->kept->make(s, type, set, error);
}

int store_set_look(store *s, const char *type, const char *set, store_set *found, annal_error *error) {
  *found = (store_set){0};
  int result = check(s, type, set, error);
  return result ? result : s->backend->kept->look(s, type, set, found, error);
}

int store_set_has_rows(store *s, const char *type, const char *set, bool *any, annal_error *error) {
  int result = check(s, type, set, error);
  return result ? result : s->backend->kept->has_rows(s, type, set, any, error);
}

int store_piece_begin(store *s, const char *type, const char *set, store_piece **piece, store_set *found, annal_error *error) {
  *piece = NULL;
  *found = (store_set){0};
  int result = check_writing(s, type, set, error);
  return result ? result : s->backend->kept->begin(s, type, set, piece, found, error);
}

int store_piece_rows(store_piece *piece, const char *const *ids, size_t count, store_each_kept *each, void *context,
                     annal_error *error) {
  return piece->backend->rows(piece, ids, count, each, context, error);
}

int store_piece_keep(store_piece *piece, bool *overtaken, annal_error *error) {
  *overtaken = false;
  return piece->backend->keep(piece, overtaken, error);
}

size_t store_pieces_at_once(const store *s) { return s->backend->kept->at_once(s); }

int store_piece_put(store_piece *piece, const store_row *rows, size_t count, bool *overtaken, annal_error *error) {
  *overtaken = false;
  return piece->backend->put(piece, rows, count, overtaken, error);
}

int store_piece_commit(store_piece *piece, const store_advance *advance, store_advanced *done, annal_error *error) {
  *done = (store_advanced){0};
  return piece->backend->commit(piece, advance, done, error);
}

void store_piece_end(store_piece *piece) {
  if (piece) piece->backend->end(piece);
}

int store_read_known(store *s, const annal_selection *selection, const store_head_info *after, const store_head_info *up_to,
                     store_cursor **cursor, annal_error *error) {
  *cursor = NULL;
  annal_selection bounded = *selection;
  store_reach reach = {.up_to = *up_to, .patient = true};
  if (after->id[0]) reach.seen = *after;
  bounded.after = after->position;
  bounded.before = up_to->position + 1;
  int result = store_check_own(s, error);
  if (!result) result = store_check_streams(selection->streams, selection->stream_count, false, error);
  if (!result) result = s->backend->read(s, &bounded, &reach, cursor, error);
  if (!result) (*cursor)->home = s;
  return result;
}

/* ---- Whole sets -------------------------------------------------------------------------------------------------------- */

int store_set_reset(store *s, const char *type, const char *set, const store_head_info *checkpoint, bool *done,
                    annal_error *error) {
  *done = false;
  int result = check_writing(s, type, set, error);
  return result ? result : s->backend->kept->reset(s, type, set, checkpoint, done, error);
}

int store_set_replace(store *s, const char *type, const char *set, const char *other, const store_head_info *checkpoint,
                      bool *done, annal_error *error) {
  *done = false;
  int result = check_writing(s, type, set, error);
  if (!result) result = check_writing(s, type, other, error);
  return result ? result : s->backend->kept->replace(s, type, set, other, checkpoint, done, error);
}

int store_set_finish(store *s, const char *type, const char *set, annal_error *error) {
  int result = check_writing(s, type, set, error);
  return result ? result : s->backend->kept->finish(s, type, set, error);
}

/* The sets that there are, found before any of them is removed. */
typedef struct old_sets {
  const base_env *env;
  const store_kept *kept;
  bool is_kept;
  int64_t untouched_since;
  char (*names)[STORE_SET_BYTES];
  size_t count;
  bool failed;
} old_sets;

static void note_old(void *context, const char *set, int64_t touched_at) {
  old_sets *old = context;
  bool used =
      old->is_kept ? strcmp(set, old->kept->wanted) == 0 || strcmp(set, old->kept->served) == 0 : !strchr(set, STORE_SET_MARK);
  if (used || touched_at > old->untouched_since || strlen(set) >= STORE_SET_BYTES) return;
  char(*more)[STORE_SET_BYTES] = base_realloc(old->env, old->names, (old->count + 1) * sizeof *more);
  old->failed |= !more;
  if (!more) return;
  old->names = more;
  memccpy(old->names[old->count++], set, 0, STORE_SET_BYTES);
}

/* Step by step, until nothing is left of it or somebody has come to want it. */
static int remove_set(store *s, const char *type, const char *set, const old_sets *old, annal_error *error) {
  char text[STORE_KEPT_BYTES];
  const char *expected = old->kept->number ? text : NULL;
  int64_t newest = 0;
  store_kept_text(old->kept, text);
  int result = s->backend->kept->newest(s, type, set, &newest, error);
  if (result || newest > old->untouched_since) return result;
  base_log(s->env, "info", "%s: removing the rows of %s, which nobody has used for long", type, set);
  for (bool more = true; !result && more;)
    result = s->backend->kept->remove_some(s, type, set, expected, old->untouched_since, &more, error);
  return result;
}

int store_set_clean(store *s, const char *type, bool is_kept, int64_t untouched_since, annal_error *error) {
  store_kept kept;
  old_sets old = {.env = s->env, .kept = &kept, .is_kept = is_kept, .untouched_since = untouched_since};
  int result = check_writing(s, type, NULL, error);
  if (!result) result = store_kept_read(s, type, &kept, error);
  if (!result) result = s->backend->kept->names(s, type, note_old, &old, error);
  if (!result && old.failed) result = error_memory(error);
  for (size_t i = 0; !result && i < old.count; i++) result = remove_set(s, type, old.names[i], &old, error);
  base_free(s->env, old.names);
  return result;
}

/* ---- Looking at them --------------------------------------------------------------------------------------------------- */

/* Sets with their types, gathered before annal_meta is asked what each type serves. */
typedef struct listing {
  const base_env *env;
  store_set_figures *sets;
  size_t count;
  base_buf texts; /* types and names, one behind the other */
  bool failed;
} listing;

static void gather_set(void *context, const store_set_figures *set) {
  listing *l = context;
  store_set_figures *more = base_realloc(l->env, l->sets, (l->count + 1) * sizeof *more);
  l->failed |= !more;
  if (!more) return;
  l->sets = more;
  l->sets[l->count++] = *set;
  buf_add(&l->texts, set->type, strlen(set->type) + 1);
  buf_add(&l->texts, set->set, strlen(set->set) + 1);
}

static int hand_out(store *s, listing *l, store_each_set *each, void *context, annal_error *error) {
  const char *at = l->texts.bytes;
  store_kept kept = {0};
  const char *type = "";
  for (size_t i = 0; i < l->count; i++) {
    store_set_figures *set = &l->sets[i];
    set->type = at;
    set->set = at + strlen(at) + 1;
    at = set->set + strlen(set->set) + 1;
    int result = strcmp(type, set->type) == 0 ? ANNAL_OK : store_kept_read(s, set->type, &kept, error);
    if (result) return result;
    type = set->type;
    set->served = strcmp(set->set, kept.served) == 0;
    set->wanted = strcmp(set->set, kept.wanted) == 0;
    each(context, set);
  }
  return ANNAL_OK;
}

int store_sets(store *s, store_each_set *each, void *context, annal_error *error) {
  listing l = {.env = s->env};
  int result = store_check_own(s, error);
  if (result) return result;
  buf_init(&l.texts, s->env);
  result = s->backend->kept->sets(s, gather_set, &l, error);
  if (!result && (l.failed || l.texts.failed)) result = error_memory(error);
  if (!result) result = hand_out(s, &l, each, context, error);
  base_free(s->env, l.sets);
  buf_free(&l.texts);
  return result;
}

int store_parked_of(store *s, const char *type, const char *set, const char *after, size_t limit, store_each_parked *each,
                    void *context, annal_error *error) {
  int result = check(s, type, set, error);
  return result ? result : s->backend->kept->parked(s, type, set, after, limit, each, context, error);
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------------- */

int store_watch_open(store *s, store_watch **watch, annal_error *error) {
  *watch = NULL;
  int result = store_check_own(s, error);
  return result ? result : s->backend->watch_open(s, watch, error);
}

int store_watch_wait(store *s, store_watch *watch, int64_t deadline, annal_error *error) {
  int result = store_check_own(s, error);
  return result ? result : s->backend->watch_wait(watch, deadline, error);
}

void store_watch_close(store *s, store_watch *watch) {
  if (watch && store_is_own(s)) s->backend->watch_close(watch);
}
