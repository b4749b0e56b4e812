/* Scripts: an app's directory, loaded as one immutable generation, and the sandboxed Lua states that run it. Role: everything
 * that is Lua of the user's; it knows neither SQL nor where events are kept.
 *
 * A script_app (generation) is immutable, counted, and shared by threads. A script_state belongs to one thread between
 * script_acquire and script_give_back; states are made on demand, kept, and end with their app. Every run of a script is under
 * the instruction budget and the memory quota; whatever a script does ends in an error for its caller (`script` or `budget`).
 * A state whose script overran its budget or memory is thrown away when it is given back. */
#ifndef SCRIPT_SCRIPT_H
#define SCRIPT_SCRIPT_H

#include "base/buf.h"
#include "base/env.h"
#include <lua.h>
#include <stdatomic.h>

typedef struct script_app script_app;
typedef struct script_state script_state;
typedef struct script_watch script_watch;

typedef struct script_options {
  int64_t budget; /* VM instructions a call */
  size_t memory;  /* bytes a state may hold */
  /* Fields of data by which the store selects, whatever the scripts say: upcasters may not change them. Copied. */
  const char *const *identifiers;
  size_t identifier_count;
  /* Counts up when the calls under way are to end: a script that runs then ends as `unavailable`. NULL: none. */
  const atomic_uint *interrupts;
} script_options;

/* ---- Generations ------------------------------------------------------------------------------------------------------- */

/* Loads every script under `directory`, or nothing. Errors: not_found (no such directory), script (where = file:line), budget. */
int script_load(const base_env *env, const script_options *options, const char *directory, script_app **app, annal_error *error);
script_app *script_retain(script_app *app);
void script_release(script_app *app); /* accepts NULL */
const char *script_directory(const script_app *app);

typedef enum script_keep { SCRIPT_KEEP_LIVE, SCRIPT_KEEP_BACKGROUND, SCRIPT_KEEP_INLINE } script_keep;

/* An event type as declared. */
typedef struct script_event {
  const char *type;
  int version;
  const char *schema; /* canonical JSON description of the fields, as hashed into fingerprints */
  const char *where;  /* file:line of its declaration */
} script_event;

/* `by`, resolved: the event types whose instance id stands in `identifier`. */
typedef struct script_by {
  const char *identifier;
  const char *const *types;
  size_t type_count;
} script_by;

typedef struct script_projection {
  const char *name;
  const char *fingerprint; /* HASH_TEXT_BYTES - 1 digits; "v" and the number where `version` pins it */
  const char *code;        /* the hash by which it would be known without that */
  const char *where;       /* file:line of its declaration */
  script_keep keep;
  const char *const *types; /* the event types it has handlers for, bytewise order */
  const int *versions;      /* theirs, as declared */
  size_t type_count;
  const script_by *by; /* empty: one instance for the whole store, id "", or `streams` */
  size_t by_count;
  bool has_streams; /* its streams are made by its function of the id … */
  bool has_ids;     /* … and its function of an event says for which ids */
} script_projection;

/* One projection that a command decides over. */
typedef struct script_use {
  const char *view; /* its name among decide's views */
  const script_projection *projection;
  const char *field; /* the argument that is the instance's id; NULL: a function of the arguments gives it, or there is none */
  bool has_function;
} script_use;

typedef struct script_command {
  const char *name;
  const char *where;      /* file:line of its declaration */
  const script_use *uses; /* bytewise order of view */
  size_t use_count;
} script_command;

/* Bytewise order of name; NULL when there is none. */
const script_event *script_find_event(const script_app *app, const char *type);
const script_event *script_events(const script_app *app, size_t *count);
const script_projection *script_find_projection(const script_app *app, const char *name);
const script_projection *script_projections(const script_app *app, size_t *count);
const script_command *script_find_command(const script_app *app, const char *name);
const script_command *script_commands(const script_app *app, size_t *count);

/* ---- Looking at scripts without running them --------------------------------------------------------------------------- */

/* The files that script_load would take, in order of path, read and not run: for script_source_at and what stands under "Scripts that
 * change". Released as a generation. Errors: not_found, script. */
int script_read(const base_env *env, const char *directory, script_app **files, annal_error *error);

typedef struct script_source {
  const char *path; /* below the directory */
  const char *name; /* as include calls it, or "" */
  const char *text;
  size_t size;
} script_source;
/* False when there are no more. Borrowed from the generation. */
bool script_source_at(const script_app *files, size_t index, script_source *source);

/* A generation without scripts, by whose states it can be asked what names mean. */
int script_load_nothing(const base_env *env, script_app **app, annal_error *error);

/* What reading the global `name` (or its member, where it is a library), or writing to it, would be refused with: `script` with the
 * message; 0 where it would not. */
int script_name_fault(script_state *state, const char *name, const char *member_or_null, bool is_write, annal_error *error);

/* ---- Scripts that change ----------------------------------------------------------------------------------------------- */

/* Reads again what `app` was read from, wherever the process has gone since, under its options. What was read is what script_hash is
 * of and what script_build runs, whatever becomes of the files meanwhile; until it is built nobody else may see it. `watch`, if
 * given, tells from now on of changes that this reading may have missed. */
int script_read_again(const script_app *app, script_watch *watch, script_app **files, annal_error *error);
/* Runs what was read, so that it is as script_load makes it. When it fails there is nothing left to do but to release it. */
int script_build(script_app *app, annal_error *error);
/* XXH3-128 over paths and bytes of all files: equal when and only when the same scripts were read. */
const char *script_hash(const script_app *app);
/* When one of the files and directories was last changed by the file system's clock; microseconds since 1970. */
int64_t script_changed_at(const script_app *app);

/* Hints that an app's files may have changed, from inotify where it is to be had: from the directories, all the way down, and
 * from the symbolic links on the way to them. For one thread at a time. NULL when there is no memory. */
script_watch *script_watch_open(const base_env *env);
void script_watch_close(script_watch *watch); /* accepts NULL */
/* Whether there was a hint since the last reading. Never waits. */
bool script_watch_hint(script_watch *watch);
/* Whether every directory of the last reading is watched. If not, changes are found by reading again only. */
bool script_watch_is_whole(const script_watch *watch);

/* ---- States ------------------------------------------------------------------------------------------------------------ */

int script_acquire(script_app *app, script_state **state, annal_error *error);
void script_give_back(script_state *state); /* accepts NULL; pops everything */
script_app *script_app_of(script_state *state);
/* The state's main Lua thread. Only API that cannot raise may be used on it outside script_protect. */
lua_State *script_lua(script_state *state);

/* Runs `body(L, context)` protected, on the state's Lua thread: an error (memory, or script_raise inside) comes back as the
 * code. The stack is as before afterwards. `body` answers 0, or a code after having filled *error. Not under the budget: only C
 * code of ours runs in it, which calls scripts by script_call. */
typedef int script_body(lua_State *L, void *context, annal_error *error);
int script_protect(script_state *state, script_body *body, void *context, annal_error *error);

/* [-(arguments + 1), +results on success, +0 otherwise, m] Inside script_protect: calls the function below its arguments under
 * the budget. Errors: `script` (where = file:line, message without it) or `budget`; `what` ("reducer items of SHOPPING_CART")
 * comes first in the message. */
int script_call(script_state *state, int arguments, int results, const char *what, annal_error *error);

/* ---- What the layers above ask of it ----------------------------------------------------------------------------------- */

/* Checks an event that is to be saved against its declaration: type declared, data against schema, `validate`. `version` 0
 * becomes the current one; another than the current one is `invalid`. Appends the data as it is to be stored, canonical
 * (optional nulls gone, 2.0 for an integer written as 2). Errors: invalid (where = "data.items[3]"), script, budget. */
int script_check_event(script_state *state, const char *type, int *version, const char *data, size_t size, base_buf *out,
                       annal_error *error);

/* The same for an event of an older version than the declared one, as imports and histories have them: what must fit is its
 * upgraded form, and nothing is given out, because it is stored as it is. `event->data` is canonical. Errors: as above, those of
 * script_upcast for what its upcasters do. */
int script_check_older(script_state *state, const annal_event *event, annal_error *error);

/* Whether an event that is to be checked is of an older version than its type is declared with. */
bool script_is_older(const script_app *app, const char *type, int version);

/* Stored events of older versions are upgraded before anybody sees them, and nobody checks one that is of the current version: of a
 * type that is not declared an event is as it is stored.
 *
 * *older: it has to be upgraded. `script` (where = the declaration) when it is of a newer version than the scripts know, because then
 * they would misread it. */
int script_look_at_version(const script_app *app, const annal_event *event, bool *older, annal_error *error);

/* Appends the data of an event that is older, upgraded to the declared version: by each function of its `upcast` in turn, under the
 * budget, and checked against the schema. *upgraded is a copy of the event with that data, which lies in `data`, and that version.
 * Errors name the event: `script` (where = file:line) where an upcaster fails, makes what does not fit the schema, or changes a
 * field that a `by` or the options' identifiers name; budget; corrupt (what is stored is no JSON). */
int script_upcast(script_state *state, const annal_event *event, base_buf *data, annal_event *upgraded, annal_error *error);

/* The streams of one instance. Freed by script_free_streams. `by`: one stream for each identifier; `streams`: what its function
 * answers (checked: `script`); neither: all of its types, and the id must be "" (`misuse`). */
typedef struct script_streams {
  annal_stream *streams;
  size_t count;
  void *memory; /* everything the streams point to */
} script_streams;
int script_instance_streams(script_state *state, const script_projection *projection, const char *id, script_streams *out,
                            annal_error *error);
/* The same where they are not made by a function (has_streams): it takes no state. */
int script_plain_streams(const script_app *app, const script_projection *projection, const char *id, script_streams *out,
                         annal_error *error);
void script_free_streams(const base_env *env, script_streams *streams);

/* Appends the ids that the projection's function `ids` answers for an event, each once and ended by a NUL; *count is how many. Each is
 * the id of an instance (1 to LIMIT_VALUE_BYTES). Errors: script, budget, corrupt (the event's data). */
int script_event_ids(script_state *state, const script_projection *projection, const annal_event *event, base_buf *out,
                     size_t *count, annal_error *error);

/* Checks a command's arguments (JSON) as data of an event is checked and appends their canonical form. Appends to `ids`, for each use
 * in order, the id of its instance ("" where the projection has one for the whole store) and a NUL. Errors: invalid (where =
 * "args.cents"), script, budget. */
int script_check_arguments(script_state *state, const script_command *command, const char *args, size_t size, base_buf *out,
                           base_buf *ids, annal_error *error);

/* What a command decides on. JSON is canonical; all of it is copied into values that no other try has seen. */
typedef struct script_question {
  const script_command *command;
  const char *args; /* as script_check_arguments gave them */
  size_t args_size;
  const base_buf *views; /* of each use, in order */
  const char *metadata;  /* or NULL */
  size_t metadata_size;
  const char *now;  /* context.now */
  const char *seed; /* of context.new_id(): the same seed gives the same ids in the same order */
} script_question;

/* The events that it decided on: type, data and metadata, and the version where it named one. They lie in `text`. */
typedef struct script_answer {
  annal_event *events;
  size_t count;
  base_buf text;
} script_answer;

/* Runs `decide`. The events are not checked yet, but their data and metadata are JSON; an event bears the question's metadata with its
 * own over them. *answer is to be freed in any case. Errors: rejected (the message is the script's reason), script, budget. */
int script_decide(script_state *state, const script_question *question, script_answer *answer, annal_error *error);
void script_free_answer(const base_env *env, script_answer *answer);

/* [-0, +1, m] Inside script_protect: the definition of a projection as a Lua table, one for the life of the state:
 *   { whole = { init = value | function, on = { TYPE = function } } }                               or
 *   { fields = { { name = "items", init = …, on = { … } }, … in bytewise order of name } },
 *   and in both: view = function or nil, shape = function(view) → nil, or (message, path) when the view does not fit; or nil. */
void script_push_projection(script_state *state, const script_projection *projection);

/* [-0, +1, m] Inside script_protect: the table that a handler is given for `event`: id, position, type, version, created_at
 * (text), data, metadata; for staged events id, position, created_at may be absent. Each call makes a fresh one. Fields are
 * decoded when first looked at, so `event` must stay as it is until script_end_event; a look after that raises. */
void script_push_event(script_state *state, const annal_event *event);
/* The position of an event that is about to be stored: a look at it, or at created_at where that is 0, raises, because what a handler
 * made of it now would differ from what it makes of the stored event. */
#define SCRIPT_NOT_STORED_YET (-1)
void script_end_event(script_state *state);

#endif
