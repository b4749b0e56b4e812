-- Whose cart it is; "" until it was created.
return reducer {
  init = "",
  on = {
    CART_CREATED = function(_, event) return event.data.userId end,
  },
}
