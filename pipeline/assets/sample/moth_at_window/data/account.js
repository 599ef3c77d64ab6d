window.YTD.account.part0 = [
  {
    "account": {
      "email": "moth_at_window@example.com",
      "createdVia": "web",
      "username": "moth_at_window",
      "accountId": "925412958575639440",
      "createdAt": "2020-12-01T08:00:00.000Z",
      "accountDisplayName": "a moth"
    }
  }
]
