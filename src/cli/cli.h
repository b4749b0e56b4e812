/* The command `annal`: what its files share. Role: options.c fills it, main.c dispatches on it, every cmd_*.c reads it.
 *
 * The command stands on the public API and, where that has no verb, on these internals: api/handle.h (import keeps ids and
 * times; the REPL completes the names an app declares), store/store.h (check, schema), json/ and base/. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"
#include <lua.h>

/* What the process answers. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSE = 2, CLI_REFUSED = 3, CLI_DIFFERS = 4 };

typedef struct cli cli;

typedef struct cli_option {
  const char *name;  /* without the dashes; NULL ends a list */
  const char *value; /* what stands for its value in the help; NULL: a switch */
  bool repeats;
  bool later; /* known to the design, not to this version: refused with these words */
  const char *help;
} cli_option;

/* How a command wants the store opened. */
typedef enum cli_need {
  CLI_STANDS_ALONE, /* no store need even be named, and no annal.lua is looked for */
  CLI_NEEDS_NOTHING,
  CLI_READS, /* read-only, and never made where there is none */
  CLI_WRITES
} cli_need;

typedef struct cli_command {
  const char *name;
  const char *usage; /* its arguments, as the help shows them */
  const char *help;
  const cli_option *options;
  size_t arguments_min, arguments_max;
  cli_need need;
  bool without_app;   /* it opens the store without scripts and loads them itself, or not at all */
  bool without_store; /* with an app it has something to do where no store is named */
  bool stays;         /* it goes on until it is told to end, as any command does with --follow; see cli_open */
  bool logs;          /* what the store has to say goes to stderr */
  int (*run)(cli *c);
} cli_command;

typedef struct cli_given {
  const cli_option *option;
  const char *value;
} cli_given;

/* Options of DESIGN 3 as a config file may set them; strings live in `memory` of the state that ran the file. */
typedef struct cli_config {
  lua_State *L; /* NULL: no config file. Owns every string that `options` and `store` point to */
  const base_env *env;
  size_t held;       /* bytes that L holds */
  char *path;        /* of the file */
  const char *store; /* NULL: it sets none */
  annal_options options;
} cli_config;

typedef struct cli_out {
  bool people;      /* tables and colour; else one JSON document a line */
  bool colour;      /* on stdout */
  bool progress;    /* stderr is a terminal */
  bool reader_gone; /* the pipe is closed: end without a word */
  lua_State *L;     /* runs print.lua; NULL until it is needed */
} cli_out;

struct cli {
  base_env env;
  const cli_command *command;
  const char *store_option, *app_option; /* as given on the command line */
  bool json, help, version;
  cli_given *given;
  size_t given_count;
  const char **arguments;
  size_t argument_count;
  cli_config config;
  cli_out out;
  const char *location; /* of the store, from the command line, the environment or the config file */
  annal_options options;
  annal_store *store;
};

/* ---- main.c ---- */
/* Where a store is needed and none is named: misuse. */
int cli_settings(cli *c);
/* A command that stays takes up changed scripts by itself, and at SIGHUP; what is wrong with them goes to stderr. */
int cli_open(cli *c, bool read_only, bool with_app);
/* The same, for who has an answer to an error. */
int cli_try_open(cli *c, const annal_options *options, annal_error *error);
/* Says what went wrong on stderr, "annal: code: message (where)", and answers the exit code that belongs to it. */
int cli_fail(cli *c, const annal_error *error);
int cli_exit_code(int code);
int cli_misuse(cli *c, const char *format, ...) ANNAL_PRINTF(2, 3);
/* A line of the log, as messages are written: "annal: warn: …". */
void cli_log(void *context, const char *level, const char *message);
/* SIGINT since the command began, or since it was last forgotten. */
bool cli_interrupted(void);
void cli_forget_interrupt(void);
/* SIGTERM counts as SIGINT from now on. */
void cli_end_by_term(void);
/* From now on a second SIGINT does not end the process. */
void cli_survive_interrupts(void);
/* Whether SIGHUP came and was not obeyed yet. */
bool cli_reload_asked(void);
/* Obeys it: loads changed scripts, and says what is wrong with them, which is no failure of the command. For between two calls. */
void cli_reload_if_asked(cli *c);
/* From now on SIGHUP ends the call under way, as an interruption does, until it is obeyed: for calls that wait without end. */
void cli_wake_at_hangup(void);
extern const cli_command *const cli_commands[]; /* ended by NULL */

/* ---- options.c ---- */
/* Reads the command line into *c; CLI_DONE or the exit code, with the message said. */
int options_parse(cli *c, int count, char **arguments);
void options_free(cli *c);
const char *options_value(const cli *c, const char *name); /* NULL: not given */
bool options_has(const cli *c, const char *name);
/* A whole number of at least `min`; `otherwise` where it is not given. */
int options_int(cli *c, const char *name, int64_t min, int64_t otherwise, int64_t *value);
void options_help(const cli *c);

/* ---- filter.c: K=V on the command line ---- */
typedef struct cli_fields {
  annal_field *fields;
  size_t count;
  void *memory;
} cli_fields;
/* "K=V" each; equal names become one field with several values. `what` names the place in messages. */
int filter_fields(cli *c, const char *const *texts, size_t count, const char *what, cli_fields *out);
void filter_free(cli *c, cli_fields *fields);

/* A range on the command line, "K:MIN..MAX" with one end or both (range.c). */
bool range_is_one(const char *text);
/* *memory is what the range points to, for base_free. */
int range_read(cli *c, const char *text, annal_range *range, char **memory);

/* ---- config.c ---- */
/* Looks for annal.lua in the current directory and above, and runs it. */
int config_load(cli *c);
void config_free(cli *c);

/* ---- scan.c: members of canonical JSON, without building anything ---- */
typedef struct cli_member {
  const char *key; /* the bytes between the quotes, escapes as they stand */
  size_t key_size;
  const char *value;
  size_t value_size;
} cli_member;
/* Steps through an object or array in canonical form: *at is 0 at first. False when there is nothing more. In an array the key is
 * NULL. */
bool scan_next(const char *text, size_t size, size_t *at, cli_member *member);
bool scan_find(const char *text, size_t size, const char *key, cli_member *member);
/* The text that a canonical JSON string stands for. False when it is none. */
bool scan_string(const cli_member *member, base_buf *out);

/* ---- out.c ---- */
void out_begin(cli *c);
int out_end(cli *c, int code); /* flushes; a failed write is CLI_FAILED */
/* One JSON document, one line. Non-zero: nothing can be written any more. */
int out_document(cli *c, const char *json, size_t size);
int out_text(cli *c, const char *text, size_t size);
/* What was written so far goes out. */
int out_flush(cli *c);
/* print.lua's `function` on a JSON document: what people see. */
int out_people(cli *c, const char *function, const char *json, size_t size);
/* An Lua state with print.lua as its one value on the stack, for out.c and the REPL: [-0, +1, e]. */
void out_push_printer(lua_State *L, const cli *c);
/* 1234567 as 1,234,567. */
const char *out_number(uint64_t value, char text[32]);

/* ---- progress.c ---- */
typedef struct cli_progress {
  bool on;
  const char *verb;
  int64_t started, shown_at; /* monotonic */
  uint64_t shown_done;
  double rate; /* of `done`, a second */
} cli_progress;
void progress_begin(cli_progress *p, cli *c, const char *verb);
/* "imported 12,000 events, 8,000/s [####------] 40%, 0:12 left" over the last one, not more than ten times a second. `count`
 * events, `done` of `total` in whatever measure; total 0: nobody knows how much there is. */
void progress_show(cli_progress *p, uint64_t count, uint64_t done, uint64_t total);
/* Ends the line, where there was one or should have been. */
void progress_end(cli_progress *p, uint64_t count);

/* ---- lua.c: the states of the command ---- */
lua_State *cli_lua_new(const base_env *env);
/* Loads an embedded file ("annal/print.lua") and calls it: [-0, +1, e]. */
void cli_lua_require(lua_State *L, const char *path);
/* Made by the embed tool. */
const char *cli_lua_file(const char *path, size_t *size);
const char *const *cli_lua_file_paths(void);

/* ---- The commands ---- */
extern const cli_command cmd_init, cmd_save, cmd_call, cmd_import, cmd_export, cmd_events, cmd_view, cmd_query, cmd_run,
    cmd_rebuild, cmd_stats, cmd_check, cmd_schema, cmd_repl;

#endif
