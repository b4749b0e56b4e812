/* What the judges share; see judge.h. */
#include "judge.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void judge_die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("judge: ", stderr);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

uint64_t judge_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

double judge_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void judge_add(judge_set *set, const char *id) {
  uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a, then mixed: sums of it must not cancel out */
  for (; *id; id++) hash = (hash ^ (unsigned char)*id) * UINT64_C(0x100000001B3);
  set->count++;
  set->sum += judge_random(&hash);
}

void judge_options(int count, char **arguments, const judge_option *options) {
  for (int i = 1; i < count; i++) {
    const judge_option *option = options;
    while (option->name && strcmp(option->name, arguments[i]) != 0) option++;
    if (!option->name) judge_die("unknown option %s", arguments[i]);
    if (option->flag) {
      *option->flag = true;
      continue;
    }
    if (++i == count) judge_die("%s needs a value", option->name);
    if (option->text) *option->text = arguments[i];
    else *option->number = strtod(arguments[i], NULL);
  }
}
