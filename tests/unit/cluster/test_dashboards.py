"""The dashboard and the alerts: whole files, and no panel or rule of a metric that nobody exports."""

import json
import re
from typing import Any

import pytest
import yaml
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ray.util.metrics import Histogram

from pipeline.core.ray_metrics import METRICS
from serve.deployments.gateway_metrics import GatewayMetrics, MetricSums
from tests.support.toys import ROOT

CLUSTER = ROOT / "cluster"
DASHBOARD = json.loads((CLUSTER / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((CLUSTER / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
_NAME = re.compile(r"\b(?:ray|huggingtweets)_\w+")
_PARTS = ("_bucket", "_sum", "_count")


def exported() -> dict[str, tuple[str, ...]]:
    """Every metric as Prometheus sees it, with the labels that we give it."""
    found: dict[str, tuple[str, ...]] = {f"ray_{name}": () for name in METRICS_GAUGES}
    for name, (kind, labels, _) in METRICS.items():
        for part in _PARTS if kind is Histogram else ("",):
            found[f"ray_{name}{part}"] = labels
    for collected in GatewayMetrics().registry._collector_to_names.items():
        for name in collected[1]:
            found[name] = tuple(collected[0]._labelnames)
    for name in ("bots", "bots_dedicated", "gateways"):  # the registry's own
        found[f"huggingtweets_{name}"] = ()
    return found


def queries() -> list[tuple[str, str]]:
    panels = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    return [*panels, *((rule["alert"], rule["expr"]) for rule in ALERTS)]


@pytest.mark.parametrize(("where", "query"), queries())
def test_what_is_asked_for_is_exported_with_the_labels_that_are_asked_for(where, query):
    known = exported()
    names = _NAME.findall(query)
    assert names
    for name in names:
        assert name in known, f"{where}: nobody exports {name}"
    labels = {label for name in names for label in known[name]} | {"le", "instance"}
    asked = re.findall(r"\b(?:by|on) \(([^)]*)\)", query) + re.findall(r"(\w+)=~?\"", query)
    for label in {one.strip() for group in asked for one in group.split(",")}:
        assert label in labels, f"{where}: {label} is no label of {names}"
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}")


def test_every_metric_of_a_fleet_is_shown_and_documented():
    assert len(PANELS) > 10
    shown = " ".join(query for _, query in queries())
    documented = (CLUSTER.parent / "docs" / "watching.md").read_text(encoding="utf-8")
    for name in METRICS:
        assert f"ray_{name}" in shown, f"{name} is on no panel and in no alert"
        assert f"`{name}`" in documented
    for rule in ALERTS:
        assert rule["alert"] in documented


def test_the_registrys_own_metrics_are_what_it_says():
    source = (CLUSTER.parent / "serve" / "deployments" / "registry.py").read_text(encoding="utf-8")
    told = re.findall(r'"(\w+)": \("', source.split("self.sums.text(")[1])
    assert told == ["bots", "bots_dedicated", "gateways"]
    assert "huggingtweets_bots 3.0" in MetricSums().text({"bots": ("Bots that are served", 3)})


def test_panels_do_not_overlap_and_have_a_title_and_numbers_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    for key in ("id", "title"):
        values = [panel[key] for panel in DASHBOARD["panels"]]
        assert len(set(values)) == len(values)


def test_every_alert_says_what_is_wrong_and_what_to_do():
    assert len(ALERTS) > 5
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert all(len(rule["annotations"][key]) > 10 for key in ("summary", "description")), rule["alert"]


def test_the_operators_manifest_has_the_same_rules():
    folder = CLUSTER / "kuberay" / "monitoring"
    manifest = yaml.safe_load((folder / "prometheusrule.yaml").read_text(encoding="utf-8"))
    assert manifest["spec"] == RULES
    listed: list[Any] = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
    prometheus = yaml.safe_load((CLUSTER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert prometheus["rule_files"] == ["alerts.yaml"]
