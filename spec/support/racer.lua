-- One of several that race for the same cart (race_spec.lua): LOCATION SCHEMA NAME. A line "ROUND ID" lets it try to save the
-- round's
-- item under the condition that ID is the newest event of the cart; it answers "won", the error's code, or all that went wrong.
local annal = require "annal"

local location, schema, name = arg[1], arg[2], arg[3]
local store = annal.open(location,
  { schema = schema ~= "" and schema or nil, app = "projections/cart", data_indexes = { "cartId" } })
local streams = {
  { types = { "CART_CREATED", "CART_CHECKED_OUT" }, data = { cartId = "raced" } },
  { types = { "ITEM_ADDED_TO_CART", "ITEM_REMOVED_FROM_CART" }, data = { cartId = "raced" } },
}

io.stdout:setvbuf "line"
print "ready"
for line in io.lines() do
  if line == "end" then break end -- not the end of the pipe: the other racers hold it open too
  local round, latest = line:match "^(%d+) (%S+)$"
  local data = { cartId = "raced", productId = "round-" .. round, quantity = 1, priceAtTime = math.tointeger(name) }
  local ok,
    problem = pcall(store.save_event_with_stream_validation, store, { type = "ITEM_ADDED_TO_CART", data = data }, latest, streams)
  print(ok and "won " .. problem.id or type(problem) == "table" and problem.code or tostring(problem))
end
store:close()
