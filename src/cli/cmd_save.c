/* annal save TYPE JSON: one event. Role: the public API's annal_save at a prompt. */
#include "cli.h"
#include <stdio.h>

static const cli_option options[] = {
    {"id", "ID", .help = "the event's id; saving the same event under it again is safe"},
    {"metadata", "JSON", .help = "a JSON object beside the data"},
    {0},
};

/* Nobody knows whether the event was stored: the id settles it. */
static void say_ids(cli *c, const annal_text *stored) {
  cli_member ids, id;
  size_t at = 0;
  base_buf text;
  if (!stored->bytes || !scan_find(stored->bytes, stored->size, "ids", &ids)) return;
  if (!scan_next(ids.value, ids.value_size, &at, &id)) return;
  buf_init(&text, &c->env);
  if (scan_string(&id, &text)) fprintf(stderr, "annal: saving it again with --id %s settles it\n", text.bytes);
  buf_free(&text);
}

static int show(cli *c, const annal_text *stored) {
  cli_member event;
  size_t at = 0;
  if (c->out.people) return out_people(c, "events", stored->bytes, stored->size);
  if (!scan_next(stored->bytes, stored->size, &at, &event)) return CLI_FAILED;
  return out_document(c, event.value, event.value_size);
}

static int save(cli *c) {
  annal_error error;
  annal_text stored = {0};
  annal_event event = {
      .type = c->arguments[0],
      .data = c->arguments[1],
      .id = options_value(c, "id"),
      .metadata = options_value(c, "metadata"),
  };
  int code;
  if (annal_save(c->store, &event, 1, NULL, &stored, &error)) {
    code = cli_fail(c, &error);
    if (error.in_doubt) say_ids(c, &stored);
  } else {
    code = show(c, &stored);
  }
  annal_text_free(c->store, &stored);
  return code;
}

const cli_command cmd_save = {
    .name = "save",
    .usage = "TYPE JSON [--id ID] [--metadata JSON]",
    .help = "saves one event and shows it as it is stored",
    .options = options,
    .arguments_min = 2,
    .arguments_max = 2,
    .need = CLI_WRITES,
    .run = save,
};
