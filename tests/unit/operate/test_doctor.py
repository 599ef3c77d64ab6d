"""What the doctor finds on made-up nodes."""

from dataclasses import replace

import pytest

from pipeline.operate.diagnosis import PACKAGES, Cluster, Node, diagnose

GIB = 2**30
NODE = Node(
    versions={"python": "3.11.7"} | dict.fromkeys(PACKAGES, "1"),
    code="c0de",
    time=1e9,
    token=True,
    gpus=("NVIDIA H100, 580.1",),
    gpus_in_ray=1.0,
    gpus_in_torch="1",
    host="node",
    host_address="10.0.0.1",
    store_problem="",
    disk_free=100 * GIB,
    memory_free=64 * GIB,
    shared_memory=8 * GIB,
)
CLUSTER = Cluster(dashboard="10.0.0.1:8265", open_ports=(), public=True, keys=True)


def levels(cluster=CLUSTER, unreachable=None, **changes):
    """The level of each check on two nodes, the second with changes."""
    nodes = {"10.0.0.1": NODE, "10.0.0.2": replace(NODE, **changes)}
    return {finding.check: finding.level for finding in diagnose(cluster, nodes, unreachable or {})}


def test_a_sound_cluster_has_nothing_to_say():
    assert set(levels().values()) == {"ok"}


@pytest.mark.parametrize(
    "check, level, changes",
    [
        ("nodes answer", "error", {"unreachable": {"10.0.0.3": "lost"}}),
        ("versions", "error", {"versions": NODE.versions | {"ray": "2.59.0"}}),
        ("versions", "error", {"versions": NODE.versions | {"deepspeed": "missing"}}),
        ("versions", "error", {"code": "0ther"}),
        ("GPUs", "error", {"gpus": ("NVIDIA H100, 580.1",) * 2, "gpus_in_torch": "2"}),
        ("GPUs", "error", {"gpus_in_torch": "0"}),
        ("GPUs", "warning", {"gpus": ("NVIDIA H100, 570.0",)}),
        ("store", "error", {"store_problem": "it does not see what the driver wrote: the storage is not shared"}),
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
    cluster = replace(CLUSTER, open_ports=("10.0.0.2:52365",))
    [found] = [one for one in diagnose(cluster, {"a": NODE}, {}) if one.check == "dashboard"]
    assert found.level == "error" and "10.0.0.2:52365" in found.found


def test_endpoints_without_a_key_are_a_warning_if_other_machines_reach_them():
    assert levels(replace(CLUSTER, keys=False))["endpoints"] == "warning"
    assert levels(replace(CLUSTER, keys=False, public=False))["endpoints"] == "ok"


def test_a_cluster_of_this_machine_alone_needs_no_token():
    findings = diagnose(CLUSTER, {"127.0.0.1": replace(NODE, token=False)}, {})
    assert {finding.check: finding.level for finding in findings}["token"] == "ok"


def test_a_cluster_where_no_node_answers_says_only_that():
    [finding] = diagnose(CLUSTER, {}, {"10.0.0.1": "lost"})
    assert (finding.check, finding.level, finding.found) == ("nodes answer", "error", "10.0.0.1: lost")


def test_every_problem_comes_with_advice():
    bad = replace(
        NODE,
        store_problem="no",
        host_address="127.0.1.1",
        disk_free=0,
        memory_free=0,
        shared_memory=0,
        token=False,
        time=0.0,
        gpus_in_torch="0",
        code="0ther",
    )
    cluster = replace(CLUSTER, open_ports=("a",), keys=False)
    findings = diagnose(cluster, {"a": bad, "b": NODE}, {"c": "lost"})
    assert {finding.level for finding in findings} == {"error", "warning"}
    assert all(finding.advice for finding in findings)
