"""Removes bots from the disks of a cluster's nodes, where endpoints keep what they fetched from an object store.

removed, problems = remove_copies(store, "nasa", dry_run=False)
"""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.errors import one_line
from pipeline.core.store import Store

_NODE_SECONDS = 60


def remove_copies(store: Store, handle: str, dry_run: bool) -> tuple[list[str], dict[str, str]]:
    """Removes the copies of a person's bots from this machine and, if connected to a cluster, from all its nodes.

    Returns the names of the copies, and why nodes could not be asked, by their addresses.
    """
    if store.local:
        return [], {}  # it is read in place
    found: set[str] = set()
    problems: dict[str, str] = {}
    try:
        found.update(_remove(store, handle, dry_run))
    except OSError as error:
        problems["of this command"] = one_line(error)
    if not ray.is_initialized():
        return sorted(found), problems
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_remove)
    answers = []
    for node in ray.nodes():
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answers.append((node, task.options(scheduling_strategy=here).remote(store, handle, dry_run)))
    for node, answer in answers:
        try:
            found.update(ray.get(answer, timeout=_NODE_SECONDS))
        except Exception as error:
            problems[node["NodeManagerAddress"]] = one_line(error)
    return sorted(found), problems


def _remove(store: Store, handle: str, dry_run: bool) -> list[str]:
    """Removes the copies from the machine where this runs."""
    from serve.deployments.disk_cache import Cache

    cache = Cache(store, budget=0)
    return cache.copies(handle) if dry_run else cache.remove(handle)
