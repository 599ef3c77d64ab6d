window.YTD.account.part0 = [
  {
    "account": {
      "email": "deptofpuddles@example.com",
      "createdVia": "web",
      "username": "deptofpuddles",
      "accountId": "440388630878398905",
      "createdAt": "2020-12-01T08:00:00.000Z",
      "accountDisplayName": "Department of Puddles"
    }
  }
]
