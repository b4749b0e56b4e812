/* Random apps; see keep_apps.h. */
#include "keep_apps.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static uint64_t state;

void keep_seed(uint64_t seed) { state = seed; }

unsigned keep_pick(unsigned below) {
  uint64_t x = state += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return (unsigned)((x ^ x >> 31) % below);
}

/* ---- Choosing ---------------------------------------------------------------------------------------------------------- */

static keep_kind pick_kind(void) {
  static const keep_kind kinds[] = {KEEP_LIVE, KEEP_BACKGROUND, KEEP_BACKGROUND, KEEP_INLINE};
  return kinds[keep_pick(4)];
}

/* Those that fail are fewer where they are kept inline: every save would be refused for them. */
static void pick_projection(keep_projection *p) {
  p->kind = pick_kind();
  p->instances = keep_pick(4);
  p->state = keep_pick(3);
  p->failure = keep_pick(p->kind == KEEP_INLINE ? 4 : 2) ? NEVER : RAISES + keep_pick(3);
  if (p->failure == NO_STATE) p->state = A_TABLE;
  p->view = keep_pick(p->kind == KEEP_INLINE ? 2 : 3);
}

void keep_make_apps(keep_app apps[KEEP_VARIANTS]) {
  for (int i = 0; i < KEEP_PROJECTIONS; i++) {
    keep_projection *first = &apps[0].projections[i];
    *first = (keep_projection){.pinned = keep_pick(5) == 0};
    snprintf(first->name, sizeof first->name, "P%d", i);
    pick_projection(first);
    for (int variant = 1; variant < KEEP_VARIANTS; variant++) {
      keep_projection *other = &apps[variant].projections[i];
      *other = *first;
      if (!first->pinned && keep_pick(2)) pick_projection(other);
      else if (keep_pick(4) == 0) other->kind = pick_kind();
    }
  }
}

void keep_pick_id(const keep_projection *projection, char id[8]) {
  if (projection->instances == BY_NOTHING) id[0] = 0;
  else snprintf(id, 8, "i%u", keep_pick(KEEP_INSTANCES));
}

void keep_make_event(const char **type, char data[96]) {
  unsigned kind = keep_pick(5), n = keep_pick(3) ? keep_pick(6) + 1 : keep_pick(40), one = keep_pick(KEEP_INSTANCES);
  if (kind < 2) snprintf(data, 96, "{\"id\":\"i%u\",\"n\":%u}", one, n);
  else if (kind < 4) snprintf(data, 96, "{\"from\":\"i%u\",\"n\":%u,\"to\":\"i%u\"}", one, n, keep_pick(KEEP_INSTANCES));
  else snprintf(data, 96, "{\"n\":%u}", n);
  *type = kind < 2 ? "ADDED" : kind < 4 ? "MOVED" : "OTHER";
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

/* What tells the instances apart, and the types that are folded then. Order counts in every state, so that nothing cancels out. */
static const char *const instance_texts[] = {
    [BY_FIELD] = "by = 'id'",
    [BY_TABLE] = "by = { ADDED = 'id', MOVED = 'to' }",
    [BY_STREAMS] = ("streams = function(id) return { { types = { 'MOVED' }, data = { from = id } },\n"
                    "      { types = { 'MOVED', 'ADDED' }, data = { to = id } }, { data = { id = id } } } end,\n"
                    "    ids = function(e) local d = e.data return d.from and { d.from, d.to } or { d.id } end"),
    [BY_NOTHING] = ""};

static const char *const handler_tables[] = {[BY_FIELD] = "ADDED = fold",
                                             [BY_TABLE] = "ADDED = fold, MOVED = fold",
                                             [BY_STREAMS] = "ADDED = fold, MOVED = fold",
                                             [BY_NOTHING] = "ADDED = fold, MOVED = fold, OTHER = fold"};

static const char *const fold_texts[] = {[A_TABLE] = ("s.count = s.count + 1 s.sum = (s.sum * 31 + n) % 65521\n"
                                                      "    if #s.seen > 4 then s.seen = {} end table.insert(s.seen, n)"),
                                         [REDUCERS] = "return (s * 31 + n) % 65521",
                                         [A_NUMBER] = "return (s * 31 + n) % 65521"};

static const char *const failure_texts[] = {
    [NEVER] = "",
    [RAISES] = "if n % 7 == 0 then if type(s) == 'table' then s.count = -1 end error('seven') end",
    [LOOPS] = "if n % 7 == 0 then while true do end end",
    [NO_STATE] = "s.bad = n % 7 == 0 and fold or nil"};

static const char *const sum_texts[] = {[A_TABLE] = "s.sum", [REDUCERS] = "s.a", [A_NUMBER] = "s"};

static void state_text(const keep_projection *p, char text[512]) {
  const char *handlers = handler_tables[p->instances];
  if (p->state == REDUCERS)
    snprintf(
        text, 512,
        "fields = { a = reducer { init = 7, on = { %s } },\n      b = reducer { init = array {}, on = { ADDED = function(s, e)\n"
        "        if #s > 3 then return {} end s[#s + 1] = e.data.n end } } }",
        handlers);
  else
    snprintf(text, 512, "init = %s, on = { %s }", p->state == A_TABLE ? "{ count = 0, sum = 7, seen = array {} }" : "7",
             handlers);
}

static void view_text(const keep_projection *p, char text[256]) {
  char failure[64] = "";
  text[0] = 0;
  if (p->view == NO_VIEW) return;
  if (p->view == FAILING_VIEW)
    snprintf(failure, sizeof failure, "if %s %% 11 == 5 then error('unseen') end", sum_texts[p->state]);
  snprintf(text, 256, "view = function(s, id) %s return { id = id, s = s, kept = { %s } } end", failure, sum_texts[p->state]);
}

static size_t projection_text(const keep_projection *p, char *text, size_t room) {
  static const char *const kinds[] = {"live", "background", "inline"};
  char folded[512], view[256];
  state_text(p, folded);
  view_text(p, view);
  int size =
      snprintf(text, room,
               "do\n  local function fold(s, e)\n    local n = e.data.n\n    %s\n    %s\n  end\n"
               "  projection '%s' { keep = '%s'%s,\n    %s%s\n    %s%s\n    %s }\nend\n",
               failure_texts[p->failure], fold_texts[p->state], p->name, kinds[p->kind], p->pinned ? ", version = 5" : "",
               instance_texts[p->instances], p->instances == BY_NOTHING ? "" : ",", folded, p->view == NO_VIEW ? "" : ",", view);
  assert(size > 0 && (size_t)size < room);
  return (size_t)size;
}

void keep_app_text(const keep_app *app, char text[KEEP_APP_BYTES]) {
  size_t used = (size_t)snprintf(text, KEEP_APP_BYTES,
                                 "event 'ADDED' { id = t.string, n = t.integer }\n"
                                 "event 'MOVED' { from = t.string, to = t.string, n = t.integer }\n"
                                 "event 'OTHER' { n = t.integer }\n");
  for (int i = 0; i < KEEP_PROJECTIONS; i++) used += projection_text(&app->projections[i], text + used, KEEP_APP_BYTES - used);
}
