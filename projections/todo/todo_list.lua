-- One list: what is to be done and what is done.
projection "TODO_LIST" {
  by = "listId",
  fields = {
    items = include "reducers.items",
    completedItems = include "reducers.completed_items",
  },
  view = function(list, id) return { listId = id, items = list.items, completedItems = list.completedItems } end,
  shape = { listId = t.string, items = t.array(t.string), completedItems = t.array(t.string) },
}
