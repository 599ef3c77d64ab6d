"""Requests: every limit is enforced before work is done, and an error says which field and why."""

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from serve.engine.parameters import MAX_CHOICES, MAX_NEW_TOKENS, MAX_STOP_CHARS, MAX_STOPS, Parameters
from serve.http.answers import TOKENS_PER_REQUEST
from serve.http.body import MAX_BODY_BYTES, READ_SECONDS
from serve.http.errors import ApiError, explain
from serve.http.forms.completions import MAX_TEXTS
from serve.http.forms.text_generation import MAX_PROMPT_CHARS, TextGeneration
from serve.http.guard import MAX_HEADER_BYTES
from serve.http.routes.listing import MAX_PAGE
from tests.support.toys import ROOT


def parameters(**given: Any) -> Parameters:
    return TextGeneration.model_validate({"inputs": "Hi", "parameters": given}).parameters


def refusal(body: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TextGeneration.model_validate(body)
    message = explain(caught.value)
    assert "\n" not in message
    return message


def test_a_prompt_alone_is_enough_and_samples_as_the_original_did():
    request = TextGeneration.model_validate({"inputs": "My dream is"})
    assert (request.inputs, request.stream) == ("My dream is", False)
    given = request.parameters
    assert (given.temperature, given.top_p, given.top_k, given.do_sample) == (1.0, 0.95, 50, True)
    assert (given.max_new_tokens, given.min_new_tokens) == (None, None)
    assert (given.repetition_penalty, given.num_return_sequences, given.seed, given.stop) == (1.0, 1, None, [])
    assert given.return_full_text is None and not given.details  # full text, unless streamed


def test_an_empty_prompt_is_a_prompt():
    assert TextGeneration.model_validate({"inputs": ""}).inputs == ""


def test_null_means_the_default():
    assert parameters(temperature=None, top_k=None, seed=None, stop=None, n=None) == Parameters()
    assert TextGeneration.model_validate({"inputs": "Hi", "parameters": None}).parameters == Parameters()


def test_other_clients_names_for_the_same_thing_are_understood():
    assert parameters(n=3).num_return_sequences == 3
    assert parameters(stop_sequences=["."]).stop == ["."]
    assert parameters(stop=".").stop == ["."]


def test_what_clients_send_along_without_effect_is_taken_and_what_would_have_one_is_not():
    neutral = {"decoder_input_details": False, "watermark": False, "best_of": 1, "use_cache": True}
    neutral |= {"ignore_eos": False, "min_p": 0, "metadata": {"a": 1}, "top_n_tokens": 5, "typical_p": 0.95, "stop": ""}
    assert parameters(**neutral) == parameters(stop=[""]) == Parameters()
    assert parameters(top_k=-1).top_k == 0
    assert parameters(truncate=2) == Parameters()  # no prompt of two bytes has more tokens
    for effect in ({"truncate": 1}, {"ignore_eos": True}, {"min_p": 0.1}, {"min_p": False}):
        assert f"parameters.{next(iter(effect))}: unknown" in refusal({"inputs": "Hi", "parameters": effect})
    assert "parameters.watermark: unknown" in refusal({"inputs": "Hi", "parameters": {"watermark": True}})
    assert "parameters.best_of: unknown" in refusal({"inputs": "Hi", "parameters": {"best_of": 4}})


LIMITS = [
    ("max_new_tokens", 1, 0),
    ("max_new_tokens", MAX_NEW_TOKENS, MAX_NEW_TOKENS + 1),
    ("min_new_tokens", 0, -1),
    ("min_new_tokens", MAX_NEW_TOKENS, MAX_NEW_TOKENS + 1),
    ("temperature", 0.01, 0),
    ("temperature", 100, float("inf")),
    ("temperature", 1, float("nan")),
    ("top_p", 1, 1.01),
    ("top_p", 0.01, 0),
    ("top_p", 1, float("nan")),
    ("top_k", 0, -2),
    ("top_k", 2**31 - 1, 2**31),
    ("repetition_penalty", 10, 11),
    ("repetition_penalty", 0.1, 0),
    ("num_return_sequences", MAX_CHOICES, MAX_CHOICES + 1),
    ("num_return_sequences", 1, 0),
    ("seed", 0, -1),
    ("seed", 2**63 - 1, 2**63),
    ("stop", ["."] * MAX_STOPS, ["."] * (MAX_STOPS + 1)),
    ("stop", ["a" * MAX_STOP_CHARS], ["a" * (MAX_STOP_CHARS + 1)]),
]


@pytest.mark.parametrize("name, fits, exceeds", LIMITS)
def test_a_value_at_its_limit_is_taken_and_one_past_it_is_refused_by_name(name, fits, exceeds):
    assert getattr(parameters(**{name: fits}), name) == fits
    assert f"parameters.{name}: " in refusal({"inputs": "Hi", "parameters": {name: exceeds}})


def test_a_prompt_at_its_limit_is_taken_and_one_past_it_is_refused():
    assert len(TextGeneration.model_validate({"inputs": "é" * MAX_PROMPT_CHARS}).inputs) == MAX_PROMPT_CHARS
    assert refusal({"inputs": "é" * (MAX_PROMPT_CHARS + 1)}).startswith("inputs: ")


def test_a_minimum_above_the_asked_maximum_is_refused_and_the_default_minimum_never_is():
    assert "min_new_tokens 9 exceeds max_new_tokens 3" in refusal(
        {"inputs": "Hi", "parameters": {"min_new_tokens": 9, "max_new_tokens": 3}}
    )
    assert parameters(max_new_tokens=1).max_new_tokens == 1


@pytest.mark.parametrize(
    "body, where",
    [
        ({}, "inputs"),
        ({"inputs": None}, "inputs"),
        ({"inputs": ["Hi", "Ho"]}, "inputs"),
        ({"inputs": "\ud800"}, "inputs"),
        ({"inputs": "Hi", "parameters": "hot"}, "parameters"),
        ({"inputs": "Hi", "parameters": {"temperature": "hot"}}, "parameters.temperature"),
        ({"inputs": "Hi", "parameters": {"stop": [1]}}, "parameters.stop.0"),
        ({"inputs": "Hi", "temperature": 1}, "temperature"),
        ({"inputs": "Hi", "parameters": {"temprature": 1}}, "parameters.temprature"),
        ([], "body"),
        ("Hi", "body"),
        (None, "body"),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_the_field(body, where):
    assert refusal(body).startswith(f"{where}: ")


def test_an_error_names_the_field_as_the_client_did():
    assert refusal({"inputs": "Hi", "parameters": {"n": 17}}).startswith("parameters.n: ")
    assert refusal({"inputs": "Hi", "parameters": {"stop_sequences": ["a" * 65]}}).startswith("parameters.stop_seq")


def test_every_problem_is_named_at_once():
    message = refusal({"parameters": {"top_p": 2, "seed": -1}})
    assert all(f"{name}: " in message for name in ("inputs", "parameters.top_p", "parameters.seed"))


def test_an_error_repeats_no_value_and_no_more_of_a_name_than_needed():
    message = refusal({"inputs": 5, "parameters": {"top_p": "a secret", "x" * 500: "a secret", "a\nb": 1}})
    assert "secret" not in message
    assert "x" * 41 not in message
    refusal({"inputs": "Hi", "\ud800": 1}).encode()  # half a character cannot be sent


def test_an_error_has_the_documented_body():
    error = ApiError(429, "overloaded", "full; try again", retry_after=2)
    assert error.body() == {"error": {"message": "full; try again", "type": "overloaded", "code": 429}}


def test_an_error_crosses_a_process_border_whole():
    error = pickle.loads(pickle.dumps(ApiError(504, "timeout", "too late", retry_after=3)))
    assert (error.code, error.type, error.message, error.retry_after) == (504, "timeout", "too late", 3)


def test_the_guide_has_the_limits_as_they_are():
    guide = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    for shown in (
        f"| `inputs` (the prompt) | required | {MAX_PROMPT_CHARS:,} characters",
        f"never above the maximum | {MAX_NEW_TOKENS} |",
        f"a stream in this form has one text | {MAX_CHOICES} |",
        f"| {MAX_STOPS} strings of {MAX_STOP_CHARS} characters |",
        f"the body did not arrive within {READ_SECONDS:.0f} seconds",
        f"the body has over {MAX_BODY_BYTES // 1024} KiB; the body is compressed",
        f"the headers have over {MAX_HEADER_BYTES // 1024} KiB",
        f"number of prompts is at most {MAX_TEXTS}; {MAX_CHOICES} of these texts",
        f"each {TOKENS_PER_REQUEST} tokens of an answer count",
        f"`limit` is 1 to {MAX_PAGE:,}",
    ):
        assert shown in " ".join(guide.split()), shown
