"""Docstrings: each public name and each settings key has one, and what their examples show can be called so."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

import huggingtweets
import pipeline
import serve
from pipeline.core import settings
from tests.support import command_line, examples

OTHER_PROGRAMS = ("curl ", "http://", "ray ", "serve ", "applications:")  # and the YAML that `serve deploy` reads
DIAGRAM = re.compile("[─│]")


def names_of(package: ModuleType) -> list[str]:
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [package.__name__, *found]


MODULES = [
    name for name in (*names_of(huggingtweets), *names_of(pipeline), *names_of(serve)) if not name.endswith("__main__")
]
each_module = pytest.mark.parametrize("name", MODULES)


@pytest.fixture(scope="module")
def public() -> dict[str, list[Any]]:
    """Our public functions and classes by name."""
    found: dict[str, list[Any]] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if getattr(value, "__module__", None) == name and not key.startswith("_"):
                found.setdefault(key, []).append(value)
    return found


def definitions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The module and each function, class and method that it defines: (qualified name, syntax tree)."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield prefix + child.name, child
                if isinstance(child, ast.ClassDef):
                    yield from walk(child, f"{prefix}{child.name}.")

    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source)
    if source:  # an empty __init__.py says nothing
        yield "", tree
    yield from walk(tree, "")


def inherited(module: ModuleType, name: str) -> str | None:
    """The docstring of the method that a method overrides."""
    class_name, _, method = name.rpartition(".")
    kind = getattr(module, class_name, None) if class_name else None
    return inspect.getdoc(getattr(kind, method, None)) if inspect.isclass(kind) else None


@each_module
def test_what_is_public_has_a_docstring(name: str):
    module = importlib.import_module(name)
    missing = [
        key or name
        for key, node in definitions(module)
        if not re.search(r"(^|\.)_", key) and not ast.get_docstring(node) and not inherited(module, key)
    ]
    assert not missing


@each_module
def test_the_examples_of_a_module_can_be_called(name: str, public: dict[str, list[Any]]):
    module = importlib.import_module(name)
    shown = [block for _, node in definitions(module) for block in examples.examples(node)]
    assert not [problem for block in shown for problem in refused(block, module, public)]


def refused(block: str, module: ModuleType, public: dict[str, list[Any]]) -> list[str]:
    """What is wrong with an example: Python, shell, or a picture of how data flows."""
    if DIAGRAM.search(block) or block.startswith(OTHER_PROGRAMS):
        return []
    lines = [re.sub(r"^([A-Z_]+=\S+ +)+", "", line) for line in block.splitlines()]
    lines = [line for line in lines if line and not line.startswith(OTHER_PROGRAMS)]
    if all(command_line.our_words(line) is not None for line in lines):
        return [problem for line in lines if (problem := command_line.problem(line))]
    if examples.parsed(block) is None:
        return [f"neither Python nor a command line: {block}"]
    return examples.problems(block, vars(module), public)


@each_module
def test_doctests_hold(name: str):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        failed, _ = runner.run(test)
        assert not failed, f"the doctest of {test.name} fails; its output is above"


def test_the_doctests_of_what_checks_them_hold():
    for module in (examples, command_line):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


def sections() -> list[type[BaseModel]]:
    return [value for value in vars(settings).values() if inspect.isclass(value) and issubclass(value, BaseModel)]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_each_settings_key_has_a_description(section: type[BaseModel]):
    assert not [key for key, field in section.model_fields.items() if not field.description]


@pytest.mark.parametrize(
    "example",
    [
        "store = Store.of(fleet, 1)",
        'Store.of(fleet).write("report.json")',
        "store.no_such_method()",
        "for person in load_index(store).people.values(): no_such_function(person)",
        "import json\njson.no_such_name",
        "from pipeline.core.store import no_such_name",
        "Train(epochs=2).no_such_key",
        "with session() as one: read_json(store)",
    ],
)
def test_an_example_that_cannot_run_would_be_noticed(example: str, public: dict[str, list[Any]]):
    from pipeline.core import store

    assert examples.problems(example, vars(store) | {"Train": settings.Train}, public)


def test_an_example_that_can_run_passes(public: dict[str, list[Any]]):
    from pipeline.core import store

    example = 'store = Store.of(fleet)\nstore.write("a", b"")\nStore(...).read("a").decode()\nload_index(store).people'
    assert not examples.problems(example, vars(store), public)
