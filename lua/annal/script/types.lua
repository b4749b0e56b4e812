-- The types of schemas: t.string, t.array(of) and so on. A type is an opaque object for scripts; what it stands for is a plain
-- description, { type = "string", min = 1 }, which C compiles and fingerprints hash.
local c = ...
local fail, hint, entry, show = c.fail, c.hint, c.entry, c.show

local DEPTH_MAX = 60 -- of types in types: what is stored may be nested 128 deep, descriptions of objects take two levels each

local description_of = {} -- type object → its description
local depth_of = {} -- description → how deep it goes
local factory_of = {} -- function → how it is written, for hints
local types = {}

-- `inner`: the descriptions that this one is made of.
local function new_type(description, call, where, inner)
  local depth = 0
  for _, one in pairs(inner or {}) do depth = math.max(depth, depth_of[one] + 1) end
  if depth > DEPTH_MAX then fail(where, "t.%s: types are nested more than %d deep", description.type, DEPTH_MAX) end
  depth_of[description] = depth
  local made = c.seal({}, "t." .. description.type, call)
  description_of[made] = description
  return made
end

-- What to write where something else than a type stands.
local function not_a_type(where, what, value)
  local written = factory_of[value]
  if written then fail(where, "%s: %s is missing its argument", what, written) end
  if c.is_plain(value) then fail(where, "%s is a table, not a type: write t.object { … }", what) end
  if value == c.null then fail(where, "%s is null, not a type: write t.optional(…)", what) end
  fail(where, "%s is %s, not a type such as t.string", what, show(value))
end

local function describe(where, what, value)
  local description = description_of[value]
  if not description then not_a_type(where, what, value) end
  return description
end

-- The description of an element: what is absent has no place in a list or a map.
local function describe_element(where, what, value)
  local description = describe(where, what, value)
  if description.optional then fail(where, "%s: t.optional is for fields, an element is always there", what) end
  return description
end

-- Fields of an object: names to descriptions.
local function describe_fields(where, what, fields)
  local described = {}
  for name, value in pairs(fields) do
    if type(name) ~= "string" then fail(where, "%s: a field's name is a string, not %s", what, show(name)) end
    if not c.is_text(name) or name == "" then fail(where, "%s: a field's name is text in UTF-8", what) end
    described[name] = describe(where, what .. "." .. name, value)
  end
  return described
end

local function check_options(where, what, options, allowed)
  if not c.is_plain(options) then fail(where, "%s takes a table of options, not %s", what, show(options)) end
  for name in pairs(options) do
    if not allowed[name] then fail(where, "%s has no option %s%s", what, show(name), hint(name, allowed)) end
  end
end

local function check_range(where, what, options)
  if options.min and options.max and options.min > options.max then fail(where, "%s: min is above max", what) end
end

-- One type that can be used bare or with options.
local function with_options(name, allowed, check)
  local what = "t." .. name
  types[name] = new_type({ type = name }, entry(function(where, _, options)
    check_options(where, what, options, allowed)
    local description = { type = name }
    for option, value in pairs(options) do
      description[option] = check(where, what .. ": " .. option, value, option)
    end
    check_range(where, what, description)
    return new_type(description)
  end))
end

local function integer_option(where, what, value)
  local integer = type(value) == "number" and math.tointeger(value)
  if not integer then fail(where, "%s is an integer, not %s", what, show(value)) end
  return integer
end

with_options("string", { min = true, max = true, pattern = true }, function(where, what, value, option)
  if option == "pattern" then
    if type(value) ~= "string" or not c.is_text(value) then fail(where, "%s is a Lua pattern, not %s", what, show(value)) end
    local fault = c.pattern_fault(value)
    if fault then fail(where, "%s %s: %s", what, show(value), fault) end
    return value
  end
  local count = integer_option(where, what, value)
  if count < 0 then fail(where, "%s is a number of characters, not %d", what, count) end
  return count
end)

with_options("integer", { min = true, max = true }, integer_option)

with_options("number", { min = true, max = true }, function(where, what, value)
  if type(value) ~= "number" or value ~= value or value - value ~= 0 then
    fail(where, "%s is a number, not %s", what, show(value))
  end
  return value
end)

for _, name in ipairs { "boolean", "timestamp", "any" } do
  types[name] = new_type({ type = name }, entry(function(where) fail(where, "t.%s takes no options", name) end))
end

local function factory(name, written, make)
  types[name] = entry(make)
  factory_of[types[name]] = written
end

factory("enum", "t.enum { … }", function(where, values)
  if not c.is_plain(values) or #values == 0 then fail(where, "t.enum takes the list of its values") end
  local seen, list, count = {}, {}, 0
  for index, value in pairs(values) do
    local kind = math.type(value) or type(value)
    if math.type(index) ~= "integer" then fail(where, "t.enum takes a list: %s is no place in one", show(index)) end
    if kind ~= "string" and kind ~= "integer" and kind ~= "boolean" then
      fail(where, "t.enum: a value is a string, an integer or a boolean, not %s", show(value))
    end
    if kind == "string" and not c.is_text(value) then fail(where, "t.enum: a value is no valid UTF-8") end
    if seen[value] then fail(where, "t.enum has %s twice", show(value)) end
    seen[value] = true
    count = count + 1
  end
  for index = 1, count do
    if values[index] == nil then fail(where, "t.enum has a hole: its value %d is nil", index) end
    list[index] = values[index]
  end
  return new_type { type = "enum", values = list }
end)

factory("array", "t.array(of)", function(where, of)
  local description = describe_element(where, "t.array: its element", of)
  return new_type({ type = "array", of = description }, nil, where, { description })
end)

factory("map", "t.map(of)", function(where, of)
  local description = describe_element(where, "t.map: its element", of)
  return new_type({ type = "map", of = description }, nil, where, { description })
end)

factory("object", "t.object { … }", function(where, fields)
  if not c.is_plain(fields) then fail(where, "t.object takes a table of fields, not %s", show(fields)) end
  local described = describe_fields(where, "t.object", fields)
  return new_type({ type = "object", fields = described }, nil, where, described)
end)

factory("optional", "t.optional(of)", function(where, of)
  local description = describe(where, "t.optional: its argument", of)
  local copy = { optional = true }
  for key, value in pairs(description) do copy[key] = value end
  return new_type(copy, nil, where, { description })
end)

return {
  t = c.seal(types, "t"),
  describe = describe,
  describe_fields = describe_fields,
  is_type = function(value) return description_of[value] ~= nil end,
}
