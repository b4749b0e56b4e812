-- A program that is killed in its transactions (transaction_spec.lua): LOCATION SCHEMA TABLE NAME MODE. Each transaction inserts
-- a row and saves an event, both with its number. MODE "hold": one, and says "held" when both are under way; "loop": one after
-- the other.
local annal = require "annal"

local location, schema, rows, name, mode = table.unpack(arg)
local store = annal.open(location, { schema = schema ~= "" and schema or nil })
io.stdout:setvbuf "line"

local function both(number, meanwhile)
  store:transaction(function(tx)
    tx:save_event { id = name .. "-" .. number, type = "WRITTEN", data = { writer = name, number = number } }
    tx:execute(("INSERT INTO %s (writer, number) VALUES ($1, $2)"):format(rows), { name, number })
    if meanwhile then meanwhile() end
  end)
end

print "ready"
if mode == "hold" then
  both(1, function()
    print "held"
    io.read "l"
  end)
end
for number = 1, math.maxinteger do both(number) end
