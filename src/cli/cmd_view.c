/* annal view, annal query: projections. Role: the public API's annal_view and annal_query_projections. */
#include "base/text.h"
#include "cli.h"

static const cli_option view_options[] = {
    {"at", "P", .help = "as of this position (0: before the first event), or of a time in UTC: 2026-01-31T12:00:00Z"},
    {0},
};

static int read_past(cli *c, annal_view_options *options) {
  char shown[96];
  const char *text = options_value(c, "at");
  options->as_of = text != NULL;
  if (!text || text_to_time(text, &options->at_time)) return CLI_DONE;
  if (text_to_int(text, &options->at) && options->at >= 0) return CLI_DONE;
  return cli_misuse(c, "--at: %s is neither a position (from 0 on) nor a time in UTC, as 2026-01-31T12:00:00Z",
                    text_show(text, shown));
}

static int view(cli *c) {
  annal_error error;
  annal_text text = {0};
  annal_view_options options = {.size = sizeof options};
  const char *id = c->argument_count > 1 ? c->arguments[1] : "";
  int code = read_past(c, &options);
  if (code) return code;
  if (annal_view(c->store, c->arguments[0], id, &options, &text, &error)) return cli_fail(c, &error);
  code = c->out.people ? out_people(c, "view", text.bytes, text.size) : out_document(c, text.bytes, text.size);
  annal_text_free(c->store, &text);
  return code;
}

const cli_command cmd_view = {
    .name = "view",
    .usage = "PROJECTION [ID] [--at P]",
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

static const cli_option query_options[] = {
    {"order", "F", .help = "by the values of this field: null, false, true, numbers, strings, arrays, objects; else by id"},
    {"descending", .help = "the same order from its end"},
    {"limit", "N", .help = "at most so many"},
    {"after", "ID", .help = "begin behind this row: the last one of the page before"},
    {"at-least", "POSITION", .help = "of a projection that is kept in the background: wait until its rows know of this event"},
    {0},
};

/* What the arguments select by, and what that points to. */
typedef struct selected {
  const char **values; /* the arguments of the form K=V */
  annal_range *ranges;
  char **memory; /* of each range */
  size_t value_count, range_count;
  cli_fields fields;
} selected;

static void free_selected(cli *c, selected *s) {
  for (size_t i = 0; s->memory && i < s->range_count; i++) base_free(&c->env, s->memory[i]);
  filter_free(c, &s->fields);
  base_free(&c->env, s->memory);
  base_free(&c->env, s->ranges);
  base_free(&c->env, s->values);
}

static int read_selected(cli *c, selected *s) {
  annal_error error;
  size_t room = c->argument_count;
  int code = CLI_DONE;
  s->values = base_calloc(&c->env, room, sizeof *s->values);
  s->ranges = base_calloc(&c->env, room, sizeof *s->ranges);
  s->memory = base_calloc(&c->env, room, sizeof *s->memory);
  if (!s->values || !s->ranges || !s->memory) {
    error_memory(&error);
    return cli_fail(c, &error);
  }
  for (size_t i = 1; i < c->argument_count && !code; i++) {
    const char *text = c->arguments[i];
    if (!range_is_one(text)) {
      s->values[s->value_count++] = text;
      continue;
    }
    code = range_read(c, text, &s->ranges[s->range_count], &s->memory[s->range_count]);
    s->range_count++;
  }
  return code ? code : filter_fields(c, s->values, s->value_count, "query", &s->fields);
}

static int query(cli *c) {
  annal_error error;
  annal_text rows = {0};
  selected s = {0};
  int64_t limit, at_least = 0;
  int code = options_int(c, "limit", 1, 0, &limit);
  if (!code) code = options_int(c, "at-least", 1, 0, &at_least);
  if (!code) code = read_selected(c, &s);
  if (!code) {
    annal_query asked = {.size = sizeof asked,
                         .type = c->arguments[0],
                         .data = s.fields.fields,
                         .data_count = s.fields.count,
                         .ranges = s.ranges,
                         .range_count = s.range_count,
                         .order = options_value(c, "order"),
                         .descending = options_has(c, "descending"),
                         .limit = (uint64_t)limit,
                         .after = options_value(c, "after"),
                         .at_least = at_least};
    if (annal_query_projections(c->store, &asked, &rows, &error)) code = cli_fail(c, &error);
    else code = show_rows(c, &rows);
    annal_text_free(c->store, &rows);
  }
  free_selected(c, &s);
  return code;
}

const cli_command cmd_query = {
    .name = "query",
    .usage = "PROJECTION [K=V | K:MIN..MAX]… [--order F [--descending]] [--limit N] [--after ID] [--at-least POSITION]",
    .help = "shows the saved views of a projection whose fields have these values or lie in these ranges",
    .options = query_options,
    .arguments_min = 1,
    .arguments_max = SIZE_MAX,
    .need = CLI_READS,
    .run = query,
};
