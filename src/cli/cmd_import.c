/* annal import [FILE]: NDJSON, as export writes it. Role: the way back in. It stands on api/handle.h and store/store.h, because
 * the public API lets nobody give an event its time.
 *
 * Lines are gathered into saves of at most LIMIT_BATCH_EVENTS and LIMIT_BATCH_BYTES, each all or none. An event whose id is stored
 * with equal content is passed over, so the same import can be run again after an interruption. Where something is wrong,
 * everything before that line is stored and nothing after it. */
#include "api/handle.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli.h"
#include "json/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const cli_option options[] = {
    {"retime", .help = "give the events new times: the store's, as they come in"},
    {"from-table", "NAME", .later = true},
    {0},
};

/* One line of the gathered ones; places are offsets into `text`, which moves while it grows. 0: the line has no such member. */
typedef struct import_line {
  uint64_t number;
  size_t id, type, data, metadata;
  size_t data_size, metadata_size;
  int64_t created_at;
  int version;
} import_line;

typedef struct import {
  cli *c;
  int file;
  bool retime;
  bool timed; /* the gathered lines bear their times */
  base_buf input, canonical, text;
  size_t input_at; /* of the next line in `input` */
  bool input_ended;
  uint64_t line_number;
  import_line lines[LIMIT_BATCH_EVENTS];
  annal_event events[LIMIT_BATCH_EVENTS];
  size_t count;
  uint64_t stored, already;
  int64_t started;
} import;

/* ---- Lines --------------------------------------------------------------------------------------------------------------- */

/* Says where in the file: "line 17", "line 17: data.quantity". */
static void place(annal_error *error, uint64_t number) {
  char where[sizeof error->where];
  snprintf(where, sizeof where, "line %llu%s%.200s", (unsigned long long)number, error->where[0] ? ": " : "", error->where);
  memcpy(error->where, where, sizeof where);
}

static int read_more(import *m, annal_error *error) {
  enum { PIECE = 256 << 10 };
  if (m->input_at) {
    memmove(m->input.bytes, m->input.bytes + m->input_at, m->input.size - m->input_at);
    m->input.size -= m->input_at;
    m->input_at = 0;
  }
  if (m->input.size > LIMIT_IMPORT_LINE)
    return error_set(error, ANNAL_INVALID, NULL, "the line is longer than %u bytes: longer than any event", LIMIT_IMPORT_LINE);
  if (!buf_reserve(&m->input, PIECE)) return error_memory(error);
  ssize_t size;
  do {
    if (cli_interrupted()) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    size = read(m->file, m->input.bytes + m->input.size, PIECE);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return error_set(error, ANNAL_UNAVAILABLE, NULL, "cannot read the file: %s", strerror(errno));
  if (size == 0) m->input_ended = true;
  m->input.size += (size_t)size;
  return 0;
}

static bool is_blank(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r') return false;
  return true;
}

/* The next line that is not blank; *line NULL at the end. Borrowed until the next call. */
static int next_line(import *m, const char **line, size_t *size, annal_error *error) {
  do {
    const char *newline = NULL;
    size_t seen = 0; /* bytes of the line that were looked through for its end */
    m->line_number++;
    for (;;) {
      size_t left = m->input.size - m->input_at;
      newline = left > seen ? memchr(m->input.bytes + m->input_at + seen, '\n', left - seen) : NULL;
      if (newline || m->input_ended) break;
      seen = left;
      int failed = read_more(m, error);
      if (!failed) continue;
      place(error, m->line_number);
      return failed;
    }
    if (m->input_at == m->input.size) {
      *line = NULL;
      return 0;
    }
    *line = m->input.bytes + m->input_at;
    *size = newline ? (size_t)(newline - *line) : m->input.size - m->input_at;
    m->input_at += *size + (newline != NULL);
  } while (is_blank(*line, *size));
  return 0;
}

/* Appends a NUL-terminated piece to `text` and answers its place. The first byte of `text` is never a piece: 0 is "none". */
static size_t add_piece(import *m, const char *bytes, size_t size) {
  if (m->text.size == 0) buf_char(&m->text, 0);
  size_t at = m->text.size;
  buf_add(&m->text, bytes, size);
  buf_char(&m->text, 0);
  return at;
}

static int add_string(import *m, const cli_member *member, const char *name, size_t *at, annal_error *error) {
  if (m->text.size == 0) buf_char(&m->text, 0);
  *at = m->text.size;
  if (!scan_string(member, &m->text))
    return m->text.failed ? error_memory(error) : error_set(error, ANNAL_INVALID, name, "it is not a string");
  buf_char(&m->text, 0);
  return 0;
}

static bool is(const cli_member *member, const char *text) {
  return member->value_size == strlen(text) && memcmp(member->value, text, member->value_size) == 0;
}

static int read_whole(const cli_member *member, const char *name, int64_t max, int64_t *value, annal_error *error) {
  char text[24];
  snprintf(text, sizeof text, "%.*s", (int)member->value_size, member->value);
  if (member->value_size < sizeof text && text_to_int(text, value) && *value >= 1 && *value <= max) return 0;
  return error_set(error, ANNAL_INVALID, name, "it is not a whole number from 1 on");
}

static int read_time(import *m, const cli_member *member, int64_t *time, annal_error *error) {
  size_t at = 0, size = m->text.size;
  int failed = add_string(m, member, "created_at", &at, error);
  if (failed) return failed;
  if (!text_to_time(m->text.bytes + at, time)) {
    char shown[96];
    return error_set(error, ANNAL_INVALID, "created_at", "%s is not a time in UTC like 2026-01-31T23:59:59.000001Z",
                     text_show(m->text.bytes + at, shown));
  }
  m->text.size = size; /* the text itself is not needed any more */
  return 0;
}

/* One member of a line. `position` is read and passed over: it is the store's to give. */
static int read_member(import *m, const cli_member *member, import_line *line, annal_error *error) {
  int64_t number = 0;
  int failed = 0;
  char name[32] = "";
  if (member->key_size < sizeof name) memcpy(name, member->key, member->key_size);
  if (strcmp(name, "id") == 0) return is(member, "null") ? 0 : add_string(m, member, name, &line->id, error);
  if (strcmp(name, "type") == 0) return add_string(m, member, name, &line->type, error);
  if (strcmp(name, "created_at") == 0) return is(member, "null") ? 0 : read_time(m, member, &line->created_at, error);
  if (strcmp(name, "position") == 0) return is(member, "null") ? 0 : read_whole(member, name, INT64_MAX, &number, error);
  if (strcmp(name, "version") == 0) {
    failed = read_whole(member, name, INT32_MAX, &number, error);
    line->version = (int)number;
    return failed;
  }
  if (strcmp(name, "data") == 0) {
    line->data = add_piece(m, member->value, line->data_size = member->value_size);
    return 0;
  }
  if (strcmp(name, "metadata") == 0) {
    if (!is(member, "null")) line->metadata = add_piece(m, member->value, line->metadata_size = member->value_size);
    return 0;
  }
  return error_set(error, ANNAL_INVALID, NULL,
                   "unknown member \"%.*s\"; an event has id, type, version, data, metadata, created_at",
                   (int)(member->key_size < 80 ? member->key_size : 80), member->key);
}

/* Takes one line apart and appends it to the gathered ones. A line without an id gets one from its place and bytes, so that the
 * same file imported again is the same events. */
static int add_line(import *m, const char *bytes, size_t size, annal_error *error) {
  import_line *line = &m->lines[m->count];
  cli_member member;
  size_t at = 0;
  *line = (import_line){.number = m->line_number};
  buf_clear(&m->canonical);
  int failed = json_canonical(bytes, size, JSON_OBJECT | JSON_NO_NUL, &m->canonical, error);
  if (failed) return failed;
  while (!failed && scan_next(m->canonical.bytes, m->canonical.size, &at, &member)) failed = read_member(m, &member, line, error);
  if (failed) return failed;
  if (!line->type) return error_set(error, ANNAL_INVALID, NULL, "the event has no type");
  if (!line->data) return error_set(error, ANNAL_INVALID, NULL, "the event has no data");
  if (!line->id) {
    char id[HASH_TEXT_BYTES];
    buf_clear(&m->canonical);
    buf_printf(&m->canonical, "%llu:", (unsigned long long)line->number);
    buf_add(&m->canonical, bytes, size);
    if (m->canonical.failed) return error_memory(error);
    hash_text(m->canonical.bytes, m->canonical.size, id);
    line->id = add_piece(m, id, strlen(id));
  }
  return m->text.failed ? error_memory(error) : 0;
}

/* ---- Saves --------------------------------------------------------------------------------------------------------------- */

static const char *piece(const import *m, size_t at) { return at ? m->text.bytes + at : NULL; }

static void make_events(import *m) {
  for (size_t i = 0; i < m->count; i++) {
    const import_line *line = &m->lines[i];
    m->events[i] = (annal_event){
        .id = piece(m, line->id),
        .type = piece(m, line->type),
        .data = piece(m, line->data),
        .data_size = line->data_size,
        .metadata = piece(m, line->metadata),
        .metadata_size = line->metadata_size,
        .version = line->version,
    };
  }
}

/* Errors that are about what a line holds, not about the store. */
static bool is_refusal(int code) {
  return code == ANNAL_DUPLICATE || code == ANNAL_INVALID || code == ANNAL_SCRIPT || code == ANNAL_BUDGET;
}

/* Saves lines [from, to) as one save. They are stored as they are: the checked form may differ (an optional null left out), and an
 * import gives back what was there. */
static int save_once(import *m, size_t from, size_t to, annal_error *error) {
  handle_batch batch;
  int failed = handle_prepare(m->c->store, m->events + from, to - from, &batch, error);
  if (failed) return failed;
  for (size_t i = from; i < to; i++) {
    annal_event *event = &batch.events[i - from];
    event->data = m->events[i].data;
    event->data_size = m->events[i].data_size;
    event->created_at = m->lines[i].created_at;
  }
  store_save save = {.events = batch.events, .count = to - from, .keep_created_at = m->timed};
  failed = store_append(m->c->store->store, &save, error);
  if (!failed) *(save.was_stored ? &m->already : &m->stored) += save.count;
  handle_free_batch(&batch);
  return failed;
}

/* Where a save is refused for what it holds, halves of it are tried, so that what is stored already is passed over, an id that
 * stands twice is one event, and the one line that is wrong is found with everything before it stored. */
static int save_lines(import *m, size_t from, size_t to, annal_error *error) {
  int failed = save_once(m, from, to, error);
  if (!failed || !is_refusal(failed)) return failed;
  if (to - from == 1) {
    place(error, m->lines[from].number);
    return failed;
  }
  size_t middle = from + (to - from) / 2;
  failed = save_lines(m, from, middle, error);
  return failed ? failed : save_lines(m, middle, to, error);
}

static int save_gathered(import *m, annal_error *error) {
  if (m->count == 0) return 0;
  make_events(m);
  int failed = save_lines(m, 0, m->count, error);
  m->count = 0;
  buf_clear(&m->text);
  if (m->stored + m->already) out_progress(m->c, "imported", m->stored + m->already, m->started, false);
  return failed;
}

/* ---- The whole ------------------------------------------------------------------------------------------------------------ */

/* Gathers one line, after saving those before it where it does not go into one save with them. */
static int gather(import *m, const char *bytes, size_t size, annal_error *error) {
  int failed = add_line(m, bytes, size, error);
  if (failed) {
    place(error, m->line_number);
    return failed;
  }
  if (m->retime) m->lines[m->count].created_at = 0;
  bool timed = m->lines[m->count].created_at != 0;
  if (m->count > 0 && (timed != m->timed || m->text.size > LIMIT_BATCH_BYTES)) {
    failed = save_gathered(m, error);
    return failed ? failed : gather(m, bytes, size, error);
  }
  m->timed = timed;
  m->count++;
  return m->count == LIMIT_BATCH_EVENTS ? save_gathered(m, error) : 0;
}

static int import_lines(import *m, annal_error *error) {
  for (;;) {
    const char *line;
    size_t size;
    int failed = next_line(m, &line, &size, error);
    if (!failed && !line) return save_gathered(m, error);
    if (!failed) failed = gather(m, line, size, error);
    if (!failed) continue;
    /* A line that cannot be read: what was gathered before it is whole. */
    annal_error other;
    int also = save_gathered(m, &other);
    if (also) *error = other;
    return also ? also : failed;
  }
}

static int say(import *m) {
  char line[128], stored[32], already[32];
  int size;
  if (m->c->out.people)
    size = snprintf(line, sizeof line, "%s events imported, %s were stored before\n", out_number(m->stored, stored),
                    out_number(m->already, already));
  else
    size = snprintf(line, sizeof line, "{\"already_stored\":%llu,\"imported\":%llu}\n", (unsigned long long)m->already,
                    (unsigned long long)m->stored);
  return out_text(m->c, line, (size_t)size);
}

static int import_file(cli *c, import *m) {
  annal_error error;
  m->c = c;
  m->retime = options_has(c, "retime");
  m->started = base_monotonic();
  buf_init(&m->input, &c->env);
  buf_init(&m->canonical, &c->env);
  buf_init(&m->text, &c->env);
  int failed = import_lines(m, &error);
  unsigned long long known = m->stored + m->already;
  if (known) out_progress(c, "imported", known, m->started, true);
  int code = failed ? cli_fail(c, &error) : say(m);
  if (failed && known) fprintf(stderr, "annal: %llu events are stored; the same import run again goes on from there\n", known);
  buf_free(&m->input);
  buf_free(&m->canonical);
  buf_free(&m->text);
  return code;
}

static int run(cli *c) {
  char shown[96];
  annal_error error;
  const char *path = c->argument_count ? c->arguments[0] : "-";
  bool standard = strcmp(path, "-") == 0;
  int file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    error_set(&error, ANNAL_NOT_FOUND, NULL, "cannot open %s: %s", text_show(path, shown), strerror(errno));
    return cli_fail(c, &error);
  }
  import *m = base_calloc(&c->env, 1, sizeof *m);
  int code = CLI_FAILED;
  if (m) {
    m->file = file;
    code = import_file(c, m);
  } else {
    error_memory(&error);
    code = cli_fail(c, &error);
  }
  base_free(&c->env, m);
  if (!standard) close(file);
  return code;
}

const cli_command cmd_import = {
    .name = "import",
    .usage = "[FILE] [--retime]",
    .help = "takes in events as NDJSON, from a file or standard input; can be run again after an interruption",
    .options = options,
    .arguments_max = 1,
    .need = CLI_WRITES,
    .run = run,
};
