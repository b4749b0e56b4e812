/* annal repl: a Lua prompt over an open store. Role: the Lua state, the loop and the signals; what a line means stands in
 * lua/annal/repl, how a value looks in lua/annal/print.lua, how a line is edited in terminal.c.
 *
 * The state is the person's own, with all of Lua's libraries; scripts of the app run in states of the store's, never here. Names
 * for completion come from api/handle.h, because no program needs them and the public API has no verb. */
#include "api/handle.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli.h"
#include "terminal.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const cli_option options[] = {
    {"write", .help = "let the session save; without it the store is open for reading only"},
    {0},
};

typedef struct repl {
  cli *c;
  lua_State *L; /* the session object is at 1 */
  bool interactive;
  bool writes;
} repl;

/* ---- What runs is stopped by Ctrl-C ------------------------------------------------------------------------------------- */

/* [-0, +0, e] Coroutines inherit it. At the first sign it counts every instruction, so that no pcall in a loop outlives it. */
static void look_for_interrupt(lua_State *L, lua_Debug *debug) {
  (void)debug;
  if (!cli_interrupted()) return;
  lua_sethook(L, look_for_interrupt, LUA_MASKCOUNT, 1);
  luaL_error(L, "interrupted");
}

static void begin_line(repl *r) {
  cli_forget_interrupt();
  lua_sethook(r->L, look_for_interrupt, LUA_MASKCOUNT, LIMIT_HOOK_COUNT);
}

/* ---- Names for completion ------------------------------------------------------------------------------------------------ */

/* [-0, +1, m] The list { name, … } of texts that follow each other, each ended by a NUL. */
static void push_texts(lua_State *L, const char *texts, size_t size) {
  lua_Integer count = 0;
  lua_newtable(L);
  for (size_t at = 0; at < size; at += strlen(texts + at) + 1) {
    lua_pushstring(L, texts + at);
    lua_rawseti(L, -2, ++count);
  }
}

/* [-1, +1, m] */
static int push_names(lua_State *L) {
  const script_app *app = lua_touserdata(L, 1);
  size_t count = 0;
  lua_Integer identifiers = 0;
  lua_createtable(L, 0, 4);
  lua_newtable(L);
  const script_command *commands = app ? script_commands(app, &count) : NULL;
  for (size_t i = 0; i < count; i++) lua_pushstring(L, commands[i].name), lua_rawseti(L, -2, (lua_Integer)i + 1);
  lua_setfield(L, -2, "commands");
  lua_newtable(L);
  count = 0;
  const script_event *events = app ? script_events(app, &count) : NULL;
  for (size_t i = 0; i < count; i++) lua_pushstring(L, events[i].type), lua_rawseti(L, -2, (lua_Integer)i + 1);
  lua_setfield(L, -2, "events");
  lua_newtable(L); /* projections */
  lua_newtable(L); /* identifiers */
  count = 0;
  const script_projection *projections = app ? script_projections(app, &count) : NULL;
  for (size_t i = 0; i < count; i++) {
    lua_pushstring(L, projections[i].name);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    for (size_t k = 0; k < projections[i].by_count; k++)
      lua_pushstring(L, projections[i].by[k].identifier), lua_rawseti(L, -2, ++identifiers);
  }
  lua_setfield(L, -3, "identifiers");
  lua_setfield(L, -2, "projections");
  return 1;
}

/* [-0, +1, e] host.names(): the app is held in a C variable, so what may raise runs protected. */
static int host_names(lua_State *L) {
  repl *r = lua_touserdata(L, lua_upvalueindex(1));
  lua_settop(L, 0);
  lua_pushcfunction(L, push_names);
  script_app *app = handle_app(r->c->store);
  lua_pushlightuserdata(L, app);
  int failed = lua_pcall(L, 1, 1, 0);
  script_release(app);
  return failed ? lua_error(L) : 1;
}

typedef struct id_search {
  const script_projection *projection;
  base_buf ids;
} id_search;

static const char *identifier_of(const script_projection *projection, const char *type) {
  for (size_t i = 0; i < projection->by_count; i++)
    for (size_t k = 0; k < projection->by[i].type_count; k++)
      if (strcmp(projection->by[i].types[k], type) == 0) return projection->by[i].identifier;
  return NULL;
}

static int take_id(void *context, const annal_event *event) {
  id_search *search = context;
  cli_member member;
  const char *identifier = identifier_of(search->projection, event->type);
  if (!identifier || !scan_find(event->data, event->data_size, identifier, &member)) return 0;
  if (scan_string(&member, &search->ids)) buf_char(&search->ids, 0);
  return 0;
}

/* Ids of instances that the newest events are about. */
static void find_ids(repl *r, const char *name, base_buf *ids) {
  annal_error error;
  script_app *app = handle_app(r->c->store);
  id_search search = {.projection = app ? script_find_projection(app, name) : NULL};
  buf_init(&search.ids, &r->c->env);
  if (search.projection && search.projection->by_count) {
    annal_stream stream = {.types = search.projection->types, .type_count = search.projection->type_count};
    annal_selection selection = {
        .size = sizeof selection, .streams = &stream, .stream_count = 1, .limit = LIMIT_REPL_IDS, .reverse = true};
    annal_read(r->c->store, &selection, take_id, &search, &error); /* a failure leaves TAB with what there is */
  }
  script_release(app);
  *ids = search.ids;
}

/* [-1, +1, m] */
static int push_ids(lua_State *L) {
  const base_buf *ids = lua_touserdata(L, 1);
  push_texts(L, ids->bytes, ids->failed ? 0 : ids->size);
  return 1;
}

/* [-1, +1, e] host.ids(projection) */
static int host_ids(lua_State *L) {
  repl *r = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);
  base_buf ids;
  luaL_checkstack(L, 4, NULL);
  lua_pushcfunction(L, push_ids);
  find_ids(r, name, &ids);
  lua_pushlightuserdata(L, &ids);
  int failed = lua_pcall(L, 1, 1, 0);
  buf_free(&ids);
  return failed ? lua_error(L) : 1;
}

/* ---- What the session is given -------------------------------------------------------------------------------------------- */

/* [-1, +0, e] host.out(text) */
static int host_out(lua_State *L) {
  repl *r = lua_touserdata(L, lua_upvalueindex(1));
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  if (out_text(r->c, text, size)) return luaL_error(L, "standard output is closed");
  return 0;
}

/* [-0, +0, e] host.flush(): for what shows itself while it runs. */
static int host_flush(lua_State *L) {
  repl *r = lua_touserdata(L, lua_upvalueindex(1));
  if (out_flush(r->c)) return luaL_error(L, "standard output is closed");
  return 0;
}

/* [-1, +0, e] host.error(text): after what was said before it. */
static int host_error(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  fflush(stdout);
  fputs(text, stderr);
  return 0;
}

/* [-0, +1, -] host.clock() → seconds */
static int host_clock(lua_State *L) {
  lua_pushnumber(L, (double)base_monotonic() / 1e6);
  return 1;
}

/* The store as the prompt names it: the file, or the kind of server; never a conninfo, which may hold a password. */
static const char *short_location(const char *location) {
  if (strncmp(location, "sqlite:", 7) != 0 && !store_location_is_path(location)) return "postgresql";
  const char *slash = strrchr(location, '/');
  if (slash && slash[1]) return slash + 1;
  return strncmp(location, "sqlite:", 7) == 0 ? location + 7 : location;
}

static void set_function(lua_State *L, repl *r, const char *name, lua_CFunction function) {
  lua_pushlightuserdata(L, r);
  lua_pushcclosure(L, function, 1);
  lua_setfield(L, -2, name);
}

/* [-0, +1, e] */
static void push_host(lua_State *L, repl *r) {
  lua_newtable(L);
  lua_pushglobaltable(L);
  lua_setfield(L, -2, "env");
  out_push_printer(L, r->c);
  lua_setfield(L, -2, "printer");
  lua_pushboolean(L, !r->c->out.people);
  lua_setfield(L, -2, "json");
  lua_pushfstring(L, "%s (%s)", short_location(r->c->location), r->writes ? "write" : "read-only");
  lua_setfield(L, -2, "prompt");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "annal");
  lua_getfield(L, -1, "json");
  lua_getfield(L, -1, "encode");
  lua_setfield(L, -5, "encode");
  lua_pop(L, 3);
  set_function(L, r, "out", host_out);
  set_function(L, r, "flush", host_flush);
  set_function(L, r, "error", host_error);
  set_function(L, r, "clock", host_clock);
  set_function(L, r, "names", host_names);
  set_function(L, r, "ids", host_ids);
}

/* [-1, +1, e] A fresh state becomes a session, which stays at 1. */
static int open_session(lua_State *L) {
  repl *r = lua_touserdata(L, 1);
  luaL_openlibs(L);
  luaL_requiref(L, "annal", luaopen_annal, 1);
  if (annal_push(r->c->store, L)) return luaL_error(L, "not enough memory");
  lua_setglobal(L, "store");
  lua_settop(L, 0);
  cli_lua_require(L, "annal/repl/session.lua");
  push_host(L, r);
  cli_lua_require(L, "annal/repl/chunk.lua");
  cli_lua_require(L, "annal/repl/complete.lua");
  lua_call(L, 3, 1);
  return 1;
}

/* ---- The loop -------------------------------------------------------------------------------------------------------------- */

/* [-arguments, +results on success, +0 otherwise, m] Calls a function of the session. What it raises is our own mistake or a lack
 * of memory: it has caught what the line raised. */
static bool call_session(repl *r, const char *function, int arguments, int results) {
  lua_State *L = r->L;
  lua_getfield(L, 1, function);
  lua_insert(L, -1 - arguments);
  if (lua_pcall(L, arguments, results, 0) == LUA_OK) return true;
  const char *message = lua_tostring(L, -1);
  if (!r->c->out.reader_gone) fprintf(stderr, "annal: script: %s\n", message ? message : "not enough memory");
  lua_pop(L, 1);
  return false;
}

/* False: the session ends. */
static bool feed(repl *r, const char *line, size_t size) {
  cli_reload_if_asked(r->c);
  begin_line(r);
  lua_pushlstring(r->L, line, size);
  if (!call_session(r, "feed", 1, 1)) return !r->c->out.reader_gone;
  const char *answer = lua_tostring(r->L, -1);
  bool quit = answer && strcmp(answer, "quit") == 0;
  lua_pop(r->L, 1);
  fflush(stdout);
  return !quit && !r->c->out.reader_gone;
}

/* [-1, +1, e] The session's complete(line) as texts in a buffer of C's: the loop is protected as a whole. */
typedef struct completion {
  const char *line;
  size_t size;
  base_buf *list;
  size_t replaced;
} completion;

static int run_completion(lua_State *L) {
  completion *asked = lua_touserdata(L, 2);
  lua_getfield(L, 1, "complete");
  lua_pushlstring(L, asked->line, asked->size);
  lua_call(L, 1, 2);
  asked->replaced = lua_rawlen(L, -2);
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, i);
    buf_text(asked->list, luaL_checkstring(L, -1));
    buf_char(asked->list, 0);
    lua_pop(L, 1);
  }
  return 0;
}

static size_t complete(void *context, const char *line, size_t size, base_buf *list) {
  repl *r = context;
  completion asked = {line, size, list, 0};
  begin_line(r);
  lua_pushcfunction(r->L, run_completion);
  lua_pushvalue(r->L, 1);
  lua_pushlightuserdata(r->L, &asked);
  if (lua_pcall(r->L, 2, 0, 0)) {
    lua_pop(r->L, 1);
    buf_clear(list);
  }
  return asked.replaced;
}

static void drop_input(repl *r) {
  call_session(r, "drop", 0, 0);
  cli_forget_interrupt();
}

static int loop_on_terminal(repl *r) {
  annal_error error;
  terminal *t = terminal_open(r->c, complete, r, &error);
  if (!t) return cli_fail(r->c, &error);
  printf("annal %s, %s. :help says more, Ctrl-D ends.\n", ANNAL_VERSION,
         r->writes ? "the store can be written" : "read-only (--write lets you save)");
  for (bool on = true; on;) {
    const char *line = NULL;
    cli_forget_interrupt();
    if (!call_session(r, "prompt", 0, 1)) break;
    terminal_answer answer = terminal_line(t, lua_tostring(r->L, -1), &line);
    lua_pop(r->L, 1);
    if (answer == TERMINAL_INTERRUPTED) drop_input(r);
    else on = answer == TERMINAL_LINE && feed(r, line, strlen(line));
  }
  drop_input(r);
  terminal_close(t);
  return CLI_DONE;
}

static bool read_line(base_buf *line) {
  int byte;
  buf_clear(line);
  while ((byte = getc(stdin)) != EOF && byte != '\n') buf_char(line, (char)byte);
  return (byte != EOF || line->size > 0) && !line->failed;
}

static int loop_on_pipe(repl *r) {
  base_buf line;
  buf_init(&line, &r->c->env);
  while (read_line(&line) && feed(r, line.size ? line.bytes : "", line.size)) continue;
  int code = line.failed || cli_interrupted() ? CLI_FAILED : CLI_DONE;
  buf_free(&line);
  return code;
}

static int loop(repl *r) {
  lua_State *L = r->L;
  lua_pushcfunction(L, open_session);
  lua_pushlightuserdata(L, r);
  if (lua_pcall(L, 1, 1, 0)) {
    annal_error error;
    error_set(&error, ANNAL_UNAVAILABLE, NULL, "the session cannot begin: %s", lua_tostring(L, -1));
    return cli_fail(r->c, &error);
  }
  int code = r->interactive ? loop_on_terminal(r) : loop_on_pipe(r);
  begin_line(r);
  if (!call_session(r, "close", 0, 1)) return CLI_FAILED;
  bool failed = lua_toboolean(L, -1);
  return code ? code : failed && !r->interactive ? CLI_FAILED : CLI_DONE;
}

static int run(cli *c) {
  annal_error error;
  repl r = {.c = c, .writes = options_has(c, "write")};
  r.interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  int code = cli_open(c, !r.writes, true);
  if (code) return code;
  r.L = cli_lua_new(&c->env);
  if (!r.L) {
    error_memory(&error);
    return cli_fail(c, &error);
  }
  if (r.interactive) cli_survive_interrupts();
  code = loop(&r);
  lua_close(r.L); /* before the store that its objects stand on */
  return code;
}

const cli_command cmd_repl = {
    .name = "repl",
    .usage = "[--write]",
    .help = "a Lua prompt over the store; reads lines from a pipe too",
    .options = options,
    .need = CLI_NEEDS_NOTHING,
    .stays = true,
    .run = run,
};
