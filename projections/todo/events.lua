-- What can happen to a list of things to do.

event "LIST_CREATED" { listId = t.string, listName = t.string, exampleOptionalField = t.optional(t.string) }

event "LIST_DELETED" { listId = t.string }

event "ITEM_ADDED" { listId = t.string, itemId = t.string, itemName = t.string }

event "ITEM_REMOVED" { listId = t.string, itemId = t.string }

event "ITEM_COMPLETED" { listId = t.string, itemId = t.string }

event "ITEM_UNCOMPLETED" { listId = t.string, itemId = t.string }
