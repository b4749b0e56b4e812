-- Whether the cart was paid for.
return reducer {
  init = false,
  on = {
    CART_CHECKED_OUT = function() return true end,
  },
}
