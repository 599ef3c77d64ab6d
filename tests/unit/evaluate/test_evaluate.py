"""Where the workers that measure bots compute; what they measure is in test_measures.py and test_run.py."""

import os

import pytest
import torch

from pipeline.core.actor_pool import _pool_size
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
    [(0, 2, True, 1), (0, 16, True, 8), (0, 16, False, 16), (8, 192, True, 32), (8, 8, True, 4), (8, 192, False, 8)],
)
def test_a_pool_beside_training_has_four_workers_for_each_gpu_however_many_cores_there_are(gpus, cores, beside, size):
    assert _pool_size(gpus, cores, beside) == size
