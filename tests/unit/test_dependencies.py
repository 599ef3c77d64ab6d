"""What our packages import is declared in pyproject.toml, and what is declared is imported."""

import ast
import importlib.metadata
import re
import sys
import tomllib

from tests.support.toys import ROOT

OWN = {"huggingtweets", "pipeline", "serve"}
# Declared for other packages, which import them without requiring them.
IMPORTED_BY_OTHERS = {
    "mmh3": "Ray Serve's consistent-hash router",
    "ninja": "DeepSpeed, which builds its operators with it",
}
PRIVATES_USED = {"deepspeed", "pytakumi", "ray", "torch", "wandb"}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def declared() -> dict[str, str]:
    """The dependencies by name, with their version ranges."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = (re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[.*\])?(.*)", line) for line in project["dependencies"])
    return {normal(part[1]): part[2] for part in parts if part}


def imported() -> dict[str, set[str]]:
    """The packages outside the standard library that our modules import, with one of the modules."""
    found: dict[str, set[str]] = {}
    for path in [path for package in OWN for path in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - OWN:
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_import_is_declared_and_every_declaration_imported():
    distributions, known, used = importlib.metadata.packages_distributions(), declared(), set()
    undeclared = {}
    for module, paths in imported().items():
        names = {normal(name) for name in distributions.get(module, [module])}
        used |= names
        if not names & set(known):
            undeclared[module] = sorted(paths)
    assert not undeclared
    assert set(known) - used == set(IMPORTED_BY_OTHERS)


def test_packages_whose_privates_are_used_have_upper_bounds():
    known = declared()
    assert not [name for name in PRIVATES_USED if "<" not in known[name]]


def test_the_installed_versions_are_in_the_ranges():
    from packaging.specifiers import SpecifierSet

    versions = {name: importlib.metadata.version(name) for name in declared()}
    assert not [name for name, range_ in declared().items() if versions[name] not in SpecifierSet(range_)]
