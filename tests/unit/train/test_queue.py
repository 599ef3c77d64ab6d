"""The queue of bots: its promises to lanes and to the driver; overrides, and how progress is shown."""

import json

import pytest

from pipeline.core import fleet as fleets
from pipeline.core import manifest
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.train.pace import Pace, progress_text
from pipeline.train.placement import place_runs
from pipeline.train.queue import Assignment, Queue
from pipeline.train.tasks import Task, TrainedBot
from tests.support.remote_store import remote_store

VERSION = "0123456789ab"


def task(bot: str, tokens: int = 1, **settings) -> Task:
    return Task(bot, [bot], f"work/trained/{bot}/{VERSION}", VERSION, tokens, Train(epochs=1, **settings))


KIND = task("any").kind
TRAINED = TrainedBot({}, seconds=1.0)


def take(queue: Queue, lane: str, kind: str = KIND) -> str | None:
    """The name of the bot that a lane is given, "wait", or None at the end."""
    assignment = queue.take(lane, kind)
    return assignment.task.bot if assignment.task else "wait" if assignment.wait else None


def bots(assignment: Assignment) -> list[str]:
    """The bot to train, and the one whose data may be loaded ahead."""
    assert assignment.task and assignment.upcoming
    return [assignment.task.bot, assignment.upcoming.bot]


def test_the_largest_bot_goes_first():
    queue = Queue([task("small", 1), task("large", 9), task("middle", 5)], retries=0)
    assert [take(queue, lane) for lane in ("a/0", "b/0", "c/0")] == ["large", "middle", "small"]
    assert queue.status("", 0).tokens_left == 15


def test_a_lane_gets_bots_of_its_kind_alone():
    queue = Queue([task("huge", 9, workers_per_bot=2), task("small")], retries=0)
    assert list(queue.status("", 0).waiting.values()) == [1, 1]
    assert take(queue, "a/0") == "small" and take(queue, "a/0") == "wait"
    queue.finish("a/0", "small", TRAINED)
    assert take(queue, "a/0") is None
    assert take(queue, "b/0", task("huge", 9, workers_per_bot=2).kind) == "huge"


def test_each_lane_prepares_for_a_bot_of_its_own():
    queue = Queue([task(bot, 9 - i) for i, bot in enumerate("klmnop")], retries=0)
    assert bots(queue.take("a/0", KIND)) == ["k", "l"]
    assert bots(queue.take("b/0", KIND)) == ["m", "n"]
    assert bots(queue.take("a/0", KIND)) == ["l", "o"]
    assert [take(queue, lane) for lane in ("c/0", "b/0", "a/0")] == ["n", "o", "p"]  # few are left: the largest


def test_a_failed_bot_is_tried_in_another_lane_then_reported():
    queue = Queue([task("ada")], retries=1)
    take(queue, "a/0")
    queue.fail("a/0", "ada", "bad luck")
    assert take(queue, "a/0") == "wait"  # a moment for the others
    assert take(queue, "a/1") == "ada"
    queue.fail("a/1", "ada", "worse luck", "its log")
    assert (queue.failed["ada"].reason, queue.failed["ada"].log) == ("worse luck", "its log")
    assert take(queue, "a/0") is None


def test_a_bot_whose_data_a_lane_loaded_ahead_goes_elsewhere_where_it_failed_in_this_lane():
    queue = Queue([task("ada", 9), task("ben", 5)], retries=1)
    assert bots(queue.take("a/0", KIND)) == ["ada", "ben"]
    assert take(queue, "b/0") == "ben"
    queue.promised["a/0"] = "ben"
    queue.fail("b/0", "ben", "bad luck")
    queue.fail("a/0", "ada", "bad luck")
    queue.promised["a/0"] = "ada"
    assert take(queue, "a/0") == "ben"


def test_a_failed_bot_is_tried_again_on_another_node_where_there_is_one():
    queue = Queue([task("ada")], retries=1)
    for lane, node in (("a/0", "bad"), ("b/0", "bad"), ("c/0", "good")):
        queue.enter(lane, KIND, node)
    take(queue, "a/0")
    queue.fail("a/0", "ada", "bad luck")
    assert [take(queue, "b/0") for _ in range(5)] == ["wait"] * 5
    assert take(queue, "c/0") == "ada"
    queue.leave("c", [], "its node was lost")
    assert [take(queue, "b/0"), take(queue, "b/0")] == ["wait", "ada"]  # no other node is left


def test_a_late_report_of_a_run_that_ended_keeps_no_bot_waiting_for_its_node():
    queue = Queue([task("ada")], retries=1)
    queue.enter("a/0", KIND, "here")
    take(queue, "a/0")
    queue.fail("a/0", "ada", "bad luck")
    queue.report("b/0", {}, KIND, "a node that is gone")
    queue.status("", 0, runs=["a"])
    assert [take(queue, "a/0"), take(queue, "a/0")] == ["wait", "ada"]


def test_a_bot_whose_workers_die_holds_up_no_others():
    queue = Queue([task("killer", 9), task("ada", 5), task("ben", 1)], retries=0)
    for i in range(2):
        assert take(queue, f"{i}/0") == "killer"
        queue.leave(str(i), {f"{i}/0"}, "killed")
    assert [take(queue, "9/0") for _ in range(3)] == ["ada", "ben", "killer"]


def test_a_bot_that_a_lost_lane_finishes_after_all_has_not_failed():
    queue = Queue([task("ada")], retries=0)
    take(queue, "a/0")
    queue.fail("a/0", "ada", "lost")
    queue.finish("b/0", "ada", TRAINED)
    assert not queue.failed and list(queue.done) == ["ada"]


def test_tokens_of_a_bot_that_a_lane_no_longer_has_do_not_count():
    queue = Queue([task("ada", 9)], retries=0)
    take(queue, "a/0")
    queue.report("a/0", {"ada": 5.0})
    assert (queue.status("", 0).tokens_trained, queue.status("", 0).tokens_left) == (5, 4)
    queue.leave("a", [], "its node was lost")
    queue.report("a/0", {"ada": 6.0})
    assert (queue.status("", 0).tokens_trained, queue.status("", 0).tokens_left) == (0, 9)


def test_a_lost_lane_keeps_no_bot_for_itself():
    queue = Queue([task(bot, 9 - i) for i, bot in enumerate("klmnop")], retries=0)
    assert bots(queue.take("a/0", KIND)) == ["k", "l"]
    queue.leave("a", [], "its node was lost")
    assert bots(queue.take("b/0", KIND)) == ["k", "l"]  # which the lost lane had loaded ahead


def test_a_lane_alone_tries_its_failed_bot_itself():
    queue = Queue([task("ada")], retries=1)
    take(queue, "a/0")
    queue.fail("a/0", "ada", "bad luck")
    assert [take(queue, "a/0"), take(queue, "a/0")] == ["wait", "ada"]


def test_the_bots_of_a_lost_run_are_returned_and_those_whose_worker_died_are_counted():
    queue = Queue([task("ada"), task("ben")], retries=0)
    for i in range(5):
        in_hand = {take(queue, lane): lane for lane in (f"{i}/0", f"{i}/1")}
        queue.leave(str(i), {in_hand["ada"]}, "killed")
    assert queue.failed["ada"].reason == "each of 5 workers that trained it died"
    ben = queue.take("6/0", KIND).task
    assert ben and (ben.bot, ben.deaths, ben.has_checkpoint) == ("ben", 0, True)


def test_a_lane_may_take_the_next_bot_while_the_last_is_being_written():
    queue = Queue([task("ada"), task("ben")], retries=0)
    take(queue, "a/0")
    take(queue, "a/0")
    queue.finish("a/0", "ada", TRAINED)
    queue.fail("a/0", "ben", "bad luck")
    assert list(queue.done) == ["ada"] and queue.failed["ben"].reason == "bad luck"


def test_memory_that_ran_out_is_no_failure_while_batches_can_be_split_or_activations_computed_twice():
    queue = Queue([task("ada", batch_size=3)], retries=0)
    kind, parts = KIND, []
    for _ in range(4):
        given = queue.take("a/0", kind).task
        assert given and not queue.failed
        parts.append((given.micro_batches, given.settings.gradient_checkpointing))
        queue.out_of_memory("a/0", "ada", "no memory")
        kind = next(iter(queue.status("", 0).waiting), "")
    assert parts == [(1, False), (2, False), (3, False), (3, True)]
    assert queue.failed["ada"].reason == "no memory"


def test_what_a_lane_was_given_in_an_answer_that_was_lost_is_given_to_it_again():
    queue = Queue([task("ada", 9), task("ben", 5), task("cleo", 1)], retries=0)
    first = queue.take("a/0", KIND, in_hand=[])
    again = queue.take("a/0", KIND, in_hand=[])  # the same call, delivered a second time
    assert bots(first) == bots(again) == ["ada", "ben"]
    assert bots(queue.take("a/0", KIND, in_hand=["ada"])) == ["ben", "cleo"]
    assert set(queue.running) == {"ada", "ben"}


def test_a_bot_that_makes_no_progress_is_taken_from_its_lane_which_has_to_end(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("pipeline.train.queue.time.monotonic", lambda: now[0])
    queue = Queue([task("ada", 9, stall_minutes=10), task("ben", 5, stall_minutes=10)], retries=0)
    assert (take(queue, "a/0"), take(queue, "b/0")) == ("ada", "ben")
    for step in range(1, 16):
        now[0] += 60
        queue.report("a/0", {"ada": 3.0})  # it trained until the first minute
        assert queue.report("b/0", {"ben": float(step)}) is False
        queue.status("", 0)
    assert list(queue.running) == ["ben"] and queue.report("a/0", {"ada": 3.0}) is True
    assert take(queue, "a/0") is None
    again = queue.take("c/0", KIND).task
    assert again and (again.bot, again.deaths, again.has_checkpoint) == ("ada", 1, True)
    queue.leave("a", {"a/0"}, "its worker ended itself")
    assert queue.running["ada"].deaths == 1  # it counts once


def test_the_driver_gets_each_failure_once():
    queue = Queue([task("ada"), task("ben")], retries=0)
    seen = 0
    for bot in ("ada", "ben"):
        take(queue, "a/0")
        queue.fail("a/0", bot, "bad luck")
        status = queue.status(queue.id, 0, seen)
        assert [name for name, _ in status.failed] == [bot]
        seen += 1
    assert queue.status(queue.id, 0, seen).failed == [] and len(queue.status("restarted", 0, seen).failed) == 2


def test_an_outage_of_the_store_is_no_failure_of_a_bot_unless_it_does_not_end():
    queue = Queue([task("ada")], retries=0)
    for _ in range(20):
        assert take(queue, "a/0") == "ada"
        queue.postpone("a/0", "ada", "the store is away")
    assert take(queue, "a/0") == "ada" and not queue.failed
    queue.postpone("a/0", "ada", "the store is away")
    assert queue.failed["ada"].reason == "the store is away"


def test_of_several_workers_that_ran_out_of_memory_one_counts():
    queue = Queue([task("ada", batch_size=8)], retries=0)
    take(queue, "a/0")
    queue.out_of_memory("a/0", "ada", "on rank 1")
    queue.fail("a/0", "ada", "rank 0 lost its connection to rank 1")
    again = queue.take("b/0", KIND).task
    assert again and (again.micro_batches, again.failures) == (2, 0)


def test_a_training_that_diverges_is_tried_once_more_at_a_lower_rate_and_then_given_up():
    queue = Queue([task("ada")], retries=5)
    take(queue, "a/0")
    queue.diverged("a/0", "ada", "the loss was nan at step 3")
    again = queue.take("a/0", KIND).task
    assert again and (again.rate_factor, again.failures) == (0.25, 0)
    queue.diverged("a/0", "ada", "the loss was nan at step 5")
    assert queue.failed["ada"].reason == "the loss was nan at step 5, also with 0.25 of the learning rate"


def test_reports_of_a_lane_about_a_bot_that_it_lost_are_ignored():
    queue = Queue([task("ada")], retries=0)
    take(queue, "a/0")
    queue.leave("a", [], "its node was lost")
    assert take(queue, "b/0") == "ada"
    queue.fail("a/0", "ada", "too late")
    assert not queue.failed and queue.running["ada"].lane == "b/0"


def test_a_bot_taken_by_a_late_call_of_a_lost_run_is_returned():
    queue = Queue([task("ada"), task("ben")], retries=0)
    assert take(queue, "b/0") == "ada"
    queue.leave("a", ["a/0"], "its node was lost")
    assert take(queue, "a/0") == "ben"  # a call that waited while the queue was restarted
    assert queue.status("", 0, runs=["b"]).waiting == {KIND: 1}
    assert [one.bot for one in queue.running.values()] == ["ada"] and take(queue, "c/0") == "ben"


def test_a_queue_that_died_knows_what_the_store_holds_and_what_lanes_hold(tmp_path):
    store = Store.of(fleets.Fleet(fleet="toys", tweets=["."], storage=str(tmp_path)))
    store.write(f"work/trained/ada/{VERSION}/training.json", json.dumps({"metrics": {}, "seconds": 1}).encode())
    store.write("bots/cleo/current", VERSION.encode())
    store.write(f"bots/cleo/{VERSION}/metrics.json", json.dumps({"train": {"seconds": 2}}).encode())
    queue = Queue([task(bot) for bot in ("ada", "ben", "cleo", "dora")], retries=0)
    queue.recover(store)
    assert {bot: trained.seconds for bot, trained in queue.done.items()} == {"ada": 1, "cleo": 2}
    assert take(queue, "a/0") == "wait"  # until the lanes had time to speak
    queue.report("b/0", {"ben": 10.0})
    queue.recovering_until = 0
    given = queue.take("a/0", KIND).task
    assert given and (given.bot, given.has_checkpoint) == ("dora", True)
    assert queue.running["ben"].lane == "b/0"


def test_the_driver_gets_each_result_once_and_all_again_from_a_restarted_queue():
    queue = Queue([task("ada"), task("ben")], retries=0)
    queue.finish("a/0", "ada", TRAINED)
    status = queue.status("", 0)
    assert [bot for bot, _ in status.done] == ["ada"]
    queue.finish("a/0", "ben", TRAINED)
    assert [bot for bot, _ in queue.status(status.queue_id, 1).done] == ["ben"]
    assert [bot for bot, _ in queue.status("another queue", 1).done] == ["ada", "ben"]


def test_lanes_fill_the_nodes_and_a_lane_of_several_workers_may_span_them(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 13.0})
    room = {"big": {"CPU": 10.0}, "small": {"CPU": 2.5}, "full": {"CPU": 0.5}}
    assert list(place_runs(Train(workers_per_bot=7), room, 9)) == [(1, None)]
    assert list(place_runs(Train(), room, 99)) == [(3, "big"), (2, "small")]
    assert list(place_runs(Train(), {"big": {"CPU": 20.0}}, 18)) == [(8, "big"), (8, "big"), (2, "big")]


def test_several_lanes_share_a_gpu(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 64.0, "GPU": 2.0})
    room = {"gpus": {"CPU": 32.0, "GPU": 1.5}, "cores": {"CPU": 32.0}}
    assert list(place_runs(Train(gpus_per_worker=0.25), room, 99)) == [(6, "gpus")]
    for share, free, lanes in ((0.3, 8.0, 24), (0.1, 0.3, 3), (0.33, 2.0, 6), (0.6, 3.0, 3), (2.0, 7.0, 3)):
        room = {"gpus": {"CPU": 64.0, "GPU": free}}
        assert sum(one for one, _ in place_runs(Train(gpus_per_worker=share), room, 99)) == lanes


def test_the_pace_is_that_of_the_last_while():
    pace = Pace(window_seconds=10)
    assert [pace.tokens_per_second(0, 0), pace.tokens_per_second(5, 100), pace.tokens_per_second(12, 800)] == [
        0,
        20,
        100,
    ]
    assert pace.tokens_per_second(13, 500) == 50  # a bot started over


def test_overrides_go_by_name_or_by_size_and_the_later_one_wins():
    large = {"min_tokens": 1000, "workers_per_bot": 2, "epochs": 1}
    train = Train(overrides=[large, {"bots": ["@NASA", ["ben", "ada"]], "epochs": 9}])
    chosen = [train.of(bot, tokens) for bot, tokens in (("nasa", 5000), ("nasa", 1), ("ada-ben", 1), ("ada", 999))]
    assert [(one.workers_per_bot, one.epochs) for one in chosen] == [(2, 9), (1, 9), (1, 9), (1, 4)]
    assert not any(one.overrides for one in chosen)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ({"epochs": 2}, "name its bots"),
        ({"bots": ["nasa"]}, "it changes no setting"),
        ({"bots": ["no such!"], "epochs": 2}, "is not a handle"),
        ({"bots": ["nasa"], "lanes": 2}, "Extra inputs"),
    ],
)
def test_an_incomplete_or_wrong_override_is_refused(override, reason):
    with pytest.raises(ValueError, match=reason):
        Train(overrides=[override])


def test_how_far_a_fleet_is_fits_a_line():
    assert progress_text(2, 5, 0, 3120.4, 250_000) == "2 lanes, 5 bots left, 3,120 tokens/s, 1:20 to go"
    assert (
        progress_text(64, 99_000, 1, 1e6, 3e10)
        == "64 lanes, 99,000 bots left, 1,000,000 tokens/s, 8:20:00 to go, 1 failed"
    )
    assert progress_text(0, 5, 0, 0.0, 250_000) == "0 lanes, 5 bots left, 0 tokens/s"


def test_a_restarted_queue_asks_an_object_store_for_many_bots_at_once_and_for_none_that_is_not_there(tmp_path):
    store, requests = remote_store(tmp_path, seconds=0.01)
    for i in range(60):
        store.write(f"work/trained/bot_{i}/{VERSION}/training.json", b'{"metrics": {}, "seconds": 1}')
    requests.number = requests.most_at_once = 0
    queue = Queue([task(f"bot_{i}") for i in range(500)], retries=0)
    queue.recover(store)
    assert len(queue.done) == 60 and len(queue.waiting.by_bot) == 440
    assert requests.number <= 2 * 60 + 10 and requests.most_at_once > 10


def test_a_restarted_queue_reads_what_is_published_from_the_manifest(tmp_path):
    store, requests = remote_store(tmp_path)
    writer, metrics = manifest.Writer(store), {"train": {"seconds": 2}}
    for i in range(400):
        store.write(f"bots/bot_{i}/current", VERSION.encode())
        writer.add(f"bot_{i}", VERSION, {"metrics.json": metrics})
    writer.close()
    queue, requests.number = Queue([task(f"bot_{i}") for i in range(500)], retries=0), 0
    queue.recover(store)
    assert len(queue.done) == 400 and queue.done["bot_9"] == TrainedBot(metrics, 2)
    assert requests.number <= 2 * 256 + 20  # the rows that are compared, and a few
