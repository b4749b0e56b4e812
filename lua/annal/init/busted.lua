return { _all = { lua = "/usr/bin/lua5.4" } } -- annal is a module for Lua 5.4; busted may start under another one
