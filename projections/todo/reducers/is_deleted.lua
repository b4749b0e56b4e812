-- Whether the list was deleted. Its items stay as they were.
return reducer {
  init = false,
  on = {
    LIST_DELETED = function() return true end,
  },
}
