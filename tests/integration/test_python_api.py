"""The package `huggingtweets`: what docs/python.md and the notebook show runs, on a real cluster."""

import json
import re
from pathlib import Path

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
    assert shown.count("My dream is") == 5 and ANSWER in shown
    assert shown.strip().endswith("bot nobody is not published in fleet friends; `huggingtweets run` makes it")


def test_the_notebook_runs_from_its_first_cell_to_its_last(cluster, tmp_path, monkeypatch, capsys):
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    (tmp_path / "examples").mkdir()  # so that its fleet is not stored in this checkout
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    monkeypatch.chdir(tmp_path / "examples")
    names = execute(cells, "notebook.ipynb")
    assert names["row"]["status"] == "trained" and Path(names["fleet"].settings.storage).is_dir()
    shown = capsys.readouterr().out
    assert re.search(r"trained: loss on held-out tweets \d\.\d\d before training, \d\.\d\d after", shown)
    assert shown.count("My dream is") == 6
