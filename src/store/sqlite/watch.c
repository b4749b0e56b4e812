/* Noticing commits: PRAGMA data_version tells for sure, inotify on the log tells when to look. Role: wakes followers.
 *
 * The system tells of a write before SQLite has made it visible (it flushes first), so after a hint data_version is looked at
 * every half millisecond for a while. Without hints (no inotify, a network file system) it is looked at now and then. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AFTER_HINT_US 500 /* a look costs 4 µs */
#define LOOK_AFTER_HINT_FOR_US 50000
#define LOOK_WITHOUT_HINT_US 100000 /* where inotify works: only in case a hint got lost */
#define LOOK_BLIND_US 5000          /* where it does not; also in memory, where nobody tells */

struct store_watch {
  sqlite_store *s;
  sqlite_conn conn; /* of its own: data_version compares with what this connection saw last */
  int inotify;      /* -1: none */
  int log;          /* inotify's number for the log, -1 while there is no log */
  int64_t version;
  int64_t hinted; /* monotonic, of the last hint */
};

static int read_version(store_watch *w, int64_t *version, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(&w->conn, "PRAGMA data_version", &stmt, error);
  if (result) return result;
  result = sqlite_step(&w->conn, stmt, error);
  if (result != SQLITE_ROW)
    return result < 0 ? result : error_set(error, ANNAL_CORRUPT, NULL, "%s has no data_version", w->s->path);
  *version = sqlite3_column_int64(stmt, 0);
  sqlite_done(stmt);
  return ANNAL_OK;
}

/* The log comes and goes with the programs that use the store. */
static void watch_log(store_watch *w) {
  char path[4096];
  if (w->inotify < 0 || w->log >= 0) return;
  snprintf(path, sizeof path, "%s-wal", w->s->file);
  w->log = inotify_add_watch(w->inotify, path, IN_MODIFY | IN_DELETE_SELF);
}

static void close_watch(store_watch *w) {
  if (w->inotify >= 0) close(w->inotify);
  sqlite_disconnect(&w->conn);
  base_free(w->s->base.env, w);
}

void sqlite_watch_close(store_watch *w) { close_watch(w); }

int sqlite_watch_open(store *s, store_watch **watch, annal_error *error) {
  sqlite_store *self = (sqlite_store *)s;
  store_watch *w = base_calloc(s->env, 1, sizeof *w);
  if (!w) return error_memory(error);
  w->s = self;
  w->log = -1;
  w->inotify = -1;
  w->conn.store = self;
  w->conn.interrupts = atomic_load(&self->interrupts);
  if (!self->memory) {
    w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    watch_log(w);
    int flags = s->options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int result = sqlite_connect(&w->conn, self->file, flags, error);
    if (!result) result = read_version(w, &w->version, error);
    if (result) {
      close_watch(w);
      return result;
    }
  }
  *watch = w;
  return ANNAL_OK;
}

/* Takes in what inotify has; notes the time of a hint. */
static void take_hints(store_watch *w) {
  char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  ssize_t size;
  if (w->inotify < 0) return;
  while ((size = read(w->inotify, events, sizeof events)) > 0) {
    w->hinted = base_monotonic();
    for (ssize_t at = 0; at < size;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)(events + at);
      if (event->mask & (IN_IGNORED | IN_DELETE_SELF)) w->log = -1;
      at += (ssize_t)(sizeof *event + event->len);
    }
  }
  watch_log(w);
}

static void sleep_until(int64_t moment) {
  int64_t left = moment - base_monotonic();
  if (left <= 0) return;
  struct timespec pause = {.tv_sec = left / 1000000, .tv_nsec = (left % 1000000) * 1000};
  nanosleep(&pause, NULL);
}

/* Waits for a hint, but not beyond `moment`. */
static void wait_for_hint(store_watch *w, int64_t moment) {
  int64_t left = moment - base_monotonic();
  if (left <= 0) return;
  struct pollfd poller = {.fd = w->inotify, .events = POLLIN};
  struct timespec limit = {.tv_sec = left / 1000000, .tv_nsec = (left % 1000000) * 1000};
  ppoll(&poller, 1, &limit, NULL);
}

int sqlite_watch_wait(store_watch *w, int64_t deadline, annal_error *error) {
  w->conn.deadline = 0;
  w->conn.lock_until = base_monotonic() + (int64_t)(w->s->base.options->lock_timeout * 1e6);
  for (;;) {
    if (sqlite_interrupted(&w->conn)) {
      w->conn.interrupts = atomic_load(&w->s->interrupts); /* said once */
      return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    }
    int64_t now = base_monotonic();
    if (w->s->memory) { /* nobody tells, and a look is as cheap as this */
      sleep_until(now + LOOK_BLIND_US < deadline ? now + LOOK_BLIND_US : deadline);
      return ANNAL_OK;
    }
    take_hints(w);
    int64_t version = 0;
    int result = read_version(w, &version, error);
    if (result) return result;
    if (version != w->version) {
      w->version = version;
      return ANNAL_OK;
    }
    if (now >= deadline) return ANNAL_OK;
    if (now - w->hinted < LOOK_AFTER_HINT_FOR_US) {
      sleep_until(now + LOOK_AFTER_HINT_US < deadline ? now + LOOK_AFTER_HINT_US : deadline);
    } else {
      int64_t pause = w->log >= 0 ? LOOK_WITHOUT_HINT_US : LOOK_BLIND_US;
      wait_for_hint(w, now + pause < deadline ? now + pause : deadline);
    }
  }
}
