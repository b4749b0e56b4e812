/* Looking at JSON that is most likely sound: whether it may be handed on as it stands, and where a member of it stands. Role: rows
 * and events on their way out, for which making the canonical form anew would cost more than reading them; see json.h. Nothing is
 * written and nothing allocated. */
#include "json/json_scan.h"

/* A walk through a text; nothing is read beyond `end`. */
typedef struct walk {
  const char *at;
  const char *end;
  unsigned depth;
  json_scan *numbers; /* reads the numbers that are not plain integers */
} walk;

static bool take(walk *w, char c) {
  if (w->at == w->end || *w->at != c) return false;
  w->at++;
  return true;
}

static bool take_word(walk *w, const char *word, size_t size) {
  if ((size_t)(w->end - w->at) < size || memcmp(w->at, word, size) != 0) return false;
  w->at += size;
  return true;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/* The escapes of the canonical form: others, surrogates among them, are left to the one who knows them all. */
static bool take_escape(walk *w) {
  if (w->end - w->at < 2) return false;
  char c = w->at[1];
  w->at += 2;
  if (c == 'u') {
    if (!take_word(w, "00", 2) || w->end - w->at < 2 || !is_hex(w->at[0]) || !is_hex(w->at[1])) return false;
    w->at += 2;
    return true;
  }
  return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't';
}

/* Moves behind the closing quote; *plain says that the bytes between the quotes are the string itself. */
static bool take_string(walk *w, bool *plain) {
  *plain = true;
  if (!take(w, '"')) return false;
  for (;;) {
    w->at = json_skip_plain(w->at, w->end);
    if (w->at == w->end) return false;
    unsigned char c = (unsigned char)*w->at;
    if (c == '"') {
      w->at++;
      return true;
    }
    if (c == '\\') {
      *plain = false;
      if (!take_escape(w)) return false;
      continue;
    }
    size_t step = c >= 0x80 ? json_sequence(w->at, w->end) : 0;
    if (step == 0) return false;
    w->at += step;
  }
}

static bool take_number(walk *w) {
  json_number number;
  w->numbers->at = w->at;
  if (json_scan_number(w->numbers, &number) != 0) return false;
  w->at = w->numbers->at;
  return true;
}

static bool take_value(walk *w);

static bool take_array(walk *w) {
  w->at++;
  if (take(w, ']')) return true;
  do
    if (!take_value(w)) return false;
  while (take(w, ','));
  return take(w, ']');
}

static bool is_after(const char *key, size_t size, const char *previous, size_t previous_size) {
  int order = memcmp(previous, key, size < previous_size ? size : previous_size);
  return order < 0 || (order == 0 && previous_size < size);
}

/* Keys that rise by their bytes are all different. */
static bool take_object(walk *w) {
  const char *previous = NULL;
  size_t previous_size = 0;
  w->at++;
  if (take(w, '}')) return true;
  do {
    bool plain;
    const char *key = w->at + 1;
    if (!take_string(w, &plain) || !plain) return false;
    size_t size = (size_t)(w->at - 1 - key);
    if (previous && !is_after(key, size, previous, previous_size)) return false;
    previous = key;
    previous_size = size;
    if (!take(w, ':') || !take_value(w)) return false;
  } while (take(w, ','));
  return take(w, '}');
}

static bool take_value(walk *w) {
  bool plain, done = false;
  if (w->at == w->end) return false;
  switch (*w->at) {
  case '"': return take_string(w, &plain);
  case 't': return take_word(w, "true", 4);
  case 'f': return take_word(w, "false", 5);
  case 'n': return take_word(w, "null", 4);
  case '{':
  case '[':
    if (w->depth == LIMIT_DEPTH) return false;
    w->depth++;
    done = *w->at == '{' ? take_object(w) : take_array(w);
    w->depth--;
    return done;
  default: return (*w->at == '-' || (*w->at >= '0' && *w->at <= '9')) && take_number(w);
  }
}

static void begin(walk *w, json_scan *numbers, annal_error *error, const char *text, size_t size) {
  json_scan_init(numbers, text, size, 0, NULL, error);
  *w = (walk){.at = text, .end = text + size, .numbers = numbers};
}

bool json_is_tidy(const char *text, size_t size) {
  walk w;
  json_scan numbers;
  annal_error ignored;
  begin(&w, &numbers, &ignored, text, size);
  return take_value(&w) && w.at == w.end;
}

bool json_find_member(const char *text, size_t size, const char *name, const char **value, size_t *value_size) {
  walk w;
  json_scan numbers;
  annal_error ignored;
  size_t name_size = strlen(name);
  begin(&w, &numbers, &ignored, text, size);
  if (!take(&w, '{') || take(&w, '}')) return false;
  do {
    bool plain;
    const char *key = w.at + 1;
    if (!take_string(&w, &plain)) return false;
    bool found = (size_t)(w.at - 1 - key) == name_size && memcmp(key, name, name_size) == 0;
    if (!take(&w, ':')) return false;
    *value = w.at;
    if (!take_value(&w)) return false;
    *value_size = (size_t)(w.at - *value);
    if (found) return true;
  } while (take(&w, ','));
  return false;
}
