/* Reads and followers, their events upgraded; see reader.h. */
#include "api/reader.h"

#include "base/error.h"

struct handle_reader {
  annal_store *handle;
  store_cursor *cursor; /* or: */
  store_follower *follower;
  script_app *app; /* by which the page is shown; NULL: as it is stored */
  store_page page;
  size_t at;   /* events of the page that were handed out */
  bool is_due; /* a follower is to look which generation is in force */
  annal_event event;
  base_buf data; /* of `event` */
};

/* NULL with the error. It takes a reference of its own to the generation. */
static handle_reader *new_reader(annal_store *handle, script_app *app, annal_error *error) {
  handle_reader *reader = base_calloc(&handle->env, 1, sizeof *reader);
  if (!reader) {
    error_memory(error);
    return NULL;
  }
  reader->handle = handle;
  reader->app = app ? script_retain(app) : NULL;
  buf_init(&reader->data, &handle->env);
  return reader;
}

/* correlation_id NULL: all of what is selected. */
static int open_read(annal_store *handle, script_app *app, const annal_selection *selection, const char *correlation_id,
                     handle_reader **reader, annal_error *error) {
  *reader = NULL;
  handle_reader *made = new_reader(handle, app, error);
  if (!made) return error->code;
  int code = correlation_id ? store_read_correlated(handle->store, selection, correlation_id, &made->cursor, error)
                            : store_read(handle->store, selection, &made->cursor, error);
  if (code) made->cursor = NULL;
  if (code) handle_reader_close(made);
  else *reader = made;
  return code;
}

int handle_read_by(annal_store *handle, script_app *app, const annal_selection *selection, handle_reader **reader,
                   annal_error *error) {
  return open_read(handle, app, selection, NULL, reader, error);
}

int handle_read_correlated(annal_store *handle, const annal_selection *selection, const char *correlation_id,
                           handle_reader **reader, annal_error *error) {
  script_app *app = handle_app(handle);
  int code = open_read(handle, app, selection, correlation_id, reader, error);
  script_release(app);
  return code;
}

int handle_read(annal_store *handle, const annal_selection *selection, handle_reader **reader, annal_error *error) {
  script_app *app = handle_app(handle);
  int code = handle_read_by(handle, app, selection, reader, error);
  script_release(app);
  return code;
}

int handle_follow(annal_store *handle, const annal_selection *selection, handle_reader **reader, annal_error *error) {
  *reader = NULL;
  handle_reader *made = new_reader(handle, NULL, error); /* the first page takes the generation in force */
  if (!made) return error->code;
  int code = store_follow(handle->store, selection, &made->follower, error);
  if (code) made->follower = NULL;
  if (code) handle_reader_close(made);
  else *reader = made;
  return code;
}

void handle_reader_close(handle_reader *reader) {
  if (!reader) return;
  store_cursor_close(reader->cursor);
  store_follower_close(reader->follower);
  script_release(reader->app);
  buf_free(&reader->data);
  base_free(&reader->handle->env, reader);
}

/* ---- The next event ----------------------------------------------------------------------------------------------------- */

/* Far enough away to be for ever, near enough that sums do not overflow. */
#define FOR_EVER (INT64_MAX / 4)

static int next_page(handle_reader *reader, double idle_seconds, annal_error *error) {
  reader->at = 0;
  reader->page = (store_page){0};
  if (reader->cursor) return store_cursor_next(reader->cursor, &reader->page, error);
  int64_t deadline = idle_seconds >= 0 && idle_seconds < 1e9 ? base_monotonic() + (int64_t)(idle_seconds * 1e6) : FOR_EVER;
  return store_follower_next(reader->follower, deadline, &reader->page, error);
}

static void renew_app(handle_reader *reader) {
  script_app *old = reader->app;
  reader->app = handle_app(reader->handle);
  script_release(old);
}

/* The event at hand as the scripts declare it. */
static int upgrade(handle_reader *reader, const annal_event **event, annal_error *error) {
  bool older = false;
  script_state *state;
  int code = script_look_at_version(reader->app, *event, &older, error);
  if (code || !older) return code;
  code = script_acquire(reader->app, &state, error);
  if (code) return code;
  buf_clear(&reader->data);
  code = script_upcast(state, *event, &reader->data, &reader->event, error);
  script_give_back(state);
  if (!code) *event = &reader->event;
  return code;
}

int handle_reader_next(handle_reader *reader, double idle_seconds, const annal_event **event, annal_error *error) {
  *event = NULL;
  if (reader->at == reader->page.count) {
    int code = next_page(reader, idle_seconds, error);
    if (code || reader->page.count == 0) return code;
    reader->is_due = true;
  }
  if (reader->follower && reader->is_due) renew_app(reader);
  const annal_event *next = &reader->page.events[reader->at];
  int code = reader->app ? upgrade(reader, &next, error) : ANNAL_OK;
  reader->is_due = code != 0; /* before it is tried again the scripts may have been mended */
  if (code) return code;
  reader->at++;
  *event = next;
  return ANNAL_OK;
}
