/* Looking at JSON that is most likely sound: whether it may be handed on as it stands, and where a member of it stands. Role: rows
 * and events on their way out, for which making the canonical form anew would cost more than reading them; see json.h. Nothing is
 * written and nothing allocated.
 *
 * Each function here takes the place where something is to begin and answers the place behind it, or NULL where it is not what it
 * should be. Nothing is read from `end` on. */
#include "json/json_scan.h"

typedef struct walk {
  const char *end;
  json_scan *numbers; /* reads the numbers that are not plain integers */
} walk;

static inline const char *skip(const walk *w, const char *at, char c) { return at != w->end && *at == c ? at + 1 : NULL; }

static const char *skip_word(const walk *w, const char *at, const char *word, size_t size) {
  return (size_t)(w->end - at) >= size && memcmp(at, word, size) == 0 ? at + size : NULL;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/* The escapes of the canonical form: others, surrogates among them, are left to the one who knows them all. */
static const char *skip_escape(const walk *w, const char *at) {
  if (w->end - at < 2) return NULL;
  char c = at[1];
  at += 2;
  if (c == 'u') {
    at = skip_word(w, at, "00", 2);
    return at && w->end - at >= 2 && is_hex(at[0]) && is_hex(at[1]) ? at + 2 : NULL;
  }
  return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't' ? at : NULL;
}

/* `at` is the first byte of a string that is not plain ASCII. */
static const char *skip_string_slowly(const walk *w, const char *at, bool *plain) {
  for (;; at = json_skip_plain(at, w->end)) {
    if (at == w->end) return NULL;
    unsigned char c = (unsigned char)*at;
    if (c == '"') return at + 1;
    if (c == '\\') {
      *plain = false;
      at = skip_escape(w, at);
      if (!at) return NULL;
      continue;
    }
    size_t step = c >= 0x80 ? json_sequence(at, w->end) : 0;
    if (step == 0) return NULL;
    at += step;
  }
}

/* *plain is set to false where the bytes between the quotes are not the string itself. */
static inline const char *skip_string(const walk *w, const char *at, bool *plain) {
  at = skip(w, at, '"');
  if (!at) return NULL;
  at = json_skip_plain(at, w->end);
  return at != w->end && *at == '"' ? at + 1 : skip_string_slowly(w, at, plain);
}

static const char *skip_number_slowly(const walk *w, const char *at) {
  json_number number;
  w->numbers->at = at;
  return json_scan_number(w->numbers, &number) == 0 ? w->numbers->at : NULL;
}

static const char *skip_container(const walk *w, const char *at, unsigned depth);

/* Strings and short integers are most of what there is, and are dealt with where they stand. */
static inline const char *skip_value(const walk *w, const char *at, unsigned depth) {
  bool plain = true;
  if (at == w->end) return NULL;
  if (*at == '"') return skip_string(w, at, &plain);
  if (*at >= '1' && *at <= '9') {
    const char *from = at;
    while (at != w->end && *at >= '0' && *at <= '9') at++;
    bool short_integer = at - from <= 18 && (at == w->end || (*at != '.' && (*at | 32) != 'e'));
    return short_integer ? at : skip_number_slowly(w, from);
  }
  return skip_container(w, at, depth);
}

static const char *skip_array(const walk *w, const char *at, unsigned depth) {
  const char *done = skip(w, at, ']');
  if (done) return done;
  for (;;) {
    at = skip_value(w, at, depth);
    if (!at || at == w->end) return NULL;
    if (*at == ']') return at + 1;
    if (*at++ != ',') return NULL;
  }
}

typedef struct key {
  const char *bytes;
  size_t size;
} key;

/* Keys that rise by their bytes are all different. Most differ in the first one. */
static inline bool rises(const key *from, const key *to) {
  unsigned char first = (unsigned char)from->bytes[0], second = (unsigned char)to->bytes[0];
  if (first != second && from->size > 0 && to->size > 0) return first < second;
  int order = memcmp(from->bytes, to->bytes, from->size < to->size ? from->size : to->size);
  return order < 0 || (order == 0 && from->size < to->size);
}

static const char *skip_object(const walk *w, const char *at, unsigned depth) {
  const char *done = skip(w, at, '}');
  if (done) return done;
  key previous = {.bytes = NULL};
  for (;;) {
    bool plain = true;
    key here = {.bytes = at + 1};
    at = skip_string(w, at, &plain);
    if (!at || !plain) return NULL;
    here.size = (size_t)(at - 1 - here.bytes);
    if (previous.bytes && !rises(&previous, &here)) return NULL;
    at = skip(w, at, ':');
    if (at) at = skip_value(w, at, depth);
    if (!at || at == w->end) return NULL;
    if (*at == '}') return at + 1;
    if (*at++ != ',') return NULL;
    previous = here;
  }
}

/* Containers, and the rest of what a value may be. */
static const char *skip_container(const walk *w, const char *at, unsigned depth) {
  switch (*at) {
  case '{': return depth < LIMIT_DEPTH ? skip_object(w, at + 1, depth + 1) : NULL;
  case '[': return depth < LIMIT_DEPTH ? skip_array(w, at + 1, depth + 1) : NULL;
  case 't': return skip_word(w, at, "true", 4);
  case 'f': return skip_word(w, at, "false", 5);
  case 'n': return skip_word(w, at, "null", 4);
  default: return *at == '-' || *at == '0' ? skip_number_slowly(w, at) : NULL;
  }
}

bool json_is_tidy(const char *text, size_t size) {
  json_scan numbers;
  annal_error ignored;
  const walk w = {.end = text + size, .numbers = &numbers};
  json_scan_init(&numbers, text, size, 0, NULL, &ignored);
  return skip_value(&w, text, 0) == w.end;
}

bool json_find_member(const char *text, size_t size, const char *name, const char **value, size_t *value_size) {
  json_scan numbers;
  annal_error ignored;
  size_t name_size = strlen(name);
  const walk w = {.end = text + size, .numbers = &numbers};
  json_scan_init(&numbers, text, size, 0, NULL, &ignored);
  const char *at = skip(&w, text, '{');
  while (at && at != w.end && *at != '}') {
    bool plain = true;
    const char *name_at = at + 1;
    at = skip_string(&w, at, &plain);
    if (!at) return false;
    bool found = (size_t)(at - 1 - name_at) == name_size && memcmp(name_at, name, name_size) == 0;
    at = skip(&w, at, ':');
    if (!at) return false;
    *value = at;
    at = skip_value(&w, at, 0);
    if (!at) return false;
    *value_size = (size_t)(at - *value);
    if (found) return true;
    at = skip(&w, at, ',');
  }
  return false;
}
