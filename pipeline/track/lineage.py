"""A fleet's W&B runs and artifacts as plain data, made from what is in the store. Knows neither W&B nor Ray.

    raw-dataset ──> preprocess run ──> train-dataset ──> train run ──> finetuned-model
      per person      per person         per person       per bot  ^      per bot
                                                     pretrained-model

    preprocess_run(source, "nasa", digest, 0.1, counts)
    train_run(source, Published("nasa", version, provenance, metrics, stats))
    fleet_run(source, report["bots"])

Ids and names follow from content: the same bot made from the same tweets has the same runs and artifacts, so
writing or syncing them again adds nothing. Artifacts refer to the store's files; W&B gets no copy.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from pipeline.core.bot_files import Metrics, Stats
from pipeline.core.names import handles_of
from pipeline.core.settings import Wandb
from pipeline.core.store import Store
from pipeline.plan.provenance import Provenance

_POINTS = 50  # of a loss curve at most: longer ones are averaged (each point costs W&B 0.2 ms)
_NAME = 100  # characters; W&B allows 128
_SOURCES = 10  # entries of the fleet's `tweets` that one artifact names
_SCHEMES = {"local": "file", "gcs": "gs"}  # of URIs, where they differ from pyarrow's name of the file system


@dataclass(frozen=True)
class Artifact:
    """A version of a data set or a model."""

    name: str
    type: str  # raw-dataset, train-dataset, pretrained-model, finetuned-model
    digest: str  # of the content: the same digest is the same version
    references: dict[str, str]  # URIs of the files, by their name in the artifact
    metadata: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ("latest",)


@dataclass(frozen=True)
class Run:
    """A W&B run, complete: what `offline.write` writes."""

    id: str
    name: str
    job_type: str  # preprocess, train, fleet
    config: dict[str, Any]
    summary: dict[str, float]
    uses: list[Artifact] = field(default_factory=list)
    makes: list[Artifact] = field(default_factory=list)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (step, values)
    tables: dict[str, tuple[list[str], list[list[Any]]]] = field(default_factory=dict)  # (columns, rows) by name


@dataclass(frozen=True)
class Source:
    """The fleet whose runs are made."""

    fleet: str  # its name
    store: Store
    tweets: list[str]  # the entries of `tweets` in the fleet file

    def uri(self, name: str) -> str:
        """The URI of a file in the store, such as s3://bucket/politicians/bots/…"""
        kind = self.store.filesystem.type_name
        return f"{_SCHEMES.get(kind, kind)}://{self.store.path(name)}"


@dataclass(frozen=True)
class Published:
    """A published bot: its name, its version, and the content of its JSON files."""

    bot: str
    version: str
    provenance: Provenance
    metrics: Metrics
    stats: Stats

    @property
    def folder(self) -> str:
        """The bot's folder in the store."""
        return f"bots/{self.bot}/{self.version}"


class PublishedRow(TypedDict):
    """The part of a row of report.json that the fleet's run is made from."""

    bot: str
    status: str
    version: str | None
    tweets: dict[str, dict[str, int]]
    metrics: Metrics


Subject = Literal["tweets", "bot", "fleet"]


def preprocess_id(handle: str, digest: str) -> str:
    """The id of a person's preprocess run; `digest` is of their kept tweets."""
    return f"tweets.{handle}.{digest[:12]}"  # a dot: no bot's name has one


def train_id(bot: str, version: str) -> str:
    """The id of a bot's train run."""
    return f"{run_name(bot)}-{version}"


def run_name(name: str) -> str:
    """A bot's or fleet's name as ids have it, at most 100 characters: the end of a longer one becomes a hash."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 9]}-{_hash(name)[:8]}"


def subject(run_id: str) -> tuple[str, Subject]:
    """What a run is about: ("nasa", "tweets") a handle, (name, "bot") or (name, "fleet") a name by `run_name`."""
    kinds: tuple[Subject, ...] = ("tweets", "fleet")
    for kind in kinds:
        if run_id.startswith(f"{kind}."):
            return run_id.split(".")[1], kind
    return run_id.rpartition("-")[0], "bot"


def sync_order(run_id: str) -> int:
    """A sort key that puts producers before consumers: data sets, then bots, then the fleet."""
    return ("tweets", "bot", "fleet").index(subject(run_id)[1])


def preprocess_run(source: Source, handle: str, digest: str, holdout: float, counts: dict[str, int]) -> Run:
    """The run that turned a person's raw tweets into kept ones.

    `digest` is of the kept tweets, `counts` are the person's in stats.json.
    """
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


def train_run(source: Source, made: Published) -> Run:
    """The run that trained a bot, with settings, loss curve, metrics and samples.

    Its inputs are the base model, the data sets and, where the bot continued from its last version, that version.
    Its output is the model.
    """
    provenance, counts = made.provenance, made.stats.get("tweets", {})
    last = provenance.get("last_version", "")
    settings, base = provenance["settings"], provenance["base_model"]
    about = {"fleet": source.fleet, "bot": made.bot, "version": made.version, "handles": handles_of(made.bot)}
    rest = {key: provenance[key] for key in ("libraries", "finished")} | {"tweets": counts}
    samples = [[prompt, text] for prompt, texts in made.metrics.get("samples", {}).items() for text in texts]
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
        + ([_model(source, made.bot, last, {})] if "continued" in made.metrics else []),
        makes=[_model(source, made.bot, made.version, made.metrics)],
        history=_curve(provenance["losses"], provenance["learning_rates"]),
        tables={"samples": (["prompt", "text"], samples)} if samples else {},
    )


def fleet_run(source: Source, rows: Sequence[PublishedRow]) -> Run:
    """The fleet's run: a table with a row for each published bot, and the metrics' means. `rows`: report.json's."""
    published = [row for row in rows if row["status"] in ("trained", "unchanged")]
    flat = [
        {"bot": row["bot"], "version": row["version"]} | _flat(row["metrics"]) | {"kept": _kept(row["tweets"])}
        for row in published
    ]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    table: list[list[Any]] = [[row.get(key) for key in columns] for row in flat]
    numbers = {key: [row[i] for row in table if isinstance(row[i], int | float)] for i, key in enumerate(columns)}
    means = {f"mean/{key}": sum(values) / len(values) for key, values in numbers.items() if values}
    content = hashlib.sha256(json.dumps(table).encode()).hexdigest()
    return Run(
        id=f"fleet.{run_name(source.fleet)}.{content[:12]}",
        name=source.fleet,
        job_type="fleet",
        config={"fleet": source.fleet, "tweets": source.tweets[:_SOURCES]},
        summary={"bots": len(published)} | means,
        tables={"bots": (columns, table)},
    )


def links(settings: Wandb, bot: str, version: str) -> dict[str, str]:
    """The URLs of a bot's W&B pages, for its card: {"run", "model"}. They exist once the bot's run is synced.

    Empty in modes offline and disabled, and where the fleet file names no entity.
    """
    if settings.mode in ("offline", "disabled") or not settings.entity:
        return {}
    project = f"https://wandb.ai/{settings.entity}/{settings.project}"
    return {
        "run": f"{project}/runs/{train_id(bot, version)}",
        "model": f"{project}/artifacts/finetuned-model/{model_name(bot)}/{version}/lineage",
    }


def pages(settings: Wandb, run_id: str) -> list[str]:
    """The paths of a synced run and of the artifacts that it made from people's tweets, as W&B's pages have them."""
    place = f"{settings.entity}/{settings.project}" if settings.entity else settings.project
    name, kind = subject(run_id)
    made: dict[Subject, list[str]] = {
        "tweets": [f"raw-dataset/{name}-raw", f"train-dataset/{name}-train"],
        "bot": [f"finetuned-model/{name}-model"],
        "fleet": [],
    }
    return [f"{place}/runs/{run_id}", *(f"{place}/artifacts/{artifact}" for artifact in made[kind])]


def chosen(bots: Iterable[str], most: int) -> set[str]:
    """The bots that get runs of their own: at most `most`, always the same ones (by a hash of the name)."""
    names = set(bots)
    return names if len(names) <= most else set(sorted(names, key=_hash)[:most])


def model_name(bot: str) -> str:
    """The name of the artifact that holds a bot's model."""
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


def _model(source: Source, bot: str, version: str, metrics: Metrics) -> Artifact:
    references = {"model.safetensors": source.uri(f"bots/{bot}/{version}/model.safetensors")}
    metadata = {"bot": bot, "version": version} | _flat(metrics)
    digest, aliases = _hash("model", bot, version), ("latest", version)
    return Artifact(model_name(bot), "finetuned-model", digest, references, metadata, aliases)


def _as_uri(path: str) -> str:
    if "://" in path:
        return path
    return f"file://{path}" if path.startswith("/") else f"https://huggingface.co/{path}"


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _curve(losses: list[float], rates: list[float]) -> list[tuple[int, dict[str, float]]]:
    """The loss curve in at most 50 points: for each window of steps its last step, mean loss and last learning rate."""
    window = -(-len(losses) // _POINTS)
    points = []
    for start in range(0, len(losses), max(1, window)):
        part = losses[start : start + window]
        end = start + len(part)
        points.append((end, {"train/loss": sum(part) / len(part), "train/learning_rate": rates[end - 1]}))
    return points


def _kept(tweets: dict[str, dict[str, int]]) -> int:
    return sum(counts.get("kept", 0) for counts in tweets.values())


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested metrics under joined keys: {"held_out": {"loss": 3}} becomes {"held_out/loss": 3}."""
    flat: dict[str, float] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}/")
        elif isinstance(inner, int | float):
            flat[f"{prefix}{key}"] = inner
    return flat
