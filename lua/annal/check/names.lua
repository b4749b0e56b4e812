-- Names in the functions of scripts that mean nothing. Role: the half of the checks that looks into functions; what they are
-- given is known from declarations.lua.
--
-- A name is reported where it cannot mean anything and another one, a slip of the fingers away, does. A function that is used for
-- something else too, or a value that goes its own ways, is not spoken of.

local CONTEXT_FIELDS = { metadata = true, new_id = true, now = true }
local EVENT_FIELDS = { created_at = true, data = true, id = true, metadata = true, position = true, type = true, version = true }

return function(tree)
  -- fault(name, member?, is_write) → what the sandbox would say.
  return function(files, included, resolver, declared, report, fault)
    local resolve = resolver.resolve
    local hint = declared.hint

    -- ---- Globals ------------------------------------------------------------------------------------------------------------

    local function check_globals(node)
      if node.kind == "name" and node.global then
        local message = fault(node.name, nil, node.target == true)
        if message then report(node, message) end
      elseif node.kind == "index" and node.field and node.object.kind == "name" and node.object.global
        and not fault(node.object.name, nil, false) then
        local message = fault(node.object.name, node.field, node.target == true)
        if message then report(node, message) end
      end
    end

    local function check_include(node)
      local name = node.kind == "call" and tree.is_word(node.callee, "include") and node.arguments[1]
      if not name or name.kind ~= "string" or included[name.value] or not name.value:find "^[^./\\][^/\\]*$" then return end
      report(node, ("include \"%s\": there is no file %s.lua below the app's directory%s"):format(name.value,
        name.value:gsub("%.", "/"), hint(name.value, included)))
    end

    -- ---- Who uses a function ------------------------------------------------------------------------------------------------

    local roles = {} -- function node → { what it is for, … }
    local counted = {} -- the expressions by which it is found for that

    -- Finds the function that an expression stands for, and remembers every expression on the way to it.
    local function find_function(node)
      for _ = 1, 50 do
        counted[node] = true
        if node.kind == "function" then return node end
        local previous = node
        if node.kind == "name" and node.var and node.var.writes == 0 and node.var.value then
          node = node.var.value
        elseif node.kind == "call" and tree.is_word(node.callee, "include") then
          local file = node.arguments[1] and included[node.arguments[1].value]
          node = file and file.result or node
        end
        if node == previous then return nil end
      end
    end

    local function add_role(item, role)
      local fn = item and find_function(item.value)
      if not fn then return end
      roles[fn] = roles[fn] or {}
      table.insert(roles[fn], role)
    end

    -- A function that is called by others, kept or handed on gets who knows what.
    local function drop_functions_used_elsewhere()
      local function look(node)
        if counted[node] or node.kind ~= "name" and node.kind ~= "call" then return end
        local fn = resolve(node)
        if fn.kind == "function" and fn ~= node then roles[fn] = nil end
      end
      for _, file in ipairs(files) do
        tree.walk(file.tree, function(node)
          if node.kind == "local" then
            for _, value in ipairs(node.values) do counted[value] = true end -- what is made of the variable counts
          end
        end)
        if file.result then counted[file.result] = true end
      end
      for _, file in ipairs(files) do tree.walk(file.tree, look) end
    end

    -- ---- Written names ------------------------------------------------------------------------------------------------------

    local assigned = {} -- names of fields that are set anywhere in the app
    local function note_assigned(node)
      if node.kind == "index" and node.target and node.field then assigned[node.field] = true end
    end

    -- Keys of tables that a function makes.
    local function add_made(fn, into)
      tree.walk(fn.body, function(node)
        if node.kind ~= "table" then return end
        for _, item in ipairs(node.items) do
          if item.key and item.key.kind == "string" then into[item.key.value] = true end
        end
      end)
    end

    -- ---- Events -------------------------------------------------------------------------------------------------------------

    -- What stands at a field of values that have one of these schemas: the schemas there, and whether any of them has the field.
    local function step(schemas, field)
      local inner, known, plain = {}, false, true
      for _, fields in ipairs(schemas) do
        local child = fields[field]
        known = known or child ~= nil
        if type(child) == "table" then inner[#inner + 1] = child
        elseif child then plain = false
        end
      end
      return plain and inner[1] and inner or nil, known
    end

    -- The schemas of what an expression stands for, and its path. `root` is where to begin: { is(node), schemas, path }. Nil
    -- where nothing is known.
    local function schemas_of(node, root)
      if root.is(node) then return root.schemas, root.path end
      if node.kind == "name" and node.var and node.var.writes == 0 and node.var.value then
        return schemas_of(node.var.value, root)
      end
      if node.kind ~= "index" or not node.field then return nil end
      local outer, path = schemas_of(node.object, root)
      if not outer then return nil end
      return step(outer, node.field), path .. "." .. node.field
    end

    -- What a function reads of values whose schemas are known.
    local function check_fields(fn, root, whose)
      tree.walk(fn.body, function(node)
        if node.kind ~= "index" or not node.field or node.target or assigned[node.field] then return end
        local outer, path = schemas_of(node.object, root)
        if not outer or select(2, step(outer, node.field)) then return end
        for _, fields in ipairs(outer) do
          local meant = hint(node.field, fields)
          if meant ~= "" then return report(node, ("%s: %s has no field %s%s"):format(whose, path, node.field, meant)) end
        end
      end)
    end

    local function check_data(fn, is_data, types)
      local root = { is = is_data, schemas = {}, path = "data" }
      for _, name in ipairs(types) do
        local event = declared.events[name]
        if not event or not event.fields then return end
        table.insert(root.schemas, event.fields)
      end
      check_fields(fn, root, table.concat(types, ", "))
    end

    local function check_handler(fn, types)
      local event = fn.params[2]
      if not event or event.writes > 0 then return end
      tree.walk(fn.body, function(node)
        if node.kind ~= "index" or not node.field or node.target or node.object.var ~= event then return end
        if EVENT_FIELDS[node.field] or assigned[node.field] then return end
        local meant = hint(node.field, EVENT_FIELDS)
        report(node, ("an event has no field %s%s"):format(node.field,
          meant ~= "" and meant or " (what was saved is in event.data)"))
      end)
      check_data(fn, function(node) return node.kind == "index" and node.field == "data" and node.object.var == event end, types)
    end

    local function check_validate(fn, name)
      local data = fn.params[1]
      if data and data.writes == 0 then check_data(fn, function(node) return node.var == data end, { name }) end
    end

    -- ---- States -------------------------------------------------------------------------------------------------------------

    -- What may be done with a state so that all names in it are still known.
    local LOOKING = { ipairs = true, is_empty = true, log = true, pairs = true, tostring = true, type = true }

    -- Whether a handler leaves a state whose names are known: it hands it to nobody, returns it or a table that is written out.
    local function keeps_names(fn)
      local state, harmless, keeps = fn.params[1], {}, true
      tree.walk(fn.body, function(node)
        if node.kind == "index" and node.field then harmless[node.object] = true end
        if node.kind == "operator" and node.operator == "#" then harmless[node[1]] = true end
        if node.kind == "return" and node[1] then harmless[node[1]] = true end
        if node.kind == "call" and node.callee.global and LOOKING[node.callee.name] and node.arguments[1] then
          harmless[node.arguments[1]] = true
        end
      end)
      tree.walk(fn.body, function(node)
        if node.kind == "name" and node.var == state and not harmless[node] then keeps = false end
      end)
      for _, value in ipairs((resolver.returned(fn))) do
        local is_state = value.kind == "name" and value.var == state
        local _, complete = resolver.members(value)
        keeps = keeps and (is_state or complete == true)
      end
      return keeps and state ~= nil and state.writes == 0
    end

    -- The names that an `init` gives a state, or nil.
    local function initial_names(init)
      local value = init and resolve(init)
      if value and value.kind == "function" then
        local list, plain = resolver.returned(value)
        value = plain and #list == 1 and list[1] or nil
      end
      if not value then return nil end
      local found, complete = resolver.members(value)
      return found and complete and found or nil
    end

    -- `states`: what the first parameter can be, { names, made = other names it may have got, whose }.
    local function check_state(fn, states)
      local state = fn.params[1]
      if not state or state.writes > 0 then return end
      tree.walk(fn.body, function(node)
        if node.kind ~= "index" or not node.field or node.target or node.object.var ~= state then return end
        if assigned[node.field] then return end
        local message
        for _, one in ipairs(states) do
          if one.names[node.field] or one.made[node.field] then return end
          local meant = hint(node.field, one.names)
          if meant ~= "" then message = message or ("%s has no field %s%s"):format(one.whose, node.field, meant) end
        end
        if message then report(node, message) end
      end)
    end

    -- ---- Commands -----------------------------------------------------------------------------------------------------------

    -- A table of which only what is there can be read: who reads something else has an error.
    local function check_guarded(fn, param, known, what)
      if not param or param.writes > 0 or not known then return end
      tree.walk(fn.body, function(node)
        if node.kind ~= "index" or not node.field or node.target or node.object.var ~= param or known[node.field] then return end
        report(node, ("%s has no field %s%s"):format(what, node.field, hint(node.field, known)))
      end)
    end

    -- The fields of a projection's view, where they are known.
    local function view_names(use)
      local found = resolver.members(use.value)
      local name = resolve(found and found[1] and found[1].value or use.value)
      local projection = name.kind == "string" and declared.projections[name.value]
      if not projection then return nil end
      if projection.shape then
        local shape, complete = resolver.members(projection.shape.value)
        return complete and shape or nil
      end
      return not projection.view and projection.parts or nil
    end

    -- Events that it makes: what is no event, or has a field that its event has not, cannot be saved.
    local function check_made_event(command, node)
      local found = node.kind == "table" and resolver.members(node)
      local name = found and found.type and found.data and resolve(found.type.value)
      if not name or name.kind ~= "string" then return end
      local what = "command " .. command.name
      if not declared.check_event_type(what, name.value, found.type) then return end
      local event, data = declared.events[name.value], resolver.members(found.data.value)
      if not event or not event.fields or not data then return end
      for _, field in ipairs(tree.sorted_keys(data)) do
        if type(field) == "string" and not event.fields[field] then
          report(data[field], ("%s: event %s has no field %s%s"):format(what, name.value, field, hint(field, event.fields)))
        end
      end
    end

    local function check_decide(fn, command)
      local args, views, context = table.unpack(fn.params, 1, 3)
      if args and args.writes == 0 and command.args then
        check_fields(fn, { is = function(node) return node.var == args end, schemas = { command.args }, path = "args" },
          "command " .. command.name)
      end
      check_guarded(fn, views, command.uses, ("command %s: views"):format(command.name))
      check_guarded(fn, context, CONTEXT_FIELDS, ("command %s: context"):format(command.name))
      for view, use in pairs(views and views.writes == 0 and command.uses or {}) do
        local schema, names = {}, view_names(use)
        for name in pairs(names or {}) do schema[name] = true end
        local function is_view(node) return node.kind == "index" and node.field == view and node.object.var == views end
        local root = { is = is_view, schemas = { schema }, path = "views." .. view }
        if names then check_fields(fn, root, "command " .. command.name) end
      end
      tree.walk(fn.body, function(node) check_made_event(command, node) end)
    end

    -- ---- All of them --------------------------------------------------------------------------------------------------------

    local function state_of_fold(fold)
      local names = initial_names(fold.init)
      if not names then return nil end
      local made = {}
      for _, item in pairs(fold.handlers) do
        local handler = resolve(item.value)
        if handler.kind ~= "function" or not keeps_names(handler) then return nil end
        add_made(handler, made)
      end
      return { names = names, made = made, whose = "the state of " .. (fold.what:match "^projection (.*)" or "this reducer") }
    end

    local function add_fold(fold)
      local state = state_of_fold(fold)
      for event_type, item in pairs(fold.handlers) do add_role(item, { event_type = event_type, state = state }) end
    end

    local function add_view(projection)
      local state
      if projection.parts then
        state = { names = projection.parts, made = {}, whose = "the state of " .. projection.name }
      else
        state = projection.folds[1] and state_of_fold(projection.folds[1])
      end
      add_role(projection.view, { view = true, state = state })
    end

    local function check_roles(fn, list)
      local types, states, in_handler = {}, {}, false
      for _, role in ipairs(list) do
        if role.event_type then
          types[role.event_type] = true
          in_handler = true
        end
        if role.validates then return check_validate(fn, role.validates) end
        if role.decides then return check_decide(fn, role.decides) end
        if states and role.state then states[#states + 1] = role.state
        else states = nil
        end
      end
      if in_handler then check_handler(fn, tree.sorted_keys(types)) end
      if states then check_state(fn, states) end
    end

    for _, file in ipairs(files) do
      tree.walk(file.tree, function(node)
        check_globals(node)
        check_include(node)
        note_assigned(node)
      end)
    end
    for _, fold in ipairs(declared.folds) do add_fold(fold) end
    for _, name in ipairs(tree.sorted_keys(declared.projections)) do add_view(declared.projections[name]) end
    for name, event in pairs(declared.events) do add_role(event.validate, { validates = name }) end
    for _, command in pairs(declared.commands) do add_role(command.decide, { decides = command }) end
    drop_functions_used_elsewhere()
    for fn, list in pairs(roles) do check_roles(fn, list) end
  end
end
