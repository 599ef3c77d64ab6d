"""The cleaning rules over whole columns: what `clean.clean` says of one tweet, said of a table of them at once.

    judge(pl.Series(["so good &amp; new https://t.co/abc"]), pl.Series([False]))
    # verdict: ["kept"], text: ["so good & new"]

The rules themselves, and the reasons, are in clean.py; the tests hold the two equal on any text. Regular
expressions here are Rust's: what they call white space is not what Python splits at, so the class is spelt out.
"""

import polars as pl

MIN_WORDS = 3  # that hold no link, mention or hashtag; a tweet with fewer is short

_BLANK = "".join(rf"\x{{{code:x}}}" for code in range(0x3001) if chr(code).isspace())  # none comes after U+3000
_LINKS = [
    pattern.format(scheme=scheme, rest=f"[^{_BLANK}]+")
    for scheme in ("http:", "https:")
    for pattern in (" {scheme}{rest}", "{scheme}{rest} ", "\n{scheme}{rest}", "{scheme}{rest}")
]
# of letters that fold to something with an h, t or p, none (ẖ ẗ ﬅ ﬆ) can be part of "http"
_MARKED_WORD = "[^ ]*(?:[@#]|(?i:http))[^ ]*"


def judge(text: pl.Series, retweet: pl.Series) -> pl.DataFrame:
    """Each tweet's `verdict` ("kept", "retweets" or "short") and cleaned `text` ("" for a retweet).

    `retweet` holds the records' flags, null where the format has none.
    """
    tweets = pl.DataFrame({"text": text, "retweet": retweet})
    said = pl.col("retweet").fill_null(pl.col("text").str.starts_with("RT @"))
    tweets = tweets.select(retweet=said, text=pl.when(said).then(pl.lit("")).otherwise(pl.col("text")))
    tweets = tweets.with_columns(text=_single_spaces(_without_links(_unescaped(pl.col("text")))))
    verdict = pl.when("retweet").then(pl.lit("retweets")).when(_short(pl.col("text"))).then(pl.lit("short"))
    return tweets.select(verdict=verdict.otherwise(pl.lit("kept")), text="text")


def _unescaped(text: pl.Expr) -> pl.Expr:
    for entity, plain in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.str.replace_all(entity, plain, literal=True)
    return text


def _without_links(text: pl.Expr) -> pl.Expr:
    for link in _LINKS:
        text = text.str.replace_all(link, "")
    return text


def _single_spaces(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(f"[{_BLANK}]+", " ").str.strip_chars(" ")


def _short(text: pl.Expr) -> pl.Expr:
    words = text.str.count_matches(" ", literal=True) + (text != "")
    return words - text.str.count_matches(_MARKED_WORD) < MIN_WORDS
