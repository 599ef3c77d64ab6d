"""OpenAI's form: what it asks becomes our parameters, and what we do not have is refused by name."""

import json

import pytest
from pydantic import ValidationError

from serve.http.errors import explain
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
        ({"min_tokens": 9, "max_tokens": 3}, "min_new_tokens 9"),
        ({"prompt": ["a"] * 4, "n": 5}, "n times"),
        ({"prompt": []}, "prompt"),
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


def piece(index: int, text: str, reason: str | None = None) -> dict[str, object]:
    return {"index": index, "text": text, "logprob": -1.0, "top": {text: -1.0}, "finish_reason": reason}


def test_chunks_number_the_choices_over_all_prompts_and_offsets_grow():
    reply = Reply(asked(prompt=["a", "b"], n=2, echo=True, logprobs=1), "id")
    first = list(reply.chunks(1, [piece(1, " x"), piece(0, " y"), piece(1, " z")]))
    assert [chunk["choices"][0]["index"] for chunk in first] == [2, 3]
    assert [chunk["choices"][0]["text"] for chunk in first] == ["b y", "b x z"]
    assert first[1]["choices"][0]["logprobs"]["text_offset"] == [1, 3]
    [later] = reply.chunks(1, [piece(1, "!", "stop")])
    choice = later["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]["text_offset"]) == ("!", "stop", [5])
