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
