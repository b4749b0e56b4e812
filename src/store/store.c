/* The neutral half of the store: what is refused before any SQL, resolving of ids. Role: implements store.h on top of
 * a backend (backend.h), which it alone chooses. Used by fold/ and api/. */
#include "store/store.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "store/backend.h"
#include "store/queue.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Options ----------------------------------------------------------------------------------------------------------- */

static int check_names(const annal_options *options, annal_error *error) {
  char shown[96];
  const char *names[] = {options->schema, options->events, options->projections};
  const char *what[] = {"schema", "events", "projections"};
  for (size_t i = 0; i < 3; i++)
    if (!text_is_name(names[i]))
      return error_set(error, ANNAL_MISUSE, what[i],
                       "the name \"%s\" may only have letters, digits and _, no digit first, and at most %d bytes",
                       text_show(names[i], shown), LIMIT_NAME_BYTES);
  if (strcasecmp(options->events, options->projections) == 0)
    return error_set(error, ANNAL_MISUSE, "projections", "events and projections cannot share the table \"%s\"", options->events);
  for (size_t i = 1; i < 3; i++) {
    bool taken = strncasecmp(names[i], "annal_", 6) == 0 || strncasecmp(names[i], "sqlite_", 7) == 0 ||
                 strncasecmp(names[i], "pg_", 3) == 0;
    if (taken)
      return error_set(error, ANNAL_MISUSE, what[i], "the name \"%s\" begins like a table of annal's or the database's own",
                       names[i]);
  }
  return ANNAL_OK;
}

static int check_declared(const char *const *names, size_t count, const char *what, annal_error *error) {
  char shown[96];
  for (size_t i = 0; i < count; i++)
    if (!names[i] || !text_is_name(names[i]))
      return error_set(error, ANNAL_MISUSE, what,
                       "\"%s\" is no name of a field: letters, digits and _, no digit first, at most %d bytes",
                       names[i] ? text_show(names[i], shown) : "", LIMIT_NAME_BYTES);
  return ANNAL_OK;
}

static int check_indexes(const annal_options *options, annal_error *error) {
  char shown[96];
  for (size_t i = 0; i < options->index_count; i++) {
    const annal_index *index = &options->indexes[i];
    if (!index->name || !text_is_name(index->name) || strncasecmp(index->name, "sqlite_", 7) == 0)
      return error_set(error, ANNAL_MISUSE, "indexes", "\"%s\" is no name for an index",
                       index->name ? text_show(index->name, shown) : "");
    if (!index->on || (strcmp(index->on, "events") != 0 && strcmp(index->on, "projections") != 0))
      return error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\" must be on \"events\" or \"projections\"", index->name);
    if (!index->sql || !*index->sql) return error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\" has no sql", index->name);
    for (size_t j = 0; j < i; j++)
      if (strcasecmp(index->name, options->indexes[j].name) == 0)
        return error_set(error, ANNAL_MISUSE, "indexes", "index \"%s\" is there twice", index->name);
  }
  return ANNAL_OK;
}

static int check_options(const annal_options *options, annal_error *error) {
  int result = check_names(options, error);
  if (!result) result = check_declared(options->data_indexes, options->data_index_count, "data_indexes", error);
  if (!result) result = check_declared(options->projection_indexes, options->projection_index_count, "projection_indexes", error);
  if (!result) result = check_indexes(options, error);
  return result;
}

/* A page that a child of this process finds empty: to look there tells whose the store is without a system call, which every call
 * would make several times. NULL where the system has no such pages. */
static unsigned char *map_own_page(void) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, size, MADV_WIPEONFORK) == 0) {
    *page = 1;
    return page;
  }
  munmap(page, size);
  return NULL;
}

int store_open(const base_env *env, const char *location, const annal_options *options, store **out, annal_error *error) {
  bool postgres;
  const char *rest;
  *out = NULL;
  int result = store_parse_location(location, &postgres, &rest, error);
  if (!result) result = check_options(options, error);
  if (result) return result;
  struct store_queue *queue = queue_new(env);
  if (!queue) return error_memory(error);
  result = postgres ? postgres_open(env, rest, options, out, error) : sqlite_open(env, rest, options, out, error);
  if (result) {
    queue_free(queue);
    *out = NULL;
    return result;
  }
  (*out)->queue = queue;
  (*out)->owner = getpid();
  (*out)->own_page = map_own_page();
  return ANNAL_OK;
}

#define NOT_OWN "this store was opened by another process; open it anew after fork"

bool store_is_own(const store *s) { return s->own_page ? *s->own_page == 1 : s->owner == getpid(); }

int store_check_own(const store *s, annal_error *error) {
  return store_is_own(s) ? ANNAL_OK : error_set(error, ANNAL_MISUSE, NULL, NOT_OWN);
}

void store_close(store *s) {
  if (!s || !store_is_own(s)) return;
  struct store_queue *queue = s->queue;
  if (s->own_page) munmap(s->own_page, (size_t)sysconf(_SC_PAGESIZE));
  s->backend->close(s);
  queue_free(queue);
}

void store_interrupt(store *s) {
  if (!store_is_own(s)) return;
  atomic_fetch_add(&s->interrupts, 1);
  s->backend->interrupt(s);
}

unsigned store_interrupts(const store *s) { return atomic_load(&s->interrupts); }

/* ---- Declared fields --------------------------------------------------------------------------------------------------- */

const store_fields *store_event_fields(const store *s) { return &s->event_fields; }

const store_fields *store_view_fields(const store *s) { return &s->view_fields; }

int store_add_field(store *s, store_fields *fields, const char *name, annal_error *error) {
  char **more = base_realloc(s->env, fields->names, (fields->count + 1) * sizeof *more);
  if (more) fields->names = more;
  char *copy = more ? base_strdup(s->env, name) : NULL;
  if (!copy) return error_memory(error);
  fields->names[fields->count++] = copy;
  return ANNAL_OK;
}

static void free_fields(const base_env *env, store_fields *fields) {
  for (size_t i = 0; i < fields->count; i++) base_free(env, fields->names[i]);
  base_free(env, fields->names);
  *fields = (store_fields){0};
}

void store_free_fields(store *s) {
  free_fields(s->env, &s->event_fields);
  free_fields(s->env, &s->view_fields);
}

int store_ddl(const base_env *env, const char *location, const annal_options *options, base_buf *out, annal_error *error) {
  bool postgres;
  const char *rest;
  int result = store_parse_location(location, &postgres, &rest, error);
  if (!result) result = check_options(options, error);
  if (result) return result;
  return postgres ? postgres_ddl(env, options, out, error) : sqlite_ddl(env, options, out, error);
}

/* ---- Saving ------------------------------------------------------------------------------------------------------------ */

static int refuse_read_only(store *s, annal_error *error) {
  if (!s->options->read_only) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, NULL, "the store was opened read-only");
}

static int compare_ids(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Two events of one save cannot bear one id: neither could be told from a retry of the other. */
static int check_ids_differ(store *s, const store_save *save, annal_error *error) {
  char shown[96];
  if (save->count < 2) return ANNAL_OK;
  const char **ids = base_calloc(s->env, save->count, sizeof *ids);
  if (!ids) return error_memory(error);
  for (size_t i = 0; i < save->count; i++) ids[i] = save->events[i].id;
  qsort(ids, save->count, sizeof *ids, compare_ids);
  int result = ANNAL_OK;
  for (size_t i = 1; i < save->count && !result; i++)
    if (strcmp(ids[i - 1], ids[i]) == 0)
      result = error_set(error, ANNAL_DUPLICATE, "id", "the id \"%s\" comes twice in one save", text_show(ids[i], shown));
  base_free(s->env, ids);
  return result;
}

int store_check_save(store *s, const store_save *save, annal_error *error) {
  int result = store_check_own(s, error);
  if (!result) result = refuse_read_only(s, error);
  if (result) return result;
  if (save->count == 0) return error_set(error, ANNAL_MISUSE, NULL, "a save without events");
  if (save->condition) {
    if (save->condition->stream_count == 0)
      return error_set(error, ANNAL_MISUSE, "streams",
                       "a condition without streams guards nothing; leave it out, or say { all = true }");
    const char *latest = save->condition->latest_event_id;
    if (latest) result = text_check(latest, 1, LIMIT_ID_BYTES, "latest_event_id", error);
    if (!result) result = store_check_streams(save->condition->streams, save->condition->stream_count, true, error);
    if (result) return result;
  }
  return check_ids_differ(s, save, error);
}

int store_guard_save(store *s, store_save *save, store_guarded *guarded, annal_error *error) {
  const annal_condition *own = save->condition;
  size_t own_count = own ? own->stream_count : 0, count = own_count;
  *guarded = (store_guarded){.own = own};
  save->overtaken = false;
  if (save->guard_count == 0) return ANNAL_OK;
  for (size_t i = 0; i < save->guard_count; i++) count += save->guards[i].stream_count;
  annal_stream *streams = base_calloc(s->env, count, sizeof *streams);
  if (!streams) return error_memory(error);
  for (size_t i = 0; i < own_count; i++) {
    streams[i] = own->streams[i];
    streams[i].after_id = store_condition_id(own, i);
  }
  annal_stream *next = streams + own_count;
  for (size_t i = 0; i < save->guard_count; i++)
    for (size_t j = 0; j < save->guards[i].stream_count; j++, next++) {
      *next = save->guards[i].streams[j];
      next->after_id = save->guards[i].after_id;
    }
  guarded->streams = streams;
  guarded->all = (annal_condition){.size = sizeof guarded->all, .streams = streams, .stream_count = count};
  save->condition = &guarded->all;
  return ANNAL_OK;
}

void store_unguard(store *s, store_save *save, store_guarded *guarded, int result) {
  if (!guarded->streams) return;
  save->condition = guarded->own;
  save->overtaken = result == ANNAL_CONFLICT && save->refused_stream >= (guarded->own ? guarded->own->stream_count : 0);
  base_free(s->env, guarded->streams);
  *guarded = (store_guarded){0};
}

int store_append(store *s, store_save *save, annal_error *error) {
  store_guarded guarded;
  save->was_stored = save->overtaken = false;
  int result = store_check_save(s, save, error);
  if (!result) result = store_guard_save(s, save, &guarded, error);
  if (result) return result;
  result = queue_append(s, save, error);
  store_unguard(s, save, &guarded, result);
  return result;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

int store_head(store *s, store_head_info *head, annal_error *error) {
  int result = store_check_own(s, error);
  return result ? result : s->backend->head(s, head, error);
}

int store_position_of(store *s, const char *id, int64_t *position, annal_error *error) {
  int result = store_check_own(s, error);
  if (!result) result = text_check(id, 1, LIMIT_ID_BYTES, "event id", error);
  return result ? result : s->backend->position_of(s, id, position, error);
}

/* What both backends can hold, and no event lies beyond: the years 1 to 9999. */
#define FIRST_TIME INT64_C(-62135596800000000)
#define LAST_TIME INT64_C(253402300799999999)

int store_position_at_time(store *s, int64_t time, int64_t *position, annal_error *error) {
  bool whole = false;
  if (time < FIRST_TIME) time = FIRST_TIME;
  if (time > LAST_TIME) time = LAST_TIME;
  *position = 0;
  int result = store_check_own(s, error);
  if (!result) result = s->backend->position_at_time(s, time, position, &whole, error);
  if (result || whole) return result;
  return error_set(error, ANNAL_CORRUPT, NULL, "events are missing behind position %lld; annal check says which",
                   (long long)*position);
}

int store_find(store *s, const char *id, store_head_info *head, int64_t *position, annal_error *error) {
  int result = store_check_own(s, error);
  if (!result) result = text_check(id, 1, LIMIT_ID_BYTES, "event id", error);
  return result ? result : s->backend->find(s, id, head, position, error);
}

/* The places at which a read begins and ends: given as a position or as an id, never as both. */
static int resolve_place(store *s, const char *id, int64_t *position, const char *what, annal_error *error) {
  if (*position < 0) return error_set(error, ANNAL_MISUSE, what, "%s is %lld; positions begin at 1", what, (long long)*position);
  if (!id) return ANNAL_OK;
  if (*position) return error_set(error, ANNAL_MISUSE, what, "%s is given as a position and as an event id", what);
  return store_position_of(s, id, position, error);
}

/* A place that was given by its id: what is read must contain that event, by whichever server. The newest of them speaks for all. */
static void remember_place(store_reach *reach, const char *id, int64_t position) {
  if (!id || position <= reach->seen.position) return;
  reach->seen = (store_head_info){.position = position};
  memccpy(reach->seen.id, id, 0, sizeof reach->seen.id - 1);
}

static int resolve_streams(store *s, annal_stream *streams, size_t count, store_reach *reach, annal_error *error) {
  for (size_t i = 0; i < count; i++) {
    int result = resolve_place(s, streams[i].after_id, &streams[i].after, "after", error);
    if (result) return result;
    remember_place(reach, streams[i].after_id, streams[i].after);
    streams[i].after_id = NULL;
  }
  return ANNAL_OK;
}

/* correlation_id NULL: all of what is selected. */
static int read_with(store *s, const annal_selection *selection, const char *correlation_id, store_reach reach,
                     store_cursor **cursor, annal_error *error) {
  *cursor = NULL;
  annal_selection resolved = *selection;
  int result = store_check_own(s, error);
  if (!result) result = store_check_streams(selection->streams, selection->stream_count, false, error);
  if (!result) result = resolve_place(s, selection->after_id, &resolved.after, "after", error);
  if (!result) result = resolve_place(s, selection->before_id, &resolved.before, "before", error);
  if (result) return result;
  remember_place(&reach, selection->after_id, resolved.after);
  remember_place(&reach, selection->before_id, resolved.before);
  resolved.after_id = resolved.before_id = NULL;
  annal_stream *streams = NULL;
  if (selection->stream_count) {
    streams = base_calloc(s->env, selection->stream_count, sizeof *streams);
    if (!streams) return error_memory(error);
    memcpy(streams, selection->streams, selection->stream_count * sizeof *streams);
    result = resolve_streams(s, streams, selection->stream_count, &reach, error);
  }
  resolved.streams = streams;
  if (!result && correlation_id) result = s->backend->read_correlated(s, &resolved, correlation_id, &reach, cursor, error);
  else if (!result) result = s->backend->read(s, &resolved, &reach, cursor, error);
  if (!result) (*cursor)->home = s;
  base_free(s->env, streams);
  return result;
}

int store_read(store *s, const annal_selection *selection, store_cursor **cursor, annal_error *error) {
  return read_with(s, selection, NULL, (store_reach){.patient = true}, cursor, error);
}

int store_read_correlated(store *s, const annal_selection *selection, const char *correlation_id, store_cursor **cursor,
                          annal_error *error) {
  *cursor = NULL;
  if (selection->stream_count > 1)
    return error_set(error, ANNAL_MISUSE, "streams", "a read within a correlation takes one stream at most");
  int result = text_check(correlation_id, 1, LIMIT_VALUE_BYTES, "correlation id", error);
  return result ? result : read_with(s, selection, correlation_id, (store_reach){.patient = true}, cursor, error);
}

int store_read_up_to(store *s, const annal_selection *selection, const store_head_info *head, store_cursor **cursor,
                     annal_error *error) {
  annal_selection bounded = *selection;
  bounded.before = head->position + 1;
  return read_with(s, &bounded, NULL, (store_reach){.up_to = *head, .patient = true}, cursor, error);
}

int store_read_on(store *s, const annal_stream *streams, size_t count, const store_head_info *place,
                  const store_head_info *head_or_null, bool *sound, store_cursor **cursor, annal_error *error) {
  store_sight sight = STORE_REPLACED;
  store_reach reach = {.patient = true};
  *cursor = NULL;
  *sound = false;
  if (head_or_null) reach.up_to = *head_or_null;
  int result = store_check_own(s, error);
  if (!result) result = s->backend->read_on(s, streams, count, place, &reach, &sight, cursor, error);
  if (result) return result;
  *sound = sight == STORE_SAME;
  if (*cursor) (*cursor)->home = s;
  return ANNAL_OK;
}

int store_read_foreign(store *s, const char *table, uint64_t *total, store_cursor **cursor, annal_error *error) {
  *cursor = NULL;
  *total = 0;
  int result = store_check_own(s, error);
  if (result) return result;
  if (s->backend->read_foreign) return s->backend->read_foreign(s, table, total, cursor, error);
  return error_set(
      error, ANNAL_MISUSE, NULL,
      "a table of the original's is read from the PostgreSQL database that the store is in, and this store is in none");
}

int store_cursor_next(store_cursor *cursor, store_page *page, annal_error *error) {
  *page = (store_page){0};
  if (cursor->home && !store_is_own(cursor->home)) return error_set(error, ANNAL_MISUSE, NULL, NOT_OWN);
  return cursor->backend->next(cursor, page, error);
}

void store_cursor_close(store_cursor *cursor) {
  if (cursor && (!cursor->home || store_is_own(cursor->home))) cursor->backend->close(cursor);
}

/* ---- Rows of projections ----------------------------------------------------------------------------------------------- */

const char *store_status_name(store_status status) {
  switch (status) {
  case STORE_CREATED: return "created";
  case STORE_UPDATED: return "updated";
  case STORE_SKIPPED: return "skipped";
  }
  return "unknown";
}

int store_put_rows(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error) {
  int result = store_check_own(s, error);
  if (!result) result = refuse_read_only(s, error);
  if (result || count == 0) return result;
  return s->backend->put_rows(s, rows, count, statuses, error);
}

int store_read_row(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                   size_t stream_count, const store_head_info *head_or_null, store_row *row, store_cursor **cursor,
                   annal_error *error) {
  *cursor = NULL;
  *row = (store_row){0};
  store_reach reach = {.patient = true};
  if (head_or_null) reach.up_to = *head_or_null;
  int result = store_check_own(s, error);
  if (!result) result = store_check_streams(streams, stream_count, false, error);
  if (!result) result = s->backend->read_row(s, type, fingerprint, id, streams, stream_count, &reach, row, cursor, error);
  if (!result) (*cursor)->home = s;
  return result;
}
