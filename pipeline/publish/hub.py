"""Published bots to the Hugging Face hub, and to a folder: one repository a bot, one tag a version.

    HF_TOKEN=… huggingtweets publish fleet.yaml --hub my-org        # my-org/nasa, private unless told
    huggingtweets export fleet.yaml nasa --to ./nasa                # the plain model folder

`bots/{bot}/hub.json` keeps which version and which card each repository holds: only what changed is pushed.
"""

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from pipeline.core.errors import UsageError, UserError, one_line
from pipeline.core.progress import Progress
from pipeline.core.store import Store

RECORD = "hub.json"  # beside a bot's versions
_WORKERS = 8
_TRIES = 4
_LONGEST = 300.0  # seconds to wait where the hub asks for a pause
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,41}")


@dataclass
class Pushed:
    """What became of one bot; `status` is pushed, unchanged or failed."""

    bot: str
    repository: str
    status: str
    reason: str | None = None


def push(store: Store, versions: dict[str, str], org: str, private: bool, progress: Progress) -> list[Pushed]:
    """Pushes these versions to the organisation's repositories, several at once.

    Raises UsageError for a name that no organisation can have, UserError where the hub refuses the token.
    """
    if not _ORG.fullmatch(org):
        raise UsageError(f"--hub: {org[:60]!r} is not the name of a user or an organisation")
    api, token = HfApi(), get_token()
    if not token:
        raise UserError("HF_TOKEN is not set; pushing to the hub needs a token that may write")
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
    known = repositories(store, bot)
    try:
        content = _content(store, bot, version)
        if known.get(repository) == content:
            return Pushed(bot, repository, "unchanged")
        _retried(lambda: _upload(api, store, bot, version, repository, private))
        store.write(_record(bot), json.dumps(known | {repository: content}).encode())
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
            raise UserError("the hub refuses the token (401); check HF_TOKEN") from None
        return Pushed(bot, repository, "failed", one_line(error))
    return Pushed(bot, repository, "pushed")


def _content(store: Store, bot: str, version: str) -> dict[str, str]:
    """What a repository holds: a version's weights never change, but its card and what was measured may."""
    digest = hashlib.sha256()
    for name in ("README.md", "metrics.json"):
        digest.update(store.read(f"bots/{bot}/{version}/{name}"))
    return {"version": version, "card": digest.hexdigest()[:12]}


def _upload(api: HfApi, store: Store, bot: str, version: str, repository: str, private: bool) -> None:
    api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = store.fetch(f"bots/{bot}/{version}", Path(scratch))
        # a file that this version does not have goes, so that the revision is the folder
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"Version {version}", delete_patterns="*"
        )
    api.create_tag(repository, tag=version, exist_ok=True)


def _retried(work: Any) -> None:
    """Tries again what a busy hub or a cut connection failed."""
    for attempt in range(1, _TRIES + 1):
        try:
            work()
            return
        except (HfHubHTTPError, httpx.TransportError) as error:
            passing = not isinstance(error, HfHubHTTPError) or error.response.status_code in (429, 500, 502, 503, 504)
            if not passing or attempt == _TRIES:
                raise
            asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
            time.sleep(max(0.5 * 2**attempt, min(float(asked), _LONGEST) if asked.isdigit() else 0))


def repositories(store: Store, bot: str) -> dict[str, dict[str, str]]:
    """The hub's repositories that hold this bot, each with what it holds, as far as this store pushed them."""
    return store.read_json(_record(bot))


def remove(store: Store, bot: str) -> Iterator[tuple[str, str | None]]:
    """Deletes the bot's repositories; yields each with the reason why it could not be deleted, or None."""
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


def export(store: Store, bot: str, to: Path) -> str:
    """Copies the version in use into the folder `to`, which must be new or empty; returns the version."""
    version = store.current_version(bot)
    if version is None:
        raise UserError(f"bot {bot} is not published; `huggingtweets run` makes it")
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise UsageError(f"--to {to}: the folder is not empty")
        for name in store.list(f"bots/{bot}/{version}"):
            (to / name).write_bytes(store.read(f"bots/{bot}/{version}/{name}"))
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written: {error.strerror or one_line(error)}") from None
    return version
