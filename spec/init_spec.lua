-- annal init: what a newcomer gets runs as it stands, step by step as it is told.
local cjson = require "cjson"
local command = require "support.command"
local shell = require "support.shell"

describe("annal init", function()
  local place

  before_each(function() place = shell.temporary_directory() end)
  after_each(function() shell.run { "rm", "-rf", place } end)

  local function made(arguments)
    local list = {}
    for _, line in ipairs(command.lines(command.ok({ "init", table.unpack(arguments) }, { cwd = place }))) do
      list[#list + 1] = cjson.decode(line).made
    end
    return list
  end

  it("makes an app in a new directory, and says what it made", function()
    local list = made { "bank" }
    assert.same({ "bank/annal.lua", "bank/events.lua", "bank/account.lua", "bank/commands.lua", "bank/.busted",
      "bank/spec/account_spec.lua" }, list)
    for _, path in ipairs(list) do assert.is_true(shell.try { "test", "-s", place .. "/" .. path }, path) end
  end)

  it("makes it in the directory at hand where none is named", function()
    assert.equal("annal.lua", made {}[1])
    assert.equal("", command.ok({ "check" }, { cwd = place }))
  end)

  it("tells of next steps that work when they are typed", function()
    local result = command.on_terminal({ "init", "bank" }, { "expect busted" }, { cwd = place })
    assert.equal(0, result.code, result.out .. result.err)
    local outcome = {}
    for line in result.out:match "Next:\n(.*)":gmatch "  (annal [^\n]+)" do
      local words = line:gsub("^annal", shell.quote(command.path))
      if not line:find "repl" then
        local ok, output = shell.try { "sh", "-c", ("cd %s/bank && unset LD_PRELOAD && %s"):format(place, words) }
        assert.is_true(ok, line .. ": " .. output)
        outcome[#outcome + 1] = output
      end
    end
    assert.equal(3, #outcome)
    assert.same({ cents = 10000, owner = "ada" }, cjson.decode(outcome[3]))
  end)

  it("makes a spec that passes, and that fails when the app is wrong", function()
    made { "bank" }
    local words = { "sh", "-c", ("cd %s/bank && busted"):format(place) }
    local ok, output = shell.try(words)
    assert.is_true(ok, output)
    assert.truthy(output:find("4 successes / 0 failures", 1, true), output)
    local path = place .. "/bank/account.lua"
    shell.write(path, (shell.read(path):gsub("MONEY_PAID_IN = function%(cents, event%) return cents", "%0 +1")))
    ok, output = shell.try(words)
    assert.is_false(ok, output)
    assert.truthy(output:find("10500", 1, true), output)
  end)

  it("overwrites nothing", function()
    shell.run { "mkdir", "-p", place .. "/bank" }
    shell.write(place .. "/bank/commands.lua", "-- mine\n")
    local result = command.run({ "init", "bank" }, { cwd = place })
    assert.equal(2, result.code)
    assert.truthy(result.err:find("bank/commands.lua is there already", 1, true), result.err)
    assert.equal("-- mine\n", shell.read(place .. "/bank/commands.lua"))
    assert.equal("commands.lua", shell.run { "ls", "-A", place .. "/bank" })
  end)

  it("says where it cannot write", function()
    shell.write(place .. "/file", "x")
    local result = command.run({ "init", "file" }, { cwd = place })
    assert.equal(1, result.code)
    assert.truthy(result.err:find("Not a directory", 1, true), result.err)
  end)
end)
