"""Exports of Reddit and Threads, and dumps of Reddit: whose posts are read, and what is never read."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.tweets import TweetFile, reddit, threads
from tests.support.network_samples import REDDIT, TEA, THREADS
from tests.support.read_items import found, reasons, records
from tests.support.tweet_samples import folder, lines, put, table, zipped


def test_an_export_of_reddit_holds_comments_and_posts_of_the_account_that_it_names(tmp_path):
    items = found(put(tmp_path / "x.zip", zipped(REDDIT)))
    assert {record.handle for record in records(items)} == {"ada_wren"}
    posts = {record.id: (record.text, record.retweet, record.reply) for record in records(items)}
    assert posts == {
        "t1_c1": (TEA, False, True),
        "t1_c2": ("no, cold", False, True),
        "t3_p1": ("Ferries", False, False),
        "t3_p2": (f"Ferries\n\n{TEA}", False, False),
    }
    assert {record.created_at.isoformat() for record in records(items)} == {"2025-05-18T04:35:32+00:00"}
    assert reasons(items) == ["deleted or removed on Reddit"]  # and nothing of the messages, votes and drafts


@pytest.mark.parametrize(
    "name, handle", [("x", None), ("export_ada-wren_20260102", "ada_wren"), ("wren", None)], ids=str
)
def test_an_export_of_reddit_without_an_account_name_is_rejected(tmp_path, name, handle):
    parts = {part: text for part, text in REDDIT.items() if part != "statistics.csv"}
    for path in (put(tmp_path / f"{name}.zip", zipped(parts)), folder(tmp_path / name, parts)):
        assert {record.handle for record in records(found(path))} == ({handle} if handle else set())
        assert ("an export of Reddit, but whose? name it: {path: …, handle: …}" in reasons(found(path))) == (not handle)
        assert {record.handle for record in records(found(path, handle="lark"))} == {"lark"}
    renamed = put(tmp_path / "robin.csv", REDDIT["comments.csv"])
    assert {record.handle for record in records(found(renamed))} == {"robin"}


def test_private_messages_of_reddit_are_never_read_and_other_tables_beside_them_are(tmp_path):
    at = folder(tmp_path / "mixed", REDDIT | {"wren.csv": "text\ntea and cake\n"})
    assert {record.handle for record in records(found(at))} == {"ada_wren", "wren"}
    assert reasons(found(at / "messages.csv")) == ["not a file of posts: private messages, which are never read"]


def dump() -> list[dict[str, Any]]:
    comment = {"subreddit": "tea", "id": "a", "score": -2, "created_utc": 1579712461, "link_id": "t3_x"}
    post = {"subreddit": "tea", "id": "a", "created_utc": "1579712461", "url": "https://x.com/nasa/status/1"}
    return [
        comment | {"author": "Ada-Wren", "body": f"&gt; hot?\n\n{TEA}"},
        comment | {"author": "Ada-Wren", "body": "[removed]"},
        comment | {"author": "[deleted]", "body": TEA},
        comment | {"author": None, "body": TEA},
        post | {"author": "lark", "title": "Ferries", "selftext": TEA},
        post | {"author": "lark", "title": "Ferries", "selftext": "[deleted]"},
        post | {"author": "lark", "title": "RT @robin: ferries", "selftext": "", "crosspost_parent": "t3_y"},
    ]


def test_a_dump_of_reddit_in_each_form_gives_the_same_posts(tmp_path):
    columns = {key: None for post in dump() for key in post}
    rows = [columns | post for post in dump()]
    pq.write_table(
        pa.Table.from_pylist([row | {"created_utc": int(row["created_utc"])} for row in rows]), tmp_path / "p"
    )
    children = [{"kind": "t1", "data": post} for post in dump()]
    listing = {"kind": "Listing", "data": {"after": None, "children": children}}
    for path in (
        put(tmp_path / "RC_2020-01.jsonl", lines(dump())),
        put(tmp_path / "dump.csv", table(rows)),
        tmp_path / "p",
        put(tmp_path / "listing.json", json.dumps(listing)),
    ):
        items = found(path)
        assert [(record.handle, record.id, record.text, record.retweet, record.reply) for record in records(items)] == [
            ("ada_wren", "t1_a", TEA, False, True),
            ("lark", "t3_a", f"Ferries\n\n{TEA}", False, False),
            ("lark", "t3_a", "RT @robin: ferries", True, False),
        ]
        assert (
            sorted(reasons(items))
            == ["a post of Reddit whose account was deleted"] * 2 + ["deleted or removed on Reddit"] * 2
        )
        assert {record.created_at.year for record in records(items)} == {2020}


def test_columns_of_the_fleet_file_win_over_what_reddit_calls_them(tmp_path):
    path = put(tmp_path / "dump.jsonl", lines([{"subreddit": "tea", "author": "x", "who": "wren", "body": TEA}]))
    assert [record.handle for record in records(found(path, columns={"handle": "who"}))] == ["wren"]


def test_an_export_of_threads_is_mended_and_belongs_to_the_account_that_it_names(tmp_path):
    items = found(put(tmp_path / "meta.zip", zipped(THREADS)))
    assert [(record.handle, record.text, record.reply, record.retweet) for record in records(items)] == [
        ("ada_wren", "café 👍", True, False),
        ("ada_wren", "two pictures", False, False),
        ("ada_wren", "", False, False),
    ]
    assert [record.created_at.year for record in records(items)] == [2025, 2025, 2025]
    assert reasons(items) == ["not a JSON object"]


@pytest.mark.parametrize("name, handle", [("x", None), ("instagram-ada.wren-2026-01-02-AbC", "ada_wren")], ids=str)
def test_an_export_of_threads_without_an_account_name_is_rejected(tmp_path, name, handle):
    parts = {part: text for part, text in THREADS.items() if "personal" not in part}
    for path in (put(tmp_path / f"{name}.zip", zipped(parts)), folder(tmp_path / name, parts)):
        assert {record.handle for record in records(found(path))} == ({handle} if handle else set())
        assert (set(reasons(found(path))) == {"an export of Threads, but whose? name it: {path: …, handle: …}"}) == (
            not handle
        )
        assert {record.handle for record in records(found(path, handle="lark"))} == {"lark"}


def test_other_files_beside_an_export_of_threads_are_read(tmp_path):
    at = folder(tmp_path / "mixed", THREADS | {"wren.csv": "text\ntea and cake\n"})
    assert {record.handle for record in records(found(at))} == {"ada_wren", "wren"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"title": "Tea", "selftext": "hot"}, "Tea\n\nhot"),
        ({"title": "Tea", "selftext": "nan"}, "Tea"),  # as tables write a missing value
        ({"title": "Tea", "selftext": None, "body": 5}, "Tea"),
        ({"title": None, "body": "> somebody else\n\nhot"}, "hot"),
    ],
)
def test_the_text_of_a_post_of_reddit_has_no_missing_values_and_no_quotations(fields, text):
    post = reddit.flat({"subreddit": "tea", "author": "ada"} | fields)
    assert isinstance(post, dict) and post["text"] == text and post["is_reply"] is (fields["title"] is None)


@pytest.mark.parametrize(
    ("fields", "handle"),
    [
        ({"Username": {"value": "Ada.Wren"}}, "ada_wren"),
        ({"Username": {"value": "not a handle!"}}, None),
        ({"Username": {"value": 5}}, None),
        ({"Username": "ada"}, None),
        ({"Nom d'utilisateur": {"value": "ada"}}, None),
        (["ada"], None),
    ],
)
def test_the_account_of_an_export_of_threads_is_in_its_profile(tmp_path, fields, handle):
    profile = {"profile_user": [{"string_map_data": fields}]}
    put(tmp_path / "personal_information.json", json.dumps(profile))
    assert threads.export_handle(TweetFile(str(tmp_path / "threads_and_replies.json"))) == handle
