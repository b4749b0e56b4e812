-- Events and one's own rows in one transaction: both are stored, or neither. What is there is what the database's own client
-- finds.
local annal = require "annal"
local expect = require "support.expect"
local process = require "support.process"
local shell = require "support.shell"
local stores = require "support.stores"

stores.each(_ENV, "a transaction", function(place, kind)
  local store, orders
  before_each(function()
    store = place():open { app = "projections/todo", data_indexes = { "listId" }, lock_timeout = 1 }
    orders = kind == "postgresql" and place().options.schema .. ".orders" or "orders"
    place():sql(("create table %s (id integer primary key, name text, price double precision)"):format(orders))
  end)

  local function created(id) return { id = id, type = "LIST_DELETED", data = { listId = id } } end
  local function insert(tx, id, name)
    return tx:execute(("INSERT INTO %s (id, name) VALUES ($1, $2)"):format(orders), { id, name })
  end
  -- Rows and events, as the client counts them.
  local function found() return place():count "orders", place():count "events" end

  it("stores events and rows together, and returns what its function returns", function()
    local event, list
    local function body(tx)
      event = tx:save_event(created "l1")
      list = tx:save_events { created "l2", created "l3" }
      assert.equal("l1", event.id)
      assert.equal(1, event.version)
      assert.is_nil(event.position)
      assert.is_nil(event.created_at)
      assert.equal(1, insert(tx, 1, "one"))
      assert.is_nil(tx:get_latest_event "LIST_DELETED") -- staged, not stored
      return "done", nil, 3
    end
    assert.same({ n = 3, "done", nil, 3 }, table.pack(store:transaction(body)))
    assert.same({ 1, 3 }, { found() })
    assert.equal(1, event.position)
    assert.same({ 2, 3 }, expect.pluck(list, "position"))
    assert.same(store:get_event_stream { "LIST_DELETED" }, { event, list[1], list[2] })
    assert.equal("l1|l2|l3", (place():sql("select id from events order by position"):gsub("\n", "|")))
  end)

  it("sends nothing when there is nothing in it, and goes on afterwards", function()
    assert.equal(7, store:transaction(function() return 7 end))
    assert.equal(1, store:save_event(created "l1").position)
    store:transaction(function(tx) tx:save_event(created "l2") end)
    assert.equal(2, (store:head()))
  end)

  it("is rolled back by an error of its function, which is raised again", function()
    local problem = setmetatable({}, { __name = "mine" })
    local good, raised = pcall(store.transaction, store, function(tx)
      tx:save_event(created "l1")
      insert(tx, 1, "one")
      error(problem)
    end)
    assert.is_false(good)
    assert.equal(problem, raised)
    assert.same({ 0, 0 }, { found() })
    store:save_event(created "l1") -- nothing is locked any more
  end)

  it("takes values as parameters and answers rows by the columns' names", function()
    local nasty = "Robert'); DROP TABLE orders; -- \u{10FFFF}"
    local rows, none = store:transaction(function(tx)
      assert.equal(0, tx:execute(("UPDATE %s SET name = 'x'"):format(orders)))
      local insertion = ("INSERT INTO %s (price, name, id) VALUES ($3, $2, $1)"):format(orders)
      assert.equal(1, tx:execute(insertion, { 1, nasty, 0.1 }))
      tx:execute(insertion, { 2, annal.null, 3.0 })
      assert.equal(2, tx:execute(("UPDATE %s SET price = price * 2"):format(orders), {}))
      return tx:execute(("SELECT id, name, price FROM %s ORDER BY id"):format(orders)),
        tx:execute(("DELETE FROM %s WHERE id = $1 RETURNING id"):format(orders), { 9 })
    end)
    assert.same({ { id = 1, name = nasty, price = 0.2 }, { id = 2, name = annal.null, price = 6.0 } }, rows)
    assert.equal("integer", math.type(rows[1].id))
    assert.equal("float", math.type(rows[2].price))
    assert.same({}, none)
    assert.equal("2", place():sql "select count(*) from orders")
  end)

  if kind == "sqlite" then
    it("takes SQLite's placeholders too", function()
      local rows = store:transaction(function(tx)
        return tx:execute("SELECT ? AS a, ?1 AS b, ?3 AS c, ?2 AS d", { 1, true, "x" })
      end)
      assert.same({ { a = 1, b = 1, c = "x", d = 1 } }, rows)
    end)
  else
    it("answers PostgreSQL's types, and what it does not know as text", function()
      local rows = store:transaction(function(tx)
        return tx:execute([[
          SELECT $1::bigint AS a, $2::boolean AS b, 1.5::numeric AS c, 'NaN'::float8 AS d, '[1]'::json AS e]], { 5, false })
      end)
      assert.is_true(rows[1].d ~= rows[1].d)
      rows[1].d = nil
      assert.same({ { a = 5, b = false, c = "1.5", e = "[1]" } }, rows)
    end)

    it("leaves nothing behind in the session", function()
      store:transaction(function(tx)
        tx:execute "SET enable_seqscan = off"
        tx:execute "SET application_name = 'left behind'"
      end)
      local rows = store:transaction(function(tx) return tx:execute "SHOW application_name" end)
      assert.equal("annal", rows[1].application_name)
      rows = store:transaction(function(tx) return tx:execute "SHOW enable_seqscan" end)
      assert.equal("on", rows[1].enable_seqscan) -- annal's own setting is not for others' statements
    end)
  end

  it("meets its conflict at the end, and takes the rows back", function()
    local first = store:save_event(created "l1")
    local streams = { { types = { "LIST_DELETED" }, data = { listId = "l1" } } }
    store:transaction(function(tx)
      insert(tx, 1, "one")
      tx:save_event_with_stream_validation({ id = "a", type = "LIST_DELETED", data = { listId = "l1" } }, first.id, streams)
    end)
    local reached = false
    expect.error("conflict", function()
      store:transaction(function(tx)
        tx:save_event(created "l9")
        insert(tx, 2, "two")
        tx:save_event_with_stream_validation({ type = "LIST_DELETED", data = { listId = "l1" } }, first.id, streams)
        reached = true
      end)
    end)
    assert.is_true(reached)
    assert.same({ 1, 2 }, { found() })
  end)

  it("ends with all of it when one save is a duplicate", function()
    store:save_event(created "l1")
    expect.error("duplicate", "l1", function()
      store:transaction(function(tx)
        insert(tx, 1, "one")
        tx:save_event(created "l2")
        tx:save_event { id = "l1", type = "LIST_DELETED", data = { listId = "other" } }
      end)
    end)
    assert.same({ 0, 1 }, { found() })
  end)

  it("repeated under the same ids answers the stored events, and its rows are there once", function()
    place():sql(("create table %s (name text)"):format((orders:gsub("orders", "notes"))))
    local function try()
      local events
      store:transaction(function(tx)
        tx:execute(("INSERT INTO %s VALUES ('noted')"):format((orders:gsub("orders", "notes"))))
        events = tx:save_events { created "l1", created "l2" }
      end)
      return events
    end
    local first = try()
    store:save_event(created "l3")
    assert.same(first, try())
    assert.same({ 1, 2 }, expect.pluck(first, "position"))
    assert.equal(1, place():count "notes")
    assert.equal(3, place():count "events")
    -- With anything new in it, it is no repetition.
    store:transaction(function(tx)
      insert(tx, 1, "one")
      assert.equal("l1", tx:save_event(created "l1").id)
      tx:save_event(created "l4")
    end)
    assert.same({ 1, 4 }, { found() })
  end)

  it("checks events when they are staged, and goes on if that error is caught", function()
    store:transaction(function(tx)
      expect.error("invalid", "listId", function() tx:save_event { type = "LIST_DELETED", data = { listId = 5 } } end)
      expect.error("misuse", "empty", function() tx:save_events {} end)
      tx:save_event(created "l1")
      insert(tx, 1, "one")
    end)
    assert.same({ 1, 1 }, { found() })
  end)

  it("is over after a statement that failed, even if that error is caught", function()
    expect.error("duplicate", function()
      store:transaction(function(tx)
        tx:save_event(created "l1")
        insert(tx, 1, "one")
        expect.error("duplicate", function() insert(tx, 1, "again") end)
        expect.error("misuse", "has failed", function() insert(tx, 2, "two") end)
        expect.error("misuse", "has failed", function() tx:save_event(created "l2") end)
      end)
    end)
    assert.same({ 0, 0 }, { found() })
  end)

  it("is rolled back by a deferred constraint", function()
    local prefix = orders:gsub("orders", "")
    place():sql(("create table %slines (line_of integer references orders (id) deferrable initially deferred)"):format(prefix))
    local function both(order)
      store:transaction(function(tx)
        tx:execute(("INSERT INTO %slines VALUES ($1)"):format(prefix), { order })
        insert(tx, 1, "one")
        tx:save_event(created("l" .. order))
      end)
    end
    expect.error("invalid", function() both(2) end)
    assert.same({ 0, 0 }, { found() })
    both(1)
    assert.same({ 1, 1 }, { found() })
  end)

  it("saves rows of projections with the rest", function()
    local event = store:save_event(created "l1")
    local row = { type = "HAND", id = "h", data = { n = 1 }, latest_event_id = event.id }
    local saved
    pcall(store.transaction, store, function(tx)
      tx:save_projection(row)
      error "no"
    end)
    assert.is_nil(store:get_projection { type = "HAND", id = "h" })
    store:transaction(function(tx)
      saved = tx:save_projection(row)
      assert.is_nil(saved.status)
      assert.is_nil(tx:get_projection { type = "HAND", id = "h" })
      tx:save_event(created "l2")
    end)
    assert.equal("created", saved.status)
    assert.same({ n = 1 }, store:get_projection({ type = "HAND", id = "h" }).data)
    store:transaction(function(tx) saved = tx:save_projection(row) end)
    assert.equal("updated", saved.status)
  end)

  it("reads what is committed, also in the middle of a projection", function()
    store:save_event(created "l1")
    store:transaction(function(tx)
      insert(tx, 1, "one")
      assert.equal("l1", tx:get_latest_event("LIST_DELETED").id)
      assert.equal(1, #tx:get_event_stream { "LIST_DELETED" })
      assert.equal(1, #tx:get_event_streams { { types = { "LIST_DELETED" } } })
      local count = 0
      for _ in tx:events {} do count = count + 1 end
      assert.equal(1, count)
      assert.equal("l1", tx:view("TODO_LIST", "l1").listId)
      local list = tx:projection("TODO_LIST", "l1")
      assert.equal("l1", list:view().listId)
      assert.equal("l1", store:view("TODO_LIST", "l1").listId)
      expect.error("misuse", "tx:save_event_with_stream_validation", function() list:save_event(created "l2") end)
      expect.error("misuse", "tx:save_projection", function() list:save() end)
      local again = { type = "LIST_DELETED", data = { listId = "l1" } }
      tx:save_event_with_stream_validation(again, list.latest_event_id, list.streams)
    end)
    assert.same({ 1, 2 }, { found() })
  end)

  it("refuses what has no place in it", function()
    local kept
    for sql, text in pairs {
      COMMIT = "returns", ["/* a */ rollback"] = "raise an error", [" ;BEGIN"] = "has begun", ["SAVEPOINT a"] = "SAVEPOINT",
      ["-- nothing"] = "no statement", ["SELECT 1; SELECT 2"] = "", ["selec 1"] = "selec", ["SELECT * FROM nothere"] = "nothere",
      ["SELECT 1 AS a, 2 AS a"] = '"a"', ["COPY orders FROM stdin"] = "INSERT", ["SELECT $1 AS a"] = "",
    } do
      expect.error("misuse", text, function() store:transaction(function(tx) tx:execute(sql) end) end)
    end
    store:transaction(function(tx)
      kept = tx
      local method = { "save_event", "save_events", "save_event_with_stream_validation", "save_projection" }
      for _, name in ipairs(method) do expect.error("misuse", "tx:" .. name, function() store[name](store, created "l1") end) end
      expect.error("misuse", "nest", function() store:transaction(function() end) end)
      expect.error("misuse", "before or after", function() store:load "projections/todo" end)
      expect.error("misuse", "before or after", function() store:reload() end)
      expect.error("misuse", "middle of a call", function() store:close() end)
      expect.error("misuse", "ends with its function", function() tx:close() end)
      expect.error("misuse", "params[1]", function() tx:execute("SELECT $1", { {} }) end)
      expect.error("misuse", "without holes", function() tx:execute("SELECT $1", { nil, 2 }) end)
      expect.error("misuse", "infinity", function() tx:execute("SELECT $1", { 1 / 0 }) end)
      expect.error("invalid", "NUL", function() tx:execute("SELECT $1", { "a\0b" }) end)
      expect.error("misuse", "colon", function() tx.execute "SELECT 1" end)
      insert(tx, 1, "one") -- none of this has ended it
    end)
    assert.same({ 1, 0 }, { found() })
    expect.error("misuse", "closed", function() kept:execute "SELECT 1" end)
    expect.error("misuse", "closed", function() kept:save_event(created "l1") end)
    expect.error("misuse", "function", function() store:transaction "SELECT 1" end)
    expect.error("misuse", "read-only", function() place():open({ read_only = true }):transaction(function() end) end)
  end)

  it(kind == "sqlite" and "holds the write lock from its first statement" or "lets other saves go on until it ends", function()
    local other = place():open { lock_timeout = 0.2 }
    store:transaction(function(tx)
      tx:save_event(created "mine")
      other:save_event(created "early") -- nothing is sent yet
      insert(tx, 1, "one")
      if kind == "sqlite" then
        expect.error("busy", function() other:save_event(created "meanwhile") end)
      else
        other:save_event(created "meanwhile")
      end
    end)
    other:save_event(created "later")
    local ids = kind == "sqlite" and { "early", "mine", "later" } or { "early", "meanwhile", "mine", "later" }
    assert.same(ids, expect.pluck(store:get_event_stream { "LIST_DELETED" }, "id"))
  end)

  describe("of a program that is killed", function()
    after_each(process.kill_all)

    local function start(name, mode)
      local written = orders:gsub("orders", "written")
      return process.start("transactor", place().location, place().options.schema or "", written, name, mode)
    end

    it("stores both or neither", function()
      place():sql(("create table %s (writer text, number integer)"):format((orders:gsub("orders", "written"))))
      local holder = start("h", "hold")
      assert.equal("ready", holder:receive())
      assert.equal("held", holder:receive())
      holder:kill()
      holder:stop()
      store:save_event(created "l1") -- its locks have gone with it
      assert.equal(0, place():count "written")
      assert.equal(1, place():count "events")
      for round = 1, 6 do
        local writer = start("w" .. round, "loop")
        assert.equal("ready", writer:receive())
        shell.sleep(0.05 + 0.03 * round)
        writer:kill()
        writer:stop()
      end
      store:save_event(created "l2") -- after what the last one's server process still had to do
      local events = place():sql "select id from events where type = 'WRITTEN' order by id"
      assert.equal(events, place():sql "select writer || '-' || number as id from written order by id")
      assert.is_true(#events > 0, "none came to write anything")
    end)
  end)
end)

-- A store in memory has one connection for everything.
describe("a transaction in memory", function()
  it("reads over its own connection", function()
    local store = annal.open(":memory:", { app = "projections/todo" })
    store:save_event { type = "LIST_DELETED", data = { listId = "l1" } }
    store:transaction(function(tx)
      tx:execute "CREATE TABLE orders (id INTEGER)"
      assert.equal("l1", tx:view("TODO_LIST", "l1").listId)
      assert.equal(1, #tx:get_event_stream { "LIST_DELETED" })
      tx:save_event { type = "LIST_DELETED", data = { listId = "l2" } }
      assert.equal(1, tx:execute "INSERT INTO orders VALUES (1)")
    end)
    assert.equal(2, (store:head()))
    assert.same({ { n = 1 } }, store:transaction(function(tx) return tx:execute "SELECT count(*) AS n FROM orders" end))
    store:close()
  end)
end)
