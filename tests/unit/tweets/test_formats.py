"""Every row of the table in docs/formats.md: a small file in that format, made here, and what is read from it."""

import gzip
import re
from pathlib import Path

import pyarrow
import pytest

from pipeline.tweets import Profile, Record
from tests.support.plain_rules import clean
from tests.support.read_items import found
from tests.support.tweet_samples import (
    FORMATS,
    LONG,
    SHARED,
    TEA,
    USER,
    V2,
    WHEN,
    export_files,
    folder,
    lines,
    put,
    table,
    ytd,
    zipped,
)

DOCS = Path(__file__).parents[3] / "docs" / "formats.md"

FOLDERS = {
    "X account export, zipped",  # packed as it is
    "X account export, unpacked",
    "old X export, `data/js/tweets`",
    "old X export, `tweets.csv`",
    "X API v1.1 with `trim_user`",
}


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_tweets(tmp_path, name):
    items = found(FORMATS[name](tmp_path))
    records = sorted(
        (item for item in items if not isinstance(item, Profile)), key=lambda record: record.text, reverse=True
    )
    assert [(record.handle, record.text) for record in records] == [("wren", TEA), ("wren", SHARED)]
    assert [clean(record.text, record.retweet)[0] for record in records] == ["kept", "retweets"]
    if name != "plain text":
        assert [record.id for record in records] == ["101", "102"]
        assert {record.created_at for record in records} == {WHEN}
    if name not in ("plain text", "old X export, `tweets.csv`", "old X export, `data/js/tweets`"):
        assert [(record.lang, record.likes) for record in records] == [("en", 3), ("en", 0)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in FOLDERS])
@pytest.mark.parametrize("ending, pack", [(".gz", gzip.compress), (".zst", zstd)])
def test_each_format_that_is_one_file_may_be_packed(tmp_path, name, ending, pack):
    plain = FORMATS[name](tmp_path / "plain")
    packed = put(tmp_path / "packed" / (plain.name + ending), pack(plain.read_bytes()))
    records = [item for item in found(packed, handle="wren") if isinstance(item, Record)]
    assert sorted(record.text for record in records) == [SHARED, TEA]


def test_the_documentation_has_a_row_for_each_and_no_other():
    rows = re.findall(r"^\| (.+?) +\|", DOCS.read_text(), re.MULTILINE)
    assert [row for row in rows if row not in ("format", "---")][: len(FORMATS)] == list(FORMATS)


def test_a_mixture_of_all_is_one_person(tmp_path):
    for number, make in enumerate(FORMATS.values()):
        make(tmp_path / str(number))
    records = [item for item in found(tmp_path) if isinstance(item, Record)]
    assert {record.handle for record in records} == {"wren"}
    assert len(records) == 2 * len(FORMATS)


@pytest.mark.parametrize("name", ["X account export, zipped", "X account export, unpacked"])
def test_an_export_says_who_it_is_with_the_picture(tmp_path, name):
    profiles = {item for item in found(FORMATS[name](tmp_path)) if isinstance(item, Profile)}
    assert profiles == {Profile("wren", "Jenny Wren", b"a picture", "https://pics.example/1/face.jpg", "7")}


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("X API v2")])
def test_the_api_says_who_it_is_once_a_file(tmp_path, name):
    profiles = [item for item in found(FORMATS[name](tmp_path)) if isinstance(item, Profile)]
    assert profiles == [Profile("wren", "Jenny Wren", None, "https://pics.example/wren.jpg", "7")]


@pytest.mark.parametrize("id, start", [("101", LONG[:40]), ("999", LONG[:275])])
def test_a_long_post_of_an_export_is_whole(tmp_path, id, start):
    """By its id, or else by how it begins: X gives notes ids of their own."""
    files = export_files()
    files["data/tweets.js"] = ytd("tweets", [{"tweet": {"id_str": "101", "full_text": f"{start}… https://t.co/abc"}}])
    files["data/note-tweet.js"] = ytd("note_tweet", [{"noteTweet": {"noteTweetId": id, "core": {"text": LONG}}}])
    [first, *_] = [
        item for item in found(folder(tmp_path / "export", files)) if isinstance(item, Record) and item.id == "101"
    ]
    assert first.text == LONG


def test_a_note_is_not_given_to_a_tweet_that_only_begins_like_it(tmp_path):
    other = LONG[:150] + "And then it was day. " * 6
    files = export_files()
    tweets = [{"full_text": LONG[:150]}, {"full_text": other}, {"full_text": f"{LONG[:275]}… https://t.co/abc"}]
    files["data/tweets.js"] = ytd("tweets", [{"tweet": tweet} for tweet in tweets])
    notes = [{"noteTweetId": "998", "core": {"text": other * 2}}, {"noteTweetId": "999", "core": {"text": LONG}}]
    files["data/note-tweet.js"] = ytd("note_tweet", [{"noteTweet": note} for note in notes])
    texts = [item.text for item in found(folder(tmp_path / "export", files)) if isinstance(item, Record)]
    assert {LONG[:150], LONG} < set(texts)


@pytest.mark.parametrize("fields", [{"extended_tweet": {"full_text": LONG}}, {"note_tweet": {"text": LONG}}])
def test_a_long_post_of_the_api_is_whole(tmp_path, fields):
    path = put(tmp_path / "wren.jsonl", lines([{"id": "1", "text": "cut", **fields}]))
    assert [record.text for record in found(path)] == [LONG]


def test_replies_and_quotes_are_read_from_formats_that_mark_them(tmp_path):
    v1 = [{"in_reply_to_user_id_str": "5"}, {"is_quote_status": True}, {"is_quote_status": False}]
    v2 = [
        {"referenced_tweets": [{"type": "replied_to"}]},
        {"referenced_tweets": [{"type": "quoted"}]},
        {"referenced_tweets": []},
    ]
    for name, base, cases in (("v1", {"retweeted": False, "favorited": False}, v1), ("v2", {}, v2)):
        path = put(tmp_path / f"{name}.jsonl", lines([{"text": "a", **base, **case} for case in cases]))
        assert [(record.reply, record.quote) for record in found(path)] == [
            (True, False),
            (False, True),
            (False, False),
        ]
    rows = [{"text": "a", "type": kind} for kind in ("r:5", "quote", "")]
    kinds = [(record.reply, record.quote) for record in found(put(tmp_path / "sheet.csv", table(rows)))]
    assert kinds == [(True, False), (False, True), (False, False)]
    [record] = found(put(tmp_path / "plain.csv", "text\nhello\n"))
    assert (record.reply, record.quote, record.likes, record.lang, record.created_at) == (None,) * 5


def test_a_v2_page_may_hold_one_tweet_or_none(tmp_path):
    path = put(
        tmp_path / "stream.jsonl",
        lines([{"data": V2[0], "includes": {"users": [USER]}}, {"meta": {"result_count": 0}, "data": []}]),
    )
    assert [item.text for item in found(path) if isinstance(item, Record)] == [TEA]


def test_a_users_table_elsewhere_can_be_named(tmp_path):
    put(tmp_path / "who.csv", "id,screen_name,name\n7,Wren,Jenny Wren\n")
    path = put(
        tmp_path / "in" / "all.jsonl", lines([{"text": "a", "user": {"id": 7}}, {"text": "b", "user": {"id": 8}}])
    )
    known, unknown = found(path, users=str(tmp_path / "who.csv"))
    assert known.handle == "wren"
    assert unknown.reason == "the author is known only by the id 8; a table of users would name it"


@pytest.mark.parametrize("table", [None, "text\nhello\n", "no table"])
def test_a_users_file_without_accounts_is_reported(tmp_path, table):
    if table is not None:
        put(tmp_path / "who.csv", table)
    path = put(tmp_path / "in" / "all.jsonl", lines([{"text": "a", "user": {"id": 7}}]))
    [reject] = found(path, users=str(tmp_path / "who.csv"))
    assert reject.line == 0
    assert "who.csv is no table of accounts: " in reject.reason


def test_in_a_zip_the_users_table_is_looked_for_beside_the_tweets(tmp_path):
    tweets = lines([{"text": "a", "user": {"id": 7}}])
    for place in ("", "in/"):
        files = {f"{place}all.jsonl": tweets, f"{place}users.csv": "id,screen_name,name\n7,Wren,Jenny Wren\n"}
        items = found(put(tmp_path / "all.zip", zipped(files)))
        assert [item.handle for item in items if isinstance(item, Record)] == ["wren"]


def test_columns_can_be_named_in_the_fleet_file(tmp_path):
    path = put(tmp_path / "sheet.csv", "body,who,text,number\nhello there,Wren,not this,9\n")
    [record] = found(path, columns={"text": "body", "handle": "who", "likes": "number"})
    assert (record.handle, record.text, record.likes) == ("wren", "hello there", 9)
    path = put(tmp_path / "sheet.jsonl", '{"body": "hello there", "who": "Wren", "date": "some day"}\n')
    [record] = found(path, columns={"text": "body", "handle": "who", "created_at": None})
    assert (record.handle, record.text, record.created_at) == ("wren", "hello there", None)


def test_a_missing_column_that_the_fleet_file_names_is_reported(tmp_path):
    [reject] = found(put(tmp_path / "sheet.csv", "text,who\nhello,wren\n"), columns={"text": "body"})
    assert reject.line == 0
    assert reject.reason == "no column 'body' for `text`; there are 'text', 'who'"


def test_mojibake_is_repaired_when_asked(tmp_path):
    broken = "crÃ¨me brÃ»lÃ©e and ðŸ\u008d°"
    path = put(tmp_path / "wren.csv", f"text\n{broken}\n")
    assert [record.text for record in found(path)] == [broken]
    assert [record.text for record in found(path, repair=True)] == ["crème brûlée and 🍰"]
