"""Whether a cluster is fit for a fleet, found out before the fleet finds out.

    huggingtweets doctor fleet.yaml

Every node tells what it has (`inspect`); what the answers mean, and what to do about it, is decided in one
place (`judge`).
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.services import get_webui_url_from_internal_kv
from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.errors import one_line
from pipeline.core.fleet import Fleet
from pipeline.core.own_code import PROJECT, code_hash
from pipeline.core.ray_session import ensure
from pipeline.core.store import Store
from pipeline.plan.job import open_job
from serve.http import keys

_PACKAGES = ("huggingtweets-ray", "ray", "torch", "transformers", "deepspeed", "pyarrow", "wandb")
_DISK = 10 * 2**30
_MEMORY = 4 * 2**30
_SHARED = 2**30
_NODE_SECONDS = 120
_SKEW = 60.0  # seconds; object stores refuse requests that are a quarter of an hour off
_AGENT = 52365  # every node's dashboard agent, which starts jobs too
_SEES = "import torch; print(torch.cuda.device_count())"


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
    gpus = {node["NodeManagerAddress"]: node["Resources"].get("GPU", 0) for node in nodes}
    reports = {address: report | {"gpus_known": gpus[address]} for address, report in reports.items()}
    dashboard = get_webui_url_from_internal_kv()
    doors = {dashboard: f"http://{dashboard}/api/jobs/"} if dashboard else {}
    doors |= {f"{address}:{_AGENT}": f"http://{address}:{_AGENT}/api/job_agent/jobs/0/logs" for address in reports}
    cluster = {
        "open": [door for door, url in doors.items() if _open(url)],
        "dashboard": dashboard,
        "public": fleet.serve.host not in ("127.0.0.1", "localhost", "::1"),
        "keys": bool(keys.load(fleet.serve)),
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
    gpus = _gpus()
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "code": code_hash(PROJECT / "pipeline", PROJECT / "serve"),
        "time": time.time(),
        "token": get_authentication_mode() == AuthenticationMode.TOKEN,
        "gpus": gpus,
        "gpus_seen": _gpus_seen() if gpus else "0",
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


def _gpus_seen() -> str:
    """How many GPUs torch can use, asked in a process of its own, for Ray hides them from a task without any."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        command = [sys.executable, "-c", _SEES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()
    except subprocess.SubprocessError as error:
        return one_line(error)


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


def _open(url: str) -> bool:
    """Whether somebody without a token is answered there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in (401, 403)
    except OSError:
        return False  # nothing listens, or not for this node


def judge(cluster: dict[str, Any], reports: dict[str, dict[str, Any]]) -> list[Finding]:
    """What the nodes' answers mean: a finding for each check."""
    nodes = {address: report for address, report in reports.items() if "error" not in report}
    findings = [_each("nodes answer", reports, lambda report: report.get("error", ""), "look at that node's Ray logs")]
    if not nodes:
        return findings
    findings.append(_versions(nodes))
    findings.append(_gpu(nodes))
    advice = "use storage that every node reaches (s3://…, gs://…), with its keys in every node's environment"
    findings.append(_each("store", nodes, lambda report: report["store"], advice))
    advice = "worker groups across nodes cannot meet there; take the 127.0.x line out of that node's /etc/hosts"
    findings.append(_each("host name", nodes, _loopback if len(nodes) > 1 else lambda report: "", advice))
    middle = sorted(report["time"] for report in nodes.values())[len(nodes) // 2]
    advice = "keep the time there by NTP (chrony): object stores refuse requests from another time"
    findings.append(_each("clocks", nodes, _off(middle), advice, "warning"))
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
    alone = all(address.startswith("127.") for address in reports)  # nobody else reaches such a cluster
    advice = "start that node with RAY_AUTH_MODE=token: whoever reaches Ray's ports runs any code on every node"
    findings.append(_each("token", nodes, lambda report: "" if report["token"] or alone else "asks for none", advice))
    findings.append(_dashboard(cluster))
    findings.append(_endpoints(cluster))
    return findings


def _off(middle: float) -> Callable[[dict[str, Any]], str]:
    def problem(report: dict[str, Any]) -> str:
        seconds = report["time"] - middle
        return f"{seconds:+.0f} s from the others" if abs(seconds) > _SKEW else ""

    return problem


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
    if len({report["code"] for report in nodes.values()}) > 1:
        differing.append("the code of huggingtweets-ray is not the same everywhere")
    if differing:
        return Finding("versions", "error", "; ".join(differing), "start every node from one image")
    one = next(iter(nodes.values()))["versions"]
    return Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in one.items()))


def _gpu(nodes: dict[str, dict[str, Any]]) -> Finding:
    """GPUs by what nvidia-smi, Ray and torch know of them on each node."""
    seen = sorted({gpu for report in nodes.values() for gpu in report["gpus"]})
    known = sum(report["gpus_known"] for report in nodes.values())
    if not seen and not known:
        return Finding("GPUs", "warning", "none: bots are trained on CPUs", "add GPU nodes for anything beyond mini")
    unknown = _each(
        "GPUs",
        nodes,
        lambda report: (
            f"{len(report['gpus'])} there, Ray knows of {report['gpus_known']:.0f}"
            if len(report["gpus"]) > report["gpus_known"]
            else ""
        ),
        "pass --num-gpus to that node's `ray start`",
    )
    unseen = _each(
        "GPUs",
        nodes,
        lambda report: (
            f"{len(report['gpus'])} there, torch sees {report['gpus_seen']}"
            if report["gpus"] and report["gpus_seen"] != str(len(report["gpus"]))
            else ""
        ),
        "a torch built for CUDA, and a driver that is new enough for it (torch.version.cuda)",
    )
    for finding in (unknown, unseen):
        if finding.level == "error":
            return finding
    if len({gpu.rpartition(",")[2] for gpu in seen}) > 1:
        return Finding("GPUs", "warning", f"several drivers: {'; '.join(seen)}", "use one driver")
    return Finding("GPUs", "ok", f"{known:.0f}, {'; '.join(seen) or 'not asked: no nvidia-smi'}")


def _dashboard(cluster: dict[str, Any]) -> Finding:
    """The dashboard and every node's agent take jobs."""
    if cluster["open"]:
        advice = "start the cluster with RAY_AUTH_MODE=token: whoever reaches the port runs any code on every node"
        return Finding("dashboard", "error", f"{', '.join(cluster['open'][:5])} answers without a token", advice)
    return Finding("dashboard", "ok", f"{cluster['dashboard']} asks for a token" if cluster["dashboard"] else "off")


def _endpoints(cluster: dict[str, Any]) -> Finding:
    if cluster["public"] and not cluster["keys"]:
        advice = "set serve.keys_file or HUGGINGTWEETS_KEYS, or keep serve.host at 127.0.0.1"
        return Finding("endpoints", "warning", "everybody who reaches serve.host may ask the bots", advice)
    return Finding("endpoints", "ok", "ask for a key" if cluster["keys"] else "answer this machine only")
