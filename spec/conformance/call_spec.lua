-- Commands: what a call decides, stores and answers, and what it answers when it is repeated.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local stores = require "support.stores"

local bank = [[
event "PAID_IN" { account = t.string, cents = t.integer { min = 1 } }
event "TRANSFERRED" { from = t.string, to = t.string, cents = t.integer { min = 1, max = 1000 } }
event "CLOSED" { schema = { account = t.string }, validate = function(data) return data.account ~= "safe", "the safe stays" end }
event "NUMBERED" { number = t.integer }

local function cents(sum, event) return sum + event.data.cents end
projection "ACCOUNT" {
  streams = function(id)
    return {
      { types = { "PAID_IN", "CLOSED" }, data = { account = id } },
      { types = { "TRANSFERRED" }, data = { from = id } },
      { types = { "TRANSFERRED" }, data = { to = id } },
    }
  end,
  fields = {
    paid = reducer { init = 0, on = { PAID_IN = cents } },
    sent = reducer { init = array {}, on = {
      TRANSFERRED = function(list, e) table.insert(list, { e.data.from, e.data.cents }) end,
    } },
  },
  view = function(account, id)
    local balance = account.paid
    for _, one in ipairs(account.sent) do balance = balance + (one[1] == id and -one[2] or one[2]) end
    return { id = id, balance = balance, transfers = #account.sent }
  end,
}
projection "TOTAL" { init = { cents = 0, count = 0 }, on = { PAID_IN = function(total, event)
  total.cents, total.count = total.cents + event.data.cents, total.count + 1
end } }
projection "NUMBER" { by = "number", init = 0, on = { NUMBERED = function(n) return n + 1 end } }
]]

local commands = [[
command "PAY_IN" {
  args = { account = t.string, cents = t.integer { min = 1 } },
  decide = function(args) return { type = "PAID_IN", data = args } end,
}
command "TRANSFER" {
  args = { from = t.string, to = t.string, cents = t.integer { min = 1 } },
  uses = { from = { "ACCOUNT", id = "from" }, to = { "ACCOUNT", id = "to" } },
  decide = function(args, views)
    if views.from.balance < args.cents then reject("not enough money: there are " .. views.from.balance) end
    return { type = "TRANSFERRED", data = args }
  end,
}
command "SEE" {
  args = { from = t.string, to = t.string, n = t.integer },
  uses = {
    from = { "ACCOUNT", id = "from" }, to = { "ACCOUNT", id = function(args) return args.to end }, total = "TOTAL",
    number = { "NUMBER", id = "n" },
  },
  decide = function(args, views, context)
    return { type = "NUMBERED", data = { number = args.n },
      metadata = { views = views.from and { views.from, views.to, views.total, views.number }, now = context.now,
        ids = { context.new_id(), context.new_id() }, given = context.metadata } }
  end,
}
command "SEVERAL" {
  args = { count = t.integer },
  decide = function(args)
    local list = {}
    for number = 1, args.count do list[number] = { type = "NUMBERED", data = { number = number } } end
    return list
  end,
}
command "NOTHING" { uses = { total = "TOTAL" }, decide = function(_, views)
  if views.total.count > 0 then return { type = "NUMBERED", data = { number = views.total.count } } end
end }
command "CLOSE" {
  args = { account = t.string, as = t.optional(t.string) },
  decide = function(args) return { { type = "NUMBERED", data = { number = 1 } },
    { type = args.as or "CLOSED", data = { account = args.account } } } end,
}
command "STUBBORN" { args = { how = t.string }, decide = function(args)
  if args.how == "catch" then
    pcall(function() pcall(pcall, table.sort, { 1, 2 }, function() reject "no" end) end)
    return { type = "NUMBERED", data = { number = 1 } }
  elseif args.how == "loop" then
    while true do pcall(function() while true do end end) end
  elseif args.how == "wrong" then
    return { type = "NUMBERED", dta = {} }
  end
  local nothing = nil
  return nothing.field
end }
]]

stores.each(_ENV, "a call", function(place)
  local store, app
  before_each(function()
    app = apps.write { ["bank.lua"] = bank, ["commands.lua"] = commands }
    store = place():open { app = app, data_indexes = { "account", "from", "to" } }
  end)
  after_each(function() apps.remove(app) end)

  local function pay(account, cents, options) return store:call("PAY_IN", { account = account, cents = cents }, options) end
  local function transfer(from, to, cents, options)
    return store:call("TRANSFER", { from = from, to = to, cents = cents }, options)
  end
  local function events() return place():count "events" end

  it("stores what it decides, and answers it as it is stored", function()
    local stored = pay("a", 100)
    assert.equal(1, #stored)
    assert.same(store:get_event_stream(), stored)
    assert.equal("PAID_IN", stored[1].type)
    assert.same({ account = "a", cents = 100 }, stored[1].data)
    assert.equal(1, stored[1].position)
    assert.equal(1, stored[1].version)
    assert.is_nil(stored[1].metadata)
    assert.matches("^%w+$", stored[1].id)
    assert.equal(26, #stored[1].id)
    assert.equal(100, (store:view("ACCOUNT", "a")).balance)
  end)

  it("decides over views as of one moment, each fresh", function()
    pay("a", 100)
    pay("b", 50)
    transfer("a", "b", 30)
    local seen = store:call("SEE", { from = "a", to = "b", n = 7 })[1].metadata
    assert.same({
      { id = "a", balance = 70, transfers = 1 }, { id = "b", balance = 80, transfers = 1 }, { cents = 150, count = 2 }, 0,
    }, seen.views)
    assert.matches("^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$", seen.now)
    assert.is_true(seen.ids[1] ~= seen.ids[2])
    assert.same({}, seen.given)
    assert.equal(1, store:call("SEE", { from = "a", to = "a", n = 7 })[1].metadata.views[4])
  end)

  it("goes on from saved rows, and sees what other programs have saved", function()
    pay("a", 100)
    store:projection("ACCOUNT", "a"):save()
    store:projection("TOTAL"):save()
    local other = place():open { app = app }
    other:call("PAY_IN", { account = "a", cents = 11 })
    transfer("a", "b", 111)
    expect.error("rejected", function() other:call("TRANSFER", { from = "a", to = "b", cents = 1 }) end)
    local seen = other:call("SEE", { from = "a", to = "b", n = 1 })[1].metadata
    assert.same({ 0, 111, 111 }, { seen.views[1].balance, seen.views[2].balance, seen.views[3].cents })
  end)

  it("is rejected with the command's reason, and stores nothing", function()
    pay("a", 10)
    local problem = expect.error("rejected", function() transfer("a", "b", 11) end)
    assert.equal("not enough money: there are 10", problem.message)
    assert.is_nil(problem.where)
    assert.is_false(problem.retryable)
    assert.equal("no", expect.error("rejected", function() store:call("STUBBORN", { how = "catch" }) end).message)
    assert.equal(1, events())
  end)

  it("may decide on nothing", function()
    assert.same({}, store:call("NOTHING", {}, { id = "r" }))
    assert.same({}, store:call "NOTHING")
    assert.equal(0, events())
    pay("a", 1)
    assert.same({ "r/1" }, expect.pluck(store:call("NOTHING", {}, { id = "r" }), "id")) -- it was not remembered
  end)

  it("stores all of several events or none", function()
    assert.same({ 1, 2, 3 }, expect.pluck(store:call("SEVERAL", { count = 3 }), "data.number"))
    local where = { safe = "events[2].data", other = "events[2].data.accont" }
    local problem = expect.error("invalid", "CLOSE decided on an event that cannot be saved", "the safe stays",
      function() store:call("CLOSE", { account = "safe" }) end)
    assert.equal(where.safe, problem.where)
    expect.error("invalid", "events[2]", "the scripts declare no event CLOSD (did you mean CLOSED?)",
      function() store:call("CLOSE", { account = "a", as = "CLOSD" }) end)
    assert.equal(3, events())
  end)

  describe("repeated under its request's id", function()
    it("answers what was stored and decides nothing anew", function()
      local first = pay("a", 100, { id = "r" })
      assert.equal("r/1", first[1].id)
      pay("b", 1)
      assert.same(first, pay("a", 100, { id = "r" }))
      assert.same(first, pay("other", 5, { id = "r" })) -- an id is for one request
      assert.same(first, transfer("x", "y", 5, { id = "r" })) -- and for one command: nothing is decided
      assert.equal(2, events())
      assert.same(first, place():open { app = app, read_only = true }:call("PAY_IN", { account = "a", cents = 1 }, { id = "r" }))
    end)

    it("answers all of its events, however many", function()
      for _, count in ipairs { 1, 2, 64, 65, 1500 } do
        local id = "r" .. count
        local first = store:call("SEVERAL", { count = count }, { id = id })
        pay("between", 1)
        local again = store:call("SEVERAL", { count = 1 }, { id = id })
        assert.equal(count, #again)
        assert.same(first, again)
        assert.equal(id .. "/" .. count, again[count].id)
      end
    end)

    it("is decided anew after a rejection", function()
      expect.error("rejected", function() transfer("a", "b", 5, { id = "r" }) end)
      pay("a", 5)
      assert.equal("r/1", transfer("a", "b", 5, { id = "r" })[1].id)
      assert.equal("r/1", transfer("a", "b", 5, { id = "r" })[1].id) -- although there is no money left
      assert.equal(2, events())
    end)

    it("makes the same new ids", function()
      local function ids(options) return store:call("SEE", { from = "a", to = "b", n = 1 }, options)[1].metadata.ids end
      local first = ids { id = "r" }
      assert.equal(26, #first[1])
      assert.is_true(first[1] ~= first[2])
      local directory = apps.write { ["bank.lua"] = bank, ["commands.lua"] = commands }
      finally(function() apps.remove(directory) end)
      local other = annal.open(":memory:", { app = directory })
      assert.same(first, other:call("SEE", { from = "a", to = "b", n = 1 }, { id = "r" })[1].metadata.ids)
      other:close()
      assert.is_true(ids { id = "s" }[1] ~= first[1])
      local without = ids()
      assert.is_true(without[1] ~= ids()[1])
    end)

    it("tells a stored part that is no part of it", function()
      store:save_event { id = "r/2", type = "NUMBERED", data = { number = 9 } }
      expect.error("duplicate", "r/2", function() store:call("SEVERAL", { count = 2 }, { id = "r" }) end)
      assert.equal(1, events())
      store:save_event { id = "s/1", type = "NUMBERED", data = { number = 9 } } -- by hand, it is the request's first event too
      assert.same({ "s/1" }, expect.pluck(store:call("SEVERAL", { count = 2 }, { id = "s" }), "id"))
      pay("between", 1)
      store:save_event { id = "s/2", type = "NUMBERED", data = { number = 9 } } -- what does not follow at once is no part of it
      assert.same({ "s/1" }, expect.pluck(store:call("SEVERAL", { count = 2 }, { id = "s" }), "id"))
    end)

    it("has an id of 1 to 56 bytes", function()
      assert.equal(("x"):rep(56) .. "/1", pay("a", 1, { id = ("x"):rep(56) })[1].id)
      expect.error("invalid", "id", function() pay("a", 1, { id = ("x"):rep(57) }) end)
      expect.error("misuse", "id is empty", function() pay("a", 1, { id = "" }) end)
      expect.error("invalid", "id", function() pay("a", 1, { id = "\xff" }) end)
      expect.error("misuse", "id must be a string", function() pay("a", 1, { id = 5 }) end)
      assert.equal(1, events())
    end)
  end)

  it("gives its metadata to decide and to the events, below their own", function()
    local metadata = { user = "u1", given = "call" }
    assert.same(metadata, pay("a", 1, { metadata = metadata })[1].metadata)
    local event = store:call("SEE", { from = "a", to = "b", n = 1 }, { metadata = metadata })[1]
    assert.equal("u1", event.metadata.user)
    assert.same(metadata, event.metadata.given)
    for _, one in ipairs(store:call("SEVERAL", { count = 2 }, { metadata = metadata })) do assert.same(metadata, one.metadata) end
    expect.error("misuse", "metadata", function() pay("a", 1, { metadata = "x" }) end)
    expect.error("invalid", "metadata", function() pay("a", 1, { metadata = annal.array {} }) end)
    expect.error("invalid", "metadata.f", function() pay("a", 1, { metadata = { f = print } }) end)
  end)

  it("says what is wrong with its arguments", function()
    local problem = expect.error("invalid", "TRANSFER: args.cents must be an integer of at least 1, not 0",
      function() transfer("a", "b", 0) end)
    assert.equal("args.cents", problem.where)
    expect.error("invalid", "args.from is missing", function() transfer(nil, "b", 1) end)
    expect.error("invalid", "args.to is empty, and as the id of an instance of ACCOUNT it cannot be",
      function() transfer("a", "", 1) end)
    expect.error("invalid", "args.from has 513 bytes: the id of an instance has at most 512",
      function() transfer(("x"):rep(513), "b", 1) end)
    expect.error("invalid", "args.x", function() store:call("NOTHING", { x = 1 }) end)
    expect.error("invalid", "args.x.y", function() store:call("NOTHING", { x = { y = print } }) end)
    expect.error("invalid", "args", function() store:call("NOTHING", { 1 }) end)
    expect.error("misuse", "args", function() store:call("NOTHING", "x") end)
    assert.equal(0, events())
  end)

  it("names file and line of what goes wrong in decide", function()
    local function stubborn(how) return function() store:call("STUBBORN", { how = how }) end end
    local problem = expect.error("script", "decide of STUBBORN: attempt to index a nil value (local 'nothing')", stubborn "")
    assert.matches("^commands%.lua:%d+$", problem.where)
    problem = expect.error("script", 'decide of STUBBORN: its event has no field "dta" (did you mean data?)', stubborn "wrong")
    assert.matches("^commands%.lua:%d+$", problem.where)
    problem = expect.error("budget", "decide of STUBBORN: used up its", stubborn "loop")
    assert.matches("^commands%.lua:%d+$", problem.where)
    assert.equal(0, events())
    pay("a", 1) -- nothing is broken by it
  end)

  it("of an unknown command is not found", function()
    expect.error("not_found", 'there is no command "TRANFER"; did you mean TRANSFER?', function() store:call "TRANFER" end)
    expect.error("not_found", 'there is no command "ELSE" in', function() store:call "ELSE" end)
    expect.error("not_found", "no scripts are loaded", function() annal.open(":memory:"):call "PAY_IN" end)
    expect.error("misuse", "command", function() store:call() end)
    expect.error("misuse", "command", function() store:call "" end)
    expect.error("misuse", "did you mean \"metadata\"?", function() store:call("NOTHING", {}, { metdata = {} }) end)
  end)

  it("has no place in a transaction", function()
    expect.error("misuse", "store:call has no place inside of store:transaction", function()
      store:transaction(function() pay("a", 1) end)
    end)
    store:transaction(function(tx) expect.error("misuse", "call", function() return tx.call end) end)
  end)

  it("needs a store that can be written to only when it has something to store", function()
    pay("a", 1)
    local reader = place():open { app = app, read_only = true }
    expect.error("rejected", function() reader:call("TRANSFER", { from = "a", to = "b", cents = 2 }) end)
    expect.error("misuse", "read-only", function() reader:call("TRANSFER", { from = "a", to = "b", cents = 1 }) end)
    assert.equal(1, events())
  end)

  describe("what follows from an event", function()
    it("bears its id and the correlation that it belongs to", function()
      local first = pay("a", 10)[1]
      local by = annal.caused_by(first)
      assert.same({ correlation_id = first.id, causation_id = first.id }, by)
      local second = transfer("a", "b", 1, { metadata = by })[1]
      assert.same(by, second.metadata)
      local third = store:save_event { type = "NUMBERED", data = { number = 1 }, metadata = annal.caused_by(second) }
      assert.same({ correlation_id = first.id, causation_id = second.id }, third.metadata)
      assert.same({ correlation_id = "own", causation_id = "x" },
        annal.caused_by { id = "x", metadata = { correlation_id = "own", more = 1 } })
      assert.same({ correlation_id = "x", causation_id = "x" }, annal.caused_by { id = "x", metadata = annal.null })
    end)

    it("is asked of an event alone", function()
      expect.error("misuse", "must be an event, not nil", function() annal.caused_by() end)
      expect.error("misuse", 'must be an event, not "x"', function() annal.caused_by "x" end)
      expect.error("misuse", "this one has no id", function() annal.caused_by { type = "T", data = {} } end)
      expect.error("misuse", "id must be a string", function() annal.caused_by { id = 5 } end)
      expect.error("misuse", "metadata must be a table", function() annal.caused_by { id = "x", metadata = 5 } end)
      expect.error("misuse", "metadata.correlation_id must be a string",
        function() annal.caused_by { id = "x", metadata = { correlation_id = 5 } } end)
      expect.error("misuse", "has no id", function() annal.caused_by(pay("a", 1)) end) -- a list is no event
    end)
  end)
end)
