"""Several bots in one step: each is the bot of the plain trainer, and to the bit the same whatever its neighbours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.core.cuda_graph import CudaGraphs
from pipeline.core.errors import UserError
from pipeline.core.model_folder import load_model
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.loop import train_blocks
from pipeline.train.stacked.dropout import DropoutKeys, dropout
from pipeline.train.stacked.loop import StackedBot, StackedResult, train_stack
from pipeline.train.stacked.network import StackedShape
from pipeline.train.stacked.trainer import StackedTrainer
from pipeline.train.trainer import Trainer
from tests.support import fake_graphs

LENGTHS = (5, 9, 3, 7, 4)  # in blocks: with three slots the first to end is refilled while the others train on


def toy(name: str, length: int, rate: float = 1.372e-4, seed: int = 0) -> StackedBot:
    blocks = np.random.default_rng(sum(name.encode())).integers(0, 500, (length, 32))
    return StackedBot(name, blocks, rate, seed, schedule="linear", warmup_ratio=0.2)


TOYS = [toy(f"toy {length}", length, seed=length) for length in LENGTHS]


@pytest.fixture
def stacked(base):
    return StackedTrainer(load_model(base), slots=3)


def with_dropout(base, share: float):
    model = load_model(base)
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = share
    return model


def train(trainer: StackedTrainer, bots: list[StackedBot], batch_size: int = 1) -> dict[str, StackedResult]:
    """Trains the bots; their weights are copied."""
    results = {}
    for one in train_stack(trainer, bots, batch_size):
        weights = {name: weight.clone() for name, weight in one.weights.items()}
        results[one.bot] = StackedResult(one.bot, one.log, weights, one.error)
    return results


def same(one: StackedResult, other: StackedResult) -> bool:
    equal = all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    return equal and one.log.losses == other.log.losses


@pytest.mark.parametrize("batch_size", [1, 2])
def test_each_bot_of_a_stack_is_the_plain_trainers(base, stacked, batch_size):
    init_single_process_group()
    plain = Trainer(load_model(base))
    results = train(stacked, TOYS, batch_size)
    assert set(results) == {bot.name for bot in TOYS}
    for bot in TOYS:
        plain.reset(bot.seed)
        log = train_blocks(plain, bot.blocks, batch_size, bot.learning_rate, schedule="linear", warmup_ratio=0.2)
        own, expected = results[bot.name], plain.state()
        assert own.log.losses == pytest.approx(log.losses, abs=1e-5)
        assert own.log.rates == log.rates and own.log.tokens == log.tokens
        assert set(own.weights) == set(expected)
        assert all(torch.allclose(own.weights[name], expected[name], rtol=0, atol=1e-5) for name in expected)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_bots_bits_do_not_depend_on_its_neighbours_or_its_slot(base, share):
    trainer = StackedTrainer(with_dropout(base, share), slots=3)
    together = train(trainer, TOYS)
    for bot in TOYS:
        alone = train(trainer, [bot])[bot.name]
        last = train(trainer, [toy("other", 1), toy("another", 2), bot])[bot.name]
        assert same(alone, together[bot.name]) and same(last, together[bot.name])


def test_dropout_is_another_one_for_each_seed_and_step(base):
    trainer = StackedTrainer(with_dropout(base, 0.2), slots=2)
    one, again, other = (
        train(trainer, [StackedBot("ada", TOYS[0].blocks, 1e-3, seed=seed)])["ada"] for seed in (1, 1, 2**32 - 1)
    )
    assert same(one, again) and one.log.losses != other.log.losses


def test_dropout_drops_its_share_and_scales_up_the_rest():
    keys = DropoutKeys(torch.tensor([1, 1, 2, 2**32 - 1]), torch.tensor([0, 1, 0, 0]))
    x = torch.ones(4, 200, 500)
    y = dropout(x, 0.1, keys, place=3)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    kept = y > 0
    assert kept.float().mean((1, 2)).tolist() == pytest.approx([0.9] * 4, abs=0.003)  # four standard deviations
    others = [*kept, dropout(x, 0.1, keys, place=4)[0] > 0]
    for i, one in enumerate(others):  # pairs of independent masks agree in 0.82 of their places
        for other in others[:i]:
            assert float((one == other).float().mean()) == pytest.approx(0.82, abs=0.005)
    assert dropout(x, 0.0, keys, place=3) is x


def test_a_bot_whose_loss_is_no_number_ends_alone(stacked):
    bad = toy("bad", 4, rate=float("inf"))
    results = train(stacked, [bad, *TOYS])
    assert "at step" in str(results["bad"].error)
    good = train(stacked, TOYS)
    assert all(same(results[bot.name], good[bot.name]) and good[bot.name].error is None for bot in TOYS)


def test_an_idle_slot_keeps_its_weights(stacked):
    before = {name: weight.clone() for name, weight in stacked.state(1).items()}
    stacked.step(torch.ones(3, 1, 32, dtype=torch.int64), [1e-3, 0.0, 1e-3])
    assert all(torch.equal(stacked.state(1)[name], before[name]) for name in before)
    assert not torch.equal(stacked.state(2)["transformer.wte.weight"], before["transformer.wte.weight"])


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_recorded_steps_have_the_bits_of_unrecorded_ones(base, monkeypatch, share):
    trainer = StackedTrainer(with_dropout(base, share), slots=3)
    by_hand = train(trainer, TOYS)
    state = trainer.optimizer.state
    graphs = fake_graphs.install(
        monkeypatch, lambda: [trainer._rows, trainer.keys.steps, *(v for each in state.values() for v in each.values())]
    )
    trainer.graphs = CudaGraphs(trainer._step, warmup=2)
    trainer.record(1, 32)
    recorded = train(trainer, TOYS)
    assert graphs[0].replays > 10 and len(graphs) == 1
    assert all(same(recorded[bot.name], by_hand[bot.name]) for bot in TOYS)


def test_bf16_computes_close_to_fp32_and_keeps_the_weights_in_fp32(base, stacked):
    trainer = StackedTrainer(load_model(base), slots=3, precision="bf16")
    low, high = train(trainer, TOYS), train(stacked, TOYS)
    for name, result in low.items():
        assert result.log.losses == pytest.approx(high[name].log.losses, abs=0.03)
        assert {weight.dtype for weight in result.weights.values()} == {torch.float32}


@pytest.mark.parametrize("change", [{"model_type": "llama"}, {"tie_word_embeddings": False}])
def test_other_models_than_gpt2_are_refused(base, change):
    config = SimpleNamespace(**(load_model(base).config.to_dict() | change))
    with pytest.raises(UserError, match="only GPT-2"):
        StackedShape.of(config)
