"""What the benchmarks import is there, and on the path when they run as scripts."""

import ast
import importlib
from pathlib import Path

import pytest

from pipeline.evaluate.measurer import MEASURED
from tests.support.made_up_s3 import measured
from tests.support.toys import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
# pipeline and serve are installed; the folder of the project is on no path
FIND_TESTS = "sys.path.insert(0, str(Path(__file__).parents[1]))"


def test_there_are_benchmarks():
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_finds_what_it_imports(script: Path):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if str(node.module).partition(".")[0] in ("pipeline", "serve", "tests")]
    for node in ours:
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")
    lines = [ast.unparse(node) for node in tree.body]
    first = next((i for i, line in enumerate(lines) if line.startswith("from tests.")), None)
    assert first is None or FIND_TESTS in lines[:first]


def test_nothing_is_to_be_measured_of_the_made_up_bots_of_scale():
    """Otherwise its `run` with nothing to do would evaluate all of them."""
    assert measured("bot_1").keys() >= MEASURED
