"""Copies a published bot's model folder out of the store.

export(store, "nasa", Path("./nasa"))           # as `huggingtweets export fleet.yaml nasa --to ./nasa`
export_gguf(store, "nasa", Path("./nasa"))      # with --gguf: the file nasa.gguf in that folder
"""

import tempfile
from pathlib import Path

from pipeline.core import checksums
from pipeline.core.errors import UsageError, UserError, one_line
from pipeline.core.store import Store
from pipeline.publish import gguf_file


def export(store: Store, bot: str, to: Path) -> str:
    """Copies a bot's published version into the folder `to`, which must be new or empty; returns the version.

    Raises UserError if the bot is not published, if its files are not what was published (SHA256SUMS), or if the
    folder cannot be written; UsageError if the folder is not empty.
    """
    version = store.current_version(bot)
    if version is None:
        raise UserError(f"bot {bot} is not published; `huggingtweets run` makes it")
    _make_empty(to)
    try:
        for name in store.list(f"bots/{bot}/{version}"):
            (to / name).write_bytes(store.read(f"bots/{bot}/{version}/{name}"))
        checksums.check(to)
    except ValueError as error:
        raise UserError(f"bot {bot}: {error}") from None
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written: {error.strerror or one_line(error)}") from None
    return version


def export_gguf(store: Store, bot: str, to: Path) -> str:
    """Writes a bot's published version into the folder `to` as one file for llama.cpp; returns the version.

    Raises errors as `export` does, and UserError if the bot is not on a GPT-2.
    """
    with tempfile.TemporaryDirectory() as folder:
        version = export(store, bot, Path(folder))
        _make_empty(to)
        gguf_file.write(Path(folder), to / f"{bot}.gguf", bot)
    return version


def _make_empty(to: Path) -> None:
    """Makes the folder. Raises UsageError if it is not empty, UserError if it cannot be made."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise UsageError(f"--to {to}: the folder is not empty")
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written: {error.strerror or one_line(error)}") from None
