"""Checks a cluster before a fleet runs on it: what `huggingtweets doctor fleet.yaml` does.

    for finding in doctor(fleet): print(finding.level, finding.check, finding.found)

Here every node is asked what it has (`inspect` runs there); diagnosis.py decides what the answers mean.
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
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.errors import one_line
from pipeline.core.fleet import Fleet
from pipeline.core.own_code import PROJECT, code_hash
from pipeline.core.proxies import open_directly
from pipeline.core.ray_internals import dashboard_address, requires_token
from pipeline.core.ray_session import ensure
from pipeline.core.store import Store
from pipeline.operate.diagnosis import PACKAGES, Cluster, Finding, Node, diagnose
from pipeline.plan.job import open_job
from serve.deploy import is_public
from serve.http import keys

_NODE_SECONDS = 120  # to wait for a node's answer
_AGENT_PORT = 52365  # of each node's dashboard agent, which starts jobs too
_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


def doctor(fleet: Fleet) -> list[Finding]:
    """Inspects every node of the cluster, the fleet's store and the ports that should require a token."""
    store = open_job(fleet).store
    ensure()
    nodes, unreachable = _inspect_all(store)
    dashboard = dashboard_address()
    urls = {dashboard: f"http://{dashboard}/api/jobs/"} if dashboard else {}
    for address in (*nodes, *unreachable):
        urls[f"{address}:{_AGENT_PORT}"] = f"http://{address}:{_AGENT_PORT}/api/job_agent/jobs/0/logs"
    cluster = Cluster(
        dashboard=dashboard,
        open_ports=tuple(port for port, url in urls.items() if _answers_without_token(url)),
        public=is_public(fleet.serve.host),
        keys=bool(keys.load(fleet.serve)),
    )
    return diagnose(cluster, nodes, unreachable)


def _inspect_all(store: Store) -> tuple[dict[str, Node], dict[str, str]]:
    """What each node answered, and the error of each node that did not answer; both by the node's address."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    task: Any = ray.remote(num_cpus=0, max_retries=0)(inspect)
    probe = f"work/.doctor-{uuid.uuid4().hex}"
    store.write(probe, b"driver")
    nodes: dict[str, Node] = {}
    unreachable: dict[str, str] = {}
    try:
        answers = []
        for node in alive:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answers.append((node, task.options(scheduling_strategy=here).remote(store, probe)))
        for node, answer in answers:
            address = node["NodeManagerAddress"]
            try:
                inspected: Node = ray.get(answer, timeout=_NODE_SECONDS)
                nodes[address] = replace(inspected, gpus_in_ray=node["Resources"].get("GPU", 0))
            except Exception as error:
                unreachable[address] = one_line(error)
    finally:
        store.delete(probe)
    return nodes, unreachable


def inspect(store: Store, probe: str) -> Node:
    """What this node has; a Ray task. `probe` is a file of the store that the driver wrote."""
    gpus = _gpus()
    return Node(
        versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        code=code_hash(PROJECT / "pipeline", PROJECT / "serve"),
        time=time.time(),
        token=requires_token(),
        gpus=gpus,
        gpus_in_torch=_gpus_in_torch() if gpus else "0",
        host=socket.gethostname(),
        host_address=_address_of_host(),
        store_problem=_store_problem(store, probe),
        disk_free=shutil.disk_usage("/tmp").free,
        memory_free=psutil.virtual_memory().available,
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0,
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _gpus_in_torch() -> str:
    """The number of GPUs that torch can use, or an error; asked in a process of its own.

    Ray hides the GPUs from this task, which has claimed none.
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        command = [sys.executable, "-c", _COUNT_GPUS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()
    except subprocess.SubprocessError as error:
        return one_line(error)


def _gpus() -> tuple[str, ...]:
    """Name and driver of each GPU, as nvidia-smi prints them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
    except (OSError, subprocess.SubprocessError):
        return ()


def _address_of_host() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as error:
        return f"none ({error})"


def _store_problem(store: Store, probe: str) -> str:
    """Why this node cannot use the store; empty if it reads what the driver wrote and can write itself."""
    try:
        if store.read(probe) != b"driver":
            return "it reads something else than the driver wrote"
        store.check_writable()
    except FileNotFoundError:
        return "it does not see what the driver wrote: the storage is not shared"
    except Exception as error:
        return one_line(error)
    return ""


def _answers_without_token(url: str) -> bool:
    """Whether a client without a token gets an answer other than a refusal."""
    try:
        with open_directly(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in (401, 403)
    except OSError:
        return False  # nothing listens there, or this machine cannot reach it
