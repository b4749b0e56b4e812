/* annal run, annal rebuild, annal stats: what is kept of projections. Role: the public API's annal_run_once, annal_rebuild and
 * annal_stats. */
#include "api/handle.h"
#include "cli.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- run --------------------------------------------------------------------------------------------------------------- */

#define RETRY_FIRST_MS 100
#define RETRY_MOST_MS 5000
#define SAY_AGAIN_US (INT64_C(60) * 1000000) /* a message that does not change */

typedef struct worker {
  cli *c;
  int pause_ms;
  annal_error said;
  int64_t said_at; /* monotonic */
} worker;

/* Errors go to stderr, and not the same one at every attempt. */
static void say(worker *w, const annal_error *error) {
  int64_t now = base_monotonic();
  bool same = w->said_at && error->code == w->said.code && strcmp(error->message, w->said.message) == 0;
  if (same && now - w->said_at < SAY_AGAIN_US) return;
  w->said = *error;
  w->said_at = now;
  char line[sizeof error->message + sizeof error->where + 64];
  snprintf(line, sizeof line, "%s: %s%s%s%s; trying again", annal_code_name(error->code), error->message,
           error->where[0] ? " (" : "", error->where, error->where[0] ? ")" : "");
  cli_log(w->c, "error", line);
}

/* Whatever it is, it may pass, or be mended while the worker runs: only what no time can mend ends it. */
static int failed(worker *w, const annal_error *error) {
  if (cli_interrupted()) return CLI_DONE;
  if (error->code == ANNAL_MISUSE) return cli_fail(w->c, error);
  say(w, error);
  struct timespec nap = {.tv_sec = w->pause_ms / 1000, .tv_nsec = (w->pause_ms % 1000) * 1000000L};
  nanosleep(&nap, NULL); /* a signal ends it */
  w->pause_ms = w->pause_ms * 2 < RETRY_MOST_MS ? w->pause_ms * 2 : RETRY_MOST_MS;
  return CLI_DONE;
}

static bool keeps_any(cli *c) {
  script_app *app = handle_app(c->store);
  size_t count = 0;
  bool any = false;
  const script_projection *projections = app ? script_projections(app, &count) : NULL;
  for (size_t i = 0; i < count; i++) any |= projections[i].keep == SCRIPT_KEEP_BACKGROUND;
  script_release(app);
  return any;
}

static int run(cli *c) {
  worker w = {.c = c, .pause_ms = RETRY_FIRST_MS};
  annal_error error;
  int code = CLI_DONE;
  cli_end_by_term();
  if (!c->options.app)
    return cli_misuse(c, "no scripts are named: give --app DIR, set ANNAL_APP, or write app = \"…\" in an annal.lua");
  if (!keeps_any(c)) cli_log(c, "warn", "no projection of the app has keep = \"background\"; waiting for one");
  cli_log(c, "info", "keeping projections up to date; end with Ctrl-C or SIGTERM");
  while (!code && !cli_interrupted()) {
    cli_reload_if_asked(c);
    if (annal_run_once(c->store, 1, &error)) code = failed(&w, &error);
    else w.pause_ms = RETRY_FIRST_MS;
  }
  return code;
}

const cli_command cmd_run = {
    .name = "run",
    .usage = "",
    .help = "keeps projections with keep = \"background\" up to date until Ctrl-C or SIGTERM; any number of them may run",
    .need = CLI_WRITES,
    .stays = true,
    .logs = true,
    .run = run,
};

/* ---- rebuild ----------------------------------------------------------------------------------------------------------- */

static const cli_option rebuild_options[] = {
    {"jobs", "N", .help = "threads that fold; one for each processor unless given"},
    {0},
};

typedef struct rebuilding {
  cli *c;
  cli_progress progress;
  uint64_t first; /* events that were done when it began */
  bool begun;
  annal_progress last;
} rebuilding;

static int tell(void *context, const annal_progress *progress) {
  rebuilding *r = context;
  if (!r->begun) r->first = progress->done;
  r->begun = true;
  r->last = *progress;
  progress_show(&r->progress, progress->done - r->first, progress->done, progress->total);
  return cli_interrupted();
}

enum { JOBS_MOST = 16 }; /* unless more are asked for: one thread reads for all */

static int say_rebuilt(const rebuilding *r) {
  char line[128], events[32], rows[32];
  int size;
  if (r->c->out.people)
    size = snprintf(line, sizeof line, "%s rows from %s events\n", out_number(r->last.rows, rows),
                    out_number(r->last.total, events));
  else
    size = snprintf(line, sizeof line, "{\"events\":%llu,\"rows\":%llu}\n", (unsigned long long)r->last.total,
                    (unsigned long long)r->last.rows);
  return out_text(r->c, line, (size_t)size);
}

static int rebuild(cli *c) {
  annal_error error;
  rebuilding r = {.c = c};
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  int64_t jobs;
  int code = options_int(c, "jobs", 0, processors < 1 ? 1 : processors > JOBS_MOST ? JOBS_MOST : processors, &jobs);
  if (code) return code;
  annal_rebuild_options options = {.size = sizeof options,
                                   .types = c->argument_count ? c->arguments : NULL,
                                   .type_count = c->argument_count,
                                   .jobs = jobs > INT16_MAX ? INT16_MAX : (int)jobs};
  progress_begin(&r.progress, c, "folded");
  int failed = annal_rebuild(c->store, &options, tell, &r, &error);
  progress_end(&r.progress, r.last.done - r.first);
  return failed ? cli_fail(c, &error) : say_rebuilt(&r);
}

const cli_command cmd_rebuild = {
    .name = "rebuild",
    .usage = "[PROJECTION]… [--jobs N]",
    .help = "makes the saved views of projections anew from the log; can be run again after an interruption",
    .options = rebuild_options,
    .arguments_max = SIZE_MAX,
    .need = CLI_WRITES,
    .logs = true,
    .run = rebuild,
};

/* ---- stats ------------------------------------------------------------------------------------------------------------- */

static int stats(cli *c) {
  annal_error error;
  annal_text text = {0};
  if (annal_stats(c->store, &text, &error)) return cli_fail(c, &error);
  int code = c->out.people ? out_people(c, "stats", text.bytes, text.size) : out_document(c, text.bytes, text.size);
  annal_text_free(c->store, &text);
  return code;
}

const cli_command cmd_stats = {
    .name = "stats",
    .usage = "",
    .help = "shows how saved views stand: how many, how far behind the log, and which instances stand still for an error",
    .need = CLI_READS,
    .without_app = true,
    .run = stats,
};
