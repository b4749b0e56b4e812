-- The settings of this app. The command `annal` finds them from here and from every directory below.
store = "bank.db" -- a path beside this file, or postgresql://…
app = "." -- the scripts: every *.lua here and below but this file, spec/ and *_spec.lua
data_indexes = { "accountId" } -- fields of events by which events are selected
projection_indexes = { "owner" } -- fields of views by which kept views are queried
