-- What the list is called; "" until it was created.
return reducer {
  init = "",
  on = {
    LIST_CREATED = function(_, event) return event.data.listName end,
  },
}
