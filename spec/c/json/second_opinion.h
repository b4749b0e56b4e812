/* jansson behind two questions: its names and ours clash within one file. Role: test_jansson.c. */
#ifndef SPEC_JSON_SECOND_OPINION_H
#define SPEC_JSON_SECOND_OPINION_H

#include <stdbool.h>
#include <stddef.h>

bool second_opinion_accepts(const char *text, size_t size);
/* Whether both texts are accepted and have the same value. */
bool second_opinion_equal(const char *a, size_t a_size, const char *b, size_t b_size);

#endif
