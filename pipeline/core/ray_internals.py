"""What Ray knows and offers only under `ray._private`; no other module imports from there.

    free = available_resources_per_node()        # {node id: {"CPU": 2.0, …}}

pyproject.toml bounds Ray's version for the sake of this module. Try each of these functions when you raise it.
"""

from ray._private import state


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What is free now on each node, by node id. Ray's public calls know it only for the cluster as a whole."""
    return state.available_resources_per_node()
