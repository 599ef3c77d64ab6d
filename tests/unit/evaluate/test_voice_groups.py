"""What is learned of a group's people, as it is stored and read again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import fleet as fleets
from pipeline.core.store import Store
from pipeline.evaluate.measures.sense import unknown_words
from pipeline.evaluate.voice_groups import VoiceLearner, VoiceTask, load
from pipeline.plan.job import open_job
from tests.support.sample_tweets import PEOPLE, sample_tweets


def write_tweets(store: Store, handle: str) -> None:
    """Writes a person's kept tweets as `prepare` does, the first 20 held out; their tokens are made up."""
    texts = sample_tweets(handle)
    held_out = [i < 20 for i in range(len(texts))]
    tokens = pa.array([[1]] * len(texts), pa.list_(pa.int32()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts, "tokens": tokens, "held_out": held_out}), sink)
    store.write(f"work/tweets/{handle}.parquet", sink.getvalue().to_pybytes())


def test_the_voices_of_a_group_are_read_as_they_were_learned(make_fleet):
    job = open_job(fleets.load(make_fleet()))
    for handle in PEOPLE:
        write_tweets(job.store, handle)
    VoiceLearner(job).work(VoiceTask("group", [*PEOPLE, "somebody_without_tweets"]))
    voices = load(job.store, "group")
    assert voices is not None and voices.classifier.people == voices.authorship.people == sorted(PEOPLE)
    assert {"the", "a"} <= set(voices.authorship.words)
    own, others = np.diag(voices.authorship.scores), voices.authorship.scores[~np.eye(4, dtype=bool)]
    assert own.min() > 0 > others.mean()
    texts = sample_tweets("nana_voltage")[:20]
    assert unknown_words(sample_tweets("nana_voltage")[20:], voices.vocabulary) == 0.0
    assert unknown_words(texts, voices.vocabulary) > 0.0  # they are held out
    assert voices.classifier.attribute(texts).count("nana_voltage") > 10
    by_all = voices.authorship.counts(texts) @ voices.authorship.weights.T
    assert by_all.sum(axis=0).argmax() == sorted(PEOPLE).index("nana_voltage")


def test_the_voices_of_one_person_cannot_be_told_apart(make_fleet):
    job = open_job(fleets.load(make_fleet()))
    write_tweets(job.store, PEOPLE[0])
    VoiceLearner(job).work(VoiceTask("group", [*PEOPLE]))
    assert load(job.store, "group") is None
