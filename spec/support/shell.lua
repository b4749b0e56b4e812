-- Other programs, run from the specs: they are the witnesses that are not annal.
local shell = {}

function shell.quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

-- The command line of a program and its arguments.
function shell.line(words)
  local quoted = {}
  for index, word in ipairs(words) do quoted[index] = shell.quote(word) end
  return table.concat(quoted, " ")
end

-- What the program printed, without the last line feed. An exit code other than 0 is an error with all that it said.
function shell.run(words)
  local pipe = assert(io.popen(shell.line(words) .. " 2>&1"))
  local text = pipe:read "a"
  local ok, how, code = pipe:close()
  if not ok then error(("%s: %s %s\n%s"):format(words[1], how, code, text), 2) end
  return (text:gsub("\n$", ""))
end

-- Whether the program ended with 0, and what it printed.
function shell.try(words)
  local pipe = assert(io.popen(shell.line(words) .. " 2>&1"))
  local text = pipe:read "a"
  return (pipe:close()) == true, text
end

function shell.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

function shell.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

function shell.temporary_directory() return shell.run { "mktemp", "-d",
  (os.getenv "TMPDIR" or "/tmp") .. "/annal-spec.XXXXXX" } end

function shell.sleep(seconds) os.execute(("sleep %.3f"):format(seconds)) end

local serial = 0
-- A word that no other call, and no other process that runs now, gives.
function shell.unique()
  serial = serial + 1
  return ("%s_%d"):format(shell.read("/proc/self/stat"):match "^%d+", serial)
end

return shell
