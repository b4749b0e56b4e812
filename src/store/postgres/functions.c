/* The functions of a store that exists: whether they are those that this program makes, and making them anew. Role: schema.c asks at
 * open, so that a function that was corrected reaches the stores that were made before; check.c says where it has not. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include <string.h>

/* A function's body stands between two tags, as in the files of sql/. */
static const struct {
  const char *name, *tag;
} functions[] = {
    {"annal_append_1", "$append$"},         {"annal_append_rows_1", "$append_rows$"}, {"annal_append_one_1", "$append_one$"},
    {"annal_append_new_1", "$append_new$"}, {"annal_newers_1", "$newers$"},           {"annal_newer_1", "$newer$"},
    {"annal_matches_1", "$matches$"},
};

enum { FUNCTIONS = sizeof functions / sizeof *functions };

static bool has_body(const char *text, const char *tag, const char *body) {
  const char *begin = strstr(text, tag);
  if (!begin) return false;
  begin += strlen(tag);
  const char *end = strstr(begin, tag);
  return end && strlen(body) == (size_t)(end - begin) && memcmp(body, begin, strlen(body)) == 0;
}

static void render(pg_store *s, base_buf *out) {
  const store_fields *fields = &s->base.event_fields;
  pg_render_functions(out, &s->names, (const char *const *)fields->names, fields->count);
}

int pg_look_at_functions(pg_store *s, pg_conn *conn, const pg_call *call, pg_functions *found, annal_error *error) {
  base_buf text;
  pg_params params;
  PGresult *result = NULL;
  *found = (pg_functions){.ours = true};
  buf_init(&text, s->base.env);
  render(s, &text);
  pg_params_init(&params, s->base.env);
  pg_params_text(&params, s->names.schema);
  int code =
      text.failed ? error_memory(error) : pg_query(s, conn, postgres_sql("functions.sql", NULL), &params, call, &result, error);
  for (size_t i = 0; i < FUNCTIONS && !code; i++) {
    bool same = false;
    for (int row = 0; row < PQntuples(result); row++)
      if (strcmp(PQgetvalue(result, row, 0), functions[i].name) == 0)
        same = has_body(text.bytes, functions[i].tag, PQgetvalue(result, row, 1));
    if (!same && !found->differ) found->name = functions[i].name;
    found->differ |= !same;
  }
  s->has_append_one = s->has_append_new = false;
  for (int row = 0; !code && row < PQntuples(result); row++) {
    bool may_call = pg_int(result, row, 3) != 0;
    found->ours &= pg_int(result, row, 2) != 0;
    if (strcmp(PQgetvalue(result, row, 0), "annal_append_one_1") == 0) s->has_append_one = may_call;
    if (strcmp(PQgetvalue(result, row, 0), "annal_append_new_1") == 0) s->has_append_new = may_call;
  }
  PQclear(result);
  pg_params_free(&params);
  buf_free(&text);
  return code;
}

int pg_make_functions(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  base_buf sql;
  buf_init(&sql, s->base.env);
  render(s, &sql);
  pg_render(&sql, &s->names, NULL, "revoke.sql"); /* one that was missing is everybody's otherwise */
  pg_render(&sql, &s->names, NULL, "grant_append_rows.sql");
  pg_render_functions_row(&sql, &s->names);
  int code = sql.failed ? error_memory(error) : pg_script(s, conn, sql.bytes, call, error);
  if (!code) s->has_append_one = s->has_append_new = true;
  buf_free(&sql);
  return code;
}
