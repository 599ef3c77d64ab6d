"""Where on a Ray cluster lanes are started: what is free on each node, and how many lanes fit there.

room = node_resources(free=True)                       # {node id: {"CPU": 4.0, "GPU": 0.0}}
list(place_runs(settings, room, most=10))              # [(4, node id)]: one run of four lanes
"""

from collections.abc import Iterator

import ray
from ray.util.placement_group import remove_placement_group

from pipeline.core.ray_internals import abandoned_placement_groups, available_resources_per_node
from pipeline.core.ray_session import capacity
from pipeline.core.settings import Train

LANES_PER_RUN = 8  # a worker's death ends its run: what the run's other lanes had in hand is trained again
_ROUNDING = 1e-6  # 0.3 / 0.1 is a little less than 3
Room = dict[str, dict[str, float]]  # node id: {"CPU": …, "GPU": …}


def node_resources(free: bool) -> Room:
    """The cores and GPUs of each node that is alive: those that are `free`, or all of them."""
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    amounts = available_resources_per_node() if free else nodes
    return {node: {name: amounts.get(node, {}).get(name, 0.0) for name in ("CPU", "GPU")} for node in nodes}


def free_abandoned_places() -> None:
    """Frees the cores and GPUs that runs reserved whose controllers died.

    Ray Train's own cleaner learns of a reservation only when all workers of a run are up. Where the controller dies
    before, the reservation would stay until the end of the job, and no lane could be started in its place.
    """
    for group in abandoned_placement_groups():
        remove_placement_group(group)


def worker_resources(settings: Train) -> dict[str, float]:
    """What one worker of a lane reserves: a core, and its share of a GPU where the cluster has GPUs."""
    gpus, _ = capacity()
    return {"CPU": 1.0} | ({"GPU": settings.gpus_per_worker} if gpus else {})


def nodes_that_fit(settings: Train, room: Room) -> list[str]:
    """The nodes that have room for a worker of these settings."""
    each = worker_resources(settings)
    return [node for node, free in room.items() if all(free.get(name, 0.0) >= amount for name, amount in each.items())]


def place_runs(settings: Train, room: Room, most: int) -> Iterator[tuple[int, str | None]]:
    """Where to start runs of up to `most` lanes in all: (lanes, node id) of each run.

    A run has lanes of one worker on one node, or one lane of several workers that may span nodes (None). What the runs
    take is subtracted from `room`.
    """
    each, workers = worker_resources(settings), settings.workers_per_bot
    slots = {
        node: min(_places(free.get(name, 0), amount) for name, amount in each.items()) for node, free in room.items()
    }
    if workers == 1:
        for node, fitting in sorted(slots.items(), key=lambda item: -item[1]):
            while (lanes := min(fitting, most, LANES_PER_RUN)) > 0:
                fitting, most = fitting - lanes, most - lanes
                _take(room[node], each, lanes)
                yield lanes, node
        return
    for _ in range(min(most, sum(slots.values()) // workers)):
        needed = workers
        for node, fitting in sorted(slots.items(), key=lambda item: -item[1]):
            taken = min(fitting, needed)
            slots[node], needed = fitting - taken, needed - taken
            _take(room[node], each, taken)
        yield 1, None


def _places(free: float, amount: float) -> int:
    """How many workers that take `amount` each fit into what is free; a share of a GPU never spans two GPUs."""
    if amount >= 1:
        return int(free / amount)
    whole, rest = divmod(free, 1)
    return int(whole) * int(1 / amount + _ROUNDING) + int(rest / amount + _ROUNDING)


def _take(free: dict[str, float], each: dict[str, float], workers: int) -> None:
    for name, amount in each.items():
        free[name] = free.get(name, 0) - amount * workers
