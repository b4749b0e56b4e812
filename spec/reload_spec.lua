-- Commands that stay take up changed scripts, by themselves and at SIGHUP; a script that runs is interrupted. The real program.
local apps = require "support.apps"
local command = require "support.command"
local shell = require "support.shell"

local files = {
  ["events.lua"] = [[event "ADDED" { n = t.integer }]],
  ["sum.lua"] = [[local factor = include "factor"
    projection "SUM" { init = { sum = 0 }, on = { ADDED = function(s, event) s.sum = s.sum + factor * event.data.n end } }]],
  ["factor.lua"] = "return 1",
}
local loop = 'projection "LOOP" { init = 0, on = { ADDED = function() while true do end end } }'

-- Waits until a test holds; answers its value.
local function eventually(test)
  for _ = 1, 1000 do
    local ok, value = pcall(test)
    if ok and value then return value end
    shell.sleep(0.02)
  end
  error("this did not come in 20 seconds", 2)
end

-- The last digit of the system's mask of the signals that a process takes by itself.
local taken = { HUP = "[13579bdf]", INT = "[2367abef]" }
local function takes(running, name)
  local mask = "SigCgt:%s%x+" .. taken[name] .. "\n"
  eventually(function() return shell.read(("/proc/%s/status"):format(running.pid)):match(mask) end)
end

-- Longer than changes have to rest and calls do not look.
local function rest() shell.sleep(0.5) end

describe("a command that stays", function()
  local place, store, app

  before_each(function()
    place = shell.temporary_directory()
    store, app = place .. "/store.db", place .. "/app"
    shell.run { "mkdir", app }
    apps.write(files, app)
    command.ok { "--store", store, "save", "ADDED", '{"n":5}' }
  end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function write(name, text) apps.write({ [name] = text }, app) end
  local function repl() return { "--store", store, "--app", app, "repl" } end
  local view = "store:view('SUM').sum"

  -- A REPL in a pipe that was asked once, and so stands where it waits for the next line.
  local function started(arguments, options)
    local running = command.start(arguments or repl(), options)
    running:send("(" .. view .. ")")
    running:wait("out", "5\n")
    return running
  end

  local function asks(running, expected)
    running:send("(" .. view .. ")")
    running:wait("out", expected .. "\n")
  end

  it("answers by scripts that have changed", function()
    local running = started()
    write("factor.lua", "return 2")
    rest()
    asks(running, "10")
    local result = running:stop()
    assert.equal("5\n10\n", result.out)
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("says once where scripts are broken, and goes on", function()
    local running = started()
    write("factor.lua", "return {\n  1,,\n}")
    for _ = 1, 3 do
      rest()
      asks(running, "5")
    end
    write("factor.lua", "return 3")
    rest()
    asks(running, "15")
    local result = running:stop()
    local said = "annal: script: factor.lua:2: unexpected symbol near ','; the scripts that were loaded before stay in force\n"
    assert.equal(said, result.err)
    assert.equal(0, result.code)
  end)

  it("reloads at :reload", function()
    local running = started()
    write("factor.lua", "return 4")
    running:send ":reload"
    asks(running, "20")
    write("factor.lua", "return")
    write("broken.lua", "\nlocal")
    running:send ":reload"
    running:wait("err", "annal: script: <name> expected near <eof> %(broken.lua:2%)\n")
    asks(running, "20")
    running:send ":reload now"
    running:wait("err", "annal: script: :reload takes no argument; store:load%(DIRECTORY%) loads other scripts\n")
    local result = running:stop()
    assert.equal("5\n20\n20\n", result.out)
    assert.equal(1, result.code)
  end)

  it("says to a person what :reload has done", function()
    local line = ("send local f = io.open('%s/factor.lua', 'w') f:write('return 6') f:close()\\r"):format(app)
    local shown = command.on_terminal(repl(), {
      "expect > ", "send :reload\\r", "expect no script has changed", "expect > ", line, "expect > ", "send :rel\\t\\r",
      "expect the scripts are loaded anew", "expect > ", "send (" .. view .. ")\\r", "expect 30", "expect > ", "send :quit\\r",
    })
    assert.equal(0, shown.code, shown.out .. shown.err)
  end)

  it("reloads at SIGHUP, also where it would not by itself", function()
    shell.write(place .. "/annal.lua", ("store, app, reload = %q, %q, false\n"):format(store, app))
    local running = started({ "repl" }, { cwd = place })
    write("factor.lua", "return 2")
    rest()
    asks(running, "5")
    running:signal "HUP"
    asks(running, "10")
    write("factor.lua", "return (")
    running:signal "HUP"
    asks(running, "10")
    running:wait("err", "annal: script: unexpected symbol near <eof> %(factor.lua:1%)\n")
    write("factor.lua", "return 3")
    running:signal "HUP"
    asks(running, "15")
    assert.equal(0, running:stop().code)
  end)

  it("keeps the line that is being typed at SIGHUP", function()
    local pid = "io.open('/proc/self/stat'):read('n')"
    local later = "(sleep 0.5; kill -HUP %d; sleep 0.5; echo HUP''PED >/dev/tty) &"
    local shown = command.on_terminal(repl(), {
      "expect > ", ("send os.execute(('%s'):format(%s)) and 'soon'\\r"):format(later:gsub("'", "\\\\'"), pid), "expect soon",
      "expect > ", "send 6 *", "expect 6 *", "expect HUPPED", "send  7\\r", "expect 42",
      "expect > ", "send 'still ' .. 'there'\\r", "expect still there", "expect > ", "send \\x04",
    })
    assert.equal(0, shown.code, shown.out .. shown.err)
  end)

  it("ends with its terminal, whatever it does", function()
    local file = place .. "/pid"
    local line = "f = io.open('%s', 'w') f:write(io.open('/proc/self/stat'):read('n'), '.') f:close() while true do end"
    shell.write(place .. "/steps", "expect > \nsend " .. line:format(file) .. "\\r\nexpect never\n")
    os.execute(("cd %s && HOME=%s TERM=xterm exec %s <steps >shown 2>&1 & echo $! >%s/pty"):format(place, place,
      shell.line { command.build .. "/spec/support/pty", command.path, table.unpack(repl()) }, place))
    local pid = eventually(function() return shell.read(file):match "^(%d+)%." end)
    shell.run { "kill", "-9", shell.run { "cat", place .. "/pty" } }
    eventually(function()
      local there, status = pcall(shell.read, ("/proc/%s/stat"):format(pid))
      return not there or status:match "%) Z "
    end)
  end)

  it("goes on following at SIGHUP, and shows each event once", function()
    local running = command.start { "--store", store, "events", "--follow" }
    running:wait("out", '"n":5')
    for n = 6, 9 do
      running:signal "HUP"
      if n % 2 == 0 then shell.sleep(0.3) end
      command.ok { "--store", store, "save", "ADDED", ('{"n":%d}'):format(n) }
      running:wait("out", ('"n":%d'):format(n))
    end
    running:signal "INT"
    local result = running:stop()
    assert.equal(5, #command.lines(result.out))
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("follows by scripts that have changed", function()
    local version_2 = [[event "ADDED" { version = 2, schema = { n = t.integer, by = t.integer },
      upcast = { [1] = function(data) data.by = %d return data end } }]]
    write("events.lua", version_2:format(1))
    local running = command.start { "--store", store, "--app", app, "events", "--follow" }
    running:wait("out", '"by":1,"n":5')
    write("events.lua", version_2:format(2))
    rest()
    command.ok { "--store", store, "save", "ADDED", '{"n":6}' }
    running:wait("out", '"by":2,"n":6')
    write("events.lua", "event")
    running:signal "HUP"
    running:wait("err", "annal: script: syntax error near <eof> %(events.lua:1%)\n")
    command.ok { "--store", store, "save", "ADDED", '{"n":7}' }
    running:wait("out", '"by":2,"n":7')
    running:signal "INT"
    assert.equal(0, running:stop().code)
  end)

  it("that follows from a place goes on from there at SIGHUP before anything came", function()
    local running = command.start { "--store", store, "events", "--follow", "--after", "1" }
    takes(running, "HUP")
    for _ = 1, 3 do
      running:signal "HUP"
      shell.sleep(0.2)
    end
    command.ok { "--store", store, "save", "ADDED", '{"n":6}' }
    running:wait("out", '"n":6')
    running:signal "INT"
    local result = running:stop()
    assert.equal(1, #command.lines(result.out))
    assert.equal(0, result.code)
  end)

  it("stops a script that loops at Ctrl-C, and goes on", function()
    shell.write(place .. "/annal.lua", ("store, app, budget = %q, %q, 1000000000000\n"):format(store, app))
    write("loop.lua", loop)
    local shown = command.on_terminal({ "repl" }, {
      "expect > ", "send print('run' .. 'ning') store:view('LOOP')\\r", "expect running", "send \\x03",
      "expect unavailable: interrupted", "expect > ", "send 6 * 7\\r", "expect 42",
      "expect > ", "send (" .. view .. ")\\r", "expect 5", "expect > ", "send :quit\\r",
    }, { cwd = place })
    assert.equal(0, shown.code, shown.out .. shown.err)
  end)

  it("is not what others are: they load once and end", function()
    write("loop.lua", loop)
    shell.write(place .. "/annal.lua", ("store, app, budget = %q, %q, 1000000000000\n"):format(store, app))
    local running = command.start({ "view", "LOOP", "" }, { cwd = place })
    takes(running, "INT")
    running:signal "INT"
    local result = running:stop()
    assert.equal(1, result.code)
    assert.equal("annal: unavailable: interrupted\n", result.err)
    running = command.start({ "view", "LOOP", "" }, { cwd = place })
    running:signal "HUP"
    assert.equal(129, running:stop().code)
  end)
end)
