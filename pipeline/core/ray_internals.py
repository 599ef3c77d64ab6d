"""What Ray knows and offers only under `ray._private`; no other module imports from there.

    free = available_resources_per_node()        # {node id: {"CPU": 2.0, …}}

pyproject.toml bounds Ray's version for the sake of this module. Try each of these functions when you raise it.
"""

from ray._private import auto_init_hook, services, state
from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What is free now on each node, by node id. Ray's public calls know it only for the cluster as a whole."""
    return state.available_resources_per_node()


def dashboard_address() -> str:
    """host:port of the cluster's dashboard; empty if it is off or not up yet."""
    return services.get_webui_url_from_internal_kv() or ""


def requires_token() -> bool:
    """Whether Ray requires a token on this node."""
    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)


def set_auto_connect(enabled: bool) -> None:
    """Whether a call without a connection makes Ray connect, or start a cluster. Ray reads its variable only once."""
    auto_init_hook.enable_auto_connect = enabled
