/* What the command says on stdout. Role: one JSON document a line into a pipe, tables for people on a terminal. People's output
 * is made by lua/annal/print.lua, the same that the REPL prints with, so that a value looks the same everywhere. */
#include "cli.h"
#include "json/json_lua.h"
#include <errno.h>
#include <langinfo.h>
#include <lauxlib.h>
#include <locale.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum { COLUMNS_DEFAULT = 80, COLUMNS_MIN = 20, COLUMNS_MAX = 1000 };

static int terminal_columns(void) {
  struct winsize size;
  const char *text = getenv("COLUMNS");
  int columns = text ? atoi(text) : 0;
  if (columns <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) columns = size.ws_col;
  if (columns <= 0) columns = COLUMNS_DEFAULT;
  return columns < COLUMNS_MIN ? COLUMNS_MIN : columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
}

void out_begin(cli *c) {
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  c->out.people = !c->json && isatty(STDOUT_FILENO);
  c->out.colour = c->out.people && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
  c->out.progress = isatty(STDERR_FILENO) && !c->json;
  /* Widths of characters are asked of the C library; a terminal without a UTF-8 locale still gets UTF-8 from us. */
  if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

/* A write failed: silence when the reader has gone, a message otherwise. */
static int write_failed(cli *c) {
  annal_error error;
  if (c->out.reader_gone) return CLI_FAILED;
  if (errno != EPIPE) error_set(&error, ANNAL_UNAVAILABLE, NULL, "cannot write to standard output: %s", strerror(errno));
  int code = errno == EPIPE ? CLI_FAILED : cli_fail(c, &error);
  c->out.reader_gone = true;
  return code;
}

int out_text(cli *c, const char *text, size_t size) {
  if (c->out.reader_gone) return CLI_FAILED;
  if (fwrite(text, 1, size, stdout) == size) return CLI_DONE;
  return write_failed(c);
}

int out_flush(cli *c) {
  if (c->out.reader_gone) return CLI_FAILED;
  return fflush(stdout) == 0 ? CLI_DONE : write_failed(c);
}

int out_document(cli *c, const char *json, size_t size) {
  int code = out_text(c, json, size);
  return code ? code : out_text(c, "\n", 1);
}

int out_end(cli *c, int code) {
  if (c->out.L) lua_close(c->out.L);
  c->out.L = NULL;
  if (!c->out.reader_gone && fflush(stdout) != 0) {
    int failed = write_failed(c);
    return code ? code : failed;
  }
  return code ? code : c->out.reader_gone ? CLI_FAILED : CLI_DONE;
}

const char *out_number(uint64_t value, char text[32]) {
  char digits[24];
  int count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value), at = 0;
  for (int i = 0; i < count; i++) {
    if (i > 0 && (count - i) % 3 == 0) text[at++] = ',';
    text[at++] = digits[i];
  }
  text[at] = 0;
  return text;
}

/* ---- print.lua ---------------------------------------------------------------------------------------------------------- */

/* [-0, +1, e] columns that a code point takes on a terminal; -1 for controls. */
static int host_width(lua_State *L) {
  lua_pushinteger(L, wcwidth((wchar_t)luaL_checkinteger(L, 1)));
  return 1;
}

/* [-0, +1, -] asked anew each time: windows change their size */
static int host_columns(lua_State *L) {
  lua_pushinteger(L, terminal_columns());
  return 1;
}

/* [-0, +1, e] */
static int host_is_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushboolean(L, json_is_array(L, 1));
  return 1;
}

void out_push_printer(lua_State *L, const cli *c) {
  cli_lua_require(L, "annal/print.lua");
  lua_newtable(L);
  lua_pushcfunction(L, host_width);
  lua_setfield(L, -2, "width");
  lua_pushcfunction(L, host_is_array);
  lua_setfield(L, -2, "is_array");
  json_push_null(L);
  lua_setfield(L, -2, "null");
  lua_pushcfunction(L, host_columns);
  lua_setfield(L, -2, "columns");
  lua_pushboolean(L, c->out.colour);
  lua_setfield(L, -2, "colour");
  lua_call(L, 1, 1);
}

/* [-1, +1, e] Opens what print.lua needs in a fresh state and leaves the printer. */
static int make_printer(lua_State *L) {
  cli *c = lua_touserdata(L, 1);
  luaL_openlibs(L);
  json_open(L, &c->env);
  out_push_printer(L, c);
  return 1;
}

typedef struct people_call {
  cli *c;
  const char *function;
  const char *json;
  size_t size;
} people_call;

/* [-2, +1, e] printer, call → text */
static int call_printer(lua_State *L) {
  people_call *call = lua_touserdata(L, 2);
  annal_error error;
  lua_getfield(L, 1, call->function);
  if (json_decode(L, call->json, call->size, 0, &error)) return luaL_error(L, "%s", error.message);
  lua_call(L, 1, 1);
  luaL_checkstring(L, -1);
  return 1;
}

static int printer_failed(cli *c, lua_State *L) {
  annal_error error;
  const char *text = L ? lua_tostring(L, -1) : NULL;
  error_set(&error, ANNAL_UNAVAILABLE, NULL, "cannot show the result: %s", text ? text : "not enough memory");
  return cli_fail(c, &error);
}

int out_people(cli *c, const char *function, const char *json, size_t size) {
  lua_State *L = c->out.L;
  if (!L) {
    L = c->out.L = cli_lua_new(&c->env);
    if (!L) return printer_failed(c, NULL);
    lua_pushcfunction(L, make_printer);
    lua_pushlightuserdata(L, c);
    if (lua_pcall(L, 1, 1, 0)) return printer_failed(c, L);
  }
  people_call call = {c, function, json, size};
  lua_settop(L, 1);
  lua_pushcfunction(L, call_printer);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, &call);
  if (lua_pcall(L, 2, 1, 0)) return printer_failed(c, L);
  size_t text_size;
  const char *text = lua_tolstring(L, -1, &text_size);
  return out_text(c, text, text_size);
}
