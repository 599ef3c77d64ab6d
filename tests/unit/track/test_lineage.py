"""W&B runs as plain data: ids by content, lineage, curves and tables."""

from dataclasses import replace

import pytest
from pyarrow import fs

from pipeline.core.settings import Wandb
from pipeline.core.store import Store
from pipeline.track import lineage
from pipeline.track.stored_runs import read_published
from tests.support import published


@pytest.fixture
def source(tmp_path):
    fleet = published.fleet_of(tmp_path, ("owl", "owl-wren", "wren"))
    return lineage.Source("birds", Store.of(fleet), [entry.path for entry in fleet.tweets])


def train_run(source, bot, version="0123456789ab"):
    return lineage.train_run(source, read_published(source.store, bot, version))


def preprocess_run(source, handle):
    return lineage.preprocess_run(source, handle, published.digest(handle), 0.1, published.counts())


def test_what_preprocessing_makes_is_what_training_uses(source):
    preprocess, train = preprocess_run(source, "wren"), train_run(source, "wren")
    assert [artifact.type for artifact in preprocess.uses] == ["raw-dataset"]
    assert [artifact.type for artifact in train.uses] == ["pretrained-model", "train-dataset"]
    assert preprocess.makes == train.uses[1:]
    assert [(artifact.name, artifact.type) for artifact in train.makes] == [("wren-model", "finetuned-model")]


def test_a_blend_uses_the_data_sets_of_all_its_people(source):
    made = [artifact for handle in ("owl", "wren") for artifact in preprocess_run(source, handle).makes]
    assert train_run(source, "owl-wren").uses[1:] == made


def test_a_continued_bot_uses_its_last_version(source):
    made = read_published(source.store, "wren", "0123456789ab")
    later = replace(
        made,
        version="ba9876543210",
        provenance=made.provenance | {"last_version": made.version},
        metrics=made.metrics | {"continued": {"from": made.version}},
    )
    [before], after = lineage.train_run(source, made).makes, lineage.train_run(source, later)
    used = after.uses[-1]
    assert (used.name, used.digest, used.references) == (before.name, before.digest, before.references)
    assert after.makes[0].digest != before.digest


def test_a_train_run_holds_the_recipe(source):
    config = train_run(source, "wren").config
    assert config["seed"] == 7 and config["learning_rate"] == 1.372e-4 and config["base_model"] == "mini"
    assert {"torch", "deepspeed", "transformers", "ray"} <= set(config["libraries"])
    assert config["tweets"]["wren"]["kept"] == 100


def test_a_long_curve_is_averaged(source):
    history = train_run(source, "wren").history
    assert len(history) <= 50
    assert history[-1][0] == published.STEPS
    first, values = history[0]
    assert values["train/loss"] == pytest.approx(sum(6 - step / published.STEPS for step in range(first)) / first)


def test_the_same_content_has_the_same_id_and_other_content_another(source):
    assert train_run(source, "wren") == train_run(source, "wren")
    published.publish(source.store, "wren", "ba9876543210")
    assert train_run(source, "wren", "ba9876543210").id != train_run(source, "wren").id
    one, two = (lineage.preprocess_run(source, "wren", digest * 64, 0.1, published.counts()) for digest in "ab")
    assert one.id != two.id and one.makes[0].digest != two.makes[0].digest


def test_ids_of_the_longest_blend_fit_and_differ(source):
    people = [f"person{i:09d}" for i in range(10)]
    ids = {lineage.train_id("-".join([*people[:9], last]), "0" * 12) for last in (people[9], "person999999999")}
    assert len(ids) == 2 and all(len(one) <= 128 for one in ids)
    assert len(lineage.model_name("-".join(people))) <= 128


def test_a_person_called_tweets_is_not_taken_for_a_data_set():
    assert lineage.subject(lineage.train_id("ada-tweets", "0" * 12)) == ("ada-tweets", "bot")
    assert lineage.subject(lineage.preprocess_id("tweets", "0" * 64)) == ("tweets", "tweets")


def test_the_fleets_run_lists_every_published_bot(source):
    rows = published.report(source.store, ("owl", "wren"))
    run = lineage.fleet_run(source, [*rows, {"bot": "stork", "status": "skipped", "version": None}])
    columns, table = run.tables["bots"]
    assert [row[0] for row in table] == ["owl", "wren"]
    assert table[0][columns.index("held_out/loss")] == 3.5 and table[0][columns.index("kept")] == 100
    assert run.summary["bots"] == 2 and run.summary["mean/held_out/loss"] == 3.5
    assert (run.name, run.job_type) == ("birds", "fleet")
    trained = [row | {"status": "trained"} for row in rows]
    assert lineage.fleet_run(source, trained).id == run.id  # how it came to be there is not content
    rows[0]["metrics"]["held_out"]["loss"] = 3.4
    assert lineage.fleet_run(source, rows).id != run.id


def test_a_large_fleet_has_runs_for_the_same_few():
    bots = [f"bird{i}" for i in range(100)]
    few = lineage.chosen(bots, 10)
    assert len(few) == 10 and lineage.chosen(reversed(bots), 10) == few
    assert lineage.chosen(bots, 100) == set(bots)
    assert few != set(sorted(bots)[:10])  # from all over the alphabet


def test_a_card_links_to_wandb_where_it_is_online_and_the_entity_is_known():
    links = lineage.links(Wandb(mode="online", entity="birds"), "wren", "0123456789ab")
    assert links["run"] == "https://wandb.ai/birds/huggingtweets/runs/wren-0123456789ab"
    assert links["model"] == (
        "https://wandb.ai/birds/huggingtweets/artifacts/finetuned-model/wren-model/0123456789ab/lineage"
    )
    assert lineage.links(Wandb(mode="offline", entity="birds"), "wren", "0123456789ab") == {}
    assert lineage.links(Wandb(mode="online"), "wren", "0123456789ab") == {}


def test_references_are_uris(source):
    assert train_run(source, "wren").makes[0].references["model.safetensors"].startswith("file:///")
    remote = lineage.Source("birds", Store(fs.S3FileSystem(region="us-east-1"), "bucket/birds"), [])
    assert remote.uri("a/b") == "s3://bucket/birds/a/b"


@pytest.mark.parametrize("steps, ends", [(0, []), (1, [1]), (50, list(range(1, 51))), (51, [*range(2, 51, 2), 51])])
def test_a_curve_has_at_most_fifty_points_each_at_the_last_step_of_its_window(source, steps, ends):
    made = read_published(source.store, "wren", "0123456789ab")
    losses, rates = [float(step) for step in range(1, steps + 1)], [0.1 * step for step in range(1, steps + 1)]
    curve = {"losses": losses, "learning_rates": rates}
    history = lineage.train_run(source, replace(made, provenance=made.provenance | curve)).history
    assert [step for step, _ in history] == ends
    for (end, values), start in zip(history, [0, *ends], strict=False):
        assert values == {"train/loss": sum(losses[start:end]) / (end - start), "train/learning_rate": rates[end - 1]}


def test_names_up_to_a_hundred_characters_stay_and_longer_ones_end_in_a_hash():
    assert lineage.run_name("a" * 100) == "a" * 100
    longer = lineage.run_name("a" * 101)
    assert len(longer) == 100 and longer.startswith("a" * 91 + "-") and longer != lineage.run_name("a" * 102)


def test_raw_data_refers_to_the_persons_own_files_or_else_to_ten_of_the_fleets(source):
    files = ["/posts/wren.csv", "s3://posts/Wren-2.csv", *(f"/posts/{number}.csv" for number in range(12))]
    [own] = preprocess_run(replace(source, tweets=files), "wren").uses
    assert list(own.references.values()) == ["file:///posts/wren.csv", "s3://posts/Wren-2.csv"]
    [common] = preprocess_run(replace(source, tweets=files), "owl").uses
    assert list(common.references.values()) == [
        "file:///posts/wren.csv",
        *files[1:2],
        *(f"file://{one}" for one in files[2:10]),
    ]
    assert lineage.fleet_run(replace(source, tweets=files), []).config == {"fleet": "birds", "tweets": files[:10]}


@pytest.mark.parametrize(
    "base, artifact, uri",
    [
        ("mini", "mini", "https://huggingface.co/mini"),
        ("birds/tiny gpt", "tiny-gpt", "https://huggingface.co/birds/tiny gpt"),
        ("/models/base/", "base", "file:///models/base/"),
        ("/", "base", "file:///"),
        ("s3://models/base", "base", "s3://models/base"),
    ],
)
def test_the_base_model_is_an_artifact_with_the_end_of_its_name(source, base, artifact, uri):
    made = read_published(source.store, "wren", "0123456789ab")
    provenance = made.provenance | {"base_model": {"name": base, "hash": "ba5e"}}
    used = lineage.train_run(source, replace(made, provenance=provenance)).uses[0]
    assert (used.name, used.digest, used.references) == (artifact, "ba5e", {"base": uri})


def test_runs_name_the_fleet_the_person_and_the_bot(source):
    config = preprocess_run(source, "wren").config
    assert config == {"fleet": "birds", "handle": "wren", "digest": published.digest("wren"), "holdout": 0.1}
    config = train_run(source, "owl-wren").config
    about = {key: config[key] for key in ("fleet", "bot", "version", "handles", "base_model_hash")}
    assert about == {
        "fleet": "birds",
        "bot": "owl-wren",
        "version": "0123456789ab",
        "handles": ["owl", "wren"],
        "base_model_hash": "ba5e" * 16,
    }


def test_pages_are_those_of_the_run_and_of_what_it_made_from_tweets():
    settings = Wandb(entity="birds", project="nests")
    assert lineage.pages(settings, lineage.preprocess_id("wren", "0" * 64)) == [
        "birds/nests/runs/tweets.wren.000000000000",
        "birds/nests/artifacts/raw-dataset/wren-raw",
        "birds/nests/artifacts/train-dataset/wren-train",
    ]
    assert lineage.pages(Wandb(project="nests"), lineage.train_id("owl-wren", "0123456789ab")) == [
        "nests/runs/owl-wren-0123456789ab",
        "nests/artifacts/finetuned-model/owl-wren-model",
    ]
    assert lineage.pages(settings, "fleet.birds.0123456789ab") == ["birds/nests/runs/fleet.birds.0123456789ab"]


def test_samples_are_a_table_and_a_bot_without_samples_has_none(source):
    made = read_published(source.store, "wren", "0123456789ab")
    columns, rows = lineage.train_run(source, made).tables["samples"]
    assert columns == ["prompt", "text"] and rows[-1] == ["", "Rain again."]
    assert lineage.train_run(source, replace(made, metrics={})).tables == {}


def test_data_sets_are_synced_before_bots_and_bots_before_the_fleet():
    ids = ["fleet.birds.0123456789ab", lineage.train_id("wren", "0" * 12), lineage.preprocess_id("wren", "0" * 64)]
    assert sorted(ids, key=lineage.sync_order) == ids[::-1]


def test_google_cloud_storage_has_its_own_scheme():
    class Google:
        type_name = "gcs"

    assert lineage.Source("birds", Store(Google(), "bucket/birds"), []).uri("a") == "gs://bucket/birds/a"
