/* Steps through canonical JSON in place. Role: import takes a line apart with it, query's rows and the REPL's ids come out of
 * larger documents. Canonical form is a promise of json/ (json.h), so nothing is checked twice here; text that is not canonical
 * JSON ends a walk early and is never read beyond its end. */
#include "cli.h"
#include <string.h>

/* The end of the string that begins at text[at], behind its closing quote. */
static size_t string_end(const char *text, size_t size, size_t at) {
  for (at++; at < size && text[at] != '"'; at++)
    if (text[at] == '\\') at++;
  return at < size ? at + 1 : size;
}

/* The end of the value that begins at text[at]: the comma or bracket at its own depth. */
static size_t value_end(const char *text, size_t size, size_t at) {
  size_t depth = 0;
  while (at < size) {
    char ch = text[at];
    if (ch == '"') {
      at = string_end(text, size, at);
      continue;
    }
    if (depth == 0 && (ch == ',' || ch == '}' || ch == ']')) return at;
    if (ch == '{' || ch == '[') depth++;
    if (ch == '}' || ch == ']') depth--;
    at++;
  }
  return size;
}

bool scan_next(const char *text, size_t size, size_t *at, cli_member *member) {
  if (size < 2) return false;
  bool object = text[0] == '{';
  size_t here = *at + 1; /* behind the opening bracket, or behind the comma after the last member */
  if (here >= size || text[here] == '}' || text[here] == ']') return false;
  *member = (cli_member){0};
  if (object) {
    size_t end = string_end(text, size, here);
    if (end >= size || text[end] != ':') return false;
    member->key = text + here + 1;
    member->key_size = end - here - 2;
    here = end + 1;
  }
  size_t end = value_end(text, size, here);
  member->value = text + here;
  member->value_size = end - here;
  *at = end < size && text[end] == ',' ? end : size;
  return true;
}

bool scan_find(const char *text, size_t size, const char *key, cli_member *member) {
  size_t at = 0, key_size = strlen(key);
  while (scan_next(text, size, &at, member))
    if (member->key && member->key_size == key_size && memcmp(member->key, key, key_size) == 0) return true;
  return false;
}

/* Canonical strings escape only quotes, backslashes and controls, the latter as \b \f \n \r \t or \u00xx. */
bool scan_string(const cli_member *member, base_buf *out) {
  const char *text = member->value;
  size_t size = member->value_size;
  if (size < 2 || text[0] != '"') return false;
  for (size_t i = 1; i + 1 < size; i++) {
    if (text[i] != '\\') {
      buf_char(out, text[i]);
      continue;
    }
    static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    const char *letter = strchr(letters, text[++i]);
    if (text[i] == 'u' && i + 4 < size) {
      int high = text[i + 3] - '0', low = text[i + 4] <= '9' ? text[i + 4] - '0' : text[i + 4] - 'a' + 10;
      buf_char(out, (char)(high * 16 + low));
      i += 4;
    } else {
      buf_char(out, letter ? bytes[letter - letters] : text[i]);
    }
  }
  return !out->failed;
}
