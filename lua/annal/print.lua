-- What people see: values, views, rows and events laid out for a terminal. Role: the command's output (src/cli/out.c) and the
-- REPL's (repl/session.lua) are made here, so that a value looks the same in both. Called with a host table:
--   width(code point) → columns, -1 for controls · is_array(table) · null · columns() of the terminal · colour
-- Nothing in here runs a metamethod of a value but __tostring and __name.

local DEPTH_MAX = 4 -- tables within tables that are laid out; deeper ones are shown in one line
local INLINE_DEPTH_MAX = 4
local ROWS_MAX = 200 -- of one list or table; the rest is counted
local CELL_MAX = 40 -- columns that one cell may take where others need room too
local TEXT_MAX = 2000 -- characters of one string
local GAP = "  "
local INDENT = "  " -- of an event below the one that caused it
local DEPTH_SHOWN = 12 -- deeper ones stand no further to the right

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

return function(host)
  local null, is_array = host.null, host.is_array

  -- ---- Characters -----------------------------------------------------------------------------------------------------

  -- Direction marks could make a line read other than it is.
  local function is_hidden(code)
    return host.width(code) < 0 or code >= 0x200B and code <= 0x200F or code >= 0x202A and code <= 0x202E
      or code >= 0x2066 and code <= 0x2069 or code == 0xFEFF
  end

  local named = { [9] = "\\t", [10] = "\\n", [13] = "\\r" }

  -- Makes any bytes safe for a terminal, in one line: what does not print is escaped as in Lua.
  local function clean(text)
    if not text:find "[^\32-\126]" then return text end
    if not utf8.len(text) then
      return (text:gsub("[^\32-\126]", function(byte) return named[byte:byte()] or ("\\x%02X"):format(byte:byte()) end))
    end
    return (text:gsub(utf8.charpattern, function(character)
      local code = utf8.codepoint(character)
      if code >= 32 and code < 127 then return end
      if is_hidden(code) then return named[code] or ("\\u{%X}"):format(code) end
    end))
  end

  local function width(text)
    if not text:find "[^\32-\126]" then return #text end
    local columns = 0
    for _, code in utf8.codes(text) do columns = columns + math.max(host.width(code), 0) end
    return columns
  end

  -- At most `columns` columns of it; "…" says that there was more.
  local function clip(text, columns)
    if width(text) <= columns then return text end
    local used, stop = 1, 1
    for at, code in utf8.codes(text) do
      stop = at
      used = used + math.max(host.width(code), 0)
      if used > columns then break end
    end
    return text:sub(1, stop - 1) .. "…"
  end

  local function pad(text, columns, right)
    local space = (" "):rep(columns - width(text))
    return right and space .. text or text .. space
  end

  local function paint(text, code) return host.colour and text ~= "" and "\27[" .. code .. "m" .. text .. "\27[0m" or text end
  local function dim(text) return paint(text, "2") end
  local function bold(text) return paint(text, "1") end

  -- ---- Values in one line ---------------------------------------------------------------------------------------------

  local function number(value)
    if math.type(value) == "integer" then return ("%d"):format(value) end
    if value ~= value then return "nan" end
    if value == math.huge or value == -math.huge then return value > 0 and "inf" or "-inf" end
    local text
    for digits = 15, 17 do
      text = ("%%.%dg"):format(digits):format(value)
      if tonumber(text) == value then break end
    end
    return text:find "[.en]" and text or text .. ".0"
  end

  local function quoted(text)
    local more = utf8.len(text) and utf8.offset(text, TEXT_MAX + 1)
    if more and more <= #text then text = text:sub(1, more - 1) .. "…" end
    return '"' .. clean((text:gsub('[\\"]', "\\%0"))) .. '"'
  end

  -- Numbers before strings before the rest; each by value. The same table prints the same way every time.
  local function sorted_keys(value)
    local keys = {}
    for key in next, value do keys[#keys + 1] = key end
    local rank = { number = 1, string = 2 }
    table.sort(keys, function(a, b)
      local left, right = rank[type(a)] or 3, rank[type(b)] or 3
      if left ~= right then return left < right end
      if left == 3 then return tostring(a) < tostring(b) end
      return a < b
    end)
    return keys
  end

  -- Whether it is a list: marked as one, or keys 1 to n and nothing else.
  local function list_size(value)
    if is_array(value) then return rawlen(value) end
    local count = 0
    for _ in next, value do count = count + 1 end
    if count == 0 then return nil end
    for i = 1, count do
      if rawget(value, i) == nil then return nil end
    end
    return count
  end

  local inline

  local function key_text(key)
    if type(key) ~= "string" then return "[" .. inline(key, 1, {}) .. "]" end
    if key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then return key end
    return "[" .. quoted(key) .. "]"
  end

  local function inline_table(value, depth, path)
    local size = list_size(value)
    if size == 0 then return "array {}" end
    if next(value) == nil then return "{}" end
    if path[value] then return "<cycle>" end
    if depth > INLINE_DEPTH_MAX then return "{…}" end
    path[value] = true
    local parts = {}
    if size then
      for i = 1, math.min(size, ROWS_MAX) do parts[i] = inline(rawget(value, i), depth + 1, path) end
      if size > ROWS_MAX then parts[#parts + 1] = ("… %d more"):format(size - ROWS_MAX) end
    else
      local keys = sorted_keys(value)
      for i = 1, math.min(#keys, ROWS_MAX) do
        parts[i] = key_text(keys[i]) .. " = " .. inline(rawget(value, keys[i]), depth + 1, path)
      end
      if #keys > ROWS_MAX then parts[#parts + 1] = ("… %d more"):format(#keys - ROWS_MAX) end
    end
    path[value] = nil
    return "{ " .. table.concat(parts, ", ") .. " }"
  end

  -- An object with a __tostring of its own speaks for itself.
  local function speaks(value)
    local meta = debug.getmetatable(value)
    return type(meta) == "table" and rawget(meta, "__tostring") ~= nil
  end

  function inline(value, depth, path)
    local kind = type(value)
    if value == null then return "null" end
    if kind == "string" then return quoted(value) end
    if kind == "number" then return number(value) end
    if kind == "table" and (is_array(value) or not speaks(value)) then return inline_table(value, depth, path) end
    return clean(tostring(value))
  end

  -- A string in a cell needs no quotes unless it could be taken for something else.
  local function cell(value)
    if value == nil then return "" end
    if type(value) ~= "string" then return inline(value, 1, {}) end
    local plain = value ~= "" and not value:find "^%s" and not value:find "%s$" and not tonumber(value) and value ~= "true"
      and value ~= "false" and value ~= "null" and value ~= "nil" and not value:find '^["{]' and #value <= TEXT_MAX
    return plain and clean(value) or quoted(value)
  end

  -- ---- Tables ---------------------------------------------------------------------------------------------------------

  -- Takes room from the widest columns until the line fits.
  local function shrink(widths, room)
    local total = 0
    for _, columns in ipairs(widths) do total = total + columns + #GAP end
    while total - #GAP > room do
      local widest = 1
      for i, columns in ipairs(widths) do
        if columns > widths[widest] then widest = i end
      end
      if widths[widest] <= 6 then return end
      widths[widest] = widths[widest] - 1
      total = total - 1
    end
  end

  -- rows: lists of cells as text, with `right[i]` where a column is of numbers. Answers lines, the head first where there is one.
  local function grid(head, rows, right, room)
    local widths, lines = {}, {}
    for _, row in ipairs { head or {}, table.unpack(rows) } do
      for i, text in ipairs(row) do widths[i] = math.max(widths[i] or 0, width(text)) end
    end
    shrink(widths, room)
    local function line(row, style)
      local parts = {}
      for i, columns in ipairs(widths) do
        local text = pad(clip(row[i] or "", columns), columns, right[i])
        parts[i] = style and style(text) or text
      end
      return (table.concat(parts, GAP):gsub("%s+$", ""))
    end
    if head then lines[1] = line(head, bold) end
    for _, row in ipairs(rows) do lines[#lines + 1] = line(row) end
    return lines
  end

  -- A list of objects as a table: a column for each field that one of them has.
  local function records(list, size, names, room)
    local rows, right = {}, {}
    for i, name in ipairs(names) do
      right[i] = true
      for k = 1, math.min(size, ROWS_MAX) do
        local value = rawget(rawget(list, k), name)
        if value ~= nil and value ~= null and type(value) ~= "number" then right[i] = false end
      end
    end
    for k = 1, math.min(size, ROWS_MAX) do
      rows[k] = {}
      for i, name in ipairs(names) do
        local text = cell(rawget(rawget(list, k), name))
        rows[k][i] = #names > 1 and clip(text, math.max(CELL_MAX, room // #names)) or text
      end
    end
    local head = {}
    for i, name in ipairs(names) do head[i] = clean(name) end
    local lines = grid(head, rows, right, room)
    if size > ROWS_MAX then lines[#lines + 1] = dim(("… %d more"):format(size - ROWS_MAX)) end
    return lines
  end

  -- The names of all fields, sorted, where every element is a non-empty object and one line has room for them; else nil.
  local function record_names(list, size, room)
    local seen, names = {}, {}
    for k = 1, math.min(size, ROWS_MAX) do
      local element = rawget(list, k)
      if type(element) ~= "table" or speaks(element) or list_size(element) or next(element) == nil then return nil end
      for name in next, element do
        if type(name) ~= "string" then return nil end
        if not seen[name] then
          seen[name] = true
          names[#names + 1] = name
        end
      end
    end
    if #names * (6 + #GAP) > room then return nil end
    table.sort(names)
    return names
  end

  -- ---- Values in several lines ----------------------------------------------------------------------------------------

  local block

  local function list_block(value, size, depth, path, room)
    local names = size > 0 and record_names(value, size, room)
    if names then return records(value, size, names, room) end
    local nested, lines = false, {}
    for i = 1, math.min(size, ROWS_MAX) do nested = nested or type(rawget(value, i)) == "table" end
    for i = 1, math.min(size, ROWS_MAX) do
      local label = ("[%d] "):format(i)
      local inner = nested and block(rawget(value, i), depth + 1, path, room - #label) or { inline(rawget(value, i), 1, path) }
      for k, text in ipairs(inner) do lines[#lines + 1] = (k == 1 and dim(label) or (" "):rep(#label)) .. text end
    end
    if size > ROWS_MAX then lines[#lines + 1] = dim(("… %d more"):format(size - ROWS_MAX)) end
    return lines
  end

  local function map_block(value, depth, path, room)
    local keys, labels, widest, lines = sorted_keys(value), {}, 0, {}
    local shown = math.min(#keys, ROWS_MAX)
    for i = 1, shown do
      labels[i] = clip(type(keys[i]) == "string" and clean(keys[i]) or key_text(keys[i]), CELL_MAX)
      widest = math.max(widest, width(labels[i]))
    end
    local margin = (" "):rep(widest + #GAP)
    for i = 1, shown do
      local inner = block(rawget(value, keys[i]), depth + 1, path, math.max(room - #margin, 20))
      for k, text in ipairs(inner) do lines[#lines + 1] = (k == 1 and bold(pad(labels[i], widest)) .. GAP or margin) .. text end
    end
    if #keys > ROWS_MAX then lines[#lines + 1] = dim(("… %d more"):format(#keys - ROWS_MAX)) end
    return lines
  end

  function block(value, depth, path, room)
    if type(value) ~= "table" or (speaks(value) and not is_array(value)) then
      if depth > 1 and type(value) == "string" then return { clip(cell(value), room) } end
      local text = inline(value, 1, path)
      return { depth > 1 and clip(text, room) or text }
    end
    local size = list_size(value)
    local one_line = inline(value, 1, path)
    local as_table = size and size > 0 and record_names(value, size, room)
    local fits = not as_table and (size or depth > 1) and width(one_line) <= room
    if fits or depth > DEPTH_MAX or size == 0 or next(value) == nil or path[value] then return { clip(one_line, room) } end
    path[value] = true
    local lines = size and list_block(value, size, depth, path, room) or map_block(value, depth, path, room)
    path[value] = nil
    return lines
  end

  local function value_text(value) return table.concat(block(value, 1, {}, host.columns()), "\n") .. "\n" end

  -- ---- Rows and events ------------------------------------------------------------------------------------------------

  -- Saved views: one row each, a column for each field of the views.
  local function rows_text(rows)
    if #rows == 0 then return "no rows\n" end
    local seen, names, list, right = {}, {}, {}, {}
    local same_id = true -- views often repeat their id
    for _, row in ipairs(rows) do same_id = same_id and row.data.id == row.id end
    seen.id = same_id
    for _, row in ipairs(rows) do
      for name in pairs(row.data) do
        if not seen[name] then
          seen[name] = true
          names[#names + 1] = name
        end
      end
    end
    table.sort(names)
    for i, name in ipairs(names) do
      right[i + 1] = true
      for _, row in ipairs(rows) do
        local value = row.data[name]
        if value ~= nil and value ~= null and type(value) ~= "number" then right[i + 1] = false end
      end
    end
    for k, row in ipairs(rows) do
      list[k] = { cell(row.id) }
      for i, name in ipairs(names) do list[k][i + 1] = clip(cell(row.data[name]), CELL_MAX) end
      list[k][#names + 2] = number(row.position) .. (row.stale and " stale" or "")
    end
    local head = { "id" }
    for i, name in ipairs(names) do head[i + 1] = clean(name) end
    head[#names + 2] = "position"
    right[#names + 2] = true
    return table.concat(grid(head, list, right, host.columns()), "\n") .. "\n"
  end

  -- How sets of rows stand: one line each, and below them what is parked.
  local function stats_text(stats)
    if #stats.sets == 0 then return "nothing is kept\n" end
    local head = { "projection", "by code", "rows", "position", "behind", "seconds", "events/s", "parked", "" }
    local right = { false, false, true, true, true, true, true, true, false }
    local list, problems = {}, {}
    local function figure(value, form) return value == null and "" or form and form:format(value) or number(value) end
    for k, set in ipairs(stats.sets) do
      local words = {}
      if set.served then words[#words + 1] = "served" end
      if set.wanted and not set.served then words[#words + 1] = "wanted" end
      list[k] = {
        clean(set.type), clean(set.fingerprint):sub(1, 8), number(set.rows), figure(set.position), figure(set.lag_events),
        figure(set.lag_seconds, "%.1f"), figure(set.rate, "%.0f"), number(set.parked), table.concat(words, " "),
      }
      for _, problem in ipairs(set.problems) do problems[#problems + 1] = problem.error end
      if set.parked > #set.problems then problems[#problems + 1] = ("… %d more"):format(set.parked - #set.problems) end
    end
    local lines = grid(head, list, right, host.columns())
    for _, problem in ipairs(problems) do lines[#lines + 1] = paint(clean(problem), "31") end
    return table.concat(lines, "\n") .. "\n"
  end

  -- Columns of events only grow, from one piece of the log to the next, so that the lines of a long one stay aligned.
  local widths
  local ID_FROM = 110 -- columns of a terminal that has room for ids beside the data

  local function events_text(events)
    local with_id = host.columns() >= ID_FROM
    local lines, cells = {}, {}
    if #events == 0 then return "no events\n" end
    local head = { "position", "created_at", "type", with_id and "id" or nil }
    local first = not widths
    if first then
      widths = {}
      for i, text in ipairs(head) do widths[i] = #text end
    end
    for k, event in ipairs(events) do
      local time = event.created_at and event.created_at:gsub("T", " "):sub(1, 19) or ""
      local position = event.position and number(event.position) or "staged"
      cells[k] = { position, time, (event.indent or "") .. clean(event.type), with_id and clean(event.id or "") or nil }
      for i, text in ipairs(cells[k]) do widths[i] = math.min(math.max(widths[i], width(text)), i == 1 and 20 or CELL_MAX) end
    end
    local used = 0
    for _, columns in ipairs(widths) do used = used + columns + #GAP end
    local function line(row, data, style)
      local parts = {}
      for i, columns in ipairs(widths) do
        local text = pad(clip(row[i], columns), columns, i == 1)
        parts[i] = style and style(text) or i == 2 and dim(text) or text
      end
      parts[#parts + 1] = style and style(data) or data
      return table.concat(parts, GAP)
    end
    if first then lines[1] = line(head, "data", bold) end
    for k, event in ipairs(events) do
      local data = inline(event.data, 1, {})
      if event.metadata and event.metadata ~= null then data = data .. " · metadata " .. inline(event.metadata, 1, {}) end
      lines[#lines + 1] = line(cells[k], clip(data, math.max(host.columns() - used, 20)))
    end
    return table.concat(lines, "\n") .. "\n"
  end

  -- The events of one correlation as the tree of what caused what: each below the event that its metadata call its cause, further
  -- to the right; where that is not among them it begins a tree of its own.
  local function tree_text(events)
    local place_of, children, roots, list = {}, {}, {}, {}
    for place, event in ipairs(events) do place_of[event.id], children[place] = place, {} end
    for place, event in ipairs(events) do
      local metadata = type(event.metadata) == "table" and event.metadata or {}
      local cause = place_of[metadata.causation_id]
      table.insert(cause and cause ~= place and children[cause] or roots, place)
    end
    local seen = {}
    local function add(root)
      local stack = { { place = root, depth = 0 } } -- not by recursion: a chain may be long
      while #stack > 0 do
        local at = table.remove(stack)
        if not seen[at.place] then
          seen[at.place] = true
          local event = events[at.place]
          event.indent = (INDENT):rep(math.min(at.depth, DEPTH_SHOWN))
          list[#list + 1] = event
          local below = children[at.place]
          for i = #below, 1, -1 do table.insert(stack, { place = below[i], depth = at.depth + 1 }) end
        end
      end
    end
    for _, root in ipairs(roots) do add(root) end
    for place in ipairs(events) do add(place) end -- what says that it caused itself, by a detour
    return events_text(list)
  end

  return {
    value = value_text, -- any value, as text that ends in a newline
    view = value_text,
    stats = stats_text, -- what annal_stats says
    rows = rows_text, -- a list of { id, data, position, stale }
    events = events_text, -- a list of events; the head comes once
    tree = tree_text, -- the same, of one correlation
    new_table = function() widths = nil end, -- the next events get a head again
    inline = function(value) return inline(value, 1, {}) end,
    clean = clean,
    clip = clip,
    width = width,
    error = function(text) return paint(text, "31") end,
  }
end
