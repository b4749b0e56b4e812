/* The matcher; see pattern.h. It follows the manual's account of patterns (Lua 5.4, 6.4.1): greedy repetition tries the longest
 * first, lazy the shortest, each alternative is given up only when the rest of the pattern fails after it. Letters, digits and
 * the like are ASCII's, whatever the host's locale. */
#include "script/pattern.h"

#include <string.h>

#define DEPTH_MAX 200 /* of captures and repetitions that wait for what follows them */

static bool is_letter(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool is_graphic(unsigned char c) { return c > 32 && c < 127; }

static bool in_class(unsigned char c, unsigned char class) {
  bool is;
  switch (class | 32) {
  case 'a': is = is_letter(c); break;
  case 'c': is = c < 32 || c == 127; break;
  case 'd': is = is_digit(c); break;
  case 'g': is = is_graphic(c); break;
  case 'l': is = c >= 'a' && c <= 'z'; break;
  case 'p': is = is_graphic(c) && !is_letter(c) && !is_digit(c); break;
  case 's': is = c == ' ' || (c >= 9 && c <= 13); break;
  case 'u': is = c >= 'A' && c <= 'Z'; break;
  case 'w': is = is_letter(c) || is_digit(c); break;
  case 'x': is = is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); break;
  default: return class == c; /* an escaped character stands for itself */
  }
  return (class & 32) ? is : !is; /* a capital letter is the complement */
}

static const char *fail(pattern_match *m, const char *problem) {
  if (!m->problem) m->problem = problem;
  return NULL;
}

/* Whether there is work left to do; `amount` is what is about to be done. */
static bool spend(pattern_match *m, int64_t amount) {
  m->steps -= amount;
  if (m->steps >= 0) return true;
  fail(m, PATTERN_TOO_LONG);
  return false;
}

/* The end of the single-character item at `p`: "a", ".", "%d" or "[a-z]". NULL when it is malformed. */
static const char *item_end(pattern_match *m, const char *p) {
  if (*p == '%') return p + 1 < m->pattern_end ? p + 2 : fail(m, "malformed pattern (ends with '%')");
  if (*p != '[') return p + 1;
  p++;
  if (p < m->pattern_end && *p == '^') p++;
  do { /* a ']' that comes first is itself */
    if (p == m->pattern_end) return fail(m, "malformed pattern (missing ']')");
    if (*p++ == '%') {
      if (p == m->pattern_end) return fail(m, "malformed pattern (missing ']')");
      p++;
    }
  } while (p == m->pattern_end || *p != ']');
  return p + 1;
}

/* `set` points to its '[', `last` to its ']'. */
static bool in_set(unsigned char c, const char *set, const char *last) {
  bool wanted = true;
  const char *p = set + 1;
  if (*p == '^') {
    wanted = false;
    p++;
  }
  while (p < last) {
    if (*p == '%') {
      if (in_class(c, (unsigned char)p[1])) return wanted;
      p += 2;
    } else if (p[1] == '-' && p + 2 < last) {
      if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return wanted;
      p += 3;
    } else {
      if ((unsigned char)*p == c) return wanted;
      p++;
    }
  }
  return !wanted;
}

static bool item_matches(const pattern_match *m, const char *s, const char *p, const char *end) {
  if (s >= m->subject_end) return false;
  unsigned char c = (unsigned char)*s;
  switch (*p) {
  case '.': return true;
  case '%': return in_class(c, (unsigned char)p[1]);
  case '[': return in_set(c, p, end - 1);
  default: return (unsigned char)*p == c;
  }
}

static const char *match_here(pattern_match *m, const char *s, const char *p);

/* match_here one level deeper: what is tried may fail and another way be tried. */
static const char *attempt(pattern_match *m, const char *s, const char *p) {
  if (m->depth >= DEPTH_MAX) return fail(m, "pattern too complex");
  m->depth++;
  const char *end = match_here(m, s, p);
  m->depth--;
  return end;
}

static const char *match_greedy(pattern_match *m, const char *s, const char *p, const char *end) {
  ptrdiff_t count = 0;
  while (item_matches(m, s + count, p, end)) count++;
  if (!spend(m, count)) return NULL;
  for (; count >= 0 && !m->problem; count--) {
    const char *result = attempt(m, s + count, end + 1);
    if (result) return result;
  }
  return NULL;
}

static const char *match_lazy(pattern_match *m, const char *s, const char *p, const char *end) {
  while (!m->problem) {
    const char *result = attempt(m, s, end + 1);
    if (result) return result;
    if (!item_matches(m, s, p, end)) return NULL;
    s++;
  }
  return NULL;
}

static const char *open_capture(pattern_match *m, const char *s, const char *p) {
  if (m->count >= PATTERN_CAPTURES) return fail(m, "too many captures");
  bool position = p + 1 < m->pattern_end && p[1] == ')';
  m->captures[m->count++] = (pattern_capture){.start = s, .size = position ? PATTERN_POSITION : PATTERN_OPEN};
  const char *end = attempt(m, s, p + (position ? 2 : 1));
  if (!end) m->count--;
  return end;
}

static const char *close_capture(pattern_match *m, const char *s, const char *p) {
  int open = m->count - 1;
  while (open >= 0 && m->captures[open].size != PATTERN_OPEN) open--;
  if (open < 0) return fail(m, "invalid pattern capture");
  m->captures[open].size = s - m->captures[open].start;
  const char *end = attempt(m, s, p + 1);
  if (!end) m->captures[open].size = PATTERN_OPEN;
  return end;
}

/* "%bxy": from x to the y that closes it. */
static const char *match_balance(pattern_match *m, const char *s, const char *p) {
  if (m->pattern_end - p < 4) return fail(m, "malformed pattern (missing arguments to '%b')");
  if (s >= m->subject_end || *s != p[2]) return NULL;
  int64_t open = 1;
  for (const char *at = s + 1; at < m->subject_end; at++) {
    if (!spend(m, 1)) return NULL;
    if (*at == p[3]) {
      if (--open == 0) return at + 1;
    } else if (*at == p[2]) {
      open++;
    }
  }
  return NULL;
}

/* "%f[set]": between a character outside and one inside; both ends of the text count as '\0'. */
static bool at_frontier(const pattern_match *m, const char *s, const char *set, const char *end, const char *begin) {
  unsigned char before = s == begin ? 0 : (unsigned char)s[-1];
  unsigned char after = s < m->subject_end ? (unsigned char)*s : 0;
  return !in_set(before, set, end - 1) && in_set(after, set, end - 1);
}

/* "%1": what the capture has captured, again. */
static const char *match_again(pattern_match *m, const char *s, char digit) {
  int index = digit - '1';
  if (index < 0 || index >= m->count || m->captures[index].size == PATTERN_OPEN) return fail(m, "invalid capture index");
  if (m->captures[index].size == PATTERN_POSITION) return NULL; /* a position is no text */
  ptrdiff_t size = m->captures[index].size;
  if (!spend(m, size / 16)) return NULL;
  if (m->subject_end - s < size || memcmp(s, m->captures[index].start, (size_t)size) != 0) return NULL;
  return s + size;
}

/* The items that begin with '%' and are no single character. *p is moved behind the item; NULL when it does not match. */
static const char *match_escape(pattern_match *m, const char *s, const char **p) {
  char kind = (*p)[1];
  if (kind == 'b') {
    s = match_balance(m, s, *p);
    *p += 4;
  } else if (kind == 'f') {
    const char *set = *p + 2;
    if (set >= m->pattern_end || *set != '[') return fail(m, "missing '[' after '%f' in pattern");
    const char *end = item_end(m, set);
    if (!end || !at_frontier(m, s, set, end, m->subject)) return NULL;
    *p = end;
  } else {
    s = match_again(m, s, kind);
    *p += 2;
  }
  return s;
}

static bool is_escape(const pattern_match *m, const char *p) {
  return *p == '%' && p + 1 < m->pattern_end && (p[1] == 'b' || p[1] == 'f' || is_digit((unsigned char)p[1]));
}

static const char *match_here(pattern_match *m, const char *s, const char *p) {
  while (p < m->pattern_end) {
    if (!spend(m, 1)) return NULL;
    if (*p == '(') return open_capture(m, s, p);
    if (*p == ')') return close_capture(m, s, p);
    if (*p == '$' && p + 1 == m->pattern_end) return s == m->subject_end ? s : NULL;
    if (is_escape(m, p)) {
      s = match_escape(m, s, &p);
      if (!s) return NULL;
      continue;
    }
    const char *end = item_end(m, p);
    if (!end) return NULL;
    char suffix = end < m->pattern_end ? *end : 0;
    if (suffix == '*') return match_greedy(m, s, p, end);
    if (suffix == '-') return match_lazy(m, s, p, end);
    bool here = item_matches(m, s, p, end);
    if (suffix == '+') return here ? match_greedy(m, s + 1, p, end) : NULL;
    if (suffix == '?') {
      const char *result = here ? attempt(m, s + 1, end + 1) : NULL;
      if (result || m->problem) return result;
      p = end + 1;
      continue;
    }
    if (!here) return NULL;
    s++;
    p = end;
  }
  return s;
}

void pattern_init(pattern_match *match, const char *subject, size_t subject_size, const char *pattern, size_t size,
                  int64_t steps) {
  match->subject = subject;
  match->subject_end = subject + subject_size;
  match->pattern_end = pattern + size;
  match->steps = steps;
  match->problem = NULL;
  match->depth = 0;
  match->count = 0;
}

const char *pattern_at(pattern_match *match, const char *at, const char *pattern) {
  match->count = 0;
  match->depth = 0;
  const char *end = match_here(match, at, pattern);
  if (!end) return NULL;
  for (int i = 0; i < match->count; i++)
    if (match->captures[i].size == PATTERN_OPEN) return fail(match, "unfinished capture");
  return end;
}

const char *pattern_search(pattern_match *match, const char *from, const char *pattern, const char **end) {
  bool anchored = pattern < match->pattern_end && *pattern == '^';
  if (anchored) pattern++;
  for (const char *at = from; at <= match->subject_end; at++) {
    if (!spend(match, 1)) return NULL;
    *end = pattern_at(match, at, pattern);
    if (*end) return at;
    if (anchored || match->problem) return NULL;
  }
  return NULL;
}

/* A matcher finds faults only on the way it takes, so the pattern is read through once by itself. */
const char *pattern_fault(const char *pattern, size_t size) {
  pattern_match m;
  pattern_init(&m, "", 0, pattern, size, INT64_MAX);
  int open[PATTERN_CAPTURES], depth = 0, count = 0;
  bool closed[PATTERN_CAPTURES] = {false};
  const char *p = pattern;
  if (p < m.pattern_end && *p == '^') p++;
  while (p < m.pattern_end) {
    if (*p == '(') {
      if (count >= PATTERN_CAPTURES) return "too many captures";
      open[depth++] = count++;
      p++;
    } else if (*p == ')') {
      if (depth == 0) return "invalid pattern capture";
      closed[open[--depth]] = true;
      p++;
    } else if (is_escape(&m, p) && p[1] == 'b') {
      if (m.pattern_end - p < 4) return "malformed pattern (missing arguments to '%b')";
      p += 4;
    } else if (is_escape(&m, p) && p[1] == 'f') {
      if (m.pattern_end - p < 3 || p[2] != '[') return "missing '[' after '%f' in pattern";
      p = item_end(&m, p + 2);
    } else if (is_escape(&m, p)) {
      int index = p[1] - '1';
      if (index < 0 || index >= count || !closed[index]) return "invalid capture index";
      p += 2;
    } else {
      p = item_end(&m, p);
      if (p && p < m.pattern_end && strchr("*+-?", *p)) p++;
    }
    if (!p) return m.problem;
  }
  return depth ? "unfinished capture" : NULL;
}
