/* Texts mutated at random, the same way in every run: the property of spec/fuzz/json/property.h holds for all of them. */
#include "../../fuzz/json/property.h"
#include "support.h"

static const char *const seeds[] = {
    "{\"cartId\":\"cart_004711\",\"priceAtTime\":1999,\"productId\":\"prod_17\",\"quantity\":2}",
    "[1,-2,3.5,1e300,-0,0.1,5e-324,9223372036854775807,1E+2,123456789012345.67]",
    "{\"b\":[{},[],{\"x\":null}],\"a\":\"\\u00e9\\uD83D\\uDE00\\n\\\"\\\\\",\"\\u0061a\":true,\"\":false}",
    "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 plain text in between \\t \x7F\"",
    " { \"k\" : [ [ [ [ 1 ] , 2 ] , { \"k\" : { \"k\" : \"k\" } } ] , null ] , \"j\" : \"\\u0000\" } \r\n\t",
    "{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"k10\":10,\"k11\":11,\"k12\":12}"};

static const char *const pieces[] = {"\"",
                                     "\\",
                                     "{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "0",
                                     "-",
                                     "e",
                                     ".",
                                     "\\u",
                                     "true",
                                     "null",
                                     "\\ud800",
                                     "\xC3",
                                     "\xF0\x9F\x98\x80",
                                     "\"a\":",
                                     "1e309",
                                     " ",
                                     "\n",
                                     "9223372036854775808"};

/* Replaces a run of `text` by a piece, a random byte, or a run from elsewhere in it; answers the new size. */
static size_t mutate(char *text, size_t size, size_t room, uint64_t *seed) {
  char piece[64];
  size_t length = 0, at = json_random(seed) % (size + 1), cut = json_random(seed) % 4;
  if (cut > size - at) cut = size - at;
  switch (json_random(seed) % 4) {
  case 0: piece[length++] = (char)json_random(seed); break;
  case 1:
    length = size < 40 ? size : 40;
    length = json_random(seed) % (length + 1);
    memcpy(piece, text + json_random(seed) % (size - length + 1), length);
    break;
  case 2: break;
  default: {
    const char *chosen = pieces[json_random(seed) % (sizeof pieces / sizeof *pieces)];
    length = strlen(chosen);
    memcpy(piece, chosen, length);
  }
  }
  if (size - cut + length > room) return size;
  memmove(text + at + length, text + at + cut, size - at - cut);
  memcpy(text + at, piece, length);
  return size - cut + length;
}

static void mutated_texts_keep_the_property(void **state) {
  (void)state;
  json_property_state property;
  uint64_t seed = 20240501;
  char text[512];
  json_property_open(&property);
  for (size_t i = 0; i < 60000; i++) {
    const char *start = seeds[i % (sizeof seeds / sizeof *seeds)];
    size_t size = strlen(start);
    for (size_t k = 0; k < size; k++) text[k] = start[k];
    for (uint64_t steps = json_random(&seed) % 4 + 1; steps > 0; steps--) size = mutate(text, size, sizeof text, &seed);
    char *exact = json_exact_copy(text, size);
    json_property_check(&property, exact, size, (unsigned)(json_random(&seed) % 4));
    free(exact);
  }
  assert_true(property.accepted > 3000 && property.refused > 3000);
  json_property_close(&property);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(mutated_texts_keep_the_property)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
