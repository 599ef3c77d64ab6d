"""The worker that measures a bot and publishes it, without Ray: at once, once, and what it reports where that fails."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from pipeline.core import fleet as fleets
from pipeline.core import model_folder
from pipeline.core.store import Store
from pipeline.evaluate.measurer import MEASURED
from pipeline.evaluate.worker import EvaluateAndPublish, EvaluateTask
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job, open_job
from pipeline.prepare.index import Person
from pipeline.publish.card import CardFacts, languages_of
from pipeline.publish.publishing import PublishTask
from pipeline.train import learned_tweets
from pipeline.train.deepspeed_engine import init_single_process_group
from tests.support.toys import tweets_of

COUNTS = {"downloaded": 130, "retweets": 0, "short": 0, "kept": 130}


@pytest.fixture
def job(make_fleet) -> Job:
    return open_job(fleets.load(make_fleet(("ada",), evaluate={"samples": 8})))


@pytest.fixture
def bot(job) -> Bot:
    """A trained bot as a lane leaves it, with the weights of the base."""
    bot = Bot("ada", [Person("ada", COUNTS, 6_500, 2_000, "digest")], "0123456789ab", "trained")
    texts = tweets_of("ada")
    tokenizer = Tokenizer.from_str(job.base.tokenizer_json)
    tokens = [tokenizer.encode(text).ids for text in texts]
    columns = {"id": [str(i) for i in range(130)], "text": texts, "tokens": pa.array(tokens, pa.list_(pa.int32()))}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns | {"held_out": [i < 13 for i in range(130)]}), sink)
    job.store.write("work/tweets/ada.parquet", sink.getvalue().to_pybytes())
    base = {"name": "toy", "hash": job.base.content_hash}
    train = {"loss": 6.0, "steps": 1, "tokens": 64, "seconds": 1.0}
    files = {
        model_folder.WEIGHTS: job.base.files[model_folder.WEIGHTS],
        provenance.FILE: provenance.record(base, {"ada": "digest"}, job.train, [6.0], [1e-3]),
        learned_tweets.FILE: learned_tweets.learned_file([]),
        "training.json": json.dumps({"metrics": {"train": train}, "seconds": 1.0}).encode(),
    }
    job.store.write_folder(bot.trained_folder, files)
    return bot


def task_of(job: Job, bot: Bot, published: bool = False) -> EvaluateTask:
    folder = bot.folder if published else bot.trained_folder
    publish = None if published else PublishTask.of(job, bot)
    return EvaluateTask(CardFacts.of(job, bot), folder, published, continued=False, group=None, publish=publish)


def test_the_worker_that_measures_a_bot_publishes_it(job, bot, monkeypatch):
    init_single_process_group()
    reads: list[str] = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda store, name: (reads.append(name), read(store, name))[1])
    worker, task = EvaluateAndPublish(job, block_list=None), task_of(job, bot)

    missing = f"{bot.trained_folder}/{learned_tweets.FILE}"
    learned = job.store.read(missing)
    job.store.delete(missing)
    evaluated = worker.work(task)
    assert (evaluated.problem or "").startswith("not published: ") and set(evaluated.metrics) == MEASURED
    assert set(evaluated.seconds) == {"evaluate"} and job.store.current_version("ada") is None

    job.store.write(missing, learned)
    evaluated = worker.work(task)
    assert (evaluated.problem, set(evaluated.seconds)) == (None, {"evaluate", "publish"})
    assert not [name for name in reads if name.endswith(model_folder.WEIGHTS)]  # those that were measured are published
    assert job.store.current_version("ada") == bot.version and not job.store.exists("work/trained/ada")
    folder = Path(job.store.path(bot.folder))
    assert model_folder.load(folder)[0].config.n_layer == 2
    published = json.loads((folder / "metrics.json").read_text())
    assert published["held_out"] == evaluated.metrics["held_out"] and published["train"]["steps"] == 1

    again = worker.work(task)  # a second try, after the first worker had published and died
    assert (again.metrics, again.problem) == (published, None)

    # the command `evaluate`, for the published bot: new metrics and a new card, which keeps what publishing added
    (folder / "metrics.json").write_text(json.dumps(published | {"copying": {}}))
    old = (folder / "README.md").read_text().replace("library_name:", "language: en\nlibrary_name:")
    (folder / "README.md").write_text(old.replace("Copying", ""))
    anew = worker.work(task_of(job, bot, published=True))
    assert anew.metrics["samples"] == evaluated.metrics["samples"]  # the same seeds, the same weights
    assert json.loads((folder / "metrics.json").read_text()) == published
    assert languages_of((folder / "README.md").read_text()) == ["en"]
    assert "| Copying: a training tweet" in (folder / "README.md").read_text()


def test_a_bot_of_somebody_who_was_removed_meanwhile_is_not_published(job, bot):
    init_single_process_group()
    worker = EvaluateAndPublish(job, block_list=None)
    job.store.write("forgotten.json", b'{"ada": {}}')
    assert worker.work(task_of(job, bot)).problem == "not published: @ada was removed from this fleet"
    assert not job.store.exists("bots/ada")
