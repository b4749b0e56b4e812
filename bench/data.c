/* The seeded generator of carts; see data.h. */
#include "data.h"

#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64: a small, well-known generator whose whole state is one number. */
static uint64_t next_random(uint64_t *seed) {
  uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

/* Of each 100 carts the first has 1,000 events, the second 100, the third 10; the other 97 share the 8,890 that are left of 10,000. */
static unsigned events_of_cart(unsigned cart) {
  switch (cart % 100) {
  case 0: return 1000;
  case 1: return 100;
  case 2: return 10;
  default: return 91 + (cart % 100 >= 37);
  }
}

unsigned data_cart_of_size(unsigned size, unsigned n) { return n * 100 + (size == 1000 ? 0 : size == 100 ? 1 : 2); }

void data_cart_name(unsigned cart, char name[24]) { snprintf(name, 24, "cart_%06u", cart); }

void data_open(data_generator *g, unsigned tenths) {
  unsigned carts = DATA_CARTS / 10 * tenths;
  if (carts == 0 || carts > UINT16_MAX + 1u) bench_die("the generator knows 1 to %u carts", UINT16_MAX + 1u);
  *g = (data_generator){.seed = 42};
  for (unsigned cart = 0; cart < carts; cart++) g->count += events_of_cart(cart);
  g->order = malloc(g->count * sizeof *g->order);
  g->left = malloc(carts * sizeof *g->left);
  g->total = malloc(carts * sizeof *g->total);
  if (!g->order || !g->left || !g->total) bench_die("out of memory");
  size_t at = 0;
  for (unsigned cart = 0; cart < carts; cart++) {
    g->left[cart] = g->total[cart] = (uint16_t)events_of_cart(cart);
    for (unsigned i = 0; i < g->total[cart]; i++) g->order[at++] = (uint16_t)cart;
  }
  for (size_t i = g->count - 1; i > 0; i--) {
    size_t j = next_random(&g->seed) % (i + 1);
    uint16_t swapped = g->order[i];
    g->order[i] = g->order[j];
    g->order[j] = swapped;
  }
}

void data_close(data_generator *g) {
  free(g->order);
  free(g->left);
  free(g->total);
}

static void item_event(uint64_t random, data_event *event) {
  unsigned product = (unsigned)(random % 20), quantity = (unsigned)(random >> 8) % 5 + 1;
  if ((random >> 16) % 4 != 0) {
    strcpy(event->type, "ITEM_ADDED_TO_CART");
    snprintf(event->data, sizeof event->data,
             "{\"cartId\":\"%s\",\"priceAtTime\":%u,\"productId\":\"product_%04u\",\"quantity\":%u}", event->cart,
             1000 + product * 50, product, quantity);
  } else {
    strcpy(event->type, "ITEM_REMOVED_FROM_CART");
    snprintf(event->data, sizeof event->data, "{\"cartId\":\"%s\",\"productId\":\"product_%04u\",\"quantity\":%u}", event->cart,
             product, quantity);
  }
}

static void created_event(data_event *event) {
  strcpy(event->type, "CART_CREATED");
  snprintf(event->data, sizeof event->data, "{\"cartId\":\"%s\",\"userId\":\"user_of_%s\"}", event->cart, event->cart);
}

bool data_next(data_generator *g, data_event *event) {
  if (g->at == g->count) return false;
  unsigned cart = g->order[g->at++];
  unsigned step = g->total[cart] - g->left[cart]--;
  data_cart_name(cart, event->cart);
  if (step == 0) {
    created_event(event);
  } else if (g->left[cart] == 0 && cart % 2 == 0) {
    strcpy(event->type, "CART_CHECKED_OUT");
    snprintf(event->data, sizeof event->data, "{\"cartId\":\"%s\",\"checkoutTime\":\"2026-01-31T12:00:00Z\"}", event->cart);
  } else {
    item_event(next_random(&g->seed), event);
  }
  return true;
}

void data_append_event(uint64_t cart, unsigned step, data_event *event) {
  snprintf(event->cart, sizeof event->cart, "new_%012llu", (unsigned long long)cart);
  uint64_t seed = cart * 1000 + step;
  if (step == 0) {
    created_event(event);
  } else {
    item_event(next_random(&seed), event);
  }
}
