"""What the doctor finds on made-up nodes, and on the real cluster of the tests."""

import json

import pytest

from pipeline.operate.doctor import judge

GIB = 2**30
NODE = {
    "versions": {"python": "3.11.7", "ray": "2.60.0"}
    | dict.fromkeys(("huggingtweets-ray", "torch", "transformers", "deepspeed", "pyarrow", "wandb"), "1"),
    "code": "c0de",
    "time": 1e9,
    "token": True,
    "gpus": ["NVIDIA H100, 580.1"],
    "gpus_known": 1.0,
    "gpus_seen": "1",
    "host": "node",
    "host_address": "10.0.0.1",
    "store": "",
    "disk_free": 100 * GIB,
    "memory_free": 64 * GIB,
    "shared_memory": 8 * GIB,
}
CLUSTER = {"dashboard": "10.0.0.1:8265", "open": [], "public": True, "keys": True}


def levels(cluster=None, **changes):
    """The level of each check on two nodes, the second with changes."""
    reports = {"10.0.0.1": NODE, "10.0.0.2": changes if "error" in changes else NODE | changes}
    return {finding.check: finding.level for finding in judge(CLUSTER | (cluster or {}), reports)}


def test_a_sound_cluster_has_nothing_to_say():
    assert set(levels().values()) == {"ok"}


@pytest.mark.parametrize(
    "check, level, changes",
    [
        ("nodes answer", "error", {"error": "lost"}),
        ("versions", "error", {"versions": NODE["versions"] | {"ray": "2.59.0"}}),
        ("versions", "error", {"versions": NODE["versions"] | {"deepspeed": "missing"}}),
        ("versions", "error", {"code": "0ther"}),
        ("GPUs", "error", {"gpus": ["NVIDIA H100, 580.1"] * 2, "gpus_seen": "2"}),
        ("GPUs", "error", {"gpus_seen": "0"}),
        ("GPUs", "warning", {"gpus": ["NVIDIA H100, 570.0"]}),
        ("store", "error", {"store": "it does not see what the driver wrote: the storage is not shared"}),
        ("clocks", "warning", {"time": 1e9 - 900}),
        ("token", "error", {"token": False}),
        ("host name", "error", {"host_address": "127.0.1.1"}),
        ("host name", "error", {"host_address": "none (unknown)"}),
        ("disk", "warning", {"disk_free": GIB}),
        ("memory", "warning", {"memory_free": GIB}),
        ("shared memory", "warning", {"shared_memory": GIB // 16}),
    ],
)
def test_what_is_wrong_with_one_node_is_found(check, level, changes):
    found = levels(**changes)
    assert found.pop(check) == level
    assert set(found.values()) == {"ok"}


def test_an_open_dashboard_or_agent_is_an_error_and_named():
    assert levels({"open": ["10.0.0.2:52365"]})["dashboard"] == "error"
    [found] = [one for one in judge(CLUSTER | {"open": ["10.0.0.2:52365"]}, {"a": NODE}) if one.check == "dashboard"]
    assert "10.0.0.2:52365" in found.found


def test_endpoints_that_ask_nobody_for_a_key_are_told_where_others_reach_them():
    assert levels({"keys": False})["endpoints"] == "warning"
    assert levels({"keys": False, "public": False})["endpoints"] == "ok"


def test_a_cluster_of_this_machine_alone_needs_no_token():
    reports = {"127.0.0.1": NODE | {"token": False}}
    assert {finding.check: finding.level for finding in judge(CLUSTER, reports)}["token"] == "ok"


def test_a_cluster_where_no_node_answers_says_so_alone():
    assert [finding.check for finding in judge(CLUSTER, {"10.0.0.1": {"error": "lost"}})] == ["nodes answer"]


def test_every_problem_comes_with_advice():
    bad = NODE | {"store": "no", "host_address": "127.0.1.1", "disk_free": 0, "memory_free": 0, "shared_memory": 0}
    bad |= {"token": False, "time": 0.0, "gpus_seen": "0", "code": "0ther"}
    for finding in judge(CLUSTER | {"open": ["a"], "keys": False}, {"a": bad, "b": NODE}):
        assert finding.level == "ok" or finding.advice


@pytest.mark.usefixtures("cluster")
def test_the_real_cluster(make_fleet, huggingtweets):
    code, out, err = huggingtweets("doctor", make_fleet(("ada",)), "--json")
    assert code == 0, err
    found = {finding["check"]: finding for finding in json.loads(out)}
    assert found["store"]["level"] == found["nodes answer"]["level"] == found["dashboard"]["level"] == "ok"
    assert found["token"]["level"] == found["clocks"]["level"] == "ok"
    assert "ray 2." in found["versions"]["found"]
