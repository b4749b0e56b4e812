/* W5: the cart view folded from 10, 100 or 1,000 events, in a store of a million. W6: the same from a saved row with nothing or
 * ten events newer, against one round trip. Raw selects the rows the fold needs, and does nothing with them. */
#include "work.h"

#include <stdio.h>
#include <string.h>

enum { VIEWS_MAX = 100 };

typedef struct viewer {
  const bench_options *options;
  annal_store *handle;
  raw_connection *raw;
  char carts[VIEWS_MAX][24];
  unsigned cart_count, at;
  int64_t after;   /* raw: events above this position */
  bool from_first; /* ours: no saved row, no cache */
  bool by_row;     /* raw: the row of the projection instead of events */
} viewer;

/* Microseconds a view: the median of single calls, because one slow call must not count for hundreds. */
static double per_call(viewer *v, double seconds, void (*call)(viewer *v, const char *cart)) {
  enum { CALLS_MAX = 4096 };
  static double times[CALLS_MAX];
  int count = 0;
  for (double start = bench_now(); count < CALLS_MAX && (count < 5 || bench_now() - start < seconds); count++) {
    double before = bench_now();
    call(v, v->carts[v->at++ % v->cart_count]);
    times[count] = (bench_now() - before) * 1e6;
  }
  return bench_median(times, count);
}

static void raw_call(viewer *v, const char *cart) {
  size_t rows = v->by_row ? raw_read_row(v->raw, "SHOPPING_CART", cart) : raw_read_cart(v->raw, cart, v->after);
  if (rows == 0) bench_die("raw: no rows for %s", cart);
}

static void view_call(viewer *v, const char *cart) {
  annal_view_options view_options = {.size = sizeof view_options, .ignore_saved = v->from_first};
  annal_text view;
  annal_error error;
  bench_check(annal_view(v->handle, "SHOPPING_CART", cart, &view_options, &view, &error), &error, "view");
  annal_text_free(v->handle, &view);
}

static double raw_turn(void *self, double seconds) { return per_call(self, seconds, raw_call); }
static double view_turn(void *self, double seconds) { return per_call(self, seconds, view_call); }

static void viewer_open(viewer *v, const bench_options *options, const work_store *store) {
  *v = (viewer){.options = options, .handle = work_open(options, store), .raw = work_raw(store)};
}

static void viewer_close(viewer *v) {
  annal_close(v->handle);
  raw_close(v->raw);
}

static unsigned tenths(const bench_options *options) { return options->millions * 10; }

void work_views_from_events(const bench_options *options, bool postgres, const char *which) {
  static const unsigned sizes[] = {10, 100, 1000};
  work_store store;
  work_make(options, postgres, "million", tenths(options), &store);
  viewer v;
  viewer_open(&v, options, &store);
  v.from_first = true;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    v.cart_count = VIEWS_MAX / 2;
    for (unsigned n = 0; n < v.cart_count; n++) data_cart_name(data_cart_of_size(sizes[i], n), v.carts[n]);
    char title[96];
    snprintf(title, sizeof title, "%s view of %u events, %.1f M stored, %s", which, sizes[i], (double)store.events / 1e6,
             store.kind);
    bench_allowance allowance = {.fixed = 50, .first = 2.5 * sizes[i], .then = 1.5 * sizes[i]};
    bench_compare_sum(options, title, "us", (bench_side){"raw", raw_turn, &v}, (bench_side){"annal", view_turn, &v}, allowance);
  }
  viewer_close(&v);
}

/* Ten events more for a cart, after its row was saved. */
static void add_events(viewer *v, const char *cart) {
  annal_event events[10];
  char data[160];
  snprintf(data, sizeof data, "{\"cartId\":\"%s\",\"priceAtTime\":1999,\"productId\":\"product_0001\",\"quantity\":1}", cart);
  for (int i = 0; i < 10; i++) events[i] = (annal_event){.type = "ITEM_ADDED_TO_CART", .data = data};
  annal_error error;
  bench_check(annal_save(v->handle, events, 10, NULL, NULL, &error), &error, "save");
}

static void save_row(viewer *v, const char *cart) {
  annal_view_options save = {.size = sizeof save, .save = true};
  annal_text view;
  annal_error error;
  bench_check(annal_view(v->handle, "SHOPPING_CART", cart, &save, &view, &error), &error, "save view");
  annal_text_free(v->handle, &view);
}

void work_views_from_rows(const bench_options *options, bool postgres, const char *which) {
  work_store store;
  work_make(options, postgres, "append", 1, &store);
  viewer v;
  viewer_open(&v, options, &store);
  v.by_row = true;
  v.cart_count = 50;
  for (unsigned newer = 0; newer <= 10; newer += 10) {
    for (unsigned n = 0; n < v.cart_count; n++) {
      snprintf(v.carts[n], sizeof v.carts[n], "row_%s_%02u_%04u", postgres ? "pg" : "sq", newer, n);
      add_events(&v, v.carts[n]);
      save_row(&v, v.carts[n]);
      if (newer) add_events(&v, v.carts[n]);
    }
    char title[96];
    snprintf(title, sizeof title, "%s view from a row, %u newer events, %s", which, newer, store.kind);
    bench_compare(options, title, "us", (bench_side){"round trip", raw_turn, &v}, (bench_side){"annal", view_turn, &v},
                  BENCH_AT_MOST, 1.5, 1.2);
  }
  viewer_close(&v);
}
