-- Words of Lua 5.4. Role: what parser.lua reads. The text was taken by Lua itself before, so nothing is checked a second time.
--
-- A word is its kind and its value: "name", "string" and "number" have one, a keyword or an operator is its own kind, "end of
-- text" comes last.

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

local OPERATORS = {} -- by length, the longest first
for word in ([[... << >> // == ~= <= >= :: .. + - * / % ^ # & ~ | < > = ( ) { } [ ] ; : , .]]):gmatch "%S+" do
  OPERATORS[#word] = OPERATORS[#word] or {}
  OPERATORS[#word][word] = true
end

local ESCAPES = { a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v" }

local function count_lines(text)
  local count = 0
  for pair in text:gsub("\r\n", "\n"):gsub("\n\r", "\n"):gmatch "[\r\n]" do count = count + #pair end
  return count
end

-- Answers a function that gives the next word: kind, value, line.
return function(source)
  local at, line = 1, 1

  -- The text of a long string or comment whose bracket begins here, or nil.
  local function long_bracket()
    local level = source:match("^%[(=*)%[", at)
    if not level then return nil end
    local from = at + #level + 2
    local to, after = source:find("]" .. level .. "]", from, true)
    local text = source:sub(from, to - 1)
    line = line + count_lines(text)
    at = after + 1
    return (text:gsub("^\r?\n", "", 1))
  end

  local function skip_space()
    while true do
      local space = source:match("^%s+", at)
      if space then
        at = at + #space
        line = line + count_lines(space)
      elseif source:find("^%-%-", at) then
        at = at + 2
        if not long_bracket() then at = source:find("[\r\n]", at) or #source + 1 end
      else
        return
      end
    end
  end

  -- After a backslash; answers what it stands for.
  local function escape()
    local sign = source:sub(at, at)
    local digits = source:match("^%d%d?%d?", at)
    local hexadecimal, code = source:match("^x(%x%x)", at), source:match("^u{(%x+)}", at)
    if digits then
      at = at + #digits
      return string.char(math.tointeger(digits))
    elseif hexadecimal then
      at = at + 3
      return string.char(tonumber(hexadecimal, 16))
    elseif code then
      at = at + 3 + #code
      return utf8.char(tonumber(code, 16))
    elseif sign == "z" then
      at = at + 1
      local space = source:match("^%s*", at)
      at = at + #space
      line = line + count_lines(space)
      return ""
    end
    local ending = source:match("^\r\n", at) or source:match("^\n\r", at) or sign
    at = at + #ending
    if ending:find "[\r\n]" then
      line = line + 1
      return "\n"
    end
    return ESCAPES[sign] or sign
  end

  local function quoted()
    local quote = source:sub(at, at)
    local parts = {}
    at = at + 1
    while true do
      local plain = source:match("^[^\\\"']+", at) or ""
      at = at + #plain
      parts[#parts + 1] = plain
      local sign = source:sub(at, at)
      at = at + 1
      if sign == quote or sign == "" then return table.concat(parts) end
      parts[#parts + 1] = sign == "\\" and escape() or sign
    end
  end

  local function number()
    local text = source:match("^0[xX][%x.]*[pP][+-]?%d+", at) or source:match("^0[xX][%x.]+", at)
      or source:match("^[%d.]+[eE][+-]?%d+", at) or source:match("^[%d.]+", at)
    at = at + #text
    return tonumber(text)
  end

  return function()
    skip_space()
    local begin = line
    if at > #source then return "end of text", nil, line end
    local name = source:match("^[%a_][%w_]*", at)
    if name then
      at = at + #name
      if KEYWORDS[name] then return name, nil, begin end
      return "name", name, begin
    end
    if source:find("^[\"']", at) then return "string", quoted(), begin end
    if source:find("^%.?%d", at) then return "number", number(), begin end
    local text = long_bracket()
    if text then return "string", text, begin end
    for length = 3, 1, -1 do
      local sign = source:sub(at, at + length - 1)
      if OPERATORS[length][sign] then
        at = at + length
        return sign, nil, begin
      end
    end
    error(("line %d: no word of Lua"):format(line), 0)
  end
end
