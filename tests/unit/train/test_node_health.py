"""Which nodes are left out, and when all nodes agree that it is no node's fault."""

from pipeline.train.node_health import SEVERAL_NODES, NodeHealth


def fail(health: NodeHealth, node: str, times: int, set_up: bool = False, kind: str = "k") -> list[bool]:
    return [health.run_failed(kind, node, f"{node} failed", set_up, productive=False) for _ in range(times)]


def test_a_node_is_left_out_and_reported_once_after_two_failed_set_ups_or_ten_later_failures():
    health = NodeHealth()
    assert fail(health, "a", 3) == [False, True, False]
    assert fail(health, "b", 10, set_up=True) == [False] * 9 + [True]
    assert health.left_out("k") == {"a": "a failed", "b": "b failed"} and not health.left_out("another kind")


def test_a_run_that_finished_a_bot_clears_the_failures_of_its_node():
    health = NodeHealth()
    for _ in range(5):
        fail(health, "a", 9, set_up=True)
        assert not health.run_failed("k", "a", "killed", set_up=True, productive=True)
    health.run_failed("k", "a", "killed", set_up=False, productive=False)
    health.run_ended_well("k", "a")
    assert fail(health, "a", 1) == [False] and not health.left_out("k")


def test_a_kind_is_at_fault_where_no_node_is_left_or_three_agree_and_none_ever_worked():
    health = NodeHealth()
    fail(health, "a", 2)
    fail(health, "b", 2)
    assert health.fault_of("k", {"a", "b", "c"}) == "" and health.fault_of("k", {"a", "b"}) == "a failed"
    assert health.fault_of("k", set()) == ""  # every node is gone: more may come
    fail(health, "c", 2)
    assert health.fault_of("k", {"a", "b", "c", "d"}) == "a failed"
    health.run_ended_well("k", "d")
    assert health.fault_of("k", {"a", "b", "c", "d"}) == ""


def test_of_runs_over_several_nodes_ten_failures_in_a_row_are_needed():
    health = NodeHealth()
    fail(health, SEVERAL_NODES, 9)
    assert health.fault_of("k", [SEVERAL_NODES]) == ""
    fail(health, SEVERAL_NODES, 1)
    assert health.fault_of("k", [SEVERAL_NODES])
