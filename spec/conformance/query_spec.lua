-- Queries of rows: order by value, ranges, pages, on every store against one model of them in Lua.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local stores = require "support.stores"

local null, array, pluck = annal.null, annal.array, expect.pluck

local function float(bits) return (string.unpack("<d", string.pack("<i8", bits))) end
local function bits_of(number) return (string.unpack("<i8", string.pack("<d", number))) end

-- ---- The model --------------------------------------------------------------------------------------------------------

local absent = {} -- stands for a field that is not there

local function rank(value)
  if value == absent or value == null then return 0 end
  if value == false then return 1 end
  if value == true then return 2 end
  if type(value) == "number" then return 3 end
  if type(value) == "string" then return 4 end
  return annal.json.encode(value):sub(1, 1) == "[" and 5 or 6
end

-- By bytes: Lua's own comparison of strings asks the locale.
local function text_before(a, b)
  for i = 1, math.min(#a, #b) do
    if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
  end
  return #a < #b
end

-- Negative, 0 or positive. Lua compares integers with floats exactly.
local function compare(a, b)
  local by_rank = rank(a) - rank(b)
  if by_rank ~= 0 or rank(a) < 3 then return by_rank end
  if rank(a) == 3 then return a < b and -1 or a > b and 1 or 0 end
  if rank(a) > 4 then a, b = annal.json.encode(a), annal.json.encode(b) end
  return text_before(a, b) and -1 or text_before(b, a) and 1 or 0
end

local function in_range(value, range)
  if rank(value) ~= rank(range.min or range.max) then return false end
  return (range.min == nil or compare(value, range.min) >= 0) and (range.max == nil or compare(value, range.max) <= 0)
end

-- The ids of the rows { id, value } that a query is to give, in order.
local function expected(rows, descending, matches)
  local found = {}
  for _, row in ipairs(rows) do
    if not matches or matches(row.value) then found[#found + 1] = row end
  end
  table.sort(found, function(a, b)
    local by_value = compare(a.value, b.value)
    if by_value == 0 then by_value = text_before(a.id, b.id) and -1 or text_before(b.id, a.id) and 1 or 0 end
    if descending then return by_value > 0 end
    return by_value < 0
  end)
  return pluck(found, "id")
end

-- ---- Values -----------------------------------------------------------------------------------------------------------

local choice = {
  function() return absent end,
  function() return null end,
  function() return math.random(2) == 1 end,
  function() return math.random(-3, 3) end,
  function() return math.random(-6, 6) / 2 end,
  function() return math.random(0) end, -- any integer of 64 bits
  function() -- any double
    local number
    repeat number = float(math.random(0)) until number == number and math.abs(number) ~= math.huge
    return number
  end,
  function() -- where doubles are integers, but not every integer is a double
    local near = ({ 2 ^ 53, 2 ^ 54, 2 ^ 60, 2 ^ 62, 2 ^ 63, -2 ^ 53, -2 ^ 62, -2 ^ 63 })[math.random(8)]
    if math.random(2) == 1 then return float(bits_of(near) + math.random(-2, 2)) end
    local whole = math.tointeger(near) or math.maxinteger
    return whole + math.random(-3, 3) -- around the ends it wraps, and is an integer still
  end,
  function() -- two doubles side by side
    local below = ({ 0.1, 1e15, 1e23, 1e-300, 5e-324, 1.7976931348623155e308, 123456.789 })[math.random(7)]
    return float(bits_of(below) + math.random(0, 1))
  end,
  function() return ({ 0, 0.0, -0.0, 1, 1.0, 1e15, 1000000000000000 })[math.random(7)] end,
  function()
    return ({ "", "1", "1.0", "true", "null", "a", "A", "ab", "a b", "ü", "z", "€", "\u{10ffff}", "\u{ffff}", "{}", "[1]", '"',
      "\\", "\n", "\127" })[math.random(20)]
  end,
  function()
    local text = {}
    for i = 1, math.random(0, 4) do
      text[i] = utf8.char(math.random(3) == 1 and math.random(0xE000, 0x10FFFF) or math.random(32, 126))
    end
    return table.concat(text)
  end,
  function() return array(({ {}, { 1 }, { 1.0 }, { 1, 2 }, { "a" }, { array {} } })[math.random(6)]) end,
  function() return ({ {}, { a = 1 }, { a = 1.0 }, { b = "x" }, { a = { b = null } } })[math.random(5)] end,
}

local function some_value() return choice[math.random(#choice)]() end

local function some_end(rank_wanted)
  local value
  repeat value = some_value() until rank(value) == rank_wanted
  return value
end

local function some_range()
  local of = math.random(2) == 1 and 3 or 4
  local which = math.random(4)
  return { min = which > 1 and some_end(of) or nil, max = which ~= 2 and some_end(of) or nil }
end

-- ---- Rows -------------------------------------------------------------------------------------------------------------

-- Ids that sort otherwise by bytes than by a language's rules, and otherwise than in the order in which they are saved.
local function id_of(number) return ({ "a", "B", "ä", "_", "Z" })[number % 5 + 1] .. (number * 7919 % 1009) end

stores.each(_ENV, "a query of rows", function(place)
  local store, event

  -- Rows whose fields `declared` and `plain` have the same value; the first of them has an index.
  local function fill(count)
    store = place():open { projection_indexes = { "declared", "group" } }
    event = store:save_event { type = "T", data = {} }
    local rows = {}
    for number = 1, count do
      local row = { id = id_of(number), value = some_value(), group = number % 3 }
      local data = { group = row.group }
      if row.value ~= absent then data.declared, data.plain = row.value, row.value end
      store:save_projection { type = "ROW", id = row.id, data = data, latest_event_id = event.id }
      row.data = data
      rows[number] = row
    end
    return rows
  end

  local function save(id, data) store:save_projection { type = "ROW", id = id, data = data, latest_event_id = event.id } end

  local function ids(query)
    query.type = "ROW"
    return pluck(store:query_projections(query), "id")
  end

  -- The same in pages of `limit`.
  local function ids_by_pages(query, limit)
    local all = {}
    query.limit = limit
    repeat
      local page = ids(query)
      assert.is_true(#page <= limit)
      table.move(page, 1, #page, #all + 1, all)
      query.after = page[#page]
    until #page < limit
    return all
  end

  it("gives what the model gives, whole and in pages, for random values of every kind", function()
    local seed = os.time()
    math.randomseed(seed)
    local told = ("with math.randomseed(%d)"):format(seed)
    local rows = fill(250)
    local by_id = {}
    for _, row in ipairs(rows) do by_id[row.id] = row end
    for _, row in ipairs(store:query_projections { type = "ROW" }) do
      assert.equal(annal.json.encode(by_id[row.id].data), annal.json.encode(row.data), told)
    end
    for _, field in ipairs { "declared", "plain" } do
      for _, descending in ipairs { false, true } do
        local order = descending and { field, descending = true } or field
        assert.same(expected(rows, descending), ids { order = order }, told)
        assert.same(expected(rows, descending), ids_by_pages({ order = order }, math.random(1, 60)), told)
        for _ = 1, 15 do
          local range = some_range()
          local wanted = expected(rows, descending, function(value) return in_range(value, range) end)
          local said = ("%s, range %s to %s"):format(told, range.min, range.max)
          assert.same(wanted, ids { data = { [field] = range }, order = order }, said)
          assert.same(wanted, ids_by_pages({ data = { [field] = range }, order = order }, math.random(1, 30)), said)
        end
      end
      -- Ordered by one field, selected by another.
      local group = math.random(0, 2)
      local of_group = {}
      for _, row in ipairs(rows) do
        if row.group == group then of_group[#of_group + 1] = row end
      end
      assert.same(expected(of_group, true), ids { data = { group = group }, order = { field, descending = true } }, told)
      local in_group = expected(of_group, true)
      assert.same(in_group, ids_by_pages({ data = { group = group }, order = { field, descending = true } }, 7), told)
      assert.same({ table.unpack(in_group, 1, 5) },
        ids { data = { group = { min = group, max = group } }, order = { field, descending = true }, limit = 5 }, told)
    end
  end)

  it("comes in pages by id where no order is asked for", function()
    local rows = fill(40)
    for _, row in ipairs(rows) do row.value = absent end
    local by_id = expected(rows, false)
    assert.same(by_id, ids {})
    assert.same(by_id, ids_by_pages({}, 7))
    assert.same({ table.unpack(by_id, 1, 3) }, ids { limit = 3 })
    assert.same({ table.unpack(by_id, 11, 13) }, ids { limit = 3, after = by_id[10] })
    assert.same({}, ids { after = by_id[#by_id] })
  end)

  it("takes numbers with numbers and strings with strings", function()
    fill(0)
    local values = { a = 9, b = "9", c = 10, d = "10", e = 9.5, f = true, g = array { 9 }, h = null }
    for id, value in pairs(values) do save(id, { declared = value, plain = value }) end
    for _, field in ipairs { "declared", "plain" } do
      assert.same({ "a", "e", "c" }, ids { data = { [field] = { min = 9, max = 10 } }, order = field })
      assert.same({ "e" }, ids { data = { [field] = { min = 9.25, max = 9.75 } } })
      assert.same({ "d", "b" }, ids { data = { [field] = { min = "1" } }, order = field })
      assert.same({ "b" }, ids { data = { [field] = { min = "9", max = "9" } } })
      assert.same({ "a" }, ids { data = { [field] = { max = 9 } } })
      assert.same({}, ids { data = { [field] = { min = 10, max = 9 } } })
      assert.same({ "h", "f", "a", "e", "c", "d", "b", "g" }, ids { order = field })
    end
    assert.same({ "a" }, ids { data = { plain = { min = 0 }, declared = "9" } })
    assert.same({ "e" }, ids { data = { plain = { min = 9.1 }, declared = { max = 9.9 } } })
  end)

  it("goes on after a row where that row stands now", function()
    fill(0)
    for number = 1, 6 do save("r" .. number, { declared = number }) end
    assert.same({ "r1", "r2" }, ids { order = "declared", limit = 2 })
    save("r2", { declared = 4.5 }) -- it moves on, and those before its new place are passed over
    assert.same({ "r5", "r6" }, ids { order = "declared", limit = 2, after = "r2" })
    save("r0", { declared = 0 }) -- one that comes in before is not seen any more
    assert.same({ "r3", "r4" }, ids { order = "declared", limit = 2, after = "r1" })
    save("r2", { declared = "no number any more" })
    assert.same({}, ids { data = { declared = { min = 0 } }, order = "declared", after = "r2" })
    assert.same({ "r6", "r5" },
      ids { data = { declared = { min = 0 } }, order = { "declared", descending = true }, limit = 2, after = "r2" })
  end)

  it("cannot go on after a row that is not there", function()
    fill(3)
    for _, order in ipairs { false, "declared", "plain" } do
      expect.error("not_found", '"nobody"', "after", function() ids { order = order or nil, after = "nobody" } end)
    end
    assert.equal(3, #ids { order = "plain" })
  end)

  it("takes an id that is a number as its text", function()
    fill(0)
    for number = 1, 3 do save(tostring(number), { n = number }) end
    assert.same({ "3" }, ids { after = 2 })
  end)

  it("is refused when it says what it cannot mean", function()
    fill(0)
    local function misuse(where, query) expect.error("misuse", where, function() ids(query) end) end
    misuse("order", { order = 1 })
    misuse("order", { order = {} })
    misuse("order", { order = { descending = true } })
    misuse("order", { order = { "a", "b" } })
    misuse("order", { order = { "a", desc = true } })
    misuse("order", { order = { "a", descending = 1 } })
    misuse("order", { order = "a b" })
    misuse("order", { order = "" })
    misuse("order", { order = "data->>'a'" })
    misuse("limit", { limit = 0 })
    misuse("limit", { limit = 1.5 })
    misuse("limit", { limit = "1" })
    misuse("after", { after = true })
    misuse("ordr", { ordr = "a" })
    misuse("data.a", { data = { a = { min = 1, max = "1" } } })
    misuse("data.a.min", { data = { a = { min = true } } })
    misuse("data.a.min", { data = { a = { min = null } } })
    misuse("data.a.max", { data = { a = { max = { 1 } } } })
    misuse("data.a.max", { data = { a = { max = 0 / 0 } } })
    misuse("data.a.min", { data = { a = { min = -math.huge } } })
    misuse("data.a", { data = { a = { min = 1, mx = 2 } } })
    misuse("data.a", { data = { a = { min = 1, 2 } } })
    misuse("data.a", { data = { a = {} } })
    misuse("data", { data = { [1] = { min = 1 } } })
    misuse("data", { data = { ["a b"] = { min = 1 } } })
    misuse("data", { data = setmetatable({ a = { min = 1 } }, {}) })
    misuse("data.b", { data = { a = { min = 1 }, b = 1.5 } })
    expect.error("invalid", "data.a.min", function() ids { data = { a = { min = ("x"):rep(513) } } } end)
    expect.error("invalid", "data.a.max", function() ids { data = { a = { max = "\xff" } } } end)
    assert.same({}, ids { data = { a = { min = ("x"):rep(512) } } })
  end)

  it("names a type that nobody knows, whatever else it asks", function()
    fill(0)
    store:load "projections/todo"
    expect.error("not_found", "NONE", function()
      store:query_projections { type = "NONE", data = { a = { min = 1 } }, order = "a", limit = 1 }
    end)
  end)
end)

-- ---- Sets of other code -----------------------------------------------------------------------------------------------

stores.each(_ENV, "an ordered query of live rows", function(place)
  local directory
  local function app(suffix)
    return {
      ["app.lua"] = [[
        event "SCORED" { player = t.string, points = t.integer }
        projection "PLAYER" {
          by = "player",
          fields = { points = reducer { init = 0, on = { SCORED = function(p, event) return p + event.data.points end } } },
        }]] .. suffix,
    }
  end
  before_each(function() directory = apps.write(app "") end)
  after_each(function() apps.remove(directory) end)

  it("puts rows of other code among the loaded code's, marked, each id once", function()
    local options = { app = directory, projection_indexes = { "points" } }
    local store = place():open(options)
    local points = { a = 5, b = 1, c = 3, d = 4, e = 2 }
    for player, number in pairs(points) do
      store:save_event { type = "SCORED", data = { player = player, points = number } }
      store:projection("PLAYER", player):save()
    end
    store:close()
    apps.write(app " -- other code", directory)
    store = place():open(options)
    for _, player in ipairs { "b", "d" } do
      store:save_event { type = "SCORED", data = { player = player, points = 10 } }
      store:projection("PLAYER", player):save()
    end
    local function list(query)
      query.type = "PLAYER"
      local all = {}
      for i, row in ipairs(store:query_projections(query)) do
        all[i] = ("%s%d%s"):format(row.id, row.data.points, row.stale and "*" or "")
      end
      return table.concat(all, " ")
    end
    assert.equal("e2* c3* a5* b11 d14", list { order = "points" })
    assert.equal("d14 b11", list { order = { "points", descending = true }, limit = 2 })
    assert.equal("a5* c3*", list { order = { "points", descending = true }, limit = 2, after = "b" })
    assert.equal("b11 d14", list { order = "points", after = "a" })
    assert.equal("c3* a5* b11", list { data = { points = { min = 3, max = 11 } }, order = "points" })
    assert.equal("", list { data = { points = { min = 4, max = 4 } } }) -- a row that was passed over is not found by its fields
    assert.equal("a5* b11", list { limit = 2 })
  end)
end)
