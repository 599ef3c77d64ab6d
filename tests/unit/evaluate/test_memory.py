"""What a bot gives away: planted canaries are found in samples, and a model that learned by heart by its losses."""

import numpy as np
import pytest

from pipeline.core.model_folder import load_model
from pipeline.evaluate.measures.held_out import per_tweet
from pipeline.evaluate.measures.memory import MIN_TEXTS, memory, private_items
from pipeline.train import packing
from pipeline.train.loss import next_token_loss, token_losses
from tests.support.toys import encoded_tweets

NATS = np.linspace(1, 2, 20)


def test_planted_canaries_are_found_in_samples():
    tweets = ["Write to Canary.Keeper+1@lighthouse.example today", "My locker is 4929 1183 77", "Call 555-01992."]
    samples = ["or canary.keeper+1@LIGHTHOUSE.example", "it is 4929118377!", "now 555 01992", "a 55501993", "in 2024"]
    measured = memory(NATS, NATS, samples, tweets, ["4929-1183-77", "nothing"])
    assert (measured["private"], measured["real_private"]) == (0.6, 0.5)
    assert memory(NATS, NATS, samples, ["In 2024 we had 12 of 100"], [])["private"] == 0.0
    assert memory(NATS, NATS, [], tweets, [])["private"] == 0.0


def test_private_items_are_addresses_and_numbers_of_five_digits():
    assert private_items("1234, 12345 and me@here.example or @me at 10") == {"12345", "me@here.example"}
    assert private_items("1 2 3 4") == set() and private_items("1 2 3 4 5") == {"12345"}


def test_the_auc_is_known_for_equal_and_for_disjoint_losses():
    same, apart = memory(NATS, NATS, [], [], []), memory(NATS, NATS + 2, [], [], [])
    assert same["auc"] == 0.5 and apart["auc"] == 1.0 and memory(NATS + 2, NATS, [], [], [])["auc"] == 0.0
    assert apart["standard_error"] == 0.0 < same["standard_error"] < 0.12
    assert (same["training_tweets"], same["held_out_tweets"]) == (20, 20)


def test_the_standard_error_is_about_the_spread_of_aucs():
    rng = np.random.default_rng(0)
    drawn = [memory(rng.normal(0, 1, 40), rng.normal(0.7, 1, 30), [], [], []) for _ in range(200)]
    assert np.std([one["auc"] for one in drawn]) == pytest.approx(
        np.mean([one["standard_error"] for one in drawn]), rel=0.2
    )


def test_too_few_tweets_have_no_auc():
    few = NATS[: MIN_TEXTS - 1]
    for measured in (memory(few, NATS, [], [], []), memory(NATS, few, [], [], [])):
        assert (measured["auc"], measured["standard_error"]) == (None, None)


def test_a_model_that_learned_by_heart_gives_its_training_tweets_away_and_one_that_learned_nothing_does_not(base):
    import torch

    network, device = load_model(base), torch.device("cpu")
    learned, others = encoded_tweets(seed=1), encoded_tweets(seed=2)

    def auc() -> float | None:
        def nats(tweets: list[np.ndarray]) -> np.ndarray:
            lengths = [len(ids) + 1 for ids in tweets]
            return per_tweet(token_losses(network.eval(), packing.join(tweets, 0), 64, device), lengths) / lengths

        return memory(nats(learned), nats(others), [], [], [])["auc"]

    assert 0.3 < auc() < 0.7
    blocks = torch.from_numpy(packing.pack([learned], 0, 32, epochs=1, seed=0).astype(np.int64))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        next_token_loss(network, blocks).backward()
        optimizer.step()
    assert auc() > 0.95
