"""OpenAI's forms: their parameters become ours, and what we do not have is refused by name."""

import json

import pytest
from pydantic import ValidationError

from serve.http.errors import explain
from serve.http.forms.chat import Chat, ChatReply
from serve.http.forms.completions import Completion, Reply


def asked(**given: object) -> Completion:
    return Completion.model_validate({"model": "nasa", "prompt": "My dream is"} | given)


def test_its_parameters_become_ours():
    ours = asked(max_tokens=9, temperature=0, n=3, stop=".", seed=4, top_k=7).parameters
    assert (ours.max_new_tokens, ours.num_return_sequences, ours.stop, ours.seed, ours.top_k) == (9, 3, ["."], 4, 7)
    assert not ours.do_sample and asked(temperature=0.5).parameters.do_sample
    assert asked(presence_penalty=0, logit_bias={}, suffix=None, user="me", best_of=1) == asked(user="me", best_of=1)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"best_of": 3}, "best_of"),
        ({"stop": ["a secret" * 20]}, "stop"),
        ({"stop": ["a"] * 9}, "stop"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens 9 exceeds max_tokens 3"),
        ({"prompt": ["a"] * 33, "n": 4}, "n times"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"min_p": 0.1}, "min_p"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[1], "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1] * 2_001}, "prompt"),
        ({"max_tokens": 0}, "max_tokens: 0 needs echo"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
    ],
)
def test_what_is_not_served_is_refused_in_one_line_that_repeats_no_value(given, named):
    with pytest.raises(ValidationError) as caught:
        asked(**given)
    message = explain(caught.value)
    assert named in message and "\n" not in message and "secret" not in message
    json.dumps(message, ensure_ascii=False).encode()


VERSION = "0123456789ab"


def sign(version: str, prompt: str | None, answer: str) -> str:
    return f"{version} | {prompt} | {answer}"


def part(*pieces: dict[str, object]) -> dict[str, object]:
    return {"prompt_tokens": 1, "version": VERSION, "pieces": list(pieces)}


def piece(index: int, text: str, reason: str | None = None, from_prompt: bool = False) -> dict[str, object]:
    known = {"index": index, "name": text, "text": text, "logprob": -1.0, "top": {text: -1.0}}
    return known | {"finish_reason": reason, "from_prompt": from_prompt}


def test_chunks_number_the_choices_over_all_prompts_and_offsets_grow():
    reply = Reply(asked(prompt=["a", "b"], n=2, echo=True, logprobs=1), "nasa", "id", sign)
    pieces = [piece(1, "b", from_prompt=True), piece(0, "b", from_prompt=True), piece(0, " y"), piece(1, " x")]
    first = list(reply.chunks(1, part(*pieces, piece(1, " z"))))
    assert [chunk["choices"][0]["index"] for chunk in first] == [2, 3]
    assert [chunk["choices"][0]["text"] for chunk in first] == ["b y", "b x z"]
    logprobs = first[1]["choices"][0]["logprobs"]
    assert logprobs["text_offset"] == [0, 1, 3] and logprobs["tokens"] == ["b", " x", " z"]
    assert logprobs["token_logprobs"] == [None, -1.0, -1.0] and logprobs["top_logprobs"][0] is None
    [later] = reply.chunks(1, part(piece(1, "!", "stop")))
    choice = later["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]["text_offset"]) == ("!", "stop", [5])
    # what is echoed is the visitor's, so it is not in what is signed
    assert choice["signature"] == sign(VERSION, "b", " x z!")
    assert not any("signature" in chunk["choices"][0] for chunk in first)


def test_every_choice_is_signed_with_its_own_prompt_and_without_it():
    answers = [{"prompt_tokens": 1, "version": VERSION, "choices": [ANSWER, ANSWER | {"text": " soup"}]}] * 2
    choices = Reply(asked(prompt=["a", "b"], n=2, echo=True), "nasa", "id", sign).whole(answers)["choices"]
    assert [choice["text"] for choice in choices] == ["a tea", "a soup", "b tea", "b soup"]
    assert [choice["signature"] for choice in choices] == [
        sign(VERSION, prompt, text) for prompt in "ab" for text in (" tea", " soup")
    ]
    [tokens] = Reply(asked(prompt=[5, 6]), "nasa", "id", sign).whole([answers[0] | {"choices": [ANSWER]}])["choices"]
    assert tokens["signature"] == sign(VERSION, None, " tea")
    [said] = ChatReply(chat(("user", "Hi")), "nasa", "id", sign).whole(answers[0] | {"choices": [ANSWER]})["choices"]
    assert said["signature"] == sign(VERSION, "Hi", " tea")


def test_a_prompt_may_be_tokens_and_may_be_all_that_is_wanted():
    [tokens] = asked(prompt=[5, 6], echo=True, max_tokens=0).questions()
    assert tokens.prompt == (5, 6) and tokens.only_prompt and tokens.prompt_pieces and tokens.pieces
    one, two = asked(prompt=[[5], [6, 7]]).questions()
    assert (one.prompt, two.prompt, two.prompt_pieces) == ((5,), (6, 7), False)
    [scored] = asked(echo=True, logprobs=1).questions()
    assert scored.prompt_pieces and not scored.only_prompt
    [plain] = asked(echo=True).questions()
    assert not plain.prompt_pieces and not plain.pieces
    answer = {"prompt_tokens": 1, "version": VERSION, "choices": [ANSWER]}
    assert Reply(asked(echo=True), "nasa", "id", sign).whole([answer])["choices"][0]["text"] == "My dream is tea"


ANSWER = {"text": " tea", "tokens": 1, "finish_reason": "stop", "pieces": []}


def test_what_clients_send_along_without_effect_is_taken():
    sent = {"ignore_eos": False, "min_p": 0, "metadata": {}, "top_k": -1, "stop": [], "user": "me", "store": False}
    sent |= {"typical_p": 0.95, "top_n_tokens": 3, "logprobs": False, "service_tier": "auto", "use_beam_search": False}
    assert asked(**sent) == asked(top_k=0)


def test_the_hugging_face_javascript_client_is_understood():
    """What its textGeneration sends to /v1/completions."""
    sent = {"max_tokens": 9, "do_sample": False, "return_full_text": True, "num_return_sequences": 2, "details": False}
    form = Completion.model_validate({"model": "http://localhost:8000/bots/nasa", "prompt": "Hi"} | sent)
    assert form.echo and form.n == 2 and not form.parameters.do_sample and form.parameters.max_new_tokens == 9


def chat(*messages: tuple[str, object], **given: object) -> Chat:
    return Chat.model_validate(
        {"model": "nasa", "messages": [{"role": role, "content": content} for role, content in messages]} | given
    )


def test_the_last_message_of_the_user_is_the_prompt():
    turns = [("system", "Be nice"), ("user", "Hello"), ("assistant", "Hi"), ("user", "My dream is")]
    assert chat(*turns).prompt == chat(*turns, ("assistant", "")).prompt == "My dream is"
    assert chat(("user", [{"type": "text", "text": "My "}, {"type": "text", "text": "dream"}])).prompt == "My dream"
    assert chat(("user", "Hi"), max_completion_tokens=7).parameters.max_new_tokens == 7


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages: must have a message with the role user"),
        ({"messages": [{"role": "boss", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "a" * 2_001}]}, "at most 2000 characters"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_chat_that_cannot_be_served_is_refused_by_name(given, named):
    with pytest.raises(ValidationError) as caught:
        chat(("user", "Hi"), **given)
    assert named in explain(caught.value)


def test_a_streamed_chat_begins_with_the_role_and_ends_each_choice_with_its_reason():
    reply = ChatReply(chat(("user", "Hi"), n=2, logprobs=True, top_logprobs=1), "nasa", "id", sign)
    assert [chunk["choices"][0]["delta"]["role"] for chunk in reply.first()] == ["assistant"] * 2
    text, end = reply.chunks(part(piece(1, "é"), piece(1, "!", "stop")))
    assert (text["choices"][0]["index"], text["choices"][0]["delta"]) == (1, {"content": "é!"})
    assert text["choices"][0]["logprobs"]["content"][0]["bytes"] == [195, 169]
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "stop")
    assert end["choices"][0]["signature"] == sign(VERSION, "Hi", "é!") and "signature" not in text["choices"][0]
