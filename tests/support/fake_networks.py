"""A Bluesky and a Mastodon server on loopback, with posts of made-up people; all hosts are answered alike."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.support.fake_server import FakeHandler, FakeServer

DID = "did:plc:fog"
PDS = "https://pds.example"


class FakeNetworks(FakeServer):
    """`faults` are played before the next pages of posts, in order; `asked` keeps (path, query) of each request."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.posts = list(range(250, 0, -1))  # numbers, newest first
        self.preferences: list[dict[str, Any]] = []
        self.faults: list[Callable[[Any], None]] = []
        self.picture: Callable[[Any], None] = lambda handler: handler.answer(200, b"a picture")
        self.asked: list[tuple[str, dict[str, str]]] = []


class _Handler(FakeHandler):
    server: FakeNetworks

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = self.parameters()
        self.server.asked.append((url.path, query))
        is_page = url.path.endswith(("getAuthorFeed", "/statuses"))
        if is_page and self.server.faults:
            self.server.faults.pop(0)(self)
            return
        name = url.path.rpartition("/")[2]
        routes = {
            "app.bsky.actor.getProfile": self._bluesky_profile,
            "app.bsky.feed.getAuthorFeed": self._bluesky_page,
            DID: lambda query: {"service": [{"id": "#atproto_pds", "serviceEndpoint": PDS}]},
            "com.atproto.repo.listRecords": lambda query: {
                "records": [{"uri": "at://x", "value": value} for value in self.server.preferences]
            },
            "lookup": self._mastodon_profile,
            "statuses": self._mastodon_page,
        }
        answer = routes[name](query) if name in routes else None
        if name.endswith(".png"):
            self.server.picture(self)
        elif answer is None:
            refusal = {"error": "InvalidRequest", "message": "Profile not found"}
            self.answer_json(400 if "xrpc" in url.path else 404, refusal)
        else:
            self.answer_json(200, answer)

    def _bluesky_profile(self, query: dict[str, str]) -> Any:
        if query["actor"] != "fogwarden.bsky.social":
            return None
        picture = "https://cdn.example/fog.png"
        return {"did": DID, "handle": "fogwarden.bsky.social", "displayName": "Fog Warden", "avatar": picture}

    def _bluesky_page(self, query: dict[str, str]) -> Any:
        assert query["actor"] == DID
        author = {"did": DID, "handle": "fogwarden.bsky.social", "displayName": "Fog Warden"}
        later = [number for number in self.server.posts if number < int(query.get("cursor", 10**9))]
        numbers = later[: int(query["limit"])]
        feed: list[dict[str, Any]] = []
        for number in numbers:
            uri, text = f"at://{DID}/app.bsky.feed.post/{number}", f"The harbour bell rang {number} times last night"
            record = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2025-03-01T10:00:00.000Z"}
            feed.append({"post": {"uri": uri, "author": author, "record": record}})
        if numbers and numbers[0] == self.server.posts[0]:  # and a repost of somebody else
            other = {"did": "did:plc:gull", "handle": "gull.bsky.social"}
            record = {"$type": "app.bsky.feed.post", "text": "Free chips on the pier for everybody today"}
            post = {"uri": "at://did:plc:gull/app.bsky.feed.post/1", "author": other, "record": record}
            feed.insert(1, {"post": post, "reason": {"$type": "app.bsky.feed.defs#reasonRepost", "by": author}})
        return {"feed": feed} | ({"cursor": str(numbers[-1])} if len(later) > len(numbers) else {})

    def _mastodon_profile(self, query: dict[str, str]) -> Any:
        return _ACCOUNT if query["acct"] == "fogwarden" else None

    def _mastodon_page(self, query: dict[str, str]) -> Any:
        later = [number for number in self.server.posts if number < int(query.get("max_id", 10**9))]
        statuses: list[dict[str, Any]] = []
        for number in later[: int(query["limit"])]:
            content = f"<p>The harbour bell rang {number} times<br>last night &amp; nobody slept</p>"
            statuses.append(
                {
                    "id": str(number),
                    "uri": f"https://ferry.example/users/fogwarden/statuses/{number}",
                    "created_at": "2025-03-01T10:00:00.000Z",
                    "visibility": "public",
                    "content": content,
                    "account": _ACCOUNT,
                    "reblog": None,
                }
            )
        if statuses:
            other = {"id": "8", "username": "gull", "acct": "gull@pier.example", "url": "https://pier.example/@gull"}
            boosted = {"id": "1", "content": "<p>Free chips on the pier</p>", "account": other, "visibility": "public"}
            statuses[0] |= {"content": "", "reblog": boosted}
        return statuses


_ACCOUNT = {
    "id": "7",
    "username": "fogwarden",
    "acct": "fogwarden",
    "display_name": "Fog Warden",
    "url": "https://ferry.example/@fogwarden",
    "avatar_static": "https://ferry.example/fog.png",
}
