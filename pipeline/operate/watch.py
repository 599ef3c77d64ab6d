"""Shows a command that works on a fleet somewhere else: what `huggingtweets status --watch` does.

    follow(store, progress)                            # returns when that command has ended

Every two seconds the running command writes a record into the store (report/progress_record.py); this module reads it.
Both sides reach the store, so no port and no Ray is needed.
"""

import time
from collections.abc import Callable
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.report.progress_record import BEAT, FILE

START_SECONDS = 600.0  # `status --watch` waits so long for a command that has not begun
_SILENT_SECONDS = 60.0  # without a new record, after which the command is considered lost

Record = dict[str, Any]  # as report/progress_record.py writes it


def follow(
    store: Store,
    progress: Progress,
    on_record: Callable[[Record], None] = lambda record: None,
    start_seconds: float = 0.0,
) -> None:
    """Shows the command that works on the fleet until it ends; `on_record` receives each new record.

    Where no command is running, waits `start_seconds` for one to begin. Raises UserError if the command fails, or if
    it writes no record for a minute.
    """
    record = _running(store, progress, start_seconds)
    if record is None:
        progress.say("no command is running on this fleet")
        return
    progress.say(f"fleet {record['fleet']}, since {record['began']}")
    _show(progress, record, on_record)
    changed = time.monotonic()
    while not record["ended"]:
        time.sleep(BEAT / 2)
        latest = store.read_json(FILE) or record
        silence = time.monotonic() - changed
        if latest != record:
            _show(progress, latest, on_record)
            record, changed = latest, time.monotonic()
        elif silence > _SILENT_SECONDS:
            raise UserError(
                f"the command that began {record['began']} has written nothing for {_SILENT_SECONDS:.0f} seconds: it "
                "was killed, or it cannot reach the store; `huggingtweets run` continues where it stopped"
            )
        elif silence > 4 * BEAT:
            progress.note(f"no news for {silence:.0f} s")
    progress.end()
    if record["error"]:
        raise UserError(f"the command ended: {record['error']}")


def _running(store: Store, progress: Progress, start_seconds: float) -> Record | None:
    """The record of a command that has not ended; waits for one to begin. None if none does."""
    deadline, announced = time.monotonic() + start_seconds, False
    while True:
        record = store.read_json(FILE)
        if record and not record["ended"]:
            return record
        if time.monotonic() >= deadline:
            return None
        if not announced:
            progress.say(f"no command is running on this fleet yet; waiting up to {start_seconds:.0f} s (Ctrl-C stops)")
            announced = True
        time.sleep(BEAT / 2)


def _show(progress: Progress, record: Record, on_record: Callable[[Record], None]) -> None:
    """Brings this terminal's display to the state in the record."""
    on_record(record)
    if record["step"] != progress.step and record["step"]:
        progress.start(record["step"], record["total"], record["text"])
    if record["step"]:
        progress.advance(count=record["done"] - progress.done)
        progress.note(record["text"])
    for bot, reason in record["failed"].items():
        if bot not in progress.failed:
            progress.failed[bot] = reason
            progress.say(f"{bot} failed: {reason}")
