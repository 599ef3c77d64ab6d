"""Every form of reply has a signature of what the bot wrote, and anyone can check it."""

import json
import re

import pytest
from fastapi.testclient import TestClient

from pipeline.core.signing import Keyring, SigningKey
from tests.support import fake_bots
from tests.support.fake_bots import ANSWER, KEYRING, VERSION, FakeBots, routes

PROMPT = "My dream is"
CHAT = {"model": "nasa", "messages": [{"role": "user", "content": PROMPT}]}
ASKED = {
    "/bots/nasa": {"inputs": PROMPT},
    "/v1/completions": {"model": "nasa", "prompt": PROMPT, "echo": True},
    "/v1/chat/completions": CHAT,
}
BLANK = {"valid": False, "bot": None, "version": None, "at": None}


@pytest.fixture
def bots():
    return FakeBots(["ferry", "nasa"])


def verify(client: TestClient, **query: str) -> dict:
    reply = client.get("/verify", params=query)
    assert reply.status_code == 200
    return reply.json()


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_is_signed_whole_and_streamed_in_every_form(client, path):
    whole = client.post(path, json=ASKED[path])
    stream = client.post(path, json=ASKED[path] | {"stream": True})
    assert whole.headers["x-ai-generated"] == stream.headers["x-ai-generated"] == "true"
    events = [line for line in stream.text.split("\n\n") if line and line != "data: [DONE]"]
    assert not any("signature" in event for event in events[:-1])
    [streamed] = re.findall(r'"signature": "([\w-]{128})"', events[-1])
    for signature in (whole.headers["x-signature"], streamed):
        answer = verify(client, bot="@NASA", said=ANSWER, signature=signature, prompt=PROMPT)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer.pop("at"))
        assert answer == {"valid": True, "bot": "nasa", "version": VERSION}
        assert verify(client, bot="nasa", said=ANSWER.strip(), signature=signature)["valid"]
        assert verify(client, bot="nasa", said=PROMPT + ANSWER, signature=signature) == BLANK
        assert verify(client, bot="ferry", said=ANSWER, signature=signature) == BLANK
        assert verify(client, bot="nasa", said=ANSWER, signature=signature, prompt="I hate") == BLANK


def test_in_openais_forms_each_choice_has_its_signature_too(client):
    for path in ("/v1/completions", "/v1/chat/completions"):
        reply = client.post(path, json=ASKED[path])
        assert [choice["signature"] for choice in reply.json()["choices"]] == [reply.headers["x-signature"]]


def test_the_header_has_a_signature_for_each_text_and_stays_below_what_proxies_take(client):
    form = {"model": "nasa", "prompt": [PROMPT] * 16}
    signatures = client.post("/v1/completions", json=form).headers["x-signature"].split(",")
    assert len(signatures) == 16
    assert all(verify(client, bot="nasa", said=ANSWER, signature=one)["valid"] for one in signatures)
    reply = client.post("/v1/completions", json=form | {"prompt": [PROMPT] * 17})
    assert "x-signature" not in reply.headers and reply.headers["x-ai-generated"] == "true"
    assert all(choice["signature"] for choice in reply.json()["choices"])


def test_an_answer_without_words_is_not_signed(client, bots):
    bots.text = "  "
    assert client.post("/bots/nasa", json={"inputs": PROMPT}).headers["x-signature"] == ""


def test_an_error_claims_nothing(client):
    reply = client.post("/bots/nasa", json={"inputs": 3})
    assert reply.status_code == 422 and not {"x-signature", "x-ai-generated"} & set(reply.headers)


@pytest.mark.parametrize("missing", ["bot", "said", "signature"])
def test_what_is_to_be_checked_must_be_given(client, missing):
    query = {"bot": "nasa", "said": " tea", "signature": "x"}
    del query[missing]
    reply = client.get("/verify", params=query)
    assert reply.status_code == 422 and reply.json()["error"]["message"] == f"{missing}: must be given"


def test_a_bot_that_is_not_served_any_more_is_checked_and_what_is_no_bot_is_not_found(client, bots):
    signature = KEYRING.sign("lark", VERSION, PROMPT, " tea")
    assert verify(client, bot="lark", said="tea", signature=signature)["valid"]
    reply = client.get("/verify", params={"bot": "../etc", "said": "tea", "signature": signature})
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found")


def test_what_a_bot_signed_under_its_full_name_is_checked_once_it_has_its_short_one(client, bots, monkeypatch):
    async def known(name: str) -> str:
        return name.removesuffix("@large")

    monkeypatch.setattr(bots, "known", known)
    signature = KEYRING.sign("nasa@large", VERSION, PROMPT, " tea")
    assert verify(client, bot="nasa@large", said="tea", signature=signature)["bot"] == "nasa@large"
    assert verify(client, bot="nasa", said="tea", signature=signature) == BLANK


def test_a_signature_of_other_kinds_is_not_valid(client):
    for signature in ("x", "x" * 128, "é", "o49nDShIdeASER5p7lhTpQ"):
        assert verify(client, bot="nasa", said=" tea", signature=signature) == BLANK


def test_public_keys_are_for_everybody_and_have_no_private_part(bots, monkeypatch):
    old = SigningKey(1, SigningKey.new().public)
    monkeypatch.setattr(fake_bots, "KEYRING", Keyring((old, *KEYRING.keys)))
    with TestClient(routes(bots, "a-key-of-sixteen="), base_url="http://bots.test") as stranger:
        reply = stranger.get("/.well-known/huggingtweets-keys.json")
        assert stranger.get("/verify").status_code == 401
    keys = reply.json()["keys"]
    assert [key["kid"] for key in keys] == [KEYRING.keys[0].id, old.id]
    assert all(set(key) == {"kty", "crv", "alg", "use", "kid", "x", "created"} for key in keys)
    assert KEYRING.keys[0].private and KEYRING.keys[0].private.hex() not in json.dumps(keys)
    assert Keyring.of_jwks(keys).check("nasa", "tea", KEYRING.sign("nasa", VERSION, PROMPT, " tea"))
