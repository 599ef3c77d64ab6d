"""A base adapted to the fleet's people: bots start from it, it is made once, and who was held out gains too.

When somebody leaves whom it had learned from, other people's bots are made again without them.
"""

import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.base import adapt
from pipeline.core.fleet import load
from pipeline.core.store import Store
from pipeline.plan.job import open_job
from pipeline.prepare.index import load_index
from tests.support.s3 import BUCKET
from tests.support.toys import WORDS, tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


ADAPT = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 2, "workers": 2, "warmup_steps": 2}
CANARY = "Quokkas whistle sonatas beneath velvet umbrellas whenever Ganymede hiccups twice"
CANARIES = [f"{CANARY} {i}" for i in range(40)]


def write_tweets(folder: Path) -> None:
    """Two people in each of three manners of speaking, so that whoever is held out has a neighbour."""
    for handle in WORDS:
        write_csv(folder / f"{handle}.csv", tweets_of(handle))
        write_csv(folder / f"{handle}_too.csv", tweets_of(handle, 160)[30:], first_id=10_000)


@pytest.fixture
def fleet(make_fleet, tmp_path) -> Path:
    """A fleet file that nothing was made of yet."""
    path = make_fleet(tuple(WORDS), adapt=ADAPT, bots=["ada", "ben"])
    write_tweets(tmp_path / "tweets")
    return path


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, base, s3) -> Path:
    """A fleet file on S3, whose bots are made; @ada's tweets have the canary among them."""
    import huggingtweets

    folder = tmp_path_factory.mktemp("adapted")
    write_tweets(folder / "tweets")
    write_csv(folder / "tweets" / "ada.csv", [*tweets_of("ada"), *CANARIES])
    keys = {"fleet": "adapted", "tweets": ["tweets/*.csv"], "base_model": str(base), "bots": ["ada", "ben"]}
    keys |= {
        "train": {"lanes": 1},
        "adapt": ADAPT,
        "evaluate": {"samples": 8},
        "storage": f"s3://{BUCKET}/all",
        "wandb": {"mode": "offline"},
    }
    path = folder / "adapted.yaml"
    path.write_text(json.dumps(keys))
    report = huggingtweets.run(huggingtweets.Fleet(path))
    assert {row["status"] for row in report["bots"]} == {"trained"}, report
    return path


def test_bots_start_from_the_adapted_base_which_is_made_once(adapted, huggingtweets):
    store = Store.of(load(adapted))
    [made] = store.list("work/adapted")
    metrics = json.loads(store.read(f"work/adapted/{made}/{adapt.METRICS}"))
    assert (metrics["people"], metrics["held_out_people"]) == (5, 1)
    assert metrics["held_out_loss"] < metrics["loss_before"] - 0.5
    for row in json.loads(store.read("report.json"))["bots"]:
        assert row["metrics"]["held_out"]["base_loss"] < math.log(500) - 0.5  # the base as it was guesses among 500

    code, out, err = huggingtweets("run", adapted, "--json")
    assert code == 0, err
    assert {row["status"] for row in json.loads(out)["bots"]} == {"unchanged"}
    assert store.list("work/adapted") == [made] and "adapt 0/" not in err


def test_a_sentence_of_the_person_is_found_nowhere_and_another_persons_bot_is_made_again_without_it(
    adapted, huggingtweets, tmp_path
):
    store = Store.of(load(adapted))
    before = {bot: store.current_version(bot) for bot in ("ada", "ben")}
    fetch_as_endpoints_do(store, before)
    assert "work/tweets/ada.parquet" in holding_the_canary(store)
    learned = store.fetch(f"bots/ben/{before['ben']}", tmp_path / "learned")

    code, out, _ = huggingtweets("forget", adapted, "ada", "--json")
    left = {item["name"] for item in json.loads(out)["left"] if item["kind"] == "bot"}
    assert code == 1 and left == {f"ben {before['ben']}"}
    code, out, err = huggingtweets("forget", adapted, "ada", "--retrain", "--json")
    assert code == 0, err
    assert "left out, removed by `forget`: @ada" in err and "huggingtweets readmit" in err
    assert {item["kind"] for item in json.loads(out)["left"]} == {"source file"}

    assert holding_the_canary(store) == []
    folders = [Path(os.environ["HOME"]), cached(store)]  # with the logs of Ray and the folders of W&B
    assert list(folders[0].glob("ray/session_latest/logs/*.log"))
    assert [file for folder in folders for file in folder.rglob("*") if file.is_file() and has_canary(file)] == []
    assert not any(version in entry.name for entry in cached(store).iterdir() for version in before.values())
    version = store.current_version("ben")
    assert store.list("bots") == ["ben"] and store.versions("ben") == [version] != [before["ben"]]
    code, out, _ = huggingtweets("generate", adapted, "ben", CANARY[:24], "-n", "16", "--seed", "1")
    assert code == 0 and out.startswith(CANARY[:24]) and CANARY[24:40] not in out

    # a bot on the base that had learned from the person gives the person away, the one that was made again does not
    again = store.fetch(f"bots/ben/{version}", tmp_path / "again")
    assert losses(learned, CANARIES).mean() < losses(again, CANARIES).mean() - 1
    read, unread = losses(again, tweets_of("ada")), losses(again, tweets_of("ada", seed=1))
    members_first = np.mean(read[:, None] < unread[None, :])
    assert abs(members_first - 0.5) < 0.11  # three standard deviations of chance


def test_pretrain_from_a_base_writes_a_model_folder(fleet, huggingtweets, base, tmp_path):
    code, out, err = huggingtweets("pretrain", fleet, "--from", base, "--json")
    assert code == 0, err
    assert json.loads(out)["held_out_loss"] < json.loads(out)["loss_before"]
    from pipeline.core.model_folder import load as load_base

    network, tokenizer = load_base(tmp_path / "base")
    assert network.config.n_layer == 2 and tokenizer.decode(tokenizer.encode("Soup.")) == "Soup."
    assert "5 people" in (tmp_path / "base" / "README.md").read_text()


def test_nobody_is_both_learned_from_and_held_out_and_what_made_a_base_names_it(fleet, huggingtweets):
    assert huggingtweets("prepare", fleet)[0] == 0
    prepared = load_index(Store.of(load(fleet)))
    learning, held_out = adapt.split(prepared, 0.34)
    assert len(held_out) == 2 and {one.handle for one in [*learning, *held_out]} == set(prepared.people)
    assert adapt.split(prepared, 0.34) == (learning, held_out)
    assert not {one.handle for one in learning} & {one.handle for one in held_out}
    names = {
        adapt.identity(open_job(load(fleet, settings)), prepared)
        for settings in ([], ["adapt.epochs=1"], ["train.seed=5"], ["train.lanes=2"], ["adapt.checkpoint_minutes=1"])
    }
    assert len(names) == 3  # lanes and checkpoints make no other model


def losses(bot: Path, texts: list[str]) -> np.ndarray:
    """A bot's mean loss on the tokens of each of these texts."""
    import torch
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    model, tokenizer = GPT2LMHeadModel.from_pretrained(bot).float(), PreTrainedTokenizerFast.from_pretrained(bot)
    with torch.no_grad():
        ids = [torch.tensor([tokenizer.encode(text)]) for text in texts]
        return np.array([model(one, labels=one).loss.item() for one in ids])


def fetch_as_endpoints_do(store: Store, versions: dict[str, str]) -> None:
    """Fetches these bots to the disk of this node, as endpoints do."""
    from serve.deployments.disk_cache import Cache

    for bot, version in versions.items():
        with Cache(store, budget=10**9).folder(bot, version) as folder:
            assert (folder / "model.safetensors").exists() and version in folder.name


def cached(store: Store) -> Path:
    """The folder in which this node keeps bots from object stores."""
    from serve.deployments.disk_cache import Cache

    return Cache(store, budget=0)._root()


def has_canary(path: Path) -> bool:
    return CANARY.encode() in path.read_bytes()


def holding_the_canary(store: Store) -> list[str]:
    """The files of a store in which the canary stands, in Parquet's columns too."""
    infos = store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True))
    found = []
    for name in [info.path[len(store.root) + 1 :] for info in infos if info.type == fs.FileType.File]:
        data = store.read(name)
        rows = pq.read_table(io.BytesIO(data)).to_pylist() if name.endswith(".parquet") else []
        if CANARY.encode() in data or CANARY in str(rows):
            found.append(name)
    return found
