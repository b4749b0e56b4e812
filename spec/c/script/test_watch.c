/* What tells that an app's files have changed: hints, the hash of what was read, the time of the last change. */
#include "support.h"

#include "base/limits.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* An app at files.directory/app, and the watch upon it. */
static app_files files;
static script_app *app;
static script_watch *watch;

static char *at(char *path, size_t size, const char *name) {
  snprintf(path, size, "%s/%s", files.directory, name);
  return path;
}
#define AT(name) at((char[512]){0}, 512, name)

/* Reads it anew; answers its hash, alive until the next reading. */
static const char *read_again(void) {
  annal_error error;
  script_app *fresh;
  if (script_read_again(app, watch, &fresh, &error)) fail_msg("%s: %s", error.where, error.message);
  script_release(app);
  app = fresh;
  return script_hash(app);
}

/* The app is read for the first time by this path below the directory. */
static void begin_at(const char *name) {
  annal_error error;
  assert_int_equal(script_read(test_env(), AT(name), &app, &error), 0);
  watch = script_watch_open(test_env());
  assert_non_null(watch);
  read_again();
  assert_true(script_watch_is_whole(watch));
  assert_false(script_watch_hint(watch));
}

static void begin(void) { begin_at("app"); }

static int make(void **unused) {
  (void)unused;
  app = NULL;
  watch = NULL;
  app_make(&files);
  app_write(&files, "app/one.lua", "event 'ONE' {}");
  app_write(&files, "app/below/two.lua", "event 'TWO' {}");
  return 0;
}

static int clean(void **unused) {
  (void)unused;
  script_release(app);
  script_watch_close(watch);
  app_remove(&files);
  return 0;
}

/* There is a hint, and none more once it was read again. Answers whether the hash is another. */
static bool hinted(void) {
  char before[64];
  assert_true(script_watch_hint(watch));
  snprintf(before, sizeof before, "%s", script_hash(app));
  bool changed = strcmp(before, read_again()) != 0;
  assert_false(script_watch_hint(watch));
  return changed;
}

/* ---- Hashes ------------------------------------------------------------------------------------------------------------ */

static void the_hash_is_of_paths_and_bytes(void **unused) {
  (void)unused;
  char first[64], other[64];
  begin();
  snprintf(first, sizeof first, "%s", script_hash(app));
  app_write(&files, "app/one.lua", "event 'ONE' {}"); /* the same bytes again */
  app_write(&files, "app/notes.txt", "no script");
  app_write(&files, "app/spec/x.lua", "no script");
  assert_string_equal(read_again(), first);
  app_write(&files, "app/one.lua", "event 'ONE' {} ");
  snprintf(other, sizeof other, "%s", read_again());
  assert_string_not_equal(other, first);
  app_write(&files, "app/one.lua", "event 'ONE' {}");
  assert_string_equal(read_again(), first);
  assert_int_equal(rename(AT("app/one.lua"), AT("app/eno.lua")), 0);
  assert_string_not_equal(read_again(), first);
  assert_int_equal(rename(AT("app/eno.lua"), AT("app/below/one.lua")), 0);
  assert_string_not_equal(read_again(), first);
}

/* That two files have exchanged what is in them, or where one ends and the next begins, makes another set. */
static void the_hash_tells_files_from_their_neighbours(void **unused) {
  (void)unused;
  char first[64];
  app_write(&files, "app/one.lua", "-- a");
  app_write(&files, "app/three.lua", "-- b");
  begin();
  snprintf(first, sizeof first, "%s", script_hash(app));
  app_write(&files, "app/one.lua", "-- b");
  app_write(&files, "app/three.lua", "-- a");
  assert_string_not_equal(read_again(), first);
  app_write(&files, "app/one.lua", "-- a-- b");
  app_write(&files, "app/three.lua", "");
  assert_string_not_equal(read_again(), first);
}

static void what_was_read_is_what_is_built(void **unused) {
  (void)unused;
  annal_error error;
  begin();
  app_write(&files, "app/one.lua", "this is no Lua");
  assert_int_equal(script_build(app, &error), 0);
  assert_non_null(script_find_event(app, "ONE"));
}

static void the_directory_is_found_again_from_elsewhere(void **unused) {
  (void)unused;
  annal_error error;
  char here[512];
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(files.directory), 0);
  int code = script_read(test_env(), "app", &app, &error);
  assert_int_equal(chdir(here), 0);
  assert_int_equal(code, 0);
  assert_string_equal(script_directory(app), "app");
  char first[64];
  snprintf(first, sizeof first, "%s", script_hash(app));
  assert_string_equal(read_again(), first);
  assert_string_equal(script_directory(app), "app");
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* The time of a change is known to the system's tick. */
#define TICK_US 20000

static void it_knows_when_it_was_changed_last(void **unused) {
  (void)unused;
  begin();
  int64_t begun = now() - TICK_US;
  assert_true(script_changed_at(app) <= now());
  app_write(&files, "app/below/two.lua", "event 'TWO' {} ");
  read_again();
  assert_true(script_changed_at(app) >= begun && script_changed_at(app) <= now());
  struct timespec pause = {.tv_nsec = 2L * TICK_US * 1000};
  nanosleep(&pause, NULL);
  begun = now() - TICK_US;
  assert_true(script_changed_at(app) < begun);
  assert_int_equal(unlink(AT("app/below/two.lua")), 0); /* what is left of that is in the directory */
  read_again();
  assert_true(script_changed_at(app) >= begun);
}

/* ---- Hints ------------------------------------------------------------------------------------------------------------- */

static void a_file_written_to_is_a_hint(void **unused) {
  (void)unused;
  begin();
  app_write(&files, "app/one.lua", "event 'ONE' { }");
  assert_true(hinted());
  app_write(&files, "app/below/two.lua", "event 'TWO' { }");
  assert_true(hinted());
  int file = open(AT("app/one.lua"), O_WRONLY | O_APPEND); /* and left open */
  assert_int_equal(write(file, "--", 2), 2);
  assert_true(hinted());
  close(file);
}

static void a_file_renamed_over_another_is_a_hint(void **unused) {
  (void)unused;
  begin();
  app_write(&files, "app/.one.lua.new", "event 'ONE' { }");
  assert_int_equal(rename(AT("app/.one.lua.new"), AT("app/one.lua")), 0);
  assert_true(hinted());
  app_write(&files, "elsewhere", "event 'ONE' {  }");
  assert_int_equal(rename(AT("elsewhere"), AT("app/one.lua")), 0);
  assert_true(hinted());
}

static void a_file_that_comes_or_goes_is_a_hint(void **unused) {
  (void)unused;
  begin();
  app_write(&files, "app/below/three.lua", "event 'THREE' {}");
  assert_true(hinted());
  assert_int_equal(unlink(AT("app/below/three.lua")), 0);
  assert_true(hinted());
  assert_int_equal(rename(AT("app/one.lua"), AT("gone")), 0);
  assert_true(hinted());
  assert_int_equal(rename(AT("gone"), AT("app/one.lua")), 0);
  assert_true(hinted());
}

static void a_new_directory_is_watched_too(void **unused) {
  (void)unused;
  begin();
  assert_int_equal(mkdir(AT("app/new"), 0777), 0);
  assert_false(hinted());
  assert_int_equal(mkdir(AT("app/new/er"), 0777), 0);
  assert_false(hinted());
  app_write(&files, "app/new/er/three.lua", "event 'THREE' {}");
  assert_true(hinted());
  app_write(&files, "app/new/er/three.lua", "event 'THREE' { }");
  assert_true(hinted());
  assert_int_equal(rename(AT("app/new"), AT("moved")), 0);
  assert_true(hinted());
  app_write(&files, "moved/er/three.lua", "event 'THREE' {  }"); /* is none of the app's any more */
  assert_false(script_watch_hint(watch));
  assert_int_equal(rename(AT("moved"), AT("app/back")), 0);
  assert_true(hinted());
  app_write(&files, "app/back/er/three.lua", "event 'THREE' {   }");
  assert_true(hinted());
}

/* As Kubernetes mounts a ConfigMap: a new directory is filled, and one link swapped. */
static void a_swapped_link_among_the_files_is_a_hint(void **unused) {
  (void)unused;
  app_write(&files, "app/..v1/cm.lua", "event 'CM' {}");
  app_write(&files, "app/..v2/cm.lua", "event 'CM' { }");
  assert_int_equal(symlink("..v1", AT("app/..data")), 0);
  assert_int_equal(symlink("..data/cm.lua", AT("app/cm.lua")), 0);
  begin();
  assert_int_equal(symlink("..v2", AT("app/..data_tmp")), 0);
  assert_int_equal(rename(AT("app/..data_tmp"), AT("app/..data")), 0);
  assert_true(hinted());
}

/* As releases are swapped: `current` leads to one of them, and the app is that or a directory in it. */
static void a_swapped_link_to_the_app_is_a_hint(void **unused) {
  (void)unused;
  static const char *const paths[] = {"current", "current/app", "current/app/"};
  app_write(&files, "v1/app/one.lua", "event 'ONE' {}");
  app_write(&files, "v2/app/one.lua", "event 'ONE' { }");
  for (size_t i = 0; i < LIST(paths); i++) {
    unlink(AT("current"));
    assert_int_equal(symlink(i ? "v1" : "v1/app", AT("current")), 0);
    begin_at(paths[i]);
    app_write(&files, "beside.lua", "is none of the app's");
    assert_false(script_watch_hint(watch));
    assert_int_equal(symlink(i ? "v2" : "v2/app", AT("next")), 0);
    assert_int_equal(rename(AT("next"), AT("current")), 0);
    assert_true(hinted());
    app_write(&files, "v2/app/one.lua", "event 'ONE' {  }"); /* there it goes on */
    assert_true(hinted());
    app_write(&files, "v1/app/one.lua", "event 'ONE' { }"); /* and there no longer */
    assert_false(script_watch_hint(watch));
    app_write(&files, "v1/app/one.lua", "event 'ONE' {}");
    app_write(&files, "v2/app/one.lua", "event 'ONE' { }");
    script_watch_close(watch);
    script_release(app);
    app = NULL;
    watch = NULL;
  }
}

static void the_directory_itself_that_goes_is_a_hint(void **unused) {
  (void)unused;
  annal_error error;
  script_app *fresh;
  begin();
  assert_int_equal(rename(AT("app"), AT("gone")), 0);
  assert_true(script_watch_hint(watch));
  assert_int_equal(script_read_again(app, watch, &fresh, &error), ANNAL_NOT_FOUND);
  assert_false(script_watch_is_whole(watch));
  assert_int_equal(rename(AT("gone"), AT("app")), 0);
  read_again();
  assert_true(script_watch_is_whole(watch));
}

static void what_is_not_about_scripts_is_no_hint(void **unused) {
  (void)unused;
  app_write(&files, "app/store.db", "a store may lie there");
  app_write(&files, "app/spec/one_spec.lua", "a spec");
  begin();
  read_again();
  assert_false(script_watch_hint(watch));
  app_write(&files, "app/store.db", "and is written to");
  app_write(&files, "app/spec/one_spec.lua", "another spec");
  app_write(&files, "app/spec/two_spec.lua", "and one more");
  app_write(&files, "beside.lua", "is none of the app's");
  assert_false(script_watch_hint(watch));
}

static void a_flood_of_changes_is_a_hint(void **unused) {
  (void)unused;
  begin();
  for (int i = 0; i < 20000; i++) { /* more than inotify keeps by default */
    app_write(&files, "app/store.db", "x");
    if (i % 2) assert_int_equal(unlink(AT("app/store.db")), 0);
  }
  assert_true(script_watch_hint(watch));
}

/* Beyond what is watched it is said that not all is. */
static void too_many_directories_are_not_watched(void **unused) {
  (void)unused;
  char name[64];
  for (int i = 0; i <= LIMIT_RELOAD_DIRECTORIES; i++) {
    snprintf(name, sizeof name, "app/d%d", i);
    assert_int_equal(mkdir(AT(name), 0777), 0);
  }
  annal_error error;
  assert_int_equal(script_read(test_env(), AT("app"), &app, &error), 0);
  watch = script_watch_open(test_env());
  read_again();
  assert_false(script_watch_is_whole(watch));
  for (int i = 0; i <= LIMIT_RELOAD_DIRECTORIES; i++) {
    snprintf(name, sizeof name, "app/d%d", i);
    assert_int_equal(rmdir(AT(name)), 0);
  }
  read_again();
  assert_true(script_watch_is_whole(watch));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, make, clean)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH(the_hash_is_of_paths_and_bytes),        WITH(the_hash_tells_files_from_their_neighbours),
      WITH(what_was_read_is_what_is_built),        WITH(the_directory_is_found_again_from_elsewhere),
      WITH(it_knows_when_it_was_changed_last),     WITH(a_file_written_to_is_a_hint),
      WITH(a_file_renamed_over_another_is_a_hint), WITH(a_file_that_comes_or_goes_is_a_hint),
      WITH(a_new_directory_is_watched_too),        WITH(a_swapped_link_among_the_files_is_a_hint),
      WITH(a_swapped_link_to_the_app_is_a_hint),   WITH(the_directory_itself_that_goes_is_a_hint),
      WITH(what_is_not_about_scripts_is_no_hint),  WITH(a_flood_of_changes_is_a_hint),
      WITH(too_many_directories_are_not_watched),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
