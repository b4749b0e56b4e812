-- Words of the vocabulary that this version does not have: an app that uses one is refused, never misunderstood.
local c = ...

local function missing(word)
  return c.entry(function(where) c.fail(where, "%s: this version of annal has no commands yet", word) end)
end

return {
  globals = { command = missing "command", reject = missing "reject" },
}
