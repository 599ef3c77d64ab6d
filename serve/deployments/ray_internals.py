"""What serving needs of Ray that has no public interface, in one place: an upgrade of Ray is checked here.

answer = call_separately(handle.answer.remote, "nasa", "0123456789ab", Question("My dream is"))
"""

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any

from ray.serve import context
from ray.serve._private.utils import generate_request_id


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
