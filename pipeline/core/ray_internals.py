"""What only Ray's private modules offer; in `pipeline`, no other module imports from them.

    free = available_resources_per_node()        # {node id: {"CPU": 2.0, …}}

pyproject.toml bounds Ray's version for the sake of this module. Try each of these functions when you raise it.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import grpc
import ray
from ray._common.filters import CoreContextFilter
from ray._common.formatters import JSONFormatter, TextFormatter
from ray._private import auto_init_hook, grpc_utils, ray_constants, services, state, worker
from ray._private.authentication import authentication_token_setup
from ray._raylet import (  # type: ignore[attr-defined]
    AuthenticationMode,
    AuthenticationTokenLoader,
    get_authentication_mode,
)
from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc
from ray.experimental import internal_kv
from ray.util.placement_group import PlacementGroup

_AliveRequest: Any = gcs_service_pb2.CheckAliveRequest  # type: ignore[attr-defined]
_GroupRecord: Any = gcs_pb2.PlacementGroupTableData  # type: ignore[attr-defined]


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What is free now on each node, by node id. Ray's public calls know it only for the cluster as a whole."""
    return state.available_resources_per_node()


def abandoned_placement_groups() -> list[PlacementGroup]:
    """This job's placement groups whose creator has died. Ray keeps what they reserve until the job ends.

    Ray's public calls do not show who created a placement group.
    """
    job = ray.get_runtime_context().get_job_id()
    tables = state.state._connect_and_get_accessor().get_placement_group_table()
    groups = [_GroupRecord.FromString(table) for table in tables]
    return [
        PlacementGroup(ray.PlacementGroupID(group.placement_group_id))
        for group in groups
        if group.creator_actor_dead
        and group.creator_job_id.hex() == job
        and not group.is_detached
        and group.state != _GroupRecord.REMOVED
    ]


def dashboard_address() -> str:
    """host:port of the cluster's dashboard; empty if it is off or not up yet."""
    return services.get_webui_url_from_internal_kv() or ""


def requires_token() -> bool:
    """Whether Ray requires a token on this node."""
    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)


def set_auto_connect(enabled: bool) -> None:
    """Whether a call without a connection makes Ray connect, or start a cluster. Ray reads its variable only once."""
    auto_init_hook.enable_auto_connect = enabled


def running_cluster() -> str | None:
    """host:port of a cluster that runs on this machine, as Ray's own commands find it."""
    return services.find_bootstrap_address(None)


def why_unreachable(address: str, seconds: float = 10.0) -> str | None:
    """Why the cluster at host:port takes no calls of this process, and what to do; None if it takes them.

    `ray.init` would try for 20 seconds to some minutes, and print a line a second from its C++ part.
    """
    channel = grpc_utils.init_grpc_channel(address)
    try:
        gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).CheckAlive(_AliveRequest(), timeout=seconds)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            return (
                "it asks for another token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file with its token"
            )
        return f"it does not answer within {seconds:g} s; it may just be ending: try again"
    finally:
        channel.close()
    return None


# In the environment of a head: its processes listen on 127.0.0.1 alone, as they do on macOS and Windows, whatever the
# name says. Otherwise Ray replaces 127.0.0.1, even in --node-ip-address, by the machine's address.
LOOPBACK_ONLY = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}


def use_loopback() -> None:
    """Has this process find and start clusters at 127.0.0.1: what LOOPBACK_ONLY is for a head, which it is to reach.

    Ray reads the variable only once, when it is imported.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False


# its warnings that a token is in use, or is not, ask nothing of the user of our commands
authentication_token_setup.logger.setLevel(logging.ERROR)


def has_token() -> bool:
    """Whether Ray finds an authentication token: in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token."""
    return AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


def use_token(token: str) -> None:
    """Makes this the token of this process and of those that it starts, in place of one in a file."""
    os.environ["RAY_AUTH_TOKEN"] = token
    AuthenticationTokenLoader.instance().reset_cache()


def use_token_if_available() -> None:
    """Has this process present Ray's token where this machine has one. `ray.init` does it only for its own clusters."""
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def create_token() -> None:
    """Makes Ray's token where there is none, and requires it: as `ray.init` does for a cluster of its own."""
    authentication_token_setup.enable_token_auth_by_default()
    authentication_token_setup.ensure_token_if_auth_enabled(create_token_if_missing=True)


def print_worker_lines_by(write: Callable[[list[str]], None]) -> None:
    """Has `write` print the lines that workers send to the driver; Ray itself writes them to stdout."""
    worker.print_to_stdstream = lambda data, ignore_prefix: write(data["lines"])


def kv_put(key: str, value: bytes) -> None:
    """Writes to the key-value store of Ray's control service, which lives as long as the cluster."""
    internal_kv._internal_kv_put(key.encode(), value)


def kv_create(key: str, value: bytes) -> bool:
    """Writes a key that is not there yet; returns False, and changes nothing, if it is."""
    return not internal_kv._internal_kv_put(key.encode(), value, overwrite=False)


def kv_items(prefix: str) -> dict[str, bytes]:
    """What the key-value store has under keys that begin with `prefix`."""
    keys = internal_kv._internal_kv_list(prefix.encode())
    return {key.decode(): internal_kv._internal_kv_get(key) for key in keys}


def kv_delete(key: str) -> None:
    """Removes a key, if it is there."""
    internal_kv._internal_kv_del(key.encode())


def job_id() -> str:
    """The Ray job of this process: it ends with the process."""
    return ray.get_runtime_context().get_job_id()


def job_is_running(job: str) -> bool:
    """Whether the cluster knows this job, and it has not ended."""
    return any(one["JobID"] == job and not one["IsDead"] for one in state.jobs())


def log_handler(as_json: bool) -> logging.Handler:
    """A handler for stderr with Ray's format: JSON where it is asked for or the job logs so, else text."""
    job: Any = worker.global_worker.job_logging_config if worker.global_worker.connected else None
    handler = logging.StreamHandler()
    if as_json or (job and job.encoding == "JSON"):
        handler.setFormatter(JSONFormatter())
        handler.addFilter(CoreContextFilter())
    else:
        handler.setFormatter(TextFormatter())
    return handler
