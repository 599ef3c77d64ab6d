"""The Ray cluster that a command uses: the one in RAY_ADDRESS, else one on this machine, else a local one of its own.

    with session():
        ensure()                # connects, or starts a local cluster that ends with the block

`deploy` needs a cluster that outlives the command: `start_head` leaves one running, and `stop_head` ends it.
"""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from pipeline.core import logs, ray_internals
from pipeline.core.errors import UserError, one_line
from pipeline.core.proxies import NO_GRPC_PROXY, bypass_proxies

_HEAD_KEY = "huggingtweets:head"
_START_SECONDS = 60
_LONGEST_TMPDIR = 39  # bytes
NODE_LABEL = "ray.io/node-id"  # Ray puts it on every node
# for Ray's workers: two threads in each make small models 15 times slower; models are loaded from folders
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "no_grpc_proxy": NO_GRPC_PROXY,
    # Serve handles requests in one event loop and by gRPC: half of the cost of a stream, a third of the delay
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.http.proxy_errors:middlewares",
}

# for this process alone: what runs in the cluster needs none of them, and every user's code there could read them
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGTWEETS_KEYS", "WANDB_API_KEY", "X_BEARER_TOKEN")


@contextmanager
def session() -> Iterator[None]:
    """For the length of a command: at its end, disconnects from the cluster that `ensure` found or started.

    After Ctrl-C it ends the cluster that was started, and stays connected: threads that still wait for answers would
    crash the process if they met a closed connection. The process has to exit next, by `os._exit`.
    """
    already, interrupted = ray.is_initialized(), False
    try:
        yield
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if interrupted and not already:
            _kill_children()
        elif not already and ray.is_initialized():
            leave()


def _kill_children() -> None:
    """Kills what this process started: the processes of a cluster of its own, and theirs.

    It waits for nothing: as soon as they are gone, Ray would end this process, too, with messages of its own.
    """
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def ensure() -> None:
    """Connects to a cluster, or starts a local one. Raises UserError if none answers at RAY_ADDRESS."""
    if not join():
        _check_token(lasting=False)
        ray_internals.use_loopback()
        # workers inherit the environment of Ray's first process; with a runtime_env, each job would start its own
        with _environment():
            _init(address="local", include_dashboard=False)


def join() -> bool:
    """Connects to the cluster in RAY_ADDRESS, or else to one on this machine. Returns False if there is none.

    Raises UserError if it takes no calls: it asks for another token, or is just ending.
    """
    if ray.is_initialized():
        return True
    _shorten_ray_folder()
    given = os.environ.get("RAY_ADDRESS")
    if given and given != "auto":
        _join_given(given)
        return True
    # a head that was killed leaves its address behind, and Ray's own "auto" would wait minutes for it
    address = ray_internals.running_cluster()
    if not address or not _listens(address):
        return False
    ray_internals.use_token_if_available()
    if problem := _problem_of(address):
        beside = "to work beside it, set RAY_TMPDIR to a short folder of your own"
        raise UserError(f"a Ray cluster runs on this machine, at {address}, but {problem}; {beside}")
    _connect(address)
    return True


def _join_given(address: str) -> None:
    try:
        if "://" not in address:
            if not _listens(address):
                raise ConnectionError("nothing listens there")
            if problem := _problem_of(address):
                raise ConnectionError(problem)
        _connect(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"RAY_ADDRESS={address}: no Ray cluster answers: {one_line(error)}") from error


def _problem_of(address: str) -> str | None:
    """Why a cluster that listens at host:port takes no calls of ours, and what to do; None if it takes them."""
    bypass_proxies()
    return ray_internals.why_unreachable(address)


def _listens(address: str) -> bool:
    """Whether anything accepts connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=3):
            return True
    except (OSError, ValueError):
        return False


def _shorten_ray_folder() -> None:
    """Has Ray keep its files in /tmp where the temporary folder's path is too long for the sockets that are in it.

    The path of a socket has 107 bytes at most; Ray adds up to 68 to TMPDIR.
    """
    if "RAY_TMPDIR" not in os.environ and len(os.fsencode(os.environ.get("TMPDIR", ""))) > _LONGEST_TMPDIR:
        os.environ["RAY_TMPDIR"] = "/tmp"


def _check_token(lasting: bool) -> None:
    """Makes a token for this process alone where Ray has none and the home folder is read-only.

    A `lasting` head is used by later commands, which have to find its token in a file. Raises UserError there.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or ray_internals.has_token():
        return
    folder = Path.home() / ".ray"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return
    if lasting:
        raise UserError(
            f"{folder} cannot be written, and Ray keeps the token of its cluster there; write a long random word into "
            "another file and set RAY_AUTH_TOKEN_PATH to its path"
        )
    ray_internals.use_token(secrets.token_hex(32))


def capacity() -> tuple[int, int]:
    """Returns the numbers of GPUs and of cores in the cluster; at least one core."""
    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))


def this_node() -> dict[str, str]:
    """The label selector for an actor that must run on this process's node."""
    return {NODE_LABEL: ray.get_runtime_context().get_node_id()}


def leave() -> None:
    """Disconnects from the cluster; one that this process started ends.

    Threads that still wait for answers get an error instead of a new connection or a new cluster.
    """
    ray_internals.set_auto_connect(False)
    ray.shutdown()


@contextmanager
def _environment() -> Iterator[None]:
    """Sets the variables of a cluster's processes and takes out secrets, then restores what was there."""
    ours = _ENVIRONMENT | ray_internals.LOOPBACK_ONLY
    before = {name: os.environ[name] for name in (*ours, *_SECRETS) if name in os.environ}
    for name in _SECRETS:
        os.environ.pop(name, None)
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(before)


def _connect(address: str) -> None:
    if address.startswith("127.0.0.1:"):
        ray_internals.use_loopback()
    _init(address=address, runtime_env={"env_vars": _ENVIRONMENT})


def _init(**options: Any) -> None:
    bypass_proxies()
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    _quiet()
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file():
        token.chmod(0o600)  # Ray creates it readable for every user of the machine


def _quiet() -> None:
    """Keeps Ray's libraries from printing messages; what concerns the user is raised as an error."""
    from ray.data import DataContext

    for name in ("ray", "ray.data", "ray.train", "ray.serve", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if logs.as_json():
        logging.getLogger().setLevel(logging.WARNING)  # Ray sets it to INFO
    # Ray prints deaths of workers on stdout, among a command's results; those that matter are raised as errors
    ray_internals.print_worker_lines_by(lambda lines: logging.getLogger("ray").warning("\n".join(lines)))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def start_head(*options: str) -> str:
    """Starts a local head that outlives this command and connects to it. Returns a line that says how to stop it.

    `options` are those of `ray start`. The head is reached from this machine alone, and its output goes to a file. It
    requires Ray's authentication token, which is created if there is none. Raises UserError if it does not start within
    a minute.
    """
    _shorten_ray_folder()
    _check_token(lasting=True)
    ray_internals.create_token()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = Path(tempfile.mkdtemp(prefix="huggingtweets-head-")) / "head.log"
    ray_start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--block"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ray_start, "--disable-usage-stats", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=_head_environment(),
        )
    try:
        _wait_until_listening(f"127.0.0.1:{port}", process, log)
        _connect(f"127.0.0.1:{port}")
        ray_internals.kv_put(_HEAD_KEY, json.dumps({"pid": process.pid}).encode())
    except BaseException:
        _end_family(process.pid)
        raise
    return f"started a local Ray head that stays (process {process.pid}, output in {log}); stop it with `undeploy`"


def _head_environment() -> dict[str, str]:
    """This process's variables without secrets; submitted jobs find this interpreter and its programs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    return kept | ray_internals.LOOPBACK_ONLY | {"PATH": path}


def _wait_until_listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _listens(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError(f"a local Ray head did not start; its output is in {log}")
        time.sleep(0.2)


def stop_head() -> bool:
    """Disconnects, and ends this cluster if `start_head` started it. Returns whether it did."""
    known = ray_internals.kv_items(_HEAD_KEY).get(_HEAD_KEY)
    if not known:
        return False
    ray.shutdown()
    return _end_family(json.loads(known)["pid"])


def _end_family(pid: int) -> bool:
    """Ends a process and those that it started; returns False if it is gone already."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        os.kill(pid, signal.SIGTERM)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    _, alive = psutil.wait_procs(family, timeout=8)
    for one in alive:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            one.kill()
    return True
