-- The command `annal` as people and pipes see it: what comes out, where, with which exit code. The real program each time.
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"
local stores = require "support.stores"

local cart_app = command.root .. "/projections/cart"

local function created(cart) return ('{"cartId":"%s","userId":"u1"}'):format(cart) end

local function decode_lines(text)
  local list = {}
  for _, line in ipairs(command.lines(text)) do list[#list + 1] = cjson.decode(line) end
  return list
end

local function count_lines(text) return #command.lines(text) end

-- `annal events --follow …` beside the test, into a file. Answers wait(n), which waits until n lines are there and gives the
-- text, and stop(), which sends it SIGINT and gives its exit code and what it said on stderr.
local function follower(place, words)
  local file = place .. "/followed"
  os.execute(("cd %s && (%s >followed 2>errors & echo $! >pid; wait $!; echo $? >code) &"):format(place,
    shell.line { "env", "-u", "LD_PRELOAD", command.path, table.unpack(words) }))
  local function until_there(test)
    for _ = 1, 1000 do
      local text = shell.try { "test", "-s", file } and shell.read(file) or ""
      if test(text) then return text end
      shell.sleep(0.02)
    end
    error("it did not come: " .. shell.read(place .. "/errors"), 2)
  end
  local function wait(count) return until_there(function(text) return count_lines(text) >= count end) end
  local function stop()
    until_there(function() return shell.try { "test", "-s", place .. "/pid" } end)
    -- A shell starts what runs in its background deaf to SIGINT; annal listens all the same, since it asks for it by itself.
    shell.run { "kill", "-INT", (shell.read(place .. "/pid"):gsub("%s", "")) }
    until_there(function() return shell.try { "test", "-s", place .. "/code" } end)
    return tonumber(shell.read(place .. "/code")), shell.read(place .. "/errors")
  end
  return { wait = wait, stop = stop }
end

describe("the command annal", function()
  local place, store

  before_each(function()
    place = shell.temporary_directory()
    store = place .. "/cart.db"
  end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function run(arguments, options) return command.run({ "--store", store, table.unpack(arguments) }, options) end
  local function ok(arguments, options) return command.ok({ "--store", store, table.unpack(arguments) }, options) end

  -- Ends with this code, says this (a pattern) on stderr in one line, and nothing on stdout.
  local function refuses(code, pattern, arguments, options)
    local result = command.run(arguments, options)
    assert.equal(code, result.code, result.out .. result.err)
    assert.equal("", result.out)
    assert.equal(1, count_lines(result.err), result.err)
    assert.matches("^annal: %a[%a_]*: ", result.err)
    assert.matches(pattern, result.err)
  end

  describe("reads its arguments", function()
    it("and says its version and its help", function()
      assert.equal("annal " .. require("annal").version .. "\n", command.ok { "--version" })
      for _, name in ipairs { "save", "call", "import", "export", "events", "view", "query", "check", "schema", "repl" } do
        assert.matches("\n  " .. name .. " ", command.ok { "--help" })
        assert.matches("^annal " .. name, command.ok { name, "--help" })
      end
    end)

    it("and refuses what it does not know, with a hint for names off by a letter", function()
      refuses(2, "unknown command nonsense; see annal %-%-help", { "nonsense" })
      refuses(2, "did you mean events%?", { "event" })
      refuses(2, "did you mean events%?", { "evnets" })
      refuses(2, "unknown option %-%-limt; did you mean %-%-limit%?", { "--store", store, "events", "--limt", "1" })
      refuses(2, "did you mean %-%-store%?", { "--stor", "x", "events" })
      refuses(2, "unknown option %-%-frobnicate; see annal events %-%-help", { "events", "--frobnicate" })
      refuses(2, "unknown option %-x", { "events", "-x" })
      refuses(2, "no command", {})
    end)

    it("and refuses too few, too many, twice, without a value, with a needless one", function()
      refuses(2, "too few arguments", { "--store", store, "save", "A" })
      refuses(2, "one argument too many: c", { "--store", store, "save", "A", "{}", "c" })
      refuses(2, "%-%-limit is given twice", { "events", "--limit", "1", "--limit=2" })
      refuses(2, "%-%-limit needs a value", { "events", "--limit" })
      refuses(2, "%-%-reverse takes no value", { "events", "--reverse=yes" })
    end)

    it("and checks numbers and bounds", function()
      ok { "save", "A", "{}" }
      for _, number in ipairs { "0", "-1", "1.5", "x", "", "99999999999999999999" } do
        refuses(2, "%-%-limit: ", { "--store", store, "events", "--limit", number })
        refuses(2, "%-%-before: ", { "--store", store, "events", "--before", number })
      end
      refuses(2, "%-%-after: ", { "--store", store, "events", "--after", "id:" })
      refuses(2, "%-%-data: cartId is not of the form NAME=VALUE", { "--store", store, "events", "--data", "cartId" })
      refuses(2, "%-%-data: a%-b is not the name of a field", { "--store", store, "events", "--data", "a-b=1" })
    end)

    it("and says of what is to come that it is not there yet", function()
      refuses(2, "not in this version yet", { "--store", store, "bisect" })
    end)

    it("and takes options before and after the command, and nothing behind -- as one", function()
      ok { "save", "A", "{}" }
      assert.equal(1, count_lines(command.ok { "events", "--store", store }))
      assert.equal(1, count_lines(command.ok { "events", "--store=" .. store, "--type=A" }))
      refuses(2, "one argument too many: %-%-limit", { "--store", store, "events", "--", "--limit" })
    end)
  end)

  describe("finds its store", function()
    it("by the option before the environment before annal.lua, here or above", function()
      shell.run { "mkdir", "-p", place .. "/a/b" }
      shell.write(place .. "/a/annal.lua", 'store = "config.db"\n')
      for name, path in pairs { CONFIG = place .. "/a/config.db", ENV = place .. "/env.db", OPTION = place .. "/option.db" } do
        command.ok { "--store", path, "save", name, "{}" }
      end
      local function type_of(options, ...)
        options.cwd = place .. "/a/b"
        return cjson.decode(command.ok({ "events", ... }, options)).type
      end
      assert.equal("CONFIG", type_of {})
      assert.equal("ENV", type_of { env = { ANNAL_STORE = place .. "/env.db" } })
      assert.equal("OPTION", type_of({ env = { ANNAL_STORE = place .. "/env.db" } }, "--store", place .. "/option.db"))
    end)

    it("and says so where none is named", function() refuses(2, "no store is named", { "events" }, { cwd = "/" }) end)

    it("and makes none where it only reads", function()
      for _, words in ipairs { { "events" }, { "export" }, { "check" }, { "query", "P" }, { "repl" } } do
        local result = run(words)
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("^annal: not_found: ", result.err)
        assert.is_false((shell.try { "test", "-e", store }))
      end
    end)

    it("and says what is wrong with one that is none", function()
      shell.write(store, "this is no database, but long enough to be read as one by whoever only looks at its size\n")
      refuses(1, "annal: corrupt: ", { "--store", store, "events" })
      refuses(2, "", { "--store", "mysql://x", "events" })
      assert.equal("", run({ "events" }, {}).out)
    end)

    it("and names no password", function()
      local url = "postgresql://me:s3cret@127.0.0.1:1/none?connect_timeout=2"
      local result = command.run { "--store", url, "events" }
      assert.equal(1, result.code)
      assert.matches("^annal: unavailable: ", result.err)
      assert.is_nil(result.err:find("s3cret", 1, true))
    end)
  end)

  describe("reads annal.lua", function()
    local function config(text) shell.write(place .. "/annal.lua", text) end
    local function here(arguments) return command.run(arguments, { cwd = place }) end

    it("as globals or as a table, with paths beside the file", function()
      shell.run { "mkdir", place .. "/deeper" }
      shell.run { "cp", "-r", cart_app, place .. "/scripts" }
      config 'store, app = "sqlite:here.db", "scripts"\ndata_indexes = { "cartId" }\n'
      command.ok({ "save", "CART_CREATED", created "c1" }, { cwd = place .. "/deeper" })
      assert.equal("1", shell.run { "sqlite3", place .. "/here.db", "select count(*) from events" })
      local view = cjson.decode(command.ok({ "view", "SHOPPING_CART", "c1" }, { cwd = place .. "/deeper" }))
      assert.equal("u1", view.userId)
      assert.matches("cartId", command.ok({ "schema" }, { cwd = place }))
      config 'local name = "ta" .. "ble"\nreturn { store = name .. ".db" }\n'
      assert.equal(0, here({ "save", "A", "{}" }).code)
      assert.equal("1", shell.run { "sqlite3", place .. "/table.db", "select count(*) from events" })
    end)

    it("and says file and line of what is wrong in it", function()
      for text, pattern in pairs {
        ["store = "] = "%(.*/annal%.lua:1%)",
        ["\nstor = 'x.db'"] = "unknown setting stor; did you mean store%?",
        ["store = 5"] = "store: a string is needed",
        ["data_indexes = {}"] = "data_indexes: the list is empty",
        ["timeout = 0"] = "timeout: a number above 0",
        ["connections = 1.5"] = "connections: a whole number",
        ["return 7"] = "it returns a number",
        ["\n\nerror 'x'"] = "annal%.lua:3",
        ["store = os.getenv 'HOME'"] = "global 'os'",
        ["while true do end"] = "runs for too long",
        ["local t = {} for i = 1, 1e5 do t[i] = { i, i, i, i, i, i } end while true do end"] = "annal: misuse: ",
        ["local s = 'x' while true do s = s .. s end"] = "not enough memory",
      } do
        config(text)
        local result = here { "events" }
        assert.equal(2, result.code, text .. result.err)
        assert.matches(pattern, result.err)
        assert.equal(1, count_lines(result.err), result.err)
      end
    end)

    it("only where it is the user's own", function()
      config('store = "own.db"')
      command.ok({ "save", "A", "{}" }, { cwd = place })
      shell.run { "chmod", "666", place .. "/annal.lua" }
      local result = here { "events" }
      assert.equal(2, result.code)
      assert.matches("annal%.lua is ignored: it can be written by anybody", result.err)
      if shell.run { "id", "-u" } ~= "0" then return end -- only root can give a file away
      shell.run { "chmod", "644", place .. "/annal.lua" }
      shell.run { "chown", "12345", place .. "/annal.lua" }
      result = here { "events" }
      assert.equal(2, result.code)
      assert.matches("belongs to another user", result.err)
    end)
  end)

  describe("saves", function()
    it("an event and prints it as it is stored, on one line", function()
      local out = ok { "save", "CART_CREATED", ' { "userId":"u1", "cartId":"c1" } ', "--id", "e1", "--metadata", '{"by":"x"}' }
      assert.equal(1, count_lines(out))
      local rest = '"data":{"cartId":"c1","userId":"u1"},"id":"e1","metadata":{"by":"x"},"position":1,"type":"CART_CREATED"'
      assert.matches(rest, out, 1, true)
      assert.equal("1|e1|CART_CREATED", shell.run { "sqlite3", store, "select position, id, type from events" })
      assert.equal(out, ok { "save", "CART_CREATED", created "c1", "--id", "e1", "--metadata", '{"by":"x"}' })
      assert.equal("1", shell.run { "sqlite3", store, "select count(*) from events" })
    end)

    it("nothing that is not right", function()
      ok { "save", "A", "{}", "--id", "e1" }
      refuses(1, "annal: duplicate: ", { "--store", store, "save", "B", "{}", "--id", "e1" })
      refuses(1, "annal: invalid: ", { "--store", store, "save", "A", "{" })
      refuses(1, "annal: invalid: ", { "--store", store, "save", "A", "[]" })
      refuses(1, "annal: invalid: ", { "--store", store, "save", "A", '{"a":1,"a":2}' })
      refuses(1, "annal: invalid: ", { "--store", store, "save", "", "{}" })
      refuses(1, "annal: invalid: ", { "--store", store, "save", "A", "{}", "--metadata", "7" })
      local app = { "--store", store, "--app", cart_app }
      local function with_app(...) return { app[1], app[2], app[3], app[4], ... } end
      refuses(1, "annal: invalid: .*CART_CREATD", with_app("save", "CART_CREATD", created "c1"))
      refuses(1, "annal: invalid: .*data%.userId", with_app("save", "CART_CREATED", '{"cartId":"c1","userId":5}'))
      refuses(1, "annal: invalid: .*extra", with_app("save", "CART_CREATED", '{"cartId":"c1","userId":"u","extra":1}'))
      assert.equal("1", shell.run { "sqlite3", store, "select count(*) from events" })
    end)

    it("nothing into a full disk, and says so", function()
      local disk = place .. "/disk"
      shell.run { "mkdir", disk }
      if not shell.try { "mount", "-t", "tmpfs", "-o", "size=256k", "none", disk } then
        pending "tmpfs cannot be mounted here"
        return
      end
      local path = disk .. "/s.db"
      command.run { "--store", path, "save", "A", "{}" }
      local result = command.run { "--store", path, "save", "BIG", '{"x":"' .. ("y"):rep(100000) .. '"}' }
      shell.run { "umount", disk }
      assert.equal(1, result.code)
      assert.matches("^annal: unavailable: ", result.err)
    end)
  end)

  describe("shows events", function()
    before_each(function()
      for i = 1, 6 do
        ok { "save", i % 2 == 1 and "ODD" or "EVEN", ('{"n":%d,"third":"%d"}'):format(i, i % 3), "--id", "e" .. i }
      end
    end)

    local function positions(...)
      local list = {}
      for i, event in ipairs(decode_lines(ok { "events", ... })) do list[i] = ("%d"):format(event.position) end
      return table.concat(list, " ")
    end

    it("all of them, by type, by data, between bounds, from the end", function()
      assert.equal("1 2 3 4 5 6", positions())
      assert.equal("1 3 5", positions("--type", "ODD"))
      assert.equal("1 2 3 4 5 6", positions("--type", "ODD", "--type", "EVEN"))
      assert.equal("", positions("--type", "NONE"))
      assert.equal("1 4", positions("--data", "third=1"))
      assert.equal("1 2 4 5", positions("--data", "third=1", "--data", "third=2"))
      assert.equal("5", positions("--data", "third=2", "--type", "ODD"))
      assert.equal("2", positions("--data", "third=2", "--data", "n=2"))
      assert.equal("4 5 6", positions("--after", "3"))
      assert.equal("4 5 6", positions("--after", "id:e3"))
      assert.equal("1 2", positions("--before", "3"))
      assert.equal("3", positions("--after", "id:e2", "--before", "id:e4"))
      assert.equal("1 2", positions("--limit", "2"))
      assert.equal("6 5", positions("--limit", "2", "--reverse"))
      refuses(1, "annal: not_found: .*e9", { "--store", store, "events", "--after", "id:e9" })
    end)

    it("and what comes, at once, until SIGINT, which is no failure", function()
      local followed = follower(place, { "--store", store, "events", "--follow", "--after", "id:e4", "--type", "ODD" })
      assert.equal("e5", decode_lines(followed.wait(1))[1].id)
      ok { "save", "EVEN", "{}", "--id", "e7" }
      ok { "save", "ODD", "{}", "--id", "e8" }
      assert.equal("e8", decode_lines(followed.wait(2))[2].id)
      ok { "save", "ODD", "{}", "--id", "e9" }
      local lines = decode_lines(followed.wait(3))
      assert.equal(3, #lines)
      assert.same({ 9, "ODD" }, { lines[3].position, lines[3].type })
      local code, said = followed.stop()
      assert.same({ 0, "" }, { code, said })
    end)

    it("and what comes, without an end or a way back", function()
      for _, words in ipairs { { "--before", "9" }, { "--limit", "1" }, { "--reverse" } } do
        refuses(2, "%-%-follow has no end: " .. words[1]:gsub("%-", "%%-"),
          { "--store", store, "events", "--follow", table.unpack(words) })
      end
      refuses(1, "annal: not_found: .*e99", { "--store", store, "events", "--follow", "--after", "id:e99" })
    end)

    it("as a table on a terminal, safe against what is in them", function()
      ok { "save", "ESC", '{"s":"a\\u001b[2Jb\\u202ec","d":"\xc2\x9b"}' }
      local shown = command.on_terminal({ "--store", store, "events" }, {}, { columns = 100 })
      assert.equal(0, shown.code, shown.out)
      local lines = command.lines(shown.out)
      assert.matches("^position%s+created_at%s+type%s+data$", lines[1])
      assert.matches("^%s+1%s+%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%s+ODD%s+{ n = 1, third = \"1\" }$", lines[2])
      assert.equal(8, #lines)
      assert.matches("\27[1mposition", shown.raw, 1, true)
      assert.is_nil(shown.raw:find("\27[2J", 1, true))
      assert.is_nil(shown.raw:find("\xc2\x9b", 1, true))
      assert.is_nil(shown.raw:find("\u{202E}", 1, true))
      assert.matches("\\u{1B}[2Jb\\u{202E}c", shown.raw, 1, true)
    end)

    it("in lines no wider than the terminal", function()
      ok { "save", "WIDE", '{"s":"' .. ("wide "):rep(50) .. '","w":"日本語日本語"}' }
      local shown = command.on_terminal({ "--store", store, "events" }, {}, { columns = 70, env = { NO_COLOR = "1" } })
      for _, line in ipairs(command.lines(shown.out)) do assert.is_true(utf8.len(line) <= 70, line) end
      assert.is_nil(shown.raw:find "\27")
    end)

    it("as JSON on a terminal when asked", function()
      local shown = command.on_terminal({ "--store", store, "--json", "events", "--limit", "1" }, {})
      assert.equal("e1", cjson.decode(shown.out).id)
    end)
  end)

  describe("exports and imports", function()
    local function export(path) return command.ok { "--store", path, "export" } end

    -- Everything that is hard to keep: the ends of the integers, doubles, empties, escapes, other alphabets.
    local exact = [==[{"a":[],"b":{},"c":null,"d":-0.0,"e":9223372036854775807,"f":-9223372036854775808,"g":0.1,]==]
      .. [==["h":1e15,"i":"\" \\ \u0001 \n ä 日本 😀","j":1.7976931348623157e308,"k":[[[]]],"l":true,"m":9007199254740993}]==]

    it("so that both give the same bytes", function()
      ok { "save", "EXACT", exact, "--id", "e1", "--metadata", '{"x":[1,2.0]}' }
      for i = 2, 30 do ok { "save", "T" .. i % 3, '{"n":' .. i .. "}" } end
      local first = ok { "export" }
      local other = place .. "/other.db"
      local result = command.run({ "--store", other, "import" }, { input = first })
      assert.same({ already_stored = 0, imported = 30 }, cjson.decode(result.out), result.err)
      assert.equal(first, export(other))
      assert.equal(first, ok { "events" })
      assert.matches('"d":-0.0,"e":9223372036854775807,"f":-9223372036854775808', first, 1, true)
    end)

    it("again and again without storing anything twice", function()
      local lines = {}
      for i = 1, 2500 do
        local time = ("2020-01-01T00:00:%02d.%06dZ"):format(i // 50, i)
        lines[i] = ('{"type":"T","data":{"n":%d},"id":"id-%d","created_at":"%s"}\n'):format(i, i, time)
      end
      local file = place .. "/events.ndjson"
      shell.write(file, table.concat(lines, "", 1, 1234))
      assert.equal('{"already_stored":0,"imported":1234}\n', ok { "import", file })
      shell.write(file, table.concat(lines))
      assert.equal('{"already_stored":1234,"imported":1266}\n', ok { "import", file })
      assert.equal('{"already_stored":2500,"imported":0}\n', ok { "import", file })
      local exported = decode_lines(ok { "export" })
      assert.equal(2500, #exported)
      assert.equal("2020-01-01T00:00:50.002500Z", exported[2500].created_at)
      assert.equal("id-2500", exported[2500].id)
    end)

    it("lines without an id, which get one from their place and bytes", function()
      local input = '{"type":"T","data":{}}\n\n{"type":"T","data":{}}\n'
      assert.equal('{"already_stored":0,"imported":2}\n', ok({ "import", "-" }, { input = input }))
      assert.equal('{"already_stored":2,"imported":0}\n', ok({ "import", "-" }, { input = input }))
      assert.equal('{"already_stored":2,"imported":1}\n', ok({ "import" }, { input = input .. '{"type":"T","data":{}}' }))
    end)

    it("an id that stands twice once, if both are equal", function()
      local line = '{"type":"T","data":{},"id":"same"}\n'
      assert.equal('{"already_stored":1,"imported":1}\n', ok({ "import" }, { input = line .. line }))
      local result = run({ "import" }, { input = line .. '{"type":"T","data":{"other":1},"id":"same"}\n' })
      assert.equal(1, result.code)
      assert.matches("^annal: duplicate: .*%(line 2: id%)\n", result.err)
    end)

    it("up to the first line that is wrong, and says which", function()
      local good = '{"type":"T","data":{},"id":"g%d"}\n'
      for bad, pattern in pairs {
        ["{"] = "annal: invalid: .*%(line 3%)",
        ['{"type":"T"}'] = "the event has no data %(line 3%)",
        ['{"data":{}}'] = "the event has no type %(line 3%)",
        ['{"type":"T","data":{},"extra":1}'] = 'unknown member "extra".*%(line 3%)',
        ['{"type":"T","data":[]}'] = "%(line 3: data%)",
        ['{"type":"T","data":{},"version":0}'] = "%(line 3: version%)",
        ['{"type":"T","data":{},"created_at":"yesterday"}'] = "yesterday is not a time.*%(line 3: created_at%)",
        ['{"type":"T","data":{},"id":7}'] = "it is not a string %(line 3: id%)",
        ['{"type":"T","data":{"x":"\\u0000"}}'] = "annal: invalid: .*%(line 3",
      } do
        local path = place .. "/" .. #bad .. ".db"
        local result = command.run({ "--store", path, "import" },
          { input = good:format(1) .. good:format(2) .. bad .. "\n" .. good:format(4) })
        assert.equal(1, result.code, bad)
        assert.equal("", result.out)
        assert.matches(pattern, result.err)
        assert.matches("2 events are stored; the same import run again goes on from there", result.err)
        assert.equal("g1\ng2", shell.run { "sqlite3", path, "select id from events order by position" })
      end
    end)

    it("no event whose time steps back or lies ahead, unless it is to get a new one", function()
      local function line(time) return ('{"type":"T","data":{},"created_at":"%s"}\n'):format(time) end
      local back = line "2020-01-02T00:00:00Z" .. line "2020-01-01T00:00:00Z"
      local ahead = line "2999-01-01T00:00:00Z"
      refuses(1, "annal: invalid: .*%(line 1", { "--store", store, "import" }, { input = ahead })
      local result = run({ "import" }, { input = back })
      assert.equal(1, result.code)
      assert.matches("annal: invalid: .*%(line 2", result.err)
      assert.equal("1", shell.run { "sqlite3", store, "select count(*) from events" })
      assert.equal('{"already_stored":1,"imported":1}\n', ok({ "import", "--retime" }, { input = back }))
      assert.equal('{"already_stored":0,"imported":1}\n', ok({ "import", "--retime" }, { input = ahead }))
      for _, event in ipairs(decode_lines(ok { "export" })) do assert.is_true(event.created_at < "2900") end
    end)

    it("by the app's schemas, keeping the line as it is", function()
      local app = shell.temporary_directory()
      shell.write(app .. "/events.lua", 'event "E" { id = t.string, note = t.optional(t.string), n = t.integer }\n')
      local good = '{"type":"E","data":{"id":"x","n":2.0,"note":null}}\n'
      local bad = '{"type":"E","data":{"id":"x","n":"two"}}\n'
      refuses(1, "%(line 1: data%.n%)", { "--store", store, "--app", app, "import" }, { input = bad })
      command.ok({ "--store", store, "--app", app, "import" }, { input = good })
      assert.equal('{"id":"x","n":2.0,"note":null}', shell.run { "sqlite3", store, "select data from events" })
      shell.run { "rm", "-rf", app }
    end)

    it("in memory that does not grow with their number", function()
      local file = place .. "/many.ndjson"
      local function write(count)
        local out = assert(io.open(file, "w"))
        for i = 1, count do out:write(('{"type":"T","data":{"n":%d,"x":"%s"},"id":"%d"}\n'):format(i, ("x"):rep(100), i)) end
        out:close()
      end
      write(30000)
      if os.getenv "LD_PRELOAD" or shell.try { "grep", "-qa", "__asan_init", command.path } then
        pending "sanitizers reserve address space"
        return
      end
      local bounded = { wrap = [[bash -c 'ulimit -v 120000; exec "$@"' -]] }
      local result = command.run({ "--store", store, "import", file }, bounded)
      assert.equal(0, result.code, result.err)
      result = command.run({ "--store", store, "export" }, bounded)
      assert.equal(0, result.code, result.err)
      assert.equal(30000, count_lines(result.out))
    end)

    it("from a file that is there", function()
      refuses(1, "annal: not_found: cannot open .*/nowhere", { "--store", store, "import", place .. "/nowhere" })
      refuses(1, "annal: unavailable: cannot read the file", { "--store", store, "import", place })
    end)

    it("with its progress on a terminal's stderr", function()
      shell.write(place .. "/in.ndjson", '{"type":"T","data":{}}\n')
      local shown = command.on_terminal({ "--store", store, "import", place .. "/in.ndjson" }, {})
      assert.matches("imported 1 events, [%d,]+/s", shown.out)
      assert.matches("1 events imported, 0 were stored before", shown.out)
    end)

    it("quietly ended by whoever stops reading", function()
      local file = place .. "/many.ndjson"
      local out = assert(io.open(file, "w"))
      for i = 1, 20000 do out:write(('{"type":"T","data":{"n":%d}}\n'):format(i)) end
      out:close()
      ok { "import", file }
      local keep_code = ([[sh -c '"$@"; echo $? >%s/code' -]]):format(place)
      local result = run({ "export" }, { into = "| head -n 1 >/dev/null", wrap = keep_code })
      assert.equal("", result.err)
      assert.equal("1\n", shell.read(place .. "/code"))
      result = run({ "export" }, { into = ">/dev/full" })
      assert.equal(1, result.code)
      assert.matches("^annal: unavailable: cannot write to standard output: ", result.err)
    end)
  end)

  describe("shows views", function()
    local function cart(...) return { "--store", store, "--app", cart_app, ... } end
    local added = '{"cartId":"c1","productId":"p%d","quantity":%d,"priceAtTime":%d}'

    before_each(function()
      command.ok(cart("save", "CART_CREATED", created "c1"))
      command.ok(cart("save", "ITEM_ADDED_TO_CART", added:format(1, 2, 500)))
      command.ok(cart("save", "ITEM_ADDED_TO_CART", added:format(2, 1, 999)))
    end)

    it("as one JSON document", function()
      local out = command.ok(cart("view", "SHOPPING_CART", "c1"))
      assert.equal(1, count_lines(out))
      local view = cjson.decode(out)
      assert.equal(1999, view.total)
      assert.equal("p2", view.items[2].productId)
      assert.equal(0, cjson.decode(command.ok(cart("view", "SHOPPING_CART", "nobody"))).total)
    end)

    it("as a table on a terminal", function()
      local shown = command.on_terminal(cart("view", "SHOPPING_CART", "c1"), {})
      assert.matches("\nitems%s+priceAtTime%s+productId%s+quantity\n%s+500%s+p1%s+2\n%s+999%s+p2%s+1\n", shown.out)
      assert.matches("\ntotal%s+1999\n", shown.out)
    end)

    it("of what is there", function()
      refuses(1, "annal: not_found: .*SHOPING_CART", cart("view", "SHOPING_CART", "c1"))
      refuses(2, "annal: misuse: ", cart("view", "SHOPPING_CART"))
      refuses(1, "annal: not_found: ", { "--store", store, "view", "SHOPPING_CART", "c1" })
      refuses(1, "annal: not_found: ", { "--store", store, "--app", place .. "/none", "view", "SHOPPING_CART", "c1" })
    end)

    it("as of a position or a time", function()
      local function total(at) return decode_lines(command.ok(cart("view", "SHOPPING_CART", "c1", "--at", at)))[1].total end
      assert.equal(1999, total "3")
      assert.equal(0, total "1")
      assert.equal(0, total "0")
      assert.equal(0, total "2000-01-01T00:00:00Z")
      assert.equal(1999, total "2999-01-01T00:00:00Z")
      refuses(1, "annal: not_found: position 9 is beyond .* position 3 %(at%)", cart("view", "SHOPPING_CART", "c1", "--at", "9"))
      for _, at in ipairs { "-1", "1.5", "x", "2026-01-31", "" } do
        refuses(2, "--at: .* is neither a position", cart("view", "SHOPPING_CART", "c1", "--at=" .. at))
      end
    end)

    it("and the saved ones by their fields", function()
      local annal = require "annal"
      command.ok(cart("save", "CART_CREATED", created "c2"))
      local opened = annal.open(store, { app = cart_app })
      for _, id in ipairs { "c1", "c2" } do opened:projection("SHOPPING_CART", id):save() end
      opened:close()
      local function ids(...)
        local list = {}
        for i, row in ipairs(decode_lines(command.ok(cart("query", "SHOPPING_CART", ...)))) do list[i] = row.id end
        return table.concat(list, " ")
      end
      assert.equal("c1 c2", ids())
      assert.equal("c1 c2", ids("userId=u1"))
      assert.equal("c1", ids("total=1999"))
      assert.equal("c1 c2", ids("total=1999", "total=0"))
      assert.equal("", ids("userId=u2"))
      assert.equal("c2 c1", ids("--order", "total"))
      assert.equal("c1 c2", ids("--order", "total", "--descending"))
      assert.equal("c1", ids("--order", "total", "--after", "c2"))
      assert.equal("c1", ids("--limit", "1"))
      assert.equal("c2", ids("--after", "c1"))
      assert.equal("c1", ids("total:1..1999"))
      assert.equal("c1", ids("total:0.5.."))
      assert.equal("c2", ids("total:..1998", "userId=u1"))
      assert.equal("c1 c2", ids("userId:u..u2"))
      assert.equal("", ids("total:a..z"))
      assert.equal("c1 c2", ids('id:"c1".."c2"'))
      assert.equal("", ids("userId=a..z")) -- no range
      local row = decode_lines(command.ok(cart("query", "SHOPPING_CART", "total=1999")))[1]
      assert.equal(3, row.position)
      assert.is_false(row.stale)
      assert.equal("p1", row.data.items[1].productId)
      refuses(1, 'not_found: .*"NOPE"', cart("query", "NOPE"))
      refuses(1, "invalid: .*%(data%.userId%)", cart("events", "--data", "userId=" .. ("x"):rep(600)))
      refuses(2, "query: userId is not of the form NAME=VALUE", cart("query", "SHOPPING_CART", "userId"))
      for _, range in ipairs { "total:", "total:..", "total:1", "total:1.2", "total:a..b..c", 'total:"a..b' } do
        refuses(2, "is not of the form NAME:MIN..MAX", cart("query", "SHOPPING_CART", range))
      end
      refuses(2, "query: a b is not the name of a field", cart("query", "SHOPPING_CART", "a b:1..2"))
      refuses(2, "misuse: .*%(data%.total%)", cart("query", "SHOPPING_CART", "total:1..z"))
      refuses(2, "misuse: .*%(order%)", cart("query", "SHOPPING_CART", "--descending"))
      refuses(2, "limit", cart("query", "SHOPPING_CART", "--limit", "0"))
      refuses(1, 'not_found: .*"c9"', cart("query", "SHOPPING_CART", "--after", "c9"))
      local shown = command.on_terminal(cart("query", "SHOPPING_CART"), {}, { columns = 120 })
      assert.matches("^id%s+isCheckedOut%s+items%s+total%s+userId%s+position\n", shown.out)
      assert.matches("\nc2%s+false%s+array {}%s+0%s+u1%s+4\n", shown.out)
      assert.equal("no rows\n", command.on_terminal(cart("query", "SHOPPING_CART", "userId=u2"), {}).out)
    end)
  end)

  describe("checks", function()
    it("a sound store and says nothing", function()
      ok { "save", "A", "{}" }
      local result = run { "check" }
      assert.same({ out = "", err = "", code = 0 }, result)
      assert.equal("no findings\n", command.on_terminal({ "--store", store, "check" }, {}).out)
    end)

    it("a store that somebody wrote in", function()
      for i = 1, 3 do ok { "save", "A", '{"n":' .. i .. "}" } end
      shell.run { "sqlite3", store, "delete from events where position = 2" }
      local result = run { "check" }
      assert.equal(4, result.code)
      assert.is_true(#decode_lines(result.out) >= 1)
      for _, document in ipairs(decode_lines(result.out)) do assert.is_string(document.finding) end
    end)

    it("scripts that do not load, together with the store", function()
      ok { "save", "A", "{}" }
      local app = shell.temporary_directory()
      shell.write(app .. "/events.lua", 'event "A" {\n  x = t.nothing,\n}\n')
      local result = run { "--app", app, "check" }
      assert.equal(4, result.code)
      assert.matches("events%.lua:2", decode_lines(result.out)[1].finding)
      shell.run { "rm", "-rf", app }
    end)
  end)

  it("prints the DDL, which makes the same tables", function()
    local ddl = ok { "schema" }
    ok { "save", "A", "{}" }
    local function tables(path)
      return shell.run { "sqlite3", path, "select name from sqlite_schema where name not like 'sqlite%' order by name" }
    end
    local by_hand = place .. "/hand.db"
    shell.write(place .. "/ddl.sql", ddl)
    shell.run { "sqlite3", by_hand, ".read " .. place .. "/ddl.sql" }
    assert.equal(tables(store), tables(by_hand))
    assert.equal(ddl, cjson.decode(ok { "--json", "schema" }).sql)
    assert.matches("GRANT", command.ok({ "--store", "postgresql://nowhere/x", "schema" }):upper(), 1, true)
  end)

  it("ends a long read on SIGINT, with a message", function()
    local file = place .. "/in.ndjson"
    shell.run { "mkfifo", file }
    local result = run({ "import", file }, { wrap = "timeout --foreground -s INT 1" , into = ">/dev/null 9<>" .. file })
    assert.equal("annal: unavailable: interrupted (line 1)\n", result.err)
  end)
end)

describe("the command annal on PostgreSQL", function()
  local place, directory

  before_each(function()
    assert(stores.postgres, "ANNAL_TEST_PG is not set, so nothing of this was tried on PostgreSQL")
    place = stores.new "postgresql"
    directory = shell.temporary_directory()
    local config = "store = %q\nschema = %q\napp = %q\ndata_indexes = { 'cartId' }\n"
    shell.write(directory .. "/annal.lua", config:format(place.location, place.options.schema, cart_app))
  end)
  after_each(function()
    if place then place:remove() end
    if directory then shell.run { "rm", "-rf", directory } end
  end)

  local function ok(arguments, options)
    options = options or {}
    options.cwd = directory
    return command.ok(arguments, options)
  end

  it("saves, shows, exports to SQLite and back, checks", function()
    ok { "save", "CART_CREATED", created "c1", "--id", "e1" }
    ok { "save", "ITEM_ADDED_TO_CART", '{"cartId":"c1","productId":"ä","quantity":2,"priceAtTime":9007199254740993}' }
    assert.equal(1, count_lines(ok { "events", "--type", "CART_CREATED", "--data", "cartId=c1" }))
    assert.matches('"total":18014398509481986', ok { "view", "SHOPPING_CART", "c1" }, 1, true)
    local exported = ok { "export" }
    assert.equal(2, count_lines(exported))
    local lite = directory .. "/lite.db"
    command.ok({ "--store", lite, "import" }, { input = exported })
    assert.equal(exported, command.ok { "--store", lite, "export" })
    assert.equal('{"already_stored":2,"imported":0}\n', ok({ "import" }, { input = exported }))
    assert.equal("", ok { "check" })
    assert.equal(2, place:count "events")
  end)

  it("follows, and ends on SIGINT", function()
    ok { "save", "CART_CREATED", created "c1", "--id", "e1" }
    local followed = follower(directory, { "events", "--follow" })
    assert.equal("e1", decode_lines(followed.wait(1))[1].id)
    ok { "save", "CART_CREATED", created "c2", "--id", "e2" }
    assert.equal("e2", decode_lines(followed.wait(2))[2].id)
    assert.same({ 0, "" }, { followed.stop() })
  end)

  it("opens a prompt that reads, and names the store by its kind alone", function()
    ok { "save", "CART_CREATED", created "c1", "--id", "e1" }
    local piped = ok({ "repl" }, { input = "store:get_latest_event('CART_CREATED', { data = { cartId = 'c1' } }).id\n" })
    assert.equal('"e1"\n', piped)
    local saving = command.run({ "repl" }, { cwd = directory,
      input = "store:save_event { type = 'CART_CREATED', data = { cartId = 'c2', userId = 'u' } }\n" })
    assert.equal(1, saving.code)
    assert.matches("^annal: misuse: ", saving.err)
    assert.equal(1, place:count "events")
    local shown = command.on_terminal({ "repl" }, { "expect postgresql (read-only)> ", "send \\x04" }, { cwd = directory })
    assert.equal(0, shown.code, shown.out .. shown.err)
    assert.is_nil(shown.out:find(place.location, 1, true))
  end)
end)
