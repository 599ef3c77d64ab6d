"""The rules on columns give what the plain rules give for each single tweet, whatever the text."""

import csv
import gzip
import json
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.prepare.rules import judge
from tests.support.plain_rules import clean

SHARED = Path(__file__).parents[4] / "shared" / "data"
BLANKS = [chr(code) for code in range(sys.maxunicode) if chr(code).isspace()]
ODD = [
    *(
        "http:",
        "https:",
        "HTTP",
        "hTtPs",
        "http:http:",
        "&amp;",
        "&lt;",
        "&gt;",
        "&amp;lt;",
        "@",
        "#",
        "RT @",
        "$1",
        "\\",
    ),
    *("\u00df", "\u017f", "\u212a", "\u1e96", "\u1e97", "\ufb05", "\u0130", "\uff28\uff34\uff34\uff30"),  # odd to fold
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "\u2764\ufe0f", "e\u0301\u0323", "\u200b"),
    *("\u05e9\u05dc\u05d5\u05dd", "\u202e", "\u0645\u0631\u062d\u0628\u0627", "\0", "\ufeff", "\u180e", "\U0010ffff"),
]
TEXTS = st.lists(
    st.sampled_from(ODD) | st.sampled_from(BLANKS) | st.sampled_from("htp:s/ab @#\n") | st.characters(codec="utf-8"),
    max_size=40,
).map("".join)


def judged(tweets: list[tuple[str, bool | None]]) -> list[tuple[str, str]]:
    texts, flags = zip(*tweets, strict=True)
    frame = judge(pl.Series(texts, dtype=pl.String), pl.Series(flags, dtype=pl.Boolean))
    return frame.select("verdict", "text").rows()


def plain(tweets: list[tuple[str, bool | None]]) -> list[tuple[str, str]]:
    return [clean(text, retweet) for text, retweet in tweets]


@settings(deadline=None, max_examples=600)
@given(st.lists(st.tuples(TEXTS, st.sampled_from([True, False, None])), min_size=1, max_size=20))
@example([("hthttp:x tp:y a b c", None), ("ahttps:x-http:y b", False), ("\x1chttp:x\x85", None)])
@example([("http:\u3000x y z", None), ("tea\nhttp:x is ready", None), (" RT @a b c", None), ("", None)])
def test_columns_and_single_tweets_are_judged_alike(tweets):
    assert judged(tweets) == plain(tweets)


@pytest.mark.parametrize("blank", BLANKS, ids=[f"U+{ord(blank):04X}" for blank in BLANKS])
def test_each_kind_of_white_space_ends_a_link_and_parts_words(blank):
    tweets = [(text.format(b=blank), None) for text in ("a{b}{b}b c{b}", "{b}http:x{b}y z", "http:{b}a b", "a b{b}#c")]
    assert judged(tweets) == plain(tweets)


def test_each_character_of_the_first_two_planes_is_judged_alike():
    codes = [code for code in range(0x20000) if not 0xD800 <= code <= 0xDFFF]
    tweets = [(f"ab{chr(code)}cd http:{chr(code)}e htt{chr(code)}p", None) for code in codes]
    assert judged(tweets) == plain(tweets)


@pytest.mark.parametrize("unit", ["a ", "http:", "http:x ", "\n", "@", "h", "&amp;", "é\u0301"])
def test_a_hundred_thousand_characters_are_judged_alike(unit):
    tweets = [((unit * 100_000)[:100_000], None)]
    assert judged(tweets) == plain(tweets)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real tweets is not beside this project")
def test_every_real_tweet_is_judged_alike():
    tweets: list[tuple[str, bool | None]] = []
    for path in sorted(SHARED.glob("csv/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            tweets += [(row["text"], row["type"].startswith("rt:")) for row in csv.DictReader(file)]
    with gzip.open(SHARED / "congress" / "congress.jsonl.gz", "rt", encoding="utf-8") as lines:
        tweets += [(row["text"], row["is_retweet"]) for row in map(json.loads, lines)]
    assert len(tweets) > 80_000
    assert judged(tweets) == plain(tweets)
