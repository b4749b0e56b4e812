-- What can be asked of a cart, and when it is refused.

command "CHECK_OUT" {
  args = { cartId = t.string },
  uses = { cart = "SHOPPING_CART" },
  decide = function(args, views, context)
    if views.cart.isCheckedOut then reject "the cart is checked out already" end
    if #views.cart.items == 0 then reject "the cart is empty" end
    return { type = "CART_CHECKED_OUT", data = { cartId = args.cartId, checkoutTime = context.now } }
  end,
}
