/* Checkpoints: the log's pages into the database. Role: the one place where they happen.
 *
 * SQLite before 3.51.3 can lose pages for good when a connection commits and starts the log anew while a second checkpoint runs.
 * So one connection takes the write lock, another checkpoints, and the first gives the lock back: nobody can commit meanwhile, in
 * this program or another. PASSIVE waits for nobody; what readers still need stays in the log. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"

/* Pages in the log at which a checkpoint is tried: 16 MiB. SQLite's own number is 1,000; larger, a page that is written again and
 * again (the ends of the indexes) is copied less often, and reading through the log costs no more (its index is hashed). */
#define PAGES_BETWEEN_CHECKPOINTS 4000

static int count_frames(void *context, sqlite3 *db, const char *name, int frames) {
  (void)db;
  (void)name;
  ((sqlite_store *)context)->wal_frames = frames;
  return SQLITE_OK;
}

void sqlite_watch_log(sqlite_store *s, sqlite_conn *writer) {
  s->wal_checkpoint = PAGES_BETWEEN_CHECKPOINTS;
  sqlite3_wal_hook(writer->db, count_frames, s);
}

static bool open_checkpointer(sqlite_store *s) {
  if (s->checkpointer.db) return true;
  annal_error error;
  s->checkpointer.interrupts = atomic_load(&s->interrupts);
  return sqlite_connect(&s->checkpointer, s->file, SQLITE_OPEN_READWRITE, &error) == ANNAL_OK;
}

void sqlite_checkpoint(sqlite_store *s, sqlite_conn *writer, int lock_wait_ms) {
  annal_error error;
  if (s->memory || s->base.options->read_only || !open_checkpointer(s)) return;
  s->checkpointer.interrupts = atomic_load(&s->interrupts);
  writer->interrupts = s->checkpointer.interrupts; /* an interruption was for the call; this is housekeeping after it */
  writer->lock_until = base_monotonic() + (int64_t)lock_wait_ms * 1000;
  writer->deadline = 0;
  if (sqlite_run(writer, "BEGIN IMMEDIATE", &error)) return;
  int frames = 0, moved = 0;
  int code = sqlite3_wal_checkpoint_v2(s->checkpointer.db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
  sqlite_rollback(writer);
  if (code == SQLITE_OK && moved >= frames) {
    s->wal_checkpoint = PAGES_BETWEEN_CHECKPOINTS; /* the next commit begins the log anew */
    return;
  }
  s->wal_checkpoint = s->wal_frames + PAGES_BETWEEN_CHECKPOINTS; /* a reader holds it up, or the disk: later */
  if (code != SQLITE_OK && (code & 0xFF) != SQLITE_BUSY && (code & 0xFF) != SQLITE_LOCKED)
    base_log(s->base.env, "warn", "%s: the log could not be moved into the database: %s", s->path, sqlite3_errstr(code));
}

void sqlite_checkpoint_when_long(sqlite_store *s, sqlite_conn *writer) {
  if (s->wal_frames >= s->wal_checkpoint) sqlite_checkpoint(s, writer, 0);
}
