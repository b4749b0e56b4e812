-- Completion at the prompt. Role: what TAB offers; session.lua hands the host's lists in.
--   env · get_local(name) · each_local() · names() → { events, projections, commands, identifiers } · ids(projection) → list
--   · commands, those of the prompt itself
-- Answers a function: line up to the cursor → the word being written, list of what it could become. Nothing that is looked at is
-- called and no metamethod runs: TAB must not change or read anything but names.

local WORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do
  WORDS[#WORDS + 1] = word
end

return function(host)
  local function starting_with(prefix, list)
    local found, seen = {}, {}
    for _, name in ipairs(list) do
      if type(name) == "string" and name:sub(1, #prefix) == prefix and not seen[name] then
        seen[name] = true
        found[#found + 1] = name
      end
    end
    table.sort(found)
    return found
  end

  local function keys_of(value, into)
    if type(value) ~= "table" then return end
    for key in next, value do
      if type(key) == "string" and key:find "^[%a_][%w_]*$" then into[#into + 1] = key end
    end
  end

  -- What an object of C's offers stands in its metatable's `methods`; a string's in its __index.
  local function methods_of(value)
    local meta, names = debug.getmetatable(value), {}
    if type(meta) ~= "table" then return names end
    keys_of(rawget(meta, "methods"), names)
    keys_of(rawget(meta, "__index"), names)
    return names
  end

  local function lookup(path)
    local value
    for name, first in path:gmatch "([%a_][%w_]*)()" do
      if first == #name + 1 then
        value = host.get_local(name)
        if value == nil then value = rawget(host.env, name) end
      elseif type(value) == "table" then
        value = rawget(value, name)
      else
        return nil
      end
    end
    return value
  end

  -- The quote that is open at the end of the line, and what stands before it.
  local function open_string(line)
    local quote, from = nil, nil
    local at = 1
    while at <= #line do
      local byte = line:sub(at, at)
      if quote and byte == "\\" then
        at = at + 1
      elseif byte == quote then
        quote = nil
      elseif not quote and (byte == '"' or byte == "'") then
        quote, from = byte, at
      end
      at = at + 1
    end
    if quote then return line:sub(from + 1), line:sub(1, from - 1) end
    return nil
  end

  -- In a string: the names of commands where one is called; after the name of a projection, the ids of its instances; else the
  -- types of events and projections.
  local function complete_string(prefix, before)
    local names = host.names()
    if before:find "[:.]%s*call%s*%(?%s*$" then return starting_with(prefix, names.commands) end
    local projection = before:match "[\"']([^\"']*)[\"']%s*,%s*$"
    for _, name in ipairs(names.projections) do
      if name == projection then return starting_with(prefix, host.ids(name)) end
    end
    local list = {}
    table.move(names.events, 1, #names.events, 1, list)
    table.move(names.projections, 1, #names.projections, #list + 1, list)
    return starting_with(prefix, list)
  end

  local function complete_word(prefix, line)
    local list = { table.unpack(WORDS) }
    keys_of(host.env, list)
    for name in host.each_local() do list[#list + 1] = name end
    if line:find "{[^}]*$" then
      local identifiers = host.names().identifiers
      table.move(identifiers, 1, #identifiers, #list + 1, list)
    end
    return starting_with(prefix, list)
  end

  return function(line)
    local command = line:match "^%s*:(%a*)$"
    if command then
      local list = {}
      keys_of(host.commands, list)
      return command, starting_with(command, list)
    end
    local prefix, before = open_string(line)
    if prefix then return prefix, complete_string(prefix, before) end
    local path, separator, member = line:match "([%a_][%w_%.]*)([.:])([%a_]?[%w_]*)$"
    if path then
      local value, list = lookup(path), {}
      if separator == "." then keys_of(value, list) end
      if value ~= nil then table.move(methods_of(value), 1, #methods_of(value), #list + 1, list) end
      if separator == ":" and type(value) == "table" then
        for key, field in next, value do
          if type(key) == "string" and type(field) == "function" then list[#list + 1] = key end
        end
      end
      return member, starting_with(member, list)
    end
    local word = line:match "[%a_][%w_]*$" or ""
    if word == "" then return "", {} end
    return word, complete_word(word, line)
  end
end
