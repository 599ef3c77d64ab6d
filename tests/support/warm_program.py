"""A process that has imported what `run` needs and starts commands by fork: many commands at the cost of one import.

program = WarmProgram(environment())
command = program.start(["run", "fleet.yaml"], log)     # in a process group of its own
os.killpg(command, signal.SIGINT)
code = program.exit_code()
program.stop()
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.toys import ROOT


class WarmProgram:
    """Starts one command at a time; the imports take place here, before the first one."""

    def __init__(self, environment: dict[str, str]):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, env=environment, text=True, bufsize=1, **pipes
        )
        assert self._line() == "ready"

    def start(self, arguments: list[str], log: Path) -> int:
        """Starts a command whose output goes to `log`; returns its process id, which is also its group's."""
        log.touch()
        assert self.process.stdin
        self.process.stdin.write("\t".join([str(log), *arguments]) + "\n")
        return int(self._line())

    def exit_code(self) -> int:
        """Waits for the end of the command."""
        return int(self._line())

    def stop(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def _serve() -> None:
    import pipeline.cli
    import pipeline.evaluate.driver
    import pipeline.publish.publishing
    import pipeline.run
    import pipeline.train.driver  # noqa: F401
    from pipeline import __main__ as program

    print("ready", flush=True)
    for line in sys.stdin:
        log, *arguments = line.rstrip("\n").split("\t")
        if not (command := os.fork()):
            signal.signal(signal.SIGINT, program.end_at_once)  # as in a new process that imports its modules
            os.setsid()
            print(os.getpid(), flush=True)
            output = os.open(log, os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["huggingtweets", *arguments]
            program.main()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
