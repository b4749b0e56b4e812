/* How far something is, on a terminal's stderr. Role: import and export. */
#include "cli.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Often enough to be seen moving; what is left to come is told by the last few seconds, for a resumed import begins far faster
 * than it goes on. */
#define SHOW_EVERY_US 100000
#define RATE_WEIGHT 0.04 /* of the newest tenth of a second */
enum { BAR_COLUMNS = 20, COLUMNS_FOR_BAR = 76 };

void progress_begin(cli_progress *p, cli *c, const char *verb) {
  *p = (cli_progress){.on = c->out.progress, .verb = verb, .started = base_monotonic()};
  p->shown_at = p->started;
}

static void show_count(const cli_progress *p, uint64_t count, int64_t now) {
  char events[32], rate[32];
  int64_t spent = now - p->started;
  uint64_t second = spent > 0 ? (uint64_t)((double)count * 1e6 / (double)spent) : 0;
  fprintf(stderr, "\r%s %s events, %s/s", p->verb, out_number(count, events), out_number(second, rate));
}

static void show_bar(double part, double seconds) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS_FOR_BAR) {
    char bar[BAR_COLUMNS + 1];
    memset(bar, '-', BAR_COLUMNS);
    memset(bar, '#', (size_t)(part * BAR_COLUMNS));
    bar[BAR_COLUMNS] = 0;
    fprintf(stderr, " [%s]", bar);
  }
  fprintf(stderr, " %d%%", (int)(part * 100));
  if (seconds >= 0 && seconds < 360000) fprintf(stderr, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
}

void progress_show(cli_progress *p, uint64_t count, uint64_t done, uint64_t total) {
  if (!p->on) return;
  int64_t now = base_monotonic();
  if (now - p->shown_at < SHOW_EVERY_US) return;
  double rate = (double)(done - p->shown_done) * 1e6 / (double)(now - p->shown_at);
  p->rate = p->rate > 0 ? p->rate + (rate - p->rate) * RATE_WEIGHT : rate;
  p->shown_at = now;
  p->shown_done = done;
  show_count(p, count, now);
  if (total > 0) {
    double part = done < total ? (double)done / (double)total : 1;
    show_bar(part, p->rate > 0 ? (1 - part) * (double)total / p->rate : -1);
  }
  fputs("\033[K", stderr);
}

void progress_end(cli_progress *p, uint64_t count) {
  if (!p->on || count == 0) return;
  show_count(p, count, base_monotonic());
  fputs("\033[K\n", stderr);
}
