"""`status` and `run` say which endpoints still answer with an older version than the published one."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from pipeline.core.store import Store
from pipeline.operate.status import add_served, status
from pipeline.report.terminal import show
from tests.support.fake_bots import FakeBots, routes, serving
from tests.support.published import fleet_of, publish, report

OLD, NEW = "0123456789ab", "ffffffffffff"  # FakeBots and `fleet_of` have the old one


@pytest.fixture
def fleet(tmp_path) -> Iterator:
    """The fleet birds, whose bots lark and wren are served; stork is not."""
    with serving(routes(FakeBots(["lark", "wren"]))) as address:
        yield fleet_of(tmp_path, ("lark", "stork", "wren"), serve={"port": int(address.rpartition(":")[2])})


def printed(*arguments, **options) -> str:
    screen = io.StringIO()
    show(Console(file=screen, width=120), *arguments, **options)
    return screen.getvalue()


def test_endpoints_that_have_followed_are_listed_without_a_remark(fleet):
    found, endpoints = status(fleet)
    assert {row["bot"]: row["serves"] for row in found["bots"]} == {"lark": OLD, "stork": None, "wren": OLD}
    assert set(endpoints) == {"lark", "wren"} and "older" not in printed(found, endpoints)


def test_status_says_which_endpoint_serves_an_older_version(fleet):
    publish(Store.of(fleet), "wren", NEW)
    publish(Store.of(fleet), "stork", NEW)
    found, endpoints = status(fleet)
    lines = [line for line in printed(found, endpoints).splitlines() if "older" in line]
    assert lines == [f"wren: {endpoints['wren']}, serves {OLD}, older than {NEW}"]


def test_after_a_run_one_line_says_how_many_endpoints_are_behind(fleet):
    store = Store.of(fleet)
    for bot in ("lark", "wren"):
        publish(store, bot, NEW)
    rows = report(store, ("lark", "stork", "wren"), NEW)
    made = {"fleet": "birds", "seconds": {}, "bots": rows}
    add_served(made, fleet)
    [line] = [line for line in printed(made).splitlines() if "older" in line]
    assert line.startswith(f"lark serves {OLD}, older than {NEW} (and 1 more); endpoints change")


def test_a_bot_whose_new_version_failed_is_not_behind(fleet):
    rows = report(Store.of(fleet), ("wren",), NEW)  # planned, and not published
    made = {"fleet": "birds", "seconds": {}, "bots": rows}
    add_served(made, fleet)
    assert "older" not in printed(made)
