-- What may be asked for. A command decides over views as they are now and answers with the events to store, or rejects. If one of
-- the accounts moves meanwhile, nothing is stored and it decides anew.
local function is_open(account) return account.owner ~= "" end

command "OPEN_ACCOUNT" {
  args = { accountId = t.string { min = 1 }, owner = t.string { min = 1 } },
  uses = { account = { "ACCOUNT", id = "accountId" } },
  decide = function(args, views)
    if is_open(views.account) then reject(args.accountId .. " is open already") end
    return { type = "ACCOUNT_OPENED", data = args }
  end,
}

command "PAY_IN" {
  args = { accountId = t.string, cents = t.integer { min = 1 } },
  uses = { account = { "ACCOUNT", id = "accountId" } },
  decide = function(args, views)
    if not is_open(views.account) then reject("there is no account " .. args.accountId) end
    return { type = "MONEY_PAID_IN", data = args }
  end,
}

command "DRAW" {
  args = { accountId = t.string, cents = t.integer { min = 1 } },
  uses = { account = { "ACCOUNT", id = "accountId" } },
  decide = function(args, views)
    if views.account.cents < args.cents then reject("only " .. views.account.cents .. " cents are left") end
    return { type = "MONEY_DRAWN", data = args }
  end,
}
