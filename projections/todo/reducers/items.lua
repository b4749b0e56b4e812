-- The ids of what is still to be done: an item is open from when it was added until it is completed or removed.
local id_list = include "id_list"

local function open(items, event) id_list.add(items, event.data.itemId) end
local function close(items, event) id_list.remove(items, event.data.itemId) end

return reducer {
  init = array {},
  on = { ITEM_ADDED = open, ITEM_UNCOMPLETED = open, ITEM_COMPLETED = close, ITEM_REMOVED = close },
}
