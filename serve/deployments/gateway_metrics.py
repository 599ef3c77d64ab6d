"""Prometheus metrics of all gateways together, under stable names; docs/http.md lists them.

    metrics, sums = GatewayMetrics(), MetricSums()
    metrics.requests.labels(metrics.bot("nasa"), 200).inc()
    sums.take("gateway 1", metrics.report())
    sums.text({})                              # what GET /metrics answers, whichever gateway is asked

Each gateway counts for itself and reports to the registry, which sums them. What a gateway counted stays counted when
it is gone. (The metrics of fleets that are made are Ray's: pipeline/core/ray_metrics.py.)
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import Metric

from serve.engine.question import PoolCounts

BOTS = 100  # that have a label of their own; those that come later are "other"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32)
disable_created_metrics()

# (name, type, help, [(sample's name, labels, value), …])
Report = list[tuple[str, str, str, list[tuple[str, tuple[tuple[str, str], ...], float]]]]


class GatewayMetrics:
    """What one gateway counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._bots: set[str] = set()

        def make(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"huggingtweets_{name}", text, labels, registry=self.registry, **more)

        self.requests = make(Counter, "requests", "Requests for text, by bot and HTTP status", ("bot", "status"))
        self.tokens = make(Counter, "generated_tokens", "Tokens generated, by bot", ("bot",))
        self.ongoing = make(Gauge, "requests_ongoing", "Requests for text under way or queued, by bot", ("bot",))
        self.first = make(
            Histogram, "time_to_first_token_seconds", "To a stream's first token", ("endpoint",), buckets=_SECONDS
        )
        self.seconds = make(Histogram, "request_seconds", "To a request's end", ("endpoint",), buckets=_SECONDS)
        self.starts = make(
            Histogram, "cold_start_seconds", "From a request until the replica that it woke was ready", buckets=_SECONDS
        )
        self.batch = make(Histogram, "batch_size", "Sequences decoded together, at a request's end", buckets=_SIZES)
        self.loads = make(Counter, "pool_loads", "Bots loaded into a pool worker's memory")
        self.load_seconds = make(Histogram, "pool_load_seconds", "To load a bot", buckets=_SECONDS)
        self.evictions = make(Counter, "pool_evictions", "Bots let go from a pool worker's memory")
        self.retries = make(Counter, "retries", "Requests asked again because a replica was lost")

    def bot(self, name: str) -> str:
        """The label of a bot: its name, while there are few."""
        if name not in self._bots and len(self._bots) >= BOTS:
            return "other"
        self._bots.add(name)
        return name

    def pooled(self, counts: PoolCounts) -> None:
        """Adds what a pool worker counted since its last answer."""
        self.loads.inc(counts["loads"])
        self.evictions.inc(counts["evictions"])
        for seconds in counts["load_seconds"]:
            self.load_seconds.observe(seconds)

    def report(self) -> Report:
        """All counts so far."""
        return [
            (
                family.name,
                family.type,
                family.documentation,
                [(one.name, tuple(sorted(one.labels.items())), one.value) for one in family.samples],
            )
            for family in self.registry.collect()
        ]


class MetricSums:
    """The sums over all gateways, those that are gone included."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}

    def take(self, gateway: str, report: Report) -> None:
        """Replaces what a gateway reported before."""
        self._reports[gateway] = report

    def keep(self, alive: set[str]) -> None:
        """Folds the counts of gateways that are gone into one; what they had under way is over."""
        gone = [one for one in self._reports if one not in alive and one != "gone"]
        if gone:
            merged = list(_merged([self._reports.pop(one) for one in [*gone, "gone"] if one in self._reports]))
            self._reports["gone"] = [family for family in merged if family[1] != "gauge"]

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """All in Prometheus' text format, with these gauges beside: {name: (help, value)}."""
        families = [*_merged(list(self._reports.values()))]
        families += [
            (f"huggingtweets_{name}", "gauge", text, [(f"huggingtweets_{name}", (), value)])
            for name, (text, value) in gauges.items()
        ]

        class Collected:
            def collect(self) -> Iterator[Metric]:
                for name, kind, text, samples in families:
                    metric = Metric(name, text, kind)
                    for sample, labels, value in samples:
                        metric.add_sample(sample, dict(labels), value)
                    yield metric

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collected())
        return generate_latest(registry).decode()


def _merged(reports: list[Report]) -> Report:
    families: dict[str, tuple[str, str, dict[Any, float]]] = {}
    for report in reports:
        for name, kind, text, samples in report:
            sums = families.setdefault(name, (kind, text, {}))[2]
            for sample, labels, value in samples:
                sums[(sample, labels)] = sums.get((sample, labels), 0.0) + value
    return [
        (name, kind, text, [(sample, labels, value) for (sample, labels), value in sums.items()])
        for name, (kind, text, sums) in families.items()
    ]
