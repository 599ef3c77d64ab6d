"""Sampling has the distribution of transformers' `generate`, and a row's draw is its own."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serve.engine import sampling
from serve.engine.parameters import Parameters

GRID = 1000
DRAWS = [(i + 0.5) / GRID for i in range(GRID)]  # evenly spaced: each token comes as often as its share says


def logits_of(vocabulary: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("vocabulary", [7, 700])
@pytest.mark.parametrize("nucleus", [3, 512])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"top_k": 5, "top_p": 1.0},
        {"top_k": 0, "top_p": 0.9, "temperature": 0.7},
        {"top_k": 0, "top_p": 1.0, "temperature": 3.0},
        {"top_k": 5000, "top_p": 0.5},
        {"top_k": 3, "top_p": 0.0001},
        {"top_k": 40, "top_p": 0.97, "temperature": 0.3},
    ],
)
def test_tokens_come_as_often_as_from_transformers(vocabulary, nucleus, given, monkeypatch):
    monkeypatch.setattr(sampling, "_NUCLEUS", nucleus)
    logits, parameters = logits_of(vocabulary), Parameters(**given)
    warpers = [TemperatureLogitsWarper(parameters.temperature)]
    warpers += [TopKLogitsWarper(parameters.top_k)] if parameters.top_k else []
    warpers += [TopPLogitsWarper(parameters.top_p)]
    expected = torch.softmax(LogitsProcessorList(warpers)(torch.zeros(1, 1), logits[None])[0], -1)
    tokens = sampling.sample(logits.expand(GRID, -1), [parameters] * GRID, DRAWS)
    shares = torch.bincount(torch.tensor(tokens), minlength=vocabulary) / GRID
    assert (shares - expected).abs().max() < 2 / GRID
    assert not shares[expected == 0].any()


@pytest.mark.parametrize("top_k", [0, 3])
def test_top_p_ends_with_the_token_that_reaches_it_exactly(top_k):
    sampled = sampling.sample(torch.zeros(GRID, 4), [Parameters(top_k=top_k, top_p=0.5)] * GRID, DRAWS)
    assert {sampled.count(token) / GRID for token in set(sampled)} == {0.5}


def test_a_rows_draw_is_the_same_alone_and_among_other_parameters():
    kinds = [{}, {"top_k": 0}, {"top_k": 0, "top_p": 1}, {"top_k": 7}, {"do_sample": False}, {"temperature": 5}]
    parameters = [Parameters(**kinds[i % len(kinds)]) for i in range(30)]
    logits = torch.stack([logits_of(900, seed) for seed in range(30)])
    together = sampling.sample(logits, parameters, DRAWS[::33][:30])
    for row in range(30):
        assert sampling.sample(logits[row : row + 1], [parameters[row]], [DRAWS[33 * row]]) == [together[row]]


def test_greedy_takes_the_best_for_every_random_number():
    logits = logits_of(100)
    for draw in (0.0, 0.999):
        assert sampling.sample(logits[None], [Parameters(do_sample=False)], [draw]) == [int(logits.argmax())]


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("given", [{}, {"top_k": 0}, {"top_k": 0, "top_p": 1.0}])
def test_the_first_and_the_last_draw_stay_within_what_is_allowed(draw, given):
    logits = logits_of(600)
    (token,) = sampling.sample(logits[None], [Parameters(**given)], [draw])
    limit = given.get("top_k", 50) or 600
    assert token in logits.topk(limit).indices.tolist()


@pytest.mark.parametrize("penalty", [0.5, 1.7])
def test_the_repetition_penalty_is_transformers(penalty):
    logits, used = logits_of(50), [3, 3, 17, 49]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([used]), logits[None].clone())[0]
    sampling.penalise(logits, penalty, used)
    assert torch.equal(logits, expected)
