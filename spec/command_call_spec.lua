-- annal call, and annal events --correlation: the real program each time.
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"

local app = [[
event "ORDERED" { order = t.string, cents = t.integer { min = 1 } }
event "PAID" { order = t.string }
event "SHIPPED" { order = t.string }
projection "ORDER" { by = "order", init = { cents = 0, paid = false, shipped = 0 }, on = {
  ORDERED = function(o, e) o.cents = o.cents + e.data.cents end,
  PAID = function(o) o.paid = true end,
  SHIPPED = function(o) o.shipped = o.shipped + 1 end,
} }
command "ORDER" { args = { order = t.string, cents = t.integer { min = 1 } }, decide = function(args)
  return { type = "ORDERED", data = args }
end }
command "PAY" { args = { order = t.string, ship = t.optional(t.boolean) }, uses = { order = "ORDER" },
  decide = function(args, views)
  if views.order.paid then reject "it is paid already" end
  local events = { { type = "PAID", data = { order = args.order } } }
  if args.ship then events[2] = { type = "SHIPPED", data = { order = args.order } } end
  return events
end }
command "NOTHING" { decide = function() end }
]]

local function decode_lines(text)
  local list = {}
  for _, line in ipairs(command.lines(text)) do list[#list + 1] = cjson.decode(line) end
  return list
end

describe("annal call", function()
  local place, store

  before_each(function()
    place = shell.temporary_directory()
    store = place .. "/shop.db"
    shell.run { "mkdir", place .. "/app" }
    shell.write(place .. "/app/app.lua", app)
  end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function words(...) return { "--store", store, "--app", place .. "/app", ... } end
  local function ok(...) return command.ok(words(...)) end
  local function refuses(code, pattern, ...)
    local result = command.run(words(...))
    assert.equal(code, result.code, result.out .. result.err)
    assert.equal("", result.out)
    assert.matches(pattern, result.err)
  end

  it("prints the events that it stored, one a line", function()
    local order = decode_lines(ok("call", "ORDER", '{"order":"o1","cents":500}'))
    assert.equal(1, #order)
    assert.equal("ORDERED", order[1].type)
    local paid = ok("call", "PAY", '{"order":"o1","ship":true}', "--id", "r1", "--metadata", '{"user":"u1"}')
    local events = decode_lines(paid)
    assert.equal("r1/1", events[1].id)
    assert.equal("r1/2", events[2].id)
    assert.same({ user = "u1" }, events[2].metadata)
    assert.equal(paid, ok("call", "PAY", '{"order":"o1","ship":true}', "--id=r1"))
    assert.equal("", ok("call", "NOTHING"))
    assert.equal(3, #command.lines(ok "events"))
  end)

  it("ends with 3 where it is rejected, and stores nothing", function()
    ok("call", "PAY", '{"order":"o1"}')
    refuses(3, "^annal: rejected: it is paid already\n$", "call", "PAY", '{"order":"o1"}')
    assert.equal(1, #command.lines(ok "events"))
  end)

  it("says what is wrong", function()
    refuses(1, "^annal: not_found: there is no command \"PYA\"; did you mean PAY%?\n$", "call", "PYA", "{}")
    refuses(1, "^annal: invalid: ORDER: args%.cents .* %(args%.cents%)\n$", "call", "ORDER", '{"order":"o","cents":0}')
    refuses(1, "^annal: invalid: ", "call", "ORDER", "order=o")
    refuses(1, "^annal: invalid: .* %(metadata%)\n$", "call", "NOTHING", "{}", "--metadata", "x")
    refuses(2, "one argument too many", "call", "PAY", "{}", "{}")
    refuses(2, "too few arguments: annal call COMMAND", "call")
  end)

  it("shows people a table", function()
    local shown = command.on_terminal(words("call", "ORDER", '{"order":"o1","cents":5}'), {})
    assert.equal(0, shown.code, shown.err)
    assert.matches("position%s+created_at%s+type%s+data\n%s+1%s+%S+ %S+%s+ORDERED%s+{ cents = 5, order = \"o1\" }\n", shown.out)
    shown = command.on_terminal(words("call", "NOTHING"), {})
    assert.equal("no events\n", shown.out)
  end)

  describe("and what was caused by what", function()
    local root, other

    -- annal.caused_by at the prompt of a shell.
    local function caused_by(event, correlation)
      return cjson.encode { correlation_id = correlation or event.id, causation_id = event.id }
    end

    before_each(function()
      local function call(name, metadata)
        return decode_lines(ok("call", name, '{"order":"o1","cents":500}', "--metadata", metadata or "{}"))[1]
      end
      root = call "ORDER"
      other = call "ORDER"
      local child = call("ORDER", caused_by(root))
      call("ORDER", caused_by(root))
      call("ORDER", caused_by(child, root.id))
      call("ORDER", caused_by(other))
      call("ORDER", caused_by({ id = "elsewhere" }, root.id))
    end)

    it("is one document a line in order of position", function()
      local function positions(...)
        local list = {}
        for index, event in ipairs(decode_lines(ok("events", "--correlation", ...))) do
          list[index] = math.tointeger(event.position)
        end
        return table.concat(list, " ")
      end
      assert.equal("1 3 4 5 7", positions(root.id))
      assert.equal("7 5 4 3 1", positions(root.id, "--reverse"))
      assert.equal("1 3", positions(root.id, "--limit", "2"))
      assert.equal("4 5 7", positions(root.id, "--after", "3"))
      assert.equal("2 6", positions(other.id, "--type", "ORDERED", "--data", "cents=500"))
      assert.equal("", positions(other.id, "--type", "PAID"))
      assert.equal("", positions "nothing")
      refuses(2, "%-%-follow does not go with %-%-correlation", "events", "--correlation", "x", "--follow")
      refuses(1, "correlation id", "events", "--correlation", ("x"):rep(513))
      refuses(1, "not_found", "events", "--correlation", "x", "--after", "id:nothing")
    end)

    it("is shown as the scripts declare it now", function()
      ok("save", "PAID", '{"order":"o1"}', "--metadata", caused_by(root))
      local older = [[event "PAID" { schema = { order = t.string, how = t.string }, version = 2,
        upcast = { function(data) data.how = "unknown" return data end } }]]
      shell.write(place .. "/app/app.lua", (app:gsub('event "PAID" %b{}', (older:gsub("%%", "%%%%")))))
      local paid = decode_lines(ok("events", "--correlation", root.id, "--type", "PAID"))
      assert.same({ { order = "o1", how = "unknown" }, 2 }, { paid[1].data, math.tointeger(paid[1].version) })
    end)

    it("is a tree for people", function()
      local shown = command.on_terminal(words("events", "--correlation", root.id), {}, { columns = 100 })
      assert.equal(0, shown.code, shown.err)
      local tree = {}
      for position, indent in shown.out:gmatch "\n%s*(%d+)  %S+ %S+  (%s*)ORDERED" do
        tree[#tree + 1] = position .. ":" .. #indent
      end
      assert.equal("1:0 3:2 5:4 4:2 7:0", table.concat(tree, " "))
      shown = command.on_terminal(words("events", "--correlation", "nothing"), {})
      assert.equal("no events\n", shown.out)
    end)

    it("ends also where events say that they caused each other", function()
      local metadata = '{"correlation_id":"loop","causation_id":"%s"}'
      for id, cause in pairs { a = "b", b = "a", c = "c" } do
        ok("save", "PAID", '{"order":"o"}', "--id", id, "--metadata", metadata:format(cause))
      end
      local shown = command.on_terminal(words("events", "--correlation", "loop"), {}, { columns = 100 })
      local _, count = shown.out:gsub("PAID", "")
      assert.equal(3, count, shown.out)
    end)
  end)
end)
