"""What travels with a job."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.fleet import load
from pipeline.operate.submit import pack
from pipeline.tweets import find
from tests.support.toys import ROOT


@pytest.fixture
def fleet(tmp_path, base):
    for name in ("csv/wren.csv", "csv/owl.csv", "csv/notes.txt", "one/mole.csv", "exports/stork/tweets.js"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id,text\n1,three plain words\n")
    path = tmp_path / "birds.yaml"
    path.write_text(
        f"""
fleet: birds
storage: s3://bucket/fleets
base_model: {base}
tweets: [data/csv/*.csv, data/one/mole.csv, {{path: data/exports, handle: stork}}, s3://bucket/more.csv]
train: {{epochs: 2}}
"""
    )
    return load(path, ["train.seed=3"])


def test_the_jobs_folder_is_a_fleet_of_its_own(fleet, tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    pack(fleet, folder)
    assert (folder / "pipeline/cli/__init__.py").exists()
    assert (folder / "serve/engine/engine.py").exists()
    assert not list(folder.rglob("*.pyc"))
    there = load(folder / "fleet.yaml")
    assert there.train.model_fields_set == {"epochs", "seed"}
    assert there.storage == fleet.storage
    assert (folder / "base/config.json").exists()
    local = [source for source in there.tweets if "://" not in source.path]
    assert [source.handle for source in there.tweets] == [None, None, "stork", None]
    assert all(source.path.startswith(str(folder)) for source in local)
    names = {file.path.rpartition("/")[2] for file in find(local[:2])}
    assert names == {"wren.csv", "owl.csv", "mole.csv"}
    assert str(tmp_path / "data") not in (folder / "fleet.yaml").read_text()


def test_lists_of_words_and_tables_of_accounts_travel_too(fleet, tmp_path):
    for name in ("blocked.txt", "listed.txt", "users.csv"):
        (tmp_path / name).write_text(f"{name}\n")
    path = tmp_path / "birds.yaml"
    settings = ["filters.blocked_words=blocked.txt", "evaluate.block_list=listed.txt"]
    settings.append("tweets=[{path: data/one/mole.csv, users: users.csv}]")
    folder = tmp_path / "job"
    folder.mkdir()
    pack(load(path, settings), folder)
    there = load(folder / "fleet.yaml")
    for file, name in (
        (there.filters.blocked_words, "blocked.txt"),
        (there.evaluate.block_list, "listed.txt"),
        (there.tweets[0].users, "users.csv"),
    ):
        assert file.startswith(str(folder)) and Path(file).read_text() == f"{name}\n"
    assert str(tmp_path / "blocked") not in (folder / "fleet.yaml").read_text()


def test_too_much_to_travel_is_refused(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.operate.submit._MAX_BYTES", 1000)
    with pytest.raises(UserError, match="s3://"):
        pack(fleet, tmp_path / "job")


def test_the_working_directory_is_small_enough_to_travel():
    """Ray uploads the checkout at each submit; what it must not carry is in .gitignore or .rayignore."""
    assert shutil.which("git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    size = sum((ROOT / name).stat().st_size for name in listed.decode().split("\0") if name and (ROOT / name).exists())
    assert size < 40 * 2**20
