-- Places that refuse: what a file, a disk or a server does not allow ends in one clear error, and nothing is half done.
local apps = require "support.apps"
local shell = require "support.shell"
local stores = require "support.stores"

local is_root = shell.run { "id", "-u" } == "0"

-- Runs Lua in a process of its own, with the module at hand wherever it is built, and whoever it runs as.
local function run_elsewhere(before, directory, code, ...)
  shell.run { "cp", package.searchpath("annal", package.cpath), directory .. "/annal.so" }
  shell.run { "chmod", "755", directory, directory .. "/annal.so" }
  local words = { table.unpack(before) }
  for _,
    word in ipairs { "env", "LUA_CPATH=" .. directory .. "/?.so", "lua5.4", "-e", code, "-", ... } do words[#words + 1] = word end
  return shell.run { "sh", "-c", 'exec "$@" </dev/null', "sh", table.unpack(words) }
end

describe("a file that may only be read", function()
  local directory
  before_each(function() directory = shell.temporary_directory() end)
  after_each(function() shell.run { "rm", "-rf", directory } end)

  it("is refused, and stays as it is", function()
    local annal = require "annal"
    local path = directory .. "/store.db"
    local store = annal.open(path)
    store:save_event { type = "T", data = {} }
    store:close()
    shell.run { "chmod", "444", path }
    local before = shell.run { "sha256sum", path }
    -- Root may write wherever it likes, so somebody else tries.
    local said = run_elsewhere(is_root and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or {}, directory, [[
      local ok, problem = pcall(require "annal".open, arg[1])
      print(ok, ok or problem.code, problem)]], path)
    assert.is_truthy(said:match "^false%s+unavailable%s")
    assert.is_truthy(said:find(path, 1, true))
    assert.equal(before, shell.run { "sha256sum", path })
  end)
end)

describe("a full disk", function()
  -- A small one of its own, which ends with the process that has mounted it.
  local function mount_words() return is_root and { "unshare", "-m" } or { "unshare", "-rm" } end
  local possible = shell.try { mount_words()[1], mount_words()[2], "mount", "-t", "tmpfs", "tmpfs", "/mnt" }

  it("refuses a save as a whole, and is none once there is room again", function()
    if not possible then return pending "no file system can be mounted here" end
    local directory = shell.temporary_directory()
    local script = ([[
      set -e
      mount -t tmpfs -o size=1500k tmpfs %s
      cd %s
      head -c 600000 /dev/zero >ballast
      (cd "$OLDPWD" && lua5.4 spec/support/full_disk.lua %s/store.db %s/ballast)
      sqlite3 store.db "select count(*), count(distinct data ->> 'n'), max(position) from events; pragma integrity_check"
    ]]):gsub("%%s", directory)
    local words = mount_words()
    for _, word in ipairs { "sh", "-c", script } do words[#words + 1] = word end
    local before, problem, after, counted, integrity = shell.run(words):match "^(%d+)\n([^\n]*)\n(%d+)\n([^\n]*)\n([^\n]*)$"
    assert.is_truthy(before)
    assert.is_truthy(problem:match "^unavailable: .*[Ff]ull" or problem:match "^unavailable: .*space", problem)
    assert.is_true(math.tointeger(before) > 0)
    assert.equal("5", after)
    local saves = math.tointeger(before) + 5
    assert.equal(("%d|%d|%d"):format(2 * saves, saves, 2 * saves), counted)
    assert.equal("ok", integrity)
    shell.run { "rmdir", directory }
  end)
end)

describe("a role without rights", function()
  it("is told the grant that it needs, and changes nothing", function()
    assert(stores.postgres, "ANNAL_TEST_PG is not set: run ./dev test, or name a server")
    local place = stores.new "postgresql"
    local role = "nobody_" .. shell.unique()
    local function admin(statement) return stores.psql("-c", statement) end
    local event = place:open(apps.cart):save_event { type = "CART_CREATED", data = { cartId = "c", userId = "u" } }
    admin(("create role %s login"):format(role))
    local directory = shell.temporary_directory()
    local separator = " "
    if stores.postgres:find "^postgres" then separator = stores.postgres:find("?", 1, true) and "&" or "?" end
    local location = stores.postgres .. separator .. "user=" .. role
    local said = run_elsewhere({}, directory, [[
      local annal, location, schema = require "annal", arg[1], arg[2]
      local function try(options)
        local ok, problem = pcall(annal.open, location, options)
        print(ok, ok or problem.code, problem)
      end
      try { schema = schema }
      try { schema = schema, read_only = true }
      try { schema = schema .. "_new" }]], location, place.options.schema)
    local lines = {}
    for line in said:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(3, #lines, said)
    for number = 1, 2 do
      assert.is_truthy(lines[number]:match "^false%s+unavailable%s", lines[number])
      assert.is_truthy(lines[number]:find("grant usage on schema", 1, true), lines[number])
    end
    assert.is_truthy(lines[3]:find("may not make a store there", 1, true), lines[3])
    assert.is_truthy(lines[3]:find(role, 1, true), lines[3])
    -- With the right to look it looks, and does no more.
    admin(("grant usage on schema %s to %s; grant select on all tables in schema %s to %s"):format(place.options.schema, role,
      place.options.schema, role))
    said = run_elsewhere({}, directory, [[
      local store = require "annal".open(arg[1], { schema = arg[2], read_only = true })
      print(store:get_event_stream()[1].id)
      local ok, problem = pcall(store.save_event, store, { type = "T", data = {} })
      print(problem.code)
      local writer_ok, why = pcall(require "annal".open, arg[1], { schema = arg[2] })
      if writer_ok then
        writer_ok, why = pcall(why.save_event, why, { type = "T", data = {} })
      end
      print(writer_ok, why.code, why)]], location, place.options.schema)
    local id, code, writer = said:match "^([^\n]+)\n([^\n]+)\n([^\n]+)$"
    assert.equal(event.id, id)
    assert.equal("misuse", code)
    assert.is_truthy(writer:match "^false%s+unavailable%s.*[Gg]rant", writer)
    assert.equal(1, place:count "events")
    place:remove()
    admin(("drop owned by %s; drop role %s"):format(role, role))
    shell.run { "rm", "-rf", directory }
  end)
end)
