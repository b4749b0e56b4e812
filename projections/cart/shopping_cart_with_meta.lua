-- The cart together with who changed it last: three streams of one cart, merged in the order of the log.
local cart_total = include "cart_total"

projection "SHOPPING_CART_WITH_META" {
  streams = function(id)
    return {
      { types = { "CART_CREATED", "CART_CHECKED_OUT" }, data = { cartId = id } },
      { types = { "ITEM_ADDED_TO_CART", "ITEM_REMOVED_FROM_CART" }, data = { cartId = id } },
      { types = { "CART_MODIFIED" }, data = { cartId = id } },
    }
  end,
  fields = {
    userId = include "reducers.user_id",
    items = include "reducers.items",
    isCheckedOut = include "reducers.is_checked_out",
    meta = include "reducers.meta",
  },
  view = function(cart, id)
    return {
      id = id,
      userId = cart.userId,
      items = cart.items,
      isCheckedOut = cart.isCheckedOut,
      total = cart_total(cart.items),
      lastModified = cart.meta.lastModified,
      modifiedBy = cart.meta.modifiedBy,
    }
  end,
}
