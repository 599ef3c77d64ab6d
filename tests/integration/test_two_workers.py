"""One bot's training shared by two processes, at every ZeRO stage; without Ray, but with processes of its own."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.core.model_folder import load_model
from pipeline.core.settings import Lora
from pipeline.train import packing
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.loop import TrainingLog, train_blocks
from pipeline.train.trainer import Trainer
from tests.support.toys import encoded_tweets as tweets

SEPARATOR = 0
PARTIAL: dict[str, Any] = {"freeze_layers": 1, "lora": Lora(rank=4, dropout=0.1)}
TWO_WORKERS: list[tuple[int, dict[str, Any]]] = [*((stage, {}) for stage in range(4)), (0, PARTIAL), (3, PARTIAL)]


def test_two_workers_equal_one_with_twice_the_batch_at_every_zero_stage(base, tmp_path):
    """Real processes, ZeRO 0 to 3, and with LoRA; after another bot and after a checkpoint the bits are the same."""
    init_single_process_group()
    trainer = Trainer(load_model(base))
    trainer.reset(seed=0)
    alone = train_blocks(trainer, packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0), 2, 1e-3).losses
    torch.multiprocessing.spawn(two_workers, (str(base), str(tmp_path)), nprocs=2)
    for case, (_, options) in enumerate(TWO_WORKERS):
        first, after_another, resumed = json.loads((tmp_path / f"case-{case}.json").read_text())
        assert options or first == pytest.approx(alone, abs=1e-4)
        assert after_another == first and resumed == first[2:]
    with_lora = [json.loads((tmp_path / f"case-{case}.json").read_text())[0] for case in (4, 5)]
    assert with_lora[0] == pytest.approx(with_lora[1], abs=1e-4) and with_lora[0] != pytest.approx(alone, abs=1e-4)


def two_workers(rank: int, base: str, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    blocks = packing.pack([tweets(7)], SEPARATOR, 64, 2, seed=0)
    other = packing.pack([tweets(8)], SEPARATOR, 64, 1, seed=0)
    for case, (stage, options) in enumerate(TWO_WORKERS):
        trainer = Trainer(load_model(Path(base)), zero_stage=stage, **options)
        saved = Path(folder, f"checkpoint-{case}")
        saved.mkdir(exist_ok=True)

        def save(log: TrainingLog, trainer: Trainer = trainer, saved: Path = saved) -> None:
            if len(log.rates) == 2:
                trainer.save(saved, step=2)

        trainer.reset(seed=0)
        first = train_blocks(trainer, blocks, 1, 1e-3, on_step=save).losses
        trainer.reset(seed=0)
        train_blocks(trainer, other, 1, 1e-2)
        trainer.reset(seed=0)
        after_another = train_blocks(trainer, blocks, 1, 1e-3).losses
        trainer.reset(seed=0)
        torch.distributed.barrier()
        assert trainer.restore(saved) == 2
        behind = TrainingLog(rates=[0.0, 0.0])
        resumed = train_blocks(trainer, blocks, 1, 1e-3, log=behind).losses
        if rank == 0:
            Path(folder, f"case-{case}.json").write_text(json.dumps([first, after_another, resumed]))
    torch.distributed.destroy_process_group()
