-- Scripts that change while a store is open: the next call is by the new ones, a broken set changes nothing. On every store.
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local function factor(n) return ("return %d"):format(n) end

local files = {
  ["events.lua"] = [[event "ADDED" { to = t.string, n = t.integer }]],
  ["sum.lua"] = [[local factor = include "factor"
    projection "SUM" { by = "to", init = { sum = 0 }, on = {
      ADDED = function(s, event) s.sum = s.sum + factor * event.data.n end } }]],
  ["factor.lua"] = factor(1),
}

-- Longer than changes have to rest and calls do not look. The call after it looks.
local function rest() shell.sleep(0.5) end

stores.each(_ENV, "changed scripts", function(place)
  local root, directory, store

  -- An app at a path below the root.
  local function write_app(path, changes)
    shell.run { "mkdir", "-p", root .. "/" .. path }
    apps.write(files, root .. "/" .. path)
    return apps.write(changes, root .. "/" .. path)
  end

  before_each(function()
    root = shell.temporary_directory()
    directory = write_app("app", {})
    store = place():open { app = directory }
    store:save_event { type = "ADDED", data = { to = "a", n = 5 } }
  end)
  after_each(function() apps.remove(root) end)

  local function write(name, text) apps.write({ [name] = text }, directory) end
  local function sum() return store:view("SUM", "a").sum end

  it("make the next view, from the right state, without a restart", function()
    store:projection("SUM", "a"):save()
    store:save_event { type = "ADDED", data = { to = "a", n = 1 } }
    assert.equal(6, sum())
    write("factor.lua", factor(10))
    rest()
    assert.equal(60, sum())
    store:save_event { type = "ADDED", data = { to = "a", n = 1 } }
    assert.equal(70, sum())
    assert.equal("created", store:projection("SUM", "a"):save().status)
    write("factor.lua", factor(1))
    rest()
    assert.equal(7, sum())
  end)

  it("leave saved rows valid that others made", function()
    store:close()
    store = place():open { app = directory, cache = 0 } -- so that what is in the row shows
    store:projection("SUM", "a"):save()
    place():sql [[update projections set state = '{"sum":1000}', data = '{"sum":1000}']]
    write("other.lua", [[event "OTHER" { n = t.integer }]])
    rest()
    assert.equal(1000, sum())
    store:save_event { type = "OTHER", data = { n = 1 } }
    store:save_event { type = "ADDED", data = { to = "a", n = 1 } }
    assert.equal(1001, sum())
    assert.is_false(store:get_projection({ type = "SUM", id = "a" }).stale)
    write("factor.lua", factor(2))
    rest()
    assert.equal(12, sum())
    assert.is_true(store:get_projection({ type = "SUM", id = "a" }).stale)
  end)

  it("check the next save", function()
    local function save(n) return store:save_event { type = "ADDED", data = { to = "a", n = n } } end
    save(-1)
    write("events.lua", [[event "ADDED" { to = t.string, n = t.integer { min = 0 } }]])
    rest()
    expect.error("invalid", "data.n", function() save(-1) end)
    write("events.lua", [[event "ADDED" {
      schema = { to = t.string, n = t.integer }, validate = function(data) return data.n ~= 7, "seven is refused" end }]])
    rest()
    save(-1)
    expect.error("invalid", "seven is refused", function() save(7) end)
  end)

  it("that are broken change nothing but the message, until they are mended", function()
    write("factor.lua", "return {\n  1,,\n}")
    write("other.lua", [[event "OTHER" { n = t.integer }]])
    rest()
    assert.equal(5, sum())
    expect.error("invalid", "OTHER", function() store:save_event { type = "OTHER", data = { n = 1 } } end)
    for _ = 1, 2 do
      local problem = expect.error("script", "unexpected symbol near ','", function() store:reload() end)
      assert.equal("factor.lua:2", problem.where)
    end
    write("factor.lua", "local f = nil + 1")
    local problem = expect.error("script", "arithmetic on a nil value", function() store:reload() end)
    assert.equal("factor.lua:1", problem.where)
    assert.equal(5, sum())
    write("factor.lua", factor(3))
    rest()
    assert.equal(15, sum())
    store:save_event { type = "OTHER", data = { n = 1 } }
  end)

  it("are in force at once where that is asked for", function()
    assert.is_false(store:reload())
    write("factor.lua", factor(2))
    assert.is_true(store:reload())
    assert.equal(10, sum())
    assert.is_false(store:reload())
    write("factor.lua", factor(2))
    assert.is_false(store:reload())
  end)

  it("are those below the directory that was loaded last", function()
    local other = write_app("other", {})
    store:load(other)
    write("factor.lua", factor(2))
    rest()
    assert.equal(5, sum())
    apps.write({ ["factor.lua"] = factor(3) }, other)
    rest()
    assert.equal(15, sum())
  end)

  it("do not change a projection object", function()
    local projection = store:projection("SUM", "a")
    assert.equal(5, projection:view().sum)
    write("factor.lua", factor(2))
    rest()
    assert.equal(10, sum())
    store:save_event { type = "ADDED", data = { to = "a", n = 1 } }
    assert.equal(6, projection:refresh():view().sum)
    assert.equal(12, store:projection("SUM", "a"):view().sum)
  end)

  it("are left alone without reload, until somebody asks", function()
    store:close()
    store = place():open { app = directory, reload = false }
    write("factor.lua", factor(2))
    rest()
    assert.equal(5, sum())
    assert.is_true(store:reload())
    assert.equal(10, sum())
  end)

  describe("are found", function()
    -- Makes sure that the directories are watched before they change.
    before_each(function()
      rest()
      assert.equal(5, sum())
    end)

    local function finds(expected)
      rest()
      assert.equal(expected, sum())
    end

    it("where editors put a new file in the place of the old one", function()
      write(".factor.lua.swp", factor(2))
      shell.run { "mv", directory .. "/.factor.lua.swp", directory .. "/factor.lua" }
      finds(10)
      shell.run { "mv", directory .. "/factor.lua", directory .. "/factor.lua~" }
      write("factor.lua", factor(3))
      finds(15)
    end)

    it("in new directories", function()
      write("deep/er/factor.lua", factor(4))
      write("sum.lua", files["sum.lua"]:gsub('"factor"', '"deep.er.factor"'))
      finds(20)
      write("deep/er/factor.lua", factor(5))
      finds(25)
      shell.run { "mv", directory .. "/deep", directory .. "/high" }
      write("sum.lua", files["sum.lua"]:gsub('"factor"', '"high.er.factor"'))
      finds(25)
      write("high/er/factor.lua", factor(6))
      finds(30)
    end)

    it("when a file is deleted", function()
      write("sum.lua", files["sum.lua"]:gsub('include "factor"', "7"))
      shell.run { "rm", directory .. "/factor.lua" }
      finds(35)
      shell.run { "rm", directory .. "/sum.lua" }
      rest()
      expect.error("not_found", "SUM", sum)
      write("sum.lua", files["sum.lua"]:gsub('include "factor"', "8"))
      finds(40)
    end)

    it("when a link is swapped as in a mounted ConfigMap", function()
      for version = 1, 2 do write(("..v%d/cm.lua"):format(version), factor(version + 10)) end
      shell.run { "ln", "-s", "..v1", directory .. "/..data" }
      shell.run { "ln", "-s", "..data/cm.lua", directory .. "/cm.lua" }
      write("sum.lua", files["sum.lua"]:gsub('"factor"', '"cm"'))
      finds(55)
      shell.run { "ln", "-s", "..v2", directory .. "/..data_tmp" }
      shell.run { "mv", "-T", directory .. "/..data_tmp", directory .. "/..data" }
      finds(60)
    end)

    it("when the directory is a link that is swapped", function()
      for version = 1, 2 do write_app(("v%d/app"):format(version), { ["factor.lua"] = factor(version + 20) }) end
      shell.run { "ln", "-s", "v1", root .. "/current" }
      store:load(root .. "/current/app")
      finds(105)
      shell.run { "ln", "-s", "v2", root .. "/next" }
      shell.run { "mv", "-T", root .. "/next", root .. "/current" }
      finds(110)
    end)

    it("after the directory was gone, which changes nothing", function()
      shell.run { "mv", directory, directory .. ".gone" }
      finds(5)
      expect.error("not_found", directory, function() store:reload() end)
      shell.run { "mv", directory .. ".gone", directory }
      write("factor.lua", factor(2))
      assert.is_true(store:reload())
      write("factor.lua", factor(3))
      finds(15)
    end)
  end)
end)
