/* The original's table of events, in the same database. Role: read_foreign of the backend, for import.
 *
 * Pages by id, a statement each, so that nothing is held on the server in between; their size follows that of the rows. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

enum { FIRST_ROWS = 16 }; /* nobody knows yet how large they are */

typedef struct foreign {
  struct store_cursor base;
  pg_store *s;
  base_buf sql;
  base_buf last; /* the id of the last row */
  bool over;
  size_t rows; /* of the next page */
  PGresult *page;
  annal_event events[LIMIT_PAGE_EVENTS];
} foreign;

/* ---- Which table ----------------------------------------------------------------------------------------------------------- */

static int fail_several(const PGresult *found, int count, const char *name, annal_error *error) {
  char list[400], shown[96];
  size_t used = 0;
  for (int i = 0; i < count && used < sizeof list; i++)
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%s.%s", i ? ", " : "", PQgetvalue(found, i, 0),
                             PQgetvalue(found, i, 1));
  return error_set(error, ANNAL_MISUSE, NULL, "several tables are meant by %s: %s; write which", text_show(name, shown), list);
}

static int choose_table(pg_store *s, const PGresult *found, const char *name, base_buf *table, annal_error *error) {
  char shown[96];
  int count = 0;
  if (PQntuples(found) == 0)
    return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no table %s in the database of %s", text_show(name, shown),
                     s->place);
  while (count < PQntuples(found) && PQgetisnull(found, count, 2) && pg_int(found, count, 3) == pg_int(found, 0, 3)) count++;
  if (count > 1) return fail_several(found, count, name, error);
  if (count == 0)
    return error_set(error, ANNAL_MISUSE, NULL, "the table %s is none of the original's events: it lacks %s",
                     text_show(name, shown), PQgetvalue(found, 0, 2));
  pg_add_name(table, PQgetvalue(found, 0, 0));
  buf_char(table, '.');
  pg_add_name(table, PQgetvalue(found, 0, 1));
  return table->failed ? error_memory(error) : ANNAL_OK;
}

static int find_table(pg_store *s, const char *name, base_buf *table, annal_error *error) {
  pg_call call = pg_call_begin(s);
  pg_params params;
  PGresult *found = NULL;
  pg_params_init(&params, s->base.env);
  pg_params_text(&params, name);
  int code = pg_run(s, postgres_sql("foreign_find.sql", NULL), &params, &call, &found, error);
  pg_params_free(&params);
  if (!code) code = choose_table(s, found, name, table, error);
  PQclear(found);
  return code;
}

/* The advice that belongs to a refusal: the grants that error.c knows are those of annal's own tables. */
static int explain(pg_store *s, const char *table, annal_error *error) {
  if (strcmp(error->sqlstate, "42501") != 0) return error->code;
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s may not read %.100s; its owner can allow it: grant select on %.100s to %s",
                   s->role, table, table, s->role);
}

static int count_rows(pg_store *s, const char *table, uint64_t *total, annal_error *error) {
  pg_call call = pg_call_begin(s);
  base_buf sql;
  PGresult *result = NULL;
  buf_init(&sql, s->base.env);
  buf_printf(&sql, "select count(*), exists (select from %s where id = '') from %s", table, table);
  int code = sql.failed ? error_memory(error) : pg_run(s, sql.bytes, NULL, &call, &result, error);
  if (!code) *total = (uint64_t)pg_int(result, 0, 0);
  else code = explain(s, table, error);
  if (!code && pg_int(result, 0, 1)) code = error_set(error, ANNAL_INVALID, "id", "a row of %.100s has an empty id", table);
  PQclear(result);
  buf_free(&sql);
  return code;
}

/* ---- Pages ----------------------------------------------------------------------------------------------------------------- */

static void fill_event(const PGresult *page, int row, annal_event *event) {
  *event = (annal_event){.id = PQgetvalue(page, row, 0),
                         .type = PQgetvalue(page, row, 1),
                         .data = PQgetvalue(page, row, 2),
                         .data_size = (size_t)PQgetlength(page, row, 2)};
  if (!PQgetisnull(page, row, 3)) event->created_at = pg_time(page, row, 3);
}

/* Grows by steps, so that large rows are met few at a time. */
static void set_next_size(foreign *f, size_t largest) {
  f->rows *= 4;
  if (largest * f->rows > LIMIT_PAGE_BYTES) f->rows = LIMIT_PAGE_BYTES / largest + 1;
  if (f->rows > LIMIT_PAGE_EVENTS) f->rows = LIMIT_PAGE_EVENTS;
}

static int take_page(foreign *f, store_page *page, annal_error *error) {
  size_t count = (size_t)PQntuples(f->page), largest = 1;
  for (size_t i = 0; i < count && i < LIMIT_PAGE_EVENTS; i++) {
    fill_event(f->page, (int)i, &f->events[i]);
    if (f->events[i].data_size > largest) largest = f->events[i].data_size;
  }
  f->over = count < f->rows;
  if (count > 0) {
    buf_clear(&f->last);
    buf_text(&f->last, f->events[count - 1].id);
    if (f->last.failed) return error_memory(error);
  }
  set_next_size(f, largest);
  *page = (store_page){.events = f->events, .count = count};
  return ANNAL_OK;
}

static int foreign_next(store_cursor *cursor, store_page *page, annal_error *error) {
  foreign *f = (foreign *)cursor;
  PQclear(f->page);
  f->page = NULL;
  if (f->over) return ANNAL_OK;
  pg_call call = pg_call_begin(f->s);
  pg_params params;
  pg_params_init(&params, f->s->base.env);
  pg_params_text(&params, f->last.bytes);
  pg_params_int(&params, (int64_t)f->rows);
  int code = pg_run(f->s, f->sql.bytes, &params, &call, &f->page, error);
  pg_params_free(&params);
  return code ? code : take_page(f, page, error);
}

static void foreign_close(store_cursor *cursor) {
  foreign *f = (foreign *)cursor;
  PQclear(f->page);
  buf_free(&f->sql);
  buf_free(&f->last);
  base_free(f->s->base.env, f);
}

int pg_read_foreign(store *base, const char *table, uint64_t *total, store_cursor **cursor, annal_error *error) {
  static const store_cursor_backend backend = {.next = foreign_next, .close = foreign_close};
  pg_store *s = (pg_store *)base;
  base_buf name; /* quoted */
  buf_init(&name, base->env);
  foreign *f = base_calloc(base->env, 1, sizeof *f);
  if (!f) return error_memory(error);
  f->base.backend = &backend;
  f->s = s;
  f->rows = FIRST_ROWS;
  buf_init(&f->sql, base->env);
  buf_init(&f->last, base->env);
  buf_text(&f->last, ""); /* below every id */
  int code = find_table(s, table, &name, error);
  if (!code) code = count_rows(s, name.bytes, total, error);
  if (!code) {
    pg_word words[] = {{"table", name.bytes}, {NULL, NULL}};
    pg_render(&f->sql, &s->names, words, "foreign_page.sql");
    if (f->sql.failed || f->last.failed) code = error_memory(error);
  }
  buf_free(&name);
  if (code) foreign_close(&f->base);
  else *cursor = &f->base;
  return code;
}
