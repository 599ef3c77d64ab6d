"""The bundled sample holds everything that real exports hold, and enough of it."""

import json
import re
from pathlib import Path

import pytest

from pipeline import tweets
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import TweetSource
from pipeline.plan.bots import MIN_CHARS
from tests.support.plain_rules import clean

FILES = tweets.find([TweetSource(path=str(ASSETS / "sample"))])


def test_there_are_four_people_or_more():
    assert len({file.handle for file in FILES}) >= 4
    assert all(file.handle in file.path for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.handle)
def test_an_account_is_as_real_exports_are(file):
    items = list(tweets.read(file))
    [profile] = [item for item in items if isinstance(item, tweets.Profile)]
    assert profile.handle == file.handle and profile.name
    records = [item for item in items if isinstance(item, tweets.Record)]
    assert len(records) == len(items) - 1
    verdicts = [clean(record.text, record.retweet) for record in records]
    kept = [text for verdict, text in verdicts if verdict == "kept"]
    assert len(kept) >= 150 and sum(map(len, kept)) > MIN_CHARS
    assert {verdict for verdict, _ in verdicts} == {"kept", "retweets", "short"}
    texts = [record.text for record in records]
    emoji = "[\U0001f300-\U0001faff☀-➿]"
    for pattern in (r"^RT @\w+: ", r"^@\w+ ", r"https://t\.co/\w{10}", "&amp;", emoji, "\n", "^$"):
        assert any(re.search(pattern, text) for text in texts), pattern
    assert len({record.id for record in records}) == len(records)
    assert len(set(kept)) == len(kept)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.handle)
def test_the_files_have_the_exports_form(file):
    head, _, body = Path(file.path).read_text(encoding="utf-8").partition(" = ")
    assert head == "window.YTD.tweets.part0"
    assert {"id_str", "full_text", "created_at", "entities", "retweeted"} <= set(json.loads(body)[0]["tweet"])
