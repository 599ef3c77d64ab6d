"""Where the workers that measure bots compute; what they measure is in test_measures.py and test_run.py."""

import os

import pytest
import torch

from pipeline.core.actor_pool import _pool_size
from pipeline.core.model_folder import ModelFolder
from pipeline.evaluate import measurer


@pytest.mark.parametrize(
    ("count", "shown", "expected"), [(4, None, "3"), (2, "5,7", "7"), (1, "2", "2"), (0, None, None)]
)
def test_workers_beside_training_spread_over_a_nodes_gpus(monkeypatch, count, shown, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(os, "getpid", lambda: 103)
    measurer.choose_gpu()
    assert os.environ.pop("CUDA_VISIBLE_DEVICES", None) == expected


@pytest.mark.parametrize(
    ("gpus", "cores", "beside", "size"),
    [(0, 2, 4, 1), (0, 16, 4, 8), (0, 16, None, 16), (8, 192, 4, 32), (8, 192, 1, 8), (8, 8, 4, 4), (8, 192, None, 8)],
)
def test_a_pool_beside_training_has_so_many_workers_for_each_gpu_however_many_cores_there_are(
    gpus, cores, beside, size
):
    assert _pool_size(gpus, cores, beside) == size


def test_beside_training_a_worker_takes_a_tenth_of_a_gpu_or_what_a_large_model_needs():
    h100 = 80 * 2**30
    assert measurer.memory_share(124_000_000, h100) == 0.1
    assert measurer.memory_share(1_500_000_000, h100) == pytest.approx((24e9 + 2 * 2**30) / h100)
    assert measurer.memory_share(10**11, h100) == 1


def test_one_worker_measures_large_models_on_a_gpu():
    assert measurer.workers_per_gpu(ModelFolder({"model.safetensors": b"x" * 1000})) == 4

    class Large(bytes):
        def __len__(self) -> int:
            return 3 * 10**9

    assert measurer.workers_per_gpu(ModelFolder({"model.safetensors": Large()})) == 1
