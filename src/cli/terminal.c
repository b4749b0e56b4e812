/* Lines from a person; see terminal.h. libedit keeps its own memory; ours is the base's.
 *
 * The history is a file of lines under the state directory of the user (XDG), readable by nobody else. Each line is appended when
 * it is entered, so that sessions side by side lose nothing. */
#include "terminal.h"
#include "base/limits.h"
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

struct terminal {
  cli *c;
  EditLine *edit;
  History *history;
  int history_file; /* -1: there is none */
  const char *prompt;
  terminal_complete *complete;
  void *context;
  base_buf line, candidates;
  mbstate_t decoding;
  bool interrupted;
};

/* ---- History ------------------------------------------------------------------------------------------------------------ */

/* Makes every directory of `path` before its last part; those of ours are the user's alone. */
static void make_directories(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
}

/* -1 where there is no place for one: a session without history is still a session. */
static int open_history(char path[PATH_MAX]) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  int size = -1;
  if (state && state[0] == '/') size = snprintf(path, PATH_MAX, "%s/annal/history", state);
  else if (home && home[0] == '/') size = snprintf(path, PATH_MAX, "%s/.local/state/annal/history", home);
  if (size < 0 || size >= PATH_MAX) return -1;
  make_directories(path);
  int file = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file >= 0 && fchmod(file, 0600) != 0) {
    close(file);
    return -1;
  }
  return file;
}

static bool read_history(int file, base_buf *text) {
  ssize_t size = 1;
  while (size > 0) {
    if (!buf_reserve(text, 1 << 16)) return false;
    size = read(file, text->bytes + text->size, 1 << 16);
    if (size > 0) text->size += (size_t)size;
  }
  buf_char(text, 0);
  return size == 0 && !text->failed;
}

/* The file grew to twice what is kept: a new one takes its place in one step. */
static void shorten_history(terminal *t, const char *path, const char *kept) {
  char fresh[PATH_MAX];
  int length = snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
  if (length < 0 || (size_t)length >= sizeof fresh) return;
  int file = open(fresh, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return;
  size_t size = strlen(kept);
  if (write(file, kept, size) == (ssize_t)size && rename(fresh, path) == 0) {
    close(t->history_file);
    t->history_file = file;
    return;
  }
  unlink(fresh);
  close(file);
}

static void enter(terminal *t, const char *line) {
  HistEvent event;
  history(t->history, &event, H_ENTER, line);
}

static void load_history(terminal *t) {
  char path[PATH_MAX];
  base_buf text;
  buf_init(&text, &t->c->env);
  t->history_file = open_history(path);
  if (t->history_file >= 0 && read_history(t->history_file, &text)) {
    size_t lines = 0;
    for (const char *at = text.bytes; (at = strchr(at, '\n')); at++) lines++;
    char *kept = text.bytes;
    for (size_t i = lines; i > LIMIT_REPL_HISTORY; i--) kept = strchr(kept, '\n') + 1;
    if (lines / 2 > LIMIT_REPL_HISTORY) shorten_history(t, path, kept);
    for (char *line = kept, *end; (end = strchr(line, '\n')); line = end + 1) {
      *end = 0;
      enter(t, line);
    }
  }
  buf_free(&text);
}

/* One write of one line: O_APPEND keeps it whole beside those of other sessions. A full disk costs the history, not the line. */
static void remember(terminal *t, const char *line) {
  if (!line[strspn(line, " \t")]) return;
  enter(t, line);
  if (t->history_file < 0) return;
  base_buf text;
  buf_init(&text, &t->c->env);
  buf_text(&text, line);
  buf_char(&text, '\n');
  ssize_t written = text.failed ? 0 : write(t->history_file, text.bytes, text.size);
  if (written < 0) base_log(&t->c->env, "warn", "the history cannot be written: %s", strerror(errno));
  buf_free(&text);
}

/* ---- Completion --------------------------------------------------------------------------------------------------------- */

static size_t common_size(const base_buf *list) {
  const char *first = list->bytes;
  size_t common = strlen(first);
  for (const char *at = first; at < list->bytes + list->size; at += strlen(at) + 1) {
    size_t same = 0;
    while (same < common && at[same] == first[same]) same++;
    common = same;
  }
  while (common > 0 && ((unsigned char)first[common] & 0xC0) == 0x80) common--; /* not into the middle of a character */
  return common;
}

static void show_candidates(const base_buf *list) {
  enum { SHOWN_MAX = 100 };
  size_t count = 0;
  fputc('\n', stdout);
  for (const char *at = list->bytes; at < list->bytes + list->size && count < SHOWN_MAX; at += strlen(at) + 1, count++)
    printf("%s%s", count ? "  " : "", at);
  fputs(count == SHOWN_MAX ? "  …\n" : "\n", stdout);
  fflush(stdout);
}

static unsigned char on_tab(EditLine *edit, int key) {
  (void)key;
  terminal *t;
  if (el_get(edit, EL_CLIENTDATA, &t) != 0) return CC_ERROR;
  const LineInfo *info = el_line(edit);
  size_t size = (size_t)(info->cursor - info->buffer);
  buf_clear(&t->candidates);
  size_t written = t->complete(t->context, info->buffer, size, &t->candidates);
  if (t->candidates.size == 0 || t->candidates.failed || written > size) return CC_ERROR;
  size_t common = common_size(&t->candidates);
  bool only = strlen(t->candidates.bytes) + 1 == t->candidates.size;
  if (common > written) {
    t->candidates.bytes[common] = 0;
    return el_insertstr(edit, t->candidates.bytes + written) == 0 ? CC_REFRESH : CC_ERROR;
  }
  if (only) return CC_ERROR;
  show_candidates(&t->candidates);
  return CC_REDISPLAY;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------ */

/* Waits for a byte or SIGINT. The signal is let in only while waiting, so that none falls between a look and the wait. */
static bool wait_for_byte(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  sigset_t block, before;
  sigemptyset(&block);
  sigaddset(&block, SIGINT);
  sigprocmask(SIG_BLOCK, &block, &before);
  int ready = 0;
  while (!cli_interrupted() && (ready = ppoll(&input, 1, NULL, &before)) < 0 && errno == EINTR) continue;
  bool interrupted = cli_interrupted();
  sigprocmask(SIG_SETMASK, &before, NULL);
  return !interrupted && ready > 0;
}

/* libedit's own reader takes up again after a signal; this one ends the line on Ctrl-C. */
static int read_character(EditLine *edit, wchar_t *character) {
  terminal *t;
  if (el_get(edit, EL_CLIENTDATA, &t) != 0) return -1;
  for (;;) {
    char byte;
    if (!wait_for_byte()) {
      t->interrupted = cli_interrupted();
      return -1;
    }
    ssize_t size = read(STDIN_FILENO, &byte, 1);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size <= 0) return (int)size;
    size_t used = mbrtowc(character, &byte, 1, &t->decoding);
    if (used == (size_t)-2) continue;
    if (used != (size_t)-1) return 1;
    t->decoding = (mbstate_t){0}; /* no character: passed over */
  }
}

static char *show_prompt(EditLine *edit) {
  terminal *t;
  if (el_get(edit, EL_CLIENTDATA, &t) != 0) return (char *)(uintptr_t) "";
  return (char *)(uintptr_t)t->prompt;
}

terminal_answer terminal_line(terminal *t, const char *prompt, const char **line) {
  int size = 0;
  t->prompt = prompt;
  t->interrupted = false;
  t->decoding = (mbstate_t){0};
  fflush(stdout);
  el_resize(t->edit);
  el_set(t->edit, EL_PREP_TERM, 1); /* before the prompt: libedit would do it after, and a Ctrl-D in between would be lost */
  /* libedit would answer a SIGHUP by leaving its mode in the middle of the line: it comes after that. */
  sigset_t hangup, before;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  sigprocmask(SIG_BLOCK, &hangup, &before);
  const char *text = el_gets(t->edit, &size);
  sigprocmask(SIG_SETMASK, &before, NULL);
  if (t->interrupted) {
    fputs("^C\n", stdout);
    return TERMINAL_INTERRUPTED;
  }
  if (!text || size <= 0) {
    fputc('\n', stdout);
    return TERMINAL_END;
  }
  while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
  buf_clear(&t->line);
  buf_add(&t->line, text, (size_t)size);
  if (!buf_reserve(&t->line, 1)) return TERMINAL_END;
  t->line.bytes[t->line.size] = 0;
  remember(t, t->line.bytes);
  *line = t->line.bytes;
  return TERMINAL_LINE;
}

/* ---- Beginning and end -------------------------------------------------------------------------------------------------- */

terminal *terminal_open(cli *c, terminal_complete *complete, void *context, annal_error *error) {
  terminal *t = base_calloc(&c->env, 1, sizeof *t);
  HistEvent event;
  if (!t) {
    error_memory(error);
    return NULL;
  }
  t->c = c;
  t->complete = complete;
  t->context = context;
  t->prompt = "";
  t->history_file = -1;
  buf_init(&t->line, &c->env);
  buf_init(&t->candidates, &c->env);
  t->history = history_init();
  t->edit = el_init("annal", stdin, stdout, stderr);
  if (!t->history || !t->edit) {
    terminal_close(t);
    error_set(error, ANNAL_UNAVAILABLE, NULL, "the terminal cannot be used; TERM names its kind");
    return NULL;
  }
  history(t->history, &event, H_SETSIZE, LIMIT_REPL_HISTORY);
  history(t->history, &event, H_SETUNIQUE, 1);
  load_history(t);
  el_set(t->edit, EL_CLIENTDATA, t);
  el_set(t->edit, EL_PROMPT, show_prompt);
  el_set(t->edit, EL_SIGNAL, 1);
  el_set(t->edit, EL_EDITOR, "emacs");
  el_set(t->edit, EL_HIST, history, t->history);
  el_set(t->edit, EL_GETCFN, read_character);
  el_wset(t->edit, EL_ADDFN, L"annal-complete", L"completes names", on_tab); /* the narrow form would copy both for ever */
  el_set(t->edit, EL_BIND, "\t", "annal-complete", NULL);
  el_set(t->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(t->edit, NULL); /* ~/.editrc, as every program with libedit */
  return t;
}

void terminal_close(terminal *t) {
  if (!t) return;
  if (t->edit) el_end(t->edit);
  if (t->history) history_end(t->history);
  if (t->history_file >= 0) close(t->history_file);
  buf_free(&t->line);
  buf_free(&t->candidates);
  base_free(&t->c->env, t);
}
