/* The log and its rows as who reads them knows them; see keep.h. */
#include "keep.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const keep_names[2] = {"PER_KEY", "TOTAL"};

/* ---- The log ------------------------------------------------------------------------------------------------------------- */

enum { WHOLE, POISON, FIRST_KEY, FIRST_CART = FIRST_KEY + KEEP_KEYS };

size_t keep_number(const char *key) {
  if (!key) return WHOLE;
  if (strcmp(key, "poison") == 0) return POISON;
  return strtoul(key + 1, NULL, 10) + (key[0] == 'k' ? FIRST_KEY : FIRST_CART);
}

/* Room for one more, and for twice as many as before. */
static void *grow(void *list, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return list;
  size_t more = *capacity ? *capacity * 2 : 64;
  if (more <= count) more = count + 1;
  char *grown = realloc(list, more * size);
  if (!grown) judge_die("out of memory");
  memset(grown + *capacity * size, 0, (more - *capacity) * size);
  *capacity = more;
  return grown;
}

static void count_in(log_copy *log, size_t number, int64_t position, unsigned n) {
  log->all = grow(log->all, number, &log->count, sizeof *log->all);
  history *h = &log->all[number];
  h->events = grow(h->events, h->count, &h->capacity, sizeof *h->events);
  counted *last = h->count ? &h->events[h->count - 1] : NULL;
  if (last) last->next = position;
  h->events[h->count++] = (counted){
      .position = position, .count = (last ? last->count : 0) + 1, .sum = (last ? last->sum : 0) + n, .next = INT64_MAX};
}

static int take_event(void *context, const annal_event *event) {
  log_copy *log = context;
  char key[16];
  unsigned n;
  if (sscanf(event->data, "{\"key\":\"%15[^\"]\",\"n\":%u}", key, &n) != 2)
    judge_die("not an event of a writer's: %s", event->data);
  count_in(log, keep_number(key), event->position, n);
  count_in(log, WHOLE, event->position, n);
  log->position = event->position;
  snprintf(log->id, sizeof log->id, "%s", event->id);
  return 0;
}

void keep_read_on(log_copy *log, annal_store *handle) {
  annal_selection selection = {.size = sizeof selection, .after_id = log->position ? log->id : NULL};
  annal_error error;
  int code = annal_read(handle, &selection, take_event, log, &error);
  if (!judge_may_pass(code)) judge_die("a read answered %s: %s", annal_code_name(code), error.message);
}

const counted *keep_event_at(const log_copy *log, size_t number, int64_t position) {
  if (number >= log->count) return NULL;
  const history *h = &log->all[number];
  size_t low = 0, high = h->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->events[middle].position < position) low = middle + 1;
    else high = middle;
  }
  return low < h->count && h->events[low].position == position ? &h->events[low] : NULL;
}

/* ---- Rows ---------------------------------------------------------------------------------------------------------------- */

static int take_row(void *context, const store_row *stored) {
  look *l = context;
  l->rows = grow(l->rows, l->count, &l->capacity, sizeof *l->rows);
  keep_row *r = &l->rows[l->count++];
  *r = (keep_row){.position = stored->position, .parked = stored->parked != NULL};
  snprintf(r->key, sizeof r->key, "%s", stored->id);
  if (sscanf(stored->data, "{\"count\":%llu,\"factor\":%d,\"sum\":%llu}", &r->count, &r->factor, &r->sum) != 3)
    judge_die("not a row of the app's: %s", stored->data);
  return 0;
}

void keep_look(annal_store *handle, size_t which, int64_t at_least, look *l) {
  annal_error error;
  annal_query query = {.size = sizeof query, .type = keep_names[which], .at_least = at_least, .timeout = 60};
  int code = ANNAL_UNAVAILABLE;
  for (double until = judge_now() + 60; code == ANNAL_UNAVAILABLE && judge_now() < until;) {
    l->count = 0;
    code = handle_query(handle, &query, NULL, take_row, l, &error);
    if (code == ANNAL_UNAVAILABLE) usleep(20000);
  }
  if (code) judge_die("a query answered %s: %s", annal_code_name(code), error.message);
}

uint64_t keep_complain(const char *projection, const keep_row *r, const char *what) {
  fprintf(stderr, "judge: %s \"%s\" at %lld, count %llu, factor %d: %s\n", projection, r->key, (long long)r->position, r->count,
          r->factor, what);
  return 1;
}

uint64_t keep_judge(const look *l, const log_copy *log, size_t which) {
  int64_t least = 0, below = INT64_MAX;
  uint64_t violations = 0;
  bool *has_row = calloc(log->count + 1, 1);
  if (!has_row) judge_die("out of memory");
  for (size_t i = 0; i < l->count; i++) {
    const keep_row *r = &l->rows[i];
    size_t number = keep_number(which == 0 ? r->key : NULL);
    const counted *event = keep_event_at(log, number, r->position);
    if (r->factor != l->rows[0].factor) violations += keep_complain(keep_names[which], r, "a mixture of scripts");
    if (!event || event->count != r->count || event->sum * (unsigned)r->factor != r->sum) {
      violations += keep_complain(keep_names[which], r, "not the fold of its events");
      continue;
    }
    has_row[number] = true;
    if (r->parked) continue;
    if (r->position > least) least = r->position;
    if (event->next < below) below = event->next;
  }
  /* A key without a row has no event up to there; "poison" may stand still before its first. */
  for (size_t i = FIRST_KEY; which == 0 && i < log->count; i++)
    if (!has_row[i] && log->all[i].count && log->all[i].events[0].position < below) below = log->all[i].events[0].position;
  if (l->count > 0 && least >= below)
    violations += keep_complain(keep_names[which], &l->rows[0], "rows that stand at different events");
  free(has_row);
  return violations;
}
