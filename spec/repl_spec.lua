-- The REPL: lines from a pipe, and a person at a terminal (spec/support/pty.c). The real program each time.
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"

local cart_app = command.root .. "/projections/cart"

describe("the REPL", function()
  local place, store

  local function arguments(...) return { "--store", store, "--app", cart_app, "repl", ... } end

  before_each(function()
    place = shell.temporary_directory()
    store = place .. "/cart.db"
    local function save(type, data) command.ok { "--store", store, "save", type, data } end
    save("CART_CREATED", '{"cartId":"cart_1","userId":"u1"}')
    save("ITEM_ADDED_TO_CART", '{"cartId":"cart_1","productId":"p1","quantity":2,"priceAtTime":500}')
    save("CART_CREATED", '{"cartId":"other","userId":"u2"}')
  end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function piped(lines, ...) return command.run(arguments(...), { input = table.concat(lines, "\n") .. "\n" }) end

  -- What these lines print, one JSON document each, when none of them fails.
  local function values(...)
    local result = piped { ... }
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return (result.out:gsub("\n$", ""):gsub("\n", " "))
  end

  describe("in a pipe", function()
    it("prints the values of expressions as JSON and nothing else", function()
      local out = values("1 + 1", "'a' .. 'b'", "nil", "3 / 2", "{ a = { 1, 2 } }", "1, 2, 3")
      assert.equal('2 "ab" null 1.5 {"a":[1,2]} 1 2 3', out)
      assert.equal("", values("x = 1", "", "   ", "-- a comment", "local y", "(function() end)()"))
      assert.equal("[] {} 9007199254740993", values("annal.array {}", "{}", "9007199254740993"))
      assert.equal('"function', values("print"):sub(1, 9))
    end)

    it("has store, annal and the last value", function()
      assert.equal('2 3 "0.1.0"', values("2", "_ + 1", "annal.version"):gsub("%d+%.%d+%.%d+", "0.1.0"))
      local out = values "store:get_latest_event('CART_CREATED', { data = { userId = 'u1' } })"
      assert.equal("cart_1", cjson.decode(out).data.cartId)
      assert.equal(1000, cjson.decode(values "(store:view('SHOPPING_CART', 'cart_1'))").total)
      assert.equal("3", values("local n = 0 for _ in store:events {} do n = n + 1 end", "n"))
    end)

    it("goes on with unfinished input on the next line", function()
      assert.equal("3 [1,2] \"a\\nb\" 7",
        values("for i = 1, 2 do", "  sum = (sum or 0) + i", "end", "sum", "{ 1,", "2 }", "[[a", "b]]", "3 +", "4"))
    end)

    it("says on stderr what went wrong, goes on, and ends with 1", function()
      local result = piped {
        "1", "error 'boom'", "2", "x = = 1", "store:view('NONE', 'x')", "nothing.field", "error { code = 7 }",
        "store:view('SHOPPING_CART', '')", "3",
      }
      assert.equal("1\n2\n3\n", result.out)
      assert.equal(1, result.code)
      local said = command.lines(result.err)
      assert.equal("annal: script: boom (repl:1)", said[1])
      assert.matches("^annal: script: unexpected symbol near '=' %(repl:1%)$", said[2])
      assert.matches("^annal: not_found: ", said[3])
      assert.matches("^annal: script: .*global 'nothing'.*%(repl:1%)$", said[4])
      assert.equal("annal: script: { code = 7 }", said[5])
      assert.matches("^annal: misuse: ", said[6])
      assert.equal(6, #said)
    end)

    it("takes input that never ends for an error", function()
      local result = piped { "1", "for i = 1, 2 do" }
      assert.equal("1\n", result.out)
      assert.equal(1, result.code)
      assert.matches("^annal: script: .*near <eof> %(repl:1%)\n$", result.err)
    end)

    it("names the line within the input in messages", function()
      assert.matches("%(repl:3%)", piped({ "do", "local a = 1", "error 'x'", "end" }).err)
    end)

    it("obeys :quit, and knows no other commands than it has", function()
      assert.equal("1\n", piped({ "1", ":quit", "2" }).out)
      assert.matches("there is no :open; see :help", piped({ ":open X" }).err)
      assert.matches("ITEM_ADDED_TO_CART.*\n.*\"other\"", values(":events 2"):gsub("} {", "}\n{"))
      assert.matches(":events N: x is not a whole number", piped({ ":events x" }).err)
      assert.matches("%d ms", piped({ ":time", "1" }).err)
    end)
  end)

  describe("keeps locals", function()
    it("as one variable that closures of earlier lines share", function()
      assert.equal("1 5 5 6 6", values("local x = 1", "x", "function get() return x end", "x = 5", "get()", "x",
        "function set(v) x = v end", "set(6)", "get()", "x"))
    end)

    it("and makes a second variable of a second declaration", function()
      assert.equal("1 2", values("local x = 1", "function first() return x end", "local x = 2", "first()", "x"))
      assert.equal("3", values("local x = 1", "local x = x + 2", "x"))
    end)

    it("of functions, lists, strings that look like code, and across lines", function()
      assert.equal("120", values("local function f(n)", "  if n < 2 then return 1 end", "  return n * f(n - 1)", "end", "f(5)"))
      local line = "local a, b = (function() local z = 1 return 2 end)(), 'local z = 1'"
      assert.equal('2 "local z = 1" null', values(line, "a", "b", "z"))
      assert.equal("[1] 4", values("local t = { 1 } local n = #t + 3 -- local m = 9", "t", "n"))
      assert.equal("8.5", values("local v = 0x1p3 + 1 ..  2 == nil and 1 or 5e-1", "local w = 8 + v", "w"))
      assert.equal("null", values("do local inner = 1 end", "if true then local inner = 2 end", "inner"))
    end)

    it("with their attributes", function()
      assert.equal("7", values("local c <const> = 7", "c"))
      assert.equal("[7]", values("local c <const> = { 7 }", "c"))
      for _, declaration in ipairs { "local c <const> = 7", "local c <const> = { 7 }", "local c <close> = nil" } do
        assert.matches("attempt to assign to const variable 'c' %(repl:1%)", piped({ declaration, "c = 8" }).err)
      end
    end)

    it("and closes <close> at the end of the session, the last one first", function()
      local result = piped {
        "function guard(name)", "  return setmetatable({}, { __close = function() print('closed ' .. name) end })", "end",
        "local a <close> = guard 'a'", "local b <close> = guard 'b'", "print 'still open'",
      }
      assert.equal("still open\nclosed b\nclosed a\n", result.out)
      assert.matches("variable 'x' got a non%-closable value", piped({ "local x <close> = 5" }).err)
    end)

    it("that were made before an error", function()
      local result = piped { "local a = 1 error 'x' local b = 2", "a", "b" }
      assert.equal("1\nnull\n", result.out)
    end)
  end)

  describe("may write", function()
    local line = "store:save_event { type = 'CART_CREATED', data = { cartId = 'new', userId = 'u3' } }.position"
    local function stored() return shell.run { "sqlite3", store, "select count(*) from events" } end

    it("only with --write", function()
      local result = piped { line }
      assert.equal(1, result.code)
      assert.matches("^annal: misuse: ", result.err)
      assert.equal("3", stored())
      result = piped({ line }, "--write")
      assert.equal("4\n", result.out, result.err)
      assert.equal("4", stored())
    end)
  end)

  describe("at a terminal", function()
    local function talk(steps, options, ...) return command.on_terminal(arguments(...), steps, options) end

    it("shows which store, and whether it may write", function()
      local shown = talk { "expect cart.db (read-only)> ", "send :quit\\r" }
      assert.equal(0, shown.code, shown.err)
      assert.matches("read-only (--write lets you save)", shown.out, 1, true)
      shown = talk({ "expect cart.db (write)> ", "send \\x04" }, {}, "--write")
      assert.equal(0, shown.code, shown.err)
    end)

    it("follows until Ctrl-C, and goes on", function()
      local late = ("(sleep 1; env -u LD_PRELOAD %s save LATE '{\"n\":\"late one\"}' >/dev/null) &")
      os.execute(late:format(shell.line { command.path, "--store", store }))
      local shown = talk {
        "expect > ", "send :follow\\r", "expect late one", "send \\x03",
        "expect > ", "send 20 + 22\\r", "expect 42", "send \\x04",
      }
      assert.equal(0, shown.code, shown.out .. shown.err)
      assert.is_nil(shown.out:find("interrupted", 1, true))
    end)

    it("shows values as people read them", function()
      local shown = talk {
        "expect > ", "send (store:view('SHOPPING_CART', 'cart_1'))\\r", "expect userId",
        "expect > ", "send { b = annal.null, a = 'x', 1.0 }\\r",
        "expect > ", "send 'q'\\r", 'expect "q"',
        "expect > ", "send nil\\r", "expect nil",
        "expect > ", "send :quit\\r",
      }
      assert.equal(0, shown.code, shown.err)
      assert.matches("\nid%s+cart_1\nisCheckedOut%s+false\nitems%s+priceAtTime%s+productId%s+quantity\n", shown.out)
      assert.matches("\n%s+500%s+p1%s+2\n", shown.out)
      assert.matches("%[1%]%s+1%.0\na%s+x\nb%s+null\n", shown.out)
    end)

    it("shows depth and width within bounds", function()
      local shown = talk {
        "expect > ", "send t = {} t.t = t t.deep = { { { { { { { 1 } } } } } } }\\r",
        "expect > ", "send t\\r", "expect <cycle>",
        "expect > ", "send ('long '):rep(100000)\\r", "expect …",
        "expect > ", "send l = {} for i = 1, 1000 do l[i] = { i = i } end\\r",
        "expect > ", "send l\\r", "expect … 800 more",
        "expect > ", "send :quit\\r",
      }
      assert.equal(0, shown.code, shown.err)
      assert.matches("{…}", shown.out, 1, true)
      assert.is_true(#shown.out < 20000)
    end)

    it("goes on with unfinished input", function()
      local shown = talk {
        "expect > ", "send x = {\\r", "expect … ", "send 41 }\\r",
        "expect > ", "send x[1] + 1\\r", "expect 42",
        "expect > ", "send :quit\\r",
      }
      assert.equal(0, shown.code, shown.err)
    end)

    -- What is typed before Ctrl-C is thrown away by the terminal, so that each of these says first that it runs.
    local function interrupted(body)
      return "send print('run' .. 'ning') " .. body .. "\\r", "expect running", "send \\x03", "expect interrupted", "expect > "
    end

    local function stops(body)
      local steps = { "expect > ", interrupted(body) }
      for _, step in ipairs { "send 6 * 7\\r", "expect 42", "expect > ", "send :quit\\r" } do steps[#steps + 1] = step end
      local shown = talk(steps)
      assert.equal(0, shown.code, shown.err .. shown.out)
    end

    it("stops a script at Ctrl-C and goes on", function() stops "while true do end" end)

    it("stops one that catches errors", function() stops "while true do pcall(function() while true do end end) end" end)

    it("stops a coroutine", function() stops "coroutine.wrap(function() while true do end end)()" end)

    it("stops a query at Ctrl-C and goes on", function()
      stops "while true do store:get_event_stream({ 'CART_CREATED' }, {}) end"
      stops "while true do pcall(store.get_event_stream, store, { 'CART_CREATED' }, {}) end"
    end)

    it("forgets the line at Ctrl-C", function()
      local shown = talk {
        "expect > ", "send x = 'not this", "expect not this", "send \\x03", "expect ^C",
        "expect > ", "send x == nil\\r", "expect true",
        "expect > ", "send y = {\\r", "expect … ", "send \\x03",
        "expect cart.db (read-only)> ", "send 6 * 7\\r", "expect 42",
        "expect > ", "send \\x04",
      }
      assert.equal(0, shown.code, shown.err .. shown.out)
    end)

    it("completes names, methods, types, projections and ids", function()
      local shown = talk {
        "expect > ", "send (store:get_ev\\t", "expect ent_stream", "send \\x03",
        "expect > ", "send (store:view(\"SHOPPING_CART\", \"cart\\t", "expect _1", "send \")).total + 1\\r", "expect 1001",
        "expect > ", "send annal.ver\\t\\r", "expect \"",
        "expect > ", "send coro\\t.wra\\t\\r", "expect function",
        "expect > ", "send local my_local = 41\\r",
        "expect > ", "send my_lo\\t + 1\\r", "expect 42",
        "expect > ", "send (store:cal\\t", "expect l", "send (\"CHE\\t", "expect CK_OUT", "send \\x03",
        "expect > ", "send x = \"ITEM\\t", "expect _", "send \\t", "expect ITEM_ADDED_TO_CART  ITEM_REMOVED_FROM_CART",
        "expect x = ", "send \\x03",
        "expect > ", "send :qu\\t\\r",
      }
      assert.equal(0, shown.code, shown.err .. shown.out)
    end)

    it("remembers lines from session to session, for nobody else to read", function()
      local home = place .. "/home"
      shell.run { "mkdir", home }
      local first = talk({ "expect > ", "send 40 + 2\\r", "expect 42", "expect > ", "send :quit\\r" }, { home = home })
      assert.equal(0, first.code)
      local file = home .. "/.local/state/annal/history"
      assert.equal("600", shell.run { "stat", "-c", "%a", file })
      assert.equal("700", shell.run { "stat", "-c", "%a", home .. "/.local/state/annal" })
      local second = talk({ "expect > ", "send \\e[A\\e[A\\r", "expect 42", "expect > ", "send \\x04" }, { home = home })
      assert.equal(0, second.code, second.out)
      assert.equal("40 + 2\n:quit\n40 + 2\n", shell.read(file))
      local elsewhere = talk({ "expect > ", "send 1\\r", "expect > ", "send \\x04" },
        { home = home, env = { XDG_STATE_HOME = place .. "/state" } })
      assert.equal(0, elsewhere.code)
      assert.equal("1\n", shell.read(place .. "/state/annal/history"))
    end)

    it("survives a broken pipe of a closed terminal, and a line that is not UTF-8", function()
      local shown = talk { "expect > ", "send #'\\xff\\xfe' + 42\\r", "expect 4", "expect > ", "send :quit\\r" }
      assert.equal(0, shown.code, shown.err .. shown.out)
    end)
  end)
end)
