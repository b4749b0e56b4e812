-- Projections: from events to views, saved rows and what is newer, queries, staged events. On every store.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local stores = require "support.stores"

local pluck = expect.pluck

stores.each(_ENV, "a view", function(place)
  local store
  before_each(function() store = place():open(apps.todo) end)

  it("is built from events", function()
    local events, list, item = apps.todo_events()
    local saved = store:save_events(events)
    store:save_events((apps.todo_events()))
    local view, latest_event_id, position = store:view("TODO_LIST", list)
    assert.same({ listId = list, items = {}, completedItems = { item } }, view)
    assert.equal(saved[3].id, latest_event_id)
    assert.equal(3, position)
    local projection = store:projection("TODO_LIST", list)
    assert.same(view, projection:view())
  end)

  it("of an instance without events is its initial state", function()
    local view, latest_event_id, position = store:view("TODO_LIST", "nobody")
    assert.same({ listId = "nobody", items = {}, completedItems = {} }, view)
    assert.equal("[]", annal.json.encode(view.items))
    assert.is_nil(latest_event_id)
    assert.equal(0, position)
  end)

  it("of several streams is theirs before and after the list is deleted", function()
    local events, list, item = apps.todo_events()
    store:save_events(events)
    local before = store:view("TODO_LIST_WITH_META", list)
    assert.equal("Test List", before.listName)
    assert.is_false(before.isDeleted)
    assert.same({}, before.items)
    assert.same({ item }, before.completedItems)
    store:save_event { type = "LIST_DELETED", data = { listId = list } }
    local after = store:view("TODO_LIST_WITH_META", list)
    assert.is_true(after.isDeleted)
    assert.equal("Test List", after.listName)
    assert.same({}, after.items)
    assert.same({ item }, after.completedItems)
  end)

  it("of an unknown projection is not found", function()
    expect.error("not_found", "TODO_LISTS", function() store:view("TODO_LISTS", "x") end)
    expect.error("not_found", "TODO_LISTS", function() store:projection("TODO_LISTS", "x") end)
    local plain = place():open()
    expect.error("not_found", "TODO_LIST", "load", function() plain:view("TODO_LIST", "x") end)
  end)
end)

stores.each(_ENV, "a projection object", function(place)
  local store
  before_each(function() store = place():open(apps.todo) end)

  it("knows its id, position, newest event and streams", function()
    local events, list = apps.todo_events()
    local saved = store:save_events(events)
    local projection = store:projection("TODO_LIST", list)
    assert.equal(list, projection.id)
    assert.equal(3, projection.position)
    assert.equal(saved[3].id, projection.latest_event_id)
    for _, stream in ipairs(projection.streams) do assert.equal(list, stream.data.listId) end
    assert.same({ 2, 3 }, pluck(store:get_event_streams(projection.streams), "position"))
    local other = store:projection("TODO_LIST", "nobody")
    assert.is_nil(other.latest_event_id)
    assert.equal(0, other.position)
  end)

  it("stays as of its first use until it is refreshed", function()
    local events, list, item = apps.todo_events()
    store:save_events { events[1], events[2] }
    local projection = store:projection("TODO_LIST", list)
    assert.same({ item }, projection:view().items)
    store:save_event(events[3])
    assert.same({ item }, projection:view().items)
    assert.equal(2, projection.position)
    assert.equal(projection, projection:refresh())
    assert.same({}, projection:view().items)
    assert.equal(3, projection.position)
  end)

  it("reads at its first use, not when it is made", function()
    local events, list, item = apps.todo_events()
    local projection = store:projection("TODO_LIST", list)
    store:save_events(events)
    assert.same({ item }, projection:view().completedItems)
  end)

  it("shows staged events, which are not stored, and cannot be saved with them", function()
    local events, list, item = apps.todo_events()
    store:save_events { events[1], events[2] }
    local projection = store:projection("TODO_LIST", list)
    assert.equal(projection, projection:apply { events[3] })
    assert.same({ item }, projection:view().completedItems)
    assert.same({}, projection:view().items)
    assert.equal(2, place():count "events")
    assert.same({ item }, store:view("TODO_LIST", list).items)
    expect.error("misuse", "staged", function() projection:save() end)
    assert.equal(0, place():count "projections")
    projection:refresh()
    assert.same({ item }, projection:view().items)
    projection:save()
    assert.equal(1, place():count "projections")
  end)

  it("takes several staged events or none of them", function()
    local events, list, item = apps.todo_events()
    local projection = store:projection("TODO_LIST", list)
    expect.error("invalid", function() projection:apply { events[2], { type = "ITEM_COMPLETED", data = { listId = list } } } end)
    assert.same({}, projection:view().items)
    projection:apply(events[2])
    projection:apply { events[3] }
    assert.same({ item }, projection:view().completedItems)
    assert.equal(0, place():count "events")
  end)

  it("can be built from a history at hand", function()
    local events, list, item = apps.todo_events()
    local saved = store:save_events(events)
    local projection = store:projection("TODO_LIST", list)
    assert.equal(projection, projection:from_history { saved[1], saved[2] })
    assert.same({ item }, projection:view().items)
    expect.error("misuse", function() projection:save() end)
    assert.same({}, projection:refresh():view().items)
  end)

  it("saves events under its own streams and what it has seen", function()
    local events, list = apps.todo_events()
    store:save_events { events[1], events[2] }
    local mine, theirs = store:projection("TODO_LIST", list), store:projection("TODO_LIST", list)
    assert.equal(2, mine.position)
    assert.equal(2, theirs.position)
    local saved = theirs:save_event(events[3])
    assert.equal(3, saved.position)
    expect.error("conflict", function() mine:save_event { type = "ITEM_REMOVED", data = events[3].data } end)
    assert.equal(3, place():count "events")
    mine:refresh()
    local list_of_two = mine:save_event { { type = "ITEM_UNCOMPLETED", data = events[3].data },
      { type = "ITEM_REMOVED", data = events[3].data } }
    assert.same({ 4, 5 }, pluck(list_of_two, "position"))
  end)

  it("gives its streams and newest event for a condition of one's own", function()
    local events, list = apps.todo_events()
    store:save_events(events)
    local projection = store:projection("TODO_LIST", list)
    local event = { type = "ITEM_REMOVED", data = events[3].data }
    local function save()
      return store:save_event_with_stream_validation(event, projection.latest_event_id, projection.streams)
    end
    assert.equal(4, save().position)
    expect.error("conflict", save)
    assert.equal(4, place():count "events")
  end)

  it("without events saves under the condition that there are none", function()
    local events, list = apps.todo_events()
    local mine, theirs = store:projection("TODO_LIST", list), store:projection("TODO_LIST", list)
    assert.is_nil(mine.latest_event_id)
    assert.is_nil(theirs.latest_event_id)
    mine:save_event(events[2])
    expect.error("conflict", function() theirs:save_event(events[2]) end)
    assert.equal(1, place():count "events")
  end)

  it("names fields that it does not have, and lets none be set", function()
    local projection = store:projection("TODO_LIST", "l")
    expect.error("misuse", "latestEventId", "latest_event_id", function() return projection.latestEventId end)
    expect.error("misuse", "viw", "view", function() return projection.viw end)
    expect.error("misuse", "id", function() projection.id = "other" end)
  end)

  it("is of no use once the store is closed", function()
    local projection = store:projection("TODO_LIST", "l")
    projection:view()
    store:close()
    expect.error("misuse", "closed", function() projection:view() end)
    expect.error("misuse", "closed", function() return projection.id end)
    assert.equal("string", type(tostring(projection)))
  end)
end)

-- The id of each instance is the number of events that its view counts.
local counting = {
  ["events.lua"] = [[event "HIT" { of = t.string } event "MISS" { target = t.string }]],
  ["hits.lua"] = [[
    projection "HITS" {
      by = "of",
      fields = { count = reducer { init = 0, on = { HIT = function(n) return n + 1 end } } },
    }
    projection "SHOTS" {
      by = { HIT = "of", MISS = "target" },
      init = { hits = 0, misses = 0 },
      on = {
        HIT = function(s) s.hits = s.hits + 1 end,
        MISS = function(s) return { hits = s.hits, misses = s.misses + 1 } end,
      },
    }
    projection "EVERYTHING" {
      init = 0,
      on = { HIT = function(n) return n + 1 end, MISS = function(n) return n + 1 end },
      view = function(n, id) return { n = n, id = id } end,
    }]],
}

stores.each(_ENV, "a saved row", function(place)
  local store, directory
  before_each(function()
    directory = apps.write(counting)
    store = place():open { app = directory }
  end)
  after_each(function() apps.remove(directory) end)

  local function hit(id) return store:save_event { type = "HIT", data = { of = id } } end
  -- What no fold would ever come to, put into the row by the database's own client: who shows it has used the row.
  local function tamper() place():sql [[update projections set state = '{"count":1000}', data = '{"count":1000}']] end

  it("is written when asked for, and tells what it is", function()
    hit "a"
    local last = hit "a"
    local answer = store:projection("HITS", "a"):save()
    assert.same({ type = "HITS", id = "a", data = { count = 2 }, latest_event_id = last.id, status = "created" }, answer)
    assert.equal("skipped", store:projection("HITS", "a"):save().status)
    hit "a"
    assert.equal("updated", store:projection("HITS", "a"):save().status)
    assert.equal(1, place():count "projections")
  end)

  it("is not written by reading", function()
    hit "a"
    store:view("HITS", "a")
    store:projection("HITS", "a"):view()
    assert.equal(0, place():count "projections")
  end)

  it("cannot be saved of an instance without events", function()
    expect.error("not_found", function() store:projection("HITS", "nobody"):save() end)
    assert.equal(0, place():count "projections")
  end)

  it("is loaded, and only newer events are folded onto it", function()
    hit "a"
    hit "a"
    store:projection("HITS", "a"):save()
    assert.same({ count = 2 }, store:view("HITS", "a"))
    tamper()
    store:close()
    store = place():open { app = directory }
    assert.same({ count = 1000 }, store:view("HITS", "a"))
    hit "a"
    hit "b"
    assert.same({ count = 1001 }, store:view("HITS", "a"))
    assert.same({ count = 1 }, store:view("HITS", "b"))
    assert.same({ count = 1001 }, store:projection("HITS", "a"):view())
    assert.same({ count = 3 }, store:projection("HITS", "a", { saved = false }):view())
    assert.equal("updated", store:projection("HITS", "a"):save().status)
    assert.same({ count = 1001 }, store:get_projection({ type = "HITS", id = "a" }).data)
  end)

  it("is not used when the event that it stands on is no longer stored under its id", function()
    local first = hit "a"
    store:projection("HITS", "a"):save()
    tamper()
    store:close()
    place():sql("update projections set latest_event_id = 'another'")
    store = place():open { app = directory }
    assert.same({ count = 1 }, store:view("HITS", "a"))
    assert.equal(first.id, store:projection("HITS", "a").latest_event_id)
  end)

  it("is kept for each way of finding an instance", function()
    store:save_events { { type = "HIT", data = { of = "a" } }, { type = "MISS", data = { target = "a" } },
      { type = "MISS", data = { target = "b" } } }
    assert.same({ hits = 1, misses = 1 }, store:view("SHOTS", "a"))
    assert.same({ hits = 0, misses = 1 }, store:view("SHOTS", "b"))
    local whole = store:view("EVERYTHING")
    assert.same({ n = 3, id = "" }, whole)
    for _, which in ipairs { { "SHOTS", "a" }, { "SHOTS", "b" }, { "EVERYTHING" } } do
      assert.equal("created", store:projection(which[1], which[2]):save().status)
    end
    hit "a"
    assert.same({ hits = 2, misses = 1 }, store:view("SHOTS", "a"))
    assert.same({ n = 4, id = "" }, store:view "EVERYTHING")
    expect.error("misuse", function() store:view("HITS") end)
    expect.error("misuse", function() store:view("HITS", "") end)
    expect.error("misuse", function() store:view("EVERYTHING", "x") end)
  end)

  it("is found by an id that is an integer, as by its text", function()
    hit "5"
    local projection = store:projection("HITS", 5)
    assert.equal("5", projection.id)
    assert.same({ count = 1 }, projection:view())
    projection:save()
    assert.same({ count = 1 }, (store:view("HITS", "5")))
    assert.equal("5", store:get_projection({ type = "HITS", id = "5" }).id)
  end)

  it("is brought up to date by a save after more events", function()
    hit "a"
    local projection = store:projection("HITS", "a")
    projection:save()
    hit "a"
    assert.equal("skipped", projection:save().status)
    assert.equal("updated", projection:refresh():save().status)
    assert.equal("2", place():sql "select data ->> 'count' from projections")
  end)
end)

stores.each(_ENV, "a query of projections", function(place)
  local store, first_list, second_list, first_item
  before_each(function()
    store = place():open(apps.todo)
    local first, second
    first, first_list, first_item = apps.todo_events()
    second, second_list = apps.todo_events()
    store:save_events(first)
    store:save_events(second)
    store:projection("TODO_LIST", first_list):save()
    store:projection("TODO_LIST", second_list):save()
    store:projection("TODO_LIST_WITH_META", second_list):save()
  end)

  local function ids(query) return pluck(store:query_projections(query), "id") end

  it("finds all rows of a type, by id", function()
    local both = { first_list, second_list }
    table.sort(both)
    assert.same(both, ids { type = "TODO_LIST" })
    assert.same({ second_list }, ids { type = "TODO_LIST_WITH_META" })
  end)

  it("finds rows by a field of the view, declared or not", function()
    local rows = store:query_projections { type = "TODO_LIST", data = { listId = first_list } }
    assert.equal(1, #rows)
    assert.equal(first_list, rows[1].id)
    assert.same({ listId = first_list, items = {}, completedItems = { first_item } }, rows[1].data)
    assert.is_false(rows[1].stale)
    assert.equal(3, rows[1].position)
    assert.equal(store:get_latest_event("ITEM_COMPLETED", { data = { listId = first_list } }).id, rows[1].latest_event_id)
    assert.is_truthy(rows[1].updated_at:match "Z$")
    assert.same({ second_list }, ids { type = "TODO_LIST_WITH_META", data = { isDeleted = false, listName = "Test List" } })
    assert.same({}, ids { type = "TODO_LIST_WITH_META", data = { isDeleted = true } })
  end)

  it("finds rows by a list of values", function()
    assert.equal(2, #ids { type = "TODO_LIST", data = { listId = { second_list, first_list, "other" } } })
  end)

  it("of a type that neither the app nor anybody who saves by hand knows is refused", function()
    local problem = expect.error("not_found", '"NO_SUCH_TYPE"', function() store:query_projections { type = "NO_SUCH_TYPE" } end)
    assert.is_nil(problem.message:find "did you mean")
    expect.error("not_found", 'did you mean "TODO_LIST"?', function() store:query_projections { type = "TODO_LISTS" } end)
    expect.error("not_found", function() store:query_projections { type = "MINE", data = { a = 1 } } end)
    local latest = store:get_latest_event().id
    store:save_projection { type = "MINE", id = "x", data = { a = 1 }, latest_event_id = latest }
    store:save_projection { type = "MINE", id = "y", data = { a = 2 }, latest_event_id = latest }
    assert.same({ "x", "y" }, ids { type = "MINE" })
    assert.same({ "x" }, ids { type = "MINE", data = { a = 1 } })
    assert.same({}, ids { type = "MINE", data = { a = 3 } })
    assert.is_nil(store:get_projection { type = "NO_SUCH_TYPE", id = "x" })
    assert.same({}, place():open():query_projections { type = "NO_SUCH_TYPE" }) -- without an app nothing is declared
  end)

  it("finds nothing by an unknown id", function()
    assert.same({}, store:query_projections { type = "TODO_LIST", data = { listId = "non-existent-id" } })
    assert.is_nil(store:get_projection { type = "TODO_LIST", id = "non-existent-id" })
  end)

  it("by id gives one row", function()
    assert.same(store:query_projections { type = "TODO_LIST", data = { listId = first_list } }[1],
      store:get_projection { type = "TODO_LIST", id = first_list })
  end)
end)

stores.each(_ENV, "rows saved by hand", function(place)
  local store, event
  before_each(function()
    store = place():open()
    event = store:save_event { type = "T", data = { n = 1 } }
  end)

  local function save(id, data, latest)
    return store:save_projection { type = "MINE", id = id, data = data, latest_event_id = latest or event.id }
  end

  it("are created, updated and never moved backwards", function()
    assert.same({ type = "MINE", id = "x", data = { a = 1 }, latest_event_id = event.id, status = "created" },
      save("x", { a = 1 }))
    assert.equal("updated", save("x", { a = 2 }).status)
    local newer = store:save_event { type = "T", data = { n = 2 } }
    assert.equal("updated", save("x", { a = 3 }, newer.id).status)
    assert.equal("skipped", save("x", { a = 4 }).status)
    local row = store:get_projection { type = "MINE", id = "x" }
    assert.same({ a = 3 }, row.data)
    assert.equal(2, row.position)
    assert.equal(newer.id, row.latest_event_id)
    assert.equal(1, place():count "projections")
  end)

  it("are found by type and fields", function()
    save("x", { owner = "me", open = true, n = 1 })
    save("y", { owner = "you", open = true, n = 2 })
    assert.same({ "x", "y" }, pluck(store:query_projections { type = "MINE" }, "id"))
    assert.same({ "y" }, pluck(store:query_projections { type = "MINE", data = { owner = "you", open = true } }, "id"))
    assert.same({ "x", "y" }, pluck(store:query_projections { type = "MINE", data = { n = { 2, 1 } } }, "id"))
    assert.same({}, store:query_projections { type = "MINE", data = { owner = "nobody" } })
  end)

  it("need an event that is stored, and a type that no projection has", function()
    expect.error("not_found", "nobody", function() save("x", {}, "nobody") end)
    store:load "projections/todo"
    expect.error("misuse", "TODO_LIST", function()
      store:save_projection { type = "TODO_LIST", id = "l", data = {}, latest_event_id = event.id }
    end)
    assert.equal(0, place():count "projections")
  end)
end)
