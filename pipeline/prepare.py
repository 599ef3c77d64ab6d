"""Ray Data around the readers and the rules: files in, per person the kept tweets as tokens.

    prepared = prepare(files, store, tokenizer_json, holdout=0.1)
    prepared.people["nasa"].counts         # {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}

Files are read and cleaned in parallel, one hash shuffle brings each person's tweets together, and the
task that holds a person writes `work/tweets/{handle}.parquet` (id, text, tokens, held_out) and hands back
one small row. The driver never holds a tweet.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data

from pipeline import tweets
from pipeline.clean import SEPARATOR, clean, held_out
from pipeline.errors import UserError
from pipeline.session import ensure
from pipeline.store import Store
from pipeline.tweets import Profile, Record, Reject, TweetFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INDEX = "work/people.json"
REJECTS = "rejects.jsonl"
RULES = 2  # part of what prepared tweets depend on: raise it when readers or rules change
_CHUNK = 10_000  # tweets in a table, the unit that streams
_SHARD_BYTES = 64 * 2**20  # of input per partition of the shuffle

_SCHEMA = pa.schema(
    [
        ("handle", pa.string()),  # "" for a reject
        ("verdict", pa.string()),  # kept, retweet, short, reject; profile: what a file says of the person
        ("id", pa.string()),
        ("text", pa.string()),  # cleaned; a reject's reason
        ("file", pa.string()),
        ("line", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Person:
    """What prepare knows of one person; the tweets themselves are in the store."""

    handle: str
    counts: dict[str, int]  # downloaded, retweets, short, kept
    chars: int  # of the kept text, joined with the separator
    tokens: int  # in training tweets
    digest: str  # of the kept tweets: their ids and texts, in a fixed order
    name: str | None = None  # as it is displayed, where a file says


@dataclass(frozen=True)
class Prepared:
    """The index of what is prepared. `problems`: files that gave nothing, as {path: reason}."""

    people: dict[str, Person]
    problems: dict[str, str]
    owners: dict[str, str]  # the handle that a file with a problem stands for, where it has one
    rejects: int
    fingerprint: str  # of files and settings: the same again means there is nothing to do
    unchanged: bool = False


def prepare(files: list[TweetFile], store: Store, tokenizer: str, holdout: float) -> Prepared:
    """Reads, cleans, counts and tokenises every file; does nothing where files and settings are the same.

    `tokenizer` is a tokenizer.json. Raises UserError where no file holds a tweet.
    """
    fingerprint = _fingerprint(files, tokenizer, holdout)
    known = load_index(store)
    if known and known.fingerprint == fingerprint:
        return Prepared(**(vars(known) | {"unchanged": True}))
    readable = [file for file in files if file.problem is None]
    problems = {file.path: file.problem for file in files if file.problem is not None}
    owners = {file.path: file.handle for file in files if file.problem is not None and file.handle}
    store.write(REJECTS, _reject_lines([(path, 0, reason) for path, reason in problems.items()]))
    people, rejects = {}, len(problems)
    if readable:
        ensure()
    for row in _group(readable, store, tokenizer, holdout, problems) if readable else ():
        if row["handle"]:
            person = json.loads(row["summary"])
            people[row["handle"]] = Person(**person)
        else:
            summary = json.loads(row["summary"])
            rejects += summary["rejects"]
            problems |= summary["files"]
    owners |= {file.path: file.handle for file in readable if file.path in problems and file.handle}
    if not people:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in sorted(problems.items())[:5])
        raise UserError(f"no tweets to work with: {reasons or 'the files hold no usable record'}")
    people = dict(sorted(people.items()))
    prepared = Prepared(people, dict(sorted(problems.items())), owners, rejects, fingerprint)
    index = {key: value for key, value in asdict(prepared).items() if key != "unchanged"}
    store.write(INDEX, json.dumps(index, ensure_ascii=False).encode())
    return prepared


def load_index(store: Store) -> Prepared | None:
    """What the last prepare found, or None where there was none."""
    try:
        index = json.loads(store.read(INDEX))
    except FileNotFoundError:
        return None
    return Prepared(**(index | {"people": {name: Person(**row) for name, row in index["people"].items()}}))


def load_tweets(store: Store, handle: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A person's tweets as token ids, int32 each: those to train on, and those held out."""
    with store.filesystem.open_input_file(store.path(f"work/tweets/{handle}.parquet")) as file:
        table = pq.read_table(file, columns=["tokens", "held_out"])
    pairs = list(zip(table["tokens"].to_numpy(), table["held_out"].to_pylist(), strict=True))
    return [tokens for tokens, out in pairs if not out], [tokens for tokens, out in pairs if out]


@dataclass(frozen=True)
class Tweets:
    """A person's kept tweets: those to train on, and those held out with their token ids."""

    training: list[str]
    held_out: list[str]
    held_out_ids: list[np.ndarray]  # int32 each


def read_tweets(store: Store, handle: str) -> Tweets:
    """A person's tweets as texts: what evaluating goes by."""
    data = pa.BufferReader(store.read(f"work/tweets/{handle}.parquet"))
    table = pq.read_table(data, columns=["text", "tokens", "held_out"])
    out = table["held_out"]
    held_out = table.filter(out)
    training = table.filter(pc.invert(out))["text"].to_pylist()
    return Tweets(training, held_out["text"].to_pylist(), list(held_out["tokens"].to_numpy()))


def _fingerprint(files: list[TweetFile], tokenizer: str, holdout: float) -> str:
    described = [
        [file.path, file.handle, file.size, file.mtime, file.problem, file.columns, file.users, file.repair]
        for file in files
    ]
    return hashlib.sha256(json.dumps([described, tokenizer, holdout, RULES]).encode()).hexdigest()


def cleaned(files: list[TweetFile]) -> "ray.data.Dataset":
    """Every record of the files with its verdict (columns of `_SCHEMA`), streamed."""
    source = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
    return source.map_batches(_clean_files, batch_size=1, batch_format="pandas")


def _clean_files(batch: Any) -> Iterator[pa.Table]:
    for file in batch["file"]:
        rows: list[tuple[str, str, str, str, str, int]] = []
        for item in tweets.read(file):
            rows.append(_row(item, file.path))
            if len(rows) >= _CHUNK:
                yield _table(rows)
                rows = []
        yield _table(rows)


def _row(item: Record | Reject | Profile, path: str) -> tuple[str, str, str, str, str, int]:
    if isinstance(item, Profile):
        return item.handle, "profile", "", item.name or "", path, 0
    if isinstance(item, Reject):
        return "", "reject", "", item.reason, path, item.line
    verdict, text = clean(item.text, item.retweet)
    return item.handle, verdict, item.id, text, path, item.line


def _table(rows: list[tuple[str, str, str, str, str, int]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA)


def _group(
    files: list[TweetFile], store: Store, tokenizer: str, holdout: float, problems: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """One row for each person (and one, without a handle, for all rejects), as their tasks finish."""
    partitions = max(2, min(200, math.ceil(sum(file.size for file in files) / _SHARD_BYTES)))
    grouped = cleaned(files).groupby("handle", num_partitions=partitions)
    arguments = {"store": store, "tokenizer": tokenizer, "holdout": holdout, "problems": problems}
    return iter(grouped.map_groups(cast(Any, _finish), fn_kwargs=arguments, batch_format="pyarrow").iter_rows())


def _finish(group: Any, store: Store, tokenizer: str, holdout: float, problems: dict[str, str]) -> dict[str, list[str]]:
    if group.num_rows == 0:
        return {"handle": [], "summary": []}
    handle = group["handle"][0].as_py()
    if handle and all(verdict == "profile" for verdict in group["verdict"].to_pylist()):
        return {"handle": [], "summary": []}  # somebody that a users table or another's tweets mention
    summary = _person(handle, group, store, tokenizer, holdout) if handle else _rejects(group, store, problems)
    return {"handle": [handle], "summary": [json.dumps(summary)]}


def _rejects(group: pa.Table, store: Store, problems: dict[str, str]) -> dict[str, Any]:
    """Lists the rejects in the store, those of whole files first."""
    group = group.sort_by([("file", "ascending"), ("line", "ascending")])
    columns = (group[name].to_pylist() for name in ("file", "line", "text"))
    entries = [(path, 0, reason) for path, reason in sorted(problems.items())] + list(zip(*columns, strict=True))
    store.write(REJECTS, _reject_lines(entries))
    return {"rejects": group.num_rows, "files": {path: reason for path, line, reason in entries if line == 0}}


def _reject_lines(entries: list[tuple[str, int, str]]) -> bytes:
    rows = ({"file": path, "line": line, "reason": reason} for path, line, reason in entries)
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _person(handle: str, group: pa.Table, store: Store, tokenizer: str, holdout: float) -> dict[str, Any]:
    """Counts a person's tweets, tokenises the kept ones and writes them to the store."""
    seen: set[str] = set()
    name: str | None = None
    verdicts = {"retweet": 0, "short": 0, "kept": 0}
    kept: list[tuple[str, str]] = []
    group = group.sort_by([("file", "ascending"), ("line", "ascending")])
    columns = (group[name].to_pylist() for name in ("verdict", "id", "text"))
    for verdict, id, text in zip(*columns, strict=True):
        if verdict == "profile":
            name = name or text or None
            continue
        if id and id in seen:
            continue  # the same tweet in several files counts once
        seen.add(id)
        verdicts[verdict] += 1
        if verdict == "kept":
            kept.append((id, text))
    kept.sort(key=lambda tweet: (len(tweet[0]), *tweet))  # the same order whatever the files were called
    texts = [text for _, text in kept]
    outs = held_out([id or text for id, text in kept], holdout)
    tokens = [encoding.ids for encoding in _tokenizer(tokenizer).encode_batch(texts, add_special_tokens=False)]
    ids = [id for id, _ in kept]
    numbers = pa.array(tokens, pa.list_(pa.int32()))
    table = pa.table({"id": ids, "text": texts, "tokens": numbers, "held_out": outs})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.write(f"work/tweets/{handle}.parquet", sink.getvalue().to_pybytes())
    counts = {
        "downloaded": sum(verdicts.values()),
        "retweets": verdicts["retweet"],
        "short": verdicts["short"],
        "kept": verdicts["kept"],
    }
    training = sum(len(ids) + 1 for ids, out in zip(tokens, outs, strict=True) if not out)
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    return asdict(Person(handle, counts, len(SEPARATOR.join(texts)), training, digest, name))


@lru_cache(maxsize=1)
def _tokenizer(tokenizer_json: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a tweet that spells out the separator does not become one
    return tokenizer
