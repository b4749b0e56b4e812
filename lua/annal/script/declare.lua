-- What scripts declare: events, projections, reducers. Here each declaration is checked by itself; what it says about others is
-- checked by resolve.lua, when all files have been run, so that the order of files does not matter.
local c, types = ...
local fail, hint, show = c.fail, c.hint, c.show

local declared = { events = {}, projections = {}, commands = {} } -- by name
local begun = {} -- declarations whose table has not come yet
local reducers = {} -- reducer object → { init, on, where }

local function check_keys(where, what, definition, allowed)
  if not c.is_plain(definition) then fail(where, "%s takes a table, not %s", what, show(definition)) end
  for key in pairs(definition) do
    if not allowed[key] then fail(where, "%s has no key %s%s", what, show(key), hint(key, allowed)) end
  end
end

-- `word "NAME" { … }`: the name now, the table in a second call.
local function named(word, kind, define)
  return c.declaration(function(where, name, extra)
    if type(name) ~= "string" then
      fail(where, "%s is followed by its name, not by %s: %s \"NAME\" { … }", word, show(name), word)
    end
    local problem = c.name_fault(name)
    if problem then fail(where, "%s: its name %s", word, problem) end
    if extra ~= nil then fail(where, "%s %s takes its table in a second call: %s \"%s\" { … }", word, name, word, name) end
    local earlier = declared[kind][name]
    if earlier then fail(where, "%s %s is declared twice: first at %s", word, name, earlier.where) end
    local record = { name = name, where = where, file = c.file() }
    declared[kind][name] = record
    begun[#begun + 1] = { word = word, what = word .. " " .. name, where = where, record = record }
    return c.declaration(function(_, definition)
      if record.defined then fail(where, "%s %s has two tables", word, name) end
      define(where, word .. " " .. name, record, definition)
      record.defined = true
    end)
  end)
end

-- ---- Events ---------------------------------------------------------------------------------------------------------------

local event_keys = { version = true, schema = true, upcast = true, validate = true }

local function check_version(where, what, version)
  if math.type(version) ~= "integer" or version < 1 or version > 0x7fffffff then
    fail(where, "%s: version is an integer from 1, not %s", what, show(version))
  end
  return version
end

-- The upcasters: from each version before the current one a function to the next, none missing, because what was stored once is
-- readable for ever.
local function check_upcast(where, what, upcast, version)
  if upcast == nil then upcast = {} end
  if not c.is_plain(upcast) then fail(where, "%s: upcast is a table of functions, not %s", what, show(upcast)) end
  local chain = {}
  for key, value in pairs(upcast) do
    if math.type(key) ~= "integer" or key < 1 then
      fail(where, "%s: upcast: a key is the version that the function takes, not %s", what, show(key))
    end
    if key >= version then
      fail(where, "%s: upcast[%d]: the current version is %d, so there is nothing to upgrade it to", what, key, version)
    end
    if type(value) ~= "function" then
      fail(where, "%s: upcast[%d] is a function of the data, not %s", what, key, show(value))
    end
    chain[key] = value
  end
  for older = 1, version - 1 do
    if not chain[older] then
      fail(where, "%s: upcast has no function from version %d to %d: [%d] = function(data) … return data end", what, older,
        older + 1, older)
    end
  end
  return chain
end

local event = named("event", "events", function(where, what, record, definition)
  if not c.is_plain(definition) then fail(where, "%s takes a table of fields, not %s", what, show(definition)) end
  local fields = definition
  record.version = 1
  if c.is_plain(definition.schema) then -- the long form is known by its plain table `schema`
    check_keys(where, what, definition, event_keys)
    fields = definition.schema
    if definition.version ~= nil then record.version = check_version(where, what, definition.version) end
    if definition.validate ~= nil and type(definition.validate) ~= "function" then
      fail(where, "%s: validate is a function of the data, not %s", what, show(definition.validate))
    end
    record.validate = definition.validate
    record.upcast = check_upcast(where, what, definition.upcast, record.version)
  elseif type(definition.validate) == "function" or c.is_plain(definition.upcast) then
    fail(where, "%s: the long form needs its fields in a table `schema`", what)
  end
  record.fields = types.describe_fields(where, what, fields)
end)

-- ---- Reducers -------------------------------------------------------------------------------------------------------------

-- `init` and `on`, of a reducer or of a projection as a whole.
local function check_fold(where, what, definition)
  if definition.init == nil then fail(where, "%s has no init: a value, or a function (write init = null for none)", what) end
  if type(definition.init) ~= "function" then
    local problem, path = c.value_fault(definition.init)
    if problem then fail(where, "%s: init%s: %s", what, path == "" and "" or "." .. path, problem) end
  end
  if not c.is_plain(definition.on) then
    fail(where, "%s has no handlers: on = { EVENT_TYPE = function(state, event) … end }", what)
  end
  if is_empty(definition.on) then fail(where, "%s: on is empty, so nothing would ever change it", what) end
  for name, handler in pairs(definition.on) do
    if type(name) ~= "string" then fail(where, "%s: on: an event's type is a string, not %s", what, show(name)) end
    if type(handler) ~= "function" then fail(where, "%s: on.%s is a function, not %s", what, name, show(handler)) end
  end
end

-- A copy that later assignments of the script's do not reach.
local function copy_fold(definition)
  local on = {}
  for name, handler in pairs(definition.on) do on[name] = handler end
  return { init = definition.init, on = on }
end

local reducer = c.declaration(function(where, definition)
  check_keys(where, "reducer", definition, { init = true, on = true })
  check_fold(where, "reducer", definition)
  local made = c.seal({}, "reducer")
  local fold = copy_fold(definition)
  fold.where = where
  reducers[made] = fold
  return made
end)

-- ---- Projections ----------------------------------------------------------------------------------------------------------

local projection_keys = {
  by = true, streams = true, ids = true, fields = true, init = true, on = true, view = true, shape = true, keep = true,
  version = true,
}

local function check_fields(where, what, fields)
  if not c.is_plain(fields) then fail(where, "%s: fields is a table of reducers, not %s", what, show(fields)) end
  if is_empty(fields) then fail(where, "%s: fields is empty", what) end
  local list = {}
  for name, value in pairs(fields) do -- in bytewise order of name, in which they run
    if type(name) ~= "string" or name == "" or not c.is_text(name) then
      fail(where, "%s: fields: a name is text in UTF-8, not %s", what, show(name))
    end
    local fold = reducers[value]
    if not fold then
      local way = ""
      if c.is_plain(value) then way = ": write reducer { … }" end
      if value == true then way = ": the included file returns nothing" end
      fail(where, "%s: fields.%s is %s, not a reducer%s", what, name, show(value), way)
    end
    list[#list + 1] = { name = name, init = fold.init, on = fold.on, where = fold.where }
  end
  return list
end

local function check_function(where, what, name, value)
  if value ~= nil and type(value) ~= "function" then fail(where, "%s: %s is a function, not %s", what, name, show(value)) end
  return value
end

local function check_by(where, what, by)
  if by == nil then return nil end
  if type(by) == "string" then
    if not c.is_identifier(by) then fail(where, "%s: by: %s is no name of an identifier", what, show(by)) end
    return by
  end
  if not c.is_plain(by) then
    fail(where, "%s: by is an identifier, or a table from event types to identifiers, not %s", what, show(by))
  end
  if is_empty(by) then fail(where, "%s: by is an empty table", what) end
  local copy = {}
  for name, identifier in pairs(by) do
    if type(name) ~= "string" then fail(where, "%s: by: an event's type is a string, not %s", what, show(name)) end
    if type(identifier) ~= "string" or not c.is_identifier(identifier) then
      fail(where, "%s: by.%s: %s is no name of an identifier", what, name, show(identifier))
    end
    copy[name] = identifier
  end
  return copy
end

local keeps = { live = true, background = true, inline = true }

local function check_streams(where, what, record, definition)
  record.streams = check_function(where, what, "streams", definition.streams)
  record.ids = check_function(where, what, "ids", definition.ids)
  if record.streams and definition.by ~= nil then fail(where, "%s has both by and streams", what) end
  if record.ids and not record.streams then fail(where, "%s: ids goes with streams; here the ids come from by", what) end
  record.keep = definition.keep == nil and "live" or definition.keep
  if type(record.keep) ~= "string" or not keeps[record.keep] then
    fail(where, "%s: keep is \"live\", \"background\" or \"inline\", not %s", what, show(record.keep))
  end
  if record.keep ~= "live" and record.streams and not record.ids then
    fail(where, "%s: to keep a projection over streams, ids = function(event) … end has to say which instances an event is for",
      what)
  end
end

local function check_shape(where, what, shape)
  if shape == nil then return nil end
  if types.is_type(shape) then return types.describe(where, what .. ": shape", shape) end
  if not c.is_plain(shape) then fail(where, "%s: shape is a table of types, not %s", what, show(shape)) end
  return { type = "object", fields = types.describe_fields(where, what .. ": shape", shape) }
end

local projection = named("projection", "projections", function(where, what, record, definition)
  check_keys(where, what, definition, projection_keys)
  check_streams(where, what, record, definition)
  record.by = check_by(where, what, definition.by)
  if definition.version ~= nil then record.version = check_version(where, what, definition.version) end
  local def = { view = check_function(where, what, "view", definition.view) }
  if definition.fields ~= nil then
    if definition.init ~= nil or definition.on ~= nil then
      fail(where, "%s has fields, so it has no %s of its own", what, definition.on ~= nil and "on" or "init")
    end
    def.fields = check_fields(where, what, definition.fields)
  elseif definition.init == nil and definition.on == nil then
    fail(where, "%s has no reducers: write fields = { … }, or init and on", what)
  else
    check_fold(where, what, definition)
    def.whole = copy_fold(definition)
  end
  record.shape = check_shape(where, what, definition.shape)
  record.def = def
end)

return {
  event = event, projection = projection, reducer = reducer, declared = declared, begun = begun,
  named = named, check_keys = check_keys, -- for command.lua
}
