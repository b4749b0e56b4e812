/* An event as JSON text. Role: what the C face answers with and the command prints. */
#include "base/text.h"
#include "json/json.h"
#include <string.h>

static void add_text(base_buf *out, const char *name, const char *text) {
  buf_text(out, name);
  if (text) json_add_string(out, text, strlen(text));
  else buf_text(out, "null");
}

/* Stored payloads are canonical, so they go in as they are. */
static void add_payload(base_buf *out, const char *name, const char *json, size_t size) {
  buf_text(out, name);
  if (!json) buf_text(out, "null");
  else buf_add(out, json, size ? size : strlen(json));
}

void json_add_event(base_buf *out, const annal_event *event) {
  char time[28];
  if (event->created_at) annal_time_text(event->created_at, time);
  add_text(out, "{\"created_at\":", event->created_at ? time : NULL);
  add_payload(out, ",\"data\":", event->data, event->data_size);
  add_text(out, ",\"id\":", event->id);
  add_payload(out, ",\"metadata\":", event->metadata, event->metadata_size);
  buf_text(out, ",\"position\":");
  if (event->position) buf_int(out, event->position);
  else buf_text(out, "null");
  add_text(out, ",\"type\":", event->type);
  buf_text(out, ",\"version\":");
  buf_int(out, event->version);
  buf_char(out, '}');
}
