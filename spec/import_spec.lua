-- Import and export of any size: memory, progress, being interrupted in every way and run again, and the original's tables.
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"
local stores = require "support.stores"

local cart_app = command.root .. "/projections/cart"

-- Cart events as an export has them, one a line, a second apart.
local function cart_line(number)
  local cart, step = number // 10, number % 10
  local time = os.date("!2024-01-%dT%H:%M:%S.000000Z", number)
  local kind, data = "ITEM_ADDED_TO_CART",
    ('{"cartId":"cart_%d","priceAtTime":%d,"productId":"p%d","quantity":%d}'):format(cart, 100 + step, number % 500, step)
  if step == 0 then kind, data = "CART_CREATED", ('{"cartId":"cart_%d","userId":"u%d"}'):format(cart, cart % 100) end
  return ('{"created_at":"%s","data":%s,"id":"01HK%022d","metadata":null,"position":%d,"type":"%s","version":1}\n'):format(
    time, data, number, number + 1, kind)
end

local function cart_lines(count)
  local list = {}
  for i = 1, count do list[i] = cart_line(i - 1) end
  return table.concat(list)
end

stores.each(_ENV, "an import of any size", function(place, kind)
  local directory

  before_each(function()
    directory = shell.temporary_directory()
    local config = ("store = %q\ndata_indexes = { 'cartId' }\n"):format(place().location)
    if kind == "postgresql" then config = config .. ("schema = %q\n"):format(place().options.schema) end
    shell.write(directory .. "/annal.lua", config)
  end)
  after_each(function() shell.run { "rm", "-rf", directory } end)

  local function run(arguments, options)
    options = options or {}
    options.cwd = directory
    return command.run(arguments, options)
  end

  local function imported(arguments, options)
    local result = run(arguments, options)
    assert.equal(0, result.code, result.err)
    local counts = cjson.decode(result.out)
    return counts.imported, counts.already_stored
  end

  it("takes little memory, in and out, and gives the same bytes", function()
    local count, limit = 50000, 32 << 10
    local sanitized = shell.try { "grep", "-qa", "__asan_init", command.path }
    shell.write(directory .. "/in.ndjson", cart_lines(count))
    local measured = { wrap = command.build .. "/spec/support/peak " .. directory .. "/peak" }
    local function peak() return tonumber(shell.read(directory .. "/peak")) end
    assert.same({ count, 0 }, { imported({ "import", directory .. "/in.ndjson" }, measured) })
    assert.is_true(sanitized or peak() < limit, "import: " .. peak() .. " KiB")
    assert.same({ 0, count }, { imported({ "import", directory .. "/in.ndjson" }, measured) })
    assert.is_true(sanitized or peak() < limit, "import again: " .. peak() .. " KiB")
    measured.into = ">" .. directory .. "/out.ndjson"
    assert.equal(0, run({ "export" }, measured).code)
    assert.is_true(sanitized or peak() < limit, "export: " .. peak() .. " KiB")
    shell.run { "cmp", directory .. "/in.ndjson", directory .. "/out.ndjson" }
  end)

  it("is killed at any moment and goes on where it was", function()
    local lines = cart_lines(20000)
    shell.write(directory .. "/in.ndjson", lines)
    local stored = 0
    for round, signal in ipairs { "KILL", "INT", "KILL" } do
      -- What comes slowly is in the middle when the signal comes.
      local slow = ([[bash -c 'exec "$@" < <(head -c %d in.ndjson; exec sleep 20)' - timeout --foreground -s %s 2.5]]):format(
        #lines * round // 4, signal)
      local result = run({ "import" }, { wrap = slow })
      assert.not_equal(0, result.code)
      local now = place():count "events"
      assert.is_true(now > stored and now < 20000, ("%d after %d"):format(now, stored))
      stored = now
    end
    assert.same({ 20000 - stored, stored }, { imported { "import", directory .. "/in.ndjson" } })
    assert.equal(lines, run({ "export" }).out)
  end)

  it("passes over what is stored without a save, also beside what is not", function()
    local lines = cart_lines(3500)
    imported({ "import" }, { input = lines })
    -- A place in the middle that nobody has stored yet moves the bounds of all batches behind it.
    local first, rest = lines:match("^(.-\n.-\n.-\n)(.*)$")
    local strange = '{"created_at":"2024-01-01T00:00:02Z","data":{},"id":"new","type":"NEW"}\n'
    assert.same({ 1, 3500 }, { imported({ "import", "--retime" }, { input = first .. strange .. rest }) })
    assert.equal(3501, place():count "events")
    -- Stored under the id, but not the same.
    local other = lines:gsub('"userId":"u9"', '"userId":"u8"')
    local result = run({ "import" }, { input = other })
    assert.equal(1, result.code)
    assert.matches("^annal: duplicate: .*%(line 91: id%)\n", result.err)
  end)

  it("shows on a terminal how far it is", function()
    shell.write(directory .. "/in.ndjson", cart_lines(30000))
    local shown = command.on_terminal({ "import", directory .. "/in.ndjson" }, {}, { cwd = directory, columns = 100 })
    assert.matches("imported [%d,]+ events, [%d,]+/s %[#*%-*%] %d+%%, %d+:%d%d left", shown.out)
    assert.matches("imported 30,000 events, [%d,]+/s\n", shown.out)
    assert.matches("30,000 events imported, 0 were stored before", shown.out)
    local narrow = command.on_terminal({ "import", directory .. "/in.ndjson" }, {}, { cwd = directory, columns = 60 })
    assert.is_nil(narrow.out:find("[#", 1, true))
    assert.matches("0 events imported, 30,000 were stored before", narrow.out)
    -- Into a file with people at the other end: the file has the events and nothing else.
    local pty = shell.line { command.build .. "/spec/support/pty", "-c", "100", "sh", "-c", command.path .. " export >out" }
    local said = shell.run { "sh", "-c", ("cd %s && env -u LD_PRELOAD %s </dev/null"):format(directory, pty) }
    assert.matches("exported 30,000 events, [%d,]+/s", said)
    shell.run { "cmp", directory .. "/in.ndjson", directory .. "/out" }
  end)

  it("mends times only when it is told to: back to the previous one's, from ahead to now", function()
    local function line(id, time) return ('{"type":"T","data":{},"id":"%s","created_at":"%s"}\n'):format(id, time) end
    local input = line("a", "2020-01-02T00:00:00Z") .. line("b", "2020-01-01T00:00:00Z") .. line("c", "2020-01-03T00:00:00Z")
      .. line("d", "2999-01-01T00:00:00Z") .. line("e", "2020-01-04T00:00:00Z")
    local refused = run({ "import" }, { input = input })
    assert.equal(1, refused.code)
    assert.matches("created_at.*%(line 2: created_at%)", refused.err)
    assert.same({ 4, 1 }, { imported({ "import", "--retime" }, { input = input }) })
    local times = {}
    for _, text in ipairs(command.lines(run({ "export" }).out)) do
      local event = cjson.decode(text)
      times[event.id] = event.created_at
    end
    assert.equal("2020-01-02T00:00:00.000000Z", times.b)
    assert.equal("2020-01-03T00:00:00.000000Z", times.c)
    assert.is_true(times.d > "2024" and times.d < "2900")
    assert.equal(times.d, times.e)
    assert.same({ 0, 5 }, { imported({ "import", "--retime" }, { input = input }) })
  end)

  describe("of events of older versions", function()
    local function line(version, data, id)
      return ('{"created_at":"2024-01-01T00:00:0%d.000000Z","data":%s,"id":"%s","metadata":null,"position":1,"type":"PAID",'
        .. '"version":%d}\n'):format(#id, data, id, version)
    end
    local input = line(1, '{"cartId":"c","euros":2.0,"note":null}', "a") .. line(2, '{"cartId":"c","cents":7}', "bb")
      .. line(3, '{"cartId":"c","cents":8,"label":"x"}', "ccc")

    before_each(function()
      shell.run { "mkdir", directory .. "/app" }
      shell.write(directory .. "/app/paid.lua", [[
        event "PAID" {
          version = 3,
          schema = { cartId = t.string, cents = t.integer { min = 1 }, label = t.string },
          upcast = {
            function(data) return { cartId = data.cartId, cents = math.tointeger(data.euros * 100) } end,
            function(data) data.label = data.label or "none" return data end,
          },
          validate = function(data) if data.cents == 13 then return nil, "unlucky" end return true end,
        }
        projection "SUM" { by = "cartId", init = 0, on = { PAID = function(sum, e) return sum + e.data.cents end } }]])
    end)

    it("keeps the lines as they are, where what they are upgraded to fits", function()
      assert.same({ 3, 0 }, { imported({ "--app", "app", "import" }, { input = input }) })
      assert.equal('{"cartId":"c","euros":2.0,"note":null}\n{"cartId":"c","cents":7}\n{"cartId":"c","cents":8,"label":"x"}',
        place():sql "select data from events order by position")
      assert.equal("1\n2\n3", place():sql "select version from events order by position")
      assert.equal("215\n", run({ "--app", "app", "view", "SUM", "c" }).out)
      assert.same({ 0, 3 }, { imported({ "--app", "app", "import" }, { input = input }) })
      local exported = run({ "--app", "app", "export" }).out
      assert.equal(3, #command.lines(exported))
      assert.same({ 0, 3 }, { imported({ "--app", "app", "import" }, { input = exported }) })
      local upgraded = run({ "--app", "app", "export", "--upcast" }).out
      local other = { "--store", directory .. "/other.db", "--app", "app", "import" }
      assert.same({ 3, 0 }, { imported(other, { input = upgraded }) })
      assert.equal("215\n", run({ "--store", directory .. "/other.db", "--app", "app", "view", "SUM", "c" }).out)
      -- What is stored under these ids is another content.
      assert.matches("^annal: duplicate: .*%(line 1: id%)\n", run({ "--app", "app", "import" }, { input = upgraded }).err)
    end)

    it("refuses what would not fit, fails in its upcaster or is newer, and says where", function()
      for bad, pattern in pairs {
        [line(2, '{"cartId":"c","cents":0}', "dddd")] =
          "annal: invalid: PAID: upgraded from version 2 to 3, data.cents must .* %(line 4: data%.cents%)",
        [line(1, '{"cartId":"c","euros":0.13}', "dddd")] = "annal: invalid: PAID: unlucky %(line 4: data%)",
        [line(1, '{"cartId":"c"}', "dddd")] = 'annal: script: event "dddd" %(PAID%), from version 1 to 2: .*paid%.lua:5',
        [line(4, '{"cartId":"c"}', "dddd")] = "annal: invalid: .*version 4, but .* version 3 %(line 4: version%)",
        [line(3, '{"cartId":"c","cents":7}', "dddd")] = "annal: invalid: PAID: data.label is missing %(line 4: data%.label%)",
        [line(1, '{"cartId":1,"euros":2}', "dddd")] = "data.cartId must be a string",
      } do
        local result = run({ "--app", "app", "import" }, { input = input .. bad })
        assert.equal(1, result.code, bad)
        assert.matches(pattern, result.err)
        assert.equal(3, place():count "events")
      end
    end)
  end)
end)

describe("an import onto a disk that is full in the middle", function()
  local directory, disk

  before_each(function()
    directory = shell.temporary_directory()
    disk = directory .. "/disk"
    shell.run { "mkdir", disk }
    shell.write(directory .. "/in.ndjson", cart_lines(20000))
  end)
  after_each(function()
    shell.try { "umount", disk }
    shell.run { "rm", "-rf", directory }
  end)

  local function mount(size) return shell.try { "mount", "-t", "tmpfs", "-o", "size=" .. size, "none", disk } end

  -- Imports, has the disk fill up, makes it larger, imports again. `count` says how many events the database itself finds.
  local function fill(count)
    local arguments = { "import", directory .. "/in.ndjson" }
    local result = command.run(arguments, { cwd = directory })
    assert.equal(1, result.code, result.out)
    assert.matches("^annal: unavailable: ", result.err)
    local known = math.tointeger(tonumber(result.err:match "annal: (%d+) events are stored; the same import run again"))
    assert.is_true(known > 0 and known < 20000)
    assert.equal(known, count())
    assert.equal(1, command.run(arguments, { cwd = directory }).code)
    shell.run { "mount", "-o", "remount,size=200m", disk }
    local again = cjson.decode(command.ok(arguments, { cwd = directory }))
    assert.equal(20000, again.imported + again.already_stored)
    assert.is_true(again.already_stored >= known)
    assert.equal(shell.read(directory .. "/in.ndjson"), command.ok({ "export" }, { cwd = directory }))
    assert.equal("", command.ok({ "check" }, { cwd = directory }))
  end

  it("loses nothing that was acknowledged and goes on (sqlite)", function()
    if not mount "4m" then return pending "tmpfs cannot be mounted here" end
    shell.write(directory .. "/annal.lua", 'store = "disk/s.db"\ndata_indexes = { "cartId" }\n')
    fill(function() return math.tointeger(shell.run { "sqlite3", disk .. "/s.db", "select count(*) from events" }) end)
  end)

  it("loses nothing that was acknowledged and goes on (postgresql)", function()
    assert(stores.postgres, "ANNAL_TEST_PG is not set, so nothing of this was tried on PostgreSQL")
    if not mount "2m" then return pending "tmpfs cannot be mounted here" end
    local data = stores.psql("-c", "show data_directory")
    if not shell.try { "test", "-d", data } then return pending "the server's files are not on this machine" end
    shell.run { "chown", shell.run { "stat", "-c", "%U", data }, disk }
    shell.run { "chmod", "755", directory }
    local place, space = stores.new "postgresql", "spec_disk_" .. shell.unique()
    finally(function()
      place:remove()
      stores.psql("-c", "drop tablespace " .. space)
    end)
    shell.write(directory .. "/annal.lua", ("store, schema = %q, %q\ndata_indexes = { 'cartId' }\n"):format(place.location,
      place.options.schema))
    place:open({ data_indexes = { "cartId" } }):close()
    stores.psql("-c", ("create tablespace %s location '%s'"):format(space, disk))
    place:sql("alter table events set tablespace " .. space)
    fill(function() return place:count "events" end)
  end)
end)

describe("an import from the original's table", function()
  local place, directory

  before_each(function()
    assert(stores.postgres, "ANNAL_TEST_PG is not set, so nothing of this was tried on PostgreSQL")
    place = stores.new "postgresql"
    directory = shell.temporary_directory()
    shell.write(directory .. "/annal.lua", ("store, schema = %q, %q\n"):format(place.location, place.options.schema))
    place:open():close()
  end)
  after_each(function()
    if place then place:remove() end
    if directory then shell.run { "rm", "-rf", directory } end
  end)

  local function import(...) return command.run({ "import", ... }, { cwd = directory }) end
  local function events()
    local list = {}
    for i, line in ipairs(command.lines(command.ok({ "export" }, { cwd = directory }))) do list[i] = cjson.decode(line) end
    return list
  end

  -- As drizzle makes it: https://orm.drizzle.team/docs/column-types/pg, the names in quotes whatever they hold.
  local function make(name)
    place:sql(([[create table %s ("id" text primary key not null, "type" text not null, "data" jsonb not null,
      "created_at" timestamp with time zone default now(), "updated_at" timestamp with time zone default now())]]):format(name))
  end

  -- And as it writes rows: an id made by the program, data as JSON text, times by default.
  local function insert(name, id, kind, data, time)
    local row = ("'%s', '%s', '%s', %s, default"):format(id, kind, data, time and "'" .. time .. "'" or "default")
    place:sql(('insert into %s ("id", "type", "data", "created_at", "updated_at") values (%s)'):format(name, row))
  end

  it("keeps ids, order, data and times", function()
    make "old_events"
    insert("old_events", "01JB0000000000000000000002", "ITEM_ADDED_TO_CART",
      '{"quantity": 2, "cartId": "c1", "productId": "ä", "priceAtTime": 10.50}')
    insert("old_events", "01JB0000000000000000000001", "CART_CREATED", '{"userId":"u1","cartId":"c1"}',
      "2023-04-05 06:07:08.123456+02")
    local result = import("--from-table", "old_events")
    assert.equal('{"already_stored":0,"imported":2}\n', result.out, result.err)
    local stored = events()
    assert.same({ "01JB0000000000000000000001", "CART_CREATED", 1, "2023-04-05T04:07:08.123456Z" },
      { stored[1].id, stored[1].type, stored[1].version, stored[1].created_at })
    assert.same({ quantity = 2, cartId = "c1", productId = "ä", priceAtTime = 10.5 }, stored[2].data)
    assert.equal('{"cartId":"c1","priceAtTime":10.5,"productId":"ä","quantity":2}',
      place:sql "select data from events where position = 2")
    assert.equal("t\nt", place:sql "select a.created_at = b.created_at from events a join old_events b using (id)")
  end)

  it("can be run again, and goes on where it was", function()
    make "old_events"
    place:sql [[insert into old_events (id, type, data, created_at)
      select '01JB' || lpad(n::text, 22, '0'), 'T', jsonb_build_object('n', n, 'x', repeat('x', n % 300)),
             '2024-01-01Z'::timestamptz + n * interval '1 second' from generate_series(1, 5000) n]]
    place:sql("update old_events set data = '7' where id like '%4321'")
    local result = import("--from-table", "old_events")
    assert.equal(1, result.code)
    assert.matches("^annal: invalid: .*%(row 01JB0000000000000000004321: data%)\n", result.err)
    assert.matches("annal: 4320 events are stored; the same import run again goes on from there", result.err)
    assert.equal(4320, place:count "events")
    place:sql([[update old_events set data = '{"n":4321}' where id like '%4321']])
    assert.equal('{"already_stored":4320,"imported":680}\n', import("--from-table", "old_events").out)
    assert.equal('{"already_stored":5000,"imported":0}\n', import("--from-table", "old_events").out)
    assert.equal("0", place:sql [[select count(*) from old_events o full join events e using (id)
      where e.position is distinct from (o.data ->> 'n')::bigint or e.created_at is distinct from o.created_at
         or e.data::jsonb is distinct from o.data]])
  end)

  it("mends times that step back only when it is told to, and to the one before", function()
    make "old_events"
    insert("old_events", "1", "T", "{}", "2024-01-02Z")
    insert("old_events", "2", "T", "{}", "2024-01-01Z")
    insert("old_events", "3", "T", "{}", "2024-01-03Z")
    place:sql "insert into old_events (id, type, data, created_at) values ('4', 'T', '{}', null), ('5', 'T', '{}', 'infinity')"
    local result = import("--from-table", "old_events")
    assert.matches("^annal: invalid: .*%(row 2: created_at%)\n", result.err)
    assert.equal('{"already_stored":1,"imported":4}\n', import("--from-table", "old_events", "--retime").out)
    local times = {}
    for i, event in ipairs(events()) do times[i] = event.created_at:sub(1, 10) end
    assert.equal("2024-01-02 2024-01-02 2024-01-03 2024-01-03 2024-01-03", table.concat(times, " "))
  end)

  it("by the table's name alone, with its schema, or with the dot in its own name", function()
    local schema = place.options.schema
    local dotted, plain = schema .. ".events_" .. shell.unique(), "events_" .. shell.unique()
    make(('public."%s"'):format(dotted))
    finally(function() stores.psql("-c", ('drop table if exists public."%s"'):format(dotted)) end)
    insert(('public."%s"'):format(dotted), "d1", "DOTTED", "{}", "2024-01-01Z")
    assert.equal('{"already_stored":0,"imported":1}\n', import("--from-table", dotted).out)
    assert.equal('{"already_stored":1,"imported":0}\n', import("--from-table", "public." .. dotted).out)
    make(plain)
    insert(plain, "p1", "PLAIN", "{}", "2024-01-02Z")
    assert.equal('{"already_stored":0,"imported":1}\n', import("--from-table", schema .. "." .. plain).out)
    make(('public."%s"'):format(plain))
    finally(function()
      stores.psql("-c", ('drop table if exists public."%s", public."%s"'):format(dotted, plain))
    end)
    local result = import("--from-table", plain)
    assert.equal(2, result.code)
    local both = ("several tables are meant by %s: public.%s, %s.%s; write which"):format(plain, plain, schema, plain)
    assert.matches(both, result.err, 1, true)
  end)

  it("of no other table, and of none where there is none", function()
    local function refuses(code, pattern, ...)
      local result = import(...)
      assert.equal(code, result.code, result.out)
      assert.equal("", result.out)
      assert.matches(pattern, result.err)
    end
    place:sql "create table other (id text, type text, data text)"
    refuses(1, "^annal: not_found: there is no table nowhere ", "--from-table", "nowhere")
    refuses(2, "other is none of the original's events: it lacks data jsonb, created_at timestamp with time zone", "--from-table",
      place.options.schema .. ".other")
    refuses(2, "lacks data jsonb", "--from-table", place.options.schema .. ".events")
    refuses(2, "not from both", "--from-table", "x", "file")
    refuses(1, "there is no table x\"; drop table events; %-%- ", "--from-table", 'x"; drop table events; --')
    local lite = command.run { "--store", directory .. "/lite.db", "import", "--from-table", "old_events" }
    assert.equal(2, lite.code)
    assert.matches("^annal: misuse: .*PostgreSQL", lite.err)
    make "old_events"
    insert("old_events", "", "T", "{}")
    refuses(1, "annal: invalid: a row of .*old_events.* has an empty id", "--from-table", "old_events")
  end)

  it("numbers beyond 64 bits as the doubles that they were", function()
    make "old_events"
    insert("old_events", "1", "T",
      '{"a": 1e20, "b": -12345678901234567890, "c": 9223372036854775807, "d": "12345678901234567890\\"", "e": 1e2}')
    assert.equal(0, import("--from-table", "old_events").code)
    assert.equal([[{"a":1e20,"b":-1.2345678901234567e19,"c":9223372036854775807,"d":"12345678901234567890\"","e":100}]],
      place:sql "select data from events")
  end)

  it("through the app, where there is one", function()
    make "old_events"
    insert("old_events", "1", "CART_CREATED", '{"cartId":"c1","userId":"u1"}', "2024-01-01Z")
    insert("old_events", "2", "CART_CREATED", '{"cartId":"c1"}', "2024-01-01Z")
    local result = import("--from-table", "old_events", "--app", cart_app)
    assert.equal(1, result.code)
    assert.matches("^annal: invalid: .*%(row 2: data%.userId%)\n", result.err)
    assert.equal(1, place:count "events")
  end)
end)
