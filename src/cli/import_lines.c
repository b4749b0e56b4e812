/* Events as lines of NDJSON, the way export writes them. Role: a source of import.
 *
 * A line without an id gets one from its place and bytes, so that the same file imported again is the same events. */
#include "base/hash.h"
#include "base/text.h"
#include "import.h"
#include "json/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The file ------------------------------------------------------------------------------------------------------------ */

int import_open_file(import *m, const char *path, annal_error *error) {
  char shown[96];
  struct stat info;
  bool standard = strcmp(path, "-") == 0;
  m->source = &import_lines;
  m->file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (m->file < 0) return error_set(error, ANNAL_NOT_FOUND, NULL, "cannot open %s: %s", text_show(path, shown), strerror(errno));
  if (fstat(m->file, &info) == 0 && S_ISREG(info.st_mode)) {
    off_t at = lseek(m->file, 0, SEEK_CUR); /* a shell may have read from standard input before us */
    if (at >= 0 && info.st_size > at) m->total = (uint64_t)(info.st_size - at);
  }
  return ANNAL_OK;
}

void import_close_file(import *m) {
  buf_free(&m->input);
  if (m->file > STDIN_FILENO) close(m->file);
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
    m->number++;
    for (;;) {
      size_t left = m->input.size - m->input_at;
      newline = left > seen ? memchr(m->input.bytes + m->input_at + seen, '\n', left - seen) : NULL;
      if (newline || m->input_ended) break;
      seen = left;
      int failed = read_more(m, error);
      if (failed) return failed;
    }
    if (m->input_at == m->input.size) {
      *line = NULL;
      return 0;
    }
    *line = m->input.bytes + m->input_at;
    *size = newline ? (size_t)(newline - *line) : m->input.size - m->input_at;
    m->input_at += *size + (newline != NULL);
    m->passed += *size + (newline != NULL);
  } while (is_blank(*line, *size));
  return 0;
}

/* ---- One line ------------------------------------------------------------------------------------------------------------- */

static int add_string(import *m, const cli_member *member, const char *name, size_t *at, annal_error *error) {
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
  if (m->text.failed) return error_memory(error);
  if (!text_to_time(m->text.bytes + at, time)) {
    char shown[96];
    return error_set(error, ANNAL_INVALID, "created_at", "%s is not a time in UTC like 2026-01-31T23:59:59.000001Z",
                     text_show(m->text.bytes + at, shown));
  }
  m->text.size = size; /* the text itself is not needed any more */
  return 0;
}

/* One member of a line. `position` is read and passed over: it is the store's to give. */
static int read_member(import *m, const cli_member *member, import_event *event, annal_error *error) {
  int64_t number = 0;
  int failed = 0;
  char name[32] = "";
  if (member->key_size < sizeof name) memcpy(name, member->key, member->key_size);
  if (strcmp(name, "id") == 0) return is(member, "null") ? 0 : add_string(m, member, name, &event->id, error);
  if (strcmp(name, "type") == 0) return add_string(m, member, name, &event->type, error);
  if (strcmp(name, "created_at") == 0) return is(member, "null") ? 0 : read_time(m, member, &event->created_at, error);
  if (strcmp(name, "position") == 0) return is(member, "null") ? 0 : read_whole(member, name, INT64_MAX, &number, error);
  if (strcmp(name, "version") == 0) {
    failed = read_whole(member, name, INT32_MAX, &number, error);
    event->version = (int)number;
    return failed;
  }
  if (strcmp(name, "data") == 0) {
    event->data = import_add_piece(m, member->value, event->data_size = member->value_size);
    return 0;
  }
  if (strcmp(name, "metadata") == 0) {
    if (!is(member, "null")) event->metadata = import_add_piece(m, member->value, event->metadata_size = member->value_size);
    return 0;
  }
  return error_set(error, ANNAL_INVALID, NULL,
                   "unknown member \"%.*s\"; an event has id, type, version, data, metadata, created_at",
                   (int)(member->key_size < 80 ? member->key_size : 80), member->key);
}

static int read_event(import *m, const char *bytes, size_t size, import_event *event, annal_error *error) {
  cli_member member;
  size_t at = 0;
  buf_clear(&m->canonical);
  int failed = json_canonical(bytes, size, JSON_OBJECT | JSON_NO_NUL, &m->canonical, error);
  while (!failed && scan_next(m->canonical.bytes, m->canonical.size, &at, &member))
    failed = read_member(m, &member, event, error);
  if (failed) return failed;
  if (!event->type) return error_set(error, ANNAL_INVALID, NULL, "the event has no type");
  if (!event->data) return error_set(error, ANNAL_INVALID, NULL, "the event has no data");
  if (event->id) return ANNAL_OK;
  char id[HASH_TEXT_BYTES];
  buf_clear(&m->canonical);
  buf_printf(&m->canonical, "%llu:", (unsigned long long)event->number);
  buf_add(&m->canonical, bytes, size);
  if (m->canonical.failed) return error_memory(error);
  hash_text(m->canonical.bytes, m->canonical.size, id);
  event->id = import_add_piece(m, id, strlen(id));
  return ANNAL_OK;
}

/* Says where in the file: "line 17", "line 17: data.quantity". */
static void place(const import *m, const import_event *event, annal_error *error) {
  (void)m;
  char where[sizeof error->where];
  snprintf(where, sizeof where, "line %llu%s%.200s", (unsigned long long)event->number, error->where[0] ? ": " : "",
           error->where);
  memcpy(error->where, where, sizeof where);
}

static int next(import *m, import_event *event, bool *more, annal_error *error) {
  const char *line = NULL;
  size_t size = 0;
  int failed = next_line(m, &line, &size, error);
  *event = (import_event){.number = m->number};
  *more = line != NULL;
  if (!failed && line) failed = read_event(m, line, size, event, error);
  if (failed) place(m, event, error);
  return failed;
}

const import_source import_lines = {.next = next, .place = place};
