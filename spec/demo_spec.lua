-- examples/demo.lua, which `./dev demo` runs: it says what is so, and what it says was refused is not in the store.
local shell = require "support.shell"
local stores = require "support.stores"

-- What the demo must show, in this order.
local story = {
  "#1 CART_CREATED",
  "#3 ITEM_REMOVED_FROM_CART",
  'refused, invalid: .*%(data%.quantity%)',
  "refused, invalid: .*cartID",
  '"total":1999',
  "refused, conflict: ",
  "3 events before, 3 after: the refused one is not stored",
  "#4 ITEM_ADDED_TO_CART",
  '"created"',
  "#5 ITEM_ADDED_TO_CART",
  '"total":4748',
  '{"read_up_to":5,"saved_at":4}',
  '"updated"',
  "cart_123: 4748 cents, as of event #5",
  '"lastModified":"2026%-01%-31T12:00:00Z","modifiedBy":"user_456"',
  "#8 CART_CHECKED_OUT",
  "refused, conflict: ",
  "true",
  "refused, rejected: the cart is checked out already",
  "refused, rejected: the cart is empty",
}

local function check(output)
  local at = 1
  for _, expected in ipairs(story) do
    local first, last = output:find(expected, at)
    assert(first, ("not shown after the rest: %s\n%s"):format(expected, output))
    at = last + 1
  end
end

local function demo(location) return shell.run { "lua5.4", "examples/demo.lua", location } end

describe("the demo", function()
  it("tells its story on SQLite", function()
    local directory = shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", directory } end)
    local file = directory .. "/cart.db"
    check(demo(file))
    assert.equal("8|8", shell.run { "sqlite3", file, "select count(*), max(position) from events" })
  end)

  it("tells the same on PostgreSQL", function()
    local server = assert(stores.postgres, "ANNAL_TEST_PG is not set: run ./dev test, or name a server")
    local name = "annal_demo_" .. shell.unique()
    stores.psql("-c", "create database " .. name)
    finally(function() stores.psql("-c", "drop database " .. name) end)
    local location = server .. " dbname=" .. name
    if server:find "://" then location = server:gsub("^(%w+://[^/?]*)/?[^?]*", "%1/" .. name) end
    check(demo(location))
    assert.equal("8|8", stores.psql("-d", location, "-c", "select count(*), max(position) from annal.events"))
  end)

  it("ends with an error when a step goes otherwise than told", function()
    local directory = shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", directory } end)
    -- Over this app nothing is refused as invalid.
    for _, path in ipairs { "examples", "projections" } do shell.run { "cp", "-r", path, directory } end
    local events = directory .. "/projections/cart/events.lua"
    shell.write(events, (shell.read(events):gsub("t%.integer %b{}", "t.any")))
    local ok, output = shell.try { "lua5.4", directory .. "/examples/demo.lua", directory .. "/cart.db" }
    assert.is_false(ok)
    assert.truthy(output:find("this was to be refused as invalid and was not", 1, true), output)
  end)
end)
