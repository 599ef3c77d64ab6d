"""The clients that people have: a browser on the page, `huggingface_hub` and `openai` as with their own servers."""

import json
import re

import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from playwright.sync_api import expect

from pipeline.core.store import Store
from serve.http.web.signature import sign, stored_key
from tests.support.browser import chromium

LONG = {"max_new_tokens": 12, "seed": 3}


@pytest.fixture(scope="module")
def served(make_served):
    return make_served("clients", ("ada",))


@pytest.fixture
def hub(served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it would not even ask this machine
    return InferenceClient(f"{served[0].base_url}/bots/ada", timeout=90)


@pytest.fixture(scope="module")
def oai(served):
    return openai.OpenAI(base_url=f"{served[0].base_url}/v1", api_key="none needed", timeout=90, max_retries=0)


def test_on_the_page_a_sleeping_bot_wakes_and_what_it_says_is_saved_and_shared(served):
    with chromium() as browser:
        page = browser.new_page(base_url=str(served[0].base_url))
        page.goto("/")
        page.get_by_role("link", name="@ada").click()
        expect(page.get_by_role("heading")).to_contain_text("@ada")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(".written")).to_have_count(4, timeout=90_000)
        page.locator(".written").first.click()
        said = words(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save picture").click()
        assert Image.open(download.value.path()).size == (1200, 630)
        page.reload()  # its address has become the link that shows it to others
        expect(page.locator(".hint")).to_contain_text("Somebody shared this")
        assert words(page) == said


def test_answers_are_signed_with_the_key_that_the_fleets_store_keeps(served):
    client, fleet, *_ = served
    body = {"inputs": "Engine", "parameters": {"max_new_tokens": 8, "return_full_text": False}}
    answer = client.post("/bots/ada", json=body)
    key = bytes.fromhex(stored_key(Store.of(fleet)))
    assert answer.headers["x-signature"] == sign(key, "ada", "Engine", answer.json()[0]["generated_text"])


def words(page):
    """Of the first continuation; what a toy says between them is not always printable."""
    return re.findall(r"\w+", page.locator(".written label").first.inner_text())


def test_the_hugging_face_client_gets_a_text_and_its_details(hub):
    text = hub.text_generation("Engine", **LONG)
    assert text.startswith("Engine") and len(text) > len("Engine")
    told = hub.text_generation("Engine", details=True, return_full_text=False, **LONG)
    assert "Engine" + told.generated_text == text
    assert told.details.seed == 3 and told.details.finish_reason in ("length", "eos_token", "stop_sequence")
    assert told.details.generated_tokens == len(told.details.tokens)
    assert "".join(token.text for token in told.details.tokens) == told.generated_text
    assert all(token.logprob <= 0 for token in told.details.tokens)


def test_the_hugging_face_client_streams_what_it_would_get_whole(hub):
    whole = hub.text_generation("Engine", return_full_text=False, **LONG)
    assert "".join(hub.text_generation("Engine", stream=True, **LONG)) == whole
    events = list(hub.text_generation("Engine", stream=True, details=True, **LONG))
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert all(event.generated_text is None for event in events[:-1])
    last = events[-1]
    assert last.generated_text == whole and last.details.generated_tokens == len(events)
    assert last.details.input_length > 1 and last.details.seed == 3


def test_the_hugging_face_client_is_told_what_is_wrong(hub):
    with pytest.raises(HfHubHTTPError) as caught:
        list(hub.text_generation("Engine", stream=True, top_p=7))
    assert caught.value.response.status_code == 422


def test_a_stream_without_a_seed_says_which_one_gives_it_again(hub):
    last = list(hub.text_generation("Engine", stream=True, details=True, max_new_tokens=8))[-1]
    again = hub.text_generation("Engine", seed=last.details.seed, max_new_tokens=8, return_full_text=False)
    assert again == last.generated_text


def test_the_openai_client_lists_models(oai):
    models = oai.models.list().data
    assert [model.id for model in models] == ["ada"] and models[0].owned_by == "clients" and models[0].created > 0
    assert oai.models.retrieve("ada").id == "ada"
    with pytest.raises(openai.NotFoundError):
        oai.models.retrieve("nobody")


def test_the_openai_client_gets_choices_and_usage(oai):
    answer = oai.completions.create(model="ada", prompt="Engine", n=3, max_tokens=9, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2] and answer.id.startswith("cmpl-")
    assert len({choice.text for choice in answer.choices}) > 1
    assert all(choice.finish_reason in ("stop", "length") for choice in answer.choices)
    usage = answer.usage
    assert usage.prompt_tokens > 1 and 3 <= usage.completion_tokens <= 27
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_both_forms_say_the_same_with_the_same_seed(oai, hub):
    answer = oai.completions.create(model="ada", prompt="Engine", max_tokens=12, seed=3)
    assert answer.choices[0].text == hub.text_generation("Engine", return_full_text=False, **LONG)


def test_the_openai_client_streams_every_choice(oai):
    asked = {"model": "ada", "prompt": ["Engine", "Brass wheel"], "n": 2, "max_tokens": 9, "seed": 1}
    whole = [choice.text for choice in oai.completions.create(**asked).choices]
    texts, reasons, usage = dict.fromkeys(range(4), ""), {}, None
    for chunk in oai.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert list(texts.values()) == whole and len(reasons) == 4
    assert usage.completion_tokens > 4


def test_the_openai_client_gets_log_probabilities(oai):
    asked = {"model": "ada", "prompt": "Engine", "max_tokens": 6, "seed": 1, "logprobs": 2}
    choice = oai.completions.create(**asked, echo=True).choices[0]
    told = choice.logprobs
    assert choice.text == "Engine" + "".join(told.tokens)
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset)
    assert told.text_offset[0] == len("Engine") and all(len(top) == 2 for top in told.top_logprobs)
    assert all(value <= 0 for value in told.token_logprobs)
    streamed: list[float] = []
    for chunk in oai.completions.create(**asked, stream=True):
        streamed += chunk.choices[0].logprobs.token_logprobs
    assert streamed == told.token_logprobs


def test_the_openai_client_stops_where_it_is_told(oai):
    free = oai.completions.create(model="ada", prompt="Engine", max_tokens=30, seed=2).choices[0].text
    stop = free[4:6]
    cut = oai.completions.create(model="ada", prompt="Engine", max_tokens=30, seed=2, stop=[stop]).choices[0]
    assert cut.text == free.split(stop)[0] and cut.finish_reason == "stop"


def test_temperature_zero_is_greedy(oai):
    asked = {"model": "ada", "prompt": "Engine", "max_tokens": 6, "temperature": 0}
    assert len({oai.completions.create(**asked, seed=seed).choices[0].text for seed in range(3)}) == 1


@pytest.mark.parametrize(
    ("wrong", "raised"),
    [
        ({"n": 17}, openai.UnprocessableEntityError),
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": "../etc/passwd"}, openai.NotFoundError),
        ({"prompt": ["a"] * 9, "n": 2}, openai.UnprocessableEntityError),
        ({"max_tokens": 100_000}, openai.UnprocessableEntityError),
        ({"presence_penalty": 1}, openai.UnprocessableEntityError),
        ({"prompt": "soup bread " * 100}, openai.UnprocessableEntityError),
        ({"prompt": "soup bread " * 100, "stream": True}, openai.UnprocessableEntityError),
    ],
)
def test_the_openai_client_is_told_what_is_wrong(oai, wrong, raised):
    with pytest.raises(raised) as caught:
        oai.completions.create(**({"model": "ada", "prompt": "Engine"} | wrong))
    assert caught.value.body["message"]


def test_events_are_sent_as_they_come_and_end_as_openai_does(served):
    body = {"model": "ada", "prompt": "Engine", "max_tokens": 20, "min_tokens": 20, "stream": True}
    with served[0].stream("POST", "/v1/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    assert len(lines) > 2 and json.loads(lines[0].removeprefix("data: "))["object"] == "text_completion"
