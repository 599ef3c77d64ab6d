"""Predicts how long a fleet takes, what limits it, and what it costs, by simulating the pipeline with measured costs.

    python benchmarks/plan.py                                        # 100,000 bots of GPT-2 on 64 H100s
    python benchmarks/plan.py --users 5000 --nodes 2 --set base.epochs=2 --set machine.lanes_per_device=8
    python benchmarks/plan.py --entry laptop --nodes 1 --users 40    # without a GPU, on the bundled base
    python benchmarks/plan.py --costs here.yaml --users 1000         # with costs that calibrate.py measured

It follows the pipeline's rules: one queue, largest bot first. A lane holds at most one model that is not written yet.
Beside training, four workers for each GPU evaluate bots, or a worker for every second core if those are fewer or there
are no GPUs. The worker that evaluated a bot also publishes it. Assumptions: Nothing fails, and preparing divides
evenly. The store serves reads and writes in order of arrival, each at its full rate. Lanes that share a GPU hide each
other's kernel launches: a step takes as long as its launches, or as the arithmetic of all lanes if that is longer; on a
CPU, launches and arithmetic add up. Busy processes share the cores evenly.

The number of kept tweets per person is log-normal, at most 3,200 (X's limit). Median 2,250 and sigma 0.26 fit ten
accounts that were downloaded up to that limit (2,316 kept tweets on average). Use --median for people who wrote less.
"""

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

COSTS = Path(__file__).with_name("costs.yaml")
MOST_TWEETS = 3200
TOKENS_PER_TWEET = 26  # GPT-2's, 94 characters on average, the separator included
HOLDOUT = 0.1
WORKERS_PER_GPU = 4  # that evaluate and publish beside training (pipeline/evaluate/measurer.py)
_WRITES, _READS = 2, 1  # of each model: written by its lane and by publishing, read to be measured and published


@dataclass(frozen=True)
class Bot:
    tweets: int  # kept
    tokens: int  # of an epoch
    held_out: int  # tokens


@dataclass(frozen=True)
class Costs:
    """An entry of costs.yaml."""

    machine: dict[str, float]
    store: dict[str, float]
    base: dict[str, float]
    costs: dict[str, float]

    def lane_seconds(self, bot: Bot) -> float:
        """Returns a lane's seconds for one bot: steps, held-out losses before and after, and the change of bots."""
        cost, base = self.costs, self.base
        size = base["block_size"] * base["batch_size"]
        steps = bot.tokens * base["epochs"] // size
        arithmetic = size * cost["token"] * max(1.0, self.machine["lanes_per_device"])
        launch = cost["launch"]
        step = max(launch, arithmetic) if self.machine["devices_per_node"] else launch + arithmetic
        blocks = math.ceil(bot.held_out / base["block_size"])
        held_out = 2 * (bot.held_out * cost["held_out_token"] + blocks * launch / 3)
        return steps * step + held_out + cost["bot"]


@dataclass
class Plan:
    bots: int
    nodes: int
    lanes: int
    phases: dict[str, float] = field(default_factory=dict)  # seconds, one after another
    alone: dict[str, float] = field(default_factory=dict)  # seconds that each resource would take by itself
    busy: float = 0.0  # share of the lanes' time that is training
    bytes_stored: float = 0.0
    bytes_moved: float = 0.0
    usd: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    @property
    def bottleneck(self) -> str:
        """The resource that takes longest by itself: more of any other resource would not help."""
        return max(self.alone, key=lambda name: self.alone[name])


def sizes(users: int, median: float, sigma: float, seed: int = 0) -> list[Bot]:
    """Returns the bots of people with log-normal numbers of kept tweets, at most 3,200 each."""
    chance = random.Random(seed)
    counts = (min(MOST_TWEETS, max(1, round(chance.lognormvariate(math.log(median), sigma)))) for _ in range(users))
    return [of_tweets(count) for count in counts]


def of_tweets(count: int, tokens_per_tweet: float = TOKENS_PER_TWEET) -> Bot:
    held_out = max(1, round(count * HOLDOUT))
    return Bot(count, round((count - held_out) * tokens_per_tweet), round(held_out * tokens_per_tweet))


def plan(bots: Sequence[Bot], costs: Costs, nodes: int, lanes: int | None = None) -> Plan:
    """Simulates a `run` of these bots on so many nodes; `lanes` limits the lanes to fewer than fit."""
    machine, cost, store = costs.machine, costs.costs, costs.store
    devices = nodes * int(machine["devices_per_node"])
    cores = nodes * int(machine["cores_per_node"])
    room = int(devices * machine["lanes_per_device"]) or cores
    lanes = min(lanes or room, len(bots))
    result = Plan(len(bots), nodes, lanes)
    workers = max(1, min(cores // 2, WORKERS_PER_GPU * devices) if devices else cores // 2)  # that evaluate and publish
    trained, measured = _train_and_measure(bots, costs, lanes, cores, workers)
    prepared = cost["prepare_start"] + sum(bot.tweets for bot in bots) / (cost["tweets_per_second"] * cores)
    result.phases = {
        "start and end": cost["command"],
        "prepare": prepared,
        "train": cost["lane_start"] + trained,
        "evaluate and publish": max(0.0, measured - trained),
    }
    seconds = [costs.lane_seconds(bot) for bot in bots]
    tokens = sum(bot.tokens for bot in bots) * costs.base["epochs"]
    steps = tokens / (costs.base["block_size"] * costs.base["batch_size"])
    result.busy = sum(seconds) / (lanes * trained)
    result.alone = {
        "arithmetic": tokens * cost["token"] / (devices or min(lanes, cores)),
        "launches": steps * cost["launch"] / lanes,
        "the longest bot": max(seconds),
        "start-up": sum(cost[name] for name in cost if name == "command" or name.endswith("_start")),
        "the store": _WRITES * len(bots) * costs.base["model_bytes"] / store["bytes_per_second"],
        "evaluating": len(bots) * cost["evaluate"] / workers,
        "publishing": len(bots) * cost["publish"] / workers,
    }
    result.bytes_stored = len(bots) * costs.base["model_bytes"]
    result.bytes_moved = (_WRITES + _READS) * result.bytes_stored
    hours = result.seconds / 3600
    result.usd = {
        "machines": hours * nodes * machine["usd_per_node_hour"],
        "writes": _WRITES * len(bots) * costs.base["files"] / 1000 * store["usd_per_1000_writes"],
        "storage, a month": result.bytes_stored / 1e9 * store["usd_per_gb_month"],
    }
    return result


class _Store:
    """One direction of the store: models pass in order of arrival, limited by the store's rate and by each stream's."""

    def __init__(self, costs: Costs):
        size = costs.base["model_bytes"]
        self.each, self.stream = size / costs.store["bytes_per_second"], size / costs.store["stream_bytes_per_second"]
        self.free = 0.0

    def passed(self, now: float) -> float:
        """Returns the time at which a transfer that starts now ends."""
        self.free = max(self.free, now) + self.each
        return max(self.free, now + self.stream)


def _train_and_measure(bots: Iterable[Bot], costs: Costs, lanes: int, cores: int, workers: int) -> tuple[float, float]:
    """Returns the seconds from the lanes' start until all models are in the store, and until all are published.

    Work is in core seconds. With more busy processes than cores, each process is slower, so the end of work is kept on
    a second clock, `work`; its speed relative to the wall clock, `now`, is cores divided by busy processes.
    """
    waiting = deque(sorted((costs.lane_seconds(bot) for bot in bots), reverse=True))
    writes, reads = _Store(costs), _Store(costs)
    unmeasured, idle = 0, workers  # bots in the store, workers that could measure them
    written = [0.0] * lanes  # time at which each lane's last model is written
    ends: list[tuple[float, int]] = []  # (on the clock `work`, lane; -1: an evaluation)
    now = work = trained = measured = 0.0
    ready = max(0.0, costs.costs["evaluate_start"] - costs.costs["lane_start"])
    alarms: list[tuple[float, str, int]] = [(ready, "ready", -1)]  # (on the clock `now`, event, lane)

    def next_bot(lane: int) -> None:
        if waiting:
            heapq.heappush(ends, (work + waiting.popleft(), lane))

    for lane in range(lanes):
        next_bot(lane)
    while ends or alarms:
        speed = min(1.0, cores / len(ends)) if ends else 1.0
        next_end = now + (ends[0][0] - work) / speed if ends else math.inf
        if alarms and alarms[0][0] <= next_end:
            at, what, lane = heapq.heappop(alarms)
            now, work = at, work + (at - now) * speed
            if what == "free":
                written[lane] = writes.passed(now)
                heapq.heappush(alarms, (written[lane], "stored", lane))
                next_bot(lane)
            elif what == "stored":
                trained, unmeasured = now, unmeasured + 1
            elif what == "read":
                heapq.heappush(ends, (work + costs.costs["evaluate"] + costs.costs["publish"], -1))
            elif what == "published":
                measured, idle = now, idle + 1
        else:
            (work, lane), now = heapq.heappop(ends), next_end
            if lane >= 0:  # the lane's previous model must be written first
                heapq.heappush(alarms, (max(now, written[lane]), "free", lane))
            else:
                heapq.heappush(alarms, (writes.passed(now), "published", -1))
        while idle and unmeasured and now >= ready:
            idle, unmeasured = idle - 1, unmeasured - 1
            heapq.heappush(alarms, (reads.passed(now), "read", -1))
    return trained, measured


def load(path: Path, entry: str | None, changes: Sequence[str] = ()) -> Costs:
    """Returns an entry of a file of costs (by default the first), with changes such as "costs.launch=0.01"."""
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    if entry is not None and entry not in known:
        raise SystemExit(f"--entry {entry}: {path.name} has no such entry; it has {', '.join(known)}")
    values = known[entry or next(iter(known))]
    for change in changes:
        name, _, value = change.partition("=")
        section, _, key = name.partition(".")
        if key not in values.get(section, {}):
            raise SystemExit(f"--set {change}: costs.yaml has no {name}")
        values[section][key] = float(value)
    return Costs(**{name: values[name] for name in ("machine", "store", "base", "costs")})


def show(result: Plan) -> None:
    print(f"{result.bots:,} bots, {result.nodes} nodes, {result.lanes:,} lanes: {clock(result.seconds)}")
    print("  " + ", ".join(f"{name} {clock(seconds)}" for name, seconds in result.phases.items()))
    print(f"  {result.bots / result.seconds * 3600:,.0f} bots an hour; lanes train {result.busy:.0%} of their time")
    print(f"time of each resource alone; the bottleneck is {result.bottleneck}")
    for name, seconds in sorted(result.alone.items(), key=lambda item: -item[1]):
        print(f"  {name:<18}{clock(seconds):>10}")
    print(f"bytes: {_size(result.bytes_stored)} stored, {_size(result.bytes_moved)} moved")
    print("money: " + ", ".join(f"{name} {usd:,.0f} USD" for name, usd in result.usd.items()))
    each = {name: usd / result.bots * 100 for name, usd in result.usd.items()}
    print(f"  {each['machines'] + each['writes']:.2f} cents a bot, and {each['storage, a month']:.2f} a month")


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _size(count: float) -> str:
    unit = next((unit for unit in (("TB", 1e12), ("GB", 1e9)) if count >= unit[1]), ("MB", 1e6))
    return f"{count / unit[1]:,.1f} {unit[0]}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--users", type=int, default=100_000)
    options.add_argument("--nodes", type=int, default=8, help="of the machine in the file of costs")
    options.add_argument("--lanes", type=int, help="fewer than fit")
    options.add_argument("--median", type=float, default=2250, help="median of the kept tweets per person")
    options.add_argument("--sigma", type=float, default=0.26, help="standard deviation of the logarithm of that number")
    options.add_argument("--costs", type=Path, default=COSTS)
    options.add_argument("--entry", help="of the file of costs; its first")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=NUMBER", help="another figure")
    chosen = options.parse_args()
    costs = load(chosen.costs, chosen.entry, chosen.set)
    show(plan(sizes(chosen.users, chosen.median, chosen.sigma), costs, chosen.nodes, chosen.lanes))


if __name__ == "__main__":
    main()
