"""The key of signatures: one for each fleet, in its store, for good."""

from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.core.store import Store
from serve.http.web.signature import FILE, is_signed, sign, stored_key


@pytest.fixture
def store(tmp_path):
    return Store(fs.LocalFileSystem(), str(tmp_path / "birds"))


def test_it_is_made_once_and_is_nobody_elses_to_read(store, tmp_path):
    key = stored_key(store)
    assert key and len(bytes.fromhex(key)) == 32 and stored_key(store) == key
    assert Path(store.path(FILE)).stat().st_mode & 0o077 == 0
    assert stored_key(Store(store.filesystem, str(tmp_path / "fish"))) != key


@pytest.mark.parametrize("content", [b"", b"abcd", b"\xff" * 64, "é".encode() * 32])
def test_a_file_that_is_no_key_is_replaced_rather_than_used(store, content):
    store.write(FILE, content)
    key = stored_key(store)
    assert key and len(bytes.fromhex(key)) == 32 and stored_key(store) == key


def test_where_nothing_can_be_written_there_is_none(store, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("read only")

    monkeypatch.setattr(Store, "write", refuse)
    assert stored_key(store) is None


def test_a_signature_is_for_one_bot_prompt_and_answer():
    signature = sign(b"key", "nasa", "My dream is", " Mars")
    assert is_signed(b"key", "nasa", "My dream is", " Mars", signature)
    for said in (("nasa", "My dream", "is Mars"), ("wren", "My dream is", " Mars"), ("nasa", "My dream is", " tea")):
        assert not is_signed(b"key", *said, signature)
    assert not is_signed(b"another", "nasa", "My dream is", " Mars", signature)
