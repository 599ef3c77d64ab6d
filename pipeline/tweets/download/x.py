"""X, with its API v2: an account's most recent posts, at most 3,200 (a limit of the API).

    x = X(bearer_token, say=print)
    x.look_up(accounts)                                       # one request for a hundred accounts
    x.download(parse_account("nasa"), Path("posts"))          # how many posts are new

Each line of the file is a response page as X sent it. X charges for each post that it sends, so a later call
requests only posts newer than the newest one in the file, or older than the oldest one of an interrupted download.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
import tweepy

from pipeline.core.errors import one_line
from pipeline.core.json_file import JsonObject
from pipeline.tweets.download.accounts import Account
from pipeline.tweets.download.client import (
    TRIES,
    WORKERS,
    PassingFault,
    RateLimit,
    Refused,
    TimeoutAdapter,
    Unavailable,
    allowed_at,
    save_picture,
)
from pipeline.tweets.download.pages import Page, read_pages
from pipeline.tweets.files import PICTURES

_PAGE = 100  # posts or accounts, the API's maximum
_MOST = 3_200  # posts of one account
_USER_FIELDS = ["name", "username", "profile_image_url", "protected"]
_TWEET_FIELDS = ["created_at", "lang", "public_metrics", "referenced_tweets", "in_reply_to_user_id", "note_tweet"]
_EXPANSIONS = ["author_id", "referenced_tweets.id", "referenced_tweets.id.author_id"]


class X:
    """Downloads accounts; several threads may use one instance."""

    def __init__(self, token: str, say: Callable[[str], None]):
        """`token` is the bearer token of an app; `say` gets messages."""
        self.client = tweepy.Client(token, return_type=dict)
        self.client.session.mount("https://", TimeoutAdapter(pool_maxsize=WORKERS))
        self.say, self.limit = say, RateLimit("X", say)
        # by user name in lower case; {"error": reason} if there is no such user
        self._users: dict[str, JsonObject] = {}

    def look_up(self, accounts: list[Account]) -> None:
        """Requests the profiles of the accounts, which `download` needs. Raises Refused if X refuses the token."""
        names = [account.name for account in accounts]
        for start in range(0, len(names), _PAGE):
            page = self._ask(self.client.get_users, usernames=names[start : start + _PAGE], user_fields=_USER_FIELDS)
            self._users |= {user["username"].lower(): user for user in page.get("data", [])}
            for error in page.get("errors", []):
                suspended = "suspended" in str(error.get("detail", "")).lower()
                reason = "is suspended" if suspended else "no such user"
                self._users[str(error.get("value", "")).lower()] = {"error": reason}

    def download(self, account: Account, out: Path) -> int:
        """Appends the missing pages to `out`/{handle}.jsonl; returns how many posts are new.

        Raises Unavailable if the account cannot be downloaded, Refused if X refuses the token.
        """
        user = self._users.get(account.name, {"error": "no such user"})
        if "error" in user:
            raise Unavailable(user["error"])
        if user.get("protected"):
            raise Unavailable("is protected: only approved followers see its posts")
        larger = str(user.get("profile_image_url") or "").replace("_normal.", "_400x400.")
        save_picture(self.client.session, larger, out / PICTURES / f"{account.handle}.jpg", self.say)
        return self._pages(out / f"{account.handle}.jsonl", user["id"])

    def stop(self) -> None:
        """Makes the waits and retries of other threads end."""
        self.limit.stopped.set()

    def _pages(self, path: Path, user: str) -> int:
        """Appends the missing pages to the file; returns how many posts they hold."""
        have, new, token = _Have(), 0, None
        read_pages(path, have.add)
        since = str((have.newest if have.complete else have.floor) or "") or None
        until = None if have.complete else str(have.oldest or "") or None
        with path.open("ab") as file:
            while True:
                page = self._page(user, since, until, token)
                if page.get("errors") and not page.get("data") and "meta" not in page:
                    raise Unavailable(f"X refuses: {page['errors'][0].get('detail') or page['errors'][0].get('title')}")
                if page.get("data") or not have.complete:  # an empty page ends an interrupted sweep
                    file.write(json.dumps(page, ensure_ascii=False).encode() + b"\n")
                    file.flush()
                    new += have.add(page)
                token = page.get("meta", {}).get("next_token")
                if not token or have.complete:
                    break
        if not path.stat().st_size:
            path.unlink()
        return new

    def _page(self, user: str, since: str | None, until: str | None, token: str | None) -> Page:
        """One page of a user's posts, newest first, after `since` and before `until` (ids)."""
        return self._ask(
            self.client.get_users_tweets,
            id=user,
            max_results=_PAGE,
            since_id=since,
            until_id=until,
            pagination_token=token,
            tweet_fields=_TWEET_FIELDS,
            user_fields=_USER_FIELDS,
            expansions=_EXPANSIONS,
        )

    def _ask(self, call: Callable[..., Any], **arguments: Any) -> Page:
        try:
            return self.limit.retrying()(self._ask_once, partial(call, **arguments))
        except PassingFault as error:
            raise Unavailable(f"X did not answer after {TRIES} tries: {error}") from None

    def _ask_once(self, call: Callable[[], Any]) -> Page:
        while True:
            self.limit.wait()
            try:
                page: Page = call()
                return page
            except tweepy.TooManyRequests as limit:
                if "UsageCapExceeded" in str(limit.response.text):
                    raise self._refused("the account's monthly posts are used up") from None
                self.limit.close_until(allowed_at(limit.response.headers))
            except tweepy.Unauthorized:
                raise self._refused("X refuses the bearer token (401); check X_BEARER_TOKEN") from None
            except (tweepy.Forbidden, tweepy.NotFound, tweepy.BadRequest) as error:
                raise Unavailable(f"X refuses: {one_line(error)}") from None
            except (tweepy.TwitterServerError, requests.RequestException) as error:
                raise PassingFault(one_line(error)) from None
            except tweepy.HTTPException as error:
                if error.response.status_code == 402:
                    raise self._refused("the X account is out of credits (402)") from None
                raise Unavailable(f"X refuses: {one_line(error)}") from None

    def _refused(self, reason: str) -> Refused:
        self.stop()
        return Refused(reason)


@dataclass
class _Have:
    """The posts in an account's file. A sweep of pages, newest first, ends with a page that has no next_token."""

    newest: int = 0  # id
    oldest: int = 0  # id, of the current sweep
    floor: int = 0  # newest id of the earlier sweeps
    sweep: int = 0  # posts of the current sweep
    complete: bool = True

    def add(self, page: Page) -> int:
        """Adds a page; returns how many posts it holds."""
        ids = [int(tweet["id"]) for tweet in page.get("data", [])]
        if self.complete:
            self.floor, self.sweep = self.newest, 0
        if ids:
            self.newest, self.oldest = max(self.newest, *ids), min(ids)
        self.sweep += len(ids)
        self.complete = "next_token" not in page.get("meta", {}) or self.sweep >= _MOST
        return len(ids)
