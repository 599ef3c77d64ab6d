"""A pool of actors: each task once, on workers that are set up once; a failing task fails alone."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayError

from pipeline.core import logs
from pipeline.core.actor_pool import Failed, Feed, Worker, run_tasks
from tests.support.toys import until

pytestmark = pytest.mark.usefixtures("cluster")


@dataclass(frozen=True)
class Division:
    bot: str
    by: int


class Divider(Worker[Division, tuple[float, int]]):
    """The quotient, and which process computed it; a file in the folder says which task is done."""

    def __init__(self, dividend: float, folder: Path):
        self.dividend, self.folder = dividend, folder

    def log(self, task: Division) -> Any:
        return logs.log(bot=task.bot)

    def work(self, task: Division) -> tuple[float, int]:
        if task.bot == "deadly" or (task.bot == "unlucky" and not (self.folder / "unlucky").exists()):
            (self.folder / task.bot).touch()
            os._exit(1)
        quotient = self.dividend / task.by
        (self.folder / task.bot).touch()
        return quotient, os.getpid()


class Unready(Worker[Division, None]):
    """A worker whose constructor raises an error."""

    def __init__(self, folder: Path):
        list(folder.iterdir())


def test_every_task_gives_a_result_and_a_failing_one_fails_alone(tmp_path):
    tasks = [Division("ada", 2), Division("ben", 0), Division("cleo", 4)]
    results = dict(run_tasks(Divider, tasks, dividend=10.0, folder=tmp_path))
    ada, ben, cleo = (results[task] for task in tasks)
    assert ben == Failed("ZeroDivisionError: float division by zero")
    assert (ada[0], cleo[0]) == (5.0, 2.5)
    assert os.getpid() not in (ada[1], cleo[1])
    assert list(run_tasks(Divider, [], dividend=10.0, folder=tmp_path)) == []


def test_a_task_whose_process_dies_is_repeated_and_one_that_always_ends_it_fails_alone(tmp_path, capfd):
    tasks = [Division("unlucky", 2), Division("deadly", 4), Division("ada", 5)]
    results = dict(run_tasks(Divider, tasks, dividend=10.0, folder=tmp_path))
    unlucky, deadly, ada = (results[task] for task in tasks)
    assert (unlucky[0], ada[0]) == (5.0, 2.0)
    assert isinstance(deadly, Failed) and deadly.reason.startswith("its worker died")
    assert "core_worker" not in capfd.readouterr().err  # Ray's warning about arguments that a restart may not find


def test_a_worker_that_cannot_be_set_up_raises_its_error(tmp_path):
    with pytest.raises(RayError, match="FileNotFoundError"):
        list(run_tasks(Unready, [Division("ada", 2)], folder=tmp_path / "missing"))


def test_a_pool_whose_feed_is_aborted_ends():
    feed: Feed[Division] = Feed()
    feed.abort()
    with pytest.raises(RuntimeError, match="aborted"):
        list(run_tasks(Divider, feed, dividend=10.0, folder=Path()))


def test_tasks_can_be_added_while_others_are_worked_on(tmp_path):
    feed: Feed[Division] = Feed()
    feed.add(Division("ada", 2))
    with ThreadPoolExecutor(1) as pool:
        arguments = {"dividend": 10.0, "folder": tmp_path}
        collecting = pool.submit(lambda: list(run_tasks(Divider, feed, beside_training=True, **arguments)))
        try:
            until((tmp_path / "ada").exists, seconds=60)
            feed.add(Division("ben", 4))
        finally:
            feed.close()
        (ada, (half, process)), (ben, (quarter, same_process)) = collecting.result(timeout=60)
    assert (ada.bot, half, ben.bot, quarter) == ("ada", 5.0, "ben", 2.5)
    assert process == same_process  # of two cores one, beside training
