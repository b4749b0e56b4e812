-- A writer of what is kept inline (inline_spec.lua): LOCATION SCHEMA APP NAME SAVES. A line lets it begin. It saves so many
-- events of one account, all of which have to succeed, and says "done"; or with SAVES "forever" events of a few accounts, until
-- it is killed.
local annal = require "annal"

local location, schema, app, name, saves = table.unpack(arg)
local store = annal.open(location,
  { schema = schema ~= "" and schema or nil, app = app, data_indexes = { "account", "from", "to" } })
local function paid(account, cents) return { type = "PAID", data = { account = account, cents = cents } } end

io.stdout:setvbuf "line"
print "ready"
io.read "l"
if saves ~= "forever" then
  for number = 1, math.tointeger(saves) do store:save_event(paid("raced", number)) end
  print "done"
  store:close()
  return
end
math.randomseed(os.time() + math.tointeger(name))
while true do
  local events = {}
  for number = 1, math.random(3) do events[number] = paid("k" .. math.random(3), number) end
  local ok, problem = pcall(store.save_events, store, events)
  if not ok and problem.code ~= "conflict" then error(problem) end
end
