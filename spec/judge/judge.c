/* What the judges share; see judge.h. */
#include "judge.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

bool judge_may_pass(int code) { return code == 0 || code == ANNAL_UNAVAILABLE || code == ANNAL_BUSY; }

void judge_write(const char *directory, const char *name, const char *text) {
  char path[160], fresh[160];
  mkdir(directory, 0700);
  snprintf(path, sizeof path, "%s/%s", directory, name);
  snprintf(fresh, sizeof fresh, "%s/.new", directory);
  FILE *file = fopen(fresh, "w");
  if (!file || fputs(text, file) < 0 || fclose(file) || rename(fresh, path)) judge_die("%s cannot be written", path);
}

pid_t judge_start(const char *const *arguments) {
  pid_t child = fork();
  if (child < 0) judge_die("no more processes");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv("/proc/self/exe", (char *const *)arguments); // NOLINT(clang-diagnostic-cast-qual): they are not written to
    _exit(127);
  }
  return child;
}

int judge_end_of(pid_t child) {
  int status = -1;
  if (waitpid(child, &status, 0) != child) judge_die("a process is lost");
  return status;
}

void judge_kill(pid_t child) {
  kill(child, SIGKILL);
  judge_end_of(child);
}

void judge_work(annal_store *handle) {
  annal_error error;
  for (;;) {
    int code = annal_run_once(handle, 1, &error);
    if (!judge_may_pass(code)) judge_die("a worker was answered %s: %s", annal_code_name(code), error.message);
  }
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
