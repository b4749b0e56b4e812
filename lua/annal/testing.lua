-- annal.testing: what an app does, told as given, when, expect, without a database of one's own.
--
--   local bank = require "annal.testing".app "bank"
--   bank.given { { type = "MONEY_PAID_IN", data = { accountId = "a1", cents = 100 } } }
--     :when("DRAW", { accountId = "a1", cents = 60 })
--     :expect { { type = "MONEY_DRAWN", data = { accountId = "a1", cents = 60 } } }
--
-- Role: loaded by the module (src/api/lua_module.c) with what it needs of it: open, json.encode, misuse(where, message), which
-- raises. Each given has a store in memory for itself, into which the scripts are loaded as they are then. A failure is raised
-- where expect was called; under busted it counts as a failed test.
local host = ...
local encode = host.json.encode

local testing = {}

-- Stands in an expectation for any value that is there.
testing.any = setmetatable({}, { __tostring = function() return "<any>" end, __name = "annal.testing.any" })
local any = testing.any

local function misuse(where, message, ...) host.misuse(where, message:format(...)) end

local function show(value)
  if type(value) == "string" then return ('"%s"'):format(value) end
  return type(value) == "table" and "a table" or tostring(value)
end

-- ---- Values ---------------------------------------------------------------------------------------------------------------

local function sorted_keys(value)
  local keys = {}
  for key in next, value do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return keys
end

-- JSON with sorted keys, for people: it shows what no JSON can hold as what it is.
local function json(value)
  if value == any then return tostring(any) end
  if type(value) ~= "table" then
    local ok, text = pcall(encode, value)
    return ok and text or ("<%s>"):format(type(value))
  end
  local parts = {}
  local size = rawlen(value)
  local is_list = size > 0 or getmetatable(value) == "array"
  for _, key in ipairs(sorted_keys(value)) do
    if is_list then parts[#parts + 1] = json(value[key])
    else parts[#parts + 1] = ("%s:%s"):format(json(tostring(key)), json(value[key])) end
  end
  local body = table.concat(parts, ",")
  return is_list and "[" .. body .. "]" or "{" .. body .. "}"
end

local function path_of(path, key)
  if type(key) ~= "string" then return ("%s[%s]"):format(path, tostring(key)) end
  if not key:find "^[%a_][%w_]*$" then return ("%s[%q]"):format(path, key) end
  return path == "" and key or path .. "." .. key
end

-- Where the two differ first, in order of key: path, expected, actual; nil where they do not. 1 and 1.0 are different numbers. An
-- empty table is an empty list as well as an empty object.
local function difference(expected, actual, path)
  if expected == any then
    if actual ~= nil then return nil end
    return path, expected, actual
  end
  if type(expected) ~= "table" or type(actual) ~= "table" then
    if expected == actual and math.type(expected) == math.type(actual) then return nil end
    return path, expected, actual
  end
  local all = {}
  for key in next, expected do all[key] = true end
  for key in next, actual do all[key] = true end
  for _, key in ipairs(sorted_keys(all)) do
    local where, one, other = difference(expected[key], actual[key], path_of(path, key))
    if where then return where, one, other end
  end
  return nil
end

-- ---- Failures -------------------------------------------------------------------------------------------------------------

-- busted counts what its own function raises as a failed test, anything else as an error in one.
local function fail(message, level)
  local loaded = package.loaded.busted
  local known, busted_fail = pcall(function() return loaded.fail end)
  if known and type(busted_fail) == "function" then busted_fail(message, level + 1) end
  error(message, level + 1)
end

-- Of an event that is stored what an expectation of it speaks of.
local function as_expected(event, expected)
  local shown = { type = event.type, data = event.data }
  if expected and expected.metadata ~= nil then shown.metadata = event.metadata end
  if expected and expected.version ~= nil then shown.version = event.version end
  return shown
end

local function all_as_expected(events, expected)
  local list = {}
  for place, event in ipairs(events) do list[place] = as_expected(event, expected[place]) end
  return list
end

local function lines_of(title, values)
  local lines = { title }
  for place, value in ipairs(values) do lines[#lines + 1] = ("  [%d] %s"):format(place, json(value)) end
  if #values == 0 then lines[1] = title .. " none" end
  return table.concat(lines, "\n")
end

local function absent(value)
  if value == nil then return "nothing" end
  return json(value)
end

-- ---- What is expected -----------------------------------------------------------------------------------------------------

local function check_keys(value, where, what, allowed)
  for key in next, value do
    if not allowed[key] then
      local known = sorted_keys(allowed)
      misuse(where, "%s is no field of %s; there are: %s", show(key), what, table.concat(known, ", "))
    end
  end
end

local function check_list(value, where, of_what)
  if type(value) ~= "table" then misuse(where, "%s must be a list of %s, not %s", where, of_what, show(value)) end
  local count = 0
  for _ in next, value do count = count + 1 end
  if count ~= rawlen(value) then misuse(where, "%s must be a list of %s without holes", where, of_what) end
end

local event_fields = { type = true, data = true, metadata = true, version = true }

local function check_events(events, where)
  check_list(events, where, "events")
  for place, event in ipairs(events) do
    local at = ("%s[%d]"):format(where, place)
    if type(event) ~= "table" then misuse(at, "%s must be an event, not %s", at, show(event)) end
    check_keys(event, at, "an event that is expected", event_fields)
    if type(event.type) ~= "string" then misuse(at, "%s has no type", at) end
    if type(event.data) ~= "table" then misuse(at, "%s has no data", at) end
  end
  return events
end

local view_fields = { of = true, id = true, is = true }

local function check_view(view)
  if type(view) ~= "table" then misuse("view", "view must be a table { of, id, is }, not %s", show(view)) end
  check_keys(view, "view", "view", view_fields)
  if type(view.of) ~= "string" then misuse("view.of", "view.of must be the name of a projection, not %s", show(view.of)) end
  if view.is == nil then misuse("view.is", "view.is is missing: what the view is expected to be") end
  return view
end

local expected_fields = { events = true, view = true, rejection = true }

-- A list stands for { events = list }.
local function check_expected(expected)
  if type(expected) ~= "table" then
    misuse("", "expect takes a table: a list of events, or { events, view, rejection }, not %s", show(expected))
  end
  if next(expected) == nil or rawlen(expected) > 0 then return { events = check_events(expected, "events") } end
  check_keys(expected, "", "what is expected", expected_fields)
  if expected.events ~= nil then check_events(expected.events, "events") end
  if expected.view ~= nil then check_view(expected.view) end
  local rejection = expected.rejection
  if rejection ~= nil and rejection ~= any and type(rejection) ~= "string" then
    misuse("rejection", "rejection must be its reason, or testing.any, not %s", show(rejection))
  end
  if rejection ~= nil and expected.events ~= nil and #expected.events > 0 then
    misuse("events", "a call that is rejected stores no events: expect the one or the other")
  end
  return expected
end

-- ---- The story ------------------------------------------------------------------------------------------------------------

local story = {}
story.__index = story
story.__name = "annal.testing.story"

local function told(self)
  local text = ("given %d event%s"):format(self.count, self.count == 1 and "" or "s")
  if not self.command then return text end
  return ("%s, when %s %s"):format(text, self.command, json(self.args))
end

function story:when(command, args, options)
  if getmetatable(self) ~= story then misuse("", "when is called with a colon: given { … }:when(command, args)") end
  if type(command) ~= "string" then misuse("command", "when takes the name of a command, not %s", show(command)) end
  if args ~= nil and type(args) ~= "table" then misuse("args", "args must be a table of arguments, not %s", show(args)) end
  local ok, result = pcall(self.store.call, self.store, command, args, options)
  if not ok and (type(result) ~= "table" or result.code == "misuse" or result.code == "not_found") then error(result, 2) end
  self.command, self.args = command, args or {}
  self.events, self.problem = ok and result or nil, not ok and result or nil
  return self
end

local function expect_events(self, expected, level)
  if not self.events then misuse("events", "events are expected of a command: call when before") end
  local actual = all_as_expected(self.events, expected)
  local where, one, other = difference(expected, actual, "")
  if not where then return end
  fail(("%s: events%s is not what is expected\n  expected: %s\n  actual:   %s\n%s\n%s"):format(told(self), where, absent(one),
    absent(other), lines_of("expected events:", expected), lines_of("actual events:", actual)), level + 1)
end

local function expect_rejection(self, expected, level)
  if not self.command then misuse("rejection", "a rejection is expected of a command: call when before") end
  local problem = self.problem
  if problem and problem.code == "rejected" and (expected == any or expected == problem.message) then return end
  local actual = problem and tostring(problem) or lines_of("not rejected; events:", all_as_expected(self.events, {}))
  fail(("%s: it is not rejected as expected\n  expected: rejected: %s\n  actual:   %s"):format(told(self), tostring(expected),
    actual), level + 1)
end

local function expect_view(self, expected, level)
  local actual = self.store:view(expected.of, expected.id)
  local where, one, other = difference(expected.is, actual, "")
  if not where then return end
  local name = expected.of .. (expected.id ~= nil and (" %s"):format(json(expected.id)) or "")
  local place = where ~= "" and ", at " .. where or ""
  fail(("%s: the view of %s is not what is expected%s\n  expected: %s\n  actual:   %s\n%s\n%s"):format(told(self), name, place,
    absent(one), absent(other), "expected view:\n  " .. json(expected.is), "actual view:\n  " .. json(actual)), level + 1)
end

function story:expect(expected)
  if getmetatable(self) ~= story then misuse("", "expect is called with a colon: given { … }:expect { … }") end
  expected = check_expected(expected)
  if expected.rejection ~= nil then expect_rejection(self, expected.rejection, 2)
  elseif self.problem then fail(("%s: it failed: %s"):format(told(self), tostring(self.problem)), 2) end
  if expected.events and expected.rejection == nil then expect_events(self, expected.events, 2) end
  if expected.view then expect_view(self, expected.view, 2) end
  return self
end

-- Names an app by the directory of its scripts. Answers { given }: given { events } begins a story, in which these have happened.
function testing.app(directory)
  if type(directory) ~= "string" then misuse("", "testing.app takes the directory of an app, not %s", show(directory)) end
  local app = {}
  function app.given(first, second)
    local events = first
    if first == app then events = second end -- app:given { … } is meant the same
    check_list(events, "given", "events")
    local self = setmetatable({ store = host.open(":memory:", { app = directory }), count = #events }, story)
    if #events > 0 then self.store:save_events(events) end
    return self
  end
  return app
end

return testing
