-- What can happen to a shopping cart. Money is in cents: integers add up to the same sum on every machine.

event "CART_CREATED" { cartId = t.string, userId = t.string }

event "ITEM_ADDED_TO_CART" {
  cartId = t.string,
  productId = t.string,
  quantity = t.integer { min = 1 },
  priceAtTime = t.integer { min = 0 },
}

event "ITEM_REMOVED_FROM_CART" { cartId = t.string, productId = t.string, quantity = t.integer { min = 1 } }

event "CART_CHECKED_OUT" { cartId = t.string, checkoutTime = t.timestamp }

event "CART_MODIFIED" { cartId = t.string, modifiedAt = t.timestamp, modifiedBy = t.string }
