/* Running scripts over events and states; see run.h. */
#include "fold/run.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "fold/match.h"
#include "fold/program.h"
#include "fold/state.h"
#include "json/json_lua.h"
#include <lauxlib.h>
#include <stdio.h>

/* Where things stand on the Lua stack during a fold. */
typedef struct frame {
  lua_State *L;
  const fold_program *program;
  int anchors;
  int parts; /* the first of field_count slots with the parts of the state */
} frame;

/* Puts what was being done before the message of a script. An encoder's `invalid` is a script's fault here. */
static int explain(const fold_run *run, const char *what, annal_error *error) {
  char shown[96];
  int code = error->code == ANNAL_INVALID ? ANNAL_SCRIPT : error->code;
  if (code != ANNAL_SCRIPT && code != ANNAL_BUDGET) return code;
  return error_set(error, code, error->where, "%s%s \"%s\": %s", what, run->projection->name, text_show(run->id, shown),
                   error->message);
}

static int explain_event(const fold_run *run, const annal_event *event, annal_error *error) {
  char shown_id[96], shown_type[96], shown_instance[96], position[32] = "";
  int code = error->code;
  if (code != ANNAL_SCRIPT && code != ANNAL_BUDGET) return code;
  if (event->position > 0) snprintf(position, sizeof position, ", position %lld", (long long)event->position);
  return error_set(error, code, error->where, "%s \"%s\" at event %s (%s%s): %s", run->projection->name,
                   text_show(run->id, shown_instance), event->id ? text_show(event->id, shown_id) : "without id",
                   text_show(event->type, shown_type), position, error->message);
}

/* ---- The state, taken apart -------------------------------------------------------------------------------------------- */

/* [-1, +field_count on success, +0 otherwise, m] Takes the state on top apart. It must have exactly the parts that the program
 * has: under a pinned version a row may be by code that had others. */
static int take_apart(fold_run *run, frame *f, annal_error *error) {
  lua_State *L = f->L;
  const fold_program *program = f->program;
  f->parts = lua_gettop(L);
  if (!program->has_fields) return ANNAL_OK;
  int whole = f->parts, found = 0;
  luaL_checkstack(L, program->field_count + LIMIT_DEPTH + 32, "fields");
  if (lua_istable(L, whole)) {
    for (lua_pushnil(L); lua_next(L, whole); lua_pop(L, 1)) found++;
    for (int i = 0; i < program->field_count; i++) {
      lua_rawgeti(L, f->anchors, program->first_name + i);
      if (lua_rawget(L, whole) == LUA_TNIL) found = -1;
    }
  }
  if (found != program->field_count) {
    lua_settop(L, whole - 1);
    run->unfit = true;
    return error_set(error, ANNAL_CORRUPT, NULL, "the saved state of %s is not one of this projection", run->projection->name);
  }
  lua_remove(L, whole);
  return ANNAL_OK;
}

/* [-0, +1, m] The parts as one value again. */
static void put_together(const frame *f) {
  lua_State *L = f->L;
  if (!f->program->has_fields) {
    lua_pushvalue(L, f->parts);
    return;
  }
  lua_createtable(L, 0, f->program->field_count);
  for (int i = 0; i < f->program->field_count; i++) {
    lua_rawgeti(L, f->anchors, f->program->first_name + i);
    lua_pushvalue(L, f->parts + i);
    lua_rawset(L, -3);
  }
}

/* ---- Events ------------------------------------------------------------------------------------------------------------ */

/* [-0, +0, -] Whether the value at `index` is a table that could be an array and does not say so. */
static bool is_undecided(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  if (!lua_getmetatable(L, index)) return true;
  lua_pop(L, 1);
  return false;
}

/* [-1, +1, m] An undecided table on top becomes an array. An empty one gives way to a new one: it may be a constant of the
 * script's, which must not change under its other users. */
static void make_array(lua_State *L) {
  if (lua_rawlen(L, -1) == 0) {
    lua_pushnil(L);
    if (lua_next(L, -2)) {
      lua_pop(L, 2); /* an object after all */
      return;
    }
    lua_pop(L, 1);
    lua_newtable(L);
  }
  json_push_array_metatable(L);
  lua_setmetatable(L, -2);
}

/* [-0, +0, m] One place below the part that is on top. */
static void keep_array_at(const frame *f, const program_place *place) {
  lua_State *L = f->L;
  int part = lua_gettop(L), last = place->first_key + place->key_count - 1;
  for (int key = place->first_key; key < last && lua_istable(L, -1); key++) {
    lua_rawgeti(L, f->anchors, key);
    lua_rawget(L, -2);
  }
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, f->anchors, last);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (is_undecided(L, -1)) {
      make_array(L);
      lua_rawset(L, -3);
    }
  }
  lua_settop(L, part);
}

/* [-0, +0, m] Where the initial state has an array, what stands there now is one. It is done after each handler and not when
 * the state is encoded, because a fold that stops here and goes on later must not differ from one that does not stop. */
static void keep_arrays(const frame *f, int field) {
  lua_State *L = f->L;
  for (int i = 0; i < f->program->place_count; i++) {
    const program_place *place = &f->program->places[i];
    if (place->field != field) continue;
    lua_pushvalue(L, f->parts + field);
    if (place->key_count > 0) {
      keep_array_at(f, place);
    } else if (is_undecided(L, -1)) {
      make_array(L);
      lua_pushvalue(L, -1);
      lua_replace(L, f->parts + field);
    }
    lua_pop(L, 1);
  }
}

/* [-0, +0, m] What handlers see of an event that is not of the declared version. Its data lie in the scratch. */
static int upgrade(fold_run *run, const annal_event *event, annal_event *upgraded, annal_error *error) {
  bool older;
  *upgraded = *event;
  buf_clear(run->scratch);
  int code = script_look_at_version(script_app_of(run->state), event, &older, error);
  if (!code) code = script_upcast(run->state, event, run->scratch, upgraded, error);
  return code ? explain(run, "", error) : ANNAL_OK;
}

/* [-0, +0, m] One event through the handlers of its type. Each gets an event of its own, since it may keep what is in it. */
static int run_event(fold_run *run, const frame *f, const annal_event *event, annal_error *error) {
  lua_State *L = f->L;
  const fold_program *program = f->program;
  int type = fold_program_type(program, event->type), code = ANNAL_OK;
  annal_event upgraded;
  if (type < 0) return ANNAL_OK;
  if (event->version != run->projection->versions[type]) {
    code = upgrade(run, event, &upgraded, error);
    if (code) return code;
    event = &upgraded;
  }
  for (int i = program->first_handler[type]; i < program->first_handler[type + 1] && !code; i++) {
    const program_handler *handler = &program->handlers[i];
    lua_rawgeti(L, f->anchors, handler->function);
    lua_pushvalue(L, f->parts + handler->field);
    script_push_event(run->state, event);
    code = script_call(run->state, 2, 1, handler->what, error);
    if (code) {
      code = explain_event(run, event, error);
    } else {
      if (lua_isnil(L, -1)) lua_pop(L, 1);
      else lua_replace(L, f->parts + handler->field);
      keep_arrays(f, handler->field);
    }
  }
  script_end_event(run->state);
  return code;
}

static int run_page(fold_run *run, const frame *f, const annal_event *events, size_t count, annal_error *error) {
  int code = ANNAL_OK;
  const annal_event *last = NULL;
  for (size_t i = 0; i < count && !code; i++) {
    bool matches = true;
    if (run->only) code = fold_match(f->L, run->only, run->only_count, &events[i], &matches, error);
    if (!code && matches) code = run_event(run, f, &events[i], error);
    if (matches) last = &events[i];
    if (code) {
      run->failed_at = events[i].position;
      snprintf(run->failed_id, sizeof run->failed_id, "%s", events[i].id ? events[i].id : "");
    }
  }
  if (!code && last) {
    run->position = last->position;
    snprintf(run->event_id, sizeof run->event_id, "%s", last->id ? last->id : "");
  }
  return code;
}

bool fold_cut(const annal_event *events, size_t *count, int64_t up_to) {
  size_t whole = *count;
  while (*count > 0 && events[*count - 1].position > up_to) (*count)--;
  return *count < whole;
}

static int run_source(fold_run *run, const frame *f, annal_error *error) {
  const fold_source *source = &run->source;
  size_t count = source->count;
  bool over = fold_cut(source->events, &count, source->up_to) || !source->cursor;
  int code = run_page(run, f, source->events, count, error);
  while (!code && !over) {
    store_page page;
    code = store_cursor_next(source->cursor, &page, error);
    if (!code && page.count == 0) break;
    if (code) break;
    over = fold_cut(page.events, &page.count, source->up_to);
    code = run_page(run, f, page.events, page.count, error);
  }
  return code;
}

/* [-0, +1 on success, +0 otherwise, m] The state to begin with. */
static int push_begin(fold_run *run, const fold_program *program, lua_State *L, annal_error *error) {
  if (!run->bytes) return fold_state_decode(L, program->initial, program->initial_size, error);
  int code = fold_state_decode(L, run->bytes, run->size, error);
  if (code == ANNAL_INVALID || code == ANNAL_CORRUPT) {
    run->unfit = true;
    return error_set(error, ANNAL_CORRUPT, NULL, "the saved state of %s is damaged: %s", run->projection->name, error->message);
  }
  return code;
}

static int events_body(lua_State *L, void *context, annal_error *error) {
  fold_run *run = context;
  frame f = {.L = L};
  luaL_checkstack(L, LIMIT_DEPTH + 32, "fold"); /* a place may be that deep */
  int code = fold_program_push(run->state, run->projection, run->scratch, &f.program, error);
  if (code) return code;
  f.anchors = lua_gettop(L) - 1;
  code = push_begin(run, f.program, L, error);
  if (!code) code = take_apart(run, &f, error);
  if (!code) code = run_source(run, &f, error);
  if (code) return code;
  put_together(&f);
  code = fold_state_encode(L, -1, run->out, error);
  return code ? explain(run, "state of ", error) : ANNAL_OK;
}

int fold_run_events(fold_run *run, annal_error *error) {
  run->unfit = false;
  run->failed_at = 0;
  run->failed_id[0] = 0;
  return script_protect(run->state, events_body, run, error);
}

/* ---- Views ------------------------------------------------------------------------------------------------------------- */

/* [-1, +1 on success, +0 otherwise, m] The state on top becomes what `view` makes of it. */
static int call_view(fold_run *run, const fold_program *program, lua_State *L, int anchors, annal_error *error) {
  if (!program->view) return ANNAL_OK;
  lua_rawgeti(L, anchors, program->view);
  lua_insert(L, -2);
  lua_pushstring(L, run->id);
  int code = script_call(run->state, 2, 1, "view", error);
  if (code) return code;
  if (!lua_isnil(L, -1)) return ANNAL_OK;
  lua_pop(L, 1);
  return error_set(error, ANNAL_SCRIPT, run->projection->where, "view returned nothing");
}

/* [-0, +0, m] */
static int check_shape(fold_run *run, const fold_program *program, lua_State *L, int anchors, annal_error *error) {
  if (!program->shape) return ANNAL_OK;
  lua_rawgeti(L, anchors, program->shape);
  lua_pushvalue(L, -2);
  int code = script_call(run->state, 1, 2, "shape", error);
  if (code) return code;
  if (!lua_isnil(L, -2)) {
    const char *message = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "does not fit its shape";
    const char *path = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    code = error_set(error, ANNAL_SCRIPT, path, "%s", message);
  }
  lua_pop(L, 2);
  return code;
}

static int view_body(lua_State *L, void *context, annal_error *error) {
  fold_run *run = context;
  const fold_program *program;
  luaL_checkstack(L, 32, "view");
  int code = fold_program_push(run->state, run->projection, run->scratch, &program, error);
  if (code) return code;
  int anchors = lua_gettop(L) - 1;
  code = push_begin(run, program, L, error);
  if (code) return code;
  code = call_view(run, program, L, anchors, error);
  if (!code) code = check_shape(run, program, L, anchors, error);
  if (!code) code = json_encode(L, -1, JSON_NO_NUL, run->out, error);
  return code ? explain(run, "view of ", error) : ANNAL_OK;
}

int fold_run_view(fold_run *run, annal_error *error) {
  run->unfit = false;
  return script_protect(run->state, view_body, run, error);
}
