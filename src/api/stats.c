/* annal_stats: how the sets of rows stand, as JSON; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "json/json.h"
#include <string.h>
#include <time.h>

/* Sets are gathered first: what is parked of each is asked afterwards. */
typedef struct listing {
  base_buf texts; /* type and name, each ended by a NUL */
  base_buf sets;  /* store_set_figures, their texts as offsets */
} listing;

static void gather_set(void *context, const store_set_figures *set) {
  listing *l = context;
  store_set_figures copy = *set;
  copy.type = copy.set = NULL;
  buf_add(&l->texts, set->type, strlen(set->type) + 1);
  buf_add(&l->texts, set->set, strlen(set->set) + 1);
  buf_add(&l->sets, &copy, sizeof copy);
}

static int gather(annal_store *handle, listing *l, annal_error *error) {
  buf_clear(&l->texts);
  buf_clear(&l->sets);
  int code = store_sets(handle->store, gather_set, l, error);
  return !code && (l->texts.failed || l->sets.failed) ? error_memory(error) : code;
}

/* A set of those that follow the log. */
static bool follows(const store_set_figures *set) {
  return set->has_checkpoint && (set->position > 0 || set->served || set->wanted);
}

static store_set_figures set_at(const listing *l, size_t number) {
  store_set_figures set;
  memcpy(&set, l->sets.bytes + number * sizeof set, sizeof set);
  return set;
}

static size_t count_sets(const listing *l) { return l->sets.size / sizeof(store_set_figures); }

static bool is_any_behind(const listing *l, const store_head_info *head) {
  for (size_t i = 0; i < count_sets(l); i++) {
    store_set_figures set = set_at(l, i);
    if (follows(&set) && set.position < head->position) return true;
  }
  return false;
}

static void add_text(base_buf *out, const char *key, const char *text) {
  buf_printf(out, "\"%s\":", key);
  json_add_string(out, text, strlen(text));
}

typedef struct problems {
  base_buf *out;
  size_t count;
} problems;

static void add_problem(void *context, const store_parked *parked) {
  problems *p = context;
  buf_text(p->out, p->count++ ? ",{" : "{");
  add_text(p->out, "error", parked->error);
  buf_char(p->out, ',');
  add_text(p->out, "event_id", parked->event_id);
  buf_char(p->out, ',');
  add_text(p->out, "id", parked->id);
  buf_char(p->out, '}');
}

static void add_lag(base_buf *out, const store_set_figures *set, const store_head_info *head, int64_t now) {
  if (!follows(set)) {
    buf_text(out, "\"lag_events\":null,\"lag_seconds\":null,");
    return;
  }
  int64_t behind = head->position - set->position;
  double seconds = behind > 0 && set->next_at > 0 && now > set->next_at ? (double)(now - set->next_at) / 1e6 : 0;
  buf_text(out, "\"lag_events\":");
  buf_int(out, behind > 0 ? behind : 0);
  buf_text(out, ",\"lag_seconds\":");
  json_add_double(out, seconds);
  buf_char(out, ',');
}

enum { PROBLEMS_SHOWN = 100 };

/* Keys in their order, as in everything that is JSON here. `rate`: negative where it is not known. */
static int add_set(annal_store *handle, base_buf *out, const store_set_figures *set, const store_head_info *head, double rate,
                   annal_error *error) {
  problems p = {.out = out};
  buf_char(out, '{');
  add_text(out, "fingerprint", set->set);
  buf_char(out, ',');
  add_lag(out, set, head, base_now(&handle->env));
  buf_text(out, "\"parked\":");
  buf_int(out, set->parked_count);
  buf_text(out, ",\"position\":");
  if (follows(set)) buf_int(out, set->position);
  else buf_text(out, "null");
  buf_text(out, ",\"problems\":[");
  int code = set->parked_count ? store_parked_of(handle->store, set->type, set->set, NULL, PROBLEMS_SHOWN, add_problem, &p, error)
                               : ANNAL_OK;
  buf_text(out, "],\"rate\":");
  if (rate >= 0) json_add_double(out, rate);
  else buf_text(out, "null");
  buf_text(out, ",\"rows\":");
  buf_int(out, set->rows);
  buf_text(out, set->served ? ",\"served\":true," : ",\"served\":false,");
  add_text(out, "type", set->type);
  buf_text(out, set->wanted ? ",\"wanted\":true}" : ",\"wanted\":false}");
  return code;
}

/* Where the set stood in an earlier listing; -1: it was not there. */
static int64_t position_before(const listing *before, const store_set_figures *set) {
  const char *at = before->texts.bytes;
  for (size_t i = 0; i < count_sets(before); i++) {
    const char *name = at + strlen(at) + 1;
    if (strcmp(at, set->type) == 0 && strcmp(name, set->set) == 0) return set_at(before, i).position;
    at = name + strlen(name) + 1;
  }
  return -1;
}

static int add_sets(annal_store *handle, base_buf *out, const listing *l, const listing *before, double seconds,
                    const store_head_info *head, annal_error *error) {
  const char *at = l->texts.bytes;
  int code = ANNAL_OK;
  for (size_t i = 0, shown = 0; i < count_sets(l) && !code; i++) {
    store_set_figures set = set_at(l, i);
    set.type = at;
    set.set = at + strlen(at) + 1;
    at = set.set + strlen(set.set) + 1;
    /* What was removed, or never came to anything. */
    if (set.rows == 0 && set.position == 0 && !set.served && !set.wanted && set.parked_count == 0) continue;
    int64_t was = seconds > 0 && follows(&set) ? position_before(before, &set) : -1;
    double rate = was >= 0 && set.position >= was ? (double)(set.position - was) / seconds : -1;
    if (shown++) buf_char(out, ',');
    code = add_set(handle, out, &set, head, rate, error);
  }
  return code;
}

static void add_head(base_buf *out, const store_head_info *head) {
  buf_text(out, "{\"head\":{\"id\":");
  if (head->id[0]) json_add_string(out, head->id, strlen(head->id));
  else buf_text(out, "null");
  buf_text(out, ",\"position\":");
  buf_int(out, head->position);
  buf_text(out, "},\"sets\":[");
}

#define RATE_OVER_NS 300000000 /* long enough for a piece or two */

int handle_stats(annal_store *handle, base_buf *out, annal_error *error) {
  listing now, before;
  listing *both[] = {&now, &before};
  store_head_info head;
  double seconds = 0;
  for (size_t i = 0; i < 2; i++) {
    buf_init(&both[i]->texts, &handle->env);
    buf_init(&both[i]->sets, &handle->env);
  }
  int code = store_head(handle->store, &head, error);
  if (!code) code = gather(handle, &now, error);
  if (!code && is_any_behind(&now, &head)) { /* how fast is it on its way? */
    int64_t began = base_monotonic();
    struct timespec nap = {.tv_nsec = RATE_OVER_NS};
    code = gather(handle, &before, error);
    nanosleep(&nap, NULL);
    if (!code) code = gather(handle, &now, error);
    if (!code) code = store_head(handle->store, &head, error);
    seconds = (double)(base_monotonic() - began) / 1e6;
  }
  if (!code) add_head(out, &head);
  if (!code) code = add_sets(handle, out, &now, &before, seconds, &head, error);
  buf_text(out, "]}");
  for (size_t i = 0; i < 2; i++) {
    buf_free(&both[i]->texts);
    buf_free(&both[i]->sets);
  }
  return code;
}
