/* Memory that runs out: a story of opening, saving, viewing and closing is told again and again, and each time another
 * allocation is the one that fails. Whatever fails, the call answers `unavailable` (or `budget`, where a script's own state could
 * not grow), nothing leaks, nothing crashes, and the store is sound afterwards. */
#include "../fold/support.h"

typedef struct scarce {
  long left;     /* allocations until one fails; -1: none does */
  bool for_good; /* from then on all fail */
  long asked;    /* allocations so far */
  long held;     /* blocks not given back */
  bool refused;
} scarce;

static void *allocate(void *context, void *pointer, size_t size) {
  scarce *s = context;
  if (size == 0) {
    if (pointer) s->held--;
    free(pointer);
    return NULL;
  }
  s->asked++;
  if (s->left == 0 || (s->refused && s->for_good)) {
    s->refused = true;
    if (!s->for_good) s->left = -1;
    return NULL;
  }
  if (s->left > 0) s->left--;
  void *larger = realloc(pointer, size);
  if (larger && !pointer) s->held++;
  return larger;
}

#define APP                                                                                                                      \
  "event 'ADDED' { version = 2, schema = { id = t.string, tags = t.array(t.string) },\n"                                         \
  "  upcast = { function(data) data.tags = {} return data end } }\n"                                                             \
  "projection 'LIST' { by = 'id', fields = { n = reducer { init = 0, on = { ADDED = function(s) return s + 1 end } },"           \
  "  tags = reducer { init = array {}, on = { ADDED = function(s, e) s = {} for i, tag in ipairs(e.data.tags) do s[i] = tag .. " \
  "i end return s end } },"                                                                                                      \
  "  map = reducer { init = {}, on = { ADDED = function(s, e) s.list = { #e.data.tags } end } } },"                              \
  "  view = function(s, id) return { id = id, s = s } end, shape = { id = t.string, s = t.any } }\n"                             \
  "projection 'KEPT' { by = 'id', keep = 'inline', init = 0, on = { ADDED = function(s) return s + 1 end } }\n"

static void expect_fair(int code, const annal_error *error, const char *what) {
  if (code == 0 || code == ANNAL_UNAVAILABLE || code == ANNAL_BUDGET) return;
  fail_msg("%s: %s: %s: %s", what, annal_code_name(code), error->where, error->message);
}

static annal_view_options view_options[] = {{.size = sizeof(annal_view_options), .ignore_saved = true},
                                            {.size = sizeof(annal_view_options), .save = true},
                                            {.size = sizeof(annal_view_options)}};

/* A row of one's own, a save and a row of a projection in one transaction: all there, or nothing. */
static int transact(store *s, annal_error *error) {
  store_transaction *t;
  const store_result *result;
  static int number;
  char id[16];
  snprintf(id, sizeof id, "t%d", ++number);
  static const char *const types[] = {"NEVER"};
  annal_stream stream = {.types = types, .type_count = 1};
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
  annal_event event = {.id = id, .type = "ADDED", .version = 1, .data = "{\"id\":\"b\"}", .data_size = 10};
  store_save save = {.events = &event, .count = 1, .condition = &condition};
  store_row row = {
      .type = "HAND", .fingerprint = "", .id = "h", .data = "{}", .data_size = 2, .position = 1, .latest_event_id = id};
  store_value values[2] = {{.kind = STORE_TEXT, .text = "name", .size = 4}, {.kind = STORE_INTEGER, .integer = 5}};
  bool was_stored;
  int code = store_begin(s, &t, error);
  if (code) return code;
  code = store_transaction_execute(t, "CREATE TABLE IF NOT EXISTS mine (name, n)", NULL, 0, &result, error);
  if (!code) code = store_transaction_execute(t, "INSERT INTO mine VALUES ($1, $2)", values, 2, &result, error);
  if (!code) code = store_transaction_execute(t, "SELECT name, n FROM mine", NULL, 0, &result, error);
  if (!code) assert_string_equal(result->values[0].text, "name");
  if (!code) code = store_transaction_stage(t, &save, error);
  if (!code) code = store_transaction_stage_row(t, &row, error);
  if (!code) code = store_transaction_commit(t, NULL, &was_stored, error);
  store_transaction_end(t);
  return code;
}

/* The transactions save under version 1, which has no tags. */
static int see_event(void *context, const annal_event *event) {
  assert_int_equal(event->version, 2);
  expect_in(event->data, "\"tags\":[");
  ++*(int *)context;
  return 0;
}

static int read_all(annal_store *handle, annal_error *error) {
  int read = 0, followed = 0;
  annal_selection all = {.size = sizeof all};
  int code = annal_read(handle, &all, see_event, &read, error);
  if (!code) code = annal_follow(handle, &all, 1e-6, see_event, &followed, error);
  if (!code) assert_int_equal(read, followed);
  return code;
}

/* Everything once; what fails is skipped over. Answers whether all went well. */
static bool tell(place *p, const annal_options *options) {
  annal_error error;
  annal_text text;
  annal_store *handle;
  bool well = true;
  int code = annal_open(p->file, options, &handle, &error);
  expect_fair(code, &error, "open");
  if (code) return false;
  code = transact(handle->store, &error);
  expect_fair(code, &error, "transaction");
  well = well && !code;
  annal_event events[2] = {{.type = "ADDED", .data = "{\"id\":\"a\",\"tags\":[\"x\",\"y\"]}", .metadata = "{}"},
                           {.type = "ADDED", .data = "{\"id\":\"a\",\"tags\":[]}"}};
  code = annal_save(handle, events, 2, NULL, &text, &error);
  expect_fair(code, &error, "save");
  if (!code) assert_non_null(text.bytes);
  annal_text_free(handle, &text);
  well = well && !code;
  for (size_t i = 0; i < 3; i++) {
    code = annal_view(handle, "LIST", "a", &view_options[i], &text, &error);
    if (code != ANNAL_NOT_FOUND) expect_fair(code, &error, "view"); /* not_found: the save before had failed */
    if (!code) expect_in(text.bytes, "\"id\":\"a\"");
    annal_text_free(handle, &text);
    well = well && !code;
  }
  code = read_all(handle, &error);
  expect_fair(code, &error, "read");
  well = well && !code;
  annal_query query = {.size = sizeof query, .type = "LIST"};
  code = annal_query_projections(handle, &query, &text, &error);
  expect_fair(code, &error, "query");
  annal_text_free(handle, &text);
  annal_close(handle);
  return well && !code;
}

static void tell_with_failures(bool for_good) {
  place p;
  place_init(&p);
  place_script(&p, "app.lua", APP);
  scarce s = {.left = -1};
  annal_options options = {.size = sizeof options, .app = p.app, .allocate = allocate, .allocate_context = &s};
  assert_true(tell(&p, &options));
  assert_int_equal(s.held, 0);
  long total = s.asked;
  assert_true(total > 100);
  /* Every early one, then every so many: the middle is Lua compiling the same few files. */
  long step = 1 + total / 250;
  for (long n = 0; n < total; n += step) {
    s = (scarce){.left = n, .for_good = for_good};
    tell(&p, &options);
    if (s.held != 0) fail_msg("%ld blocks are left when allocation %ld of %ld fails", s.held, n, total);
  }
  s = (scarce){.left = -1};
  assert_true(tell(&p, &options));
  expect_sql(&p, "SELECT count(*) - max(position) FROM events", "0");
  expect_sql(&p, "SELECT count(*) - (SELECT count(*) FROM events WHERE id LIKE 't%') FROM mine", "0");
  place_remove(&p);
}

static void one_failed_allocation_is_an_error_and_no_more(void **unused) {
  (void)unused;
  tell_with_failures(false);
}

static void memory_that_ends_for_good_is_an_error_and_no_more(void **unused) {
  (void)unused;
  tell_with_failures(true);
}

/* An instance that could not be refreshed is as it was. */
static void a_failed_refresh_changes_nothing(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  scarce s = {.left = -1};
  place_init(&p);
  place_script(&p, "app.lua", APP);
  place_open_with(&p, (annal_options){.app = p.app, .allocate = allocate, .allocate_context = &s});
  put(&p, "ADDED", NULL, "{\"id\":\"a\",\"tags\":[\"x\"]}");
  fold_instance *instance = instance_of(&p, "LIST", "a", true);
  char *before = view_text(&p, instance);
  put(&p, "ADDED", NULL, "{\"id\":\"a\",\"tags\":[\"y\"]}");
  char *after = NULL;
  for (long n = 0; !after; n++) {
    s.left = n;
    s.refused = false;
    int code = fold_refresh(instance, &error);
    s.left = -1;
    expect_fair(code, &error, "refresh");
    if (code) expect_view(&p, instance, before);
    else after = view_text(&p, instance);
  }
  expect_in(after, "\"n\":2");
  free(before);
  free(after);
  fold_close(instance);
  place_remove(&p);
  assert_int_equal(s.held, 0);
}

/* Each allocation of a transaction fails once: rows and events stay together, and the next transaction finds nothing locked. */
static void a_failed_transaction_is_none(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  scarce s = {.left = -1};
  long failed = 0;
  place_init(&p);
  place_open_with(&p, (annal_options){.allocate = allocate, .allocate_context = &s});
  for (int code = -1; code; failed++) {
    s.left = failed;
    s.refused = false;
    code = transact(p.handle->store, &error);
    s.left = -1;
    expect_fair(code, &error, "transaction");
  }
  assert_true(failed > 10);
  expect_sql(&p, "SELECT count(*) FROM events", "1");
  expect_sql(&p, "SELECT count(*) FROM mine", "1");
  place_remove(&p);
  assert_int_equal(s.held, 0);
}

#define COMMANDS                                                                                                                 \
  "command 'ADD' { args = { id = t.string }, uses = { one = { 'LIST', id = 'id' }, other = { 'LIST', id = function(args) "       \
  "return "                                                                                                                      \
  "  args.id .. 'x' end } },"                                                                                                    \
  "  decide = function(args, views, context) local list = {} for i = 1, 3 do list[i] = { type = 'ADDED',"                        \
  "    data = { id = args.id, tags = { context.new_id(), context.now, context.metadata.by } }, metadata = { n = i } } end"       \
  "    return list end }\n"

/* Each allocation of a call fails once. What it answers is true: where it fails nothing is stored. */
static void a_failed_call_is_none(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  scarce s = {.left = -1};
  long failed = 0, errors = 0;
  bool refused = true; /* some failures go by: Lua collects, and asks again */
  place_init(&p);
  place_script(&p, "app.lua", APP COMMANDS);
  place_open_with(&p, (annal_options){.app = p.app, .allocate = allocate, .allocate_context = &s});
  for (; refused; failed++) {
    char id[32], sql[96], args[48];
    annal_text stored = {0};
    annal_call_options options = {.size = sizeof options, .metadata = "{\"by\":\"me\"}"};
    /* The states that it needs are there, and each has an instance of its own: more events would need more memory each time. */
    snprintf(args, sizeof args, "{\"id\":\"warm %ld\"}", failed);
    expect_ok(annal_call(p.handle, "ADD", args, &options, NULL, &error), &error);
    snprintf(args, sizeof args, "{\"id\":\"%ld\"}", failed);
    snprintf(id, sizeof id, "r%ld", failed);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM events WHERE id LIKE '%s/%%'", id);
    options.id = id;
    s.left = failed;
    s.refused = false;
    int code = annal_call(p.handle, "ADD", args, &options, &stored, &error);
    s.left = -1;
    refused = s.refused;
    errors += code != 0;
    expect_fair(code, &error, "call");
    expect_sql(&p, sql, code ? "0" : "3");
    if (code) assert_null(stored.bytes);
    else expect_in(stored.bytes, id);
    annal_text_free(p.handle, &stored);
  }
  assert_true(errors > 50);
  place_remove(&p);
  assert_int_equal(s.held, 0);
}

/* Each allocation of a reload fails, once or for good: what was loaded stays, and the next attempt is not told that the scripts are
 * wrong. Asked for, and by a call that looks by itself, which goes on. */
static void reload_with_failures(bool for_good, bool asked) {
  place p;
  annal_error error;
  scarce s = {.left = -1, .for_good = for_good};
  place_init(&p);
  place_script(&p, "app.lua", APP);
  place_open_with(&p, (annal_options){.app = p.app, .allocate = allocate, .allocate_context = &s});
  place_script(&p, "more.lua", "event 'MORE' {}");
  usleep(150000); /* until it is not taken for being written */
  script_app *before = handle_app(p.handle);
  long n = 0;
  for (bool changed = false; !changed; n++) {
    assert_true(n < 100000);
    s.left = n;
    s.refused = false;
    int code = 0;
    if (asked) code = handle_reload(p.handle, &changed, &error);
    else handle_look(p.handle);
    s.left = -1;
    s.refused = false;
    if (code) assert_int_equal(code, ANNAL_UNAVAILABLE);
    assert_true((p.handle->app != before) == (script_find_event(p.handle->app, "MORE") != NULL));
    changed = p.handle->app != before;
  }
  if (for_good) assert_true(n > 100); /* where one fails Lua collects and asks again, and a watch is done without */
  script_release(before);
  place_remove(&p);
  assert_int_equal(s.held, 0);
}

static void a_reload_without_memory_is_tried_again(void **unused) {
  (void)unused;
  for (int i = 0; i < 4; i++) reload_with_failures(i & 1, i & 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_failed_allocation_is_an_error_and_no_more),
      cmocka_unit_test(memory_that_ends_for_good_is_an_error_and_no_more),
      cmocka_unit_test(a_failed_refresh_changes_nothing),
      cmocka_unit_test(a_failed_transaction_is_none),
      cmocka_unit_test(a_failed_call_is_none),
      cmocka_unit_test(a_reload_without_memory_is_tried_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
