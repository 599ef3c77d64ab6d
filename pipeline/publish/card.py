"""The model card, README.md of a bot's folder: renders what is known of a bot and computes nothing.

    text = card(job, CardFacts.of(job, bot), metrics)

huggingface_hub writes the card's metadata (YAML with the model index), the template assets/card.md.j2 the text. A
changed template needs no new training: `publish` writes the cards of published bots again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pipeline.core.bot_files import Metrics, Stats
from pipeline.core.json_file import JsonObject
from pipeline.core.own_code import ASSETS
from pipeline.core.templates import render
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.plan.versions import shaping
from pipeline.prepare.filters import ROWS
from pipeline.track import lineage

PROMPT = "My dream is"  # the original's; cards and pictures show samples of it
_MARKUP = re.compile(r"[\\`*_{}\[\]()<>#+!|~&]")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_IDS = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # of bases that have a name of ours


@dataclass(frozen=True)
class CardFacts:
    """What a card shows of a bot beside its metrics."""

    bot: str
    handles: list[str]
    names: dict[str, str]  # display names by handle, where they are known
    version: str
    stats: Stats
    warning: str | None
    settings: JsonObject  # that shaped this bot's training, LoRA as text
    wandb: dict[str, str]  # URLs of W&B's pages (lineage.links)
    languages: Sequence[str] = ()  # codes of ISO 639-1
    pictures: Sequence[str] = ()  # names of profile pictures beside the card
    signing_keys: Sequence[dict[str, str]] = ()  # the fleet's public keys, as JSON Web Keys

    @classmethod
    def of(cls, job: Job, bot: Bot) -> "CardFacts":
        """The facts that the plan knows; languages, pictures and keys are added when the bot's folder is written."""
        version = bot.version or ""
        return cls(
            bot=bot.name,
            handles=bot.handles,
            names={person.handle: person.name for person in bot.people if person.name},
            version=version,
            stats=bot.stats,
            warning=bot.warning,
            settings=_settings(job, bot),
            wandb=lineage.links(job.fleet.wandb, bot.name, version),
        )


def card(job: Job, facts: CardFacts, metrics: Metrics) -> str:
    """The whole card. Texts of tweets and bots are shown as text, never as markup."""
    tweets = facts.stats["tweets"]
    body = render(
        ASSETS / "card.md.j2",
        **vars(facts),
        people=people(facts.handles),
        known_as=_known_as(facts),
        blend=len(facts.handles) > 1,
        base_model=_base_name(job),
        counts=rows(tweets),
        tweets=tweets,
        metrics=metrics,
        prompt=PROMPT,
        serve=job.fleet.serve,
    )
    return f"---\n{data(job, facts, metrics).to_yaml()}\n---\n\n{body}"


def data(job: Job, facts: CardFacts, metrics: Metrics) -> ModelCardData:
    """The card's metadata: what the Hugging Face hub shows, and by what it finds and compares models."""
    base, languages = _base_name(job), list(facts.languages)
    return ModelCardData(
        language=languages[0] if len(languages) == 1 else languages or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["huggingtweets", "ai-cyborg" if len(facts.handles) > 1 else "ai-bot"],
        base_model=_HUB_IDS.get(base, base if _HUB_ID.fullmatch(base) else None),
        model_name=facts.bot,
        eval_results=list(_results(metrics, f"held-out tweets of {people(facts.handles)}")) or None,
        thumbnail="predictions.png",
        widget=[{"text": PROMPT}],
        signing_keys=list(facts.signing_keys) or None,
    )


def languages_of(card: str) -> list[str]:
    """The languages in a card's metadata, as codes of ISO 639-1."""
    languages = ModelCard(card, ignore_metadata_errors=True).data.get("language")
    return [languages] if isinstance(languages, str) else languages or []


def signing_keys_of(card: str) -> Any:
    """The public keys in a card's metadata, as a list of JSON Web Keys; None if there are none."""
    return ModelCard(card, ignore_metadata_errors=True).data.get("signing_keys")


def people(handles: Sequence[str]) -> str:
    """The people of a bot in words: "@billnye and @nasa"."""
    return " and ".join(f"@{handle}" for handle in handles)


def rows(tweets: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """The rows of the table of counts, {key: title}: the original's, and those of the filters that were on."""
    return {row: title for row, title in ROWS.items() if any(row in counts for counts in tweets.values())}


def _settings(job: Job, bot: Bot) -> JsonObject:
    settings = shaping(job.train.of(bot.name, bot.tokens).model_dump())
    if lora := settings.get("lora"):
        settings["lora"] = ", ".join(f"{key} {value}" for key, value in lora.items() if value)
    return settings


def _known_as(facts: CardFacts) -> str:
    """The people by their display names, else their handles; characters that are markup in Markdown are escaped."""
    names = (facts.names.get(handle, f"@{handle}") for handle in facts.handles)
    return " and ".join(_MARKUP.sub(r"\\\g<0>", " ".join(name.split())) for name in names)


def _results(metrics: Metrics, dataset: str) -> Iterator[EvalResult]:
    def result(kind: str, name: str, value: float) -> EvalResult:
        return EvalResult("text-generation", "tweets", dataset, kind, round(value, 4), metric_name=name)

    if "held_out" in metrics:
        yield result("perplexity", "perplexity per token", metrics["held_out"]["perplexity"])
    if "top1" in metrics.get("voice", {}):
        yield result("accuracy", "voice: samples attributed to the right person", metrics["voice"]["top1"])


def _base_name(job: Job) -> str:
    """The base model's name in the fleet file; for a local folder the folder's name only."""
    name = job.fleet.base_model
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
