"""The author of a record: a handle, none, or one that cannot be resolved; never a guess."""

import json
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest

from pipeline.tweets import Record
from pipeline.tweets.authors import Unknown, account_of_url, author_of, author_of_id, link_author
from tests.support.read_items import found, reasons
from tests.support.tweet_samples import lines, put, table

BY_ID = "the author is known only by the id {}; a table of users would name it"
NOBODY = "the record names no author, and others of the file do"


def handles(items: list[Any]) -> list[str]:
    return [item.handle for item in items if isinstance(item, Record)]


@pytest.mark.parametrize(
    "value",
    [
        "@Wren",
        "https://x.com/Wren",
        "https://twitter.com/wren/status/5?s=20",
        "mobile.twitter.com/wren",
        "https://nitter.example/wren",
        {"userName": "Wren"},
        {"id": 7, "screen_name": "wren"},
        {"username": "", "url": "https://x.com/wren"},
        {"user_results": {"result": {"legacy": {"screen_name": "Wren"}}}},
        "{'id': 7, 'username': 'wren', 'created': datetime.datetime(2010, 1, 1, 0, 0)}",
        '{"id": 7, "screen_name": "wren"}',
        "User(username='wren', id=7)",
    ],
)
def test_an_author_is_understood_in_every_form(value):
    assert author_of(value) == "wren"


@pytest.mark.parametrize(
    "value, handle",
    [
        ("https://bsky.app/profile/ada.bsky.social/post/3k", "ada_bsky_social"),
        ("https://ferry.example/@ada", "ada_ferry_example"),
        ("https://ferry.example/users/ada/statuses/1", "ada_ferry_example"),
        ({"acct": "ada", "username": "ada", "url": "https://ferry.example/@ada"}, "ada_ferry_example"),
        ({"acct": "ada@ferry.example", "username": "ada"}, "ada_ferry_example"),
        ({"did": "did:plc:abc", "handle": "ada.bsky.social"}, "ada_bsky_social"),
    ],
)
def test_an_account_elsewhere_is_known_by_its_full_name(value, handle):
    assert author_of(value) == handle


@pytest.mark.parametrize("value", [None, "", " ", "nan", "None", float("nan"), {}])
def test_values_that_mean_no_author_give_none(value):
    assert author_of(value) is None


@pytest.mark.parametrize(
    "value",
    ["A Wren", {"id": 7}, {"name": "A Wren"}, 7, {"acct": "ada"}, "https://x.com/i/status/5", "{'id': 7}", "did:plc:a"],
)
def test_an_author_that_is_given_and_not_understood_is_unknown(value):
    assert isinstance(author_of(value), Unknown)


def test_a_column_of_ids_may_hold_names_of_companies():
    nobody = {"7": "wren"}.get
    assert author_of_id("FerryCare", nobody) == "ferrycare"
    assert author_of_id("7", nobody) == author_of_id(7, nobody) == author_of_id("7.0", nobody) == "wren"
    assert author_of_id("115712", nobody) == Unknown(BY_ID.format(115712), "115712")
    assert author_of_id("0", nobody) is None


def test_an_address_names_the_author_only_where_it_is_the_tweets_own():
    assert link_author("https://x.com/wren/status/5", "5", "url") == "wren"
    assert link_author("https://x.com/lark/status/4", "5", "url") is None  # what the tweet links to
    assert link_author("https://x.com/lark/status/4", None, "url") is None
    assert link_author("https://x.com/wren/status/5", None, "Post Link") == "wren"
    assert link_author("https://x.com/i/web/status/5", "5", "url") is None
    assert account_of_url("https://example.com/wren") is None


NAMED = [
    {"author.userName": "wren"},
    {"author/userName": "wren"},
    {"from_user_name": "wren"},
    {"user": "https://twitter.com/wren"},
    {"user": "{'username': 'wren'}"},
    {"author_id": "7", "username": "wren"},
    {"author_id": "wren"},
    {"user_name": "A Wren", "url": "https://x.com/wren/status/1"},
]


@pytest.mark.parametrize("fields", NAMED)
def test_the_author_is_found_in_tables_and_objects(tmp_path, fields):
    row = {"id": "1", "text": "tea and cake"} | fields
    assert handles(found(put(tmp_path / "dump.csv", table([row])))) == ["wren"]
    assert handles(found(put(tmp_path / "dump.jsonl", lines([row])))) == ["wren"]
    sink = pyarrow.BufferOutputStream()
    pq.write_table(pyarrow.Table.from_pylist([row]), sink)
    assert handles(found(put(tmp_path / "dump.parquet", sink.getvalue().to_pybytes()))) == ["wren"]


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"author_id": "7"}, BY_ID.format(7)),
        ({"user": {"id": 7}}, BY_ID.format(7)),
        ({"user": "A Wren"}, "not a handle: 'A Wren'"),
        ({"author": {"name": "A Wren"}}, "not a handle: \"{'name': 'A Wren'}\""),
    ],
)
def test_an_author_who_cannot_be_resolved_is_a_reject_and_not_the_file(tmp_path, fields, reason):
    items = found(put(tmp_path / "dump.jsonl", lines([{"text": "tea"} | fields] * 2)))
    assert handles(items) == []
    assert reasons(items) == [reason] * 2


def test_the_file_name_is_the_author_only_where_no_record_names_one(tmp_path):
    nobody = [{"text": f"tea {number}"} for number in range(12_000)]
    assert set(handles(found(put(tmp_path / "wren.jsonl", lines(nobody))))) == {"wren"}
    items = found(put(tmp_path / "dump.jsonl", lines([*nobody, {"text": "cake", "user": {"screen_name": "lark"}}])))
    assert handles(items) == ["lark"]
    assert set(reasons(items)) == {NOBODY}
    for name in ("", "nan"):
        items = found(put(tmp_path / "sheet.csv", f"text,user\ntea,{name}\ncake,lark\n"))
        assert (handles(items), reasons(items)) == (["lark"], [NOBODY])
    assert handles(found(put(tmp_path / "robin.csv", "text,user\ntea,\ncake,\n"))) == ["robin"] * 2


def test_the_fleet_file_says_whose_nameless_records_are_and_who_the_one_account_of_a_file_is(tmp_path):
    path = put(tmp_path / "dump.jsonl", lines([{"text": "tea"}, {"text": "cake", "screen_name": "lark"}]))
    assert handles(found(path, handle="wren")) == ["wren", "lark"]
    page = {"data": [{"id": str(number), "text": "tea", "author_id": "7"} for number in range(2)]}
    path = put(tmp_path / "page.json", json.dumps(page))
    assert handles(found(path, handle="wren")) == ["wren"] * 2
    page["data"][1]["author_id"] = "8"
    put(path, json.dumps(page))
    assert handles(found(path, handle="wren")) == []


def test_one_persons_own_addresses_are_better_than_the_files_name(tmp_path):
    posts = [{"id": "1", "text": "tea", "url": "https://t.example/@wren/1"}, {"id": "2", "text": "cake"}]
    assert handles(found(put(tmp_path / "archive.jsonl", lines(posts)))) == ["wren_t_example"] * 2
    posts += [{"id": "3", "text": "pie", "url": "https://t.example/@lark/3"}]
    items = found(put(tmp_path / "archive.jsonl", lines(posts)))
    assert handles(items) == ["wren_t_example", "lark_t_example"]
    assert reasons(items) == [NOBODY]


@pytest.mark.parametrize("path", ["who.name", "who/name"])
def test_a_path_in_the_fleet_file_is_understood(tmp_path, path):
    columns = {"text": "body", "handle": path}
    items = found(put(tmp_path / "dump.jsonl", lines([{"body": "tea", "who": {"name": "Wren"}}])), columns=columns)
    assert handles(items) == ["wren"]
    assert handles(found(put(tmp_path / "dump.csv", f"body,{path}\ntea,Wren\n"), columns=columns)) == ["wren"]


def test_a_missing_key_that_the_fleet_file_names_is_reported(tmp_path):
    path = put(tmp_path / "wren.jsonl", lines([{"text": "tea"}]))
    assert reasons(found(path, columns={"text": "body"})) == ["no key 'body' for `text`"]
    assert reasons(found(path, columns={"handle": "who"})) == ["no key 'who' for `handle`"]


def test_users_are_found_in_any_file_beside_the_tweets_and_later_in_the_file(tmp_path):
    users = {"users": [{"id": "7", "username": "wren"}, {"id": "8", "username": "lark"}]}
    put(tmp_path / "a" / "lookup.json", json.dumps(users))
    put(tmp_path / "a" / "data_1.json", json.dumps([{"id": "1", "text": "tea", "author_id": "7"}]))
    put(tmp_path / "a" / "data_2.csv", "id,text,author_id\n2,cake,8\n3,pie,9\n")
    items = found(tmp_path / "a")
    assert handles(items) == ["wren", "lark"]
    assert reasons(items) == [BY_ID.format(9)]
    pages = [{"data": [{"id": "1", "text": "tea", "author_id": "7"}]}, {"data": [], "includes": users}]
    assert handles(found(put(tmp_path / "b" / "pages.jsonl", lines(pages)))) == ["wren"]
