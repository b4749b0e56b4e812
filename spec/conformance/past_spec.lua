-- Views as of the past: of a position, or of a time. On every store.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local files = {
  ["app.lua"] = [[
    event "HIT" { of = t.string }
    projection "HITS" { by = "of", init = 0, on = { HIT = function(n) return n + 1 end },
      view = function(n, id) return { n = n, id = id } end }
    projection "ALL" { init = array {}, on = { HIT = function(list, event) list[#list + 1] = event.data.of end } }]],
}

stores.each(_ENV, "a view as of the past", function(place)
  local store, directory
  before_each(function()
    directory = apps.write(files)
    store = place():open { app = directory, data_indexes = { "of" } }
  end)
  after_each(function() apps.remove(directory) end)

  -- One event for each letter; answers them as stored.
  local function hit(letters)
    local events = {}
    for letter in letters:gmatch "." do events[#events + 1] = { type = "HIT", data = { of = letter } } end
    return store:save_events(events)
  end

  it("is that of a position, with nothing above it", function()
    local saved = hit "abaab"
    local wanted = { [0] = 0, 1, 1, 2, 3, 3 }
    for position = 0, 5 do
      local view, latest_event_id, at = store:view("HITS", "a", { at = position })
      assert.same({ n = wanted[position], id = "a" }, view)
      local last = ({ [0] = 0, 1, 1, 3, 4, 4 })[position]
      assert.equal(last, at)
      assert.equal(saved[last] and saved[last].id, latest_event_id)
    end
    assert.same({ "a", "b", "a" }, (store:view("ALL", nil, { at = 3 })))
    assert.equal("[]", annal.json.encode((store:view("ALL", nil, { at = 0 }))))
    assert.same({ n = 0, id = "nobody" }, (store:view("HITS", "nobody", { at = 5 })))
  end)

  it("is the fold of the events up to there, whatever was read or saved before", function()
    hit "ab"
    store:projection("HITS", "a"):save()
    hit "aab"
    for _ = 1, 2 do
      for _, position in ipairs { 5, 1, 3, 0, 4, 2 } do
        local events = store:get_event_stream({ "HIT" }, { data = { of = "a" }, before = position + 1 })
        assert.equal(#events, store:view("HITS", "a", { at = position }).n)
        assert.equal(3, store:view("HITS", "a").n)
      end
      store:projection("HITS", "a"):save()
    end
    assert.equal(1, place():count "projections")
  end)

  it("is that of a time: by the events stored then or before", function()
    hit "a"
    shell.run { "sleep", "0.01" }
    local second = hit("aa")[1]
    shell.run { "sleep", "0.01" }
    local fourth = hit("a")[1]
    local function at(time) return store:view("HITS", "a", { at = time }).n end
    assert.equal(0, at "2000-01-01T00:00:00Z")
    assert.equal(0, at "1970-01-01T00:00:00Z")
    assert.equal(3, at(second.created_at))
    assert.equal(4, at(fourth.created_at))
    assert.equal(4, at "2999-12-31T23:59:59.999999Z")
    assert.equal(4, at "9999-12-31T23:59:59.999999Z")
    local micros = math.tointeger(second.created_at:match "%.(%d+)Z$")
    if micros > 0 then assert.equal(1, at((second.created_at:gsub("%.%d+Z$", (".%06dZ"):format(micros - 1))))) end
    assert.equal(2, select(3, store:view("ALL", nil, { at = second.created_at })) - 1)
  end)

  it("of a time finds every border, in a store of any length", function()
    assert.same({ n = 0, id = "a" }, (store:view("HITS", "a", { at = "2026-01-01T00:00:00Z" })))
    -- Times that the store would give, so close that many are equal.
    local lines, time = {}, {}
    for position = 1, 40 do
      time[position] = ("2026-01-01T00:00:00.%06dZ"):format(position // 3 * 2)
      lines[position] = annal.json.encode { id = "e" .. position, type = "HIT", version = 1, data = { of = "a" },
        created_at = time[position] }
    end
    store:close()
    local here, home = place(), shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", home } end)
    shell.write(home .. "/annal.lua", ("return { store = %q, schema = %q, app = %q }"):format(here.location,
      here.options.schema or "annal", directory))
    local import = ("program=$(realpath %q) && cd %q && $program import events"):format(os.getenv "ANNAL_BUILD" .. "/annal", home)
    for _, length in ipairs { 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 40 } do
      shell.write(home .. "/events", table.concat(lines, "\n", 1, length) .. "\n")
      shell.run { "sh", "-c", import }
      local opened = here:open { app = directory }
      for micros = 0, length do
        local moment, wanted = ("2026-01-01T00:00:00.%06dZ"):format(micros), 0
        for position = 1, length do
          if time[position] <= moment then wanted = position end
        end
        assert.equal(wanted, opened:view("HITS", "a", { at = moment }).n)
      end
      opened:close()
    end
  end)

  it("beyond the newest event is not found, and both positions are named", function()
    expect.error("not_found", "position 1 ", "position 0", function() store:view("HITS", "a", { at = 1 }) end)
    hit "aaa"
    expect.error("not_found", "position 4 ", "position 3", "(at)", function() store:view("HITS", "a", { at = 4 }) end)
    assert.equal(3, store:view("HITS", "a", { at = 3 }).n)
    expect.error("not_found", "HIT", function() store:view("HIT", "a", { at = 3 }) end)
  end)

  it("is refused where it is no moment", function()
    hit "a"
    for _, at in ipairs { -1, 0.5, 1.25, 0 / 0, math.huge, true, {}, print, annal.null, "", "1", "yesterday", "2026-01-31",
      "2026-01-31T12:00:00", "2026-01-31T12:00:00+01:00", "2026-02-30T00:00:00Z", "2026-01-31T12:00:00.1234567Z" } do
      expect.error("misuse", "at", function() store:view("HITS", "a", { at = at }) end)
    end
    expect.error("misuse", "att", function() store:view("HITS", "a", { att = 1 }) end)
    assert.equal(1, store:view("HITS", "a", {}).n)
  end)
end)
