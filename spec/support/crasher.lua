-- A writer that is killed (crash_spec.lua): LOCATION SCHEMA NAME LOG. It saves batches of one to five events, under ids of its
-- own.
-- Before each save it notes "try BATCH SIZE" in the log, and after it "done BATCH". It begins by saving the batch again that was
-- tried last: whether that was stored or not, it is stored once afterwards.
local annal = require "annal"

local location, schema, name, path = arg[1], arg[2], arg[3], arg[4]

local last, size = 0, 0
local log = io.open(path, "r")
if log then
  for line in log:lines() do
    local batch, count = line:match "^try (%d+) (%d+)$"
    if batch then last, size = math.tointeger(batch), math.tointeger(count) end
  end
  log:close()
end

log = assert(io.open(path, "a"))
log:setvbuf "no"

local store = annal.open(location, { schema = schema ~= "" and schema or nil, data_indexes = { "writer" } })

local function save(batch, count)
  local events = {}
  for part = 1, count do
    events[part] = {
      id = ("%s-%d-%d"):format(name, batch, part),
      type = "WRITTEN",
      data = { writer = name, batch = batch, part = part, size = count },
    }
  end
  local saved = store:save_events(events)
  assert(#saved == count)
  log:write(("done %d\n"):format(batch))
end

io.stdout:setvbuf "line"
if last > 0 then save(last, size) end
print "writing"
if arg[5] == "settle" then
  store:close()
  return
end
for batch = last + 1, math.maxinteger do
  local count = batch % 5 + 1
  log:write(("try %d %d\n"):format(batch, count))
  save(batch, count)
end
