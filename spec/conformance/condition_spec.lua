-- Saving under a condition: refused when something newer matches, and then nothing is stored. What is in the store is counted by
-- the database's own client, because the original answers "refused" and stores the event all the same.
local apps = require "support.apps"
local expect = require "support.expect"
local stores = require "support.stores"

stores.each(_ENV, "a save under a condition", function(place)
  local store
  before_each(function() store = place():open(apps.todo) end)

  local function items_of(list) return { types = { "ITEM_ADDED", "ITEM_COMPLETED" }, data = { listId = list } } end
  local function life_of(list) return { types = { "LIST_CREATED", "LIST_DELETED" }, data = { listId = list } } end

  it("is accepted when nothing newer matches", function()
    local events, list, item = apps.todo_events()
    local created = store:save_event(events[1])
    local saved = store:save_event_with_stream_validation(events[2], created.id, { items_of(list) })
    assert.equal("ITEM_ADDED", saved.type)
    assert.equal(item, saved.data.itemId)
    assert.equal(2, saved.position)
    assert.equal(2, place():count "events")
  end)

  it("is refused when something newer matches, and is not in the store", function()
    local events, list = apps.todo_events()
    local saved = store:save_events { events[1], events[2] }
    local problem = expect.error("conflict", function()
      store:save_event_with_stream_validation(events[3], saved[1].id, { items_of(list) })
    end)
    assert.is_true(problem.retryable)
    assert.equal(2, place():count "events")
    assert.equal(0, place():count "events where type = 'ITEM_COMPLETED'")
  end)

  it("looks at each of several streams", function()
    local events, list = apps.todo_events()
    local created = store:save_event(events[1])
    local both = { life_of(list), items_of(list) }
    local added = store:save_event_with_stream_validation(events[2], created.id, both)
    expect.error("conflict", function() store:save_event_with_stream_validation(events[3], created.id, both) end)
    store:save_event { type = "LIST_DELETED", data = { listId = list } }
    local late = { type = "ITEM_ADDED", data = { listId = list, itemId = "i2", itemName = "New Item" } }
    expect.error("conflict", function() store:save_event_with_stream_validation(late, added.id, both) end)
    expect.error("conflict",
      function() store:save_event_with_stream_validation(late, created.id, { items_of(list), life_of(list) }) end)
    assert.equal(3, place():count "events")
    assert.equal("0", place():sql "select count(*) from events where data ->> 'itemName' = 'New Item'")
  end)

  it("is refused when the newer event is the one that the original's readers overlook: items after the creation", function()
    local cart = place():open(apps.cart)
    local created = cart:save_event { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
    local item = { type = "ITEM_ADDED_TO_CART", data = { cartId = "c", productId = "p", quantity = 1, priceAtTime = 5 } }
    cart:save_event(item)
    assert.equal(created.id, cart:get_latest_event("CART_CREATED", { data = { cartId = "c" } }).id)
    expect.error("conflict", function()
      cart:save_event_with_stream_validation(item, created.id,
        { { types = { "CART_CREATED", "CART_CHECKED_OUT" }, data = { cartId = "c" } },
        { types = { "ITEM_ADDED_TO_CART", "ITEM_REMOVED_FROM_CART" }, data = { cartId = "c" } } })
    end)
    assert.equal(2, place():count "events")
  end)

  it("does not mind what is newer elsewhere", function()
    local events, list = apps.todo_events()
    local created = store:save_event(events[1])
    store:save_events((apps.todo_events()))
    store:save_event_with_stream_validation(events[2], created.id, { items_of(list), life_of(list) })
    assert.equal(5, place():count "events")
  end)

  it("without an event seen asks that nothing matches at all", function()
    local events, list = apps.todo_events()
    store:save_event_with_stream_validation(events[1], nil, { life_of(list) })
    expect.error("conflict", function() store:save_event_with_stream_validation(events[1], nil, { life_of(list) }) end)
    assert.equal(1, place():count "events")
  end)

  it("takes a stream's own after instead of the common one", function()
    local events, list = apps.todo_events()
    local saved = store:save_events { events[1], events[2] }
    local own = items_of(list)
    own.after = saved[2].id
    store:save_event_with_stream_validation(events[3], saved[1].id, { life_of(list), own })
    assert.equal(3, place():count "events")
    expect.error("conflict",
      function() store:save_event_with_stream_validation(events[3], saved[1].id, { life_of(list), own }) end)
    assert.equal(3, place():count "events")
  end)

  it("is refused when the event that was seen is not stored", function()
    local events, list = apps.todo_events()
    expect.error("conflict", "never-stored", function()
      store:save_event_with_stream_validation(events[1], "never-stored", { life_of(list) })
    end)
    assert.equal(0, place():count "events")
  end)

  it("over everything is refused by anything newer", function()
    local first = store:save_event(apps.todo_events()[1])
    local second = store:save_event_with_stream_validation(apps.todo_events()[1], first.id, { { all = true } })
    expect.error("conflict", function()
      store:save_event_with_stream_validation(apps.todo_events()[1], first.id, { { all = true } })
    end)
    store:save_event_with_stream_validation(apps.todo_events()[1], second.id, { { all = true } })
    assert.equal(3, place():count "events")
  end)

  it("over fields that are not declared, types alone and data alone is as strict", function()
    local first = store:save_event(apps.todo_events()[1])
    store:save_event(apps.todo_events()[1])
    local moved = {
      { data = { listName = "Test List" } }, { types = "LIST_CREATED" }, { data = { listName = { "x", "Test List" } } },
    }
    for _, stream in ipairs(moved) do
      expect.error("conflict", function()
        store:save_event_with_stream_validation(apps.todo_events()[1], first.id, { stream })
      end)
    end
    store:save_event_with_stream_validation(apps.todo_events()[1], first.id, { { data = { listName = "other" } } })
    assert.equal(3, place():count "events")
  end)

  it("stores a list of events all or none", function()
    local events, list = apps.todo_events()
    local saved = store:save_event_with_stream_validation(events, nil, { life_of(list) })
    assert.same({ 1, 2, 3 }, expect.pluck(saved, "position"))
    local more = { { type = "ITEM_ADDED", data = { listId = list, itemId = "a", itemName = "a" } },
      { type = "ITEM_ADDED", data = { listId = list, itemId = "b", itemName = "b" } } }
    expect.error("conflict", function() store:save_event_with_stream_validation(more, saved[1].id, { items_of(list) }) end)
    assert.equal(3, place():count "events")
  end)

  it("repeated under the same ids answers what is stored, whatever has happened since", function()
    local event = { id = "once", type = "LIST_CREATED", data = { listId = "l", listName = "n" } }
    local first = store:save_event_with_stream_validation(event, nil, { life_of "l" })
    store:save_event { type = "LIST_DELETED", data = { listId = "l" } }
    assert.same(first, store:save_event_with_stream_validation(event, nil, { life_of "l" }))
    assert.equal(2, place():count "events")
  end)
end)
