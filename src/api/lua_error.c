/* Errors as Lua values: tables { code, message, where, retryable, sqlstate, in_doubt, ids }. Role: every error that the Lua face
 * raises is made here. They are plain tables of texts and booleans: nothing of C's can be reached through one. */
#include "api/lua_face.h"

#include "base/error.h"
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

static const char errors_key = 0;

static void set_text(lua_State *L, const char *key, const char *text) {
  if (!text[0]) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

void face_push_error(lua_State *L, const annal_error *error) {
  luaL_checkstack(L, 4, "annal error");
  lua_createtable(L, 0, 7);
  set_text(L, "code", annal_code_name(error->code));
  set_text(L, "message", error->message);
  set_text(L, "where", error->where);
  set_text(L, "sqlstate", error->sqlstate);
  set_boolean(L, "retryable", error->retryable);
  set_boolean(L, "in_doubt", error->in_doubt);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &errors_key);
  lua_setmetatable(L, -2);
}

int face_raise(lua_State *L, const annal_error *error) {
  face_push_error(L, error);
  lua_error(L);
  __builtin_unreachable(); /* lua.h does not tell the compiler that lua_error never returns */
}

#define MESSAGE_BYTES sizeof(((annal_error *)0)->message)

FACE_RAISES static void raise_misuse(lua_State *L, const char *where, const char *subject, const char *message) {
  annal_error error;
  error_set(&error, ANNAL_MISUSE, where, "%s%s%s", subject, subject[0] ? " " : "", message);
  face_raise(L, &error);
}

int face_misuse(lua_State *L, const char *where, const char *format, ...) {
  char message[MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  raise_misuse(L, where, "", message);
}

int face_wrong(lua_State *L, const char *where, const char *format, ...) {
  char message[MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  raise_misuse(L, where, where[0] ? where : "the argument", message);
}

/* [-0, +1, m] The raw field as text, "" when it is none: somebody may have changed the table. */
static const char *raw_text(lua_State *L, const char *key) {
  lua_pushstring(L, key);
  lua_rawget(L, 1);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  return text;
}

static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *code = raw_text(L, "code"), *message = raw_text(L, "message"), *where = raw_text(L, "where");
  if (where[0]) lua_pushfstring(L, "%s: %s (%s)", code, message, where);
  else lua_pushfstring(L, "%s: %s", code, message);
  return 1;
}

void face_open_errors(lua_State *L) {
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushstring(L, "annal.error");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &errors_key);
}
