"""Retweets, replies and quotes: a flag gives yes, no or no information; without any, the text decides."""

from typing import Any

import pytest

from pipeline.tweets.flags import answer, flag


@pytest.mark.parametrize(
    "field, name, value, expected",
    [
        ("retweet", "isRetweet", True, True),
        ("retweet", "is_retweet", "false", False),
        ("retweet", "is_retweet", 1, True),
        ("retweet", "is_retweet", "0", False),
        ("retweet", "is_retweet", "", None),
        ("retweet", "retweet", "25", None),  # a count
        ("retweet", "retweet", "1", None),
        ("retweet", "retweet", "True", True),
        ("retweet", "retweet", "False", False),
        ("retweet", "type", "tweet", None),
        ("retweet", "type", "rt:5", True),
        ("retweet", "type", "Retweeted_Tweet", True),
        ("retweet", "type", "reply", False),
        ("retweet", "type", "", False),
        ("retweet", "type", 3, None),
        ("retweet", "type", None, None),
        ("retweet", "retweet", 25, None),
        ("retweet", "verb", "share", True),
        ("retweet", "verb", "post", False),
        ("retweet", "verb", 1, None),
        ("retweet", "is_retweet", "1.0", True),
        ("retweet", "is_retweet", 2, None),
        ("retweet", "retweeted_status_id", "0", False),
        ("retweet", "retweeted_status_id", "0123456789", True),
        ("retweet", "post_type", "repost", True),
        ("retweet", "retweetedTweet", {"id": 5}, True),
        ("retweet", "retweetedTweet", None, False),
        ("retweet", "retweeted_status_id", "nan", False),
        ("reply", "inReplyToTweetId", 99, True),
        ("reply", "isReply", "yes", True),
        ("reply", "type", "quote", False),
        ("quote", "quotedTweet", {"id": 3}, True),
        ("quote", "is_quote_status", False, False),
    ],
)
def test_a_flag_says_yes_no_or_nothing(field: str, name: str, value: Any, expected: bool | None):
    assert flag(field, name)(value) is expected


@pytest.mark.parametrize(
    "answers, together",
    [([], None), ([None], None), ([None, False], False), ([False, None, True], True), ([False, False], False)],
)
def test_one_yes_is_enough_and_a_no_is_more_than_nothing(answers, together):
    assert answer(answers) is together
