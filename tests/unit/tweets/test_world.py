"""Files as scrapers, spreadsheets and archives really write them, each made here: none of it is guessed or lost."""

import bz2
import io
import json
import lzma
import tarfile
import zipfile
from typing import Any

import pytest

from pipeline.core.settings import TweetSource
from pipeline.tweets import Notice, Record, find, read_batches
from tests.support.read_items import found, rejects, texts
from tests.support.tweet_samples import export_files, lines, put, ytd, zipped

TEA, CAKE = "tea for the ferry captain", "cake for the harbour pilot"


def pairs(items: list[Any]) -> list[tuple[str, str]]:
    return [(item.handle, item.text) for item in items if isinstance(item, Record)]


@pytest.fixture
def csv(tmp_path):
    return lambda content, **source: found(put(tmp_path / "wren.csv", content), **source)


# Tables


def test_quotes_inside_a_text_that_are_not_doubled_are_understood(csv):
    rows = ['1;"she said "no" and left";a', '2;""Soup" is a word";b', '3;"for "rain; wind" not";c', '4;"x";d']
    assert texts(csv("id;text;more\n" + "\n".join(rows) + "\n")) == [
        'she said "no" and left',
        '"Soup" is a word',
        'for "rain; wind" not',
        "x",
    ]


def test_a_text_with_such_quotes_may_go_over_lines_and_swallows_no_row(csv):
    items = csv('id,text\n1,"she "said" so\nand "left""\n2,"open\n3,"whole"\n')
    assert texts(items) == ['she "said" so\nand "left"', "whole"]
    assert [line for line, _ in rejects(items)] == [4]


def test_headers_in_the_middle_are_no_tweets_and_may_have_another_order(csv):
    content = f"id,username,tweet\n1,wren,{TEA}\nid,username,tweet\n2,lark,{CAKE}\ntweet,username,id\nbread,robin,3\n"
    assert pairs(csv(content)) == [("wren", TEA), ("lark", CAKE), ("robin", "bread")]


@pytest.mark.parametrize("above", ["sep=;\n", "\ufeffsep=;\r\n", "\n\n", " \n", '"sep=;"\n'])
def test_lines_above_the_header_are_skipped(csv, above):
    [record] = csv(f"{above}id;text\n1;{TEA}\n")
    assert (record.id, record.text) == ("1", TEA)


@pytest.mark.parametrize(
    "cell, text",
    [
        ("b'caf\\xc3\\xa9\\nand tea'", "café\nand tea"),
        ('"b""it\'s raining"""', "it's raining"),
        ("b'broken \\xff'", "b'broken \\xff'"),
        ("b'not one", "b'not one"),
    ],
)
def test_texts_as_python_shows_bytes_are_decoded(csv, cell, text):
    assert texts(csv(f"id,text\n1,{cell}\n")) == [text]


def test_an_empty_full_text_hides_no_text(csv):
    assert texts(csv(f"id,full_text,text\n1,,{TEA}\n2,{CAKE},cake…\n")) == [TEA, CAKE]
    assert texts(csv(f"id,text,extended_tweet.full_text\n1,tea…,{TEA}\n2,{CAKE},\n")) == [TEA, CAKE]


@pytest.mark.parametrize("columns", [{"id": 0, "handle": 2, "text": 3}, {0: "id", 2: "handle", 3: "text"}])
def test_a_table_without_a_header_has_numbers_for_names(csv, columns):
    items = csv(f'"1","x","wren","{TEA}"\n"2","x","lark","{CAKE}"\n', columns=columns)
    assert pairs(items) == [("wren", TEA), ("lark", CAKE)]


def test_xs_own_analytics_are_read(tmp_path):
    path = tmp_path / "account_analytics_content_2026-04-27.csv"
    row = f'2074,"Tue, Jul 14, 2026",{TEA},https://x.com/wren/status/2074,10,1'
    [record] = found(put(path, f"Post id,Date,Post text,Post Link,Impressions,Likes\n{row}\n"))
    assert (record.handle, record.id, record.text, record.likes) == ("wren", "2074", TEA, 1)
    assert record.created_at.date().isoformat() == "2026-07-14"


@pytest.mark.parametrize("id", ["None", "nan", "0", "", "null", "<NA>", "-1"])
def test_values_that_mean_no_id_give_none(csv, id):
    assert [record.id for record in csv(f"id,text\n{id},{TEA}\n")] == [""]


# JSON


def test_objects_without_a_line_break_between_them_are_read_one_by_one(tmp_path):
    glued = json.dumps({"text": TEA}) + json.dumps({"text": CAKE}) + " " + json.dumps({"text": "bread"})
    assert texts(found(put(tmp_path / "wren.json", glued))) == [TEA, CAKE, "bread"]
    items = found(put(tmp_path / "wren.json", glued + '{"text": "bro'))
    assert texts(items) == [TEA, CAKE, "bread"]
    assert len(rejects(items)) == 1


def test_a_stream_may_tell_the_length_of_each_object(tmp_path):
    assert texts(found(put(tmp_path / "wren.json", f'17\n{{"text": "{TEA}"}}\r\n20\n{{"text": "{CAKE}"}}\n'))) == [
        TEA,
        CAKE,
    ]


@pytest.mark.parametrize(
    "wrapper",
    [
        {"posts": [{"text": TEA, "user": "wren"}]},
        {"results": [{"text": TEA, "username": "wren"}], "count": 1},
        {"data": {"tweets": [{"text": TEA, "author": {"userName": "wren"}}]}},
        {"tweets": {"1": {"text": TEA, "user": {"screen_name": "wren"}}}},
        [{"tweet": {"full_text": TEA, "user": {"screen_name": "wren"}}}],
        {"wren": [{"text": TEA}], "lark": [{"text": CAKE}]},
        {"@wren": [TEA]},
    ],
)
def test_tweets_are_found_in_what_is_wrapped_around_them(tmp_path, wrapper):
    assert ("wren", TEA) in pairs(found(put(tmp_path / "dump.json", json.dumps(wrapper))))


@pytest.mark.parametrize(
    "wrapper", [{"messages": [{"text": TEA}]}, {"train": [{"text": TEA}], "test": [{"text": TEA}]}]
)
def test_a_word_around_tweets_is_no_person(tmp_path, wrapper):
    assert {handle for handle, _ in pairs(found(put(tmp_path / "wren.json", json.dumps(wrapper))))} == {"wren"}


def test_what_xs_web_page_loads_is_read_with_its_authors(tmp_path):
    def tweet(text: str, name: str, **legacy: Any) -> dict[str, Any]:
        user = {"user_results": {"result": {"legacy": {"screen_name": name, "name": name.title()}}}}
        return {"__typename": "Tweet", "core": user, "legacy": {"full_text": text, "id_str": text[:3], **legacy}}

    shared = {"retweeted_status_result": {"result": tweet(CAKE, "lark")}}
    entries = [{"content": {"itemContent": {"tweet_results": {"result": one}}}} for one in
               (tweet(TEA, "Wren"), tweet("RT @lark: cake", "Wren", **shared))]  # fmt: skip
    page = {"data": {"user": {"result": {"timeline_v2": {"timeline": {"instructions": [{"entries": entries}]}}}}}}
    items = [item for item in found(put(tmp_path / "dump.json", json.dumps(page))) if isinstance(item, Record)]
    assert [(item.handle, item.text, item.retweet) for item in items] == [
        ("wren", TEA, False),
        ("wren", "RT @lark: cake", True),
    ]


def test_an_exports_tweets_as_plain_json_mark_no_retweets(tmp_path):
    tweet = {
        "favorite_count": "3",
        "retweeted": False,
        "favorited": False,
        "full_text": "RT @lark: cake",
        "id_str": "1",
    }
    assert [item.retweet for item in found(put(tmp_path / "wren.json", json.dumps([{"tweet": tweet}])))] == [None]


@pytest.mark.parametrize("export", [False, True])
def test_of_an_edited_tweet_the_newest_version_stays(tmp_path, export):
    def tweet(id: str, text: str, *versions: str) -> dict[str, Any]:
        edits = (
            {"edit_info": {"initial": {"editTweetIds": versions}}} if export else {"edit_history_tweet_ids": versions}
        )
        return {"id": id, "id_str": id, "full_text": text, **edits}

    tweets = [
        tweet("2", TEA, "1", "2"),
        tweet("1", "tae", "1", "2"),
        tweet("3", CAKE, "3"),
        tweet("5", "pie", "5", "6"),
    ]
    content = ytd("tweets", [{"tweet": one} for one in tweets]) if export else json.dumps(tweets)
    items = found(put(tmp_path / "wren.json", content))
    assert texts(items) == [TEA, CAKE, "pie"]  # the newest version of the last one is not here
    assert [reason for _, reason in rejects(items)] == ["an earlier version of an edited tweet; the newest one counts"]


def test_an_error_of_the_api_says_what_it_is(tmp_path):
    items = found(put(tmp_path / "wren.jsonl", lines([{"errors": [{"detail": "no such user"}]}, {"text": TEA}])))
    assert rejects(items) == [(1, "an error of the API: no such user")]


# Archives and packings


@pytest.mark.parametrize("ending, pack", [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_bzip2_and_xz_are_unpacked(tmp_path, ending, pack):
    assert pairs(found(put(tmp_path / f"wren.jsonl{ending}", pack(json.dumps({"text": TEA}).encode())))) == [
        ("wren", TEA)
    ]


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_archive_is_read_and_what_leads_out_of_it_is_not(tmp_path, mode):
    files = {"in/wren.csv": f"text\n{TEA}\n".encode(), "../lark.csv": b"text\nout\n", "media/1.png": b"\0" * 100}
    items = found(put(tmp_path / "all.tar", tarred(files, mode)))
    assert pairs(items) == [("wren", TEA)]
    assert [reason.split(":")[0] for _, reason in rejects(items)] == ["a path that leaves the archive"]
    assert not (tmp_path / "lark.csv").exists()


def test_a_broken_tar_archive_is_one_reject(tmp_path):
    whole = tarred({"wren.csv": b"text\n" + b"tea\n" * 5_000}, "w")
    items = found(put(tmp_path / "all.tar", whole[:2_000]))
    assert rejects(items)[-1][0] == 0


@pytest.mark.parametrize(
    "head, word",
    [
        (b"SQLite format 3\0", "sqlite3 -csv"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "CSV UTF-8"),
        (b"7z\xbc\xaf\x27\x1c", "unpack it"),
        (b"\x80\x04\x95", "can run code"),
    ],
)
def test_a_foreign_format_is_named_with_what_to_do(tmp_path, head, word):
    [(line, reason)] = rejects(found(put(tmp_path / "wren", head + b"\0" * 50)))
    assert line == 0 and word in reason


def test_an_excel_workbook_is_named(tmp_path):
    files = {"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}
    [(line, reason)] = rejects(found(put(tmp_path / "wren.xlsx", zipped(files))))
    assert line == 0 and "save its sheet as CSV UTF-8" in reason


def test_posts_in_communities_belong_to_an_export(tmp_path):
    files = export_files() | {
        "data/tweets.js": "window.YTD.tweets.part0 = [ ]",
        "data/tweets-part1.js": ytd("tweets", []),
    }
    files["data/community-tweet.js"] = ytd("community_tweet", [{"tweet": {"id_str": "9", "full_text": TEA}}])
    assert pairs(found(put(tmp_path / "x.zip", zipped(files)))) == [("wren", TEA)]


def test_an_export_says_which_parts_look_like_posts_and_are_not_read(tmp_path):
    deleted = ytd("deleted_tweets", [{"tweet": {"id_str": "1", "full_text": "gone " * 20}}])
    path = put(tmp_path / "x.zip", zipped(export_files() | {"data/deleted-tweets.js": deleted}))
    [file] = find([TweetSource(path=str(path))])
    notices = [notice for batch in read_batches(file) for notice in batch.notices]
    what = "parts of X exports look like posts and are not read"
    assert notices == [Notice(what, 1, f"{path}: deleted-tweets.js")]


def test_a_zip_that_was_packed_on_windows_has_folders(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in export_files().items():
            entry = zipfile.ZipInfo("x")
            entry.filename = name.replace("/", "\\")
            archive.writestr(entry, content)
    items = found(put(tmp_path / "x.zip", packed.getvalue()))
    assert {handle for handle, _ in pairs(items)} == {"wren"}
    assert len(pairs(items)) == 2


def test_pictures_do_not_count_as_files(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.tweets.archive._MAX_PARTS", 3)
    pictures = {f"data/tweets_media/{number}.jpg": b"x" for number in range(10)}
    assert len(pairs(found(put(tmp_path / "x.zip", zipped(export_files() | pictures))))) == 2
