"""Word runs: the hashes by which copied passages are found, as they are stored beside a bot."""

import hashlib
import io

import numpy as np
import pytest

from pipeline.core.word_runs import RUNS_FILE, run_hashes, runs_file, words

NINE = "One two three four five six seven eight nine"


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@pytest.mark.parametrize(
    "text, found",
    [
        ("Don't stop, Bird’s-eye VIEW!", ["don't", "stop", "bird’s", "eye", "view"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("'quoted' rock 'n' roll", ["quoted", "rock", "n", "roll"]),
        ("#tag @wren_2", ["tag", "wren_2"]),
        ("今日は良い天気", ["今日は良い天気"]),
        ("… 🍰 !", []),
    ],
)
def test_words_are_case_folded_and_without_punctuation(text, found):
    assert words(text) == found


def test_each_sequence_of_eight_words_has_a_hash():
    assert run_hashes(NINE).tolist() == [
        hash_of("one two three four five six seven eight"),
        hash_of("two three four five six seven eight nine"),
    ]
    assert run_hashes(NINE).dtype == np.dtype("<u8")


@pytest.mark.parametrize("count", [1, 7, 8])
def test_a_text_of_at_most_eight_words_has_one_hash(count):
    text = " ".join(NINE.split()[:count])
    assert run_hashes(f"{text} …!").tolist() == [hash_of(text.lower())]


def test_a_text_without_words_has_none():
    assert run_hashes("🍰 …").tolist() == []


def test_lone_surrogates_do_not_stop_it():
    assert run_hashes("tea \udc80 cake").tolist() == [hash_of("tea cake")]


def test_the_file_has_the_sorted_hashes_of_all_texts_once():
    stored = np.load(io.BytesIO(runs_file([NINE, "tea", NINE, "tea"])), allow_pickle=False)
    assert stored.tolist() == sorted({*run_hashes(NINE).tolist(), hash_of("tea")})
    empty = np.load(io.BytesIO(runs_file([])), allow_pickle=False)
    assert (empty.tolist(), empty.dtype) == ([], np.dtype("<u8"))
    assert RUNS_FILE == "word_runs.npy"  # the name in published folders
