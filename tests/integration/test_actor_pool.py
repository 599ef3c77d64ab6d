"""A pool of actors: each task once, on workers that are set up once; a failing task fails alone."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
        quotient = self.dividend / task.by
        (self.folder / task.bot).touch()
        return quotient, os.getpid()


def test_every_task_gives_a_result_and_a_failing_one_fails_alone(tmp_path):
    tasks = [Division("ada", 2), Division("ben", 0), Division("cleo", 4)]
    results = dict(run_tasks(Divider, tasks, dividend=10.0, folder=tmp_path))
    ada, ben, cleo = (results[task] for task in tasks)
    assert ben == Failed("ZeroDivisionError: float division by zero")
    assert (ada[0], cleo[0]) == (5.0, 2.5)
    assert os.getpid() not in (ada[1], cleo[1])
    assert list(run_tasks(Divider, [], dividend=10.0, folder=tmp_path)) == []


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
