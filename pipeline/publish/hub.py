"""Pushes published bots to the Hugging Face hub: one repository for each bot, one tag for each version.

    push(store, {"nasa": "0123456789ab"}, "my-org", private=True, progress=progress)      # my-org/nasa

The command is `huggingtweets publish fleet.yaml --hub my-org`, with a token in HF_TOKEN. A bot's `hub.json` records
which version and which card each of its repositories holds, so only what changed is pushed.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import httpx
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt, wait_exponential

from pipeline.core import checksums
from pipeline.core.errors import UsageError, UserError, one_line
from pipeline.core.progress import Progress
from pipeline.core.store import Store

RECORD = "hub.json"  # beside a bot's versions
_WORKERS = 8  # pushes at a time
_TRIES = 4
_BACKOFF = wait_exponential(multiplier=1)  # seconds: 1, 2, 4 …
_MAX_PAUSE = 300.0  # seconds to wait at most where the hub asks for a pause
_BUSY = (429, 500, 502, 503, 504)  # HTTP status codes that may pass
_LONGEST_NAME = 96  # characters; a blend's name may have more
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,41}")


@dataclass(frozen=True)
class Pushed:
    """The result of pushing one bot; `reason` says why it failed."""

    bot: str
    repository: str
    status: Literal["pushed", "unchanged", "failed"]
    reason: str | None = None


class Content(TypedDict):
    """What a repository holds. A version's weights never change; its card and its metrics may."""

    version: str
    card: str  # a hash of README.md and metrics.json


def push(store: Store, versions: dict[str, str], org: str, private: bool, progress: Progress) -> list[Pushed]:
    """Pushes these bots ({bot: version}) to repositories of a user or an organisation; returns results by bot's name.

    `private` is for repositories that are new. A bot that cannot be pushed is a `failed` result. Raises UsageError
    for a name that no organisation can have, UserError if there is no token or the hub refuses it.
    """
    if not _ORG.fullmatch(org):
        raise UsageError(f"--hub: {org[:60]!r} is not the name of a user or an organisation")
    api, token = HfApi(), get_token()
    if not token:
        raise UserError("HF_TOKEN is not set; set it to a token of the Hugging Face hub with write access")
    progress.start("push", len(versions), f"{len(versions)} bots to {org}")
    results = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        futures = [pool.submit(_push_one, api, store, bot, versions[bot], org, private) for bot in sorted(versions)]
        try:
            for future in as_completed(futures):
                results.append(result := future.result())
                reason = f": {result.reason}" if result.reason else ""
                progress.advance(f"{result.repository} {result.status}{reason}")
        finally:
            pool.shutdown(cancel_futures=True)
    return sorted(results, key=lambda result: result.bot)


def _push_one(api: HfApi, store: Store, bot: str, version: str, org: str, private: bool) -> Pushed:
    repository = f"{org}/{bot}"
    if len(bot) > _LONGEST_NAME:
        reason = f"its name has {len(bot)} characters and the hub allows {_LONGEST_NAME}; blend fewer people"
        return Pushed(bot, repository, "failed", reason)
    known = repositories(store, bot)
    try:
        content = _content(store, bot, version)
        if known.get(repository) == content:
            return Pushed(bot, repository, "unchanged")
        _upload(api, store, bot, version, repository, private)
        store.write(_record(bot), json.dumps(known | {repository: content}).encode())
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
            raise UserError("the Hugging Face hub refuses the token (401); check HF_TOKEN") from None
        return Pushed(bot, repository, "failed", one_line(error))
    return Pushed(bot, repository, "pushed")


def _content(store: Store, bot: str, version: str) -> Content:
    digest = hashlib.sha256()
    for name in ("README.md", "metrics.json"):
        digest.update(store.read(f"bots/{bot}/{version}/{name}"))
    return {"version": version, "card": digest.hexdigest()[:12]}


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed: the hub is busy, or the connection was cut."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError)


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: the backoff, or what the hub asks for in Retry-After where that is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    return max(_BACKOFF(state), min(float(asked), _MAX_PAUSE) if asked.isdigit() else 0.0)


@retry(retry=retry_if_exception(_may_pass), stop=stop_after_attempt(_TRIES), wait=_pause, reraise=True)
def _upload(api: HfApi, store: Store, bot: str, version: str, repository: str, private: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = store.fetch(f"bots/{bot}/{version}", Path(scratch))
        checksums.check(folder)
        api.create_repo(repository, private=private, exist_ok=True)
        # delete_patterns: files of an earlier version go, so that the revision is the folder
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"Version {version}", delete_patterns="*"
        )
    api.create_tag(repository, tag=version, exist_ok=True)


def repositories(store: Store, bot: str) -> dict[str, Content]:
    """The repositories to which this store pushed the bot, each with what it holds."""
    return store.read_json(_record(bot))


def remove(store: Store, bot: str) -> Iterator[tuple[str, str | None]]:
    """Deletes the bot's repositories; yields each with the reason why it could not be deleted, or None if it was."""
    left = repositories(store, bot)
    for repository in list(left):
        problem = None if get_token() else "HF_TOKEN is not set"
        try:
            if not problem:
                HfApi().delete_repo(repository, missing_ok=True)
        except (HfHubHTTPError, httpx.HTTPError) as error:
            problem = one_line(error)
        if not problem:
            del left[repository]
            store.write(_record(bot), json.dumps(left).encode())
        yield repository, problem


def _record(bot: str) -> str:
    return f"bots/{bot}/{RECORD}"
