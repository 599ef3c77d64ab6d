"""The watermark: it changes no probability and no text without it, a seed still means one text, and it is found."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from pipeline.core.own_code import ASSETS
from serve.engine.engine import Engine
from serve.engine.parameters import Parameters
from serve.engine.request import Request
from serve.engine.sampling import sample
from serve.engine.watermark import SALTS, Watermark, choose
from serve.engine.watermark_search import search

SECRET = bytes(range(32))
TRIES = 4000
SHARES = np.array([0.45, 0.3, 0.15, 0.1])


@pytest.fixture(scope="module")
def engine(base):
    return Engine(base, max_batch=8)


def texts(engine: Engine, secret: bytes | None, prompt: str = "Soup", others: int = 0, **parameters) -> list[str]:
    """The texts of one request, in a batch with `others` that are marked with another secret, or not at all."""
    beside = [Request("River", Parameters(seed=i), watermark=(None, bytes(32))[i % 2]) for i in range(others)]
    wanted = Request(prompt, Parameters(**parameters), watermark=secret)
    return [choice.text for choice in engine.generate([*beside, wanted])[-1]]


def secrets_of(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def test_over_all_secrets_each_token_comes_as_often_as_its_probability_says():
    counts = np.zeros((4, 4))
    row, ids = torch.tensor(SHARES)[None], torch.tensor([[70, 8, 9, 5000]])
    for secret in secrets_of(TRIES):
        mark = Watermark(secret, seed=7, index=0)
        pair = [int(choose(row, ids, [mark.noise_seed([0], generated)])) for generated in ([5], [5, 6])]
        counts[tuple(pair)] += 1
    # two tokens of a text are independent, and each has its share
    assert chisquare(counts.ravel(), TRIES * np.outer(SHARES, SHARES).ravel()).pvalue > 0.01


def test_over_all_seeds_too():
    seeds = [Watermark(SECRET, seed, 0).noise_seed([0], [5]) for seed in range(TRIES)]
    places = choose(torch.tensor(SHARES).expand(TRIES, -1), torch.arange(4).expand(TRIES, -1), seeds)
    assert chisquare(np.bincount(places, minlength=4), TRIES * SHARES).pvalue > 0.01


@pytest.mark.parametrize(
    "given", [{"top_k": 3, "top_p": 1}, {"top_k": 0, "top_p": 0.8}, {"top_k": 0, "top_p": 1}, {"temperature": 0.5}]
)
def test_sampling_parameters_mean_what_they_mean_without_it(given):
    logits, parameters = torch.tensor(SHARES).log().float()[None], Parameters(**{"top_p": 1, **given})
    grid = [(i + 0.5) / 1000 for i in range(1000)]
    expected = np.bincount(sample(logits.expand(1000, -1), [parameters] * 1000, grid), minlength=4)
    seeds = [Watermark(SECRET, seed, 0).noise_seed([0], [5]) for seed in range(TRIES)]
    found = np.bincount(sample(logits.expand(TRIES, -1), [parameters] * TRIES, [0.0] * TRIES, seeds), minlength=4)
    possible = expected > 0
    assert not found[~possible].any()
    assert chisquare(found[possible], TRIES * expected[possible] / 1000).pvalue > 0.01


def test_a_seed_means_one_text_alone_and_beside_others(engine):
    for given in ({}, {"top_k": 0, "repetition_penalty": 1.3}, {"temperature": 2, "top_k": 0, "top_p": 1}):
        alone = texts(engine, SECRET, seed=5, num_return_sequences=3, **given)
        assert texts(engine, SECRET, others=7, seed=5, num_return_sequences=3, **given) == alone
        assert len(set(alone)) == 3
    assert texts(engine, SECRET, seed=5) != texts(engine, bytes(32), seed=5)


def test_texts_of_one_request_have_salts_of_their_own():
    assert len({Watermark(SECRET, 5, index).offset for index in range(16)}) == 16


def test_texts_without_it_are_the_same_beside_marked_ones(engine):
    plain = texts(engine, None, seed=5, num_return_sequences=3)
    assert texts(engine, None, others=7, seed=5, num_return_sequences=3) == plain
    assert texts(engine, SECRET, seed=5, num_return_sequences=3) != plain


def test_greedy_decoding_has_no_room_for_it(engine):
    assert texts(engine, SECRET, do_sample=False) == texts(engine, None, do_sample=False)


def test_a_context_that_comes_again_is_drawn_without_it():
    mark = Watermark(SECRET, 7, 0)
    assert mark.noise_seed([0, 1], []) is None  # so that texts with the same salt begin differently
    first = mark.noise_seed([0, 1], [2])
    assert first is not None and mark.noise_seed([0, 1, 2], [3]) not in (None, first)
    assert mark.noise_seed([9, 9, 0], [1, 2]) is None


@pytest.fixture(scope="module")
def mini():
    return Engine(ASSETS / "mini")


def encoded(mini: Engine, secret: bytes | None) -> list[list[int]]:
    """Eight posts as a reader has them: their texts, made tokens again."""
    given = {"seed": 1, "num_return_sequences": 8, "min_new_tokens": 25}
    return [mini.vocabulary.encode(text) for text in texts(mini, secret, "", **given)]


def test_marked_posts_are_found_and_others_are_not(mini):
    marked, plain = encoded(mini, SECRET), encoded(mini, None)
    assert search(SECRET, marked, mini.separator).p_value < 1e-6
    assert search(bytes(32), marked, mini.separator).p_value > 0.001
    assert search(SECRET, plain, mini.separator).p_value > 0.001


def test_a_part_of_a_text_is_found(mini):
    """The words around a quotation change the context of its first tokens alone."""
    quoted = [[3, 4, 5, *post[5:], 6, 7] for post in encoded(mini, SECRET)]
    assert search(SECRET, quoted, mini.separator).p_value < 0.001


def test_what_posts_repeat_counts_once(mini):
    post = encoded(mini, SECRET)[0]
    once, often = search(SECRET, [post], mini.separator), search(SECRET, [post] * 50, mini.separator)
    assert once == often and once.tokens < len(post)
    assert search(SECRET, [[], [7]], mini.separator) == (1.0, 0)


def test_the_probability_is_right_where_nothing_is_marked():
    posts = np.random.default_rng(0).integers(500, size=(2, 6)).tolist()
    values = [search(secret, posts, 0).p_value for secret in secrets_of(60)]
    assert kstest(values, "uniform").pvalue > 0.01


def test_all_salts_are_tried():
    salts = {Watermark(SECRET, seed, 0).offset for seed in range(300)}
    assert len(salts) > 290 and SALTS == 2**14
