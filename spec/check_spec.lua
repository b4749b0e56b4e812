-- `annal check` on scripts: what it finds without running them, where, and that it says nothing of what is right.
local apps = require "support.apps"
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"

describe("annal check", function()
  local directory
  after_each(function()
    if directory then apps.remove(directory) end
    directory = nil
  end)

  local function run(files)
    if type(files) == "string" then files = { ["app.lua"] = files } end
    directory = apps.write(files)
    local result = command.run { "--app", directory, "check" }
    local findings = {}
    for index, line in ipairs(command.lines(result.out)) do
      local document = cjson.decode(line)
      findings[index] = document.finding:sub(#directory + 2)
      assert.equal(directory .. "/", document.where:sub(1, #directory + 1))
      assert.equal(document.where, document.finding:sub(1, #document.where))
    end
    return findings, result
  end

  local CLOCK = "os is not there: a reducer that asks for the time would fold differently tomorrow; an event carries created_at"

  local function finds(files, ...)
    local findings, result = run(files)
    assert.same({ ... }, findings, result.err)
    assert.equal(select("#", ...) > 0 and 4 or 0, result.code, result.err)
    assert.equal("", result.err)
    apps.remove(directory)
  end

  local EVENTS = [[
event "ADDED" { cartId = t.string, quantity = t.integer, owner = t.object { name = t.string, age = t.optional(t.integer) } }
event "REMOVED" { cartId = t.string, productId = t.string }
]]

  describe("says nothing of", function()
    it("the two apps of the house", function()
      for _, name in ipairs { "cart", "todo" } do
        local result = command.run { "--app", command.root .. "/projections/" .. name, "check" }
        assert.same({ out = "", err = "", code = 0 }, result)
      end
    end)

    it("the README's apps", function()
      local files = {}
      for body in shell.read("README.md"):gmatch "\n```lua\n(.-\n)```" do
        local path = body:match "^%-%- ([%w_]+/[%w_/]+%.lua)\n"
        if path then files[path] = body end
        if body:find('^event "MONEY_DRAWN" {\n  version') then finds(body) end
      end
      assert.truthy(files["bank/account.lua"])
      finds(files)
    end)

    it("what is put together while the scripts load", function()
      finds [[
        for _, name in ipairs { "A", "B" } do event(name) { id = t.string } end
        local on = {}
        for _, name in ipairs { "A", "B" } do on[name] = function(n, e) return n + #e.data.id end end
        projection "P" { by = "id", init = 0, on = on }
        projection "Q" { init = 0, on = { A = function() return 1 end, B = function() return 2 end } }]]
    end)

    it("names that mean something after all", function()
      finds(EVENTS .. [[
        local function qty(data) return data.quantitys or data.quantity end
        local function keep(state, event)
          local data, own = event.data, event.data.owner
          data.cartID = data.cartId
          event.dat = data.cartID
          state.itms = event.dat
          return own.name .. own.age .. qty(data) .. state.itms
        end
        local function spread(state, more) for k, v in pairs(more) do state[k] = v end end
        projection "A" { by = "cartId", init = { items = 0, ids = {} }, on = { ADDED = function(s, e) keep(s, e) end } }
        projection "B" { init = { lines = 0 }, on = { ADDED = function(s, e) spread(s, e.data) s.lines = s.line end } }
        projection "C" { init = { lines = 0 }, on = { ADDED = function(s, e) return { lines = 1, line = s.line } end } }
        projection "D" { init = { lines = 0 }, on = { ADDED = function(s, e) s[e.data.cartId] = 1 s.lines = s.line end } }
        projection "E" { init = { lines = 0 }, on = { ADDED = function(s, e) s = e.data s.lines = s.line end } }
        local function shared(s, e) s[#s + 1] = e.data.productId or e.data.quantity return s end
        projection "F" { by = "cartId", init = array {}, on = { ADDED = shared, REMOVED = shared } }
        local function shown(s) return { a = s.page or s.pages } end
        projection "G" { init = { page = 0 }, on = { ADDED = function(s) return s end }, view = shown }
        projection "H" { fields = { pages = reducer { init = 0, on = { ADDED = function(n) return n + 1 end } } }, view = shown }
        local function called(s, e) return e.data.quantitys end
        projection "I" { init = 0, on = { ADDED = called, REMOVED = function(s) return called(s, { data = {} }) end } }]])
    end)

    it("variables that are called like something else", function()
      finds(EVENTS .. [[
        local os, event2 = { time = function() return 1 end }, event
        local function f(event, reducer) return event.nothing, reducer { on = { NOTHING = 1 } }, os.time() end
        do local print = log print(f) end
        local function g() local _ENV = { undefined = 1 } return undefined end
        goto done
        ::done::
        return { f, g, event2 }]])
    end)

    it("streams that are not written out", function()
      local on = "init = 0, on = { ADDED = function() end, REMOVED = function() end } }\n"
      finds(EVENTS .. [[
        local function streams(id)
          local list = { { types = { "ADDED" }, data = { cartId = id } } }
          if id ~= "x" then list[#list + 1] = { types = "REMOVED", data = { cartId = id } } end
          return list
        end
        projection "A" { streams = streams, ]] .. on .. [[
        projection "B" { streams = function(id) return { { data = { cartId = id } } } end, ]] .. on .. [[
        projection "C" { streams = function() return { { all = true } } end, ]] .. on .. [[
        projection "D" {
          streams = function(id)
            if id then return { { types = "ADDED" } } end
            return { { types = "REMOVED" } }
          end, ]] .. on .. [[
        local both = { "ADDED", "REMOVED" }
        projection "E" { streams = function(id) return { { types = both } } end, ]] .. on)
    end)

    it("chains that are whole or not written out", function()
      finds [[
        local function same(data) return data end
        local chain = {}
        for version = 1, 4 do chain[version] = same end
        event "A" { version = 5, schema = {}, upcast = chain }
        event "B" { version = 3, schema = {}, upcast = { same, [2] = same } }
        event "C" { schema = t.string, version = t.integer }
        event "D" { version = #chain, schema = { id = t.string }, upcast = { same, same, same } }]]
    end)
  end)

  describe("finds, with file and line,", function()
    it("events that are not declared, and handlers that stand twice", function()
      finds({
        ["events.lua"] = EVENTS,
        ["a.lua"] = [[
projection "P" { init = 0, on = {
  ADED = function() end,
  SOMETHING = function() end,
  ADDED = function() end,
  ADDED = function() end } }]],
        ["b/c.lua"] = "return reducer {\n  init = 0,\n  on = { REMOVED_ITEM = function() end, added = function() end },\n}",
      }, 'a.lua:2: projection P: there is no event "ADED" (did you mean ADDED?)',
        'a.lua:3: projection P: there is no event "SOMETHING"',
        "a.lua:5: projection P: ADDED has two handlers, of which the first is never called",
        'b/c.lua:3: reducer: there is no event "REMOVED_ITEM"',
        'b/c.lua:3: reducer: there is no event "added" (did you mean ADDED?)')
    end)

    it("identifiers that are no fields, and a by that leaves a handler out", function()
      finds(EVENTS .. [[
projection "P" {
  by = "cartID",
  init = 0, on = { ADDED = function() end } }
projection "Q" {
  by = {
    ADDED = "ownr",
    GONE = "id",
    REMOVED = "cartId" },
  init = 0, on = { ADDED = function() end } }
local add = reducer { init = 0, on = { ADDED = function() end } }
projection "R" {
  by = { ADDED = "cartId" },
  fields = { n = add, m = reducer { init = 0, on = {
    REMOVED = function() end } } } }]],
        "app.lua:4: projection P: by: event ADDED has no field cartID (did you mean cartId?)",
        "app.lua:8: projection Q: by: event ADDED has no field ownr (did you mean owner?)",
        'app.lua:9: projection Q: by: there is no event "GONE"',
        "app.lua:10: projection Q: by names event REMOVED, for which it has no handler",
        "app.lua:16: projection R: by names no identifier for event REMOVED, so its handler is never called")
    end)

    it("handlers that no stream reaches, and streams of nothing", function()
      finds(EVENTS .. [[
projection "P" {
  streams = function(id)
    return {
      { types = { "ADDED" }, data = { cartID = id } },
      { types = { "REMOVD", "ADDED" }, data = { cartId = id } },
    }
  end,
  init = 0,
  on = {
    ADDED = function() end,
    REMOVED = function() end,
  },
}]], "app.lua:6: streams of P: none of the events that this stream selects has a field cartID (did you mean cartId?)",
        'app.lua:7: streams of P: there is no event "REMOVD" (did you mean REMOVED?)',
        "app.lua:13: projection P: its handler for REMOVED is never called: none of its streams selects it")
    end)

    it("fields of events and states that are off by one letter", function()
      finds({
        ["events.lua"] = EVENTS .. [[
event "LONG" {
  schema = { word = t.string },
  validate = function(data) return data.wrod ~= "" and data.word ~= "x" end,
}]],
        ["add.lua"] = [[
return function(state, event)
  local data = event.data
  local owner = data.owner
  state.sum = state.sum + data.quantiy + owner.agee + event.data.cartID
  if event.postion then state.smu = nil end
  return state
end]],
        ["p.lua"] = [[
projection "P" {
  by = "cartId",
  init = function() return { sum = 0, count = 0 } end,
  on = {
    ADDED = include "add",
    REMOVED = function(s, e) s.count = s.cuont + #e.data.quantity + #e.data.productID + #e.metadat end,
  },
  view = function(s) return { sum = s.sumn, count = s.count } end,
}
projection "Q" {
  fields = { items = reducer { init = { list = array {} }, on = { REMOVED = function(s) s.list = s.lits end } } },
  view = function(q)
    return { q.itmes, q.items, function() return q.item end }
  end,
}]],
      }, "add.lua:4: ADDED: data has no field cartID (did you mean cartId?)",
        "add.lua:4: ADDED: data has no field quantiy (did you mean quantity?)",
        "add.lua:4: ADDED: data.owner has no field agee (did you mean age?)",
        "add.lua:5: an event has no field postion (did you mean position?)",
        "events.lua:5: LONG: data has no field wrod (did you mean word?)",
        "p.lua:6: REMOVED: data has no field productID (did you mean productId?)",
        "p.lua:6: an event has no field metadat (did you mean metadata?)",
        "p.lua:6: the state of P has no field cuont (did you mean count?)",
        "p.lua:8: the state of P has no field sumn (did you mean sum?)",
        "p.lua:11: the state of this reducer has no field lits (did you mean list?)",
        "p.lua:13: the state of Q has no field item (did you mean items?)",
        "p.lua:13: the state of Q has no field itmes (did you mean items?)")
    end)

    it("what was saved, where it is looked for in the event itself", function()
      finds(EVENTS .. [[
projection "P" { by = "cartId", init = 0, on = { ADDED = function(n, e) return n + e.quantity end } }]],
        "app.lua:3: an event has no field quantity (what was saved is in event.data)")
    end)

    it("what commands use, read and make that is not there", function()
      local accounts = EVENTS .. [[
projection "CART" { by = "cartId", fields = { lines = reducer { init = 0, on = { ADDED = function(n) return n + 1 end } } } }
projection "SHAPED" { init = 0, on = { ADDED = function(n) return n + 1 end }, view = function(n) return { count = n } end,
  shape = { count = t.integer } }
]]
      finds(accounts .. [[
command "RIGHT" {
  args = { cartId = t.string, quantity = t.integer },
  uses = { cart = "CART", other = { "CART", id = "cartId" }, all = "SHAPED" },
  decide = function(args, views, context)
    if views.cart.lines + views.all.count > args.quantity then reject(context.now .. context.new_id()) end
    return { { type = "REMOVED", data = { cartId = args.cartId, productId = "x" } }, { type = "ADDED", data = args } }
  end,
}]])
      finds(accounts .. [[
command "WRONG" {
  args = { cartId = t.string, quantity = t.integer },
  uses = {
    cart = "CRT",
    other = { "CART", id = "cartID" },
    all = "SHAPED" },
  decide = function(args, views, context)
    local n = args.quantiy + views.al.count + views.all.cuont + views.other.m + views.other.lnies
    if n > 0 then return { type = "ADDD", data = args } end
    return {
      type = "REMOVED",
      data = { cartId = args.cartId, productID = context.id, time = context.now },
    }
  end,
}]], 'app.lua:9: command WRONG: uses.cart: there is no projection "CRT" (did you mean CART?)',
        'app.lua:10: command WRONG: uses.other: there is no argument "cartID" (did you mean cartId?)',
        "app.lua:13: command WRONG: args has no field quantiy (did you mean quantity?)",
        "app.lua:13: command WRONG: views has no field al (did you mean all?)",
        "app.lua:13: command WRONG: views.all has no field cuont (did you mean count?)",
        "app.lua:13: command WRONG: views.other has no field lnies (did you mean lines?)",
        'app.lua:14: command WRONG: there is no event "ADDD" (did you mean ADDED?)',
        "app.lua:17: command WRONG: context has no field id",
        "app.lua:17: command WRONG: event REMOVED has no field productID (did you mean productId?)",
        "app.lua:17: command WRONG: event REMOVED has no field time")
    end)

    it("upcasters that are missing or too many", function()
      finds([[
event "A" { version = 2, schema = { id = t.string } }
local function same(d) return d end
event "B" {
  version = 5,
  schema = {},
  upcast = {
    same,
    [3] = same,
    [5] = same,
  },
}
event "C" { schema = {}, upcast = { same } }]],
        "app.lua:1: event A: upcast has no function for version 1: [1] = function(data) … return data end",
        "app.lua:3: event B: upcast has no function for version 2, 4: [2] = function(data) … return data end",
        "app.lua:9: event B: upcast[5]: the current version is 5, so there is nothing to upgrade it to",
        "app.lua:12: event C: upcast[1]: the current version is 1, so there is nothing to upgrade it to")
    end)

    it("the clock, files, chance and names that are nowhere, in code that never ran", function()
      finds(EVENTS .. [[
local function never()
  local a = os.time() + io.open("x")
  print(undefind, math.random(), string.rpe("x", 2))
  counter = (counter or 0) + 1
  table.sort = nil
  return t.strng, tonumbr "1", coroutine.wrap(load "x")
end
projection "P" { init = 0, on = { ADDED = function() return never end } }]],
        "app.lua:4: io is not there: what a script reads has to come from events, so that a fold gives the same on every "
          .. "machine; to print use log",
        "app.lua:4: " .. CLOCK,
        "app.lua:5: math.random is not there: a fold that throws dice gives another state each time; let an event carry "
          .. "the number",
        "app.lua:5: print is not there: use log",
        "app.lua:5: string.rpe is not there (did you mean string.rep?)",
        "app.lua:5: undefind is not there: a variable must be declared with local",
        "app.lua:6: 'counter' is not declared: write local counter (a file's environment cannot be assigned to)",
        "app.lua:6: counter is not there: a variable must be declared with local",
        "app.lua:7: table.sort cannot be set: what is shared by all scripts cannot be written to",
        "app.lua:8: coroutine is not there: the budget counts the instructions of one thread",
        "app.lua:8: load is not there: code that is made while it runs is not covered by the fingerprint",
        "app.lua:8: t.strng is not there (did you mean t.string?)",
        "app.lua:8: tonumbr is not there (did you mean tonumber?)")
    end)

    it("files that are not there or no Lua, and what else keeps the app from loading, once", function()
      finds({
        ["a.lua"] = "local x = include 'b.c'\nlocal y = include 'libs.add'\n",
        ["lib/add.lua"] = "return function() return 1 +",
        ["z.lua"] = "local x = = 1",
        ["events.lua"] = EVENTS,
        ["folds.lua"] = "projection 'P' { init = 0, on = { ADED = function(s, e) return e.data.cartID .. os.date() end } }",
      }, "a.lua:1: include \"b.c\": there is no file b/c.lua below the app's directory",
        "a.lua:2: include \"libs.add\": there is no file libs/add.lua below the app's directory (did you mean lib.add?)",
        "folds.lua:1: " .. CLOCK,
        "lib/add.lua:1: unexpected symbol near <eof>", "z.lua:1: unexpected symbol near '='")
      finds(EVENTS .. "\n\nprojection 'P' {\n  init = 0,\n  on = { ADED = function() end },\n}",
        "app.lua:7: projection P: there is no event \"ADED\" (did you mean ADDED?)")
      finds({ ["a.lua"] = EVENTS, ["b.lua"] = "local n = 0\nwhile true do n = n + 1 end", ["c.lua"] = "local a = ipars" },
        "b.lua:2: used up its 100000000 instructions", "c.lua:1: ipars is not there (did you mean ipairs?)")
    end)

    it("odd names in one line of UTF-8", function()
      local findings, result = run("projection 'P' { init = 0, on = { ['A\\n\\xff\\27[1m'] = function() end } }")
      assert.equal(4, result.code)
      assert.same({ 'app.lua:1: projection P: there is no event "A ? [1m"' }, findings)
    end)
  end)

  describe("ends with", function()
    it("1 where there are no scripts to look at", function()
      local result = command.run { "--app", "/nowhere/at/all", "check" }
      assert.equal(1, result.code)
      assert.matches("^annal: not_found: ", result.err)
    end)

    it("2 where neither store nor scripts are named", function()
      local result = command.run({ "check" }, { cwd = "/" })
      assert.equal(2, result.code)
      assert.matches("^annal: misuse: no store is named", result.err)
    end)

    it("0 for a sound app whose store is not there yet, and says so", function()
      directory = apps.write { ["a.lua"] = EVENTS }
      local result = command.run { "--app", directory, "--store", directory .. "/none.db", "check" }
      assert.equal(0, result.code)
      assert.equal("", result.out)
      assert.matches("^annal: .*none%.db does not exist; only the scripts were looked at\n$", result.err)
      assert.is_false((shell.try { "test", "-e", directory .. "/none.db" }))
    end)

    it("4 for findings in scripts and store together, in the same form", function()
      directory = apps.write { ["a.lua"] = "local a = os", ["annal.lua"] = "store, app = 's.db', '.'" }
      for i = 1, 3 do command.ok { "--store", directory .. "/s.db", "save", "A", '{"n":' .. i .. "}" } end
      shell.run { "sqlite3", directory .. "/s.db", "delete from events where position = 2" }
      local result = command.run({ "check" }, { cwd = directory })
      assert.equal(4, result.code, result.err)
      local lines = command.lines(result.out)
      assert.equal(directory .. "/a.lua:1", cjson.decode(lines[1]).where)
      assert.is_true(#lines > 1)
      assert.is_nil(cjson.decode(lines[2]).where)
      local shown = command.on_terminal({ "check" }, {}, { cwd = directory, columns = 200 })
      assert.equal(4, shown.code)
      assert.equal(directory .. "/a.lua:1: " .. CLOCK, command.lines(shown.out)[1])
      assert.equal("position 2 is missing", command.lines(shown.out)[2])
    end)
  end)

  -- The compiler is the witness that scripts are read as they are run.
  it("knows the globals of every Lua file here, as the compiler does", function()
    local parse = dofile "lua/annal/check/parser.lua"(dofile "lua/annal/check/lexer.lua")
    local tree = dofile "lua/annal/check/tree.lua"
    local files, names = 0, 0
    for path in shell.run { "git", "ls-files", "*.lua" }:gmatch "[^\n]+" do
      local ours, theirs = {}, {}
      tree.walk(parse(shell.read(path), path), function(node)
        if node.kind == "name" and node.global then
          ours[#ours + 1] = ("%s %s %d"):format(node.target and "SETTABUP" or "GETTABUP", node.name, node.line)
        end
      end)
      for line in shell.run({ "luac5.4", "-l", "-p", path }):gmatch "[^\n]+" do
        local number, operation, name = line:match '%[(%d+)%]%s+([GS]ETTABUP)%s.*_ENV "([^"]*)"'
        if name then theirs[#theirs + 1] = ("%s %s %s"):format(operation, name, number) end
      end
      table.sort(ours)
      table.sort(theirs)
      assert.same(theirs, ours, path)
      files, names = files + 1, names + #ours
    end
    assert.is_true(files > 50 and names > 2000)
  end)
end)
