"""A fleet's signing keys: in its store, readable by their owner alone, and never lost."""

import logging
import os
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.core.json_file import json_bytes
from pipeline.core.signing import Keyring, SigningKey
from pipeline.core.signing_keys import FOLDER, load, load_or_create, renew
from pipeline.core.store import Store

SAID = ("nasa", "0123456789ab", "My dream is", " tea")


@pytest.fixture
def store(tmp_path):
    return Store(fs.LocalFileSystem(), str(tmp_path / "birds"))


def test_the_first_key_is_made_once_and_is_nobody_elses_to_read(store, tmp_path):
    before = os.umask(0)
    try:
        [key] = load_or_create(store).keys
    finally:
        os.umask(before)
    assert Path(store.path(f"{FOLDER}/{key.id}.json")).stat().st_mode & 0o777 == 0o600
    assert load_or_create(store).keys == load(store).keys == (key,)
    assert load_or_create(Store(store.filesystem, str(tmp_path / "fish"))).keys != (key,)


def test_a_new_key_signs_and_the_private_part_of_the_old_one_is_gone(store):
    old = load_or_create(store)
    signature = old.sign(*SAID)
    ring = renew(store)
    assert len(ring.keys) == 2 and sum(key.private is not None for key in ring.keys) == 1
    assert load(store) == ring and ring.check("nasa", " tea", signature)
    assert not old.check("nasa", " tea", ring.sign(*SAID))
    assert all(Path(store.path(f"{FOLDER}/{name}")).stat().st_mode & 0o077 == 0 for name in store.list(FOLDER))


def test_keys_that_two_commands_make_at_once_are_both_kept(store):
    one, other = SigningKey.new(), SigningKey.new()
    for key in (one, other):
        store.write(f"{FOLDER}/{key.id}.json", json_bytes(key.record), secret=True)
        assert load(store).check("nasa", " tea", Keyring((one,)).sign(*SAID))
    assert load(store).check("nasa", " tea", Keyring((other,)).sign(*SAID))


@pytest.mark.parametrize("content", [b"", b"abcd", b"[]", b"{}", "é".encode() * 32, b"\xff"])
def test_a_file_that_is_no_key_is_left_out(store, content, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging.LoggerAdapter, "warning", lambda self, text, *rest: warnings.append(text % rest))
    [key] = load_or_create(store).keys
    store.write(f"{FOLDER}/0123abcd.json", content)
    assert load(store).keys == (key,)
    [warning] = warnings
    assert "0123abcd.json: no key, so what was made with it cannot be checked" in warning


def test_a_key_under_another_keys_name_is_left_out(store):
    [key] = load_or_create(store).keys
    store.write(f"{FOLDER}/0123abcd.json", store.read(f"{FOLDER}/{key.id}.json"))
    assert load(store).keys == (key,)


def test_where_nothing_can_be_written_there_is_none(store, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("read only")

    monkeypatch.setattr(Store, "write", refuse)
    assert load_or_create(store).keys == ()
