/* annal call COMMAND JSON: runs a command of the app. Role: the public API's annal_call at a prompt. A conflict and a rejection end
 * it with the exit code for what is refused. */
#include "cli.h"
#include <stdio.h>

static const cli_option options[] = {
    {"id", "ID", .help = "of the request: calling it again under this id stores nothing twice"},
    {"metadata", "JSON", .help = "a JSON object that every event of it bears"},
    {0},
};

/* Nobody knows whether the events were stored. */
static void say_ids(cli *c, const annal_text *stored) {
  cli_member ids, id;
  size_t at = 0;
  base_buf text;
  const char *request = options_value(c, "id");
  if (request) {
    fprintf(stderr, "annal: calling it again with --id %s settles it\n", request);
    return;
  }
  if (!stored->bytes || !scan_find(stored->bytes, stored->size, "ids", &ids)) return;
  buf_init(&text, &c->env);
  while (scan_next(ids.value, ids.value_size, &at, &id)) {
    buf_char(&text, ' ');
    scan_string(&id, &text);
  }
  if (text.bytes && !text.failed) fprintf(stderr, "annal: if it was stored, it has the ids%s\n", text.bytes);
  buf_free(&text);
}

static int show(cli *c, const annal_text *stored) {
  cli_member event;
  size_t at = 0;
  int code = CLI_DONE;
  if (c->out.people) return out_people(c, "events", stored->bytes, stored->size);
  while (!code && scan_next(stored->bytes, stored->size, &at, &event)) code = out_document(c, event.value, event.value_size);
  return code;
}

static int call(cli *c) {
  annal_error error;
  annal_text stored = {0};
  annal_call_options asked = {.size = sizeof asked, .id = options_value(c, "id"), .metadata = options_value(c, "metadata")};
  const char *arguments = c->argument_count > 1 ? c->arguments[1] : NULL;
  int code;
  if (annal_call(c->store, c->arguments[0], arguments, &asked, &stored, &error)) {
    code = cli_fail(c, &error);
    if (error.in_doubt) say_ids(c, &stored);
  } else {
    code = show(c, &stored);
  }
  annal_text_free(c->store, &stored);
  return code;
}

const cli_command cmd_call = {
    .name = "call",
    .usage = "COMMAND [JSON] [--id ID] [--metadata JSON]",
    .help = "runs a command and shows the events that it stored",
    .options = options,
    .arguments_min = 1,
    .arguments_max = 2,
    .need = CLI_WRITES,
    .run = call,
};
