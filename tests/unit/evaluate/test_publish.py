"""Publishing by the worker that measured, without Ray: at once, once, and what is told where it fails."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from pipeline.core import fleet as fleets
from pipeline.core import model_folder
from pipeline.evaluate.evaluation import MEASURED, Evaluator
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job, open_job
from pipeline.prepare.index import Person
from pipeline.publish.card import facts
from pipeline.train import learned_tweets
from pipeline.train.deepspeed_engine import init_single_process_group
from tests.support.toys import tweets_of

COUNTS = {"downloaded": 130, "retweets": 0, "short": 0, "kept": 130}


@pytest.fixture
def job(make_fleet) -> Job:
    return open_job(fleets.load(make_fleet(("ada",), evaluate={"samples": 8})))


@pytest.fixture
def bot(job) -> Bot:
    """A bot as a lane leaves it, which has learned nothing yet."""
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


def test_who_measures_a_bot_publishes_it_at_once(job, bot):
    init_single_process_group()
    worker = Evaluator(job, None)
    place = {"folder": bot.trained_folder, "file": "training.json", "published": False, "continued": False}
    task = facts(job, bot) | place | {"group": None}
    task["publish"] = {"trained_folder": bot.trained_folder, "folder": bot.folder}

    missing = f"{bot.trained_folder}/{learned_tweets.FILE}"
    learned = job.store.read(missing)
    job.store.delete(missing)
    told = worker.work(task)
    assert told["problem"].startswith("not published: ") and set(told["metrics"]) >= MEASURED
    assert job.store.current_version("ada") is None

    job.store.write(missing, learned)
    told = worker.work(task)
    assert (told["problem"], set(told["seconds"])) == (None, {"evaluate", "publish"})
    assert job.store.current_version("ada") == bot.version and not job.store.exists("work/trained/ada")
    folder = Path(job.store.path(bot.folder))
    assert model_folder.load(folder)[0].config.n_layer == 2
    published = json.loads((folder / "metrics.json").read_text())
    assert published["held_out"] == told["metrics"]["held_out"] and published["train"]["steps"] == 1

    again = worker.work(task)  # as after the death of a worker that had done it all and could not say so
    assert (again["metrics"], again["problem"]) == (published, None)
