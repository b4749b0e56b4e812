/* Saves with the rows of projections that are kept inline; see handle.h. Role: the way of every save, between what was checked and the
 * store.
 *
 * One try: the instances are read and folded, and the save is sent with their rows and guards. Where something newer has come, nothing
 * was stored; what is new is read, and it is tried again. A conflict of the caller's own condition, which comes before the guards, is
 * the caller's.
 *
 * A save that was stored before is answered with what is stored, and folds nothing: so where a fold fails it may be that the events are
 * in what they are folded into, and the store is asked with no rows at hand, which can store nothing then. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

/* Events are never taken back: one that is there makes the save a retry, or `duplicate`. */
static bool is_there(annal_store *handle, const store_save *save) {
  store_head_info head;
  int64_t position = 0;
  annal_error ignored;
  return store_find(handle->store, save->events[0].id, &head, &position, &ignored) == ANNAL_OK && position > 0;
}

static int append_bare(annal_store *handle, store_save *save, annal_error *error) {
  save->guards = NULL;
  save->rows = NULL;
  save->guard_count = save->row_count = 0;
  return store_append(handle->store, save, error);
}

static int try_once(annal_store *handle, fold_inline *in, const inline_part *parts, size_t count, bool again, store_save *save,
                    annal_error *error) {
  int code = again ? fold_inline_again(in, error) : ANNAL_OK;
  if (!code) code = fold_inline_add(in, save->events, parts, count, error);
  if (!code) code = fold_inline_prepare(in, error);
  if (code) return is_there(handle, save) ? append_bare(handle, save, error) : code;
  fold_inline_give(in, 0, save);
  return store_append(handle->store, save, error);
}

static int fail_overtaken(unsigned tries, annal_error *error) {
  return error_set(error, ANNAL_CONFLICT, NULL, "what is kept inline was overtaken in each of %u tries: %s", tries,
                   error->message);
}

static int try_until_done(annal_store *handle, fold_inline *in, const inline_part *parts, size_t count, store_save *save,
                          annal_error *error) {
  for (unsigned tries = 1;; tries++) {
    int code = try_once(handle, in, parts, count, tries > 1, save, error);
    if (code != ANNAL_CONFLICT || !save->overtaken) return code;
    if (tries == LIMIT_INLINE_TRIES) return fail_overtaken(tries, error);
    handle_wait_a_while(in, tries < LIMIT_INLINE_WAITS ? tries : LIMIT_INLINE_WAITS);
  }
}

static int append_with_rows(annal_store *handle, fold_inline *in, const inline_part *parts, size_t count, store_save *save,
                            annal_error *error) {
  lane_set set = {0};
  for (size_t i = 0; i < in->count; i++) lanes_add(&set, in->instances[i]->projection->name, in->instances[i]->id);
  int code = lanes_take(&handle->lanes, &set, handle->store, (int64_t)(handle->options.timeout * 1e6), error);
  if (code) return code;
  code = try_until_done(handle, in, parts, count, save, error);
  lanes_give_back(&handle->lanes, &set);
  save->guards = NULL; /* they go with `in` */
  save->rows = NULL;
  save->guard_count = save->row_count = 0;
  return code;
}

int handle_append(annal_store *handle, script_app *app, store_save *save, annal_error *error) {
  if (!app || !fold_inline_any(app) || handle->options.read_only) return store_append(handle->store, save, error);
  fold_inline in;
  fold_context context = handle_context(handle, app);
  inline_part *parts;
  size_t count;
  fold_inline_init(&in, &context);
  int code = fold_inline_find(&in, save->events, save->count, &parts, &count, error);
  if (code) code = is_there(handle, save) ? append_bare(handle, save, error) : code;
  else if (count == 0) code = append_bare(handle, save, error);
  else code = append_with_rows(handle, &in, parts, count, save, error);
  base_free(&handle->env, parts);
  fold_inline_free(&in);
  return code;
}

/* ---- In a transaction ---------------------------------------------------------------------------------------------------- */

void handle_inline_begin(annal_store *handle, handle_inline *kept) {
  *kept = (handle_inline){.handle = handle, .app = handle_app(handle)};
  if (!kept->app || fold_inline_any(kept->app)) return;
  script_release(kept->app);
  kept->app = NULL;
}

void handle_inline_end(handle_inline *kept) {
  fold_inline_free(&kept->in);
  script_release(kept->app);
  *kept = (handle_inline){0};
}

int handle_inline_stage(handle_inline *kept, const store_save *save, annal_error *error) {
  if (!kept->app) return ANNAL_OK;
  fold_context context = handle_context(kept->handle, kept->app);
  inline_part *parts;
  size_t count;
  if (!kept->in.context.env) fold_inline_init(&kept->in, &context);
  int code = fold_inline_find(&kept->in, save->events, save->count, &parts, &count, error);
  /* One that is stored already is in what is read. */
  if (count > 0 && is_there(kept->handle, save)) count = 0;
  if (!code) code = fold_inline_add(&kept->in, save->events, parts, count, error);
  base_free(&kept->handle->env, parts);
  return code;
}

int handle_inline_commit(handle_inline *kept, store_transaction *t, annal_error *error) {
  if (!kept->app || kept->in.saves == 0) return ANNAL_OK;
  int code = fold_inline_prepare(&kept->in, error);
  for (size_t i = 0; i < kept->in.saves && !code; i++) {
    store_save given;
    fold_inline_give(&kept->in, i, &given);
    code = store_transaction_stage_inline(t, i, given.guards, given.guard_count, given.rows, given.row_count, error);
  }
  return code;
}
