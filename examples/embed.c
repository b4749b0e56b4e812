/* Twenty lines from nothing to a view: a C program that keeps a shopping cart.   embed [STORE] [SCRIPTS] */
#include <annal.h>
#include <stdio.h>

static int failed(const annal_error *error) {
  fprintf(stderr, "%s: %s %s\n", annal_code_name(error->code), error->message, error->where);
  return 1;
}

int main(int count, char **arguments) {
  annal_store *store;
  annal_error error;
  annal_options options = {.size = sizeof options, .app = count > 2 ? arguments[2] : "projections/cart"};
  if (annal_open(count > 1 ? arguments[1] : "cart.db", &options, &store, &error)) return failed(&error);

  const annal_event events[] = {
      {.type = "CART_CREATED", .data = "{\"cartId\":\"cart_123\",\"userId\":\"user_456\"}"},
      {.type = "ITEM_ADDED_TO_CART",
       .data = "{\"cartId\":\"cart_123\",\"productId\":\"prod_789\",\"quantity\":2,\"priceAtTime\":1999}"},
      {.type = "ITEM_REMOVED_FROM_CART", .data = "{\"cartId\":\"cart_123\",\"productId\":\"prod_789\",\"quantity\":1}"},
  };
  annal_text view;
  int code = annal_save(store, events, 3, NULL, NULL, &error);
  if (!code) code = annal_view(store, "SHOPPING_CART", "cart_123", NULL, &view, &error);
  if (!code) {
    printf("%s\n", view.bytes);
    annal_text_free(store, &view);
  }
  annal_close(store);
  return code ? failed(&error) : 0;
}
