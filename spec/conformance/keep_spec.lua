-- Projections that are kept in the background: brought up to date by a worker, queried as one whole set, rebuilt. On every store.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local pluck = expect.pluck

-- A sum for each cart. `extra` is more Lua in the file (another fingerprint); `handler` what an event does.
local function sums(options)
  options = options or {}
  return ([[
    event "ADDED" { cartId = t.any, n = t.integer }
    event "OTHER" { x = t.integer }
    projection "SUM" { keep = "%s", by = "cartId", %s init = { sum = 0, seen = array {} },
      on = { ADDED = function(s, e) %s s.sum = s.sum + e.data.n table.insert(s.seen, e.position) end },
      view = function(s, id) %s return { id = id, sum = s.sum, seen = s.seen } end }
    %s]]):format(options.keep or "background", options.version and "version = " .. options.version .. "," or "",
    options.handler or "", options.view or "", options.extra or "")
end

local function add(store, cart, n) return store:save_event { type = "ADDED", data = { cartId = cart, n = n } } end

-- Works until there is nothing to do.
local function work(store)
  local steps = 0
  while store:run_once(0) do
    steps = steps + 1
    assert(steps < 1000, "there is always something to do")
  end
  return steps
end

local function query(store, options)
  local asked = { type = "SUM" }
  for key, value in pairs(options or {}) do asked[key] = value end
  return store:query_projections(asked)
end

-- "id=sum@position" of each row, with a * where it is stale and a ! where it is parked.
local function summary(rows)
  local words = {}
  for i, row in ipairs(rows) do
    words[i] = ("%s=%s@%d%s%s"):format(row.id, row.data.sum, row.position, row.stale and "*" or "", row.parked and "!" or "")
  end
  return table.concat(words, " ")
end

-- Every row equals the view that is folded from all events.
local function check_rows(store, rows, projection)
  for _, row in ipairs(rows) do
    local fresh = store:projection(projection or "SUM", row.id, { saved = false })
    assert.same(fresh:view(), row.data)
    assert.equal(fresh.position, row.position)
    assert.equal(fresh.latest_event_id, row.latest_event_id)
  end
end

stores.each(_ENV, "a projection that is kept in the background", function(place)
  local directory
  before_each(function() directory = apps.write { ["app.lua"] = sums() } end)
  after_each(function() apps.remove(directory) end)

  local function open(options)
    local all = { app = directory, data_indexes = { "cartId" }, reload = false }
    for key, value in pairs(options or {}) do all[key] = value end
    return place():open(all)
  end

  local function rewrite(store, options)
    apps.write({ ["app.lua"] = sums(options) }, directory)
    store:load(directory)
  end

  it("has no rows before anybody worked, and says so", function()
    local store = open()
    assert.same({}, query(store)) -- there is nothing that they could lack
    add(store, "a", 1)
    local problem = expect.error("unavailable", "SUM", "annal run", function() query(store) end)
    assert.is_true(problem.retryable)
    expect.error("unavailable", function() store:get_projection { type = "SUM", id = "a" } end)
    assert.is_true(store:run_once(0))
    assert.equal("a=1@1", summary(query(store)))
  end)

  it("follows the log, and has the row of every instance", function()
    local store = open()
    for i = 1, 20 do
      add(store, "c" .. i % 3, i)
      if i % 4 == 0 then store:save_event { type = "OTHER", data = { x = i } } end
    end
    work(store)
    local rows = query(store)
    assert.same({ "c0", "c1", "c2" }, pluck(rows, "id"))
    check_rows(store, rows)
    add(store, "c1", 100)
    add(store, "new", 5)
    local before = query(store)
    assert.equal(summary(rows), summary(before))
    assert.is_true(store:run_once(0))
    rows = query(store)
    assert.same({ "c0", "c1", "c2", "new" }, pluck(rows, "id"))
    check_rows(store, rows)
    assert.is_false(store:run_once(0))
    local row = store:get_projection { type = "SUM", id = "new" }
    assert.equal(5, row.data.sum)
    assert.is_nil(store:get_projection { type = "SUM", id = "nobody" })
  end)

  it("keeps instances apart by the text of their identifier", function()
    local store = open()
    local ids = { "a", "1", 1, true, "true", "with \"quotes\" and \\", "line\nfeed", "ümläut", ("x"):rep(512) }
    for i, id in ipairs(ids) do add(store, id, i) end
    add(store, 1.5, 50)
    add(store, annal.null, 60) -- of no instance, as what follows
    add(store, annal.array { 1 }, 70)
    add(store, { a = 1 }, 80)
    work(store)
    local rows = query(store)
    assert.equal(8, #rows)
    check_rows(store, rows)
    assert.equal(5, store:get_projection { type = "SUM", id = "1" }.data.sum) -- "1" and 1 are the same text
    assert.equal(50, store:get_projection { type = "SUM", id = "1.5" }.data.sum)
    assert.equal(7, store:get_projection { type = "SUM", id = "line\nfeed" }.data.sum)
  end)

  it("is waited for by at_least", function()
    local store, worker = open(), open()
    add(store, "a", 1)
    local saved = add(store, "a", 2)
    local problem = expect.error("unavailable", "annal run", function()
      query(store, { at_least = saved.position, timeout = 0.05 })
    end)
    assert.is_true(problem.retryable)
    worker:run_once(0)
    assert.equal("a=3@2", summary(query(store, { at_least = saved.position, timeout = 0.05 })))
    saved = add(store, "b", 3)
    problem = expect.error("unavailable", "position 2", "not of 3", function()
      query(store, { at_least = saved.position, timeout = 0 })
    end)
    assert.equal("at_least", problem.where)
    expect.error("misuse", "timeout", function() query(store, { timeout = "x" }) end)
    expect.error("misuse", "at_least", function() query(store, { at_least = -1 }) end)
    -- An event that is none of its own moves it too.
    saved = store:save_event { type = "OTHER", data = { x = 1 } }
    worker:run_once(0)
    assert.equal("a=3@2 b=3@3", summary(query(store, { at_least = saved.position, timeout = 0.05 })))
  end)

  it("has nothing to wait for when it is not kept", function()
    apps.write({ ["app.lua"] = sums { keep = "live" } }, directory)
    local store = open()
    add(store, "a", 1)
    expect.error("misuse", "at_least", "not kept", function() query(store, { at_least = 1 }) end)
    expect.error("misuse", "timeout", "not kept", function() query(store, { timeout = 1 }) end)
    assert.is_false(store:run_once(0))
    assert.same({}, query(store))
  end)

  it("goes on with a saved row that is ahead of the worker", function()
    local store = open()
    add(store, "a", 1)
    work(store)
    add(store, "a", 2)
    add(store, "b", 3)
    store:projection("SUM", "a"):save()
    assert.equal("a=3@2", summary(query(store)))
    work(store)
    assert.equal("a=3@2 b=3@3", summary(query(store)))
    check_rows(store, query(store))
  end)

  it("parks an instance whose handler fails, and no other", function()
    local store = open()
    rewrite(store, { handler = "if e.data.n == 13 then s.sum = 1000 error('unlucky') end" })
    for i = 1, 30 do add(store, "c" .. i % 3, i) end
    work(store)
    -- c1 has 1, 4, 7, 10, then 13: as of before that, whatever the handler had done by then.
    local rows = query(store)
    assert.equal("c0=165@30 c1=22@10*! c2=155@29", summary(rows))
    local event = store:get_event_stream({ "ADDED" }, { after = 12, limit = 1 })[1]
    assert.equal(event.id, rows[2].parked.event_id)
    assert.truthy(rows[2].parked.error:find("unlucky", 1, true))
    assert.is_nil(rows[1].parked)
    assert.is_true(store:get_projection { type = "SUM", id = "c1" }.stale)
    expect.error("script", "unlucky", function() store:view("SUM", "c1") end)
    -- One that fails at its first event has no row at all.
    add(store, "bad", 13)
    add(store, "bad", 1)
    add(store, "c2", 1)
    add(store, "c1", 1)
    work(store)
    assert.equal("c0=165@30 c1=22@10*! c2=156@33", summary(query(store)))
    local stats = store:stats()
    assert.equal(2, stats.sets[1].parked)
    assert.same({ "bad", "c1" }, pluck(stats.sets[1].problems, "id"))
    -- Mending the script makes other rows beside these, which are served until the others are complete.
    rewrite(store)
    rows = query(store)
    assert.same({ true, true, true }, pluck(rows, "stale"))
    work(store)
    rows = query(store)
    assert.equal("bad=14@32 c0=165@30 c1=146@34 c2=156@33", summary(rows))
    check_rows(store, rows)
  end)

  it("parks an instance whose handler does not end, and one that makes no state", function()
    local store = open()
    rewrite(store, {
      handler = "if e.data.n == 13 then while true do end elseif e.data.n == 14 then s.f = function() end end",
    })
    for i = 1, 4 do add(store, "c" .. i, i) end
    work(store)
    add(store, "c1", 13)
    add(store, "c2", 14)
    add(store, "c3", 15)
    work(store)
    assert.equal("c1=1@1*! c2=2@2*! c3=18@7 c4=4@4", summary(query(store)))
    expect.error("budget", function() store:view("SUM", "c1") end)
    expect.error("script", function() store:view("SUM", "c2") end)
  end)

  it("shows an instance again whose view failed for a while", function()
    local store = open()
    rewrite(store, { view = "if s.sum == 3 then error('not now') end" })
    add(store, "a", 1)
    add(store, "b", 5)
    work(store)
    add(store, "a", 2)
    work(store)
    assert.equal("a=1@1*! b=5@2", summary(query(store)))
    add(store, "b", 1)
    work(store)
    assert.equal("a=1@1*! b=6@4", summary(query(store)))
    add(store, "a", 4)
    work(store)
    local rows = query(store)
    assert.equal("a=7@5 b=6@4", summary(rows))
    check_rows(store, rows)
    assert.equal(0, store:stats().sets[1].parked)
  end)

  it("resumes parked instances under a pinned version when scripts are loaded", function()
    local store = open()
    rewrite(store, { version = 3, handler = "if e.data.n == 13 then error('unlucky') end" })
    for _, n in ipairs { 1, 13, 2 } do add(store, "a", n) end
    add(store, "b", 4)
    add(store, "c", 13)
    work(store)
    assert.equal("a=1@1*! b=4@4", summary(query(store)))
    store:load(directory) -- the same again: it fails again, and stays as it was
    work(store)
    assert.equal("a=1@1*! b=4@4", summary(query(store)))
    rewrite(store, { version = 3 })
    work(store)
    local rows = query(store)
    assert.equal("a=16@3 b=4@4 c=13@5", summary(rows))
    check_rows(store, rows)
    assert.equal(0, store:stats().sets[1].parked)
  end)

  it("is refolded when its last event is not stored any more", function()
    local store = open()
    for i = 1, 6 do add(store, "c" .. i % 2, i) end
    work(store)
    -- As after a restore of an older backup, whose positions were given out again.
    place():sql("update events set id = 'restored', data = '{\"cartId\":\"c1\",\"n\":100}' where position = 6")
    add(store, "c0", 7)
    work(store)
    local rows = query(store)
    assert.equal("c0=13@7 c1=109@6", summary(rows))
    check_rows(store, rows)
  end)

  it("does not go on with a row whose event is not stored", function()
    local store = open()
    for i = 1, 6 do add(store, "c" .. i % 2, i) end
    work(store)
    place():sql "update projections set latest_event_id = 'gone', position = 60, state = '{}' where id = 'c0'"
    add(store, "c0", 7)
    add(store, "c1", 8)
    work(store)
    local rows = query(store)
    assert.equal("c0=19@7 c1=17@8", summary(rows))
    check_rows(store, rows)
  end)

  it("is one instance for the whole store where it has no identifier", function()
    local store = open()
    rewrite(store, { extra = [[projection "ALL" { keep = "background", init = { n = 0 },
      on = { ADDED = function(s) s.n = s.n + 1 end, OTHER = function(s) s.n = s.n + 10 end } }]] })
    add(store, "a", 1)
    store:save_event { type = "OTHER", data = { x = 1 } }
    work(store)
    local rows = store:query_projections { type = "ALL" }
    assert.equal(1, #rows)
    assert.same({ n = 11 }, rows[1].data)
    assert.equal("", rows[1].id)
    check_rows(store, rows, "ALL")
    assert.equal("a=1@1", summary(query(store)))
  end)
end)

stores.each(_ENV, "a projection over streams that is kept", function(place)
  local directory
  after_each(function() apps.remove(directory) end)

  -- Transfers belong to two accounts.
  local function accounts(ids)
    return ([[
      event "OPENED" { accountId = t.string }
      event "MOVED" { from = t.string, to = t.string, cents = t.integer }
      projection "ACCOUNT" { keep = "background",
        streams = function(id) return {
          { types = { "OPENED" }, data = { accountId = id } },
          { types = { "MOVED" }, data = { from = id } }, { types = { "MOVED" }, data = { to = id } } } end,
        ids = function(event) %s end,
        init = { cents = 0, moves = 0 },
        on = { OPENED = function(s) s.cents = 100 end, MOVED = function(s, e) s.moves = s.moves + 1 end } }
      projection "COUNT" { keep = "background", init = 0, on = { MOVED = function(n) return n + 1 end } }]]):format(
      ids or "local d = event.data return event.type == 'MOVED' and { d.from, d.to } or { d.accountId }")
  end

  local function open(ids)
    directory = apps.write { ["app.lua"] = accounts(ids) }
    return place():open { app = directory, reload = false }
  end

  local function fill(store)
    for _, id in ipairs { "a", "b", "c" } do store:save_event { type = "OPENED", data = { accountId = id } } end
    for i = 1, 9 do
      local from, to = ("abc"):sub(i % 3 + 1, i % 3 + 1), ("cab"):sub(i % 2 + 1, i % 2 + 1)
      store:save_event { type = "MOVED", data = { from = from, to = to, cents = i } }
    end
  end

  it("folds each event once into each of its instances", function()
    local store = open()
    fill(store)
    work(store)
    store:save_event { type = "MOVED", data = { from = "a", to = "a", cents = 1 } }
    work(store)
    local rows = store:query_projections { type = "ACCOUNT" }
    assert.same({ "a", "b", "c" }, pluck(rows, "id"))
    check_rows(store, rows, "ACCOUNT")
  end)

  it("does not fold what ids names and streams do not", function()
    local store = open "return { 'a', 'b', 'c', 'stranger' }"
    fill(store)
    work(store)
    local rows = store:query_projections { type = "ACCOUNT" }
    assert.same({ "a", "b", "c" }, pluck(rows, "id"))
    check_rows(store, rows, "ACCOUNT")
  end)

  it("asks ids about the upgraded form of events", function()
    local store = open()
    fill(store)
    local ids = "local d = event.data return event.type == 'MOVED' and { d.from, d.to, d.by } or { d.accountId }"
    apps.write({ ["app.lua"] = accounts(ids)
      :gsub('event "MOVED" %b{}', [[event "MOVED" { version = 2,
        schema = { from = t.string, to = t.string, cents = t.integer, by = t.string },
        upcast = { function(data) data.by = data.from .. "!" return data end } }]]) }, directory)
    store:load(directory)
    store:save_event { type = "MOVED", data = { from = "a", to = "b", cents = 1, by = "c" } }
    work(store)
    local rows = store:query_projections { type = "ACCOUNT" }
    assert.same({ "a", "b", "c" }, pluck(rows, "id")) -- "a!" is nobody's stream
    check_rows(store, rows, "ACCOUNT")
    assert.equal(0, store:stats().sets[1].parked)
  end)

  it("stands still as a whole when ids fails, and no other projection does", function()
    local store = open "if event.position == 5 then error('no ids') end return { event.data.accountId or event.data.from }"
    fill(store)
    work(store)
    assert.equal(9, store:query_projections({ type = "COUNT" })[1].data)
    local set = store:stats().sets[1]
    assert.equal("ACCOUNT", set.type)
    assert.equal(4, set.position)
    assert.is_false(set.served)
    assert.equal("", set.problems[1].id)
    assert.truthy(set.problems[1].error:find("no ids", 1, true))
    expect.error("unavailable", function() store:query_projections { type = "ACCOUNT" } end)
    apps.write({ ["app.lua"] = accounts() }, directory)
    store:load(directory)
    work(store)
    check_rows(store, store:query_projections { type = "ACCOUNT" }, "ACCOUNT")
  end)

  it("tries every parked instance again, also beside a set that stands still as a whole", function()
    local function hits(ids, handler)
      return { ["app.lua"] = ([[
        event "HIT" { id = t.string }
        projection "ACCOUNT" { keep = "background", version = 1, init = 0,
          streams = function(id) return { { types = { "HIT" }, data = { id = id } } } end,
          ids = function(event) %s return { event.data.id } end,
          on = { HIT = function(n) %s return n + 1 end } }]]):format(ids, handler) }
    end
    directory = apps.write(hits("if event.data.id == 'stop' then error('no ids') end", "error('unlucky')"))
    local store, events = place():open { app = directory, reload = false }, {}
    for i = 1, 250 do events[i] = { type = "HIT", data = { id = ("i%03d"):format(i) } } end
    store:save_events(events)
    store:save_event { type = "HIT", data = { id = "stop" } }
    work(store)
    assert.equal(251, store:stats().sets[1].parked)
    apps.write(hits("", ""), directory)
    store:load(directory)
    work(store)
    local rows = store:query_projections { type = "ACCOUNT" }
    assert.equal(251, #rows)
    check_rows(store, rows, "ACCOUNT")
    assert.equal(0, store:stats().sets[1].parked)
  end)
end)

stores.each(_ENV, "two generations of scripts", function(place)
  local old, new
  before_each(function()
    old = apps.write { ["app.lua"] = sums() }
    new = apps.write { ["app.lua"] = sums { extra = "-- newer" } }
  end)
  after_each(function()
    apps.remove(old)
    apps.remove(new)
  end)

  it("do not disturb each other side by side", function()
    local one, other = place():open { app = old, reload = false }, place():open { app = new, reload = false }
    for i = 1, 10 do add(one, "c" .. i % 2, i) end
    work(one)
    assert.equal("c0=30@10 c1=25@9", summary(query(one)))
    assert.equal("c0=30@10* c1=25@9*", summary(query(other)))
    -- The old one's rows are followed by the old one until the new one's are complete.
    add(one, "c0", 1)
    one:run_once(0)
    assert.equal("c0=31@11* c1=25@9*", summary(query(other)))
    work(other)
    assert.equal("c0=31@11 c1=25@9", summary(query(other)))
    assert.equal("c0=31@11* c1=25@9*", summary(query(one)))
    -- From now on the old one lets it be, and the new one goes on.
    local function kept() return place():sql("select value from annal_meta where key = 'kept:SUM'") end
    local before = kept()
    for i = 1, 20 do
      add(i % 2 == 0 and one or other, "c" .. i % 2, 1)
      one:run_once(0)
      if i > 10 then other:run_once(0) end
    end
    assert.equal(before, kept())
    assert.equal("2", before:match "^%d+")
    assert.equal("c0=41@31 c1=35@30", summary(query(other)))
    check_rows(other, query(other))
    -- Views by the old scripts are right all the time, whatever is served.
    assert.equal(41, one:view("SUM", "c0").sum)
    assert.is_false(one:run_once(0))
    -- Loaded anew, the old scripts are the wanted ones again: that is how to go back.
    one:load(old)
    work(one)
    assert.equal("3", kept():match "^%d+")
    check_rows(one, query(one))
    assert.is_false(query(one)[1].stale)
  end)

  it("are found again by a worker whose store is put back to one from before them", function()
    local one, other = place():open { app = old, reload = false }, place():open { app = new, reload = false }
    local function kept() return place():sql("select value from annal_meta where key = 'kept:SUM'") end
    for i = 1, 10 do add(one, "c" .. i % 2, i) end
    work(one)
    local before = kept()
    work(other)
    assert.is_false(query(other)[1].stale)
    -- As of a backup: the new scripts' rows have never been.
    place():sql(("update annal_meta set value = '%s' where key = 'kept:SUM'"):format(before))
    place():sql(("delete from projections where type = 'SUM' and fingerprint <> '%s'"):format(before:match "^%d+ (%S+)"))
    place():sql(("delete from annal_checkpoints where type = 'SUM' and fingerprint <> '%s'"):format(before:match "^%d+ (%S+)"))
    work(one) -- that one is the wanted one, and has nothing to do
    assert.equal(before, kept())
    assert.is_true(query(other)[1].stale)
    work(other)
    check_rows(other, query(other))
    assert.equal("c0=30@10 c1=25@9", summary(query(other)))
    work(one)
    assert.is_false(query(other)[1].stale)
  end)
end)

stores.each(_ENV, "a rebuild", function(place)
  local directory
  before_each(function() directory = apps.write { ["app.lua"] = sums() } end)
  after_each(function() apps.remove(directory) end)

  local function open(options)
    local all = { app = directory, data_indexes = { "cartId" }, reload = false }
    for key, value in pairs(options or {}) do all[key] = value end
    return place():open(all)
  end

  local function fill(store, count)
    local events = {}
    for i = 1, count do events[i] = { type = "ADDED", data = { cartId = "c" .. i % 7, n = i } } end
    store:save_events(events)
  end

  for _, jobs in ipairs { 0, 1, 3 } do
    it(("makes all rows and serves them, with %d jobs"):format(jobs), function()
      local store = open()
      fill(store, 2500)
      local told = {}
      store:rebuild { types = { "SUM" }, jobs = jobs, progress = function(progress) told[#told + 1] = progress end }
      local rows = query(store)
      assert.equal(7, #rows)
      check_rows(store, rows)
      assert.is_true(#told > 0)
      local last = told[#told]
      assert.same({ 2500, 2500, 7 }, { last.done, last.total, last.rows })
      -- The worker goes on where it ended.
      add(store, "c0", 1)
      assert.equal(1, work(store))
      check_rows(store, query(store))
    end)
  end

  it("writes each row once, also where no states are kept in memory otherwise", function()
    local store = open { cache = 0 }
    for round = 1, 2 do
      local events = {}
      for i = 1, 1500 do events[i] = { type = "ADDED", data = { cartId = "c" .. i, n = round } } end
      store:save_events(events)
    end
    local last
    store:rebuild { progress = function(progress) last = progress end }
    assert.same({ 3000, 3000, 1500 }, { last.done, last.total, last.rows })
    local rows = query(store, { limit = 100 })
    assert.equal(100, #rows)
    check_rows(store, rows)
  end)

  it("serves the old rows until the new ones are complete, and then all of these", function()
    local store = open()
    fill(store, 100)
    work(store)
    apps.write({ ["app.lua"] = sums { view = "id = id .. '!'" } }, directory)
    store:load(directory)
    local seen = {}
    store:rebuild { progress = function()
      local rows = query(store)
      seen[#seen + 1] = ("%d %s %s"):format(#rows, rows[1].stale, rows[1].data.id)
    end }
    assert.equal("7 true c0", seen[1])
    local rows = query(store)
    assert.equal("7 false c0!", ("%d %s %s"):format(#rows, rows[1].stale, rows[1].data.id))
  end)

  it("mends rows that are served already, in their place", function()
    local store = open()
    fill(store, 100)
    work(store)
    place():sql("update projections set data = '{\"id\":\"c3\",\"seen\":[],\"sum\":-1}' where id = 'c3'")
    place():sql("delete from projections where id = 'c4'")
    assert.equal(-1, store:get_projection { type = "SUM", id = "c3" }.data.sum)
    assert.equal(6, #query(store))
    store:rebuild { types = { "SUM" } }
    local rows = query(store)
    assert.equal(7, #rows)
    check_rows(store, rows)
    assert.equal(7, place():count "projections")
    assert.equal(1, #store:stats().sets)
    add(store, "c3", 1)
    assert.equal(1, work(store))
    check_rows(store, query(store))
  end)

  it("writes the rows of projections that are not kept", function()
    apps.write({ ["app.lua"] = sums { keep = "live" } }, directory)
    local store = open()
    fill(store, 100)
    store:rebuild()
    local rows = query(store)
    assert.equal(7, #rows)
    check_rows(store, rows)
    -- And again, over rows that are there, one of which is wrong.
    place():sql("update projections set state = '{\"seen\":[],\"sum\":-1}', data = '{\"sum\":-1}' where id = 'c3'")
    add(store, "c5", 1)
    store:rebuild { types = { "SUM" }, jobs = 2 }
    rows = query(store)
    assert.equal(7, #rows)
    check_rows(store, rows)
    assert.equal(7, place():count "projections")
  end)

  it("parks what fails and tells it by the rows", function()
    local store = open()
    apps.write({ ["app.lua"] = sums { handler = "if e.data.n == 50 then error('no') end" } }, directory)
    store:load(directory)
    fill(store, 100)
    store:rebuild { jobs = 2 }
    local rows = query(store)
    assert.equal(7, #rows)
    assert.truthy(rows[2].parked.error:find "no")
    assert.equal(43, rows[2].position)
    assert.is_nil(rows[1].parked)
  end)

  it("goes on after it was interrupted", function()
    local store = open()
    fill(store, 3000)
    local marker = {}
    local ok, problem = pcall(store.rebuild, store, { progress = function() error(marker) end })
    assert.is_false(ok)
    assert.equal(marker, problem)
    store:rebuild()
    check_rows(store, query(store))
    assert.equal(7, #query(store))
  end)

  it("holds what others save meanwhile", function()
    local store, writer = open(), open()
    fill(store, 2000)
    local left = 5
    store:rebuild { progress = function()
      if left > 0 then
        left = left - 1
        fill(writer, 1500)
      end
    end }
    work(store)
    local rows = query(store, { at_least = store:head() })
    assert.equal(7, #rows)
    check_rows(store, rows)
  end)

  it("refuses what it cannot do", function()
    local store = open()
    expect.error("not_found", "SUN", "SUM", function() store:rebuild { types = { "SUN" } } end)
    expect.error("misuse", "job", function() store:rebuild { job = 1 } end)
    expect.error("misuse", "jobs", function() store:rebuild { jobs = -1 } end)
    expect.error("misuse", "jobs", function() store:rebuild { jobs = 10000 } end)
    expect.error("misuse", "types", function() store:rebuild { types = {} } end)
    expect.error("misuse", "progress", function() store:rebuild { progress = 1 } end)
    apps.write({ ["app.lua"] = sums { extra = [[projection "S" { init = 0, on = { ADDED = function() end },
      streams = function() return { { all = true } } end }]] } }, directory)
    store:load(directory)
    expect.error("misuse", "S cannot be rebuilt", "ids", function() store:rebuild { types = { "S" } } end)
    store:rebuild() -- all that can be
    local plain = place():open()
    expect.error("not_found", "no scripts", function() plain:rebuild() end)
  end)

  it("does not serve rows that nobody wants any more", function()
    local store, other = open(), nil
    fill(store, 100)
    local newer = apps.write { ["app.lua"] = sums { extra = "-- newer" } }
    finally(function() apps.remove(newer) end)
    expect.error("conflict", "SUM", function()
      store:rebuild { progress = function()
        if other then return end
        other = place():open { app = newer, reload = false }
        other:run_once(0)
      end }
    end)
    check_rows(other, query(other))
    assert.is_false(query(other)[1].stale)
  end)
end)

stores.each(_ENV, "a worker's command", function(place)
  it("keeps projections up to date until it is told to end", function()
    local command = require "support.command"
    local directory = apps.write { ["app.lua"] = sums() }
    finally(function() apps.remove(directory) end)
    local options = { data_indexes = { "cartId" }, app = directory, reload = false }
    local store = place():open(options)
    local config = shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", config } end)
    shell.write(config .. "/annal.lua", ("store = %q\napp = %q\nschema = %q\n"):format(place().location, directory,
      place().options.schema or "annal"))
    local pipe = assert(io.popen(("cd %s && env -u LD_PRELOAD ANNAL_STORE= %s run 2>&1 & echo $!; wait $!; echo ended $?"):format(
      shell.quote(config), shell.quote(command.path))))
    local pid = pipe:read "l"
    local saved
    for i = 1, 30 do saved = add(store, "c" .. i % 3, i) end
    local rows = query(store, { at_least = saved.position, timeout = 20 })
    assert.equal(3, #rows)
    check_rows(store, rows)
    saved = add(store, "late", 1)
    assert.equal(4, #query(store, { at_least = saved.position, timeout = 20 }))
    shell.run { "kill", "-TERM", pid }
    local output = pipe:read "a"
    pipe:close()
    assert.truthy(output:find("ended 0", 1, true), output)
  end)
end)
