"""The pool's loop without Ray: which tasks it takes from a feed."""

from types import SimpleNamespace
from typing import Any

from pipeline.core import actor_pool
from pipeline.core.actor_pool import Feed


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
