-- Eight processes race for one cart, a hundred times: one winner each time, counted by the database's own client.
local process = require "support.process"
local stores = require "support.stores"

local racers, rounds = 8, 100

stores.each(_ENV, "a race", function(place)
  after_each(process.kill_all)

  it("of 8 processes for one cart has exactly one winner in each of 100 rounds", function()
    local store = place():open { app = "projections/cart", data_indexes = { "cartId" } }
    local latest = store:save_event({ type = "CART_CREATED", data = { cartId = "raced", userId = "u" } }).id
    local field = {}
    for number = 1,
      racers do field[number] = process.start("racer", place().location, place().options.schema or "", tostring(number)) end
    for _, racer in ipairs(field) do assert.equal("ready", racer:receive()) end
    for round = 1, rounds do
      for _, racer in ipairs(field) do racer:send(("%d %s"):format(round, latest)) end
      local winners = 0
      for _, racer in ipairs(field) do
        local answer = racer:receive()
        local won = answer and answer:match "^won (%S+)$"
        if won then
          winners, latest = winners + 1, won
        else
          assert.equal("conflict", answer)
        end
      end
      assert.equal(1, winners)
    end
    for _, racer in ipairs(field) do racer:send "end" end
    for _, racer in ipairs(field) do assert.equal("", racer:stop()) end
    -- What they said is one thing; what is stored is another.
    assert.equal(1 + rounds, place():count "events")
    assert.equal(("%d|%d"):format(rounds, rounds), place():sql [[
      select count(*), count(distinct data ->> 'productId') from events where type = 'ITEM_ADDED_TO_CART']])
    assert.equal(("%d|1|%d"):format(1 + rounds, 1 + rounds),
      place():sql "select count(*), min(position), max(position) from events")
    local winners_seen = math.tointeger(place():sql "select count(distinct data ->> 'priceAtTime') from events")
    assert.is_true(winners_seen > 2, "one process won all rounds, so nobody raced")
  end)
end)
