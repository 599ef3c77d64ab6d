"""What "auto" means on a CPU, and on GPUs of several sizes that are not there."""

from types import SimpleNamespace

import pytest
import torch

from pipeline.train.device import choose_precision, choose_zero_stage


def gpu(monkeypatch, gigabytes: float = 80.0, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    properties = SimpleNamespace(total_memory=gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def test_on_a_cpu_auto_is_fp32_without_zero():
    assert (choose_precision("auto"), choose_zero_stage("auto", 10**12)) == ("fp32", 0)


def test_a_given_precision_and_stage_are_used_as_they_are(monkeypatch):
    gpu(monkeypatch)
    assert (choose_precision("fp32"), choose_zero_stage(2, 1)) == ("fp32", 2)


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_computes_in_bf16_where_it_can(monkeypatch, bf16, precision):
    gpu(monkeypatch, bf16=bf16)
    assert choose_precision("auto") == precision


@pytest.mark.parametrize(
    ("parameters", "share", "stage"),
    [
        (2_999_000_000, 1.0, 0),  # 16 bytes each are 0.6 of 80 GB
        (3_001_000_000, 1.0, 3),
        (1_499_000_000, 0.5, 0),
        (1_501_000_000, 0.5, 3),
        (3_001_000_000, 2.0, 3),  # two GPUs for a worker: it computes on one
    ],
)
def test_a_model_whose_training_state_fits_needs_no_zero(monkeypatch, parameters, share, stage):
    gpu(monkeypatch, gigabytes=80.0)
    assert choose_zero_stage("auto", parameters, share) == stage
