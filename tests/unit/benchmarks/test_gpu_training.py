"""The benchmark of ways to fill a GPU runs without one, on a toy."""

import time

import pytest
import torch

from benchmarks import gpu_training
from benchmarks.gpu_training import BUDGET_SECONDS, Experiment, plan, training


def test_every_question_is_in_the_plan_and_both_models_fit_into_eight_minutes():
    experiments = plan()
    assert len(set(experiments)) == len(experiments)
    assert {one.bots for one in experiments if one.way == "stacked"} == {1, 2, 4, 8, 16, 32}
    assert {one.bots for one in experiments if one.way == "lanes"} == {1, 2, 4}
    for way in ("lanes", "stacked"):
        assert any(one.compile for one in experiments if one.way == way)
        assert any(one.fixed_order for one in experiments if one.way == way)
    assert 2 * sum(one.seconds for one in experiments[:-3]) < BUDGET_SECONDS <= 480


def test_lanes_and_stacks_are_measured_and_a_bot_has_the_same_bits(base, capsys):
    experiments = [Experiment("lanes", 2), Experiment("stacked", 3), Experiment("stacked", 2, attention_dropout=False)]
    rows = training(base, 32, experiments, deadline=time.perf_counter() + 60, seconds=0.05)
    assert list(rows) == experiments
    assert all(row.same_again and row.same_beside_others and row.tokens_per_second > 0 for row in rows.values())
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(experiments)
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_fails_or_has_no_time_is_named(base, monkeypatch, capsys):
    def broken(*arguments):
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(gpu_training, "StackedTrainer", broken)
    experiments = [Experiment("stacked", 32), Experiment("lanes", 1, compile=True)]
    assert training(base, 32, experiments, deadline=time.perf_counter() + 20, seconds=0.05) == {}
    out = capsys.readouterr().out
    assert "stacked 32 | failed: " in out and "lanes 1, compiled | left out: no time" in out


@pytest.mark.parametrize("way", ["_Lanes", "_Stack"])
def test_other_bits_are_noticed(base, monkeypatch, way):
    count = iter(range(3))
    monkeypatch.setattr(getattr(gpu_training, way), "bits", lambda *given: {"weight": torch.tensor(next(count))})
    one = Experiment("lanes" if way == "_Lanes" else "stacked", 1)
    row = training(base, 32, [one], deadline=time.perf_counter() + 60, seconds=0.01)[one]
    assert not row.same_again and not row.same_beside_others
