"""A fleet's published bots on Serve: what the commands `deploy` and `undeploy` do around serve/deploy.py.

    deployed = deploy(fleet, None, print)       # {"address": "http://127.0.0.1:8000", "deployed": [...], ...}
    removed = undeploy(fleet, None, print)

If no cluster runs, `deploy` starts a local Ray head that stays, and `undeploy` stops it once nothing is served.
"""

from collections.abc import Callable
from typing import Any

from pipeline.core import signing_keys, watermark_keys
from pipeline.core.fleet import Fleet
from pipeline.core.machine_lock import machine_lock
from pipeline.core.names import served_name
from pipeline.core.ray_session import join, session, start_head, stop_head
from pipeline.operate import status
from pipeline.operate.published import published
from serve import deploy as serving
from serve.http.keys import load as load_keys

_WAIT_SECONDS = 900.0  # for another command that deploys


def deploy(fleet: Fleet, only: list[str] | None, say: Callable[[str], None], new_key: bool = False) -> dict[str, Any]:
    """Deploys the published bots (`only` these, if given); returns when every one of them is ready.

    With `new_key` their answers are signed with a new key, and marked with a new secret where they are marked.
    `say` receives the lines for the user.
    Returns what serve/deploy.py's `deploy` does.
    """
    job, versions = published(fleet, only)
    if new_key:
        signing_keys.renew(job.store)
        if fleet.serve.watermark:
            watermark_keys.renew(job.store)
        marked = " and marked" if fleet.serve.watermark else ""
        say(f"answers are signed{marked} with a new key; `huggingtweets publish` writes it into the model cards")
    with session(), machine_lock("deploy", _WAIT_SECONDS, say):
        started = not join()
        if started:
            say(start_head("--include-dashboard=false"))
        try:
            deployed = serving.deploy(fleet, job.store, versions, whole=only is None)
        except Exception:
            if started and stop_head():
                say("stopped the local Ray head again: nothing is served")
            raise
    for bot in sorted(versions):
        say(f"{bot}: {deployed['address']}/bots/{served_name(bot, fleet.fleet, fleet.serve.full_names)}")
    if deployed["opened"]:
        say(
            f"warning: {fleet.fleet} required a key until now and requires none any more; if that is not meant, set "
            "serve.keys_file or HUGGINGTWEETS_KEYS and deploy again"
        )
    if serving.is_public(deployed["host"]) and not load_keys(fleet.serve):
        say(
            f"warning: anyone who can reach http://{deployed['host']}:{fleet.serve.port} can use the bots; set "
            "serve.keys_file or HUGGINGTWEETS_KEYS to require a key"
        )
    return deployed


def undeploy(fleet: Fleet, only: list[str] | None, say: Callable[[str], None]) -> list[str]:
    """Removes the fleet's endpoints (`only` these, if given); returns the bots that were removed."""
    removed: list[str] = []
    with session(), machine_lock("deploy", _WAIT_SECONDS, say):
        if join():
            removed = serving.undeploy(fleet.fleet, only)
            if not serving.served() and stop_head():
                say("stopped the local Ray head")
    say(f"removed {len(removed)} endpoints")
    if not removed and status.served(fleet):
        say(
            f"warning: http://{fleet.serve.host}:{fleet.serve.port} still serves bots of {fleet.fleet}, from a Ray "
            "cluster that this command does not see; set RAY_ADDRESS to it"
        )
    return removed
