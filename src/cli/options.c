/* The command line: options before and after the command's name, their values, and a hint where a name is off by one letter.
 * Role: main.c calls it first; the commands ask it what was given. */
#include "base/text.h"
#include "cli.h"
#include "script/near.h"
#include <stdio.h>
#include <string.h>

/* Options of every command. */
static const cli_option common[] = {
    {"store", "URL", .help = "a path, sqlite:path, :memory: or postgresql://…; else ANNAL_STORE, else annal.lua"},
    {"app", "DIR", .help = "the directory of scripts; else ANNAL_APP, else annal.lua"},
    {"json", .help = "one JSON document a line, on a terminal too"},
    {"help", .help = "this text"},
    {"version", .help = "the version"},
    {0},
};

/* Commands of the design that this version does not have: better said so than "unknown". */
static const char *const later_commands[] = {"diff", "what-if", "why", "bisect", "types", NULL};

static const cli_option *find(const cli_option *list, const char *name, size_t size) {
  for (; list && list->name; list++)
    if (strlen(list->name) == size && memcmp(list->name, name, size) == 0) return list;
  return NULL;
}

static const char *near(const cli_option *list, const char *name) {
  for (; list && list->name; list++)
    if (near_name(name, list->name)) return list->name;
  return NULL;
}

static int unknown_option(cli *c, const char *text) {
  char shown[96], name[64];
  const char *bare = text + strspn(text, "-");
  size_t size = strcspn(bare, "=");
  snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), bare);
  const char *meant = near(common, name);
  if (!meant && c->command) meant = near(c->command->options, name);
  if (meant) return cli_misuse(c, "unknown option %s; did you mean --%s?", text_show(text, shown), meant);
  if (c->command) return cli_misuse(c, "unknown option %s; see annal %s --help", text_show(text, shown), c->command->name);
  return cli_misuse(c, "unknown option %s; see annal --help", text_show(text, shown));
}

static int unknown_command(cli *c, const char *name) {
  char shown[96];
  for (size_t i = 0; later_commands[i]; i++)
    if (strcmp(name, later_commands[i]) == 0) return cli_misuse(c, "the command %s is not in this version yet", name);
  for (size_t i = 0; cli_commands[i]; i++)
    if (near_name(name, cli_commands[i]->name))
      return cli_misuse(c, "unknown command %s; did you mean %s?", text_show(name, shown), cli_commands[i]->name);
  return cli_misuse(c, "unknown command %s; see annal --help", text_show(name, shown));
}

/* Files one option away; the common ones are kept apart because main.c needs them before there is a command. */
static int take(cli *c, const cli_option *option, const char *value) {
  if (option->later) return cli_misuse(c, "--%s is not in this version yet", option->name);
  for (size_t i = 0; i < c->given_count; i++)
    if (c->given[i].option == option && !option->repeats) return cli_misuse(c, "--%s is given twice", option->name);
  c->given[c->given_count++] = (cli_given){option, value};
  if (option == &common[0]) c->store_option = value;
  if (option == &common[1]) c->app_option = value;
  if (option == &common[2]) c->json = true;
  if (option == &common[3]) c->help = true;
  if (option == &common[4]) c->version = true;
  return CLI_DONE;
}

/* Reads the option at arguments[*at], and its value where it has one. */
static int read_option(cli *c, int count, char **arguments, int *at) {
  const char *text = arguments[*at];
  if (strcmp(text, "-h") == 0) text = "--help";
  if (text[1] != '-') return unknown_option(c, text);
  const char *name = text + 2;
  size_t size = strcspn(name, "=");
  const cli_option *option = find(common, name, size);
  if (!option && c->command) option = find(c->command->options, name, size);
  if (!option) return unknown_option(c, text);
  const char *value = name[size] ? name + size + 1 : NULL;
  if (!option->value) {
    if (value) return cli_misuse(c, "--%s takes no value", option->name);
    return take(c, option, "");
  }
  if (!value) {
    if (option->later) return take(c, option, "");
    if (*at + 1 >= count) return cli_misuse(c, "--%s needs a value: --%s %s", option->name, option->name, option->value);
    value = arguments[++*at];
  }
  return take(c, option, value);
}

static int find_command(cli *c, const char *name) {
  for (size_t i = 0; cli_commands[i]; i++)
    if (strcmp(name, cli_commands[i]->name) == 0) {
      c->command = cli_commands[i];
      return CLI_DONE;
    }
  return unknown_command(c, name);
}

static int check_arguments(cli *c) {
  char shown[96];
  const cli_command *command = c->command;
  if (c->help || c->version) return CLI_DONE;
  if (!command) return cli_misuse(c, "no command; see annal --help");
  if (c->argument_count < command->arguments_min)
    return cli_misuse(c, "too few arguments: annal %s %s", command->name, command->usage);
  if (c->argument_count > command->arguments_max)
    return cli_misuse(c, "one argument too many: %s; it is annal %s %s", text_show(c->arguments[command->arguments_max], shown),
                      command->name, command->usage);
  return CLI_DONE;
}

int options_parse(cli *c, int count, char **arguments) {
  c->given = base_calloc(&c->env, (size_t)count + 1, sizeof *c->given);
  c->arguments = base_calloc(&c->env, (size_t)count + 1, sizeof *c->arguments);
  if (!c->given || !c->arguments) {
    annal_error error;
    error_memory(&error);
    return cli_fail(c, &error);
  }
  bool only_arguments = false;
  for (int i = 1; i < count; i++) {
    const char *text = arguments[i];
    int code = CLI_DONE;
    if (!only_arguments && strcmp(text, "--") == 0) only_arguments = true;
    else if (!only_arguments && text[0] == '-' && text[1]) code = read_option(c, count, arguments, &i);
    else if (!c->command) code = find_command(c, text);
    else c->arguments[c->argument_count++] = text;
    if (code) return code;
  }
  return check_arguments(c);
}

void options_free(cli *c) {
  base_free(&c->env, c->given);
  base_free(&c->env, c->arguments);
}

const char *options_value(const cli *c, const char *name) {
  for (size_t i = 0; i < c->given_count; i++)
    if (strcmp(c->given[i].option->name, name) == 0) return c->given[i].value;
  return NULL;
}

bool options_has(const cli *c, const char *name) { return options_value(c, name) != NULL; }

int options_int(cli *c, const char *name, int64_t min, int64_t otherwise, int64_t *value) {
  char shown[96];
  const char *text = options_value(c, name);
  *value = otherwise;
  if (!text) return CLI_DONE;
  if (text_to_int(text, value) && *value >= min) return CLI_DONE;
  return cli_misuse(c, "--%s: %s is not a whole number from %lld on", name, text_show(text, shown), (long long)min);
}

static void print_options(const cli_option *list) {
  for (; list && list->name; list++) {
    char left[64];
    if (list->later) continue;
    snprintf(left, sizeof left, "--%s%s%s%s", list->name, list->value ? " " : "", list->value ? list->value : "",
             list->repeats ? " …" : "");
    printf("  %-22s %s\n", left, list->help);
  }
}

void options_help(const cli *c) {
  if (c->command) {
    printf("annal %s %s\n%s\n\n", c->command->name, c->command->usage, c->command->help);
    print_options(c->command->options);
    print_options(common);
    return;
  }
  printf("annal [--store URL] [--app DIR] [--json] COMMAND …\n\n");
  for (size_t i = 0; cli_commands[i]; i++) printf("  %-8s %s\n", cli_commands[i]->name, cli_commands[i]->help);
  printf("\n");
  print_options(common);
  printf("\nannal COMMAND --help says more. Exit codes: 0 done, 1 failed, 2 wrong use, 3 refused (a conflict or a rejection),\n"
         "4 differs (check has findings).\n");
}
