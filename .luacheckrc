std = "lua54"
max_line_length = 130
exclude_files = { "build*" }

-- What an app's scripts see besides the standard functions (README.md, "Scripts").
files["projections"] = {
  read_globals = { "event", "projection", "reducer", "command", "reject", "include", "t", "array", "null", "log" },
}

files["spec"] = { std = "+busted" }
