"""One bot's training without Ray: the schedule, DeepSpeed reset in place, golden losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import UserError
from pipeline.core.model_folder import load, load_model, separator_id
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import Lora
from pipeline.core.weights import load_state
from pipeline.train import packing
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.loop import Diverged, train_blocks
from pipeline.train.loss import next_token_loss, stream_loss
from pipeline.train.schedule import learning_rate_at
from pipeline.train.trainer import Trainer
from tests.support.toys import encoded_tweets as tweets
from tests.support.toys import tweets_of

SEPARATOR = 0
PARTIAL: dict[str, Any] = {"freeze_layers": 1, "lora": Lora(rank=4, dropout=0.1)}


@pytest.fixture(scope="module", autouse=True)
def _process_group():
    init_single_process_group()


@pytest.fixture(scope="module")
def trainer(base):
    return Trainer(load_model(base))


def trained(trainer: Trainer, seed: int, rate: float = 1e-3) -> dict[str, torch.Tensor]:
    trainer.reset(seed=0)
    train_blocks(trainer, packing.pack([tweets(seed)], SEPARATOR, 64, 2, seed=0), 1, rate)
    return {name: tensor.clone() for name, tensor in trainer.state().items()}


def test_the_rate_falls_along_a_cosine_from_the_peak_to_zero():
    rates = [learning_rate_at(step, 100, 2.0) for step in range(101)]
    assert rates[0] == 2.0 and rates[50] == pytest.approx(1.0) and rates[100] == pytest.approx(0.0)
    assert rates == sorted(rates, reverse=True)
    assert [learning_rate_at(step, 100, 1.0, warmup=4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_rate_can_fall_along_a_line_or_stay_after_a_warm_up():
    def rates(schedule):
        return [learning_rate_at(step, 10, 2.0, schedule, warmup=2) for step in range(11)]

    assert rates("linear") == [1.0, 2.0, *[2.0 - 0.25 * step for step in range(9)]]
    assert rates("constant") == [1.0, *[2.0] * 10]


def test_training_uses_the_given_learning_rates(trainer):
    blocks = packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0)
    trainer.reset(seed=0)
    log = train_blocks(trainer, blocks, 1, 1e-3, schedule="linear", warmup_ratio=0.15)
    assert log.rates == [learning_rate_at(step, 10, 1e-3, "linear", 2) for step in range(10)]


def everything(trainer: Trainer, folder: Path) -> dict[str, torch.Tensor]:
    """Weights, AdamW's moments and step counts, random numbers' state and the engine's own counts."""
    trainer.save(folder, step=0)
    engine = trainer.engine
    counts = [engine.global_steps, engine.micro_steps, engine.global_samples, engine.skipped_steps]
    saved = load_file(folder / "weights.safetensors") | load_file(folder / "optimizer-0.safetensors")
    return saved | {"counts": torch.tensor(counts)}


def test_the_twentieth_bot_of_a_lane_equals_the_same_bot_trained_alone(base, trainer, tmp_path):
    for seed in range(19):
        trained(trainer, seed=100 + seed, rate=1e-2)
    trained(trainer, seed=7)
    twentieth = everything(trainer, tmp_path)
    fresh = Trainer(load_model(base))
    trained(fresh, seed=7)
    alone = everything(fresh, tmp_path)
    assert "0:exp_avg_sq" in alone and "0:step" in alone and set(alone) == set(twentieth)
    assert all(torch.equal(twentieth[name], alone[name]) for name in alone)


def test_training_gives_the_golden_losses(trainer):
    """Random weights, losses from the first version of the recipe."""
    trainer.reset(seed=0)
    log = train_blocks(trainer, packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0), 1, 1e-3)
    assert len(log.losses) == 10
    measured = [log.losses[0], log.losses[4], log.losses[-1]]
    assert measured == pytest.approx([6.270464, 6.214093, 6.085989], abs=1e-5)


# the loss of each step of a bot on mini: 60 tweets of tests.support.toys, two epochs in blocks of 64
GOLDEN_CURVE = [
    *(6.724778, 4.775076, 3.643286, 3.949378, 3.038778, 2.819285, 2.747866, 2.392131, 2.070315, 2.136003),
    *(2.072135, 1.982779, 1.883236, 2.037095, 1.897574, 1.658175, 1.584957, 1.495084, 1.667439, 1.502863),
    *(1.754209, 1.396883, 1.691320, 1.641854, 1.465273, 1.536618, 1.505215, 1.609111, 1.410084, 1.743983),
]


def test_a_bot_on_mini_has_the_golden_curve():
    """A refactor must train the same model. Processors add up in another order, which moved no loss by more than 3e-6.

    That was measured with oneDNN and without, and held to SSE 4, AVX2 and AVX-512 instructions.
    """
    model, tokenizer = load(ASSETS / "mini")
    trainer = Trainer(model)
    trainer.reset(seed=0)
    texts = [np.array(tokenizer.encode(text), np.int32) for text in tweets_of("ada", count=60)]
    blocks = packing.pack([texts], separator_id(tokenizer), 64, epochs=2, seed=0)
    assert train_blocks(trainer, blocks, 1, 1e-3).losses == pytest.approx(GOLDEN_CURVE, abs=1e-5)


def test_clipping_gives_the_bits_of_deepspeeds_own(trainer):
    from deepspeed.runtime.utils import clip_grad_norm_

    block = torch.from_numpy(packing.pack([tweets(7)], SEPARATOR, 64, 1, seed=0)[:1])
    parameters = trainer._trained
    for scale in (1e-3, 1.0, 1000.0):  # the norm is below the limit, above it, far above
        trainer.reset(seed=0)
        (scale * next_token_loss(trainer.engine.module, block)).backward()
        before = [parameter.grad.clone() for parameter in parameters]
        clip_grad_norm_(parameters, 1.0)
        expected = [parameter.grad.clone() for parameter in parameters]
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient.clone()
        trainer._clip()
        assert all(torch.equal(own.grad, other) for own, other in zip(parameters, expected, strict=True))
        assert torch.equal(before[0], expected[0]) == (scale == 1e-3)


def test_the_loop_equals_a_bare_pytorch_loop(base, trainer):
    blocks = packing.pack([tweets(7)], SEPARATOR, 64, 1, seed=0)
    trainer.reset(seed=0)
    ours = train_blocks(trainer, blocks, 1, 1e-3).losses
    network = load_model(base)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    bare = []
    for step, block in enumerate(torch.from_numpy(blocks)):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, len(blocks), 1e-3)
        optimizer.zero_grad()
        loss = network(input_ids=block[None], labels=block[None]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        bare.append(loss.item())
    assert ours == pytest.approx(bare, abs=1e-5)


@pytest.fixture(scope="module")
def partial(base):
    """A trainer that leaves embeddings and the first block alone, and trains LoRA's matrices in the second one."""
    return Trainer(load_model(base), **PARTIAL)


def test_freezing_leaves_embeddings_and_the_first_blocks_alone(base):
    trainer = Trainer(load_model(base), freeze_layers=1)
    after, before = trained(trainer, seed=7), load_model(base).state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    first = {name for name in before if name.startswith(("transformer.wte", "transformer.wpe", "transformer.h.0"))}
    assert same == first | {"lm_head.weight"}  # which is the embeddings'
    optimized = sum(state["exp_avg"].numel() for state in trainer.optimizer.state.values())
    assert optimized == sum(before[name].numel() for name in set(before) - same)


def test_lora_is_added_into_plain_weights_and_its_state_alone_is_kept(base, partial):
    after, before = trained(partial, seed=7), load_model(base).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert set(after) == set(before)
    linear = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert changed == {f"transformer.h.1.{layer}.weight" for layer in linear}
    for state in partial.optimizer.state.values():
        assert 4 in state["exp_avg"].shape  # the rank
    plain = load_model(base)
    load_state(plain, after)
    held_out = packing.join(tweets(9), SEPARATOR)
    said = stream_loss(lambda block: next_token_loss(plain, block), held_out, 64, partial.device)
    assert said == pytest.approx(partial.loss(held_out, 64), abs=1e-5)


def test_with_lora_too_a_bot_does_not_depend_on_those_before_it_and_may_start_from_a_version_of_its_own(
    base, partial, tmp_path
):
    for seed in (1, 2):
        trained(partial, seed=seed, rate=1e-2)
    version = trained(partial, seed=7)
    third = everything(partial, tmp_path)
    fresh = Trainer(load_model(base), **PARTIAL)
    trained(fresh, seed=7)
    alone = everything(fresh, tmp_path)
    assert set(alone) == set(third) and all(torch.equal(third[name], alone[name]) for name in alone)
    held_out = packing.join(tweets(9), SEPARATOR)
    ended = fresh.loss(held_out, 64)
    partial.reset(1, version)
    assert partial.loss(held_out, 64) == pytest.approx(ended, abs=1e-5)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"freeze_layers": 3}, "exceeds the base model's number of blocks"),
        ({"lora": Lora(targets=["no_such"])}, "train.lora.targets: .*no_such"),
    ],
)
def test_layers_that_the_base_does_not_have_are_named(base, options, reason):
    with pytest.raises(UserError, match=reason):
        Trainer(load_model(base), **options)


def test_a_batch_in_parts_gives_the_losses_of_the_whole_batch(trainer):
    """What a lane does when memory runs out: smaller micro-batches, the same effective batch."""
    blocks = packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0)
    logs = []
    for parts in (1, 2, 3):
        trainer.reset(seed=0)
        logs.append(train_blocks(trainer, blocks, 3, 1e-3, micro_batches=parts).losses)
    assert logs[1] == pytest.approx(logs[0], abs=1e-5) and logs[2] == pytest.approx(logs[0], abs=1e-5)
    assert len(logs[0]) == 4


def test_bf16_computes_in_bf16_and_keeps_the_weights_in_fp32(base):
    trainer = Trainer(load_model(base), precision="bf16", gradient_checkpointing=True)
    seen: set[torch.dtype] = set()
    trainer.engine.module.lm_head.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    trainer.reset(seed=0)
    log = train_blocks(trainer, packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0), 1, 1e-3)
    assert seen == {torch.bfloat16}
    assert {tensor.dtype for tensor in trainer.state().values()} == {torch.float32}
    assert log.losses[-1] == pytest.approx(6.086, abs=0.02)


def test_the_last_step_is_filled_up_so_that_every_worker_has_its_share(trainer):
    blocks = packing.pack([tweets(7)], SEPARATOR, 64, 1, seed=0)
    trainer.reset(seed=0)
    assert len(train_blocks(trainer, blocks, 2, 1e-3).losses) == (len(blocks) + 1) // 2


def test_held_out_loss_counts_each_token_once_whatever_the_block(trainer):
    stream = packing.join(tweets(9), SEPARATOR)
    trainer.reset(seed=0)
    whole = stream[:100]
    assert trainer.loss(whole, 100) == pytest.approx(np.log(500), abs=0.5)
    seen = []

    def count(block: torch.Tensor) -> torch.Tensor:
        seen.extend(row[1:].tolist() for row in block)
        return torch.tensor(0.0)

    stream_loss(count, stream, 64, torch.device("cpu"))
    assert [token for block in seen for token in block] == stream[1:].tolist()


@pytest.mark.parametrize("words, block, sizes", [(8_192, 256, [4, 1, 1]), (50_257, 1024, [1, 1, 1, 1, 1, 1])])
def test_the_held_out_loss_of_a_large_vocabulary_takes_its_blocks_one_by_one(words, block, sizes):
    """Four blocks of GPT-2's would have 824 MB of logits; mini's batches, and so the digits of its loss, stay."""
    seen = []

    def count(blocks: torch.Tensor) -> torch.Tensor:
        seen.append(len(blocks))
        return torch.tensor(2.0)

    stream = np.zeros(5 * (block - 1) + 10, np.int64)
    assert stream_loss(count, stream, block, torch.device("cpu"), words) == 2.0
    assert seen == sizes


def test_a_loss_that_is_no_number_is_an_error_and_the_next_bot_is_fine(trainer):
    good = trained(trainer, seed=7)
    with pytest.raises(Diverged, match="at step"):
        trained(trainer, seed=8, rate=float("inf"))
    again = trained(trainer, seed=7)
    assert all(torch.equal(good[name], again[name]) for name in good)


def test_a_checkpoint_continues_as_if_nothing_had_happened(tmp_path, trainer):
    blocks = torch.from_numpy(packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0))
    trainer.reset(seed=0)
    for block in blocks[:3]:
        trainer.step(block[None], 1e-3)
    trainer.save(tmp_path, 3)
    straight = [float(trainer.step(block[None], 1e-3)) for block in blocks[3:]]
    trainer.reset(seed=0)
    assert trainer.restore(tmp_path) == 3
    assert [float(trainer.step(block[None], 1e-3)) for block in blocks[3:]] == straight
