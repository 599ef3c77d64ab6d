"""How a bot goes on from its last version: what is new to it, what it must not be asked about, when it starts over."""

import numpy as np
import pytest
from pyarrow import fs

from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import hashes
from pipeline.train import packing
from pipeline.train.continuing import FILE, StartsOver, learned, learned_file, parted


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(fs.LocalFileSystem(), str(tmp_path))


def tweets(*firsts: int) -> list[np.ndarray]:
    return [np.array([first, 7, 8], np.int32) for first in firsts]


def firsts(tweets: list[np.ndarray]) -> list[int]:
    return [int(tweet[0]) for tweet in tweets]


def test_what_a_bot_has_learned_from_is_known_by_its_content(store):
    store.write(f"bots/wren/v1/{FILE}", learned_file(tweets(3, 1, 2, 1)))
    known = learned(store, "bots/wren/v1")
    assert known.dtype == np.uint64 and set(known) == set(hashes(tweets(1, 2, 3))) and len(known) == 3
    assert hashes([np.array([1, 7, 8], np.int64)]) == hashes(tweets(1))


def test_new_tweets_are_told_from_old_ones_person_by_person():
    known = hashes(tweets(1, 2, 11))
    wren, lark = parted([(tweets(1, 2, 3), tweets(4)), (tweets(11, 12), tweets(13))], known)
    assert [firsts(part) for part in (wren.new, wren.old, wren.held_out)] == [[3], [1, 2], [4]]
    assert [firsts(part) for part in (lark.new, lark.old, lark.held_out)] == [[12], [11], [13]]


def test_what_was_once_learned_from_is_never_held_out_again_and_what_was_held_out_may_be_learned():
    """With more tweets the tenth with the smallest hashes is another one."""
    [part] = parted([(tweets(1, 5), tweets(2, 6))], known=hashes(tweets(1, 2)))
    assert [firsts(part.new), firsts(part.old), firsts(part.held_out)] == [[5], [1, 2], [6]]


def test_a_bot_starts_over_where_a_tweet_that_it_learned_from_is_gone():
    with pytest.raises(StartsOver, match="2 of the tweets that its last version learned from are gone"):
        parted([(tweets(1, 5), tweets(4))], known=hashes(tweets(1, 2, 3)))


def test_a_bot_starts_over_where_nothing_is_left_to_hold_out_or_nobody_knows_what_it_learned(store):
    with pytest.raises(StartsOver, match="all that is held out"):
        parted([(tweets(1, 5), tweets(2))], known=hashes(tweets(1, 2)))
    with pytest.raises(StartsOver, match="does not say"):
        learned(store, "bots/wren/v1")


def test_old_tweets_are_mixed_in_each_as_often_as_any_other():
    old, new = tweets(*range(100, 140)), tweets(1, 2)
    mixture = firsts(packing.mixed(new, old, epochs=4, seed=0))
    assert mixture.count(1) == mixture.count(2) == 4
    counts = {first: mixture.count(first) for first in range(100, 140)}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert mixture == firsts(packing.mixed(new, old, epochs=4, seed=0))
    assert mixture != firsts(packing.mixed(new, old, epochs=4, seed=1))
    assert firsts(packing.mixed(old, new, epochs=1, seed=0)).count(1) == 20  # as many old ones as new ones
    assert firsts(packing.mixed(new, [], epochs=2, seed=0)) == [1, 2, 1, 2]
