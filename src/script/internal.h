/* What the files of script/ share and nobody else sees. Role: the two structures behind script.h, and the seams between
 *   app.c       a generation: loaded, counted, its pool of states
 *   files.c     which files are the app's
 *   watch.c     hints that they have changed
 *   state.c     one Lua state: memory quota, instruction budget, protected calls
 *   failure.c   what went wrong in a script, as an annal_error
 *   sandbox.c   what scripts can see; order.c, strings.c, tables.c and pattern.c are its replacements for the standard functions
 *   declare.c   the C half of the vocabulary
 *   vocabulary.c  the embedded Lua half (lua/annal/script), compiled once
 *   compile.c   declarations, resolved, as the structures of script.h; fingerprints
 *   schema.c    checking a value against a schema
 *   event.c     the event a handler is given, the check of an event to be saved
 *   upcast.c    events of older versions, upgraded
 *   streams.c   the streams of an instance; ids.c the instances of an event
 *   command.c   a command's arguments, and what it decides
 * Functions that touch a Lua stack say [-popped, +pushed, raises] as the Lua manual does: - never, m memory, e any error. */
#ifndef SCRIPT_INTERNAL_H
#define SCRIPT_INTERNAL_H

#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include "script/arena.h"
#include "script/schema.h"
#include "script/script.h"
#include <lauxlib.h>
#include <locale.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* One of the app's files. Sources are kept: every state of a generation runs the same bytes. */
typedef struct script_file {
  const char *path; /* below the app's directory, with slashes */
  const char *name; /* as `include` names it: a.b for a/b.lua; "" where it cannot be named */
  const char *source;
  size_t size;
  unsigned char *includes; /* one bit a file: what it includes directly, as seen when the first state ran it */
} script_file;

/* What C keeps of a declaration beside what script.h shows. */
/* A field of an event whose value is the id of an instance. */
typedef struct script_event_key {
  const char *identifier;
  const char *projection; /* the first that has it in its `by` */
  const struct script_event_key *next;
} script_event_key;

typedef struct script_event_detail {
  const schema_node *schema;
  bool has_validate;
  bool has_upcast;              /* there are older versions, each with its function */
  size_t file;                  /* index of the file that declares it */
  const script_event_key *keys; /* each identifier once */
} script_event_detail;

typedef struct script_projection_detail {
  const schema_node *shape; /* NULL: not checked */
} script_projection_detail;

typedef struct script_command_detail {
  const schema_node *args;
} script_command_detail;

typedef struct vocabulary vocabulary;

struct script_app {
  const base_env *env;
  script_options options;
  script_arena arena;    /* everything below that does not change after loading */
  const char *directory; /* as the host named it */
  const char *path;      /* the same from the root, which a change of the working directory leaves right */
  script_file *files;
  size_t file_count;
  char hash[HASH_TEXT_BYTES];
  int64_t changed_at;
  script_event *events;
  script_event_detail *event_details;
  size_t event_count;
  script_projection *projections;
  script_projection_detail *projection_details;
  size_t projection_count;
  script_command *commands;
  script_command_detail *command_details;
  size_t command_count;
  vocabulary *words; /* shared with the generations before and after */
  bool loaded;       /* the structures above are complete */
  locale_t c_locale; /* number formats, character classes and string order whatever the host has set */
  atomic_size_t references;
  pthread_mutex_t lock; /* of the pool */
  script_state *idle;
};

struct script_state {
  script_app *app;
  lua_State *L;      /* our C code's thread */
  lua_State *run;    /* the scripts' thread: reused from call to call, dropped after a failure */
  int64_t remaining; /* instructions left in this call; C functions that work long take from it too */
  size_t used;       /* bytes held by Lua */
  bool running;      /* a script is running */
  bool hurried;      /* the hook comes at every instruction, because the call is to end */
  bool refused;      /* the allocator refused once, so Lua collects and asks again; twice is out of memory */
  bool out_of_quota;
  bool out_of_memory;  /* the host's, not the quota */
  bool overrun;        /* the budget is spent */
  bool failed;         /* `failure` is to be the call's result */
  bool loading;        /* declarations are allowed */
  bool deciding;       /* a command's decide is running: it may reject */
  unsigned interrupts; /* there had been when it was taken: more by now end the script that runs */
  annal_error failure;
  char stopped_at[256]; /* file:line where the script was when it was stopped, or "" */
  base_buf scratch;     /* for a moment's work of C code; owned here because Lua may jump out of it */
  size_t file;          /* index of the file being run while loading */
  size_t failed_file;   /* of the file whose running failed last; SIZE_MAX: none since another was begun */
  const annal_event *event;
  lua_Integer event_serial;
  script_state *next; /* in the pool */
};

/* The state that a Lua thread belongs to. */
static inline script_state *state_of(lua_State *L) { return *(script_state **)lua_getextraspace(L); }

/* ---- state.c ----------------------------------------------------------------------------------------------------------- */

/* Makes a state with sandbox and vocabulary, runs every file. */
int state_create(script_app *app, script_state **out, annal_error *error);
void state_destroy(script_state *state);
/* Whoever takes it is not ended by interruptions that there were before. */
void state_begin(script_state *state);
/* Whether it must not be used again. */
bool state_is_spent(const script_state *state);
/* script_call with a budget of its own, of which what is left over comes back. */
int state_call(script_state *state, int arguments, int results, int64_t *budget, const char *what, annal_error *error);
/* [-0, +0, e] Ends the script that runs: by a yield where the thread can, so that no pcall catches it, else by an error. Returns
 * only when called from the hook. */
int state_stop(lua_State *L);
/* [-0, +0, e] Takes what a C function costs from the budget; ends the script when it is spent. */
void state_charge(lua_State *L, uint64_t instructions);
/* [-0, +0, e] Ends the script that runs with this error, which becomes the result of script_call. */
int state_fail(lua_State *L, const annal_error *error);

/* ---- failure.c --------------------------------------------------------------------------------------------------------- */

/* [-0, +0, m] Turns what lua_resume answered on the state's `run` thread into an error. */
int failure_of_call(script_state *state, int status, const char *what, annal_error *error);
/* [-0, +0, -] Turns a failed lua_pcall on the main thread into an error; the error object is on the top. */
int failure_of_protect(script_state *state, int status, annal_error *error);
/* Makes valid UTF-8 of a text that a script has made: what is none becomes '?'. */
void failure_clean(char *text);
/* [-0, +0, -] The innermost place in the app's files that the thread is at, "" when it is in none. */
void failure_place(lua_State *L, char *place, size_t size);
/* Splits "a/b.lua:12: message" into its place and the rest; without a place `where` is "". */
const char *failure_split(const char *text, char *where, size_t size);

/* ---- files.c ----------------------------------------------------------------------------------------------------------- */

/* Reads all of them below app->path, and their hash. Sets `watch`, if given, upon each directory before it is read. */
int files_find(script_app *app, script_watch *watch, annal_error *error);
/* Whether a file of that name is one of the app's. */
bool files_is_script(const char *name);
/* SIZE_MAX when there is no such file. */
size_t files_by_name(const script_app *app, const char *name);

/* ---- watch.c ----------------------------------------------------------------------------------------------------------- */

/* A reading begins at `path`, goes through directories that are open, and ends, early where it is not complete: then only those
 * directories are watched. */
void watch_begin(script_watch *watch, const char *path);
void watch_directory(script_watch *watch, int directory);
void watch_end(script_watch *watch, bool complete);

/* ---- sandbox.c --------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] Fills the state with what scripts may see. Our vocabulary comes on top of it by declare_open. */
void sandbox_open(lua_State *L);
/* [-0, +1, m] A file's environment. */
void sandbox_push_environment(lua_State *L);
/* [-0, +1, m] The table of globals that all environments share. */
void sandbox_push_globals(lua_State *L);
/* [-1, +1, m] A table that reads as the one on the top and cannot be written to. `missing`: what reading an absent key does. */
void sandbox_seal(lua_State *L, const char *name, lua_CFunction missing);
/* [-0, +0, m] From now on it is an error to read an absent key of the table on the top, with a hint where one is near. */
void sandbox_guard(lua_State *L, const char *name);
/* [-0, +0, -] Whether the value is such a table, or another that scripts must not write to. */
bool sandbox_is_sealed(lua_State *L, int index);
/* [-0, +1, e] Appends a value as tostring shows it. */
const char *sandbox_tostring(lua_State *L, int index, size_t *size);
/* [-0, +1, m] The bytewise first string key of the table at `index` that is near `name`, or nil. */
void sandbox_push_near(lua_State *L, int index, const char *name);

void order_open(lua_State *L, int globals);         /* [-0, +0, m] pairs, next, is_empty */
void strings_open(lua_State *L, int strings);       /* [-0, +0, m] edits the string library in place */
void strings_charge_all(lua_State *L, int library); /* [-0, +0, m] each function of it pays for the text it is given */
void tables_open(lua_State *L, int tables);         /* [-0, +0, m] fills a table library */

/* ---- declare.c --------------------------------------------------------------------------------------------------------- */

/* [-0, +0, e] Adds the vocabulary to the globals. */
void declare_open(lua_State *L);
/* A function of a file's index that runs it, unless it was run before. */
int declare_call_file(lua_State *L);
/* [-0, +1, m] A function without arguments that resolves what was declared: { events = {…}, projections = {…}, commands = {…} }. */
void declare_push_resolve(lua_State *L);

/* ---- vocabulary.c ------------------------------------------------------------------------------------------------------ */

/* NULL when there is no memory. Filled by the first state that loads from it. */
vocabulary *vocabulary_create(const base_env *env);
/* From here on it does not change, and generations of the same store may share it. */
void vocabulary_complete(vocabulary *words);
/* NULL as long as it is not complete. */
vocabulary *vocabulary_retain(vocabulary *words);
void vocabulary_release(vocabulary *words); /* accepts NULL */
/* [-0, +1, e] One of the embedded files as a function. `path` is a literal. */
void vocabulary_load(lua_State *L, const char *path);

/* ---- compile.c --------------------------------------------------------------------------------------------------------- */

/* [-1, +0, e] Takes what `resolve` answered. For a generation's first state it becomes the generation's structures too. */
int compile_definitions(script_state *state, annal_error *error);
/* [-0, +1, m] The records of projections, of events, of commands: one for the life of the state, numbered from 1 in the app's order. */
void compile_push_projection(lua_State *L, size_t index);
void compile_push_event(lua_State *L, size_t index);
void compile_push_command(lua_State *L, size_t index);

/* ---- event.c ----------------------------------------------------------------------------------------------------------- */

/* [-0, +0, m] */
void event_open(lua_State *L);
/* [-0, +0, -] Whether the table at `index` is an event. */
bool event_is(lua_State *L, int index);
/* [-0, +1, e] A plain table with all fields of the event. */
void event_push_plain(lua_State *L, int index);
/* [-0, +0, m] Checks the data at the top against the schema of the app's event and appends the form that is stored. `invalid`. */
int event_fit(lua_State *L, size_t index, base_buf *out, annal_error *error);
/* [-1, +0, m] What else an event to be saved must be, its data at the top: ids that are not empty, accepted by `validate`. */
int event_accept(lua_State *L, size_t index, annal_error *error);

/* ---- command.c --------------------------------------------------------------------------------------------------------- */

/* reject(reason): ends the decide that runs. */
int command_reject(lua_State *L);

#endif
