-- annal.json as Lua programs see it, and beside lua-cjson: the JSON library of their own code. (The codec itself is tested in
-- spec/c/json, by text and by allocation.)
local annal = require "annal"
local cjson = require "cjson"

local decode, encode = annal.json.decode, annal.json.encode

local function refused(action, ...)
  local ok, problem = pcall(action, ...)
  assert.is_false(ok, "accepted")
  assert.equal("table", type(problem))
  assert.equal("string", type(problem.message))
  return problem
end

-- Equal as lua-cjson can know it: it has no integers, and no mark on arrays.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

describe("annal.json", function()
  it("runs in Lua 5.4", function() assert.equal("Lua 5.4", _VERSION) end)

  it("writes one canonical form", function()
    assert.equal('{"a":[1,2.5,"x"],"b":{"c":null},"d":true}', encode { d = true, b = { c = annal.null }, a = { 1, 2.5, "x" } })
    assert.equal("{}", encode {})
    assert.equal("[]", encode(annal.array {}))
    assert.equal("[]", encode(annal.json.array {}))
    assert.equal('"\\"\\\\\\n\\u0001é"', encode '"\\\n\1é')
  end)

  it("keeps what lua-cjson would lose", function()
    for _, text in ipairs {
      "9007199254740993", "-9223372036854775808", "9223372036854775807", "2", "2.0", "123456789012345.67", "0.1",
      "0.30000000000000004", "1e15", "-0.0", "5e-324", "1.7976931348623157e308", "[]", "{}", '[[],{},{"a":[]}]', '"\\u0000"',
    } do
      assert.equal(text, encode(decode(text)))
    end
    assert.equal("integer", math.type(decode "2"))
    assert.equal("float", math.type(decode "2.0"))
    assert.equal("float", math.type(decode "-0"))
  end)

  it("shares null with lua-cjson", function()
    assert.equal(cjson.null, annal.null)
    assert.equal(annal.null, annal.json.null)
    assert.equal(annal.null, decode("[null]")[1])
    assert.equal('{"a":null}', encode { a = cjson.null })
  end)

  it("marks arrays, and lets nobody write to the mark", function()
    local list = decode "[]"
    list[1] = "first"
    assert.equal('["first"]', encode(list))
    list[1] = nil
    assert.equal("[]", encode(list))
    assert.equal("array", getmetatable(list))
    assert.is_false((pcall(setmetatable, list, {})))
    assert.is_nil(getmetatable(decode "{}"))
    local plain = { 1 }
    assert.equal(plain, annal.array(plain))
  end)

  it("refuses what it cannot read, with code, place and byte", function()
    local problem = refused(decode, '{"items":[1,2,{"price":01}]}')
    assert.equal("invalid", problem.code)
    assert.equal("items[3].price", problem.where)
    assert.matches("at byte 23", problem.message, 1, true)
    for _, text in ipairs {
      "", "{", "[1,]", '{"a":1,"a":2}', "nul", '"\xff"', '"\\ud800"', "1e309", "9223372036854775808", "[1] 2", "\xEF\xBB\xBF{}",
      ("["):rep(129) .. ("]"):rep(129),
    } do
      assert.equal("invalid", refused(decode, text).code, text)
    end
    assert.equal("misuse", refused(decode, 12).code)
    assert.equal("misuse", refused(decode).code)
  end)

  it("refuses what JSON has not, with code and place", function()
    local cycle = {}
    cycle.a = { cycle }
    local cases = {
      { { items = { 1, 2, { price = 0 / 0 } } }, "items[3].price", "NaN" },
      { { a = math.huge }, "a", "infinity" },
      { { a = print }, "a", "function" },
      { { a = { 1, nil, 3 } }, "a", "holes" },
      { { a = { 1, b = 2 } }, "a", "both elements and named fields" },
      { { a = { [true] = 1 } }, "a", "boolean" },
      { { a = setmetatable({}, {}) }, "a", "metatable" },
      { { ["a b"] = "\xff" }, '["a b"]', "UTF-8" },
    }
    for _, case in ipairs(cases) do
      local problem = refused(encode, case[1])
      assert.equal("invalid", problem.code)
      assert.equal(case[2], problem.where)
      assert.matches(case[3], problem.message, 1, true)
    end
    assert.matches("contains itself", refused(encode, cycle).message)
    assert.equal("invalid", refused(encode, nil).code)
    assert.equal("misuse", refused(encode).code)
    assert.equal("misuse", refused(annal.array, 1).code)
  end)

  it("takes the values of lua-cjson, and gives lua-cjson its own", function()
    local theirs = cjson.decode '{"name":"é\\n","list":[1,2.5,{"deep":[true,null]}],"none":null,"text":"a\\/b"}'
    assert.equal('{"list":[1.0,2.5,{"deep":[true,null]}],"name":"é\\n","none":null,"text":"a/b"}', encode(theirs))
    assert.is_true(same(theirs, decode(cjson.encode(theirs))))
    local ours = decode '{"name":"é\\n","list":[1,2.5,{"deep":[true,null]}],"none":null}'
    assert.is_true(same(ours, cjson.decode(cjson.encode(ours))))
  end)

  describe("beside lua-cjson, on random values that both can hold,", function()
    local seed

    -- The same numbers in every run.
    local function random(among)
      seed = (seed * 6364136223846793005 + 1442695040888963407)
      return (seed >> 33) % among + 1
    end

    local words = { "", "a", "cart_004711", "with space", "é", "€", "😀", '"', "\\", "/", "\n\t\r\b\f", "\1\31", "\127", "{[,:]}" }

    local function random_text()
      local parts = {}
      for i = 1, random(4) do parts[i] = words[random(#words)] end
      return table.concat(parts)
    end

    local function random_number()
      local kind = random(4)
      if kind == 1 then return random(2000) - 1000 end
      if kind == 2 then return random(1 << 30) * random(1 << 16) end -- below 2^53 and 14 digits
      if kind == 3 then return (random(2000000) - 1000000) / 128 end
      return (random(2000000) - 1000000) * 10.0 ^ (random(40) - 20)
    end

    local function random_value(depth)
      local kind = random(depth > 5 and 5 or 7)
      if kind <= 2 then return random_number() end
      if kind <= 4 then return random_text() end
      if kind == 5 then return ({ true, false, annal.null })[random(3)] end
      local result = {}
      for i = 1, random(6) do
        if kind == 6 then result[i] = random_value(depth + 1) else result[random_text() .. i] = random_value(depth + 1) end
      end
      return result
    end

    before_each(function() seed = 42 end)

    -- lua-cjson writes numbers with 14 digits; what is left after that both must agree on.
    it("reads what lua-cjson writes as lua-cjson reads it", function()
      for _ = 1, 3000 do
        local text = cjson.encode(random_value(0))
        if text:find "^[%[{]" then assert.is_true(same(cjson.decode(text), decode(text)), text) end
      end
    end)

    it("writes what lua-cjson reads as the same value", function()
      for _ = 1, 3000 do
        local value = { random_value(0) }
        local text = encode(value)
        assert.is_true(same(value, decode(text)), text)
        assert.is_true(same(value, cjson.decode(text)), text)
        assert.equal(text, encode(decode(text)))
      end
    end)
  end)
end)
