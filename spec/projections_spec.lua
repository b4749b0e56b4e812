-- The two apps of projections/: every event, reducer and view, by the views that they come to.
local annal = require "annal"

local function json(value) return annal.json.encode(value) end

-- A store in memory with the app, and short words for saving.
local function open(app)
  local store = annal.open(":memory:", { app = "projections/" .. app })
  local function save(type, data) return store:save_event { type = type, data = data } end
  return store, save
end

local function code_of(action)
  local ok, problem = pcall(action)
  assert.is_false(ok)
  return problem.code, problem.where
end

describe("the shopping cart", function()
  local store, save

  before_each(function() store, save = open "cart" end)
  after_each(function() store:close() end)

  local function create(cart, user) return save("CART_CREATED", { cartId = cart or "c1", userId = user or "u1" }) end
  local function add(product, quantity, price, cart)
    return save("ITEM_ADDED_TO_CART",
      { cartId = cart or "c1", productId = product, quantity = quantity, priceAtTime = price or 100 })
  end
  local function remove(product, quantity)
    return save("ITEM_REMOVED_FROM_CART", { cartId = "c1", productId = product, quantity = quantity })
  end
  local function view() return (store:view("SHOPPING_CART", "c1")) end

  it("is empty before anything happened", function()
    assert.same({ id = "c1", userId = "", items = {}, isCheckedOut = false, total = 0 }, view())
    assert.equal("[]", json(view().items))
  end)

  it("belongs to who created it", function()
    create("c1", "u7")
    assert.equal("u7", view().userId)
  end)

  it("keeps its items in the order in which they came", function()
    create()
    add("b", 1, 10)
    add("a", 2, 20)
    assert.same({
      { productId = "b", quantity = 1, priceAtTime = 10 },
      { productId = "a", quantity = 2, priceAtTime = 20 },
    }, view().items)
    assert.equal(50, view().total)
  end)

  it("adds more of a product to what is there, at its first price", function()
    add("a", 2, 1999)
    add("b", 1, 5)
    add("a", 3, 1)
    assert.same({ productId = "a", quantity = 5, priceAtTime = 1999 }, view().items[1])
    assert.equal(2, #view().items)
    assert.equal(5 * 1999 + 5, view().total)
  end)

  it("lets go of a part of an item", function()
    add("a", 3)
    remove("a", 1)
    assert.equal(2, view().items[1].quantity)
    assert.equal(200, view().total)
  end)

  it("lets go of an item when none or less than none is left", function()
    add("a", 3)
    add("b", 1)
    remove("a", 3)
    assert.equal("b", view().items[1].productId)
    remove("b", 7)
    assert.equal("[]", json(view().items))
    assert.equal(0, view().total)
  end)

  it("ignores the removal of what it does not have", function()
    add("a", 1)
    remove("z", 1)
    assert.equal(1, #view().items)
  end)

  it("takes a product back at its new price after the last one went", function()
    add("a", 1, 10)
    add("b", 1, 10)
    remove("a", 1)
    add("a", 1, 30)
    assert.same({ "b", "a" }, { view().items[1].productId, view().items[2].productId })
    assert.equal(40, view().total)
  end)

  it("is checked out once", function()
    create()
    assert.is_false(view().isCheckedOut)
    save("CART_CHECKED_OUT", { cartId = "c1", checkoutTime = "2026-01-31T12:00:00Z" })
    assert.is_true(view().isCheckedOut)
  end)

  it("has nothing to do with another cart", function()
    create("c1", "u1")
    create("c2", "u2")
    add("a", 1, 100, "c2")
    assert.equal(0, #view().items)
    assert.equal("u2", store:view("SHOPPING_CART", "c2").userId)
    assert.equal(1, #store:view("SHOPPING_CART", "c2").items)
  end)

  it("comes to the same from its saved row as from its first event", function()
    create()
    add("a", 2, 10)
    add("b", 1, 7)
    assert.equal("created", store:projection("SHOPPING_CART", "c1"):save().status)
    remove("a", 2)
    add("c", 1, 1)
    local continued = store:projection("SHOPPING_CART", "c1"):view()
    local fresh = store:projection("SHOPPING_CART", "c1", { saved = false }):view()
    assert.same(fresh, continued)
    assert.equal(8, continued.total)
  end)

  it("refuses what its events do not allow, and says where", function()
    local function refused(type, data) return { code_of(function() save(type, data) end) } end
    assert.same({ "invalid", "data.quantity" },
      refused("ITEM_ADDED_TO_CART", { cartId = "c1", productId = "a", quantity = 0, priceAtTime = 1 }))
    assert.same({ "invalid", "data.priceAtTime" },
      refused("ITEM_ADDED_TO_CART", { cartId = "c1", productId = "a", quantity = 1, priceAtTime = -1 }))
    assert.same({ "invalid", "data.quantity" },
      refused("ITEM_REMOVED_FROM_CART", { cartId = "c1", productId = "a", quantity = "1" }))
    assert.same({ "invalid", "data.checkoutTime" }, refused("CART_CHECKED_OUT", { cartId = "c1", checkoutTime = "yesterday" }))
    assert.same({ "invalid", "data.userId" }, refused("CART_CREATED", { cartId = "c1" }))
    assert.equal("invalid", refused("CART_CREATED", { cartId = "c1", userId = "u1", colour = "red" })[1])
    assert.equal("invalid", refused("CART_PAINTED", { cartId = "c1" })[1])
    assert.equal(0, (store:head()))
  end)

  it("is checked out once, and not while it is empty", function()
    local function check_out() return store:call("CHECK_OUT", { cartId = "c1" }) end
    create()
    assert.equal("rejected", (code_of(check_out)))
    add("a", 1)
    local event = check_out()[1]
    assert.equal("CART_CHECKED_OUT", event.type)
    assert.is_true(event.data.checkoutTime <= event.created_at)
    assert.is_true(view().isCheckedOut)
    assert.equal("rejected", (code_of(check_out)))
  end)
end)

describe("the shopping cart with metadata", function()
  local store, save

  before_each(function() store, save = open "cart" end)
  after_each(function() store:close() end)

  it("knows who changed it last, and when", function()
    local before = store:view("SHOPPING_CART_WITH_META", "c1")
    assert.same({ "", "" }, { before.lastModified, before.modifiedBy })
    save("CART_MODIFIED", { cartId = "c1", modifiedAt = "2026-01-31T12:00:00Z", modifiedBy = "u1" })
    save("CART_MODIFIED", { cartId = "c2", modifiedAt = "2026-03-31T12:00:00Z", modifiedBy = "u3" })
    save("CART_MODIFIED", { cartId = "c1", modifiedAt = "2026-02-28T12:00:00Z", modifiedBy = "u2" })
    local after = store:view("SHOPPING_CART_WITH_META", "c1")
    assert.same({ "2026-02-28T12:00:00Z", "u2" }, { after.lastModified, after.modifiedBy })
  end)

  it("agrees with the cart without, in everything else", function()
    save("CART_CREATED", { cartId = "c1", userId = "u1" })
    save("ITEM_ADDED_TO_CART", { cartId = "c1", productId = "a", quantity = 2, priceAtTime = 1999 })
    save("CART_MODIFIED", { cartId = "c1", modifiedAt = "2026-01-31T12:00:00Z", modifiedBy = "u1" })
    save("ITEM_REMOVED_FROM_CART", { cartId = "c1", productId = "a", quantity = 1 })
    save("CART_CHECKED_OUT", { cartId = "c1", checkoutTime = "2026-01-31T12:05:00Z" })
    local plain = store:view("SHOPPING_CART", "c1")
    local with_meta = store:view("SHOPPING_CART_WITH_META", "c1")
    with_meta.lastModified, with_meta.modifiedBy = nil, nil
    assert.same(plain, with_meta)
    assert.equal(1999, plain.total)
  end)
end)

describe("the todo list", function()
  local store, save

  before_each(function() store, save = open "todo" end)
  after_each(function() store:close() end)

  local function item(type, id) return save(type, { listId = "l1", itemId = id }) end
  local function add(id) return save("ITEM_ADDED", { listId = "l1", itemId = id, itemName = "Item " .. id }) end
  local function view() return (store:view("TODO_LIST", "l1")) end

  it("is empty before anything happened", function()
    assert.equal('{"completedItems":[],"items":[],"listId":"l1"}', json(view()))
  end)

  it("opens what is added, moves what is completed, and back", function()
    save("LIST_CREATED", { listId = "l1", listName = "Test List" })
    add "i1"
    add "i2"
    assert.same({ listId = "l1", items = { "i1", "i2" }, completedItems = {} }, view())
    item("ITEM_COMPLETED", "i1")
    assert.same({ listId = "l1", items = { "i2" }, completedItems = { "i1" } }, view())
    item("ITEM_UNCOMPLETED", "i1")
    assert.same({ listId = "l1", items = { "i2", "i1" }, completedItems = {} }, view())
  end)

  it("forgets what is removed, done or not", function()
    add "i1"
    add "i2"
    item("ITEM_COMPLETED", "i2")
    item("ITEM_REMOVED", "i1")
    item("ITEM_REMOVED", "i2")
    assert.same({ listId = "l1", items = {}, completedItems = {} }, view())
  end)

  it("names an item once, however often it is added or completed", function()
    add "i1"
    add "i1"
    assert.same({ "i1" }, view().items)
    item("ITEM_COMPLETED", "i1")
    item("ITEM_COMPLETED", "i1")
    assert.same({ "i1" }, view().completedItems)
  end)

  it("comes to the same from its saved row as from its first event", function()
    add "i1"
    item("ITEM_COMPLETED", "i1")
    store:projection("TODO_LIST", "l1"):save()
    item("ITEM_UNCOMPLETED", "i1")
    assert.same({ listId = "l1", items = { "i1" }, completedItems = {} }, view())
    assert.same(view(), store:projection("TODO_LIST", "l1", { saved = false }):view())
  end)

  it("stores an optional field that is given and leaves out one that is not", function()
    save("LIST_CREATED", { listId = "l1", listName = "A", exampleOptionalField = "test" })
    save("LIST_CREATED", { listId = "l2", listName = "B", exampleOptionalField = annal.null })
    save("LIST_CREATED", { listId = "l3", listName = "C" })
    local found = store:get_event_stream({ "LIST_CREATED" }, { data = { exampleOptionalField = "test" } })
    assert.equal(1, #found)
    assert.equal("l1", found[1].data.listId)
    local all = store:get_event_stream({ "LIST_CREATED" })
    assert.is_nil(all[2].data.exampleOptionalField)
    assert.is_nil(all[3].data.exampleOptionalField)
  end)

  it("completes an item that is on it, once", function()
    local function complete(id) return #store:call("COMPLETE_ITEM", { listId = "l1", itemId = id }) end
    add "i1"
    assert.equal(1, complete "i1")
    assert.same({ listId = "l1", items = {}, completedItems = { "i1" } }, view())
    assert.equal(0, complete "i1")
    assert.equal("rejected", (code_of(function() complete "i2" end)))
  end)
end)

describe("the todo list with its name", function()
  it("combines two streams, before and after the list is deleted", function()
    local store, save = open "todo"
    finally(function() store:close() end)
    local function view() return (store:view("TODO_LIST_WITH_META", "l1")) end
    assert.same({ listName = "", isDeleted = false, items = {}, completedItems = {} }, view())
    save("LIST_CREATED", { listId = "l1", listName = "Test List" })
    save("LIST_CREATED", { listId = "l2", listName = "Another" })
    save("ITEM_ADDED", { listId = "l1", itemId = "i1", itemName = "Test Item" })
    save("ITEM_COMPLETED", { listId = "l1", itemId = "i1" })
    assert.same({ listName = "Test List", isDeleted = false, items = {}, completedItems = { "i1" } }, view())
    save("LIST_DELETED", { listId = "l1" })
    assert.same({ listName = "Test List", isDeleted = true, items = {}, completedItems = { "i1" } }, view())
    assert.is_false(store:view("TODO_LIST_WITH_META", "l2").isDeleted)
  end)
end)
