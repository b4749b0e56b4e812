-- The shopping cart's story, as `./dev demo` tells it: each step says what it is about, shows the Lua that it runs and what comes
-- back. A step that goes otherwise than told ends the program with an error.
--
--   lua5.4 examples/demo.lua [STORE]      an empty store: a path, "sqlite:path", "postgresql://…" or a libpq conninfo
local annal = require "annal"

local root = arg[0]:match "^(.*)/examples/[^/]*$" or "."
local location = arg[1] or ":memory:"

-- What the shown code sees: the standard library, and what earlier steps assigned.
local scope = setmetatable({ annal = annal, location = location, app = root .. "/projections/cart" }, { __index = _G })

local function tell(text) print("\n" .. text) end

local function compile(code)
  return load("return " .. code, "=demo", "t", scope) or assert(load(code, "=demo", "t", scope))
end

local function show_code(code)
  local shown = code:gsub("\n", "\n  ")
  print("\n  > " .. shown)
end

local function json(value) return annal.json.encode(value) end

-- An event in a line, a list of events in as many, an object of annal's not at all, anything else as JSON.
local function show(value)
  if type(value) == "table" and value.type and value.position then
    print(("    #%d %s %s"):format(value.position, value.type, json(value.data)))
  elseif type(value) == "table" and type(value[1]) == "table" and value[1].type then
    for _, event in ipairs(value) do show(event) end
  elseif type(value) == "table" and #value > 1 then
    for _, row in ipairs(value) do print("    " .. json(row)) end
  elseif value ~= nil and type(value) ~= "userdata" then
    print("    " .. json(value))
  end
end

local function run(code)
  show_code(code)
  local result = compile(code)()
  show(result)
  return result
end

-- Runs what has to be refused with this error code, and shows the error.
local function refused(expected, code)
  show_code(code)
  local ok, problem = pcall(compile(code))
  if ok then error("this was to be refused as " .. expected .. " and was not:\n" .. code, 0) end
  if type(problem) ~= "table" or problem.code ~= expected then error(problem, 0) end
  print("    refused, " .. tostring(problem))
end

local function count_events()
  local count = 0
  for _ in scope.store:events {} do count = count + 1 end
  return count
end

print("annal " .. annal.version .. ": a shop keeps its carts as events; what they mean stands in projections/cart/*.lua.")

tell "A store is opened with the scripts of an app. Nothing has to be set up before."
run 'store = annal.open(location, { app = app, data_indexes = { "cartId", "productId" }, projection_indexes = { "userId" } })'

tell "Events are facts. They are saved all or none, and the scripts check them first."
run [[store:save_event { type = "CART_CREATED", data = { cartId = "cart_123", userId = "user_456" } }]]
run [[store:save_events {
  { type = "ITEM_ADDED_TO_CART", data = { cartId = "cart_123", productId = "prod_789", quantity = 2, priceAtTime = 1999 } },
  { type = "ITEM_REMOVED_FROM_CART", data = { cartId = "cart_123", productId = "prod_789", quantity = 1 } },
}]]

tell "What does not fit its declaration is refused, and says where."
refused("invalid", [[store:save_event {
  type = "ITEM_ADDED_TO_CART", data = { cartId = "cart_123", productId = "prod_1", quantity = "two", priceAtTime = 500 } }]])
refused("invalid", [[store:save_event { type = "CART_CHECKED_OUT", data = { cartID = "cart_123" } }]])

tell "A view is what the events of one cart come to. Nothing but the events is stored so far."
run [[cart = store:projection("SHOPPING_CART", "cart_123")]]
run "cart:view()"

tell [[A save can be made to depend on what its writer has seen. Here the writer takes CART_CREATED for the newest event of the
cart, as one easily does; but items came after it, and who has not seen them may be about to do the wrong thing.]]
local before = count_events()
run [[created = store:get_latest_event("CART_CREATED", { data = { cartId = "cart_123" } })]]
run "created"
run [[streams = {
  { types = { "CART_CREATED", "CART_CHECKED_OUT" }, data = { cartId = "cart_123" } },
  { types = { "ITEM_ADDED_TO_CART", "ITEM_REMOVED_FROM_CART" }, data = { cartId = "cart_123" } },
}]]
run [[one_more = {
  type = "ITEM_ADDED_TO_CART", data = { cartId = "cart_123", productId = "prod_789", quantity = 1, priceAtTime = 1999 } }]]
refused("conflict", "store:save_event_with_stream_validation(one_more, created.id, streams)")
local after = count_events()
if after ~= before then error(("the refused event was stored: %d events before, %d after"):format(before, after), 0) end
print(("    %d events before, %d after: the refused one is not stored"):format(before, after))

tell "The cart knows the newest event that made it. Under that the same save is accepted."
run "store:save_event_with_stream_validation(one_more, cart.latest_event_id, streams)"

tell "A view can be kept. The next reader continues from the saved row and folds only what is newer."
run "cart:refresh()"
run "cart:save().status"
run [[store:save_event {
  type = "ITEM_ADDED_TO_CART", data = { cartId = "cart_123", productId = "prod_42", quantity = 3, priceAtTime = 250 } }]]
run [[again = store:projection("SHOPPING_CART", "cart_123")]]
run "again:view()"
run "{ saved_at = cart.position, read_up_to = again.position }"
run "again:save().status"

tell "Kept views are queried by their fields, the declared ones through an index."
run [[store:save_event { type = "CART_CREATED", data = { cartId = "cart_124", userId = "user_789" } }]]
run [[store:projection("SHOPPING_CART", "cart_124"):save().status]]
run [[for _, row in ipairs(store:query_projections { type = "SHOPPING_CART", data = { userId = "user_456" } }) do
  print("    " .. row.id .. ": " .. row.data.total .. " cents, as of event #" .. row.position)
end]]

tell "Another projection reads three streams of the same log: the cart, its items, and who changed it last."
run [[store:save_event {
  type = "CART_MODIFIED", data = { cartId = "cart_123", modifiedAt = "2026-01-31T12:00:00Z", modifiedBy = "user_456" } }]]
run [[store:view("SHOPPING_CART_WITH_META", "cart_123")]]

tell "Two tabs have the same cart open. One checks out; the other, not knowing, adds an item. The log takes only the first."
run [[tab_1 = store:projection("SHOPPING_CART", "cart_123"):refresh()]]
run [[tab_2 = store:projection("SHOPPING_CART", "cart_123"):refresh()]]
run [[tab_1:save_event { type = "CART_CHECKED_OUT", data = { cartId = "cart_123", checkoutTime = "2026-01-31T12:05:00Z" } }]]
refused("conflict", "tab_2:save_event(one_more)")
run [[store:view("SHOPPING_CART", "cart_123").isCheckedOut]]

tell [[What is done so often is better asked of the app: a command decides over the cart as it is now, and decides anew when it
is overtaken. This one checks out, unless there is nothing to buy or it was done before.]]
refused("rejected", [[store:call("CHECK_OUT", { cartId = "cart_123" })]])
refused("rejected", [[store:call("CHECK_OUT", { cartId = "cart_124" })]])

tell "That is the whole log:"
run [[store:get_event_stream(nil, { data = { cartId = "cart_123" } })]]

run "store:close()"
