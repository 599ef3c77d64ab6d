"""Packing, exactly: which tweets are in an epoch, how often, and where separators stand."""

from collections import Counter

import numpy as np
import pytest

from pipeline.train import packing
from tests.support.toys import encoded_tweets

SEPARATOR = 9


def tweets_of(first: int, count: int, length: int = 4) -> list[np.ndarray]:
    """Tweets of so many tokens each; no token comes twice."""
    start = first * 1000
    return [np.arange(start + i * length, start + (i + 1) * length, dtype=np.int32) for i in range(count)]


def test_an_epoch_holds_each_token_once_and_a_separator_around_each_tweet():
    tweets = tweets_of(1, 7)
    blocks = packing.pack([tweets], SEPARATOR, block_size=1, epochs=1, seed=3)
    counted = Counter(blocks.flatten().tolist())
    assert counted.pop(SEPARATOR) == 8
    assert counted == Counter(np.concatenate(tweets).tolist())


def test_a_tweet_keeps_its_order_and_the_tweets_are_shuffled():
    tweets = tweets_of(1, 7)
    [block] = packing.pack([tweets], SEPARATOR, block_size=36, epochs=1, seed=3)
    assert (block[::5] == SEPARATOR).all() and len(block) == 7 * 5 + 1
    order = [part.tolist() for part in block[:-1].reshape(7, 5)[:, 1:]]
    assert sorted(order) == [tweet.tolist() for tweet in tweets] != order


def test_blocks_are_shuffled_too():
    [tweet] = tweets_of(1, 1, length=63)
    blocks = packing.pack([[tweet]], SEPARATOR, block_size=8, epochs=1, seed=3)
    firsts = [int(block[0]) for block in blocks]
    assert sorted(firsts) == [SEPARATOR, *range(1007, 1063, 8)] and firsts != sorted(firsts)


def test_the_last_block_is_whole_or_dropped():
    [tweet] = tweets_of(1, 1, length=14)  # with its separators, two blocks of 8
    assert packing.pack([[tweet]], SEPARATOR, block_size=8, epochs=3, seed=0).shape == (6, 8)
    assert packing.pack([[tweet[:-1]]], SEPARATOR, block_size=8, epochs=3, seed=0).shape == (3, 8)


@pytest.mark.parametrize("epoch", [0, 1])
def test_in_a_blend_the_shorter_persons_tweets_come_again_as_a_whole(epoch):
    few, many = tweets_of(1, 3), tweets_of(2, 12)
    blocks = packing.pack([few, many], SEPARATOR, block_size=1, epochs=2, seed=0)
    counted = Counter(blocks.reshape(2, -1)[epoch].tolist())
    assert {counted[int(token)] for token in np.concatenate(few)} == {4}
    assert {counted[int(token)] for token in np.concatenate(many)} == {1}


@pytest.mark.parametrize("length", [1, 4])
def test_a_person_who_is_a_little_shorter_is_filled_up_by_some_tweets(length):
    few, many = tweets_of(1, 3, length), tweets_of(2, 5, length)
    blocks = packing.pack([few, many], SEPARATOR, block_size=1, epochs=1, seed=0)
    counted = Counter(blocks.flatten().tolist())
    assert sorted(counted[int(tweet[0])] for tweet in few) == [1, 2, 2]
    assert {counted[int(token)] for token in np.concatenate(many)} == {1}


def test_no_tweets_are_one_separator():
    assert packing.join([], SEPARATOR).tolist() == [SEPARATOR]


@pytest.mark.parametrize(("new", "old", "drawn"), [(2, 4, 6), (1, 40, 30), (5, 3, 15)])
def test_new_tweets_come_each_epoch_and_as_many_tokens_of_old_ones_or_a_quarter_of_them(new, old, drawn):
    news, olds = tweets_of(1, new), tweets_of(2, old)
    mixed = packing.mix(news, olds, epochs=3, seed=1)
    assert [tweet.tolist() for tweet in mixed[: 3 * new]] == [tweet.tolist() for tweet in news] * 3
    again = Counter(int(tweet[0]) for tweet in mixed[3 * new :])
    assert again.total() == drawn  # of 4 tokens each
    assert max(again.values()) - min(again[int(tweet[0])] for tweet in olds) <= 1
    assert packing.mix(news, [], epochs=3, seed=1)[3 * new :] == []


def test_each_epoch_shuffles_anew_and_drops_the_partial_block():
    own = encoded_tweets(1)
    tokens = sum(map(len, own)) + len(own) + 1
    blocks = packing.pack([own], SEPARATOR, 64, epochs=2, seed=0)
    per_epoch = tokens // 64
    assert blocks.shape == (2 * per_epoch, 64)
    assert not np.array_equal(blocks[:per_epoch], blocks[per_epoch:])
    assert np.array_equal(blocks, packing.pack([own], SEPARATOR, 64, epochs=2, seed=0))
    assert not np.array_equal(blocks, packing.pack([own], SEPARATOR, 64, epochs=2, seed=1))


def test_a_text_shorter_than_a_block_is_one_short_block():
    assert packing.pack([[np.array([5, 6, 7])]], SEPARATOR, 64, epochs=3, seed=0).shape == (3, 5)


def test_in_a_blend_everybody_weighs_the_same():
    few, many = [np.full(10, 5)] * 4, [np.full(10, 6)] * 40
    blocks = packing.pack([few, many], SEPARATOR, 10, epochs=1, seed=0)
    share = np.mean(blocks[blocks != SEPARATOR] == 5)
    assert 0.45 < share < 0.55


def test_blocks_are_made_epoch_by_epoch_and_are_those_of_all_at_once():
    people = [encoded_tweets(1), encoded_tweets(2, count=90)]
    whole = packing.pack(people, SEPARATOR, 16, epochs=3, seed=5)
    blocks = packing.Blocks(people, SEPARATOR, 16, epochs=3, seed=5)
    assert blocks.shape == whole.shape and whole.dtype == np.int64
    for step in np.resize(np.arange(len(whole)), (len(whole) // 4 + 1, 4)):  # the last one begins at the front again
        assert np.array_equal(blocks[step], whole[step])
        assert blocks.packed and blocks.packed[1].nbytes < whole.nbytes / 5  # one epoch of three, in half the bytes
