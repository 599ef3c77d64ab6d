window.YTD.account.part0 = [
  {
    "account": {
      "email": "nana_voltage@example.com",
      "createdVia": "web",
      "username": "nana_voltage",
      "accountId": "994850892021673768",
      "createdAt": "2020-12-01T08:00:00.000Z",
      "accountDisplayName": "Nana Voltage"
    }
  }
]
