"""GET requests for JSON that wait for rate limits and retry after temporary faults.

    client = Client("Bluesky", say=print)
    client.get("https://public.api.bsky.app/xrpc/app.bsky.actor.getProfile", actor="ada.bsky.social")

All threads that download from one service share a client: when the service limits one of them, all of them wait.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from dateutil import parser as dates
from requests.adapters import HTTPAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tenacity.nap import sleep_using_event

from pipeline.core.errors import UserError, one_line
from pipeline.tweets.files import MAX_PICTURE

WORKERS = 8  # accounts to download at the same time
TRIES = 5  # of a request, if the server or the network fails
TIMEOUT = 30  # seconds without a byte
_LARGEST = 32 * 2**20  # bytes of one reply; a page of posts has about 500 KB
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 3600.0  # seconds, for a rate limit


class Unavailable(Exception):
    """An account cannot be downloaded; the message is the reason."""


class Refused(UserError):
    """The service refuses the token or the developer's account, so no account can be downloaded from it."""


class PassingFault(Exception):
    """The server or the network failed; a retry may succeed."""


class TimeoutAdapter(HTTPAdapter):
    """Sets the timeout of all requests to TIMEOUT seconds without a byte; the default of requests is none."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Sends the request with the timeout."""
        options["timeout"] = TIMEOUT
        return super().send(*arguments, **options)


class RateLimit:
    """The time from which a service accepts requests again, shared by all threads that use the service."""

    def __init__(self, service: str, say: Callable[[str], None]):
        """`service` is the name in messages; `say` gets a message when a limit is reached."""
        self.service, self.say = service, say
        self.stopped = threading.Event()  # set: no more requests are sent
        self._lock = threading.Lock()
        self._open_at = 0.0  # seconds since the epoch

    def wait(self) -> None:
        """Returns when requests are allowed. Raises Unavailable if the download was stopped."""
        while (left := self._open_at - time.time()) > 0 and not self.stopped.wait(min(left, 1.0)):
            pass
        if self.stopped.is_set():
            raise Unavailable("not tried: the download was stopped")

    def close_until(self, at: float) -> None:
        """Blocks requests until `at`, in seconds since the epoch, and reports it once."""
        with self._lock:
            if at > self._open_at and time.time() < at:
                self._open_at = at
                wait = at - time.time()
                self.say(f"rate limit reached; waiting {wait:.0f} s until {self.service} allows more requests")

    def retrying(self) -> Retrying:
        """Returns a retry policy that ends after TRIES temporary faults, or when the download is stopped."""
        return Retrying(
            retry=retry_if_exception_type(PassingFault),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=0.5, min=1, max=16),
            sleep=sleep_using_event(self.stopped),
            reraise=True,
        )


class Client:
    """Sends GET requests to one service; several threads may use one instance."""

    def __init__(self, service: str, say: Callable[[str], None]):
        """`service` is the name in messages; `say` gets a message when a rate limit is reached."""
        self.service = service
        self.limit = RateLimit(service, say)
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "huggingtweets-ray (downloads public posts for their authors' bots)"
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, TimeoutAdapter(pool_maxsize=WORKERS))

    def get(self, url: str, **query: str | int | None) -> Any:
        """Returns the JSON of the reply, or None if the server answers 404.

        Raises Unavailable for any other error of the request, with the server's reason, and after TRIES failed tries.
        """
        given = {key: value for key, value in query.items() if value is not None}
        try:
            return self.limit.retrying()(self._get_once, url, given)
        except PassingFault as error:
            raise Unavailable(f"{self.service} did not answer after {TRIES} tries: {error}") from None

    def _get_once(self, url: str, query: dict[str, str | int]) -> Any:
        while True:
            self.limit.wait()
            try:
                with self.session.get(url, params=query, stream=True) as reply:
                    if reply.status_code == 429:
                        self.limit.close_until(allowed_at(reply.headers))
                        continue
                    return self._judged(reply, _body(reply, _LARGEST))
            except (requests.RequestException, OSError) as error:
                raise PassingFault(one_line(error)) from None

    def _judged(self, reply: requests.Response, body: bytes) -> Any:
        if reply.status_code == 404:
            return None
        if reply.status_code >= 500:
            raise PassingFault(f"status {reply.status_code}")
        if len(body) > _LARGEST:
            raise Unavailable(f"{self.service} sent a page of over {_LARGEST:,} bytes")
        try:
            content = json.loads(body)
        except ValueError:
            raise PassingFault("the reply is not JSON") from None
        if reply.status_code >= 400:
            reason = content.get("message") or content.get("error") if isinstance(content, dict) else None
            raise Unavailable(f"{self.service} refuses: {str(reason or reply.status_code)[:200]}")
        if reply.headers.get("ratelimit-remaining", reply.headers.get("x-ratelimit-remaining")) == "0":
            self.limit.close_until(allowed_at(reply.headers))
        return content


def save_picture(session: requests.Session, url: str | None, path: Path, say: Callable[[str], None]) -> None:
    """Saves a profile picture at `path`, for the model card; does nothing without an https URL.

    A picture is optional: if it cannot be downloaded or written, `say` gets a message and the download continues.
    """
    if not str(url).startswith("https://"):
        return
    try:
        path.write_bytes(_read_picture(session, str(url)))
    except OSError as error:  # requests' exceptions are OSErrors
        say(f"{path.stem}: no picture: {one_line(error)}")


def _read_picture(session: requests.Session, url: str) -> bytes:
    """Returns a profile picture of at most MAX_PICTURE bytes. Raises OSError."""
    with session.get(url, stream=True) as reply:
        reply.raise_for_status()
        data = _body(reply, MAX_PICTURE)
    if len(data) > MAX_PICTURE:
        raise OSError(f"it is over {MAX_PICTURE:,} bytes")
    return data


def _body(reply: requests.Response, limit: int) -> bytes:
    """Returns a reply's body; of a larger one than `limit` bytes only the beginning, which is also over the limit.

    Raises requests.RequestException if the connection breaks.
    """
    data = bytearray()
    for piece in reply.iter_content(2**16):
        data += piece
        if len(data) > limit:
            break
    return bytes(data)


def allowed_at(headers: Mapping[str, str]) -> float:
    """Returns the time from which the server accepts requests again, in seconds since the epoch.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3). The headers of rate limits hold seconds since the
    epoch (Bluesky, X) or an ISO 8601 time (Mastodon). Without any of them the wait is one minute.
    """
    now = time.time()
    at = now + 60
    after = headers.get("retry-after", "")
    names = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
    reset = next((headers[name] for name in names if name in headers), "")
    try:
        if after.isdigit():
            at = now + int(after)
        elif after:
            at = parsedate_to_datetime(after).timestamp()
        elif reset and reset.isdigit():
            at = float(reset) if float(reset) > 10**9 else now + float(reset)
        elif reset:
            at = dates.isoparse(reset).timestamp()
    except (ValueError, OverflowError):
        pass
    return min(max(at, now + _SHORTEST_WAIT), now + _LONGEST_WAIT)
