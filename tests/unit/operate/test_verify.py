"""`huggingtweets verify`: whose bot wrote a text, and when, without a server."""

import json
from pathlib import Path

import pytest

from pipeline.core import fleet as fleets
from pipeline.core.picture_marks import mark
from pipeline.core.signing_keys import load, load_or_create, renew
from pipeline.core.store import Store
from tests.support.fake_bots import FACE
from tests.support.serve_fleet import publish

VERSION = "0123456789ab"


@pytest.fixture
def fleet(make_fleet) -> Path:
    return make_fleet()


@pytest.fixture
def store(fleet) -> Store:
    return Store.of(fleets.load(fleet))


@pytest.fixture
def signature(store) -> str:
    return load_or_create(store).sign("nasa", VERSION, "My dream is", " tea", at=1_796_000_000)


def test_with_the_fleets_keys(huggingtweets, fleet, signature):
    code, out, _ = huggingtweets("verify", fleet, "@NASA", "tea", signature)
    assert (code, out) == (0, "valid: nasa wrote this in version 0123456789ab at 2026-11-30T00:53:20Z: tea\n")
    code, out, _ = huggingtweets("verify", fleet, "nasa", " tea", signature, "--prompt", "My dream is", "--json")
    told = {"valid": True, "bot": "nasa", "version": VERSION, "at": "2026-11-30T00:53:20Z"}
    assert (code, json.loads(out)) == (0, told)


@pytest.mark.parametrize(
    "claim", [("wren", "tea"), ("nasa", "soup"), ("nasa", "My dream is tea"), ("nasa", "tea", "--prompt", "I hate")]
)
def test_what_was_not_written_so_ends_with_1(huggingtweets, fleet, signature, claim):
    bot, text, *more = claim
    code, out, err = huggingtweets("verify", fleet, bot, text, signature, *more)
    assert code == 1 and not out and f"none of the keys in {fleet} signed this as a text of {bot}" in err
    code, out, _ = huggingtweets("verify", fleet, bot, text, signature, *more, "--json")
    assert (code, json.loads(out)) == (1, {"valid": False, "bot": None, "version": None, "at": None})


def test_with_public_keys_alone_also_after_the_key_was_renewed(huggingtweets, store, signature, tmp_path):
    keys, card = tmp_path / "huggingtweets-keys.json", tmp_path / "README.md"
    jwks = renew(store).jwks
    keys.write_text(json.dumps({"keys": jwks}))
    card.write_text(f"---\nsigning_keys: {json.dumps(jwks)}\n---\n\n# A card\n")
    for path in (keys, card):
        assert huggingtweets("verify", path, "nasa", "tea", signature)[0] == 0
        assert huggingtweets("verify", path, "nasa", "soup", signature)[0] == 1


def test_a_picture_is_enough(huggingtweets, fleet, signature, tmp_path):
    path = tmp_path / "card.png"
    path.write_bytes(mark(FACE, bot="nasa", prompt="My dream is", said=" tea", signature=signature))
    code, out, _ = huggingtweets("verify", fleet, "--picture", path)
    assert code == 0 and out.startswith("valid: nasa wrote this")
    path.write_bytes(mark(FACE, bot="nasa", prompt="My nightmare is", said=" tea", signature=signature))
    assert huggingtweets("verify", fleet, "--picture", path)[0] == 1


@pytest.mark.parametrize("content", [b"", b"no picture", FACE, mark(FACE), mark(FACE, bot="nasa")])
def test_a_picture_without_an_answer_is_said_to_have_none(huggingtweets, fleet, signature, tmp_path, content):
    path = tmp_path / "card.png"
    path.write_bytes(content)
    code, _, err = huggingtweets("verify", fleet, "--picture", path)
    assert code == 2 and ("has no answer" in err or "are needed" in err)


@pytest.mark.parametrize("content", ["", "# no card", "{", "{}", '{"keys": [{"kty": "RSA"}]}', "---\na: b\n---\n"])
def test_a_file_without_keys_is_refused(huggingtweets, tmp_path, content):
    path = tmp_path / "keys"
    path.write_text(content)
    code, _, err = huggingtweets("verify", path, "nasa", "tea", "x")
    assert code == 2 and str(path) in err


def test_what_is_missing_is_named(huggingtweets, fleet, tmp_path):
    assert "BOT, TEXT and SIGNATURE are needed" in huggingtweets("verify", fleet, "nasa")[2]
    assert "cannot be read" in huggingtweets("verify", tmp_path / "none.json", "nasa", "tea", "x")[2]
    assert "cannot be read" in huggingtweets("verify", fleet, "--picture", tmp_path / "none.png")[2]
    assert "has no signing keys" in huggingtweets("verify", fleet, "nasa", "tea", "x")[2]


def test_what_generate_prints_as_json_can_be_checked(huggingtweets, fleet, store, base):
    version = publish(Path(store.root), base, "ada")
    code, out, _ = huggingtweets("generate", fleet, "ada", "Engine", "-n", "2", "--seed", "3", "--json")
    told = json.loads(out)
    assert code == 0 and len(told) == 2 and told[0].keys() == {"generated_text", "signature"}
    for one in told:
        written = one["generated_text"].removeprefix("Engine")
        code, out, _ = huggingtweets("verify", fleet, "ada", written, one["signature"], "--prompt", "Engine", "--json")
        assert code == 0 and json.loads(out)["version"] == version
        assert huggingtweets("verify", fleet, "ada", one["generated_text"], one["signature"])[0] == 1


def test_checking_makes_no_key(huggingtweets, fleet, store):
    huggingtweets("verify", fleet, "nasa", "tea", "x")
    assert load(store).keys == ()
