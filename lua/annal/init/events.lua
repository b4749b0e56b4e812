-- What can happen to an account. Every event is checked against this before it is stored; what is stored stays as it is for ever.
event "ACCOUNT_OPENED" { accountId = t.string { min = 1 }, owner = t.string { min = 1 } }
event "MONEY_PAID_IN" { accountId = t.string, cents = t.integer { min = 1 } }
event "MONEY_DRAWN" { accountId = t.string, cents = t.integer { min = 1 } }
