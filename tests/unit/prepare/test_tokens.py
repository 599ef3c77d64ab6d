"""Encoding word by word gives the ids that the tokenizer itself gives."""

import json
import sys
import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pipeline.core.model_folder import tokenizer_json
from pipeline.core.own_code import ASSETS
from pipeline.prepare.tokens import Encoder

MINI = tokenizer_json(ASSETS / "mini")
WORDS = st.text(st.characters(codec="utf-8") | st.sampled_from("'stlrevdm’0a!<|>"), min_size=1, max_size=8)
TEXTS = st.lists(WORDS, max_size=8).map(lambda words: " ".join(" ".join(words).split()))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MINI)


def whole(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in encoder.tokenizer.encode_batch(texts, add_special_tokens=False)]


def by_words(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return encoder.encode(pl.Series(texts, dtype=pl.String)).to_pylist()


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS, max_size=10))
def test_any_cleaned_text_has_the_tokenizers_ids(encoder, texts):
    assert encoder.by_words
    assert by_words(encoder, texts) == whole(encoder, texts)


def test_both_agree_on_what_is_a_letter_and_what_a_number(encoder):
    # wherever the category changes, from one character to the next, on both sides
    kinds = [unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)]
    border = [code for code in range(1, len(kinds)) if kinds[code] != kinds[code - 1]]
    chars = [chr(code) for code in sorted({*border, *(code - 1 for code in border)}) if not 0xD800 <= code <= 0xDFFF]
    texts = [f"a{char}1{char}!{char} {char}a{char}" for char in chars if not char.isspace()]
    assert len(texts) > 5_000
    assert by_words(encoder, texts) == whole(encoder, texts)


def test_a_spelt_out_separator_stays_text(encoder):
    separator = encoder.tokenizer.token_to_id("<|endoftext|>")
    ids = by_words(encoder, ["so <|endoftext|> it goes"])
    assert ids == whole(encoder, ["so <|endoftext|> it goes"])
    assert separator not in ids[0]


def test_more_words_than_the_cache_holds_and_more_texts_than_a_batch(encoder, monkeypatch):
    monkeypatch.setattr("pipeline.prepare.tokens._CACHE", 50)
    monkeypatch.setattr("pipeline.prepare.tokens._BATCH", 16)
    texts = [f"tweet{i} of wren{i % 7} and {i * i}" for i in range(200)]
    assert by_words(encoder, texts) == whole(encoder, texts)


@pytest.mark.parametrize(
    "part, value",
    [
        ("normalizer", normalizers.Lowercase()),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        ("pre_tokenizer", pre_tokenizers.Whitespace()),
    ],
)
def test_a_tokenizer_of_another_kind_is_asked_for_whole_texts(part, value):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    setattr(tokenizer, part, value)
    texts = ["Tea is ready", "the ferry's 3 horns"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=300))
    encoder = Encoder(tokenizer.to_str())
    assert not encoder.by_words
    assert by_words(encoder, texts) == whole(encoder, texts)


def test_a_tokenizer_with_words_of_its_own_added_is_asked_for_whole_texts():
    tokenizer = json.loads(MINI)
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 9000, "content": "ferry", "special": False})
    assert not Encoder(json.dumps(tokenizer)).by_words
