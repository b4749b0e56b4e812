-- What valgrind finds in 200 reloads under the load of eight threads: uses of what is undefined, and memory that nobody owns.
local command = require "support.command"
local shell = require "support.shell"

local program = command.build .. "/spec/c/api/test_api_reload_threads"
local reloads = "ANNAL_TEST_RELOADS=200"
local valgrind = {
  "valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect,possible", program,
}

describe("reloading under load", function()
  -- A sanitizer that is built in has looked already, and does not go together with valgrind.
  if (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) then
    it("is looked at by the sanitizer of this build", function()
      local ok, said = shell.try { "env", "-u", "LD_PRELOAD", reloads, program }
      assert.is_true(ok, said)
    end)
  elseif not shell.try { "valgrind", "--version" } then
    pending "VALGRIND IS NOT THERE, so nobody has looked at what the sanitizers do not see; apt-get install valgrind"
  else
    it("leaves valgrind nothing to say", function()
      local ok, said = shell.try { "env", reloads, table.unpack(valgrind) }
      assert.is_true(ok, said)
      assert.matches("200 reloads, %d+ answers by 8 threads", said)
    end)
  end
end)
