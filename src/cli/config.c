/* annal.lua: the options of a store, written down. Role: options.c's command line and the environment come before it.
 *
 * The file is Lua, run in an empty environment: it can compute, not reach anything. It sets globals (`store = "cart.db"`) or
 * returns a table of them. Whoever writes it chooses the scripts that run, so only a file of the user's own, or root's, counts:
 * a stranger's annal.lua in /tmp must not. */
#include "base/limits.h"
#include "base/text.h"
#include "cli.h"
#include "script/near.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char config_name[] = "annal.lua";

/* ---- Finding and reading the file --------------------------------------------------------------------------------------- */

/* Opens the file if it counts; -1 where there is none. The owner is asked of the opened file, so that nobody can swap it. */
static int open_own(const char *path) {
  struct stat info;
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0 || fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    if (file >= 0) close(file);
    return -1;
  }
  bool own = info.st_uid == geteuid() || info.st_uid == 0;
  if (own && !(info.st_mode & S_IWOTH)) return file;
  fprintf(stderr, "annal: %s is ignored: it %s\n", path, own ? "can be written by anybody" : "belongs to another user");
  close(file);
  return -1;
}

/* Cuts the last part of an absolute path; false at the root. */
static bool up(char *directory) {
  char *slash = strrchr(directory, '/');
  if (!slash || !directory[1]) return false;
  slash[slash == directory] = 0;
  return true;
}

/* From the current directory upward; -1 where there is none. */
static int find(char path[PATH_MAX]) {
  char directory[PATH_MAX];
  if (!getcwd(directory, sizeof directory)) return -1;
  do {
    int size = snprintf(path, PATH_MAX, "%s/%s", directory[1] ? directory : "", config_name);
    int file = size < PATH_MAX ? open_own(path) : -1;
    if (file >= 0) return file;
  } while (up(directory));
  return -1;
}

static int read_all(cli *c, int file, base_buf *text, annal_error *error) {
  for (;;) {
    if (!buf_reserve(text, 4096)) return error_memory(error);
    ssize_t size = read(file, text->bytes + text->size, 4096);
    if (size < 0 && errno == EINTR && !cli_interrupted()) continue;
    if (size < 0) return error_set(error, ANNAL_UNAVAILABLE, c->config.path, "cannot read it: %s", strerror(errno));
    if (size == 0) return 0;
    text->size += (size_t)size;
    text->bytes[text->size] = 0;
    if (text->size > LIMIT_CONFIG_BYTES)
      return error_set(error, ANNAL_MISUSE, c->config.path, "it is longer than %u bytes", LIMIT_CONFIG_BYTES);
  }
}

/* ---- Settings out of Lua: all of this runs protected -------------------------------------------------------------------- */

/* [-0, +1, e] The setting `name`, from the returned table (1) or else the globals (2). */
static int get(lua_State *L, const char *name) {
  lua_settop(L, 3); /* the two tables, and what keeps memory alive */
  lua_getfield(L, 1, name);
  if (!lua_isnil(L, -1)) return lua_type(L, -1);
  lua_pop(L, 1);
  return lua_getfield(L, 2, name);
}

/* [-1, +0, e] Keeps the value on top as long as the state. */
static void keep(lua_State *L) { luaL_ref(L, 3); }

/* The text of the setting, NULL where it is nil. */
static const char *get_text(lua_State *L, const char *name) {
  if (get(L, name) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s: a string is needed, this is a %s", name, luaL_typename(L, -1));
  const char *text = lua_tostring(L, -1);
  if (strlen(text) != lua_rawlen(L, -1)) luaL_error(L, "%s: it holds a NUL", name);
  keep(L);
  return text;
}

static bool get_flag(lua_State *L, const char *name, bool otherwise) {
  int type = get(L, name);
  if (type == LUA_TNIL) return otherwise;
  if (type != LUA_TBOOLEAN) luaL_error(L, "%s: true or false is needed, this is a %s", name, luaL_typename(L, -1));
  return lua_toboolean(L, -1);
}

/* 0 where it is nil: annal_open's sign for its default. */
static double get_number(lua_State *L, const char *name, double max) {
  int type = get(L, name);
  if (type == LUA_TNIL) return 0;
  double value = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (!(value > 0 && value <= max)) luaL_error(L, "%s: a number above 0 is needed", name);
  return value;
}

static int64_t get_whole(lua_State *L, const char *name, int64_t max) {
  double value = get_number(L, name, (double)max);
  if (value != (double)(int64_t)value) luaL_error(L, "%s: a whole number is needed", name);
  return (int64_t)value;
}

/* 0 says that there is to be no cache, which is 1 in C. */
static size_t get_cache(lua_State *L) {
  bool none = get(L, "cache") == LUA_TNUMBER && lua_tonumber(L, -1) == 0;
  return none ? 1 : (size_t)get_whole(L, "cache", INT64_C(1) << 53);
}

static const char *const *get_names(lua_State *L, const char *name, size_t *count) {
  if (get(L, name) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TTABLE) luaL_error(L, "%s: a list of names is needed, this is a %s", name, luaL_typename(L, -1));
  *count = lua_rawlen(L, -1);
  if (*count == 0) luaL_error(L, "%s: the list is empty", name);
  const char **names = lua_newuserdatauv(L, *count * sizeof *names, 0);
  keep(L);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s[%d]: a string is needed", name, (int)i + 1);
    names[i] = lua_tostring(L, -1); /* the list keeps it: it hangs on a table of the state */
    lua_pop(L, 1);
  }
  keep(L);
  return names;
}

static const char *index_text(lua_State *L, int index, const char *key) {
  if (lua_getfield(L, -1, key) != LUA_TSTRING) luaL_error(L, "indexes[%d].%s: a string is needed", index, key);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

static const annal_index *get_indexes(lua_State *L, size_t *count) {
  if (get(L, "indexes") == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TTABLE) luaL_error(L, "indexes: a list is needed, this is a %s", luaL_typename(L, -1));
  *count = lua_rawlen(L, -1);
  if (*count == 0) luaL_error(L, "indexes: the list is empty");
  annal_index *indexes = lua_newuserdatauv(L, *count * sizeof *indexes, 0);
  keep(L);
  for (size_t i = 0; i < *count; i++) {
    int number = (int)i + 1;
    if (lua_rawgeti(L, -1, number) != LUA_TTABLE) luaL_error(L, "indexes[%d]: a table { name, on, sql } is needed", number);
    indexes[i] = (annal_index){index_text(L, number, "name"), index_text(L, number, "on"), index_text(L, number, "sql")};
    lua_pop(L, 1);
  }
  keep(L);
  return indexes;
}

/* A relative path stands beside the file that names it, wherever the command was started. */
static const char *beside(lua_State *L, const char *directory, const char *prefix, const char *path) {
  if (!path || path[0] == '/') return path;
  const char *text = lua_pushfstring(L, "%s%s/%s", prefix, directory, path);
  keep(L);
  return text;
}

static const char *store_beside(lua_State *L, const char *directory, const char *location) {
  if (!location || strcmp(location, ":memory:") == 0 || strcmp(location, "sqlite::memory:") == 0) return location;
  if (strncmp(location, "sqlite:", 7) == 0) return location[7] == '/' ? location : beside(L, directory, "sqlite:", location + 7);
  return store_location_is_path(location) ? beside(L, directory, "", location) : location;
}

static const char *const settings[] = {
    "store",       "app",    "schema",    "events", "projections", "data_indexes", "projection_indexes",
    "indexes",     "create", "read_only", "reload", "pooled",      "timeout",      "lock_timeout",
    "connections", "budget", "memory",    "cache",  NULL};

/* [-0, +0, e] Refuses keys of the table at `index` that are no settings: helpers in the file are `local`. */
static void check_keys(lua_State *L, int index) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    char shown[96];
    const char *meant = NULL;
    if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "a setting is a name, not a %s", luaL_typename(L, -2));
    const char *key = lua_tostring(L, -2);
    size_t i = 0;
    for (; settings[i] && strcmp(settings[i], key) != 0; i++)
      if (near_name(key, settings[i])) meant = settings[i];
    if (settings[i]) continue;
    if (meant) luaL_error(L, "unknown setting %s; did you mean %s?", text_show(key, shown), meant);
    luaL_error(L, "unknown setting %s", text_show(key, shown));
  }
}

static void read_settings(lua_State *L, cli_config *config, const char *directory) {
  annal_options *o = &config->options;
  check_keys(L, 1);
  check_keys(L, 2);
  config->store = store_beside(L, directory, get_text(L, "store"));
  o->app = beside(L, directory, "", get_text(L, "app"));
  o->schema = get_text(L, "schema");
  o->events = get_text(L, "events");
  o->projections = get_text(L, "projections");
  o->data_indexes = get_names(L, "data_indexes", &o->data_index_count);
  o->projection_indexes = get_names(L, "projection_indexes", &o->projection_index_count);
  o->indexes = get_indexes(L, &o->index_count);
  o->no_create = !get_flag(L, "create", true);
  o->read_only = get_flag(L, "read_only", false);
  o->no_reload = !get_flag(L, "reload", true);
  o->pooled = get_flag(L, "pooled", false);
  o->timeout = get_number(L, "timeout", LIMIT_TIMEOUT_MOST_SECONDS);
  o->lock_timeout = get_number(L, "lock_timeout", LIMIT_TIMEOUT_MOST_SECONDS);
  o->connections = (int)get_whole(L, "connections", 10000);
  o->budget = get_whole(L, "budget", INT64_C(1) << 53);
  o->memory = (size_t)get_whole(L, "memory", INT64_C(1) << 53);
  o->cache = get_cache(L);
}

/* ---- Running it ---------------------------------------------------------------------------------------------------------- */

typedef struct config_run {
  cli *c;
  const base_buf *text;
  char *directory;
} config_run;

/* [-0, +0, e] */
static void over_budget(lua_State *L, lua_Debug *debug) {
  (void)debug;
  lua_sethook(L, over_budget, LUA_MASKCOUNT, 1); /* nothing may go on by catching the first one */
  luaL_error(L, "it runs for too long");
}

static void *allocate_capped(void *context, void *pointer, size_t old_size, size_t size) {
  cli_config *config = context;
  if (!pointer) old_size = 0; /* a type tag then */
  if (size > old_size && config->held + (size - old_size) > LIMIT_CONFIG_MEMORY) return NULL;
  void *moved = NULL;
  if (size == 0) base_free(config->env, pointer);
  else if (!(moved = base_realloc(config->env, pointer, size))) return NULL;
  config->held = config->held - old_size + size;
  return moved;
}

/* [-1, +0, e] Stack afterwards: returned table, globals, what is kept. */
static int run(lua_State *L) {
  config_run *r = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_newtable(L); /* the globals */
  lua_pushfstring(L, "@%s", r->c->config.path);
  if (luaL_loadbufferx(L, r->text->bytes, r->text->size, lua_tostring(L, -1), "t")) return lua_error(L);
  lua_remove(L, 2);
  lua_pushvalue(L, 1);
  lua_setupvalue(L, 2, 1);
  lua_sethook(L, over_budget, LUA_MASKCOUNT, LIMIT_CONFIG_BUDGET);
  lua_call(L, 0, 1);
  lua_sethook(L, NULL, 0, 0);
  if (lua_isnil(L, 2)) lua_newtable(L), lua_replace(L, 2);
  if (!lua_istable(L, 2)) return luaL_error(L, "it returns a %s; settings are globals, or a table", luaL_typename(L, 2));
  lua_insert(L, 1); /* returned, globals */
  lua_newtable(L);
  for (int i = 1; i <= 3; i++) lua_pushvalue(L, i), luaL_ref(L, LUA_REGISTRYINDEX);
  read_settings(L, &r->c->config, r->directory);
  return 0;
}

/* "annal.lua:3: message" comes apart into where and message. */
static int config_error(cli *c, const char *text) {
  annal_error error;
  char where[sizeof error.where];
  size_t size = strlen(c->config.path);
  const char *message = text ? text : "not enough memory";
  snprintf(where, sizeof where, "%s", c->config.path);
  if (strncmp(message, c->config.path, size) == 0 && message[size] == ':') {
    size_t line = strspn(message + size + 1, "0123456789");
    snprintf(where, sizeof where, "%.*s", (int)(size + 1 + line), message);
    message += size + 1 + line + strspn(message + size + 1 + line, ": ");
  }
  error_set(&error, ANNAL_MISUSE, where, "%s", message);
  return cli_fail(c, &error);
}

static int run_file(cli *c, const base_buf *text) {
  config_run r = {c, text, base_strdup(&c->env, c->config.path)};
  c->config.env = &c->env;
  c->config.L = lua_newstate(allocate_capped, &c->config);
  if (!c->config.L || !r.directory) {
    base_free(&c->env, r.directory);
    return config_error(c, NULL);
  }
  up(r.directory);
  lua_State *L = c->config.L;
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &r);
  int code = CLI_DONE;
  if (lua_pcall(L, 1, 0, 0)) code = config_error(c, lua_tostring(L, -1));
  base_free(&c->env, r.directory);
  return code;
}

int config_load(cli *c) {
  char path[PATH_MAX];
  int file = find(path);
  if (file < 0) return CLI_DONE;
  annal_error error;
  base_buf text;
  buf_init(&text, &c->env);
  c->config.path = base_strdup(&c->env, path);
  int failed = c->config.path ? read_all(c, file, &text, &error) : error_memory(&error);
  close(file);
  int code = failed ? cli_fail(c, &error) : text.size ? run_file(c, &text) : CLI_DONE;
  buf_free(&text);
  return code;
}

void config_free(cli *c) {
  if (c->config.L) lua_close(c->config.L);
  base_free(&c->env, c->config.path);
}
