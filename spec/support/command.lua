-- The command `annal` of the build under test, run as anybody runs it: in a directory of its own, with files and pipes.
local shell = require "support.shell"

local command = {}

command.build = os.getenv "ANNAL_BUILD" or "build"
if not command.build:find "^/" then command.build = shell.run { "pwd" } .. "/" .. command.build end
command.path = command.build .. "/annal"
command.root = shell.run { "pwd" }

-- A preloaded sanitizer is for the interpreter of the specs. The command, where it was built with one, looks for leaks too.
local function environment(list)
  list[#list + 1] = "-u LD_PRELOAD -u ANNAL_STORE -u ANNAL_APP -u COLUMNS"
  list[#list + 1] = 'ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=1"'
end

-- Runs `annal` with these arguments. Options: input (text), env (table), cwd, into (a shell's redirection or pipe for stdout).
-- Answers { out, err, code }.
function command.run(arguments, options)
  options = options or {}
  local place = shell.temporary_directory()
  local words = { command.path, table.unpack(arguments) }
  -- A home and a directory without anybody's own settings: only what the test gives counts.
  local parts = { "cd " .. shell.quote(options.cwd or place) .. " && env" }
  environment(parts)
  parts[#parts + 1] = "HOME=" .. place
  for name, value in pairs(options.env or {}) do parts[#parts + 1] = name .. "=" .. shell.quote(value) end
  if options.wrap then parts[#parts + 1] = options.wrap end
  parts[#parts + 1] = shell.line(words)
  shell.write(place .. "/in", options.input or "")
  parts[#parts + 1] = ("<%s/in 2>%s/err %s"):format(place, place, options.into or ">" .. place .. "/out")
  local _, how, code = os.execute(table.concat(parts, " "))
  local result = {
    out = options.into and "" or shell.read(place .. "/out"),
    err = shell.read(place .. "/err"),
    code = how == "exit" and code or 128 + code,
  }
  shell.run { "rm", "-rf", place }
  return result
end

-- What it prints when all goes well; anything else fails the test with what it said.
function command.ok(arguments, options)
  local result = command.run(arguments, options)
  if result.code ~= 0 then
    error(("annal %s ended with %d\n%s%s"):format(table.concat(arguments, " "), result.code, result.out, result.err), 2)
  end
  return result.out
end

local Running = {}
Running.__index = Running

-- Starts `annal` beside the spec, which sends it lines and signals, and stops it at last. Options: cwd.
function command.start(arguments, options)
  local place = shell.temporary_directory()
  local self = setmetatable({ place = place, from = 1 }, Running)
  local parts = { "cd " .. shell.quote(options and options.cwd or place) .. " && exec env" }
  environment(parts)
  parts[#parts + 1] = "HOME=" .. place
  parts[#parts + 1] = shell.line { command.path, table.unpack(arguments) }
  shell.run { "mkfifo", place .. "/in" }
  shell.write(place .. "/run", table.concat(parts, " "))
  os.execute(("{ sh -c 'echo $$ >%s/pid; . %s/run' <%s/in >%s/out 2>%s/err; echo $? >%s/code; } &"):gsub("%%s", place))
  self.input = assert(io.open(place .. "/in", "w"))
  self.input:setvbuf "line"
  self.pid = self:wait("pid", "%d+")
  return self
end

-- Waits until one of its files has the pattern, behind what was waited for last in "out"; answers what matched.
function Running:wait(name, pattern)
  for _ = 1, 1000 do
    local ok, text = pcall(shell.read, self.place .. "/" .. name)
    local first, last = (ok and text or ""):find(pattern, name == "out" and self.from or 1)
    if first then
      if name == "out" then self.from = last + 1 end
      return text:sub(first, last)
    end
    shell.sleep(0.02)
  end
  local text = ""
  for _, each in ipairs { "out", "err" } do text = text .. shell.read(self.place .. "/" .. each) end
  self:signal "KILL"
  error(("%s did not come; there was:\n%s"):format(pattern, text), 2)
end

function Running:send(line) assert(self.input:write(line, "\n")) end

function Running:signal(name) shell.run { "kill", "-" .. name, self.pid } end

-- Waits for its end, to which it comes by the end of its input at the latest. Answers { out, err, code }.
function Running:stop()
  self.input:close()
  local code = math.tointeger(self:wait("code", "%d+"))
  local result = { out = shell.read(self.place .. "/out"), err = shell.read(self.place .. "/err"), code = code }
  shell.run { "rm", "-rf", self.place }
  return result
end

-- Runs it on a terminal (spec/support/pty.c), with the steps of a script. Answers what the terminal got, without its control
-- sequences, and the exit code.
function command.on_terminal(arguments, steps, options)
  options = options or {}
  local place = shell.temporary_directory()
  local pty = command.build .. "/spec/support/pty"
  local words = { pty, "-c", tostring(options.columns or 80), command.path, table.unpack(arguments) }
  local parts = { "cd " .. shell.quote(options.cwd or place) .. " && env" }
  environment(parts)
  parts[#parts + 1] = "TERM=xterm HOME=" .. shell.quote(options.home or place)
  for name, value in pairs(options.env or {}) do parts[#parts + 1] = name .. "=" .. shell.quote(value) end
  parts[#parts + 1] = shell.line(words)
  shell.write(place .. "/in", table.concat(steps, "\n") .. "\n")
  parts[#parts + 1] = ("<%s/in 2>%s/err >%s/out"):format(place, place, place)
  local _, how, code = os.execute(table.concat(parts, " "))
  local raw, err = shell.read(place .. "/out"), shell.read(place .. "/err")
  shell.run { "rm", "-rf", place }
  local text = raw:gsub("\27%[[%d;?]*[%a]", ""):gsub("\27[%(%)]%w", ""):gsub("\r", "")
  return { out = text, raw = raw, err = err, code = how == "exit" and code or 128 + code }
end

-- The lines of a text, without the newlines.
function command.lines(text)
  local list = {}
  for line in text:gmatch "([^\n]*)\n" do list[#list + 1] = line end
  return list
end

return command
