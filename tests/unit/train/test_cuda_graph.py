"""Steps recorded as CUDA graphs, by graphs that need no GPU: replayed they are the steps themselves."""

import numpy as np
import pytest
import torch

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
    init_single_process_group()
    return Trainer(load_model(base))


def record(trainer: Trainer, monkeypatch) -> list:
    """Sets a trainer up as it sets itself up on a GPU."""
    state = trainer.optimizer.state

    def changed() -> list[torch.Tensor]:
        return [*trainer.engine.module.parameters(), *(one for each in state.values() for one in each.values())]

    graphs = fake_graphs.install(monkeypatch, changed)
    for group in trainer.optimizer.param_groups:
        group["lr"] = torch.zeros(())
    trainer.graphs = CudaGraphs(trainer._step, training._GRAPH_WARMUP)
    return graphs


def bot(trainer: Trainer, seed: int, batch: int = 1) -> tuple[list[float], dict[str, torch.Tensor]]:
    blocks = np.random.default_rng(seed).integers(0, 500, (20 * batch, 32))
    trainer.reset(seed)
    losses = train_blocks(trainer, blocks, batch, 1e-2).losses
    return losses, {name: tensor.clone() for name, tensor in trainer.state().items()}


def test_bot_after_bot_is_what_it_is_without_recording(trainer, monkeypatch):
    """Two shapes, the first one again: each step at its own rate, each bot from the base and without moments."""
    bots = [(1, 1), (2, 2), (3, 1)]
    by_hand = [bot(trainer, *each) for each in bots]
    graphs = record(trainer, monkeypatch)
    recorded = [bot(trainer, *each) for each in bots]
    assert [graph.replays for graph in graphs] == [12 + 20, 12]
    for (losses, weights), (expected, same) in zip(recorded, by_hand, strict=True):
        # not to the bit: while it is recorded transformers writes the causal mask out
        assert losses == pytest.approx(expected, abs=1e-4)
        assert all(torch.allclose(weights[name], same[name], atol=1e-3) for name in same)


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


def test_gelu_in_one_kernel_is_gpt2s(base):
    plain, fused = load_model(base), load_model(base)
    model_surgery.fuse_gelu(fused)
    ids = torch.arange(20)[None]
    assert torch.allclose(plain(ids).logits, fused(ids).logits, atol=1e-5)
    assert not torch.equal(plain(ids).logits, fused(ids).logits)  # or it tested nothing
