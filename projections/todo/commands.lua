-- What can be asked of a list, and when it is refused.

command "COMPLETE_ITEM" {
  args = { listId = t.string, itemId = t.string },
  uses = { list = "TODO_LIST" },
  decide = function(args, views)
    for _, id in ipairs(views.list.completedItems) do
      if id == args.itemId then return end -- nothing is left to be done
    end
    for _, id in ipairs(views.list.items) do
      if id == args.itemId then return { type = "ITEM_COMPLETED", data = args } end
    end
    reject "there is no such item on the list"
  end,
}
