"""Ray metrics of running commands; docs/watching.md describes them.

    record("bots_trained_total", 1, fleet="politicians")

Ray exports them from every node, with `ray_` before the name and labels of its own (node, worker) beside ours. No
label is a bot's name: a fleet has thousands. For the endpoints' metrics see serve/deployments/gateway_metrics.py.
"""

from functools import cache

import ray
from ray.util.metrics import Counter, Gauge, Histogram

_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150, 600, 1800, 7200]

# name: (type, labels, description)
METRICS: dict[str, tuple[type[Counter] | type[Gauge] | type[Histogram], tuple[str, ...], str]] = {
    "bots_trained_total": (Counter, ("fleet",), "Bots trained, with the model in the store"),
    "bots_evaluated_total": (Counter, ("fleet",), "Bots evaluated"),
    "bots_published_total": (Counter, ("fleet",), "Bots published"),
    "bots_failed_total": (Counter, ("fleet", "stage"), "Bots that failed, after all retries"),
    "bot_seconds": (Histogram, ("fleet", "part"), "Seconds for a bot: training, the lane's change to it, evaluation"),
    "lane_tokens_total": (Counter, ("fleet", "lane"), "Tokens trained by a lane, in all epochs"),
    "fleet_running": (Gauge, ("fleet",), "1 while a command works on the fleet"),
    "fleet_stage_seconds": (
        Gauge,
        ("fleet", "stage"),
        "Seconds that a stage of this command took, so far",
    ),
    "fleet_stage_units": (Gauge, ("fleet", "stage"), "Units of the current stage, mostly bots"),
    "fleet_stage_done": (Gauge, ("fleet", "stage"), "Units of the current stage that are done, failures included"),
    "fleet_lanes": (Gauge, ("fleet",), "Lanes that are training"),
    "fleet_queue_length": (Gauge, ("fleet",), "Bots waiting for a lane"),
    "fleet_tokens_left": (Gauge, ("fleet",), "Tokens still to train, in all epochs"),
    "fleet_tokens_per_second": (Gauge, ("fleet",), "Tokens trained per second, over the last minute"),
}


def record(name: str, value: float, **labels: str) -> None:
    """Counts, sets or observes a value, by the metric's type; does nothing without a cluster."""
    if not ray.is_initialized():
        return
    metric = _metric(name)
    if isinstance(metric, Gauge):
        metric.set(value, labels)
    elif isinstance(metric, Histogram):
        metric.observe(value, labels)
    elif value > 0:
        metric.inc(value, labels)


@cache
def _metric(name: str) -> Counter | Gauge | Histogram:
    kind, labels, text = METRICS[name]
    if kind is Histogram:
        return Histogram(name, text, _SECONDS, labels)
    return kind(name, text, tag_keys=labels)
