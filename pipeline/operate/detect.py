"""Whether a fleet's bots wrote a set of posts: what `huggingtweets detect FLEET.yaml FILE` does.

    detection = detect(fleet, Path("posts.txt"))
    detection.marked                    # True, False, or None if there is too little text to tell

It looks for the watermark that `serve.watermark` leaves, with every secret that the fleet ever had. docs/watermark.md
says how often it is right.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline import tweets
from pipeline.core import checksums, watermark_keys
from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet
from pipeline.core.manifest import published
from pipeline.core.settings import TweetSource
from pipeline.core.signing import iso_time
from pipeline.core.store import Store
from serve.engine.text import Vocabulary
from serve.engine.watermark_search import search

MAX_P = 0.001  # at most this: the posts are marked
ENOUGH = 250  # tokens: sets of marked posts with as many were found each time (docs/watermark.md)
_BOTS = 256  # at most, whose tokenizers are compared
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Detection:
    """The result for a set of posts."""

    marked: bool | None  # None: no watermark was found, but in so few tokens it could be missed
    p_value: float  # how likely posts without the watermark would look so much like marked ones; 1e-300 at least
    posts: int
    tokens: int  # that the p-value rests on: what the posts repeat counts once
    key_created: str | None  # when the secret that marked them was made, in ISO 8601; None if none did


def detect(fleet: Fleet, file: Path) -> Detection:
    """Looks for the fleet's watermark in the posts of a file, in any format that `tweets` takes.

    Raises UserError if the fleet has no secret or no published bot, UsageError if the file has no posts.
    """
    posts, store = _posts(file), Store.of(fleet)
    if not (keys := watermark_keys.load(store)):
        raise UserError(f"fleet {fleet.fleet} has never marked texts; serve.watermark: true marks what its bots write")
    if not (vocabularies := _vocabularies(store)):
        raise UserError(f"fleet {fleet.fleet}: no bot is published, so the posts' tokens are not known")
    tokens, best, created = 0, 1.0, 0
    for vocabulary in vocabularies:
        encoded = [vocabulary.encode(post) for post in posts]
        for key in keys:
            p_value, counted = search(key.secret, encoded, vocabulary.separator)
            tokens = max(tokens, counted)
            if p_value <= best:
                best, created = p_value, key.created
    p_value = min(1.0, best * len(keys) * len(vocabularies))  # the best of so many tries (Bonferroni)
    if p_value <= MAX_P:
        return Detection(True, p_value, len(posts), tokens, iso_time(created))
    return Detection(None if tokens < ENOUGH else False, p_value, len(posts), tokens, None)


def _posts(file: Path) -> list[str]:
    """The texts in a file. Raises UsageError if there are none."""
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    found = [one for part in tweets.find([TweetSource(path=str(file), handle="posts")]) for one in tweets.read(part)]
    texts = [one.text for one in found if isinstance(one, tweets.Record)]
    if not texts:
        reasons = [one.reason for one in found if isinstance(one, tweets.Reject)]
        raise UsageError(f"{file}: no posts: {reasons[0] if reasons else 'the file is empty'}")
    return texts


def _vocabularies(store: Store) -> list[Vocabulary]:
    """The vocabularies of the published bots, each once: bots of an earlier base model may have another one.

    In a large fleet, one bot of several is looked at.
    """
    folders = [f"bots/{bot}/{version}" for bot, version in sorted(published(store).items())]
    folders = folders[:: math.ceil(len(folders) / _BOTS) or 1]
    digests = store.map(lambda folder: _tokenizer_digest(store, folder), folders)
    return list(
        dict.fromkeys(_vocabulary(store, folder) for folder in dict(zip(digests, folders, strict=True)).values())
    )


def _tokenizer_digest(store: Store, folder: str) -> str:
    """A hash of a bot's tokenizer; for a bot without checksums its folder, which stands for itself."""
    try:
        return checksums.parse(store.read(f"{folder}/{checksums.FILE}")).get(_TOKENIZER, folder)
    except FileNotFoundError:
        return folder


def _vocabulary(store: Store, folder: str) -> Vocabulary:
    """The vocabulary of a bot in the store."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in store.list(folder):
            if name.endswith((".json", ".txt", ".model")):  # the tokenizer's, and no weights
                (Path(scratch) / name).write_bytes(store.read(f"{folder}/{name}"))
        return Vocabulary.of(Path(scratch))
