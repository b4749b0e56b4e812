-- The ids of what is done.
local id_list = include "id_list"

return reducer {
  init = array {},
  on = {
    ITEM_COMPLETED = function(items, event) id_list.add(items, event.data.itemId) end,
    ITEM_UNCOMPLETED = function(items, event) id_list.remove(items, event.data.itemId) end,
    ITEM_REMOVED = function(items, event) id_list.remove(items, event.data.itemId) end,
  },
}
