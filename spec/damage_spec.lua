-- A store that another program has written nonsense into: what cannot be read is `corrupt` and named, and never handed on.
local annal = require "annal"
local apps = require "support.apps"
local command = require "support.command"
local expect = require "support.expect"
local shell = require "support.shell"

describe("a damaged payload", function()
  local place, path
  before_each(function()
    place = shell.temporary_directory()
    path = place .. "/c.db"
    local store = annal.open(path)
    for number = 1, 3 do store:save_event { type = "T", id = "e" .. number, data = { a = 1 } } end
    store:save_projection { type = "P", id = "p", data = { a = 1 }, latest_event_id = "e1" }
    store:close()
  end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function damage(statement) shell.run { "env", "-u", "LD_PRELOAD", "sqlite3", path, statement } end

  local function fails(arguments, ...)
    local result = command.run { "--store", path, table.unpack(arguments) }
    assert.equal(1, result.code, result.out .. result.err)
    assert.is_truthy(result.err:match "^annal: corrupt: [^\n]*\n$", result.err)
    for _, text in ipairs { ... } do assert.is_truthy(result.err:find(text, 1, true), result.err) end
    return result.out
  end

  for _, bad in ipairs { "{", "", "[1]", '{"a":1}x', '{"a":99999999999999999999}', '{"a":1,"a":1}', "nul" } do
    it(("is not printed: %q"):format(bad), function()
      damage(("update events set data = '%s' where position = 2"):format(bad))
      for _, name in ipairs { "events", "export" } do
        local printed = fails({ name }, "position 2", '"e2"')
        assert.equal(1, #command.lines(printed))
        assert.is_truthy(printed:find('"id":"e1"', 1, true))
      end
    end)
  end

  it("of metadata is not printed either", function()
    -- JSON to SQLite, whose index of correlations would not let anything else in; none to annal, which takes no key twice.
    damage [[update events set metadata = '{"a":1,"a":1}' where position = 3]]
    assert.equal(2, #command.lines(fails({ "export" }, "metadata", "position 3")))
  end)

  it("that is JSON, but laid out otherwise, is printed as what it is", function()
    damage [[update events set data = '{ "b": 2,' || char(10) || ' "a": 1 }' where position = 2]]
    local lines = command.lines(command.ok { "--store", path, "export" })
    assert.equal(3, #lines)
    assert.is_truthy(lines[2]:find('"data":{"a":1,"b":2}', 1, true), lines[2])
  end)

  it("that stops a filter is named by its position", function()
    damage "update events set data = '{' where position = 2"
    fails({ "events", "--data", "a=1" }, "position 2", '"e2"')
    local store = annal.open(path)
    expect.error("corrupt", "position 2", function() store:get_event_streams { { types = { "T" }, data = { a = 1 } } } end)
    expect.error("corrupt", "position 2", function() store:get_event_stream() end)
    store:close()
  end)

  it("that stops a view is named by its position", function()
    local store = annal.open(path, { app = apps.todo.app })
    local list = select(2, apps.todo_events())
    store:save_event { type = "LIST_CREATED", data = { listId = list, listName = "a" } }
    damage "update events set data = '{' where position = 4"
    expect.error("corrupt", "position 4", function() store:view("TODO_LIST_WITH_META", list) end)
    -- One that the database can still search, and JSON cannot hold.
    damage(("update events set data = '{\"listId\":\"%s\",\"a\":99999999999999999999}' where position = 4"):format(list))
    expect.error("corrupt", "position 4", function() store:view("TODO_LIST_WITH_META", list) end)
    store:close()
  end)

  it("of a row is not printed, and named", function()
    damage "update projections set data = '{'"
    fails({ "query", "P" }, 'P "p"')
    fails({ "query", "P", "a=1" }, 'P "p"')
    fails({ "query", "P", "--order", "a" }, 'P "p"')
    fails({ "query", "P", "a:1..2" }, 'P "p"')
  end)

  it("of a row to go on after is named too", function()
    damage "update projections set data = '{\"a\":1,\"a\":2}'"
    fails({ "query", "P", "--order", "b", "--after", "p" }, '"p"', "twice")
    fails({ "query", "P" }, 'P "p"', "twice")
  end)

  it("of a row that is laid out otherwise is printed as what it is", function()
    damage [[update projections set data = '{ "b": "' || char(92) || 'u0041",' || char(10) || ' "a": 1 }']]
    local lines = command.lines(command.ok { "--store", path, "query", "P", "--order", "a" })
    assert.equal(1, #lines)
    assert.is_truthy(lines[1]:find('"data":{"a":1,"b":"A"}', 1, true), lines[1])
  end)
end)
