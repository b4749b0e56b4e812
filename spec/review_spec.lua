-- What a cold reading of the whole found: small mistakes, each kept from coming back.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local stores = require "support.stores"

describe("include", function()
  it("without a name says that a name is missing", function()
    local directory = apps.write { ["app.lua"] = "include()" }
    finally(function() apps.remove(directory) end)
    expect.error("script", "include takes the name of a file", function() annal.open(":memory:", { app = directory }) end)
  end)
end)

describe("values that are handed in", function()
  local store, directory
  before_each(function()
    directory = apps.write { ["app.lua"] = [[
      event "E" { id = t.string }
      projection "P" { init = {}, streams = function(id) return { { types = "E", data = { id = id } } } end,
        on = { E = function(s) s.seen = true end } }
    ]] }
    store = annal.open(":memory:", { app = directory })
  end)
  after_each(function()
    store:close()
    apps.remove(directory)
  end)

  it("are shown as what they are", function()
    expect.error("misuse", "the float 1.0 cannot", function() store:events { data = { id = 1.0 } } end)
    expect.error("misuse", "NaN cannot", function() store:events { data = { id = 0 / 0 } } end)
    expect.error("misuse", "-infinity cannot", function() store:events { data = { id = -1 / 0 } } end)
  end)

  it("are no options where a method has none", function()
    local problem = expect.error("misuse", '"saved" is no option of store:view',
      function() store:view("P", "a", { saved = true }) end)
    assert.is_nil(problem.message:find ":%s*$")
  end)

  it("are never read through a metatable", function()
    local hidden = setmetatable({}, { __index = { types = "E", data = { id = "a" } } })
    for _, action in ipairs {
      function() store:events(hidden) end,
      function() store:events { data = setmetatable({ id = "a" }, {}) } end,
      function() store:events { data = { id = setmetatable({ "a" }, {}) } } end,
      function() store:events { types = setmetatable({ "E" }, {}) } end,
      function() store:events { streams = { hidden } } end,
      function() store:get_event_stream("E", hidden) end,
      function() store:query_projections(setmetatable({ type = "P" }, {})) end,
      function() store:save_event(setmetatable({ type = "E", data = { id = "a" } }, {})) end,
      function() annal.open(":memory:", setmetatable({}, {})) end,
    } do
      expect.error("misuse", "metatable", action)
    end
    store:save_event { type = "E", data = { id = "a" } }
    assert.equal(1, #store:get_event_stream(annal.array { "E" }, { data = { id = annal.array { "a" } } }))
  end)

  it("are one type or a list of them in a script's streams too", function()
    store:save_event { type = "E", data = { id = "a" } }
    assert.same({ seen = true }, (store:view("P", "a")))
  end)
end)

describe("t.enum", function()
  it("refuses a hole", function()
    for _, values in ipairs { "'a', nil, 'b'", "[1] = 'a', [2] = 'b', [4] = 'c'", "[0] = 'z', 'a'" } do
      local directory = apps.write { ["app.lua"] = "event 'E' { e = t.enum { " .. values .. " } }" }
      local ok, problem = pcall(expect.error, "script", "t.enum has a hole",
        function() annal.open(":memory:", { app = directory }) end)
      apps.remove(directory)
      assert(ok, problem)
    end
  end)
end)

describe("the place of an error", function()
  local store
  before_each(function() store = annal.open ":memory:" end)
  after_each(function() store:close() end)

  it("counts events from 1", function()
    store:save_event { id = "a", type = "E", data = { n = 1 } }
    local function save() store:save_events { { id = "a", type = "E", data = { n = 2 } }, { type = "E", data = {} } } end
    assert.equal("events[1].id", expect.error("duplicate", save).where)
  end)

  it("is written as the caller wrote it", function()
    local long = ("x"):rep(600)
    local function where(action) return expect.error("invalid", action).where end
    assert.equal("types", where(function() store:events { types = long } end))
    assert.equal("data.k", where(function() store:events { data = { k = long } } end))
    assert.equal("data.k", where(function() store:get_event_stream(nil, { data = { k = long } }) end))
    assert.equal("types", where(function() store:get_latest_event(long) end))
    assert.equal("data.k", where(function() store:follow { data = { k = long }, timeout = 0 } end))
    assert.equal("streams[1].data.k", where(function() store:events { streams = { { data = { k = long } } } } end))
  end)
end)

stores.each(_ENV, "a field whose stored values are too long", function(place)
  it("cannot be declared", function()
    local store = place():open()
    store:save_event { id = "a", type = "E", data = { k = ("x"):rep(512), n = 1 } }
    store:save_event { id = "b", type = "E", data = { k = ("é"):rep(257), n = 2 } }
    store:save_event { id = "c", type = "E", data = { k = ("x"):rep(10000), n = 3 } }
    store:save_projection { type = "P", id = "p", data = { v = ("x"):rep(600) }, latest_event_id = "b" }
    store:close()
    local problem = expect.error("invalid", '"b" at position 2', "514 bytes",
      function() place():open { data_indexes = { "n", "k" } } end)
    assert.equal("k", problem.where)
    problem = expect.error("invalid", 'row "p" at position 2', "600 bytes",
      function() place():open { projection_indexes = { "v" } } end)
    assert.equal("v", problem.where)
    assert.equal(3, #place():open({ data_indexes = { "n" } }):get_event_stream("E"))
  end)
end)
