/* Calling a command. Role: from a request to stored events, on every face; see handle.h.
 *
 * One try: what the command uses is folded to one head, decided on, and saved under the condition that none of its streams has
 * moved since. A save that is overtaken is tried again, with what is new. `decide` sees nothing of that.
 *
 * With a request's id, one question to the store answers both what the head is and whether the request is stored. That it is one
 * moment matters: were the request stored between the two, its own events would be in what is decided on, and a repetition could
 * be rejected because it had been accepted. After that moment the ids of the events tell: they come before the condition. */
#include "api/reader.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"
#include "fold/boundary.h"
#include "script/near.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { EVENTS_A_LOOK = 64 }; /* of a stored request: mostly it has few, and what comes after them is not wanted */

typedef struct call {
  annal_store *handle;
  const handle_request *request;
  script_app *app; /* retained */
  const script_command *command;
  char seed[LIMIT_REQUEST_ID_BYTES + 1]; /* the request's id, or a fresh one */
  char now[28];
  base_buf metadata; /* canonical; empty: none */
  base_buf args, ids;
  base_buf *views; /* by use */
  bool is_open;    /* the arguments were checked, and what is used is in the boundary */
  fold_boundary boundary;
  uint64_t lanes; /* those that what is used is in, and … */
  uint64_t taken; /* … in which it is this call's turn */
  handle_batch *stored;
} call;

/* ---- What is asked ------------------------------------------------------------------------------------------------------- */

static int find_command(call *c, annal_error *error) {
  char shown[96];
  const char *name = c->request->command;
  if (!name || !*name) return error_set(error, ANNAL_MISUSE, NULL, "the name of the command is missing");
  text_show(name, shown);
  if (!c->app)
    return error_set(error, ANNAL_NOT_FOUND, NULL,
                     "there is no command \"%s\": no scripts are loaded; open with an app, or load one", shown);
  c->command = script_find_command(c->app, name);
  if (c->command) return ANNAL_OK;
  size_t count;
  const script_command *commands = script_commands(c->app, &count);
  for (size_t i = 0; i < count; i++)
    if (near_name(name, commands[i].name))
      return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no command \"%s\"; did you mean %s?", shown, commands[i].name);
  return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no command \"%s\" in %s", shown, script_directory(c->app));
}

static int begin(call *c, annal_error *error) {
  const handle_request *request = c->request;
  int code = find_command(c, error);
  annal_time_text(base_now(&c->handle->env), c->now);
  if (!code && request->id) {
    code = text_check(request->id, 1, LIMIT_REQUEST_ID_BYTES, "the request's id", error);
    if (code) error_where_prefix(error, "id");
    else snprintf(c->seed, sizeof c->seed, "%s", request->id);
  } else if (!code) {
    code = ulid_next(&c->handle->ulid, &c->handle->env, c->seed, error);
  }
  if (!code && request->metadata) {
    code = json_canonical(request->metadata, request->metadata_size, JSON_OBJECT | JSON_NO_NUL, &c->metadata, error);
    if (code) error_where_prefix(error, "metadata");
  }
  return code;
}

/* Checks the arguments and opens what the command uses. */
static int open_uses(call *c, annal_error *error) {
  script_state *state;
  size_t count = c->command->use_count;
  c->is_open = true;
  int code = script_acquire(c->app, &state, error);
  if (code) return code;
  code = script_check_arguments(state, c->command, c->request->args, c->request->args_size, &c->args, &c->ids, error);
  script_give_back(state);
  if (code) return code;
  if (count) c->views = base_calloc(&c->handle->env, count, sizeof *c->views);
  if (count && !c->views) return error_memory(error);
  for (size_t i = 0; i < count; i++) buf_init(&c->views[i], &c->handle->env);
  fold_context context = handle_context(c->handle, c->app);
  code = fold_boundary_open(&context, c->command, c->ids.bytes ? c->ids.bytes : "", &c->boundary, error);
  if (!code) c->lanes = turns_of(&c->boundary);
  return code;
}

static void end(call *c) {
  fold_boundary_close(&c->boundary);
  for (size_t i = 0; c->views && i < c->command->use_count; i++) buf_free(&c->views[i]);
  base_free(&c->handle->env, c->views);
  buf_free(&c->metadata);
  buf_free(&c->args);
  buf_free(&c->ids);
  script_release(c->app);
}

/* ---- A request that is stored ---------------------------------------------------------------------------------------------- */

static void event_id(const call *c, size_t number, char id[LIMIT_ID_BYTES + 24]) {
  snprintf(id, LIMIT_ID_BYTES + 24, "%s/%zu", c->request->id, number);
}

/* Counts the events that go on with the request; false: the page ends with another one. */
static bool count_page(const call *c, const store_page *page, size_t *count) {
  char id[LIMIT_ID_BYTES + 24];
  for (size_t i = 0; i < page->count; i++) {
    event_id(c, *count + 1, id);
    if (strcmp(page->events[i].id, id) != 0) return false;
    ++*count;
  }
  return true;
}

/* How many events the request has: they were saved together, so they follow each other. */
static int count_stored(const call *c, int64_t position, size_t *count, annal_error *error) {
  int code = ANNAL_OK;
  *count = 0;
  for (size_t looked = 0; !code && looked == *count; looked += EVENTS_A_LOOK) {
    store_cursor *cursor;
    store_page page = {0};
    annal_selection selection = {.size = sizeof selection, .after = position + (int64_t)looked - 1, .limit = EVENTS_A_LOOK};
    code = store_read(c->handle->store, &selection, &cursor, error);
    if (code) return code;
    while (!(code = store_cursor_next(cursor, &page, error)) && page.count > 0)
      if (!count_page(c, &page, count)) break;
    store_cursor_close(cursor);
  }
  return code;
}

static int take_event(handle_batch *batch, const annal_event *event, annal_error *error) {
  int code = intake_add(&batch->intake, NULL, event, error);
  if (code == ANNAL_INVALID) error->code = code = ANNAL_CORRUPT; /* it was stored as JSON */
  return code;
}

/* The events that an earlier call under this id has stored, the first of them at `position`, as the scripts of this one declare
 * them. */
static int read_stored(call *c, int64_t position, annal_error *error) {
  handle_batch *batch = c->stored;
  handle_reader *reader = NULL;
  const annal_event *event;
  size_t count;
  handle_free_batch(batch);
  int code = count_stored(c, position, &count, error);
  if (code) return code;
  *batch = (handle_batch){.env = &c->handle->env, .was_stored = true};
  code = intake_init(&batch->intake, &c->handle->env, count, error);
  annal_selection selection = {.size = sizeof selection, .after = position - 1, .limit = count};
  if (!code) code = handle_read_by(c->handle, c->app, &selection, &reader, error);
  while (!code && !(code = handle_reader_next(reader, 0, &event, error)) && event) code = take_event(batch, event, error);
  handle_reader_close(reader);
  if (!code) code = intake_finish(&batch->intake, error);
  batch->events = batch->intake.events;
  batch->count = batch->intake.count;
  if (!code && c->request->room) code = handle_reserve_events(c->request->room, batch, error);
  return code;
}

/* ---- One try ------------------------------------------------------------------------------------------------------------- */

/* The head, if it is needed (*with_head), and the position of the request's first event in the same moment; 0: it is not stored. */
static int look(const call *c, store_head_info *head, bool *with_head, int64_t *position, annal_error *error) {
  char first[LIMIT_ID_BYTES + 24];
  *position = 0;
  *with_head = c->request->id || c->boundary.instance_count > 1;
  if (!*with_head) return ANNAL_OK;
  if (!c->request->id) return store_head(c->handle->store, head, error);
  event_id(c, 1, first);
  return store_find(c->handle->store, first, head, position, error);
}

/* Folds what is used to one moment. *position is not 0 when the request is stored: then there is nothing to decide. */
static int read_uses(call *c, int64_t *position, annal_error *error) {
  store_head_info head;
  bool with_head = false, looked = false;
  int code = ANNAL_OK;
  *position = 0;
  if (!c->is_open) {
    if (c->request->id) { /* before its arguments are looked at: what is stored is the answer, whatever they are now */
      code = look(c, &head, &with_head, position, error);
      looked = true;
    }
    if (!code && !*position) code = open_uses(c, error);
    if (code || *position) return code;
  }
  c->taken = turns_take(&c->handle->turns, c->lanes);
  if (c->taken || !looked) code = look(c, &head, &with_head, position, error);
  if (code || *position) return code;
  return fold_boundary_read(&c->boundary, with_head ? &head : NULL, error);
}

static int make_views(call *c, annal_error *error) {
  int code = ANNAL_OK;
  for (size_t i = 0; i < c->command->use_count && !code; i++) {
    buf_clear(&c->views[i]);
    code = fold_boundary_view(&c->boundary, i, &c->views[i], error);
  }
  return code;
}

static int decide(call *c, script_answer *answer, annal_error *error) {
  script_state *state;
  script_question question = {.command = c->command,
                              .args = c->args.bytes,
                              .args_size = c->args.size,
                              .views = c->views,
                              .metadata = c->metadata.bytes,
                              .metadata_size = c->metadata.size,
                              .now = c->now,
                              .seed = c->seed};
  *answer = (script_answer){0};
  int code = script_acquire(c->app, &state, error);
  if (code) return code;
  code = script_decide(state, &question, answer, error);
  script_give_back(state);
  return code;
}

/* request/1, request/2 … */
static int give_ids(const call *c, script_answer *answer, base_buf *ids, annal_error *error) {
  if (!c->request->id) return ANNAL_OK;
  size_t size = 0;
  for (size_t i = 0; i < answer->count; i++) {
    char id[LIMIT_ID_BYTES + 24];
    event_id(c, i + 1, id);
    buf_add(ids, id, strlen(id) + 1);
  }
  if (ids->failed) return error_memory(error);
  for (size_t i = 0; i < answer->count; i++) {
    answer->events[i].id = ids->bytes + size;
    size += strlen(ids->bytes + size) + 1;
  }
  return ANNAL_OK;
}

/* Makes what was decided ready to be stored. What is wrong with an event is said of the command. */
static int prepare(call *c, script_answer *answer, annal_error *error) {
  base_buf ids;
  buf_init(&ids, &c->handle->env);
  int code = give_ids(c, answer, &ids, error);
  if (!code) code = handle_prepare_by(c->handle, c->app, answer->events, answer->count, c->stored, error);
  if (code == ANNAL_INVALID)
    error_set(error, code, error->where, "%s decided on an event that cannot be saved: %s", c->command->name, error->message);
  buf_free(&ids);
  if (!code && c->request->room) code = handle_reserve_events(c->request->room, c->stored, error);
  return code;
}

static int save(call *c, annal_error *error) {
  annal_condition condition;
  bool guarded = fold_boundary_condition(&c->boundary, &condition);
  int code = handle_store(c->handle, c->stored, guarded ? &condition : NULL, error);
  if (!c->request->id) return code;
  /* Another call under this id was quicker, and may have decided otherwise. */
  if (!code && c->stored->was_stored) return read_stored(c, c->stored->events[0].position, error);
  if (code != ANNAL_DUPLICATE) return code;
  char first[LIMIT_ID_BYTES + 24];
  store_head_info head;
  int64_t position;
  annal_error failure;
  event_id(c, 1, first);
  int found = store_find(c->handle->store, first, &head, &position, &failure);
  if (found) *error = failure;
  if (found || position == 0) return found ? found : code;
  return read_stored(c, position, error);
}

static int try_once(call *c, annal_error *error) {
  script_answer answer;
  int64_t position;
  int code = read_uses(c, &position, error);
  if (code) return code;
  if (position) return read_stored(c, position, error);
  code = make_views(c, error);
  if (code) return code;
  code = decide(c, &answer, error);
  if (!code && answer.count > 0) {
    code = prepare(c, &answer, error);
    if (!code) code = save(c, error);
  }
  script_free_answer(&c->handle->env, &answer);
  return code;
}

/* ---- Until it is not overtaken ------------------------------------------------------------------------------------------- */

void handle_wait_a_while(const void *who, unsigned tries) {
  struct {
    int64_t now;
    const void *self;
  } seed = {base_monotonic(), who};
  unsigned char hash[HASH_BYTES];
  uint32_t chance;
  hash_bytes(&seed, sizeof seed, hash);
  memcpy(&chance, hash, sizeof chance);
  uint64_t microseconds = (uint64_t)chance % ((uint64_t)LIMIT_CALL_WAIT_US << (tries - 1));
  struct timespec pause = {.tv_sec = (time_t)(microseconds / 1000000), .tv_nsec = (long)(microseconds % 1000000) * 1000};
  nanosleep(&pause, NULL);
}

static int try_until_done(call *c, annal_error *error) {
  for (unsigned tries = 1;; tries++) {
    int code = try_once(c, error);
    turns_leave(&c->handle->turns, c->taken);
    c->taken = 0;
    if (code != ANNAL_CONFLICT) return code;
    handle_free_batch(c->stored);
    turns_mark(&c->handle->turns, c->lanes);
    if (tries == LIMIT_CALL_TRIES)
      return error_set(error, ANNAL_CONFLICT, error->where, "%s was overtaken in each of %u tries: %s", c->command->name, tries,
                       error->message);
    if (tries > 1) handle_wait_a_while(c, tries - 1); /* by another process, or by a call that did not wait for its turn */
  }
}

int handle_call(annal_store *handle, const handle_request *request, handle_batch *stored, annal_error *error) {
  call c = {.handle = handle, .request = request, .app = handle_app(handle), .stored = stored};
  *stored = (handle_batch){0};
  buf_init(&c.metadata, &handle->env);
  buf_init(&c.args, &handle->env);
  buf_init(&c.ids, &handle->env);
  int code = request->room ? handle_reserve_events(request->room, stored, error) : ANNAL_OK; /* nothing may be decided */
  if (!code) code = begin(&c, error);
  if (!code) code = try_until_done(&c, error);
  if (code && !error->in_doubt) handle_free_batch(stored);
  end(&c);
  return code;
}
