-- What is expected of errors and of exact values.
local annal = require "annal"

local expect = {}

-- The action must raise annal's error of this code, in one line, with each of the further texts in its words or its place.
-- Answers the error.
function expect.error(code, ...)
  local wanted = { ... }
  local action = table.remove(wanted)
  local ok, problem = pcall(action)
  if ok then error(("this was to be refused as %s and was not"):format(code), 2) end
  if type(problem) ~= "table" or type(problem.code) ~= "string" then
    error("this was to raise one of annal's errors and raised: " .. tostring(problem), 2)
  end
  local said = tostring(problem)
  if problem.code ~= code then error(("%s was expected, not %s"):format(code, said), 2) end
  if said:find "\n" then error("an error has more than one line: " .. said, 2) end
  if said:sub(1, #code + 2) ~= code .. ": " then error("an error does not begin with its code: " .. said, 2) end
  for _, text in ipairs(wanted) do
    if not said:find(text, 1, true) then error(("%q was expected in: %s"):format(text, said), 2) end
  end
  return problem
end

-- How a value is written down when not a bit of it may be lost: types of numbers, bytes of strings, kinds of tables.
local function exact(value, out)
  if math.type(value) == "float" then
    out[#out + 1] = ("float %016x"):format((string.unpack("<i8", string.pack("<d", value))))
  elseif type(value) == "table" then
    local keys = {}
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    out[#out + 1] = annal.json.encode(value):sub(1, 1)
    for _, key in ipairs(keys) do
      out[#out + 1] = ("%q"):format(key)
      exact(value[key], out)
    end
    out[#out + 1] = "end"
  elseif value == annal.null then
    out[#out + 1] = "null"
  else
    out[#out + 1] = ("%s %q"):format(math.type(value) or type(value), value)
  end
  return out
end

function expect.exactly(wanted, got)
  local a, b = table.concat(exact(wanted, {}), "\n"), table.concat(exact(got, {}), "\n")
  if a ~= b then error(("not the same to the last bit:\n%s\n-- and --\n%s"):format(a, b), 2) end
end

-- The values of one field of a list's rows.
function expect.pluck(rows, field)
  local values = {}
  for index, row in ipairs(rows) do
    local value = row
    for name in field:gmatch "[^.]+" do value = value[name] end
    values[index] = value
  end
  return values
end

return expect
