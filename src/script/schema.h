/* Checking a Lua value against a schema. Role: events on their way in, views on their way out. Nodes are made by compile.c,
 * belong to the generation and are shared by its states. */
#ifndef SCRIPT_SCHEMA_H
#define SCRIPT_SCHEMA_H

#include "annal.h"
#include <lua.h>

typedef enum schema_kind {
  SCHEMA_ANY,
  SCHEMA_STRING,
  SCHEMA_INTEGER,
  SCHEMA_NUMBER,
  SCHEMA_BOOLEAN,
  SCHEMA_TIMESTAMP,
  SCHEMA_ENUM,
  SCHEMA_ARRAY,
  SCHEMA_MAP,
  SCHEMA_OBJECT
} schema_kind;

typedef struct schema_node schema_node;

typedef struct schema_field {
  const char *name;
  size_t size;
  const schema_node *node;
} schema_field;

typedef struct schema_choice {
  int type;         /* LUA_TSTRING, LUA_TNUMBER (an integer) or LUA_TBOOLEAN */
  const char *text; /* the string's bytes */
  size_t size;
  int64_t number; /* or truth */
} schema_choice;

/* A bound of SCHEMA_NUMBER as it was written: a double would round an integer beyond 2^53. */
typedef struct schema_bound {
  bool is_integer;
  int64_t integer;
  double real;
} schema_bound;

struct schema_node {
  schema_kind kind;
  bool optional; /* of a field: absent or null */
  bool has_min, has_max;
  int64_t min, max; /* SCHEMA_STRING: code points; SCHEMA_INTEGER */
  schema_bound number_min, number_max;
  const char *pattern; /* SCHEMA_STRING: a Lua pattern that must match somewhere; NULL: none */
  size_t pattern_size;
  const schema_node *of;      /* SCHEMA_ARRAY, SCHEMA_MAP */
  const schema_field *fields; /* SCHEMA_OBJECT, by size and then bytes of name */
  size_t field_count;
  size_t required; /* how many of them are not optional */
  const schema_choice *choices;
  size_t choice_count;
};

/* How much work the patterns of one check may do. */
typedef struct schema_result {
  char where[200];   /* path within the value: "items[3].price" */
  char message[640]; /* "must be an integer of at least 1, not 0" */
  bool overrun;      /* a pattern took too long */
} schema_result;

/* [-0, +0, m] Checks the table at `index`, an object by `node`, and puts it into the form that is stored: nulls of optional
 * fields go, 2.0 becomes 2 where an integer is asked for, {} becomes an empty array where one is asked for. False with *result
 * filled when it does not fit. */
bool schema_check(lua_State *L, int index, const schema_node *node, int64_t steps, schema_result *result);

/* The field of that name, or NULL. */
const schema_field *schema_find(const schema_node *node, const char *name, size_t size);

#endif
