/* The command `annal`: which command, on which store, and how it ends. Role: the program's entry; everything a command does
 * stands in its cmd_*.c. */
#include "base/text.h"
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

const cli_command *const cli_commands[] = {&cmd_init,   &cmd_save,  &cmd_call,   &cmd_import, &cmd_export,
                                           &cmd_events, &cmd_view,  &cmd_query,  &cmd_run,    &cmd_rebuild,
                                           &cmd_stats,  &cmd_check, &cmd_schema, &cmd_repl,   NULL};

/* What the signal handler needs; set once the store is open, cleared before it closes. */
static annal_store *volatile interrupt_store;
static volatile sig_atomic_t interrupted, survive;
static volatile sig_atomic_t reload_asked, wake_at_hangup;
static bool had_terminal, hangup_ignored; /* when the command began */

static void repeat_interrupts(void) {
  struct itimerval again = {.it_interval = {.tv_usec = 200000}, .it_value = {.tv_usec = 200000}};
  setitimer(ITIMER_REAL, &again, NULL);
}

/* The first one asks the call under way to end; a second one, when that takes too long, ends the process: stores are safe then.
 * One that comes between two calls of a command would be lost, and the next call might wait for ever: so it is repeated. */
static void on_interrupt(int number) {
  if (interrupted && !survive) _exit(128 + number);
  interrupted = 1;
  annal_store *store = interrupt_store;
  if (store) annal_interrupt(store);
  repeat_interrupts();
}

static void on_repeat(int number) {
  (void)number;
  annal_store *store = interrupt_store;
  struct itimerval never = {0};
  if (!interrupted && !(reload_asked && wake_at_hangup)) setitimer(ITIMER_REAL, &never, NULL);
  else if (store) annal_interrupt(store);
}

/* Whether the process has a terminal that controls it, be it read from or not. Safe in a signal handler. */
static bool has_terminal(void) {
  int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (terminal >= 0) close(terminal);
  return terminal >= 0;
}

/* Somebody asks for the scripts to be loaded anew; or the terminal is gone, which is the end, as it is of any program that nohup
 * has not said otherwise to. */
static void on_hangup(int number) {
  int saved = errno;
  annal_store *store = interrupt_store;
  if (!had_terminal || has_terminal()) {
    reload_asked = 1;
    if (wake_at_hangup && store) annal_interrupt(store);
    if (wake_at_hangup) repeat_interrupts();
  } else if (!hangup_ignored) {
    signal(number, SIG_DFL);
    raise(number);
  }
  errno = saved;
}

/* A closed pipe is an error of write() and no sudden death; not SIG_IGN, which children would inherit. */
static void on_pipe(int number) { (void)number; }

bool cli_interrupted(void) { return interrupted; }

void cli_forget_interrupt(void) { interrupted = 0; }

void cli_survive_interrupts(void) { survive = 1; }

void cli_end_by_term(void) {
  struct sigaction action = {.sa_handler = on_interrupt};
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, NULL);
}

static void take_signals(void) {
  struct sigaction action = {.sa_handler = on_interrupt};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_pipe;
  sigaction(SIGPIPE, &action, NULL);
  action.sa_handler = on_repeat;
  sigaction(SIGALRM, &action, NULL);
}

static void take_hangups(void) {
  struct sigaction before, action = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  had_terminal = has_terminal();
  sigaction(SIGHUP, NULL, &before);
  hangup_ignored = before.sa_handler == SIG_IGN;
  sigaction(SIGHUP, &action, NULL);
}

bool cli_reload_asked(void) { return reload_asked; }

void cli_wake_at_hangup(void) { wake_at_hangup = 1; }

void cli_reload_if_asked(cli *c) {
  annal_error error;
  if (!reload_asked) return;
  reload_asked = 0;
  if (annal_reload(c->store, &error)) cli_fail(c, &error);
}

/* What scripts have in them that cannot be loaded is for the person who changes them; the rest of the log is not. */
static void say_errors(void *context, const char *level, const char *message) {
  const cli *c = context;
  if (strcmp(level, "error") != 0 || c->out.reader_gone) return;
  fflush(stdout);
  fprintf(stderr, "annal: %s\n", message);
}

int cli_exit_code(int code) {
  if (code == ANNAL_OK) return CLI_DONE;
  if (code == ANNAL_CONFLICT || code == ANNAL_REJECTED) return CLI_REFUSED;
  return code == ANNAL_MISUSE ? CLI_MISUSE : CLI_FAILED;
}

int cli_fail(cli *c, const annal_error *error) {
  if (c->out.reader_gone) return CLI_FAILED;
  fflush(stdout);
  fprintf(stderr, "annal: %s: %s", annal_code_name(error->code), error->message);
  if (error->where[0]) fprintf(stderr, " (%s)", error->where);
  fputc('\n', stderr);
  return cli_exit_code(error->code);
}

int cli_misuse(cli *c, const char *format, ...) {
  annal_error error;
  char message[sizeof error.message];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  error_set(&error, ANNAL_MISUSE, NULL, "%s", message);
  return cli_fail(c, &error);
}

void cli_log(void *context, const char *level, const char *message) {
  const cli *c = context;
  if (strcmp(level, "debug") == 0) return;
  fprintf(stderr, "%sannal: %s: %s\n", c->out.progress ? "\r\033[K" : "", level, message);
}

/* Command line before environment before config file. */
int cli_settings(cli *c) {
  const char *store = getenv("ANNAL_STORE"), *app = getenv("ANNAL_APP");
  c->options = c->config.options;
  c->options.size = sizeof c->options;
  c->location = c->store_option ? c->store_option : store && *store ? store : c->config.store;
  if (c->app_option) c->options.app = c->app_option;
  else if (app && *app) c->options.app = app;
  if (c->location && *c->location) return CLI_DONE;
  c->location = NULL;
  if (c->command->without_store && c->options.app) return CLI_DONE;
  return cli_misuse(c, "no store is named: give --store URL, set ANNAL_STORE, or write store = \"…\" in an annal.lua");
}

int cli_try_open(cli *c, const annal_options *options, annal_error *error) {
  int code = annal_open(c->location, options, &c->store, error);
  if (!code) interrupt_store = c->store;
  return code;
}

int cli_open(cli *c, bool read_only, bool with_app) {
  annal_options options = c->options;
  if (!with_app) options.app = NULL;
  if (read_only) options.read_only = options.no_create = true;
  bool stays = c->command->stays || options_has(c, "follow");
  if (stays) take_hangups();
  else options.no_reload = true;
  if (stays || c->command->logs) {
    options.log = c->command->logs ? cli_log : say_errors;
    options.log_context = c;
  }
  annal_error error;
  return cli_try_open(c, &options, &error) ? cli_fail(c, &error) : CLI_DONE;
}

static int run(cli *c) {
  if (c->version) {
    printf("annal %s\n", ANNAL_VERSION);
    return CLI_DONE;
  }
  if (c->help) {
    options_help(c);
    return CLI_DONE;
  }
  if (c->command->need == CLI_STANDS_ALONE) return c->command->run(c);
  int code = config_load(c);
  if (!code) code = cli_settings(c);
  if (!code && c->command->need != CLI_NEEDS_NOTHING) code = cli_open(c, c->command->need == CLI_READS, !c->command->without_app);
  return code ? code : c->command->run(c);
}

int main(int count, char **arguments) {
  cli c = {0};
  base_env_init(&c.env, NULL);
  setlocale(LC_CTYPE, ""); /* what a character is, and how wide; numbers stay the C locale's */
  take_signals();
  int code = options_parse(&c, count, arguments);
  if (!code) {
    out_begin(&c);
    code = run(&c);
    code = out_end(&c, code);
  }
  interrupt_store = NULL;
  annal_close(c.store);
  config_free(&c);
  options_free(&c);
  return code;
}
