/* Saves: a batch as the arguments of one call of annal_append_1, and its answers. Role: append of the backend; append.sql is the
 * protocol itself.
 *
 * A connection that is lost during a save is made again, the server process that it may have left behind is ended (orphan.c), and the
 * same save sent again under the same ids, until the deadline: ids come before conditions, so the answer is true whichever attempt
 * won. Nothing less settles it: a look-up may find nothing and the orphan store the events afterwards. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/limits.h"
#include <poll.h>
#include <string.h>

enum {
  STORED = 0,
  WAS_STORED = 1,
  CONFLICT = 2,
  CONFLICT_MISSING = 3,
  OTHER_CONTENT = 4,
  PARTLY_STORED = 5,
  TIME_BEFORE = 6,
  TIME_AFTER = 7
};
enum { RESULTS, NUMBERS, POSITIONS, TIMES, IDS, FOUND_POSITIONS, FOUND_TIMES };

#define SAVE_BYTES_MAX (512u << 20) /* PostgreSQL takes a value, and libpq a message, of less than 1 GiB */

/* ---- A batch as arrays ----------------------------------------------------------------------------------------------------- */

typedef struct event_arrays {
  pg_array starts, flushes, ids, types, versions, data, metadata, times;
  bool has_metadata, has_times;
} event_arrays;

typedef struct stream_arrays {
  pg_array starts, after_ids, leads, alones, type_starts, types, field_starts, names, value_starts, values;
  int64_t streams, type_count, field_count, value_count;
} stream_arrays;

static void add_event(event_arrays *a, const annal_event *event, bool keep) {
  pg_array_text(&a->ids, event->id);
  pg_array_text(&a->types, event->type);
  pg_array_int(&a->versions, event->version);
  pg_array_bytes(&a->data, event->data, event->data_size);
  pg_array_bytes(&a->metadata, event->metadata, event->metadata_size);
  if (keep) pg_array_int8(&a->times, event->created_at - PG_EPOCH);
  else pg_array_bytes(&a->times, NULL, 0);
  a->has_metadata |= event->metadata != NULL;
  a->has_times |= keep;
}

static void add_events(event_arrays *a, const base_env *env, store_entry *const *entries, size_t count, const bool *flushes,
                       pg_params *params) {
  pg_array_init(&a->starts, env, PG_INT4);
  pg_array_init(&a->flushes, env, PG_BOOL);
  pg_array_init(&a->ids, env, PG_TEXT);
  pg_array_init(&a->types, env, PG_TEXT);
  pg_array_init(&a->versions, env, PG_INT4);
  pg_array_init(&a->data, env, PG_JSON);
  pg_array_init(&a->metadata, env, PG_JSON);
  pg_array_init(&a->times, env, PG_TIMESTAMPTZ);
  int64_t start = 1;
  for (size_t i = 0; i < count; i++) {
    const store_save *save = entries[i]->save;
    pg_array_int(&a->starts, start);
    pg_array_bool(&a->flushes, flushes && flushes[i]);
    for (size_t j = 0; j < save->count; j++) add_event(a, &save->events[j], save->keep_created_at);
    start += (int64_t)save->count;
  }
  pg_array_int(&a->starts, start);
  pg_array_param(&a->starts, params);
  pg_array_param_if(flushes != NULL, &a->flushes, params);
  pg_array_param(&a->ids, params);
  pg_array_param(&a->types, params);
  pg_array_param(&a->versions, params);
  pg_array_param(&a->data, params);
  pg_array_param_if(a->has_metadata, &a->metadata, params);
  pg_array_param_if(a->has_times, &a->times, params);
}

static void free_events(event_arrays *a) {
  pg_array *all[] = {&a->starts, &a->flushes, &a->ids, &a->types, &a->versions, &a->data, &a->metadata, &a->times};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) pg_array_free(all[i]);
}

bool pg_is_declared(const pg_store *s, const char *name) {
  for (size_t i = 0; i < s->base.event_fields.count; i++)
    if (strcmp(s->base.event_fields.names[i], name) == 0) return true;
  return false;
}

static void add_field(stream_arrays *a, const annal_field *field) {
  pg_array_text(&a->names, field->name);
  pg_array_int(&a->value_starts, a->value_count + 1);
  for (size_t i = 0; i < field->value_count; i++) pg_array_text(&a->values, field->values[i]);
  a->value_count += (int64_t)field->value_count;
  a->field_count++;
}

/* One field's text decides alone, unless a value of it could be the text of an object or array. */
bool pg_decides_alone(const annal_stream *stream) {
  if (stream->data_count > 1) return false;
  for (size_t i = 0; stream->data_count == 1 && i < stream->data[0].value_count; i++)
    if (stream->data[0].values[i][0] == '{' || stream->data[0].values[i][0] == '[') return false;
  return true;
}

/* The field to look for first: a declared one, of those the one with the fewest values. */
static size_t leading_field(const pg_store *s, const annal_stream *stream) {
  size_t best = SIZE_MAX;
  for (size_t i = 0; i < stream->data_count; i++)
    if (pg_is_declared(s, stream->data[i].name) &&
        (best == SIZE_MAX || stream->data[i].value_count < stream->data[best].value_count))
      best = i;
  return best == SIZE_MAX ? 0 : best;
}

static void add_stream(stream_arrays *a, const pg_store *s, const annal_condition *condition, size_t number) {
  const annal_stream *stream = &condition->streams[number];
  pg_array_text(&a->after_ids, store_condition_id(condition, number));
  pg_array_bool(&a->alones, pg_decides_alone(stream));
  pg_array_int(&a->type_starts, a->type_count + 1);
  for (size_t i = 0; i < stream->type_count; i++) pg_array_text(&a->types, stream->types[i]);
  a->type_count += (int64_t)stream->type_count;
  pg_array_int(&a->field_starts, a->field_count + 1);
  size_t leading = leading_field(s, stream);
  bool led = stream->data_count && pg_is_declared(s, stream->data[leading].name);
  pg_array_text(&a->leads, led ? stream->data[leading].name : NULL);
  if (stream->data_count) add_field(a, &stream->data[leading]);
  for (size_t i = 0; i < stream->data_count; i++)
    if (i != leading) add_field(a, &stream->data[i]);
  a->streams++;
}

static void add_streams(stream_arrays *a, const pg_store *s, store_entry *const *entries, size_t count, pg_params *params) {
  const base_env *env = s->base.env;
  const struct {
    pg_array *array;
    Oid type;
  } all[] = {{&a->starts, PG_INT4},       {&a->after_ids, PG_TEXT}, {&a->leads, PG_TEXT},        {&a->alones, PG_BOOL},
             {&a->type_starts, PG_INT4},  {&a->types, PG_TEXT},     {&a->field_starts, PG_INT4}, {&a->names, PG_TEXT},
             {&a->value_starts, PG_INT4}, {&a->values, PG_TEXT}};
  bool any = false;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) pg_array_init(all[i].array, env, all[i].type);
  for (size_t i = 0; i < count; i++) {
    const annal_condition *condition = entries[i]->save->condition;
    pg_array_int(&a->starts, a->streams + 1);
    for (size_t j = 0; condition && j < condition->stream_count; j++) add_stream(a, s, condition, j);
    any |= condition != NULL;
  }
  pg_array_int(&a->starts, a->streams + 1);
  pg_array_int(&a->type_starts, a->type_count + 1);
  pg_array_int(&a->field_starts, a->field_count + 1);
  pg_array_int(&a->value_starts, a->value_count + 1);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) pg_array_param_if(any, all[i].array, params);
}

static void free_streams(stream_arrays *a) {
  pg_array *all[] = {&a->starts, &a->after_ids,    &a->leads, &a->alones,       &a->type_starts,
                     &a->types,  &a->field_starts, &a->names, &a->value_starts, &a->values};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) pg_array_free(all[i]);
}

/* ---- Its answers ----------------------------------------------------------------------------------------------------------- */

/* The one value that is answered, a row of arrays, taken apart. */
typedef struct answers {
  pg_value columns[FOUND_TIMES + 1];
} answers;

/* The binary form of a row: how many columns, then type, length (-1: null) and bytes of each. */
static bool open_answers(const PGresult *result, answers *out) {
  if (PQntuples(result) != 1 || PQnfields(result) != 1 || PQgetisnull(result, 0, 0)) return false;
  const char *at = PQgetvalue(result, 0, 0), *end = at + PQgetlength(result, 0, 0);
  if (end - at < 4 || pg_get32(at) != FOUND_TIMES + 1) return false;
  at += 4;
  for (int i = 0; i <= FOUND_TIMES; i++) {
    if (end - at < 8) return false;
    int32_t size = pg_get32(at + 4);
    at += 8;
    if (size > end - at) return false;
    out->columns[i] = (pg_value){.bytes = size < 0 ? NULL : at, .size = size < 0 ? 0 : size};
    if (size > 0) at += size;
  }
  return true;
}

static int64_t get_int(const answers *given, int column, size_t number) {
  pg_value value;
  if (!pg_array_get(given->columns[column], (int64_t)number, &value)) return 0;
  return value.size == 8 ? pg_get64(value.bytes) : value.size == 4 ? pg_get32(value.bytes) : 0;
}

static void get_id(const answers *given, size_t number, char id[LIMIT_ID_BYTES + 1]) {
  pg_value value;
  id[0] = 0;
  if (!pg_array_get(given->columns[IDS], (int64_t)number, &value) || value.size > LIMIT_ID_BYTES) return;
  memcpy(id, value.bytes, (size_t)value.size);
  id[value.size] = 0;
}

static void note_stored(store_save *save, int64_t position, int64_t time) {
  for (size_t i = 0; i < save->count; i++) {
    save->events[i].position = position + (int64_t)i;
    if (!save->keep_created_at) save->events[i].created_at = time;
  }
}

static void take_stored(const answers *given, size_t number, store_save *save) {
  note_stored(save, get_int(given, POSITIONS, number), get_int(given, TIMES, number) + PG_EPOCH);
}

static void take_found(const answers *given, size_t *found, store_save *save) {
  for (size_t i = 0; i < save->count; i++, (*found)++) {
    save->events[i].position = get_int(given, FOUND_POSITIONS, *found);
    save->events[i].created_at = get_int(given, FOUND_TIMES, *found) + PG_EPOCH;
  }
  save->was_stored = true;
}

static int fail_partly(const answers *given, size_t number, const store_save *save, annal_error *error) {
  char missing[LIMIT_ID_BYTES + 1];
  get_id(given, number, missing);
  size_t at = (size_t)get_int(given, NUMBERS, number) - 1;
  annal_event stored = save->events[at], absent = {.id = missing};
  stored.position = get_int(given, POSITIONS, number);
  return store_fail_partly_stored(error, &stored, at, &absent);
}

static int fail_time(const answers *given, size_t number, const store_save *save, bool before, annal_error *error) {
  int64_t bound = get_int(given, TIMES, number) + PG_EPOCH;
  if (before) return store_check_time(error, save->events, 0, save->count, bound, INT64_MAX);
  for (size_t i = 0; i < save->count; i++) {
    int code = store_check_time(error, &save->events[i], i, save->count, INT64_MIN, bound);
    if (code) return code;
  }
  return error_set(error, ANNAL_CORRUPT, NULL, "the server found a created_at in the future where there is none");
}

static int take_answer(const answers *given, size_t number, size_t *found, store_save *save, annal_error *error) {
  char id[LIMIT_ID_BYTES + 1];
  size_t at = (size_t)get_int(given, NUMBERS, number);
  at = at > 0 ? at - 1 : 0;
  int64_t position = get_int(given, POSITIONS, number);
  switch (get_int(given, RESULTS, number)) {
  case STORED: take_stored(given, number, save); return ANNAL_OK;
  case WAS_STORED: take_found(given, found, save); return ANNAL_OK;
  case CONFLICT:
    save->refused_stream = at;
    get_id(given, number, id);
    return store_fail_conflict(error, save->condition, at, id, position);
  case CONFLICT_MISSING: save->refused_stream = at; return store_fail_conflict_missing(error, save->condition, at);
  case OTHER_CONTENT: return store_fail_duplicate(error, &save->events[at], at, save->count, position);
  case PARTLY_STORED: return fail_partly(given, number, save, error);
  case TIME_BEFORE: return fail_time(given, number, save, true, error);
  case TIME_AFTER: return fail_time(given, number, save, false, error);
  default: return error_set(error, ANNAL_CORRUPT, NULL, "annal_append_1 gave an answer that this program does not know");
  }
}

/* All were stored, one after the other. */
static void take_all(const answers *given, store_entry **entries, size_t count) {
  int64_t position = get_int(given, POSITIONS, 0), time = get_int(given, TIMES, 0) + PG_EPOCH;
  for (size_t i = 0; i < count; i++) {
    entries[i]->result = ANNAL_OK;
    note_stored(entries[i]->save, position, time);
    position += (int64_t)entries[i]->save->count;
  }
}

static int take_answers(const PGresult *result, store_entry **entries, size_t count, annal_error *error) {
  answers given;
  pg_value last;
  bool ours = open_answers(result, &given), all = ours && !given.columns[RESULTS].bytes;
  if (ours) ours = pg_array_get(given.columns[all ? POSITIONS : RESULTS], all ? 0 : (int64_t)count - 1, &last);
  if (!ours) return error_set(error, ANNAL_CORRUPT, NULL, "annal_append_1 is not the function that annal made");
  size_t found = 0;
  if (all) {
    take_all(&given, entries, count);
    return ANNAL_OK;
  }
  for (size_t i = 0; i < count; i++) entries[i]->result = take_answer(&given, i, &found, entries[i]->save, &entries[i]->error);
  return ANNAL_OK;
}

/* ---- Sending it ------------------------------------------------------------------------------------------------------------ */

bool pg_wait_before_retry(pg_store *s, const pg_call *call, int *pause_ms) {
  int64_t until = base_monotonic() + INT64_C(1000) * *pause_ms;
  if (until >= call->deadline) return false;
  while (base_monotonic() < until && !pg_interrupted(s, call)) poll(NULL, 0, *pause_ms < 50 ? *pause_ms : 50);
  *pause_ms = *pause_ms * 2 > PG_RETRY_MAX_MS ? PG_RETRY_MAX_MS : *pause_ms * 2;
  return !pg_interrupted(s, call);
}

/* After a failover the way that led to the server which takes writes may for a while lead to one that only reads. */
static int refuse_standby(pg_store *s, pg_conn *conn, annal_error *error) {
  const char *standby = PQparameterStatus(conn->pq, "in_hot_standby");
  if (!standby || strcmp(standby, "on") != 0) return ANNAL_OK;
  pg_disconnect(s, conn);
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s is on a standby, which only reads", s->place);
}

/* The writer, fit for a save whose answer will be true. */
static int make_ready(pg_store *s, const pg_call *call, annal_error *error) {
  pg_conn *conn = &s->writer;
  pg_settle(s, conn, call);
  int code = pg_alive(conn) ? ANNAL_OK : pg_connect(s, conn, call, error);
  if (!code) code = refuse_standby(s, conn, error);
  if (!code) code = pg_bear_mark(s, conn, call, error);
  return code ? code : pg_settle_orphans(s, conn, call, error);
}

/* One attempt. *unknown becomes true when it was sent and nobody can know what became of it. */
static int attempt(pg_store *s, const char *sql, const pg_params *params, const pg_call *call, PGresult **result, bool *unknown,
                   annal_error *error) {
  pg_conn *conn = &s->writer;
  int code = make_ready(s, call, error);
  if (code) return code;
  conn->submitted = false;
  code = pg_query(s, conn, sql, params, call, result, error);
  if (code && conn->submitted && pg_lost(conn)) *unknown = s->unsettled = true;
  if (code || PQresultStatus(*result) == PGRES_TUPLES_OK) return code;
  /* The answer to something else: somebody has spoken over this connection. What became of the append is asked over another. */
  PQclear(*result);
  *result = NULL;
  pg_disconnect(s, conn);
  *unknown = s->unsettled = true;
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s answered something that it was not asked", s->place);
}

/* The function has gone, or may not be called any more: where an older dump was put back, or rights were taken. */
static bool is_without(const annal_error *error) {
  return strcmp(error->sqlstate, "42883") == 0 || strcmp(error->sqlstate, "42501") == 0;
}

/* Whether what the quick way has met is to be asked again of the function that looks at each save; and whether it was the last time. */
static bool asks_again(pg_store *s, const annal_error *error) {
  bool unfit = is_without(error) || strcmp(error->sqlstate, "0A000") == 0;
  if (unfit) s->has_append_new = false;
  return unfit || pg_is_content(error);
}

/* Sends until there is an answer. `quick`, unless it is NULL, is tried first and once, with the same parameters. An error of another
 * kind after an attempt whose fate is unknown does not settle that one; the content's own fault does, for it is met only where the ids
 * were not found, and nothing is left that could store them. */
static int send_until_known(pg_store *s, const char *quick, const char *sql, const pg_params *params, PGresult **result,
                            annal_error *error) {
  pg_call call = pg_call_begin(s);
  bool unknown = false;
  int pause_ms = PG_RETRY_FIRST_MS, code;
  for (;;) {
    code = attempt(s, quick ? quick : sql, params, &call, result, &unknown, error);
    bool was_quick = quick != NULL;
    quick = NULL;
    if (code && was_quick && asks_again(s, error)) continue;
    if (!code || pg_is_content(error)) return code;
    bool again = pg_lost(&s->writer) ? error->retryable : unknown;
    if (!again || pg_interrupted(s, &call) || !pg_wait_before_retry(s, &call, &pause_ms)) break;
  }
  if (unknown) {
    char message[sizeof error->message], state[sizeof error->sqlstate];
    memcpy(message, error->message, sizeof message);
    memcpy(state, error->sqlstate, sizeof state);
    code = error_set(error, ANNAL_UNAVAILABLE, NULL,
                     "it is not known whether the save was stored; save again under the same ids (%s)", message);
    memcpy(error->sqlstate, state, sizeof state);
    error->in_doubt = true;
    pg_leave_orphans(s);
  }
  return code;
}

/* The call, for saves with rows or without, in a transaction that is there or as one. */
static const char *call_sql(const pg_store *s, bool with_rows, bool within) {
  bool marked = s->append_marked_sql && !within;
  if (with_rows) return marked ? s->append_rows_marked_sql : s->append_rows_sql;
  return marked ? s->append_marked_sql : s->append_sql;
}

/* Whether they can go the quick way (append_new.sql). Behind a pooler nothing is known of the session. */
static bool are_new(const pg_store *s, store_entry *const *entries, size_t count) {
  bool fits = s->has_append_new && !s->host_clock && !s->append_marked_sql;
  for (size_t i = 0; i < count && fits; i++) {
    const store_save *save = entries[i]->save;
    fits = save->ids_are_new && !save->condition && save->row_count == 0 && !save->keep_created_at;
  }
  return fits;
}

/* `within`: a connection with a transaction of the caller's, in which it is sent once; NULL: until it is known. */
static int append_live(pg_store *s, pg_conn *within, const pg_call *call, store_entry **entries, size_t count,
                       const bool *flushes, annal_error *error) {
  event_arrays events = {0};
  stream_arrays streams = {0};
  pg_save_rows rows;
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, s->base.env);
  add_events(&events, s->base.env, entries, count, flushes, &params);
  add_streams(&streams, s, entries, count, &params);
  char lock_ms[4], clock[8], mark[4];
  pg_put32(lock_ms, s->lock_ms);
  pg_params_binary(&params, PG_INT4, s->lock_ms == PG_LOCK_MS_DEFAULT ? NULL : lock_ms, sizeof lock_ms);
  pg_params_clock(s, &params, clock);
  const char *sql = call_sql(s, pg_save_rows_add(&rows, s->base.env, entries, count, &params), within != NULL);
  const char *quick = !within && are_new(s, entries, count) ? s->append_new_sql : NULL;
  pg_put32(mark, s->mark);
  if (s->append_marked_sql && !within) pg_params_binary(&params, PG_INT4, mark, sizeof mark);
  int code = params.failed ? error_memory(error)
             : within      ? pg_query(s, within, sql, &params, call, &result, error)
                           : send_until_known(s, quick, sql, &params, &result, error);
  if (!code) code = take_answers(result, entries, count, error);
  PQclear(result);
  pg_params_free(&params);
  free_events(&events);
  free_streams(&streams);
  pg_save_rows_free(&rows);
  return code;
}

/* A save by the function for one event. False: it is not one that this function knows, or there is no such function. */
static bool append_one(pg_store *s, store_entry **entry, int *code, annal_error *error) {
  pg_one room = {0};
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, s->base.env);
  if (!pg_one_params(s, (*entry)->save, &room, &params)) return false;
  *code = params.failed ? error_memory(error) : send_until_known(s, NULL, s->append_one_sql, &params, &result, error);
  if (!*code) *code = take_answers(result, entry, 1, error);
  PQclear(result);
  pg_params_free(&params);
  pg_one_free(&room);
  if (*code && !error->in_doubt && is_without(error)) return s->has_append_one = false;
  return true;
}

/* By itself, in a transaction of its own. */
static int append_alone(pg_store *s, store_entry **entries, size_t count, const bool *flushes, annal_error *error) {
  int code = ANNAL_OK;
  if (count == 1 && append_one(s, entries, &code, error)) return code;
  return append_live(s, NULL, NULL, entries, count, flushes, error);
}

static void answer_all(store_entry **entries, size_t count, const annal_error *error) {
  for (size_t i = 0; i < count; i++) {
    entries[i]->result = error->code;
    entries[i]->error = *error;
  }
}

/* ---- Before it is sent ----------------------------------------------------------------------------------------------------- */

/* What the server need not be asked: size, and kept times that step back within the save. */
static int check_save(const pg_store *s, const store_save *save, annal_error *error) {
  size_t bytes = 0;
  for (size_t i = 0; i < save->count; i++) {
    bytes += save->events[i].data_size + save->events[i].metadata_size + strlen(save->events[i].type) + LIMIT_ID_BYTES;
    if (save->keep_created_at && i > 0) {
      int code = store_check_time(error, &save->events[i], i, save->count, save->events[i - 1].created_at, INT64_MAX);
      if (code) return code;
    }
  }
  for (size_t i = 0; i < save->row_count; i++) bytes += save->rows[i].row.state_size + save->rows[i].row.data_size;
  (void)s;
  if (bytes <= SAVE_BYTES_MAX) return ANNAL_OK;
  return error_set(error, ANNAL_INVALID, NULL, "a save of %zu MiB; at most %u MiB go into one", bytes >> 20,
                   SAVE_BYTES_MAX >> 20);
}

static void note_sizes(pg_store *s, const store_save *save) {
  for (size_t i = 0; i < save->count; i++) pg_note_size(s, save->events[i].data_size + save->events[i].metadata_size);
}

static void append_batch(pg_store *s, store_entry **live, size_t count, bool *flushes) {
  annal_error error;
  bool touching = pg_touches(s->base.env, live, count, flushes);
  if (!append_alone(s, live, count, touching ? flushes : NULL, &error)) return;
  if (count == 1 || error.in_doubt || pg_is_everybodys(&error)) {
    answer_all(live, count, &error);
    return;
  }
  /* Nothing was stored; one of them may be the culprit. */
  for (size_t i = 0; i < count; i++)
    if (append_alone(s, live + i, 1, NULL, &error)) answer_all(live + i, 1, &error);
}

/* Checks the saves and sends those that pass; `live` and `flushes` have room for all of them. */
static void append_checked(pg_store *s, store_entry *entries, size_t count, store_entry **live, bool *flushes) {
  size_t live_count = 0;
  for (size_t i = 0; i < count; i++) {
    entries[i].result = check_save(s, entries[i].save, &entries[i].error);
    if (entries[i].result) continue;
    note_sizes(s, entries[i].save);
    live[live_count++] = &entries[i];
  }
  if (live_count == 0) return;
  pthread_mutex_lock(&s->write_lock);
  append_batch(s, live, live_count, flushes);
  pg_tell(s);
  pthread_mutex_unlock(&s->write_lock);
}

void pg_append(store *base, store_entry *entries, size_t count) {
  pg_store *s = (pg_store *)base;
  store_entry *one_live[1], **live = NULL;
  bool one_flush[1], *flushes = NULL;
  annal_error error;
  if (count == 1) {
    append_checked(s, entries, 1, one_live, one_flush);
    return;
  }
  live = base_calloc(s->base.env, count, sizeof *live);
  flushes = base_calloc(s->base.env, count, sizeof *flushes);
  if (live && flushes) {
    append_checked(s, entries, count, live, flushes);
  } else {
    error_memory(&error);
    for (size_t i = 0; i < count; i++) answer_all(&(store_entry *){&entries[i]}, 1, &error);
  }
  base_free(s->base.env, live);
  base_free(s->base.env, flushes);
}

int pg_append_within(pg_store *s, pg_conn *conn, store_entry *entries, size_t count, const pg_call *call, annal_error *error) {
  store_entry **live = base_calloc(s->base.env, count, sizeof *live);
  bool *flushes = base_calloc(s->base.env, count, sizeof *flushes);
  int code = ANNAL_OK;
  if (live && flushes) {
    for (size_t i = 0; i < count && !code; i++) {
      live[i] = &entries[i];
      entries[i].save->was_stored = false;
      code = check_save(s, entries[i].save, error);
      note_sizes(s, entries[i].save);
    }
    bool touching = !code && pg_touches(s->base.env, live, count, flushes);
    if (!code) code = append_live(s, conn, call, live, count, touching ? flushes : NULL, error);
  } else {
    code = error_memory(error);
  }
  base_free(s->base.env, live);
  base_free(s->base.env, flushes);
  return code;
}
