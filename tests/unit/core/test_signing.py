"""Signatures of answers: valid for one text of one bot in one version, for as long as the public key is known."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.signing import Keyring, Signed, SigningKey, merged, signed_text, verdict

VERSION, AT = "0123456789ab", 1_796_000_000
BOT, PROMPT, ANSWER = "nasa", "My dream is", " to land on Mars"
KEY = SigningKey.new()
RING = Keyring((KEY,))
PUBLIC = Keyring((KEY.retired(),))
SIGNATURE = RING.sign(BOT, VERSION, PROMPT, ANSWER, AT)


def test_the_public_key_is_enough_to_check_bot_version_and_time():
    assert PUBLIC.check(BOT, ANSWER, SIGNATURE) == Signed(BOT, VERSION, AT)
    assert PUBLIC.check(BOT, ANSWER, SIGNATURE, PROMPT) == Signed(BOT, VERSION, AT)
    at = "2026-11-30T00:53:20Z"
    assert verdict(PUBLIC.check(BOT, ANSWER, SIGNATURE)) == {"valid": True, "bot": BOT, "version": VERSION, "at": at}
    assert verdict(None) == {"valid": False, "bot": None, "version": None, "at": None}


@pytest.mark.parametrize(
    ("bot", "answer"),
    [
        ("ferry", ANSWER),
        ("nas", "a" + ANSWER),
        (BOT, " to land on mars"),
        (BOT, PROMPT + ANSWER),  # the prompt is a visitor's
        (BOT, " to land on Mars."),
        (BOT, " to  land on Ma rs"),
        (BOT, " to land\u200b on Mars"),
        (BOT, " to land on \u202eMars"),
        (BOT, " to land on \uff2dars"),  # a wide M: compatible, but another character
        (BOT, ""),
    ],
)
def test_another_text_and_another_bot_are_refused(bot, answer):
    assert RING.check(bot, answer, SIGNATURE) is None


@pytest.mark.parametrize("prompt", ["My dream", "My dream is ", "", "I hate"])
def test_the_prompt_of_a_link_is_the_one_that_was_continued(prompt):
    assert RING.check(BOT, ANSWER, SIGNATURE, prompt) is None


def test_a_prompt_of_tokens_is_no_text():
    signature = RING.sign(BOT, VERSION, None, ANSWER)
    assert RING.check(BOT, ANSWER, signature)
    assert not any(RING.check(BOT, ANSWER, signature, prompt) for prompt in ("", "[5, 6]", "\0" * 16))


@given(st.integers(0, 127), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
def test_a_signature_with_another_character_is_refused(at, char):
    changed = SIGNATURE[:at] + char + SIGNATURE[at + 1 :]
    assert (RING.check(BOT, ANSWER, changed) is not None) == (changed == SIGNATURE)


@given(st.text(max_size=200))
def test_no_other_text_is_a_signature(text):
    assert RING.check(BOT, ANSWER, text) is None


def test_head_and_signature_of_two_answers_cannot_be_mixed():
    other = RING.sign(BOT, "ba9876543210", PROMPT, ANSWER, AT + 60)
    head = len(SIGNATURE) // 3  # 32 of 96 bytes
    assert RING.check(BOT, ANSWER, other[:head] + SIGNATURE[head:]) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_text_that_is_not_blank_can_be_signed(prompt, answer):
    signature = RING.sign(BOT, VERSION, prompt, answer, AT)
    assert bool(signature) == bool(answer.strip()) and len(signature) in (0, 128)
    assert (RING.check(BOT, answer, signature, prompt) is not None) == bool(answer.strip())
    assert "\n" not in signed_text(answer)


def test_a_text_may_be_copied():
    """Copied texts lose the space before them, get other line breaks, and may be composed."""
    signature = RING.sign(BOT, VERSION, "Un", " cafe\u0301 noir  \u00a0 fort \n")
    for copied in ("caf\u00e9 noir fort", " cafe\u0301 noir\n fort", "caf\u00e9  noir fort "):
        assert RING.check(BOT, copied, signature)


def test_in_a_link_a_word_of_the_prompt_does_not_grow_into_another():
    """`I am un` and ` happy` do not become `I am unhappy`."""
    signature = RING.sign(BOT, VERSION, "I am un", " happy")
    assert RING.check(BOT, " happy", signature, "I am un") and not RING.check(BOT, "happy", signature, "I am un")
    joined = RING.sign(BOT, VERSION, "I am un", "happy")
    assert RING.check(BOT, "happy", joined, "I am un") and not RING.check(BOT, " happy", joined, "I am un")


def test_lone_surrogates_are_refused_and_not_replaced():
    signature = RING.sign(BOT, VERSION, "", " so?")
    assert RING.check(BOT, " so\ud800", signature) is None and RING.check(BOT, " so?", signature, "\ud800") is None


def test_the_newest_key_signs_and_old_ones_still_check():
    new = dataclasses.replace(SigningKey.new(), created=KEY.created + 1)
    ring = Keyring((new, KEY.retired()))
    signature = ring.sign(BOT, VERSION, PROMPT, ANSWER)
    assert Keyring((new,)).check(BOT, ANSWER, signature) and not RING.check(BOT, ANSWER, signature)
    assert ring.check(BOT, ANSWER, SIGNATURE)
    one, other = Keyring((KEY, new)), Keyring((new, KEY))
    assert one.sign(BOT, VERSION, PROMPT, ANSWER, AT) == other.sign(BOT, VERSION, PROMPT, ANSWER, AT)


def test_without_a_private_key_nothing_is_signed():
    assert RING.sign(BOT, "", PROMPT, ANSWER) == ""  # nor if nobody knows which version answered
    assert PUBLIC.sign(BOT, VERSION, PROMPT, ANSWER) == Keyring().sign(BOT, VERSION, PROMPT, ANSWER) == ""


def test_keys_travel_as_json_and_their_private_parts_are_not_shown():
    assert SigningKey.of(KEY.record) == KEY and SigningKey.of(KEY.retired().record) == KEY.retired()
    assert KEY.private and KEY.private.hex() not in str(RING.jwks) and repr(KEY.private) not in repr(RING)
    assert Keyring.of_jwks(RING.jwks).check(BOT, ANSWER, SIGNATURE)
    assert merged([RING, RING, Keyring((SigningKey.new(),))]).keys[0] == KEY


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"created": 1, "public": "00"},
        {"created": 1, "public": "é"},
        KEY.record | {"private": "11" * 32},
        KEY.record | {"private": "11"},
        KEY.record | {"created": "yesterday"},
    ],
)
def test_what_is_no_key_is_refused(record):
    with pytest.raises(ValueError):
        SigningKey.of(record)


@pytest.mark.parametrize(
    "jwks", [None, {}, [None], [{}], [{"crv": "Ed25519", "x": "AA"}], [{"crv": "P-256", "x": "A" * 43}]]
)
def test_other_kinds_of_public_keys_are_left_out(jwks):
    assert Keyring.of_jwks(jwks).keys == ()


def test_the_bytes_are_those_of_the_guide():
    """docs/http.md describes them; a signature of a known key stays what it is."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    known = Keyring((SigningKey(1, public, private),)).sign(BOT, VERSION, PROMPT, ANSWER, AT)
    assert known == (
        "AVZHWqcAawzJAAEjRWeJq8NncbG0-XVPKcCaqKBr-7PsZs2pVSAeoaB11D7FodpB"
        "CSEpPP3mcVFWNcf-bNPlAtTZFsPiIQ1ueflkbGbKDC8m0WIn158z3M5gkJCUjZYM"
    )
