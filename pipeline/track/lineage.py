"""What W&B is told: a fleet's runs and artifacts as plain data, from what is in the store. No W&B, no Ray.

    raw-dataset ──> preprocess run ──> train-dataset ──> train run ──> finetuned-model
      per person      per person         per person       per bot  ^      per bot
                                                     pretrained-model

    runs = [preprocess(source, "nasa", digest, counts), train(source, Published(...)), fleet_run(source, rows)]

Ids and names follow from content: the same bot made from the same tweets has the same runs and artifacts, so
that writing or syncing them again adds nothing. Artifacts refer to the files of the store; none is copied.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.names import handles_of
from pipeline.core.settings import Wandb
from pipeline.core.store import Store

_POINTS = 50  # of a loss curve: more steps than that are averaged (each costs W&B 0.2 ms)
_NAME = 100  # characters; W&B takes 128
_SOURCES = 10  # of a fleet's tweets, named in one artifact
_SCHEMES = {"local": "file", "gcs": "gs"}


@dataclass(frozen=True)
class Artifact:
    """A version of a data set or a model: `digest` is its content's, `references` name its files by URI."""

    name: str
    type: str
    digest: str
    references: dict[str, str]
    metadata: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ("latest",)


@dataclass(frozen=True)
class Run:
    id: str
    name: str
    job_type: str  # preprocess, train, fleet
    config: dict[str, Any]
    summary: dict[str, Any]
    uses: list[Artifact] = field(default_factory=list)
    makes: list[Artifact] = field(default_factory=list)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (step, values)
    tables: dict[str, tuple[list[str], list[list[Any]]]] = field(default_factory=dict)  # columns and rows


@dataclass(frozen=True)
class Source:
    """Where a fleet's runs come from: its name, its store, the entries of `tweets` in its file."""

    fleet: str
    store: Store
    tweets: list[str]

    def uri(self, name: str) -> str:
        """The address of a file in the store."""
        kind = self.store.filesystem.type_name
        return f"{_SCHEMES.get(kind, kind)}://{self.store.path(name)}"


@dataclass(frozen=True)
class Published:
    """A bot's folder, as far as a run tells of it: the content of its JSON files."""

    bot: str
    version: str
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    stats: dict[str, Any]

    @property
    def folder(self) -> str:
        return f"bots/{self.bot}/{self.version}"


def preprocess_id(handle: str, digest: str) -> str:
    return f"tweets.{handle}.{digest[:12]}"  # a dot: no bot's name has one


def train_id(bot: str, version: str) -> str:
    return f"{run_name(bot)}-{version}"


def run_name(name: str) -> str:
    """A bot's or fleet's name in an id, with room for a version: a long blend's end becomes a hash."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 9]}-{_hash(name)[:8]}"


def subject(run_id: str) -> tuple[str, str]:
    """Whom a run is about, and what it tells of them: tweets (a handle), bot (as `run_name` has it), or fleet."""
    for kind in ("tweets", "fleet"):
        if run_id.startswith(f"{kind}."):
            return run_id.split(".")[1], kind
    return run_id.rpartition("-")[0], "bot"


def order(run_id: str) -> int:
    """Producers before consumers: data sets, then bots, then the fleet."""
    return ("tweets", "bot", "fleet").index(subject(run_id)[1])


def preprocess(source: Source, handle: str, digest: str, holdout: float, counts: dict[str, int]) -> Run:
    """A person's raw tweets become the kept ones; `digest` is of the kept, `counts` as in stats.json."""
    config = {"fleet": source.fleet, "handle": handle, "digest": digest, "holdout": holdout}
    return Run(
        id=preprocess_id(handle, digest),
        name=f"{handle} tweets",
        job_type="preprocess",
        config=config,
        summary=_flat({"tweets": counts}),
        uses=[_raw(source, handle, digest, counts)],
        makes=[_dataset(source, handle, digest, holdout, counts)],
    )


def train(source: Source, made: Published) -> Run:
    """A bot's training: base and data sets in (and the last version, where it went on from that), model out;
    settings, loss curve, metrics, samples."""
    provenance, counts = made.provenance, made.stats.get("tweets", {})
    last = provenance.get("last_version", "")
    settings, base = provenance["settings"], provenance["base_model"]
    about = {"fleet": source.fleet, "bot": made.bot, "version": made.version, "handles": handles_of(made.bot)}
    rest = {key: provenance[key] for key in ("libraries", "finished")} | {"tweets": counts}
    said = [[prompt, text] for prompt, texts in made.metrics.get("samples", {}).items() for text in texts]
    return Run(
        id=train_id(made.bot, made.version),
        name=made.bot,
        job_type="train",
        config=settings | about | {"base_model": base["name"], "base_model_hash": base["hash"]} | rest,
        summary=_flat(made.metrics),
        uses=[_base(base)]
        + [
            _dataset(source, handle, digest, settings["holdout"], counts.get(handle, {}))
            for handle, digest in provenance["tweets"].items()
        ]
        + ([_model(source, Published(made.bot, last, {}, {}, {}))] if "continued" in made.metrics else []),
        makes=[_model(source, made)],
        history=_curve(provenance["losses"], provenance["learning_rates"]),
        tables={"samples": (["prompt", "text"], said)} if said else {},
    )


def fleet_run(source: Source, rows: list[dict[str, Any]]) -> Run:
    """The fleet's summary: a table with a row for each published bot (the rows of report.json)."""
    rows = [row for row in rows if row["status"] in ("trained", "unchanged")]
    flat = [
        {"bot": row["bot"], "version": row["version"]} | _flat(row["metrics"]) | {"kept": _kept(row["tweets"])}
        for row in rows
    ]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    numbers = {key: [row[key] for row in flat if isinstance(row.get(key), int | float)] for key in columns}
    means = {f"mean/{key}": sum(values) / len(values) for key, values in numbers.items() if values}
    content = json.dumps([[row.get(key) for key in columns] for row in flat])
    return Run(
        id=f"fleet.{run_name(source.fleet)}.{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        name=source.fleet,
        job_type="fleet",
        config={"fleet": source.fleet, "tweets": source.tweets[:_SOURCES]},
        summary={"bots": len(rows)} | means,
        tables={"bots": (columns, [[row.get(key) for key in columns] for row in flat])},
    )


def links(settings: Wandb, bot: str, version: str) -> dict[str, str]:
    """W&B's pages about a bot, for its card: {"run", "model"}; empty where the fleet file names no entity.

    A page is there once the bot's run is synced.
    """
    if settings.mode in ("offline", "disabled") or not settings.entity:
        return {}
    project = f"https://wandb.ai/{settings.entity}/{settings.project}"
    return {
        "run": f"{project}/runs/{train_id(bot, version)}",
        "model": f"{project}/artifacts/finetuned-model/{model_name(bot)}/{version}/lineage",
    }


def pages(settings: Wandb, run_id: str) -> list[str]:
    """What W&B holds of a run that is synced, by its place there: the run itself, and the artifacts about people."""
    place = f"{settings.entity}/{settings.project}" if settings.entity else settings.project
    name, kind = subject(run_id)
    made = {
        "tweets": [f"raw-dataset/{name}-raw", f"train-dataset/{name}-train"],
        "bot": [f"finetuned-model/{name}-model"],
        "fleet": [],
    }
    return [f"{place}/runs/{run_id}", *(f"{place}/artifacts/{artifact}" for artifact in made[kind])]


def chosen(bots: Iterable[str], most: int) -> set[str]:
    """The bots that get runs of their own: all, or of a larger fleet always the same few (by a hash of the name)."""
    names = set(bots)
    return names if len(names) <= most else set(sorted(names, key=_hash)[:most])


def model_name(bot: str) -> str:
    return f"{run_name(bot)}-model"


def _raw(source: Source, handle: str, digest: str, counts: dict[str, int]) -> Artifact:
    named = [entry for entry in source.tweets if handle in entry.lower()] or source.tweets
    references = {f"source-{i}": _as_uri(entry) for i, entry in enumerate(named[:_SOURCES])}
    return Artifact(
        f"{handle}-raw", "raw-dataset", _hash("raw", digest, counts), references, {"handle": handle} | counts
    )


def _dataset(source: Source, handle: str, digest: str, holdout: float, counts: dict[str, int]) -> Artifact:
    metadata = {"handle": handle, "digest": digest, "holdout": holdout, "tweets": counts.get("kept")}
    references = {"tweets.parquet": source.uri(f"work/tweets/{handle}.parquet")}
    return Artifact(f"{handle}-train", "train-dataset", _hash("train", digest, holdout), references, metadata)


def _base(base: dict[str, str]) -> Artifact:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", base["name"].rstrip("/").rpartition("/")[2])[:_NAME] or "base"
    return Artifact(name, "pretrained-model", base["hash"], {"base": _as_uri(base["name"])}, {"name": base["name"]})


def _model(source: Source, made: Published) -> Artifact:
    references = {"model.safetensors": source.uri(f"{made.folder}/model.safetensors")}
    metadata = {"bot": made.bot, "version": made.version} | _flat(made.metrics)
    digest, aliases = _hash("model", made.bot, made.version), ("latest", made.version)
    return Artifact(model_name(made.bot), "finetuned-model", digest, references, metadata, aliases)


def _as_uri(path: str) -> str:
    if "://" in path:
        return path
    return f"file://{path}" if path.startswith("/") else f"https://huggingface.co/{path}"


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _curve(losses: list[float], rates: list[float]) -> list[tuple[int, dict[str, float]]]:
    """The loss curve with at most _POINTS points: the mean loss up to a step, the rate at it."""
    window = -(-len(losses) // _POINTS)
    points = []
    for start in range(0, len(losses), max(1, window)):
        part = losses[start : start + window]
        end = start + len(part)
        points.append((end, {"train/loss": sum(part) / len(part), "train/learning_rate": rates[end - 1]}))
    return points


def _kept(tweets: dict[str, dict[str, int]]) -> int:
    return sum(counts.get("kept", 0) for counts in tweets.values())


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested metrics, a key each: {"held_out": {"loss": 3}} is {"held_out/loss": 3}."""
    flat: dict[str, float] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}/")
        elif isinstance(inner, int | float):
            flat[f"{prefix}{key}"] = inner
    return flat
