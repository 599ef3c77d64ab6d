"""Replicas are replaced when the code, the page or an asset that they run has changed, and only then."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.own_code import code_hash
from tests.support.toys import ROOT


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Copies of the project's packages, without what is large."""
    project = tmp_path_factory.mktemp("project")
    leave = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.woff2")
    for package in ("serve", "pipeline"):
        shutil.copytree(ROOT / package, project / package, ignore=leave)
    return project / "serve", project / "pipeline"


@pytest.mark.parametrize(
    "changed",
    ["serve/deploy.py", "serve/http/web/static/bot.js", "serve/http/web/page.html.j2", "pipeline/core/own_code.py"],
)
def test_a_change_in_any_file_changes_the_hash(copies: tuple[Path, Path], changed: str):
    before = code_hash(*copies)
    assert code_hash(*copies) == before
    path = copies[0].parent / changed
    original = path.read_bytes()
    path.write_bytes(original + b" ")
    assert code_hash(*copies) != before
    path.write_bytes(original)
    assert code_hash(*copies) == before
    path.rename(path.with_name("renamed"))
    assert code_hash(*copies) != before
    path.with_name("renamed").rename(path)


def test_compiled_files_do_not_count(copies: tuple[Path, Path]):
    before = code_hash(*copies)
    compiled = copies[0] / "__pycache__" / "deploy.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"compiled")
    assert code_hash(*copies) == before


def test_the_version_of_a_deployment_follows_the_code(monkeypatch: pytest.MonkeyPatch):
    from serve.deployments import endpoint

    seen: list[tuple[Path, ...]] = []
    endpoint.serving_code.cache_clear()
    monkeypatch.setattr(endpoint, "code_hash", lambda *folders: seen.append(folders) or "0123456789ab")
    assert endpoint.pinned_options("nasa", 1)["version"] == "0123456789ab:('nasa', 1)"
    assert ROOT / "serve" in seen[0] and any(ROOT / "pipeline" / "core" in (f, *f.glob("*")) for f in seen[0])
    endpoint.serving_code.cache_clear()
