-- A list of ids in which each stands once, in the order in which it came. Both functions change the list in place.

local function position_of(ids, id)
  for index, other in ipairs(ids) do
    if other == id then return index end
  end
end

return {
  add = function(ids, id)
    if not position_of(ids, id) then table.insert(ids, id) end
  end,

  remove = function(ids, id)
    local index = position_of(ids, id)
    if index then table.remove(ids, index) end
  end,
}
