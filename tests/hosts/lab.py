"""A cluster of several hosts on one machine, with nothing in common but a network and an S3 server.

    with Lab(hosts=3, root=checkout) as lab:
        lab.run(lab.OPERATOR, ["ray", "job", "submit", …])
        lab.kill(2); lab.start(2); lab.cut(3); lab.mend(3)

Each host is a network namespace with an address and a name of its own, and sees empty folders where the checkout
and the tests' files are; the packages alone are shared, read as from an image; ours too where it is `packaged`, else
jobs bring it. Host 1 is the head, without cores. Needs root, iproute2 and util-linux.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PREFIX = "htr"
NETWORK = "10.78.0"
SWITCH = f"{PREFIX}-switch"
S3 = f"http://{NETWORK}.254:5555"
HEAD = f"{NETWORK}.11"
# a host that is gone is noticed in seconds, not in Ray's default half minute
_QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1500",
    "RAY_health_check_failure_threshold": "3",
}


def unavailable() -> str | None:
    """Why there can be no lab here, or None."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "needs ip (iproute2) and unshare (util-linux)"
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "needs the right to make namespaces"


def _ip(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True).stdout


class Lab:
    def __init__(self, hosts: int, root: Path, redis: bool = False, packaged: bool = False):
        self.hosts, self.root = hosts, root
        self.state = Path(tempfile.mkdtemp(prefix="huggingtweets-hosts-", dir="/var/tmp"))
        self.keep = False  # the folder, when the lab is gone: there is something to look for in its logs
        self.venv = self.state / "venv"
        self.redis = f"{NETWORK}.254:6379" if redis else None
        self._processes: list[subprocess.Popen[bytes]] = []
        self.packaged = str(self.state / "image") if packaged else ""
        for package in ("pipeline", "serve") if packaged else ():
            shutil.copytree(root / package, self.state / "image" / package)
        (self.state / "token").write_text(secrets.token_hex(16))
        (self.state / "token").chmod(0o600)

    def __enter__(self) -> "Lab":
        try:
            self._wire()
            self._switch(["moto_server", "-H", "0.0.0.0", "-p", "5555"], "s3")
            if self.redis:
                self._switch(["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""], "redis")
            for host in range(1, self.hosts + 1):
                self.start(host)
            self._until(lambda: self.alive() == self.hosts, 120, "the hosts did not come up")
        except BaseException:
            self.keep = True
            self.down()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    def _wire(self) -> None:
        """A switch, and a cable from it to each host."""
        _ip("netns", "add", SWITCH)
        _ip("-n", SWITCH, "link", "set", "lo", "up")
        _ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        _ip("-n", SWITCH, "addr", "add", f"{NETWORK}.254/24", "dev", "br0")
        _ip("-n", SWITCH, "link", "set", "br0", "up")
        names = [f"{NETWORK}.{10 + host} {self.name(host)}" for host in range(1, self.hosts + 1)]
        for host in range(1, self.hosts + 1):
            space, end, port = self.name(host), f"e{host}", f"p{host}"
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("link", "add", end, "netns", space, "type", "veth", "peer", "name", port, "netns", SWITCH)
            _ip("-n", SWITCH, "link", "set", port, "master", "br0")
            _ip("-n", SWITCH, "link", "set", port, "up")
            _ip("-n", space, "addr", "add", f"{NETWORK}.{10 + host}/24", "dev", end)
            _ip("-n", space, "link", "set", end, "up")
            hosts = Path("/etc/netns") / space / "hosts"  # gloo takes 127.0.0.1 for its address without it
            hosts.parent.mkdir(parents=True, exist_ok=True)
            hosts.write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")

    @staticmethod
    def name(host: int) -> str:
        return f"{PREFIX}{host}"

    def environment(self) -> dict[str, str]:
        """What every process of the lab has in its environment."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "AWS_", "WANDB_"))}
        if self.redis:  # as KubeRay has it: what is left of the cluster waits for its head
            kept["RAY_gcs_rpc_server_reconnect_timeout_s"] = "600"
        return kept | {
            "PATH": f"{self.venv}/bin:{os.environ['PATH']}",
            "PYTHONPATH": self.packaged,
            "HOME": str(self.state),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.state / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
            "AWS_ENDPOINT_URL": S3,
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _enter(self, host: int, command: Sequence[str]) -> list[str]:
        """The command on a host, which has a name, the packages at a place of their own, and empty folders else."""
        empty = "; ".join(f"mount -t tmpfs tmpfs {folder}" for folder in (self.root, tempfile.gettempdir()))
        packages = f"mkdir -p {self.venv}; mount --bind {sys.prefix} {self.venv}"
        script = f'set -e; hostname {self.name(host)}; {packages}; {empty}; cd {self.state}; exec "$@"'
        return ["ip", "netns", "exec", self.name(host), "unshare", "--uts", "bash", "-c", script, "-", *command]

    def start(self, host: int) -> None:
        """Starts Ray on a host; its output goes to a file of the lab's."""
        role = ["--head", "--port=6379", "--dashboard-host=0.0.0.0", "--num-cpus=0"]
        environment = self.environment()
        if host == 1:
            environment |= _QUICK | ({"RAY_REDIS_ADDRESS": self.redis} if self.redis else {})
        else:
            role = [f"--address={HEAD}:6379", "--num-cpus=2"]
        address = f"{NETWORK}.{10 + host}"
        command = [f"{self.venv}/bin/python", "-m", "ray.scripts.scripts", "start", "--block", *role]
        command += [
            f"--node-ip-address={address}",
            "--object-store-memory=200000000",
            f"--temp-dir={self.state}/ray{host}",
        ]
        # Ray on a busy host may give up while it starts: it is started again, as a pod's container is. A head that was
        # killed leaves ray_current_cluster, and Ray takes it for one that runs
        again = f'until rm -f {self.state}/ray{host}/ray_current_cluster; "$@"; do sleep 1; done'
        self._spawn(self._enter(host, ["bash", "-c", again, "-", *command]), self.name(host), environment)

    def _switch(self, command: Sequence[str], log: str) -> None:
        program = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program, f"{command[0]} is not installed"
        self._spawn(["ip", "netns", "exec", SWITCH, program, *command[1:]], log, self.environment())

    def _spawn(self, command: Sequence[str], log: str, environment: dict[str, str]) -> None:
        with (self.state / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        self._processes.append(process)

    def run(
        self, host: int, command: Sequence[str], timeout: float = 600, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host; changes are to its environment."""
        environment = self.environment() | {"RAY_ADDRESS": f"{HEAD}:6379"} | changes
        return subprocess.run(
            self._enter(host, command), env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def outside(self, command: Sequence[str], **options: object) -> "subprocess.Popen[str]":
        """Starts a command as the operator, whose machine is on the network and has the checkout; not a host."""
        environment = self.environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.Popen(
            ["ip", "netns", "exec", SWITCH, *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.root,
            **options,  # type: ignore[call-overload]
        )

    def operator(self, code: str) -> str:
        """Runs Python code as the operator; what it printed."""
        process = self.outside([sys.executable, "-c", code])
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        return out

    def alive(self) -> int:
        """How many hosts the head takes for alive; 0 until it runs a task, for after a loss it still takes its former
        self for alive."""
        code = (
            "import logging, ray; ray.init(logging_level=logging.ERROR, log_to_driver=False); "
            "here = ray.remote(num_cpus=0, resources={'node:__internal_head__': 0.001})(lambda: 0); "
            "ray.get(here.remote(), timeout=30); print(sum(node['Alive'] for node in ray.nodes()))"
        )
        try:
            done = self.run(1, [f"{self.venv}/bin/python", "-c", code], timeout=60)
        except subprocess.TimeoutExpired:
            return 0
        return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else 0

    def kill(self, host: int) -> None:
        """Everything on a host ends at once, as with its power."""
        for pid in _ip("netns", "pids", self.name(host), check=False).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def cut(self, host: int) -> None:
        _ip("-n", self.name(host), "link", "set", f"e{host}", "down")

    def mend(self, host: int) -> None:
        """The cable is back. A host that was declared dead does not rejoin: kill it and start it."""
        _ip("-n", self.name(host), "link", "set", f"e{host}", "up")

    def s3_gone(self) -> None:
        """Nobody answers at the store's address."""
        _ip("-n", SWITCH, "addr", "del", f"{NETWORK}.254/24", "dev", "br0")

    def s3_back(self) -> None:
        _ip("-n", SWITCH, "addr", "add", f"{NETWORK}.254/24", "dev", "br0")

    def kill_driver(self) -> bool:
        """The process of the fleet's command on the head, killed; False where none runs."""
        for pid in _ip("netns", "pids", self.name(1), check=False).split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if Path(f"/proc/{pid}").exists() else []
            if b"pipeline" in words and b"run" in words and words[0].endswith(b"python"):
                os.kill(int(pid), signal.SIGKILL)
                return True
        return False

    def _until(self, holds: object, seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{otherwise}; the logs are in {self.state}")
            time.sleep(1)

    def down(self) -> None:
        """Ends every process of the lab's, by its namespace, and takes namespaces and folder away."""
        for space in [SWITCH, *(self.name(host) for host in range(1, self.hosts + 1))]:
            for pid in _ip("netns", "pids", space, check=False).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            _ip("netns", "del", space, check=False)
            shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)
        for process in self._processes:
            process.wait()
        if not self.keep:
            shutil.rmtree(self.state, ignore_errors=True)
