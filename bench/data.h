/* The shopping cart's events, from a seeded generator: the same million on every machine. Role: the data of W1–W9.
 *
 * 10,000 carts, interleaved at random: 1 % have 1,000 events, 1 % have 100, 1 % have 10, the rest 91 or 92; each begins with
 * CART_CREATED, then 3 of 4 events are ITEM_ADDED_TO_CART and 1 of 4 ITEM_REMOVED_FROM_CART over 20 products, every second cart
 * ends with CART_CHECKED_OUT. */
#ifndef BENCH_DATA_H
#define BENCH_DATA_H

#include "annal.h"

#define DATA_CARTS 10000
#define DATA_EVENTS 1000000

typedef struct data_generator {
  uint64_t seed;
  uint16_t *order; /* the cart of each event */
  uint16_t *left;  /* events still to come, by cart */
  uint16_t *total; /* events in all, by cart */
  size_t count, at;
} data_generator;

typedef struct data_event {
  char type[32];
  char cart[24];
  char data[192]; /* canonical JSON, 75 to 90 bytes but for the first and last of a cart */
} data_event;

/* `tenths` of the million: 1 is the 100,000-event store of 1,000 carts, 10 all of it; more repeats it with other carts. */
void data_open(data_generator *g, unsigned tenths);
void data_close(data_generator *g);
bool data_next(data_generator *g, data_event *event);

/* Events of new carts, for appends: `cart` is any number, `step` 0 creates it, later ones add. */
void data_append_event(uint64_t cart, unsigned step, data_event *event);

/* A cart with that many events in the million (10, 100 or 1,000), the n-th of its kind. */
void data_cart_name(unsigned cart, char name[24]);
unsigned data_cart_of_size(unsigned size, unsigned n);

#endif
