/* Declarations, resolved by the Lua half, as the structures of script.h. Role: the first state of a generation fills them; each
 * later one ran the same bytes and must have declared the same, and only gets its functions laid ready. */
#include "script/internal.h"

#include "base/hash.h"
#include "json/json_lua.h"
#include <stdio.h>
#include <stdlib.h>

/* Part of every fingerprint: raise it when the same scripts would give other states, because the codec or the sandbox changed. */
#define FINGERPRINT_TAG "annal 1"

/* `version` replaces all but the tag: once the tag is raised, "v3" has to become another text, ".2" for the second one. */
#define PINNED_TAG ""

static const char events_key = 0; /* in the registry: records, 1..n */
static const char projections_key = 0;
static const char commands_key = 0;

/* ---- Reading records --------------------------------------------------------------------------------------------------- */

/* Memory of the generation, or an error raised. All functions here: [-0, +0, e] unless they say otherwise. */
static void *keep(lua_State *L, size_t count, size_t size) {
  script_state *state = state_of(L);
  void *memory = arena_array(&state->app->arena, count, size);
  if (memory) return memory;
  state->out_of_memory = true;
  luaL_error(L, "out of memory");
  return NULL;
}

static const char *keep_bytes(lua_State *L, const char *bytes, size_t size) {
  char *copy = keep(L, size + 1, 1);
  memcpy(copy, bytes, size);
  return copy;
}

/* The string in field `name` of the record at the top; NULL when it has none. */
static const char *keep_text(lua_State *L, const char *name) {
  size_t size;
  const char *text = NULL;
  if (lua_getfield(L, -1, name) == LUA_TSTRING) {
    text = lua_tolstring(L, -1, &size);
    text = keep_bytes(L, text, size);
  }
  lua_pop(L, 1);
  return text;
}

static lua_Integer integer_field(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  lua_Integer value = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool has_field(lua_State *L, const char *name) {
  bool has = lua_getfield(L, -1, name) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

/* ---- Schemas ----------------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  schema_kind kind;
} kinds[] = {{"any", SCHEMA_ANY},         {"string", SCHEMA_STRING},       {"integer", SCHEMA_INTEGER}, {"number", SCHEMA_NUMBER},
             {"boolean", SCHEMA_BOOLEAN}, {"timestamp", SCHEMA_TIMESTAMP}, {"enum", SCHEMA_ENUM},       {"array", SCHEMA_ARRAY},
             {"map", SCHEMA_MAP},         {"object", SCHEMA_OBJECT}};

static int compare_fields(const void *one, const void *other) {
  const schema_field *a = one, *b = other;
  return a->size != b->size ? (a->size < b->size ? -1 : 1) : memcmp(a->name, b->name, a->size);
}

static schema_node *compile_type(lua_State *L, int depth);

/* The table of fields is at the top, and stays. */
static void compile_fields(lua_State *L, schema_node *node, int depth) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) count++;
  schema_field *fields = keep(L, count, sizeof *fields);
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), i++) {
    const char *name = lua_tolstring(L, -2, &fields[i].size);
    fields[i].name = keep_bytes(L, name, fields[i].size);
    fields[i].node = compile_type(L, depth + 1);
    node->required += !fields[i].node->optional;
  }
  qsort(fields, count, sizeof *fields, compare_fields);
  node->fields = fields;
  node->field_count = count;
}

/* The list of values is at the top, and stays. */
static void compile_choices(lua_State *L, schema_node *node) {
  node->choice_count = lua_rawlen(L, -1);
  schema_choice *choices = keep(L, node->choice_count, sizeof *choices);
  for (size_t i = 0; i < node->choice_count; i++) {
    choices[i].type = lua_rawgeti(L, -1, (lua_Integer)i + 1);
    if (choices[i].type == LUA_TSTRING) {
      const char *text = lua_tolstring(L, -1, &choices[i].size);
      choices[i].text = keep_bytes(L, text, choices[i].size);
    } else {
      choices[i].number = choices[i].type == LUA_TBOOLEAN ? lua_toboolean(L, -1) : lua_tointeger(L, -1);
    }
    lua_pop(L, 1);
  }
  node->choices = choices;
}

static schema_bound bound_at_top(lua_State *L) {
  return (schema_bound){.is_integer = lua_isinteger(L, -1), .integer = lua_tointeger(L, -1), .real = lua_tonumber(L, -1)};
}

static void compile_range(lua_State *L, schema_node *node) {
  node->has_min = lua_getfield(L, -1, "min") != LUA_TNIL;
  node->min = lua_tointeger(L, -1);
  node->number_min = bound_at_top(L);
  node->has_max = lua_getfield(L, -2, "max") != LUA_TNIL;
  node->max = lua_tointeger(L, -1);
  node->number_max = bound_at_top(L);
  lua_pop(L, 2);
}

/* The description at the top, which stays. */
static schema_node *compile_type(lua_State *L, int depth) {
  if (depth > LIMIT_DEPTH) luaL_error(L, "a type is nested more than %d levels deep", LIMIT_DEPTH);
  luaL_checkstack(L, 8, NULL);
  schema_node *node = keep(L, 1, sizeof *node);
  const char *name = keep_text(L, "type");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].name, name) == 0) node->kind = kinds[i].kind;
  lua_getfield(L, -1, "optional");
  node->optional = lua_toboolean(L, -1);
  lua_pop(L, 1);
  compile_range(L, node);
  node->pattern = keep_text(L, "pattern");
  if (node->pattern) node->pattern_size = strlen(node->pattern);
  if (lua_getfield(L, -1, "of") == LUA_TTABLE) node->of = compile_type(L, depth + 1);
  lua_pop(L, 1);
  if (lua_getfield(L, -1, "fields") == LUA_TTABLE) compile_fields(L, node, depth);
  lua_pop(L, 1);
  if (lua_getfield(L, -1, "values") == LUA_TTABLE) compile_choices(L, node);
  lua_pop(L, 1);
  return node;
}

/* ---- Events ------------------------------------------------------------------------------------------------------------ */

/* The record at the top, which stays. */
static int compile_event(lua_State *L, script_state *state, size_t i, annal_error *error) {
  script_event *event = &state->app->events[i];
  script_event_detail *detail = &state->app->event_details[i];
  event->type = keep_text(L, "name");
  event->where = keep_text(L, "where");
  event->version = (int)integer_field(L, "version");
  detail->has_validate = has_field(L, "validate");
  detail->has_upcast = event->version > 1; /* its chain is whole, as declare.lua has seen */
  detail->file = (size_t)integer_field(L, "file");
  lua_getfield(L, -1, "fields");
  schema_node *node = keep(L, 1, sizeof *node);
  node->kind = SCHEMA_OBJECT;
  compile_fields(L, node, 0);
  detail->schema = node;
  buf_clear(&state->scratch);
  int code = json_encode(L, -1, 0, &state->scratch, error);
  lua_pop(L, 1);
  if (code == ANNAL_INVALID) return error_set(error, ANNAL_SCRIPT, event->where, "event %s: %s", event->type, error->message);
  if (code) return code;
  if (state->scratch.failed) return error_memory(error);
  event->schema = keep_bytes(L, state->scratch.bytes, state->scratch.size);
  return 0;
}

/* ---- Fingerprints ------------------------------------------------------------------------------------------------------ */

static void hash_part(base_buf *out, const char *bytes, size_t size) {
  buf_printf(out, "%zu:", size); /* with its size before it no part runs into the next */
  buf_add(out, bytes, size);
}

/* Marks a file and all that it includes, transitively. `marks` has one bit a file. */
static void mark_files(const script_app *app, unsigned char *marks, size_t *pending, size_t file) {
  size_t count = 0;
  pending[count++] = file;
  marks[file / 8] |= (unsigned char)(1u << file % 8);
  while (count > 0) {
    const unsigned char *includes = app->files[pending[--count]].includes;
    for (size_t i = 0; i < app->file_count; i++) {
      if (!(includes[i / 8] >> i % 8 & 1) || marks[i / 8] >> i % 8 & 1) continue;
      marks[i / 8] |= (unsigned char)(1u << i % 8);
      pending[count++] = i; /* each file once: there is room for all */
    }
  }
}

/* What states of this projection depend on: the text of its files, and what events look like that it sees. Where these are upgraded
 * on the way that is code too: then the text of the files with the upcasters. */
static int make_fingerprint(lua_State *L, script_state *state, script_projection *projection, lua_Integer file,
                            lua_Integer version, annal_error *error) {
  const script_app *app = state->app;
  char *text = keep(L, HASH_TEXT_BYTES, 1), *pinned = version ? keep(L, HASH_TEXT_BYTES, 1) : NULL;
  if (pinned) snprintf(pinned, HASH_TEXT_BYTES, "v%lld" PINNED_TAG, (long long)version);
  projection->code = text;
  projection->fingerprint = pinned ? pinned : text;
  unsigned char *marks = lua_newuserdatauv(L, app->file_count / 8 + 1, 0);
  size_t *pending = lua_newuserdatauv(L, (app->file_count + 1) * sizeof *pending, 0);
  memset(marks, 0, app->file_count / 8 + 1);
  mark_files(app, marks, pending, (size_t)file);
  for (size_t i = 0; i < projection->type_count; i++) {
    const script_event_detail *detail = &app->event_details[script_find_event(app, projection->types[i]) - app->events];
    if (detail->has_upcast) mark_files(app, marks, pending, detail->file);
  }
  base_buf *out = &state->scratch;
  buf_clear(out);
  hash_part(out, FINGERPRINT_TAG, sizeof FINGERPRINT_TAG - 1);
  for (size_t i = 0; i < app->file_count; i++)
    if (marks[i / 8] >> i % 8 & 1) hash_part(out, app->files[i].source, app->files[i].size);
  for (size_t i = 0; i < projection->type_count; i++) {
    const script_event *event = script_find_event(app, projection->types[i]);
    hash_part(out, event->type, strlen(event->type));
    buf_printf(out, "%d", event->version);
    hash_part(out, event->schema, strlen(event->schema));
  }
  lua_pop(L, 2);
  if (out->failed) return error_memory(error);
  hash_text(out->bytes, out->size, text);
  return 0;
}

/* ---- Projections ------------------------------------------------------------------------------------------------------- */

/* The list of event types in field `types` of the record at the top. */
static const char *const *keep_types(lua_State *L, size_t *count) {
  const script_app *app = state_of(L)->app;
  lua_getfield(L, -1, "types");
  *count = lua_rawlen(L, -1);
  const char **types = keep(L, *count, sizeof *types);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    types[i] = script_find_event(app, lua_tostring(L, -1))->type;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return types;
}

/* [-0, +0, m] */
static void note_key(lua_State *L, const char *type, const char *identifier, const char *projection) {
  script_app *app = state_of(L)->app;
  script_event_detail *detail = &app->event_details[script_find_event(app, type) - app->events];
  for (const script_event_key *at = detail->keys; at; at = at->next)
    if (strcmp(at->identifier, identifier) == 0) return;
  script_event_key *key = keep(L, 1, sizeof *key);
  *key = (script_event_key){.identifier = identifier, .projection = projection, .next = detail->keys};
  detail->keys = key;
}

static const int *keep_versions(lua_State *L, const char *const *types, size_t count) {
  int *versions = keep(L, count, sizeof *versions);
  for (size_t i = 0; i < count; i++) versions[i] = script_find_event(state_of(L)->app, types[i])->version;
  return versions;
}

static void compile_by(lua_State *L, script_projection *projection) {
  lua_getfield(L, -1, "by");
  projection->by_count = lua_rawlen(L, -1);
  script_by *by = keep(L, projection->by_count, sizeof *by);
  for (size_t i = 0; i < projection->by_count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    by[i].identifier = keep_text(L, "identifier");
    by[i].types = keep_types(L, &by[i].type_count);
    for (size_t k = 0; k < by[i].type_count; k++) note_key(L, by[i].types[k], by[i].identifier, projection->name);
    lua_pop(L, 1);
  }
  projection->by = by;
  lua_pop(L, 1);
}

/* The record at the top, which stays. */
static int compile_projection(lua_State *L, script_state *state, size_t i, annal_error *error) {
  script_projection *projection = &state->app->projections[i];
  projection->name = keep_text(L, "name");
  projection->where = keep_text(L, "where");
  const char *kept = keep_text(L, "keep");
  projection->keep = strcmp(kept, "background") == 0 ? SCRIPT_KEEP_BACKGROUND
                     : strcmp(kept, "inline") == 0   ? SCRIPT_KEEP_INLINE
                                                     : SCRIPT_KEEP_LIVE;
  projection->types = keep_types(L, &projection->type_count);
  projection->versions = keep_versions(L, projection->types, projection->type_count);
  projection->has_streams = has_field(L, "streams");
  projection->has_ids = has_field(L, "ids");
  compile_by(L, projection);
  if (lua_getfield(L, -1, "shape") == LUA_TTABLE) state->app->projection_details[i].shape = compile_type(L, 0);
  lua_pop(L, 1);
  return make_fingerprint(L, state, projection, integer_field(L, "file"), integer_field(L, "version"), error);
}

/* ---- Commands ---------------------------------------------------------------------------------------------------------- */

/* The record at the top, which stays. */
static int compile_command(lua_State *L, script_state *state, size_t i, annal_error *error) {
  (void)error;
  script_app *app = state->app;
  script_command *command = &app->commands[i];
  command->name = keep_text(L, "name");
  command->where = keep_text(L, "where");
  schema_node *args = keep(L, 1, sizeof *args);
  args->kind = SCHEMA_OBJECT;
  lua_getfield(L, -1, "args");
  compile_fields(L, args, 0);
  lua_pop(L, 1);
  app->command_details[i].args = args;
  lua_getfield(L, -1, "uses");
  command->use_count = lua_rawlen(L, -1);
  script_use *uses = keep(L, command->use_count, sizeof *uses);
  for (size_t k = 0; k < command->use_count; k++) {
    lua_rawgeti(L, -1, (lua_Integer)k + 1);
    uses[k].view = keep_text(L, "view");
    uses[k].field = keep_text(L, "field");
    lua_getfield(L, -1, "projection");
    uses[k].projection = script_find_projection(app, lua_tostring(L, -1));
    lua_pop(L, 2);
    bool has_instances = uses[k].projection->by_count > 0 || uses[k].projection->has_streams;
    uses[k].has_function = has_instances && !uses[k].field;
  }
  lua_pop(L, 1);
  command->uses = uses;
  return 0;
}

/* upvalue 1: the shape; shape(view) → nil, or (message, path) */
static int check_shape(lua_State *L) {
  const schema_node *node = lua_touserdata(L, lua_upvalueindex(1));
  schema_result result;
  lua_settop(L, 1);
  if (schema_check(L, 1, node, state_of(L)->remaining, &result)) return 0;
  if (result.overrun) state_charge(L, INT64_MAX / 2);
  lua_pushfstring(L, "%s %s", result.where[0] ? result.where : "the view", result.message);
  lua_pushstring(L, result.where);
  return 2;
}

/* ---- All of it --------------------------------------------------------------------------------------------------------- */

typedef int compile_one(lua_State *L, script_state *state, size_t i, annal_error *error);

/* For each record of the list at the top, which stays. */
static int compile_list(script_state *state, size_t count, compile_one *one, annal_error *error) {
  lua_State *L = state->L;
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    int code = one(L, state, i, error);
    lua_pop(L, 1);
    if (code) return code;
  }
  return 0;
}

static int compile_app(script_state *state, int events, int projections, int commands, annal_error *error) {
  lua_State *L = state->L;
  script_app *app = state->app;
  app->event_count = lua_rawlen(L, events);
  app->events = keep(L, app->event_count, sizeof *app->events);
  app->event_details = keep(L, app->event_count, sizeof *app->event_details);
  app->projection_count = lua_rawlen(L, projections);
  app->projections = keep(L, app->projection_count, sizeof *app->projections);
  app->projection_details = keep(L, app->projection_count, sizeof *app->projection_details);
  app->command_count = lua_rawlen(L, commands);
  app->commands = keep(L, app->command_count, sizeof *app->commands);
  app->command_details = keep(L, app->command_count, sizeof *app->command_details);
  lua_pushvalue(L, events);
  int code = compile_list(state, app->event_count, compile_event, error);
  lua_pop(L, 1);
  if (code) return code;
  lua_pushvalue(L, projections);
  code = compile_list(state, app->projection_count, compile_projection, error);
  lua_pop(L, 1);
  if (code) return code;
  lua_pushvalue(L, commands);
  code = compile_list(state, app->command_count, compile_command, error);
  lua_pop(L, 1);
  app->loaded = code == 0;
  return code;
}

static int same_name(lua_State *L, const char *name, const char *where, annal_error *error) {
  lua_getfield(L, -1, "name");
  bool same = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), name) == 0;
  lua_pop(L, 1);
  return same ? 0 : error_set(error, ANNAL_SCRIPT, where, "the scripts declare something else when they are run a second time");
}

static int recheck_event(lua_State *L, script_state *state, size_t i, annal_error *error) {
  return same_name(L, state->app->events[i].type, state->app->events[i].where, error);
}

static int recheck_command(lua_State *L, script_state *state, size_t i, annal_error *error) {
  return same_name(L, state->app->commands[i].name, state->app->commands[i].where, error);
}

/* Checks the name and completes the definition by its shape. */
static int finish_projection(lua_State *L, script_state *state, size_t i, annal_error *error) {
  const schema_node *shape = state->app->projection_details[i].shape;
  if (shape) {
    lua_getfield(L, -1, "def");
    lua_pushlightuserdata(L, (void *)(uintptr_t)shape);
    lua_pushcclosure(L, check_shape, 1);
    lua_setfield(L, -2, "shape");
    lua_pop(L, 1);
  }
  return same_name(L, state->app->projections[i].name, state->app->projections[i].where, error);
}

int compile_definitions(script_state *state, annal_error *error) {
  lua_State *L = state->L;
  const script_app *app = state->app;
  luaL_checkstack(L, 20, NULL);
  int definitions = lua_gettop(L);
  lua_getfield(L, definitions, "events");
  lua_getfield(L, definitions, "projections");
  lua_getfield(L, definitions, "commands");
  int code = app->loaded ? 0 : compile_app(state, definitions + 1, definitions + 2, definitions + 3, error);
  if (code) return code;
  if (lua_rawlen(L, definitions + 1) != app->event_count || lua_rawlen(L, definitions + 2) != app->projection_count ||
      lua_rawlen(L, definitions + 3) != app->command_count)
    return error_set(error, ANNAL_SCRIPT, app->directory, "the scripts declare something else when they are run a second time");
  code = compile_list(state, app->command_count, recheck_command, error);
  if (code) return code;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &commands_key);
  code = compile_list(state, app->projection_count, finish_projection, error);
  if (code) return code;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &projections_key);
  code = compile_list(state, app->event_count, recheck_event, error);
  if (code) return code;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &events_key);
  lua_settop(L, definitions - 1);
  return 0;
}

static void push_record(lua_State *L, const void *key, size_t index) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_rawgeti(L, -1, (lua_Integer)index + 1);
  lua_replace(L, -2);
}

void compile_push_projection(lua_State *L, size_t index) { push_record(L, &projections_key, index); }

void compile_push_event(lua_State *L, size_t index) { push_record(L, &events_key, index); }

void compile_push_command(lua_State *L, size_t index) { push_record(L, &commands_key, index); }

void script_push_projection(script_state *state, const script_projection *projection) {
  lua_State *L = state->L;
  luaL_checkstack(L, 4, NULL);
  compile_push_projection(L, (size_t)(projection - state->app->projections));
  lua_getfield(L, -1, "def");
  lua_replace(L, -2);
}
