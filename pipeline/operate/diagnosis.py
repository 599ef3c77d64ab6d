"""What the nodes' answers to the doctor mean, and what to do about them. Pure functions, no Ray.

findings = diagnose(cluster, {"10.0.0.1": node}, {})
[finding.advice for finding in findings if finding.level != "ok"]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PACKAGES = ("huggingtweets-ray", "ray", "torch", "transformers", "deepspeed", "pyarrow", "wandb")
_GIB = 2**30
_MIN_DISK = 10 * _GIB
_MIN_MEMORY = 4 * _GIB
_MIN_SHARED_MEMORY = _GIB
_MAX_CLOCK_SKEW = 60.0  # seconds; object stores refuse requests that are a quarter of an hour off
_SHOWN = 5  # nodes that a finding names in full

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check over all nodes. An error would cost bots; an "ok" needs no advice."""

    check: str
    level: Level
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Node:
    """What one node has. Sizes are in bytes."""

    versions: dict[str, str]  # of Python and of PACKAGES; "missing" if a package is not installed
    code: str  # hash of this project's own files
    time: float  # seconds since the epoch
    token: bool  # whether Ray requires a token there
    gpus: tuple[str, ...]  # "name, driver" of each, from nvidia-smi
    gpus_in_torch: str  # the number that torch can use, or the error that it raised
    host: str
    host_address: str  # what the host name resolves to, or "none (reason)"
    store_problem: str  # why the node cannot use the fleet's store; empty if it can
    disk_free: int
    memory_free: int
    shared_memory: int
    gpus_in_ray: float = 0.0  # the number that the node's `ray start` announced


@dataclass(frozen=True)
class Cluster:
    """What is asked once for the whole cluster."""

    dashboard: str  # host:port; empty if it is off
    open_ports: tuple[str, ...]  # host:port of each dashboard or agent that answers without a token
    public: bool  # whether serve.host is reachable from other machines
    keys: bool  # whether the endpoints require a key


def diagnose(cluster: Cluster, nodes: dict[str, Node], unreachable: dict[str, str]) -> list[Finding]:
    """A finding for each check. `nodes` and `unreachable` (with the error) are keyed by the nodes' addresses."""
    findings = [_unreachable(nodes, unreachable)]
    if not nodes:
        return findings
    local = all(address.startswith("127.") for address in (*nodes, *unreachable))
    return [
        *findings,
        _versions(nodes),
        _gpus(nodes),
        _each(
            "store",
            nodes,
            lambda node: node.store_problem,
            "use storage that every node reaches (s3://…, gs://…), with its keys in every node's environment",
        ),
        _each(
            "host name",
            nodes,
            _loopback if len(nodes) > 1 else lambda node: "",
            "worker groups that span nodes cannot connect there; remove the 127.0.x line from that node's /etc/hosts",
        ),
        _clocks(nodes),
        _each(
            "disk",
            nodes,
            lambda node: _too_little(node.disk_free, _MIN_DISK),
            "free space in /tmp, where Ray spills objects and keeps logs",
            "warning",
        ),
        _each(
            "memory",
            nodes,
            lambda node: _too_little(node.memory_free, _MIN_MEMORY),
            "fewer lanes on that node, or a larger node",
            "warning",
        ),
        _each(
            "shared memory",
            nodes,
            lambda node: _too_little(node.shared_memory, _MIN_SHARED_MEMORY),
            "a larger /dev/shm (docker run --shm-size=2g; an emptyDir of medium Memory in Kubernetes)",
            "warning",
        ),
        _each(
            "token",
            nodes,
            lambda node: "" if node.token or local else "requires none",  # nobody else reaches a local cluster
            "start that node with RAY_AUTH_MODE=token: anyone who reaches Ray's ports can run code on every node",
        ),
        _dashboard(cluster),
        _endpoints(cluster),
    ]


def _each(
    check: str, nodes: dict[str, Node], problem: Callable[[Node], str], advice: str, level: Level = "error"
) -> Finding:
    """One finding over all nodes; `problem` returns what is wrong with a node, or an empty string."""
    return _summary(check, {address: problem(node) for address, node in nodes.items()}, advice, level)


def _unreachable(nodes: dict[str, Node], unreachable: dict[str, str]) -> Finding:
    problems = unreachable | dict.fromkeys(nodes, "")
    return _summary("nodes answer", problems, "look at that node's Ray logs", "error")


def _summary(check: str, problems: dict[str, str], advice: str, level: Level) -> Finding:
    bad = [f"{address}: {problem}" for address, problem in problems.items() if problem]
    if not bad:
        return Finding(check, "ok", f"{len(problems)} nodes" if len(problems) > 1 else "1 node")
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return Finding(check, level, "; ".join(bad[:_SHOWN]) + more, advice)


def _loopback(node: Node) -> str:
    wrong = node.host_address.startswith(("127.", "none"))
    return f"{node.host} resolves to {node.host_address}" if wrong else ""


def _too_little(size: int, least: int) -> str:
    return f"{size / _GIB:.1f} GiB, less than {least / _GIB:.0f}" if size < least else ""


def _clocks(nodes: dict[str, Node]) -> Finding:
    median = sorted(node.time for node in nodes.values())[len(nodes) // 2]

    def skew(node: Node) -> str:
        seconds = node.time - median
        return f"{seconds:+.0f} s from the other nodes" if abs(seconds) > _MAX_CLOCK_SKEW else ""

    advice = "set that clock by NTP (chrony): object stores refuse requests with a wrong time"
    return _each("clocks", nodes, skew, advice, "warning")


def _versions(nodes: dict[str, Node]) -> Finding:
    differing = []
    for package in ("python", *PACKAGES):
        addresses: dict[str, list[str]] = {}  # by version
        for address, node in nodes.items():
            addresses.setdefault(node.versions[package], []).append(address)
        if len(addresses) > 1 or "missing" in addresses:
            found = ", ".join(f"{version} on {where[0]}" for version, where in addresses.items())
            differing.append(f"{package} {found}")
    if len({node.code for node in nodes.values()}) > 1:
        differing.append("the code of huggingtweets-ray differs between nodes")
    if differing:
        return Finding("versions", "error", "; ".join(differing), "start every node from one image")
    versions = next(iter(nodes.values())).versions
    return Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _gpus(nodes: dict[str, Node]) -> Finding:
    """Compares what nvidia-smi, Ray and torch see on each node."""
    seen = sorted({gpu for node in nodes.values() for gpu in node.gpus})
    in_ray = sum(node.gpus_in_ray for node in nodes.values())
    if not seen and not in_ray:
        return Finding("GPUs", "warning", "none: bots are trained on CPUs", "add GPU nodes for anything beyond mini")
    not_in_ray = _each(
        "GPUs",
        nodes,
        lambda node: (
            f"{len(node.gpus)} installed, Ray knows {node.gpus_in_ray:.0f}" if len(node.gpus) > node.gpus_in_ray else ""
        ),
        "pass --num-gpus to that node's `ray start`",
    )
    not_in_torch = _each(
        "GPUs",
        nodes,
        lambda node: (
            f"{len(node.gpus)} installed, torch can use {node.gpus_in_torch}"
            if node.gpus and node.gpus_in_torch != str(len(node.gpus))
            else ""
        ),
        "a torch built for CUDA, and a driver that is new enough for it (torch.version.cuda)",
    )
    for finding in (not_in_ray, not_in_torch):
        if finding.level == "error":
            return finding
    if len({gpu.rpartition(",")[2] for gpu in seen}) > 1:
        return Finding("GPUs", "warning", f"several drivers: {'; '.join(seen)}", "use one driver version")
    return Finding("GPUs", "ok", f"{in_ray:.0f}, {'; '.join(seen) or 'unknown: no nvidia-smi'}")


def _dashboard(cluster: Cluster) -> Finding:
    """The dashboard and every node's agent accept jobs, so both must require a token."""
    if cluster.open_ports:
        advice = "start the cluster with RAY_AUTH_MODE=token: anyone who reaches the port can run code on every node"
        found = f"{', '.join(cluster.open_ports[:_SHOWN])} answers without a token"
        return Finding("dashboard", "error", found, advice)
    return Finding("dashboard", "ok", f"{cluster.dashboard} requires a token" if cluster.dashboard else "off")


def _endpoints(cluster: Cluster) -> Finding:
    if cluster.public and not cluster.keys:
        advice = "set serve.keys_file or HUGGINGTWEETS_KEYS, or keep serve.host at 127.0.0.1"
        return Finding("endpoints", "warning", "anyone who can reach serve.host can use the bots", advice)
    return Finding("endpoints", "ok", "require a key" if cluster.keys else "reachable from this machine only")
