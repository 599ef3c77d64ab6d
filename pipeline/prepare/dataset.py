"""Prepares tweets with Ray Data: files in, each person's kept tweets as tokens out.

    prepared = prepare(files, store, tokenizer_json, holdout=0.1)
    prepared.people["nasa"].counts         # {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}

    files ─read─> batches ─judge─> chunks ─┬─ people who are in one chunk alone ──────────────> finish
                                           └─ the others ─one hash shuffle by person─> shards ─> finish

Reading, judging (`verdicts.py`) and finishing (`by_person.py`) are parallel tasks. `finish` writes
`work/tweets/{handle}.parquet` (id, text, tokens, held_out) and returns one small row for each person. The driver never
holds a tweet. docs/prepare.md has the memory that a worker needs.
"""

import gc
import hashlib
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from pipeline import tweets
from pipeline.core.errors import UserError
from pipeline.core.json_file import JsonObject
from pipeline.core.ray_session import capacity, ensure
from pipeline.core.settings import Filters
from pipeline.core.store import Store
from pipeline.prepare import by_person
from pipeline.prepare.filters import TweetFilters, resolved
from pipeline.prepare.index import INDEX, PICTURES, REJECTS, Person, Prepared, load_index
from pipeline.prepare.rejects import Case, Group, grouped, merged, same_ids, sentence, summed
from pipeline.prepare.tokens import Encoder
from pipeline.prepare.verdicts import KEPT, RAW, judged, profile_note
from pipeline.tweets import TweetFile
from pipeline.tweets.record import NOT_TWEETS

NOTICE_LINE = -1  # where a row of the rejects is a notice
RULES = 6  # to be raised when readers or rules change, so that tweets are prepared again
_MIB = 2**20
_CHUNK_BYTES = 16 * _MIB  # size of the blocks that stream between the tasks
_SHARD_BYTES = (32 * _MIB, 256 * _MIB)  # smallest and largest block of the shuffle


@dataclass(frozen=True)
class Work:
    """What the tasks need besides the tweets."""

    store: Store
    tokenizer: str  # a tokenizer.json
    holdout: float
    filters: Filters
    problems: list[str]  # lines of rejects.jsonl for files that are not read at all


def prepare(
    files: list[TweetFile], store: Store, tokenizer: str, holdout: float, filters: Filters | None = None
) -> Prepared:
    """Reads, cleans, counts and tokenises all files; does nothing if files and settings have not changed.

    `tokenizer` is a tokenizer.json, `holdout` the share of each person's tweets to hold out. Raises UserError if the
    files have no tweet.
    """
    filters = resolved(filters or Filters())
    fingerprint = _fingerprint(files, tokenizer, holdout, filters)
    known = load_index(store)
    if known and known.fingerprint == fingerprint:
        return Prepared(**(vars(known) | {"unchanged": True}))
    problems = {file.path: file.problem for file in files if file.problem is not None}
    lines = [reject_line(path, 0, reason) for path, reason in sorted(problems.items())]
    store.write(REJECTS, _jsonl(lines))
    found: dict[str, Person] = {}
    rejects = len(problems)
    cases = [Case(reason, path) for path, reason in sorted(problems.items())]
    notices: list[str] = []
    groups: list[Group] = []
    readable = [file for file in files if file.problem is None]
    for handle, summary in _summaries(readable, Work(store, tokenizer, holdout, filters, lines)) if readable else ():
        if handle:
            found[handle] = Person(**summary)
        else:
            rejects += summary["rejects"]
            problems |= summary["files"]
            groups = [Group(*group) for group in summary["reasons"]]
            notices += summary["notices"]
    groups = merged([*groups, *grouped(cases)])
    if not found and not any(tweets.OTHERS in notice for notice in notices):
        listed = f"; all are listed in {store.path(REJECTS)}" if rejects else ""
        raise UserError(f"no posts to work with: {sentence(groups) or 'the files hold no post'}{listed}")
    notices += same_ids(found.values())
    owners = {
        file.path: file.people.get(file.handle, file.handle)
        for file in files
        if file.handle and _should_have_tweets(file, problems.get(file.path))
    }
    prepared = Prepared(
        *(dict(sorted(found.items())), dict(sorted(problems.items())), owners, rejects, fingerprint),
        *(sentence(groups), notices),
    )
    _delete_others(store, found)
    index = {key: value for key, value in asdict(prepared).items() if key != "unchanged"}
    store.write(INDEX, json.dumps(index, ensure_ascii=False).encode())
    return prepared


def _should_have_tweets(file: TweetFile, problem: str | None) -> bool:
    """Whether a file with a problem should hold tweets: the fleet file gives its handle, or it is broken."""
    return problem is not None and (file.named or not problem.startswith(NOT_TWEETS))


def _delete_others(store: Store, people: Collection[str]) -> None:
    """Deletes what an earlier `prepare` stored of people who are not needed any more."""
    for folder, suffix in (("work/tweets", ".parquet"), (PICTURES, "")):
        for name in store.list(folder):
            if name.removesuffix(suffix) not in people:
                store.delete(f"{folder}/{name}")


def _fingerprint(files: list[TweetFile], tokenizer: str, holdout: float, filters: Filters) -> str:
    described = [[file.path, file.handle, file.size, file.mtime, file.problem] for file in files]
    options = [
        [file.columns, file.users, file.repair, sorted(file.without), file.people, file.consent, sorted(file.consented)]
        for file in files
    ]
    only = [sorted(handles) for handles in {file.only for file in files} if handles is not None]
    inputs = [described, options, tokenizer, holdout, filters.model_dump(mode="json"), RULES, *only]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def kept_texts(files: list[TweetFile], filters: Filters) -> ray.data.Dataset:
    """Returns the cleaned texts of all kept tweets as a lazy dataset with the column `text`, in no order."""
    chunks = chunks_of(files, resolved(filters))
    return chunks.map_batches(_kept_texts, **WHOLE)


def _kept_texts(chunk: pa.Table) -> pa.Table:
    return chunk.filter(pc.equal(chunk["verdict"], KEPT)).select(["text"])


def chunks_of(
    files: list[TweetFile], filters: Filters, tokenizer: str = "", only: str | None = None
) -> ray.data.Dataset:
    """Returns the files' content as a lazy dataset with the columns of verdicts.CHUNK, in no order.

    Without a tokenizer the lists of tokens are empty. `only`: read this handle's tweets alone.
    """
    ensure()
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = _CHUNK_BYTES
    context.shuffle_compression = "none"  # so that workers read shards in shared memory, without a copy
    with ray.data.DataContext.current(context):
        groups = _groups(files, capacity()[1])
        source = ray.data.from_items([{"files": group} for group in groups], override_num_blocks=len(groups))
        # different num_cpus keep the two from being fused: so several tasks judge the tweets of one large file
        read = source.map_batches(
            cast(Any, _read), batch_size=1, batch_format="pandas", fn_kwargs={"only": only}, num_cpus=1
        )
        judge = {"filters": filters.model_dump_json(), "tokenizer": tokenizer}
        return read.map_batches(cast(Any, _judge), fn_kwargs=judge, num_cpus=0.99, **WHOLE)


# one task for each block, as it is
WHOLE: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}


def _groups(files: list[TweetFile], cores: int) -> list[list[tuple[int, TweetFile]]]:
    """Returns the files with their numbers, in one group for each task; files of one handle are together."""
    limit = min(_CHUNK_BYTES, sum(file.size for file in files) / (4 * cores))
    groups: list[list[tuple[int, TweetFile]]] = [[]]
    size = 0
    for number in sorted(range(len(files)), key=lambda number: (files[number].handle or "", number)):
        if size > limit:
            groups, size = [*groups, []], 0
        groups[-1].append((number, files[number]))
        size += files[number].size
    return groups


def _read(batch: Any, only: str | None) -> Iterator[pa.Table]:
    gc.disable()  # rows have no reference cycles; the search for some would take a sixth of the time
    try:
        for number, file in (one for group in batch["files"] for one in group):
            for found in tweets.read_batches(file):
                table = _raw(found, number, file.people)
                yield table if only is None else table.filter(pc.equal(table["handle"], only))
    finally:
        gc.enable()


def _raw(found: tweets.Batch, number: int, people_of: dict[str, str]) -> pa.Table:
    """A batch with RAW's columns, each account replaced by the person who owns it."""
    records = pa.Table.from_batches([found.records])
    accounts = np.zeros(len(records), np.int32)
    if people_of:
        handles = records["handle"].to_pylist()
        places = {account: place for place, account in enumerate(people_of, start=1)}
        accounts = np.array([places.get(handle, 0) for handle in handles], np.int32)
        mapped = pa.array([people_of.get(handle, handle) for handle in handles], pa.string())
        records = records.set_column(records.schema.get_field_index("handle"), RAW.field("handle"), mapped)
    records = records.append_column(RAW.field("file"), pa.array(np.full(len(records), number, np.int32)))
    records = records.append_column(RAW.field("account"), pa.array(accounts))
    records = records.append_column(RAW.field("note"), pa.nulls(len(records), pa.string()))
    rejects = [("", one.line, reject_line(found.path, one.line, one.reason)) for one in found.rejects]
    rejects += [("", NOTICE_LINE, json.dumps(one)) for one in found.notices]
    profiles = [(people_of.get(one.handle, one.handle), 0, profile_note(one)) for one in found.profiles]
    notes = [
        {"handle": handle, "line": line, "note": note, "id": "", "text": "", "file": number, "account": 0}
        for handle, line, note in rejects + profiles
    ]
    return pa.concat_tables([records, pa.Table.from_pylist(notes, RAW)])


def _judge(raw: pa.Table, filters: str, tokenizer: str) -> pa.Table:
    return judged(raw, _filters(filters), _encoder(tokenizer))


@lru_cache(maxsize=1)
def _filters(filters: str) -> TweetFilters:
    return TweetFilters(Filters.model_validate_json(filters))


@lru_cache(maxsize=1)
def _encoder(tokenizer: str) -> Encoder | None:
    return Encoder(tokenizer) if tokenizer else None


def _summaries(files: list[TweetFile], work: Work) -> Iterator[tuple[str, JsonObject]]:
    """Yields (handle, fields of Person) for each person as they are finished, and once ("", _RejectSummary)."""
    chunks = chunks_of(files, work.filters, work.tokenizer).materialize()
    everybody, shared = _census(chunks)
    finished = []
    if len(shared) < len(everybody):
        finished.append(chunks.map_batches(_finish, fn_kwargs={"work": work, "without": shared}, **WHOLE))
    if shared:
        parts = chunks.map_batches(_only, fn_kwargs={"handles": shared}, **WHOLE) if finished else chunks
        size = chunks.size_bytes()
        shard = min(max(size // 64, _SHARD_BYTES[0]), _SHARD_BYTES[1])
        parts.context.shuffle_input_batch_bytes = shard
        shards = parts.repartition(max(1, math.ceil(size / shard)), keys=["handle"])
        finished.append(shards.map_batches(_finish, fn_kwargs={"work": work, "without": set()}, **WHOLE))
    for dataset in finished:
        for row in dataset.iter_rows():
            yield row["handle"], json.loads(row["summary"])


def _census(chunks: ray.data.Dataset) -> tuple[set[str], set[str]]:
    """Returns all handles, and those that are in more than one chunk."""
    everybody: set[str] = set()
    shared: set[str] = set()
    handles = chunks.map_batches(lambda chunk: pa.table({"handle": chunk["handle"].unique()}), **WHOLE)
    for batch in handles.iter_batches(batch_size=None, batch_format="pyarrow"):
        for handle in cast(pa.Table, batch)["handle"].to_pylist():
            (shared if handle in everybody else everybody).add(handle)
    return everybody, shared


def _only(chunk: pa.Table, handles: set[str]) -> pa.Table:
    return chunk.filter(pc.is_in(chunk["handle"], pa.array(handles, pa.string())))


def _finish(chunks: pa.Table, work: Work, without: set[str]) -> pa.Table:
    rows: list[tuple[str, JsonObject]] = []
    rejected = pc.equal(chunks["handle"], "")
    if "" not in without and pc.any(rejected).as_py():
        rows.append(("", _rejects(chunks.filter(rejected), work)))
    for person in by_person.finished(chunks, work.store, work.holdout, work.filters, without):
        rows.append((person.handle, asdict(person)))
    columns = [[handle for handle, _ in rows], [json.dumps(summary) for _, summary in rows]]
    return pa.table([pa.array(column, pa.string()) for column in columns], names=["handle", "summary"])


class _RejectSummary(TypedDict):
    """What the driver needs to know of the rejects and notices of all files."""

    rejects: int
    files: dict[str, str]  # reasons, by the paths of files that are rejected as a whole
    reasons: list[Group]
    notices: list[str]


def _rejects(rejects: pa.Table, work: Work) -> _RejectSummary:
    """Writes the rejects to the store, in the order of files and lines; rejects of whole files come first."""
    rejects = rejects.sort_by([("file", "ascending"), ("line", "ascending")])
    is_notice = pc.equal(rejects["line"], NOTICE_LINE)
    notices = [tweets.Notice(*json.loads(note)) for note in rejects.filter(is_notice)["text"].to_pylist()]
    rejects = rejects.filter(pc.invert(is_notice))
    lines = rejects["text"].to_pylist()
    work.store.write(REJECTS, _jsonl([*work.problems, *lines]))
    listed = [json.loads(line) for line in lines]
    groups = grouped(Case(one["reason"], f"{one['file']}:{one['line'] or ''}".rstrip(":")) for one in listed)
    files = {one["file"]: one["reason"] for one in listed if one["line"] == 0}
    return {"rejects": len(lines), "files": files, "reasons": groups, "notices": summed(notices)}


def reject_line(path: str, line: int, reason: str) -> str:
    """Returns a line of rejects.jsonl. `line` is 0 for a whole file."""
    return json.dumps({"file": path, "line": line, "reason": reason}, ensure_ascii=False)


def _jsonl(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
