r"""The cleaning rules: which tweets are kept, and their text. They are applied to whole columns of tweets at once.

    judge(pl.Series(["so good &amp; new https://t.co/abc"]), pl.Series([False]))
    # verdict: ["kept"], text: ["so good & new"]

They are the original huggingtweets' rules, so that the counts in a model card can be compared with the original's:

1. `&amp;`, `&lt;` and `&gt;` are unescaped, in this order.
2. Retweets are left out: the record says so, or, where its format has no such field, the text starts with "RT @".
3. Links are removed. A link is `http:` or `https:`, anywhere in a word, with all characters up to the next white space,
   at least one. White space beside a link goes with it, so the order matters: first all links with a space before
   them, then those with a space after them, then those with a line break before them, then the others. All of this for
   `http:` first, then for `https:`. In "tea\nhttp:x is", the space after the link goes, and the line break stays.
4. Each run of white space, line breaks included, becomes one space; none is left at the ends (as in Python's
   `" ".join(text.split())`).
5. Tweets with fewer than three words are short and left out. Words with `http`, `@` or `#` in them, in upper or lower
   case, do not count.

A plain version for one tweet is in tests/support/plain_rules.py; the tests compare the two on any text. The regular
expressions here are Rust's, whose `\s` is not what Python's `split` splits at, so white space is listed.
"""

import numpy as np
import polars as pl

MIN_WORDS = 3  # a tweet with fewer words without link, mention or hashtag is short

_SPACES = "".join(rf"\x{{{code:x}}}" for code in range(0x3001) if chr(code).isspace())  # U+3000 is the last one
_LINKS = [
    pattern.format(link=f"{scheme}[^{_SPACES}]+")
    for scheme in ("http:", "https:")
    for pattern in (" {link}", "{link} ", "\n{link}", "{link}")
]
_ODD_SPACES = _SPACES.replace(r"\x{20}", "")
_TO_CLEAN = f"[&{_ODD_SPACES}]|http|  |^ | $"  # in every text that rules 1, 3 or 4 change
# (?i) is not Python's case folding, but the letters that fold to several, such as ﬆ, are never a part of "http"
_MARKED_WORD = "[^ ]*(?:[@#]|(?i:http))[^ ]*"


def judge(text: pl.Series, retweet: pl.Series) -> pl.DataFrame:
    """Returns a row for each tweet: `verdict` ("kept", "retweets" or "short") and `text`, cleaned ("" for a retweet).

    `retweet` is what the records say, null where they do not.
    """
    tweets = pl.DataFrame({"text": text, "retweet": retweet})
    is_retweet = pl.col("retweet").fill_null(pl.col("text").str.starts_with("RT @"))
    tweets = tweets.select(retweet=is_retweet, text=pl.when(is_retweet).then(pl.lit("")).otherwise("text"))
    tweets = tweets.with_columns(cleaned(tweets["text"]))
    verdict = pl.when("retweet").then(pl.lit("retweets")).when(is_short(pl.col("text"))).then(pl.lit("short"))
    return tweets.select(verdict=verdict.otherwise(pl.lit("kept")), text="text")


def cleaned(text: pl.Series) -> pl.Series:
    """Returns the texts by rules 1, 3 and 4; those that none of them changes, which are most, are passed over."""
    rows = text.str.contains(_TO_CLEAN).arg_true()
    changed = pl.DataFrame(text.gather(rows)).select(single_spaces(without_links(unescaped(pl.col(text.name)))))
    places = np.arange(len(text))
    places[rows.to_numpy()] = len(text) + np.arange(len(rows))
    return pl.concat([text, changed.to_series()]).gather(places)


def unescaped(text: pl.Expr) -> pl.Expr:
    """Rule 1. Texts with `&`, `<` and `>` for their entities."""
    for entity, plain in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.str.replace_all(entity, plain, literal=True)
    return text


def without_links(text: pl.Expr) -> pl.Expr:
    """Rule 3. Texts without links."""
    for link in _LINKS:
        text = text.str.replace_all(link, "")
    return text


def single_spaces(text: pl.Expr) -> pl.Expr:
    """Rule 4. Texts whose words are separated by one space."""
    return text.str.replace_all(f"[{_SPACES}]+", " ").str.strip_chars(" ")


def is_short(text: pl.Expr) -> pl.Expr:
    """Rule 5. Whether texts, their words separated by one space, have too few words that count."""
    words = text.str.count_matches(" ", literal=True) + (text != "")
    return words - text.str.count_matches(_MARKED_WORD) < MIN_WORDS
