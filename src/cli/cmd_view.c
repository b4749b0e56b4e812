/* annal view, annal query: projections. Role: the public API's annal_view and annal_query_projections. */
#include "cli.h"

static const cli_option view_options[] = {
    {"at", "P", .later = true},
    {0},
};

static int view(cli *c) {
  annal_error error;
  annal_text text = {0};
  const char *id = c->argument_count > 1 ? c->arguments[1] : "";
  if (annal_view(c->store, c->arguments[0], id, NULL, &text, &error)) return cli_fail(c, &error);
  int code = c->out.people ? out_people(c, "view", text.bytes, text.size) : out_document(c, text.bytes, text.size);
  annal_text_free(c->store, &text);
  return code;
}

const cli_command cmd_view = {
    .name = "view",
    .usage = "PROJECTION [ID]",
    .help = "shows the view of one instance; no ID for a projection of the whole store",
    .options = view_options,
    .arguments_min = 1,
    .arguments_max = 2,
    .need = CLI_READS,
    .run = view,
};

static int show_rows(cli *c, const annal_text *rows) {
  cli_member row;
  size_t at = 0;
  int code = CLI_DONE;
  if (c->out.people) return out_people(c, "rows", rows->bytes, rows->size);
  while (!code && scan_next(rows->bytes, rows->size, &at, &row)) code = out_document(c, row.value, row.value_size);
  return code;
}

static int query(cli *c) {
  annal_error error;
  annal_text rows = {0};
  cli_fields fields;
  int code = filter_fields(c, c->arguments + 1, c->argument_count - 1, "query", &fields);
  if (code) return code;
  annal_query asked = {.size = sizeof asked, .type = c->arguments[0], .data = fields.fields, .data_count = fields.count};
  if (annal_query_projections(c->store, &asked, &rows, &error)) code = cli_fail(c, &error);
  else code = show_rows(c, &rows);
  annal_text_free(c->store, &rows);
  filter_free(c, &fields);
  return code;
}

const cli_command cmd_query = {
    .name = "query",
    .usage = "PROJECTION [K=V]…",
    .help = "shows the saved views of a projection whose fields have these values",
    .arguments_min = 1,
    .arguments_max = SIZE_MAX,
    .need = CLI_READS,
    .run = query,
};
