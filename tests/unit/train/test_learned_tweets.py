"""How a bot continues from its last version: which tweets are new, which may be held out, when it starts over."""

import numpy as np
import pytest
from pyarrow import fs

from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import hashes
from pipeline.train import packing
from pipeline.train.learned_tweets import FILE, MustStartOver, learned_file, read_learned, split_by_learned


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(fs.LocalFileSystem(), str(tmp_path))


def tweets(*firsts: int) -> list[np.ndarray]:
    return [np.array([first, 7, 8], np.int32) for first in firsts]


def firsts(tweets: list[np.ndarray]) -> list[int]:
    return [int(tweet[0]) for tweet in tweets]


def test_learned_tweets_are_known_by_their_content(store):
    store.write(f"bots/wren/v1/{FILE}", learned_file(tweets(3, 1, 2, 1)))
    learned = read_learned(store, "bots/wren/v1")
    assert learned.dtype == np.uint64 and set(learned) == set(hashes(tweets(1, 2, 3))) and len(learned) == 3
    assert hashes([np.array([1, 7, 8], np.int64)]) == hashes(tweets(1))


def test_new_and_old_tweets_of_each_person_are_separated():
    learned = hashes(tweets(1, 2, 11))
    wren, lark = split_by_learned([(tweets(1, 2, 3), tweets(4)), (tweets(11, 12), tweets(13))], learned)
    assert [firsts(part) for part in (wren.new, wren.old, wren.held_out)] == [[3], [1, 2], [4]]
    assert [firsts(part) for part in (lark.new, lark.old, lark.held_out)] == [[12], [11], [13]]


def test_what_was_once_learned_from_is_never_held_out_again_and_what_was_held_out_may_be_learned():
    """With more tweets the tenth with the smallest hashes is another one."""
    [part] = split_by_learned([(tweets(1, 5), tweets(2, 6))], learned=hashes(tweets(1, 2)))
    assert [firsts(part.new), firsts(part.old), firsts(part.held_out)] == [[5], [1, 2], [6]]


def test_a_bot_starts_over_where_a_tweet_that_it_learned_from_is_gone():
    with pytest.raises(MustStartOver, match="2 of the tweets that its last version learned from are gone"):
        split_by_learned([(tweets(1, 5), tweets(4))], learned=hashes(tweets(1, 2, 3)))


def test_a_bot_starts_over_where_nothing_is_left_to_hold_out_or_nobody_knows_what_it_learned(store):
    with pytest.raises(MustStartOver, match="all that is held out"):
        split_by_learned([(tweets(1, 5), tweets(2))], learned=hashes(tweets(1, 2)))
    with pytest.raises(MustStartOver, match="does not say"):
        read_learned(store, "bots/wren/v1")


def test_old_tweets_are_mixed_in_each_as_often_as_any_other():
    old, new = tweets(*range(100, 140)), tweets(1, 2)
    mixture = firsts(packing.mix(new, old, epochs=4, seed=0))
    assert mixture.count(1) == mixture.count(2) == 4
    counts = {first: mixture.count(first) for first in range(100, 140)}
    assert set(counts.values()) == {1}  # a quarter of the old tokens for each of four epochs
    assert mixture == firsts(packing.mix(new, old, epochs=4, seed=0))
    assert mixture != firsts(packing.mix(new, old, epochs=4, seed=1))
    assert firsts(packing.mix(old, new, epochs=1, seed=0)).count(1) == 20  # as many old ones as new ones
    assert firsts(packing.mix(new, [], epochs=2, seed=0)) == [1, 2, 1, 2]
