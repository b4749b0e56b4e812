-- Programs that run beside a spec: plain lua5.4 with the module, one process each. What they print is read line by line, which
-- waits; commands go to them by a pipe with a name. stop waits for their end, which is theirs to come to.
local shell = require "support.shell"

local process = {}
process.__index = process

local running = {}

-- Starts spec/support/<script>.lua with these arguments. The child's first line is its pid.
function process.start(script, ...)
  local directory = shell.temporary_directory()
  local commands = directory .. "/commands"
  shell.run { "mkfifo", commands }
  local line = shell.line { "lua5.4", "spec/support/" .. script .. ".lua", ... }
  local self = setmetatable({ directory = directory }, process)
  self.output = assert(io.popen(("echo $$; exec %s <%s 2>&1"):format(line, shell.quote(commands))))
  self.pid = assert(math.tointeger(self.output:read "l"))
  self.input = assert(io.open(commands, "w")) -- waits until the child has opened the other end
  self.input:setvbuf "line"
  running[self] = true
  return self
end

function process:send(line) assert(self.input:write(line, "\n")) end

function process:receive() return self.output:read "l" end

function process:kill() shell.run { "kill", "-9", tostring(self.pid) } end

-- Waits for its end; answers what it still printed.
function process:stop()
  running[self] = nil
  self.input:close()
  local rest = self.output:read "a"
  self.output:close()
  shell.run { "rm", "-rf", self.directory }
  return rest
end

-- After a test that failed nobody is left waiting.
function process.kill_all()
  for self in pairs(running) do
    shell.try { "kill", "-9", tostring(self.pid) }
    self:stop()
  end
end

return process
