"""Writes report.json and report.html, after every command.

report = write_report(job.store, fleet.fleet, bots, seconds)
"""

import json
from collections.abc import Sequence

from pipeline.core.json_file import json_bytes
from pipeline.core.store import Store
from pipeline.evaluate.voice_groups import MAP
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.report.fleet_plots import FEW
from pipeline.report.page import page
from pipeline.report.rows import Report, row_of, without_samples

WITH_SAMPLES = 10_000  # bots of a fleet whose rows have the samples; of 100,000 bots they would take 0.3 GB


def write_report(store: Store, fleet: str, bots: Sequence[Bot], seconds: dict[str, float]) -> Report:
    """Writes both files; returns what report.json holds. `seconds`: of each step of this command.

    In a fleet of more than `WITH_SAMPLES` bots the rows' metrics lack `samples`; each bot's metrics.json has them.
    """
    report: Report = {"fleet": fleet, "seconds": seconds, "bots": [row_of(bot) for bot in bots]}
    epochs = _epochs(store, bots) if len(bots) <= FEW else []
    store.write("report.html", page(report, store.read_json(MAP), epochs).encode())
    if len(bots) > WITH_SAMPLES:
        report["bots"] = [without_samples(row) for row in report["bots"]]
        store.write("report.json", _with_a_line_for_each_bot(report))
    else:
        store.write("report.json", json_bytes(report))
    return report


def _with_a_line_for_each_bot(report: Report) -> bytes:
    """The content of report.json without indentation, with which Python takes five times as long."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in report["bots"])
    start = json.dumps({"fleet": report["fleet"], "seconds": report["seconds"]}, ensure_ascii=False)
    return f'{start[:-1]}, "bots": [\n{rows}\n]}}\n'.encode()


def _epochs(store: Store, bots: Sequence[Bot]) -> list[tuple[str, int, float]]:
    """(bot, epochs, share of samples with a copied run) of each version in the store, where both are known."""
    found = []
    for bot in bots:
        for version in store.versions(bot.name):
            folder = f"bots/{bot.name}/{version}"
            settings = store.read_json(f"{folder}/{provenance.FILE}").get("settings", {})
            copying = store.read_json(f"{folder}/metrics.json").get("copying", {})
            if "epochs" in settings and "long_runs" in copying:
                found.append((bot.name, settings["epochs"], copying["long_runs"]))
    return found
