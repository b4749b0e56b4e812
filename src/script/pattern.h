/* Lua's patterns, matched under a count of steps. Role: string.find, match, gmatch, gsub and t.string's `pattern`; the standard
 * matcher can run for hours without a single VM instruction. Pure C, knows no Lua state. */
#ifndef SCRIPT_PATTERN_H
#define SCRIPT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_CAPTURES 32

typedef struct pattern_capture {
  const char *start;
  ptrdiff_t size; /* PATTERN_OPEN, PATTERN_POSITION or the bytes captured */
} pattern_capture;

enum { PATTERN_OPEN = -1, PATTERN_POSITION = -2 };

typedef struct pattern_match {
  const char *subject, *subject_end;
  const char *pattern_end;
  int64_t steps;       /* left; below zero: the search was given up, `problem` says so too */
  const char *problem; /* NULL, or why there is no answer */
  int depth;
  int count; /* of captures */
  pattern_capture captures[PATTERN_CAPTURES];
} pattern_match;

#define PATTERN_TOO_LONG "the pattern takes too long on this text"

/* Prepares; the strings must outlive the match. */
void pattern_init(pattern_match *match, const char *subject, size_t subject_size, const char *pattern, size_t size,
                  int64_t steps);

/* Matches the pattern (after its '^') exactly at `at`: the end of the match, or NULL (no match, or `problem`). */
const char *pattern_at(pattern_match *match, const char *at, const char *pattern);

/* Searches from `from` on: the start of the first match with *end set, or NULL. Takes a leading '^' itself. */
const char *pattern_search(pattern_match *match, const char *from, const char *pattern, const char **end);

/* NULL when the pattern is well-formed, else what is wrong with it. */
const char *pattern_fault(const char *pattern, size_t size);

#endif
