-- What the events of one account come to. Each field has a reducer, which changes its part of the state or returns the new one.
projection "ACCOUNT" {
  by = "accountId",
  fields = {
    owner = reducer {
      init = "",
      on = { ACCOUNT_OPENED = function(_, event) return event.data.owner end },
    },
    cents = reducer {
      init = 0,
      on = {
        MONEY_PAID_IN = function(cents, event) return cents + event.data.cents end,
        MONEY_DRAWN = function(cents, event) return cents - event.data.cents end,
      },
    },
  },
}
