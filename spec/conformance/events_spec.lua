-- Saving events and reading them back: the original's behaviours, on every store.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local stores = require "support.stores"

local pluck = expect.pluck

stores.each(_ENV, "events", function(place)
  local store
  before_each(function() store = place():open(apps.todo) end)

  it("come back from a save with id, type, data, version, position and time, in order", function()
    local events, list, item = apps.todo_events()
    local saved = store:save_events(events)
    assert.same({ "LIST_CREATED", "ITEM_ADDED", "ITEM_COMPLETED" }, pluck(saved, "type"))
    assert.same({ 1, 2, 3 }, pluck(saved, "position"))
    assert.same({ 1, 1, 1 }, pluck(saved, "version"))
    assert.same({ listId = list, itemId = item, itemName = "Test Item" }, saved[2].data)
    local seen = {}
    for _, event in ipairs(saved) do
      assert.equal("string", type(event.id))
      assert.is_nil(seen[event.id])
      seen[event.id] = true
      assert.is_truthy(event.created_at:match "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$")
    end
    assert.is_true(saved[1].created_at <= saved[2].created_at and saved[2].created_at <= saved[3].created_at)
  end)

  it("are read as they were saved", function()
    local saved = store:save_events((apps.todo_events()))
    assert.same(saved, store:get_event_stream())
    assert.equal(3, place():count "events")
  end)

  it("come back from a save of one as one", function()
    local event = store:save_event { type = "LIST_DELETED", data = { listId = "l" } }
    assert.equal("LIST_DELETED", event.type)
    assert.same({ event }, store:get_event_stream "LIST_DELETED")
  end)

  it("keep the caller's id and metadata", function()
    local event = store:save_event { id = "my/id 1", type = "LIST_DELETED", data = { listId = "l" },
      metadata = { user = "u", n = 1 } }
    assert.equal("my/id 1", event.id)
    assert.same({ user = "u", n = 1 }, event.metadata)
    assert.same({ event }, store:get_event_stream())
  end)

  it("are stored all or none", function()
    local events = apps.todo_events()
    events[3].data.itemId = nil
    expect.error("invalid", "itemId", function() store:save_events(events) end)
    assert.equal(0, place():count "events")
  end)

  it("are selected by type and data", function()
    local events, list, item = apps.todo_events()
    store:save_events(events)
    store:save_events((apps.todo_events()))
    local lists = store:get_event_stream({ "LIST_CREATED" }, { data = { listId = list } })
    assert.same({ "LIST_CREATED" }, pluck(lists, "type"))
    local items = store:get_event_stream({ "ITEM_ADDED", "ITEM_COMPLETED" }, { data = { itemId = item } })
    assert.same({ "ITEM_ADDED", "ITEM_COMPLETED" }, pluck(items, "type"))
    assert.same({ item, item }, pluck(items, "data.itemId"))
  end)

  it("are selected by one type or several, one value or several", function()
    local first, first_list = apps.todo_events()
    local second, second_list = apps.todo_events()
    local third = apps.todo_events()
    for _, events in ipairs { first, second, third } do store:save_events(events) end
    assert.same(store:get_event_stream { "ITEM_ADDED" }, store:get_event_stream "ITEM_ADDED")
    assert.equal(3, #store:get_event_stream "ITEM_ADDED")
    local both = store:get_event_stream("ITEM_ADDED", { data = { listId = { second_list, first_list } } })
    assert.same({ first_list, second_list }, pluck(both, "data.listId"))
    assert.equal(6, #store:get_event_stream(nil, { data = { listId = { first_list, second_list } } }))
    assert.equal(0, #store:get_event_stream("ITEM_REMOVED", { data = { listId = first_list } }))
    assert.equal(0, #store:get_event_stream("ITEM_ADDED", { data = { listId = "non-existent-id" } }))
  end)

  it("are selected by fields that are not declared", function()
    store:save_events((apps.todo_events()))
    assert.equal(1, #store:get_event_stream(nil, { data = { listName = "Test List" } }))
    assert.equal(0, #store:get_event_stream({ "LIST_CREATED" }, { data = { exampleOptionalField = "test" } }))
  end)

  it("must match all fields of a selection", function()
    local events, list, item = apps.todo_events()
    store:save_events(events)
    assert.equal(2, #store:get_event_stream(nil, { data = { listId = list, itemId = item } }))
    assert.equal(0, #store:get_event_stream(nil, { data = { listId = list, itemId = "other" } }))
  end)

  it("of several streams are merged by position, each once", function()
    local events, list, item = apps.todo_events()
    store:save_events(events)
    store:save_events((apps.todo_events()))
    local merged = store:get_event_streams {
      { types = { "ITEM_ADDED", "ITEM_COMPLETED" }, data = { itemId = item } },
      { types = { "LIST_CREATED" }, data = { listId = list } },
      { data = { listId = list } },
    }
    assert.same({ 1, 2, 3 }, pluck(merged, "position"))
    assert.same({ "LIST_CREATED", "ITEM_ADDED", "ITEM_COMPLETED" }, pluck(merged, "type"))
    assert.equal(6, #store:get_event_streams { { types = "ITEM_ADDED" }, { all = true } })
  end)

  it("of streams begin after the place that each stream names", function()
    local saved = store:save_events((apps.todo_events()))
    local rest = store:get_event_streams { { types = { "LIST_CREATED" }, after = 0 },
      { types = { "ITEM_ADDED", "ITEM_COMPLETED" }, after = 2 } }
    assert.same({ 1, 3 }, pluck(rest, "position"))
    rest = store:get_event_streams { { types = { "ITEM_ADDED", "ITEM_COMPLETED" }, after = saved[2].id } }
    assert.same({ 3 }, pluck(rest, "position"))
  end)

  it("are cut by after, before, limit and reverse, by position or id", function()
    local saved = store:save_events((apps.todo_events()))
    local function positions(options) return pluck(store:get_event_stream(nil, options), "position") end
    assert.same({ 2, 3 }, positions { after = 1 })
    assert.same({ 2, 3 }, positions { after = saved[1].id })
    assert.same({ 1, 2 }, positions { before = 3 })
    assert.same({ 1, 2 }, positions { before = saved[3].id })
    assert.same({ 2 }, positions { after = saved[1].id, before = 3 })
    assert.same({ 1, 2 }, positions { limit = 2 })
    assert.same({ 3, 2, 1 }, positions { reverse = true })
    assert.same({ 3, 2 }, positions { reverse = true, limit = 2 })
    assert.same({ 2, 1 }, positions { reverse = true, before = 3 })
    assert.same({}, positions { after = 3 })
    assert.same({}, positions { before = 1 })
    expect.error("not_found", "nobody", function() positions { after = "nobody" } end)
    expect.error("not_found", "nobody", function() positions { before = "nobody" } end)
  end)

  it("come one by one in a loop, up to the head as it was when the loop began", function()
    store:save_events((apps.todo_events()))
    local seen = {}
    for event in store:events {} do
      seen[#seen + 1] = event.position
      if event.position == 1 then store:save_event { type = "LIST_DELETED", data = { listId = "later" } } end
    end
    assert.same({ 1, 2, 3 }, seen)
    assert.equal(4, (store:head()))
  end)

  it("come one by one by types and data, by streams, with bounds", function()
    local events, list, item = apps.todo_events()
    store:save_events(events)
    store:save_events((apps.todo_events()))
    local function types(options)
      local all = {}
      for event in store:events(options) do all[#all + 1] = event.type end
      return all
    end
    assert.same({ "ITEM_ADDED", "ITEM_COMPLETED" }, types { data = { itemId = item } })
    assert.same({ "LIST_CREATED" }, types { types = { "LIST_CREATED" }, data = { listId = list } })
    assert.same({ "LIST_CREATED", "ITEM_COMPLETED", "LIST_CREATED" },
      types { streams = { { types = "LIST_CREATED" }, { types = { "ITEM_COMPLETED" } } }, before = 5, reverse = true })
    assert.same({ "LIST_CREATED", "ITEM_ADDED" }, types { limit = 2 })
    assert.equal(6, #types())
  end)

  it("can be left in the middle of a loop, and the store closed", function()
    store:save_events((apps.todo_events()))
    for event in store:events {} do
      if event.position == 2 then break end
    end
    local rest = store:events {}
    assert.equal(1, rest().position)
    rest:close()
    expect.error("misuse", "closed", rest)
    local other = store:events {}
    store:close()
    expect.error("misuse", "closed", other)
  end)

  it("beyond a page come in order and each once", function()
    local batch = {}
    for round = 1, 3 do
      for number = 1, 900 do batch[number] = { type = "LIST_DELETED", data = { listId = ("%d-%d"):format(round, number) } } end
      store:save_events(batch)
    end
    local expected = 0
    for event in store:events {} do
      expected = expected + 1
      assert.equal(expected, event.position)
    end
    assert.equal(2700, expected)
    for event in store:events { types = "LIST_DELETED", reverse = true } do
      assert.equal(expected, event.position)
      expected = expected - 1
    end
    assert.equal(0, expected)
    assert.equal(2700, #store:get_event_stream "LIST_DELETED")
  end)

  it("are read one by one in memory that does not grow with their number", function()
    local plain, text = place():open(), ("x"):rep(1000)
    for _ = 1, 20 do
      local batch = {}
      for number = 1, 1000 do batch[number] = { type = "T", data = { text = text } } end
      plain:save_events(batch)
    end
    local function resident() return math.tointeger(shell.read("/proc/self/statm"):match "^%d+ (%d+)") * 4096 end
    local lua_before, resident_before, lua_most, resident_most = nil, nil, 0, 0
    local count = 0
    for _ in plain:events {} do
      count = count + 1
      if count == 2000 then
        collectgarbage()
        lua_before, resident_before = collectgarbage "count", resident()
      elseif count > 2000 and count % 500 == 0 then
        collectgarbage()
        lua_most, resident_most = math.max(lua_most, collectgarbage "count"), math.max(resident_most, resident())
      end
    end
    assert.equal(20000, count)
    assert.is_true(lua_most - lua_before < 200, ("%.0f KiB more of Lua's memory"):format(lua_most - lua_before))
    -- A sanitizer keeps for a while what was freed, so there this says nothing.
    if not (os.getenv "LD_PRELOAD" or ""):find "asan" then
      assert.is_true(resident_most - resident_before < 4 << 20, ("%d bytes more"):format(resident_most - resident_before))
    end
  end)

  it("have a newest one, and it is the newest", function()
    local events, list = apps.todo_events()
    store:save_events(events)
    local last = store:save_events((apps.todo_events()))
    store:save_event { type = "LIST_CREATED", data = { listId = list, listName = "renamed" } }
    assert.equal("renamed", store:get_latest_event("LIST_CREATED", { data = { listId = list } }).data.listName)
    assert.equal(last[2].id, store:get_latest_event("ITEM_ADDED").id)
    assert.equal(7, store:get_latest_event().position)
    assert.equal(7, store:get_latest_event({ "LIST_CREATED", "ITEM_ADDED" }, { data = { listId = list } }).position)
    assert.is_nil(store:get_latest_event("LIST_DELETED", { data = { listId = list } }))
  end)

  it("have a head", function()
    assert.same({ 0 }, { store:head() })
    local saved = store:save_events((apps.todo_events()))
    assert.same({ 3, saved[3].id }, { store:head() })
  end)

  it("saved again under the same id with equal content are stored once, and come back as they are stored", function()
    local event = { id = "e1", type = "LIST_CREATED", data = { listId = "l", listName = "n" }, metadata = { by = "me" } }
    local first = store:save_event(event)
    store:save_event { type = "LIST_DELETED", data = { listId = "l" } }
    assert.same(first, store:save_event(event))
    assert.equal(2, place():count "events")
    assert.equal(2, (store:head()))
  end)

  it("saved again under a stored id with other content are a duplicate, and nothing changes", function()
    store:save_event { id = "e1", type = "LIST_CREATED", data = { listId = "l", listName = "n" } }
    local before = place():sql "select id, data from events"
    for _, other in ipairs {
      { id = "e1", type = "LIST_CREATED", data = { listId = "l", listName = "other" } },
      { id = "e1", type = "LIST_DELETED", data = { listId = "l" } },
      { id = "e1", type = "LIST_CREATED", data = { listId = "l", listName = "n" }, metadata = { a = 1 } },
    } do
      expect.error("duplicate", "e1", function() store:save_event(other) end)
    end
    expect.error("duplicate", "e1", function()
      store:save_events { { id = "e1", type = "LIST_CREATED", data = { listId = "l", listName = "n" } },
        { id = "e2", type = "LIST_DELETED", data = { listId = "l" } } }
    end)
    assert.equal(before, place():sql "select id, data from events")
  end)

  it("match by the JSON text of strings, numbers and booleans", function()
    local plain = place():open()
    local values = { 1, "1", 1.0, true, "true", false, annal.null, annal.array {}, "", "x" }
    for number, value in ipairs(values) do plain:save_event { type = "T", data = { n = number, v = value } } end
    plain:save_event { type = "T", data = { n = 11 } }
    local function matching(value) return pluck(plain:get_event_stream("T", { data = { v = value } }), "data.n") end
    assert.same({ 1, 2 }, matching(1))
    assert.same({ 1, 2 }, matching "1")
    assert.same({ 3 }, matching "1.0")
    assert.same({ 4, 5 }, matching(true))
    assert.same({ 4, 5 }, matching "true")
    assert.same({ 6 }, matching(false))
    assert.same({}, matching "null")
    assert.same({}, matching "[]")
    assert.same({ 9 }, matching "")
    assert.same({ 1, 2, 6, 10 }, matching { 1, false, "x" })
  end)

  it("of any type go where no app is loaded, and undeclared ones are refused where one is", function()
    local plain = place():open()
    assert.equal("ANYTHING", plain:save_event({ type = "ANYTHING", data = { a = { b = 1 } } }).type)
    plain:load "projections/todo"
    expect.error("invalid", "ANYTHING", function() plain:save_event { type = "ANYTHING", data = {} } end)
    assert.equal(1, place():count "events")
    assert.equal("ANYTHING", plain:get_event_stream()[1].type)
  end)
end)
