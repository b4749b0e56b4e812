/* reader LOCATION SCHEMA APP read|follow|view …: what a C program sees of a store, a JSON document a line. Role:
 * spec/conformance/upcast_spec.lua. SCHEMA and APP may be empty. read and follow take the name of an event type, or none for all;
 * view takes a projection and an id. Ends with 1 and "code: message (where)" on stderr. */
#include <annal.h>
#include <stdio.h>
#include <string.h>

static int print_event(void *context, const annal_event *event) {
  (void)context;
  printf("{\"data\":%.*s,\"id\":\"%s\",\"metadata\":%.*s,\"position\":%lld,\"type\":\"%s\",\"version\":%d}\n",
         (int)event->data_size, event->data, event->id, event->metadata ? (int)event->metadata_size : 4,
         event->metadata ? event->metadata : "null", (long long)event->position, event->type, event->version);
  return 0;
}

static int run(annal_store *store, int count, char **arguments, annal_error *error) {
  annal_text view;
  const char *const types[] = {count > 1 ? arguments[1] : NULL};
  annal_stream stream = {.types = types, .type_count = 1};
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = count > 1};
  if (strcmp(arguments[0], "read") == 0) return annal_read(store, &selection, print_event, NULL, error);
  if (strcmp(arguments[0], "follow") == 0) return annal_follow(store, &selection, 0.3, print_event, NULL, error);
  int code = annal_view(store, arguments[1], arguments[2], NULL, &view, error);
  if (!code) printf("%s\n", view.bytes);
  annal_text_free(store, &view);
  return code;
}

int main(int count, char **arguments) {
  annal_store *store;
  annal_error error;
  if (count < 5) return 2;
  annal_options options = {.size = sizeof options, .no_create = true};
  if (*arguments[2]) options.schema = arguments[2];
  if (*arguments[3]) options.app = arguments[3];
  int code = annal_open(arguments[1], &options, &store, &error);
  if (!code) {
    code = run(store, count - 4, arguments + 4, &error);
    annal_close(store);
  }
  if (code) fprintf(stderr, "%s: %s (%s)\n", annal_code_name(error.code), error.message, error.where);
  return code ? 1 : 0;
}
