-- No password in what is said, and none as the name of a file: of every way to write a location, right ones and wrong ones.
local command = require "support.command"
local shell = require "support.shell"

-- Each holds the password hunter2, or pieces of it; nobody listens at port 1.
local locations = {
  "sslpassword=hunter2 host=127.0.0.1 port=1",
  "PASSWORD=hunter2 host=127.0.0.1 port=1",
  "Host=127.0.0.1 port=1 password=hunter2",
  "\tpassword=hunter2 host=127.0.0.1 port=1",
  "pasword=hunter2 host=127.0.0.1 port=1",
  "host 127.0.0.1 password = hunter2",
  "host=127.0.0.1 port=1 password=hunter2",
  "host=127.0.0.1 port=1 password='hunter2' dbname=hunter2",
  "postgresql://bob:hunter2@127.0.0.1:1/db",
  " postgresql://bob:hunter2@127.0.0.1:1/db",
  "POSTGRESQL://bob:hunter2@127.0.0.1:1/db",
  "postgresql:/bob:hunter2@127.0.0.1:1/db",
  "postgres:bob:hunter2@127.0.0.1:1/db",
  "Postgres:bob:hunter2@127.0.0.1:1/db",
  "postgresql+psycopg2://bob:hunter2@127.0.0.1:1/db",
  "pgsql:host=127.0.0.1;port=1;password=hunter2",
  "jdbc:postgresql://127.0.0.1:1/db?password=hunter2",
  "JDBC:postgresql://bob:hunter2@127.0.0.1:1/db",
  "bob:hunter2@127.0.0.1:1/db",
  "postgresql://bob:hun@ter2@127.0.0.1:1/db",
  "postgresql://bob:hun/ter2@127.0.0.1:1/db",
  "postgresql://bob:a@hunter2:77@127.0.0.1:1/db",
  "postgresql://bob:hunter2/x?user=c@127.0.0.1:1",
}

local function is_clean(text, location)
  for _, piece in ipairs { "hunter2", "ter2" } do
    if text:find(piece, 1, true) then error(("%q is answered with the password: %s"):format(location, text), 2) end
  end
  if text:find("***", 1, true) and not location:find("dbname=hunter2", 1, true) then
    error(("%q is answered with stars: %s"):format(location, text), 2)
  end
end

describe("a password", function()
  local place
  before_each(function() place = shell.temporary_directory() end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function made_nothing(but) assert.equal(but or "", shell.run { "ls", "-A", place }) end

  it("stays out of the command's answers, and of file names", function()
    for _, location in ipairs(locations) do
      for _, words in ipairs { { "events" }, { "save", "T", "{}" } } do
        local result = command.run({ "--store", location, table.unpack(words) }, { cwd = place })
        assert.is_true(result.code == 1 or result.code == 2, location)
        assert.is_truthy(result.err:match "^annal: unavailable: " or result.err:match "^annal: misuse: ", result.err)
        is_clean(result.out .. result.err, location)
      end
    end
    made_nothing()
  end)

  it("stays out of them from annal.lua too", function()
    for _, location in ipairs(locations) do
      shell.write(place .. "/annal.lua", ("store = %q\n"):format(location))
      local result = command.run({ "save", "T", "{}" }, { cwd = place })
      assert.is_true(result.code == 1 or result.code == 2, location)
      is_clean(result.out .. result.err, location)
    end
    made_nothing "annal.lua"
  end)

  it("stays out of the Lua module's errors", function()
    local said = shell.run { "sh", "-c", [[cd "$1" && shift && exec lua5.4 "$@"]], "sh", place, "-e", [[
      package.cpath = arg[1]
      local annal = require "annal"
      for number = 2, #arg do
        local ok, problem = pcall(annal.open, arg[number])
        print(ok, ok or problem.code, (tostring(problem):gsub("\n", " ")))
      end]], "-", package.searchpath("annal", package.cpath):gsub("^([^/])", command.root .. "/%1"), table.unpack(locations) }
    local lines = command.lines(said .. "\n")
    assert.equal(#locations, #lines, said)
    for number, line in ipairs(lines) do
      assert.is_truthy(line:match "^false\tmisuse\t" or line:match "^false\tunavailable\t", line)
      is_clean(line, locations[number])
    end
    made_nothing()
  end)

  it("that is one letter leaves the words around it whole", function()
    local result = command.run({ "--store", "host=127.0.0.1 port=1 user=bob password=a", "events" }, { cwd = place })
    assert.is_truthy(result.err:find("127.0.0.1", 1, true), result.err)
    assert.is_nil(result.err:find("***", 1, true), result.err)
    assert.is_truthy(result.err:find("onnection refused", 1, true), result.err)
    result = command.run({ "--store", "host=127.0.0.1 port=1 user=bob password=to", "events" }, { cwd = place })
    assert.is_nil(result.err:find(" to ", 1, true), result.err)
    assert.is_truthy(result.err:find("left out", 1, true), result.err)
  end)

  it("is told how to be written where a URL has more than one @", function()
    local result = command.run({ "--store", "postgresql://bob:hun@ter2@127.0.0.1:1/db", "events" }, { cwd = place })
    assert.equal(2, result.code)
    assert.is_truthy(result.err:find("write @ as %40 in the password", 1, true), result.err)
  end)
end)

describe("a path", function()
  it("that looks like a server's location is written with its scheme, or from a directory on", function()
    local place = shell.temporary_directory()
    for _, location in ipairs { "sqlite:password=x.db", "./host=x.db", "a-b=c.db", "postgres.db", "sqlite:jdbc:x" } do
      command.ok({ "--store", location, "save", "T", "{}" }, { cwd = place })
    end
    assert.equal("a-b=c.db host=x.db jdbc:x password=x.db postgres.db",
      (shell.run { "sh", "-c", 'cd "$1" && LC_ALL=C ls | grep -v -e -wal -e -shm | tr "\\n" " "', "sh", place }:gsub(" $", "")))
    shell.run { "rm", "-rf", place }
  end)
end)
