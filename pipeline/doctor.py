"""Whether a cluster is fit for a fleet, found out before the fleet finds out.

    huggingtweets doctor fleet.yaml

Every node tells what it has (`inspect`); what the answers mean, and what to do about it, is decided in one
place (`judge`).
"""

import importlib.metadata
import platform
import shutil
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import one_line
from pipeline.fleet import Fleet
from pipeline.plan import open_job
from pipeline.session import ensure
from pipeline.store import Store

_PACKAGES = ("huggingtweets-ray", "ray", "torch", "transformers", "deepspeed", "pyarrow", "wandb")
_DISK = 10 * 2**30
_MEMORY = 4 * 2**30
_SHARED = 2**30
_NODE_SECONDS = 120


@dataclass(frozen=True)
class Finding:
    """`level` is ok, warning or error; an error would cost bots."""

    check: str
    level: str
    found: str
    advice: str = ""


def doctor(fleet: Fleet) -> list[dict[str, Any]]:
    """Looks at every node of the cluster and at the fleet's store; returns the findings."""
    job = open_job(fleet)
    ensure()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    inspected: Any = ray.remote(num_cpus=0, max_retries=0)(inspect)
    probe = f"work/.doctor-{uuid.uuid4().hex}"
    job.store.write(probe, b"driver")
    try:
        asked = {
            node["NodeManagerAddress"]: inspected.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(job.store, probe)
            for node in nodes
        }
        reports = {address: _answer(reference) for address, reference in asked.items()}
    finally:
        job.store.delete(probe)
    dashboard = ray._private.worker.global_worker.node.webui_url  # type: ignore[union-attr]
    cluster = {
        "gpus": ray.cluster_resources().get("GPU", 0),
        "dashboard": dashboard,
        "dashboard_open": _answers(dashboard),
    }
    return [asdict(finding) for finding in judge(cluster, reports)]


def _answer(reference: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = ray.get(reference, timeout=_NODE_SECONDS)
        return answer
    except Exception as error:
        return {"error": one_line(error)}


def inspect(store: Store, probe: str) -> dict[str, Any]:
    """What one node has; runs on that node. Sizes in bytes."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "gpus": _gpus(),
        "host": socket.gethostname(),
        "host_address": _address_of_host(),
        "store": _try_store(store, probe),
        "disk_free": shutil.disk_usage("/tmp").free,
        "memory_free": psutil.virtual_memory().available,
        "shared_memory": shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _gpus() -> list[str]:
    """Name and driver of each GPU, as nvidia-smi tells them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError):
        return []


def _address_of_host() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as error:
        return f"none ({error})"


def _try_store(store: Store, probe: str) -> str:
    """ "" where the node reads what the driver wrote and can write itself, else why not."""
    try:
        if store.read(probe) != b"driver":
            return "it reads something else than the driver wrote"
        store.check_writable()
    except FileNotFoundError:
        return "it does not see what the driver wrote: the storage is not shared"
    except Exception as error:
        return one_line(error)
    return ""


def _answers(dashboard: str | None) -> bool:
    """Whether the Jobs API answers somebody without a token."""
    if not dashboard:
        return False
    try:
        with urllib.request.urlopen(f"http://{dashboard}/api/jobs/", timeout=5):
            return True
    except OSError:
        return False


def judge(cluster: dict[str, Any], reports: dict[str, dict[str, Any]]) -> list[Finding]:
    """What the nodes' answers mean: a finding for each check."""
    nodes = {address: report for address, report in reports.items() if "error" not in report}
    findings = [_each("nodes answer", reports, lambda report: report.get("error", ""), "look at that node's Ray logs")]
    if not nodes:
        return findings
    findings.append(_versions(nodes))
    findings.append(_gpu(cluster, nodes))
    advice = "use storage that every node reaches (s3://…, gs://…), with its keys in every node's environment"
    findings.append(_each("store", nodes, lambda report: report["store"], advice))
    advice = "worker groups across nodes cannot meet there; take the 127.0.x line out of that node's /etc/hosts"
    findings.append(_each("host name", nodes, _loopback if len(nodes) > 1 else lambda report: "", advice))
    findings += [
        _each("disk", nodes, _less("disk_free", _DISK), "free space in /tmp: Ray spills and logs there", "warning"),
        _each("memory", nodes, _less("memory_free", _MEMORY), "fewer lanes on that node, or a larger one", "warning"),
        _each(
            "shared memory",
            nodes,
            _less("shared_memory", _SHARED),
            "a larger /dev/shm (docker run --shm-size=2g; an emptyDir of medium Memory in Kubernetes)",
            "warning",
        ),
    ]
    findings.append(_dashboard(cluster))
    return findings


def _loopback(report: dict[str, Any]) -> str:
    lost = report["host_address"].startswith(("127.", "none"))
    return f"{report['host']} resolves to {report['host_address']}" if lost else ""


def _less(key: str, least: int) -> Callable[[dict[str, Any]], str]:
    def problem(report: dict[str, Any]) -> str:
        return f"{report[key] / 2**30:.1f} GiB, under {least / 2**30:.0f}" if report[key] < least else ""

    return problem


def _each(
    check: str,
    nodes: dict[str, dict[str, Any]],
    problem: Callable[[dict[str, Any]], str],
    advice: str,
    level: str = "error",
) -> Finding:
    """One finding over all nodes: those with a problem named, a few of them in full."""
    bad = {address: text for address, report in nodes.items() if (text := problem(report))}
    if not bad:
        return Finding(check, "ok", f"{len(nodes)} nodes" if len(nodes) > 1 else "1 node")
    shown = "; ".join(f"{address}: {text}" for address, text in list(bad.items())[:5])
    return Finding(check, level, shown + (f"; and {len(bad) - 5} more" if len(bad) > 5 else ""), advice)


def _versions(nodes: dict[str, dict[str, Any]]) -> Finding:
    differing = []
    for package in ("python", *_PACKAGES):
        held: dict[str, list[str]] = {}
        for address, report in nodes.items():
            held.setdefault(report["versions"][package], []).append(address)
        if len(held) > 1 or "missing" in held:
            differing.append(f"{package} " + ", ".join(f"{version} on {where[0]}" for version, where in held.items()))
    if differing:
        return Finding("versions", "error", "; ".join(differing), "start every node from one image")
    one = next(iter(nodes.values()))["versions"]
    return Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in one.items()))


def _gpu(cluster: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> Finding:
    seen = [gpu for report in nodes.values() for gpu in report["gpus"]]
    if not seen and not cluster["gpus"]:
        return Finding("GPUs", "warning", "none: bots are trained on CPUs", "add GPU nodes for anything beyond mini")
    if len(seen) > cluster["gpus"]:
        return Finding("GPUs", "error", f"{len(seen)} there, Ray knows of {cluster['gpus']:.0f}", "pass --num-gpus")
    if len({gpu.rpartition(",")[2] for gpu in seen}) > 1:
        return Finding("GPUs", "warning", f"several drivers: {', '.join(sorted(set(seen)))}", "use one driver")
    return Finding("GPUs", "ok", f"{cluster['gpus']:.0f}, {', '.join(sorted(set(seen))) or 'not asked: no nvidia-smi'}")


def _dashboard(cluster: dict[str, Any]) -> Finding:
    if not cluster["dashboard"]:
        return Finding("dashboard", "ok", "off")
    if cluster["dashboard_open"]:
        advice = "start the cluster with RAY_AUTH_MODE=token: whoever reaches the port runs any code on every node"
        return Finding("dashboard", "error", f"{cluster['dashboard']} answers without a token", advice)
    return Finding("dashboard", "ok", f"{cluster['dashboard']} asks for a token")
