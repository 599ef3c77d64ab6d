"""Real HTTP against real Serve: a fleet is deployed, answers, is updated and leaves nothing behind."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core import signing_keys
from tests.support.serve_fleet import publish
from tests.support.toys import ray_processes


@pytest.fixture(scope="module")
def served(make_served):
    return make_served("a", ("ada", "ben"), max_replicas=2, target_ongoing_requests=40)


def replicas(bot: str) -> int:
    from ray import serve

    deployment = serve.status().applications[f"bot-{bot}"].deployments["BotEndpoint"]
    return sum(deployment.replica_states.values())


def test_what_is_served_is_listed_and_asking_wakes_nobody(served):
    client, _, _, versions = served
    assert client.get("/health").json() == {"status": "ok"}
    assert "<title>" in client.get("/").text and client.get("/static/main.js").status_code == 200
    page = client.get("/bots").json()
    assert [bot["name"] for bot in page["bots"]] == ["ada", "ben"] and page["next"] is None
    ada = client.get("/bots/ada").json()
    assert ada["ready"] is True and ada["version"] == versions["ada"] and ada["handles"] == ["ada"]
    assert ada["counts"]["ada"]["kept"] == 130 and ada["metrics"]["held_out"]["loss"] == 3.5
    assert client.get("/bots/nobody").status_code == 404
    assert client.post("/bots/ada", json={"inputs": 3}).status_code == 422
    assert replicas("ada") == 0


def test_a_site_whose_name_resolves_to_this_machine_gets_nothing(served):
    client = served[0]
    for path in ("/bots", "/", "/v1/models"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden_host")
    answer = client.post("/bots/ada", json={"inputs": "Engine"}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden_origin")
    assert client.get("/bots", headers={"Host": "localhost"}).status_code == 200


def test_the_list_comes_in_pages_and_can_be_searched(served):
    client = served[0]
    first = client.get("/bots", params={"limit": 1}).json()
    assert [bot["name"] for bot in first["bots"]] == ["ada"]
    second = client.get("/bots", params={"limit": 1, "cursor": first["next"]}).json()
    assert [bot["name"] for bot in second["bots"]] == ["ben"] and second["next"] is None
    assert [bot["name"] for bot in client.get("/bots", params={"q": "@BE"}).json()["bots"]] == ["ben"]
    assert client.get("/bots", params={"limit": "0"}).status_code == 422


def test_a_sleeping_bot_wakes_and_answers_in_the_hugging_face_form(served):
    client = served[0]
    body = {"inputs": "Engine", "parameters": {"num_return_sequences": 3, "seed": 7, "max_new_tokens": 12}}
    answer = client.post("/bots/ada", json=body)
    assert answer.status_code == 200
    texts = [one["generated_text"] for one in answer.json()]
    assert len(texts) == 3 and all(text.startswith("Engine") for text in texts)
    assert replicas("ada") >= 1
    assert client.post("/bots/ADA", json=body).json() == answer.json()  # the same seed, the same words
    body["parameters"]["return_full_text"] = False
    assert [one["generated_text"] for one in client.post("/bots/ada", json=body).json()] == [
        text.removeprefix("Engine") for text in texts
    ]
    end = time.monotonic() + 10  # the gateway tells the registry every second
    while "huggingtweets_cold_start_seconds_count 1.0" not in client.get("/metrics").text:
        assert time.monotonic() < end, "the first of these requests waited for a replica, the others did not"
        time.sleep(0.2)


def test_a_stream_continues_when_its_replica_is_killed(served):
    client = served[0]
    body = {"model": "ada", "prompt": ["Engine"] * 4, "n": 4, "max_tokens": 110, "min_tokens": 110, "seed": 4}
    whole = [choice["text"] for choice in client.post("/v1/completions", json=body).json()["choices"]]
    doomed = ray_processes("ServeReplica:bot-ada")
    assert doomed
    said = [""] * 16
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as reply:
        for line in reply.iter_lines():
            while doomed:  # as soon as the first words are there
                doomed.pop().send_signal(signal.SIGKILL)
            if line and line != "data: [DONE]":
                for choice in json.loads(line.removeprefix("data: "))["choices"]:
                    said[choice["index"]] += choice["text"]
    assert said == whole


def test_concurrent_requests_do_not_change_each_other(served):
    client = served[0]

    def ask(seed: int) -> str:
        body = {"inputs": "Engine", "parameters": {"seed": seed, "max_new_tokens": 60, "min_new_tokens": 60}}
        return client.post("/bots/ada", json=body).json()[0]["generated_text"]

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert together == alone


@pytest.mark.parametrize(
    ("body", "code", "type"),
    [
        (b"{", 400, "bad_request"),
        (b"[1, 2]", 422, "validation_error"),
        (b'{"inputs": "a", "parameters": {"num_return_sequences": 17}}', 422, "validation_error"),
        (b'{"inputs": "a", "parameters": {"max_new_tokens": 100000}}', 422, "validation_error"),
        (b'{"inputs": "a", "parameters": {"no_such": 1}}', 422, "validation_error"),
        (json.dumps({"inputs": "a" * 3000}).encode(), 422, "validation_error"),
        (json.dumps({"inputs": "soup bread " * 100}).encode(), 422, "validation_error"),
        (b'{"inputs": "' + b"a" * 70_000 + b'"}', 413, "too_large"),
    ],
)
def test_a_bad_request_gets_the_reason(served, body, code, type):
    answer = served[0].post("/bots/ada", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (code, code, type)
    assert error["message"]


@pytest.mark.parametrize("path", ["/bots/..%2f..%2fetc", "/bots/a%20b", "/bots/" + "a" * 400, "/nothing"])
def test_names_that_are_no_bots_are_not_found(served, path):
    answer = served[0].get(path)
    assert answer.status_code == 404 and answer.json()["error"]["type"] == "not_found"


def test_a_body_that_never_says_its_length_is_cut_off_at_the_limit(served):
    def chunks():
        for _ in range(200):
            yield b"a" * 1024

    assert served[0].post("/bots/ada", content=chunks()).status_code == 413


def test_deploying_again_changes_nothing_and_another_fleet_with_the_same_bot_is_refused(served):
    from pipeline.core.errors import UserError
    from pipeline.core.store import Store
    from serve.deploy import deploy

    _, fleet, _, versions = served
    assert deploy(fleet, Store.of(fleet), versions)["unchanged"] == ["ada", "ben"]
    with pytest.raises(UserError, match="bot ada is already served for fleet a"):
        deploy(fleet.model_copy(update={"fleet": "b"}), Store.of(fleet), versions)


def test_a_fleet_that_other_machines_shall_reach_is_refused_where_serve_listens_to_this_one_alone(served):
    from pipeline.core.errors import UserError
    from pipeline.core.store import Store
    from serve.deploy import deploy

    _, fleet, _, versions = served
    public = fleet.model_copy(update={"serve": fleet.serve.model_copy(update={"host": "0.0.0.0"})})
    with pytest.raises(UserError, match="Serve already runs on this cluster at 127"):
        deploy(public, Store.of(public), versions)


@pytest.mark.parametrize("endpoint", ["dedicated", "pooled"])
def test_a_bot_of_two_fleets_is_served_under_two_names_that_never_mix(served, base, tmp_path, endpoint):
    from pipeline.core.store import Store
    from pipeline.operate.status import status
    from serve.deploy import deploy, undeploy

    client, fleet, _, _ = served
    body = {"inputs": "Engine", "parameters": {"max_new_tokens": 40, "min_new_tokens": 40, "seed": 1}}
    serve = fleet.serve.model_copy(update={"full_names": True, "endpoint": endpoint})
    second = fleet.model_copy(update={"fleet": "b", "storage": str(tmp_path), "serve": serve})
    version = publish(tmp_path / "b", base, "ada", served[3]["ada"], seed=1)  # other weights in a version of this name

    def answer(name: str) -> str:
        reply = client.post(f"/bots/{name}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()[0]["generated_text"]

    before = answer("ada")
    deploy(second, Store.of(second), {"ada": version})
    try:
        other = client.post("/bots/ada@b", json=body)
        text = other.json()[0]["generated_text"]
        assert text != before and answer("ada") == answer("ada@a") == before and answer("%40ADA%40B") == text
        completed = client.post("/v1/completions", json={"model": "ada@b", "prompt": "Engine", "seed": 1}).json()
        assert completed["model"] == "ada@b"
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["ada", "ada@b", "ben"]
        listed = {bot["name"]: bot["fleet"] for bot in client.get("/bots?q=ada").json()["bots"]}
        assert listed == {"ada": "a", "ada@b": "b"}
        assert client.get("/bots/ada@b").json()["handles"] == ["ada"]
        assert "@ada (b)" in client.get("/b/ada@b").text and "@ada (" not in client.get("/b/ada").text
        for name in ("ben@b", "ada@c"):
            assert client.get(f"/bots/{name}").status_code == 404
        proof = {"said": text.removeprefix("Engine"), "signature": other.headers["x-signature"]}
        valid = {name: client.get("/verify", params={"bot": name} | proof).json()["valid"] for name in listed}
        assert valid == {"ada": False, "ada@b": True}
        Store.of(second).write("report.json", b'{"bots": [{"bot": "ada", "version": "%s"}]}' % version.encode())
        report, addresses = status(second)
        assert report["bots"][0]["serves"] == version and addresses == {"ada": f"{client.base_url}/bots/ada@b"}
    finally:
        assert undeploy("b") == ["ada"]
    assert client.get("/bots/ada@b").status_code == 404 and answer("ada") == before


def test_a_bot_whose_files_are_broken_says_so_and_the_others_answer(served):
    from pipeline.core.store import Store
    from serve.deploy import deploy, undeploy

    client, fleet, _, _ = served
    store = Store.of(fleet)
    store.write_folder("bots/cleo/000000000000", {"config.json": b"{}", "metrics.json": b"{}", "stats.json": b"{}"})
    deploy(fleet, store, {"cleo": "000000000000"})
    answer = client.post("/bots/cleo", json={"inputs": "River"})
    assert answer.status_code == 503 and "cleo" in answer.json()["error"]["message"]
    assert client.post("/bots/ada", json={"inputs": "Engine"}).status_code == 200
    assert undeploy("a", ["cleo"]) == ["cleo"]
    assert client.get("/bots/cleo").status_code == 404


def test_a_new_version_rolls_without_a_failed_request(served, base):
    from pipeline.core.store import Store
    from serve.deploy import deploy

    client, fleet, storage, versions = served
    body = {"inputs": "Engine", "parameters": {"max_new_tokens": 40, "min_new_tokens": 40, "seed": 1}}
    before = client.post("/bots/ada", json=body).json()
    other = client.post("/bots/ben", json=body).json()
    new = publish(storage, base, "ada", "000000000002", seed=2)
    stop, answers = threading.Event(), []

    def talk():
        while not stop.is_set():
            answers.append(client.post("/bots/ada", json=body))

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        report = deploy(fleet, Store.of(fleet), versions | {"ada": new})
        assert "ada" in report["deployed"] + report["unchanged"]  # the registry may have followed it before
        assert client.get("/bots/ada").json()["version"] == new
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} == {200}
    keyring, by_text = signing_keys.load(Store.of(fleet)), {}
    for answer in answers:  # each is signed as a text of the version that wrote it, also while the replicas change
        text = answer.json()[0]["generated_text"]
        found = keyring.check("ada", text.removeprefix("Engine"), answer.headers["x-signature"], "Engine")
        by_text.setdefault(text, set()).add(found and found.version)
    assert by_text[before[0]["generated_text"]] == {versions["ada"]}
    assert all(found == {new} for text, found in by_text.items() if text != before[0]["generated_text"])
    end = time.monotonic() + 30
    while client.post("/bots/ada", json=body).json() == before:
        assert time.monotonic() < end, "the new version does not answer"
    assert client.post("/bots/ben", json=body).json() == other
