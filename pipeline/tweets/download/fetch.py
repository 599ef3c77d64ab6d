"""Downloads accounts in parallel, each into its own file.

fetch(parse_accounts(["nasa", "ada.bsky.social"]), Path("posts"), progress)
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.tweets.download.accounts import Account
from pipeline.tweets.download.bluesky import Bluesky
from pipeline.tweets.download.client import WORKERS, Unavailable
from pipeline.tweets.download.mastodon import Mastodon
from pipeline.tweets.download.x import X
from pipeline.tweets.files import PICTURES


@dataclass
class Fetched:
    """The result of one account; `status` is fetched or failed, `reason` is set if it failed."""

    handle: str
    status: str = "fetched"
    new: int = 0  # posts that this call downloaded
    reason: str | None = None


class Downloader(Protocol):
    """The interface of a network; several threads may use one instance."""

    def look_up(self, accounts: list[Account]) -> None:
        """Requests the profiles of many accounts at once, if the network supports that."""

    def download(self, account: Account, out: Path) -> int:
        """Appends the missing pages to the account's file in `out`; returns how many posts are new.

        Raises Unavailable if the account cannot be downloaded.
        """

    def stop(self) -> None:
        """Makes the waits and retries of other threads end."""


def fetch(accounts: list[Account], out: Path, progress: Progress, consent: bool = False) -> list[Fetched]:
    """Downloads every account into `out`; the failure of one account does not affect the others.

    `consent` states that the accounts are the user's own or that their owners agreed; published preferences are then
    ignored. Raises UserError if X refuses the bearer token or the developer's account, or if `out` cannot be written.
    """
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None
    make: dict[str, Callable[[], Downloader]] = {
        "x": lambda: X(_bearer_token(), progress.say),
        "bluesky": lambda: Bluesky(progress.say, consent),
        "mastodon": lambda: Mastodon(progress.say),
    }
    networks = {network: make[network]() for network in {account.network for account in accounts}}
    progress.start("fetch", len(accounts), f"{len(accounts)} accounts into {out}")
    done: dict[Account, Fetched] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for network, downloader in networks.items():
                downloader.look_up([account for account in accounts if account.network == network])
            futures = {pool.submit(_fetch_one, networks[one.network], one, out): one for one in accounts}
            for future in as_completed(futures):
                result = done[futures[future]] = future.result()
                outcome = f"{result.new:,} new posts" if result.status == "fetched" else f"failed: {result.reason}"
                progress.advance(f"{result.handle}: {outcome}")
        except Unavailable as error:
            raise UserError(str(error)) from None
        finally:
            for downloader in networks.values():
                downloader.stop()
    return [done[account] for account in accounts]


def _fetch_one(network: Downloader, account: Account, out: Path) -> Fetched:
    result = Fetched(account.handle)
    try:
        result.new = network.download(account, out)
        if not (out / f"{account.handle}.jsonl").exists():
            raise Unavailable("has no posts")
    except (Unavailable, OSError) as error:
        result.status, result.reason = "failed", str(error)
    return result


def _bearer_token() -> str:
    """X's bearer token, from the environment since it is a secret. Raises UserError if it is not set."""
    token = os.environ.get("X_BEARER_TOKEN", "").strip()
    if not token:
        raise UserError("X_BEARER_TOKEN is not set; the X developer portal gives an app's bearer token")
    return token
