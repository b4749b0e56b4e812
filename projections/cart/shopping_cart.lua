-- One cart: what is in it, what it costs, and whether it was checked out.
local cart_total = include "cart_total"

projection "SHOPPING_CART" {
  by = "cartId",
  fields = {
    userId = include "reducers.user_id",
    items = include "reducers.items",
    isCheckedOut = include "reducers.is_checked_out",
  },
  view = function(cart, id)
    return {
      id = id,
      userId = cart.userId,
      items = cart.items,
      isCheckedOut = cart.isCheckedOut,
      total = cart_total(cart.items),
    }
  end,
  shape = {
    id = t.string,
    userId = t.string,
    items = t.array(t.object { productId = t.string, quantity = t.integer { min = 1 }, priceAtTime = t.integer { min = 0 } }),
    isCheckedOut = t.boolean,
    total = t.integer { min = 0 },
  },
}
