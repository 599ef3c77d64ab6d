"""Mastodon, and other servers that speak its API: an account's public posts, which need no key.

    mastodon = Mastodon(say=print)
    mastodon.download(parse_account("@ada@ferry.example"), Path("posts"))       # how many posts are new

Each line of the file is `{"statuses": [...], "next": ...}`: a page of the account's statuses as its own server sent
them, and the `max_id` of the next page. The server sends neither followers-only nor direct posts.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from pipeline.tweets.download.accounts import Account
from pipeline.tweets.download.client import Client, Unavailable, save_picture
from pipeline.tweets.download.pages import Page, PageFile
from pipeline.tweets.files import PICTURES

_PAGE = 40  # statuses, the API's maximum


class Mastodon:
    """Downloads accounts; several threads may use one instance. Each server has its own rate limit."""

    def __init__(self, say: Callable[[str], None]):
        """`say` gets messages."""
        self.say = say
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    def look_up(self, accounts: list[Account]) -> None:
        """Does nothing: `download` requests each profile."""

    def download(self, account: Account, out: Path) -> int:
        """Appends the missing pages to `out`/{handle}.jsonl; returns how many posts are new.

        Raises Unavailable if the account cannot be downloaded.
        """
        user, _, host = account.name.partition("@")
        client, server = self._client(host), f"https://{host}/api/v1/accounts"
        profile = client.get(f"{server}/lookup", acct=user)
        if not isinstance(profile, dict):
            raise Unavailable(f"no such account on {host}")
        save_picture(client.session, profile.get("avatar_static"), out / PICTURES / f"{account.handle}.jpg", self.say)
        new = 0
        with PageFile(out / f"{account.handle}.jsonl", _ids, lambda page: page["next"]) as file:
            while True:
                statuses = client.get(f"{server}/{profile['id']}/statuses", limit=_PAGE, max_id=file.cursor)
                if not isinstance(statuses, list):
                    raise Unavailable(f"{host} does not answer as Mastodon does")
                new += file.add({"statuses": statuses, "next": statuses[-1]["id"] if statuses else None})
                if file.complete:
                    return new

    def stop(self) -> None:
        """Makes the waits and retries of other threads end."""
        for client in self._clients.values():
            client.limit.stopped.set()

    def _client(self, host: str) -> Client:
        with self._lock:
            return self._clients.setdefault(host, Client(host, self.say))


def _ids(page: Page) -> list[str]:
    return [str(status["id"]) for status in page["statuses"]]
