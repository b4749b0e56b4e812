/* annal events, annal export: the log. Role: the public API's annal_read and annal_follow; memory stays flat whatever the log's
 * length. With an app events are shown as its scripts declare them; an export is of what is stored, unless the upgraded form is
 * asked for. */
#include "api/reader.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* People's output is laid out in pieces: columns are as wide as the widest so far. */
enum { EVENTS_A_PIECE = 100 };

typedef struct reading {
  cli *c;
  base_buf text; /* one document, or for people a JSON array of some events */
  base_buf data; /* of the event at hand, checked; and its metadata */
  base_buf metadata;
  size_t count;                  /* events in it */
  bool shown;                    /* something was; nothing at all is said in words */
  char last[LIMIT_ID_BYTES + 1]; /* the id of the event that a follower has shown last, "" when there is none */
  int code;
  cli_progress *progress; /* of an export, else NULL */
  uint64_t written, head;
} reading;

static int flush_piece(reading *r) {
  if (r->count == 0 && r->shown) return CLI_DONE;
  buf_text(&r->text, r->count ? "]" : "[]");
  r->shown = true;
  annal_error error;
  int code = CLI_FAILED;
  if (r->text.failed) code = (error_memory(&error), cli_fail(r->c, &error));
  else code = out_people(r->c, "events", r->text.bytes, r->text.size);
  buf_clear(&r->text);
  r->count = 0;
  return code;
}

/* A payload as it is to be printed. What is stored may have been changed by another program: then it is not to be trusted, and what
 * is no JSON is not to be printed as if it were. */
static int take_payload(base_buf *checked, const annal_event *event, const char *part, const char **json, size_t *size,
                        annal_error *error) {
  char shown[96];
  annal_error fault;
  if (!*json) return ANNAL_OK;
  buf_clear(checked);
  int code = json_canonical(*json, *size, JSON_OBJECT, checked, &fault);
  if (code == ANNAL_INVALID)
    return error_set(error, ANNAL_CORRUPT, fault.where, "%s of event \"%s\" at position %lld: %.800s", part,
                     text_show(event->id, shown), (long long)event->position, fault.message);
  if (code || checked->failed) return error_memory(error);
  *json = checked->bytes;
  *size = checked->size;
  return ANNAL_OK;
}

/* Takes the event's payloads into *shown, or ends the reading behind what was shown before. */
static int check_event(reading *r, const annal_event *event, annal_event *shown) {
  annal_error error;
  *shown = *event;
  int failed = take_payload(&r->data, event, "data", &shown->data, &shown->data_size, &error);
  if (!failed) failed = take_payload(&r->metadata, event, "metadata", &shown->metadata, &shown->metadata_size, &error);
  if (!failed) return CLI_DONE;
  if (r->count > 0) flush_piece(r);
  r->code = cli_fail(r->c, &error);
  return r->code;
}

static int each_for_people(void *context, const annal_event *event) {
  reading *r = context;
  annal_event shown;
  if (check_event(r, event, &shown)) return r->code;
  buf_char(&r->text, r->count++ ? ',' : '[');
  json_add_event(&r->text, &shown);
  if (r->count == EVENTS_A_PIECE) r->code = flush_piece(r);
  return r->code;
}

static int each_document(void *context, const annal_event *event) {
  reading *r = context;
  annal_event shown;
  annal_error error;
  if (check_event(r, event, &shown)) return r->code;
  buf_clear(&r->text);
  json_add_event(&r->text, &shown);
  if (r->text.failed) r->code = (error_memory(&error), cli_fail(r->c, &error));
  else r->code = out_document(r->c, r->text.bytes, r->text.size);
  r->written++;
  if (r->progress && r->written % EVENTS_A_PIECE == 0) progress_show(r->progress, r->written, (uint64_t)event->position, r->head);
  return r->code;
}

static void begin_reading(reading *r, cli *c) {
  r->c = c;
  buf_init(&r->text, &c->env);
  buf_init(&r->data, &c->env);
  buf_init(&r->metadata, &c->env);
}

static void end_reading(reading *r) {
  buf_free(&r->text);
  buf_free(&r->data);
  buf_free(&r->metadata);
}

/* What is selected was said by --type and --data. */
static int fail_read(cli *c, annal_error *error) {
  handle_plain_where(error);
  return cli_fail(c, error);
}

static int read_events(cli *c, const annal_selection *selection, bool people) {
  annal_error error;
  reading r = {0};
  begin_reading(&r, c);
  int failed = annal_read(c->store, selection, people ? each_for_people : each_document, &r, &error);
  if (people && !r.code && !failed) r.code = flush_piece(&r);
  if (failed && !r.code) r.code = fail_read(c, &error);
  end_reading(&r);
  return r.code;
}

/* An event that is followed is shown at once: whoever waits for it may sit behind a pipe. */
static int each_followed(void *context, const annal_event *event) {
  reading *r = context;
  if (cli_interrupted()) return 1;
  if (r->c->out.people) each_for_people(r, event);
  else each_document(r, event);
  if (r->c->out.people && !r->code) r->code = flush_piece(r);
  if (!r->code) r->code = out_flush(r->c);
  if (!r->code) snprintf(r->last, sizeof r->last, "%s", event->id);
  return r->code;
}

/* Ctrl-C is how a follower ends, and no failure. After a SIGHUP it goes on behind what it has shown. */
static int follow_events(cli *c, const annal_selection *selection) {
  annal_error error;
  annal_selection rest = *selection;
  reading r = {.shown = true};
  int failed;
  begin_reading(&r, c);
  cli_wake_at_hangup();
  for (;;) {
    failed = annal_follow(c->store, &rest, 0, each_followed, &r, &error);
    if (failed != ANNAL_UNAVAILABLE || !cli_reload_asked() || cli_interrupted()) break;
    cli_reload_if_asked(c);
    if (!r.last[0]) continue;
    rest.after = 0;
    rest.after_id = r.last;
  }
  if (failed && !r.code && !cli_interrupted()) r.code = fail_read(c, &error);
  end_reading(&r);
  return r.code;
}

/* ---- One correlation ------------------------------------------------------------------------------------------------------ */

static int each_in_tree(void *context, const annal_event *event) {
  reading *r = context;
  annal_event shown;
  if (check_event(r, event, &shown)) return r->code;
  buf_char(&r->text, r->count++ ? ',' : '[');
  json_add_event(&r->text, &shown);
  return 0;
}

/* The tree of what caused what needs all of it at once. */
static int show_tree(reading *r, bool cut) {
  static const char note[] = "there may be more: this is as many as a tree has; --limit or --json shows others\n";
  annal_error error;
  buf_text(&r->text, r->count ? "]" : "[]");
  if (r->text.failed) return error_memory(&error), cli_fail(r->c, &error);
  int code = out_people(r->c, "tree", r->text.bytes, r->text.size);
  return code || !cut ? code : out_text(r->c, note, sizeof note - 1);
}

static int read_correlation(cli *c, annal_selection *selection, const char *id) {
  annal_error error;
  handle_reader *reader = NULL;
  const annal_event *event;
  reading r = {0};
  bool limited = c->out.people && selection->limit == 0;
  if (limited) selection->limit = LIMIT_TREE_EVENTS;
  begin_reading(&r, c);
  annal_each *each = c->out.people ? each_in_tree : each_document;
  int failed = handle_read_correlated(c->store, selection, id, &reader, &error);
  while (!failed && !(failed = handle_reader_next(reader, 0, &event, &error)) && event)
    if (each(&r, event)) break;
  handle_reader_close(reader);
  if (failed && !r.code) r.code = fail_read(c, &error);
  if (!r.code && c->out.people) r.code = show_tree(&r, limited && r.count == LIMIT_TREE_EVENTS);
  end_reading(&r);
  return r.code;
}

/* ---- events -------------------------------------------------------------------------------------------------------------- */

static const cli_option events_options[] = {
    {"type", "T", .repeats = true, .help = "events of this type, or of one of these"},
    {"data", "K=V", .repeats = true, .help = "whose data has this value in this field; equal names are alternatives"},
    {"after", "X", .help = "begin after this position, or after id:ID"},
    {"before", "X", .help = "end before it"},
    {"limit", "N", .help = "at most so many"},
    {"reverse", .help = "newest first"},
    {"follow", .help = "and go on with what is saved from now on, until Ctrl-C"},
    {"correlation", "ID", .help = "of this correlation alone; on a terminal as the tree of what caused what"},
    {0},
};

/* A position, or id:ID. */
static int read_bound(cli *c, const char *name, int64_t min, int64_t *position, const char **id) {
  char shown[96];
  const char *text = options_value(c, name);
  if (!text) return CLI_DONE;
  if (strncmp(text, "id:", 3) == 0 && text[3]) {
    *id = text + 3;
    return CLI_DONE;
  }
  if (text_to_int(text, position) && *position >= min) return CLI_DONE;
  return cli_misuse(c, "--%s: %s is neither a position (from %lld on) nor id:ID", name, text_show(text, shown), (long long)min);
}

/* The values of a repeated option, in order: at most given_count of them. */
static size_t collect(const cli *c, const char *name, const char **values) {
  size_t count = 0;
  for (size_t i = 0; i < c->given_count; i++)
    if (strcmp(c->given[i].option->name, name) == 0) values[count++] = c->given[i].value;
  return count;
}

/* Who follows has no end to give, and no way back. */
static int check_follow(cli *c) {
  static const char *const ends[] = {"before", "limit", "reverse"};
  for (size_t i = 0; options_has(c, "follow") && i < sizeof ends / sizeof *ends; i++)
    if (options_has(c, ends[i])) return cli_misuse(c, "--follow has no end: --%s does not go with it", ends[i]);
  if (options_has(c, "follow") && options_has(c, "correlation"))
    return cli_misuse(c, "--follow does not go with --correlation: what was saved so far is its tree");
  return CLI_DONE;
}

static int read_selected(cli *c, const char **types, const char **data) {
  annal_selection selection = {.size = sizeof selection, .reverse = options_has(c, "reverse")};
  annal_stream stream = {.type_count = collect(c, "type", types)};
  cli_fields fields;
  int64_t limit = 0;
  int code = check_follow(c);
  if (!code) code = options_int(c, "limit", 1, 0, &limit);
  if (!code) code = read_bound(c, "after", 0, &selection.after, &selection.after_id);
  if (!code) code = read_bound(c, "before", 1, &selection.before, &selection.before_id);
  if (!code) code = filter_fields(c, data, collect(c, "data", data), "--data", &fields);
  if (code) return code;
  selection.limit = (uint64_t)limit;
  if (stream.type_count) stream.types = types; /* an empty list is not the same as none */
  stream.data = fields.fields;
  stream.data_count = fields.count;
  if (stream.type_count || stream.data_count) {
    selection.streams = &stream;
    selection.stream_count = 1;
  }
  const char *correlation = options_value(c, "correlation");
  if (correlation) code = read_correlation(c, &selection, correlation);
  else code = options_has(c, "follow") ? follow_events(c, &selection) : read_events(c, &selection, c->out.people);
  filter_free(c, &fields);
  return code;
}

static int events(cli *c) {
  const char **values = base_calloc(&c->env, 2 * (c->given_count + 1), sizeof *values);
  if (!values) {
    annal_error error;
    error_memory(&error);
    return cli_fail(c, &error);
  }
  int code = read_selected(c, values, values + c->given_count + 1);
  base_free(&c->env, values);
  return code;
}

const cli_command cmd_events = {
    .name = "events",
    .usage = "[--type T]… [--data K=V]… [--correlation ID] [--after X] [--before X] [--limit N] [--reverse] [--follow]",
    .help = "shows the log, in order of position",
    .options = events_options,
    .need = CLI_READS,
    .run = events,
};

/* ---- export -------------------------------------------------------------------------------------------------------------- */

static int take_head(void *context, const annal_event *event) {
  *(uint64_t *)context = (uint64_t)event->position;
  return 0;
}

static const cli_option export_options[] = {
    {"upcast", .help = "events of older versions upgraded by the app's scripts, instead of as they are stored"},
    {0},
};

/* A document a line on a terminal too: what an export is for is import. There the documents themselves show how far it is. */
static int export_events(cli *c) {
  annal_error error;
  bool upcast = options_has(c, "upcast");
  if (upcast && !c->options.app)
    return cli_misuse(c, "--upcast needs the scripts: give --app DIR, set ANNAL_APP, or write app = \"…\" in an annal.lua");
  int code = cli_open(c, true, upcast);
  if (code) return code;
  annal_selection all = {.size = sizeof all}, newest = {.size = sizeof newest, .limit = 1, .reverse = true};
  cli_progress progress;
  reading r = {.progress = &progress};
  progress_begin(&progress, c, "exported");
  if (isatty(STDOUT_FILENO)) progress.on = false;
  begin_reading(&r, c);
  int failed = progress.on ? annal_read(c->store, &newest, take_head, &r.head, &error) : ANNAL_OK;
  if (!failed) failed = annal_read(c->store, &all, each_document, &r, &error);
  progress_end(&progress, r.written);
  if (failed && !r.code) r.code = cli_fail(c, &error);
  end_reading(&r);
  return r.code;
}

const cli_command cmd_export = {
    .name = "export",
    .usage = "[--upcast]",
    .help = "writes all events as NDJSON, as import takes them",
    .options = export_options,
    .need = CLI_NEEDS_NOTHING,
    .run = export_events,
};
