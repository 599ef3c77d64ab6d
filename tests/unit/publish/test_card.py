"""The model card: what the hub reads at its head, and what a person reads below."""

import dataclasses
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from pipeline.core import fleet as fleets
from pipeline.core.settings import Override, Train
from pipeline.core.signing import Keyring, SigningKey
from pipeline.plan.bot import Bot
from pipeline.plan.job import open_job
from pipeline.prepare.index import Person
from pipeline.publish.card import PROMPT, CardFacts, card, data, languages_of, rows, signing_keys_of

COUNTS = {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}
LOSSES = {"loss": 3.1, "loss_interval": [3.0, 3.2], "base_loss": 4.5, "base_loss_interval": [4.3, 4.7]}
PERPLEXITIES = {"perplexity": 22.2, "base_perplexity": 90.0}
METRICS = {
    "held_out": LOSSES
    | PERPLEXITIES
    | {"tokens": 900, "tweets": 60, "per_character": LOSSES | PERPLEXITIES | {"characters": 3000}},
    "voice": {"top1": 0.7, "base_top1": 0.1, "real_top1": 0.8, "chance": 0.1, "people": 10, "samples": 64},
    "authorship": {"people": 10, "value": 1.18, "standard_error": 0.1, "base_value": 0.4},
    "sense": {"nats": 1.9, "base_nats": 1.2, "real_nats": 1.6, "ratio": 1.19, "unknown_words": 0.08}
    | {"base_unknown_words": None, "real_unknown_words": 0.05},
    "real_or_bot": {"accuracy": 0.71, "standard_error": 0.05, "pairs": 30, "base_accuracy": 0.9, "real_accuracy": None},
    "copying": {"exact": 0, "long_runs": 0.05, "real_exact": 0, "real_long_runs": 0.1, "longest_run": 9, "samples": 64},
    "memory": {"auc": 0.64, "standard_error": 0.04, "private": 0.03, "real_private": 0.1},
    "variety": {"distinct_2": 0.9, "real_distinct_2": 0.95, "duplicates": 0.0}
    | {"length": {"p50": 70.0}, "real_length": {"p50": 80.0}},
    "safety": {"links": 0.0, "mentions": 0.25, "blocked": None},
    "samples": {PROMPT: ["My dream is ~~~~ <img src=x> | a `tick`"], "": ["Hello there"]},
    "train": {"loss": 3.0, "steps": 12, "tokens": 3072, "seconds": 4.5},
}


@pytest.fixture
def job(make_fleet):
    return open_job(fleets.load(make_fleet()))


def bot_of(*handles: str, counts: dict[str, int] = COUNTS) -> Bot:
    people = [Person(handle, counts, 50_000, 12_000, "digest") for handle in handles]
    return Bot("-".join(handles), people, "0123456789ab", "trained", metrics=METRICS)


def card_of(job, bot: Bot, metrics: dict = METRICS) -> str:
    return card(job, CardFacts.of(job, bot), metrics)


def test_the_head_is_card_data_that_the_hub_reads(job):
    read = ModelCard(card_of(job, bot_of("nasa"))).data
    assert (read.language, read.library_name, read.pipeline_tag) == (None, "transformers", "text-generation")
    assert read.widget == [{"text": "My dream is"}] and read.thumbnail == "predictions.png"
    assert {"huggingtweets", "ai-bot"} <= set(read.tags) and read.base_model == Path(job.fleet.base_model).name
    results = {result.metric_type: result.metric_value for result in read.eval_results}
    assert results == {"perplexity": 22.2, "accuracy": 0.7}


def test_the_hub_is_told_where_the_base_of_the_package_index_comes_from(job):
    on_smollm2 = dataclasses.replace(job, fleet=job.fleet.model_copy(update={"base_model": "smollm2"}))
    text = card_of(on_smollm2, bot_of("nasa"))
    assert ModelCard(text).data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "smollm2  +  tweets of @nasa" in text


def test_the_card_names_known_languages_and_pictures(job):
    facts = CardFacts.of(job, bot_of("billnye", "nasa"))
    known = dataclasses.replace(facts, languages=["en", "fr"], pictures=["profile-nasa.png"])
    text = card(job, known, METRICS)
    assert ModelCard(text).data.language == languages_of(text) == ["en", "fr"]
    assert languages_of(card(job, dataclasses.replace(known, languages=["ja"]), METRICS)) == ["ja"]
    assert languages_of(card_of(job, bot_of("nasa"))) == []
    assert "AI CYBORG\n\n![Profile picture](profile-nasa.png)\n\n![What this bot says](predictions.png)\n" in text
    without = card_of(job, bot_of("nasa"))
    assert "Profile picture" not in without and "AI BOT\n\n![What" in without and "language:" not in without


def test_the_card_has_the_fleets_public_keys(job):
    keys = Keyring((SigningKey.new(), SigningKey.new())).jwks
    text = card(job, dataclasses.replace(CardFacts.of(job, bot_of("nasa")), signing_keys=keys), METRICS)
    assert signing_keys_of(text) == keys and "huggingtweets verify README.md nasa" in text
    without = card_of(job, bot_of("nasa"))
    assert signing_keys_of(without) is None and "huggingtweets verify" not in without


def test_a_hub_id_is_named_as_the_base_and_a_path_by_its_folder_alone(job):
    hub = dataclasses.replace(job, fleet=job.fleet.model_copy(update={"base_model": "org/gpt2-large"}))
    assert data(hub, CardFacts.of(hub, bot_of("nasa")), METRICS).base_model == "org/gpt2-large"
    assert job.fleet.base_model not in card_of(job, bot_of("nasa"))


def test_the_card_has_the_originals_table_of_counts(job):
    text = card_of(job, bot_of("nasa"))
    lines = ["| Data | @nasa |", "| --- | ---: |", "| Tweets downloaded | 3200 |", "| Retweets | 770 |"]
    lines += ["| Short tweets | 3 |", "| Tweets kept | 2427 |"]
    assert "\n".join(lines) in text
    assert "AI BOT" in text and "AI CYBORG" not in text


def test_a_blend_has_a_column_for_each_person_and_a_filter_a_row(job):
    text = card_of(job, bot_of("billnye", "nasa", counts=COUNTS | {"near_duplicates": 40}))
    assert "AI CYBORG" in text and "@billnye and @nasa" in text
    assert "| Data | @billnye | @nasa |" in text and "| Tweets kept | 2427 | 2427 |" in text
    assert list(rows({"nasa": COUNTS | {"near_duplicates": 40}}))[-2:] == ["near_duplicates", "kept"]
    assert "| Near-copies | 40 | 40 |" in text


def test_the_card_shows_metrics_and_settings(job):
    text = card_of(job, bot_of("nasa"))
    assert "4.500 (4.300 to 4.700) | 3.100 (3.000 to 3.200)" in text
    assert "out of 10 people (chance 10 %) | 10 % | 70 % | 80 % |" in text
    assert "| Safety: mentions somebody | | 25 % | |" in text and "block list" not in text
    assert "| epochs | 2 |" in text and "| steps | 12 |" in text
    assert "/bots/nasa" in text and "huggingtweets forget" in text


def test_the_card_shows_the_settings_of_this_bot(job):
    assert "rate falls along a cosine to zero." in card_of(job, bot_of("nasa"))
    override = Override(bots=["nasa"], schedule="linear", warmup_ratio=0.1, epochs=3)
    job = dataclasses.replace(job, train=job.train.model_copy(update={"overrides": [override]}))
    text = card_of(job, bot_of("nasa"))
    assert "rate falls along a line to zero, after it has risen for the first 10 % of the steps." in text
    assert "| epochs | 3 |" in text and "| schedule | linear |" in text
    assert "| epochs | 2 |" in card_of(job, bot_of("wren"))


def test_what_a_bot_says_is_shown_as_text(job):
    _, _, said = card_of(job, bot_of("nasa")).partition("~~~~text\n")
    assert said.startswith("1. My dream is ~~~~ <img src=x> | a `tick`\n2. Hello there\n~~~~")


def test_the_card_of_a_fleet_of_one_person_has_no_voice(job):
    text = card_of(job, bot_of("nasa"), METRICS | {"voice": {"people": 1}})
    assert "Voice" not in text and "accuracy" not in text


def test_the_card_says_how_often_the_bot_is_told_from_its_person_or_why_it_is_not_known(job):
    text = " ".join(card_of(job, bot_of("nasa")).split())
    assert "| Real or bot: told apart from real tweets (50 % would be perfect) | 90 % | 71 % | – |" in text
    assert (
        "tells its samples from real tweets 71 % of the time (standard error 5 %, 30 pairs of similar length)" in text
    )
    unknown = {"accuracy": None, "standard_error": None, "pairs": 3, "base_accuracy": None, "real_accuracy": None}
    few = " ".join(card_of(job, bot_of("nasa"), METRICS | {"real_or_bot": unknown}).split())
    assert "too few samples and held-out tweets of similar length (3 pairs)" in few and "| Real or bot" not in few
    older = card_of(job, bot_of("nasa"), {name: METRICS[name] for name in METRICS if name != "real_or_bot"})
    assert "detector" not in older and "| Copying: a training tweet" in older


def test_the_card_shows_the_authorship_or_why_it_is_not_known(job):
    text = " ".join(card_of(job, bot_of("nasa")).split())
    assert "from other people (0) to the person (1) | 0.40 | 1.18 | 1 |" in text
    assert "(standard error 0.10); above 1 a bot is a caricature." in text
    unknown = METRICS | {"authorship": {"people": 10, "value": None, "standard_error": None, "base_value": None}}
    few = " ".join(card_of(job, bot_of("nasa"), unknown).split())
    assert "The authorship is not known: there are too few samples" in few and "| Authorship" not in few
    assert "uthorship" not in card_of(job, bot_of("nasa"), unknown | {"voice": {"people": 1}})
    assert "uthorship" not in card_of(
        job, bot_of("nasa"), {name: METRICS[name] for name in METRICS if name != "authorship"}
    )


def test_the_card_shows_the_sense_where_it_was_measured(job):
    text = card_of(job, bot_of("nasa"))
    assert "spends | 1.20 | 1.90 | 1.60 |" in text and "of this fleet | – | 8 % | 5 % |" in text
    assert "Sense" not in card_of(job, bot_of("nasa"), {name: METRICS[name] for name in METRICS if name != "sense"})


def test_the_card_says_what_the_bot_gives_away_or_that_it_is_not_known(job):
    text = " ".join(card_of(job, bot_of("nasa")).split())
    assert "from a training tweet | | 3 % | 10 % |" in text and "is right 64 % of the time (standard error 4 %)" in text
    few = METRICS | {"memory": METRICS["memory"] | {"auc": None, "standard_error": None}}
    assert "There are too few tweets to say how well an attacker" in card_of(job, bot_of("nasa"), few)
    older = card_of(job, bot_of("nasa"), {name: METRICS[name] for name in METRICS if name != "memory"})
    assert "Memory" not in older and "attacker" not in older


def test_runs_on_wandb_are_linked_where_they_are_sent(job):
    assert "wandb.ai" not in card_of(job, bot_of("nasa"))
    wandb = job.fleet.wandb.model_copy(update={"mode": "online", "entity": "us"})
    online = dataclasses.replace(job, fleet=job.fleet.model_copy(update={"wandb": wandb}))
    assert "(https://wandb.ai/us/huggingtweets/runs/" in card_of(online, bot_of("nasa"))


def test_a_person_is_called_by_their_name_where_it_is_known(job):
    bot = bot_of("billnye", "nasa")
    bot.people[0] = dataclasses.replace(bot.people[0], name="Bill <Nye> [1]")
    assert "# Bill \\<Nye\\> \\[1\\] and @nasa 🤖 AI CYBORG" in card_of(job, bot)
    assert "\n# @nasa 🤖 AI BOT\n" in card_of(job, bot_of("nasa"))


def test_the_card_warns_of_little_text(job):
    bot = bot_of("nasa")
    bot.warning = "only 8,897 characters"
    assert "> It learned from little text (only 8,897 characters)" in card_of(job, bot)


def test_the_card_names_the_trained_part_and_the_version_continued_from(job):
    settings = Train(overrides=[{"bots": ["nasa"], "freeze_layers": 1, "lora": {"rank": 4}}])
    job = dataclasses.replace(job, train=settings)
    told = {"from": "ba9876543210", "new_tweets": 120, "old_tweets": 2000, "loss_before": 3.25}
    text = card_of(job, bot_of("nasa"), METRICS | {"continued": told})
    assert "| lora | rank 4, alpha 16.0 |" in text and "| freeze layers | 1 |" in text and "(LoRA)" in text
    assert "continues from the one before, `ba9876543210`: it was trained on 120 new tweets" in text and "3.250" in text
    other = card_of(job, bot_of("wren"))
    assert "lora" not in other.lower() and "freeze" not in other and "continues from" not in other


def test_a_card_says_that_the_learning_rate_was_lowered(job):
    lowered = METRICS | {"lowered_rate": {"recipe": 1e-3, "used": 2.5e-4}}
    assert "the recipe, 0.001, the training diverged, so this bot was trained with 0.00025." in card_of(
        job, bot_of("nasa"), lowered
    )
    assert "diverged" not in card_of(job, bot_of("nasa"))
