"""The planner's simulation: it agrees with calculations by hand and names the bottleneck."""

import math

import pytest

from benchmarks.plan import COSTS, Bot, Costs, load, of_tweets, plan, sizes


def costs(**changes: float) -> Costs:
    """A machine of ten cores on which a bot costs a second for each 100 tokens, and nothing else costs anything."""
    free = {"command", "lane_start", "launch", "held_out_token", "bot", "evaluate_start", "evaluate"}
    free |= {"prepare_start", "publish"}
    values = dict.fromkeys(free, 0.0) | {"tweets_per_second": 1e12, "token": 0.01}
    machine = {"devices_per_node": 0, "cores_per_node": 10, "lanes_per_device": 1, "usd_per_node_hour": 36.0}
    store = {
        "bytes_per_second": 1e15,
        "stream_bytes_per_second": 1e15,
        "usd_per_gb_month": 0.5,
        "usd_per_1000_writes": 1.0,
    }
    base = {"block_size": 10, "epochs": 1, "batch_size": 1, "model_bytes": 1e9, "files": 10}
    parts = {"machine": machine, "store": store, "base": base, "costs": values}
    for name, value in changes.items():
        [part] = [part for part in parts.values() if name in part]
        part[name] = value
    return Costs(**parts)


def equal(count: int, tokens: int = 1000) -> list[Bot]:
    return [Bot(10, tokens, 100)] * count


def test_lanes_take_the_largest_bots_first():
    bots = [Bot(1, tokens, 1) for tokens in (200, 300, 300, 200, 600)]
    assert plan(bots, costs(), 1, lanes=2).seconds == pytest.approx(8, abs=0.01)  # 6 + 2, 3 + 3 + 2


def test_what_everything_waits_for_is_added():
    changed = costs(command=1, lane_start=2, prepare_start=3, publish=5)
    result = plan(equal(5), changed, 1)  # five lanes, five workers that publish
    phases = {"start and end": 1, "prepare": 3, "train": 2 + 10, "evaluate and publish": 5}
    assert result.phases == pytest.approx(phases, abs=1e-3)


def test_evaluation_during_training_uses_its_share_of_the_cores():
    alone = plan(equal(4), costs(cores_per_node=2), 1, lanes=2)
    assert alone.seconds == pytest.approx(20, abs=0.01)
    # two lanes and one that measures share two cores from the first bots on: 10 s, then 3 at two thirds of the speed
    beside = plan(equal(4), costs(cores_per_node=2, evaluate=10), 1, lanes=2)
    assert beside.phases["train"] == pytest.approx(10 + 10 * 3 / 2, abs=0.01)
    # one was measured meanwhile, the others are one after another
    assert beside.phases["evaluate and publish"] == pytest.approx(3 * 10, abs=0.01)
    assert beside.seconds < alone.seconds + 4 * 10


def test_four_workers_for_each_gpu_evaluate_unless_half_of_the_cores_are_fewer():
    gpu = {"devices_per_node": 2, "evaluate": 10.0, "token": 1e-9}
    alone = [plan(equal(48), costs(**gpu, cores_per_node=cores), 1).alone["evaluating"] for cores in (192, 12)]
    assert alone == pytest.approx([48 * 10 / 8, 48 * 10 / 6])


def test_a_slow_store_binds_and_a_lane_holds_one_model_at_most():
    slow = costs(stream_bytes_per_second=1e9 / 25)  # 25 s to write what took 10 to train
    result = plan(equal(3), slow, 1, lanes=1)
    assert result.phases["train"] == pytest.approx(10 + 3 * 25)
    together = plan(equal(100), costs(bytes_per_second=1e8), 1)
    assert together.bottleneck == "the store"
    assert together.seconds == pytest.approx(10 + 2 * 100 * 10)  # by the lanes, and published


def test_lanes_that_share_a_gpu_hide_each_others_launches_until_arithmetic_is_the_bottleneck():
    gpu = {"devices_per_node": 1, "launch": 0.4, "token": 0.01}  # 0.1 s of arithmetic a step
    plans = [plan([Bot(10, 1000, 0)] * 24, costs(**gpu, lanes_per_device=lanes), 1) for lanes in (1, 2, 4, 8)]
    assert [one.phases["train"] for one in plans] == pytest.approx([24 * 40, 12 * 40, 6 * 40, 3 * 80], abs=0.01)
    assert [plans[i].bottleneck for i in (0, 1, 3)] == ["launches", "launches", "arithmetic"]


def test_money_and_bytes():
    result = plan(equal(36), costs(), 2)
    assert result.bytes_stored == 36e9 and result.bytes_moved == 3 * 36e9
    assert result.usd["machines"] == pytest.approx(2 * result.seconds / 100)
    assert result.usd["writes"] == pytest.approx(2 * 36 * 10 / 1000)
    assert result.usd["storage, a month"] == pytest.approx(18)


def test_people_are_log_normal_up_to_what_x_gives_out():
    counts = [bot.tweets for bot in sizes(20_000, 2250, 0.26)]
    assert sorted(counts)[10_000] == pytest.approx(2250, rel=0.01)
    assert max(counts) == 3200 and counts.count(3200) > 1000
    within = sum(2250 * math.exp(-0.26) < count < 2250 * math.exp(0.26) for count in counts)
    assert within / 20_000 == pytest.approx(0.683, abs=0.02)
    assert of_tweets(100).tokens == 90 * 26 and of_tweets(100).held_out == 10 * 26


def test_forty_bots_on_a_laptop():
    result = plan(sizes(40, 2250, 0.26), load(COSTS, "laptop"), nodes=1)
    assert result.lanes == 8 and result.bottleneck == "arithmetic"
    # five bots for each core, each 4 epochs of 2,025 tweets at 1,500 tokens a second
    assert result.phases["train"] == pytest.approx(5 * 4 * 2025 * 26 / 1500, rel=0.15)
    assert sum(result.usd.values()) == 0
    half = plan(sizes(40, 2250, 0.26), load(COSTS, "laptop", ["machine.cores_per_node=4"]), nodes=1)
    assert half.phases["train"] > 1.8 * result.phases["train"]


def test_a_hundred_thousand_bots_on_64_h100s():
    result = plan(sizes(100_000, 2250, 0.26), load(COSTS, "h100-gpt2"), nodes=8)
    assert result.lanes == 256 and result.bots == 100_000
    assert result.seconds > max(result.alone.values())  # nothing is faster than the bottleneck
    assert result.bytes_stored == pytest.approx(24.9e12)
    assert plan(sizes(100_000, 2250, 0.26), load(COSTS, None, ["costs.evaluate=1"]), nodes=8).seconds < result.seconds
    with pytest.raises(SystemExit, match="launches"):
        load(COSTS, None, ["costs.launches=1"])
