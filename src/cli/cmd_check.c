/* annal check, annal schema: looking after a store. Role: both ask store/ directly, because programs have no use for them and
 * the public API no verb. */
#include "api/handle.h"
#include "cli.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

typedef struct checking {
  cli *c;
  uint64_t count;
  int code; /* of writing */
} checking;

static void finding(void *context, const char *line) {
  checking *k = context;
  base_buf text;
  k->count++;
  if (k->code) return;
  buf_init(&text, &k->c->env);
  if (k->c->out.people) {
    buf_text(&text, line);
  } else {
    buf_text(&text, "{\"finding\":");
    json_add_string(&text, line, strlen(line));
    buf_char(&text, '}');
  }
  k->code = text.failed ? CLI_FAILED : out_document(k->c, text.bytes, text.size);
  buf_free(&text);
}

/* Scripts that do not load are a finding like any other; that they cannot be read is a failure. */
static int check_app(checking *k) {
  annal_error error;
  char line[sizeof error.message + sizeof error.where + 32];
  const char *app = k->c->options.app;
  if (!app || annal_load(k->c->store, app, &error) == 0) return CLI_DONE;
  if (error.code != ANNAL_SCRIPT && error.code != ANNAL_BUDGET && error.code != ANNAL_INVALID) return cli_fail(k->c, &error);
  snprintf(line, sizeof line, "%s: %s%s%s", app, error.where, error.where[0] ? ": " : "", error.message);
  finding(k, line);
  return CLI_DONE;
}

static int check(cli *c) {
  annal_error error;
  uint64_t findings = 0;
  checking k = {.c = c};
  int code = check_app(&k);
  if (code) return code;
  if (store_check(c->store->store, finding, &k, &findings, &error)) return cli_fail(c, &error);
  if (k.code) return k.code;
  if (k.count) return CLI_DIFFERS;
  return c->out.people ? out_text(c, "no findings\n", 12) : CLI_DONE;
}

const cli_command cmd_check = {
    .name = "check",
    .usage = "",
    .help = "looks whether scripts and store are sound; 4 when there are findings",
    .need = CLI_READS,
    .without_app = true,
    .run = check,
};

static int make_ddl(cli *c, base_buf *sql, annal_error *error) {
  annal_options options;
  void *memory = NULL;
  int failed = handle_copy_options(&c->env, &c->options, &options, &memory, error);
  if (!failed) failed = store_ddl(&c->env, c->location, &options, sql, error);
  base_free(&c->env, memory);
  return failed;
}

/* SQL, as it would be piped into psql or sqlite3; as JSON only when that is asked for. */
static int schema(cli *c) {
  annal_error error;
  base_buf sql, text;
  buf_init(&sql, &c->env);
  buf_init(&text, &c->env);
  int code = make_ddl(c, &sql, &error);
  if (code) {
    code = cli_fail(c, &error);
  } else if (!c->json) {
    code = out_text(c, sql.bytes, sql.size);
  } else {
    buf_text(&text, "{\"sql\":");
    json_add_string(&text, sql.bytes, sql.size);
    buf_char(&text, '}');
    code = text.failed ? CLI_FAILED : out_document(c, text.bytes, text.size);
  }
  buf_free(&sql);
  buf_free(&text);
  return code;
}

const cli_command cmd_schema = {
    .name = "schema",
    .usage = "",
    .help = "prints the DDL of the store with its grants; needs no connection",
    .need = CLI_NEEDS_NOTHING,
    .run = schema,
};
