"""The opt-in filters: which tweets are left out besides retweets and short tweets. Each has its own row in the counts.

    filters = resolved(Filters(replies=False, blocked_words=["giveaway"]))
    tweets = TweetFilters(filters)(tweets)       # single tweets: some get another verdict than "kept"
    texts = copies(texts, filters)               # all tweets of one person: duplicates and near-duplicates

A tweet is counted once, in the first row of `ROWS` that applies to it.
"""

from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.core.errors import UsageError
from pipeline.core.settings import Filters
from pipeline.prepare.private_data import PRIVATE

# the rows of a person's counts, in order, with their titles in the model card
ROWS = {
    "downloaded": "Tweets downloaded",
    "retweets": "Retweets",
    "short": "Short tweets",
    "dates": "Outside the dates asked for",
    "likes": "With too few likes",
    "replies": "Replies",
    "quotes": "Quotes",
    "blocked_words": "With a blocked word",
    "private": "With private data",
    "languages": "In other languages",
    "duplicates": "Duplicates",
    "near_duplicates": "Near-copies",
    "kept": "Tweets kept",
}
_ALIASES = {"in": "id", "iw": "he"}  # old codes that X uses, and today's in ISO 639-1
_UNDETERMINED = ["und", "zxx", "qam", "qct", "qht", "qme", "qst", "art"]  # X's codes for text in no language
# The languages of most tweets. Detecting rare ones too would give more errors than right answers.
_COMMON = "en ja es pt ar fr tr id ko th de it nl ru hi pl fa tl sv ur el vi uk zh he fi da cs hu ro ca"
_MENTION = "(^|[^A-Za-z0-9_])@[A-Za-z0-9_]{1,15}"
_PERMUTATIONS = 64
_SHINGLE = 3  # words; near-duplicates share many sequences of so many


def active(filters: Filters) -> list[str]:
    """Returns the rows that counts have with these filters, in order."""
    asked = {
        "dates": filters.since is not None or filters.until is not None,
        "likes": filters.min_likes is not None,
        "replies": not filters.replies,
        "quotes": not filters.quotes,
        "blocked_words": bool(filters.blocked_words),
        "private": filters.private,
        "languages": bool(filters.languages),
        "duplicates": not filters.duplicates,
        "near_duplicates": filters.near_duplicates is not None,
    }
    return [row for row in ROWS if asked.get(row, True)]


def resolved(filters: Filters) -> Filters:
    """Returns the filters with the blocked words read from their file.

    Raises UsageError for a file that cannot be read, or for an unknown language.
    """
    if filters.languages:
        names = _language_names()
        codes = [names.get(one.lower(), one) for one in filters.languages]
        filters = filters.model_copy(update={"languages": codes})
        unknown = [code for code in codes if code not in _known_languages()]
        if unknown:
            raise UsageError(
                f"filters.languages: {unknown[0]!r} is not an ISO 639-1 code that can be detected, such as `en`"
            )
    if not isinstance(filters.blocked_words, str):
        return filters
    try:
        lines = Path(filters.blocked_words).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"filters.blocked_words: {filters.blocked_words}: cannot be read: {error}") from None
    return filters.model_copy(update={"blocked_words": [line.strip() for line in lines if line.strip()]})


class TweetFilters:
    """The filters that look at one tweet at a time; they are applied to a whole table."""

    def __init__(self, filters: Filters):
        self.filters = filters

    def __call__(self, tweets: pl.DataFrame) -> pl.DataFrame:
        """Returns the table with new verdicts and, if mentions are replaced, new texts.

        Columns: verdict, text (cleaned), created_at (UTC), lang, likes, reply, quote; the last five may be null.
        """
        for row, left_out in self._rules.items():
            now = pl.when((pl.col("verdict") == "kept") & left_out).then(pl.lit(row)).otherwise("verdict")
            tweets = tweets.with_columns(verdict=now)
        if self.filters.languages:
            tweets = self._by_language(tweets)
        if self.filters.mentions is not None:
            text = pl.col("text").str.replace_all(_MENTION, "${1}" + self.filters.mentions.replace("$", "$$"))
            text = text.str.replace_all(" +", " ").str.strip_chars(" ")
            tweets = tweets.with_columns(text=pl.when(pl.col("verdict") == "kept").then(text).otherwise("text"))
        return tweets

    @cached_property
    def _rules(self) -> dict[str, pl.Expr]:
        """Returns which tweets each active filter leaves out; `dates` and `likes` leave out those without either."""
        filters, rules = self.filters, {}
        created, outside = pl.col("created_at"), pl.lit(False)
        if filters.since:
            outside |= created < datetime.combine(filters.since, datetime.min.time(), UTC)
        if filters.until:
            outside |= created >= datetime.combine(filters.until + timedelta(days=1), datetime.min.time(), UTC)
        if filters.since or filters.until:
            rules["dates"] = outside.fill_null(True)
        if filters.min_likes is not None:
            rules["likes"] = (pl.col("likes") < filters.min_likes).fill_null(True)
        if not filters.replies:
            rules["replies"] = pl.col("reply").fill_null(pl.col("text").str.starts_with("@"))
        if not filters.quotes:
            rules["quotes"] = pl.col("quote").fill_null(False)
        if filters.blocked_words:
            words = "|".join(pl.escape_regex(word) for word in filters.blocked_words)
            rules["blocked_words"] = pl.col("text").str.contains(rf"(?i)(?:^|\W)(?:{words})(?:$|\W)")
        if filters.private:
            rules["private"] = pl.col("text").str.contains(PRIVATE)
        return rules

    def _by_language(self, tweets: pl.DataFrame) -> pl.DataFrame:
        """Leaves out other languages: the record's own, or else the detected one where that is certain."""
        own = pl.col("lang").str.to_lowercase().str.strip_chars().str.replace("[-_].*", "")
        own = own.replace(_ALIASES | _language_names())
        own = pl.when(own.is_in([*_UNDETERMINED, ""])).then(None).otherwise(own)
        tweets = tweets.with_columns(_lang=own)
        open_ = (tweets["verdict"] == "kept") & tweets["_lang"].is_null()
        asked = frozenset(self.filters.languages or [])
        found = [language_of(text, asked) for text in tweets["text"].filter(open_)]
        tweets = tweets.with_columns(_lang=_put(tweets["_lang"], open_, pl.Series(found, dtype=pl.String)))
        other = (pl.col("verdict") == "kept") & ~pl.col("_lang").is_in(self.filters.languages or []).fill_null(True)
        return tweets.with_columns(verdict=pl.when(other).then(pl.lit("languages")).otherwise("verdict")).drop("_lang")


def language_of(text: str, others: frozenset[str] = frozenset()) -> str | None:
    """Returns the ISO 639-1 code of a text's language, or None if it is uncertain.

    `others` are codes of languages to consider besides the common ones.
    """
    words = " ".join(word for word in text.split() if word[0] not in "@#")
    language = _detector(others).detect_language_of(words)
    return language.iso_code_639_1.name.lower() if language else None


@cache
def _detector(others: frozenset[str]) -> Any:
    from lingua import LanguageDetectorBuilder

    known = _known_languages()
    languages = {known[code] for code in {*_COMMON.split(), *others} if code in known}
    return LanguageDetectorBuilder.from_languages(*languages).with_minimum_relative_distance(0.1).build()


def copies(texts: list[str], filters: Filters) -> list[str]:
    """Returns a verdict on each of one person's kept texts: "kept", "duplicates" or "near_duplicates".

    The first of several duplicates is kept.
    """
    verdicts = ["kept"] * len(texts)
    if not filters.duplicates:
        seen: set[str] = set()
        for i, text in enumerate(texts):
            if text in seen:
                verdicts[i] = "duplicates"
            seen.add(text)
    if filters.near_duplicates is not None:
        left = [i for i, verdict in enumerate(verdicts) if verdict == "kept"]
        for i in _near([texts[i] for i in left], filters.near_duplicates):
            verdicts[left[i]] = "near_duplicates"
    return verdicts


def _near(texts: list[str], similarity: float) -> list[int]:
    """Returns the indices of the texts whose three-word sequences are similar to those of an earlier text.

    The Jaccard similarity is estimated by MinHash.
    """
    from datasketch import MinHash, MinHashLSH

    sketches = MinHash.bulk([_shingles(text) for text in texts], num_perm=_PERMUTATIONS)
    index, near = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS), []
    for i, sketch in enumerate(sketches):
        if any(sketch.jaccard(sketches[other]) >= similarity for other in index.query(sketch)):
            near.append(i)
        else:
            index.insert(i, sketch)
    return near


def _shingles(text: str) -> list[bytes]:
    words = text.casefold().split()
    return [" ".join(words[i : i + _SHINGLE]).encode() for i in range(max(1, len(words) - _SHINGLE + 1))]


def _put(series: pl.Series, where: pl.Series, values: pl.Series) -> pl.Series:
    """Returns the series with `values` in the places where `where` is true."""
    return series.scatter(where.arg_true(), values)


def _language_names() -> dict[str, str]:
    """Codes of ISO 639-1 by the languages' English names, in lower case."""
    return {language.name.lower(): code for code, language in _known_languages().items()}


def _known_languages() -> dict[str, Any]:
    from lingua import Language

    return {language.iso_code_639_1.name.lower(): language for language in Language.all()}
