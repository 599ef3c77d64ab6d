"""What a client may expect of a bot whether its endpoint is dedicated, pooled or auto."""

import time

import pytest


@pytest.fixture(scope="module", params=["dedicated", "pooled", "auto"])
def served(request, make_served):
    kind = request.param
    return make_served(f"any_{kind}", (f"any_{kind}",), endpoint=kind, max_replicas=1), f"any_{kind}"


def test_a_list_of_prompts_is_answered_at_once_and_each_as_if_it_were_alone(served):
    (client, *_), bot = served
    form = {"model": bot, "max_tokens": 4, "min_tokens": 4, "seed": 1}
    prompts = ["Engine", "Soup", "River barge", "Moon"]
    alone = [client.post("/v1/completions", json=form | {"prompt": one}).json()["choices"][0] for one in prompts]
    began = time.monotonic()
    answer = client.post("/v1/completions", json=form | {"prompt": prompts})
    assert answer.status_code == 200 and time.monotonic() - began < 10
    assert answer.json()["choices"] == [choice | {"index": index} for index, choice in enumerate(alone)]
