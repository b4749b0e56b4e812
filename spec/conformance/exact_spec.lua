-- Values come back as they went in, to the last bit, on every store, and both keep the same bytes.
local annal = require "annal"
local cjson = require "cjson"
local expect = require "support.expect"
local stores = require "support.stores"

local null, array = annal.null, annal.array

local function float(bits) return (string.unpack("<d", string.pack("<i8", bits))) end

local values = {
  integers = {
    0, 1, -1, 42, 2 ^ 53 | 0, (2 ^ 53 | 0) + 1, -(2 ^ 53 | 0) - 1, 123456789012345678, math.maxinteger, math.mininteger,
    1000000000000000, 1999,
  },
  doubles = { 0.1, 0.2, 0.1 + 0.2, 1 / 3, 2.5, 1.0, 2.0, -3.0, 100.0, 1e15, 1e16, 1e21, 1e22, 1e100, 1e300, 123456789012345.67,
    9007199254740993.0, 0.00001, 1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, -5e-324, math.pi, 5e-7,
    float(0x3ff0000000000001), float(0x7fefffffffffffff), 4.35, 0.3, 1e23 },
  zeros = { 0, 0.0, -0.0 },
  empties = { {}, array {}, { a = {} }, { a = array {} }, array { array {}, array {} }, "" },
  nulls = { null, { a = null }, array { null, null }, true, false },
  escapes = { '"', "\\", "/", "\b\f\n\r\t", "\1\2\31", "\127", "</script>", "\u{2028}\u{2029}", "a\\u0041",
    "'; drop table events; --", "$1 ?1 %s" },
  texts = { "Grüße", "日本語", "עברית", "😀👩‍👩‍👧", "e\u{301}", "\u{e9}", "\u{feff}x", "\u{10ffff}", "\u{fffd}", (" "):rep(5),
    ("x"):rep(100000) },
  nested = { { a = { b = { c = array { 1, 2.0, "3", null, { d = array {} } } } } },
    array { array { 1 }, array { 2, array { 3 } } } },
}

-- A value of each name as an event's data: arrays made arrays, so that what comes back is of the same kind.
local function events()
  local all = {}
  for name, list in pairs(values) do
    all[#all + 1] = { id = name, type = "VALUES", data = { name = name, list = array(list) }, metadata = { list = array(list) } }
  end
  table.sort(all, function(a, b) return a.id < b.id end)
  all[#all + 1] = { id = "keys", type = "VALUES",
    data = { name = "keys", [""] = 1, ["a b"] = 2, ["ä"] = 3, ["日本"] = 4, ['"'] = 5, ["\n"] = 6, Z = 7, z = 8,
    ["10"] = 9, ["9"] = 10 } }
  return all
end

local bytes = {}

stores.each(_ENV, "values", function(place, kind)
  it("come back equal from the save, a read, a loop, another handle and a row", function()
    local store, all = place():open(), events()
    local saved = store:save_events(all)
    local other = place():open()
    local read, again = store:get_event_stream "VALUES", other:get_event_stream()
    local number = 0
    for event in store:events {} do
      number = number + 1
      for _, copy in ipairs { saved[number], read[number], again[number], event } do
        assert.equal(all[number].id, copy.id)
        expect.exactly(all[number].data, copy.data)
        if all[number].metadata then expect.exactly(all[number].metadata, copy.metadata) end
      end
      store:save_projection { type = "ROW", id = event.id, data = event.data, latest_event_id = event.id }
      expect.exactly(event.data, store:get_projection({ type = "ROW", id = event.id }).data)
      expect.exactly(event.data, other:query_projections({ type = "ROW", data = { name = event.id } })[1].data)
    end
    assert.equal(#all, number)
    local hex = place().hex
    bytes[kind] = place():sql(("select id, %s, %s from events order by position"):format(hex(place(), "data"),
      hex(place(), "metadata")))
    assert.equal(bytes[kind],
      place():sql(("select e.id, %s, %s from events e join projections p on p.id = e.id order by e.position")
      :format(hex(place(), "p.data"), hex(place(), "e.metadata"))))
  end)

  it("are folded and seen by scripts as they are", function()
    local apps = require "support.apps"
    local directory = apps.write {
      ["app.lua"] = [[
        event "VALUES" { name = t.string, list = t.array(t.any) }
        projection "LAST" { by = "name", init = { list = array {} },
          on = { VALUES = function(state, event) state.list = event.data.list end } }]],
    }
    local store = place():open { app = directory }
    for name, list in pairs(values) do
      local data = { name = name, list = array(list) }
      store:save_event { type = "VALUES", data = data }
      expect.exactly({ list = data.list }, store:view("LAST", name))
      store:projection("LAST", name):save()
      expect.exactly({ list = data.list }, store:get_projection({ type = "LAST", id = name }).data)
    end
    store:close()
    store = place():open { app = directory }
    for name, list in pairs(values) do expect.exactly({ list = array(list) }, store:view("LAST", name)) end
    apps.remove(directory)
  end)

  it("of lua-cjson save and come back", function()
    local store = place():open()
    local event = store:save_event { type = "CJSON",
      data = cjson.decode [[{"a":null,"b":[1,"two",null],"c":{"d":1.5},"e":[{"f":true}]}]] }
    assert.is_true(event.data.a == cjson.null)
    assert.equal('{"a":null,"b":[1.0,"two",null],"c":{"d":1.5},"e":[{"f":true}]}',
      annal.json.encode(store:get_latest_event("CJSON").data))
  end)

  it("that cannot be kept are refused, with their place", function()
    local store = place():open()
    local cycle = {}
    cycle.again = cycle
    for _, case in ipairs {
      { 0 / 0, "data.v" }, { 1 / 0, "data.v" }, { -1 / 0, "data.v" }, { "\xff", "data.v" }, { "a\0b", "data.v" },
        { { [3] = 1 }, "data.v" },
      { { 1, 2, [4] = 4 }, "data.v" }, { { 1, a = 2 }, "data.v" }, { { [true] = 1 }, "data.v" }, { { [1.5] = 1 }, "data.v" },
        { print, "data.v" },
      { io.stdout, "data.v" }, { coroutine.create(print), "data.v" }, { setmetatable({}, {}), "data.v" },
        { cycle, "data.v.again" },
      { { w = { "ok", { x = 0 / 0 } } }, "data.v.w[2].x" }, { { ["a\0b"] = 1 }, "data.v" }, { { ["\xff"] = 1 }, "data.v" },
        { "\u{d800}", "data.v" },
    } do
      expect.error("invalid", case[2], function() store:save_event { type = "T", data = { v = case[1] } } end)
      expect.error("invalid", "metadata" .. case[2]:sub(5),
        function() store:save_event { type = "T", data = {}, metadata = { v = case[1] } } end)
    end
    assert.equal(0, place():count "events")
  end)
end)

describe("both stores", function()
  it("keep the same bytes", function()
    if not stores.postgres then error("ANNAL_TEST_PG is not set: run ./dev test, or name a server", 0) end
    local a, b = assert(bytes.sqlite), assert(bytes.postgresql)
    local same = 1
    while same <= #a and a:byte(same) == b:byte(same) do same = same + 1 end
    assert.equal(a:sub(same - 40, same + 40), b:sub(same - 40, same + 40))
    assert.equal(#a, #b)
  end)
end)
