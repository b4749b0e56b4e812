-- What scripts declare, as far as it is written out, and what is wrong with it. Role: the half of the checks that is about events
-- and projections; names.lua looks into their functions.
--
-- Whatever is not written out (a name that is put together, a table that a function makes) is not known and not spoken of: then
-- the app itself, when it is loaded, is the judge.

return function(tree)
  -- report(node or item, message, place?): `place` is the node whose line the loading of the app would name.
  return function(files, resolver, report, near)
    local resolve, members = resolver.resolve, resolver.members
    local declared = {
      events = {}, -- by type: { node, fields = name → true or the fields of an object; nil: unknown, version, validate }
      projections = {}, -- by name: { name, node, folds, view, parts of the state or nil, types = handled → item, complete }
      folds = {}, -- { init, handlers = type → item, node, of }
      commands = {}, -- by name: { name, args = fields or nil, uses = view → item or nil, decide }
      open = {}, -- words by which something may be declared whose name is not written out
    }

    local function hint(name, known)
      for _, other in ipairs(tree.sorted_keys(known)) do
        if type(other) == "string" and near(name, other) then return (" (did you mean %s?)"):format(other) end
      end
      return ""
    end
    declared.hint = hint

    local fold_of = {} -- by the node of its reducer

    -- ---- Events -------------------------------------------------------------------------------------------------------------

    local fields_of

    -- The fields of a type that is an object, or true for any other.
    local function type_of(node)
      local call = resolve(node)
      if call.kind ~= "call" or call.callee.kind ~= "index" or not tree.is_word(call.callee.object, "t") then return true end
      local argument = call.arguments[1]
      if call.callee.field == "optional" and argument then return type_of(argument) end
      return call.callee.field == "object" and argument and fields_of(argument) or true
    end

    function fields_of(node)
      local found, complete = members(node)
      if not found or not complete then return nil end
      local fields = {}
      for name, item in pairs(found) do fields[name] = type_of(item.value) end
      return fields
    end

    -- Whether the node is a type of a field: t.string, t.integer { … }.
    local function is_type(node)
      if node.kind == "call" then node = node.callee end
      return node.kind == "index" and tree.is_word(node.object, "t")
    end

    local function check_upcast(event, name, upcast, version)
      local chain, complete, missing = {}, true, {}
      if upcast then chain, complete = members(upcast.value) end
      if not chain then return end
      for older = 1, complete and version - 1 or 0 do
        if not chain[older] then missing[#missing + 1] = ("%d"):format(older) end
      end
      if missing[1] then
        local message = "event %s: upcast has no function for version %s: [%s] = function(data) … return data end"
        report(event.node, message:format(name, table.concat(missing, ", ", 1, math.min(#missing, 5)), missing[1]))
      end
      for _, key in ipairs(tree.sorted_keys(chain)) do
        if math.type(key) == "integer" and key >= version then
          report(chain[key], ("event %s: upcast[%d]: the current version is %d, so there is nothing to upgrade it to")
            :format(name, key, version), event.node)
        end
      end
    end

    local function add_event(node, name, definition)
      local event = { node = node }
      local again = declared.events[name]
      declared.events[name] = event
      local found, complete = members(definition)
      if again or not found or not complete then return end -- which one counts is not said here
      local schema = found.schema and resolve(found.schema.value)
      if not schema or is_type(schema) then
        event.version, event.fields = 1, fields_of(definition)
        return
      end
      if schema.kind ~= "table" then return end
      event.fields = fields_of(schema)
      event.validate = found.validate
      local version = found.version and resolve(found.version.value)
      if not version then event.version = 1
      elseif math.type(version.value) == "integer" then event.version = version.value
      end
      if event.version and event.version < 1000 then check_upcast(event, name, found.upcast, event.version) end
    end

    -- ---- Folds --------------------------------------------------------------------------------------------------------------

    local function check_event_type(what, name, item, place)
      if declared.open.event or declared.events[name] then return true end
      report(item, ("%s: there is no event \"%s\"%s"):format(what, name, hint(name, declared.events)), place)
      return false
    end
    declared.check_event_type = check_event_type

    -- A reducer's table, or a projection's that folds as a whole.
    local function add_fold(what, node, place, init, on)
      local handlers, complete, again = members(on)
      local fold = { init = init, handlers = {}, node = node, what = what, complete = complete }
      for key, item in pairs(handlers or {}) do
        if type(key) == "string" and check_event_type(what, key, item, place) then fold.handlers[key] = item end
      end
      for _, item in ipairs(again or {}) do
        report(item, ("%s: %s has two handlers, of which the first is never called"):format(what, item.key))
      end
      declared.folds[#declared.folds + 1] = fold
      return fold
    end

    local function add_reducers(file)
      tree.walk(file.tree, function(node)
        local definition = tree.table_of(node, "reducer")
        if not definition then return end
        local found = members(definition)
        if found.on then fold_of[node] = add_fold("reducer", node, node, found.init and found.init.value, found.on.value) end
      end)
    end

    -- The folds of a projection, whether these are all, and the parts of its state where they are known.
    local function folds_of(name, node, found)
      if found.on then
        return { add_fold("projection " .. name, node, node, found.init and found.init.value, found.on.value) }, true
      end
      local folds, parts, complete = {}, nil, nil
      if found.fields then parts, complete = members(found.fields.value) end
      local all_parts = complete and parts
      for _, part in ipairs(tree.sorted_keys(parts or {})) do
        local reducer = resolve(parts[part].value)
        if fold_of[reducer] then folds[#folds + 1] = fold_of[reducer]
        else complete = false
        end
      end
      return folds, complete == true, all_parts
    end

    -- ---- Projections --------------------------------------------------------------------------------------------------------

    local function check_identifier(projection, event_type, identifier, item)
      local event = declared.events[event_type]
      if not event or not event.fields or event.fields[identifier] then return end
      report(item, ("projection %s: by: event %s has no field %s%s"):format(projection.name, event_type, identifier,
        hint(identifier, event.fields)), projection.node)
    end

    local function check_by(projection, by)
      local value = resolve(by.value)
      if value.kind == "string" then
        for _, event_type in ipairs(tree.sorted_keys(projection.types)) do
          check_identifier(projection, event_type, value.value, by)
        end
        return
      end
      local table_of, complete = members(by.value)
      if not table_of then return end
      for _, event_type in ipairs(tree.sorted_keys(projection.types)) do
        if complete and not table_of[event_type] then
          local message = "projection %s: by names no identifier for event %s, so its handler is never called"
          report(projection.types[event_type], message:format(projection.name, event_type), projection.node)
        end
      end
      for _, event_type in ipairs(tree.sorted_keys(table_of)) do
        local item = table_of[event_type]
        local identifier = resolve(item.value)
        if type(event_type) == "string" and check_event_type("projection " .. projection.name .. ": by", event_type, item,
          projection.node) then
          if projection.complete and not projection.types[event_type] then
            report(item, ("projection %s: by names event %s, for which it has no handler"):format(projection.name, event_type),
              projection.node)
          elseif identifier.kind == "string" then
            check_identifier(projection, event_type, identifier.value, item)
          end
        end
      end
    end

    -- The types that one stream selects, by name; nil where that is not written out or it selects any.
    local function types_of(what, stream)
      local found, complete = members(stream)
      if not found or not complete or not found.types then return nil end
      local list, whole = members(found.types.value)
      local single = resolve(found.types.value)
      if single.kind == "string" then
        list, whole = { { value = single, line = found.types.line, path = found.types.path } }, true
      end
      if not list or not whole then return nil end
      local types = {}
      for _, item in ipairs(list) do
        local name = resolve(item.value)
        if name.kind ~= "string" then return nil end
        check_event_type(what, name.value, item)
        types[name.value] = item
      end
      return types, found.data
    end

    -- A field that none of the selected events has is a slip: such a stream is empty.
    local function check_stream_data(what, types, data)
      local found = data and members(data.value)
      for name, item in pairs(found or {}) do
        local meant, known = "", true
        for event_type in pairs(types) do
          local event = declared.events[event_type]
          if not event or not event.fields or event.version ~= 1 or event.fields[name] then known = false
          else meant = meant ~= "" and meant or hint(tostring(name), event.fields)
          end
        end
        if known and meant ~= "" then
          report(item, ("%s: none of the events that this stream selects has a field %s%s"):format(what, name, meant))
        end
      end
    end

    local function check_streams(projection, streams)
      local fn = resolve(streams.value)
      if fn.kind ~= "function" then return end
      local lists, plain = resolver.returned(fn)
      local selected, what = {}, "streams of " .. projection.name
      plain = plain and #lists > 0
      for _, list in ipairs(lists) do
        local items, complete = members(list)
        plain = plain and items ~= nil and complete
        for key, item in pairs(items or {}) do
          local types, data
          if math.type(key) == "integer" then types, data = types_of(what, item.value) end
          if types then check_stream_data(what, types, data) end
          plain = plain and types ~= nil
          for name in pairs(types or {}) do selected[name] = true end
        end
      end
      for _, event_type in ipairs(plain and tree.sorted_keys(projection.types) or {}) do
        if not selected[event_type] then
          local message = "projection %s: its handler for %s is never called: none of its streams selects it"
          report(projection.types[event_type], message:format(projection.name, event_type))
        end
      end
    end

    local function add_projection(node, name, definition)
      local found = members(definition)
      if not found then return end
      local folds, complete, parts = folds_of(name, node, found)
      local projection = { name = name, node = node, folds = folds, parts = parts, complete = complete, types = {} }
      projection.view, projection.shape = found.view, found.shape
      for _, fold in ipairs(folds) do
        projection.complete = projection.complete and fold.complete
        for event_type, item in pairs(fold.handlers) do projection.types[event_type] = projection.types[event_type] or item end
      end
      declared.projections[name] = projection
      if found.by then check_by(projection, found.by) end
      if found.streams then check_streams(projection, found.streams) end
    end

    -- ---- Commands -----------------------------------------------------------------------------------------------------------

    local function check_use(command, view, use)
      local what = ("command %s: uses.%s"):format(command.name, view)
      local found = members(use.value)
      local name = resolve(found and found[1] and found[1].value or use.value)
      if name.kind == "string" and not declared.projections[name.value] and not declared.open.projection then
        report(use, ("%s: there is no projection \"%s\"%s"):format(what, name.value, hint(name.value, declared.projections)),
          command.node)
      end
      local id = found and found.id and resolve(found.id.value)
      if id and id.kind == "string" and command.args and not command.args[id.value] then
        report(found.id, ("%s: there is no argument \"%s\"%s"):format(what, id.value, hint(id.value, command.args)), command.node)
      end
    end

    local function add_command(node, name, definition)
      local found = members(definition)
      if not found then return end
      local uses, complete = {}, true
      if found.uses then uses, complete = members(found.uses.value) end
      local command = { name = name, node = node, args = {}, uses = complete and uses or nil, decide = found.decide }
      if found.args then command.args = fields_of(found.args.value) end
      declared.commands[name] = command
      for _, view in ipairs(tree.sorted_keys(uses or {})) do check_use(command, view, uses[view]) end
    end

    -- ---- All of them --------------------------------------------------------------------------------------------------------

    -- Whatever else is done with a word of declaration may declare anything, as may a file that could not be read.
    local function is_open(word)
      local open = files.incomplete
      for _, file in ipairs(files) do
        local written = {}
        tree.walk(file.tree, function(node)
          if tree.named(node, word) then written[node.callee.callee] = true end
        end)
        tree.walk(file.tree, function(node) open = open or tree.is_word(node, word) and not written[node] end)
      end
      return open
    end

    local function each(word, add)
      for _, file in ipairs(files) do
        tree.walk(file.tree, function(node)
          local name, definition = tree.named(node, word)
          if name and definition then add(node, name, definition) end
        end)
      end
    end

    declared.open = { event = is_open "event", projection = is_open "projection" }
    each("event", add_event)
    for _, file in ipairs(files) do add_reducers(file) end
    each("projection", add_projection)
    each("command", add_command)
    return declared
  end
end
