-- README.md is true: its first app is written to files, its commands are run, and what they print is compared.
local shell = require "support.shell"

local function blocks(text)
  local found = {}
  for language, body in text:gmatch "\n```(%a+)\n(.-\n)```" do table.insert(found, { language = language, body = body }) end
  return found
end

-- The commands of a console block, each with the lines that it is to print.
local function commands(body)
  local list = {}
  for line in body:gmatch "([^\n]*)\n" do
    local command = line:match "^%$ (.*)$"
    if command then table.insert(list, { command = command, output = "" })
    else list[#list].output = list[#list].output .. line .. "\n" end
  end
  return list
end

describe("README.md", function()
  local root = shell.run { "pwd" }
  local readme = shell.read "README.md"

  it("has a first app that does what it says", function()
    local directory = shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", directory } end)
    shell.run { "ln", "-s", os.getenv "ANNAL_BUILD", directory .. "/build" }
    local files, runs = 0, 0
    for _, block in ipairs(blocks(readme)) do
      local path = block.language == "lua" and block.body:match "^%-%- ([%w_/]+%.lua)\n"
      if path then
        shell.run { "mkdir", "-p", directory .. "/" .. (path:match "^(.*)/" or "") }
        shell.write(directory .. "/" .. path, block.body)
        files = files + 1
      elseif block.language == "console" then
        for _, expected in ipairs(commands(block.body)) do
          if not expected.command:find("./dev", 1, true) then
            local _, output = shell.try { "sh", "-c", "cd " .. shell.quote(directory) .. " && " .. expected.command }
            assert.equal(expected.output, output, expected.command)
            runs = runs + 1
          end
        end
      end
    end
    assert.same({ 5, 4 }, { files, runs })
  end)

  it("lists as still to come what is refused as such, and nothing else", function()
    local section = readme:match "\n## Still to come\n(.-)\n## "
    local seen = 0
    for words in section:gmatch "`annal ([%a][^`]*)`" do
      local ok, output = shell.try { "sh", "-c", '"$ANNAL_BUILD/annal" ' .. words .. ' 2>&1; [ $? -eq 2 ]' }
      assert.is_true(ok, words)
      assert.truthy(output:find("is not in this version yet", 1, true), words .. ": " .. output)
      seen = seen + 1
    end
    assert.equal(5, seen)
  end)

  it("names only files that are there", function()
    for path in readme:gmatch "%]%(([^)#]+)%)" do
      assert.is_true(shell.try { "test", "-e", root .. "/" .. path }, path)
    end
  end)
end)
