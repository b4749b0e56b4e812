/* Instances in memory: found, loaded, folded, made into rows; see set.h. What runs over what is set_fold.c's. */
#include "fold/set.h"

#include "base/error.h"
#include "fold/belong.h"
#include <string.h>
#include <xxhash.h>

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

bool set_can(const script_projection *projection) { return !projection->has_streams || projection->has_ids; }

/* Which of the projection's types it is; -1: none. Types that the app declares are the app's own texts. */
static int type_of(const script_projection *projection, const char *type) {
  for (size_t i = 0; i < projection->type_count && i < 8; i++)
    if (projection->types[i] == type) return (int)i;
  size_t low = 0, high = projection->type_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(type, projection->types[middle]);
    if (order == 0) return (int)middle;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return -1;
}

static int find_identifiers(fold_set *set, annal_error *error) {
  const script_projection *projection = set->projection;
  if (projection->by_count == 0) return ANNAL_OK;
  set->identifiers = base_calloc(set->context->env, projection->type_count, sizeof *set->identifiers);
  if (!set->identifiers) return error_memory(error);
  for (size_t i = 0; i < projection->by_count; i++)
    for (size_t t = 0; t < projection->by[i].type_count; t++) {
      int type = type_of(projection, projection->by[i].types[t]);
      if (type >= 0) set->identifiers[type] = projection->by[i].identifier;
    }
  return ANNAL_OK;
}

int set_open(fold_set *set, const fold_context *context, const script_projection *projection, annal_error *error) {
  *set = (fold_set){.context = context, .projection = projection};
  buf_init(&set->answer, context->env);
  return find_identifiers(set, error);
}

static void free_instance(const base_env *env, set_instance *instance) {
  base_free(env, instance->state);
  base_free(env, instance->view);
  base_free(env, instance->problem);
  base_free(env, instance);
}

void set_close(fold_set *set) {
  if (!set->context) return;
  const base_env *env = set->context->env;
  for (size_t i = 0; i < set->table_size; i++)
    if (set->table[i]) free_instance(env, set->table[i]);
  base_free(env, (void *)set->table);
  base_free(env, (void *)set->touched);
  base_free(env, set->links);
  base_free(env, (void *)set->identifiers);
  buf_free(&set->answer);
  *set = (fold_set){0};
}

/* ---- The table --------------------------------------------------------------------------------------------------------- */

/* Where an instance is, or would be. */
static size_t slot_of(set_instance *const *table, size_t size, const char *id, size_t length, size_t hash) {
  size_t slot = hash & (size - 1);
  while (table[slot]) {
    const set_instance *there = table[slot];
    if (there->hash == hash && strncmp(there->id, id, length) == 0 && there->id[length] == 0) break;
    slot = (slot + 1) & (size - 1);
  }
  return slot;
}

/* At most half of it is filled. */
static bool make_table(fold_set *set, size_t size) {
  set_instance **table = base_calloc(set->context->env, size, sizeof *table);
  if (!table) return false;
  for (size_t i = 0; i < set->table_size; i++) {
    set_instance *instance = set->table[i];
    if (instance) table[slot_of(table, size, instance->id, strlen(instance->id), instance->hash)] = instance;
  }
  base_free(set->context->env, (void *)set->table);
  set->table = table;
  set->table_size = size;
  return true;
}

enum { ALLOCATION = 16 }; /* bytes that an allocator takes for itself, about */

static void count_instance(fold_set *set, set_instance *instance) {
  size_t now = sizeof *instance + strlen(instance->id) + 1 + instance->state_room + (size_t)2 * ALLOCATION;
  set->bytes += now - instance->counted;
  instance->counted = now;
}

/* NULL: no memory. */
static set_instance *find_instance(fold_set *set, const char *id, size_t length) {
  size_t hash = XXH3_64bits(id, length);
  if (set->count * 2 >= set->table_size && !make_table(set, set->table_size ? set->table_size * 2 : 64)) return NULL;
  size_t slot = slot_of(set->table, set->table_size, id, length, hash);
  set_instance *instance = set->table[slot];
  if (instance) return instance;
  instance = base_calloc(set->context->env, 1, sizeof *instance + length + 1);
  if (!instance) return NULL;
  instance->hash = hash;
  instance->first = instance->last = SET_NO_LINK;
  memcpy(instance->id, id, length);
  count_instance(set, instance);
  set->table[slot] = instance;
  set->count++;
  return instance;
}

static bool add_touched(fold_set *set, set_instance *instance) {
  if (set->touched_count == set->touched_capacity) {
    size_t capacity = set->touched_capacity ? set->touched_capacity * 2 : 64;
    set_instance **more = base_realloc(set->context->env, (void *)set->touched, capacity * sizeof *more);
    if (!more) return false;
    set->touched = more;
    set->touched_capacity = capacity;
  }
  instance->round = set->round;
  set->touched[set->touched_count++] = instance;
  return true;
}

static void forget_touched(fold_set *set) {
  for (size_t i = 0; i < set->touched_count; i++) set->touched[i]->first = set->touched[i]->last = SET_NO_LINK;
  set->touched_count = set->link_count = set->used = 0;
}

static bool add_link(fold_set *set, set_instance *instance, size_t event) {
  if (set->link_count == set->link_capacity) {
    size_t capacity = set->link_capacity ? set->link_capacity * 2 : 256;
    set_link *more = base_realloc(set->context->env, set->links, capacity * sizeof *more);
    if (!more) return false;
    set->links = more;
    set->link_capacity = capacity;
  }
  uint32_t link = (uint32_t)set->link_count++;
  set->links[link] = (set_link){.event = (uint32_t)event, .next = SET_NO_LINK};
  if (instance->first == SET_NO_LINK) {
    if (!add_touched(set, instance)) return false;
    instance->first = link;
  } else {
    set->links[instance->last].next = link;
  }
  instance->last = link;
  return true;
}

static bool take_for(fold_set *set, const char *id, size_t length, size_t event) {
  set_instance *instance = find_instance(set, id, length);
  return instance && add_link(set, instance, event);
}

set_instance *set_enter(fold_set *set, const char *id) {
  set_instance *instance = find_instance(set, id, strlen(id));
  return instance && add_touched(set, instance) ? instance : NULL;
}

/* ---- Which instances an event is for ----------------------------------------------------------------------------------- */

/* Asks the script. An error of its stops the set and not one of its instances. */
static int take_by_ids(fold_set *set, const annal_event *event, size_t number, fold_bench *bench, annal_error *error) {
  size_t count = 0;
  buf_clear(&set->answer);
  int code = script_event_ids(bench->state, set->projection, event, &set->answer, &count, error);
  if (code == ANNAL_SCRIPT || code == ANNAL_BUDGET || code == ANNAL_CORRUPT) {
    set->halted = true;
    set->halt_error = *error;
    memccpy(set->halt_event, event->id, 0, sizeof set->halt_event);
    return ANNAL_OK;
  }
  const char *id = set->answer.bytes;
  for (size_t i = 0; i < count && !code; i++, id += strlen(id) + 1)
    if (!take_for(set, id, strlen(id), number)) code = error_memory(error);
  set->used += count > 0;
  return code;
}

static int take_event(fold_set *set, const annal_event *event, size_t number, fold_bench *bench, annal_error *error) {
  if (set->projection->has_streams) return take_by_ids(set, event, number, bench, error);
  int type = type_of(set->projection, event->type), code = ANNAL_OK;
  const char *id = "";
  size_t length = 0;
  if (type < 0) return ANNAL_OK;
  if (set->identifiers) code = fold_belong_by(event, set->identifiers[type], &set->answer, &id, &length, error);
  if (code || !id) return code;
  set->used++;
  return take_for(set, id, length, number) ? ANNAL_OK : error_memory(error);
}

int set_take(fold_set *set, const fold_chunk *chunk, size_t from, size_t count, fold_bench *bench, size_t *taken,
             annal_error *error) {
  int code = ANNAL_OK;
  forget_touched(set);
  set->round++;
  *taken = from;
  for (size_t i = from; i < count && !code && !set->halted; i++) {
    code = take_event(set, &chunk->events[i], i, bench, error);
    if (!set->halted) *taken = i + 1;
  }
  return code;
}

/* ---- What is known of them --------------------------------------------------------------------------------------------- */

size_t set_unknown(const fold_set *set, set_instance **unknown) {
  size_t count = 0;
  for (size_t i = 0; i < set->touched_count; i++)
    if (!set->touched[i]->known) unknown[count++] = set->touched[i];
  return count;
}

size_t set_first_event(const fold_set *set, const set_instance *instance) { return set->links[instance->first].event; }

/* States grow and shrink by some bytes with each event: so many are left free, so that most of the time they fit where they are. */
enum { ROOM_LEFT = 64 };

bool set_keep_state(const fold_set *set, set_instance *instance, const char *bytes, size_t size) {
  if (size >= instance->state_room || instance->state_room - size > ROOM_LEFT + size / 4) {
    size_t room = (size + ROOM_LEFT) / ROOM_LEFT * ROOM_LEFT;
    char *state = base_alloc(set->context->env, room);
    if (!state) return false;
    base_free(set->context->env, instance->state);
    instance->state = state;
    instance->state_room = room;
  }
  memcpy(instance->state, bytes, size);
  instance->state_size = size;
  return true;
}

/* An instance is tried again with its next event where no row could be made of its state. What run.c says of such begins so. */
static set_parking parking_of(const char *problem) {
  bool unseen = strncmp(problem, "view of ", 8) == 0 || strncmp(problem, "state of ", 9) == 0;
  return unseen ? SET_UNSEEN : SET_POISONED;
}

void set_load(void *context, const store_kept_row *row) {
  set_loading *loading = context;
  fold_set *set = loading->set;
  set_instance *instance = find_instance(set, row->id, strlen(row->id));
  if (!instance) {
    loading->failed = true;
    return;
  }
  if (row->parked) {
    instance->was_parked = true;
    if (instance->parking == SET_RUNS) instance->parking = parking_of(row->parked);
    instance->read_on = instance->parking == SET_UNSEEN;
  }
  if (row->position == 0) return;
  instance->from_first = !row->sound || !row->state;
  if (instance->from_first) return;
  if (!set_keep_state(set, instance, row->state, row->state_size)) {
    loading->failed = true;
    return;
  }
  instance->position = row->position;
  memccpy(instance->latest_event_id, row->latest_event_id, 0, sizeof instance->latest_event_id);
  count_instance(set, instance);
}

/* ---- Rows -------------------------------------------------------------------------------------------------------------- */

void set_row(const fold_set *set, const char *name, const set_instance *instance, store_row *row) {
  *row = (store_row){.type = set->projection->name,
                     .fingerprint = name,
                     .id = instance->id,
                     .state = instance->state,
                     .state_size = instance->state_size,
                     .data = instance->view,
                     .data_size = instance->view_size,
                     .position = instance->position,
                     .latest_event_id = instance->latest_event_id};
}

void set_written(const fold_set *set, set_instance *instance) {
  base_free(set->context->env, instance->view);
  instance->view = NULL;
  instance->dirty = false;
}

bool set_parking_news(const set_instance *instance, store_parked *parked) {
  const set_problem *problem = instance->problem;
  *parked = (store_parked){.id = instance->id};
  if (problem) parked->event_id = problem->event_id;
  if (problem) parked->error = problem->text;
  return problem || (instance->was_parked && instance->parking == SET_RUNS);
}

void set_settled(const fold_set *set, set_instance *instance) {
  instance->was_parked = instance->parking != SET_RUNS;
  base_free(set->context->env, instance->problem);
  instance->problem = NULL;
}

void set_cut(fold_set *set, size_t event) {
  size_t kept = 0;
  for (size_t i = 0; i < set->touched_count; i++) {
    set_instance *instance = set->touched[i];
    uint32_t *next = &instance->first;
    instance->last = SET_NO_LINK;
    while (*next != SET_NO_LINK && set->links[*next].event < event) {
      instance->last = *next;
      next = &set->links[*next].next;
    }
    *next = SET_NO_LINK;
    if (instance->first != SET_NO_LINK) set->touched[kept++] = instance;
  }
  set->touched_count = kept;
}

/* ---- Room -------------------------------------------------------------------------------------------------------------- */

size_t set_known_last(fold_set *set) {
  size_t unknown = 0;
  for (size_t i = 0; i < set->touched_count; i++) {
    set_instance *instance = set->touched[i];
    if (instance->known) continue;
    set->touched[i] = set->touched[unknown];
    set->touched[unknown++] = instance;
  }
  return unknown;
}

void set_done(fold_set *set, size_t count) {
  for (; count > 0; count--) {
    set_instance *instance = set->touched[--set->touched_count];
    instance->first = instance->last = SET_NO_LINK;
    count_instance(set, instance);
  }
}

size_t set_memory(const fold_set *set) {
  size_t gaps = set->bytes / 4; /* that states leave behind as they grow: an allocator was seen to keep 18 to 26 % more */
  return set->bytes + gaps + set->table_size * sizeof(set_instance *) + set->touched_capacity * sizeof(set_instance *) +
         set->link_capacity * sizeof(set_link);
}

static bool has_news(const set_instance *instance) {
  store_parked ignored;
  return set_parking_news(instance, &ignored);
}

/* Once around the table. */
static size_t choose_some(fold_set *set, bool touched, size_t bytes, size_t *held, set_instance **chosen) {
  size_t count = 0;
  for (size_t i = 0; i < set->table_size && bytes < *held; i++) {
    set->hand = (set->hand + 1) & (set->table_size - 1);
    set_instance *instance = set->table[set->hand];
    if (!instance || instance->first != SET_NO_LINK || (instance->round == set->round) != touched) continue;
    if (has_news(instance)) continue;
    *held -= instance->counted;
    chosen[count++] = instance;
  }
  return count;
}

size_t set_choose(fold_set *set, size_t bytes, set_instance **chosen) {
  size_t held = set->bytes, count = choose_some(set, false, bytes, &held, chosen);
  return count + choose_some(set, true, bytes, &held, chosen + count);
}

/* Takes one out of the table, and moves up those behind it that would not be found any more. */
static void drop_instance(fold_set *set, set_instance *instance) {
  size_t mask = set->table_size - 1;
  size_t hole = slot_of(set->table, set->table_size, instance->id, strlen(instance->id), instance->hash);
  for (size_t slot = (hole + 1) & mask; set->table[slot]; slot = (slot + 1) & mask) {
    size_t home = set->table[slot]->hash & mask;
    if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
    set->table[hole] = set->table[slot];
    hole = slot;
  }
  set->table[hole] = NULL;
  set->bytes -= instance->counted;
  set->count--;
  free_instance(set->context->env, instance);
}

void set_forget(fold_set *set, set_instance *const *chosen, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!chosen[i]->dirty && !chosen[i]->view && !has_news(chosen[i])) drop_instance(set, chosen[i]);
}
