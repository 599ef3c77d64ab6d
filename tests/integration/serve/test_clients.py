"""The clients that people have: a browser on the page, `huggingface_hub` and `openai` as with their own servers.

Every test of a client runs against a dedicated, a pooled and an auto bot. Each snippet of docs/http.md runs once.
"""

import json
import os
import re
import subprocess
import time

import httpx
import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import ValidationError
from PIL import Image
from playwright.sync_api import expect

from pipeline.core import signing_keys
from pipeline.core.store import Store
from serve.deploy import deploy
from tests.support.browser import chromium
from tests.support.serve_fleet import write_tweets
from tests.support.toys import ROOT

LONG = {"max_new_tokens": 12, "seed": 3}


TWEET = "The fog is over, and the whales are back in the bay"
BOTS = {"dedicated": "nasa", "pooled": "ada", "auto": "ben"}


@pytest.fixture(scope="module")
def fleets(make_served):
    """A fleet for each kind of endpoint, with one bot."""
    settings = {"max_replicas": 1, "game": True}
    fleets = {kind: make_served(f"clients-{kind}", (bot,), endpoint=kind, **settings) for kind, bot in BOTS.items()}
    for kind, bot in BOTS.items():
        write_tweets(Store.of(fleets[kind][1]), bot, held_out=[TWEET], training=["Seven bells, and nobody is up yet"])
    return fleets


@pytest.fixture(scope="module")
def address(fleets):
    return str(fleets["dedicated"][0].base_url).rstrip("/")


@pytest.fixture(scope="module", params=BOTS)
def bot(request):
    return BOTS[request.param]


@pytest.fixture
def hub(address, bot, online):
    return InferenceClient(f"{address}/bots/{bot}", timeout=90)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it would not even ask this machine


@pytest.fixture(scope="module")
def oai(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none needed", timeout=90, max_retries=0)


def test_on_the_page_a_sleeping_bot_wakes_and_what_it_says_is_saved_and_shared(address):
    with chromium() as browser:
        page = browser.new_page(base_url=address)
        page.goto("/")
        page.get_by_role("link", name="@nasa").click()
        expect(page.get_by_role("heading")).to_contain_text("@nasa")
        page.get_by_label("Start a sentence").fill("I")  # a toy's answer may be short, and then has no picture
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(".hint")).to_contain_text("Pick one", timeout=90_000)
        silent = page.locator(".failed").all_inner_texts()  # a toy may answer with nothing at all
        assert all("The bot wrote nothing." in text for text in silent)
        expect(page.locator(".written")).to_have_count(4 - len(silent))
        page.locator(".written").first.click()
        said = words(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save picture").click()
        assert Image.open(download.value.path()).size == (1200, 630)
        page.reload()  # its address has become the link that shows it to others
        expect(page.locator(".hint")).to_contain_text("Somebody shared this")
        assert words(page) == said


@pytest.mark.parametrize("kind", BOTS)
def test_answers_are_signed_with_the_key_that_the_fleets_store_keeps(fleets, kind):
    client, fleet, _, versions = fleets[kind]
    bot = BOTS[kind]
    body = {"inputs": "Engine", "parameters": {"return_full_text": False, "num_return_sequences": 2} | LONG}
    answer = client.post(f"/bots/{bot}", json=body)
    signatures, keyring = answer.headers["x-signature"].split(","), signing_keys.load(Store.of(fleet))
    assert answer.headers["x-ai-generated"] == "true" and len(set(signatures)) == 2
    for one, signature in zip(answer.json(), signatures, strict=True):
        found = keyring.check(bot, one["generated_text"], signature, "Engine")
        assert found and found.version == versions[bot] and abs(found.at - time.time()) < 60
        query = {"bot": bot, "said": one["generated_text"], "signature": signature}
        assert client.get("/verify", params=query).json()["valid"]
        assert not client.get("/verify", params=query | {"said": one["generated_text"] + "!"}).json()["valid"]
        # the other fleets' bots are checked with other keys
        other = next(name for name in BOTS.values() if name != bot)
        assert not client.get("/verify", params=query | {"bot": other}).json()["valid"]


def test_the_clients_streams_end_with_a_signature_that_they_may_ignore(oai, hub, bot, address):
    def valid(said: str, signature: str) -> bool:
        query = {"bot": bot, "said": said, "signature": signature}
        return httpx.get(f"{address}/verify", params=query).json()["valid"]

    asked = {"model": bot, "max_tokens": 12, "seed": 3, "n": 2, "stream": True}
    texts, signatures = ["", ""], {}
    for chunk in oai.completions.create(**asked, prompt="Engine", echo=True):
        [choice] = chunk.choices
        texts[choice.index] += choice.text
        signatures[choice.index] = getattr(choice, "signature", None)
    assert all(valid(text.removeprefix("Engine"), signatures[index]) for index, text in enumerate(texts))
    said, signatures = ["", ""], {}
    for chunk in oai.chat.completions.create(**asked, messages=[{"role": "user", "content": "Engine"}]):
        [choice] = chunk.choices
        said[choice.index] += choice.delta.content or ""
        signatures[choice.index] = getattr(choice, "signature", None)
    assert all(valid(text, signatures[index]) for index, text in enumerate(said))
    last = list(hub.text_generation("Engine", stream=True, details=True, **LONG))[-1]
    assert valid(last.generated_text, last.details.signature)


def test_a_new_key_signs_at_once_and_what_the_old_one_signed_stays_valid(fleets):
    client, fleet, _, versions = fleets["pooled"]
    body = {"inputs": "Engine", "parameters": {"return_full_text": False, "seed": 1}}

    def ask() -> dict[str, str]:
        answer = client.post("/bots/ada", json=body)
        return {"bot": "ada", "said": answer.json()[0]["generated_text"], "signature": answer.headers["x-signature"]}

    before = ask()
    signing_keys.renew(Store.of(fleet))
    deploy(fleet, Store.of(fleet), versions)
    after = ask()
    assert (before["said"], before["signature"][:8]) != (after["said"], after["signature"][:8])
    assert all(client.get("/verify", params=query).json()["valid"] for query in (before, after))
    published = client.get("/.well-known/huggingtweets-keys.json").json()["keys"]
    assert {key.id for key in signing_keys.load(Store.of(fleet)).keys} <= {key["kid"] for key in published}


def words(page):
    """Of the first continuation; what a toy says between them is not always printable."""
    return re.findall(r"\w+", page.locator(".written .words").first.inner_text())


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


def test_the_hugging_face_client_gets_the_reason_of_an_error(hub):
    with pytest.raises(ValidationError, match=r"parameters\.top_p"):
        list(hub.text_generation("Engine", stream=True, top_p=7))


def test_a_stream_without_a_seed_says_which_one_gives_it_again(hub):
    last = list(hub.text_generation("Engine", stream=True, details=True, max_new_tokens=8))[-1]
    again = hub.text_generation("Engine", seed=last.details.seed, max_new_tokens=8, return_full_text=False)
    assert again == last.generated_text


def test_the_openai_client_lists_models(oai):
    models = oai.models.list().data
    assert [model.id for model in models] == sorted(BOTS.values())
    assert models[-1].owned_by == "clients-dedicated" and models[-1].created > 0
    assert oai.models.retrieve("@ada").id == "ada"
    with pytest.raises(openai.NotFoundError):
        oai.models.retrieve("nobody")


def test_the_openai_client_gets_choices_and_usage(oai, bot):
    answer = oai.completions.create(model=bot, prompt="Engine", n=3, max_tokens=9, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2] and answer.id.startswith("cmpl-")
    assert len({choice.text for choice in answer.choices}) > 1
    assert all(choice.finish_reason in ("stop", "length") for choice in answer.choices)
    usage = answer.usage
    assert usage.prompt_tokens > 1 and 3 <= usage.completion_tokens <= 27
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_both_forms_say_the_same_with_the_same_seed(oai, hub, bot):
    answer = oai.completions.create(model=bot, prompt="Engine", max_tokens=12, seed=3)
    assert answer.choices[0].text == hub.text_generation("Engine", return_full_text=False, **LONG)


def test_the_openai_client_streams_every_choice(oai, bot):
    asked = {"model": bot, "prompt": ["Engine", "Brass wheel"], "n": 2, "max_tokens": 9, "seed": 1}
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


def test_the_openai_client_gets_log_probabilities(oai, bot):
    asked = {"model": bot, "prompt": "Engine", "max_tokens": 6, "seed": 1, "logprobs": 2}
    choice = oai.completions.create(**asked).choices[0]
    told = choice.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset)
    assert told.text_offset[0] == 0 and all(value <= 0 for value in told.token_logprobs)
    assert all(2 <= len(top) <= 3 and name in top for name, top in zip(told.tokens, told.top_logprobs, strict=True))
    streamed: list[float] = []
    for chunk in oai.completions.create(**asked, stream=True):
        streamed += chunk.choices[0].logprobs.token_logprobs
    assert streamed == told.token_logprobs
    echoed = oai.completions.create(**asked, echo=True).choices[0]
    assert echoed.text == "Engine" + choice.text and echoed.logprobs.token_logprobs[0] is None
    assert echoed.logprobs.tokens[-len(told.tokens) :] == told.tokens
    assert echoed.logprobs.token_logprobs[-len(told.tokens) :] == pytest.approx(told.token_logprobs, abs=1e-4)
    assert echoed.logprobs.text_offset[-len(told.tokens)] == len("Engine")


def test_the_openai_client_stops_at_stop_sequences(oai, bot):
    free = oai.completions.create(model=bot, prompt="Engine", max_tokens=30, seed=2).choices[0].text
    stop = free[4:6]
    cut = oai.completions.create(model=bot, prompt="Engine", max_tokens=30, seed=2, stop=[stop]).choices[0]
    assert cut.text == free.split(stop)[0] and cut.finish_reason == "stop"


def test_temperature_zero_is_greedy(oai, bot):
    asked = {"model": bot, "prompt": "Engine", "max_tokens": 6, "temperature": 0}
    assert len({oai.completions.create(**asked, seed=seed).choices[0].text for seed in range(3)}) == 1


@pytest.mark.parametrize(
    ("wrong", "raised"),
    [
        ({"n": 17}, openai.UnprocessableEntityError),
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": "../etc/passwd"}, openai.NotFoundError),
        ({"prompt": ["a"] * 65, "n": 2}, openai.UnprocessableEntityError),
        ({"prompt": [10**6]}, openai.UnprocessableEntityError),
        ({"max_tokens": 100_000}, openai.UnprocessableEntityError),
        ({"presence_penalty": 1}, openai.UnprocessableEntityError),
        ({"prompt": "soup bread " * 100}, openai.UnprocessableEntityError),
        ({"prompt": "soup bread " * 100, "stream": True}, openai.UnprocessableEntityError),
    ],
)
def test_the_openai_client_gets_the_reason_of_an_error(oai, bot, wrong, raised):
    with pytest.raises(raised) as caught:
        oai.completions.create(**({"model": bot, "prompt": "Engine"} | wrong))
    assert caught.value.body["message"]


def test_events_are_sent_as_they_come_and_end_as_openai_does(fleets, bot):
    body = {"model": bot, "prompt": "Engine", "max_tokens": 20, "min_tokens": 20, "stream": True}
    with fleets["dedicated"][0].stream("POST", "/v1/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    assert len(lines) > 2 and json.loads(lines[0].removeprefix("data: "))["object"] == "text_completion"


def test_the_openai_client_chats(oai, bot):
    asked = {"model": bot, "max_tokens": 9, "seed": 1}
    turns = [("system", "Be brief"), ("user", "Hello"), ("assistant", "Hi"), ("user", "Engine")]
    messages = [{"role": role, "content": content} for role, content in turns]
    plain = oai.completions.create(**asked, prompt="Engine").choices[0]
    whole = oai.chat.completions.create(**asked, messages=messages, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in whole.choices] == [0, 1] and whole.id.startswith("chatcmpl-")
    first = whole.choices[0]
    assert first.message.content == plain.text and first.finish_reason == plain.finish_reason
    assert all(len(token.top_logprobs) >= 2 for token in first.logprobs.content)
    assert whole.usage.completion_tokens > 1
    text, usage = "", None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in oai.chat.completions.create(**asked, messages=messages, **options):
        usage = chunk.usage or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text == plain.text and usage.prompt_tokens == whole.usage.prompt_tokens


def test_the_hugging_face_client_chats(hub, bot):
    answer = hub.chat_completion([{"role": "user", "content": "Engine"}], max_tokens=9, seed=1)
    assert answer.model == bot and answer.choices[0].message.content == hub.text_generation(
        "Engine", max_new_tokens=9, seed=1, return_full_text=False
    )


def test_the_hugging_face_javascript_client_and_langchain_are_understood(fleets, bot):
    """The bodies that @huggingface/inference 4 and langchain's HuggingFaceEndpoint send."""
    client = fleets["dedicated"][0]
    sent = {"model": f"{client.base_url}/bots/{bot}", "prompt": "Engine", "max_tokens": 5, "return_full_text": False}
    answer = client.post(f"/bots/{bot}/v1/completions", json=sent).json()
    assert isinstance(answer["choices"][0]["text"], str)
    defaults = {"max_new_tokens": 5, "top_k": 10, "top_p": 0.95, "typical_p": 0.95, "temperature": 0.8}
    defaults |= {"repetition_penalty": None, "return_full_text": False, "truncate": None, "stop": [], "seed": None}
    defaults |= {"do_sample": False, "watermark": False}
    assert client.post(f"/bots/{bot}", json={"inputs": "Engine", "parameters": defaults}).status_code == 200


def test_a_visitor_who_picks_a_text_of_the_bot_was_fooled_and_every_gateway_says_so(fleets, bot):
    client = fleets["dedicated"][0]
    for _ in range(30):  # a toy mostly writes texts that are too short to be shown
        begun = client.post(f"/bots/{bot}/game", json={})
        if begun.status_code == 200:
            break
        assert begun.status_code == 503 and "too few texts" in begun.json()["error"]["message"]
    assert begun.headers["x-ai-generated"] == "true" and begun.json()["texts"].count(TWEET) == 1
    real = begun.json()["texts"].index(TWEET)
    ended = client.post(f"/bots/{bot}/game/{begun.json()['round']}", json={"pick": (real + 1) % 4})
    assert ended.json() == {"real": real, "found": False, "fooled": {"rounds": 1, "fooled": 1}}
    until = time.monotonic() + 20
    while client.get(f"/bots/{bot}").json()["fooled"] != {"rounds": 1, "fooled": 1}:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_twenty_prompts_in_one_request_are_all_answered(oai, bot):
    asked = {"model": bot, "max_tokens": 4, "seed": 1}
    prompts = [f"Engine {number}" for number in range(20)]
    answer = oai.completions.create(**asked, prompt=prompts)
    assert len(answer.choices) == 20
    assert answer.choices[19].text == oai.completions.create(**asked, prompt=prompts[19]).choices[0].text


def test_a_text_is_scored_as_evaluation_tools_do_it(oai, bot):
    """What lm-eval sends for log-likelihoods, with the text and with its tokens."""
    asked = {"model": bot, "echo": True, "logprobs": 1, "temperature": 0}
    for extra in ({"max_tokens": 0}, {"max_tokens": 1}):
        choice = oai.completions.create(**asked, prompt="Soup and bread 🐋", **extra).choices[0]
        told = choice.logprobs
        assert choice.text.startswith("Soup and bread 🐋")
        assert told.token_logprobs[0] is None and all(value <= 0 for value in told.token_logprobs[1:])
        assert all(name in top for name, top in zip(told.tokens[1:], told.top_logprobs[1:], strict=True))
        assert told.text_offset[0] == 0 and told.text_offset == sorted(told.text_offset)
    streamed = ""
    for chunk in oai.completions.create(**asked, prompt=[5, 6, 7], max_tokens=4, stream=True):
        streamed += chunk.choices[0].text
    whole = oai.completions.create(**asked, prompt=[5, 6, 7], max_tokens=4).choices[0]
    assert streamed == whole.text and len(whole.logprobs.tokens) >= 4


def snippets(language):
    guide = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)
    assert found
    return found


def test_the_guides_python_snippets_run(address, online, capsys):
    for snippet in snippets("python"):
        exec(snippet.replace("http://127.0.0.1:8000", address), {})
        assert capsys.readouterr().out.strip()


def test_the_guides_shell_snippets_run(address):
    for snippet in snippets("sh"):
        command = snippet.replace("127.0.0.1:8000", address.removeprefix("http://"))
        environment = os.environ | {"HUGGINGTWEETS_KEY": "none-is-needed-here"}
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0 and "error" not in json.loads(done.stdout), done.stderr
