/* annal check, annal schema: looking after scripts and a store. Role: both ask store/ directly, because programs have no use for them
 * and the public API no verb; what is said of scripts comes from check_app.c. */
#include "api/handle.h"
#include "check.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

typedef struct checking {
  cli *c;
  uint64_t count;
  int code; /* of writing */
} checking;

/* "place: what", or { finding, where }. */
static int finding(void *context, const char *where, const char *what) {
  checking *k = context;
  base_buf line, text;
  k->count++;
  if (k->code) return k->code;
  buf_init(&line, &k->c->env);
  buf_init(&text, &k->c->env);
  if (where) buf_printf(&line, "%s: ", where);
  buf_text(&line, what);
  if (k->c->out.people) {
    buf_add(&text, line.bytes, line.size);
    for (size_t i = 0; i < text.size && !text.failed; i++)
      if ((unsigned char)text.bytes[i] < 32 || text.bytes[i] == 127) text.bytes[i] = '?';
  } else {
    buf_text(&text, "{\"finding\":");
    json_add_string(&text, line.bytes, line.size);
    if (where) buf_text(&text, ",\"where\":");
    if (where) json_add_string(&text, where, strlen(where));
    buf_char(&text, '}');
  }
  k->code = text.failed || line.failed ? CLI_FAILED : out_document(k->c, text.bytes, text.size);
  buf_free(&line);
  buf_free(&text);
  return k->code;
}

static void store_finding_line(void *context, const char *line) { finding(context, NULL, line); }

/* A new app has no store yet, which is no reason not to look at its scripts. */
static int check_store(checking *k) {
  cli *c = k->c;
  annal_error error;
  uint64_t findings = 0;
  annal_options options = c->options;
  options.app = NULL;
  options.read_only = options.no_create = true;
  if (!c->location) return CLI_DONE;
  int failed = cli_try_open(c, &options, &error);
  if (failed == ANNAL_NOT_FOUND && c->options.app) {
    fprintf(stderr, "annal: %s; only the scripts were looked at\n", error.message);
    return CLI_DONE;
  }
  if (!failed) failed = store_check(c->store->store, store_finding_line, k, &findings, &error);
  return failed ? cli_fail(c, &error) : k->code;
}

static int check(cli *c) {
  checking k = {.c = c};
  int code = c->options.app ? check_app(c, c->options.app, finding, &k) : CLI_DONE;
  if (!code) code = check_store(&k);
  if (code) return code;
  if (k.count) return CLI_DIFFERS;
  return c->out.people ? out_text(c, "no findings\n", 12) : CLI_DONE;
}

const cli_command cmd_check = {
    .name = "check",
    .usage = "",
    .help = "looks whether scripts and store are sound; 4 when there are findings",
    .need = CLI_NEEDS_NOTHING,
    .without_store = true,
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
