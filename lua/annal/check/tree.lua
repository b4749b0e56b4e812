-- Reading trees of scripts (parser.lua). Role: what the checks share: walking, and what an expression stands for where that is
-- plain.

local tree = {}

local NO_CHILDREN = { var = true, vars = true, params = true }

-- Calls visit(node) for the node and each one below it.
function tree.walk(node, visit)
  if node.kind then visit(node) end
  for key, child in pairs(node) do
    if type(child) == "table" and not NO_CHILDREN[key] then tree.walk(child, visit) end
  end
end

-- Whether the node is this word of the vocabulary, and no variable of that name.
function tree.is_word(node, word) return node.kind == "name" and node.global and node.name == word end

-- The table of `word { … }`, or nil.
function tree.table_of(node, word)
  if node.kind ~= "call" or not tree.is_word(node.callee, word) then return nil end
  local argument = node.arguments[1]
  return argument and argument.kind == "table" and argument or nil
end

-- The name and what follows it of `word "NAME" …`, or nil.
function tree.named(node, word)
  if node.kind ~= "call" or node.callee.kind ~= "call" or not tree.is_word(node.callee.callee, word) then return nil end
  local name = node.callee.arguments[1]
  if not name or name.kind ~= "string" or #node.callee.arguments > 1 then return nil end
  return name.value, node.arguments[1]
end

-- `included` by the name that include takes: { result = what the file returns, or nil }.
function tree.resolver(included)
  local resolver = {}

  -- What an expression stands for, through variables that are set once and files that are included; where that is not plain, the
  -- last expression that is. `alone`: nothing else can have changed the value on the way.
  function resolver.resolve(node)
    local alone = true
    for _ = 1, 50 do
      local next_node
      if node.kind == "name" and node.var and node.var.writes == 0 then
        next_node = node.var.value
        alone = alone and node.var.uses == 1
      elseif node.kind == "call" and tree.is_word(node.callee, "include") and node.arguments[1] then
        local file = node.arguments[1].kind == "string" and included[node.arguments[1].value]
        next_node = file and file.result
      end
      if not next_node then break end
      node = next_node
    end
    return node, alone
  end

  -- The members of a table that is written out: by key, { value, line, path }. `complete`: it has no others. `again`: the items
  -- whose key stands in it before them. Nil where there is no such table.
  function resolver.members(node)
    if not node then return nil end
    local table_node, complete = resolver.resolve(node)
    if table_node.kind ~= "table" then return nil end
    local members, again, place = {}, {}, 0
    for index, item in ipairs(table_node.items) do
      local key
      if not item.key then
        place = place + 1
        key = place
        local open = item.value.kind == "call" or item.value.kind == "method" or item.value.kind == "vararg"
        if open and index == #table_node.items then complete = false end
      else
        local key_node = resolver.resolve(item.key)
        if key_node.kind == "string" or math.type(key_node.value) == "integer" then key = key_node.value end
      end
      if key == nil then
        complete = false
      else
        if members[key] then again[#again + 1] = { key = key, line = item.line, path = table_node.path } end
        members[key] = { value = item.value, line = item.line, path = table_node.path }
      end
    end
    return members, complete, again
  end

  -- The expressions that a function can return, of those returns that have exactly one; `plain`: all have.
  function resolver.returned(fn)
    local list, plain = {}, true
    local function visit(node)
      if node.kind == "function" then return end
      if node.kind == "return" then
        if #node ~= 1 then plain = false end
        list[#list + 1] = #node == 1 and node[1] or nil
        return
      end
      for key, child in pairs(node) do
        if type(child) == "table" and not NO_CHILDREN[key] then visit(child) end
      end
    end
    visit(fn.body)
    return list, plain
  end

  return resolver
end

function tree.sorted_keys(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list, function(a, b) return tostring(a) < tostring(b) end)
  return list
end

return tree
