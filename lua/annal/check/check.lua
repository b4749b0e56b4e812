-- Looking through an app's scripts without running them. Role: what `annal check` says of scripts (src/cli/check_app.c).
--   host.near(name, other) · host.fault(name, member | nil, is_write) → what the sandbox would say, or nil
--   host.load() → place, message of the first error when the app is loaded, or nil
--
-- The checks say nothing of what they do not understand: a finding is to be worth its reader's time.

return function(host, tree, parse, check_declarations, check_names)
  -- What a file returns, where that is one expression at its end.
  local function result_of(block)
    local last = block[#block]
    return last and last.kind == "return" and #last == 1 and last[1] or nil
  end

  local function split(place)
    local path, line = place:match "^(.*):(%d+)$"
    return path or place, math.tointeger(line) or 0
  end

  -- `sources`: a list of { path, name, source }. Answers a list of { where = "path:line", message } in order of place.
  return function(sources)
    local findings, seen, places = {}, {}, {}

    -- Scripts may have put anything into their names.
    local function clean(text)
      if not utf8.len(text) then text = text:gsub("[\128-\255]", "?") end
      return (text:gsub("%c", " "))
    end

    local function add(path, line, message)
      message = clean(message)
      local where = line > 0 and ("%s:%d"):format(path, line) or path
      places[where] = true
      local key = where .. "\0" .. message
      if seen[key] then return end
      seen[key] = true
      findings[#findings + 1] = { path = path, line = line, where = where, message = message }
    end

    local function report(node, message, place)
      add(node.path, node.line, message)
      if place then places[("%s:%d"):format(place.path, place.line)] = true end
    end

    local files, included = {}, {}
    for _, source in ipairs(sources) do
      local chunk, problem = load(source.source, "@" .. source.path, "t", {})
      local understood, block = pcall(parse, source.source, source.path)
      if chunk and understood then
        local file = { path = source.path, tree = block, result = result_of(block) }
        files[#files + 1] = file
        if source.name ~= "" then included[source.name] = file end
      else
        files.incomplete = true
        if source.name ~= "" then included[source.name] = {} end
      end
      if not chunk then
        local path, line, message = problem:match "^(.-%.lua):(%d+): (.*)$"
        add(path or source.path, math.tointeger(line) or 0, message or problem)
      end
    end

    local resolver = tree.resolver(included)
    local declared = check_declarations(files, resolver, report, host.near)
    check_names(files, included, resolver, declared, report, host.fault)

    -- What only shows when they run, unless it is what was found before.
    local where, message = host.load()
    if where and not places[where] then
      local path, line = split(where)
      add(path, line, message)
    end
    table.sort(findings, function(a, b)
      if a.path ~= b.path then return a.path < b.path end
      if a.line ~= b.line then return a.line < b.line end
      return a.message < b.message
    end)
    return findings
  end
end
