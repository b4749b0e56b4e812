/* Findings that the reading of all events does not give. Role: check of the backend, for `annal check`. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/text.h"
#include <string.h>

typedef struct checker {
  pg_store *s;
  store_finding *finding;
  void *context;
  uint64_t *findings;
  pg_call call;
} checker;

static int run(checker *c, const char *file, const pg_params *params, PGresult **result, annal_error *error) {
  base_buf sql;
  buf_init(&sql, c->s->base.env);
  pg_render(&sql, &c->s->names, NULL, file);
  c->call.deadline = base_monotonic() + c->s->timeout;
  int code = sql.failed ? error_memory(error) : pg_run(c->s, sql.bytes, params, &c->call, result, error);
  buf_free(&sql);
  return code;
}

#define REPORT(c, ...) store_report((c)->finding, (c)->context, (c)->findings, __VA_ARGS__)

/* Each index that annal_meta speaks of must be there and whole. */
static int check_indexes(checker *c, annal_error *error) {
  PGresult *result = NULL;
  pg_params params;
  pg_params_init(&params, c->s->base.env);
  pg_params_text(&params, c->s->names.schema);
  int code = run(c, "check_indexes.sql", &params, &result, error);
  pg_params_free(&params);
  if (code) return code;
  for (int i = 0; i < PQntuples(result); i++) {
    const char *key = PQgetvalue(result, i, 0), *name = PQgetvalue(result, i, 1);
    if (PQgetisnull(result, i, 2)) REPORT(c, "the index of %s is missing (\"%s\")", key, name);
    else if (!pg_int(result, i, 2)) REPORT(c, "the index of %s is invalid: REINDEX \"%s\"", key, name);
  }
  PQclear(result);
  return ANNAL_OK;
}

/* Tables and functions as they were made: columns, keys, and who may append. */
static int check_objects(checker *c, annal_error *error) {
  PGresult *result = NULL;
  pg_params params;
  pg_params_init(&params, c->s->base.env);
  pg_params_text(&params, c->s->names.schema);
  pg_params_text(&params, c->s->names.events);
  pg_params_text(&params, c->s->names.projections);
  int code = run(c, "check_objects.sql", &params, &result, error);
  pg_params_free(&params);
  if (code) return code;
  for (int i = 0; i < PQntuples(result); i++) REPORT(c, "%s", PQgetvalue(result, i, 0));
  PQclear(result);
  return ANNAL_OK;
}

/* Rows, page by page along their key: what they point to, and their JSON. */
static int check_rows(checker *c, annal_error *error) {
  base_buf scratch;
  PGresult *page = NULL;
  int code = ANNAL_OK, count = 1;
  buf_init(&scratch, c->s->base.env);
  while (!code && count > 0) {
    pg_params params;
    PGresult *before = page;
    int last = before ? PQntuples(before) - 1 : 0;
    pg_params_init(&params, c->s->base.env);
    for (int i = 0; i < 3; i++) pg_params_text(&params, before ? PQgetvalue(before, last, i) : "");
    code = run(c, "check_rows.sql", &params, &page, error);
    pg_params_free(&params);
    PQclear(before);
    if (code) {
      page = NULL;
      break;
    }
    count = PQntuples(page);
    for (int i = 0; i < count; i++) {
      store_row row;
      char shown[96], id[96];
      pg_row(page, i, &row);
      if (!pg_int(page, i, 9))
        REPORT(c, "row %s \"%s\": the event \"%s\" is not at position %lld", row.type, text_show(row.id, shown),
               text_show(row.latest_event_id, id), (long long)row.position);
      store_check_row(&row, &scratch, c->finding, c->context, c->findings);
    }
  }
  PQclear(page);
  buf_free(&scratch);
  return code;
}

int pg_check(store *base, store_finding *finding, void *context, uint64_t *findings, annal_error *error) {
  pg_store *s = (pg_store *)base;
  checker c = {.s = s, .finding = finding, .context = context, .call = pg_call_begin(s)};
  c.findings = findings;
  int code = check_objects(&c, error);
  if (!code) code = check_indexes(&c, error);
  if (!code) code = check_rows(&c, error);
  return code;
}
