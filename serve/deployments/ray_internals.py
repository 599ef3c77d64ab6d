"""What serving needs of Ray that has no public interface, in one place: an upgrade of Ray is checked here.

answer = call_separately(handle.answer.remote, "nasa", "0123456789ab", Question("My dream is"))
"""

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any

import ray
from ray._common import tls_utils
from ray.serve import context
from ray.serve._private.utils import generate_request_id

# Serve gives a deployment a random version each time it is run, and replaces all replicas. An own version, which
# `serve.deployment(version=…)` takes no more, keeps them; Serve warns about one unless it is told to be internal.
OWN_VERSION = {"_internal": True}


def call_separately(call: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a deployment handle with a request id of its own.

    Calls made within one HTTP request share its internal id. ConsistentHashRouter keeps waiting calls by that id, so of
    two at once it forgets one, which is then never answered.
    """

    def in_own_context() -> Any:
        own = dataclasses.replace(context._get_serve_request_context(), _internal_request_id=generate_request_id())
        context._serve_request_context.set(own)  # type: ignore[arg-type]
        return call(*arguments)

    return contextvars.copy_context().run(in_own_context)


def http_address() -> tuple[str, int]:
    """Host and port of the Serve that runs on this cluster; serve.status() does not have them."""
    config = context._get_global_client().http_config  # type: ignore[union-attr]
    return config.host, config.port


def declared_applications() -> set[str]:
    """The applications that a Serve config brought up; serve.status() does not tell them apart."""
    details = context._get_global_client().get_serve_details()  # type: ignore[union-attr]
    return {name for name, one in details["applications"].items() if one["source"] == "declarative"}


def listen_on_loopback() -> None:
    """On a cluster that this machine alone reaches, has this replica accept calls at 127.0.0.1, not at all addresses.

    For a replica's constructor: Serve opens the port right after it, and has no setting for its address.
    """
    from ray.serve._private import replica  # loaded in replicas alone

    if ray.util.get_node_ip_address() == "127.0.0.1":
        replica.add_port_to_grpc_server = lambda server, address: tls_utils.add_port_to_grpc_server(
            server, address.replace("[::]", "127.0.0.1")
        )
