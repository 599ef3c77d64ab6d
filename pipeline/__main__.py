"""The program: `huggingtweets COMMAND …`, the same as `python -m pipeline COMMAND …`."""

import os
import signal
import sys
import threading
from types import FrameType

_AGAIN_SECONDS = 0.1  # until a Ctrl-C that was ignored is raised again


def main() -> None:
    """Runs a command. Ctrl-C ends it at once while its modules are imported, which takes seconds."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored under nohup
        signal.signal(signal.SIGINT, end_at_once)
    from pipeline.cli import main as run_command

    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _unraisable
    run_command()


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Ends the process: an exception in the middle of an import would print its traceback."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Python ignores errors in some callbacks (of a fork, of a deletion); a Ctrl-C during one is raised again."""
    if ignored.exc_type is KeyboardInterrupt:
        main_thread = threading.main_thread().ident
        threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(ignored)


if __name__ == "__main__":
    main()
