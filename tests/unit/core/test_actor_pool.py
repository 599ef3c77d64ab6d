"""The pool's loop without Ray: which tasks it takes from a feed."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core import actor_pool
from pipeline.core.actor_pool import Feed, Worker


class ClosedMeanwhile(Feed[str]):
    """Another thread adds a task and closes the feed just before the pool asks whether it is closed."""

    @property
    def closed(self) -> bool:
        if not self.asked:
            self.asked = True
            self.add("late")
        return True

    @closed.setter
    def closed(self, value: bool) -> None:
        self.asked = value


def test_a_task_that_is_added_just_before_the_feed_is_closed_is_done(monkeypatch):
    class Actor:
        ready = SimpleNamespace(remote=lambda set_up: "ready")
        work = SimpleNamespace(remote=lambda set_up, task: f"{task}: done")

    def wait(calls: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return calls, []

    monkeypatch.setattr(actor_pool, "ray", SimpleNamespace(wait=wait, get=lambda call: call))
    set_up: Any = None
    assert list(actor_pool._results([Actor()], set_up, ClosedMeanwhile())) == [("late", "late: done")]


@pytest.mark.parametrize("most, actors", [(3, 3), (100, 8)])
def test_a_pool_has_no_more_actors_than_tasks_that_may_come(monkeypatch, most, actors):
    ended: list[Any] = []
    started = iter(range(100))

    def start() -> Any:
        number = next(started)
        return SimpleNamespace(ready=SimpleNamespace(remote=lambda set_up: number))

    fake = SimpleNamespace(
        remote=lambda actor: SimpleNamespace(options=lambda **options: SimpleNamespace(remote=start)),
        put=lambda arguments: arguments,
        kill=ended.append,
    )
    monkeypatch.setattr(actor_pool, "ray", fake)
    monkeypatch.setattr(actor_pool, "capacity", lambda: (0, 16))  # GPUs, cores
    feed: Feed[str] = Feed(most=most)
    feed.close()
    assert list(actor_pool.run_tasks(Worker, feed, beside_training=True)) == []
    assert len(ended) == actors
