window.YTD.account.part0 = [
  {
    "account": {
      "email": "captain_brine@example.com",
      "createdVia": "web",
      "username": "captain_brine",
      "accountId": "106697655887868237",
      "createdAt": "2020-12-01T08:00:00.000Z",
      "accountDisplayName": "Capt. Odalys Brine"
    }
  }
]
