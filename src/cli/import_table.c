/* Events as rows of the original's table, in the order of their ids, which is its order of events. Role: a source of import. */
#include "api/handle.h"
#include "base/text.h"
#include "import.h"
#include "json/json.h"
#include <stdio.h>
#include <string.h>

int import_open_table(import *m, const char *name, annal_error *error) {
  m->source = &import_table;
  return store_read_foreign(m->c->store->store, name, &m->total, &m->rows, error);
}

void import_close_table(import *m) {
  store_cursor_close(m->rows);
  m->rows = NULL;
}

/* Whether these digits are an integer of the log, that is, one of 64 bits. */
static bool is_integer(const char *digits, size_t size) {
  char text[24];
  int64_t value;
  if (size >= sizeof text) return false;
  memcpy(text, digits, size);
  text[size] = 0;
  return text_to_int(text, &value);
}

/* The original's numbers were doubles, and jsonb writes large ones without fraction or exponent (1e20 as its 21 digits): beyond
 * 64 bits they are made doubles again, by a fraction. Everything else stays as it is. */
static void add_numbers_as_written(base_buf *out, const char *json, size_t size) {
  size_t at = 0;
  while (at < size) {
    size_t begins = at;
    if (json[at] == '"') {
      for (at++; at < size && json[at] != '"'; at++)
        if (json[at] == '\\') at++;
      at = at < size ? at + 1 : size;
    } else {
      at += strspn(json + at, "+-0123456789.eE");
      if (at == begins) at++;
    }
    buf_add(out, json + begins, at - begins);
    bool digits = json[begins] == '-' || (json[begins] >= '0' && json[begins] <= '9');
    bool whole = digits && strspn(json + begins + 1, "0123456789") >= at - begins - 1;
    if (whole && !is_integer(json + begins, at - begins)) buf_text(out, ".0");
  }
}

static int read_row(import *m, const annal_event *row, import_event *event, annal_error *error) {
  base_buf written;
  event->id = import_add_piece(m, row->id, strlen(row->id));
  event->type = import_add_piece(m, row->type, strlen(row->type));
  event->created_at = row->created_at;
  event->version = 1;
  buf_init(&written, &m->c->env);
  buf_clear(&m->canonical);
  add_numbers_as_written(&written, row->data, row->data_size);
  int failed = written.failed ? error_memory(error)
                              : json_canonical(written.bytes, written.size, JSON_OBJECT | JSON_NO_NUL, &m->canonical, error);
  buf_free(&written);
  if (failed) {
    error_where_prefix(error, "data");
    return failed;
  }
  event->data = import_add_piece(m, m->canonical.bytes, event->data_size = m->canonical.size);
  return ANNAL_OK;
}

/* Says which row: by its id, "row 01H…: data.quantity". */
static void place(const import *m, const import_event *event, annal_error *error) {
  char where[sizeof error->where], shown[96];
  const char *id = m->text.failed ? NULL : import_piece(m, event->id);
  snprintf(where, sizeof where, "row %.90s%s%.140s", id ? text_show(id, shown) : "", error->where[0] ? ": " : "", error->where);
  memcpy(error->where, where, sizeof where);
}

static int next(import *m, import_event *event, bool *more, annal_error *error) {
  *event = (import_event){.number = ++m->number};
  if (cli_interrupted()) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  if (m->page_at == m->page.count) {
    int failed = store_cursor_next(m->rows, &m->page, error);
    m->page_at = 0;
    if (failed) m->page.count = 0;
    if (failed) return failed;
  }
  *more = m->page.count > 0;
  if (!*more) return ANNAL_OK;
  m->passed++;
  int failed = read_row(m, &m->page.events[m->page_at++], event, error);
  if (failed) place(m, event, error);
  return failed;
}

const import_source import_table = {.next = next, .place = place, .always_timed = true};
