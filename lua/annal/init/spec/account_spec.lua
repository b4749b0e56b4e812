-- Run by `busted` in the app's directory. No database is needed.
local testing = require "annal.testing"
local app = testing.app "."

describe("an account", function()
  local opened = { type = "ACCOUNT_OPENED", data = { accountId = "a1", owner = "ada" } }
  local function paid_in(cents) return { type = "MONEY_PAID_IN", data = { accountId = "a1", cents = cents } } end

  it("pays out what is there", function()
    app.given { opened, paid_in(10000) }
      :when("DRAW", { accountId = "a1", cents = 6000 })
      :expect { { type = "MONEY_DRAWN", data = { accountId = "a1", cents = 6000 } } }
  end)

  it("pays out no more than that", function()
    app.given { opened, paid_in(10000) }
      :when("DRAW", { accountId = "a1", cents = 10001 })
      :expect { rejection = "only 10000 cents are left" }
  end)

  it("is opened once", function()
    app.given { opened }
      :when("OPEN_ACCOUNT", { accountId = "a1", owner = "grace" })
      :expect { rejection = "a1 is open already" }
  end)

  it("shows its owner and what is on it", function()
    app.given { opened, paid_in(10000), paid_in(500) }
      :expect { view = { of = "ACCOUNT", id = "a1", is = { owner = "ada", cents = 10500 } } }
  end)
end)
