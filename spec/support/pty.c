/* pty [-c COLUMNS] COMMAND ARGUMENT…: runs a command on a terminal of its own. Role: spec/repl_spec.lua and command_spec.lua use it
 * where a program behaves otherwise before a person than in a pipe. Standard input is a script, one step a line:
 *   expect TEXT   waits until TEXT comes, behind what was expected last
 *   send TEXT     types it; \r is Enter, \t TAB, \e Escape, \xHH any byte (\x03 is Ctrl-C, \x04 Ctrl-D)
 * Then it waits for the command to end, writes all that the terminal got to standard output and answers the command's exit
 * code, or 124 when something did not come in time. */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEEN_MAX = 4 << 20, PATIENCE_MS = 20000, TIMED_OUT = 124 };

static char seen[SEEN_MAX + 1];
static size_t seen_size, expected; /* expected: what lies before it was waited for */
static int terminal;
static pid_t child;

static long long now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* Reads what the command writes; false at its end, or when nothing comes by then. */
static int read_some(long long until) {
  long long left = until - now_ms();
  struct pollfd input = {.fd = terminal, .events = POLLIN};
  if (left <= 0 || poll(&input, 1, (int)left) <= 0) return 0;
  if (seen_size >= SEEN_MAX) return 0;
  ssize_t size = read(terminal, seen + seen_size, SEEN_MAX - seen_size);
  if (size <= 0) return 0; /* EIO: the other side is closed */
  seen_size += (size_t)size;
  return 1;
}

static void give_up(const char *what) {
  fwrite(seen, 1, seen_size, stdout);
  fflush(stdout);
  fprintf(stderr, "pty: this did not come: %s\n", what);
  kill(child, SIGKILL);
  exit(TIMED_OUT);
}

static void expect(const char *text) {
  long long until = now_ms() + PATIENCE_MS;
  size_t size = strlen(text);
  for (;;) {
    char *found = memmem(seen + expected, seen_size - expected, text, size);
    if (found) {
      expected = (size_t)(found - seen) + size;
      return;
    }
    if (!read_some(until)) give_up(text);
  }
}

static size_t unescape(const char *text, char *out) {
  size_t size = 0;
  for (; *text; text++) {
    char byte = *text;
    if (byte == '\\' && text[1]) {
      switch (*++text) {
      case 'r': byte = '\r'; break;
      case 't': byte = '\t'; break;
      case 'e': byte = '\033'; break;
      case 'x': {
        char digits[3] = {text[1], text[1] ? text[2] : 0, 0};
        byte = (char)strtol(digits, NULL, 16);
        text += strlen(digits);
        break;
      }
      default: byte = *text;
      }
    }
    out[size++] = byte;
  }
  return size;
}

static void type(const char *text) {
  char bytes[4096];
  if (strlen(text) >= sizeof bytes) give_up("a line that long");
  size_t size = unescape(text, bytes);
  for (size_t at = 0; at < size;) {
    ssize_t written = write(terminal, bytes + at, size - at);
    if (written < 0 && errno != EINTR) give_up(text);
    if (written > 0) at += (size_t)written;
  }
}

static int ended(void) {
  int status = 0;
  long long until = now_ms() + PATIENCE_MS;
  while (read_some(until)) continue;
  if (now_ms() >= until) give_up("the end of the command");
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int count, char **arguments) {
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  char line[4096];
  int first = 1;
  if (count > 2 && strcmp(arguments[1], "-c") == 0) {
    size.ws_col = (unsigned short)atoi(arguments[2]);
    first = 3;
  }
  if (first >= count) {
    fprintf(stderr, "usage: pty [-c COLUMNS] COMMAND ARGUMENT...\n");
    return 2;
  }
  child = forkpty(&terminal, NULL, NULL, &size);
  if (child < 0) {
    perror("forkpty");
    return 2;
  }
  if (child == 0) {
    execvp(arguments[first], arguments + first);
    perror(arguments[first]);
    _exit(127);
  }
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "expect ", 7) == 0) expect(line + 7);
    else if (strncmp(line, "send ", 5) == 0) type(line + 5);
    else if (line[0]) give_up(line);
  }
  int code = ended();
  fwrite(seen, 1, seen_size, stdout);
  return code;
}
