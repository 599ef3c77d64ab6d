"""From records to people, without Ray: judges tweets chunk by chunk, then finishes people from all their chunks.

    chunk = judged(raw, TweetFilters(filters), encoder)     # each tweet with its verdict, key and tokens
    for person in finished(chunks, store, holdout=0.1, filters=filters):
        person.counts                                       # the kept tweets are in the store now

A person's tweets are sorted by their keys, the hash of the id or of the text where there is no id. So the same tweets
give the same result whatever their files are called, and the held-out ones come first.
"""

import base64
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.model_folder import SEPARATOR
from pipeline.core.settings import Filters
from pipeline.core.store import Store
from pipeline.prepare import rules
from pipeline.prepare.filters import ROWS, TweetFilters, active, copies
from pipeline.prepare.held_out import held_out_count, key_hash
from pipeline.prepare.index import Person
from pipeline.prepare.tokens import Encoder
from pipeline.tweets import SCHEMA, Profile

PICTURES = "work/pictures"  # by handle, in the files' own format
VERDICTS = ["reject", "profile", *ROWS]  # the column `verdict` of a chunk has indices in this list
_TWEET = VERDICTS.index("downloaded")  # this verdict and later ones are a tweet's
KEPT = VERDICTS.index("kept")
CHUNK = pa.schema(
    [
        ("handle", pa.string()),  # "" for a reject
        ("verdict", pa.int8()),
        ("key", pa.uint64()),  # the first eight bytes of held_out.key_hash
        ("id", pa.string()),  # "" where the format has none
        ("text", pa.string()),  # cleaned; a hash for what is left out; the note of a reject or profile
        ("tokens", pa.list_(pa.int32())),
        ("file", pa.int32()),  # its number among the files
        ("line", pa.int32()),
        ("account", pa.int32()),  # which of the person's accounts, from 1; 0 where the fleet file lists none
    ]
)
# what is read: a tweet's record, or a note: a reject as its line in rejects.jsonl (without a handle), or a profile
RAW = pa.schema([*SCHEMA, ("file", pa.int32()), ("account", pa.int32()), ("note", pa.string())])
_ROW_GROUP = 50_000  # tweets
_WRITERS = 8  # files that are written to a remote store at once


def judged(raw: pa.Table, filters: TweetFilters, encoder: Encoder | None) -> pa.Table:
    """Returns a chunk (columns of CHUNK) with verdict, key and tokens for each row of `raw` (columns of RAW).

    Without an encoder there are no tokens, and tweets that are left out keep their original text, for previews.
    """
    frame = pl.DataFrame(pl.from_arrow(raw))
    tweets = filters(frame.with_columns(rules.judge(frame["text"], frame["retweet"])))
    kept = tweets["verdict"] == "kept"
    # a hash of the text of tweets that are left out tells those with the same id apart
    left_out = frame["text"] if encoder is None else frame["text"].hash().cast(pl.String)
    verdict = pl.when(pl.col("note").is_null()).then("verdict").when(pl.col("handle") == "").then(pl.lit("reject"))
    chunk = tweets.select(
        "handle",
        verdict.otherwise(pl.lit("profile")).cast(pl.Enum(VERDICTS)).to_physical(),
        _keys(tweets["id"], tweets["text"]),
        "id",
        pl.coalesce("note", pl.when(kept).then("text").otherwise(left_out)).alias("text"),
        "file",
        "line",
        "account",
    ).to_arrow()
    tokens = _tokens(tweets["text"], kept, encoder)
    return chunk.add_column(5, "tokens", tokens).cast(CHUNK)


def _keys(ids: pl.Series, texts: pl.Series) -> pl.Series:
    hashes = b"".join([key_hash(id or text)[:8] for id, text in zip(ids.to_list(), texts.to_list(), strict=True)])
    return pl.Series("key", np.frombuffer(hashes, ">u8").astype(np.uint64))


def _tokens(texts: pl.Series, kept: pl.Series, encoder: Encoder | None) -> pa.ListArray:
    """Returns the token ids of the kept texts, and [] for the others."""
    lengths, ids = np.zeros(len(texts), np.int64), pa.array([], pa.int32())
    if encoder is not None:
        encoded = encoder.encode(texts.filter(kept))
        ids = encoded.flatten()
        lengths[kept.to_numpy()] = np.diff(encoded.offsets.to_numpy())
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32()), ids)


def finished(
    chunks: pa.Table, store: Store, holdout: float, filters: Filters, without: Set[str] = frozenset()
) -> Iterator[Person]:
    """Writes the kept tweets of the people in these chunks to the store, and yields the people; not those in `without`.

    `chunks` are all chunks of these people, with the columns of CHUNK, in any order. The table may be in shared memory;
    besides it, the function needs a copy of what is kept and about 60 bytes a tweet.
    """
    codes, handles = _codes(chunks["handle"])
    verdicts, profiles = chunks["verdict"].to_numpy(), _profiles(chunks)
    wanted = np.array([handle not in without for handle in handles], bool)
    order, conflicts = _once(chunks, codes)
    order = order[(verdicts[order] >= _TWEET) & wanted[codes[order]]]
    codes, verdicts = codes[order], verdicts[order]
    counts = np.bincount(codes * len(VERDICTS) + verdicts, minlength=len(handles) * len(VERDICTS))
    by_person = counts.reshape(len(handles), len(VERDICTS))
    kept = chunks.select(["id", "text", "tokens"]).take(pa.array(order[verdicts == KEPT])).combine_chunks()
    ends = np.cumsum(by_person[:, KEPT])
    with _Writer(store) as writer:
        for code in np.flatnonzero(by_person.sum(axis=1)):
            handle, count = handles[code], int(by_person[code, KEPT])
            person = _Kept(kept.slice(int(ends[code]) - count, count), holdout, filters)
            total = dict(zip(VERDICTS, by_person[code].tolist(), strict=True)) | person.counts
            total["downloaded"] = int(by_person[code].sum())
            if person.table.num_rows:
                writer.write(f"work/tweets/{handle}.parquet", person.parquet())
            profile = profiles.get(handle, {})
            if "picture" in profile:
                writer.write(f"{PICTURES}/{handle}", base64.b64decode(profile["picture"]))
            rows = {row: total[row] for row in active(filters)}
            name, same_ids = profile.get("name"), int(conflicts[code])
            yield Person(handle, rows, person.chars, person.training_tokens, person.digest, name, same_ids)


def sampled(tweets: pa.Table, filters: Filters, count: int) -> dict[str, Any]:
    """Returns one person's counts, and up to `count` texts for each row; `tweets` are judged without an encoder."""
    names = [profile["name"] for profile in _profiles(tweets).values() if "name" in profile]
    tweets = tweets.filter(pc.greater_equal(tweets["verdict"], _TWEET))
    tweets = tweets.take(pa.array(_once(tweets, np.zeros(len(tweets), np.int64))[0]))
    verdicts = [VERDICTS[verdict] for verdict in tweets["verdict"].to_pylist()]
    texts = tweets["text"].to_pylist()
    kept = [i for i, verdict in enumerate(verdicts) if verdict == "kept"]
    for i, verdict in zip(kept, copies([texts[i] for i in kept], filters), strict=True):
        verdicts[i] = verdict
    rows = [row for row in active(filters) if row != "downloaded"]
    found = {row: [text for text, verdict in zip(texts, verdicts, strict=True) if verdict == row] for row in rows}
    counts = {"downloaded": len(texts)} | {row: len(found[row]) for row in rows}
    return {"name": names[0] if names else None, "counts": counts} | {
        "texts": {row: found[row][:count] for row in rows}
    }


def profile_note(profile: Profile) -> str:
    """Returns a person's profile as the `note` of a row of RAW."""
    picture = base64.b64encode(profile.picture).decode() if profile.picture else None
    note = {"name": profile.name, "picture": picture}
    return json.dumps({key: value for key, value in note.items() if value})


def _profiles(chunk: pa.Table) -> dict[str, dict[str, str]]:
    """Returns each person's profile from all files: {"name": …, "picture": …}, each where a file has it."""
    found: dict[str, dict[str, str]] = {}
    notes = chunk.filter(pc.equal(chunk["verdict"], VERDICTS.index("profile")))
    for handle, note in zip(notes["handle"].to_pylist(), notes["text"].to_pylist(), strict=True):
        found.setdefault(handle, {}).update(json.loads(note))
    return found


def _codes(handles: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Returns for each row the index of its handle, and the distinct handles."""
    encoded = handles.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _once(tweets: pa.Table, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the tweets, person by person, sorted by key.

    Of tweets with the same id and the same text the first counts, by file and line. Those with the same id and
    another text all stay, in the order of their texts; how many of them each person has is the second result.
    """
    key = tweets["key"].to_numpy()
    order = np.lexsort((tweets["line"].to_numpy(), tweets["file"].to_numpy(), key, codes))
    same = (np.diff(codes[order]) == 0) & (np.diff(key[order]) == 0)
    conflicts = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    alike = np.concatenate(([False], same)) | np.concatenate((same, [False])) if len(order) else same
    rows = tweets.select(["id", "text", "verdict"]).take(pa.array(order[alike]))
    ids, texts, verdicts = (column.to_pylist() for column in rows.columns)
    drop: list[int] = []
    at = 0  # where in `rows` a run begins
    for start, stop in _runs(same):
        first: dict[tuple[str, int], int] = {}  # by text: the place where it comes first
        begin, at = at, at + stop - start
        if not ids[begin] or any(id != ids[begin] for id in ids[begin:at]):
            continue
        for place, text in enumerate(zip(texts[begin:at], verdicts[begin:at], strict=True), start):
            if first.setdefault(text, place) != place:
                drop.append(place)
        if len(first) > 1:
            conflicts[codes[order[start]]] += len(first)
            order[list(first.values())] = order[[first[text] for text in sorted(first)]]
    return _without_crossposts(tweets, codes, np.delete(order, drop)), conflicts


def _runs(same: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where rows that are the same as the next begin and end: [T, T, F, T] gives (0, 3) and (3, 5)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield start, stop + 1


def _without_crossposts(tweets: pa.Table, codes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Leaves out what a person with several accounts posted on more than one: the account listed first keeps it.

    What one account repeats stays, as it does for everybody.
    """
    accounts, verdicts = tweets["account"].to_numpy(), tweets["verdict"].to_numpy()
    several = np.isin(codes[order], np.unique(codes[order[accounts[order] > 0]]))
    theirs = np.flatnonzero(several & (verdicts[order] == KEPT))
    if not len(theirs):
        return order
    rows = order[theirs]
    texts = pl.Series(tweets["text"].take(pa.array(rows)).combine_chunks())
    frame = pl.DataFrame({"person": codes[rows], "text": texts, "account": accounts[rows]})
    again = frame.select(pl.col("account") > pl.col("account").min().over("person", "text")).to_series().to_numpy()
    return np.delete(order, theirs[again])


class _Writer(ThreadPoolExecutor):
    """Writes files to the store; to a remote one several at once, since each write mostly waits."""

    def __init__(self, store: Store):
        super().__init__(1 if store.local else _WRITERS)
        self.store, self.under_way = store, deque[Future[None]]()

    def write(self, name: str, data: bytes) -> None:
        if self.store.local:
            self.store.write(name, data)
            return
        self.under_way.append(self.submit(self.store.write, name, data))
        if len(self.under_way) > _WRITERS:
            self.under_way.popleft().result()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for write in self.under_way:
            write.result()


class _Kept:
    """One person's kept tweets (id, text, tokens), sorted by key."""

    def __init__(self, table: pa.Table, holdout: float, filters: Filters):
        verdicts = (
            copies(table["text"].to_pylist(), filters) if not filters.duplicates or filters.near_duplicates else []
        )
        self.counts = {row: verdicts.count(row) for row in set(verdicts)}
        if len(self.counts) > 1:
            table = table.filter(pa.array([verdict == "kept" for verdict in verdicts]))
        self.table = table
        self.held_out = held_out_count(table.num_rows, holdout) if table.num_rows else 0

    @property
    def chars(self) -> int:
        lengths = pc.utf8_length(self.table["text"])
        return (pc.sum(lengths).as_py() or 0) + max(0, self.table.num_rows - 1) * len(SEPARATOR)

    @property
    def training_tokens(self) -> int:
        lengths = pc.list_value_length(self.table["tokens"][self.held_out :])
        return (pc.sum(lengths).as_py() or 0) + len(lengths)

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for name in ("id", "text"):
            column = self.table[name].combine_chunks()
            _, ends, data = column.buffers()
            offsets = np.frombuffer(ends, np.int32)[column.offset : column.offset + len(column) + 1]
            digest.update(np.diff(offsets).tobytes())
            digest.update(memoryview(data or b"")[offsets[0] : offsets[-1]])
        return digest.hexdigest()

    def parquet(self) -> bytes:
        held_out = np.arange(self.table.num_rows) < self.held_out
        table = self.table.append_column("held_out", pa.array(held_out))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=_ROW_GROUP, use_dictionary=False, write_statistics=False)
        return sink.getvalue().to_pybytes()
