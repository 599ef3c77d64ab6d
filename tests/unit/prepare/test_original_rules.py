"""The cleaning rules, case by case: those of the product and the plain ones that it is compared with.

They are the original's rules, so that the counts in a model card mean what they always meant.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipeline.core.model_folder import SEPARATOR
from pipeline.core.settings import Filters
from pipeline.core.store import Store, resolve
from pipeline.prepare import rules as product
from pipeline.prepare.by_person import finished
from pipeline.prepare.filters import TweetFilters
from pipeline.prepare.verdicts import RAW, judged
from tests.support import plain_rules as plain
from tests.support.plain_rules import held_out


class Rules(NamedTuple):
    """One implementation of the rules, for one tweet."""

    clean: Callable[[str, bool | None], tuple[str, str]]
    unescaped: Callable[[str], str]
    without_links: Callable[[str], str]
    is_short: Callable[[str], bool]

    def text_of(self, tweet: str) -> str:
        return self.clean(tweet, None)[1]


def _judge(text: str, retweet: bool | None) -> tuple[str, str]:
    row = product.judge(pl.Series([text]), pl.Series([retweet], dtype=pl.Boolean))
    return row["verdict"].item(), row["text"].item()


def _one(rule: Callable[[pl.Expr], pl.Expr]) -> Callable[[str], str]:
    return lambda text: pl.select(rule(pl.lit(text))).item()


PLAIN = Rules(plain.clean, plain.unescaped, plain.without_links, plain.is_short)
PRODUCT = Rules(_judge, _one(product.unescaped), _one(product.without_links), _one(product.is_short))


@pytest.fixture(scope="module", params=[PRODUCT, PLAIN], ids=["product", "plain"])
def rules(request) -> Rules:
    return request.param


LINK = re.compile(r"https?:\S")
# words without an h: where a link is cut out of "hthttp:x tp:y", the rules (as the original's) leave a new one behind
WORDS = st.text("abcdeé😀&;@#.", min_size=1, max_size=6)
LINKS = st.builds("{}{}".format, st.sampled_from(["http:", "https:"]), st.text("abc/.:", min_size=1, max_size=6))
BLANKS = st.sampled_from([" ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u2028"])
TWEETS = st.lists(WORDS | LINKS | BLANKS, max_size=12).map("".join)


@pytest.mark.parametrize(
    "raw, plain",
    [
        ("salt &amp; pepper", "salt & pepper"),
        ("1 &lt; 2 &gt; 0", "1 < 2 > 0"),
        ("&amp;lt; stays no entity", "< stays no entity"),  # &amp; first, so what it frees is unescaped too
        ("&quot;quoted&quot; &#39;", "&quot;quoted&quot; &#39;"),
    ],
)
def test_the_three_entities_are_unescaped_in_order(rules, raw, plain):
    assert rules.unescaped(raw) == plain


@pytest.mark.parametrize("scheme", ["http:", "https:"])
class TestLinks:
    def test_a_link_at_the_start_goes_with_the_blank_after_it(self, rules, scheme):
        assert rules.without_links(f"{scheme}//x.example tea is ready") == "tea is ready"

    def test_a_link_in_the_middle_goes_with_the_blank_before_it(self, rules, scheme):
        assert rules.without_links(f"tea {scheme}//x.example is ready") == "tea is ready"

    def test_a_link_at_the_end_goes_with_the_blank_before_it(self, rules, scheme):
        assert rules.without_links(f"tea is ready {scheme}//x.example") == "tea is ready"

    def test_a_link_on_a_line_of_its_own_goes_with_the_line_break(self, rules, scheme):
        assert rules.without_links(f"tea is ready\n{scheme}//x.example") == "tea is ready"

    def test_a_link_before_a_line_break_leaves_it(self, rules, scheme):
        assert rules.without_links(f"tea {scheme}//x.example\nis ready") == "tea\nis ready"

    def test_a_link_that_begins_inside_a_word_goes_and_joins_what_it_stood_between(self, rules, scheme):
        assert rules.without_links(f"tea({scheme}//x.example) is ready") == "tea(is ready"

    def test_a_link_is_all_up_to_the_next_white_space(self, rules, scheme):
        assert rules.without_links(f"tea {scheme}//x.example/é?q=1,2;😀\u00a0is ready") == "tea\u00a0is ready"

    def test_a_scheme_with_nothing_after_it_is_no_link(self, rules, scheme):
        assert rules.without_links(f"say {scheme} and stop {scheme}") == f"say {scheme} and stop {scheme}"

    def test_only_one_of_two_blanks_is_removed(self, rules, scheme):
        assert rules.without_links(f"tea  {scheme}//x.example  is") == "tea   is"


def test_links_of_http_go_before_those_of_https(rules):
    assert rules.without_links("ahttps:x-http:y b") == "a"  # the other way round it would be "ab"


def test_the_blank_after_a_link_goes_before_the_line_break_in_front_of_it(rules):
    assert rules.without_links("tea\nhttp:x is ready") == "tea\nis ready"


def test_a_scheme_in_capitals_is_no_link(rules):
    assert rules.text_of("HTTP://x.example is very loud here") == "HTTP://x.example is very loud here"


def test_all_white_space_becomes_single_spaces(rules):
    assert rules.text_of(" one\n\ntwo\t three\u00a0\u2003four\r\nfive \x1f six ") == "one two three four five six"


def test_a_tweet_of_three_plain_words_is_kept_and_of_two_is_short(rules):
    assert rules.clean("tea is ready", None) == ("kept", "tea is ready")
    assert rules.clean("tea ready", None)[0] == "short"
    assert rules.clean("", None) == ("short", "")


@pytest.mark.parametrize("word", ["@wren", "#tea", "see@this", "C#", "http", "HTTPS", "xhttpx"])
def test_words_with_a_link_mention_or_hashtag_do_not_count(rules, word):
    assert rules.is_short(f"{word} tea ready")
    assert not rules.is_short(f"{word} tea is ready")


def test_marks_are_found_whatever_their_case(rules):
    assert rules.is_short("HtTp one two")


def test_a_tweet_of_links_only_is_short(rules):
    assert rules.clean("https://a.example https://b.example\nhttps://c.example", None) == ("short", "")


def test_the_records_flag_says_what_is_a_retweet(rules):
    assert rules.clean("three plain words", True) == ("retweets", "")
    assert rules.clean("RT @wren: this flag says no", False)[0] == "kept"


@pytest.mark.parametrize("text, verdict", [("RT @wren: tea is ready", "retweets"), ("RT", "short")])
def test_without_a_flag_the_text_marks_a_retweet(rules, text, verdict):
    assert rules.clean(text, None)[0] == verdict


@pytest.mark.parametrize("text", ["rt @wren tea is ready", " RT @wren tea is ready", "so RT @wren tea is ready"])
def test_without_a_flag_only_rt_at_the_very_start_is_a_retweet(rules, text):
    assert rules.clean(text, None)[0] == "kept"


@settings(deadline=None)
@given(TWEETS)
@example("https:a http:b\nhttp:c")
def test_no_link_and_no_run_of_white_space_survives(rules, tweet):
    text = rules.text_of(tweet)
    assert not LINK.search(text)
    assert text == " ".join(text.split())


@settings(deadline=None)
@given(TWEETS)
def test_words_apart_from_links_are_kept(rules, tweet):
    # a second link inside a link's word takes the space after it along, and the next word joins the first link
    assume(all(word.count("http") < 2 for word in tweet.split()))
    alone = [word for word in tweet.split() if "http" not in word]
    text = rules.text_of(tweet)
    at = 0
    for word in alone:  # in order, each after the last
        assert word in text[at:]
        at = text.index(word, at) + len(word)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60) | TWEETS, st.sampled_from([True, False, None]))
def test_every_text_gets_one_verdict_and_what_is_kept_has_three_words(rules, text, retweet):
    verdict, cleaned = rules.clean(text, retweet)
    if retweet or (retweet is None and text.startswith("RT @")):
        assert (verdict, cleaned) == ("retweets", "")
    else:
        words = [word for word in cleaned.split(" ") if word and not re.search(r"http|@|#", word.casefold())]
        assert verdict == ("kept" if len(words) >= 3 else "short")


MADE_UP = [json.loads(line) for line in (Path(__file__).parent / "made_up_tweets.jsonl").open(encoding="utf-8")]


@pytest.mark.parametrize("tweet", MADE_UP, ids=lambda tweet: tweet["id"])
def test_each_made_up_tweet_is_judged_as_the_original_did(rules, tweet):
    assert rules.clean(tweet["text"], tweet["retweet"]) == (tweet["verdict"], tweet["cleaned"])


def test_the_counts_of_made_up_people_are_the_originals(tmp_path):
    columns = ("id", "handle", "text", "retweet")
    rows = [{column: tweet[column] for column in columns} for tweet in MADE_UP]
    raw = pa.Table.from_pylist([row | {"file": 0, "account": 0, "line": i} for i, row in enumerate(rows)], RAW)
    people = finished(judged(raw, TweetFilters(Filters()), None), Store(*resolve(str(tmp_path))), 0.1, Filters())
    assert {person.handle: (person.counts, person.chars) for person in people} == {
        "lark": ({"downloaded": 9, "retweets": 2, "short": 3, "kept": 4}, 136 + 3 * len(SEPARATOR)),
        "wren": ({"downloaded": 12, "retweets": 2, "short": 3, "kept": 7}, 156 + 6 * len(SEPARATOR)),
    }


def test_a_tenth_is_held_out_and_at_least_one():
    assert [sum(held_out([str(i) for i in range(n)], 0.1)) for n in (1, 9, 10, 19, 20, 1000)] == [1, 1, 1, 1, 2, 100]
    assert held_out([], 0.1) == []


def test_the_held_out_tweets_are_those_with_the_smallest_hash():
    # sha256 of "owl" begins with 10, of "robin" with 28, of "wren" with b1, of "lark" with c8
    keys = ["lark", "wren", "owl", "robin"]
    assert [key for key, out in zip(keys, held_out(keys, 0.5), strict=True) if out] == ["owl", "robin"]


@settings(deadline=None)
@given(st.sets(st.text(max_size=8), min_size=1, max_size=30), st.floats(0.01, 0.9), st.randoms())
def test_the_same_tweets_are_held_out_in_any_order(keys, share, rng):
    def chosen(order):
        return {key for key, out in zip(order, held_out(order, share), strict=True) if out}

    order = sorted(keys)
    shuffled = rng.sample(order, len(order))
    assert chosen(order) == chosen(shuffled)
