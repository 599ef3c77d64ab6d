"""Readers against random and broken files: every file gives records and rejects, and never an error.

    make fuzz                      # 10,000 files of each format; `make test` tries some of each

Half of them are whole files with odd values in them, of which each record must be found again: as a record or as
a reject, never neither and never both. The other half are files with bytes cut out, doubled and changed.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.names import handle_of
from pipeline.core.settings import TweetSource
from pipeline.tweets import Record, Reject, TweetFile, find, read, wrappers
from tests.support.network_samples import ADA, ARCHIVE, LARK, POST, REDDIT, THREADS, car, tarred, view
from tests.support.tweet_samples import FORMATS, export_files, put, zipped

FEW = 40  # files of each kind in `make test`
SLOWEST = 10_000  # milliseconds for one file, beyond which a reader hangs

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", " ", "\0", "\ud800", "\udc81", "\u2028", "\r", '"', "\\", "RT @"]),
    st.sampled_from(["1.23E+18", "nan", "2016-05-03", "9" * 40]),
    st.text("0123456789+-:TZ /.eE", max_size=20),
)
NESTED = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
KEYS = (
    st.sampled_from(
        ["text", "full_text", "tweet", "id", "id_str", "author_id", "user", "author", "screen_name", "name"]
    )
    | st.sampled_from(["created_at", "time", "lang", "likes", "favorite_count", "public_metrics", "type", "is_retweet"])
    | st.sampled_from(["referenced_tweets", "retweeted_status", "extended_tweet", "note_tweet", "in_reply_to_user_id"])
    | st.sampled_from(["includes", "data", "meta", "Text", ""])
)
ITEM = st.dictionaries(KEYS, NESTED, max_size=6)
TWEETS = ("2016_05.js", "tweets.csv", "tweets.js", "all.json")  # the file that matters of a format that is a folder


def fuzz(strategy: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Hypothesis' settings for here: a profile chosen on the command line wins over FEW."""
    examples = settings().max_examples if settings.get_current_profile_name() == "fuzz" else FEW
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    rules = settings(max_examples=examples, deadline=SLOWEST, suppress_health_check=checks)
    return lambda test: rules(given(strategy)(test))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def items(folder: Path, name: str, content: bytes) -> list[Any]:
    """What a file of this content gives, checked for what must hold of it whatever it holds."""
    path = put(folder / name, content)
    found = list(read(TweetFile(str(path), "wren", size=len(content))))
    for item in found:
        if isinstance(item, Record):
            assert item.handle == handle_of(item.handle)
            assert item.line >= 1
            (item.id + item.text + (item.lang or "")).encode()  # it can be written to the store
            assert "\0" not in item.text
        elif isinstance(item, Reject):
            assert item.line >= 0
            item.reason.encode()
    return found


def broken(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with some stretches cut out, doubled, overwritten or replaced by what means something somewhere."""
    size = len(content)
    signs = st.sampled_from([b'"', b"\n", b"\\", b"[", b"{", b"}", b"]", b"\0", b",", b"\xff\xfe"])
    change = st.tuples(st.integers(0, size), st.integers(0, 30), st.binary(max_size=6) | signs | st.none())

    def apply(changes: list[Any]) -> bytes:
        data = bytearray(content)
        for at, length, other in changes:
            stretch = data[at : at + length]
            data[at : at + length] = stretch * 2 if other is None else other
        return bytes(data)

    cut = st.integers(0, size).map(lambda end: content[:end])
    return st.lists(change, min_size=1, max_size=5).map(apply) | cut


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_of_each_format(tmp_path, folder, name):
    whole = FORMATS[name](tmp_path)
    if whole.is_dir():
        whole = next(path for file in TWEETS for path in whole.rglob(file))
    content = whole.read_bytes()

    @fuzz(broken(content))
    def read_it(broken):
        items(folder, "wren.txt" if name == "plain text" else "any", broken)

    read_it()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_broken_file_in_each_packing(folder, pack):
    @fuzz(broken(pack(b"id,text\n" + b"".join(b"%d,tea and cake %d\n" % (i, i * i) for i in range(200)))))
    def read_it(broken):
        items(folder, "packed", broken)

    read_it()


NETWORKS = {
    "Bluesky, a feed": json.dumps(
        {"feed": [{"post": view(ADA)}, {"post": view(LARK, "3l"), "reason": {"by": ADA}}]}
    ).encode(),
    "Bluesky, a repository": car(POST, POST | {"text": "cake"}),
    "Mastodon, an outbox": ARCHIVE["outbox.json"].encode(),
    "Mastodon, an archive": tarred(ARCHIVE),
    "Reddit, comments of an export": str(REDDIT["comments.csv"]).encode(),
    "Reddit, a dump": b"".join(
        json.dumps({"subreddit": "tea", "author": "Ada-Wren", "id": id, "created_utc": 1579712461} | post).encode()
        + b"\n"
        for id, post in {"a": {"body": "> hot?\nno, cold"}, "b": {"title": "tea", "selftext": "[deleted]"}}.items()
    ),
    "Threads, an export": str(next(iter(THREADS.values()))).encode(),
    "glued": b'{"text": "tea"}{"text": "cake"}{"text": "bread"}',
    "with lengths": b'15\n{"text": "tea"}\n16\n{"text": "cake"}\n',
    "by handle": b'{"wren": [{"text": "tea"}], "lark": [{"text": "cake"}]}',
    "inner quotes": b'id;text\n1;"she said "no" and left"\n2;"tea"\n3;"cake "and" pie"\n',
    "without a header": b"sep=;\n\n1;\"b'tea'\"\n",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_broken_file_of_the_networks_and_of_the_world(folder, name):
    @fuzz(broken(NETWORKS[name]))
    def read_it(broken):
        items(folder, "any", broken)

    read_it()


def test_any_author_and_flag_is_an_answer(folder):
    names = st.sampled_from(
        ["user", "author", "screen_name", "author_id", "url", "account", "type", "is_retweet", "reblog"]
    )
    names |= st.sampled_from(["post", "record", "$type", "actor", "object", "feed", "visibility", "content", "date"])
    names |= st.sampled_from(["subreddit", "title", "text_post_app_text_posts"])

    @fuzz(st.lists(st.dictionaries(names, NESTED, max_size=5), max_size=5))
    def read_it(values):
        items(folder, "answers", "".join(json.dumps({"text": "tea"} | value) + "\n" for value in values).encode())

    read_it()


def test_any_bytes(folder):
    @fuzz(st.binary(max_size=300))
    def read_it(content):
        items(folder, "bytes.txt", content)

    read_it()


def test_any_text_in_any_encoding(folder):
    encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])

    @fuzz(st.builds(lambda text, encoding: text.encode(encoding, "ignore"), st.text(max_size=200), encodings))
    def read_it(content):
        items(folder, "text.txt", content)

    read_it()


def test_each_line_of_jsonl_is_a_record_or_a_reject(folder):
    lines = ITEM.filter(lambda item: not {"data"} & set(item)).map(json.dumps) | st.text(max_size=20).map(json.dumps)
    lines |= st.sampled_from(["{", '{"text": "a', "[1]", "nonsense", '{"text": "\\ud800"}', '{"text":' * 2000])

    @fuzz(st.lists(lines, max_size=6))
    def read_it(lines):
        content = "".join(f"{line}\n" for line in ['{"text": "first"}', *lines]).encode()
        found = [item for item in items(folder, "lines", content) if isinstance(item, Record | Reject)]
        accounts = sum(not isinstance(item, Record | Reject) for item in items(folder, "lines", content))
        assert [item.line for item in found] == sorted({item.line for item in found})
        assert len(lines) + 1 - accounts <= len(found) <= len(lines) + 1

    read_it()


def test_each_item_of_an_array_is_a_record_or_a_reject(folder):
    def is_wrapper(item):  # which holds any number of tweets
        return isinstance(item, dict) and wrappers.inside(item) is not None

    @fuzz(st.lists((ITEM | NESTED).filter(lambda item: not is_wrapper(item)), max_size=6))
    def read_it(values):
        content = json.dumps([{"text": "first"}, *values]).encode()
        found = items(folder, "array", content)
        assert sum(isinstance(item, Record | Reject) for item in found) <= len(values) + 1 <= len(found)

    read_it()


def test_a_page_of_anything(folder):
    tweets, users = NESTED | st.lists(ITEM), ODD | st.fixed_dictionaries({"users": NESTED | st.lists(ITEM)})

    @fuzz(st.fixed_dictionaries({"data": tweets}, optional={"includes": users, "meta": ODD}))
    def read_it(page):
        items(folder, "page", json.dumps(page).encode())

    read_it()


def test_each_item_of_an_export_is_a_record_or_a_reject(folder):
    @fuzz(st.lists(st.fixed_dictionaries({"tweet": ITEM}) | NESTED, max_size=6))
    def read_it(values):
        content = b"window.YTD.tweets.part0 = " + json.dumps([{"tweet": {"full_text": "first"}}, *values]).encode()
        assert len(items(folder, "export", content)) == len(values) + 1

    read_it()


def test_each_row_of_a_table_is_a_record_or_a_reject(folder):
    fields = st.sampled_from(["id", "user", "created_at", "lang", "likes", "type", "is_retweet", "other"])
    cells = st.text(max_size=10) | ODD.map(str)

    def sheet(names: list[str]) -> st.SearchStrategy[Any]:
        row = st.lists(cells, min_size=len(names) + 1, max_size=len(names) + 1)
        return st.tuples(st.just(names), st.lists(row, max_size=6))

    table = st.lists(fields, unique=True).flatmap(sheet)

    @fuzz(st.tuples(table, st.sampled_from([",", ";", "\t", "|"])))
    def read_it(case):
        (names, rows), delimiter = case
        sheet = io.StringIO(newline="")
        writer = csv.writer(sheet, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([["text", *names], *rows])
        found = items(folder, "table", sheet.getvalue().encode("utf-8", "replace"))
        assert len(found) == len(rows)

    read_it()


def test_each_row_of_a_parquet_is_a_record_or_a_reject(folder):
    columns = st.fixed_dictionaries(
        {"text": st.text(max_size=10)},
        optional={
            "id": st.integers(-(2**63), 2**63 - 1) | st.floats(),
            "user": st.text(max_size=5),
            "created_at": st.datetimes() | st.text(max_size=5),
            "likes": st.integers(-(2**63), 2**63 - 1) | st.floats(),
            "referenced_tweets": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["retweeted", "x"])})),
        },
    )

    @fuzz(st.lists(columns, min_size=1, max_size=5))
    def read_it(rows):
        try:
            table = pa.Table.from_pylist(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            return  # of no one type
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        assert len(items(folder, "parquet", sink.getvalue().to_pybytes())) == table.num_rows

    read_it()


def test_each_line_of_a_plain_text_is_a_record_or_a_reject(folder):
    line = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)

    @fuzz(st.lists(line, max_size=8))
    def read_it(lines):
        content = "\n".join(["Tea on the ferry.", *lines])
        found = items(folder, "plain.txt", content.encode())
        expected = sum(bool(line.lstrip("\ufeff").strip()) for line in lines) + 1
        assert len(found) in (expected, 1)  # one reject: a byte 0 in it makes it no text

    read_it()


def test_a_zip_of_broken_parts(folder):
    whole = export_files()
    parts = st.sampled_from(["data/tweets.js", "data/account.js", "data/profile.js", "data/note-tweet.js"])
    numbers = count()

    @fuzz(parts.flatmap(lambda name: st.tuples(st.just(name), broken(bytes(str(whole.get(name, "x = []")), "utf-8")))))
    def read_it(case):
        name, content = case
        path = put(folder / f"{next(numbers) % 50}.zip", zipped(whole | {name: content}))
        [file] = find([TweetSource(path=str(path), handle="wren")])
        assert any(isinstance(item, Record) for item in read(file))  # the other part's

    read_it()


def test_a_deflate_stream_that_never_was_one(folder):
    head = gzip.compress(b"")[:10]

    @fuzz(st.binary(max_size=100) | st.binary(max_size=50).map(lambda data: zlib.compress(data)[2:]))
    def read_it(content):
        items(folder, "stream", head + content)

    read_it()
