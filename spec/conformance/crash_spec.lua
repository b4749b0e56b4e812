-- Writers killed at random moments, 50 times a store: what was acknowledged is there, nothing is there twice, no save is there in
-- part. What is there is what the database's own client finds.
local process = require "support.process"
local shell = require "support.shell"
local stores = require "support.stores"

local kills = 50

-- Batches that the log says were acknowledged, and the last that was tried.
local function read_log(path)
  local done, tried = {}, 0
  for line in io.lines(path) do
    local word, batch = line:match "^(%a+) (%d+)"
    if word == "done" then
      done[math.tointeger(batch)] = true
    else
      tried = math.tointeger(batch)
    end
  end
  return done, tried
end

stores.each(_ENV, "writers that are killed", function(place)
  after_each(process.kill_all)

  it("lose nothing that was acknowledged and store nothing twice", function()
    place():open({ data_indexes = { "writer" } }):close()
    local directory = shell.temporary_directory()
    local logs = { directory .. "/a", directory .. "/b" }
    local function start(number, ...)
      return process.start("crasher", place().location, place().options.schema or "", "w" .. number, logs[number], ...)
    end
    math.randomseed(os.time())
    local writers = { start(1), start(2) }
    for _, writer in ipairs(writers) do assert.equal("writing", writer:receive()) end
    for _ = 1, kills do
      shell.sleep(math.random() * 0.04)
      local number = math.random(2)
      writers[number]:kill()
      assert.equal("", writers[number]:stop())
      writers[number] = start(number)
      assert.equal("writing", writers[number]:receive())
    end
    for number, writer in ipairs(writers) do
      writer:kill()
      writer:stop()
      -- Acknowledged before anything is repeated: already there.
      local done, tried = read_log(logs[number])
      local acknowledged = 0
      for batch in pairs(done) do acknowledged = acknowledged + 1; assert.is_true(batch <= tried) end
      local stored = {}
      for batch, parts, size in place():sql(([[select data ->> 'batch', count(*), min(data ->> 'size') from events
          where data ->> 'writer' = 'w%d' group by data ->> 'batch']]):format(number)):gmatch "(%d+)|(%d+)|(%d+)" do
        assert.equal(size, parts, "a save is stored in part")
        stored[math.tointeger(batch)] = true
      end
      for batch in pairs(done) do assert.is_true(stored[batch], "batch " .. batch .. " was acknowledged and is lost") end
      for batch in pairs(stored) do assert.is_true(batch <= tried, "batch " .. batch .. " was never tried") end
      assert.is_true(acknowledged > kills / 4, "too little was written for the kills to have met anything")
      -- Repeating what was tried last settles it.
      local settling = start(number, "settle")
      assert.equal("writing", settling:receive())
      assert.equal("", settling:stop())
      local expected = 0
      for batch = 1, tried do expected = expected + batch % 5 + 1 end
      assert.equal(("%d|%d"):format(expected, tried), place():sql(([[
        select count(*), count(distinct data ->> 'batch') from events where data ->> 'writer' = 'w%d']]):format(number)))
    end
    local total = place():count "events"
    assert.equal(("%d|1|%d"):format(total, total),
      place():sql "select count(distinct id), min(position), max(position) from events")
    shell.run { "rm", "-rf", directory }
  end)
end)
