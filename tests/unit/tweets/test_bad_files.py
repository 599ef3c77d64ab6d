"""Broken, hostile or oddly encoded files: usable records are read, and the rest is rejected with its place."""

import gzip
import struct
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest

from pipeline.core.settings import TweetSource
from pipeline.tweets import Notice, byte_stream, find, parquet_file, read_batches
from pipeline.tweets.csv_rows import MAX_FIELD
from pipeline.tweets.json_stream import MAX_VALUE
from pipeline.tweets.text_lines import MAX_LINE
from tests.support.read_items import found, rejects, texts
from tests.support.tweet_samples import export_files, put, zipped


@pytest.fixture
def csv(tmp_path):
    return lambda content: found(put(tmp_path / "wren.csv", content))


# Encodings


IN_ANY = {"a.json": '[{"text": "crème 🍰"}]', "a.jsonl": '{"text": "crème 🍰"}\n', "a.txt": "crème 🍰\n"}
SHEET = "id,text\n1,crème brûlée – “warm”\n2,naïve\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252"])
def test_the_encoding_is_found_out(csv, encoding):
    mark = {"utf-16-be": "\ufeff"}.get(encoding, "")
    assert texts(csv((mark + SHEET).encode(encoding))) == ["crème brûlée – “warm”", "naïve"]


@pytest.mark.parametrize("name", IN_ANY)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_read_in_every_format(tmp_path, name, encoding):
    assert texts(found(put(tmp_path / name, IN_ANY[name].encode(encoding)))) == ["crème 🍰"]


def test_a_text_in_another_alphabet_is_refused_and_not_made_into_nonsense(csv):
    items = csv("id,text\n1,Доброе утро на пароме\n".encode("windows-1251"))
    assert rejects(items) == [(2, "neither UTF-8 nor Windows-1252")]


def test_a_row_with_half_a_character_of_utf16_is_rejected(csv):
    items = csv(SHEET.encode("utf-16-le")[:40] + b"\x00\xd8" + "\n3,last\n".encode("utf-16-le"))
    assert texts(items)[-1] == "last"
    assert [reason for _, reason in rejects(items)] == ["neither UTF-8 nor Windows-1252"]


def test_a_long_file_that_turns_from_ascii_late_is_read(csv):
    rows = "".join(f"{i},plain words\n" for i in range(40_000))
    assert texts(csv(b"id,text\n" + rows.encode() + b"1,caf\xe9\n"))[-1] == "café"


# Tables


def test_a_line_with_an_unclosed_quote_is_rejected_alone(csv):
    items = csv('id,text\n1,first\n2,"never closed\n3,third\n4,fourth\n')
    assert texts(items) == ["first", "third", "fourth"]
    assert [line for line, _ in rejects(items)] == [3]


def test_an_open_quote_that_meets_the_next_one_does_not_swallow_rows(csv):
    items = csv('id,text\n1,"never closed\n2,"whole"\n3,third\n')
    assert texts(items) == ["whole", "third"]
    assert [line for line, _ in rejects(items)] == [2]


def test_an_unclosed_quote_before_much_text_rejects_its_line_alone(csv):
    rows = [f"{i},{'words ' * 20}" for i in range(MAX_FIELD // 60)]
    items = csv('id,text\n1,"open\n' + "\n".join(rows) + "\n")
    assert len(texts(items)) == len(rows)
    assert [line for line, _ in rejects(items)] == [2]


def test_quotes_that_never_match_end_in_a_reject_and_not_in_a_day_of_reading(csv, monkeypatch):
    monkeypatch.setattr("pipeline.tweets.csv_rows._REREAD", 10_000)
    items = csv("id,text\n" + 'b","c\n' * 2_000)
    assert len(items) < 100
    assert "nothing is read from here on" in rejects(items)[-1][1]


def test_a_row_with_more_cells_than_columns_is_rejected(csv):
    items = csv("id,text\n1,tea, and cake\n2,tea,,\n3,tea\n")
    assert rejects(items) == [(2, "3 cells in a row, and 2 columns")]
    assert texts(items) == ["tea", "tea"]


def test_in_a_table_of_one_column_a_comma_separates_nothing(csv):
    assert texts(csv('text\ntea, and cake\n"more, of it"\n')) == ["tea, and cake", "more, of it"]


@pytest.mark.parametrize("header", ["text,id,text", "id,Text,text", "id,text,id"])
def test_two_columns_of_one_name_are_refused(csv, header):
    [(line, reason)] = rejects(csv(f"{header}\na,b,c\n"))
    assert line == 0
    assert reason.startswith("more than one column is called")


def test_a_tsv_without_quoting_keeps_its_quotes(tmp_path):
    items = found(put(tmp_path / "wren.tsv", 'id\ttext\n1\t"Tea," she said\n2\t"cake\n'))
    assert texts(items) == ['"Tea," she said', '"cake']


def test_quotes_may_be_escaped_by_a_backslash(csv):
    assert texts(csv('id,text\n1,"she said \\"tea\\" and left"\n2,"cake"\n')) == ['she said "tea" and left', "cake"]


@pytest.mark.parametrize("id", ["1.23E+18", "1,23E+18", "1.23457e18", "6.58667E17", "1234567890123456789.0"])
def test_an_id_that_lost_its_digits_is_rejected(csv, id):
    items = csv(f'id,text\n"{id}",tea\n5,cake\n')
    assert texts(items) == ["cake"]
    assert rejects(items) == [(2, f"an id that lost its digits in a spreadsheet: {id!r}")]


@pytest.mark.parametrize("date", ["yesterday", "2016-13-45", "99999999999999999999", "-1", "31/31/2016", "0x10"])
def test_an_invalid_date_is_counted_and_its_record_is_kept(tmp_path, date):
    path = put(tmp_path / "wren.csv", f"date,text\n{date},tea\n2016-05-03,cake\n,bread\n")
    [file] = find([TweetSource(path=str(path))])
    [batch] = read_batches(file)
    assert batch.records["text"].to_pylist() == ["tea", "cake", "bread"]
    assert [when and when.day for when in batch.records["created_at"].to_pylist()] == [None, 3, None]
    assert batch.rejects == []
    what = "dates cannot be read; these tweets count as undated"
    assert batch.notices == [Notice(what, 1, f"{path}:2: {date!r}")]


def test_a_very_long_line_is_skipped_without_being_kept_in_memory(csv, tmp_path):
    long = b"2," + b"a" * (2 * MAX_LINE) + b"\n"
    items = csv(b"id,text\n1,first\n" + long + b"3,last\n")
    assert texts(items) == ["first", "last"]
    assert [line for line, _ in rejects(items)] == [3]
    items = found(put(tmp_path / "wren.txt", b"first\n" + long + b"last\n"))
    assert texts(items) == ["first", "last"]
    assert [line for line, _ in rejects(items)] == [2]


def test_lines_may_end_as_on_any_system(csv):
    for end in ("\n", "\r\n", "\r"):
        assert texts(csv(f"id,text{end}1,tea{end}2,cake{end}")) == ["tea", "cake"]


# JSON


def test_a_very_long_array_is_read_in_pieces(tmp_path):
    item = '{"text": "' + "é words " * 100 + '", "n": "%d"},\n'
    path = put(tmp_path / "wren.json", "[" + "".join(item % i for i in range(4_000)) + '{"text": "last"}]')
    records = found(path)
    assert [record.line for record in records] == list(range(1, 4_002))
    assert records[-1].text == "last"


@pytest.mark.parametrize("start", [b"\xfd7zXZ\0", b"BZh9", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_bytes_that_only_begin_as_a_packed_file_are_one_reject(tmp_path, start):
    [(line, reason)] = rejects(found(put(tmp_path / "wren", start + b"nothing that was ever packed" * 9)))
    assert line == 0 and reason.startswith("cannot be read: ")


def test_a_tweet_too_long_to_be_one_ends_an_array(tmp_path):
    items = found(put(tmp_path / "wren.json", '[{"text": "first"}, {"text": "' + "a" * (MAX_VALUE + 2**21) + '"}]'))
    assert texts(items) == ["first"]
    assert "an item of over 16 MiB" in rejects(items)[0][1]


def test_bytes_that_are_not_utf8_cost_one_item_of_an_array(tmp_path):
    items = found(put(tmp_path / "wren.json", b'[{"text": "first"},\n{"text": "caf\xe9"},\n{"text": "last"}]'))
    assert texts(items) == ["first", "last"]
    assert rejects(items) == [(2, "not UTF-8")]


# Archives


def test_an_error_in_a_zip_names_its_part(tmp_path):
    files = export_files()
    files["data/tweets-part1.js"] = "window.YTD.tweets.part1 = [{5}]"
    [file] = find([TweetSource(path=str(put(tmp_path / "mine.zip", zipped(files))))])
    places = [batch.path for batch in read_batches(file) if batch.rejects]
    assert places == [f"{tmp_path}/mine.zip/data/tweets-part1.js"]


def test_paths_that_leave_the_archive_are_refused(tmp_path):
    out, inside = "text\nout\n", "text\nin\n"
    outside = {"../wren.csv": out, "/etc/wren.csv": out, "a/../../b.csv": out, "wren.csv": inside}
    items = found(put(tmp_path / "all.zip", zipped(outside)))
    assert texts(items) == ["in"]
    assert sum("leaves the archive" in reason for _, reason in rejects(items)) == 3


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.tweets.archive.MAX_UNPACKED", 2**20)
    bomb = zipped({"data/tweets.js": b"window.YTD.tweets.part0 = [" + b" " * 2**24})
    [(line, reason)] = rejects(found(put(tmp_path / "wren.zip", bomb)))
    assert line == 0 and "a zip bomb?" in reason


def test_a_zip_with_a_false_size_is_read_up_to_that_size(tmp_path):
    data = bytearray(zipped({"wren.csv": b"text\n" + b"tea and more cake\n" * 100_000}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)  # the directory says: 100 bytes
    items = found(put(tmp_path / "all.zip", bytes(data)))
    assert len(texts(items)) <= 10


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: pyarrow.compress(data, "zstd", asbytes=True)])
def test_a_compressed_bomb_is_stopped_at_the_limit(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(byte_stream, "MAX_UNPACKED", 2**20)
    items = found(put(tmp_path / "wren.csv.gz", pack(b"text\nfirst\n" + b"\n" * 2**24)))
    assert "a zip bomb?" in rejects(items)[-1][1]


def test_broken_zips_are_one_reject(tmp_path):
    whole = zipped(export_files())
    for content in (whole[:100], whole[:-30], whole[: len(whole) // 2] + b"\0" * 50 + whole[len(whole) // 2 + 50 :]):
        items = found(put(tmp_path / "wren.zip", content))
        assert any(line == 0 and "cannot be read" in reason for line, reason in rejects(items))


def test_an_encrypted_part_is_named(tmp_path):
    data = bytearray(zipped({"wren.csv": "text\nsecret\n"}))
    for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1
    [(line, reason)] = rejects(found(put(tmp_path / "all.zip", bytes(data))))
    assert line == 0 and "encrypted" in reason


def test_an_archive_in_an_archive_is_not_opened(tmp_path):
    items = found(put(tmp_path / "all.zip", zipped({"inner.zip": zipped({"wren.csv": "text\ntea\n"})})))
    assert rejects(items) == [(0, "an archive inside an archive")]


def test_an_archive_without_tweets_says_so(tmp_path):
    assert rejects(found(put(tmp_path / "all.zip", zipped({".hidden": "x"})))) == [
        (0, "not a file of posts: an archive without any")
    ]


def test_the_zips_name_counts_as_a_folder(tmp_path):
    files = {name: content for name, content in export_files().items() if name != "data/account.js"}
    assert {item.handle for item in found(put(tmp_path / "robin.zip", zipped(files)))} == {"robin"}
    path = put(tmp_path / "robin" / "twitter-2024-01-01.zip", zipped(files))
    assert {item.handle for item in found(path)} == {"robin"}
    assert {item.handle for item in found(path, handle="lark")} == {"lark"}


def test_a_zip_of_plain_files_is_read_file_by_file(tmp_path):
    files = {"a/wren.csv": "text\ntea\n", "robin.txt": "cake\n", "x.jsonl.gz": gzip.compress(b'{"text": "pie"}\n')}
    path = put(tmp_path / "all.zip", zipped(files))
    assert [(item.handle, item.text) for item in found(path)] == [("wren", "tea"), ("robin", "cake"), ("x", "pie")]


# Parquet


def parquet(table: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_a_parquet_that_is_no_table_of_tweets_or_broken_is_one_reject(tmp_path):
    whole = parquet(pyarrow.table({"text": ["tea"] * 50}))
    prices = parquet(pyarrow.table({"price": [1, 2]}))
    for content in (whole[:-10], whole[:50] + whole[60:], b"PAR1", prices):
        [(line, reason)] = rejects(found(put(tmp_path / "wren.parquet", content)))
        assert line == 0 and reason.startswith(("cannot be read", "not a file of posts"))


def test_no_broken_byte_of_a_parquets_footer_ends_the_process(tmp_path):
    whole = parquet(pyarrow.table({"text": ["tea", "cake"], "id": ["1", "2"], "user": ["wren", "wren"]}))
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in range(start, len(whole) - 8):
        for byte in (0, whole[at] ^ 1):
            found(put(tmp_path / "wren.parquet", whole[:at] + bytes([byte]) + whole[at + 1 :]))


def test_a_parquet_whose_row_groups_do_not_fit_into_memory_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "_MAX_ROW_GROUP", 10)
    [(line, reason)] = rejects(found(put(tmp_path / "wren.parquet", parquet(pyarrow.table({"text": ["tea"] * 50})))))
    assert line == 0 and "in one row group; write smaller ones" in reason


def test_odd_values_in_a_parquet_cost_their_rows(tmp_path):
    table = pyarrow.table({"text": ["tea", None, "cake\0", "pie"], "id": [1.0, 2.0, 3.0, 1.5e18], "user": ["wren"] * 4})
    items = found(put(tmp_path / "all.parquet", parquet(table)))
    assert texts(items) == ["tea"]
    assert [line for line, _ in rejects(items)] == [2, 3, 4]


# Whatever else lies about


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0", b"<!DOCTYPE html><p>hi</p>", b"\0" * 4, b"%PDF-1.7\n\0"])
@pytest.mark.parametrize("name", ["wren.txt", "wren", "wren.csv"])
def test_a_file_that_holds_no_text_is_not_read_as_text_whatever_its_name(tmp_path, name, content):
    [(line, reason)] = rejects(found(put(tmp_path / name, content)))
    assert line == 0 and reason.startswith(("not a file of posts", "cannot be read"))


def test_words_that_are_not_called_text_are_none(tmp_path):
    assert rejects(found(put(tmp_path / "README.md", "# All my birds\n\nA list.\n")))[0][0] == 0


def test_memory_holds_a_batch_and_not_the_file(tmp_path):
    lines = (b'{"text": "%06d %s"}\n' % (i, b"words " * 100) for i in range(40_000))
    path = put(tmp_path / "wren.jsonl", b"".join(lines))
    [file] = find([TweetSource(path=str(path))])
    sizes = [batch.records.nbytes for batch in read_batches(file)]
    assert len(sizes) >= 4
    assert max(sizes) < path.stat().st_size / 3
