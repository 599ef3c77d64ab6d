"""The fleet files that the README and the examples show are valid, and the README's commands exist."""

import re
import shlex

import pytest
import typer
from toys import ROOT

from pipeline import cli
from pipeline.fleet import load

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.yaml")), ids=lambda path: path.name)
def test_an_example_is_a_valid_fleet_file(path):
    assert load(path).fleet


def test_the_readmes_fleet_file_is_valid(tmp_path):
    [block] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "friends.yaml").write_text(block)
    assert load(tmp_path / "friends.yaml").chosen is None


def test_every_command_of_the_readme_exists_and_every_command_is_in_the_readme():
    commands = set(typer.main.get_command(cli.app).commands)
    shown = {shlex.split(line)[1] for line in re.findall(r"^huggingtweets [a-z]+.*", README, re.MULTILINE)}
    assert shown <= commands
    table = README[README.index("## Commands") : README.index("Options:")]
    assert commands == set(re.findall(r"`([a-z]+)", table)) - {"huggingtweets"}
