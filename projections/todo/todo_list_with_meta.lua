-- The list with its name and whether it was deleted: two streams of one list, merged in the order of the log.
projection "TODO_LIST_WITH_META" {
  streams = function(id)
    return {
      { types = { "LIST_CREATED", "LIST_DELETED" }, data = { listId = id } },
      { types = { "ITEM_ADDED", "ITEM_REMOVED", "ITEM_COMPLETED", "ITEM_UNCOMPLETED" }, data = { listId = id } },
    }
  end,
  fields = {
    listName = include "reducers.list_name",
    isDeleted = include "reducers.is_deleted",
    items = include "reducers.items",
    completedItems = include "reducers.completed_items",
  },
}
