-- Lines of a prompt as chunks of one long program: locals of one chunk are seen by the next. Role: the REPL's evaluator.
--
-- Each top-level `local` stays a real local. The chunk's text is run as the body of a function; behind each top-level declaration
-- a call is put that hands out a closure over the new variables. A later chunk that uses the name gets a local of that name
-- outside of its own function, and debug.upvaluejoin makes the two one variable. So closures made earlier keep the variable they
-- closed over, a second `local x` is a second x, and `x <const>` cannot be assigned to. `x <close>` lives as long as the session:
-- it is compiled as <const>, and closed when the session ends, the last one first.

local MARK = "annal_declare_" -- the name by which a chunk calls back; nobody's own

-- ---- Words of Lua ----------------------------------------------------------------------------------------------------

local OPENS = { ["function"] = true, ["if"] = true, ["do"] = true, ["repeat"] = true }
local CLOSES = { ["end"] = true, ["until"] = true }
local UNARY = { ["not"] = true, ["-"] = true, ["#"] = true, ["~"] = true }
local BINARY = { ["and"] = true, ["or"] = true }
for operator in ("+ - * / // % ^ & | ~ << >> .. == ~= < > <= >="):gmatch "%S+" do BINARY[operator] = true end
local CLOSING = { ["("] = ")", ["["] = "]", ["{"] = "}" }

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

-- Behind the long bracket that opens at `at` ("[[", "[==["); nil where none opens.
local function long_end(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, stop = text:find("]" .. level .. "]", at, true)
  return stop and stop + 1
end

local function quoted_end(text, at)
  local quote = text:sub(at, at)
  at = at + 1
  while at <= #text do
    local byte = text:sub(at, at)
    if byte == quote then return at + 1 end
    at = at + (byte == "\\" and 2 or 1)
  end
  return #text + 1
end

local LONG_OPERATORS = { ["..."] = true }
for operator in (".. == ~= <= >= // << >> ::"):gmatch "%S+" do LONG_OPERATORS[operator] = true end

-- The words of a text that Lua has found to be a chunk: { kind, text, first, last }; kind is "name", "keyword", "string",
-- "number" or "operator".
local function words_of(text)
  local words, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then return words end
    local first, kind = at, nil
    if text:find("^%-%-", at) then
      at = long_end(text, at + 2) or text:find("\n", at, true) or #text + 1
    elseif text:find("^[%a_]", at) then
      at = select(2, text:find("^[%w_]+", at)) + 1
      kind = KEYWORDS[text:sub(first, at - 1)] and "keyword" or "name"
    elseif text:find("^%.?%d", at) then
      local signed = text:find("^0[xX]", at) and "^[pP][+-]" or "^[eE][+-]"
      repeat
        at = at + (text:find(signed, at) and 2 or 1)
      until not text:find("^[%w%.]", at)
      kind = "number"
    elseif text:find("^[\"']", at) then
      at, kind = quoted_end(text, at), "string"
    elseif long_end(text, at) then
      at, kind = long_end(text, at), "string"
    else
      kind = "operator"
      if LONG_OPERATORS[text:sub(at, at + 2)] then
        at = at + 3
      elseif LONG_OPERATORS[text:sub(at, at + 1)] then
        at = at + 2
      else
        at = at + 1
      end
    end
    if kind then words[#words + 1] = { kind = kind, text = text:sub(first, at - 1), first = first, last = at - 1 } end
  end
end

-- ---- Where declarations end --------------------------------------------------------------------------------------------

-- These walk over words of a valid chunk; `i` is the index of a word, and each answers the index behind what it walked over.

local function is(words, i, text) return words[i] and words[i].kind ~= "string" and words[i].text == text end

local function skip_brackets(words, i)
  local open, close, depth = words[i].text, CLOSING[words[i].text], 0
  repeat
    if is(words, i, open) then depth = depth + 1 end
    if is(words, i, close) then depth = depth - 1 end
    i = i + 1
  until depth == 0 or not words[i]
  return i
end

-- From the word that opens a block (function, if, do, repeat) to behind its `end`. What `until` closes goes on with an
-- expression, but no expression holds a repeat without a function around it.
local function skip_block(words, i)
  local depth = 0
  repeat
    if words[i].kind == "keyword" then
      if OPENS[words[i].text] then depth = depth + 1 end
      if CLOSES[words[i].text] then depth = depth - 1 end
    end
    i = i + 1
  until depth == 0 or not words[i]
  return i
end

-- A value with all that hangs on it: a.b[c]:d "e" { f } (g)
local function skip_value(words, i)
  while words[i] and UNARY[words[i].text] and words[i].kind ~= "string" do i = i + 1 end
  local word = words[i]
  if is(words, i, "function") then return skip_block(words, i) end
  local prefix = word.kind == "name" or is(words, i, "(")
  i = (word.kind ~= "string" and CLOSING[word.text]) and skip_brackets(words, i) or i + 1
  while prefix and words[i] do
    if words[i].kind == "string" then
      i = i + 1
    elseif is(words, i, ".") or is(words, i, ":") then
      i = i + 2
    elseif CLOSING[words[i].text] then
      i = skip_brackets(words, i)
    else
      break
    end
  end
  return i
end

local function skip_expressions(words, i)
  while true do
    i = skip_value(words, i)
    while words[i] and words[i].kind ~= "string" and BINARY[words[i].text] do i = skip_value(words, i + 1) end
    if not is(words, i, ",") then return i end
    i = i + 1
  end
end

-- `local a <const>, b = …` from the word behind `local`: the names, the words of their attributes, the index behind it all.
local function read_declaration(words, i)
  local names, attributes = {}, {}
  repeat
    if is(words, i, ",") then i = i + 1 end
    names[#names + 1] = words[i].text
    i = i + 1
    if is(words, i, "<") then
      attributes[#names] = words[i + 1]
      i = i + 3
    end
  until not is(words, i, ",")
  if is(words, i, "=") then i = skip_expressions(words, i + 1) end
  return names, attributes, i
end

-- ---- Rewriting ---------------------------------------------------------------------------------------------------------

-- The call put behind a declaration: it hands over each variable by a closure, its value, and how it may be used.
local function declare_call(names, attributes)
  local parts = {}
  for i, name in ipairs(names) do
    local attribute = attributes[i] and attributes[i].text or ""
    parts[i] = ("%q,function() return %s end,%s,%q"):format(name, name, name, attribute)
  end
  return " " .. MARK .. "(" .. table.concat(parts, ",") .. ");"
end

-- The chunk with such calls put in, and <close> written as <const> (as many letters, so that nothing moves).
local function rewrite(text, words)
  local pieces, from, depth, i = {}, 1, 0, 1
  local function put(behind, call)
    pieces[#pieces + 1] = text:sub(from, words[behind].last) .. call
    from = words[behind].last + 1
  end
  while words[i] do
    local word = words[i]
    if depth == 0 and word.kind == "keyword" and word.text == "local" then
      if is(words, i + 1, "function") then
        local name = words[i + 2].text
        i = skip_block(words, i + 1)
        put(i - 1, declare_call({ name }, {}))
      else
        local names, attributes, behind = read_declaration(words, i + 1)
        for k = 1, #names do
          local attribute = attributes[k]
          if attribute and attribute.text == "close" then
            pieces[#pieces + 1] = text:sub(from, attribute.first - 1) .. "const"
            from = attribute.last + 1
          end
        end
        put(behind - 1, declare_call(names, attributes))
        i = behind
      end
    else
      if word.kind == "keyword" and OPENS[word.text] then depth = depth + 1 end
      if word.kind == "keyword" and CLOSES[word.text] then depth = depth - 1 end
      i = i + 1
    end
  end
  return table.concat(pieces) .. text:sub(from)
end

-- ---- The program so far -------------------------------------------------------------------------------------------------

local Program = {}
Program.__index = Program

local function unfinished(message) return message:sub(-5) == "<eof>" end

-- "expression", "statement", or nil with "unfinished" or the message of what is wrong.
local function parse(text, name)
  local expression, why_not = load("return " .. text .. "\n", name, "t", {})
  if expression and text:find "%S" then return "expression" end
  local statement, message = load(text .. "\n", name, "t", {})
  if statement then return "statement" end
  if unfinished(message) or why_not and unfinished(why_not) then return nil, "unfinished" end
  return nil, message
end

local function closable(value)
  if value == nil or value == false then return true end
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and meta.__close ~= nil
end

-- Keeps one variable. Lua folds a <const> of a plain number or string into the code: there is no variable then, only its value.
function Program:keep(name, closure, value, attribute)
  if attribute == "close" then
    if not closable(value) then error(("variable '%s' got a non-closable value"):format(name), 0) end
    if value then self.to_close[#self.to_close + 1] = value end
  end
  if not debug.getupvalue(closure, 1) then
    closure = function() return value end
  end
  self.locals[name] = { closure = closure, constant = attribute ~= "" }
end

-- Compiles one chunk: its function, or nil, "unfinished"; or nil, nil, message.
function Program:compile(text)
  local kind, message = parse(text, self.name)
  if not kind then
    if message == "unfinished" then return nil, message end
    return nil, nil, message
  end
  local words = words_of(text)
  local body = kind == "expression" and "return " .. text or rewrite(text, words)
  local used, head = {}, { MARK }
  local function use(name)
    local variable = self.locals[name]
    if not variable or used[name] then return end
    used[name] = variable
    head[#head + 1] = name .. (variable.constant and " <const>" or "")
  end
  for _, word in ipairs(words) do
    if word.kind == "name" then use(word.text) end
  end
  use "_ENV" -- every global name is a use of it
  local source = ("local %s = ...; return function(...) %s\nend"):format(table.concat(head, ", "), body)
  local outer, wrong = load(source, self.name, "t", self.env)
  if not outer then return nil, nil, wrong end
  local chunk = outer(function(...)
    local list = table.pack(...)
    for i = 1, list.n, 4 do self:keep(table.unpack(list, i, i + 3)) end
  end)
  for i = 1, math.huge do
    local name = debug.getupvalue(chunk, i)
    if not name then break end
    if used[name] then debug.upvaluejoin(chunk, i, used[name].closure, 1) end
  end
  return chunk
end

-- The value of a local, for completion.
function Program:get(name)
  local variable = self.locals[name]
  if variable then return variable.closure() end
  return nil
end

-- Ends the session: closes what was declared <close>, the last one first; an error of one does not keep the others open.
function Program:close(on_error)
  for i = #self.to_close, 1, -1 do
    local value = self.to_close[i]
    self.to_close[i] = nil
    local ok, message = pcall(function() debug.getmetatable(value).__close(value, nil) end)
    if not ok then on_error(message) end
  end
end

-- A program that runs in `env`; `name` stands in messages ("repl:1: …").
return function(env, name)
  return setmetatable({ env = env, name = "=" .. name, locals = {}, to_close = {} }, Program)
end
