"""What README, guides and examples show is there: fleet files load, commands and their options parse, files exist."""

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.scripts.scripts import cli as ray_cli
from ray.serve.scripts import cli as serve_cli

from pipeline.core.fleet import load
from pipeline.core.own_code import ASSETS
from tests.support.command_line import our_program, refusal
from tests.support.toys import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("cluster/*.md")])
PROGRAMS = ("huggingtweets ", "python -m pipeline ", "ray ", "serve ", "make ", "kubectl apply ", "python benchmarks/")


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.yaml")), ids=lambda path: path.name)
def test_an_example_is_a_valid_fleet_file(path):
    assert load(path).fleet


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language in a guide, also those in lists."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def test_the_fleet_files_of_readme_and_index_are_valid(tmp_path):
    [readme], [index] = (blocks(ROOT / path, "yaml") for path in ("README.md", "docs/README.md"))
    for text in (readme, index):
        (tmp_path / "shown.yaml").write_text(text)
        assert load(tmp_path / "shown.yaml").chosen is None


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_guide_compiles_and_its_imports_are_there(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            elif isinstance(node, ast.Import):
                assert all(importlib.util.find_spec(alias.name) for alias in node.names), ast.unparse(node)


def test_the_python_of_the_readme_runs_on_a_published_bot(tmp_path, monkeypatch, capsys):
    shutil.copytree(ASSETS / "mini", tmp_path / "fleets/friends/bots/nasa/0123456789ab")
    monkeypatch.chdir(tmp_path)
    [block] = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("My dream is") == 3


def test_every_command_is_in_the_readme():
    table = README[README.index("## Commands") : README.index("Options:")]
    commands = set(our_program().commands)
    assert commands == set(re.findall(r"`([a-z]+)", table)) - {"huggingtweets"}


def shown(path: Path) -> Iterator[str]:
    """The command lines in a guide, in its blocks and in its sentences; continued lines joined, remarks left out."""
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines()]
    inline = [
        " ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]
    for line in [*lines, *inline]:
        command = (
            re.sub(r"^(export )?([A-Z_]+=\S+ +)+", "", line.removeprefix("$ ").removeprefix(".venv/bin/"))
            .partition("  #")[0]
            .strip()
        )
        if command.startswith(PROGRAMS):
            yield command


def refuse(command: str) -> str:
    """What is wrong with a command line, or nothing. `…` and capitals stand for what the reader puts there."""
    words = shlex.split(command, comments=True)
    if "COMMAND" in words or "…" in command:
        words = words[: next(i for i, word in enumerate(words) if "…" in word or word == "COMMAND")]
    if "|" in words or "&&" in words or "&" in words:
        words = words[: next(i for i, word in enumerate(words) if word in ("|", "&&", "&"))]
    match words:
        case ["huggingtweets", *rest] | ["python", "-m", "pipeline", *rest]:
            return refusal(our_program(), rest)
        case ["ray", "job", "submit", *rest]:  # its options, and what is submitted where that is said
            at = rest.index("--") if "--" in rest else len(rest)
            ours = shlex.join(rest[at + 1 :])
            return refusal(ray_cli, ["job", "submit", *rest[:at], "--", "true"]) or (refuse(ours) if ours else "")
        case ["ray", *rest]:
            return refusal(ray_cli, rest)
        case ["serve", *rest]:
            return refusal(serve_cli, rest)
        case ["make", target, *_]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            return "" if re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) else f"no target {target}"
        case ["kubectl", "apply", "-k" | "-f", path, *_]:
            found = [place for place in (ROOT / path, ROOT / "cluster" / path) if place.exists()]
            return "" if found else f"no {path}"
        case ["python", "benchmarks/plan.py", *rest] if "--costs" not in rest:
            small = [sys.executable, *words[1:], "--users", "10"]  # the last one counts
            return subprocess.run(small, cwd=ROOT, capture_output=True, text=True, check=False).stderr
        case ["python", script, *_]:
            return "" if (ROOT / script).exists() else f"no {script}"
    return ""


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_guide_exist_and_their_options_parse(path):
    problems = {command: problem for command in shown(path) if (problem := refuse(command))}
    assert not problems


def test_a_command_that_is_not_there_would_be_noticed():
    assert refuse("huggingtweets trian fleet.yaml") and refuse("huggingtweets run fleet.yaml --lanes 2")
    assert refuse("ray job submit --adress x -- python -m pipeline run f.yaml")
    assert refuse("ray job submit -- python -m pipeline run --no-such f.yaml")
    assert refuse("python benchmarks/plan.py --entry tpu") and not refuse("python benchmarks/plan.py --users 10")
    assert refuse("make coffee") and refuse("kubectl apply -k cluster/kuberay/tpu")
    assert not refuse("ray job submit --address x --working-dir . -- python -m pipeline run f.yaml --set a.b=1")
    assert len(list(shown(ROOT / "docs" / "operating.md"))) > 20


def headings(path: Path) -> set[str]:
    """The anchors of a guide's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_and_headings_that_a_guide_links_to_are_there(path):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def test_readme_and_index_link_to_every_page():
    for path in ROOT.glob("docs/[a-z]*.md"):
        assert f"({path.name}" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8"), path.name
        assert f"(docs/{path.name}" in README, path.name


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_modules_that_a_guide_names_are_there(path):
    names = re.findall(r"`((?:\w+/)*\w+\.py)`", path.read_text(encoding="utf-8"))
    assert not [name for name in names if not ((ROOT / name).exists() or [*ROOT.glob(f"[a-z]*/**/{name}")])]
