-- Small apps, written to a directory of their own.
local shell = require "support.shell"

local apps = {}

-- Writes the files { ["a/b.lua"] = text } under a new directory, or under `directory`; answers it.
function apps.write(files, directory)
  directory = directory or shell.temporary_directory()
  for name, text in pairs(files) do
    local parent = name:match "^(.*)/[^/]*$"
    if parent then shell.run { "mkdir", "-p", directory .. "/" .. parent } end
    shell.write(directory .. "/" .. name, text)
  end
  return directory
end

function apps.remove(directory) shell.run { "rm", "-rf", directory } end

-- Events of one list of the todo app, with new ids.
function apps.todo_events()
  local list, item = "list-" .. shell.unique(), "item-" .. shell.unique()
  return {
    { type = "LIST_CREATED", data = { listId = list, listName = "Test List" } },
    { type = "ITEM_ADDED", data = { listId = list, itemId = item, itemName = "Test Item" } },
    { type = "ITEM_COMPLETED", data = { listId = list, itemId = item } },
  }, list, item
end

-- What the original declares for its todo app.
apps.todo = { app = "projections/todo", data_indexes = { "listId", "itemId" }, projection_indexes = { "listId", "itemId" } }
apps.cart = { app = "projections/cart", data_indexes = { "cartId", "productId" }, projection_indexes = { "userId" } }

return apps
