"""Keys: read from a file and the environment, compared by digest, each with a rate of its own."""

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.settings import Serve
from serve.http import keys

GOOD, OTHER = "a-key-of-sixteen", "another-key-that-is-good"


def test_keys_come_from_a_file_and_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "keys.txt"
    path.write_text(f"# ours\n{GOOD}  # for the page\n\n")
    monkeypatch.setenv(keys.ENVIRONMENT, f"{OTHER}, {GOOD},")
    assert keys.load(Serve(keys_file=str(path))) == [GOOD, OTHER]
    assert keys.bearer(Serve()) == {"Authorization": f"Bearer {OTHER}"}


def test_without_any_everybody_may_ask(monkeypatch):
    monkeypatch.delenv(keys.ENVIRONMENT, raising=False)
    assert keys.load(Serve()) == [] and keys.bearer(Serve()) == {}


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "a key with spaces in it\n"])
def test_a_file_without_good_keys_is_refused_and_no_key_is_repeated(tmp_path, text):
    path = tmp_path / "keys.txt"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        keys.load(Serve(keys_file=str(path)))
    assert "short\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        keys.load(Serve(keys_file=str(tmp_path / "none")))


def test_a_known_key_is_found_and_nothing_else_is():
    digests = [keys.digest(GOOD), keys.digest(OTHER)]
    assert keys.known(OTHER, digests) == digests[1]
    assert keys.known(GOOD + "x", digests) is None and keys.known(digests[0], digests) is None


def test_a_key_is_read_from_the_header():
    assert keys.given(f"bearer {GOOD}") == GOOD
    for wrong in ("", "Bearer", f"Basic {GOOD}"):
        assert not keys.given(wrong)


def test_a_bucket_gives_its_rate_and_no_more():
    bucket = keys.Bucket(60)
    start = bucket.at
    assert [bucket.wait(60, start) for _ in range(60)] == [0.0] * 60
    assert 0 < bucket.wait(60, start) <= 1
    assert bucket.wait(60, start + 1.01) == 0.0
    assert bucket.wait(60, start + 1.01) > 0


def test_a_session_is_of_one_key_and_ends():
    digests = [keys.digest(GOOD), keys.digest(OTHER)]
    session = keys.session(OTHER, now=1000)
    assert keys.signed_in(session, digests, now=1001) == digests[1]
    assert OTHER not in session and digests[1] not in session
    assert keys.signed_in(session, digests[:1], now=1001) is None  # the key was taken away
    assert keys.signed_in(session, digests, now=1000 + keys.SESSION_SECONDS) is None
    expires, mac = session.split(".")
    for forged in (f"{int(expires) + 1}.{mac}", f"{expires}.", mac, "", "9" * 4_400 + "." + mac, f"{expires}.é", GOOD):
        assert keys.signed_in(forged, digests, now=1001) is None
