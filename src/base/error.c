/* Filling an annal_error; see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *annal_code_name(int code) {
  switch (code) {
  case ANNAL_OK: return "ok";
  case ANNAL_INVALID: return "invalid";
  case ANNAL_CONFLICT: return "conflict";
  case ANNAL_REJECTED: return "rejected";
  case ANNAL_NOT_FOUND: return "not_found";
  case ANNAL_DUPLICATE: return "duplicate";
  case ANNAL_SCRIPT: return "script";
  case ANNAL_BUDGET: return "budget";
  case ANNAL_UNAVAILABLE: return "unavailable";
  case ANNAL_BUSY: return "busy";
  case ANNAL_CORRUPT: return "corrupt";
  case ANNAL_MISUSE: return "misuse";
  default: return "unknown";
  }
}

void error_clear(annal_error *error) { memset(error, 0, sizeof *error); }

/* A cut in the middle of a code point would make the message invalid UTF-8. */
static void trim_partial_code_point(char *text) {
  size_t size = strlen(text), start = size;
  while (start > 0 && size - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
  if (start == 0) return;
  unsigned char lead = (unsigned char)text[start - 1];
  size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (size - (start - 1) < want) text[start - 1] = 0;
}

int error_set(annal_error *error, int code, const char *where, const char *format, ...) {
  char message[sizeof error->message]; /* the arguments may point into *error */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  char place[sizeof error->where];
  snprintf(place, sizeof place, "%s", where ? where : "");
  error_clear(error);
  error->code = code;
  error->retryable = code == ANNAL_UNAVAILABLE || code == ANNAL_BUSY || code == ANNAL_CONFLICT;
  for (char *c = message; *c; c++)
    if ((unsigned char)*c < 32 || *c == 127) *c = ' ';
  for (size_t size = strlen(message); size > 0 && message[size - 1] == ' ';) message[--size] = 0;
  trim_partial_code_point(message);
  trim_partial_code_point(place);
  memcpy(error->message, message, sizeof message);
  memcpy(error->where, place, sizeof place);
  return code;
}

int error_memory(annal_error *error) { return error_set(error, ANNAL_UNAVAILABLE, NULL, "out of memory"); }

void error_where_prefix(annal_error *error, const char *prefix) {
  char place[sizeof error->where];
  const char *dot = error->where[0] && error->where[0] != '[' ? "." : "";
  snprintf(place, sizeof place, "%s%s%.*s", prefix, dot, (int)(sizeof place / 2), error->where);
  trim_partial_code_point(place);
  memcpy(error->where, place, sizeof place);
}
