-- Accounts, for the calls of W4C (w4_call.c).
event "PAID_IN" { accountId = t.string, cents = t.integer { min = 1 } }
event "DRAWN" { accountId = t.string, cents = t.integer { min = 1 } }

projection "ACCOUNT" {
  by = "accountId",
  init = { cents = 0 },
  on = {
    PAID_IN = function(account, event) account.cents = account.cents + event.data.cents end,
    DRAWN = function(account, event) account.cents = account.cents - event.data.cents end,
  },
}

command "DRAW" {
  args = { accountId = t.string, cents = t.integer { min = 1 } },
  uses = { account = "ACCOUNT" },
  decide = function(args, views)
    if views.account.cents < args.cents then return { type = "PAID_IN", data = { accountId = args.accountId, cents = 1000 } } end
    return { type = "DRAWN", data = args }
  end,
}
