"""Edited tweets, and tables whose columns the fleet file gives by number."""

import json

import pytest

from pipeline.core.settings import TweetSource
from pipeline.tweets import Record, Reject, find, read

FIRST, NEWEST = "The lighthouse keeper panted every door", "The lighthouse keeper painted every door"


def items_of(path, **source):
    return [item for file in find([TweetSource(path=str(path), **source)]) for item in read(file)]


@pytest.mark.parametrize(
    "versions",
    [
        {"edit_history_tweet_ids": ["1", "2"]},
        {"edit_info": {"initial": {"editTweetIds": ["1", "2"], "editsRemaining": "4"}}},
        {"edit_info": {"edit": {"initialTweetId": "1", "editControlInitial": {"editTweetIds": ["1", "2"]}}}},
        {"edit_control": {"edit_tweet_ids": ["1", "2"]}},
    ],
)
def test_of_an_edited_tweet_the_newest_version_stays(tmp_path, versions):
    path = tmp_path / "wren.jsonl"
    rows = [{"id": str(id), "text": text, **versions} for id, text in ((1, FIRST), (2, NEWEST))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = items_of(path)
    assert [item.text for item in items if isinstance(item, Record)] == [NEWEST]
    assert [item.reason for item in items if isinstance(item, Reject)] == [
        "an earlier version of an edited tweet; the newest one counts"
    ]


def test_a_tweet_that_was_never_edited_stays(tmp_path):
    path = tmp_path / "wren.json"
    path.write_text(json.dumps([{"id": "1", "text": FIRST, "edit_history_tweet_ids": ["1"]}]))
    assert [type(item) for item in items_of(path)] == [Record]


@pytest.mark.parametrize(
    "columns", [{"handle": 4, "text": 5, "id": 1}, {4: "handle", 5: "text", 1: "id"}, {"handle": "4", "text": "5"}]
)
def test_columns_by_number_read_a_table_without_a_header(tmp_path, columns):
    path = tmp_path / "table.csv"
    rows = [f'"0","{10 + i}","Mon","NO_QUERY","{who}","{FIRST}"' for i, who in enumerate(("wren", "owl"))]
    path.write_text("\n".join(rows) + "\n")
    assert [(item.handle, item.text) for item in items_of(path, columns=columns)] == [("wren", FIRST), ("owl", FIRST)]


def test_columns_are_given_by_name_by_number_or_not_at_all():
    source = TweetSource(path="a.csv", columns={"lang": None, "text": 3, 4: "handle", "id": "key"})
    assert source.columns == {"lang": None, "text": "3", "handle": "4", "id": "key"}
