-- A saved row is used only by the code that made it: whatever of that changes, the fold begins at the first event.
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

-- SUM includes reducers/sum.lua, which includes step.lua; OTHER and unused.lua have nothing to do with it.
local files = {
  ["events.lua"] = [[event "ADDED" { to = t.string, n = t.integer }]],
  ["sum.lua"] = [[projection "SUM" { by = "to", fields = { sum = include "reducers.sum" } }]],
  ["reducers/sum.lua"] = [[
    local step = include "step"
    return reducer { init = 0, on = { ADDED = function(sum, event) return sum + step * event.data.n end } }]],
  ["step.lua"] = [[return 1]],
  ["other.lua"] = [[projection "OTHER" { by = "to", init = { n = 0 }, on = { ADDED = function(s) s.n = s.n + 1 end } }]],
  ["unused.lua"] = [[return { 1 }]],
}

stores.each(_ENV, "a saved row", function(place)
  local directory, store
  before_each(function()
    directory = apps.write(files)
    store = place():open { app = directory }
    store:save_event { type = "ADDED", data = { to = "a", n = 5 } }
    store:projection("SUM", "a"):save()
    -- What no fold comes to: who shows it has used the row.
    place():sql [[update projections set state = '{"sum":1000}', data = '{"sum":1000}']]
    store:close()
  end)
  after_each(function() apps.remove(directory) end)

  local function with(changes)
    apps.write(changes, directory)
    store = place():open { app = directory }
    return store:view("SUM", "a").sum
  end

  it("is used by the code that made it", function() assert.equal(1000, with {}) end)

  it("is used when a file changes that is not included", function()
    assert.equal(1000, with {
      ["unused.lua"] = [[return { 2 }]],
      ["other.lua"] = files["other.lua"]:gsub("%+ 1", "+ 2"),
      ["new.lua"] = [[projection "NEW" { by = "to", init = 0, on = { ADDED = function() return 1 end } }]],
    })
    store:save_event { type = "ADDED", data = { to = "a", n = 1 } }
    assert.equal(1001, store:view("SUM", "a").sum)
  end)

  it("is not used when its reducer changes", function()
    assert.equal(15, with { ["reducers/sum.lua"] = files["reducers/sum.lua"]:gsub("step %*", "3 * step *") })
  end)

  it("is not used when a file changes that its reducer includes",
    function() assert.equal(10, with { ["step.lua"] = "return 2" }) end)

  it("is not used when its own file changes, were it in a comment", function()
    assert.equal(5, with { ["sum.lua"] = files["sum.lua"] .. " -- thought about it again" })
  end)

  it("is not used when an event that it consumes changes", function()
    assert.equal(5, with { ["events.lua"] = [[event "ADDED" { to = t.string, n = t.integer, why = t.optional(t.string) }]] })
  end)

  it("is used when the file of an event changes that was never upgraded", function()
    assert.equal(1000, with { ["events.lua"] = files["events.lua"] .. " -- thought about it again" })
  end)

  describe("of events that are upgraded", function()
    local upcasts = {
      ["added.lua"] = [[
        event "ADDED" { version = 2, schema = { to = t.string, n = t.integer }, upcast = { include "up.added" } }]],
      ["moved.lua"] = [[event "MOVED" { version = 2, schema = { to = t.string }, upcast = { include "up.moved" } }]],
      ["events.lua"] = "",
      ["up/added.lua"] = [[local factor = include "up.factor" return function(data) data.n = data.n * factor return data end]],
      ["up/factor.lua"] = "return 3",
      ["up/moved.lua"] = "return function(data) return data end",
    }

    before_each(function()
      assert.equal(15, with(upcasts)) -- another version, so another code than made the row
      store:projection("SUM", "a"):save()
      place():sql [[update projections set state = '{"sum":2000}', data = '{"sum":2000}']]
      store:close()
    end)

    it("is used by the code that made it", function() assert.equal(2000, with {}) end)

    it("is not used when the upcaster changes, nor when a file does that it includes", function()
      assert.equal(10, with { ["up/factor.lua"] = "return 2" })
      assert.equal(2000, with { ["up/factor.lua"] = upcasts["up/factor.lua"] })
      assert.equal(20, with { ["up/added.lua"] = upcasts["up/added.lua"]:gsub("%* factor", "* (factor + 1)") })
    end)

    it("is not used when the file changes that declares the event, were it in a comment", function()
      assert.equal(15, with { ["added.lua"] = upcasts["added.lua"] .. " -- thought about it again" })
    end)

    it("is used when the upcaster of another event changes", function()
      assert.equal(2000, with { ["up/moved.lua"] = "return function(data) data.to = data.to return data end" })
    end)
  end)

  it("is used again when the code is again what it was", function()
    assert.equal(10, with { ["step.lua"] = "return 2" })
    store:close()
    assert.equal(1000, with { ["step.lua"] = files["step.lua"] })
  end)

  it("of other code is left beside, is shown as stale by a query and never by a view", function()
    assert.equal(10, with { ["step.lua"] = "return 2" })
    local rows = store:query_projections { type = "SUM" }
    assert.same({ 1000 }, expect.pluck(rows, "data.sum"))
    assert.is_true(rows[1].stale)
    assert.equal("created", store:projection("SUM", "a"):save().status)
    rows = store:query_projections { type = "SUM" }
    assert.same({ 10 }, expect.pluck(rows, "data.sum"))
    assert.is_false(rows[1].stale)
    assert.equal(2, place():count "projections")
  end)

  it("is not used by a store that loads changed scripts while it is open", function()
    store = place():open { app = directory }
    assert.equal(1000, store:view("SUM", "a").sum)
    apps.write({ ["step.lua"] = "return 2" }, directory)
    store:load(directory)
    assert.equal(10, store:view("SUM", "a").sum)
  end)

  it("stays usable where version pins its meaning", function()
    local pinned = apps.write {
      ["events.lua"] = files["events.lua"],
      ["sum.lua"] = [[projection "SUM" {
        version = 7, by = "to", init = { sum = 0 }, on = { ADDED = function(s, e) s.sum = s.sum + e.data.n end } }]],
    }
    store = place():open { app = pinned, cache = 0 } -- so that what is in the row shows
    assert.equal(5, store:view("SUM", "a").sum)
    store:projection("SUM", "a"):save()
    place():sql [[update projections set state = '{"sum":2000}', data = '{"sum":2000}']]
    apps.write({ ["sum.lua"] = shell.read(pinned .. "/sum.lua") .. " -- a comment" }, pinned)
    store:load(pinned)
    assert.equal(2000, store:view("SUM", "a").sum)
    apps.write({ ["sum.lua"] = shell.read(pinned .. "/sum.lua"):gsub("version = 7", "version = 8") }, pinned)
    store:load(pinned)
    assert.equal(5, store:view("SUM", "a").sum)
    apps.remove(pinned)
  end)
end)
