-- Bad input: one clear error each, with the value named, and nothing half done. On every store.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local nowhere = setmetatable({}, { __name = "x" })

stores.each(_ENV, "bad input to a save", function(place)
  local store
  before_each(function() store = place():open(apps.cart) end)
  after_each(function()
    assert.equal(0, place():count "events")
    assert.equal(0, place():count "projections")
  end)

  local function refused(code, ...)
    local wanted = { ... }
    local event = table.remove(wanted)
    wanted[#wanted + 1] = function() store:save_event(event) end
    return expect.error(code, table.unpack(wanted))
  end

  it("is refused where it does not fit the schema", function()
    local good = { cartId = "c", productId = "p", quantity = 2, priceAtTime = 100 }
    local function item(changes)
      local data = {}
      for key, value in pairs(good) do data[key] = value end
      for key, value in pairs(changes) do data[key] = value end
      return { type = "ITEM_ADDED_TO_CART", data = data }
    end
    refused("invalid", "data.quantity", "two", item { quantity = "two" })
    refused("invalid", "data.quantity", "2.5", item { quantity = 2.5 })
    refused("invalid", "data.quantity", "0", item { quantity = 0 })
    refused("invalid", "data.priceAtTime", "-1", item { priceAtTime = -1 })
    refused("invalid", "data.productId", item { productId = 7 })
    refused("invalid", "data.productId", item { productId = annal.null })
    refused("invalid", "colour", item { colour = "red" })
    refused("invalid", "productID", item { productID = "p" })
    refused("invalid", "productId", { type = "ITEM_ADDED_TO_CART", data = { cartId = "c", quantity = 1, priceAtTime = 1 } })
    refused("invalid", "data.checkoutTime", "yesterday",
      { type = "CART_CHECKED_OUT", data = { cartId = "c", checkoutTime = "yesterday" } })
  end)

  it("is refused where the type is not declared, and names the near one", function()
    refused("invalid", "CART_CREATD", { type = "CART_CREATD", data = { cartId = "c", userId = "u" } })
    refused("invalid", { type = "", data = {} })
    refused("invalid", { type = ("T"):rep(129), data = {} })
  end)

  it("is refused where data is no object", function()
    for _, data in ipairs { annal.array {}, { 1, 2 }, "text", 5, true, annal.null } do
      refused("invalid", "data", { type = "CART_CREATED", data = data })
    end
    refused("misuse", "data", { type = "CART_CREATED" })
    refused("misuse", "type", { data = {} })
    refused("misuse", {})
    for _, event in ipairs { "CART_CREATED", 5, true } do refused("misuse", "event", event) end
  end)

  it("is refused where the id is empty, too long or no text", function()
    local data = { cartId = "c", userId = "u" }
    refused("invalid", "id", { id = "", type = "CART_CREATED", data = data })
    refused("invalid", "id", ("i"):rep(20), { id = ("i"):rep(65), type = "CART_CREATED", data = data })
    refused("misuse", "id", "5", { id = 5, type = "CART_CREATED", data = data })
    refused("invalid", "id", { id = "a\0b", type = "CART_CREATED", data = data })
    refused("invalid", "id", { id = "a\xff", type = "CART_CREATED", data = data })
    refused("invalid", "type", { type = "CART_CREATED\0", data = data })
    refused("invalid", "type", { type = "\xc0\x80", data = data })
    refused("invalid", "data.userId", { type = "CART_CREATED", data = { cartId = "c", userId = "u\0" } })
    refused("invalid", "data.userId", { type = "CART_CREATED", data = { cartId = "c", userId = "\xed\xa0\x80" } })
  end)

  it("is refused where a declared identifier is too long, and not at its limit", function()
    refused("invalid", "data.cartId", { type = "CART_CREATED", data = { cartId = ("c"):rep(513), userId = "u" } })
    local plain = place():open()
    expect.error("invalid", function() plain:save_event { type = "T", data = { cartId = ("é"):rep(257) } } end)
  end)

  it("is refused where fields of the event are unknown or the store's to give", function()
    local data = { cartId = "c", userId = "u" }
    refused("misuse", "tpye", "type", { tpye = "CART_CREATED", data = data })
    refused("misuse", "position", { type = "CART_CREATED", data = data, position = 1 })
    refused("misuse", "created_at", { type = "CART_CREATED", data = data, created_at = "2026-01-01T00:00:00.000000Z" })
    refused("misuse", "version", { type = "CART_CREATED", data = data, version = 0 })
    refused("misuse", "version", { type = "CART_CREATED", data = data, version = "1" })
    refused("invalid", "version", "2", { type = "CART_CREATED", data = data, version = 2 })
    refused("invalid", "metadata", { type = "CART_CREATED", data = data, metadata = { 1 } })
    refused("invalid", "metadata", { type = "CART_CREATED", data = data, metadata = "m" })
  end)

  it("is refused as a whole, naming which event of a list", function()
    local good, bad = { type = "CART_CREATED", data = { cartId = "c", userId = "u" } },
      { type = "CART_CREATED", data = { cartId = "c", userId = 5 } }
    expect.error("invalid", "events[2].data.userId", function() store:save_events { good, bad, good } end)
    expect.error("invalid", "events[1].data.userId", function() store:save_events { bad } end)
    expect.error("invalid", "events[3].data.x",
      function() store:save_events { good, good, { type = "T", data = { x = 0 / 0 } } } end)
    expect.error("misuse", "events", function() store:save_events {} end)
    expect.error("misuse", "events", function() store:save_events() end)
    expect.error("misuse", "list", function() store:save_events(good) end)
    expect.error("misuse", "save_events", function() store:save_event { good } end)
    expect.error("misuse", "holes", function() store:save_events { good, nil, good } end)
    expect.error("misuse", "events[2]", function() store:save_events { good, "CART_CREATED" } end)
    expect.error("duplicate", "same", function()
      store:save_events { { id = "same", type = good.type, data = good.data },
        { id = "same", type = good.type, data = good.data } }
    end)
  end)

  it("of conditions is refused", function()
    local event = { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
    local function condition(latest, streams) return function() store:save_event_with_stream_validation(event, latest,
      streams) end end
    local good = { { data = { cartId = "c" } } }
    expect.error("misuse", "latest_event_id", "5", condition(5, good))
    expect.error("misuse", "latest_event_id", condition(annal.null, good))
    expect.error("misuse", "latest_event_id", condition("", good))
    expect.error("misuse", "streams", condition(nil, nil))
    expect.error("misuse", "streams", condition(nil, {}))
    expect.error("misuse", "streams", condition(nil, "all"))
    expect.error("misuse", "streams", condition(nil, { data = { cartId = "c" } }))
    expect.error("misuse", "streams[1]", "all = true", condition(nil, { {} }))
    expect.error("misuse", "streams[2]", condition(nil, { good[1], {} }))
    expect.error("misuse", "streams[1].data", condition(nil, { { data = {} } }))
    expect.error("misuse", "streams[1].types", condition(nil, { { types = {} } }))
    expect.error("misuse", "streams[1].data.cartId", condition(nil, { { data = { cartId = {} } } }))
    expect.error("misuse", "streams[1].after", "1", condition(nil, { { data = { cartId = "c" }, after = 1 } }))
    expect.error("misuse", "identifier", condition(nil, { { types = { "CART_CREATED" }, identifier = { cartId = "c" } } }))
    expect.error("misuse", "streams[1].all", condition(nil, { { all = false } }))
    expect.error("misuse", "streams[1].all", condition(nil, { { all = true, types = { "CART_CREATED" } } }))
  end)
end)

stores.each(_ENV, "bad input to a read", function(place)
  local store
  before_each(function()
    store = place():open(apps.cart)
    store:save_event { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
  end)

  it("is refused where a filter is empty, null, a float, a table or nothing that can be compared", function()
    local args = {}
    local cases = {
      { { cartId = args.cartID }, "data" }, { {}, "data" }, { { cartId = {} }, "data.cartId" },
        { { cartId = annal.null }, "data.cartId" },
      { { cartId = 1.5 }, "data.cartId" }, { { cartId = 1.0 }, "data.cartId" }, { { cartId = { { "c" } } }, "data.cartId[1]" },
      { { cartId = { "c", annal.null } }, "data.cartId[2]" }, { { cartId = { "c", 2.5 } }, "data.cartId[2]" },
        { { cartId = { a = "c" } }, "data.cartId" },
      { { cartId = { "c", nil, "d" } }, "data.cartId" },
        { { cartId = print }, "data.cartId" },
      { { [1] = "c" }, "data" }, { { "c" }, "data" }, { { [true] = "c" }, "data" }, { { ["cart-id"] = "c" }, "data.cart-id" },
        { { [""] = "c" }, "data" },
      { { [("c"):rep(64)] = "c" }, "data" }, { "c", "data" }, { 5, "data" }, { annal.null, "data" },
    }
    for _, case in ipairs(cases) do
      local data, where = case[1], case[2]
      for _, action in ipairs {
        function() store:get_event_stream({ "CART_CREATED" }, { data = data }) end,
        function() store:get_latest_event("CART_CREATED", { data = data }) end,
        function() store:get_event_streams { { data = data } } end,
        function() store:events { data = data } end,
        function() store:events { streams = { { types = "CART_CREATED", data = data } } } end,
        function() store:query_projections { type = "SHOPPING_CART", data = data } end,
        function()
          store:save_event_with_stream_validation({ type = "CART_CREATED", data = { cartId = "c", userId = "u" } }, nil,
            { { data = data } })
        end,
      } do
        expect.error("misuse", where, action)
      end
    end
    -- A range is of views alone.
    expect.error("misuse", "data.cartId", function() store:events { data = { cartId = { min = 1 } } } end)
    assert.same({}, store:query_projections { type = "SHOPPING_CART", data = { cartId = { min = 1 } } })
    assert.equal(1, place():count "events")
  end)

  it("is refused where text is no text", function()
    for _, bad in ipairs { "a\0b", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80" } do
      expect.error("invalid", "data.cartId", function() store:get_event_stream(nil, { data = { cartId = bad } }) end)
      expect.error("invalid", "types", function() store:get_event_stream(bad) end)
      expect.error("invalid", "types[2]", function() store:get_event_stream { "CART_CREATED", bad } end)
      expect.error("invalid", "after", function() store:events { after = bad } end)
      expect.error("invalid", "id", function() store:view("SHOPPING_CART", bad) end)
      expect.error("invalid", "projection", function() store:view(bad, "c") end)
      expect.error("invalid", "type", function() store:query_projections { type = bad } end)
      expect.error("invalid", "id", function() store:get_projection { type = "SHOPPING_CART", id = bad } end)
    end
  end)

  it("is refused where a type is none", function()
    for _, types in ipairs {
      {}, { 5 }, { {} }, { annal.null }, 5, true, annal.null, { a = "CART_CREATED" },
      { "CART_CREATED", [3] = "X" },
    } do
      expect.error("misuse", "types", function() store:get_event_stream(types) end)
      expect.error("misuse", "types", function() store:get_latest_event(types) end)
      expect.error("misuse", "types", function() store:events { types = types } end)
      expect.error("misuse", "types", function() store:get_event_streams { { types = types } } end)
    end
    expect.error("invalid", function() store:get_event_stream "" end)
    expect.error("invalid", function() store:get_event_stream(("T"):rep(129)) end)
  end)

  it("is refused where an option is unknown, and the near one is named", function()
    expect.error("misuse", "limt", "limit", function() store:get_event_stream("CART_CREATED", { limt = 1 }) end)
    expect.error("misuse", "afterr", "after", function() store:events { afterr = 1 } end)
    expect.error("misuse", "eventTypes", function() store:get_event_streams { { eventTypes = { "CART_CREATED" } } } end)
    expect.error("misuse", "limit", function() store:get_latest_event("CART_CREATED", { limit = 1 }) end)
    expect.error("misuse", "tpye", "type", function() store:query_projections { tpye = "SHOPPING_CART" } end)
    expect.error("misuse", "data",
      function() store:get_projection { type = "SHOPPING_CART", id = "c", data = { userId = "u" } } end)
    expect.error("misuse", "save", "saved", function() store:projection("SHOPPING_CART", "c", { save = true }) end)
    expect.error("misuse", "latestEventId", "latest_event_id", function()
      store:save_projection { type = "X", id = "x", data = {}, latestEventId = "e" }
    end)
    expect.error("misuse", "saved", function() store:view("SHOPPING_CART", "c", { saved = true }) end)
    expect.error("misuse", "1", function() store:events { "CART_CREATED" } end)
    expect.error("misuse", function() store:events "CART_CREATED" end)
    expect.error("misuse", function() store:query_projections "SHOPPING_CART" end)
    expect.error("misuse", "type", function() store:query_projections {} end)
    expect.error("misuse", "id", function() store:get_projection { type = "SHOPPING_CART" } end)
    expect.error("misuse", function() store:query_projections() end)
    expect.error("misuse", "streams", function() store:events { types = "CART_CREATED", streams = { { all = true } } } end)
  end)

  it("is refused where a bound is none", function()
    for _, bad in ipairs { -1, 1.5, true, {}, annal.null, "" } do
      expect.error("misuse", "after", function() store:events { after = bad } end)
      expect.error("misuse", "before", function() store:get_event_stream(nil, { before = bad }) end)
      expect.error("misuse", "after", function() store:get_event_streams { { all = true, after = bad } } end)
    end
    for _, bad in ipairs { 0, -1, 1.5, "1", true } do
      expect.error("misuse", "limit", function() store:events { limit = bad } end)
    end
    for _, bad in ipairs { 1, "true", annal.null } do
      expect.error("misuse", "reverse", function() store:events { reverse = bad } end)
    end
    expect.error("misuse", "before", function() store:events { before = 0 } end)
  end)

  it("is refused where a projection or an id is none", function()
    expect.error("not_found", "SHOPING_CART", function() store:view("SHOPING_CART", "c") end)
    for _, bad in ipairs { 1.5, true, {}, annal.null } do
      expect.error("misuse", "id", function() store:view("SHOPPING_CART", bad) end)
      expect.error("misuse", "projection", function() store:view(bad, "c") end)
    end
    expect.error("misuse", function() store:view("SHOPPING_CART") end)
    expect.error("misuse", function() store:view() end)
    expect.error("misuse", function() store:view("SHOPPING_CART", "") end)
    expect.error("invalid", function() store:view("SHOPPING_CART", ("c"):rep(513)) end)
    expect.error("misuse", "saved", function() store:projection("SHOPPING_CART", "c", { saved = 1 }) end)
    expect.error("misuse", "events", function() store:projection("SHOPPING_CART", "c"):apply {} end)
    expect.error("misuse", "events", function() store:projection("SHOPPING_CART", "c"):apply() end)
  end)
end)

describe("bad options of annal.open", function()
  local function open(options) return function() annal.open(":memory:", options) end end

  it("are refused by name, with the near one", function()
    expect.error("misuse", "dataIndexes", "data_indexes", open { dataIndexes = { "cartId" } })
    expect.error("misuse", "readonly", "read_only", open { readonly = true })
    expect.error("misuse", "shema", "schema", open { shema = "x" })
    expect.error("misuse", "no_create", open { no_create = true })
    expect.error("misuse", "1", open { "cartId" })
  end)

  it("are refused by type and value", function()
    for option, bads in pairs {
      app = { 5, true, {}, "", "a\0b" },
      schema = { 5, "" }, events = { {}, "" }, projections = { false, "" },
      data_indexes = { "cartId", {}, { 5 }, { "cart-id" }, { "" }, { a = "cartId" } },
      projection_indexes = { "userId", {}, { true }, { "user id" } },
      indexes = { {}, "x", { "x" }, { { name = "n" } }, { { name = "n", on = "rows", sql = "x" } },
        { { name = "n", on = "events", sql = "x", unique = true } } },
      create = { 1, "yes" }, read_only = { 0 }, reload = { "no" }, pooled = { 1 },
      timeout = { 0, -1, "30", true, 0 / 0, 1 / 0 }, lock_timeout = { 0, {} }, connections = { 0, -1, 1.5, "8", 1001 },
      budget = { 0, 1.5, "1e7" }, memory = { 0, -1, 2.5 }, cache = { -1, "64M" },
    } do
      for _, bad in ipairs(bads) do
        local ok, problem = pcall(annal.open, ":memory:", { [option] = bad })
        assert.is_false(ok, option .. " = " .. tostring(bad) .. " was accepted")
        assert.is_truthy(({ misuse = true, invalid = true })[problem.code],
          option .. " = " .. tostring(bad) .. ": " .. tostring(problem))
        assert.is_truthy(tostring(problem):find(option:match "^(.-)e?s?$", 1, true), option .. ": " .. tostring(problem))
      end
    end
    annal.open(":memory:", { cache = 0 }):close()
    annal.open(":memory:", { budget = 1e7, memory = 256 << 20, cache = 64 << 20, timeout = 0.5, connections = 2 }):close()
  end)

  it("are refused with a location that is none", function()
    for _, bad in ipairs { "", 5, true, nowhere } do expect.error("misuse", "location", function() annal.open(bad) end) end
    expect.error("misuse", "location", function() annal.open() end)
    expect.error("invalid", "location", function() annal.open "a\0b" end)
    expect.error("misuse", function() annal.open(":memory:", "app") end)
    expect.error("misuse", "at most 2", function() annal.open(":memory:", {}, 1) end)
  end)
end)

describe("an app that does not load", function()
  local directory
  after_each(function() if directory then apps.remove(directory) end end)

  local function refused(code, files, ...)
    directory = apps.write(files)
    local wanted = { ... }
    wanted[#wanted + 1] = function() annal.open(":memory:", { app = directory }) end
    expect.error(code, table.unpack(wanted))
  end

  it("by a syntax error names file and line",
    function() refused("script", { ["a/b.lua"] = "local x = 1\nlocal = 2\n" }, "a/b.lua:2") end)
  it("by an error names file and line", function() refused("script", { ["a.lua"] = "\n\nerror 'boom'" }, "a.lua:3", "boom") end)
  it("by a file that is not included names it", function() refused("script", { ["a.lua"] = 'include "b.c"' }, "b.c") end)
  it("by an event declared twice names it", function()
    refused("script", { ["a.lua"] = 'event "A" { x = t.string }', ["b.lua"] = 'event "A" { x = t.string }' }, "A")
  end)
  it("by a directory that is not there names it", function()
    expect.error("not_found", "/no/such/app", function() annal.open(":memory:", { app = "/no/such/app" }) end)
  end)

  it("leaves the one that was loaded in force", function()
    local store = annal.open(":memory:", apps.cart)
    store:save_event { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
    directory = apps.write { ["a.lua"] = "this is no Lua" }
    expect.error("script", "a.lua:1", function() store:load(directory) end)
    assert.equal("u", store:view("SHOPPING_CART", "c").userId)
    expect.error("misuse", "directory", function() store:load() end)
    store:close()
  end)
end)

describe("a place where no store can be", function()
  local directory
  before_each(function() directory = shell.temporary_directory() end)
  after_each(function() shell.run { "rm", "-rf", directory } end)

  it("is a file that is no database, which stays as it is", function()
    local path = directory .. "/text.db"
    local text = ("This is a letter, not a database.\n"):rep(100)
    shell.write(path, text)
    expect.error("corrupt", path, function() annal.open(path) end)
    assert.equal(text, shell.read(path))
    assert.equal("text.db", shell.run { "ls", directory })
  end)

  it("is a database of somebody else's with a table of that name, which stays as it is", function()
    local path = directory .. "/other.db"
    shell.run { "sqlite3", path, "create table events (x); insert into events values (1);" }
    expect.error("corrupt", "events", function() annal.open(path) end)
    assert.equal("1", shell.run { "sqlite3", path, "select x from events" })
    assert.equal("events", shell.run { "sqlite3", path, "select name from sqlite_master" })
  end)

  it("is a directory", function() expect.error("misuse", directory, function() annal.open(directory) end) end)

  it("is in a directory that is not there", function()
    expect.error("unavailable", directory .. "/no/such.db", function() annal.open(directory .. "/no/such.db") end)
  end)

  it("is not made where create is false", function()
    expect.error("not_found", "new.db", function() annal.open(directory .. "/new.db", { create = false }) end)
    expect.error("not_found", "new.db", function() annal.open(directory .. "/new.db", { read_only = true }) end)
    assert.equal("", shell.run { "ls", directory })
  end)

  it("is a server that does not answer", function()
    expect.error("unavailable", function() annal.open("host=" .. directory .. " user=me password=s3cret connect_timeout=2") end)
    local problem = expect.error("unavailable",
      function() annal.open "postgresql://me:s3cret@127.0.0.1:1/db?connect_timeout=2" end)
    assert.is_nil(tostring(problem):find("s3cret", 1, true))
    assert.is_true(problem.retryable)
  end)

  it("is a URL that is none", function() expect.error("misuse", function() annal.open "postgresql://[broken" end) end)
end)

stores.each(_ENV, "a store that is opened to be read", function(place)
  it("answers reads and refuses to write", function()
    local writer = place():open(apps.cart)
    local event = writer:save_event { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
    local reader = place():open { app = "projections/cart", read_only = true }
    assert.same({ event }, reader:get_event_stream())
    assert.equal("u", reader:view("SHOPPING_CART", "c").userId)
    expect.error("misuse", "read",
      function() reader:save_event { type = "CART_CREATED", data = { cartId = "d", userId = "u" } } end)
    expect.error("misuse", "read", function() reader:projection("SHOPPING_CART", "c"):save() end)
    expect.error("misuse", "read", function()
      reader:save_projection { type = "X", id = "x", data = {}, latest_event_id = event.id }
    end)
    assert.equal(1, place():count "events")
    assert.equal(0, place():count "projections")
  end)
end)
