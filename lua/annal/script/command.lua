-- Commands: what is asked of the app, and decided over views. Here a declaration is checked by itself; `resolve`, when all files
-- have been run, checks what it says of projections and gives each `use` the argument or the function that its id comes from.
local c, types, declarations = ...
local fail, hint, show = c.fail, c.hint, c.show

local command_keys = { args = true, uses = true, decide = true }

-- "ACCOUNT", or { "ACCOUNT", id = "fromId" }, or { "ACCOUNT", id = function(args) … end }.
local function check_use(where, what, use)
  if type(use) == "string" then return { projection = use } end
  if not c.is_plain(use) then
    fail(where, "%s is the name of a projection, or { \"NAME\", id = … }, not %s", what, show(use))
  end
  for key in pairs(use) do
    if key ~= 1 and key ~= "id" then fail(where, "%s has no key %s%s", what, show(key), hint(key, { id = true })) end
  end
  if type(use[1]) ~= "string" then
    fail(where, "%s begins with the name of a projection: { \"NAME\", id = … }, not with %s", what, show(use[1]))
  end
  if use.id ~= nil and type(use.id) ~= "string" and type(use.id) ~= "function" then
    fail(where, "%s: id is the name of an argument, or a function of the arguments, not %s", what, show(use.id))
  end
  return { projection = use[1], id = use.id }
end

local function check_uses(where, what, uses)
  local list = {}
  if uses == nil then return list end
  if not c.is_plain(uses) then fail(where, "%s: uses is a table of projections, not %s", what, show(uses)) end
  for view, use in pairs(uses) do -- in bytewise order of name
    if type(view) ~= "string" or view == "" or not c.is_text(view) then
      fail(where, "%s: uses: %s has no name: write account = %s", what, show(use), type(use) == "string" and show(use) or "{ … }")
    end
    local checked = check_use(where, what .. ": uses." .. view, use)
    checked.view = view
    list[#list + 1] = checked
  end
  return list
end

local command = declarations.named("command", "commands", function(where, what, record, definition)
  declarations.check_keys(where, what, definition, command_keys)
  local args = definition.args
  if args == nil then args = {} end
  if not c.is_plain(args) then fail(where, "%s: args is a table of types, not %s", what, show(args)) end
  record.args = types.describe_fields(where, what .. ": args", args)
  record.uses = check_uses(where, what, definition.uses)
  if type(definition.decide) ~= "function" then
    fail(where, "%s: decide is a function of the arguments and the views, not %s", what, show(definition.decide))
  end
  record.def = { decide = definition.decide, ids = {} }
end)

-- ---- What it says of projections -------------------------------------------------------------------------------------------

local id_types = { string = true, integer = true, boolean = true, timestamp = true, enum = true, any = true }

local function check_field(where, what, args, field)
  local type_of = args[field]
  if not type_of then fail(where, "%s: there is no argument %s%s", what, show(field), hint(field, args)) end
  if not id_types[type_of.type] then
    fail(where, "%s: the argument %s is of type %s, which is no id", what, field, type_of.type)
  end
  if type_of.optional then fail(where, "%s: the argument %s is optional, and an id has to be there", what, field) end
end

-- The argument that bears the name of the projection's own identifier.
local function own_field(where, what, args, projection)
  local by = projection.by
  if projection.streams or #by > 1 then
    fail(where, "%s needs to know which instance: write { \"%s\", id = … }", what, projection.name)
  end
  local field = by[1].identifier
  if not args[field] then
    fail(where, "%s: %s goes by %s, which is no argument: write { \"%s\", id = … }", what, projection.name, field,
      projection.name)
  end
  return field
end

local function resolve_use(record, use, place)
  local where, what = record.where, "command " .. record.name .. ": uses." .. use.view
  local projections = declarations.declared.projections
  local projection = projections[use.projection]
  if not projection then
    fail(where, "%s: there is no projection %s%s", what, show(use.projection), hint(use.projection, projections))
  end
  if #projection.by == 0 and not projection.streams then
    if use.id ~= nil then fail(where, "%s: %s has one instance for the whole store: it takes no id", what, projection.name) end
  elseif type(use.id) == "function" then
    record.def.ids[place] = use.id
  else
    use.field = use.id or own_field(where, what, record.args, projection)
    check_field(where, what, record.args, use.field)
  end
  use.id = nil
end

return {
  command = command,
  resolve = function()
    for _, record in pairs(declarations.declared.commands) do
      for place, use in ipairs(record.uses) do resolve_use(record, use, place) end
    end
  end,
}
