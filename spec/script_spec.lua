-- What scripts may say and what comes of it, seen through the Lua module: declarations, reducers, views, shapes, the sandbox.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"

describe("an app's scripts", function()
  local directories, stores

  before_each(function() directories, stores = {}, {} end)
  after_each(function()
    for _, store in ipairs(stores) do store:close() end
    for _, directory in ipairs(directories) do apps.remove(directory) end
  end)

  -- A store in memory with these files as its app; a text alone is one file.
  local function open(files, options)
    if type(files) == "string" then files = { ["app.lua"] = files } end
    local directory = apps.write(files)
    directories[#directories + 1] = directory
    options = options or {}
    options.app = directory
    local store = annal.open(":memory:", options)
    stores[#stores + 1] = store
    return store
  end

  local function refused(code, files, ...)
    local wanted = { ... }
    wanted[#wanted + 1] = function() open(files) end
    return expect.error(code, table.unpack(wanted))
  end

  -- One event type E with any data under `v` and a handler for the state as a whole.
  local function whole(handler, init, rest)
    return ([[event "E" { v = t.optional(t.any) }
projection "P" { init = %s, on = { E = %s } %s }]]):format(init or "{}", handler, rest or "")
  end

  local function view_after(store, ...)
    for _, value in ipairs { ... } do store:save_event { type = "E", data = { v = value } } end
    return (store:view("P", ""))
  end

  describe("fold", function()
    it("by changing the state in place and returning nothing", function()
      local store = open(whole "function(s, event) s.last = event.data.v s.count = (s.count or 0) + 1 end")
      assert.same({ last = "b", count = 2 }, view_after(store, "a", "b"))
    end)

    it("by returning the new state", function()
      assert.equal(7, view_after(open(whole("function(s, event) return s + event.data.v end", "0")), 3, 4))
    end)

    it("to null where a reducer returns null", function()
      assert.equal(annal.null, view_after(open(whole("function() return null end", "1")), 1))
    end)

    it("to false where a reducer returns false", function()
      assert.equal(false, view_after(open(whole("function() return false end", "true")), 1))
    end)

    it("from the initial state where there is no event", function()
      assert.same({ a = { 1 } }, view_after(open(whole("function() end", "{ a = { 1 } }"))))
      assert.same({ n = 5 }, view_after(open(whole("function() end", "function() return { n = 5 } end"))))
    end)

    it("from a copy of the initial state, for each instance its own", function()
      local store = open [[
        event "E" { id = t.string }
        projection "P" { by = "id", init = { list = array {} },
          on = { E = function(s, e) table.insert(s.list, e.data.id) end } }]]
      for _, id in ipairs { "a", "b", "a" } do store:save_event { type = "E", data = { id = id } } end
      assert.same({ list = { "a", "a" } }, (store:view("P", "a")))
      assert.same({ list = { "b" } }, (store:view("P", "b")))
      assert.same({ list = {} }, (store:view("P", "c")))
    end)

    it("by a table from types to identifiers", function()
      local store = open [[
        event "ORDER_PLACED" { orderId = t.string }
        event "PAYMENT_TAKEN" { forOrder = t.string, cents = t.integer }
        projection "ORDER" {
          by = { ORDER_PLACED = "orderId", PAYMENT_TAKEN = "forOrder" },
          fields = {
            placed = reducer { init = false, on = { ORDER_PLACED = function() return true end } },
            paid = reducer { init = 0, on = { PAYMENT_TAKEN = function(sum, e) return sum + e.data.cents end } },
          },
        }]]
      store:save_events {
        { type = "ORDER_PLACED", data = { orderId = "1" } },
        { type = "PAYMENT_TAKEN", data = { forOrder = "1", cents = 5 } },
        { type = "PAYMENT_TAKEN", data = { forOrder = "2", cents = 7 } },
        { type = "PAYMENT_TAKEN", data = { forOrder = "1", cents = 1 } },
      }
      assert.same({ placed = true, paid = 6 }, (store:view("ORDER", "1")))
      assert.same({ placed = false, paid = 7 }, (store:view("ORDER", "2")))
    end)

    it("several streams merged, each event once", function()
      local store = open [[
        event "A" { x = t.string } event "B" { x = t.string, y = t.optional(t.string) }
        projection "P" {
          init = "",
          on = {
            A = function(s, e) return s .. "A" .. e.position end,
            B = function(s, e) return s .. "B" .. e.position end,
          },
          streams = function(id)
            return { { types = { "A", "B" }, data = { x = id } }, { types = { "B" }, data = { y = { id, "all" } } } }
          end,
        }]]
      store:save_events {
        { type = "A", data = { x = "1" } },
        { type = "B", data = { x = "2", y = "1" } },
        { type = "B", data = { x = "1", y = "1" } },
        { type = "B", data = { x = "2", y = "all" } }, { type = "A", data = { x = "2" } },
      }
      assert.equal("A1B2B3B4", (store:view("P", "1")))
    end)

    it("field reducers in the order of their names, each with its own copy of the event", function()
      local store = open [[
        event "E" { list = t.array(t.integer) }
        local function take(e) e.data.list[#e.data.list + 1] = 99 return #e.data.list end
        projection "P" { fields = {
          b = reducer { init = 0, on = { E = function(_, e) return take(e) end } },
          a = reducer { init = 0, on = { E = function(_, e) return take(e) end } },
        } }]]
      store:save_event { type = "E", data = { list = { 1, 2 } } }
      assert.same({ a = 3, b = 3 }, (store:view("P", "")))
    end)

    it("what an event carries", function()
      local store = open [[
        local function same(data) return data end
        event "E" { schema = { v = t.any }, version = 3, upcast = { same, same } }
        projection "P" { init = {}, on = { E = function(_, e)
          local keys = {}
          for key in pairs(e) do keys[#keys + 1] = key end
          return {
            keys = keys, type = e.type, version = e.version, position = e.position, id = e.id, at = e.created_at,
            by = e.metadata.by,
          }
        end } }]]
      local saved = store:save_event { type = "E", data = { v = 1 }, metadata = { by = "me" } }
      local view = store:view("P", "")
      assert.same({ "created_at", "data", "id", "metadata", "position", "type", "version" }, view.keys)
      assert.equal("E", view.type)
      assert.equal(3, view.version)
      assert.equal(1, view.position)
      assert.equal(saved.id, view.id)
      assert.equal("me", view.by)
      assert.equal(saved.created_at, view.at)
    end)
  end)

  describe("keep arrays", function()
    it("where the initial state says so", function()
      local store = open(whole("function(s) s.a = {} s.o = {} end", "{ a = array {}, o = {} }"))
      store:save_event { type = "E", data = {} }
      assert.equal('{"a":[],"o":{}}', annal.json.encode((store:view("P", ""))))
    end)

    it("where the shape says so", function()
      local store = open(whole("function() end", "{}",
        ", view = function() return { l = {}, m = {} } end, shape = { l = t.array(t.any), m = t.map(t.any) }"))
      assert.equal('{"l":[],"m":{}}', annal.json.encode((store:view("P", ""))))
    end)

    it("where the schema of the event says so", function()
      local store = open [[event "E" { list = t.array(t.string), map = t.map(t.string) }]]
      local saved = store:save_event { type = "E", data = { list = {}, map = {} } }
      assert.equal('{"list":[],"map":{}}', annal.json.encode(saved.data))
    end)
  end)

  describe("make views", function()
    it("of the state and the id", function()
      local store = open [[
        event "E" { id = t.string, n = t.integer }
        projection "P" { by = "id", init = 0, on = { E = function(n, e) return n + e.data.n end },
          view = function(n, id) return { id = id, twice = 2 * n } end }]]
      store:save_event { type = "E", data = { id = "x", n = 4 } }
      assert.same({ id = "x", twice = 8 }, (store:view("P", "x")))
    end)

    it("that have to fit their shape", function()
      local store = open(whole("function(_, e) return { total = e.data.v } end", "{ total = 0 }",
        ", shape = { total = t.integer { min = 0 } }"))
      assert.same({ total = 0 }, view_after(store))
      local problem = expect.error("script", "total", "-1", function() view_after(store, -1) end)
      assert.matches("at least 0", problem.message)
    end)
  end)

  describe("end in an error for a state that", function()
    for what, case in pairs {
      ["holds a function"] = { "function(s) s.f = tostring end", "f" },
      ["holds NaN"] = { "function(s) s.a = { b = 0/0 } end", "a.b" },
      ["holds an infinity"] = { "function(s) s.n = 1/0 end", "n" },
      ["holds a table twice"] = { "function(s) local x = {} s.a, s.b = x, x end", "b" },
      ["holds itself"] = { "function(s) s.me = s end", "me" },
      ["is sparse"] = { "function(s) s.l = { 1, nil, 3 } end", "l" },
      ["is no text"] = { "function(s) s.t = '\\xff' end", "t" },
      ["holds a metatable"] = { "function(s) s.o = setmetatable({}, {}) end", "o" },
      ["holds the event itself"] = { "function(s, event) s.e = event end", "e" },
      ["has a boolean as a key"] = { "function(s) s.k = { [true] = 1 } end", "k" },
    } do
      it(what, function() expect.error("script", case[2], function() view_after(open(whole(case[1])), 1) end) end)
    end
  end)

  describe("are stopped", function()
    it("when they loop, and the next call goes on", function()
      local store = open(whole "function(s, e) while e.data.v == 1 do end return { n = e.data.v } end", { budget = 100000 })
      store:save_event { type = "E", data = { v = 1 } }
      expect.error("budget", "100000 instructions", "app.lua:2", function() store:view("P", "") end)
      store:save_event { type = "E", data = { v = 2 } }
      expect.error("budget", function() store:view("P", "") end)
      assert.equal(2, #store:get_event_stream({ "E" }))
    end)

    it("when they eat memory", function()
      local store = open(whole "function() local t = {} for i = 1, math.maxinteger do t[i] = { i } end end", { memory = 8 << 20 })
      expect.error("budget", "8388608 bytes of memory", function() view_after(store, 1) end)
    end)

    it("while they are loaded", function() refused("budget", "while true do end", "app.lua:1") end)
  end)

  it("name the handler, the line and where it was called from", function()
    local store = open {
      ["lib/price.lua"] = "return function(item)\n  return item.price * 2\nend",
      ["p.lua"] = [[
        event "E" { v = t.any }
        local price = include "lib.price"
        projection "P" { fields = { total = reducer { init = 0, on = {
          E = function(_, e) local p = price(e.data.v) return p end } } } }]],
    }
    local problem = expect.error("script", "lib/price.lua:2", "total", "p.lua:4", function() view_after(store, "x") end)
    assert.equal("lib/price.lua:2", problem.where)
  end)

  describe("are refused, with file and line, when", function()
    for what, case in pairs {
      ["they do not parse"] = { "event 'E' {\n  a = = t.string }", "app.lua:2" },
      ["a type is misspelt"] = { "\nevent 'E' { a = t.sting }", "app.lua:2", "did you mean t.string?" },
      ["an option is misspelt"] = { "event 'E' { a = t.integer { mim = 1 } }", "app.lua:1", "mim" },
      ["an event is declared twice"] = { "event 'E' {}\nevent 'E' {}", "app.lua:2", "app.lua:1" },
      ["a key of a projection is misspelt"] = { whole("function() end", "0", ", veiw = tostring"), "app.lua:2", "veiw" },
      ["a handler is for no event"] = {
        "event 'CART_CREATED' {}\nprojection 'P' { init = 0, on = { CART_CREATD = tostring } }",
        "app.lua:2", "did you mean CART_CREATED?",
      },
      ["by is no field"] = {
        "event 'E' { cartId = t.string }\nprojection 'P' { by = 'cartID', init = 0, on = { E = tostring } }",
        "app.lua:2", "did you mean cartId?",
      },
      ["a reducer is missing"] = { "event 'E' {}\nprojection 'P' { fields = { a = { init = 0 } } }", "app.lua:2", "reducer" },
      ["a command decides nothing"] = { "command 'C' {}", "app.lua:1", "decide is a function" },
      ["an upcaster is missing"] = {
        "event 'E' { schema = {}, version = 3, upcast = { function(d) return d end } }", "app.lua:1", "from version 2 to 3",
      },
      ["they ask for the time"] = { "local now = os.time()", "app.lua:1", "created_at" },
      ["they assign a global"] = { "total = 0", "app.lua:1", "local total" },
      ["they change a library"] = { "function string.trim(s) return s end", "app.lua:1", "string.trim cannot be set" },
    } do
      it(what, function() refused("script", table.unpack(case)) end)
    end

    it("two files include each other", function()
      refused("script", { ["a.lua"] = "return include 'b'", ["b.lua"] = "return include 'a'" }, "b.lua:1")
    end)

    it("a file that is included is not there", function()
      refused("script", { ["a.lua"] = "return include 'reducers.itms'", ["reducers/items.lua"] = "return 1" },
        "did you mean \"reducers.items\"?")
    end)
  end)

  it("change nothing when they fail to load: the last good ones serve on", function()
    local store = open(whole("function(s) return s + 1 end", "0"))
    assert.equal(1, view_after(store, "a"))
    local broken = apps.write { ["app.lua"] = "event 'E' {" }
    directories[#directories + 1] = broken
    expect.error("script", "app.lua:1", function() store:load(broken) end)
    assert.equal(2, view_after(store, "b"))
    expect.error("not_found", broken .. "/no", function() store:load(broken .. "/no") end)
    assert.equal(3, view_after(store, "c"))
  end)

  describe("validate", function()
    local text = [[event "E" { schema = { n = t.integer }, validate = function(data)
      if data.n < 0 then return nil, "n is below zero: " .. data.n end
      data.n = 1000
      return true
    end }]]

    it("what the schema cannot say", function()
      local store = open(text)
      expect.error("invalid", "n is below zero: -5", function() store:save_event { type = "E", data = { n = -5 } } end)
      assert.is_nil(store:get_latest_event "E")
    end)

    it("without changing what is stored", function()
      assert.same({ n = 5 }, open(text):save_event({ type = "E", data = { n = 5.0 } }).data)
    end)
  end)

  -- Reducers that show the order of keys, of equal elements, of text and numbers: what differs from run to run shows here.
  local order = [[
    event "E" { key = t.string, n = t.number }
    projection "P" { init = { map = {}, trail = "" }, on = { E = function(s, event)
      local key, n = event.data.key, event.data.n
      s.map[key] = n ~= 0 and (s.map[key] or 0) + n or nil
      local list = {}
      for k, v in pairs(s.map) do list[#list + 1] = { k = k, rank = math.floor(v) % 3 } end
      table.sort(list, function(a, b) return a.rank < b.rank end)
      local text = tostring(next(s.map)) .. tostring(s.map) .. n
      for _, one in ipairs(list) do text = text .. one.k end
      s.trail = (s.trail .. text):sub(-2000)
    end } }]]

  local function order_events(count)
    local events, seed = {}, 42
    for i = 1, count do
      seed = (seed * 1103515245 + 12345) % 2147483648
      events[i] = { type = "E", data = { key = "k" .. seed // 65536 % 40, n = seed % 5 == 0 and 0 or seed % 100 / 8 } }
    end
    return events
  end

  it("give the same in each state and process", function()
    local one, two = open(order), open(order)
    local events = order_events(300)
    one:save_events(events)
    two:save_events(events)
    assert.equal(annal.json.encode((one:view("P", ""))), annal.json.encode((two:view("P", ""))))
  end)

  it("give the same from a saved row as from the first event", function()
    local whole_fold, continued = open(order), open(order)
    local events = order_events(200)
    whole_fold:save_events(events)
    for first = 1, 200, 23 do
      continued:save_events { table.unpack(events, first, math.min(first + 22, 200)) }
      continued:projection("P", ""):save()
    end
    local expected = annal.json.encode((whole_fold:view("P", "")))
    assert.equal(expected, annal.json.encode((continued:view("P", ""))))
    assert.equal(expected, annal.json.encode(continued:projection("P", "", { saved = false }):view()))
  end)
end)
