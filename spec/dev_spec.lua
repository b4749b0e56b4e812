-- ./dev itself: what it counts as passed and failed, and that it leaves nothing behind; tried on a tiny project, not on annal.
local support = require "support.shell"

local root = support.run { "pwd" }

-- What a command says, and its exit status.
local function shell(command)
  local pipe = assert(io.popen("exec 2>&1\n" .. command))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

local quote = support.quote

local function write(path, text)
  support.run { "mkdir", "-p", (path:match "^(.*)/") }
  support.write(path, text)
end

-- Under the sanitizers the interpreter of this spec has their run-time preloaded; what ./dev starts is none of their business.
local clean = "unset LD_PRELOAD ASAN_OPTIONS; "

local tree

local function dev(arguments) return shell(clean .. "cd " .. quote(tree) .. " && ./dev " .. arguments) end

setup(function()
  tree = support.temporary_directory()
  assert(os.execute("cp dev " .. quote(tree .. "/dev")))
  write(tree .. "/meson.build", [[
project('tiny', 'c', meson_version: '>= 1.0.0')
alias_target('program', executable('tiny', 'tiny.c'))
cmocka = dependency('cmocka')
test('two of three', executable('some', 'some.c', dependencies: cmocka))
test('crash', executable('crash', 'crash.c'))
test('plain', executable('plain', 'tiny.c'))
test('racy threads', executable('racy', 'racy.c', dependencies: dependency('threads')))
]])
  write(tree .. "/tiny.c", "int main(void) { return 0; }\n")
  write(tree .. "/crash.c", [[
#include <stdlib.h>
int main(void) { char *p = malloc(1); volatile char c = p[1]; free(p); return c - c; }
]])
  write(tree .. "/some.c", [[
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
static void good(void **state) { (void)state; assert_int_equal(1, 1); }
static void bad(void **state) { (void)state; assert_int_equal(1, 2); }
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad), cmocka_unit_test_setup(good, NULL)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
]])
  write(tree .. "/racy.c", [[
#include <pthread.h>
static int counter;
static void *count(void *context) { for (int i = 0; i < 100000; i++) counter++; return context; }
int main(void) {
  pthread_t other;
  pthread_create(&other, NULL, count, NULL);
  count(NULL);
  pthread_join(other, NULL);
  return counter < 0;
}
]])
  write(tree .. "/.busted", 'return { _all = { lua = "/usr/bin/lua5.4" } }\n')
  write(tree .. "/spec/good_spec.lua", [[
it("counts", function() assert.equal("Lua 5.4", _VERSION) end)
it("knows its surroundings", function()
  assert.truthy(os.getenv "ANNAL_BUILD":find "/build")
  assert.equal(os.getenv "ANNAL_BUILD" .. "/?.so;;", os.getenv "LUA_CPATH")
  assert.truthy(os.getenv "ANNAL_TEST_PG")
end)
]])
  write(tree .. "/spec/bad_spec.lua", [[
it("fails", function() assert.equal(1, 2) end)
it("errs", function() error "x" end)
]])
  write(tree .. "/spec/exit_spec.lua", 'it("passes", function() end)\nit("leaves", function() os.exit(0) end)\n')
  write(tree .. "/spec/crash_spec.lua", 'it("dies", function() os.execute "kill -SEGV $PPID" end)\n')
  write(tree .. "/spec/empty_spec.lua", "return\n")
  write(tree .. "/spec/liar_spec.lua", [[
print "9 successes / 0 failures / 0 errors / 0 pending : 0.1 seconds"
it("is one", function() end)
]])
  write(tree .. "/spec/model/run", "#!/bin/sh\necho 'FAIL x'; echo '3 passed, 1 failed'; exit 1\n")
  support.run { "chmod", "+x", tree .. "/spec/model/run" }
  write(tree .. "/spec/broken_spec.lua", "this is not Lua\n")
  write(tree .. "/spec/slow_spec.lua", 'it("takes long", function() os.execute "echo started > started; sleep 60" end)\n')
end)

teardown(function() os.execute("rm -rf " .. quote(tree)) end)

local function last_line(output) return output:match "([^\n]*)\n$" end

describe("./dev test", function()
  it("counts the tests within C programs, and a finding of a sanitizer as a failure", function()
    local output, status = dev "test c"
    assert.equal("4 passed, 2 failed", last_line(output), output)
    assert.equal(1, status)
    assert.truthy(output:find "heap%-buffer%-overflow")
  end)

  it("finds data races", function()
    local output, status = dev "test threads"
    assert.equal("0 passed, 1 failed", last_line(output), output)
    assert.equal(1, status)
  end)

  it("succeeds when all that was asked for passed", function()
    local output, status = dev "test spec good"
    assert.equal("2 passed, 0 failed", last_line(output), output)
    assert.equal(0, status)
    output, status = dev "test c plain"
    assert.equal("1 passed, 0 failed", last_line(output), output)
    assert.equal(0, status)
  end)

  for name, expected in pairs {
    bad = "0 passed, 2 failed",
    exit = "0 passed, 1 failed",
    crash = "0 passed, 1 failed",
    empty = "0 passed, 1 failed",
    liar = "1 passed, 0 failed",
    broken = "0 passed, 1 failed",
  } do
    it("counts right where a spec is " .. name, function()
      local output, status = dev("test spec " .. name .. "_spec")
      assert.equal(expected, last_line(output), output)
      assert.equal(expected:find " 0 failed" and 0 or 1, status)
    end)
  end

  it("adds up what a program counts by itself", function()
    local output, status = dev "test model"
    assert.equal("3 passed, 1 failed", last_line(output), output)
    assert.equal(1, status)
    assert.truthy(output:find("FAIL x", 1, true), output)
  end)

  it("says so when nothing has that name", function()
    local output, status = dev "test nosuchtest"
    assert.equal(1, status)
    assert.truthy(output:find("no test has nosuchtest in its name", 1, true), output)
  end)

  it("leaves no server, process or file behind when it is interrupted", function()
    for _, signal in ipairs { "INT", "TERM", "HUP" } do
      os.remove(tree .. "/started")
      -- A shell without job control has its background jobs ignore INT, and what is ignored cannot be trapped.
      local output, status = shell(clean .. "cd " .. quote(tree) .. "; signal=" .. signal .. [[

unset ANNAL_TEST_PG
export TMPDIR=$(mktemp -d)
chmod 755 "$TMPDIR"
env --default-signal=INT ./dev test spec slow & dev=$!
for i in $(seq 300); do [ -e started ] && break; sleep 0.1; done
pgrep -f "postgres -D $TMPDIR" >/dev/null && echo "the server was there"
kill -$signal $dev
wait $dev
status=$?
sleep 0.3
pgrep -fa "$TMPDIR" && echo "a process is left"
[ -z "$(ls "$TMPDIR")" ] || echo "files are left"
rm -rf "$TMPDIR"
exit $status]])
      assert.truthy(output:find("the server was there", 1, true), output)
      assert.falsy(output:find(" left", 1, true), output)
      assert.is_true(status > 128, signal .. " " .. tostring(status))
    end
  end)
end)

describe("./dev", function()
  it("explains itself, and refuses what it does not know", function()
    local output, status = dev "help"
    assert.equal(0, status)
    assert.truthy(output:find("./dev test", 1, true))
    for _, wrong in ipairs { "", "tset", "test --fast", "demo --mysql" } do
      output, status = dev(wrong)
      assert.equal(2, status, wrong)
      assert.truthy(output:find("usage:", 1, true))
    end
  end)

  it("can be called from anywhere", function()
    local output, status = shell(clean .. "cd / && " .. quote(root .. "/dev") .. " help")
    assert.equal(0, status)
    assert.truthy(output:find("usage:", 1, true))
  end)
end)
