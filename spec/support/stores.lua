-- The stores that the conformance suite runs on, unchanged on each: SQLite in files of their own, and the PostgreSQL that
-- ANNAL_TEST_PG names, each test in a schema of its own.
local annal = require "annal"
local shell = require "support.shell"

local stores = {}

-- A place is one empty store that a test has for itself, and the database's own client to look at it without annal.
local Place = {}
Place.__index = Place

-- Opens the store of this place; several at once are several programs as far as annal knows.
function Place:open(options)
  local all = {}
  for key, value in pairs(self.options) do all[key] = value end
  for key, value in pairs(options or {}) do all[key] = value end
  local store = annal.open(self.location, all)
  table.insert(self.opened, store)
  return store
end

-- Closes what was opened and removes everything.
function Place:remove()
  for _, store in ipairs(self.opened) do store:close() end
  self:drop()
end

-- How many rows the database's own client counts.
function Place:count(from) return math.tointeger(self:sql("select count(*) from " .. from)) end

-- The databases' own clients, without the sanitizer that the specs may run under: psql does not end with it.
local function client(words) return shell.run { "env", "-u", "LD_PRELOAD", table.unpack(words) } end

function stores.psql(...) return client { "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", stores.postgres, ... } end

-- The statement by the database's own client; what it prints, columns divided by "|".
local function sqlite_sql(self, statement)
  return client { "sqlite3", "-batch", self.location, ".timeout 10000", statement }
end

local function postgres_sql(self, statement)
  return stores.psql("-c", "set search_path = " .. self.options.schema, "-c", statement)
end

-- What the database says of the bytes of a text, in hexadecimal digits: psql leaves U+10FFFF out when it prints.
local hex = { sqlite = "hex(%s)", postgresql = "upper(encode(convert_to(%s::text, 'UTF8'), 'hex'))" }

-- The expression for the bytes of a column.
function Place:hex(column) return hex[self.kind]:format(column) end

local kinds = {}

function kinds.sqlite()
  local directory = shell.temporary_directory()
  return {
    kind = "sqlite",
    location = directory .. "/store.db",
    options = {},
    directory = directory,
    sql = sqlite_sql,
    drop = function() shell.run { "rm", "-rf", directory } end,
  }
end

function kinds.postgresql()
  local schema = "spec_" .. shell.unique()
  return {
    kind = "postgresql",
    location = stores.postgres,
    options = { schema = schema },
    sql = postgres_sql,
    drop = function()
      stores.psql("-c", "set client_min_messages = warning", "-c", ("drop schema if exists %s cascade"):format(schema))
    end,
  }
end

stores.postgres = os.getenv "ANNAL_TEST_PG"
if stores.postgres == "" then stores.postgres = nil end

function stores.new(kind)
  local place = kinds[kind]()
  place.opened = {}
  return setmetatable(place, Place)
end

-- Describes the same behaviour on every store. `body` gets a function that answers the place of the running test, and the kind of
-- store. `words` is the spec's _ENV: only there are busted's words known.
function stores.each(words, title, body)
  for _, kind in ipairs { "sqlite", "postgresql" } do
    words.describe(("%s (%s)"):format(title, kind), function()
      if kind == "postgresql" and not stores.postgres then
        words.it("has a server to run on", function()
          error("ANNAL_TEST_PG is not set, so nothing of this was tried on PostgreSQL: run ./dev test, or name a server", 0)
        end)
        return
      end
      local place
      words.before_each(function() place = stores.new(kind) end)
      body(function() return place end, kind)
      words.after_each(function() place:remove() end) -- after those of the body, which may still want to look
    end)
  end
end

return stores
