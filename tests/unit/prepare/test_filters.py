"""The opt-in filters: which tweets each leaves out, what goes first, and that counts always add up."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core.errors import UsageError
from pipeline.core.settings import Filters
from pipeline.prepare.filters import TweetFilters, active, copies, resolved

COLUMNS = {
    "verdict": pl.String,
    "text": pl.String,
    "created_at": pl.Datetime("ms", "UTC"),
    "lang": pl.String,
    "likes": pl.Int64,
    "reply": pl.Boolean,
    "quote": pl.Boolean,
}


def filtered(filters: Filters, *tweets: dict) -> list[tuple[str, str]]:
    blank = dict.fromkeys(COLUMNS) | {"verdict": "kept", "text": "the ferry is late again"}
    frame = pl.DataFrame([blank | tweet for tweet in tweets], schema=COLUMNS)
    return TweetFilters(resolved(filters))(frame).select("verdict", "text").rows()


def verdicts(filters: Filters, *tweets: dict) -> list[str]:
    return [verdict for verdict, _ in filtered(filters, *tweets)]


def day(*when: int) -> dict:
    return {"created_at": datetime(*when, tzinfo=UTC)}


def test_without_filters_every_verdict_stays():
    tweets = [{"verdict": verdict, "reply": True, "quote": True} for verdict in ("kept", "short", "retweets")]
    assert verdicts(Filters(), *tweets) == ["kept", "short", "retweets"]
    assert active(Filters()) == ["downloaded", "retweets", "short", "kept"]


def test_since_and_until_are_days_of_utc_and_both_stay():
    tweets = [day(2020, 1, 31, 23, 59, 59), day(2020, 2, 1), day(2020, 2, 2, 23, 59, 59), day(2020, 2, 3), {}]
    filters = Filters(since=date(2020, 2, 1), until=date(2020, 2, 2))
    assert verdicts(filters, *tweets) == ["dates", "kept", "kept", "dates", "dates"]


def test_tweets_with_fewer_or_unknown_likes_are_left_out():
    assert verdicts(Filters(min_likes=3), {"likes": 2}, {"likes": 3}, {}) == ["likes", "kept", "likes"]


def test_a_reply_is_what_the_record_says_or_text_that_starts_with_a_mention():
    tweets = [{"reply": True}, {"reply": False, "text": "@wren yes"}, {"text": "@wren yes"}, {"text": "yes @wren"}]
    assert verdicts(Filters(replies=False), *tweets) == ["replies", "kept", "replies", "kept"]


def test_quotes_go_where_the_record_says_so():
    assert verdicts(Filters(quotes=False), {"quote": True}, {"quote": False}, {}) == ["quotes", "kept", "kept"]


@pytest.mark.parametrize(
    "text, blocked",
    [
        ("big GIVEAWAY today", True),
        ("giveaway", True),
        ("no giveaways today", False),  # another word
        ("it is #spam again", True),
        ("it is spam again", False),
        ("click here, now", True),
        ("click there", False),
        ("what is 1+1?", True),  # not a pattern
        ("what is 11?", False),
    ],
)
def test_blocked_words_are_whole_words_and_phrases_in_any_case(text, blocked):
    filters = Filters(blocked_words=["giveaway", "#spam", "Click here", "1+1"])
    assert verdicts(filters, {"text": text}) == ["blocked_words" if blocked else "kept"]


def test_blocked_words_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("giveaway\n\n  click here \n", encoding="utf-8")
    filters = Filters(blocked_words=str(tmp_path / "words.txt"))
    assert verdicts(filters, {"text": "a giveaway"}, {"text": "click here"}, {"text": "tea"}) == [
        "blocked_words",
        "blocked_words",
        "kept",
    ]
    with pytest.raises(UsageError, match=r"filters\.blocked_words: .*none\.txt: cannot be read"):
        resolved(Filters(blocked_words=str(tmp_path / "none.txt")))


def test_the_records_language_counts_and_where_it_says_nothing_the_text():
    tweets = [
        {"lang": "en"},
        {"lang": "EN-gb"},
        {"lang": "de"},
        {"lang": "und", "text": "Das Schiff fährt heute leider nicht, wir warten alle auf morgen"},
        {"text": "the ship does not sail today and all of us have to wait until tomorrow"},
        {"lang": "in", "text": "Terima kasih"},
        {"text": "😀 😀 😀"},
    ]
    found = verdicts(Filters(languages=["en"]), *tweets)
    assert found == ["kept", "kept", "languages", "languages", "kept", "languages", "kept"]
    assert verdicts(Filters(languages=["id"]), {"lang": "in"}) == ["kept"]


def test_a_language_may_be_called_by_its_english_name():
    assert verdicts(Filters(languages=["en"]), {"lang": "English"}, {"lang": "German"}) == ["kept", "languages"]
    assert resolved(Filters(languages=["English", "de"])).languages == ["en", "de"]


def test_an_unknown_language_is_named():
    with pytest.raises(UsageError, match=r"filters\.languages: 'xx'"):
        resolved(Filters(languages=["en", "xx"]))


def test_mentions_are_replaced_in_what_is_kept():
    texts = ["@wren the ferry, .@lark! and a@b.example", "@a @b @c_9", "cost $5 @x"]
    tweets = [{"text": text} for text in texts] + [{"verdict": "short", "text": "@wren"}]
    changed = [text for _, text in filtered(Filters(mentions="@user"), *tweets)]
    assert changed == ["@user the ferry, .@user! and a@b.example", "@user @user @user", "cost $5 @user", "@wren"]
    assert filtered(Filters(mentions="$0"), {"text": "hi @wren there"}) == [("kept", "hi $0 there")]
    assert filtered(Filters(mentions=""), {"text": "@wren hi @lark there"}) == [("kept", "hi there")]


def test_a_tweet_is_counted_once_under_the_first_filter_it_meets():
    filters = Filters(since=date(2020, 1, 1), min_likes=1, replies=False, quotes=False, blocked_words=["tea"])
    tweet = {"text": "tea @wren", "reply": True, "quote": True, "likes": 0} | day(2019, 1, 1)
    order = ["dates", "likes", "replies", "quotes", "blocked_words", "kept"]
    mended = [{}, day(2021, 1, 1), {"likes": 1}, {"reply": False}, {"quote": False}, {"text": "soup"}]
    for i, row in enumerate(order):
        tweet |= mended[i]
        assert verdicts(filters, tweet) == [row]
    assert [row for row in active(filters) if row in order] == order


def test_of_the_same_text_the_first_stays():
    texts = ["tea is ready", "soup is ready", "tea is ready", "Tea is ready", "tea is ready"]
    assert copies(texts, Filters(duplicates=False)) == ["kept", "kept", "duplicates", "kept", "duplicates"]
    assert copies(texts, Filters()) == ["kept"] * 5


def test_near_duplicates_are_left_out_and_texts_that_only_share_words_are_kept():
    texts = [
        "the ferry to the islands leaves at nine in the morning from the old pier today",
        "The ferry to the islands leaves at nine in the morning from the old pier today!",
        "the old pier leaves the ferry in the morning to nine islands at the today from",
        "soup with onions and bread",
        "the ferry to the islands leaves at nine in the morning from the old pier today",
    ]
    both = Filters(duplicates=False, near_duplicates=0.7)
    assert copies(texts, both) == ["kept", "near_duplicates", "kept", "kept", "duplicates"]
    assert copies(texts, Filters(near_duplicates=0.7))[-1] == "near_duplicates"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["tea is ready", "Tea is ready now", "soup", "", "é 😀 x"]), max_size=30))
def test_kept_texts_have_no_duplicates_and_every_distinct_text_is_kept(texts):
    found = copies(texts, Filters(duplicates=False))
    assert sorted({text for text, one in zip(texts, found, strict=True) if one == "kept"}) == sorted(set(texts))
    assert found.count("kept") == len(set(texts))


@pytest.mark.parametrize(
    "keys",
    [
        {"min_likes": -1},
        {"near_duplicates": 1.5},
        {"since": "2020-13-01"},
        {"blocked_words": []},
        {"languages": []},
        {"language": ["en"]},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(keys):
    with pytest.raises(ValidationError):
        Filters.model_validate(keys)


PRIVATE = [
    "write to ada.lovelace+bots@ferry.example today",
    "mail me: ada [at] ferry [dot] example",
    "my number is +44 20 7946 0958",
    "call (212) 555-0100 now",
    "call 212-555-0100 now",
    "ruf an: 030 1234567",
    "01712345678 ist neu",
    "text 07700 900123 or 01632 960 001",
    "mon numéro : 06.12.34.56.78",
    "oops sk-proj-abcdefghijklmnop1234",
    "oops ghp_abcdefghijklmnopqrstuvwxyz0123",
    "oops AKIAABCDEFGHIJKLMNOP",
    "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.abcdefghijk",
    f"wallet {'0a' * 32}",
    "Password: hunter2000",
]
HARMLESS = [
    "@ada@ferry.example and @wren.bsky.social say hello",
    "born on 2020-01-31 at 10:30, or 01.02.2020 10:30",
    "they won 5,000,000 and 123 456 789 more, 1914-1918",
    "tweet 1234567890123456789 was good",
    "password reset is broken again",
    "see you @ 8, room 212",
    "the sk-8 ramp and hf_radio",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_a_tweet_with_private_data_is_left_out(text):
    assert verdicts(Filters(private=True), {"text": text}) == ["private"]
    assert verdicts(Filters(), {"text": text}) == ["kept"]


@pytest.mark.parametrize("text", HARMLESS)
def test_text_that_only_looks_like_private_data_is_kept(text):
    assert verdicts(Filters(private=True), {"text": text}) == ["kept"]


def test_private_data_has_a_row_of_its_own_only_where_it_is_asked_for():
    assert "private" in active(Filters(private=True)) and "private" not in active(Filters())
