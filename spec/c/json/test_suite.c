/* JSONTestSuite (Nicolas Seriot): every n_ file is refused, every y_ file accepted but the two with duplicate keys, and for each
 * i_ file, which the RFC leaves open, the decision stands below with its reason. */
#include "support.h"

#include <dirent.h>

typedef struct decision {
  const char *file;
  bool accepted;
  const char *reason;
} decision;

#define LONE "a lone surrogate is no character: it has no UTF-8, so it could not be written back"
#define UTF8 "not well-formed UTF-8 (RFC 3629)"
#define RANGE "an integer outside int64 would lose digits"
#define LARGE "it overflows a double, and infinities cannot be written back"
#define SMALL "the nearest double is 0.0, and rounding to the nearest double is what floats do"

static const decision decisions[] = {
    {"i_number_double_huge_neg_exp.json", true, SMALL},
    {"i_number_huge_exp.json", false, LARGE},
    {"i_number_neg_int_huge_exp.json", false, LARGE},
    {"i_number_pos_double_huge_exp.json", false, LARGE},
    {"i_number_real_neg_overflow.json", false, LARGE},
    {"i_number_real_pos_overflow.json", false, LARGE},
    {"i_number_real_underflow.json", true, SMALL},
    {"i_number_too_big_neg_int.json", false, RANGE},
    {"i_number_too_big_pos_int.json", false, RANGE},
    {"i_number_very_big_negative_int.json", false, RANGE},
    {"i_object_key_lone_2nd_surrogate.json", false, LONE},
    {"i_string_1st_surrogate_but_2nd_missing.json", false, LONE},
    {"i_string_1st_valid_surrogate_2nd_invalid.json", false, LONE},
    {"i_string_UTF-16LE_with_BOM.json", false, "JSON between systems is UTF-8 (RFC 8259, 8.1)"},
    {"i_string_UTF-8_invalid_sequence.json", false, UTF8},
    {"i_string_UTF8_surrogate_U+D800.json", false, UTF8},
    {"i_string_incomplete_surrogate_and_escape_valid.json", false, LONE},
    {"i_string_incomplete_surrogate_pair.json", false, LONE},
    {"i_string_incomplete_surrogates_escape_valid.json", false, LONE},
    {"i_string_invalid_lonely_surrogate.json", false, LONE},
    {"i_string_invalid_surrogate.json", false, LONE},
    {"i_string_invalid_utf-8.json", false, UTF8},
    {"i_string_inverted_surrogates_U+1D11E.json", false, LONE},
    {"i_string_iso_latin_1.json", false, UTF8},
    {"i_string_lone_second_surrogate.json", false, LONE},
    {"i_string_lone_utf8_continuation_byte.json", false, UTF8},
    {"i_string_not_in_unicode_range.json", false, UTF8},
    {"i_string_overlong_sequence_2_bytes.json", false, UTF8},
    {"i_string_overlong_sequence_6_bytes.json", false, UTF8},
    {"i_string_overlong_sequence_6_bytes_null.json", false, UTF8},
    {"i_string_truncated-utf-8.json", false, UTF8},
    {"i_string_utf16BE_no_BOM.json", false, "JSON between systems is UTF-8 (RFC 8259, 8.1)"},
    {"i_string_utf16LE_no_BOM.json", false, "JSON between systems is UTF-8 (RFC 8259, 8.1)"},
    {"i_structure_500_nested_arrays.json", false, "nesting is bounded at 128, so that recursion is"},
    {"i_structure_UTF-8_BOM_empty_object.json", false,
     "a byte order mark must not be added (RFC 8259, 8.1): it would be kept as data"},
    /* Within the RFC, refused all the same. */
    {"y_object_duplicated_key.json", false, "two members of one name mean different things to different readers"},
    {"y_object_duplicated_key_and_value.json", false, "two members of one name mean different things to different readers"},
};

static const decision *decide(const char *file) {
  for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++)
    if (strcmp(decisions[i].file, file) == 0) return &decisions[i];
  return NULL;
}

static char *read_whole(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  char *bytes = malloc(1 << 20);
  *size = fread(bytes, 1, 1 << 20, file);
  assert_true(*size < 1 << 20);
  fclose(file);
  return bytes;
}

static void check_file(json_case *c, const char *name, bool accepted) {
  char path[1024];
  size_t size;
  annal_error error;
  snprintf(path, sizeof path, "%s/%s", JSON_SUITE, name);
  char *bytes = read_whole(path, &size);
  if (accepted) {
    base_buf out = json_accepted(c, bytes, size, 0);
    json_expect_bytes(c, out.bytes, out.size, 0, out.bytes, out.size); /* canonical text is its own canonical form */
    buf_free(&out);
  } else {
    json_refused(c, bytes, size, 0, &error);
  }
  free(bytes);
}

static void decides_every_file_of_the_suite(void **state) {
  DIR *directory = opendir(JSON_SUITE);
  if (!directory) {
    fprintf(stderr, "\n*** SKIPPED: JSONTestSuite is not at %s ***\n\n", JSON_SUITE);
    skip();
    return;
  }
  size_t count[3] = {0}, decided = 0;
  for (struct dirent *entry; (entry = readdir(directory));) {
    const char *name = entry->d_name;
    if (name[0] == '.') continue;
    const decision *exception = decide(name);
    if (name[0] == 'i' && !exception) fail_msg("no decision for %s", name);
    check_file(*state, name, exception ? exception->accepted : name[0] == 'y');
    if (exception) decided++;
    count[name[0] == 'y' ? 0 : name[0] == 'n' ? 1 : 2]++;
  }
  closedir(directory);
  assert_true(count[0] >= 95 && count[1] >= 187 && count[2] >= 35);
  assert_int_equal(decided, sizeof decisions / sizeof *decisions);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(decides_every_file_of_the_suite, json_case_open, json_case_close)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
