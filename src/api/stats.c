/* annal_stats: how the sets of rows stand, as JSON; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "json/json.h"
#include <string.h>

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
  bool follows = set->has_checkpoint && (set->position > 0 || set->served || set->wanted);
  if (!follows) {
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

/* Keys in their order, as in everything that is JSON here. */
static int add_set(annal_store *handle, base_buf *out, const store_set_figures *set, const store_head_info *head,
                   annal_error *error) {
  problems p = {.out = out};
  bool follows = set->has_checkpoint && (set->position > 0 || set->served || set->wanted);
  buf_char(out, '{');
  add_text(out, "fingerprint", set->set);
  buf_char(out, ',');
  add_lag(out, set, head, base_now(&handle->env));
  buf_text(out, "\"parked\":");
  buf_int(out, set->parked_count);
  buf_text(out, ",\"position\":");
  if (follows) buf_int(out, set->position);
  else buf_text(out, "null");
  buf_text(out, ",\"problems\":[");
  int code = set->parked_count ? store_parked_of(handle->store, set->type, set->set, NULL, PROBLEMS_SHOWN, add_problem, &p, error)
                               : ANNAL_OK;
  buf_text(out, "],\"rows\":");
  buf_int(out, set->rows);
  buf_text(out, set->served ? ",\"served\":true," : ",\"served\":false,");
  add_text(out, "type", set->type);
  buf_text(out, set->wanted ? ",\"wanted\":true}" : ",\"wanted\":false}");
  return code;
}

static int add_sets(annal_store *handle, base_buf *out, const listing *l, const store_head_info *head, annal_error *error) {
  const char *at = l->texts.bytes;
  size_t count = l->sets.size / sizeof(store_set_figures);
  int code = ANNAL_OK;
  for (size_t i = 0, shown = 0; i < count && !code; i++) {
    store_set_figures set;
    memcpy(&set, l->sets.bytes + i * sizeof set, sizeof set);
    set.type = at;
    set.set = at + strlen(at) + 1;
    at = set.set + strlen(set.set) + 1;
    /* What was removed, or never came to anything. */
    if (set.rows == 0 && set.position == 0 && !set.served && !set.wanted && set.parked_count == 0) continue;
    if (shown++) buf_char(out, ',');
    code = add_set(handle, out, &set, head, error);
  }
  return code;
}

int handle_stats(annal_store *handle, base_buf *out, annal_error *error) {
  listing l;
  store_head_info head;
  buf_init(&l.texts, &handle->env);
  buf_init(&l.sets, &handle->env);
  int code = store_head(handle->store, &head, error);
  if (!code) code = store_sets(handle->store, gather_set, &l, error);
  if (!code && (l.texts.failed || l.sets.failed)) code = error_memory(error);
  buf_text(out, "{\"head\":{\"id\":");
  if (head.id[0]) json_add_string(out, head.id, strlen(head.id));
  else buf_text(out, "null");
  buf_text(out, ",\"position\":");
  buf_int(out, head.position);
  buf_text(out, "},\"sets\":[");
  if (!code) code = add_sets(handle, out, &l, &head, error);
  buf_text(out, "]}");
  buf_free(&l.texts);
  buf_free(&l.sets);
  return code;
}
