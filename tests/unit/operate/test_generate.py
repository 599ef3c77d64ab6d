"""A published bot in this process: its files are checked before it generates text."""

from pathlib import Path

import pytest

from pipeline.core import checksums
from pipeline.core.errors import UserError
from pipeline.core.fleet import load
from pipeline.core.store import Store
from pipeline.operate.generate import LocalBot
from tests.support.serve_fleet import publish


def test_a_bot_whose_weights_were_changed_after_publishing_is_refused(base, make_fleet):
    fleet = load(make_fleet())
    storage = Path(Store.of(fleet).root)
    folder = storage / "bots" / "ada" / publish(storage, base, "ada")
    sums = checksums.of({path.name: path.read_bytes() for path in folder.iterdir()})
    (folder / checksums.FILE).write_bytes(sums)
    assert len(LocalBot.load(fleet, "ada").generate("Engine", num_return_sequences=2)) == 2

    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # the file still loads
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"bot ada: .*model\.safetensors is not what was published"):
        LocalBot.load(fleet, "ada")
