"""The model card: README.md of a bot's folder, from what is known of the bot; nothing is computed here.

    card(job, facts(job, bot), metrics)

Card data (the YAML at the head, with the model index) goes through huggingface_hub, the text is the template
assets/card.md.j2. A new template needs no new training: `publish` writes the cards of published bots anew.
"""

import re
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pipeline.core.own_code import ASSETS
from pipeline.core.templates import render
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.plan.versions import shaping
from pipeline.prepare.filters import ROWS
from pipeline.track import lineage

PROMPT = "My dream is"  # the original's; what cards and pictures show
_MARKUP = re.compile(r"[\\`*_{}\[\]()<>#+!|~&]")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def facts(job: Job, bot: Bot) -> dict[str, Any]:
    """What a card tells of a bot beside its metrics; plain values, made where the fleet is known."""
    return {
        "bot": bot.name,
        "handles": bot.handles,
        "names": {person.handle: person.name for person in bot.people if person.name},
        "version": bot.version,
        "stats": bot.stats,
        "warning": bot.warning,
        "settings": _settings(job, bot),
        "languages": [],  # codes of ISO 639-1
        "pictures": [],  # files beside the card
        "wandb": lineage.links(job.fleet.wandb, bot.name, bot.version or ""),
    }


def _settings(job: Job, bot: Bot) -> dict[str, Any]:
    """What shaped this bot's training."""
    settings = shaping(job.train.of(bot.name, bot.tokens).model_dump())
    if lora := settings.get("lora"):
        settings["lora"] = ", ".join(f"{key} {value}" for key, value in lora.items() if value)
    return settings


def card(job: Job, facts: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The whole card; whatever tweets or bots say stands in it as text, never as markup."""
    tweets = facts["stats"]["tweets"]
    body = render(
        ASSETS / "card.md.j2",
        **facts,
        people=people(facts["handles"]),
        known_as=_known_as(facts),
        blend=len(facts["handles"]) > 1,
        base_model=_base_name(job),
        counts=rows(tweets),
        tweets=tweets,
        metrics=metrics,
        prompt=PROMPT,
        serve=job.fleet.serve,
    )
    return f"---\n{data(job, facts, metrics).to_yaml()}\n---\n\n{body}"


def people(handles: list[str]) -> str:
    return " and ".join(f"@{handle}" for handle in handles)


def _known_as(facts: dict[str, Any]) -> str:
    """The people as they call themselves, where a file says so; what Markdown would take for markup is escaped."""
    names = (facts["names"].get(handle, f"@{handle}") for handle in facts["handles"])
    return " and ".join(_MARKUP.sub(r"\\\g<0>", " ".join(name.split())) for name in names)


def rows(tweets: dict[str, dict[str, int]]) -> dict[str, str]:
    """The rows of the table of counts, {key: title}: the original's, and those of the filters that were on."""
    return {row: title for row, title in ROWS.items() if any(row in counts for counts in tweets.values())}


def data(job: Job, facts: dict[str, Any], metrics: dict[str, Any]) -> ModelCardData:
    """The card's metadata: what the Hugging Face hub shows, finds and compares a model by."""
    base, languages = _base_name(job), facts["languages"]
    return ModelCardData(
        language=languages[0] if len(languages) == 1 else languages or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["huggingtweets", "ai-cyborg" if len(facts["handles"]) > 1 else "ai-bot"],
        base_model=base if _HUB_ID.fullmatch(base) else None,
        model_name=facts["bot"],
        eval_results=list(_results(metrics, f"held-out tweets of {people(facts['handles'])}")) or None,
        thumbnail="predictions.png",
        widget=[{"text": PROMPT}],
    )


def languages_of(card: str) -> list[str]:
    """The languages that a card's metadata tells."""
    told = ModelCard(card, ignore_metadata_errors=True).data.get("language")
    return [told] if isinstance(told, str) else told or []


def _results(metrics: dict[str, Any], dataset: str) -> Any:
    def result(kind: str, name: str, value: float) -> EvalResult:
        return EvalResult("text-generation", "tweets", dataset, kind, round(value, 4), metric_name=name)

    if "held_out" in metrics:
        yield result("perplexity", "perplexity per token", metrics["held_out"]["perplexity"])
    if "top1" in metrics.get("voice", {}):
        yield result("accuracy", "voice: samples attributed to the right person", metrics["voice"]["top1"])


def _base_name(job: Job) -> str:
    """The base model as the fleet file names it; of a local folder its name alone."""
    name = job.fleet.base_model
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
