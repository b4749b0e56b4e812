/* The embedded half of the vocabulary (lua/annal/script), compiled once for all states of a store. Role: declare.c loads it from
 * here. A new generation costs each thread a state of its own, and compiling these files was half of what a state costs.
 *
 * The first state that is made compiles and keeps what lua_dump says of it; generations made after it share that. Bytecode comes
 * from nowhere else: what the user's files hold is loaded as text only. */
#include "script/internal.h"

#include <stdio.h>

const char *script_vocabulary(const char *path, size_t *size); /* the embedded files */

typedef struct compiled_file {
  struct compiled_file *next;
  const char *path;
  base_buf code;
} compiled_file;

struct vocabulary {
  const base_env *env;
  atomic_size_t references;
  bool complete; /* and not changed any more, so free for any thread */
  compiled_file *files;
};

vocabulary *vocabulary_create(const base_env *env) {
  vocabulary *words = base_calloc(env, 1, sizeof *words);
  if (!words) return NULL;
  words->env = env;
  atomic_init(&words->references, 1);
  return words;
}

vocabulary *vocabulary_retain(vocabulary *words) {
  if (!words->complete) return NULL;
  atomic_fetch_add_explicit(&words->references, 1, memory_order_relaxed);
  return words;
}

static void drop_first(vocabulary *words) {
  compiled_file *file = words->files;
  words->files = file->next;
  buf_free(&file->code);
  base_free(words->env, file);
}

void vocabulary_release(vocabulary *words) {
  if (!words || atomic_fetch_sub_explicit(&words->references, 1, memory_order_acq_rel) != 1) return;
  while (words->files) drop_first(words);
  base_free(words->env, words);
}

void vocabulary_complete(vocabulary *words) {
  if (!words->complete) words->complete = true; /* shared ones are read by others at this moment */
}

static int add_code(lua_State *L, const void *bytes, size_t size, void *context) {
  (void)L;
  base_buf *code = context;
  buf_add(code, bytes, size);
  return code->failed;
}

/* [-0, +0, -] Keeps the function on the top, if there is memory: without it is compiled again by the next state. */
static void keep_code(lua_State *L, vocabulary *words, const char *path) {
  compiled_file *file = base_alloc(words->env, sizeof *file);
  if (!file) return;
  *file = (compiled_file){.next = words->files, .path = path};
  buf_init(&file->code, words->env);
  words->files = file;
  if (lua_dump(L, add_code, &file->code, 0) != 0 || file->code.failed) drop_first(words);
}

static const base_buf *find_code(const vocabulary *words, const char *path) {
  for (const compiled_file *file = words->files; file; file = file->next)
    if (strcmp(file->path, path) == 0) return &file->code;
  return NULL;
}

void vocabulary_load(lua_State *L, const char *path) {
  vocabulary *words = state_of(L)->app->words;
  char name[64];
  size_t size;
  snprintf(name, sizeof name, "=annal/script/%s", path);
  const base_buf *code = find_code(words, path);
  if (code) {
    if (luaL_loadbufferx(L, code->bytes, code->size, name, "b") != LUA_OK) lua_error(L);
    return;
  }
  const char *source = script_vocabulary(path, &size);
  if (!source || luaL_loadbufferx(L, source, size, name, "t") != LUA_OK) lua_error(L);
  if (!words->complete) keep_code(L, words, path);
}
