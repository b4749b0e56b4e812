/* Looking through a store: all its events, in order, through the same reads as everybody's; and what the backend finds besides.
 * Role: store_check, for `annal check`. Findings are lines for people; they are counted and are no error. */
#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "store/backend.h"
#include "json/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct checker {
  store_finding *finding;
  void *context;
  uint64_t *findings;
  base_buf scratch;
  int64_t position; /* of the event before */
  int64_t created_at;
} checker;

void store_report(store_finding *finding, void *context, uint64_t *findings, const char *format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  for (char *c = line; *c; c++)
    if ((unsigned char)*c < 32) *c = ' '; /* what is found is not to be trusted, and a finding is one line */
  (*findings)++;
  if (finding) finding(context, line);
}

/* Why a stored text is not what annal writes: NULL when it is. `why` has room for the reason. Without memory `scratch` stays
 * failed and nothing is said of this text or any after it, for its user to notice. */
static const char *json_fault(const char *text, size_t size, unsigned flags, base_buf *scratch, char why[200]) {
  annal_error error;
  if (scratch->failed) return NULL;
  buf_clear(scratch);
  int result = json_canonical(text, size, flags, scratch, &error);
  if (result == ANNAL_UNAVAILABLE || scratch->failed) {
    scratch->failed = true;
    return NULL;
  }
  if (result) {
    snprintf(why, 200, "%.120s", error.message);
    return why;
  }
  if (scratch->size != size || memcmp(scratch->bytes, text, size) != 0) return "it is not in canonical form";
  return NULL;
}

#define REPORT(c, ...) store_report((c)->finding, (c)->context, (c)->findings, __VA_ARGS__)

static void check_order(checker *c, const annal_event *event) {
  char shown[96], now[28], before[28];
  if (event->position != c->position + 1) {
    if (event->position == c->position + 2) REPORT(c, "position %lld is missing", (long long)(c->position + 1));
    else REPORT(c, "positions %lld to %lld are missing", (long long)(c->position + 1), (long long)(event->position - 1));
  }
  if (event->created_at < c->created_at && c->position > 0) {
    annal_time_text(event->created_at, now);
    annal_time_text(c->created_at, before);
    REPORT(c, "event %lld \"%s\": created_at steps back from %s to %s", (long long)event->position, text_show(event->id, shown),
           before, now);
  }
  c->position = event->position;
  c->created_at = event->created_at;
}

static void check_text(checker *c, const annal_event *event, const char *text, size_t max, const char *what) {
  annal_error error;
  if (text_check(text, 1, max, what, &error) != ANNAL_OK) REPORT(c, "event %lld: %s", (long long)event->position, error.message);
}

static void check_event(checker *c, const annal_event *event) {
  char shown[96], why[200];
  check_order(c, event);
  check_text(c, event, event->id, LIMIT_ID_BYTES, "id");
  check_text(c, event, event->type, LIMIT_TYPE_BYTES, "type");
  if (event->version < 1)
    REPORT(c, "event %lld \"%s\": version %d", (long long)event->position, text_show(event->id, shown), event->version);
  const char *fault = json_fault(event->data, event->data_size, JSON_OBJECT | JSON_NO_NUL, &c->scratch, why);
  if (fault) REPORT(c, "event %lld \"%s\": data: %s", (long long)event->position, text_show(event->id, shown), fault);
  if (!event->metadata) return;
  fault = json_fault(event->metadata, event->metadata_size, JSON_OBJECT | JSON_NO_NUL, &c->scratch, why);
  if (fault) REPORT(c, "event %lld \"%s\": metadata: %s", (long long)event->position, text_show(event->id, shown), fault);
}

void store_check_row(const store_row *row, base_buf *scratch, store_finding *finding, void *context, uint64_t *findings) {
  char shown[96], why[200];
  const char *fault = json_fault(row->data, row->data_size, JSON_NO_NUL, scratch, why);
  if (fault) store_report(finding, context, findings, "row %s \"%s\": data: %s", row->type, text_show(row->id, shown), fault);
  fault = row->state ? json_fault(row->state, row->state_size, JSON_NO_NUL, scratch, why) : NULL;
  if (fault) store_report(finding, context, findings, "row %s \"%s\": state: %s", row->type, text_show(row->id, shown), fault);
}

static int check_events(store *s, checker *c, annal_error *error) {
  annal_selection everything = {.size = sizeof everything};
  store_cursor *cursor;
  int result = store_read(s, &everything, &cursor, error);
  if (result) return result;
  store_page page;
  do {
    result = store_cursor_next(cursor, &page, error);
    for (size_t i = 0; i < page.count && !result; i++) check_event(c, &page.events[i]);
    if (!result && c->scratch.failed) result = error_memory(error);
  } while (!result && page.count > 0);
  store_cursor_close(cursor);
  return result;
}

int store_check(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error) {
  checker c = {.finding = finding, .context = context, .findings = findings};
  *findings = 0;
  buf_init(&c.scratch, s->env);
  int result = store_check_own(s, error);
  if (!result) result = check_events(s, &c, error);
  if (!result) result = s->backend->check(s, finding, context, findings, error);
  buf_free(&c.scratch);
  return result;
}
