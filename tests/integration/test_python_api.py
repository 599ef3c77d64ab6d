"""The package `huggingtweets`: what docs/python.md shows runs, on a real cluster."""

import re

from tests.support.fake_bots import ANSWER, FakeBots, routes, serving
from tests.support.toys import ROOT


def execute(blocks: list[str], name: str) -> dict:
    """Runs pieces of Python one after another in one namespace, as a notebook does; returns the namespace."""
    names: dict = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{name}:{number}", "exec"), names)
    return names


def test_the_guides_python_makes_bots_loads_one_and_asks_one_that_is_served(
    cluster, make_fleet, tmp_path, monkeypatch, capsys
):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    with serving(routes(FakeBots(["ada"]))) as address:
        make_fleet(("ada",), name="friends", serve={"port": int(address.rpartition(":")[2])})
        monkeypatch.chdir(tmp_path)
        names = execute(blocks, "docs/python.md")
    assert len(blocks) == 5
    assert names["fleet"].settings.train.epochs == 2 and names["same"].settings.storage == str(tmp_path / "fleets")
    assert {row["bot"]: row["status"] for row in names["report"]["bots"]} == {"ada": "trained"}
    assert names["fleet"].bots() == {"ada": names["ada"].version}
    shown = capsys.readouterr().out
    assert shown.count("My dream is") == 4 and ANSWER in shown
    assert shown.strip().endswith("bot nobody is not published in fleet friends; `huggingtweets run` makes it")
