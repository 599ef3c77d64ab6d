"""Puts each person's tweets together from all chunks, without Ray, and writes those that are kept.

    for person in finished(chunks, store, holdout=0.1, filters=filters):
        person.counts                               # the kept tweets are in the store now

A person's tweets are sorted by their keys, the hash of the id or of the text where there is no id. So the same tweets
give the same result whatever their files are called, and the held-out ones come first.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.model_folder import SEPARATOR
from pipeline.core.settings import Filters
from pipeline.core.store import Store
from pipeline.prepare.filters import active, copies
from pipeline.prepare.held_out import held_out_count
from pipeline.prepare.index import PICTURES, Person
from pipeline.prepare.repeats import each_once
from pipeline.prepare.verdicts import FIRST_TWEET, KEPT, VERDICTS, profiles_in

_ROW_GROUP = 50_000  # tweets
_LARGE_TEXT = 2**30  # bytes; more than this in one table may overflow plain strings
_WRITERS = 8  # files that are written to a remote store at once


def finished(
    chunks: pa.Table, store: Store, holdout: float, filters: Filters, without: Set[str] = frozenset()
) -> Iterator[Person]:
    """Writes the kept tweets of the people in these chunks to the store, and yields the people; not those in `without`.

    `chunks` are all chunks of these people, with the columns of CHUNK, in any order. The table may be in shared memory;
    besides it, the function needs a copy of what is kept and about 60 bytes a tweet.
    """
    codes, handles = _codes(chunks["handle"])
    verdicts, profiles = chunks["verdict"].to_numpy(), profiles_in(chunks)
    wanted = np.array([handle not in without for handle in handles], bool)
    order, conflicts = each_once(chunks, codes)
    order = order[(verdicts[order] >= FIRST_TWEET) & wanted[codes[order]]]
    codes, verdicts = codes[order], verdicts[order]
    counts = np.bincount(codes * len(VERDICTS) + verdicts, minlength=len(handles) * len(VERDICTS))
    by_person = counts.reshape(len(handles), len(VERDICTS))
    content = chunks.select(["id", "text", "tokens"])
    if content["text"].nbytes > _LARGE_TEXT:  # the offsets of plain strings have 32 bits
        content = content.set_column(1, "text", content["text"].cast(pa.large_string()))
    kept = content.take(pa.array(order[verdicts == KEPT])).combine_chunks()
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


class Sample(TypedDict):
    """One person's counts as `prepare` would count them, and some texts for each row of the counts."""

    name: str | None  # the display name, if a file has one
    counts: dict[str, int]
    texts: dict[str, list[str]]


def sampled(tweets: pa.Table, filters: Filters, count: int) -> Sample:
    """Returns one person's counts, and up to `count` texts for each row; `tweets` are judged without an encoder."""
    names = [profile["name"] for profile in profiles_in(tweets).values() if "name" in profile]
    tweets = tweets.filter(pc.greater_equal(tweets["verdict"], FIRST_TWEET))
    tweets = tweets.take(pa.array(each_once(tweets, np.zeros(len(tweets), np.int64))[0]))
    verdicts = [VERDICTS[verdict] for verdict in tweets["verdict"].to_pylist()]
    texts = tweets["text"].to_pylist()
    kept = [i for i, verdict in enumerate(verdicts) if verdict == "kept"]
    for i, verdict in zip(kept, copies([texts[i] for i in kept], filters), strict=True):
        verdicts[i] = verdict
    rows = [row for row in active(filters) if row != "downloaded"]
    found = {row: [text for text, verdict in zip(texts, verdicts, strict=True) if verdict == row] for row in rows}
    counts = {"downloaded": len(texts)} | {row: len(found[row]) for row in rows}
    return {
        "name": names[0] if names else None,
        "counts": counts,
        "texts": {row: found[row][:count] for row in rows},
    }


def _codes(handles: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Returns for each row the index of its handle, and the distinct handles."""
    encoded = handles.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


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
            width = np.int64 if pa.types.is_large_string(column.type) else np.int32
            offsets = np.frombuffer(ends, width)[column.offset : column.offset + len(column) + 1]
            digest.update(np.diff(offsets).astype(np.int32).tobytes())
            digest.update(memoryview(data or b"")[offsets[0] : offsets[-1]])
        return digest.hexdigest()

    def parquet(self) -> bytes:
        held_out = np.arange(self.table.num_rows) < self.held_out
        table = self.table.append_column("held_out", pa.array(held_out))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=_ROW_GROUP, use_dictionary=False, write_statistics=False)
        return sink.getvalue().to_pybytes()
