"""The driver of the evaluation without Ray: a pool that dies, and classifiers that cannot be trained."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.core import actor_pool
from pipeline.core import fleet as fleets
from pipeline.core.progress import Progress
from pipeline.evaluate import voice_groups
from pipeline.evaluate.driver import Evaluation
from pipeline.evaluate.worker import Evaluated
from pipeline.plan.bot import Bot
from pipeline.plan.job import open_job
from pipeline.prepare.index import Person

COUNTS = {"downloaded": 9, "retweets": 0, "short": 0, "kept": 9}


class Feed:
    """Stands in for actor_pool.Feed: a list."""

    def __init__(self, most: int) -> None:
        assert most == 3  # bots
        self.tasks: list[Any] = []
        self.closed = False

    def add(self, task: Any) -> None:
        self.tasks.append(task)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def evaluate(make_fleet, monkeypatch) -> Callable[..., tuple[list[Bot], list[str]]]:
    """Evaluates three bots with a pool that dies after so many results, once for each number."""

    def run(*deaths: int) -> tuple[list[Bot], list[str]]:
        left, lines = list(deaths), []

        def run_tasks(worker: type, feed: Feed, **options: Any) -> Iterator[Any]:
            dies_after = left.pop(0) if left else None
            done = 0
            while not feed.closed or done < len(feed.tasks):  # in this order: tasks come before the feed is closed
                if done == dies_after:
                    raise RuntimeError("the feed died")
                if done < len(feed.tasks):
                    done += 1
                    yield feed.tasks[done - 1], Evaluated({"voice": {}, "copying": {"long_runs": 0.0}}, {})

        monkeypatch.setattr(actor_pool, "Feed", Feed)
        monkeypatch.setattr(actor_pool, "run_tasks", run_tasks)
        monkeypatch.setattr(voice_groups, "learn", lambda *arguments: None)
        names = ("ada", "ben", "cleo")
        people = {name: Person(name, COUNTS, 7000, 100, "digest") for name in names}
        bots = [Bot(name, [people[name]], version="v", status="trained") for name in names]
        with Progress() as progress, Evaluation(job, people, beside=True, most=3, say=lines.append) as evaluation:
            for bot in bots:
                evaluation.add(bot)
            evaluation.settle(progress)
        return bots, lines

    job = open_job(fleets.load(make_fleet()))
    return run


def test_a_pool_that_dies_is_started_again_for_the_bots_that_are_left_and_reported_at_once(evaluate):
    bots, lines = evaluate(1, 0)
    assert [bot.status for bot in bots] == ["trained"] * 3 and all("voice" in bot.metrics for bot in bots)
    assert lines == ["evaluate: the pool of workers ended, it is started again: RuntimeError: the feed died"] * 2


def test_a_pool_that_dies_again_and_again_fails_only_the_bots_that_are_left(evaluate):
    bots, lines = evaluate(1, 1, 0)
    assert [bot.status for bot in bots] == ["trained", "trained", "failed"]
    assert bots[2].reason == "not evaluated: RuntimeError: the feed died"
    assert "the bots that are left are not evaluated" in lines[-1]


def test_a_classifier_that_cannot_be_trained_fails_the_bots_of_its_group_alone(make_fleet, monkeypatch):
    job, lines, drawn = open_job(fleets.load(make_fleet())), [], []
    groups = voice_groups.VoiceGroups({}, 0.1)
    groups.groups = {"bad": ["ada", "ben"], "good": ["cleo", "dora"]}

    def run_tasks(worker: type, tasks: list[Any], **options: Any) -> Iterator[Any]:
        for task in tasks:
            yield task, actor_pool.Failed("it was killed") if task.group == "bad" else None

    class Remote:
        def options(self, **options: Any) -> "Remote":
            return self

        def remote(self, store: Any, names: list[str]) -> None:
            drawn.extend(names)

    monkeypatch.setattr(actor_pool, "run_tasks", run_tasks)
    monkeypatch.setattr(voice_groups.ray, "remote", lambda function: Remote())
    monkeypatch.setattr(voice_groups.ray, "get", lambda value: value)
    voice_groups.learn(job, groups, False, lines.append)
    assert drawn == ["good"]
    assert len(lines) == 1 and "2 people (ada …) cannot be trained" in lines[0] and "it was killed" in lines[0]
