-- Lua 5.4 as a tree. Role: what check.lua looks at instead of running scripts. What the text means is kept, how it is written is
-- not: of names it is known which variable they are.
--
-- A node is a table with `kind`, `line` and `path`. Expressions:
--   nil true false vararg · number, string { value } · name { name, var | global } · index { object, key | field }
--   call { callee, arguments } · method { object, name, arguments } · function { params, body }
--   table { items { key?, value, line } } · operator { operator, operands … }
-- and statements:
--   block { statements … } · local { vars, values } · assign { targets, values } · return { values … } · other { … }
-- `field` is a key that is written out. What is assigned to is marked `target`.
-- A variable: { name, line, value (of a local that is declared with it), writes (beyond that), uses }.

-- Left and right priority.
local BINARY = {}
for priority, operators in pairs {
  [1] = "or", [2] = "and", [3] = "< > <= >= ~= ==", [4] = "|", [5] = "~", [6] = "&", [7] = "<< >>", [10] = "+ -",
  [11] = "* / // %",
} do
  for operator in operators:gmatch "%S+" do BINARY[operator] = { priority, priority } end
end
BINARY[".."], BINARY["^"] = { 9, 8 }, { 14, 13 }
local UNARY_PRIORITY = 12
local UNARY = { ["not"] = true, ["-"] = true, ["#"] = true, ["~"] = true }

local BLOCK_ENDS = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true, ["end of text"] = true }

local Parser = {}
Parser.__index = Parser

-- ---- Words ------------------------------------------------------------------------------------------------------------------

function Parser:advance()
  local kind, value, line = self.kind, self.value, self.line
  self.last_line = line
  if self.ahead then
    self.kind, self.value, self.line = table.unpack(self.ahead, 1, 3)
    self.ahead = nil
  else
    self.kind, self.value, self.line = self.next_word()
  end
  return value, line, kind
end

function Parser:peek()
  if not self.ahead then self.ahead = table.pack(self.next_word()) end
  return self.ahead[1]
end

function Parser:accept(kind)
  if self.kind ~= kind then return false end
  self:advance()
  return true
end

function Parser:expect(kind)
  if self.kind ~= kind then error(("line %d: %s was expected, not %s"):format(self.line, kind, self.kind), 0) end
  return self:advance()
end

function Parser:node(kind, line, node)
  node = node or {}
  node.kind, node.line, node.path = kind, line or self.line, self.path
  return node
end

-- ---- Variables --------------------------------------------------------------------------------------------------------------

function Parser:open() self.scope = { outer = self.scope, vars = {} } end
function Parser:close() self.scope = self.scope.outer end

function Parser:declare(name, line)
  local var = { name = name, line = line, writes = 0, uses = 0 }
  self.scope.vars[name] = var
  return var
end

function Parser:find(name)
  local scope = self.scope
  while scope do
    if scope.vars[name] then return scope.vars[name] end
    scope = scope.outer
  end
end

-- A name that is no variable is a global one, unless the file looks its names up in a table of its own.
function Parser:name()
  local name, line = self:expect "name"
  local node = self:node("name", line, { name = name, var = self:find(name) })
  if node.var then node.var.uses = node.var.uses + 1
  else node.global = not self:find "_ENV" and name ~= "_ENV"
  end
  return node
end

-- ---- Expressions ------------------------------------------------------------------------------------------------------------

function Parser:table()
  local node = self:node("table", self.line, { items = {} })
  self:expect "{"
  while self.kind ~= "}" do
    local item = { line = self.line }
    if self:accept "[" then
      item.key = self:expression()
      self:expect "]"
      self:expect "="
    elseif self.kind == "name" and self:peek() == "=" then
      local name, line = self:advance()
      item.key = self:node("string", line, { value = name })
      self:expect "="
    end
    item.value = self:expression()
    node.items[#node.items + 1] = item
    if not self:accept "," and not self:accept ";" then break end
  end
  self:expect "}"
  return node
end

-- From its parameters on.
function Parser:body(line, with_self)
  local node = self:node("function", line, { params = {} })
  self:open()
  if with_self then node.params[1] = self:declare("self", line) end
  self:expect "("
  while self.kind ~= ")" do
    if self:accept "..." then break end
    local name, at = self:expect "name"
    node.params[#node.params + 1] = self:declare(name, at)
    if not self:accept "," then break end
  end
  self:expect ")"
  node.body = self:block()
  self:expect "end"
  self:close()
  return node
end

function Parser:arguments()
  if self.kind == "string" then return { self:simple() } end
  if self.kind == "{" then return { self:table() } end
  self:expect "("
  local list = self.kind ~= ")" and self:expressions() or {}
  self:expect ")"
  return list
end

function Parser:primary()
  if self.kind == "name" then return self:name() end
  local _, line = self:expect "("
  local inner = self:expression()
  self:expect ")"
  inner.line = inner.line or line
  return inner
end

function Parser:suffixed()
  local node = self:primary()
  while true do
    local line = self.line
    if self:accept "." then
      local name, at = self:expect "name"
      node = self:node("index", at, { object = node, field = name })
    elseif self:accept "[" then
      local key = self:expression()
      self:expect "]"
      node = self:node("index", line, { object = node, key = key, field = key.kind == "string" and key.value or nil })
    elseif self:accept ":" then
      local name = self:expect "name"
      node = self:node("method", line, { object = node, name = name, arguments = self:arguments() })
    elseif self.kind == "(" or self.kind == "{" or self.kind == "string" then
      node = self:node("call", node.line, { callee = node, arguments = self:arguments() })
    else
      return node
    end
  end
end

local LITERALS = { ["nil"] = "nil", ["true"] = "true", ["false"] = "false", ["..."] = "vararg" }
LITERALS.number, LITERALS.string = "number", "string"

function Parser:simple()
  if LITERALS[self.kind] then
    local value, line, kind = self:advance()
    return self:node(LITERALS[kind], line, { value = value })
  end
  if self.kind == "{" then return self:table() end
  if self.kind == "function" then
    local _, line = self:advance()
    return self:body(line)
  end
  return self:suffixed()
end

function Parser:expression(limit)
  local node
  if UNARY[self.kind] then
    local _, line, operator = self:advance()
    node = self:node("operator", line, { operator = operator, self:expression(UNARY_PRIORITY) })
  else
    node = self:simple()
  end
  local priority = BINARY[self.kind]
  while priority and priority[1] > (limit or 0) do
    local _, line, operator = self:advance()
    node = self:node("operator", line, { operator = operator, node, self:expression(priority[2]) })
    priority = BINARY[self.kind]
  end
  return node
end

function Parser:expressions()
  local list = { self:expression() }
  while self:accept "," do list[#list + 1] = self:expression() end
  return list
end

-- ---- Statements -------------------------------------------------------------------------------------------------------------

function Parser:block(in_this_scope)
  local node = self:node "block"
  if not in_this_scope then self:open() end
  while not BLOCK_ENDS[self.kind] do
    if self.kind == "return" then
      node[#node + 1] = self:return_statement()
      break
    end
    node[#node + 1] = self:statement()
  end
  if not in_this_scope then self:close() end
  return node
end

function Parser:return_statement()
  local _, line = self:expect "return"
  local ends = BLOCK_ENDS[self.kind] or self.kind == ";"
  local node = self:node("return", line, ends and {} or self:expressions())
  self:accept ";"
  return node
end

function Parser:local_statement(line)
  if self:accept "function" then
    local name, at = self:expect "name"
    local var = self:declare(name, at)
    var.value = self:body(line)
    return self:node("local", line, { vars = { var }, values = { var.value } })
  end
  local names = {}
  repeat
    local name, at = self:expect "name"
    names[#names + 1] = { name, at }
    if self:accept "<" then -- an attribute
      self:expect "name"
      self:expect ">"
    end
  until not self:accept ","
  local values = self:accept "=" and self:expressions() or {}
  local vars = {}
  for index, name in ipairs(names) do vars[index] = self:declare(name[1], name[2]) end
  if #names == #values then
    for index, var in ipairs(vars) do var.value = values[index] end
  end
  return self:node("local", line, { vars = vars, values = values })
end

local function write(target)
  target.target = true
  if target.var then
    target.var.writes = target.var.writes + 1
    target.var.uses = target.var.uses - 1
  end
end

function Parser:function_statement(line)
  local target, is_method = self:name(), false
  while self.kind == "." or self.kind == ":" do
    is_method = self.kind == ":"
    self:advance()
    local name, at = self:expect "name"
    target = self:node("index", at, { object = target, field = name })
  end
  write(target)
  return self:node("assign", line, { targets = { target }, values = { self:body(line, is_method) } })
end

function Parser:for_statement(line)
  local names = {}
  repeat names[#names + 1] = self:expect "name" until not self:accept ","
  if not self:accept "=" then self:expect "in" end
  local node = self:node("other", line, self:expressions())
  self:expect "do"
  self:open()
  for _, name in ipairs(names) do self:declare(name, line) end
  node[#node + 1] = self:block()
  self:close()
  self:expect "end"
  return node
end

function Parser:if_statement(line)
  local node = self:node("other", line, {})
  repeat
    node[#node + 1] = self:expression()
    self:expect "then"
    node[#node + 1] = self:block()
  until not self:accept "elseif"
  if self:accept "else" then node[#node + 1] = self:block() end
  self:expect "end"
  return node
end

-- Its condition sees what its block declares.
function Parser:repeat_statement(line)
  self:open()
  local block = self:block(true)
  self:expect "until"
  local node = self:node("other", line, { block, self:expression() })
  self:close()
  return node
end

function Parser:expression_statement(line)
  local first = self:suffixed()
  if self.kind ~= "=" and self.kind ~= "," then return self:node("other", line, { first }) end
  local targets = { first }
  while self:accept "," do targets[#targets + 1] = self:suffixed() end
  self:expect "="
  for _, target in ipairs(targets) do write(target) end
  return self:node("assign", line, { targets = targets, values = self:expressions() })
end

function Parser:statement()
  local line = self.line
  if self:accept ";" or self:accept "break" then return self:node("other", line) end
  if self:accept "::" or self:accept "goto" then
    self:expect "name"
    self:accept "::"
    return self:node("other", line)
  end
  if self:accept "local" then return self:local_statement(line) end
  if self:accept "function" then return self:function_statement(line) end
  if self:accept "for" then return self:for_statement(line) end
  if self:accept "if" then return self:if_statement(line) end
  if self:accept "repeat" then return self:repeat_statement(line) end
  if self:accept "while" then
    local node = self:node("other", line, { self:expression() })
    self:expect "do"
    node[2] = self:block()
    self:expect "end"
    return node
  end
  if self:accept "do" then
    local block = self:block()
    self:expect "end"
    return block
  end
  return self:expression_statement(line)
end

-- Answers a function: source, path → the block of the whole file. Raises a text where it does not understand it.
return function(lexer)
  return function(source, path)
    local parser = setmetatable({ next_word = lexer(source), path = path }, Parser)
    parser:advance()
    local block = parser:block()
    parser:expect "end of text"
    return block
  end
end
