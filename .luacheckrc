std = "lua54"
max_line_length = 130
exclude_files = { "build*" }

-- What an app's scripts see besides the standard functions (README.md, "Scripts").
files["bench"] = {
  read_globals = { "event", "projection", "command", "t" },
}
files["projections"] = {
  read_globals = { "event", "projection", "reducer", "command", "reject", "include", "t", "array", "is_empty", "null", "log" },
}

-- Our half of the vocabulary, which runs in the same surroundings before the scripts do.
files["lua/annal/script"] = { read_globals = { "is_empty" } }

files["spec"] = { std = "+busted" }

-- What `annal init` writes: scripts, settings and a spec.
files["lua/annal/init"] = {
  read_globals = { "event", "projection", "reducer", "command", "reject", "t" },
}
files["lua/annal/init/annal.lua"] = { allow_defined_top = true, ignore = { "131" } }
files["lua/annal/init/spec"] = { std = "+busted" }
