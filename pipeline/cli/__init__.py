"""The commands: `huggingtweets COMMAND FLEET.yaml [arguments] [options]`; no logic here.

    huggingtweets run fleet.yaml --set train.epochs=2
    python -m pipeline status fleet.yaml --json

Exit codes: 0 every bot is fine; 3 some bots failed; 2 the command line or the YAML is wrong; 1 anything else;
130 interrupted by Ctrl-C.
"""

import contextlib
import functools
import importlib.metadata
import inspect
import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipeline.cli import cluster, maintain, make_bots, start, use_bots
from pipeline.core import logs
from pipeline.core.errors import UserError, one_line
from pipeline.core.proxies import bypass_proxies

# A module for each section of --help, in the order of work.
COMMANDS: dict[str, list[Callable[..., None]]] = {
    "Start": [start.demo, start.new, start.show, start.fetch],
    "Make bots": [
        make_bots.run,
        make_bots.prepare,
        make_bots.train,
        make_bots.evaluate,
        make_bots.publish,
        make_bots.status,
        make_bots.sweep,
        make_bots.pretrain,
    ],
    "Use bots": [
        use_bots.generate,
        use_bots.chat,
        use_bots.deploy,
        use_bots.undeploy,
        use_bots.verify,
        use_bots.detect,
        use_bots.export,
    ],
    "Look after a fleet": [maintain.sync, maintain.forget, maintain.readmit, maintain.gc],
    "Use a cluster": [cluster.doctor, cluster.submit],
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"huggingtweets-ray {importlib.metadata.version('huggingtweets-ray')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """Many people's tweets in, one talking bot per person out."""


class _InterruptedError(Exception):
    """Ctrl-C during a command, after the command has left its cluster."""


def _with_debug(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option --debug, which only `main` reads; Ctrl-C reaches `main` as an error."""

    @functools.wraps(command)
    def wrapper(debug: bool = False, **arguments: Any) -> None:
        try:
            command(**arguments)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error  # typer would print "Aborted!" and exit with 1

    option = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
    signature = inspect.signature(command)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), debug])  # type: ignore[attr-defined]
    wrapper.__annotations__ = command.__annotations__ | {"debug": option}
    return wrapper


for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_with_debug(_command))


def main() -> None:
    """The console script: runs a command; prints an error as one line, with --debug as a traceback."""
    debug = "--debug" in sys.argv
    bypass_proxies()
    if not logs.as_json():  # otherwise Ray configures logging, as JSON
        logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    # Ray may print on stdout at any time; with --json only the result belongs there (options.print_json)
    stdout = contextlib.redirect_stdout(sys.stderr) if "--json" in sys.argv else contextlib.nullcontext()
    try:
        with stdout:
            app()
    except UserError as error:
        _fail(error, error.exit_code, debug)
    except (_InterruptedError, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # threads that still wait for Ray's answers would crash while the interpreter ends
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
