"""Links that were shared before answers had public signatures: a key of the fleet's store, and an HMAC."""

import pytest
from pyarrow import fs

from pipeline.core.store import Store
from serve.http.web.old_links import FILE, is_signed, stored_key

KEY = bytes(range(32))
SIGNATURE = "o49nDShIdeASER5p7lhTpQ"  # as the server made it then


@pytest.fixture
def store(tmp_path):
    return Store(fs.LocalFileSystem(), str(tmp_path / "birds"))


def test_a_signature_is_for_one_bot_prompt_and_answer():
    assert is_signed(KEY, "nasa", "My dream is", " Mars", SIGNATURE)
    for said in (("nasa", "My dream", "is Mars"), ("wren", "My dream is", " Mars"), ("nasa", "My dream is", " tea")):
        assert not is_signed(KEY, *said, SIGNATURE)
    assert not is_signed(b"another", "nasa", "My dream is", " Mars", SIGNATURE)
    assert not is_signed(KEY, "nasa", "My dream is", " Mars", "é" + SIGNATURE)
    assert not is_signed(None, "nasa", "My dream is", " Mars", SIGNATURE)


def test_the_key_is_read_and_never_made(store):
    assert stored_key(store) is None and not store.exists(FILE)
    store.write(FILE, KEY.hex().encode())
    assert stored_key(store) == KEY.hex()


@pytest.mark.parametrize("content", [b"", b"abcd", b"\xff" * 64, "é".encode() * 32])
def test_a_file_that_is_no_key_is_not_used(store, content):
    store.write(FILE, content)
    assert stored_key(store) is None
