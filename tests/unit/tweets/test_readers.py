"""The readers: every format gives the same records, and whatever cannot be used is named with its line."""

import csv
import gzip
import io
import json
import random
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tweets import Record, Reject, TweetFile, json_file, json_stream, read
from pipeline.tweets.csv_rows import MAX_FIELD
from tests.support.read_items import rejects, texts

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def items(tmp_path):
    """Reads `content` as a file of `handle`; each line of a list is one of the file's."""

    def read_content(content: bytes | str | list[Any], handle: str | None = "wren") -> list[Record | Reject]:
        if isinstance(content, list):
            content = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in content)
        path = tmp_path / "some file"  # the content alone tells the format
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read(TweetFile(str(path), handle)))

    return read_content


def table(*rows: list[str], delimiter: str = ",") -> str:
    sheet = io.StringIO()
    csv.writer(sheet, delimiter=delimiter).writerows(rows)
    return sheet.getvalue()


def export(*tweets: Any) -> str:
    return f"window.YTD.tweets.part0 = {json.dumps([{'tweet': tweet} for tweet in tweets], indent=1)}"


ONE = {"id": "7", "screen_name": "Wren", "text": "tea &amp; cake"}
FORMATS = {
    "jsonl": json.dumps(ONE) + "\n",
    "json array": json.dumps([ONE], indent=2),
    "csv": "id,screen_name,text\n7,Wren,tea &amp; cake\n",
    "tsv": "id\tscreen_name\ttext\n7\tWren\ttea &amp; cake\n",
    "semicolons": 'id;screen_name;text\n7;Wren;"tea &amp; cake"\n',
    "export": export({"id_str": "7", "full_text": "tea &amp; cake"}),
}


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lambda data: pyarrow.compress(data, "zstd", asbytes=True)])
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_packed_or_not_gives_the_same_record(items, format, bom, packed):
    [record] = items(packed(bom + FORMATS[format].encode()))
    assert record[:3] == ("wren", "7", "tea &amp; cake")  # entities stay: unescaping is a cleaning rule
    assert record.retweet is None


@pytest.mark.parametrize("content", [b"", b" \n\n\t ", BOM, gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_one_reject(items, content):
    assert items(content) == [Reject(0, "the file is empty")]


@pytest.mark.parametrize(
    "content",
    [
        b"just some words",
        b"a,b,c\n1,2,3\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\0" * 10_000,
        b"a" * 3 * MAX_FIELD,  # no line ends: not even a header
        b"<html><body>tweets</body></html>",
    ],
)
def test_a_file_without_tweets_is_one_reject(items, content):
    [(line, reason)] = rejects(items(content))
    assert line == 0
    assert reason.startswith(("not a file of posts", "cannot be read"))


def test_a_file_that_has_gone_since_it_was_found_is_one_reject(tmp_path):
    [reject] = read(TweetFile(str(tmp_path / "gone.csv"), "wren"))
    assert reject.line == 0
    assert reject.reason.startswith("cannot be read")


def test_a_broken_json_line_is_rejected_alone(items):
    found = items([ONE, '{"text": "broken', "", "[1]", "3", ONE | {"text": "last"}])
    assert texts(found) == ["tea &amp; cake", "last"]
    assert [record.line for record in found if isinstance(record, Record)] == [1, 6]
    assert [line for line, _ in rejects(found)] == [2, 4, 5]
    assert "broken JSON" in rejects(found)[0][1]
    assert rejects(found)[1:] == [(4, "not a JSON object"), (5, "not a JSON object")]


@pytest.mark.parametrize("bad", [b'{"text": "\xff\xfe"}', b'{"text": "a\0b"}', b"\0\0\0\0", b'{"a":' * 100_000])
def test_a_line_of_unreadable_bytes_is_rejected_alone(items, bad):
    found = items(b'{"text": "first"}\n' + bad + b'\r\n{"text": "last"}')
    assert texts(found) == ["first", "last"]
    assert [line for line, _ in rejects(found)] == [2]


def test_a_line_too_long_is_skipped_without_being_kept_in_memory(items, monkeypatch):
    monkeypatch.setattr(json_file, "MAX_LINE", 2**16)
    long = b'{"text": "' + b"a" * 2**17 + b'"}\n'
    found = items(b'{"text": "first"}\n' + long + b'{"text": "last"}\n')
    assert [(item.line, type(item)) for item in found] == [(1, Record), (2, Reject), (3, Record)]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_page_of_tweets_may_be_longer_than_any_tweet(items, indent):
    tweets = [{"text": "tea and cake", "other": "x" * 20_000} for _ in range(1_000)]
    found = items(json.dumps({"posts": tweets}, indent=indent).encode())
    assert len(texts(found)) == 1_000 and not rejects(found)


def test_a_document_over_the_limit_is_rejected(items, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_DOCUMENT", 2**20)
    found = items(b'{\n"posts": [{"text": "' + b"a" * 2**22 + b'"}]}')
    assert rejects(found) == [(1, "broken JSON, nothing readable from here on: an item of over 1 MiB")]


def test_in_an_array_the_line_is_where_the_tweet_begins(items):
    found = items('[\n {"text": "a"},\n\n {"text":\n "b"}, 5,\n {"id": 1}\n]\n')
    assert [item.line for item in found] == [2, 4, 5, 6]
    assert texts(found) == ["a", "b"]
    assert rejects(found) == [(5, "not a JSON object"), (6, "no text")]


@pytest.mark.parametrize("rest", ["", ",", ', {"text": "b', ', {"text" "b"', ", nonsense]"])
def test_an_array_that_breaks_off_gives_what_came_before_and_one_reject(items, rest):
    found = items('[{"text": "a"}' + rest)
    assert texts(found) == ["a"]
    assert len(rejects(found)) == 1


@pytest.mark.parametrize(
    "bad", ['{"text" "b"}', '{"text": "\\x"}', '[{"}": 1}}', '{"text": ' + "[" * 5000 + "]" * 5000 + "}"]
)
def test_a_broken_item_of_an_array_is_rejected_alone(items, bad):
    found = items('[{"text": "a"},\n' + bad + ',\n{"text": "c"}]')
    assert texts(found) == ["a", "c"]
    assert [line for line, _ in rejects(found)] == [2]


def test_text_after_an_array_is_a_reject(items):
    found = items('[{"text": "a"}]\n[{"text": "b"}]\n')
    assert texts(found) == ["a"]
    assert "not read" in rejects(found)[0][1]


def test_an_empty_array_is_no_error(items):
    assert items("[]") == []


@pytest.mark.parametrize("tweet", [{"id": 1}, {"text": None}, {"text": 5}, {"text": ["a"]}, {}])
def test_a_record_without_text_is_rejected(items, tweet):
    assert items([tweet]) == [Reject(1, "no text")]


@pytest.mark.parametrize("handle", ["not a handle", "a" * 64, "../../etc", "wren\u0000", "naïve", ["wren"]])
def test_a_record_with_an_invalid_handle_is_rejected_and_not_given_to_the_files_owner(items, handle):
    [(line, reason)] = rejects(items([{"text": "a", "screen_name": handle}]))
    assert line == 1
    assert reason.startswith("not a handle: ")
    assert reason.isprintable()


def test_a_record_without_a_handle_belongs_to_the_files_owner_and_without_one_is_rejected(items):
    assert items([{"text": "a"}], handle="robin")[0].handle == "robin"
    assert items([{"text": "a"}, {"text": "b", "screen_name": ""}], handle=None) == [
        Reject(1, "no handle in the record, and the file's name is none"),
        Reject(2, "no handle in the record, and the file's name is none"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"screen_name": "@Wren"},
        {"username": "wren"},
        {"handle": "WREN"},
        {"user": "wren"},
        {"user": {"id": 5, "screen_name": "wren", "name": "A Wren"}},
        {"author": {"id": "5", "username": "wren", "name": "A Wren"}, "author_id": "5"},
    ],
)
def test_the_writer_is_found_under_its_usual_names(items, fields):
    assert items([{"text": "a"} | fields], handle="robin")[0].handle == "wren"


def test_a_trimmed_user_without_a_name_is_not_the_files_owner(items):
    [reject] = items([{"full_text": "a", "user": {"id": 5}}], handle="robin")
    assert reject == Reject(1, "the author is known only by the id 5; a table of users would name it")


@pytest.mark.parametrize(
    "tweet, text",
    [
        ({"full_text": "whole", "text": "cut…"}, "whole"),
        ({"text": "cut…", "extended_tweet": {"full_text": "whole"}}, "whole"),
        ({"tweet": "whole"}, "whole"),
        ({"content": "whole"}, "whole"),
        ({"text": ""}, ""),
    ],
)
def test_the_text_is_the_whole_one(items, tweet, text):
    assert texts(items([tweet])) == [text]


@pytest.mark.parametrize(
    "fields, flag",
    [
        ({"is_retweet": True}, True),
        ({"is_retweet": False}, False),
        ({"is_retweet": "true"}, True),
        ({"retweeted_status": {"id": 1}, "retweeted": False}, True),
        ({"favorited": False, "retweeted": True}, False),  # `retweeted`: the reader of it did, not the writer
        ({"retweet_count": 3, "retweeted": True}, None),
        ({"referenced_tweets": [{"type": "quoted", "id": "1"}, {"type": "retweeted", "id": "2"}]}, True),
        ({"referenced_tweets": [{"type": "replied_to", "id": "1"}]}, False),
        ({"author_id": "5", "username": "wren"}, None),
        ({}, None),
    ],
)
def test_the_retweet_flag_is_the_formats_own(items, fields, flag):
    assert items([{"text": "RT @robin: hello"} | fields])[0].retweet is flag


def test_ids_are_taken_as_text_whole_numbers_unrounded(items):
    big = 1234567890123456789
    found = items([{"text": "a", "id": big}, {"text": "b", "id": 1, "id_str": str(big)}, {"text": "c"}])
    assert [record.id for record in found] == [str(big), str(big), ""]


def test_lone_surrogates_cannot_reach_a_file_or_a_table(items):
    [record] = items(['{"text": "a\\ud800b", "id": "\\udfff"}'])
    assert record.text == "a\ufffdb"
    assert record.id.encode() == "\ufffd".encode()
    assert texts(items(['{"text": "\\ud83d\\ude00"}'])) == ["😀"]


def test_a_truncated_gzip_gives_the_tweets_before_the_break_and_one_reject(items):
    rng = random.Random(0)
    lines = [{"text": f"tea at {rng.random()}"} for _ in range(2000)]
    packed = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    found = items(packed[: len(packed) // 2])
    assert 100 < len(texts(found)) < 2000
    assert texts(found) == [line["text"] for line in lines[: len(found) - 1]]
    assert rejects(found)[0][0] == 0


def test_a_damaged_gzip_ends_in_one_reject(items):
    rng = random.Random(0)
    packed = gzip.compress(b"".join(b'{"text": "tea at %d"}\n' % rng.randrange(10**9) for _ in range(2000)))
    damaged = packed[:5000] + b"\xff" * 300 + packed[5300:]
    line, reason = rejects(items(damaged))[-1]
    assert line == 0
    assert reason.startswith("cannot be read")


def test_csv_text_may_hold_delimiters_quotes_and_line_breaks(items):
    text = 'tea, "cake"\n\nand; more'
    found = items(table(["id", "text"], ["1", text], ["2", "next"]))
    assert [(record.text, record.line) for record in found] == [(text, 2), ("next", 5)]


def test_a_csv_row_in_an_unknown_encoding_is_rejected_alone(items):
    found = items(b"id,text\n1,na\xc3\xafve\n2,caf\xe9\n3,last\n")
    assert texts(found) == ["naïve", "last"]
    assert rejects(found) == [(3, "neither UTF-8 nor Windows-1252")]


def test_a_row_with_a_nul_byte_in_its_text_is_rejected_alone(items):
    found = items(b"id,text\n1,first\n2,a\0b\n3,last\n")
    assert texts(found) == ["first", "last"]
    assert rejects(found) == [(3, "a NUL byte in the text")]


def test_a_csv_row_without_the_text_column_is_rejected_and_blank_lines_are_nothing(items):
    found = items("id,text\n1\n\n2,last\n")
    assert rejects(found) == [(2, "no text")]
    assert texts(found) == ["last"]


def test_a_csv_field_too_long_to_be_a_tweet_is_rejected_with_its_line(items):
    found = items("id,text\n1,first\n2," + "a" * (MAX_FIELD + 1) + "\n3,last\n")
    assert texts(found) == ["first", "last"]
    assert [line for line, _ in rejects(found)] == [3]


def test_csv_columns_are_known_by_name_in_any_case_and_order(items):
    found = items(table([" Content ", "Retweets", "Username", "Tweet_ID"], ["tea", "5", "Robin", "7"]))
    assert found == [Record("robin", "7", "tea", None, 2)]


@pytest.mark.parametrize(
    "column, value, flag",
    [
        ("is_retweet", "True", True),
        ("is_retweet", "false", False),
        ("is_retweet", "", None),
        ("type", "rt:123", True),
        ("type", "r:123", False),
        ("type", "", False),
    ],
)
def test_the_csv_flag_says_what_is_a_retweet(items, column, value, flag):
    assert items(table(["text", column], ["RT @robin: tea", value]))[0].retweet is flag


def test_an_export_has_no_flag_and_needs_an_owner(items):
    content = export({"id_str": "7", "full_text": "RT @robin: tea", "retweeted": False}, {"id_str": "8"})
    assert items(content) == [
        Record("wren", "7", "RT @robin: tea", None, 2, reply=False, quote=False),
        Reject(9, "no text"),
    ]
    [(line, reason)] = rejects(items(content, handle=None))
    assert line == 0
    assert "{path: …, handle: …}" in reason


@pytest.mark.parametrize("content, line", [("window.YTD.tweets.part0 = ", 1), ("window.YTD.tweets.part0 = [\n5]", 2)])
def test_an_export_without_tweets_says_so(items, content, line):
    assert [at for at, _ in rejects(items(content))] == [line]


def test_a_truncated_export_gives_the_tweets_before_the_break(items):
    content = export({"full_text": "first"}, {"full_text": "last"})
    found = items(content[:-20])
    assert texts(found) == ["first"]
    assert len(rejects(found)) == 1


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda start, rest: start + rest,
        st.sampled_from([b'{"text": "', b'[{"text": "a"}', b"text,id\n", b"window.YTD.tweets.part0 = [", b"\x1f\x8b"]),
        st.binary(max_size=60),
    )
)
def test_no_file_whatever_it_holds_stops_a_run(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(content)
    for item in read(TweetFile(str(path), "wren")):
        item[-1 if isinstance(item, Reject) else 2].encode()  # it can be written to the store
        assert item.line >= 0
