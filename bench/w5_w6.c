/* W5: the cart view folded from 10, 100 or 1,000 events, in a store of a million. W6: the same from a saved row with nothing or ten
 * events newer, and from memory with nothing newer. Raw selects what the view needs, on a server in one round trip, and does nothing
 * with it: the events; the saved row and the newer events; the newer events. */
#include "work.h"

#include <stdio.h>
#include <string.h>

enum { VIEWS_MAX = 100, USUAL_CACHE = 0, NO_CACHE = 1 };

typedef struct viewer {
  annal_store *handle;
  raw_connection *raw;
  char carts[VIEWS_MAX][24];
  unsigned cart_count, at;
  int64_t after[VIEWS_MAX]; /* raw: events above this position */
  bool from_first;          /* ours: no saved row, no cache */
} viewer;

static unsigned current(const viewer *v) { return v->at % v->cart_count; }

static void look_for(const viewer *v, size_t rows) {
  if (rows == 0) bench_die("raw: no rows for %s", v->carts[current(v)]);
}

static void raw_events(void *self) {
  viewer *v = self;
  look_for(v, raw_read_cart(v->raw, v->carts[current(v)], v->after[current(v)]));
}

static void raw_row_and_newer(void *self) {
  viewer *v = self;
  look_for(v, raw_read_row(v->raw, "SHOPPING_CART", v->carts[current(v)], v->after[current(v)]));
}

static void raw_newer(void *self) {
  viewer *v = self;
  raw_read_cart(v->raw, v->carts[current(v)], v->after[current(v)]);
}

static void on_one_core(void *self) { raw_share_core(((viewer *)self)->raw); }

/* Called after raw's, for the same cart; then it is the next one's turn. */
static void our_view(void *self) {
  viewer *v = self;
  annal_view_options view_options = {.size = sizeof view_options, .ignore_saved = v->from_first};
  annal_text view;
  annal_error error;
  bench_check(annal_view(v->handle, "SHOPPING_CART", v->carts[v->at++ % v->cart_count], &view_options, &view, &error), &error,
              "view");
  annal_text_free(v->handle, &view);
}

static void viewer_open(viewer *v, const bench_options *options, const work_store *store, size_t cache) {
  *v = (viewer){.handle = work_open_cache(options, store, cache), .raw = work_raw(store)};
}

static void viewer_close(viewer *v) {
  annal_close(v->handle);
  raw_close(v->raw);
}

void work_views_from_events(const bench_options *options, bool postgres, const char *which) {
  static const unsigned sizes[] = {10, 100, 1000};
  work_store store;
  work_make(options, postgres, "million", options->tenths, &store);
  viewer v;
  viewer_open(&v, options, &store, NO_CACHE);
  v.from_first = true;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    v.cart_count =
        options->tenths < VIEWS_MAX / 20 ? options->tenths * 10 : VIEWS_MAX / 2; /* there are ten of a size in a tenth */
    for (unsigned n = 0; n < v.cart_count; n++) data_cart_name(data_cart_of_size(sizes[i], n), v.carts[n]);
    char title[96];
    snprintf(title, sizeof title, "%s view of %u events, %.1f M stored, %s", which, sizes[i], (double)store.events / 1e6,
             store.kind);
    bench_allowance allowance = {.fixed = 50, .first = 2.5 * sizes[i], .then = 1.5 * sizes[i]};
    bench_compare_sum(options, title, (bench_caller){"raw", raw_events, &v, on_one_core},
                      (bench_caller){"annal", our_view, &v, NULL}, allowance);
  }
  viewer_close(&v);
}

/* Ten events more for a cart; answers the position of the last. */
static int64_t add_events(viewer *v, const char *cart) {
  annal_event events[10];
  char data[160];
  snprintf(data, sizeof data, "{\"cartId\":\"%s\",\"priceAtTime\":1999,\"productId\":\"product_0001\",\"quantity\":1}", cart);
  for (int i = 0; i < 10; i++) events[i] = (annal_event){.type = "ITEM_ADDED_TO_CART", .data = data};
  annal_error error;
  bench_check(annal_save(v->handle, events, 10, NULL, NULL, &error), &error, "save");
  return events[9].position;
}

static void save_row(viewer *v, const char *cart) {
  annal_view_options save = {.size = sizeof save, .save = true};
  annal_text view;
  annal_error error;
  bench_check(annal_view(v->handle, "SHOPPING_CART", cart, &save, &view, &error), &error, "save view");
  annal_text_free(v->handle, &view);
}

/* Carts of ten events that were made so; with ten more after the row was saved, or none. */
static void make_carts(viewer *v, const work_store *store, const char *kind, unsigned newer) {
  v->cart_count = VIEWS_MAX / 2;
  for (unsigned n = 0; n < v->cart_count; n++) {
    snprintf(v->carts[n], sizeof v->carts[n], "%s_%s_%02u_%04u", kind, store->postgres ? "pg" : "sq", newer, n);
    v->after[n] = add_events(v, v->carts[n]);
    save_row(v, v->carts[n]);
    if (newer) add_events(v, v->carts[n]);
  }
}

static void compare_rows(const bench_options *options, const work_store *store, const char *which) {
  viewer v;
  viewer_open(&v, options, store, NO_CACHE);
  bench_caller raw = {"raw", raw_row_and_newer, &v, on_one_core};
  for (unsigned newer = 0; newer <= 10; newer += 10) {
    make_carts(&v, store, "row", newer);
    char title[96];
    snprintf(title, sizeof title, "%s view from a row, %u newer events, %s", which, newer, store->kind);
    const bench_caller ours = {"annal", our_view, &v, NULL};
    /* In a file no round trip hides the fold: it has what W5 allows for an event. */
    if (newer && !store->postgres)
      bench_compare_sum(options, title, raw, ours, (bench_allowance){.fixed = 0, .first = 2.5 * newer, .then = 1.5 * newer});
    else bench_compare_calls(options, title, raw, ours, 1.5, 1.2);
  }
  viewer_close(&v);
}

static void compare_memory(const bench_options *options, const work_store *store, const char *which) {
  viewer v;
  viewer_open(&v, options, store, USUAL_CACHE);
  make_carts(&v, store, "memory", 0);
  bench_caller raw = {"raw", raw_newer, &v, on_one_core};
  char title[96];
  snprintf(title, sizeof title, "%s view from memory, nothing newer, %s", which, store->kind);
  bench_compare_calls(options, title, raw, (bench_caller){"annal", our_view, &v, NULL}, 1.2, 1.2);
  viewer_close(&v);
}

void work_views_from_rows(const bench_options *options, bool postgres, const char *which) {
  work_store store;
  work_make(options, postgres, "append", 1, &store);
  compare_rows(options, &store, which);
  compare_memory(options, &store, which);
}
