/* Which files are the app's. Role: walks the directory once, when scripts are read, and keeps every file's bytes.
 *
 * All *.lua files count but annal.lua, *_spec.lua, whatever is below a directory `spec`, and names that begin with a dot. Only
 * regular files are read. A link to a file is followed when it stays below the directory (as in a mounted ConfigMap), refused
 * otherwise; links to directories are not followed, so that no cycle and no second path to one file can arise. */
#include "script/internal.h"

#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct search {
  script_app *app;
  const base_env *env;
  script_file *files; /* grows; moved into the arena at the end */
  size_t count, capacity;
  char root[PATH_MAX];
  script_watch *watch; /* or NULL */
  annal_error *error;
} search;

static bool ends_with(const char *name, const char *end) {
  size_t a = strlen(name), b = strlen(end);
  return a >= b && strcmp(name + a - b, end) == 0;
}

bool files_is_script(const char *name) {
  return ends_with(name, ".lua") && strcmp(name, "annal.lua") != 0 && !ends_with(name, "_spec.lua") && strcmp(name, ".lua") != 0;
}

static int unreadable(search *s, const char *path, int number) {
  char text[128];
  return error_set(s->error, ANNAL_SCRIPT, path, "cannot be read: %s", strerror_r(number, text, sizeof text));
}

/* Takes note of when the open file or directory was changed. To be asked after it was read: so that a change in the middle of that
 * shows. */
static void note_change(search *s, int file) {
  struct stat status;
  if (fstat(file, &status) != 0) return;
  int64_t changed = (int64_t)status.st_ctim.tv_sec * 1000000 + status.st_ctim.tv_nsec / 1000;
  if (changed > s->app->changed_at) s->app->changed_at = changed;
}

/* Reads the open file whole. What grows or shrinks meanwhile is cut at the size it had; the next look sees the rest. */
static int read_whole(search *s, int file, size_t size, script_file *out) {
  char *bytes = arena_alloc(&s->app->arena, size + 1);
  if (!bytes) return error_memory(s->error);
  size_t have = 0;
  while (have < size) {
    ssize_t got = read(file, bytes + have, size - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(s, out->path, errno);
    if (got == 0) break;
    have += (size_t)got;
  }
  out->source = bytes;
  out->size = have;
  if (have >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) { /* some editors begin a file with a byte order mark */
    out->source += 3;
    out->size -= 3;
  }
  return 0;
}

static int add_file(search *s, int directory, const char *name, const char *path) {
  const base_env *env = s->env;
  if (s->count == LIMIT_SCRIPT_FILES)
    return error_set(s->error, ANNAL_SCRIPT, path, "is one file too many: an app has at most %d scripts", LIMIT_SCRIPT_FILES);
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 32;
    script_file *files = base_realloc(env, s->files, capacity * sizeof *files);
    if (!files) return error_memory(s->error);
    s->files = files;
    s->capacity = capacity;
  }
  script_file *file = &s->files[s->count];
  char *module = arena_strndup(&s->app->arena, path, strlen(path) - 4);
  *file = (script_file){.path = arena_strndup(&s->app->arena, path, strlen(path)), .name = module};
  if (!file->path || !file->name) return error_memory(s->error);
  if (strchr(module, '.')) module[0] = 0; /* a.b.lua: `include "a.b"` means a/b.lua */
  for (char *c = module; *c; c++)
    if (*c == '/') *c = '.';
  int handle = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe by that name must not make us wait */
  struct stat status;
  if (handle < 0) return unreadable(s, file->path, errno);
  int code = 0;
  if (fstat(handle, &status) != 0) code = unreadable(s, file->path, errno);
  else if (!S_ISREG(status.st_mode)) code = error_set(s->error, ANNAL_SCRIPT, file->path, "is no regular file");
  else if (status.st_size > LIMIT_SCRIPT_FILE_BYTES)
    code = error_set(s->error, ANNAL_SCRIPT, file->path, "has %lld bytes: a script has at most %u", (long long)status.st_size,
                     LIMIT_SCRIPT_FILE_BYTES);
  else code = read_whole(s, handle, (size_t)status.st_size, file);
  note_change(s, handle);
  close(handle);
  if (code == 0) s->count++;
  return code;
}

static int check_link(search *s, const char *path) {
  char whole[PATH_MAX * 2], real[PATH_MAX];
  snprintf(whole, sizeof whole, "%s/%s", s->root, path);
  if (!realpath(whole, real)) return unreadable(s, path, errno);
  size_t size = strlen(s->root);
  if (strncmp(real, s->root, size) == 0 && (real[size] == '/' || s->root[size - 1] == '/')) return 0;
  return error_set(s->error, ANNAL_SCRIPT, path, "is a link to a file outside of the app");
}

static int search_directory(search *s, int directory, const char *path, int depth);

/* One entry of a directory; `path` is where it is below the root. */
static int search_entry(search *s, int directory, const char *name, const char *path, int depth) {
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? 0 : unreadable(s, path, errno);
  if (S_ISDIR(status.st_mode)) {
    if (strcmp(name, "spec") == 0) return 0;
    int below = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0) return unreadable(s, path, errno);
    return search_directory(s, below, path, depth + 1);
  }
  if (!files_is_script(name)) return 0;
  if (S_ISLNK(status.st_mode)) {
    int code = check_link(s, path);
    if (code) return code;
  }
  return add_file(s, directory, name, path);
}

/* Takes `directory` over. */
static int search_directory(search *s, int directory, const char *path, int depth) {
  DIR *entries = depth < LIMIT_SCRIPT_DIRECTORIES ? fdopendir(directory) : NULL;
  if (!entries) {
    close(directory);
    return depth < LIMIT_SCRIPT_DIRECTORIES
               ? unreadable(s, path, errno)
               : error_set(s->error, ANNAL_SCRIPT, path, "lies too deep: at most %d directories", LIMIT_SCRIPT_DIRECTORIES);
  }
  int code = 0;
  if (s->watch) watch_directory(s->watch, dirfd(entries));
  for (struct dirent *entry; code == 0 && (entry = readdir(entries));) {
    if (entry->d_name[0] == '.') continue;
    char below[LIMIT_SCRIPT_PATH_BYTES + 1];
    int size = snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", entry->d_name);
    if ((size_t)size >= sizeof below || !text_is_utf8(below, (size_t)size)) {
      if (!files_is_script(entry->d_name)) continue;
      code = error_set(s->error, ANNAL_SCRIPT, path, "a script there has a name that is too long or not UTF-8");
    } else {
      code = search_entry(s, dirfd(entries), entry->d_name, below, depth);
    }
  }
  note_change(s, dirfd(entries));
  closedir(entries);
  return code;
}

static int by_path(const void *one, const void *other) {
  return strcmp(((const script_file *)one)->path, ((const script_file *)other)->path);
}

static int keep_files(search *s) {
  script_app *app = s->app;
  if (s->count == 0)
    return error_set(s->error, ANNAL_NOT_FOUND, app->directory, "no scripts there: an app is a directory with *.lua files");
  qsort(s->files, s->count, sizeof *s->files, by_path);
  app->files = arena_array(&app->arena, s->count, sizeof *app->files);
  if (!app->files) return error_memory(s->error);
  memcpy(app->files, s->files, s->count * sizeof *app->files);
  app->file_count = s->count;
  for (size_t i = 0; i < s->count; i++) {
    app->files[i].includes = arena_alloc(&app->arena, (s->count + 7) / 8);
    if (!app->files[i].includes) return error_memory(s->error);
  }
  return 0;
}

/* Over paths and bytes, each told from its neighbours. */
static int hash_files(search *s) {
  script_app *app = s->app;
  base_buf text;
  buf_init(&text, s->env);
  for (size_t i = 0; i < app->file_count; i++) {
    char hash[HASH_TEXT_BYTES];
    hash_text(app->files[i].source, app->files[i].size, hash);
    buf_add(&text, app->files[i].path, strlen(app->files[i].path) + 1);
    buf_add(&text, hash, sizeof hash);
  }
  int code = text.failed ? error_memory(s->error) : 0;
  if (!code) hash_text(text.bytes, text.size, app->hash);
  buf_free(&text);
  return code;
}

static int search_root(search *s) {
  const script_app *app = s->app;
  int handle = open(app->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0 || !realpath(app->path, s->root)) {
    char text[128];
    int number = errno;
    if (handle >= 0) close(handle);
    return error_set(s->error, ANNAL_NOT_FOUND, app->directory, "the app's directory cannot be opened: %s",
                     strerror_r(number, text, sizeof text));
  }
  return search_directory(s, handle, "", 0);
}

int files_find(script_app *app, script_watch *watch, annal_error *error) {
  search s = {.app = app, .env = app->env, .watch = watch, .error = error};
  if (watch) watch_begin(watch, app->path);
  int code = search_root(&s);
  if (watch) watch_end(watch, code == 0);
  if (code == 0) code = keep_files(&s);
  if (code == 0) code = hash_files(&s);
  base_free(app->env, s.files);
  return code;
}

size_t files_by_name(const script_app *app, const char *name) {
  for (size_t i = 0; i < app->file_count; i++)
    if (strcmp(app->files[i].name, name) == 0) return i;
  return SIZE_MAX;
}

bool script_source_at(const script_app *files, size_t index, script_source *source) {
  if (index >= files->file_count) return false;
  const script_file *file = &files->files[index];
  *source = (script_source){.path = file->path, .name = file->name, .text = file->source, .size = file->size};
  return true;
}
