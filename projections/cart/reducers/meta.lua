-- Who changed the cart last, and when; both "" until somebody did.
return reducer {
  init = { lastModified = "", modifiedBy = "" },
  on = {
    CART_MODIFIED = function(_, event)
      return { lastModified = event.data.modifiedAt, modifiedBy = event.data.modifiedBy }
    end,
  },
}
