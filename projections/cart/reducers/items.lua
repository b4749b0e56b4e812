-- What is in the cart, in the order in which it was first put there.

local function find(items, product_id)
  for index, item in ipairs(items) do
    if item.productId == product_id then return index, item end
  end
end

return reducer {
  init = array {},
  on = {
    -- More of a product that is already there joins it, at the price of the first time.
    ITEM_ADDED_TO_CART = function(items, event)
      local added = event.data
      local _, item = find(items, added.productId)
      if item then
        item.quantity = item.quantity + added.quantity
      else
        table.insert(items, { productId = added.productId, quantity = added.quantity, priceAtTime = added.priceAtTime })
      end
    end,

    ITEM_REMOVED_FROM_CART = function(items, event)
      local index, item = find(items, event.data.productId)
      if not item then return end
      item.quantity = item.quantity - event.data.quantity
      if item.quantity <= 0 then table.remove(items, index) end
    end,
  },
}
