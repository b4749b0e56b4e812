/* What happens to a store and its programs; see keep_world.h. */
#include "keep_world.h"

#include "fold/rebuild.h"
#include <errno.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- Memory that ends -------------------------------------------------------------------------------------------------- */

/* Somewhere in a step of work that takes so many allocations; often towards its end, where things are written. */
static long pick_end(long usual) {
  if (keep_pick(4) == 0) return (long)keep_pick(3000);
  unsigned steps = (unsigned)usual + 20;
  return (long)(keep_pick(2) ? keep_pick(steps) : steps - keep_pick(steps / 3));
}

static void *weak_allocate(void *context, void *pointer, size_t size) {
  weak_memory *memory = context;
  if (size == 0) {
    free(pointer);
    return NULL;
  }
  if (memory->left == 0 && memory->kills) raise(SIGKILL);
  if (memory->left == 0) return NULL;
  if (memory->left > 0) memory->left--;
  memory->made++;
  return realloc(pointer, size);
}

/* ---- A disk that is full, or takes the process along ------------------------------------------------------------------- */

/* How often SQLite may still write; negative: as it likes. One process has one such disk: the calls have no context. */
static struct {
  long left;
  bool kills;
} disk = {.left = -1};

static ssize_t write_if_possible(int file, const void *bytes, size_t size, off_t offset) {
  if (disk.left == 0 && disk.kills) raise(SIGKILL);
  if (disk.left == 0) {
    errno = ENOSPC;
    return -1;
  }
  if (disk.left > 0) disk.left--;
  return pwrite(file, bytes, size, offset);
}

/* Before anything is opened. */
static void watch_disk(void) {
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)write_if_possible), SQLITE_OK);
  assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)write_if_possible), SQLITE_OK);
}

/* ---- A server that is spoken to no more --------------------------------------------------------------------------------- */

static long sends = -1; /* how often this process may still send something to a server; negative: as it likes */

/* Takes the place of the C library's, also for libpq. */
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are its own
ssize_t send(int socket, const void *bytes, size_t size, int flags) {
  if (sends == 0) raise(SIGKILL);
  if (sends > 0) sends--;
  return sendto(socket, bytes, size, flags, NULL, 0);
}

/* Whether one of the two has ended. */
static bool has_ended(const keep_program *p) { return p->memory.left == 0 || disk.left == 0; }

static void lift_limits(keep_program *p) {
  p->memory.left = -1;
  disk.left = -1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

static annal_store *open_store(const char *location, const char *schema, const char *app, size_t cache, weak_memory *memory) {
  static const char *const declared[] = {"id", "to", "from"};
  annal_error error;
  annal_store *handle;
  annal_options options = {.size = sizeof options,
                           .app = app,
                           .schema = schema,
                           .data_indexes = declared,
                           .data_index_count = 3,
                           .budget = 20000,
                           .no_reload = true,
                           .cache = cache,
                           .allocate = memory ? weak_allocate : NULL,
                           .allocate_context = memory};
  expect_ok(annal_open(location, &options, &handle, &error), &error);
  return handle;
}

static void app_path(const keep_world *w, int variant, char path[128]) { snprintf(path, 128, "%s/app%d", w->directory, variant); }

static void write_apps(const keep_world *w) {
  for (int i = 0; i < KEEP_VARIANTS; i++) {
    char path[128], file[160], text[KEEP_APP_BYTES];
    app_path(w, i, path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(file, sizeof file, "%s/app.lua", path);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    keep_app_text(&w->apps[i], text);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
  }
}

/* Without a cache, with room for nothing, for one or two, for some, for all. */
static void open_program(keep_world *w, keep_program *p) {
  static const size_t sizes[] = {1, 2, 500, 1200, 5000, 0, 0};
  char path[128];
  size_t size = sizes[keep_pick(sizeof sizes / sizeof *sizes)];
  app_path(w, p->variant, path);
  lift_limits(p);
  p->store = open_store(w->location, w->schema, path, size, &p->memory);
  w->counts.opened[size == 1 ? 0 : size ? 1 : 2]++;
}

static void close_program(keep_program *p) {
  for (int i = 0; i < KEEP_HELD; i++) fold_close(p->held[i].fold);
  memset(p->held, 0, sizeof p->held);
  annal_close(p->store);
}

void keep_world_init(keep_world *w, bool on_postgres) {
  static int number;
  *w = (keep_world){.on_postgres = on_postgres};
  watch_disk();
  strcpy(w->directory, "/tmp/annal-test-XXXXXX");
  assert_non_null(mkdtemp(w->directory));
  snprintf(w->schema, sizeof w->schema, "annal_keep_%ld_%d", (long)getpid(), ++number);
  if (on_postgres) snprintf(w->location, sizeof w->location, "%s", getenv("ANNAL_TEST_PG"));
  else snprintf(w->location, sizeof w->location, "%s/store.db", w->directory);
  keep_make_apps(w->apps);
  write_apps(w);
  for (int i = 0; i < KEEP_VARIANTS; i++) {
    char path[128];
    app_path(w, i, path);
    w->judges[i] = open_store(w->location, w->schema, path, 1, NULL);
  }
  for (int i = 0; i < KEEP_HANDLES; i++) {
    w->programs[i].variant = (int)keep_pick(KEEP_VARIANTS);
    open_program(w, &w->programs[i]);
  }
}

static void run_on_postgres(const keep_world *w, const char *sql) {
  char path[128];
  PGconn *pg = PQconnectdb(w->location);
  snprintf(path, sizeof path, "set client_min_messages = warning; set search_path = %s", w->schema);
  PQclear(PQexec(pg, path));
  PGresult *result = PQexec(pg, sql);
  if (PQresultStatus(result) != PGRES_COMMAND_OK) fail_msg("%s: %s", sql, PQerrorMessage(pg));
  PQclear(result);
  PQfinish(pg);
}

static void run_on_sqlite(const keep_world *w, const char *sql) {
  sqlite3 *db;
  char *problem = NULL;
  assert_int_equal(sqlite3_open(w->location, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, 10000);
  if (sqlite3_exec(db, sql, NULL, NULL, &problem)) fail_msg("%s: %s", sql, problem);
  sqlite3_close(db);
}

void keep_world_end(keep_world *w) {
  char command[128], sql[128];
  for (int i = 0; i < KEEP_HANDLES; i++) close_program(&w->programs[i]);
  for (int i = 0; i < KEEP_VARIANTS; i++) annal_close(w->judges[i]);
  snprintf(sql, sizeof sql, "drop schema %s cascade", w->schema);
  if (w->on_postgres) run_on_postgres(w, sql);
  snprintf(command, sizeof command, "rm -rf '%s'", w->directory);
  assert_int_equal(system(command), 0);
}

int64_t keep_head(keep_world *w) {
  store_head_info head;
  annal_error error;
  expect_ok(store_head(w->judges[0]->store, &head, &error), &error);
  return head.position;
}

/* ---- What programs do -------------------------------------------------------------------------------------------------- */

/* Script errors park; only the end of memory, and another's work, may come out. */
static void expect_bearable(int code, const annal_error *error) {
  if (code && code != ANNAL_UNAVAILABLE && code != ANNAL_BUSY && code != ANNAL_CONFLICT) expect_ok(code, error);
}

static bool keeps_inline(const keep_app *app) {
  for (int i = 0; i < KEEP_PROJECTIONS; i++)
    if (app->projections[i].kind == KEEP_INLINE) return true;
  return false;
}

/* By one of the judges, or by a program whose memory may end. */
static void save_some(keep_world *w, keep_program *p) {
  annal_event events[8];
  char data[8][96];
  annal_error error;
  bool by_judge = keep_pick(2);
  int judge = (int)keep_pick(KEEP_VARIANTS), variant = by_judge ? judge : p->variant;
  unsigned count = 1 + keep_pick(8);
  for (unsigned i = 0; i < count; i++) {
    events[i] = (annal_event){.data = data[i]};
    keep_make_event(&events[i].type, data[i]);
  }
  int64_t before = keep_head(w);
  int code = annal_save(by_judge ? w->judges[judge] : p->store, events, count, NULL, NULL, &error);
  bool refused = (code == ANNAL_SCRIPT || code == ANNAL_BUDGET) && keeps_inline(&w->apps[variant]);
  bool ended = code == ANNAL_UNAVAILABLE && has_ended(p);
  if (!refused && !ended) expect_ok(code, &error);
  if (!code || !error.in_doubt) assert_int_equal(keep_head(w), code ? before : before + count);
  w->counts.refused += refused;
  w->counts.ended += ended;
  w->counts.saved += !code;
}

static void work(keep_world *w, keep_program *p) {
  annal_error error;
  for (unsigned steps = 1 + keep_pick(3); steps > 0; steps--) {
    bool done = false;
    long before = p->memory.made;
    int code = handle_run_once(p->store, 0, &done, &error);
    if (!code && done) p->usual = p->memory.made - before;
    expect_bearable(code, &error);
    if (code && !has_ended(p)) expect_ok(code, &error);
    if (code) w->counts.ended++;
    else w->counts.worked++;
  }
}

static int tell_some(void *context, const rebuild_progress *progress) {
  (void)progress;
  unsigned *left = context;
  return *left > 0 && --*left == 0;
}

static int rebuild_some(annal_store *handle, const char *name, annal_error *error) {
  unsigned left = keep_pick(2) ? 1 + keep_pick(6) : 0;
  script_app *app = handle_app(handle);
  fold_context context = handle_context(handle, app);
  rebuild_options options = {.types = &name,
                             .type_count = keep_pick(3) ? 1 : 0,
                             .jobs = keep_pick(3),
                             .budget = keep_pick(2) ? 1500 : 1 << 20,
                             .lock_us = 100000,
                             .chunk_events = 1 + keep_pick(20),
                             .tell = tell_some,
                             .tell_context = &left};
  int code = fold_rebuild(&context, &options, error);
  script_release(app);
  return code;
}

static void rebuild(keep_world *w, keep_program *p) {
  annal_error error;
  int code = rebuild_some(p->store, w->apps[p->variant].projections[keep_pick(KEEP_PROJECTIONS)].name, &error);
  expect_bearable(code, &error);
  if (code) w->counts.ended++;
  else w->counts.rebuilt++;
}

static void save_row(keep_world *w, keep_program *p) {
  char id[8];
  annal_error error;
  annal_text view;
  annal_view_options options = {.size = sizeof options, .save = true};
  const keep_projection *projection = &w->apps[p->variant].projections[keep_pick(KEEP_PROJECTIONS)];
  keep_pick_id(projection, id);
  int code = annal_view(p->store, projection->name, id, &options, &view, &error);
  if (!code) annal_text_free(p->store, &view);
}

static void hold(keep_world *w, keep_program *p) {
  char id[8];
  annal_error error;
  keep_held *held = &p->held[keep_pick(KEEP_HELD)];
  fold_close(held->fold);
  *held = (keep_held){.variant = p->variant, .projection = &w->apps[p->variant].projections[keep_pick(KEEP_PROJECTIONS)]};
  keep_pick_id(held->projection, id);
  lift_limits(p);
  expect_ok(handle_projection(p->store, held->projection->name, id, keep_pick(2), &held->fold, &error), &error);
}

void keep_load(keep_world *w, int program, int variant) {
  char path[128];
  annal_error error;
  keep_program *p = &w->programs[program];
  p->variant = variant;
  app_path(w, variant, path);
  int code = annal_load(p->store, path, &error);
  expect_bearable(code, &error);
  w->counts.loaded++;
  if (!code) return;
  lift_limits(p); /* then the scripts that were loaded before are in force: which does not matter, but it must be known */
  expect_ok(annal_load(p->store, path, &error), &error);
}

/* ---- Crashes ----------------------------------------------------------------------------------------------------------- */

int keep_crash(char **arguments) {
  annal_error error;
  weak_memory memory = {.left = -1, .kills = true};
  keep_seed(strtoull(arguments[3], NULL, 10));
  watch_disk();
  disk.kills = true;
  annal_store *handle = open_store(arguments[0], arguments[1], arguments[2], 0, &memory);
  bool on_file = arguments[0][0] == '/';
  if (on_file && keep_pick(4)) disk.left = (long)keep_pick(40);
  else if (!on_file && keep_pick(4)) sends = (long)keep_pick(25);
  else memory.left = pick_end(atol(arguments[4]));
  bool rebuilds = keep_pick(3) == 0, saves = keep_pick(3) == 0;
  for (int i = 0; i < 3; i++) {
    char data[96];
    annal_event event = {.data = data};
    keep_make_event(&event.type, data);
    if (saves) annal_save(handle, &event, 1, NULL, NULL, &error);
    else if (rebuilds) rebuild_some(handle, "P0", &error);
    else annal_run_once(handle, 0, &error);
  }
  memory.left = disk.left = sends = -1;
  annal_close(handle);
  return 0;
}

/* Another process works as the program does, and is killed at some allocation, at one of the writes of SQLite, or between two
 * messages to a server. */
static void crash(keep_world *w, const keep_program *p) {
  char path[128], seed[32], usual[32];
  app_path(w, p->variant, path);
  snprintf(seed, sizeof seed, "%u", keep_pick(1000000000));
  snprintf(usual, sizeof usual, "%ld", p->usual);
  const char *arguments[] = {"test_fold_keep", "crash", w->location, w->schema, path, seed, usual, NULL};
  pid_t child = fork();
  if (child == 0) {
    execv("/proc/self/exe", (char *const *)arguments); // NOLINT(clang-diagnostic-cast-qual): they are not written to
    _exit(127);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!killed && status) fail_msg("the other process ended with status %d", status);
  w->counts.crashed += killed;
}

/* ---- Restores ---------------------------------------------------------------------------------------------------------- */

/* The whole database as of one moment, while programs have it open. */
static void copy_file(const char *from, const char *to) {
  sqlite3 *source, *target;
  assert_int_equal(sqlite3_open(from, &source), SQLITE_OK);
  assert_int_equal(sqlite3_open(to, &target), SQLITE_OK);
  sqlite3_busy_timeout(target, 10000);
  sqlite3_backup *backup = sqlite3_backup_init(target, "main", source, "main");
  assert_non_null(backup);
  assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
  assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
  sqlite3_close(source);
  sqlite3_close(target);
}

/* SQLite: a snapshot, and back to it later. And on both the newest events become others than they were, as after a failover: at the same
 * positions, for the same instances. */
static void restore(keep_world *w) {
  char snapshot[128], sql[256];
  int64_t head = keep_head(w);
  snprintf(snapshot, sizeof snapshot, "%s/snapshot.db", w->directory);
  if (!w->on_postgres && keep_pick(2)) {
    if (w->has_snapshot && keep_pick(2)) copy_file(snapshot, w->location);
    else copy_file(w->location, snapshot);
    w->has_snapshot = true;
  } else if (head >= 3) {
    snprintf(sql, sizeof sql, "update events set id = id || 'r', data = %s where position > %lld",
             w->on_postgres ? "replace(data::text, '\"n\":', '\"n\":1')::json" : "replace(data, '\"n\":', '\"n\":1')",
             (long long)head - 1 - keep_pick(2));
    if (w->on_postgres) run_on_postgres(w, sql);
    else run_on_sqlite(w, sql);
  }
  w->counts.restored++;
}

/* ---- All of it --------------------------------------------------------------------------------------------------------- */

bool keep_happen(keep_world *w) {
  int number = (int)keep_pick(KEEP_HANDLES);
  keep_program *p = &w->programs[number];
  unsigned what = keep_pick(27);
  if (keep_pick(3) == 0) {
    if (w->on_postgres || keep_pick(2)) p->memory.left = pick_end(p->usual);
    else if (what < 18) disk.left = (long)keep_pick(30);
  }
  if (what < 8) save_some(w, p);
  else if (what < 14) work(w, p);
  else if (what < 16) rebuild(w, p);
  else if (what < 18) save_row(w, p);
  else if (what < 20) keep_load(w, number, (int)keep_pick(KEEP_VARIANTS));
  else if (what < 22) restore(w);
  else if (what < 24) crash(w, p);
  else if (what < 26) hold(w, p);
  lift_limits(p);
  if (what == 26) {
    close_program(p);
    open_program(w, p);
  }
  return what >= 20 && what < 24;
}
