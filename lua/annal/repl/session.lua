-- A session at the prompt: lines in, values and messages out. Role: what the REPL does with a line; src/cli/repl.c reads the
-- lines and knows the terminal. Called with a host table:
--   env: the globals · printer: print.lua's functions · json: values as JSON, a line each · prompt: its ready and write part
--   encode(value) → JSON · out(text) · flush() · error(text) · clock() → seconds
--   names() · ids(projection) → lists for completion
-- Answers feed(line), close(), complete(line) and prompt().

return function(host, new_program, new_completer)
  local printer, env = host.printer, host.env
  local program = new_program(env, "repl")
  local session = { failed = false }
  local pending, timing

  -- ---- What is shown ----------------------------------------------------------------------------------------------------

  -- "annal: code: message (where)", as the command says it, whatever was raised.
  local function say_error(raised)
    session.failed = true
    local text
    if type(raised) == "table" and type(rawget(raised, "code")) == "string" then
      text = tostring(raised)
    elseif type(raised) == "string" then
      local where, message = raised:match "^(repl:%d+): (.*)$"
      text = where and ("script: %s (%s)"):format(message, where) or "script: " .. raised
    else
      text = "script: " .. printer.inline(raised)
    end
    host.error(printer.error("annal: " .. printer.clean(text)) .. "\n")
  end

  local function looks_like_event(value)
    return type(value) == "table" and type(value.type) == "string" and type(value.data) == "table" and value.position ~= nil
  end

  local function looks_like_row(value)
    return type(value) == "table" and type(value.data) == "table" and type(value.id) == "string" and value.updated_at ~= nil
  end

  local function all(list, test)
    if type(list) ~= "table" or #list == 0 then return false end
    for _, element in ipairs(list) do
      if not test(element) then return false end
    end
    return true
  end

  local function json_text(value)
    if value == nil then return "null" end
    local ok, text = pcall(host.encode, value)
    return ok and text or host.encode((printer.inline(value)))
  end

  local function show(value)
    if host.json then return host.out(json_text(value) .. "\n") end
    if all(value, looks_like_event) then
      printer.new_table()
      return host.out(printer.events(value))
    end
    if all(value, looks_like_row) then return host.out(printer.rows(value)) end
    host.out(printer.value(value))
  end

  local function run(chunk)
    local results = table.pack(chunk())
    if results.n > 0 then env._ = results[1] end
    for i = 1, results.n do show(results[i]) end
  end

  -- ---- Commands ---------------------------------------------------------------------------------------------------------

  local commands

  local function help()
    host.out [[
Lua at a prompt: an expression shows its value, a statement runs; locals stay for the lines that follow.
  store   the open store: store:events {}, store:view(PROJECTION, ID), store:query_projections { type = PROJECTION } …
  annal   the module
  _       the last value
  :help         this text
  :events [N]   the newest N events (10)
  :follow       show what is saved from now on, until Ctrl-C
  :reload       load the scripts that have changed now
  :time         show how long each line takes, or no longer
  :quit         end, as Ctrl-D does
TAB completes names, methods, event types, projections and ids. Ctrl-C stops what runs.
]]
  end

  local function events(argument)
    local count = argument == "" and 10 or math.tointeger(tonumber(argument))
    if not count or count < 1 then error(":events N: " .. argument .. " is not a whole number from 1 on", 0) end
    local list = {}
    for event in env.store:events { limit = count, reverse = true } do table.insert(list, 1, event) end
    if host.json then
      for _, event in ipairs(list) do host.out(json_text(event) .. "\n") end
    else
      printer.new_table()
      host.out(printer.events(list))
    end
  end

  local function is_interrupt(raised)
    return type(raised) == "table" and raised.code == "unavailable" and raised.message == "interrupted"
      or type(raised) == "string" and raised:find "interrupted$" ~= nil
  end

  local function follow(argument)
    if argument ~= "" then error(":follow takes no argument; store:follow { … } selects", 0) end
    printer.new_table()
    local ok, raised = pcall(function()
      for event in env.store:follow { after = env.store:head() } do
        host.out(host.json and json_text(event) .. "\n" or printer.events { event })
        host.flush()
      end
    end)
    if not ok and not is_interrupt(raised) then error(raised, 0) end
  end

  local function reload(argument)
    if argument ~= "" then error(":reload takes no argument; store:load(DIRECTORY) loads other scripts", 0) end
    local changed = env.store:reload()
    if not host.json then host.out(changed and "the scripts are loaded anew\n" or "no script has changed\n") end
  end

  commands = {
    help = help,
    events = events,
    follow = follow,
    reload = reload,
    quit = function() return "quit" end,
    time = function()
      timing = not timing
      host.out(timing and "times are shown\n" or "times are not shown\n")
    end,
  }

  local function run_command(name, argument)
    local command = commands[name]
    if not command then error("there is no :" .. name .. "; see :help", 0) end
    return command(argument)
  end

  -- ---- Lines ------------------------------------------------------------------------------------------------------------

  -- Runs what may raise; answers whether it did not, and its first result.
  local function guarded(body, ...)
    local started = host.clock()
    local ok, result = pcall(body, ...)
    if not ok then say_error(result) end
    if timing then host.error(("%.3f ms\n"):format((host.clock() - started) * 1000)) end
    return ok, result
  end

  -- Takes one line; answers "done", "more" (it is not finished yet) or "quit".
  function session.feed(line)
    local name, argument = line:match "^%s*:(%a+)%s*(.-)%s*$"
    if not pending and name then
      local ok, result = guarded(run_command, name, argument)
      return ok and result == "quit" and "quit" or "done"
    end
    local text = pending and pending .. "\n" .. line or line
    local chunk, unfinished, message = program:compile(text)
    pending = unfinished and text or nil
    if unfinished then return "more" end
    if not chunk then
      say_error(message)
    elseif text:find "%S" then
      guarded(run, chunk)
    end
    return "done"
  end

  -- Forgets an unfinished input.
  function session.drop() pending = nil end

  function session.prompt()
    if pending then return "… " end
    return host.prompt .. "> "
  end

  -- Ends the session. Input that never came to its end is an error of whoever wrote it.
  function session.close()
    if pending then
      local text = pending
      pending = nil
      local _, message = load(text, "=repl", "t", {})
      say_error(message or "the input ends in the middle")
    end
    program:close(say_error)
    return session.failed
  end

  session.complete = new_completer {
    env = env, names = host.names, ids = host.ids,
    get_local = function(word) return program:get(word) end,
    each_local = function() return next, program.locals end,
    commands = commands,
  }

  return session
end
