"""The sections `tweets`, `people` and `filters`: what is read, whose it is, and what is left out."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.settings.section import Section

TweetField = Literal["text", "id", "handle", "created_at", "lang", "likes", "retweet", "reply", "quote"]


class TweetSource(Section):
    """Where tweets are. An entry of `tweets` is a path, or a section with these keys."""

    path: str = Field(description="A file, folder, glob or URI, for instance `s3://bucket/tweets/*.csv`.")
    handle: str | None = Field(None, description="Who wrote the tweets, if the file does not say so.")
    columns: dict[TweetField, str | None] = Field(
        {},
        description="Names of the file's columns that are not found by themselves, by our field: `{text: body}`; their "
        "numbers, from 0, where a table has no header: `{handle: 4, text: 5}` or `{4: handle, 5: text}`. "
        "`null` ignores a column that would be found by its usual name.",
    )
    users: str | None = Field(
        None, description="A table of accounts in the same storage, for tweets that have only the author's id."
    )
    repair: bool = Field(False, description="Repair text that was once decoded with the wrong encoding (mojibake).")
    consent: Literal["own"] | None = Field(
        None,
        description="`own`: the posts are yours, or their authors agreed to you; a published wish not to be used for "
        "AI training does not count.",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Columns by their numbers, in either order, as texts by our field."""
        if not isinstance(value, dict):
            return value
        pairs = [(theirs, ours) if isinstance(ours, int) else (ours, theirs) for ours, theirs in value.items()]
        return {ours: str(theirs) if type(theirs) is int else theirs for ours, theirs in pairs}

    @field_validator("handle")
    @classmethod
    def _handle(cls, value: str | None) -> str | None:
        if value is not None and handle_of(value) is None:
            raise ValueError(not_a_handle(value))
        return handle_of(value) if value else None


class Accounts(Section):
    """The accounts of one person, and whether they agreed."""

    accounts: list[str] = Field(
        min_length=1, description="The person's accounts: ada_x, ada.bsky.social, @ada@ferry.example."
    )
    consent: Literal["own"] | None = Field(
        None,
        description="`own`: the accounts are yours or their owner agreed; a published wish not to be used for AI "
        "training does not count.",
    )

    @field_validator("accounts")
    @classmethod
    def _accounts(cls, value: list[str]) -> list[str]:
        for account in value:
            if handle_of(account) is None:
                raise ValueError(not_a_handle(account))
        return [str(handle_of(account)) for account in value]


class Filters(Section):
    """Which tweets are left out besides retweets and short tweets. Each filter has its own row in the counts.

    `since` and `until` leave out tweets without a date, `min_likes` those without a number of likes.
    """

    since: date | None = Field(None, description="Leave out tweets from before this day (UTC).")
    until: date | None = Field(None, description="Leave out tweets from after this day (UTC).")
    min_likes: int | None = Field(None, ge=0, description="Leave out tweets with fewer likes.")
    replies: bool = Field(
        True, description="`false` leaves out replies; where the file does not say, text that starts with `@`."
    )
    quotes: bool = Field(True, description="`false` leaves out tweets that quote another.")
    blocked_words: Annotated[list[str], Field(min_length=1)] | str | None = Field(
        None,
        description="Leave out tweets with one of these words or phrases, in upper or lower case: a list, or the path "
        "of a text file with one a line.",
    )
    private: bool = Field(
        False,
        description="Leave out tweets with an e-mail address, a phone number, a password or a key, which a bot could "
        "repeat.",
    )
    languages: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Keep these languages only (ISO 639-1 codes, for instance `[en, fr]`). Where the file does not "
        "say, the language is detected; tweets whose language is uncertain are kept.",
    )
    duplicates: bool = Field(True, description="`false` keeps one of a person's tweets with the same text.")
    near_duplicates: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep one of a person's tweets that are this similar: the Jaccard similarity of their three-word "
        "sequences, estimated by MinHash. For instance 0.8.",
    )
    mentions: str | None = Field(
        None, description='Replaces each mention in a kept tweet, for instance by `"@user"`; `""` removes it.'
    )
