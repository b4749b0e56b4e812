-- What declarations say about each other, once all files have been run. Answers the records as C takes them, each list in
-- bytewise order of name:
--   events      { name, where, file, version, fields, upcast?, validate? }
--   projections { name, where, file, keep, version?, types = { … }, by = { { identifier, types } … }, streams?, ids?, shape?,
--                 def } with def as script_push_projection pushes it
--   commands    { name, where, args = { fields }, uses = { { view, projection, field? } … },
--                 def = { decide, ids = { [place in uses] = function } } }
local c, declarations, commands = ...
local fail, hint, show = c.fail, c.hint, c.show
local declared, begun = declarations.declared, declarations.begun

local function check_event_type(where, what, name)
  if declared.events[name] then return end
  fail(where, "%s: there is no event %s%s", what, show(name), hint(name, declared.events))
end

-- The types that a projection has handlers for, each handler checked.
local function handled_types(record)
  local what, seen, list = "projection " .. record.name, {}, {}
  local folds = record.def.fields or { record.def.whole }
  for _, fold in ipairs(folds) do
    local part = fold.name and what .. ": fields." .. fold.name or what
    for name in pairs(fold.on) do
      check_event_type(fold.where or record.where, part, name)
      seen[name] = true
    end
    fold.where = nil
  end
  for name in pairs(seen) do list[#list + 1] = name end
  return list
end

local selectable = { string = true, integer = true, number = true, boolean = true, timestamp = true, enum = true, any = true }

local function check_identifier(record, name, identifier)
  local what, fields = "projection " .. record.name, declared.events[name].fields
  local field = fields[identifier]
  if not field then
    fail(record.where, "%s: by: event %s has no field %s%s", what, name, identifier, hint(identifier, fields))
  end
  if not selectable[field.type] then
    fail(record.where, "%s: by: %s of event %s is of type %s, by which no event can be selected", what, identifier, name,
      field.type)
  end
end

-- by = "cartId" or by = { TYPE = "cartId" }, turned round: identifier → the types that bear it.
local function resolve_by(record)
  local list, place = {}, {}
  if record.by == nil then return list end
  local identifier_of = {}
  for _, name in ipairs(record.types) do
    identifier_of[name] = type(record.by) == "string" and record.by or record.by[name]
    if not identifier_of[name] then
      fail(record.where, "projection %s: by names no identifier for event %s, for which it has a handler", record.name, name)
    end
    check_identifier(record, name, identifier_of[name])
  end
  if type(record.by) == "table" then
    for name in pairs(record.by) do
      check_event_type(record.where, "projection " .. record.name .. ": by", name)
      if not identifier_of[name] then
        fail(record.where, "projection %s: by names event %s, for which it has no handler", record.name, name)
      end
    end
  end
  for _, name in ipairs(record.types) do
    local identifier = identifier_of[name]
    if not place[identifier] then place[identifier] = {} end
    table.insert(place[identifier], name)
  end
  for identifier, names in pairs(place) do list[#list + 1] = { identifier = identifier, types = names } end
  return list
end

local function sorted(records)
  local list = {}
  for _, record in pairs(records) do list[#list + 1] = record end
  return list
end

return function()
  for _, one in ipairs(begun) do
    if not one.record.defined then
      fail(one.where, "%s has no table: write %s \"%s\" { … }", one.what, one.word, one.record.name)
    end
  end
  for _, record in pairs(declared.projections) do
    record.types = handled_types(record)
    record.by = resolve_by(record)
  end
  commands.resolve()
  return {
    events = sorted(declared.events),
    projections = sorted(declared.projections),
    commands = sorted(declared.commands),
  }
end
