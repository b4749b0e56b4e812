/* Which files are an app's, how they reach each other, and what fingerprints follow. */
#include "support.h"

#include "base/limits.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static app_files app;

static int make(void **unused) {
  (void)unused;
  app_make(&app);
  return 0;
}

static int clean(void **unused) {
  (void)unused;
  app_remove(&app);
  return 0;
}

static void expect_load_error(int wanted, const char *where, const char *message) {
  annal_error error;
  script_app *loaded = NULL;
  int code = app_try(&app, &loaded, &error);
  if (code == 0) script_release(loaded);
  if (code != wanted || strcmp(error.where, where) != 0 || !strstr(error.message, message) || strstr(error.message, ".lua:"))
    fail_msg("%s at \"%s\": %s\n  not at \"%s\": %s", annal_code_name(code), error.where, error.message, where, message);
}

static bool declares(const char *type) {
  script_app *loaded = app_load(&app);
  bool found = script_find_event(loaded, type) != NULL;
  script_release(loaded);
  return found;
}

static void link_to(const char *target, const char *path) {
  char whole[512];
  snprintf(whole, sizeof whole, "%s/%s", app.directory, path);
  assert_int_equal(symlink(target, whole), 0);
}

static void scripts_are_found_everywhere_but_in_specs(void **unused) {
  (void)unused;
  app_write(&app, "one.lua", "event 'ONE' {}");
  app_write(&app, "deep/er/two.lua", "event 'TWO' {}");
  app_write(&app, "deep/spec/a.lua", "no lua");
  app_write(&app, "spec/b.lua", "no lua");
  app_write(&app, "one_spec.lua", "no lua");
  app_write(&app, "annal.lua", "no lua");
  app_write(&app, ".hidden.lua", "no lua");
  app_write(&app, ".git/c.lua", "no lua");
  app_write(&app, "README.md", "no lua");
  app_write(&app, "bom.lua",
            "\xEF\xBB\xBF"
            "event 'BOM' {}");
  assert_true(declares("ONE") && declares("TWO") && declares("BOM"));
}

static void a_missing_directory_is_not_found(void **unused) {
  (void)unused;
  annal_error error;
  script_app *loaded;
  const script_options options = {0};
  assert_int_equal(script_load(test_env(), &options, "/tmp/annal-no-such-directory", &loaded, &error), ANNAL_NOT_FOUND);
  assert_string_equal(error.where, "/tmp/annal-no-such-directory");
  assert_int_equal(script_load(test_env(), &options, "/etc/passwd", &loaded, &error), ANNAL_NOT_FOUND);
  expect_load_error(ANNAL_NOT_FOUND, app.directory, "no scripts there");
}

static void a_syntax_error_has_its_line(void **unused) {
  (void)unused;
  app_write(&app, "a.lua", "local x = 1");
  app_write(&app, "b/c.lua", "\n\nlocal = 5");
  expect_load_error(ANNAL_SCRIPT, "b/c.lua:3", "<name> expected near '='");
  app_write(&app, "b/c.lua", "\x1bLua");
  expect_load_error(ANNAL_SCRIPT, "b/c.lua:1", "attempt to load a binary chunk");
}

static void a_runtime_error_has_its_line(void **unused) {
  (void)unused;
  app_write(&app, "a.lua", "local x = include 'b.c'");
  app_write(&app, "b/c.lua", "\nlocal y = nil + 1");
  expect_load_error(ANNAL_SCRIPT, "b/c.lua:2", "attempt to perform arithmetic on a nil value");
}

static void links_stay_below_the_directory(void **unused) {
  (void)unused;
  app_write(&app, "data/real.lua", "event 'REAL' {}");
  link_to(".", "loop");
  link_to("data", "again");
  assert_true(declares("REAL")); /* links to directories are not followed: it is declared once */
  app_write(&app, "..data/linked.lua", "event 'LINKED' {}");
  link_to("..data/linked.lua", "linked.lua"); /* as a ConfigMap is mounted */
  assert_true(declares("LINKED"));
  link_to("/etc/passwd", "out.lua");
  expect_load_error(ANNAL_SCRIPT, "out.lua", "is a link to a file outside of the app");
}

static void a_link_beside_the_root_with_its_name_as_prefix_is_outside(void **unused) {
  (void)unused;
  char beside[128], path[160];
  app_write(&app, "a.lua", "event 'A' {}");
  snprintf(beside, sizeof beside, "%s-beside", app.directory);
  assert_int_equal(mkdir(beside, 0777), 0);
  snprintf(path, sizeof path, "%s/x.lua", beside);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fclose(file);
  link_to(path, "x.lua");
  expect_load_error(ANNAL_SCRIPT, "x.lua", "outside of the app");
  unlink(path);
  rmdir(beside);
}

static void what_is_no_file_is_refused(void **unused) {
  (void)unused;
  char path[128];
  app_write(&app, "a.lua", "event 'A' {}");
  snprintf(path, sizeof path, "%s/pipe.lua", app.directory);
  assert_int_equal(mkfifo(path, 0666), 0);
  expect_load_error(ANNAL_SCRIPT, "pipe.lua", "is no regular file");
  unlink(path);
  link_to("nowhere", "broken.lua");
  expect_load_error(ANNAL_SCRIPT, "broken.lua", "cannot be read: No such file");
}

static void a_file_that_is_too_large_is_refused(void **unused) {
  (void)unused;
  char path[128];
  snprintf(path, sizeof path, "%s/large.lua", app.directory);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(ftruncate(fileno(file), LIMIT_SCRIPT_FILE_BYTES + 1), 0);
  fclose(file);
  expect_load_error(ANNAL_SCRIPT, "large.lua", "has 4194305 bytes: a script has at most 4194304");
}

static void include_takes_names_below_the_root(void **unused) {
  (void)unused;
  static const struct {
    const char *name, *message;
  } cases[] = {
      {"../x", "a name is counted from the app's directory, with dots"},
      {"/etc/passwd", "a name is counted from the app's directory, with dots"},
      {"b/c", "a name is counted from the app's directory, with dots"},
      {"..b", "a name is counted"},
      {"", "a name is counted"},
      {".b", "a name is counted"},
      {"b.", "a name is counted"},
      {"missing.file", "there is no file missing/file.lua below the app's directory"},
      {"reducrs", "there is no such file (did you mean \"reducers\"?)"},
      {"spec.x", "there is no file spec/x.lua"},
      {"annal", "there is no file annal.lua"},
  };
  app_write(&app, "reducers.lua", "return 1");
  app_write(&app, "spec/x.lua", "return 1");
  app_write(&app, "annal.lua", "return 1");
  for (size_t i = 0; i < LIST(cases); i++) {
    char text[128];
    snprintf(text, sizeof text, "\nlocal x = include '%s'", cases[i].name);
    app_write(&app, "a.lua", text);
    expect_load_error(ANNAL_SCRIPT, "a.lua:2", cases[i].message);
  }
  app_write(&app, "a.lua", "include(5)");
  expect_load_error(ANNAL_SCRIPT, "a.lua:1", "include takes the name of a file");
}

static void a_cycle_of_includes_is_refused(void **unused) {
  (void)unused;
  app_write(&app, "a.lua", "return include 'b'");
  app_write(&app, "b.lua", "\nreturn include 'c'");
  app_write(&app, "c.lua", "\n\nreturn include 'a'");
  expect_load_error(ANNAL_SCRIPT, "c.lua:3", "include \"a\": the file is being run already, so that it would include itself");
  app_write(&app, "c.lua", "return include 'c'");
  expect_load_error(ANNAL_SCRIPT, "c.lua:1", "include \"c\"");
}

static void a_file_runs_once_and_alone(void **unused) {
  (void)unused;
  app_write(&app, "a.lua", "local one, two = include 'lib', include 'lib' assert(one == two and one.n == 1) one.n = 1");
  app_write(&app, "b.lua", "assert(include 'lib' == include 'lib') assert(include 'nothing' == true)");
  app_write(&app, "lib.lua", "event 'LIB' {} return { n = 1 }");
  app_write(&app, "nothing.lua", "local x = 5");
  app_write(&app, "with.dot.lua", "event 'DOT' {}");
  assert_true(declares("LIB") && declares("DOT"));
  app_write(&app, "z.lua", "return x");
  expect_load_error(ANNAL_SCRIPT, "z.lua:1", "x is not there");
}

static void a_failed_include_can_be_caught_and_tried_again(void **unused) {
  (void)unused;
  app_write(&app, "a.lua",
            "local ok, message = pcall(include, 'bad') assert(not ok and message:find 'bad.lua:1: no')\n"
            "ok, message = pcall(include, 'bad') assert(message:find 'bad.lua:1: no', message)");
  app_write(&app, "bad.lua", "error 'no'");
  expect_load_error(ANNAL_SCRIPT, "bad.lua:1", "no"); /* it is a file of the app, so it has to run */
}

static void weak_tables_are_refused_before_they_run(void **unused) {
  (void)unused;
  app_write(&app, "a.lua", "-- no __mode here\nlocal t, mt = {}, {}\nsetmetatable(t, mt)\n");
  app_write(&app, "b.lua", "local t, mt = {}, {}\nsetmetatable(t, mt)\nmt.__mode = 'k'");
  expect_load_error(ANNAL_SCRIPT, "b.lua:3", "__mode is not there");
}

/* ---- Fingerprints ------------------------------------------------------------------------------------------------------- */

typedef struct prints {
  char p[64], q[64];
} prints;

static prints fingerprints(void) {
  script_app *loaded = app_load(&app);
  prints found;
  snprintf(found.p, sizeof found.p, "%s", script_find_projection(loaded, "P")->fingerprint);
  snprintf(found.q, sizeof found.q, "%s", script_find_projection(loaded, "Q")->fingerprint);
  script_release(loaded);
  return found;
}

static void write_two_projections(void) {
  app_write(&app, "events.lua", "event 'A' { id = t.string }\nevent 'B' { id = t.string, n = t.integer }");
  app_write(&app, "p.lua", "projection 'P' { by = 'id', fields = { n = include 'reducers.n' } }");
  app_write(&app, "q.lua", "projection 'Q' { by = 'id', init = 0, on = { A = function(n) return n + 1 end } }");
  app_write(&app, "reducers/n.lua", "local add = include 'lib.add'\nreturn reducer { init = 0, on = { B = add } }");
  app_write(&app, "lib/add.lua", "return function(n, event) return n + event.data.n end");
  app_write(&app, "lib/other.lua", "return 1");
}

static void expect_prints(const prints *before, bool same_p, bool same_q) {
  prints now = fingerprints();
  assert_int_equal(strcmp(before->p, now.p) == 0, same_p);
  assert_int_equal(strcmp(before->q, now.q) == 0, same_q);
}

static void a_fingerprint_follows_what_the_projection_is_made_of(void **unused) {
  (void)unused;
  write_two_projections();
  prints before = fingerprints();
  assert_string_not_equal(before.p, before.q);
  expect_prints(&before, true, true); /* loading again gives the same */
  app_write(&app, "lib/other.lua", "return 2");
  app_write(&app, "new.lua", "event 'NEW' {}");
  expect_prints(&before, true, true);
  app_write(&app, "q.lua", "projection 'Q' { by = 'id', init = 0, on = { A = function(n) return n + 2 end } }");
  expect_prints(&before, true, false);
  write_two_projections();
  app_write(&app, "reducers/n.lua", "-- a comment\nlocal add = include 'lib.add'\nreturn reducer { init = 0, on = { B = add } }");
  expect_prints(&before, false, true);
  write_two_projections();
  app_write(&app, "lib/add.lua", "return function(n, event) return n + 2 * event.data.n end"); /* included by an included file */
  expect_prints(&before, false, true);
  write_two_projections();
  expect_prints(&before, true, true);
}

static void a_fingerprint_follows_the_schemas_of_what_it_reads(void **unused) {
  (void)unused;
  write_two_projections();
  prints before = fingerprints();
  app_write(&app, "events.lua", "event 'A' { id = t.string }\nevent 'B' { id = t.string, n = t.integer { min = 1 } }");
  expect_prints(&before, false, true);
  app_write(&app, "events.lua",
            "event 'A' { id = t.string }\nevent 'B' { version = 2, schema = { id = t.string, n = t.integer }, upcast = { include "
            "'lib.upcast' } }");
  app_write(&app, "lib/upcast.lua", "return function(data) return data end");
  expect_prints(&before, false, true);
  prints older = fingerprints(); /* what upgrades an event is code of those who read it, and of nobody else */
  app_write(&app, "lib/upcast.lua", "return function(data) data.n = 1 return data end");
  expect_prints(&older, false, true);
  app_write(&app, "lib/upcast.lua", "return function(data) return data end");
  expect_prints(&older, true, true);
  app_write(&app, "events.lua",
            "event 'B' { n = t.integer, id = t.string } -- in another order, the same schema\nevent 'A' { id = t.string }");
  expect_prints(&before, true, true);
}

static void a_directory_that_moved_has_the_same_fingerprints(void **unused) {
  (void)unused;
  write_two_projections();
  prints before = fingerprints();
  app_remove(&app);
  app_make(&app);
  write_two_projections();
  expect_prints(&before, true, true);
}

#define WITH_APP(test) cmocka_unit_test_setup_teardown(test, make, clean)

static void every_load_error_names_its_file(void **unused) {
  (void)unused;
  char text[900] = "local a = 1\nlocal b =\n";
  memset(text + strlen(text), '(', 300);
  app_write(&app, "deep.lua", text);
  expect_load_error(ANNAL_SCRIPT, "deep.lua:3", "C stack overflow");
  app_write(&app, "deep.lua", "\x1bLua");
  expect_load_error(ANNAL_SCRIPT, "deep.lua:1", "attempt to load a binary chunk");
  app_write(&app, "deep.lua", "error { message = 'mine' }");
  expect_load_error(ANNAL_SCRIPT, "deep.lua", "mine");
  app_write(&app, "app.lua", "include 'deep'");
  expect_load_error(ANNAL_SCRIPT, "deep.lua", "mine");
  app_write(&app, "app.lua", "local c = 2 event 'A' {} x y");
  expect_load_error(ANNAL_SCRIPT, "app.lua:1", "syntax error");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_APP(every_load_error_names_its_file),
      WITH_APP(scripts_are_found_everywhere_but_in_specs),
      WITH_APP(a_missing_directory_is_not_found),
      WITH_APP(a_syntax_error_has_its_line),
      WITH_APP(a_runtime_error_has_its_line),
      WITH_APP(links_stay_below_the_directory),
      WITH_APP(a_link_beside_the_root_with_its_name_as_prefix_is_outside),
      WITH_APP(what_is_no_file_is_refused),
      WITH_APP(a_file_that_is_too_large_is_refused),
      WITH_APP(include_takes_names_below_the_root),
      WITH_APP(a_cycle_of_includes_is_refused),
      WITH_APP(a_file_runs_once_and_alone),
      WITH_APP(a_failed_include_can_be_caught_and_tried_again),
      WITH_APP(weak_tables_are_refused_before_they_run),
      WITH_APP(a_fingerprint_follows_what_the_projection_is_made_of),
      WITH_APP(a_fingerprint_follows_the_schemas_of_what_it_reads),
      WITH_APP(a_directory_that_moved_has_the_same_fingerprints),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
