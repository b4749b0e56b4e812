-- The module as such: what it offers, how its errors look, how objects behave at the end of their lives.
local annal = require "annal"
local expect = require "support.expect"
local shell = require "support.shell"

describe("the module", function()
  it("runs in Lua 5.4 and names its version", function()
    assert.equal("Lua 5.4", _VERSION)
    assert.is_truthy(annal.version:match "^%d+%.%d+%.%d+$")
  end)

  it("does not bring a Lua of its own along", function()
    local path = assert(package.searchpath("annal", package.cpath))
    assert.is_nil(shell.run({ "ldd", path }):find("liblua", 1, true))
  end)

  it("sets no global", function()
    local printed = shell.run { "lua5.4", "-e", [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      require "annal"
      for name in pairs(_G) do if not before[name] then print(name) end end]] }
    assert.equal("", printed)
  end)

  it("has exact JSON", function()
    local json = annal.json
    assert.equal('{"a":[1,1.0,"x",null],"b":{}}', json.encode { a = { 1, 1.0, "x", annal.null }, b = {} })
    assert.equal("[]", json.encode(annal.array {}))
    assert.equal("[]", json.encode(json.decode "[]"))
    assert.equal("integer", math.type(json.decode "2"))
    assert.equal("float", math.type(json.decode "2.0"))
    assert.is_true(json.decode "null" == annal.null)
    assert.is_true(annal.null == require("cjson").null)
    expect.error("invalid", function() json.decode "{not json}" end)
    expect.error("invalid", "a[2]", function() json.decode '{"a":[1,+1]}' end)
    expect.error("invalid", "b.c", function() json.encode { b = { c = 0 / 0 } } end)
  end)
end)

describe("an error", function()
  local store
  before_each(function() store = annal.open(":memory:", { app = "projections/cart" }) end)
  after_each(function() store:close() end)

  it("is a table with code, message and place, and reads as one line", function()
    local problem = expect.error("invalid",
      function() store:save_event { type = "CART_CREATED", data = { cartId = 1, userId = "u" } } end)
    assert.equal("data.cartId", problem.where)
    assert.equal(("invalid: %s (data.cartId)"):format(problem.message), tostring(problem))
    assert.is_false(problem.retryable)
    assert.is_false(problem.in_doubt)
    assert.is_nil(problem.sqlstate)
    assert.is_nil(problem.ids)
    for _, value in pairs(problem) do assert.is_truthy(({ string = true, boolean = true })[type(value)]) end
  end)

  it("shares its metatable with every other", function()
    local first = expect.error("misuse", function() annal.open() end)
    local second = expect.error("invalid", function() annal.json.decode "" end)
    assert.is_true(getmetatable(first) == getmetatable(second))
  end)

  it("without a place is code and message", function()
    local problem = expect.error("misuse", function() store.save_event() end)
    assert.is_nil(problem.where)
    assert.equal("misuse: " .. problem.message, tostring(problem))
  end)
end)

describe("a store object", function()
  it("is of no use once it is closed, but can be closed again", function()
    local store = annal.open ":memory:"
    store:close()
    store:close()
    expect.error("misuse", "closed", function() store:head() end)
    expect.error("misuse", "closed", function() store:save_event { type = "T", data = {} } end)
    expect.error("misuse", "closed", function() store:events {} end)
    assert.equal("annal store (closed)", tostring(store))
  end)

  it("is closed at the end of its block", function()
    local kept
    do
      local store <close> = annal.open ":memory:"
      kept = store
      store:head()
    end
    expect.error("misuse", "closed", function() kept:head() end)
  end)

  it("lives as long as its loops and projections", function()
    local function make()
      local store = annal.open(":memory:", { app = "projections/cart" })
      for number = 1, 3 do store:save_event { type = "CART_CREATED", data = { cartId = "c" .. number, userId = "u" } } end
      return store:events {}, store:projection("SHOPPING_CART", "c1")
    end
    local events, cart = make()
    collectgarbage()
    collectgarbage()
    assert.equal(1, events().position)
    assert.equal("u", cart:view().userId)
    assert.equal(2, events().position)
    assert.equal(3, events().position)
    assert.is_nil(events())
    assert.is_nil(events())
  end)

  it("cannot be closed by a finalizer in the middle of a call on it", function()
    local store = annal.open ":memory:"
    local batch = {}
    for number = 1, 500 do batch[number] = { type = "T", data = { number = number, text = ("x"):rep(50) } } end
    store:save_events(batch)
    local inside, refused = false, 0
    local function arm()
      setmetatable({}, { __gc = function()
        if not inside then return end
        local ok, problem = pcall(store.close, store)
        if not ok and problem.code == "misuse" then refused = refused + 1 end
      end })
    end
    for _ = 1, 50 do
      arm()
      inside = true
      local events = store:get_event_stream()
      inside = false
      assert.equal(500, #events)
    end
    assert.is_true(refused > 0)
    store:close()
  end)

  it("shows neither addresses nor where it is", function()
    local store = annal.open(":memory:", { app = "projections/cart" })
    local cart = store:projection("SHOPPING_CART", "c1")
    for _, object in ipairs { store, cart, (store:events {}) } do
      assert.is_nil(tostring(object):find "0x")
      assert.is_nil(tostring(object):find "memory")
    end
    assert.equal('annal projection SHOPPING_CART "c1"', tostring(cart))
    store:close()
  end)

  it("names methods that it does not have, and lets nothing be set", function()
    local store = annal.open ":memory:"
    expect.error("misuse", "save_evnt", "save_event", function() return store.save_evnt end)
    expect.error("misuse", "getLatestEvent", "get_latest_event", function() return store.getLatestEvent end)
    expect.error("misuse", function() store.x = 1 end)
    expect.error("misuse", "colon", function() store.save_event { type = "T", data = {} } end)
    expect.error("misuse", "at most", function() store:save_event({ type = "T", data = {} }, 2) end)
    store:close()
  end)
end)
