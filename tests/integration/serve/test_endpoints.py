"""What a client may expect of a bot whether its endpoint is dedicated, pooled or auto."""

import secrets
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.otlp import Collector
from tests.support.serve_fleet import publish
from tests.support.toys import until

ASK = {"inputs": "Engine", "parameters": {"max_new_tokens": 8, "min_new_tokens": 8, "seed": 1}}


@pytest.fixture(scope="module")
def collector():
    """An OpenTelemetry collector that the environment of `deploy` names."""
    one, variables = Collector(), pytest.MonkeyPatch()
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.endpoint)
    variables.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    yield one
    variables.undo()
    one.stop()


@pytest.fixture(scope="module", params=["dedicated", "pooled", "auto"])
def served(request, make_served, collector):
    kind = request.param
    bots = (f"any_{kind}", f"other_{kind}")
    return *make_served(f"any_{kind}", bots, endpoint=kind, max_replicas=1), *bots


def test_a_list_of_prompts_is_answered_at_once_and_each_as_if_it_were_alone(served):
    client, *_, bot, _ = served
    form = {"model": bot, "max_tokens": 4, "min_tokens": 4, "seed": 1}
    prompts = ["Engine", "Soup", "River barge", "Moon"]
    alone = [client.post("/v1/completions", json=form | {"prompt": one}).json()["choices"][0] for one in prompts]
    signed = [bool(choice.pop("signature")) for choice in alone]  # an empty text is not; each holds its time
    began = time.monotonic()
    answer = client.post("/v1/completions", json=form | {"prompt": prompts})
    assert answer.status_code == 200 and time.monotonic() - began < 10
    choices = answer.json()["choices"]
    assert [bool(choice.pop("signature")) for choice in choices] == signed and any(signed)
    assert choices == [choice | {"index": index} for index, choice in enumerate(alone)]


def test_a_request_is_traced_through_gateway_and_replica(served, collector):
    client, *_, bot, _ = served
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    ask = {"inputs": "Engine", "parameters": ASK["parameters"]}
    assert client.post(f"/bots/{bot}", json=ask, headers={"traceparent": f"00-{trace}-{parent}-01"}).status_code == 200
    below = {"wait": "POST /bots/{bot}", "call": "POST /bots/{bot}", "queue": "call", "prefill": "call"}
    below["decode"] = "call"
    until(lambda: {"POST /bots/{bot}", *below} <= set(collector.of(trace)), 30)
    spans = collector.of(trace)
    request = spans["POST /bots/{bot}"]
    assert request["parent"] == parent and request["attributes"]["huggingtweets.bot"] == bot
    assert {name: spans[name]["parent"] for name in below} == {name: spans[over]["id"] for name, over in below.items()}
    assert (request["process"], spans["decode"]["process"]) == ("gateway", "replica")
    assert spans["decode"]["attributes"] == {"tokens": 8, "texts": 1}


def test_a_new_version_is_followed_while_no_request_fails(served, base):
    client, _, storage, _, bot, _ = served
    before = client.post(f"/bots/{bot}", json=ASK)
    assert before.status_code == 200
    stop, failed = threading.Event(), []

    def talk():
        while not stop.is_set():
            answer = client.post(f"/bots/{bot}", json=ASK)
            if answer.status_code != 200:
                failed.append(answer.text)

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        publish(storage, base, bot, "000000000002", seed=2)
        until(lambda: client.get(f"/bots/{bot}").json()["version"] == "000000000002", 60)
        time.sleep(1)
    finally:
        stop.set()
        talking.join()
    assert not failed
    assert client.get(f"/bots/{bot}").json()["newer"] is None
    assert client.post(f"/bots/{bot}", json=ASK).json() != before.json()


def test_a_bot_with_broken_files_keeps_no_other_from_being_followed(served, base):
    client, _, storage, _, bot, other = served
    folder = storage / "bots" / bot
    for content in ("[]", "../{other}/000000000001", "\udcff"):
        before = client.get(f"/bots/{bot}").json()["version"]
        (folder / "current").write_bytes(content.format(other=other).encode(errors="surrogateescape"))
        assert client.get(f"/bots/{bot}").json()["version"] == before
    publish(storage / "elsewhere", base, bot, "000000000003", seed=3)
    (storage / "elsewhere" / "bots" / bot / "000000000003").rename(folder / "000000000003")
    (folder / "000000000003" / "stats.json").write_text("[]")
    (folder / "current").unlink()
    (folder / "current").write_text("000000000003")
    publish(storage, base, other, "000000000004", seed=4)
    for one, version in ((other, "000000000004"), (bot, "000000000003")):
        until(lambda one=one, version=version: client.get(f"/bots/{one}").json()["version"] == version, 60)
        assert client.post(f"/bots/{one}", json=ASK).status_code == 200
    assert client.get(f"/bots/{bot}").json()["counts"] == {}
    (folder / "000000000003" / "stats.json").write_text('{"tweets": {"a": {"kept": 7}}}')
    until(lambda: client.get(f"/bots/{bot}").json()["counts"] == {"a": {"kept": 7}}, 30)


def test_a_damaged_bot_is_an_error_that_names_it_until_it_is_repaired(served, base):
    client, _, storage, _, bot, other = served
    publish(storage / "damaged", base, bot, "000000000005", seed=5)
    weights = storage / "damaged" / "bots" / bot / "000000000005" / "model.safetensors"
    sound = weights.read_bytes()
    save_file({name: tensor * torch.nan for name, tensor in load_file(weights).items()}, weights)
    (storage / "damaged" / "bots" / bot / "000000000005").rename(storage / "bots" / bot / "000000000005")
    (storage / "bots" / bot / "current").unlink()
    (storage / "bots" / bot / "current").write_text("000000000005")
    until(lambda: client.get(f"/bots/{bot}").json()["version"] == "000000000005", 60)
    for _ in range(2):
        answer = client.post(f"/bots/{bot}", json=ASK)
        message = answer.json()["error"]["message"]
        assert answer.status_code == 503 and bot in message and "not a number" in message
    assert client.post(f"/bots/{other}", json=ASK).status_code == 200
    (storage / "bots" / bot / "000000000005" / "model.safetensors").write_bytes(sound)
    until(lambda: client.post(f"/bots/{bot}", json=ASK).status_code == 200, 30)
