"""Finds a person's tweets that were read more than once: in several files, or from several accounts.

    order, conflicts = each_once(chunks, codes)     # codes: for each row, the index of its person
    chunks.take(order)                              # each tweet once, person by person, sorted by key

The same tweets give the same result in whatever files and order they come.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.prepare.verdicts import KEPT


def each_once(tweets: pa.Table, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows to keep, person by person and sorted by key, and each person's number of conflicting tweets.

    Tweets with the same id and the same text are one tweet: the first by file and line stays. Tweets with the same id
    but different texts conflict: all of them stay, in the order of their texts.
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
    """Yields the start and end of each run of equal rows; `same` has whether a row equals the next one.

    [True, True, False, True] gives (0, 3) and (3, 5).
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield start, stop + 1


def _without_crossposts(tweets: pa.Table, codes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Leaves out texts that a person posted from several accounts, except from the account listed first.

    Texts that one account repeats stay, as they do for people with one account.
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
