/* Hints that an app's files may have changed. Role: tells api/reload.c when to read again; what changed only the bytes say.
 *
 * inotify watches directories and never files: editors put a new file in the place of the old one, and what a link leads to is
 * swapped. A reading (files.c) sets the watch upon each directory before it reads it, so a change is either read or told of. A new
 * directory is told of by the one above it, and is watched by the next reading.
 *
 * One descriptor serves from reading to reading, because closing it takes the system up to 20 ms. */
#include "script/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO) /* what is there, under which name */
#define CONTENT (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB)            /* what is in it, and whether it can be read */
#define ITSELF (IN_DELETE_SELF | IN_MOVE_SELF)

/* A symbolic link on the way to the app, of which the directory that it stands in tells. */
typedef struct watched_link {
  int number;
  char name[NAME_MAX + 1];
} watched_link;

struct script_watch {
  const base_env *env;
  int inotify; /* -1: not to be had */
  bool whole;  /* everything of the last reading is watched */
  bool hinted;
  int numbers[LIMIT_RELOAD_LINKS + LIMIT_RELOAD_DIRECTORIES]; /* inotify's, of this reading: the links' first */
  size_t count;
  int before[LIMIT_RELOAD_LINKS + LIMIT_RELOAD_DIRECTORIES]; /* of the reading before, while one is under way */
  size_t before_count;
  watched_link links[LIMIT_RELOAD_LINKS];
  size_t link_count;
};

script_watch *script_watch_open(const base_env *env) {
  script_watch *watch = base_calloc(env, 1, sizeof *watch);
  if (!watch) return NULL;
  watch->env = env;
  watch->inotify = -1;
  return watch;
}

void script_watch_close(script_watch *watch) {
  if (!watch) return;
  if (watch->inotify >= 0) close(watch->inotify);
  base_free(watch->env, watch);
}

bool script_watch_is_whole(const script_watch *watch) { return watch->whole; }

/* ---- Hints ------------------------------------------------------------------------------------------------------------- */

static bool has_number(const int *numbers, size_t count, int number) {
  for (size_t i = 0; i < count; i++)
    if (numbers[i] == number) return true;
  return false;
}

/* Whether a directory is watched for the sake of one link in it, and the name is another. */
static bool is_beside(const script_watch *watch, int number, const char *name) {
  bool of_link = false;
  for (size_t i = 0; i < watch->link_count; i++) {
    if (watch->links[i].number != number) continue;
    if (strcmp(watch->links[i].name, name) == 0) return false;
    of_link = true;
  }
  return of_link && !has_number(watch->numbers + watch->link_count, watch->count - watch->link_count, number);
}

/* A store may lie among the scripts: that its file is written to is no hint. */
static bool is_hint(const script_watch *watch, const struct inotify_event *event) {
  const char *name = event->len ? event->name : "";
  if (event->mask & IN_IGNORED) return false; /* the watch has ended, which is told of by other events too */
  if (event->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | ITSELF)) return true;
  if (is_beside(watch, event->wd, name)) return false;
  return (event->mask & (NAMES | IN_ISDIR)) || !name[0] || files_is_script(name);
}

bool script_watch_hint(script_watch *watch) {
  char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  ssize_t size;
  /* What comes faster than it is read is not waited for: a hint is all that is wanted. */
  for (int i = 0; i < 64 && watch->inotify >= 0 && (size = read(watch->inotify, events, sizeof events)) > 0; i++)
    for (ssize_t at = 0; at < size;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)(events + at);
      if (is_hint(watch, event)) watch->hinted = true;
      at += (ssize_t)(sizeof *event + event->len);
    }
  return watch->hinted;
}

/* ---- Readings ---------------------------------------------------------------------------------------------------------- */

static void keep_number(script_watch *watch, int number) {
  if (number < 0) watch->whole = false; /* no watches left, or no such directory: a reading says which */
  else watch->numbers[watch->count++] = number;
}

static void watch_link(script_watch *watch, const char *directory, const char *name, size_t size) {
  if (watch->link_count == LIMIT_RELOAD_LINKS) {
    watch->whole = false;
    return;
  }
  watched_link *link = &watch->links[watch->link_count];
  int number = inotify_add_watch(watch->inotify, directory, NAMES | IN_ONLYDIR);
  keep_number(watch, number);
  if (number < 0) return;
  link->number = number;
  snprintf(link->name, sizeof link->name, "%.*s", (int)size, name);
  watch->link_count++;
}

/* The links among the parts of the path. What they lead to is looked at no further: that a second link behind the first is swapped
 * is found by the readings that come without a hint. */
static void watch_links(script_watch *watch, const char *path) {
  char upto[PATH_MAX];
  struct stat status;
  size_t size = strlen(path);
  if (size >= sizeof upto) {
    watch->whole = false;
    return;
  }
  for (size_t begin = 0, end; begin < size; begin = end + 1) {
    end = begin + strcspn(path + begin, "/");
    if (end == begin || end - begin > NAME_MAX) continue;
    memcpy(upto, path, end);
    upto[end] = 0;
    if (lstat(upto, &status) != 0 || !S_ISLNK(status.st_mode)) continue;
    upto[begin] = 0;
    watch_link(watch, begin ? upto : ".", path + begin, end - begin);
  }
}

void watch_begin(script_watch *watch, const char *path) {
  script_watch_hint(watch); /* what these are about is read now */
  watch->hinted = false;
  memcpy(watch->before, watch->numbers, watch->count * sizeof *watch->numbers);
  watch->before_count = watch->count;
  watch->count = watch->link_count = 0;
  if (watch->inotify < 0) watch->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  watch->whole = watch->inotify >= 0;
  if (watch->whole) watch_links(watch, path);
}

void watch_directory(script_watch *watch, int directory) {
  char path[64];
  if (watch->inotify < 0 || watch->count - watch->link_count == LIMIT_RELOAD_DIRECTORIES) {
    watch->whole = false;
    return;
  }
  /* By its descriptor: the name may lead to another one by now. */
  snprintf(path, sizeof path, "/proc/self/fd/%d", directory);
  keep_number(watch, inotify_add_watch(watch->inotify, path, NAMES | CONTENT | ITSELF | IN_ONLYDIR));
}

void watch_end(script_watch *watch, bool complete) {
  if (!complete) watch->whole = false; /* it did not come to every directory */
  for (size_t i = 0; i < watch->before_count; i++)
    if (!has_number(watch->numbers, watch->count, watch->before[i])) inotify_rm_watch(watch->inotify, watch->before[i]);
}
