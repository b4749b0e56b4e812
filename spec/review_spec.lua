-- What a cold reading of the whole found: small mistakes, each kept from coming back.
local annal = require "annal"
local apps = require "support.apps"
local expect = require "support.expect"

describe("include", function()
  it("without a name says that a name is missing", function()
    local directory = apps.write { ["app.lua"] = "include()" }
    finally(function() apps.remove(directory) end)
    expect.error("script", "include takes the name of a file", function() annal.open(":memory:", { app = directory }) end)
  end)
end)
