-- annal.testing: stories of an app that end well, and what is said of those that do not.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"
local shell = require "support.shell"
local testing = require "annal.testing"

local app_text = [[
event "PAID_IN" { account = t.string, cents = t.integer, note = t.optional(t.any) }
event "DRAWN" { account = t.string, cents = t.integer, at = t.timestamp, ids = t.array(t.string) }
projection "ACCOUNT" { by = "account", init = { cents = 0, notes = array {}, last = null }, on = {
  PAID_IN = function(s, e) s.cents, s.last = s.cents + e.data.cents, e.data.note or null table.insert(s.notes, e.data.note) end,
  DRAWN = function(s, e) s.cents = s.cents - e.data.cents end,
} }
projection "TOTAL" { init = 0.5, on = { PAID_IN = function(s, e) return s + e.data.cents end } }
command "DRAW" { args = { account = t.string, cents = t.integer { min = 1 } }, uses = { account = "ACCOUNT" },
  decide = function(args, views, context)
    if args.cents == 13 then error "thirteen" end
    if views.account.cents < args.cents then reject "not enough" end
    return { type = "DRAWN", metadata = { by = context.metadata.by },
      data = { account = args.account, cents = args.cents, at = context.now, ids = array {} } }
  end }
command "NOTHING" { decide = function() end }
]]

describe("annal.testing", function()
  local directory, bank
  setup(function() directory = apps.write { ["app.lua"] = app_text } end)
  teardown(function() apps.remove(directory) end)
  before_each(function() bank = testing.app(directory) end)

  local paid = { type = "PAID_IN", data = { account = "a", cents = 100 } }
  local function drawn(cents, more)
    local event = { type = "DRAWN", data = { account = "a", cents = cents, at = testing.any, ids = {} } }
    for key, value in pairs(more or {}) do event[key] = value end
    return event
  end
  local function draw(cents) return { account = "a", cents = cents } end

  -- What a story that fails says, without the place before it.
  local function said(story)
    local busted = package.loaded.busted
    package.loaded.busted = nil
    local ok, message = pcall(story)
    package.loaded.busted = busted
    assert.is_false(ok)
    assert.equal("string", type(message))
    local place, rest = message:match "^(spec/testing_spec%.lua:%d+): (.*)$"
    assert.is_truthy(place, message)
    return rest
  end

  it("is the same by both ways, out of the module alone", function()
    assert.equal(annal.testing, testing)
    local build = package.searchpath("annal", package.cpath):match "^(.*)/"
    local printed = shell.run { "env", "LUA_PATH=", "LUA_CPATH=" .. build .. "/?.so", "lua5.4", "-e", ([[
      local testing = require "annal.testing"
      testing.app(%q).given {}:when "NOTHING":expect {}
      print(testing == require "annal".testing)]]):format(directory) }
    assert.equal("true", printed)
  end)

  it("holds where all goes as it is told", function()
    bank.given { paid }:when("DRAW", draw(60)):expect { drawn(60) }
    bank:given { paid }:when("DRAW", draw(60)):expect { events = { drawn(60) } }
    bank.given { paid }:when("DRAW", draw(101)):expect { rejection = "not enough" }
    bank.given {}:when("DRAW", draw(1)):expect { rejection = testing.any, events = {} }
    bank.given {}:when("NOTHING"):expect {}
    bank.given { paid }:expect { view = { of = "ACCOUNT", id = "a", is = { cents = 100, notes = {}, last = annal.null } } }
    bank.given { paid }:expect { view = { of = "TOTAL", is = 100.5 } }
    bank.given { paid }:when("DRAW", draw(60), { metadata = { by = "u" } })
      :expect { events = { drawn(60, { metadata = { by = "u" }, version = 1 }) }, view = { of = "TOTAL", is = 100.5 } }
  end)

  it("goes on from chapter to chapter, each story for itself", function()
    bank.given { paid }:when("DRAW", draw(60)):expect { drawn(60) }:when("DRAW", draw(41)):expect { rejection = "not enough" }
      :when("DRAW", draw(40)):expect { drawn(40) }:expect { view = { of = "ACCOUNT", id = "a", is = { cents = 0, notes = {},
        last = annal.null } } }
    bank.given {}:when("DRAW", draw(1)):expect { rejection = "not enough" }
  end)

  it("shows what differs first, and all of it", function()
    assert.equal(([[
given 1 event, when DRAW {"account":"a","cents":60}: events[1].data.cents is not what is expected
  expected: 61
  actual:   60
expected events:
  [1] {"data":{"account":"a","at":<any>,"cents":61,"ids":{}},"type":"DRAWN"}
actual events:
  [1] {"data":{"account":"a","at":"…","cents":60,"ids":[]},"type":"DRAWN"}]]),
      (said(function() bank.given { paid }:when("DRAW", draw(60)):expect { drawn(61) } end)
        :gsub('"at":"[^"]*"', '"at":"…"')))
    assert.equal([[
given 2 events: the view of ACCOUNT "a" is not what is expected, at notes[1].deep[2]
  expected: 2
  actual:   2.0
expected view:
  {"cents":200,"last":null,"notes":[{"deep":[1,2]}]}
actual view:
  {"cents":200,"last":null,"notes":[{"deep":[1,2.0]}]}]],
      said(function()
        local note = { type = "PAID_IN", data = { account = "a", cents = 100, note = { deep = { 1, 2.0 } } } }
        bank.given { note, paid }:expect { view = { of = "ACCOUNT", id = "a",
          is = { cents = 200, notes = { { deep = { 1, 2 } } }, last = annal.null } } }
      end))
    assert.equal([[
given 0 events: the view of TOTAL is not what is expected
  expected: 1
  actual:   0.5
expected view:
  1
actual view:
  0.5]], said(function() bank.given {}:expect { view = { of = "TOTAL", is = 1 } } end))
  end)

  it("says what came instead of what was expected", function()
    local function has(text, story)
      local message = said(story)
      assert.is_truthy(message:find(text, 1, true), message)
    end
    has("  expected: nothing\n  actual:   {\"data\":", function()
      bank.given { paid }:when("DRAW", draw(60)):expect {}
    end)
    has("events[2] is not what is expected\n  expected: {\"data\":", function()
      bank.given { paid }:when("DRAW", draw(60)):expect { drawn(60), drawn(60) }
    end)
    has("actual events: none", function() bank.given { paid }:when("NOTHING"):expect { drawn(60) } end)
    has("events[1].metadata.by is not", function()
      bank.given { paid }:when("DRAW", draw(60)):expect { drawn(60, { metadata = { by = "u" } }) }
    end)
    has("events[1].data.ids is not what is expected\n  expected: nothing\n  actual:   []", function()
      bank.given { paid }:when("DRAW", draw(60)):expect { { type = "DRAWN",
        data = { account = "a", cents = 60, at = testing.any } } }
    end)
    has("events[1].data.more is not what is expected\n  expected: <any>\n  actual:   nothing", function()
      bank.given { paid }:when("DRAW", draw(60)):expect { { type = "DRAWN",
        data = { account = "a", cents = 60, at = testing.any, ids = {}, more = testing.any } } }
    end)
    has("it failed: rejected: not enough", function() bank.given {}:when("DRAW", draw(60)):expect { drawn(60) } end)
    has("it failed: rejected: not enough", function() -- although the view is as expected
      bank.given {}:when("DRAW", draw(60)):expect { view = { of = "TOTAL", is = 0.5 } }
    end)
    has("  expected: rejected: other\n  actual:   rejected: not enough", function()
      bank.given {}:when("DRAW", draw(60)):expect { rejection = "other" }
    end)
    has("  expected: rejected: <any>\n  actual:   not rejected; events:\n  [1] {\"data\":{", function()
      bank.given { paid }:when("DRAW", draw(60)):expect { rejection = testing.any }
    end)
    has("it failed: invalid: DRAW: args.cents must be", function() bank.given {}:when("DRAW", draw(0)):expect {} end)
    has("it failed: script: decide of DRAW: thirteen", function() bank.given {}:when("DRAW", draw(13)):expect {} end)
  end)

  it("refuses stories that say nothing", function()
    local function refused(text, story) expect.error("misuse", text, story) end
    local function story() return bank.given { paid } end
    refused("testing.app takes the directory of an app, not nil", function() testing.app() end)
    expect.error("not_found", "nowhere", function() testing.app "nowhere".given {} end)
    refused("given must be a list of events, not nil", function() bank.given() end)
    refused("given must be a list of events without holes", function() bank.given(paid) end)
    expect.error("invalid", "events[2].data.cents",
      function() bank.given { paid, { type = "PAID_IN", data = { account = "a", cents = "x" } } } end)
    expect.error("not_found", "did you mean DRAW?", function() story():when("DRAWN", {}) end)
    refused("when takes the name of a command, not nil", function() story():when() end)
    refused("args must be a table of arguments, not 5", function() story():when("DRAW", 5) end)
    refused("metdata", function() story():when("DRAW", draw(1), { metdata = {} }) end)
    refused("when is called with a colon", function() story().when("DRAW", {}) end)
    refused("expect is called with a colon", function() story().expect {} end)
    refused("events are expected of a command: call when before", function() story():expect {} end)
    refused("a rejection is expected of a command: call when before", function() story():expect { rejection = "x" } end)
    refused("expect takes a table", function() story():expect "x" end)
    refused("\"event\" is no field of what is expected; there are: events, rejection, view",
      function() story():expect { event = {} } end)
    refused("events must be a list of events without holes", function() story():expect { events = paid } end)
    refused("events[1] must be an event, not 5", function() story():expect { 5 } end)
    refused("events[1] has no type", function() story():expect { { data = {} } } end)
    refused("events[1] has no data", function() story():expect { { type = "X" } } end)
    refused("\"id\" is no field of an event that is expected",
      function() story():expect { { id = "x", type = "X", data = {} } } end)
    refused("view must be a table { of, id, is }, not 5", function() story():expect { view = 5 } end)
    refused("view.of must be the name of a projection", function() story():expect { view = { is = 1 } } end)
    refused("view.is is missing", function() story():expect { view = { of = "TOTAL" } } end)
    expect.error("not_found", "TOTL", function() story():expect { view = { of = "TOTL", is = 1 } } end)
    refused("rejection must be its reason", function() story():when("NOTHING"):expect { rejection = true } end)
    refused("expect the one or the other",
      function() story():when("NOTHING"):expect { rejection = "x", events = { drawn(1) } } end)
  end)

  it("counts as a failed test under busted, at the line that expects", function()
    local place = shell.temporary_directory()
    finally(function() shell.run { "rm", "-rf", place } end)
    shell.write(place .. "/bank_spec.lua", ([[
local bank = require "annal.testing".app %q
describe("the bank", function()
  it("holds", function() bank.given {}:when "NOTHING":expect {} end)
  it("fails", function()
    bank.given {}:when("DRAW", { account = "a", cents = 1 }):expect { rejection = "no" }
  end)
end)]]):format(directory))
    shell.write(place .. "/.busted", 'return { default = { lua = "/usr/bin/lua5.4" } }')
    local ok, output = shell.try { "sh", "-c", "cd " .. shell.quote(place) .. " && busted -o plainTerminal bank_spec.lua" }
    assert.is_false(ok)
    assert.matches("1 success / 1 failure / 0 errors", output, 1, true)
    assert.matches("bank_spec.lua:5: given 0 events, when DRAW", output, 1, true)
    assert.matches("  expected: rejected: no\n  actual:   rejected: not enough", output, 1, true)
  end)
end)
