"""The bar of a step on a terminal: what it counts, also when the command is interrupted."""

import io
import re

import pytest
from rich.console import Console

from pipeline.core.progress import Progress


def last_bar(interrupt: bool, total: int) -> str:
    """The last line that a terminal shows of a step of which three units are done when it ends."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    try:
        with Progress(console) as progress:
            progress.start("train", total, "a note")
            progress.advance(count=3)
            if interrupt:
                raise KeyboardInterrupt
            progress.end()
    except KeyboardInterrupt:
        pass
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    return [line for line in lines if line.startswith("train")][-1]


@pytest.mark.parametrize("interrupt, total, count", [(True, 10, "3/10"), (False, 3, "3/3"), (False, 0, "3/3")])
def test_a_step_that_ends_shows_what_was_done_of_it(interrupt, total, count):
    assert f" {count} " in last_bar(interrupt, total)
