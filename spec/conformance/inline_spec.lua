-- Projections with keep = "inline": whatever saves events writes the rows that belong to them, in one transaction. What is
-- there is what the database's own client finds; what it must be is the fold of all events, from the first, by a twin of the
-- same code.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local process = require "support.process"
local shell = require "support.shell"
local stores = require "support.stores"

local scripts = [[
event "OPENED" { account = t.string, owner = t.string }
event "PAID" { account = t.string, cents = t.integer }
event "MOVED" { from = t.string, to = t.string, cents = t.integer }
event "NOTED" { account = t.optional(t.string), text = t.string }
event "LOOKED" { account = t.string, at = t.string }

local function account(keep)
  return {
    by = "account", keep = keep,
    init = function() return { owner = "", cents = 0, seen = array {} } end,
    on = {
      OPENED = function(state, event)
        if state.owner ~= "" then error "it is open" end
        state.owner = event.data.owner
      end,
      PAID = function(state, event)
        state.cents = state.cents + event.data.cents
        state.seen[#state.seen + 1] = event.id
        if state.cents < 0 then error "overdrawn" end
      end,
      NOTED = function(state, event) state.owner = event.data.text end,
      LOOKED = function(state, event) state.looked = event[event.data.at] end,
    },
    view = function(state, id) return { id = id, owner = state.owner, cents = state.cents } end,
  }
end
projection "ACCOUNT" (account "inline")
projection "TWIN" (account "live")

local function flows(keep)
  return {
    keep = keep,
    streams = function(id)
      return { { types = { "MOVED" }, data = { from = id } }, { types = { "MOVED" }, data = { to = id } } }
    end,
    ids = function(event) return { event.data.from, event.data.to } end,
    init = 0,
    on = { MOVED = function(sum, event) return sum + event.data.cents end },
  }
end
projection "FLOW" (flows "inline")
projection "FLOW_TWIN" (flows "live")

projection "TOTAL" { keep = "inline", init = 0, on = { PAID = function(sum, event) return sum + event.data.cents end } }

command "DRAW" {
  args = { account = t.string, cents = t.integer { min = 1 } },
  uses = { it = { "ACCOUNT", id = "account" } },
  decide = function(args, views)
    if views.it.cents < args.cents then reject "not enough" end
    return { type = "PAID", data = { account = args.account, cents = -args.cents } }
  end,
}
]]

stores.each(_ENV, "a projection that is kept inline", function(place, kind)
  local app, store
  local options
  before_each(function()
    app = apps.write { ["app.lua"] = scripts }
    options = { app = app, data_indexes = { "account", "from", "to" }, projection_indexes = { "owner" } }
    store = place():open(options)
  end)
  after_each(process.kill_all)
  after_each(function() apps.remove(app) end)

  local function paid(account, cents, id) return { id = id, type = "PAID", data = { account = account, cents = cents } } end

  local function row(type, id)
    return place():sql(([[select position, latest_event_id, data, state from projections where type = '%s' and id = '%s']])
      :format(type, id))
  end

  -- The row is what a fold from the first event makes of the same events.
  local function expect_whole(type, twin, id)
    local whole = store:projection(twin, id, { saved = false })
    whole:save()
    local kept = row(type, id)
    assert.not_equal("", kept)
    assert.equal(row(twin, id), kept)
  end

  it("has its row with the event", function()
    local first = store:save_event(paid("a", 5))
    assert.equal(1, place():count "projections where type = 'ACCOUNT'")
    assert.equal("1|" .. first.id, row("ACCOUNT", "a"):match "^%d+|[^|]+")
    store:save_events { paid("b", 1), paid("a", 7), { type = "OPENED", data = { account = "b", owner = "ada" } } }
    expect_whole("ACCOUNT", "TWIN", "a")
    expect_whole("ACCOUNT", "TWIN", "b")
    assert.same({ id = "a", owner = "", cents = 12 }, store:get_projection({ type = "ACCOUNT", id = "a" }).data)
    assert.equal(3, store:get_projection({ type = "ACCOUNT", id = "a" }).position)
    assert.same({ "b" }, expect.pluck(store:query_projections { type = "ACCOUNT", data = { owner = "ada" } }, "id"))
    assert.equal(13, store:get_projection({ type = "TOTAL", id = "" }).data)
    assert.equal(3, store:get_projection({ type = "TOTAL", id = "" }).position)
  end)

  it("goes on from what was stored before it was kept", function()
    local bare = place():open { data_indexes = { "account" } }
    bare:save_events { paid("a", 1), paid("a", 2), paid("b", 40) }
    assert.equal(0, place():count "projections")
    store:save_event(paid("a", 3))
    bare:save_event(paid("a", 4))
    store:save_event(paid("a", 5))
    expect_whole("ACCOUNT", "TWIN", "a")
    assert.equal("", row("ACCOUNT", "b"))
    assert.equal(55, store:get_projection({ type = "TOTAL", id = "" }).data)
  end)

  it("is built by a worker where events were there before, while saves go on", function()
    local bare = place():open { data_indexes = { "account" } }
    bare:save_events { paid("a", 1), paid("a", 2), paid("b", 40) }
    store:save_event(paid("a", 3))
    assert.equal("", row("ACCOUNT", "b"))
    for _ = 1, 4 do
      store:run_once(0)
      store:save_event(paid("c", 1))
    end
    while store:run_once(0) do end
    for _, id in ipairs { "a", "b", "c" } do expect_whole("ACCOUNT", "TWIN", id) end
    store:save_event(paid("b", 2)) -- ahead of the worker
    expect_whole("ACCOUNT", "TWIN", "b")
    local rows = store:query_projections { type = "ACCOUNT" }
    assert.same({ "a", "b", "c" }, expect.pluck(rows, "id"))
    assert.same({ false, false, false }, expect.pluck(rows, "stale"))
    assert.equal(42, rows[2].data.cents)
    while store:run_once(0) do end
    expect_whole("ACCOUNT", "TWIN", "b")
  end)

  it("finds its instances by streams and ids, each once", function()
    store:save_event { type = "MOVED", data = { from = "a", to = "b", cents = 3 } }
    store:save_events {
      { type = "MOVED", data = { from = "b", to = "c", cents = 4 } },
      { type = "MOVED", data = { from = "a", to = "a", cents = 5 } },
    }
    for _, id in ipairs { "a", "b", "c" } do expect_whole("FLOW", "FLOW_TWIN", id) end
    assert.equal(8, store:get_projection({ type = "FLOW", id = "a" }).data)
  end)

  it("is for no instance where the identifier is absent, and knows strings with escapes", function()
    store:save_event { type = "NOTED", data = { text = "nobody's" } }
    assert.equal(0, place():count "projections")
    local id = 'say "hi" \\ äöü'
    store:save_event(paid(id, 1))
    store:save_event { type = "NOTED", data = { account = id, text = "x" } }
    assert.same({ id }, expect.pluck(store:query_projections { type = "ACCOUNT" }, "id"))
    assert.same({ id = id, owner = "x", cents = 1 }, store:get_projection({ type = "ACCOUNT", id = id }).data)
  end)

  it("refuses with its event what its handler refuses, and has no row then", function()
    store:save_event(paid("a", 5))
    local before = row("ACCOUNT", "a")
    expect.error("script", "overdrawn", "app.lua:19", function()
      store:save_events { paid("a", 1), paid("a", -20), paid("b", 1) }
    end)
    expect.error("script", "overdrawn", function() store:save_event(paid("c", -1)) end)
    assert.equal(1, place():count "events")
    assert.equal(before, row("ACCOUNT", "a"))
    assert.equal(1, place():count "projections where type = 'ACCOUNT'")
    store:save_event(paid("a", -5))
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("refuses a declared field of its view that no index could hold", function()
    expect.error("invalid", "owner", function()
      store:save_event { type = "NOTED", data = { account = "a", text = ("x"):rep(600) } }
    end)
    assert.equal(0, place():count "events")
    assert.equal(0, place():count "projections")
  end)

  it("tells a handler that looks at what only the stored event has", function()
    for _, field in ipairs { "position", "created_at" } do
      local problem = expect.error("script", "event." .. field, 'keep = "background"', function()
        store:save_event { type = "LOOKED", data = { account = "a", at = field } }
      end)
      assert.matches("app.lua:22$", problem.where)
    end
    assert.equal(0, place():count "events")
    store:save_event { type = "LOOKED", data = { account = "a", at = "id" } }
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("is written once by a save that is repeated under its ids", function()
    local events = { paid("a", 5, "e1"), { id = "e2", type = "OPENED", data = { account = "a", owner = "ada" } } }
    local stored = store:save_events(events)
    store:save_event(paid("a", 1))
    local before = row("ACCOUNT", "a")
    assert.same(stored, store:save_events(events)) -- although its handler would refuse it now
    assert.same(stored, place():open(options):save_events(events))
    assert.equal(before, row("ACCOUNT", "a"))
    expect.error("duplicate", "e1", function() store:save_event(paid("a", 6, "e1")) end)
    assert.equal(before, row("ACCOUNT", "a"))
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("leaves a conflict of the caller's own condition to the caller", function()
    local first = store:save_event(paid("a", 5))
    store:save_event(paid("a", 1))
    local before = row("ACCOUNT", "a")
    local streams = { { types = { "PAID" }, data = { account = "a" } } }
    local problem = expect.error("conflict", "streams[1]", function()
      store:save_event_with_stream_validation(paid("a", 1), first.id, streams)
    end)
    assert.is_nil(problem.message:find("tries", 1, true))
    assert.equal(2, place():count "events")
    assert.equal(before, row("ACCOUNT", "a"))
    -- What is kept is newer than the condition's own events, and no conflict of theirs.
    store:save_event_with_stream_validation(paid("a", 1), nil, { { types = { "OPENED" }, data = { account = "a" } } })
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("is written by an instance that saves under its own streams", function()
    store:save_event(paid("a", 5))
    local account = store:projection("ACCOUNT", "a")
    assert.equal(5, account:view().cents)
    account:save_event(paid("a", -5))
    expect_whole("ACCOUNT", "TWIN", "a")
    expect.error("conflict", function() account:save_event(paid("a", 1)) end)
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("is written by commands", function()
    store:save_event(paid("a", 5))
    local stored = store:call("DRAW", { account = "a", cents = 3 }, { id = "r1" })
    assert.equal("2|r1/1", row("ACCOUNT", "a"):match "^%d+|[^|]+")
    assert.same(stored, store:call("DRAW", { account = "a", cents = 3 }, { id = "r1" }))
    expect.error("rejected", function() store:call("DRAW", { account = "a", cents = 3 }) end)
    expect_whole("ACCOUNT", "TWIN", "a")
  end)

  it("is written by an import, also by one that is run again", function()
    local directory = shell.temporary_directory()
    local file = directory .. "/log"
    local lines = {}
    for number = 1, 300 do
      lines[number] = annal.json.encode {
        id = "i" .. number, type = "PAID", data = { account = "a" .. number % 7, cents = number },
        created_at = ("2020-01-01T00:00:%09.6fZ"):format(number / 10),
      }
    end
    shell.write(file, table.concat(lines, "\n", 1, 150) .. "\n")
    local words = { os.getenv "ANNAL_BUILD" .. "/annal", "--store", place().location, "--app", app, "import", file }
    if kind == "postgresql" then
      local config = ("return { store = %q, schema = %q }"):format(place().location, place().options.schema)
      shell.write(directory .. "/annal.lua", config)
      words = { "sh", "-c", ('cd "$1" && exec "$2" --app "$3" import "$4"'), "sh", directory,
        shell.run { "realpath", os.getenv "ANNAL_BUILD" .. "/annal" }, app, file }
    end
    shell.run(words)
    for id = 0, 6 do expect_whole("ACCOUNT", "TWIN", "a" .. id) end
    shell.write(file, table.concat(lines, "\n") .. "\n")
    shell.run(words)
    assert.equal(300, place():count "events")
    for id = 0, 6 do expect_whole("ACCOUNT", "TWIN", "a" .. id) end
    assert.equal(300 * 301 // 2, store:get_projection({ type = "TOTAL", id = "" }).data)
    shell.run { "rm", "-rf", directory }
  end)

  it("takes the place of a row of events that are not stored any more", function()
    store:save_events { paid("a", 1), paid("a", 2), paid("a", 3) }
    place():sql "delete from events where position > 1" -- a restore
    local other = place():open(options)
    other:save_event(paid("a", 10))
    expect_whole("ACCOUNT", "TWIN", "a")
    assert.equal(11, other:get_projection({ type = "ACCOUNT", id = "a" }).data.cents)
  end)

  describe("in a transaction", function()
    local orders
    before_each(function()
      orders = kind == "postgresql" and place().options.schema .. ".orders" or "orders"
      place():sql(("create table %s (id integer primary key)"):format(orders))
    end)
    local function insert(tx, id) tx:execute(("INSERT INTO %s (id) VALUES ($1)"):format(orders), { id }) end

    it("is the fold of all its saves", function()
      store:save_event(paid("a", 1))
      store:transaction(function(tx)
        tx:save_events { paid("a", 2), paid("b", 3) }
        insert(tx, 1)
        tx:save_event(paid("a", 4))
        tx:save_event { type = "NOTED", data = { text = "nobody's" } }
      end)
      expect_whole("ACCOUNT", "TWIN", "a")
      expect_whole("ACCOUNT", "TWIN", "b")
      assert.equal(7, store:get_projection({ type = "ACCOUNT", id = "a" }).data.cents)
      assert.equal(4, store:get_projection({ type = "ACCOUNT", id = "a" }).position)
      assert.equal(3, store:get_projection({ type = "ACCOUNT", id = "b" }).position)
    end)

    it("is rolled back with it", function()
      pcall(store.transaction, store, function(tx)
        tx:save_event(paid("a", 2))
        error "no"
      end)
      expect.error("script", "overdrawn", function()
        store:transaction(function(tx)
          insert(tx, 1)
          pcall(tx.save_event, tx, paid("a", -2))
        end)
      end)
      assert.equal(0, place():count "projections")
      assert.equal(0, place():count "events")
      assert.equal(0, place():count "orders")
    end)

    it("is a conflict where it was overtaken inside", function()
      local other = place():open(options)
      store:save_event(paid("a", 1))
      expect.error("conflict", function()
        store:transaction(function(tx)
          tx:save_event(paid("a", 2))
          other:save_event(paid("a", 4))
          insert(tx, 1)
        end)
      end)
      assert.equal(2, place():count "events")
      assert.equal(0, place():count "orders")
      expect_whole("ACCOUNT", "TWIN", "a")
    end)

    it("is written once when the transaction is repeated", function()
      local function both(tx)
        tx:save_event(paid("a", 2, "t1"))
        tx:save_event { id = "t2", type = "OPENED", data = { account = "a", owner = "ada" } }
      end
      store:transaction(both)
      store:save_event(paid("a", 1))
      local before = row("ACCOUNT", "a")
      store:transaction(both)
      assert.equal(before, row("ACCOUNT", "a"))
      -- One of its saves is stored, and the other new.
      store:transaction(function(tx)
        tx:save_event(paid("a", 2, "t1"))
        tx:save_event(paid("a", 8))
      end)
      expect_whole("ACCOUNT", "TWIN", "a")
    end)
  end)

  -- Every instance has its row, and the row is of its last event and of all of them.
  local function count_wrong()
    return math.tointeger(place():sql [[
      select count(*) from
        (select data ->> 'account' as id, max(position) as position, sum(cast(data ->> 'cents' as integer)) as cents
           from events where type = 'PAID' group by 1) e
        left join (select id, position, cast(data ->> 'cents' as integer) as cents from projections where type = 'ACCOUNT') p
          on p.id = e.id
       where p.id is null or p.position <> e.position or p.cents <> e.cents]])
  end

  local function start_saver(number, saves)
    local schema = place().options.schema or ""
    return process.start("inline_saver", place().location, schema, app, tostring(number), tostring(saves))
  end

  it("is right although processes race for one instance, which all succeed", function()
    local racers, saves = 4, 25
    local field = {}
    for number = 1, racers do
      field[number] = start_saver(number, saves)
    end
    for _, racer in ipairs(field) do assert.equal("ready", racer:receive()) end
    for _, racer in ipairs(field) do racer:send "go" end
    for _, racer in ipairs(field) do assert.equal("done", racer:receive()) end
    for _, racer in ipairs(field) do assert.equal("", racer:stop()) end
    assert.equal(racers * saves, place():count "events where type = 'PAID'")
    assert.equal(0, count_wrong())
    expect_whole("ACCOUNT", "TWIN", "raced")
  end)

  it("is never behind its events nor ahead of them, although writers are killed", function()
    local writers = {}
    local function start(number)
      writers[number] = start_saver(number, "forever")
      assert.equal("ready", writers[number]:receive())
      writers[number]:send "go"
    end
    math.randomseed(os.time())
    for number = 1, 2 do start(number) end
    for _ = 1, 30 do
      shell.sleep(math.random() * 0.1)
      local number = math.random(2)
      writers[number]:kill()
      assert.equal("", writers[number]:stop())
      assert.equal(0, count_wrong())
      start(number)
    end
    for number = 1, 2 do
      writers[number]:kill()
      writers[number]:stop()
    end
    assert.is_true(place():count "events" > 30, "too little was written for the kills to have met anything")
    assert.equal(0, count_wrong())
    for _, kept in ipairs(store:query_projections { type = "ACCOUNT" }) do expect_whole("ACCOUNT", "TWIN", kept.id) end
  end)
end)
