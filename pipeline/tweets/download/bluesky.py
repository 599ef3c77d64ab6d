"""Bluesky: an account's own posts, replies and reposts from the public AppView, which needs no key.

    bluesky = Bluesky(say=print)
    bluesky.download(parse_account("ada.bsky.social"), Path("posts"))       # how many posts are new

Each line of the file is a page of `app.bsky.feed.getAuthorFeed` as the server sent it. If the account has published
preferences about AI (records of `community.lexicon.preference.ai` in its repository), every page also holds them under
`preferences`, for the readers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.tweets.bluesky_consent import PREFERENCES, refused_use
from pipeline.tweets.download.accounts import Account
from pipeline.tweets.download.client import Client, Unavailable, save_picture
from pipeline.tweets.download.pages import Page, PageFile
from pipeline.tweets.files import PICTURES

APPVIEW = "https://public.api.bsky.app"
DIRECTORY = "https://plc.directory"  # of did:plc identities
_PAGE = 100  # posts, the API's maximum


class Bluesky:
    """Downloads accounts; several threads may use one instance."""

    def __init__(self, say: Callable[[str], None], consent: bool = False):
        """`say` gets messages. With `consent` (own accounts, or owners agreed) published preferences are ignored."""
        self.client, self.say, self.consent = Client("Bluesky", say), say, consent

    def look_up(self, accounts: list[Account]) -> None:
        """Does nothing: `download` requests each profile."""

    def download(self, account: Account, out: Path) -> int:
        """Appends the missing pages to `out`/{handle}.jsonl; returns how many posts are new.

        Raises Unavailable if the account cannot be downloaded, or asks not to be used.
        """
        profile = self._ask("app.bsky.actor.getProfile", actor=account.name)
        did = str(profile["did"])
        preferences = self._preferences(did)
        if (use := refused_use(preferences)) and not self.consent:
            raise Unavailable(
                f"asks that its posts are not used for {use} (community.lexicon.preference.ai); "
                "`--consent own` downloads them where the account is yours or its owner agreed to you"
            )
        save_picture(self.client.session, profile.get("avatar"), out / PICTURES / f"{account.handle}.jpg", self.say)
        new = 0
        with PageFile(out / f"{account.handle}.jsonl", _ids, lambda page: page.get("cursor")) as file:
            while True:
                query = {"actor": did, "limit": _PAGE, "filter": "posts_with_replies", "cursor": file.cursor}
                page = self._ask("app.bsky.feed.getAuthorFeed", **query)
                new += file.add({**page, PREFERENCES: preferences} if preferences else page)
                if file.complete:
                    return new

    def stop(self) -> None:
        """Makes the waits and retries of other threads end."""
        self.client.limit.stopped.set()

    def _ask(self, method: str, **query: Any) -> Page:
        page = self.client.get(f"{APPVIEW}/xrpc/{method}", **query)
        if not isinstance(page, dict):
            raise Unavailable("no such account on Bluesky")
        return page

    def _preferences(self, did: str) -> list[Any]:
        """The account's preferences about AI, from the server that hosts its repository."""
        server = self._repository_server(did)
        if server is None:
            return []
        collection = "community.lexicon.preference.ai"
        reply = self.client.get(f"{server}/xrpc/com.atproto.repo.listRecords", repo=did, collection=collection)
        records = reply.get("records") if isinstance(reply, dict) else None
        return [record.get("value") for record in records or () if isinstance(record, dict)]

    def _repository_server(self, did: str) -> str | None:
        """The URL of the personal data server in the DID document."""
        if did.startswith("did:web:"):
            document = self.client.get(f"https://{did.removeprefix('did:web:')}/.well-known/did.json")
        else:
            document = self.client.get(f"{DIRECTORY}/{quote(did, safe=':')}")
        services = document.get("service") if isinstance(document, dict) else None
        for service in services or ():
            if str(service.get("id", "")).endswith("#atproto_pds"):
                return str(service["serviceEndpoint"]).rstrip("/")
        return None


def _ids(page: Page) -> list[str]:
    """The ids of the items in a page; an account's post and its own repost of it have different ids."""
    return [("repost of " if "reason" in item else "") + item["post"]["uri"] for item in page["feed"]]
