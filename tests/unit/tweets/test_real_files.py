"""Real tweets, where the data is present: every file is read, with the counts that the original huggingtweets finds."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.model_folder import SEPARATOR
from pipeline.core.settings import TweetSource
from pipeline.tweets import Profile, Record, Reject, find, read
from tests.support.plain_rules import clean

DATA = Path(__file__).parents[4] / "shared" / "data"
EXPECTED = DATA / "expected_counts.json"
pytestmark = pytest.mark.skipif(not EXPECTED.is_file(), reason=f"the sample accounts are not at {DATA}")


def counts(source: str, **keys: Any) -> dict[str, dict[str, int]]:
    """Per handle what the cleaning rules make of its tweets, and the length of the kept text."""
    verdicts: dict[str, Counter] = {}
    kept: dict[str, list[str]] = {}
    for file in find([TweetSource(path=str(DATA / source), **keys)]):
        for item in read(file):
            assert not isinstance(item, Reject), item
            if isinstance(item, Record):
                verdict, text = clean(item.text, item.retweet)
                verdicts.setdefault(item.handle, Counter())[verdict] += 1
                kept.setdefault(item.handle, []).extend([text] if verdict == "kept" else [])
    return {
        handle: {
            "downloaded": count.total(),
            "retweets": count["retweets"],
            "short": count["short"],
            "kept": count["kept"],
            "chars": len(SEPARATOR.join(kept[handle])),
        }
        for handle, count in verdicts.items()
    }


@pytest.mark.parametrize("group, source", [("csv", "csv/*.csv"), ("congress", "congress/congress.jsonl.gz")])
def test_the_sample_accounts_have_the_counts_of_the_original(group, source):
    expected = json.loads(EXPECTED.read_text())[group]
    assert counts(source) == {name.lower(): numbers for name, numbers in expected.items()}


@pytest.mark.parametrize(
    "source, people, tweets",
    [
        ("api-v1", 1, 200),
        ("api-v1/SenWarren.json", 1, 200),
        ("api-v2/twarc-flat.jsonl", 57, 60),
        ("api-v2/search-page.jsonl", 96, 100),
        ("x-archive/tweets.js", 1, 154),
        ("tweet-dumper/*.csv", 1, 2_135),
    ],
)
def test_every_other_file_reads_whole(source, people, tweets):
    found = counts(source)
    assert len(found) == people
    assert sum(one["downloaded"] for one in found.values()) == tweets


def test_the_users_of_trimmed_tweets_are_in_the_table_beside_them():
    assert list(counts("api-v1")) == ["senwarren"]
    [file] = find([TweetSource(path=str(DATA / "api-v1/SenWarren.json"), handle="somebody")])
    assert {item.handle for item in read(file)} == {"senwarren"}


def test_whose_each_lone_file_is():
    assert list(counts("tweet-dumper/*.csv")) == ["hillaryclinton"]
    assert list(counts("x-archive/tweets.js", handle="lincolnhighway")) == ["lincolnhighway"]


def test_names_and_pictures_come_with_the_pages():
    [file] = find([TweetSource(path=str(DATA / "api-v2/search-page.jsonl"))])
    profiles = [item for item in read(file) if isinstance(item, Profile)]
    assert len(profiles) == len({profile.handle for profile in profiles}) > 96
    assert all(profile.name and profile.url for profile in profiles)


CASES = DATA / "cases"
WANTED = json.loads((CASES / "expected.json").read_text()) if CASES.is_dir() else {}


@pytest.mark.parametrize("name", sorted(WANTED))
def test_files_as_scrapers_and_archives_write_them_have_the_right_people_and_counts(name):
    verdicts: dict[str, Counter] = {}
    for file in find([TweetSource(path=str(CASES / name))]):
        for item in read(file):
            if isinstance(item, Record):
                verdicts.setdefault(item.handle, Counter())[clean(item.text, item.retweet)[0]] += 1
    people = {
        handle: {"downloaded": count.total()} | {row: count[row] for row in ("retweets", "short", "kept")}
        for handle, count in verdicts.items()
    }
    assert people == (WANTED[name]["people"] if WANTED[name]["people"] is not None else people)
    assert people or WANTED[name]["people"] == {}
