"""Downloads people's tweets through the X API v2, as the raw response pages that the readers take.

    X_BEARER_TOKEN=… huggingtweets fetch nasa billnye --out tweets       # tweets/nasa.jsonl, a page a line

A handle gets its most recent tweets, 3,200 at most (the API's own limit). What a folder holds is not asked for
again: a second call brings what is newer, and one that was cut off goes on where it stopped. Handles are
downloaded side by side; whoever meets the rate limit makes all wait until it is lifted.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import tweepy
from requests.adapters import HTTPAdapter

from pipeline.core.errors import UsageError, UserError, one_line
from pipeline.core.progress import Progress
from pipeline.tweets.files import MAX_PICTURE, PICTURES

_ACCOUNT = re.compile(r"[A-Za-z0-9_]{1,15}")
_PAGE = 100  # tweets, the API's most
_MOST = 3_200  # tweets of one account
_WORKERS = 8
_TRIES = 5  # of a request that the server or the network fails
_TIMEOUT = 30  # seconds without a byte
_USER_FIELDS = ["name", "username", "profile_image_url", "protected"]
_TWEET_FIELDS = ["created_at", "lang", "public_metrics", "referenced_tweets", "in_reply_to_user_id", "note_tweet"]


@dataclass
class Fetched:
    """What became of one handle; `status` is fetched or failed."""

    handle: str
    status: str = "fetched"
    new: int = 0  # tweets that this call brought
    reason: str | None = None


class _Stop(UserError):
    """Nothing can be downloaded for anybody: the token or the account is refused."""


class _Missing(Exception):
    """This handle cannot be downloaded; the message says why."""


class _Adapter(HTTPAdapter):
    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = _TIMEOUT  # tweepy would wait for ever
        return super().send(*arguments, **options)


class Api:
    """The few calls we make, with waiting and trying again. Threads share it."""

    def __init__(self, token: str, say: Callable[[str], None]):
        self.client = tweepy.Client(token, return_type=dict)
        self.client.session.mount("https://", _Adapter(pool_maxsize=_WORKERS))
        self.say = say
        self._lock = threading.Lock()
        self._open = 0.0  # when the rate limit is lifted, seconds since the epoch
        self.stopped = threading.Event()

    def users(self, handles: list[str]) -> dict[str, dict[str, Any]]:
        """Accounts by lower-cased handle; what is not there has {"error": reason} in its place."""
        page = self._ask(lambda: self.client.get_users(usernames=handles, user_fields=_USER_FIELDS))
        found = {user["username"].lower(): user for user in page.get("data", [])}
        for error in page.get("errors", []):
            suspended = "suspended" in str(error.get("detail", "")).lower()
            found[str(error.get("value", "")).lower()] = {"error": "is suspended" if suspended else "no such user"}
        return {handle: found.get(handle, {"error": "no such user"}) for handle in handles}

    def tweets(self, user: str, since: str | None, until: str | None, token: str | None) -> dict[str, Any]:
        """One page of a user's tweets, newest first, after `since` and before `until` (ids)."""
        return self._ask(
            lambda: self.client.get_users_tweets(
                user,
                max_results=_PAGE,
                since_id=since,
                until_id=until,
                pagination_token=token,
                tweet_fields=_TWEET_FIELDS,
                user_fields=_USER_FIELDS,
                expansions=["author_id", "referenced_tweets.id", "referenced_tweets.id.author_id"],
            )
        )

    def picture(self, url: str) -> bytes:
        """The bytes of a profile picture, in the larger size. Raises OSError."""
        larger = url.replace("_normal.", "_400x400.")
        with self.client.session.get(larger, stream=True) as reply:
            reply.raise_for_status()
            data = reply.raw.read(MAX_PICTURE + 1, decode_content=True)
        if len(data) > MAX_PICTURE:
            raise OSError(f"its picture is over {MAX_PICTURE} bytes")
        return bytes(data)

    def _ask(self, call: Callable[[], Any]) -> dict[str, Any]:
        failures = 0
        while True:
            self._wait()
            try:
                page: dict[str, Any] = call()
                return page
            except tweepy.TooManyRequests as limit:
                if "UsageCapExceeded" in str(limit.response.text):
                    raise self._stop("the account's monthly tweets are used up") from None
                self._close_until(limit.response.headers.get("x-rate-limit-reset"))
            except tweepy.Unauthorized:
                raise self._stop("X refuses the bearer token (401); check X_BEARER_TOKEN") from None
            except (tweepy.Forbidden, tweepy.NotFound, tweepy.BadRequest) as error:
                raise _Missing(f"X refuses: {one_line(error)}") from None
            except (tweepy.TwitterServerError, requests.RequestException) as error:
                failures += 1
                if failures == _TRIES:
                    raise _Missing(f"X did not answer after {_TRIES} tries: {one_line(error)}") from None
                self.stopped.wait(0.5 * 2**failures)
            except tweepy.HTTPException as error:
                if error.response.status_code == 402:
                    raise self._stop("the X account is out of credits (402)") from None
                raise _Missing(f"X refuses: {one_line(error)}") from None

    def _stop(self, reason: str) -> _Stop:
        self.stopped.set()
        return _Stop(reason)

    def _close_until(self, reset: str | None) -> None:
        """Notes when requests are allowed again, and says so once."""
        at = float(reset) if reset and reset.isdigit() else time.time() + 60
        with self._lock:
            if at > self._open and time.time() < at:
                self._open = at
                self.say(f"rate limit reached; waiting {at - time.time():.0f} s until X allows more requests")

    def _wait(self) -> None:
        while (left := self._open - time.time()) > 0 and not self.stopped.wait(min(left, 1.0)):
            pass
        if self.stopped.is_set():
            raise _Missing("not tried: nothing can be downloaded")


@dataclass
class _Have:
    """What a handle's file holds. Pages come newest first; a sweep ends with a page that has no next_token."""

    newest: int = 0
    oldest: int = 0  # of the sweep under way
    floor: int = 0  # newest of the sweeps before it
    sweep: int = 0  # tweets of the sweep under way
    complete: bool = True

    def add(self, page: dict[str, Any]) -> int:
        ids = [int(tweet["id"]) for tweet in page.get("data", [])]
        if self.complete:
            self.floor, self.sweep = self.newest, 0
        if ids:
            self.newest, self.oldest = max(self.newest, *ids), min(ids)
        self.sweep += len(ids)
        self.complete = "next_token" not in page.get("meta", {}) or self.sweep >= _MOST
        return len(ids)


def handles_of(names: list[str]) -> list[str]:
    """The handles asked for, each once. Raises UsageError for a name that no account of X has."""
    plain = [name.strip().removeprefix("@") for name in names]
    for name in plain:
        if not _ACCOUNT.fullmatch(name):
            raise UsageError(f"{name[:60]!r} is not an account of X (1-15 of A-Z a-z 0-9 _)")
    return list(dict.fromkeys(name.lower() for name in plain))


def token() -> str:
    """The bearer token, a secret and so from the environment. Raises UserError where there is none."""
    given = os.environ.get("X_BEARER_TOKEN", "").strip()
    if not given:
        raise UserError("X_BEARER_TOKEN is not set; the X developer portal gives an app's bearer token")
    return given


def fetch(handles: list[str], out: Path, token: str, progress: Progress) -> list[Fetched]:
    """Downloads every handle (as `fleet.handle_of` gives them) into `out`.

    Raises UserError where the token is refused, the account has no credits, or `out` cannot be written.
    """
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None
    api = Api(token, progress.say)
    progress.start("fetch", len(handles), f"{len(handles)} handles into {out}")
    done: dict[str, Fetched] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            accounts: dict[str, dict[str, Any]] = {}
            for start in range(0, len(handles), _PAGE):
                accounts |= api.users(handles[start : start + _PAGE])
            futures = [pool.submit(_fetch_one, api, handle, accounts[handle], out) for handle in handles]
            for future in as_completed(futures):
                result = future.result()
                done[result.handle] = result
                outcome = f"{result.new:,} new tweets" if result.status == "fetched" else f"failed: {result.reason}"
                progress.advance(f"{result.handle}: {outcome}")
        except _Missing as error:
            raise UserError(str(error)) from None
        finally:
            api.stopped.set()
    return [done[handle] for handle in handles]


def _fetch_one(api: Api, handle: str, account: dict[str, Any], out: Path) -> Fetched:
    result = Fetched(handle)
    try:
        if "error" in account:
            raise _Missing(account["error"])
        if account.get("protected"):
            raise _Missing("is protected: only approved followers see its tweets")
        _picture(api, handle, account, out)
        result.new = _pages(api, out / f"{handle}.jsonl", account["id"])
    except (_Missing, OSError) as error:
        result.status, result.reason = "failed", str(error)
    return result


def _pages(api: Api, path: Path, user: str) -> int:
    """Appends the pages that the file lacks; returns how many tweets came."""
    have, new, token = _load(path), 0, None
    since = str((have.newest if have.complete else have.floor) or "") or None
    until = None if have.complete else str(have.oldest or "") or None
    with path.open("ab") as file:
        while True:
            page = api.tweets(user, since, until, token)
            if page.get("errors") and not page.get("data") and "meta" not in page:
                raise _Missing(f"X refuses: {page['errors'][0].get('detail') or page['errors'][0].get('title')}")
            if page.get("data") or not have.complete:  # an empty page ends a sweep that was cut off
                file.write(json.dumps(page, ensure_ascii=False).encode() + b"\n")
                file.flush()
                new += have.add(page)
            token = page.get("meta", {}).get("next_token")
            if not token or have.complete:
                break
    if not path.stat().st_size:
        path.unlink()
        raise _Missing("has no tweets")
    return new


def _load(path: Path) -> _Have:
    """What the file holds; a last line that was cut off while it was written is taken away."""
    have = _Have()
    if not path.exists():
        return have
    with path.open("r+b") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                have.add(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise _Missing(f"{path} does not hold pages of the X API; move it away") from None
            end += len(line)
        file.truncate(end)
    return have


def _picture(api: Api, handle: str, account: dict[str, Any], out: Path) -> None:
    """The profile picture, for the model card; a bot does well without."""
    url = account.get("profile_image_url")
    if url and url.startswith("https://"):
        try:
            (out / PICTURES / f"{handle}.jpg").write_bytes(api.picture(url))
        except (requests.RequestException, OSError) as error:
            api.say(f"{handle}: no picture: {one_line(error)}")
