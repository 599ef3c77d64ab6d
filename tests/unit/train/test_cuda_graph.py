"""Steps recorded as CUDA graphs, by graphs that need no GPU: replayed they are the steps themselves."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.cuda_graph import CudaGraphs
from pipeline.core.model_folder import load_model
from pipeline.train import model_surgery
from pipeline.train import trainer as training
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.loop import train_blocks
from pipeline.train.trainer import Trainer
from tests.support import fake_graphs


@pytest.fixture
def trainer(base):
    return trainer_of(base)


def trainer_of(base, dropout: float = 0.0, record_first: bool = True) -> Trainer:
    init_single_process_group()
    model = load_model(base)
    set_dropout(model, dropout)
    return Trainer(model, record_first=record_first)


def set_dropout(model: torch.nn.Module, share: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


def saved(trainer: Trainer, folder) -> dict[str, torch.Tensor]:
    trainer.save(folder, step=0)
    return load_file(folder / "weights.safetensors") | load_file(folder / "optimizer-0.safetensors")


def rate_as_on_a_gpu(trainer: Trainer) -> None:
    """As a tensor of 32 bits, which rounds the rate."""
    for group in trainer.optimizer.param_groups:
        group["lr"] = torch.zeros(())


def record(trainer: Trainer, monkeypatch) -> list:
    """Sets a trainer up as it sets itself up on a GPU."""
    state = trainer.optimizer.state

    def changed() -> list[torch.Tensor]:
        return [*trainer.engine.module.parameters(), *(one for each in state.values() for one in each.values())]

    graphs = fake_graphs.install(monkeypatch, changed)
    rate_as_on_a_gpu(trainer)
    warmup = training._FIRST_WARMUP if trainer.record_first else training._GRAPH_WARMUP
    trainer.graphs = CudaGraphs(trainer._step, warmup)
    return graphs


def bot(trainer: Trainer, seed: int, batch: int = 1) -> tuple[list[float], dict[str, torch.Tensor]]:
    blocks = np.random.default_rng(seed).integers(0, 500, (20 * batch, 32))
    trainer.record(batch, 32)
    trainer.reset(seed)
    losses = train_blocks(trainer, blocks, batch, 1e-2).losses
    return losses, {name: tensor.clone() for name, tensor in trainer.state().items()}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_bot_is_to_the_bit_what_it_is_without_recording_the_first_of_a_lane_too(base, monkeypatch, dropout):
    """Two shapes, the first one again: each step at its own rate, each bot from the base and without moments."""
    trainer = trainer_of(base, dropout)
    bots = [(1, 1), (2, 2), (3, 1), (1, 1)]
    rate_as_on_a_gpu(trainer)
    by_hand = [bot(trainer, *each) for each in bots]
    graphs = record(trainer, monkeypatch)
    recorded = [bot(trainer, *each) for each in bots]
    assert [graph.replays for graph in graphs] == [1 + 20 + 20 + 20, 1 + 20]
    for (losses, weights), (expected, same) in zip(recorded, by_hand, strict=True):
        assert losses == expected
        assert all(torch.equal(weights[name], same[name]) for name in same)


def test_by_default_a_shape_is_recorded_once_it_was_seen_a_few_times(base, monkeypatch):
    trainer = trainer_of(base, record_first=False)
    bots = [(1, 1), (2, 2), (3, 1)]
    by_hand = [bot(trainer, *each) for each in bots]
    graphs = record(trainer, monkeypatch)
    recorded = [bot(trainer, *each) for each in bots]
    assert [graph.replays for graph in graphs] == [12 + 20, 12]
    for (losses, weights), (expected, same) in zip(recorded, by_hand, strict=True):
        # not to the bit: while it is recorded transformers writes the causal mask out
        assert losses == pytest.approx(expected, abs=1e-4)
        assert all(torch.allclose(weights[name], same[name], atol=1e-3) for name in same)


def test_every_step_of_a_recorded_shape_is_a_replay_and_no_step_of_another_one(trainer, monkeypatch):
    graphs = record(trainer, monkeypatch)
    bot(trainer, 1)
    bot(trainer, 2)
    assert [graph.replays for graph in graphs] == [1 + 20 + 20]
    for _ in range(20):
        trainer.step(torch.ones((1, 7), dtype=torch.int64), 1e-3)
    assert len(graphs) == 1


def test_steps_that_were_made_to_record_leave_nothing_behind(base, trainer, monkeypatch, tmp_path):
    record(trainer, monkeypatch)
    trainer.record(1, 32)
    trainer.reset(3)
    before = saved(trainer, tmp_path)
    trainer.record(2, 32)
    assert not all(torch.equal(before[name], value) for name, value in saved(trainer, tmp_path).items())
    trainer.reset(3)
    after = saved(trainer, tmp_path)
    assert set(after) == set(before) and all(torch.equal(before[name], after[name]) for name in before)
    assert all(not value.any() for name, value in after.items() if name.endswith(("exp_avg", "exp_avg_sq", ":step")))


def test_a_checkpoint_is_taken_up_by_a_lane_that_has_recorded(trainer, monkeypatch, tmp_path):
    record(trainer, monkeypatch)
    bot(trainer, 1)
    blocks = torch.from_numpy(np.random.default_rng(2).integers(0, 500, (4, 1, 32)))
    trainer.step(blocks[0], 1e-2)
    trainer.save(tmp_path, step=1)
    losses = [float(trainer.step(block, 1e-2)) for block in blocks]
    bot(trainer, 3)
    assert trainer.restore(tmp_path) == 1
    assert [float(trainer.step(block, 1e-2)) for block in blocks] == losses


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_without_a_mask_has_the_bits_of_transformers_own(base, dropout):
    """Outside of a recording transformers has no mask either, so nothing changes on a CPU."""
    blocks = torch.from_numpy(np.random.default_rng(0).integers(0, 500, (2, 64)))
    results = []
    for change in (lambda model: None, model_surgery.attend_without_mask):
        model = load_model(base).train()
        set_dropout(model, dropout)
        change(model)
        torch.manual_seed(7)
        logits = model(blocks, use_cache=False).logits
        logits.square().mean().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(own, theirs) for own, theirs in zip(*results, strict=True))


def test_no_mask_is_written_out_while_a_step_is_recorded(base, monkeypatch):
    asked = []

    def attention(query, key, value, attn_mask=None, is_causal=False, **options):
        asked.append((attn_mask is None, is_causal))
        return query

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    plain, changed = load_model(base), load_model(base)
    model_surgery.attend_without_mask(changed)
    blocks = torch.ones((1, 16), dtype=torch.int64)
    plain(blocks, use_cache=False)
    changed(blocks, use_cache=False)
    assert asked == [(False, False)] * 2 + [(True, True)] * 2


def test_gelu_in_one_kernel_is_gpt2s(base):
    plain, fused = load_model(base), load_model(base)
    model_surgery.fuse_gelu(fused)
    ids = torch.arange(20)[None]
    assert torch.allclose(plain(ids).logits, fused(ids).logits, atol=1e-5)
    assert not torch.equal(plain(ids).logits, fused(ids).logits)  # or it tested nothing
