"""Copies a published bot's model folder out of the store.

export(store, "nasa", Path("./nasa"))           # as `huggingtweets export fleet.yaml nasa --to ./nasa`
"""

from pathlib import Path

from pipeline.core import checksums
from pipeline.core.errors import UsageError, UserError, one_line
from pipeline.core.store import Store


def export(store: Store, bot: str, to: Path) -> str:
    """Copies a bot's published version into the folder `to`, which must be new or empty; returns the version.

    Raises UserError if the bot is not published, if its files are not what was published (SHA256SUMS), or if the
    folder cannot be written; UsageError if the folder is not empty.
    """
    version = store.current_version(bot)
    if version is None:
        raise UserError(f"bot {bot} is not published; `huggingtweets run` makes it")
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise UsageError(f"--to {to}: the folder is not empty")
        for name in store.list(f"bots/{bot}/{version}"):
            (to / name).write_bytes(store.read(f"bots/{bot}/{version}/{name}"))
        checksums.check(to)
    except ValueError as error:
        raise UserError(f"bot {bot}: {error}") from None
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written: {error.strerror or one_line(error)}") from None
    return version
