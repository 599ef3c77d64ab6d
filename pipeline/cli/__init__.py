"""The commands: `huggingtweets COMMAND FLEET.yaml [arguments] [options]`; no logic here.

    huggingtweets run fleet.yaml --set train.epochs=2
    python -m pipeline status fleet.yaml --json

Exit codes: 0 every bot is fine; 3 some bots failed; 2 the command line or the YAML is wrong; 1 anything else.
"""

import contextlib
import logging
import sys

from pipeline.cli import data, operate, serving, steps  # noqa: F401  (their commands register themselves)
from pipeline.cli.options import app
from pipeline.core import logs
from pipeline.core.errors import UserError, one_line


def main() -> None:
    """The console script: one clear line per error, the traceback behind --debug."""
    debug = "--debug" in sys.argv
    if not logs.as_json():  # else Ray says it, as JSON
        logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    # Ray's processes may say something on stdout at any time; with --json only the answer belongs there
    elsewhere = contextlib.redirect_stdout(sys.stderr) if "--json" in sys.argv else contextlib.nullcontext()
    try:
        with elsewhere:
            app()
    except UserError as error:
        _fail(error, error.exit_code, debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(error, 1, debug)


def _fail(error: Exception, code: int, debug: bool) -> None:
    if debug:
        raise error
    if logs.as_json():
        logs.log().error(one_line(error))
    else:
        print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(code)
