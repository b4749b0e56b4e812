/* A host that sets a locale with a decimal comma, per process or per thread, changes nothing in what is read and written. Where
 * no such locale is installed, one is built by localedef in a temporary directory. */
#include "support.h"

#include <locale.h>
#include <unistd.h>

/* glibc never frees the search path that it makes from LOCPATH. */
const char *__lsan_default_suppressions(void);                                  /* NOLINT: a name of the sanitizer's */
const char *__lsan_default_suppressions(void) { return "leak:__argz_add_sep"; } /* NOLINT */

static char directory[] = "/tmp/annal-locale-XXXXXX";
static bool made;

static bool has_comma(void) {
  char text[16];
  snprintf(text, sizeof text, "%.1f", 1.5);
  return strcmp(text, "1,5") == 0;
}

static bool set_installed(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8",  "fr_FR.UTF-8", "es_ES.UTF-8",
                                      "pt_BR.UTF-8", "ru_RU.UTF-8", "it_IT.UTF-8"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (setlocale(LC_ALL, names[i]) && has_comma()) return true;
  return false;
}

static bool set_built(void) {
  char command[256];
  if (made || !mkdtemp(directory)) return false;
  made = true;
  snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null", directory);
  /* localedef answers 1 for warnings; what counts is whether the locale can be set */
  if (system(command) < 0) return false;
  setenv("LOCPATH", directory, 1);
  return setlocale(LC_ALL, "de_DE.UTF-8") && has_comma();
}

static void require_comma(void) {
  if (set_installed() || set_built()) return;
  fprintf(stderr, "\n*** SKIPPED: no locale with a decimal comma, and localedef cannot build one ***\n\n");
  skip();
}

static int remove_built(void **state) {
  (void)state;
  char command[256];
  snprintf(command, sizeof command, "rm -r %s", directory);
  return made && system(command) != 0 ? -1 : 0;
}

static void check_numbers(json_case *c) {
  static const char *const texts[] = {"1.5",
                                      "0.1",
                                      "19.99",
                                      "0.30000000000000004",
                                      "1.2345678901234568e-300",
                                      "5e-324",
                                      "1e15",
                                      "123456.7",
                                      "123456789012345.67",
                                      "-0.0",
                                      "2.2250738585072014e-308",
                                      "1234567",
                                      "1.7976931348623157e308"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) json_expect(c, texts[i], texts[i]);
  json_expect(c, "[1.50,1234567.25e-2,0.00001,123456789012345678901234567890.5]", "[1.5,12345.6725,1e-5,1.2345678901234568e29]");
  annal_error error;
  json_refused(c, "1,5", 3, 0, &error);
}

static void a_decimal_comma_of_the_process_changes_nothing(void **state) {
  require_comma();
  check_numbers(*state);
}

static void a_decimal_comma_of_the_thread_changes_nothing(void **state) {
  require_comma();
  locale_t comma = newlocale(LC_ALL_MASK, setlocale(LC_ALL, NULL), (locale_t)0);
  setlocale(LC_ALL, "C");
  locale_t before = uselocale(comma);
  assert_true(has_comma());
  check_numbers(*state);
  assert_true(has_comma()); /* and the host's setting is as it was */
  uselocale(before);
  freelocale(comma);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, json_case_open, json_case_close)
  const struct CMUnitTest tests[] = {
      TEST(a_decimal_comma_of_the_process_changes_nothing),
      TEST(a_decimal_comma_of_the_thread_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, remove_built);
}
