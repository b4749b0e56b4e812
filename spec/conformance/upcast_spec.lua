-- Events of older versions: who reads them sees what the loaded scripts declare, whatever they were stored as. On every store.
local annal = require "annal"
local apps = require "support.apps"
local command = require "support.command"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local pluck = expect.pluck

-- The same payment as it was declared over the years.
local declared = {
  [[event "PAID" { accountId = t.string, euros = t.number, by = t.string, tags = t.optional(t.array(t.string)) }]],
  [[event "PAID" {
    version = 2,
    schema = { accountId = t.string, cents = t.integer, by = t.string, tags = t.optional(t.array(t.string)) },
    upcast = { include "to_cents" },
  }]],
  [[event "PAID" {
    version = 3,
    schema = { accountId = t.string, cents = t.integer, payer = t.object { name = t.string }, tags = t.array(t.string) },
    upcast = {
      [1] = include "to_cents",
      [2] = function(data)
        data.payer, data.by = { name = data.by }, nil
        if not data.tags then data.tags = {} end
        return data
      end,
    },
  }]],
}

local to_cents = [[return function(data)
  return { accountId = data.accountId, cents = math.tointeger(data.euros * 100), by = data.by, tags = data.tags }
end]]

local opened = 'event "OPENED" { accountId = t.string }\n'

-- Three ways to select what is folded: by an identifier, by streams, everything.
local folds = [[
local on = {
  OPENED = function(s, e) s.opened = e.data.accountId end,
  PAID = function(s, e)
    s.seen[#s.seen + 1] = { data = e.data, version = e.version, id = e.id, by = e.metadata and e.metadata.by }
  end,
}
projection "ACCOUNT" { by = "accountId", init = { seen = array {} }, on = on }
projection "LEDGER" { init = { seen = array {} }, on = on }
projection "PAYER" {
  streams = function(id) return { { types = { "PAID" }, data = { by = id } }, { types = { "OPENED" } } } end,
  init = { seen = array {} }, on = on,
}
projection "SUM" {
  by = "accountId",
  fields = {
    cents = reducer { init = 0, on = { PAID = function(sum, e) return sum + e.data.cents end } },
    count = reducer { init = 0, on = { PAID = function(count) return count + 1 end } },
  },
}]]

local function app_of(version)
  local files = { ["events.lua"] = opened .. declared[version], ["to_cents.lua"] = to_cents }
  if version == 3 then files["folds.lua"] = folds end
  return apps.write(files)
end

-- What the program of each version saved, and what that comes to by hand. The last one was not yet brought up to date.
local saved = {
  { 1, { id = "e1", type = "OPENED", data = { accountId = "a" } } },
  { 1, { id = "e2", type = "PAID", data = { accountId = "a", euros = 2.5, by = "ada" }, metadata = { by = "v1" } } },
  { 1, { id = "e3", type = "PAID", data = { accountId = "b", euros = 9007199254, by = "bob", tags = annal.array { "x" } } } },
  { 2, { id = "e4", type = "PAID", data = { accountId = "a", cents = 17, by = "ada", tags = annal.array {} } } },
  { 2, { id = "e5", type = "PAID", data = { accountId = "b", cents = 1, by = "ada" } } },
  { 3, { id = "e6", type = "PAID", data = { accountId = "a", cents = 3, payer = { name = "ada" }, tags = { "y" } } } },
  { 1, { id = "e7", type = "PAID", data = { accountId = "a", euros = 0, by = "eve" } } },
}
local by_hand = {
  { id = "e1", type = "OPENED", data = { accountId = "a" } },
  { id = "e2", type = "PAID", metadata = { by = "v1" },
    data = { accountId = "a", cents = 250, payer = { name = "ada" }, tags = {} } },
  { id = "e3", type = "PAID", data = { accountId = "b", cents = 900719925400, payer = { name = "bob" }, tags = { "x" } } },
  { id = "e4", type = "PAID", data = { accountId = "a", cents = 17, payer = { name = "ada" }, tags = {} } },
  { id = "e5", type = "PAID", data = { accountId = "b", cents = 1, payer = { name = "ada" }, tags = {} } },
  { id = "e6", type = "PAID", data = { accountId = "a", cents = 3, payer = { name = "ada" }, tags = { "y" } } },
  { id = "e7", type = "PAID", data = { accountId = "a", cents = 0, payer = { name = "eve" }, tags = {} } },
}

-- Events as texts without their times: nothing of them can be overlooked.
local function texts(list)
  local all = {}
  for index, event in ipairs(list) do
    local copy = {}
    for key, value in pairs(event) do copy[key] = value end
    copy.created_at = nil
    if copy.metadata == annal.null then copy.metadata = nil end
    all[index] = annal.json.encode(copy)
  end
  return all
end

local function decoded(text)
  local list = {}
  for index, line in ipairs(command.lines(text)) do list[index] = annal.json.decode(line) end
  return list
end

local function all_of(iterator)
  local list = {}
  for event in iterator do list[#list + 1] = event end
  return list
end

local function reversed(list)
  local other = {}
  for index, value in ipairs(list) do other[#list + 1 - index] = value end
  return other
end

stores.each(_ENV, "a store with events of three versions", function(place, kind)
  local directories, store, wanted, other

  before_each(function()
    directories = { app_of(1), app_of(2), app_of(3) }
    for version, directory in ipairs(directories) do
      local writer = place():open { app = directory, data_indexes = { "accountId" } }
      for _, one in ipairs(saved) do
        if one[1] == version and one[2].id ~= "e7" then writer:save_event(one[2]) end
      end
      writer:close()
    end
    local late = place():open { app = directories[1] }
    late:save_event(saved[7][2])
    late:close()
    store = place():open { app = directories[3] }
    other = stores.new(kind)
    local reference = other:open { app = directories[3], data_indexes = { "accountId" } }
    wanted = texts(reference:save_events(by_hand))
  end)
  after_each(function()
    other:remove()
    for _, directory in ipairs(directories) do apps.remove(directory) end
  end)

  local function pick(...)
    local list = {}
    for _, index in ipairs { ... } do list[#list + 1] = wanted[index] end
    return list
  end

  local function annal_command(words, options)
    options = options or {}
    local directory = shell.temporary_directory()
    local config = ("store = %q\n"):format(place().location)
    if kind == "postgresql" then config = config .. ("schema = %q\n"):format(place().options.schema) end
    shell.write(directory .. "/annal.lua", config)
    options.cwd = directory
    local result = command.run(words, options)
    shell.run { "rm", "-rf", directory }
    return result
  end

  -- The command with the newest scripts.
  local function shown(...)
    local result = annal_command { "--app", directories[3], ... }
    assert.equal(0, result.code, result.err)
    return decoded(result.out)
  end

  local function reader(app, ...)
    local words = { "env", "-u", "LD_PRELOAD", command.build .. "/spec/support/reader", place().location,
      place().options.schema or "", app, ... }
    return shell.try(words)
  end

  it("is read by lists as upgraded by hand", function()
    assert.same(wanted, texts(store:get_event_stream()))
    assert.same(pick(2, 3, 4, 5, 6, 7), texts(store:get_event_stream { "PAID" }))
    assert.same(pick(2, 4, 6, 7), texts(store:get_event_stream({ "PAID" }, { data = { accountId = "a" } })))
    assert.same(pick(5, 4), texts(store:get_event_stream({ "PAID" }, { before = "e6", limit = 2, reverse = true })))
    assert.same(pick(7), texts { (store:get_latest_event("PAID", { data = { accountId = "a" } })) })
    assert.same(pick(5), texts { (store:get_latest_event("PAID", { data = { accountId = "b" } })) })
    assert.same(wanted, texts(store:get_event_streams { { types = { "PAID" } }, { data = { accountId = "a" } } }))
  end)

  it("is read one by one, forwards and backwards", function()
    assert.same(wanted, texts(all_of(store:events())))
    assert.same(reversed(wanted), texts(all_of(store:events { reverse = true })))
    assert.same(pick(3, 5), texts(all_of(store:events { streams = { { data = { accountId = "b" } } } })))
  end)

  it("is followed", function()
    assert.same(wanted, texts(all_of(store:follow { timeout = 0 })))
    assert.same(pick(4, 5, 6, 7), texts(all_of(store:follow { types = "PAID", after = "e3", timeout = 0 })))
    local late = place():open { app = directories[2] }
    local follower = store:follow { after = "e7", timeout = 30 }
    late:save_event { id = "e8", type = "PAID", data = { accountId = "c", cents = 8, by = "zoe" } }
    assert.same({ accountId = "c", cents = 8, payer = { name = "zoe" }, tags = {} }, follower().data)
  end)

  it("is read within a transaction", function()
    store:transaction(function(tx)
      assert.same(wanted, texts(tx:get_event_stream()))
      assert.same(wanted, texts(all_of(tx:events())))
      assert.same(pick(7), texts { tx:get_latest_event "PAID" })
      assert.equal(270, tx:view("SUM", "a").cents)
    end)
  end)

  it("gives the views of events that were upgraded by hand", function()
    local reference = other.opened[1]
    for _, name in ipairs { "ACCOUNT", "LEDGER", "SUM" } do
      for _, id in ipairs(name == "LEDGER" and { "" } or { "a", "b", "nobody" }) do
        assert.equal(annal.json.encode((reference:view(name, id))), annal.json.encode((store:view(name, id))))
      end
    end
    assert.same({ cents = 270, count = 4 }, (store:view("SUM", "a")))
    for _, one in ipairs(store:view("LEDGER", "").seen) do assert.equal(3, one.version) end
  end)

  it("is selected by what is stored", function()
    assert.same(pick(2, 4, 5), texts(store:get_event_stream({ "PAID" }, { data = { by = "ada" } })))
    assert.same(pick(5), texts(store:get_event_stream({ "PAID" }, { data = { cents = 1 } })))
    assert.same({}, store:get_event_stream({ "PAID" }, { data = { cents = 250 } }))
    assert.same({ 250, 17, 1 }, pluck(store:view("PAYER", "ada").seen, "data.cents"))
  end)

  it("is folded on from a saved row, to the same", function()
    local before = store:projection("ACCOUNT", "a")
    assert.equal("created", before:save().status)
    local late = place():open { app = directories[1] }
    late:save_event { id = "e8", type = "PAID", data = { accountId = "a", euros = 1, by = "ada" } }
    before:refresh()
    local fresh = store:projection("ACCOUNT", "a", { saved = false }):view()
    assert.equal(5, #fresh.seen)
    assert.same({ accountId = "a", cents = 100, payer = { name = "ada" }, tags = {} }, fresh.seen[5].data)
    assert.equal(annal.json.encode(fresh), annal.json.encode(before:view()))
    assert.equal(annal.json.encode(fresh), annal.json.encode((store:view("ACCOUNT", "a"))))
  end)

  it("takes events of older versions as histories and staged, with and without their places", function()
    local plain = place():open() -- as they are stored
    local raw = plain:get_event_stream()
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(raw, "version"))
    local account = store:projection("ACCOUNT", "a", { saved = false })
    local view = annal.json.encode(account:view())
    assert.equal(view, annal.json.encode(account:from_history(raw):view()))
    assert.equal(view, annal.json.encode(account:from_history(store:get_event_stream()):view()))
    local unplaced = {}
    for index, event in ipairs(raw) do
      unplaced[index] =
        { id = event.id, type = event.type, version = event.version, data = event.data, metadata = event.metadata }
    end
    assert.equal(view, annal.json.encode(account:from_history(unplaced):view()))
    local sum = store:projection("SUM", "b")
    sum:apply { type = "PAID", version = 1, data = { accountId = "b", euros = 0.01, by = "x" } }
    sum:apply { type = "PAID", version = 2, data = { accountId = "b", cents = 7, by = "x" } }
    sum:apply { type = "PAID", version = 2, data = { accountId = "a", cents = 7, by = "x" } }
    assert.same({ cents = 900719925409, count = 4 }, sum:view())
    -- Selected by what they would be stored as.
    local payer = store:projection("PAYER", "new")
    payer:apply { type = "PAID", version = 2, data = { accountId = "b", cents = 7, by = "new" } }
    assert.same({ 7 }, pluck(payer:view().seen, "data.cents"))
  end)

  it("refuses to stage what would not fit once it is upgraded", function()
    local sum = store:projection("SUM", "b")
    expect.error("invalid", "data.payer.name", "upgraded from version 2 to 3", function()
      sum:apply { type = "PAID", version = 2, data = { accountId = "b", cents = 7, by = 7 } }
    end)
    expect.error("invalid", "version", function()
      sum:apply { type = "PAID", version = 4, data = { accountId = "b", cents = 7, by = "x" } }
    end)
    expect.error("script", "to_cents.lua:2", "from version 1 to 2", function()
      sum:apply { type = "PAID", version = 1, data = { accountId = "b", by = "x" } }
    end)
  end)

  it("refuses to save under an older version, and to take what was upgraded for what is stored", function()
    expect.error("invalid", "version", function()
      store:save_event { type = "PAID", version = 2, data = { accountId = "b", cents = 7, by = "x" } }
    end)
    local read = store:get_latest_event("PAID", { data = { accountId = "b" } })
    local again = { id = read.id, type = read.type, version = read.version, data = read.data }
    expect.error("duplicate", "e5", function() store:save_event(again) end)
    again.version = nil
    expect.error("duplicate", "e5", function() store:save_event(again) end)
    assert.equal(7, place():count "events")
    -- What is stored under the current version is a retry as ever.
    read = store:get_event_stream("PAID", { after = "e5", limit = 1 })[1]
    assert.equal(6, store:save_event { id = read.id, type = read.type, version = 3, data = read.data }.position)
  end)

  it("answers a call that is repeated by its id, also where it was stored under an older version", function()
    local decide = [[
      command "PAY" {
        args = { accountId = t.string },
        decide = function(args) return { { type = "PAID", data = %s }, { type = "OPENED", data = args } } end,
      }]]
    local old = apps.write { ["a.lua"] = opened .. declared[1]
      .. decide:format '{ accountId = args.accountId, euros = 1.5, by = "kim" }' }
    local new = apps.write { ["to_cents.lua"] = to_cents, ["a.lua"] = opened .. declared[3] .. decide:format "nil" }
    local late = place():open { app = old }
    assert.same({ 1, 1 }, pluck(late:call("PAY", { accountId = "k" }, { id = "r" }), "version"))
    late:load(new)
    local again = late:call("PAY", { accountId = "k" }, { id = "r" })
    assert.same({ "r/1", "r/2" }, pluck(again, "id"))
    assert.same({ 3, 1 }, pluck(again, "version"))
    assert.same({ accountId = "k", cents = 150, payer = { name = "kim" }, tags = {} }, again[1].data)
    assert.equal(9, place():count "events")
    apps.remove(old)
    apps.remove(new)
  end)

  it("is stored as it was", function()
    store:get_event_stream()
    store:projection("ACCOUNT", "a"):save()
    local rows = place():sql "select version, data from events order by position"
    assert.equal([[1|{"accountId":"a"}
1|{"accountId":"a","by":"ada","euros":2.5}
1|{"accountId":"b","by":"bob","euros":9007199254,"tags":["x"]}
2|{"accountId":"a","by":"ada","cents":17,"tags":[]}
2|{"accountId":"b","by":"ada","cents":1}
3|{"accountId":"a","cents":3,"payer":{"name":"ada"},"tags":["y"]}
1|{"accountId":"a","by":"eve","euros":0}]], rows)
  end)

  it("is read as it is stored without scripts, and where they do not declare the type", function()
    local plain = place():open()
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(plain:get_event_stream(), "version"))
    assert.equal(2.5, plain:get_event_stream()[2].data.euros)
    local elsewhere = apps.write { ["a.lua"] = opened }
    plain:load(elsewhere)
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(plain:get_event_stream(), "version"))
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(all_of(plain:follow { timeout = 0 }), "version"))
    apps.remove(elsewhere)
  end)

  it("is shown by the command", function()
    assert.same(wanted, texts(shown "events"))
    assert.same(pick(7, 6), texts(shown("events", "--reverse", "--limit", "2")))
    assert.same(pick(3, 5), texts(shown("events", "--data", "accountId=b")))
    assert.same({ cents = 270, count = 4 }, shown("view", "SUM", "a")[1])
    local typed = annal_command({ "--app", directories[3], "repl" },
      { input = "for _, e in ipairs(store:get_event_stream()) do print(annal.json.encode(e)) end\n" })
    assert.same(wanted, texts(decoded(typed.out)))
  end)

  it("is exported as it is stored, and upgraded on request", function()
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(shown "export", "version"))
    assert.equal(0, shown("export")[7].data.euros)
    assert.same(wanted, texts(shown("export", "--upcast")))
    local alone = annal_command { "export", "--upcast" }
    assert.equal(2, alone.code)
    assert.matches("^annal: misuse: %-%-upcast needs the scripts", alone.err)
  end)

  it("is seen by a C program", function()
    for _, words in ipairs { { "read" }, { "follow" } } do
      local ended, out = reader(directories[3], table.unpack(words))
      assert.is_true(ended, out)
      assert.same(wanted, texts(decoded(out)))
    end
    local _, out = reader(directories[3], "read", "PAID")
    assert.same(pick(2, 3, 4, 5, 6, 7), texts(decoded(out)))
    _, out = reader(directories[3], "view", "SUM", "a")
    assert.equal('{"cents":270,"count":4}\n', out)
    _, out = reader("", "read")
    assert.same({ 1, 1, 1, 2, 2, 3, 1 }, pluck(decoded(out), "version"))
  end)

  it("is not read by scripts that are older than it", function()
    local old = place():open { app = directories[2] }
    local function fails(action)
      expect.error("script", 'event "e6" (PAID, position 6) has version 3, but the scripts declare version 2',
        "events.lua:2", action)
    end
    fails(function() old:get_event_stream() end)
    fails(function() all_of(old:events { types = "PAID" }) end)
    assert.equal(5, #old:get_event_stream(nil, { before = 6 }))
    -- What comes before it is handed out, and the follower stays where it stands.
    local seen, follower = {}, old:follow { timeout = 0 }
    fails(function() for event in follower do seen[#seen + 1] = event.id end end)
    assert.same({ "e1", "e2", "e3", "e4", "e5" }, seen)
    fails(follower)
    old:load(directories[3])
    assert.equal("e6", follower().id)
    assert.same(pick(7), texts { follower() })
    local failed = annal_command { "--app", directories[1], "events" }
    assert.equal(1, failed.code)
    assert.equal(3, #command.lines(failed.out))
    assert.matches("^annal: script: event \"e4\" %(PAID, position 4%) has version 2", failed.err)
    local ended, out = reader(directories[2], "read")
    assert.is_false(ended)
    assert.matches("script: event \"e6\"", out, 1, true)
  end)

  it("is not folded by scripts that are older than it", function()
    local directory = apps.write { ["to_cents.lua"] = to_cents, ["a.lua"] = opened .. declared[2] .. [[
      projection "SUM" { by = "accountId", init = 0, on = { PAID = function(sum, e) return sum + e.data.cents end } }
      projection "OPENINGS" { init = 0, on = { OPENED = function(n) return n + 1 end } }]] }
    store:load(directory)
    expect.error("script", 'SUM "a": event "e6" (PAID, position 6) has version 3', "a.lua:2",
      function() store:view("SUM", "a") end)
    assert.equal(900719925401, (store:view("SUM", "b")))
    assert.equal(1, (store:view("OPENINGS", "")))
    apps.remove(directory)
  end)
end)

stores.each(_ENV, "an upcaster", function(place)
  local directory, store
  before_each(function()
    directory = apps.write { ["a.lua"] = 'event "E" { id = t.string, shelf = t.string, n = t.integer }' }
    store = place():open { app = directory, data_indexes = { "shelf" } }
    store:save_events {
      { id = "e1", type = "E", data = { id = "a", shelf = "s", n = 1 } },
      { id = "e2", type = "E", data = { id = "a", shelf = "s", n = 2 } },
      { id = "e3", type = "E", data = { id = "a", shelf = "s", n = 3 } },
    }
  end)
  after_each(function() apps.remove(directory) end)

  local function upcast(body)
    apps.write({ ["a.lua"] = ([[event "E" {
      version = 2,
      schema = { id = t.optional(t.any), shelf = t.optional(t.any), n = t.integer, label = t.optional(t.string) },
      upcast = { function(data)
        %s
      end },
    }
    projection "P" { by = "id", init = { n = 0 }, on = { E = function(s, e) s.n = s.n + e.data.n end } }
    projection "COUNT" { init = 0, on = { E = function(count) return count + 1 end } }]]):format(body) }, directory)
    store:load(directory)
  end

  -- Reads and folds alike end in the error, and name event and place.
  local function fails(code, position, ...)
    local words = { ('event "e%d" (E, position %d)'):format(position, position), ... }
    for _, action in ipairs {
      function() store:get_event_stream() end,
      function() all_of(store:events()) end,
      function() all_of(store:follow { timeout = 0 }) end,
      function() store:view("P", "a") end,
      function() store:view("COUNT", "") end, -- it looks at nothing of the event
    } do
      words[select("#", ...) + 2] = action
      expect.error(code, table.unpack(words))
    end
    local seen = {}
    pcall(function() for event in store:events() do seen[#seen + 1] = event.id end end)
    assert.equal(position - 1, #seen)
  end

  it("that fails is named with event and line, and those before are read", function()
    upcast "if data.n == 3 then data.n = data.n + data.missing end return data"
    fails("script", 3, "a.lua:5", "field 'missing'")
    upcast "if data.n == 2 then error 'no such thing' end return data"
    fails("script", 2, "a.lua:5", "no such thing")
  end)

  it("has to give what fits the schema, and does not have to be right before it is asked", function()
    upcast "if data.n == 2 then data.n = 'two' end return data"
    fails("script", 2, "a.lua:4", 'data.n must be an integer, not "two"')
    upcast "if data.n == 2 then return end return data"
    fails("script", 2, "a.lua:4", "returned nothing")
    assert.equal(1, #store:get_event_stream(nil, { limit = 1 }))
  end)

  it("may not change fields by which events are selected", function()
    upcast "if data.n == 2 then data.id = 'b' end return data"
    fails("script", 2, "a.lua:4", "data.id is changed")
    upcast "if data.n == 2 then data.shelf = nil end return data"
    fails("script", 2, "a.lua:4", "data.shelf is changed")
    upcast "data.label = data.shelf return data"
    assert.same({ "s", "s", "s" }, pluck(store:get_event_stream(), "data.label"))
  end)

  it("may not change fields that another opening has declared", function()
    upcast "data.n = data.n + 1 return data"
    assert.equal(9, store:view("P", "a").n)
    place():open { data_indexes = { "n" } }
    store = place():open { app = directory }
    fails("script", 1, "a.lua:4", "data.n is changed")
  end)

  it("that runs on and on ends in the budget", function()
    store:close()
    store = place():open { app = directory, budget = 1e5 }
    upcast "while data.n == 2 do pcall(error) end return data"
    fails("budget", 2, "a.lua:5", "100000 instructions")
    upcast "return data"
    assert.equal(6, store:view("P", "a").n)
  end)

  it("gets data of its own, once for each event", function()
    upcast "data.n = data.n * 10 return data"
    assert.same({ 10, 20, 30 }, pluck(store:get_event_stream(), "data.n"))
    assert.same({ 10, 20, 30 }, pluck(store:get_event_stream(), "data.n"))
    assert.equal(60, store:view("P", "a").n)
  end)

  it("is not asked about events of the current version", function()
    upcast "error 'not again'"
    store:save_event { id = "e4", type = "E", data = { id = "z", shelf = "s", n = 5 } }
    assert.same({ "e4" }, pluck(store:get_event_stream(nil, { after = "e3" }), "id"))
    assert.equal(5, store:view("P", "z").n)
    -- Nor are these checked again: what was stored stays readable.
    place():sql [[update events set data = '{"id":"z","n":"five"}' where position = 4]]
    assert.equal("five", store:get_latest_event("E").data.n)
  end)

  it("that is mended lets a follower go on where it stood", function()
    upcast "if data.n == 2 then error 'not yet' end return data"
    local follower = store:follow { timeout = 0 }
    assert.equal("e1", follower().id)
    expect.error("script", "not yet", follower)
    expect.error("script", "not yet", follower)
    upcast "data.n = data.n * 10 return data"
    assert.equal(20, follower().data.n)
    assert.equal(30, follower().data.n)
    assert.is_nil(follower())
  end)

  it("of a read is the one that was loaded when it began", function()
    upcast "data.n = data.n * 10 return data"
    local read = store:events()
    assert.equal(10, read().data.n)
    upcast "data.n = data.n * 100 return data"
    assert.equal(20, read().data.n)
    assert.equal(100, store:events()().data.n)
  end)
end)
