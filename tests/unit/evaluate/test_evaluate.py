"""Where the workers that measure bots compute; what they measure is in test_measures.py and test_run.py."""

import os

import pytest
import torch

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
