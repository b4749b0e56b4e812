/* annal import [FILE], annal import --from-table NAME: the way back in, and the way over from the original. It stands on
 * api/handle.h and store/store.h, because the public API lets nobody give an event its time.
 *
 * Events are gathered into saves of at most LIMIT_BATCH_EVENTS and LIMIT_BATCH_BYTES, each all or none. An event whose id is
 * stored with equal content is passed over, so the same import can be run again after an interruption; as long as everything was
 * stored before, that is a read and no save. Where something is wrong, everything before it is stored and nothing after it. */
#include "api/handle.h"
#include "import.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"retime", .help = "mend times: one that steps back becomes the previous event's, one that lies ahead the store's"},
    {"from-table", "NAME", .help = "from the original's table of events in the same PostgreSQL database"},
    {0},
};

size_t import_add_piece(import *m, const char *bytes, size_t size) {
  size_t at = m->text.size;
  buf_add(&m->text, bytes, size);
  buf_char(&m->text, 0);
  return at;
}

const char *import_piece(const import *m, size_t at) { return at ? m->text.bytes + at : NULL; }

/* The first byte of `text` is of no piece: 0 is "none". */
static void begin_batch(import *m) {
  buf_clear(&m->text);
  buf_char(&m->text, 0);
}

/* ---- Times ---------------------------------------------------------------------------------------------------------------- */

static void take_time(import *m, const annal_event *event) {
  if (event->created_at > m->previous) m->previous = event->created_at;
}

/* No event may be older than the newest that is stored. It is asked of store/, where nobody minds what its data are. */
static int find_previous(import *m, annal_error *error) {
  annal_selection newest = {.size = sizeof newest, .limit = 1, .reverse = true};
  store_cursor *cursor = NULL;
  store_page page;
  int failed = store_read(m->c->store->store, &newest, &cursor, error);
  if (!failed) failed = store_cursor_next(cursor, &page, error);
  if (!failed && page.count > 0) take_time(m, page.events);
  store_cursor_close(cursor);
  return failed;
}

static void mend_times(import *m) {
  int64_t previous = m->previous;
  for (size_t i = 0; i < m->count && m->timed; i++) {
    if (m->events[i].created_at < previous) m->events[i].created_at = previous;
    previous = m->events[i].created_at;
  }
}

/* Somebody else may have saved meanwhile, which makes given times step back. True when they were mended anew. */
static bool may_mend_again(import *m, const annal_error *error) {
  annal_error other;
  int64_t known = m->previous;
  if (!m->retime || !m->timed || error->code != ANNAL_INVALID || !strstr(error->where, "created_at")) return false;
  if (find_previous(m, &other) || m->previous <= known) return false;
  mend_times(m);
  return true;
}

/* ---- Saves ---------------------------------------------------------------------------------------------------------------- */

static void make_events(import *m) {
  for (size_t i = 0; i < m->count; i++) {
    const import_event *event = &m->gathered[i];
    m->events[i] = (annal_event){
        .id = import_piece(m, event->id),
        .type = import_piece(m, event->type),
        .data = import_piece(m, event->data),
        .data_size = event->data_size,
        .metadata = import_piece(m, event->metadata),
        .metadata_size = event->metadata_size,
        .created_at = event->created_at,
        .version = event->version,
    };
  }
  if (m->retime) mend_times(m);
}

static bool is_same(const annal_event *given, const annal_event *stored) {
  return strcmp(given->id, stored->id) == 0 && strcmp(given->type, stored->type) == 0 &&
         (!given->version || given->version == stored->version) && given->data_size == stored->data_size &&
         memcmp(given->data, stored->data, given->data_size) == 0 && !given->metadata == !stored->metadata &&
         (!given->metadata || (given->metadata_size == stored->metadata_size &&
                               memcmp(given->metadata, stored->metadata, given->metadata_size) == 0));
}

/* Do the gathered events stand in the store, one behind the other, from `position` on? */
static bool stands_at(import *m, int64_t position) {
  annal_error error;
  annal_selection place = {
      .size = sizeof place, .after = position - 1, .before = position + (int64_t)m->count, .limit = m->count};
  store_cursor *cursor;
  store_page page;
  size_t same = 0;
  bool good = !store_read(m->c->store->store, &place, &cursor, &error);
  while (good && !store_cursor_next(cursor, &page, &error) && page.count > 0)
    for (size_t i = 0; i < page.count && good; i++) good = same < m->count && is_same(&m->events[same++], &page.events[i]);
  store_cursor_close(cursor);
  return good && same == m->count;
}

/* Where an import that was interrupted is run again its beginning is stored already, in the order of the source: to see that
 * takes one read a batch, no lock, and no script. Anything else is for the store to judge, from here on. */
static bool was_stored_before(import *m) {
  annal_error error;
  int64_t position = 0;
  if (m->resuming)
    m->resuming =
        m->events[0].id && !store_position_of(m->c->store->store, m->events[0].id, &position, &error) && stands_at(m, position);
  return m->resuming;
}

/* Errors that are about what an event holds, not about the store. */
static bool is_refusal(int code) {
  return code == ANNAL_DUPLICATE || code == ANNAL_INVALID || code == ANNAL_SCRIPT || code == ANNAL_BUDGET;
}

/* Saves events [from, to) as one save. They are stored as they are: the checked form may differ (an optional null left out, an older
 * version upgraded), and an import gives back what was there. */
static int save_once(import *m, size_t from, size_t to, annal_error *error) {
  handle_batch batch;
  int failed = handle_prepare_import(m->c->store, m->events + from, to - from, &batch, error);
  if (failed) return failed;
  for (size_t i = from; i < to; i++) {
    annal_event *event = &batch.events[i - from];
    event->data = m->events[i].data;
    event->data_size = m->events[i].data_size;
    event->created_at = m->events[i].created_at;
  }
  store_save save = {.events = batch.events, .count = to - from, .keep_created_at = m->timed};
  failed = handle_append(m->c->store, batch.app, &save, error);
  if (!failed) {
    *(save.was_stored ? &m->already : &m->stored) += save.count;
    take_time(m, &batch.events[save.count - 1]);
  }
  handle_free_batch(&batch);
  return failed;
}

/* Where a save is refused for what it holds, halves of it are tried, so that what is stored already is passed over, an id that
 * stands twice is one event, and the one event that is wrong is found with everything before it stored. */
static int save_range(import *m, size_t from, size_t to, annal_error *error) {
  int failed;
  do failed = save_once(m, from, to, error);
  while (failed && may_mend_again(m, error));
  if (!failed || !is_refusal(failed)) return failed;
  if (to - from == 1) {
    m->source->place(m, &m->gathered[from], error);
    return failed;
  }
  size_t middle = from + (to - from) / 2;
  failed = save_range(m, from, middle, error);
  return failed ? failed : save_range(m, middle, to, error);
}

static int save_gathered(import *m, annal_error *error) {
  int failed = ANNAL_OK;
  if (m->count == 0) return failed;
  make_events(m);
  if (was_stored_before(m)) m->already += m->count;
  else failed = save_range(m, 0, m->count, error);
  m->count = 0;
  progress_show(&m->progress, m->stored + m->already, m->passed, m->total);
  return failed;
}

/* ---- Gathering ------------------------------------------------------------------------------------------------------------ */

/* The last event becomes the first of a new batch. */
static void begin_batch_with(import *m, import_event *event, size_t begins) {
  size_t *places[] = {&event->id, &event->type, &event->data, &event->metadata};
  size_t size = m->text.size - begins;
  memmove(m->text.bytes + 1, m->text.bytes + begins, size);
  m->text.size = size + 1;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (*places[i]) *places[i] -= begins - 1;
}

static int check_time(import *m, import_event *event, annal_error *error) {
  bool ahead = event->created_at > base_now(&m->c->env);
  if (m->retime && ahead) event->created_at = 0;
  if (!m->source->always_timed || event->created_at || ahead) return ANNAL_OK;
  if (m->retime) event->created_at = m->previous; /* or the store's, for want of one before it */
  else error_set(error, ANNAL_INVALID, "created_at", "it has no time; --retime gives it the previous one's");
  if (!m->retime) m->source->place(m, event, error);
  return m->retime ? ANNAL_OK : ANNAL_INVALID;
}

/* Takes one more event, after saving those before it where it does not go into one save with them. */
static int gather(import *m, bool *more, annal_error *error) {
  import_event event;
  size_t begins = m->text.size;
  int failed = m->source->next(m, &event, more, error);
  if (!failed && *more) failed = check_time(m, &event, error);
  if (failed || !*more) return failed;
  if (m->text.failed) return error_memory(error);
  bool timed = event.created_at != 0;
  if (m->count > 0 && (timed != m->timed || m->text.size > LIMIT_BATCH_BYTES || m->count == LIMIT_BATCH_EVENTS)) {
    failed = save_gathered(m, error);
    if (failed) return failed;
    begin_batch_with(m, &event, begins);
  }
  m->timed = timed;
  m->gathered[m->count++] = event;
  return ANNAL_OK;
}

static int import_all(import *m, annal_error *error) {
  bool more = true;
  begin_batch(m);
  int failed = m->retime ? find_previous(m, error) : ANNAL_OK;
  while (more && !failed) failed = gather(m, &more, error);
  /* Also where an event could not be read: what was gathered before it is whole. */
  annal_error other;
  int also = save_gathered(m, &other);
  if (also) *error = other;
  return also ? also : failed;
}

/* ---- The whole ------------------------------------------------------------------------------------------------------------ */

static int say(import *m) {
  char line[128], stored[32], already[32];
  int size;
  if (m->c->out.people)
    size = snprintf(line, sizeof line, "%s events imported, %s were stored before\n", out_number(m->stored, stored),
                    out_number(m->already, already));
  else
    size = snprintf(line, sizeof line, "{\"already_stored\":%llu,\"imported\":%llu}\n", (unsigned long long)m->already,
                    (unsigned long long)m->stored);
  return out_text(m->c, line, (size_t)size);
}

static int import_from(import *m, const char *table, const char *path) {
  annal_error error;
  int failed = table ? import_open_table(m, table, &error) : import_open_file(m, path, &error);
  progress_begin(&m->progress, m->c, "imported");
  if (!failed) failed = import_all(m, &error);
  unsigned long long known = m->stored + m->already;
  progress_end(&m->progress, known);
  int code = failed ? cli_fail(m->c, &error) : say(m);
  if (failed && known) fprintf(stderr, "annal: %llu events are stored; the same import run again goes on from there\n", known);
  import_close_table(m);
  import_close_file(m);
  return code;
}

static int run(cli *c) {
  const char *table = options_value(c, "from-table");
  if (table && c->argument_count) return cli_misuse(c, "events come from a file or by --from-table, not from both");
  import *m = base_calloc(&c->env, 1, sizeof *m);
  if (!m) {
    annal_error error;
    error_memory(&error);
    return cli_fail(c, &error);
  }
  m->c = c;
  m->retime = options_has(c, "retime");
  m->resuming = true;
  buf_init(&m->input, &c->env);
  buf_init(&m->canonical, &c->env);
  buf_init(&m->text, &c->env);
  int code = import_from(m, table, c->argument_count ? c->arguments[0] : "-");
  buf_free(&m->canonical);
  buf_free(&m->text);
  base_free(&c->env, m);
  return code;
}

const cli_command cmd_import = {
    .name = "import",
    .usage = "[FILE | --from-table NAME] [--retime]",
    .help = "takes in events as NDJSON, from a file or standard input; can be run again after an interruption",
    .options = options,
    .arguments_max = 1,
    .need = CLI_WRITES,
    .run = run,
};
