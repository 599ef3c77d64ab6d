"""Files of several people whose author fields we do not know: their tweets are never given to one person."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.tweets import Record
from tests.support.read_items import found, reasons
from tests.support.tweet_samples import lines, put, table

TEXTS = ["the ferry leaves at noon", "tea for the captain", "nobody fed the geese"]
WHO = ["wren", "lark", "wren"]


def handles(items: list[Any]) -> list[str]:
    return [item.handle for item in items if isinstance(item, Record)]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize("write", [table, lines, parquet], ids=["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["Author Name", "poster", "from", "profile_url", "Display Name"])
def test_several_people_under_a_name_of_its_own_are_all_rejected(tmp_path, write, column):
    rows = [{"text": text, column: who} for text, who in zip(TEXTS, WHO, strict=True)]
    path = put(tmp_path / "dump", write(rows))
    assert handles(found(path)) == []
    assert len(reasons(found(path))) == 3
    assert f"several people under {column!r}; if they are the authors: columns: {{handle: {column}}}" in reasons(
        found(path)
    )
    assert handles(found(path, columns={"handle": column})) == WHO
    assert handles(found(path, handle="owl")) == ["owl"] * 3
    assert handles(found(path, columns={"handle": None})) == ["dump"] * 3


@pytest.mark.parametrize("write", [table, lines, parquet], ids=["csv", "jsonl", "parquet"])
def test_one_person_under_a_name_of_its_own_has_the_files_name(tmp_path, write):
    rows = [{"text": text, "Author Name": "Jenny Wren"} for text in TEXTS]
    assert handles(found(put(tmp_path / "wren", write(rows)))) == ["wren"] * 3


def test_accounts_as_objects_under_a_name_of_their_own_are_told_apart(tmp_path):
    rows = [
        {"text": text, "poster": {"login": who, "karma": i}}
        for i, (text, who) in enumerate(zip(TEXTS, WHO, strict=True))
    ]
    assert handles(found(put(tmp_path / "dump.jsonl", lines(rows)))) == []
    assert handles(found(put(tmp_path / "dump.jsonl", lines(rows[::2])))) == ["dump", "dump"]


def test_activity_streams_name_the_actor_and_share_what_they_retweet(tmp_path):
    rows = [
        {"id": f"tag:search.twitter.com,2005:{i}", "actor": {"preferredUsername": who}, "verb": verb, "body": text}
        for i, (who, verb, text) in enumerate(zip(WHO, ["post", "share", "post"], TEXTS, strict=True))
    ]
    items = found(put(tmp_path / "dump.json", lines(rows)))
    assert [(item.handle, item.retweet) for item in items if isinstance(item, Record)] == [
        ("wren", False),
        ("lark", True),
        ("wren", False),
    ]


def test_display_names_are_not_handles(tmp_path):
    shown = [{"user_name": who, "user_followers": 1, "text": text} for who, text in zip(WHO, TEXTS, strict=True)]
    assert handles(found(put(tmp_path / "dump.csv", table(shown)))) == []
    plain = [{"user_name": who, "text": text} for who, text in zip(WHO, TEXTS, strict=True)]
    assert handles(found(put(tmp_path / "dump.csv", table(plain)))) == WHO
    scweet = [{"UserScreenName": "Jenny", "UserName": "@wren", "Text": text, "Embedded_text": ""} for text in TEXTS]
    assert handles(found(put(tmp_path / "dump.csv", table(scweet)))) == ["wren"] * 3


def test_a_second_list_beside_the_posts_is_named_and_not_read(tmp_path):
    page = {"tweets": [{"text": TEXTS[0]}], "liked": [{"text": TEXTS[1]}], "tags": ["a"], "errors": []}
    items = found(put(tmp_path / "wren.json", json.dumps(page)))
    assert handles(items) == ["wren"]
    assert reasons(items) == ["a list of posts under 'liked', beside the one that is read"]


def test_lists_under_words_are_not_their_authors(tmp_path):
    page = {"comments": [{"text": TEXTS[0]}], "submissions": [{"text": TEXTS[1]}]}
    assert handles(found(put(tmp_path / "wren.json", json.dumps(page)))) == ["wren", "wren"]


def test_a_missing_value_as_r_writes_it_says_nothing(tmp_path):
    rows = [
        {"text": TEXTS[0], "is_retweet": "FALSE", "retweet_status_id": "NA", "screen_name": "wren"},
        {"text": TEXTS[1], "is_retweet": "TRUE", "retweet_status_id": "90", "screen_name": "wren"},
        {"text": TEXTS[2], "is_retweet": "FALSE", "retweet_status_id": "NA", "screen_name": "NA"},
    ]
    items = found(put(tmp_path / "wren.csv", table(rows)))
    assert [(item.handle, item.retweet) for item in items if isinstance(item, Record)] == [
        ("wren", False),
        ("wren", True),
    ]
    assert reasons(items) == ["the record names no author, and others of the file do"]


def test_a_licence_beside_the_tweets_has_no_owner(tmp_path):
    for name in ("LICENSE.txt", "requirements.txt", "readme-first.txt"):
        assert reasons(found(put(tmp_path / name, "one line\n"))) == [
            "not a file of posts: no JSON, and no column named full_text, text, tweet, raw_content, content, "
            "tweet_text, post_text, body"
        ]
    assert handles(found(tmp_path / "LICENSE.txt", handle="wren")) == ["wren"]


def test_the_address_of_a_post_on_threads_names_its_author(tmp_path):
    path = put(tmp_path / "d.csv", table([{"permalink": "https://www.threads.net/@ada.wren/post/x", "text": TEXTS[0]}]))
    assert handles(found(path)) == ["ada_wren"]
