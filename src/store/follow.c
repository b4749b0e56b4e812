/* Following: pages of a bounded read, a look at the head, a wait; again. Role: store_follow on top of any backend.
 *
 * A page is handed out only after a look that came later than it and still found the last event read before it: so what a
 * follower is given continues what it was given, also where another server has taken over in between. Each look and each page may
 * come from another server, and that may lag: a page counts only where its snapshot contains the last event read and the head up to
 * which it is read, and the follower's place moves on no further than that. A server that does not have the last event read yet is
 * waited for; one that has another event at its place has another history. */
#include "store/store.h"

#include "base/error.h"
#include "base/text.h"
#include "store/backend.h"
#include <string.h>
#include <time.h>

struct store_follower {
  store *s;
  store_watch *watch; /* opened at the first wait: who never waits needs none */
  annal_selection selection;
  annal_stream *streams;
  store_head_info place; /* the last event read */
  store_head_info up_to; /* the head as it was when the read in progress began */
  store_cursor *cursor;  /* the read in progress */
  int64_t caught_up;     /* monotonic: when it last had all there was; 0: not yet */
  bool handed_out;       /* the page that was handed out last ends at `reached` */
  store_head_info reached;
};

static int check_selection(const annal_selection *selection, annal_error *error) {
  if (selection->before || selection->before_id || selection->limit || selection->reverse)
    return error_set(error, ANNAL_MISUSE, NULL, "a follower has no end: before, limit and reverse are for reads");
  for (size_t i = 0; i < selection->stream_count; i++)
    if (selection->streams[i].after || selection->streams[i].after_id)
      return error_set(error, ANNAL_MISUSE, "after", "a follower begins at one place: give after once, not with a stream");
  return store_check_streams(selection->streams, selection->stream_count, false, error);
}

/* The id of the event at a position that was given as a number. */
static int remember_id(store_follower *f, annal_error *error) {
  annal_selection one = {.size = sizeof one, .after = f->place.position - 1, .before = f->place.position + 1, .limit = 1};
  store_cursor *cursor;
  int result = f->s->backend->read(f->s, &one, NULL, &cursor, error);
  if (result) return result;
  store_page page;
  result = store_cursor_next(cursor, &page, error);
  if (!result && page.count == 1) memccpy(f->place.id, page.events[0].id, 0, sizeof f->place.id - 1);
  if (!result && page.count == 0)
    result = error_set(error, ANNAL_NOT_FOUND, "after", "no event has the position %lld yet", (long long)f->place.position);
  store_cursor_close(cursor);
  return result;
}

static int find_beginning(store_follower *f, const annal_selection *selection, annal_error *error) {
  if (selection->after_id && selection->after)
    return error_set(error, ANNAL_MISUSE, "after", "after is given as a position and as an event id");
  if (selection->after < 0)
    return error_set(error, ANNAL_MISUSE, "after", "after is %lld; positions begin at 1", (long long)selection->after);
  if (selection->after_id) {
    memccpy(f->place.id, selection->after_id, 0, sizeof f->place.id - 1);
    return store_position_of(f->s, selection->after_id, &f->place.position, error);
  }
  f->place.position = selection->after;
  return selection->after ? remember_id(f, error) : ANNAL_OK;
}

int store_follow(store *s, const annal_selection *selection, store_follower **follower, annal_error *error) {
  *follower = NULL;
  int result = store_check_own(s, error);
  if (!result) result = check_selection(selection, error);
  if (result) return result;
  store_follower *f = base_calloc(s->env, 1, sizeof *f);
  if (!f) return error_memory(error);
  f->s = s;
  f->selection = (annal_selection){.size = sizeof f->selection, .stream_count = selection->stream_count};
  if (selection->stream_count) {
    f->streams = store_copy_streams(s->env, selection->streams, selection->stream_count);
    if (!f->streams) result = error_memory(error);
    f->selection.streams = f->streams;
  }
  if (!result) result = find_beginning(f, selection, error);
  if (result) store_follower_close(f);
  else *follower = f;
  return result;
}

void store_follower_close(store_follower *f) {
  if (!f || !store_is_own(f->s)) return;
  store_cursor_close(f->cursor);
  if (f->watch) f->s->backend->watch_close(f->watch);
  base_free(f->s->env, f->streams);
  base_free(f->s->env, f);
}

void store_follower_place(const store_follower *f, store_head_info *place) { *place = f->place; }

/* Looks at the head, and that the last event read is still where it was. */
static int look(store_follower *f, store_head_info *head, annal_error *error) {
  store_sight sight;
  char shown[96];
  int result = f->s->backend->probe(f->s, &f->place, head, &sight, error);
  if (result || sight == STORE_SAME) return result;
  store_cursor_close(f->cursor);
  f->cursor = NULL;
  if (sight == STORE_BEHIND)
    return error_set(
        error, ANNAL_UNAVAILABLE, NULL,
        "the server that was reached has events up to position %lld, and this follower has read \"%s\" at position %lld: "
        "a replica that lags, or a history that was lost (after a failover or a restore)",
        (long long)head->position, text_show(f->place.id, shown), (long long)f->place.position);
  return error_set(
      error, ANNAL_CONFLICT, NULL,
      "this follower's history ends before position %lld: the event \"%s\" that it read there is not stored any more "
      "(after a failover or a restore); look at what it did, then follow from an event that is stored",
      (long long)f->place.position, text_show(f->place.id, shown));
}

static int begin_read(store_follower *f, const store_head_info *head, annal_error *error) {
  f->selection.after = f->place.position;
  f->selection.before = head->position + 1;
  f->up_to = *head;
  store_reach reach = {.seen = f->place, .up_to = *head}; /* not patient: the caller has a deadline */
  return f->s->backend->read(f->s, &f->selection, &reach, &f->cursor, error);
}

/* A page of the read in progress; with count 0 that read is over and everything up to its head was read. */
static int read_on(store_follower *f, store_page *page, annal_error *error) {
  int result = store_cursor_next(f->cursor, page, error);
  store_head_info head;
  if (!result) result = look(f, &head, error);
  if (result) {
    store_cursor_close(f->cursor); /* what it read is read again from the last place, or not at all */
    f->cursor = NULL;
    *page = (store_page){0};
    return result;
  }
  if (page->count) {
    const annal_event *last = &page->events[page->count - 1];
    f->reached.position = last->position;
    memccpy(f->reached.id, last->id, 0, sizeof f->reached.id - 1);
    f->handed_out = true;
    return ANNAL_OK;
  }
  store_cursor_close(f->cursor);
  f->cursor = NULL;
  f->place = f->up_to;
  return ANNAL_OK;
}

static int wait(store_follower *f, int64_t deadline, annal_error *error) {
  if (!f->watch) {
    /* Opened now, it may have missed a commit since the look: so the first wait is a look more, and no wait. */
    return f->s->backend->watch_open(f->s, &f->watch, error);
  }
  return f->s->backend->watch_wait(f->watch, deadline, error);
}

/* One attempt at the next page. */
static int next_page(store_follower *f, int64_t deadline, store_page *page, annal_error *error) {
  *page = (store_page){0};
  if (f->handed_out) { /* the caller has come back for more: it has what it was given */
    f->place = f->reached;
    f->handed_out = false;
  }
  for (;;) {
    int result = ANNAL_OK;
    if (f->cursor) {
      result = read_on(f, page, error);
      if (result || page->count) return result;
    }
    store_head_info head;
    result = look(f, &head, error);
    if (result) return result;
    if (head.position > f->place.position) {
      result = begin_read(f, &head, error);
      if (result) return result;
      continue;
    }
    f->caught_up = base_monotonic();
    if (f->caught_up >= deadline) return ANNAL_OK;
    result = wait(f, deadline, error);
    if (result) return result;
  }
}

/* How long to wait before a lost connection is tried again: at first hardly, at most a second. */
#define RETRY_FIRST_US 20000
#define RETRY_MOST_US 1000000

int store_follower_next(store_follower *f, int64_t deadline, store_page *page, annal_error *error) {
  unsigned interrupts = atomic_load(&f->s->interrupts);
  int64_t failing_since = 0, pause = RETRY_FIRST_US;
  int own = store_check_own(f->s, error);
  if (own) return own;
  for (;;) {
    int result = next_page(f, deadline, page, error);
    if (result != ANNAL_UNAVAILABLE || !error->retryable || atomic_load(&f->s->interrupts) != interrupts) return result;
    int64_t now = base_monotonic();
    if (!failing_since || f->caught_up > failing_since) { /* it may have waited for hours since the last time */
      failing_since = now;
      pause = RETRY_FIRST_US;
    }
    if (now + pause > failing_since + (int64_t)(f->s->options->timeout * 1e6) || now + pause > deadline) return result;
    struct timespec nap = {.tv_sec = pause / 1000000, .tv_nsec = (pause % 1000000) * 1000};
    nanosleep(&nap, NULL);
    pause = pause * 2 < RETRY_MOST_US ? pause * 2 : RETRY_MOST_US;
  }
}
