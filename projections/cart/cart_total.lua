-- The price of a list of items, in cents. Included by both carts, so that they can not disagree.
return function(items)
  local total = 0
  for _, item in ipairs(items) do total = total + item.quantity * item.priceAtTime end
  return total
end
