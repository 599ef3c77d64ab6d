"""The secrets of watermarks: in the store, readable by their owner alone, and kept for as long as texts are about."""

import json
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.core.errors import UserError
from pipeline.core.json_file import json_bytes
from pipeline.core.store import Store
from pipeline.core.watermark_keys import FOLDER, WatermarkKey, load, renew, secret_in_use


@pytest.fixture
def store(tmp_path):
    return Store(fs.LocalFileSystem(), str(tmp_path / "birds"))


def test_the_first_secret_is_made_once_and_is_nobody_elses_to_read(store, tmp_path):
    secret = secret_in_use(store)
    [key] = load(store)
    assert len(secret) == 32 and secret == key.secret == secret_in_use(store)
    assert Path(store.path(f"{FOLDER}/{key.id}.json")).stat().st_mode & 0o777 == 0o600
    assert secret.hex() not in repr(key)
    assert secret_in_use(Store(store.filesystem, str(tmp_path / "fish"))) != secret


def test_a_new_secret_marks_at_once_and_old_ones_are_kept(store):
    old = secret_in_use(store)
    renew(store)
    renew(store)
    keys = load(store)
    assert secret_in_use(store) == keys[0].secret != old and keys[2].secret == old
    assert keys[0].created > keys[1].created > keys[2].created  # though all were made within a second


@pytest.mark.parametrize("record", [[], {}, {"created": 1, "secret": "ab"}, {"created": 1, "secret": "x"}, 7])
def test_a_file_that_is_no_secret_is_left_out(store, record):
    secret_in_use(store)
    [key] = load(store)
    store.write(f"{FOLDER}/0123abcd.json", json_bytes(record))
    store.write(f"{FOLDER}/0123abce.json", store.read(f"{FOLDER}/{key.id}.json"))
    assert load(store) == [key]


def test_a_record_is_read_as_it_was_written(store):
    secret_in_use(store)
    [key] = load(store)
    assert WatermarkKey.of(json.loads(store.read(f"{FOLDER}/{key.id}.json"))) == key


def test_where_nothing_can_be_written_texts_are_not_left_unmarked_in_silence(store, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("read only")

    monkeypatch.setattr(Store, "write", refuse)
    with pytest.raises(UserError, match=r"serve\.watermark: its secret cannot be stored: read only"):
        secret_in_use(store)
