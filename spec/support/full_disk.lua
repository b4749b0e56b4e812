-- Fills the disk that a store is on (places_spec.lua): PATH BALLAST. Saves until that fails, removes the ballast, saves again.
-- Prints
-- how many saves were acknowledged before, the error, and how many afterwards.
local annal = require "annal"

local store = annal.open(arg[1], { data_indexes = { "n" } })
local text = ("x"):rep(20000)

local function save(n) return pcall(store.save_events, store,
  { { type = "T", data = { n = n, text = text } }, { type = "T", data = { n = n } } }) end

local before, problem = 0
while true do
  local ok, why = save(before)
  if not ok then
    problem = why
    break
  end
  before = before + 1
end
print(before)
print(tostring(problem))
assert(#store:get_event_stream() == 2 * before)
assert(os.remove(arg[2]))
local after = 0
for n = 1, 5 do
  if save(before + n) then after = after + 1 end
end
print(after)
store:close()
