"""How far a fleet is, told to others while a command works on it: as Ray metrics, and as a small record in the store.

    with shared(store, progress): …                    # the command that works
    follow(store, progress)                            # another terminal: shows the same, until that command ends

The store is what every kind of cluster has and both sides reach: the record needs no port, and no Ray where it is
read.
"""

import time
from collections.abc import Callable
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.report.live import BEAT, FILE

_PATIENCE = 60.0  # without news, until the command that worked counts as lost


def follow(store: Store, progress: Progress, told: Callable[[dict[str, Any]], None] = lambda record: None) -> None:
    """Shows a command that works on the fleet, until it ends; returns at once where none does.

    `told` gets each new record. Raises UserError where the command failed, or is heard of no more.
    """
    known = store.read_json(FILE)
    if not known or known["ended"]:
        progress.say("no command works on this fleet now")
        return
    seen, heard = known, time.monotonic()
    progress.say(f"fleet {known['fleet']}, since {known['began']}")
    _show(progress, known, told)
    while not seen["ended"]:
        time.sleep(BEAT / 2)
        news = store.read_json(FILE) or seen
        silent = time.monotonic() - heard
        if news != seen:
            _show(progress, news, told)
            seen, heard = news, time.monotonic()
        elif silent > _PATIENCE:
            raise UserError(
                f"nothing was heard for {_PATIENCE:.0f} seconds of the command that began {seen['began']}: it was "
                "killed, or does not reach the store; `huggingtweets run` takes up what is left"
            )
        elif silent > 4 * BEAT:
            progress.note(f"no news for {silent:.0f} s")
    progress.end()
    if seen["error"]:
        raise UserError(f"the command ended: {seen['error']}")


def _show(progress: Progress, news: dict[str, Any], told: Callable[[dict[str, Any]], None]) -> None:
    """Brings this terminal's display to where the other one is."""
    told(news)
    if news["step"] != progress.step and news["step"]:
        progress.start(news["step"], news["total"], news["text"])
    if news["step"]:
        progress.advance(count=news["done"] - progress.done)
        progress.note(news["text"])
    for bot, reason in news["failed"].items():
        if bot not in progress.failed:
            progress.failed[bot] = reason
            progress.say(f"{bot} failed: {reason}")
